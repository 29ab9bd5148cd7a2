//! Plans, policies and services.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use super::{Endpoint, EndpointId, Family, FenceMask, Member, Name, PlaceSet, PlanId, ZoneId};

/// The most endpoints that one plan may hold: a [`Member`] is an octet, and sets of members are
/// 256 bits.
pub const MAX_MEMBERS: usize = 255;

/// The most endpoints in one multivalue answer.
pub const MAX_MULTIVALUE: usize = 16;

/// All of an endpoint's clients, in the unit that parts of them are in.
pub const ALL_PARTS: u16 = 256;

/// A hard rule of residency: clients in its `where` get only these members (BEHAVIOUR rule 1).
#[derive(Clone, Debug, PartialEq)]
pub struct Fence {
    /// Index into `Config::fence_places`, the bit that a location's fence mask has for `where`.
    pub place: usize,
    /// Members that stand in its `in` (and are of its `clouds` or `endpoints`), ascending; not empty.
    pub members: Vec<Member>,
}

/// What clients get whose place is not known, or whose prefix lies under different fences
/// (BEHAVIOUR rule 3).
#[derive(Clone, Debug, PartialEq)]
pub enum FenceUnknown {
    /// Members that all fences allow (of the mixed prefix; of the plan for a client unlocated).
    Strictest,
    /// Members in a named set, ascending; not empty.
    Set(Vec<Member>),
}

/// How far a preference or budget may lead away from the fastest usable member.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Within {
    /// At most so many ms slower than the fastest usable one (BEHAVIOUR rule 5).
    Ms(f32),
    /// A strict tier: however slow.
    Any,
}

/// Clients in `place` prefer these members. Preferences are tried in order; the first that has a
/// usable member within its budget decides.
#[derive(Clone, Debug, PartialEq)]
pub struct Preference {
    /// Whose clients.
    pub place: PlaceSet,
    /// The members preferred, ascending; not empty.
    pub members: Vec<Member>,
    /// Its latency budget.
    pub within: Within,
}

/// How clients are spread over members that tie (BEHAVIOUR rule 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spread {
    /// By the client's prefix: the same client, the same endpoint.
    Sticky,
    /// Anew for each query; behind a big cache neither random nor weighted.
    Random,
    /// The first N usable members in one tier within `tie`, all in one answer (N from 2).
    Multivalue(u8),
}

/// What to answer when no member is usable (BEHAVIOUR rule 18).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WhenNone {
    /// The order as if all probes were up.
    IgnoreHealth,
    /// This member, which lies inside every fence.
    Endpoint(Member),
    /// SERVFAIL with an extended error.
    Servfail,
    /// No data.
    Nodata,
}

/// How the members of a plan are chosen between.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    /// All that apply to a client hold at once.
    pub fences: Vec<Fence>,
    /// For clients of unknown place and mixed prefixes.
    pub fence_unknown: FenceUnknown,
    /// In order.
    pub preferences: Vec<Preference>,
    /// The cheapest within so many ms of the fastest wins; 0: cost plays no part (rule 6).
    pub cost_budget_ms: f32,
    /// Members within so many ms of the chosen one share with it.
    pub tie_ms: f32,
    /// Measured estimates that move a round trip by less, or by less than a tenth of it, change no answer. The least of all
    /// policies counts for all, since what is published is one table. In ms.
    pub min_gain_ms: f32,
    /// How they share.
    pub spread: Spread,
    /// What to do when none is usable.
    pub when_none: WhenNone,
    /// Bound on the TTL of answers with an endpoint that may turn soon (rule 20).
    pub ttl_doubt: Duration,
    /// What a degraded member keeps of its clients while another is up, in 1/256; 256: it is as good as up.
    pub degraded_kept: u16,
    /// A member that was down and comes back gets its clients by steps over this long.
    pub warmup: Duration,
    /// A member that the operator drains loses them so.
    pub drain: Duration,
    /// Below this share of a fence's capacity, those that are down keep the excess (rule 18); 0: never.
    pub panic_below: f32,
    /// Enough capacity for so long ends it.
    pub panic_hold: Duration,
}

