//! Health → preference → cost → tie: who answers now.

use super::order::Order;
use super::spread::{MAX_SHARES, Split};
use crate::model::{Endpoint, MAX_MULTIVALUE, Member, Plan, Spread, State, WhenNone};

/// What an order comes to under the present states.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Settled {
    /// One member per client; several share their clients.
    Split(Split),
    /// All of these in one answer, in this order (multivalue).
    Set(Box<[Member]>),
    /// No data, by `when_none`.
    Nodata,
    /// Nothing may be answered.
    Servfail,
}

/// The same before it is made ready to pick from: small, and free of allocation, since a verdict
/// settles thousands of orders and most come to what others came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Choice {
    /// This one answers.
    One(Member),
    /// These answer: together where the plan is multivalue, else they share the clients.
    Several(Few),
    /// No data.
    Nodata,
    /// Nothing may be answered.
    Servfail,
}

/// One to [`MAX_MULTIVALUE`] members, an octet each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Few {
    octets: u128,
    count: u8,
}

const _: () = assert!(MAX_MULTIVALUE <= 16 && MAX_SHARES <= MAX_MULTIVALUE, "they fit");

impl Few {
    fn of(member: u8) -> Self {
        Self { octets: member.into(), count: 1 }
    }

    fn push(&mut self, member: u8) {
        self.octets |= u128::from(member) << (8 * u32::from(self.count));
        self.count += 1;
    }

    /// Them.
    pub fn members(self) -> impl ExactSizeIterator<Item = Member> {
        self.octets.to_le_bytes().into_iter().take(self.count.into()).map(Member)
    }
}

impl Choice {
    /// A number that few others have.
    #[inline]
    #[must_use]
    pub fn hash(self) -> u64 {
        let mixed = |number: u64| number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let folded = match self {
            Self::One(member) => member.0.into(),
            Self::Several(Few { octets, count }) => octets as u64 ^ mixed((octets >> 64) as u64 ^ u64::from(count)),
            Self::Nodata => 1 << 32,
            Self::Servfail => 2 << 32,
        };
        mixed(folded) >> 32
    }
}

impl Settled {
    /// Makes a choice ready to pick from.
    #[must_use]
    pub fn of(choice: Choice, plan: &Plan, endpoints: &[Endpoint]) -> Self {
        match (choice, plan.policy.spread) {
            (Choice::One(member), _) => Self::Split(Split::new(plan, endpoints, [member].into_iter())),
            (Choice::Several(members), Spread::Multivalue(_)) => Self::Set(members.members().collect()),
            (Choice::Several(members), _) => Self::Split(Split::new(plan, endpoints, members.members())),
            (Choice::Nodata, _) => Self::Nodata,
            (Choice::Servfail, _) => Self::Servfail,
        }
    }
}

/// What an order comes to, and how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Who answers now.
    pub choice: Choice,
    /// Has it members, but none that is better than down?
    pub exhausted: bool,
    /// The preference that decided, as an index into `Policy::preferences`.
    pub preference: Option<u8>,
}

/// So many members may answer at once.
pub(super) fn room(plan: &Plan) -> usize {
    match plan.policy.spread {
        Spread::Multivalue(count) => usize::from(count),
        Spread::Sticky | Spread::Random => MAX_SHARES,
    }
}

/// The level of members that have no address.
const NOWHERE: u8 = State::Down as u8 + 1;

/// States of a plan's members, made ready to settle its orders, one after the other.
#[derive(Debug)]
pub struct Settler<'a> {
    plan: &'a Plan,
    /// By member: its state as a number, lower is better, or [`NOWHERE`].
    levels: [u8; 256],
    /// The best that any member has.
    best: u8,
    /// By preference, a bit a member: those that it names.
    preferred: Vec<[u64; 4]>,
    /// So many may answer at once.
    room: usize,
}

impl<'a> Settler<'a> {
    /// Under the members' `states`, in order; of the address family that was ranked. None means that a
    /// member must not be answered in any mode: no address of it is known.
    #[must_use]
    pub fn new(plan: &'a Plan, states: impl Iterator<Item = Option<State>>) -> Self {
        let mut levels = [NOWHERE; 256];
        for (level, state) in levels.iter_mut().zip(states) {
            *level = state.map_or(NOWHERE, |state| state as u8);
        }
        let bits = |members: &Vec<Member>| {
            let mut bits = [0; 4];
            members.iter().for_each(|member| bits[member.index() / 64] |= 1 << (member.index() % 64));
            bits
        };
        Self {
            plan,
            levels,
            best: levels.into_iter().min().unwrap_or(NOWHERE),
            preferred: plan.policy.preferences.iter().map(|preference| bits(&preference.members)).collect(),
            room: room(plan),
        }
    }

