//! Panic of a plan: by each set of members that some fence leaves.

use jiff::Timestamp;

use super::ranking::{MemberSet, holds};
use crate::model::{Endpoint, Plan, Policy, State};
use crate::steer::{Panic, Usage};

/// By set of a ranking.
pub(super) type Panics = Box<[Panic]>;

/// What each member can carry, as of [`Plan::capacities`].
pub(super) struct Capacities(Vec<f64>);

impl Capacities {
    pub(super) fn of(plan: &Plan, endpoints: &[Endpoint]) -> Self {
        Self(plan.capacities(endpoints))
    }
}

/// What becomes of panic by the members' present usages.
pub(super) fn after(
    before: Option<&Panics>,
    sets: &[MemberSet],
    usages: &[Option<Usage>],
    capacities: &Capacities,
    policy: &Policy,
    now: Timestamp,
) -> Panics {
    let panic = |(index, set): (usize, &MemberSet)| {
        // Sets that only derived locations have come behind the others.
        let before = before.and_then(|before| before.get(index).copied()).unwrap_or_default();
        before.after(living(set, usages, capacities), policy, now)
    };
    sets.iter().enumerate().map(panic).collect()
}

/// How much of a set's capacity is not down, of what the operator's hand leaves.
pub(super) fn living(set: &MemberSet, usages: &[Option<Usage>], capacities: &Capacities) -> f32 {
    let in_hand = |usage: &Option<Usage>| usage.is_some_and(|usage| !usage.is_drained());
    let lives = |usage: &Option<Usage>| usage.is_some_and(|usage| usage.state != State::Down);
    capacities.share(set, usages, in_hand, lives).unwrap_or(1.0) as f32
}

impl Capacities {
    /// How much of a set's capacity lives and is in use; none: it has no members.
    pub(super) fn left(&self, set: &MemberSet, usages: &[Option<Usage>]) -> Option<f64> {
        let lives =
            |usage: &Option<Usage>| usage.is_some_and(|usage| usage.state != State::Down && !usage.is_drained());
        self.share(set, usages, |_| true, lives)
    }

    /// The share of a set's members that count, by capacity, which are good.
    fn share(
        &self,
        set: &MemberSet,
        usages: &[Option<Usage>],
        counts: impl Fn(&Option<Usage>) -> bool,
        is_good: impl Fn(&Option<Usage>) -> bool,
    ) -> Option<f64> {
        let (mut good, mut all) = (0.0, 0.0);
        for (member, usage) in usages.iter().enumerate() {
            if holds(set, member) && counts(usage) {
                all += self.0[member];
                good += if is_good(usage) { self.0[member] } else { 0.0 };
            }
        }
        (all > 0.0).then(|| good / all)
    }
}
