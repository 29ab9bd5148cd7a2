//! Plans that rank alike share their orders: within one configuration, and from one to the next.

use std::collections::HashMap;

use super::fold::Fold;
use super::ranking::Rankings;
use crate::model::{Endpoint, Family, Plan, Policy, Spread};

/// A plan in its configuration.
#[derive(Clone, Copy)]
pub(super) struct InConfig<'a> {
    pub(super) plan: &'a Plan,
    pub(super) endpoints: &'a [Endpoint],
}

/// Rankings made so far over the same locations.
#[derive(Default)]
pub(super) struct Ranked<'a> {
    by_hash: HashMap<u64, Vec<(InConfig<'a>, Rankings)>>,
}

impl<'a> Ranked<'a> {
    pub(super) fn add(&mut self, plan: InConfig<'a>, rankings: Rankings) {
        self.by_hash.entry(plan.hash()).or_default().push((plan, rankings));
    }

    /// The rankings of a plan that is ranked alike.
    pub(super) fn find(&self, plan: InConfig<'_>) -> Option<Rankings> {
        let list = self.by_hash.get(&plan.hash())?;
        let (_, rankings) = list.iter().find(|(known, _)| known.ranks_like(plan))?;
        Some(rankings.clone())
    }
}

impl InConfig<'_> {
    fn members(&self) -> impl Iterator<Item = &Endpoint> {
        self.plan.members.iter().map(|id| &self.endpoints[id.index()])
    }

    /// Over a part of what [`Self::ranks_like`] compares.
    fn hash(self) -> u64 {
        let mut hash = Fold::default();
        for endpoint in self.members() {
            hash.word(u64::from(endpoint.site.coordinates.latitude.to_bits()));
            hash.word(
                u64::from(endpoint.bias_ms.to_bits()) << 32 | u64::from(endpoint.site.coordinates.longitude.to_bits()),
            );
        }
        hash.word(self.plan.policy.fences.len() as u64);
        hash.word(self.plan.policy.tie_ms.to_bits().into());
        hash.word(is_set(&self.plan.policy).into());
        hash.0
    }

    /// Is everything the same that ranking reads?
    fn ranks_like(&self, other: InConfig<'_>) -> bool {
        let (ours, theirs) = (&self.plan.policy, &other.plan.policy);
        let Policy { fences, fence_unknown, preferences, cost_budget_ms, tie_ms, .. } = ours;
        let alike = |(a, b): (&Endpoint, &Endpoint)| {
            a.site == b.site
                && a.bias_ms == b.bias_ms
                && (*cost_budget_ms == 0.0 || a.cost == b.cost)
                && Family::ALL.iter().all(|&family| a.counts_for(family) == b.counts_for(family))
                && Family::ALL.iter().all(|&family| a.may_have(family) == b.may_have(family))
        };
        *fences == theirs.fences
            && *fence_unknown == theirs.fence_unknown
            && *preferences == theirs.preferences
            && *cost_budget_ms == theirs.cost_budget_ms
            && *tie_ms == theirs.tie_ms
            // What may be merged differs.
            && is_set(ours) == is_set(theirs)
            && self.plan.members.len() == other.plan.members.len()
            && self.members().zip(other.members()).all(alike)
    }
}

/// Do several answer together?
fn is_set(policy: &Policy) -> bool {
    matches!(policy.spread, Spread::Multivalue(_))
}