    /// Would it settle every order alike?
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.levels == other.levels
    }

    /// Who answers now. Never names a member that the order lacks, but for `when_none = "endpoint:…"`,
    /// which the configuration has checked to lie inside every fence.
    #[inline]
    #[must_use]
    pub fn settle(&self, order: Order<'_>) -> Outcome {
        let (best, fastest) = self.best_of(order);
        if best < State::Down as u8 {
            // Up, or degraded where none is up, and so on: only members in the best state there is.
            return self.choose(order, best, fastest);
        }
        let without = |choice| Outcome { choice, exhausted: !order.is_empty(), preference: None };
        match self.plan.policy.when_none {
            // Who has an address is down: as if all of those were up.
            WhenNone::IgnoreHealth if best == State::Down as u8 => {
                Outcome { exhausted: true, ..self.choose(order, best, fastest) }
            }
            WhenNone::Endpoint(member) if self.levels[member.index()] < NOWHERE => without(Choice::One(member)),
            WhenNone::Nodata => without(Choice::Nodata),
            WhenNone::IgnoreHealth | WhenNone::Endpoint(_) | WhenNone::Servfail => without(Choice::Servfail),
        }
    }

    /// The best level among the order's members, and the first rank that has it.
    #[inline]
    fn best_of(&self, order: Order<'_>) -> (u8, usize) {
        let (mut best, mut first) = (NOWHERE, 0);
        for (rank, &member) in order.ranks().iter().enumerate() {
            let level = self.levels[usize::from(member)];
            if level < best {
                (best, first) = (level, rank);
                if best == self.best {
                    break;
                }
            }
        }
        (best, first)
    }

    /// Chooses among the ranks of this level, the first of which is `fastest`.
    #[inline]
    fn choose(&self, order: Order<'_>, level: u8, fastest: usize) -> Outcome {
        let (ranks, tie) = (order.ranks(), order.tie());
        if order.is_plain() {
            let few = self.tied(ranks, fastest, tie[fastest].into(), |rank| self.is_at(ranks[rank], level));
            return Outcome { choice: few.into(), exhausted: false, preference: None };
        }
        let usable = |rank: usize| self.is_at(ranks[rank], level);
        let named = |preference: usize, rank: usize| {
            let member = usize::from(ranks[rank]);
            self.preferred[preference][member / 64] & 1 << (member % 64) != 0
        };
        // The first preference that reaches a usable member decides the tier; without one, all are it.
        let tier = order.preferences().find_map(|(preference, reach)| {
            let last = usize::from(reach[fastest]);
            let first = (fastest..=last).find(|&rank| usable(rank) && named(preference, rank))?;
            Some((preference, first, last))
        });
        let (preference, first, last) = match tier {
            Some((preference, first, last)) => (Some(preference), first, last),
            None => (None, fastest, ranks.len() - 1),
        };
        let in_tier = |rank: usize| usable(rank) && preference.is_none_or(|preference| named(preference, rank));
        let few = match order.costs() {
            Some((budget, cost)) => {
                // The cheapest of the tier within the budget of its fastest; who ties with it at the same cost.
                let near = (first..=last.min(budget[first].into())).filter(|&rank| in_tier(rank));
                let chosen = near.min_by_key(|&rank| (cost[rank], rank)).unwrap_or(first);
                let same = |rank: usize| in_tier(rank) && cost[rank] == cost[chosen];
                self.tied(ranks, chosen, last.min(tie[chosen].into()), same)
            }
            None => self.tied(ranks, first, last.min(tie[first].into()), in_tier),
        };
        Outcome { choice: few.into(), exhausted: false, preference: preference.map(|preference| preference as u8) }
    }

    /// The member at rank `chosen` with those behind it, up to `last`, that may share with it.
    #[inline]
    fn tied(&self, ranks: &[u8], chosen: usize, last: usize, shares: impl Fn(usize) -> bool) -> Few {
        let (mut few, mut rank) = (Few::of(ranks[chosen]), chosen);
        while rank < last && usize::from(few.count) < self.room {
            rank += 1;
            if shares(rank) {
                few.push(ranks[rank]);
            }
        }
        few
    }

    #[inline]
    fn is_at(&self, member: u8, level: u8) -> bool {
        self.levels[usize::from(member)] == level
    }
}

impl From<Few> for Choice {
    #[inline]
    fn from(few: Few) -> Self {
        if few.count == 1 { Self::One(Member(few.octets as u8)) } else { Self::Several(few) }
    }
}
