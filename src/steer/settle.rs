//! Health → preference → cost → tie: who answers now.

use std::hash::{Hash, Hasher};

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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Choice {
    /// These answer: together where the plan is multivalue, else they share the clients.
    Members(Few),
    /// No data.
    Nodata,
    /// Nothing may be answered.
    Servfail,
}

/// One to [`MAX_MULTIVALUE`] members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Few {
    list: [Member; MAX_MULTIVALUE],
    count: u8,
}

impl Few {
    const NONE: Self = Self { list: [Member(0); MAX_MULTIVALUE], count: 0 };

    fn push(&mut self, member: u8) {
        self.list[usize::from(self.count)] = Member(member);
        self.count += 1;
    }

    /// Them.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[Member] {
        &self.list[..usize::from(self.count)]
    }
}

impl Hash for Few {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u128(u128::from_le_bytes(self.list.map(|member| member.0)));
        state.write_u8(self.count);
    }
}

impl Settled {
    /// Makes a choice ready to pick from.
    #[must_use]
    pub fn of(choice: Choice, plan: &Plan, endpoints: &[Endpoint]) -> Self {
        match (choice, plan.policy.spread) {
            (Choice::Members(members), Spread::Multivalue(_)) => Self::Set(members.as_slice().into()),
            (Choice::Members(members), _) => Self::Split(Split::new(plan, endpoints, members.as_slice())),
            (Choice::Nodata, _) => Self::Nodata,
            (Choice::Servfail, _) => Self::Servfail,
        }
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
    /// Under `states` (index: [`Member`]; of the address family that was ranked). None means that a
    /// member must not be answered in any mode: no address of it is known.
    #[must_use]
    pub fn new(plan: &'a Plan, states: &[Option<State>]) -> Self {
        let mut levels = [NOWHERE; 256];
        for (level, state) in levels.iter_mut().zip(states) {
            *level = state.map_or(NOWHERE, |state| state as u8);
        }
        let bits = |members: &Vec<Member>| {
            let mut bits = [0; 4];
            members.iter().for_each(|member| bits[member.index() / 64] |= 1 << (member.index() % 64));
            bits
        };
        let room = match plan.policy.spread {
            Spread::Multivalue(count) => usize::from(count),
            Spread::Sticky | Spread::Random => MAX_SHARES,
        };
        Self {
            plan,
            levels,
            best: levels.into_iter().min().unwrap_or(NOWHERE),
            preferred: plan.policy.preferences.iter().map(|preference| bits(&preference.members)).collect(),
            room,
        }
    }

    /// Who answers now. Never names a member that the order lacks, but for `when_none = "endpoint:…"`,
    /// which the configuration has checked to lie inside every fence.
    #[inline]
    #[must_use]
    pub fn settle(&self, order: Order<'_>) -> Choice {
        self.settle_by(order).0
    }

    /// Has the order members, but none that is better than down?
    #[inline]
    #[must_use]
    pub fn is_exhausted(&self, order: Order<'_>) -> bool {
        self.best_of(order).0 >= State::Down as u8 && !order.is_empty()
    }

    /// The same as [`Self::settle`], with the preference that decided: an index into
    /// `Policy::preferences`.
    #[inline]
    pub(super) fn settle_by(&self, order: Order<'_>) -> (Choice, Option<usize>) {
        let (best, fastest) = self.best_of(order);
        if best < State::Down as u8 {
            // Up, or degraded where none is up, and so on: only members in the best state there is.
            return self.choose(order, best, fastest);
        }
        match self.plan.policy.when_none {
            // Who has an address is down: as if all of those were up.
            WhenNone::IgnoreHealth if best == State::Down as u8 => self.choose(order, best, fastest),
            WhenNone::Endpoint(member) if self.levels[member.index()] < NOWHERE => {
                let mut only = Few::NONE;
                only.push(member.0);
                (Choice::Members(only), None)
            }
            WhenNone::Nodata => (Choice::Nodata, None),
            WhenNone::IgnoreHealth | WhenNone::Endpoint(_) | WhenNone::Servfail => (Choice::Servfail, None),
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

    /// Chooses among the ranks of this level, the first of which is `fastest`; and by which preference.
    #[inline]
    fn choose(&self, order: Order<'_>, level: u8, fastest: usize) -> (Choice, Option<usize>) {
        let ranks = order.ranks();
        let usable = |rank: usize| self.levels[usize::from(ranks[rank])] == level;
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
        let chosen = match order.costs() {
            // The cheapest of the tier within the budget of its fastest.
            Some((budget, cost)) => {
                let near = first..=last.min(usize::from(budget[first]));
                near.filter(|&rank| in_tier(rank)).min_by_key(|&rank| (cost[rank], rank)).unwrap_or(first)
            }
            None => first,
        };
        // Those that tie with it share, at the same cost where cost counts.
        let same_cost = |rank: usize| order.costs().is_none_or(|(_, cost)| cost[rank] == cost[chosen]);
        let mut few = Few::NONE;
        few.push(ranks[chosen]);
        let behind = chosen + 1..=last.min(usize::from(order.tie()[chosen]));
        let ties = behind.filter(|&rank| in_tier(rank) && same_cost(rank)).take(self.room - 1);
        ties.for_each(|rank| few.push(ranks[rank]));
        (Choice::Members(few), preference)
    }
}
