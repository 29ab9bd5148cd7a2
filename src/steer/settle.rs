//! Health → preference → cost → tie: who answers now.

use super::order::Order;
use super::spread::{MAX_SHARES, Split};
use crate::model::{Endpoint, Member, Plan, Spread, State, WhenNone};

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

/// Settles `order` under `states` (index: [`Member`]; of the address family that was ranked). None
/// means that a member must not be answered in any mode: no address of it is known.
///
/// Never names a member that the order lacks, but for `when_none = "endpoint:…"`, which the
/// configuration has checked to lie inside every fence.
#[must_use]
pub fn settle(plan: &Plan, endpoints: &[Endpoint], order: &Order, states: &[Option<State>]) -> Settled {
    settle_by(plan, endpoints, order, states).0
}

/// The same, with the preference that decided: an index into `Policy::preferences`.
pub(super) fn settle_by(
    plan: &Plan,
    endpoints: &[Endpoint],
    order: &Order,
    states: &[Option<State>],
) -> (Settled, Option<usize>) {
    let state_of = |rank: usize| states[order.ranked[rank].index()];
    let answerable: Vec<usize> = (0..order.ranked.len()).filter(|&rank| state_of(rank).is_some()).collect();
    let best = answerable.iter().filter_map(|&rank| state_of(rank)).min().unwrap_or(State::Down);
    let usable = match (best, plan.policy.when_none) {
        (State::Down, WhenNone::IgnoreHealth) => answerable,
        (State::Down, WhenNone::Endpoint(member)) if states[member.index()].is_some() => {
            return (Settled::Split(Split::new(plan, endpoints, &[member])), None);
        }
        (State::Down, WhenNone::Nodata) => return (Settled::Nodata, None),
        (State::Down, WhenNone::Servfail | WhenNone::Endpoint(_)) => return (Settled::Servfail, None),
        _ => answerable.into_iter().filter(|&rank| state_of(rank) == Some(best)).collect(),
    };
    let (preference, tier) =
        preferred(plan, order, &usable).map_or((None, usable), |(preference, tier)| (Some(preference), tier));
    let Some(chosen) = cheapest_near(order, &tier) else { return (Settled::Servfail, None) };
    (spread(plan, endpoints, order, &tier, chosen), preference)
}

/// The first preference that reaches one of `usable`, if any does, and those that it reaches.
fn preferred(plan: &Plan, order: &Order, usable: &[usize]) -> Option<(usize, Vec<usize>)> {
    let fastest = *usable.first()?;
    order.preferences.iter().find_map(|reached| {
        let preference = usize::from(reached.preference);
        let members = &plan.policy.preferences[preference].members;
        let last = usize::from(reached.reach[fastest]);
        let near = usable.iter().copied().take_while(|&rank| rank <= last);
        let tier: Vec<usize> = near.filter(|&rank| members.binary_search(&order.ranked[rank]).is_ok()).collect();
        (!tier.is_empty()).then_some((preference, tier))
    })
}

/// The cheapest rank of `tier` within the cost budget of its fastest; without a budget, the fastest.
fn cheapest_near(order: &Order, tier: &[usize]) -> Option<usize> {
    let fastest = *tier.first()?;
    if order.budget.is_empty() {
        return Some(fastest);
    }
    let last = usize::from(order.budget[fastest]);
    tier.iter().copied().take_while(|&rank| rank <= last).min_by_key(|&rank| (order.cost[rank], rank))
}

/// The chosen rank and those of its tier that tie with it (at the same cost, where cost counts).
fn spread(plan: &Plan, endpoints: &[Endpoint], order: &Order, tier: &[usize], chosen: usize) -> Settled {
    let last = usize::from(order.tie[chosen]);
    let same_cost = |rank: &usize| order.cost.is_empty() || order.cost[*rank] == order.cost[chosen];
    let ties = tier.iter().copied().filter(|&rank| rank >= chosen && rank <= last).filter(same_cost);
    let room = match plan.policy.spread {
        Spread::Multivalue(count) => usize::from(count),
        Spread::Sticky | Spread::Random => MAX_SHARES,
    };
    let members: Vec<Member> = ties.take(room).map(|rank| order.ranked[rank]).collect();
    match plan.policy.spread {
        Spread::Multivalue(_) => Settled::Set(members.into()),
        Spread::Sticky | Spread::Random => Settled::Split(Split::new(plan, endpoints, &members)),
    }
}
