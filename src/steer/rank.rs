//! Fence and rank: what of a decision does not depend on health.

use super::merge::merge;
use super::order::{Order, Shape, Writer};
use crate::model::{Endpoint, Family, FenceMask, FenceUnknown, Location, Member, Plan, Within};

/// What ranking asks of one location, besides the location. [`decide`](super::decide) works it out;
/// whoever ranks thousands of locations has worked it out before.
pub trait Facts {
    /// Expected latency of a member, in ms, without bias.
    fn estimate_ms(&self, member: Member) -> f32;
    /// What its traffic costs there.
    fn cost(&self, member: Member) -> f64;
    /// Does the place of this preference hold the location?
    fn prefers(&self, preference: usize) -> bool;
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

/// All of a location that a plan's fences look at: locations alike in it may use the same members.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FenceClass {
    fences: FenceMask,
    located: bool,
    mixed: bool,
}

impl FenceClass {
    /// That of a location.
    #[inline]
    #[must_use]
    pub fn of(plan: &Plan, location: &Location) -> Self {
        let mask = plan.policy.fences.iter().fold(FenceMask::default(), |mask, fence| mask.with(fence.place));
        let fences = FenceMask(location.fences.0 & mask.0);
        Self { fences, located: location.is_located(), mixed: location.mixed }
    }
}

/// A plan and family made ready to rank locations, one after the other.
pub struct Ranker<'a> {
    plan: &'a Plan,
    endpoints: &'a [Endpoint],
    family: Family,
    shape: Shape,
    /// By member.
    bias_ms: Vec<f32>,
    /// Members allowed that may have addresses of the family, in the order of the last location of the class.
    classes: Vec<(FenceClass, Vec<Member>)>,
    // Scratch.
    keys: Vec<u64>,
    ms: Vec<f32>,
    costs: Vec<f64>,
    distinct: Vec<f64>,
    octets: Vec<u8>,
}

impl<'a> Ranker<'a> {
    /// For locations that each lie in at most so many `preferences`.
    #[must_use]
    pub fn new(plan: &'a Plan, endpoints: &'a [Endpoint], family: Family, preferences: usize) -> Self {
        let members = || plan.members.iter().map(|id| &endpoints[id.index()]);
        let most = members().filter(|endpoint| endpoint.may_have(family)).count();
        let shape = Shape::new(most, plan.policy.cost_budget_ms > 0.0, preferences);
        Self {
            plan,
            endpoints,
            family,
            shape,
            bias_ms: members().map(|endpoint| endpoint.bias_ms).collect(),
            classes: Vec::new(),
            keys: Vec::with_capacity(most),
            ms: Vec::with_capacity(most),
            costs: Vec::new(),
            distinct: Vec::new(),
            octets: vec![0; shape.stride()],
        }
    }

