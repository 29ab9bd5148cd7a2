//! Fence and rank: what of a decision does not depend on health.

use crate::model::{Endpoint, Family, FenceUnknown, Location, Member, Plan, Preference, Within};

/// Members that a location may use, best first, with everything that the choice among any usable
/// subset of them needs. Holds no figures: locations whose figures compare alike share an order.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Order {
    /// By expected latency, bias included; ties by member.
    pub ranked: Box<[Member]>,
    /// The last rank within `tie` of each rank.
    pub tie: Box<[u8]>,
    /// The last rank within `cost_budget` of each rank; empty where cost plays no part.
    pub budget: Box<[u8]>,
    /// Each rank's place among the distinct costs, cheapest 0; empty where cost plays no part.
    pub cost: Box<[u8]>,
    /// The preferences that hold the location, in order.
    pub preferences: Box<[PreferenceReach]>,
}

/// One preference of an order.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PreferenceReach {
    /// Index into `Policy::preferences`.
    pub preference: u8,
    /// The last rank within its latency budget of each rank.
    pub reach: Box<[u8]>,
}

/// The members that `location` may use by the fences alone, ascending (BEHAVIOUR rules 1 and 3).
///
/// Where `fence_unknown` names a set, clients of unknown place get what that set and the fences that
/// are known to apply have in common; only where that is nothing that has addresses of `family`, the
/// set alone: which types exist must not depend on the place (DESIGN invariant 4).
#[must_use]
pub fn allowed(plan: &Plan, endpoints: &[Endpoint], family: Family, location: &Location) -> Vec<Member> {
    let known = || plan.allowed(location.fences);
    match &plan.policy.fence_unknown {
        _ if location.is_located() && !location.mixed => known().collect(),
        FenceUnknown::Set(_) if plan.policy.fences.is_empty() => known().collect(),
        FenceUnknown::Set(named) => {
            let both: Vec<Member> = known().filter(|member| named.contains(member)).collect();
            let has_family = |member: &Member| endpoints[plan.members[member.index()].index()].counts_for(family);
            if both.iter().any(has_family) { both } else { named.clone() }
        }
        // Strictest: a mixed prefix is under the fences of all its leaves, which its mask is the union
        // of; a client without a country may be anywhere.
        FenceUnknown::Strictest if location.is_located() => known().collect(),
        FenceUnknown::Strictest => plan.allowed_unknown(),
    }
}

/// The order of `plan` for clients at `location` that ask for addresses of `family`.
///
/// `estimate_ms` is the expected latency of each member (index: [`Member`]), without bias.
#[must_use]
pub fn rank(plan: &Plan, endpoints: &[Endpoint], family: Family, location: &Location, estimate_ms: &[f32]) -> Order {
    let endpoint = |member: Member| &endpoints[plan.members[member.index()].index()];
    let figure = |member: Member| estimate_ms[member.index()] + endpoint(member).bias_ms;
    let mut ranked = allowed(plan, endpoints, family, location);
    ranked.retain(|&member| endpoint(member).may_have(family));
    ranked.sort_by(|&a, &b| figure(a).total_cmp(&figure(b)).then(a.cmp(&b)));
    let ms: Vec<f32> = ranked.iter().map(|&member| figure(member)).collect();

    let policy = &plan.policy;
    let by_cost = policy.cost_budget_ms > 0.0;
    let costs: Vec<f64> = ranked.iter().map(|&member| endpoint(member).cost.at(location)).collect();
    Order {
        tie: reach(&ms, policy.tie_ms),
        budget: if by_cost { reach(&ms, policy.cost_budget_ms) } else { Box::default() },
        cost: if by_cost { places(&costs) } else { Box::default() },
        preferences: preferences(policy.preferences.as_slice(), location, &ms),
        ranked: ranked.into(),
    }
}

/// For each rank, the last rank at most `budget_ms` slower.
fn reach(ms: &[f32], budget_ms: f32) -> Box<[u8]> {
    let last = |from: &f32| ms.partition_point(|to| *to <= from + budget_ms).saturating_sub(1);
    ms.iter().map(|from| u8::try_from(last(from)).expect("a plan has at most 255 members")).collect()
}

/// Each figure's place among the distinct ones, lowest 0.
fn places(figures: &[f64]) -> Box<[u8]> {
    let mut distinct = figures.to_vec();
    distinct.sort_by(f64::total_cmp);
    distinct.dedup();
    let place = |figure: &f64| distinct.partition_point(|other| other < figure);
    figures.iter().map(|figure| u8::try_from(place(figure)).expect("a plan has at most 255 members")).collect()
}

fn preferences(preferences: &[Preference], location: &Location, ms: &[f32]) -> Box<[PreferenceReach]> {
    let holding = preferences.iter().enumerate().filter(|(_, preference)| preference.place.holds(location));
    let reached = holding.map(|(index, preference)| PreferenceReach {
        preference: u8::try_from(index).expect("the configuration bounds its preferences"),
        reach: match preference.within {
            Within::Ms(budget_ms) => reach(ms, budget_ms),
            Within::Any => reach(ms, f32::INFINITY),
        },
    });
    reached.collect()
}
