//! The snapshot: one immutable whole.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::chunks::Chunks;
use super::compile::compile_plans;
use super::counters::{CounterKey, Counters, LIMITED_ACTIONS, LIMITED_KINDS, RCODE_SLOTS};
use super::endpoint::EndpointEntry;
use super::hot::Hot;
use super::indices::Lists;
use super::measured::Measured;
use super::panics::Panicking;
use super::plan::{Held, Now, PlanTable};
use super::standing::Standing;
use crate::config::Config;
use crate::geo::Geo;
use crate::latency::Published;
use crate::model::{
    CounterId, EndpointId, Family, Location, LocationId, Plan, PlanId, Problem, Service, ServiceId, ZoneId,
};
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
    /// What is measured over their locations.
    pub measured: Arc<Measured>,
    /// Where the configuration was read from, for problems.
    pub file: Arc<Path>,
}

impl Parts {
    /// What is known of the place of a location, be it of the database or derived.
    #[must_use]
    pub fn location(&self, id: LocationId) -> &Location {
        self.geo.location(self.measured.get(id).map_or(id, |(_, leaf)| *leaf))
    }

    /// The same parts, with what is measured now.
    #[must_use]
    pub fn with_measured(&self, published: Arc<Published>) -> Self {
        Self { measured: Arc::new(Measured::new(published, &self.geo)), ..self.clone() }
    }
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
    pub(super) plans: Box<[Arc<PlanTable>]>,
    /// Index: `EndpointId`.
    endpoints: Chunks<EndpointEntry>,
    /// The plans that hold an endpoint.
    holders: Arc<Lists>,
    /// The services of a plan.
    served: Arc<Lists>,
    /// When plans are to be settled anew by time alone; index: `PlanId`.
    due: BTreeMap<u32, Timestamp>,
    /// Response code counters; index: `ZoneId`.
    zone_counters: Arc<[[CounterId; RCODE_SLOTS.len()]]>,
    /// Those of queries outside all zones.
    no_zone: [CounterId; RCODE_SLOTS.len()],
    /// Counters by source of the location: ECS, resolver, default.
    location_counters: [CounterId; 3],
    /// Counters of replies over a limit, by kind and action.
    pub limited_counters: [[CounterId; LIMITED_ACTIONS.len()]; LIMITED_KINDS.len()],
    /// Counts queries of clients that are not admitted.
    pub denied_counter: CounterId,
}

/// A service, ready to be answered.
#[derive(Clone, Debug)]
pub struct ServiceEntry {
    /// Which.
    pub id: ServiceId,
    /// Seeds its spread.
    pub salt: u64,
    /// The types that it has, by family.
    pub offers: [bool; 2],
    /// TTL of its answers in seconds.
    pub ttl: u32,
    /// Counts its queries.
    pub counter: CounterId,
}

/// What a reload can use again.
#[derive(Clone, Copy)]
pub struct Before<'a> {
    /// What serves.
    pub snapshot: &'a Snapshot,
    /// How far a counter has come.
    pub count: &'a dyn Fn(CounterId) -> u64,
}

/// Something has become so of a service's plan, or is so no more.
#[derive(Clone, Copy, Debug)]
pub struct Changed<'s> {
    /// Which; of the configuration before, if it is no more.
    pub service: &'s Service,
    /// Is it so now?
    pub holds: bool,
    /// Its plan as it is now; none: the service is no more.
    pub table: Option<&'s PlanTable>,
}

