//! Health → preference → cost → tie: who answers now.

use super::order::Order;
use super::spread::{MAX_SHARES, Split};
use crate::model::{Endpoint, MAX_MULTIVALUE, Member, Plan, Spread, State, WhenNone};

/// What an order comes to under the present states.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Few {
    list: [Member; MAX_MULTIVALUE],
    count: u8,
}

impl Few {
    fn of(members: impl Iterator<Item = Member>) -> Self {
        let mut few = Self { list: [Member(0); MAX_MULTIVALUE], count: 0 };
        for (place, member) in few.list.iter_mut().zip(members) {
            *place = member;
            few.count += 1;
        }
        few
    }

    /// Them.
    #[must_use]
    pub fn as_slice(&self) -> &[Member] {
        &self.list[..usize::from(self.count)]
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

/// Settles `order` under `states` (index: [`Member`]; of the address family that was ranked). None
/// means that a member must not be answered in any mode: no address of it is known.
///
/// Never names a member that the order lacks, but for `when_none = "endpoint:…"`, which the
/// configuration has checked to lie inside every fence.
#[must_use]
pub fn settle(plan: &Plan, order: &Order, states: &[Option<State>]) -> Choice {
    settle_by(plan, order, states).0
}

/// The same, with the preference that decided: an index into `Policy::preferences`.
pub(super) fn settle_by(plan: &Plan, order: &Order, states: &[Option<State>]) -> (Choice, Option<usize>) {
    let state_of = |rank: usize| states[order.ranked[rank].index()];
    let ranks = 0..order.ranked.len();
    let best = ranks.clone().filter_map(state_of).min();
    match (best, plan.policy.when_none) {
        // Up, or degraded where none is up, and so on: only members in the best state there is.
        (Some(best), _) if best != State::Down => {
            choose(plan, order, ranks.filter(|&rank| state_of(rank) == Some(best)))
        }
        (_, WhenNone::IgnoreHealth) => choose(plan, order, ranks.filter(|&rank| state_of(rank).is_some())),
        (_, WhenNone::Endpoint(member)) if states[member.index()].is_some() => {
            (Choice::Members(Few::of([member].into_iter())), None)
        }
        (_, WhenNone::Nodata) => (Choice::Nodata, None),
        (_, WhenNone::Servfail | WhenNone::Endpoint(_)) => (Choice::Servfail, None),
    }
}

/// Chooses among the usable ranks, which come in order; and by which preference.
fn choose(plan: &Plan, order: &Order, usable: impl Iterator<Item = usize> + Clone) -> (Choice, Option<usize>) {
    let Some(fastest) = usable.clone().next() else { return (Choice::Servfail, None) };
    // The first preference that reaches a usable member decides the tier; without one, all are it.
    let tier = order.preferences.iter().find_map(|preference| {
        let index = usize::from(preference.preference);
        let members = &plan.policy.preferences[index].members;
        let last = usize::from(preference.reach[fastest]);
        let preferred = |rank: &usize| *rank <= last && members.binary_search(&order.ranked[*rank]).is_ok();
        usable.clone().any(|rank| preferred(&rank)).then_some((index, members, last))
    });
    let in_tier = |rank: &usize| {
        tier.is_none_or(|(_, members, last)| *rank <= last && members.binary_search(&order.ranked[*rank]).is_ok())
    };
    let in_tier = usable.filter(in_tier);
    let chosen = cheapest_near(order, in_tier.clone());
    // Those that tie with it share, at the same cost where cost counts.
    let last = usize::from(order.tie[chosen]);
    let same_cost = |rank: &usize| order.cost.is_empty() || order.cost[*rank] == order.cost[chosen];
    let room = match plan.policy.spread {
        Spread::Multivalue(count) => usize::from(count),
        Spread::Sticky | Spread::Random => MAX_SHARES,
    };
    let ties = in_tier.filter(|&rank| rank >= chosen && rank <= last).filter(same_cost).take(room);
    (Choice::Members(Few::of(ties.map(|rank| order.ranked[rank]))), tier.map(|(index, ..)| index))
}

/// The cheapest rank of the tier within the cost budget of its fastest; without a budget, the fastest.
fn cheapest_near(order: &Order, mut tier: impl Iterator<Item = usize> + Clone) -> usize {
    let fastest = tier.clone().next().expect("a tier has a member");
    let Some(&last) = order.budget.get(fastest) else { return fastest };
    let near = tier.by_ref().take_while(|&rank| rank <= usize::from(last));
    near.min_by_key(|&rank| (order.cost[rank], rank)).expect("the fastest is near itself")
}