#[cfg(test)]
impl Policy {
    /// The nearest that is up, for everybody.
    pub(crate) fn nearest() -> Self {
        Self {
            fences: Vec::new(),
            fence_unknown: FenceUnknown::Strictest,
            preferences: Vec::new(),
            cost_budget_ms: 0.0,
            tie_ms: 0.0,
            min_gain_ms: 5.0,
            spread: Spread::Sticky,
            when_none: WhenNone::IgnoreHealth,
            ttl_doubt: Duration::MAX,
            degraded_kept: 0,
            warmup: Duration::ZERO,
            drain: Duration::ZERO,
            panic_below: 0.0,
            panic_hold: Duration::ZERO,
        }
    }
}

/// Endpoints and a policy. Services with the same ones share one plan.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Its endpoints, in the order of the file; [`Member`]s index into it.
    pub members: Vec<EndpointId>,
    /// How to choose.
    pub policy: Policy,
}

impl Plan {
    /// The members that every fence applying under `mask` allows, ascending.
    pub fn allowed(&self, mask: FenceMask) -> impl Iterator<Item = Member> {
        let fences = self.policy.fences.iter().filter(move |fence| mask.contains(fence.place));
        let fences: Vec<&Fence> = fences.collect();
        let members = (0..self.members.len()).map(|index| Member(index as u8));
        members.filter(move |member| fences.iter().all(|fence| fence.members.binary_search(member).is_ok()))
    }

    /// The members that its fences leave to some clients, each set once; no empty one. `combinations` are
    /// `Config::fence_combinations`.
    #[must_use]
    pub fn fenced_sets(&self, combinations: &[FenceMask]) -> BTreeSet<Vec<Member>> {
        let own = self.policy.fences.iter().fold(FenceMask::default(), |mask, fence| mask.with(fence.place));
        let masks: BTreeSet<u64> = combinations.iter().map(|mask| mask.0 & own.0).collect();
        let known = masks.into_iter().map(|mask| self.allowed(FenceMask(mask)).collect());
        known.chain([self.allowed_unknown()]).filter(|set: &Vec<Member>| !set.is_empty()).collect()
    }

    /// The members that a client of unknown place gets, ascending.
    #[must_use]
    pub fn allowed_unknown(&self) -> Vec<Member> {
        match &self.policy.fence_unknown {
            FenceUnknown::Strictest => self.allowed(FenceMask(u64::MAX)).collect(),
            FenceUnknown::Set(members) => members.clone(),
        }
    }

    /// What each member can carry at most; where that is not said, the mean of the others.
    #[must_use]
    pub fn capacities(&self, endpoints: &[Endpoint]) -> Vec<f64> {
        let typed = || self.members.iter().map(|id| endpoints[id.index()].capacity.map(|capacity| capacity.max));
        let (sum, count) = typed().flatten().fold((0.0, 0u32), |(sum, count), capacity| (sum + capacity, count + 1));
        let mean = if count == 0 { 1.0 } else { sum / f64::from(count) };
        typed().map(|capacity| capacity.unwrap_or(mean)).collect()
    }

    /// Do services with this plan have addresses of `family`? Only if every client, wherever it is,
    /// keeps a member with one, so that which types exist does not depend on who asks (DESIGN
    /// invariant 4). `endpoints` and `combinations` are the configuration's, the latter
    /// `Config::fence_combinations`.
    #[must_use]
    pub fn has_family(&self, family: Family, endpoints: &[Endpoint], combinations: &[FenceMask]) -> bool {
        let holds = |member: Member| endpoints[self.members[member.index()].index()].counts_for(family);
        combinations.iter().all(|mask| self.allowed(*mask).any(holds)) && self.allowed_unknown().into_iter().any(holds)
    }
}

/// A steered name.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// Its name; may be a wildcard.
    pub name: Name,
    /// As typed: seeds the spread, labels metrics.
    pub label: Arc<str>,
    /// The zone that it lies in.
    pub zone: ZoneId,
    /// What chooses its endpoint.
    pub plan: PlanId,
    /// TTL of its answers, whole seconds.
    pub ttl: Duration,
}