impl Snapshot {
    /// Compiles `parts` as generation 0, steered names not answered yet, under `standings` (index: `EndpointId`) at `now`.
    /// Plans that rank as one of `before` does, over the same locations, take its orders over; its panic goes on by
    /// [`panicking_as`](Self::panicking_as).
    ///
    /// # Errors
    /// What only shows when places and fences meet: a fence that leaves a location no endpoint.
    pub fn compile(
        parts: Parts,
        standings: Vec<Standing>,
        counters: &mut Counters,
        before: Option<Before<'_>>,
        now: Timestamp,
    ) -> Result<Self, Vec<Problem>> {
        let config = parts.config.clone();
        let counter = |counters: &mut Counters, index: usize| {
            counters.id(CounterKey::Endpoint(config.endpoints[index].name.clone()))
        };
        let entry = |(index, standing)| EndpointEntry::new(standing, counter(counters, index));
        let endpoints: Chunks<EndpointEntry> = standings.into_iter().enumerate().map(entry).collect();
        let families = |plan: &Plan| {
            Family::ALL.map(|family| plan.has_family(family, &config.endpoints, &config.fence_combinations))
        };
        let offers: Vec<[bool; 2]> = config.plans.iter().map(families).collect();
        let entry = |(index, service): (usize, &Service)| {
            ServiceEntry::new(ServiceId::at(index), service, offers[service.plan.index()], counters)
        };
        let services: Arc<[ServiceEntry]> = config.services.iter().enumerate().map(entry).collect();
        let plans = compile_plans(&parts, &endpoints, &services, before, now)?;
        let due = due(&plans);
        let zone_counters = config.zones.iter().map(|zone| counters.queries(&zone.name.to_string())).collect();
        let no_zone = counters.queries("");
        let location_counters = ["ecs", "resolver", "default"].map(|source| counters.id(CounterKey::Location(source)));
        let limited_counters =
            LIMITED_KINDS.map(|kind| LIMITED_ACTIONS.map(|action| counters.id(CounterKey::Limited(kind, action))));
        let denied_counter = counters.id(CounterKey::Denied);
        Ok(Self {
            generation: 0,
            steering: false,
            hot: Arc::default(),
            due,
            plans,
            endpoints,
            holders: Arc::new(holders(&config)),
            served: Arc::new(served(&config)),
            services,
            parts,
            zone_counters,
            no_zone,
            location_counters,
            limited_counters,
            denied_counter,
        })
    }

    /// The next snapshot, in which these endpoints stand anew, and plans that were due by `now` are settled anew.
    /// Everything that does not hold one of them is shared.
    #[must_use]
    pub fn with_standings(&self, changed: Vec<(EndpointId, Standing)>, now: Timestamp) -> Self {
        let mut next = Self { generation: self.generation + 1, ..self.clone() };
        let mut plans: Vec<u32> = self.due.iter().filter(|(_, due)| **due <= now).map(|(&plan, _)| plan).collect();
        for (id, standing) in changed {
            let counter = self.endpoints[id.index()].counter;
            next.endpoints.set(id.index(), EndpointEntry::new(standing, counter));
            plans.extend_from_slice(self.holders.of(id.index()));
        }
        plans.sort_unstable();
        plans.dedup();
        for plan in plans {
            let table = &mut next.plans[plan as usize];
            let now = Now { endpoints: &self.parts.config.endpoints, entries: &next.endpoints, at: now };
            *table = Arc::new(table.settled(now));
            match table.due {
                Some(due) => next.due.insert(plan, due),
                None => next.due.remove(&plan),
            };
        }
        next
    }

    /// The same, in which panic goes on from what `served`, in plans of the same endpoints that panic alike.
    #[must_use]
    pub fn panicking_as(self, served: &Self, now: Timestamp) -> Self {
        let (panicking, endpoints) = (Panicking::of(served), &self.parts.config.endpoints);
        let mut plans = self.plans.clone();
        for table in &mut plans {
            let before = panicking.go_on(table, endpoints);
            if before.is_some() || table.panics().is_some() {
                let now = Now { endpoints, entries: &self.endpoints, at: now };
                *table = Arc::new(table.settled_after(now, before.as_ref()));
            }
        }
        let due = due(&plans);
        Self { plans, due, ..self }
    }

    /// The same, in which the members of these plans are held in such states, and those of no other.
    #[must_use]
    pub fn holding(self, holds: &[(PlanId, Held)], now: Timestamp) -> Self {
        let mut plans = self.plans.clone();
        for (id, table) in (0..).map(PlanId).zip(&mut plans) {
            let held = holds.iter().find(|(plan, _)| *plan == id).map(|(_, held)| held);
            if held != table.held() {
                let now = Now { endpoints: &self.parts.config.endpoints, entries: &self.endpoints, at: now };
                *table = Arc::new(table.settled_as(now, held.cloned()));
            }
        }
        let due = due(&plans);
        Self { plans, due, ..self }
    }

    /// The same, in which these plans are held no more.
    #[must_use]
    pub fn released(self, plans: &[PlanId], now: Timestamp) -> Self {
        let held = (0..).map(PlanId).zip(&self.plans).filter_map(|(id, table)| Some((id, table.held()?.clone())));
        let stays: Vec<_> = held.filter(|(id, _)| !plans.contains(id)).collect();
        if plans.is_empty() { self } else { self.holding(&stays, now) }
    }

    /// Is any plan held?
    #[must_use]
    pub fn is_holding(&self) -> bool {
        self.plans.iter().any(|table| table.held().is_some())
    }

