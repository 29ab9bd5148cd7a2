//! Panic of a plan: by each set of members that some fence leaves.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::plan::PlanTable;
use super::ranking::{MemberSet, holds};
use super::snapshot::Snapshot;
use crate::model::{Endpoint, Family, Plan, Policy, State};
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

/// The plans of a snapshot, by the names of their endpoints, if any of them is in panic.
#[derive(Default)]
pub(super) struct Panicking<'a>(HashMap<Vec<Arc<str>>, Vec<&'a PlanTable>>);

impl<'a> Panicking<'a> {
    pub(super) fn of(snapshot: &'a Snapshot) -> Self {
        let mut panicking = Self::default();
        if snapshot.plans.iter().any(|table| table.panics().is_some()) {
            for table in &snapshot.plans {
                let names = names(&table.plan, &snapshot.parts.config.endpoints);
                panicking.0.entry(names).or_default().push(table);
            }
        }
        panicking
    }

    /// What goes on in a plan of the same endpoints, in whatever orders: of each set of members what goes on in that in the plan
    /// with the same policy, or in one that panics alike, if neither is held. None: nothing.
    pub(super) fn go_on(&self, table: &PlanTable, endpoints: &[Endpoint]) -> Option<[Panics; 2]> {
        if self.0.is_empty() {
            return None;
        }
        let (plan, is_held) = (&table.plan, |table: &PlanTable| table.held().is_some());
        let panics_by = |policy: &Policy| {
            let Policy { panic_below, panic_hold, warmup, spread, .. } = policy;
            (panic_below.to_bits(), *panic_hold, *warmup, *spread)
        };
        let others = self.0.get(&names(plan, endpoints))?;
        let own = others.iter().find(|other| other.plan.policy == plan.policy);
        let is_alike = |other: &&&PlanTable| {
            panics_by(&other.plan.policy) == panics_by(&plan.policy) && !is_held(other) && !is_held(table)
        };
        let panic_of = |family: Family, set: &MemberSet| {
            let own = own.and_then(|own| own.panic_of(family, set));
            own.or_else(|| {
                let mut of_others = others.iter().filter(is_alike).filter_map(|other| other.panic_of(family, set));
                of_others.find(|panic| *panic != Panic::default())
            })
        };
        let of = |family: Family| {
            let sets = table.rankings()[family as usize].sets().iter();
            sets.map(|set| panic_of(family, set).unwrap_or_default()).collect::<Panics>()
        };
        Some(Family::ALL.map(of)).filter(|panics| panics.iter().flatten().any(|panic| *panic != Panic::default()))
    }
}

fn names(plan: &Plan, endpoints: &[Endpoint]) -> Vec<Arc<str>> {
    plan.members.iter().map(|id| endpoints[id.index()].name.clone()).collect()
}
