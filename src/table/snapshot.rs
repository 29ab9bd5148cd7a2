//! The snapshot: one immutable whole.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use super::counters::{CounterKey, Counters, RCODE_SLOTS};
use super::endpoint::EndpointEntry;
use super::hot::Hot;
use super::plan::PlanTable;
use super::standing::Standing;
use crate::config::Config;
use crate::geo::Geo;
use crate::model::{CounterId, EndpointId, Family, Plan, PlanId, Problem, Service, ZoneId};
use crate::steer;
use crate::zone::Zones;

/// What a snapshot is compiled from, apart from health: one consistent set of files.
#[derive(Clone, Debug)]
pub struct Parts {
    /// The configuration.
    pub config: Arc<Config>,
    /// Its zones, the services' names in them.
    pub zones: Arc<Zones>,
    /// Its databases.
    pub geo: Arc<Geo>,
    /// Where the configuration was read from, for problems.
    pub file: Arc<Path>,
}

/// Everything that a query reads. Never changed once made.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Grows by one with each publication.
    pub generation: u64,
    /// What it was compiled from.
    pub parts: Parts,
    /// Are steered names answered? Not before the first round of probes; queries for them get silence
    /// until then, so that resolvers ask the next server. Static names never wait (BEHAVIOUR rule 11).
    pub steering: bool,
    /// Index: `ServiceId`.
    pub services: Arc<[ServiceEntry]>,
    /// What the batched path answers at once. Made by `answer::with_hot`; empty before.
    pub hot: Arc<Hot>,
    /// Index: `PlanId`.
    plans: Box<[Arc<PlanTable>]>,
    /// Index: `EndpointId`.
    endpoints: Box<[EndpointEntry]>,
    /// Response code counters; index: `ZoneId`.
    zone_counters: Arc<[[CounterId; RCODE_SLOTS.len()]]>,
    /// Those of queries outside all zones.
    no_zone: [CounterId; RCODE_SLOTS.len()],
    /// Counters by source of the location: ECS, resolver, default.
    location_counters: [CounterId; 3],
}

/// A service, ready to be answered.
#[derive(Clone, Debug)]
pub struct ServiceEntry {
    /// What it is.
    pub service: Service,
    /// Seeds its spread.
    pub salt: u64,
    /// The types that it has, by family.
    pub offers: [bool; 2],
    /// TTL of its answers in seconds.
    pub ttl: u32,
    /// Counts its queries.
    pub counter: CounterId,
}

impl Snapshot {
    /// Compiles `parts` as generation 0, steered names not answered yet, under `standings` (index: `EndpointId`).
    ///
    /// # Errors
    /// What only shows when places and fences meet: a fence that leaves a location no endpoint.
    pub fn compile(parts: Parts, standings: Vec<Standing>, counters: &mut Counters) -> Result<Self, Vec<Problem>> {
        let config = parts.config.clone();
        let counter = |counters: &mut Counters, index: usize| {
            counters.id(CounterKey::Endpoint(config.endpoints[index].name.clone()))
        };
        let endpoints: Box<[EndpointEntry]> = standings
            .into_iter()
            .enumerate()
            .map(|(index, standing)| EndpointEntry::new(standing, counter(counters, index)))
            .collect();
        let locations = parts.geo.locations();
        let compile = |plan| PlanTable::compile(plan, &config.endpoints, locations, &endpoints, &parts.file);
        let (plans, problems) = split(config.plans.iter().map(compile));
        if !problems.is_empty() {
            return Err(problems);
        }
        let plans: Box<[Arc<PlanTable>]> = plans.into_iter().map(Arc::new).collect();
        let families = |plan: &Plan| {
            Family::ALL.map(|family| plan.has_family(family, &config.endpoints, &config.fence_combinations))
        };
        let offers: Vec<[bool; 2]> = config.plans.iter().map(families).collect();
        let entry = |service: &Service| ServiceEntry::new(service, offers[service.plan.index()], counters);
        let services: Arc<[ServiceEntry]> = config.services.iter().map(entry).collect();
        let zone_counters = config.zones.iter().map(|zone| counters.queries(&zone.name.to_string())).collect();
        let no_zone = counters.queries("");
        let location_counters = ["ecs", "resolver", "default"].map(|source| counters.id(CounterKey::Location(source)));
        Ok(Self {
            generation: 0,
            parts,
            steering: false,
            services,
            hot: Arc::default(),
            plans,
            endpoints,
            zone_counters,
            no_zone,
            location_counters,
        })
    }

    /// The next snapshot, in which these endpoints stand anew. Everything that does not hold one of
    /// them is shared.
    #[must_use]
    pub fn with_standings(&self, changed: Vec<(EndpointId, Standing)>) -> Self {
        let mut next = Self { generation: self.generation + 1, ..self.clone() };
        let ids: BTreeSet<EndpointId> = changed.iter().map(|(id, _)| *id).collect();
        for (id, standing) in changed {
            let entry = &mut next.endpoints[id.index()];
            *entry = EndpointEntry::new(standing, entry.counter);
        }
        for table in &mut next.plans {
            if table.plan.members.iter().any(|member| ids.contains(member)) {
                *table = Arc::new(table.settled(&self.parts.config.endpoints, &next.endpoints));
            }
        }
        next
    }

    /// The same, with steered names answered.
    #[must_use]
    pub fn steering(&self) -> Self {
        Self { steering: true, ..self.clone() }
    }

    /// The same, with these names answered at once.
    #[must_use]
    pub fn with_hot(self, hot: Hot) -> Self {
        Self { hot: Arc::new(hot), ..self }
    }

    /// The services for some of whose clients no endpoint is better than down.
    pub fn exhausted(&self) -> impl Iterator<Item = &ServiceEntry> {
        self.services.iter().filter(|service| self.plan(service).is_exhausted())
    }

    /// A service's plan.
    #[must_use]
    pub fn plan(&self, service: &ServiceEntry) -> &PlanTable {
        &self.plans[service.service.plan.index()]
    }

    /// The tables of a plan.
    #[inline]
    #[must_use]
    pub fn plan_table(&self, plan: PlanId) -> &PlanTable {
        &self.plans[plan.index()]
    }

    /// How an endpoint stands.
    #[must_use]
    pub fn standing(&self, endpoint: EndpointId) -> &Standing {
        &self.endpoints[endpoint.index()].standing
    }

    /// The counters of answers from a zone, by response code slot; none: outside all zones.
    #[must_use]
    pub fn query_counters(&self, zone: Option<ZoneId>) -> &[CounterId] {
        zone.map_or(&self.no_zone, |zone| &self.zone_counters[zone.index()])
    }

    /// The counter of a source of locations: 0 ECS, 1 the resolver's address, 2 default.
    #[must_use]
    pub fn location_counter(&self, source: usize) -> CounterId {
        self.location_counters[source]
    }
}

impl ServiceEntry {
    fn new(service: &Service, offers: [bool; 2], counters: &mut Counters) -> Self {
        Self {
            salt: steer::salt(&service.label),
            offers,
            ttl: u32::try_from(service.ttl.as_secs()).unwrap_or(u32::MAX),
            counter: counters.id(CounterKey::Service(service.label.clone())),
            service: service.clone(),
        }
    }
}

/// Results apart.
fn split<T, E>(results: impl Iterator<Item = Result<T, E>>) -> (Vec<T>, Vec<E>) {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for result in results {
        match result {
            Ok(value) => good.push(value),
            Err(error) => bad.push(error),
        }
    }
    (good, bad)
}