    /// That of all its orders.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// The order of the plan for clients at `location`, of which the rest is in `facts`.
    #[must_use]
    pub fn rank(&mut self, location: &Location, facts: &impl Facts) -> Order<'_> {
        self.write(location, facts);
        Order::new(self.shape, &self.octets)
    }

    /// The one that stands for all that settle alike.
    #[must_use]
    pub fn rank_merged(&mut self, location: &Location, facts: &impl Facts) -> Order<'_> {
        self.write(location, facts);
        merge(self.plan, self.shape, &mut self.octets);
        Order::new(self.shape, &self.octets)
    }

    fn write(&mut self, location: &Location, facts: &impl Facts) {
        let class = self.class(location);
        let members = &mut self.classes[class].1;
        self.keys.clear();
        for &member in &*members {
            let figure = facts.estimate_ms(member) + self.bias_ms[member.index()];
            self.keys.push(u64::from(ascending(figure)) << 8 | u64::from(member.0));
        }
        // By expected latency, ties by member. Nearly sorted already where the last location was near.
        self.keys.sort_unstable();
        let mut order = Writer::new(self.shape, self.keys.len(), &mut self.octets);
        self.ms.clear();
        for ((rank, member), key) in order.ranks().iter_mut().zip(members).zip(&self.keys) {
            (*rank, *member) = (*key as u8, Member(*key as u8));
            self.ms.push(figure((*key >> 8) as u32));
        }
        let policy = &self.plan.policy;
        reach(&self.ms, policy.tie_ms, order.tie());
        if policy.cost_budget_ms > 0.0 {
            reach(&self.ms, policy.cost_budget_ms, order.budget());
            self.costs.clear();
            self.costs.extend(self.keys.iter().map(|&key| facts.cost(Member(key as u8))));
            places(&self.costs, &mut self.distinct, order.cost());
        }
        for (index, preference) in policy.preferences.iter().enumerate() {
            if facts.prefers(index) {
                let budget_ms = match preference.within {
                    Within::Ms(budget_ms) => budget_ms,
                    Within::Any => f32::INFINITY,
                };
                reach(&self.ms, budget_ms, order.preference(index));
            }
        }
    }

    fn class(&mut self, location: &Location) -> usize {
        let class = FenceClass::of(self.plan, location);
        self.classes.iter().position(|(known, _)| *known == class).unwrap_or_else(|| {
            let mut members = allowed(self.plan, self.endpoints, self.family, location);
            members.retain(|member| self.endpoints[self.plan.members[member.index()].index()].may_have(self.family));
            self.classes.push((class, members));
            self.classes.len() - 1
        })
    }
}

/// A figure's bits, so that they compare as `f32::total_cmp` has it.
fn ascending(figure: f32) -> u32 {
    let bits = figure.to_bits();
    bits ^ (((bits as i32) >> 31) as u32 | 1 << 31)
}

/// The figure of [`ascending`].
fn figure(ascending: u32) -> f32 {
    f32::from_bits(ascending ^ (((!ascending as i32) >> 31) as u32 | 1 << 31))
}

/// For each rank, the last rank at most `budget_ms` slower.
fn reach(ms: &[f32], budget_ms: f32, last: &mut [u8]) {
    let mut end = 0;
    for (from, last) in ms.iter().zip(last) {
        let limit = from + budget_ms;
        while ms.get(end).is_some_and(|to| *to <= limit) {
            end += 1;
        }
        *last = end.saturating_sub(1) as u8; // a plan has at most 255 members
    }
}

/// Each figure's place among the distinct ones, lowest 0.
fn places(figures: &[f64], distinct: &mut Vec<f64>, places: &mut [u8]) {
    distinct.clear();
    distinct.extend_from_slice(figures);
    distinct.sort_unstable_by(f64::total_cmp);
    distinct.dedup();
    for (figure, place) in figures.iter().zip(places) {
        *place = distinct.partition_point(|other| other < figure) as u8; // a plan has at most 255 members
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_compare_as_their_bits() {
        let figures = [f32::NEG_INFINITY, -7.5, -0.0, 0.0, 1e-40, 2.0, 2.000_000_2, 300.0, f32::INFINITY];
        for (a, b) in figures.iter().zip(&figures[1..]) {
            assert!(ascending(*a) < ascending(*b), "{a} {b}");
        }
        assert!(figures.iter().all(|&a| figure(ascending(a)).to_bits() == a.to_bits()));
    }

    #[test]
    fn how_far_budgets_reach() {
        let reaches = |ms: &[f32], budget_ms| {
            let mut last = vec![0; ms.len()];
            reach(ms, budget_ms, &mut last);
            last
        };
        assert_eq!(reaches(&[1.0, 2.0, 4.0, 4.0, 9.0], 2.0), [1, 3, 3, 3, 4]);
        assert_eq!(reaches(&[1.0, 1.0, 4.0], 0.0), [1, 1, 2]);
        assert_eq!(reaches(&[1.0, 2.0, 4.0], f32::INFINITY), [2, 2, 2]);
    }

    #[test]
    fn costs_by_place() {
        let mut ranks = [9; 4];
        places(&[0.2, 0.1, 0.2, 0.05], &mut Vec::new(), &mut ranks);
        assert_eq!(ranks, [2, 1, 2, 0]);
    }
}
