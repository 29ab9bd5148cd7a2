//! Health → preference → cost → tie: who answers now.

use super::order::Order;
use super::parts::{Parts, Tally};
use super::spread::{MAX_SHARES, Split};
use super::usage::{Level, Usage};
use crate::model::{ALL_PARTS as ALL, Endpoint, MAX_MULTIVALUE, Member, Plan, Spread, WhenNone};

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
    /// These share the clients, each by its part.
    Parts(Parts),
    /// No data.
    Nodata,
    /// Nothing may be answered.
    Servfail,
}

/// One to [`MAX_MULTIVALUE`] members, an octet each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Few {
    octets: u128,
    pub(super) count: u8,
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
        self.octets().map(Member)
    }

    fn octets(self) -> impl ExactSizeIterator<Item = u8> {
        self.octets.to_le_bytes().into_iter().take(self.count.into())
    }
}

impl FromIterator<u8> for Few {
    /// # Panics
    /// With none, in a debug build.
    fn from_iter<I: IntoIterator<Item = u8>>(members: I) -> Self {
        let mut few = Self { octets: 0, count: 0 };
        members.into_iter().for_each(|member| few.push(member));
        debug_assert!(few.count > 0, "somebody answers");
        few
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
            Self::Parts(parts) => parts.word() ^ 3 << 40,
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
            (Choice::Parts(parts), _) => Self::Split(Split::with_parts(plan, endpoints, parts.shares())),
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

/// How a plan's members may be used, made ready to settle its orders, one after the other.
#[derive(Debug)]
pub struct Settler<'a> {
    plan: &'a Plan,
    /// By member.
    levels: [Level; 256],
    /// By member, in 1/256: what it keeps of its clients while others are better.
    kept: [u16; 256],
    /// By member.
    weights: [u32; 256],
    /// Some member keeps a part.
    parted: bool,
    /// The best level that any member has.
    best: Level,
    /// By preference, a bit a member: those that it names.
    preferred: Vec<[u64; 4]>,
    /// So many may answer at once.
    room: usize,
}

impl<'a> Settler<'a> {
    /// Under the members' `usages`, in order; of the address family that was ranked. None means that a
    /// member must not be answered in any mode: no address of it is known, or the operator forced it down.
    #[must_use]
    pub fn new(plan: &'a Plan, endpoints: &[Endpoint], usages: impl Iterator<Item = Option<Usage>>) -> Self {
        let (mut levels, mut kept, mut weights) = ([Level::Nowhere; 256], [0; 256], [1; 256]);
        for (member, usage) in usages.enumerate() {
            if let Some(usage) = usage {
                (levels[member], kept[member]) = (usage.level, usage.kept);
            }
            weights[member] = endpoints[plan.members[member].index()].weight;
        }
        let bits = |members: &Vec<Member>| {
            let mut bits = [0; 4];
            members.iter().for_each(|member| bits[member.index() / 64] |= 1 << (member.index() % 64));
            bits
        };
        Self {
            plan,
            parted: levels.iter().zip(&kept).any(|(&level, &kept)| level > Level::Up && kept > 0),
            levels,
            kept,
            weights,
            best: levels.into_iter().min().unwrap_or(Level::Nowhere),
            preferred: plan.policy.preferences.iter().map(|preference| bits(&preference.members)).collect(),
            room: room(plan),
        }
    }

    /// Would it settle every order alike?
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.levels == other.levels && self.kept == other.kept
    }

    /// Who answers now, where members that are down keep `down_kept` of their clients in 1/256 (see
    /// [`Panic`](super::Panic)). Never names a member that the order lacks, but for `when_none = "endpoint:…"`,
    /// which the configuration has checked to lie inside every fence.
    #[inline]
    #[must_use]
    pub fn settle(&self, order: Order<'_>, down_kept: u16) -> Outcome {
        let (best, fastest) = self.best_of(order);
        if best < Level::Down {
            // Up, or degraded where none is up, and so on: only members in the best state there is.
            let is_best = |member: u8| self.levels[usize::from(member)] == best;
            let is_set = matches!(self.plan.policy.spread, Spread::Multivalue(_));
            let is_whole = down_kept == 0 && (is_set || !self.parted);
            return if is_whole {
                self.choose(order, fastest, is_best)
            } else if is_set {
                self.panic_set(order, best, fastest, down_kept)
            } else {
                self.part(order, best, down_kept)
            };
        }
        let without = |choice| Outcome { choice, exhausted: !order.is_empty(), preference: None };
        match self.plan.policy.when_none {
            // Who has an address is down: as if all of those were up. Drained ones only where there is no other.
            WhenNone::IgnoreHealth if best < Level::Nowhere => {
                let is_best = |member: u8| self.levels[usize::from(member)] == best;
                Outcome { exhausted: true, ..self.choose(order, fastest, is_best) }
            }
            WhenNone::Endpoint(member) if self.levels[member.index()] < Level::Nowhere => without(Choice::One(member)),
            WhenNone::Nodata => without(Choice::Nodata),
            WhenNone::IgnoreHealth | WhenNone::Endpoint(_) | WhenNone::Servfail => without(Choice::Servfail),
        }
    }

