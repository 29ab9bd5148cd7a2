//! What the beacon listener asks: whom a client should measure, and room for what it found.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::{Arc, PoisonError};

use ipnet::IpNet;
use jiff::Timestamp;

use super::explain::find_service;
use super::measuring::Reported;
use super::shared::Shared;
use crate::beacons::{self, Candidate, Exchange};
use crate::latency::{self, Estimates, Samples, TargetId, World};
use crate::model::{Country, Endpoint, EndpointId, Family, Location, Member, Name};
use crate::steer;
use crate::table::{Hand, Snapshot};

/// Sites that one session measures.
const AT_ONCE: usize = 4;

/// One client, and how far it is expected to be from each site that it may use.
struct Client<'a> {
    location: &'a Location,
    asn: Option<u32>,
    prior_ms: BTreeMap<TargetId, f32>,
}

impl World for Client<'_> {
    fn country(&self, _: IpAddr) -> Option<Country> {
        self.location.country
    }

    fn asn(&self, _: IpAddr) -> Option<u32> {
        self.asn
    }

    fn prior_ms(&self, _: IpAddr, target: TargetId) -> Option<f32> {
        self.prior_ms.get(&target).copied()
    }

    fn is_one_place(&self, _: IpAddr) -> bool {
        true
    }
}

/// The endpoints of a service that a client may use and that browsers can time: one a site, by site.
fn inside<'s>(snapshot: &'s Snapshot, name: &Name, location: &Location) -> Option<BTreeMap<String, &'s Endpoint>> {
    let config = &snapshot.parts.config;
    let found = |family| find_service(snapshot, name, family);
    let service = Family::ALL.into_iter().find_map(found)?;
    let plan = &snapshot.plan(&snapshot.services[service.index()]).plan;
    let allowed = Family::ALL.map(|family| steer::allowed(plan, &config.endpoints, family, location));
    let members: BTreeSet<Member> = allowed.into_iter().flatten().collect();
    let endpoint = |id: EndpointId| {
        let endpoint = &config.endpoints[id.index()];
        let is_in_use = snapshot.standing(id).hand != Hand::Down && endpoint.beacon.is_some();
        is_in_use.then(|| (endpoint.site.name(), endpoint))
    };
    Some(members.into_iter().filter_map(|member| endpoint(plan.members[member.index()])).collect())
}

impl Exchange for Shared {
    fn candidates(&self, service: &str, client: IpAddr) -> Option<Vec<Candidate>> {
        let (snapshot, client) = (self.published.load_full(), client.to_canonical());
        let parts = &snapshot.parts;
        let source = if client.is_ipv4() { 24 } else { 48 };
        let place = parts.geo.locate_prefix(client, source);
        let location = parts.geo.location(place.location);
        let endpoints = inside(&snapshot, &service.parse().ok()?, location)?;
        // One site alone has nothing to be compared with. And while samples are looked at, nobody measures.
        let chosen = match endpoints.len() {
            0 | 1 => Vec::new(),
            _ => {
                let asn = parts.geo.asn(IpNet::new_assert(client, source).network());
                let near = Client { location, asn, prior_ms: BTreeMap::new() };
                let estimates = self.measuring.latest();
                let choose = |samples: &mut Samples| choose(samples, &estimates, &endpoints, client, near);
                self.measuring.with_samples(choose).unwrap_or_default()
            }
        };
        let candidate = |site: Arc<str>| {
            let url = endpoints.get(&*site)?.beacon.clone()?;
            Some(Candidate { site, url })
        };
        Some(chosen.into_iter().filter_map(candidate).collect())
    }

    fn is_site(&self, site: &str) -> bool {
        let (snapshot, Some((cloud, region))) = (self.published.load(), site.split_once('/')) else { return false };
        let mut sites = snapshot.parts.config.endpoints.iter().map(|endpoint| &endpoint.site);
        sites.any(|site| site.cloud.as_str() == cloud && &*site.region == region)
    }

    fn take(&self, sessions: Vec<beacons::Reported>) -> bool {
        let reported = |session: &beacons::Reported| {
            let samples = session.samples.iter().filter_map(|(site, ms)| Some((site.clone(), (*ms)?))).collect();
            Reported { client: session.client, samples, absolute: session.absolute, at: None }
        };
        // Who reached what is heard whether or not there is room, of each network once.
        let mut errors = self.client_errors.lock().unwrap_or_else(PoisonError::into_inner);
        for beacons::Reported { client, samples, .. } in &sessions {
            errors.take(*client, samples, Timestamp::now()).into_iter().for_each(|complaint| self.complain(complaint));
        }
        drop(errors);
        self.measuring.offer_all(sessions.iter().map(reported).collect())
    }
}

/// Sites to be measured, in order.
fn choose(
    samples: &mut Samples,
    estimates: &Estimates,
    endpoints: &BTreeMap<String, &Endpoint>,
    client: IpAddr,
    mut near: Client<'_>,
) -> Vec<Arc<str>> {
    let origin = latency::Origin::new(near.location);
    let mut allowed = Vec::with_capacity(endpoints.len());
    for (name, endpoint) in endpoints {
        let Some(target) = samples.target(name) else { continue };
        let expected_ms = origin.expected_ms(&latency::Destination::new(&endpoint.site));
        near.prior_ms.insert(target, expected_ms);
        allowed.push(target);
    }
    // Nobody gains by foreseeing whom a session measures.
    let seed = std::hash::BuildHasher::hash_one(&std::collections::hash_map::RandomState::new(), client);
    let chosen = samples.candidates(estimates, &near, client, &allowed, AT_ONCE, seed, Timestamp::now());
    chosen.into_iter().map(|target| samples.targets()[target.index()].clone()).collect()
}