    /// When time alone changes what is answered, since ramps go on; none: it does not.
    #[must_use]
    pub fn due(&self) -> Option<Timestamp> {
        self.due.values().min().copied()
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

    /// The plans that are settled otherwise in `after`, a later snapshot of the same configuration; with the names of
    /// their services.
    #[must_use]
    pub fn plans_changed<'s>(&'s self, after: &'s Self) -> Vec<(&'s PlanTable, &'s PlanTable, Vec<&'s str>)> {
        let plans = self.plans.iter().zip(&after.plans).enumerate();
        let changed = plans.filter(|(_, (before, after))| !Arc::ptr_eq(before, after));
        let label = |&service: &u32| &*self.parts.config.services[service as usize].label;
        changed.map(|(plan, (b, a))| (&**b, &**a, self.served.of(plan).iter().map(label).collect())).collect()
    }

    /// The services of whose plan that is so.
    pub fn services_where(&self, holds: fn(&PlanTable) -> bool) -> impl Iterator<Item = &Service> {
        self.services.iter().filter(move |service| holds(self.plan(service))).map(|entry| self.service(entry))
    }

    /// The services of whose plan that has become so, or is so no more, since `before`.
    #[must_use]
    pub fn changes_where<'s>(&'s self, before: &'s Self, holds: fn(&PlanTable) -> bool) -> Vec<Changed<'s>> {
        if Arc::ptr_eq(&self.services, &before.services) {
            let plans = self.plans.iter().zip(&before.plans).enumerate();
            let changed = plans.filter(|(_, (now, then))| !Arc::ptr_eq(now, then) && holds(now) != holds(then));
            let services = |(plan, (now, _)): (usize, (&'s Arc<PlanTable>, _))| {
                let (table, holds) = (Some(&**now), holds(now));
                let service = |&service: &u32| &self.parts.config.services[service as usize];
                self.served.of(plan).iter().map(service).map(move |service| Changed { service, holds, table })
            };
            return changed.flat_map(services).collect();
        }
        // Another configuration: by name, those that are no more among them.
        let named = |snapshot: &'s Self, holds: fn(&PlanTable) -> bool| -> BTreeMap<&'s str, &'s Service> {
            snapshot.services_where(holds).map(|service| (&*service.label, service)).collect()
        };
        let (now, then) = (named(self, holds), named(before, holds));
        let begun = now.iter().filter(|(name, _)| !then.contains_key(**name)).map(|(_, service)| *service);
        let mut changes: Vec<Changed<'s>> =
            begun.map(|service| Changed { service, holds: true, table: Some(self.plan_table(service.plan)) }).collect();
        let mut ended = then.iter().filter(|(name, _)| !now.contains_key(**name)).peekable();
        // Plans have other numbers by now.
        let all = if ended.peek().is_some() { named(self, |_| true) } else { BTreeMap::new() };
        changes.extend(ended.map(|(name, service)| {
            let table = all.get(name).map(|service| self.plan_table(service.plan));
            Changed { service, holds: false, table }
        }));
        changes
    }

    /// What a service is.
    #[must_use]
    pub fn service(&self, entry: &ServiceEntry) -> &Service {
        &self.parts.config.services[entry.id.index()]
    }

    /// A service's plan.
    #[must_use]
    pub fn plan(&self, service: &ServiceEntry) -> &PlanTable {
        &self.plans[self.service(service).plan.index()]
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
    fn new(id: ServiceId, service: &Service, offers: [bool; 2], counters: &mut Counters) -> Self {
        Self {
            id,
            salt: steer::salt(&service.label),
            offers,
            ttl: u32::try_from(service.ttl.as_secs()).unwrap_or(u32::MAX),
            counter: counters.id(CounterKey::Service(service.label.clone())),
        }
    }
}

/// When each plan is to be settled anew by time alone, if it is.
fn due(plans: &[Arc<PlanTable>]) -> BTreeMap<u32, Timestamp> {
    (0..).zip(plans).filter_map(|(plan, table)| Some((plan, table.due?))).collect()
}

/// For each endpoint the plans that hold it.
fn holders(config: &Config) -> Lists {
    let members = |(plan, of): (u32, &Plan)| of.members.iter().map(move |id| (id.index(), plan)).collect::<Vec<_>>();
    let pairs: Vec<_> = (0..).zip(&config.plans).flat_map(members).collect();
    Lists::new(config.endpoints.len(), pairs.iter().copied())
}

/// For each plan its services.
fn served(config: &Config) -> Lists {
    let pairs = (0..).zip(&config.services).map(|(service, of)| (of.plan.index(), service));
    Lists::new(config.plans.len(), pairs)
}