    /// The best level among the order's members, and the first rank that has it.
    #[inline]
    fn best_of(&self, order: Order<'_>) -> (Level, usize) {
        let (mut best, mut first) = (Level::Nowhere, 0);
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

    /// Chooses by the threshold of the client: a member that keeps more than that is as good as the best. Between two
    /// marks, the amounts that members keep, all clients choose alike.
    fn part(&self, order: Order<'_>, best: Level, down_kept: u16) -> Outcome {
        let keeps = |member: u8| match self.levels[usize::from(member)] {
            level if level == best => ALL,
            Level::Down => down_kept,
            // Who lives has no less than who does not.
            level if level < Level::Drained => self.kept[usize::from(member)].max(down_kept),
            _ => self.kept[usize::from(member)],
        };
        if order.ranks().iter().all(|&member| matches!(keeps(member), 0 | ALL)) {
            let fastest = order.ranks().iter().position(|&member| keeps(member) == ALL).unwrap_or(0);
            return self.choose(order, fastest, |member| keeps(member) == ALL);
        }
        let mut marks = [false; ALL as usize + 1];
        order.ranks().iter().for_each(|&member| marks[usize::from(keeps(member))] = true);
        let (mut tally, mut from, mut widest) = (Tally::new(&self.weights), 0, (0, None));
        for to in (1..=ALL).filter(|mark| marks[usize::from(*mark)]) {
            let sees = |member: u8| keeps(member) > from;
            let fastest = order.ranks().iter().position(|&member| sees(member)).unwrap_or(0);
            let outcome = self.choose(order, fastest, sees);
            tally.add(outcome.choice, to - from);
            widest = widest.max((to - from, outcome.preference));
            from = to;
        }
        Outcome { choice: tally.finish(), exhausted: false, preference: widest.1 }
    }

    /// A set in one answer has no parts, but places. Those that are not in the `best` state keep `down_kept` in 1/256 of what
    /// they would have if they were, as nearly as whole places can be; they stand behind the others, of whom there is always
    /// one, those that live before those that are down.
    fn panic_set(&self, order: Order<'_>, best: Level, fastest: usize, down_kept: u16) -> Outcome {
        let level = |member: u8| self.levels[usize::from(member)];
        let (others, preference) = self.few(order, fastest, |member| level(member) == best);
        let counts = |member: u8| level(member) < Level::Drained || level(member) == Level::Down;
        let first = order.ranks().iter().position(|&member| counts(member)).unwrap_or(fastest);
        let (all, _) = self.few(order, first, counts);
        let worse =
            [Level::Degraded, Level::Held, Level::Unknown, Level::Down].into_iter().filter(|&worse| worse > best);
        let worse = || worse.clone().flat_map(|worse| all.octets().filter(move |&member| level(member) == worse));
        let (count, better) = (worse().count(), others.octets().len());
        let part = f32::from(down_kept) / f32::from(ALL) * count as f32 / f32::from(all.count);
        let off = |places: usize| (places as f32 / (places + better.min(self.room - places)) as f32 - part).abs();
        let places = (0..=count.min(self.room - 1)).rev().min_by(|&a, &b| off(a).total_cmp(&off(b))).unwrap_or(0);
        let few: Few = others.octets().take(self.room - places).chain(worse().take(places)).collect();
        Outcome { choice: few.into(), exhausted: false, preference }
    }

    /// Chooses among the members that are `usable`, the first rank of which is `fastest`.
    #[inline]
    fn choose(&self, order: Order<'_>, fastest: usize, usable: impl Fn(u8) -> bool) -> Outcome {
        let (few, preference) = self.few(order, fastest, usable);
        Outcome { choice: few.into(), exhausted: false, preference }
    }

    /// Those that answer, and the preference that decided.
    #[inline]
    fn few(&self, order: Order<'_>, fastest: usize, usable: impl Fn(u8) -> bool) -> (Few, Option<u8>) {
        let (ranks, tie) = (order.ranks(), order.tie());
        let usable = |rank: usize| usable(ranks[rank]);
        if order.is_plain() {
            return (self.tied(ranks, fastest, tie[fastest].into(), usable), None);
        }
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
        (few, preference.map(|preference| preference as u8))
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
}

impl From<Few> for Choice {
    #[inline]
    fn from(few: Few) -> Self {
        if few.count == 1 { Self::One(Member(few.octets as u8)) } else { Self::Several(few) }
    }
}
