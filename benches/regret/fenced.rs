//! Residency: clients in the European Union, a fence around it, and whom the decision answers with.

use std::sync::Arc;
use std::time::Duration;

use meridian::model::{
    Addresses, Cost, Endpoint, EndpointId, Family, Fence, FenceMask, FenceUnknown, Location, Member, PlaceSet, Plan,
    Policy, Spread, State, WhenNone,
};
use meridian::steer::{Settled, Usage, decide};

use crate::samples::Service;

/// Adds up answers, those outside, and those that are none.
pub(crate) fn count(service: &Service<'_>, city: usize, expected_ms: &[f32], counts: &mut [usize; 3]) {
    let eu = PlaceSet::built_in("eu").expect("it is built in");
    let location = &service.locations[city];
    if !eu.holds(location) {
        return;
    }
    let inside = |member: &Member| eu.holds_site(&service.measured.hosts[service.set[member.index()]].site);
    let members = (0..service.set.len()).map(Member::at).filter(inside).collect();
    let plan = Plan { members: (0..service.set.len()).map(EndpointId::at).collect(), policy: policy(members) };
    let endpoints: Vec<Endpoint> = service.set.iter().map(|&host| endpoint(service, host)).collect();
    let location = Location { fences: FenceMask::default().with(0), ..location.clone() };
    let usages = vec![Some(Usage::plain(State::Up, &plan.policy)); endpoints.len()];
    let chosen: Vec<Member> = match decide(&plan, &endpoints, Family::V4, &location, expected_ms, &usages, 0).settled {
        Settled::Split(split) => split.shares().iter().map(|share| share.member).collect(),
        Settled::Set(members) => members.into(),
        Settled::Nodata | Settled::Servfail => Vec::new(),
    };
    counts[0] += 1;
    counts[1] += usize::from(!chosen.iter().all(inside));
    counts[2] += usize::from(chosen.is_empty());
}

fn endpoint(service: &Service<'_>, host: usize) -> Endpoint {
    let host = &service.measured.hosts[host];
    let address = std::net::Ipv4Addr::new(192, 0, 2, 1);
    Endpoint {
        name: Arc::from(&*host.site.region),
        site: host.site.clone(),
        addresses: Addresses::Fixed(vec![address.into()]),
        bias_ms: 0.0,
        weight: 1,
        cost: Cost::default(),
        probes: Vec::new(),
        probe_target: None,
        capacity: None,
        beacon: None,
    }
}

/// The nearest, by estimates alone, inside the fence.
fn policy(members: Vec<Member>) -> Policy {
    Policy {
        fences: vec![Fence { place: 0, members }],
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
