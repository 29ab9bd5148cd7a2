//! What of all locations is the same for every plan: worked out once a compile.

use std::collections::HashMap;
use std::sync::Arc;

use ipnet::IpNet;

use super::measured::Measured;
use crate::latency::{Destination, Factor, Origin};
use crate::model::{Endpoint, EndpointId, Location, LocationId, Member, Place, PlaceSet, Plan, Site};
use crate::steer::Facts;

/// Estimates are kept for at most so many sites at a time, four octets a location each: more than the clouds
/// have regions. Where endpoints stand at more, they are worked out anew from time to time.
const MAX_SITES: usize = 1024;

/// Estimates by site, and who lies in the places that preferences and costs name.
pub(super) struct Survey<'a> {
    pub(super) locations: &'a [Location],
    measured: &'a Measured,
    /// Of derived locations: factors on the prior by site, ascending by site; the others have those of the leaf around.
    derived: Vec<Vec<(usize, f32)>>,
    endpoints: &'a [Endpoint],
    /// Index: `EndpointId`; an index into `sites`.
    site_of: Vec<usize>,
    sites: Vec<&'a Site>,
    /// By location; empty until the first plan.
    origins: Vec<Origin>,
    /// By site: the prior and the expected latency by location.
    estimates: HashMap<usize, Estimates>,
    /// Bit by location.
    places: HashMap<&'a [Place], Box<[u64]>>,
}

/// Of one site, by location; one and the same where no country is measured.
struct Estimates {
    prior: Arc<[f32]>,
    expected: Arc<[f32]>,
}

impl<'a> Survey<'a> {
    pub(super) fn new(locations: &'a [Location], endpoints: &'a [Endpoint], measured: &'a Measured) -> Self {
        let (mut sites, mut known) = (Vec::new(), HashMap::new());
        let site_of = endpoints.iter().map(|endpoint| {
            let Site { cloud, region, country, coordinates } = &endpoint.site;
            let at = (coordinates.latitude.to_bits(), coordinates.longitude.to_bits());
            *known.entry((cloud, region, country, at)).or_insert_with(|| {
                sites.push(&endpoint.site);
                sites.len() - 1
            })
        });
        let site_of = site_of.collect();
        let derived = derived(measured, &sites);
        let (origins, estimates, places) = (Vec::new(), HashMap::new(), HashMap::new());
        Self { locations, measured, derived, endpoints, site_of, sites, origins, estimates, places }
    }

    /// The prefixes of derived locations, and the location of the leaf around each.
    pub(super) fn derived(&self) -> &'a [(IpNet, LocationId)] {
        self.measured.derived()
    }

    /// Works out what ranking `plan` asks for.
    pub(super) fn prepare(&mut self, plan: &'a Plan) {
        if self.estimates.len() + plan.members.len() > MAX_SITES {
            self.estimates.clear();
        }
        if self.origins.is_empty() {
            self.origins = self.locations.iter().map(Origin::new).collect();
        }
        let by_cost = plan.policy.cost_budget_ms > 0.0;
        for id in &plan.members {
            let site = self.site_of[id.index()];
            self.estimates.entry(site).or_insert_with(|| {
                let (to, measured) = (Destination::new(self.sites[site]), self.measured);
                let prior: Arc<[f32]> = self.origins.iter().map(|origin| origin.expected_ms(&to)).collect();
                let estimate = |(prior, location): (&f32, _)| prior * measured.factor(location, self.sites[site]);
                let expected = match measured.published.groups() > 0 {
                    true => prior.iter().zip(self.locations).map(estimate).collect(),
                    false => prior.clone(),
                };
                Estimates { prior, expected }
            });
            if by_cost {
                let endpoints: &'a [Endpoint] = self.endpoints;
                endpoints[id.index()].cost.by_place.iter().for_each(|(place, _)| self.prepare_place(place));
            }
        }
        plan.policy.preferences.iter().for_each(|preference| self.prepare_place(&preference.place));
    }

    fn prepare_place(&mut self, place: &'a PlaceSet) {
        let locations = self.locations;
        self.places.entry(&place.places).or_insert_with(|| {
            let mut bits = vec![0; locations.len().div_ceil(64)];
            for (index, location) in locations.iter().enumerate() {
                bits[index / 64] |= u64::from(place.holds(location)) << (index % 64);
            }
            bits.into()
        });
    }

    /// The facts of a plan that was prepared last.
    pub(super) fn of<'s>(&'s self, plan: &'a Plan) -> Surveyed<'s> {
        let endpoint = |id: &EndpointId| &self.endpoints[id.index()];
        let place = |place: &PlaceSet| &*self.places[&*place.places];
        let costs = |id: &EndpointId| {
            let by_place = endpoint(id).cost.by_place.iter().map(|(set, cost)| (place(set), *cost));
            Costs { by_place: by_place.collect(), default: endpoint(id).cost.default }
        };
        let by_cost = plan.policy.cost_budget_ms > 0.0;
        Surveyed {
            estimates: plan.members.iter().map(|id| &self.estimates[&self.site_of[id.index()]]).collect(),
            sites: plan.members.iter().map(|id| self.site_of[id.index()]).collect(),
            derived: &self.derived,
            costs: if by_cost { plan.members.iter().map(costs).collect() } else { Vec::new() },
            places: plan.policy.preferences.iter().map(|preference| place(&preference.place)).collect(),
        }
    }
}

/// What the survey says of one plan.
pub(super) struct Surveyed<'s> {
    /// By member.
    estimates: Vec<&'s Estimates>,
    /// By member.
    sites: Vec<usize>,
    derived: &'s [Vec<(usize, f32)>],
    /// By member.
    costs: Vec<Costs<'s>>,
    /// By preference.
    places: Vec<&'s [u64]>,
}

/// An endpoint's: the first place that holds a location decides, else the default.
struct Costs<'s> {
    by_place: Vec<(&'s [u64], f64)>,
    default: f64,
}

impl Surveyed<'_> {
    /// The most preferences that one location lies in.
    pub(super) fn most_preferences(&self, locations: usize) -> usize {
        let count = |location: usize| self.places.iter().filter(|place| holds(place, location)).count();
        if self.places.is_empty() { 0 } else { (0..locations).map(count).max().unwrap_or(0) }
    }
}

/// A location's facts.
pub(super) struct At<'s>(pub(super) &'s Surveyed<'s>, pub(super) usize);

/// Those of a derived location, of which the second is the number, and the leaf around it the third.
pub(super) struct AtDerived<'s>(pub(super) &'s Surveyed<'s>, pub(super) usize, pub(super) usize);

impl Facts for AtDerived<'_> {
    fn estimate_ms(&self, member: Member) -> f32 {
        let Self(surveyed, derived, leaf) = self;
        let (factors, site) = (&surveyed.derived[*derived], surveyed.sites[member.index()]);
        let Estimates { prior, expected } = surveyed.estimates[member.index()];
        let own = factors.binary_search_by_key(&site, |(site, _)| *site);
        own.map_or(expected[*leaf], |at| prior[*leaf] * factors[at].1)
    }

    fn cost(&self, member: Member) -> f64 {
        At(self.0, self.2).cost(member)
    }

    fn prefers(&self, preference: usize) -> bool {
        At(self.0, self.2).prefers(preference)
    }
}

/// The factors of each derived location, by the index of the site.
fn derived(measured: &Measured, sites: &[&Site]) -> Vec<Vec<(usize, f32)>> {
    if measured.derived().is_empty() {
        return Vec::new();
    }
    let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
    sites.iter().enumerate().for_each(|(index, site)| by_name.entry(site.name()).or_default().push(index));
    let factors = |(prefix, _): &(IpNet, LocationId)| {
        let published = measured.published.prefix(prefix).unwrap_or_default();
        let of = |Factor { site, factor, .. }: &Factor| {
            let sites = by_name.get(&**site).map_or(&[][..], Vec::as_slice);
            sites.iter().map(|&site| (site, *factor)).collect::<Vec<_>>()
        };
        let mut factors: Vec<(usize, f32)> = published.iter().flat_map(of).collect();
        factors.sort_unstable_by_key(|(site, _)| *site);
        factors
    };
    measured.derived().iter().map(factors).collect()
}

impl Facts for At<'_> {
    #[inline]
    fn estimate_ms(&self, member: Member) -> f32 {
        self.0.estimates[member.index()].expected[self.1]
    }

    fn cost(&self, member: Member) -> f64 {
        let Costs { by_place, default } = &self.0.costs[member.index()];
        by_place.iter().find(|(place, _)| holds(place, self.1)).map_or(*default, |(_, cost)| *cost)
    }

    #[inline]
    fn prefers(&self, preference: usize) -> bool {
        holds(self.0.places[preference], self.1)
    }
}

#[inline]
fn holds(place: &[u64], location: usize) -> bool {
    place[location / 64] & 1 << (location % 64) != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency;
    use crate::model::{Addresses, Coordinates, Cost, MAX_MEMBERS, Policy, built_in_regions};

    fn endpoint(number: usize) -> Endpoint {
        let mut site = Site::from(&built_in_regions()[0]);
        site.region = format!("region-{number}").into();
        site.coordinates = Coordinates::new(number as f32 / 100.0, 7.0).unwrap();
        Endpoint {
            name: "".into(),
            site,
            addresses: Addresses::Fixed(Vec::new()),
            bias_ms: 0.0,
            weight: 100,
            cost: Cost::default(),
            probes: Vec::new(),
            probe_target: None,
            capacity: None,
            beacon: None,
        }
    }

    #[test]
    fn however_many_sites_there_are_each_plan_gets_its_own() {
        let endpoints: Vec<Endpoint> = (0..MAX_SITES + 2 * MAX_MEMBERS).map(endpoint).collect();
        let ids: Vec<EndpointId> = (0..endpoints.len()).map(EndpointId::at).collect();
        let plan = |members: &[EndpointId]| Plan { members: members.to_vec(), policy: Policy::nearest() };
        let plans: Vec<Plan> = ids.chunks(MAX_MEMBERS).chain([&ids[..MAX_MEMBERS]]).map(plan).collect();
        let at = |latitude| Location { coordinates: Coordinates::new(latitude, 100.0), ..Location::default() };
        let locations = [at(-30.0), at(50.0)];
        let measured = Measured::default();
        let mut survey = Survey::new(&locations, &endpoints, &measured);
        for plan in &plans {
            survey.prepare(plan);
            assert!(survey.estimates.len() <= MAX_SITES);
            let facts = survey.of(plan);
            for (member, id) in plan.members.iter().enumerate() {
                for (index, location) in locations.iter().enumerate() {
                    let expected = latency::expected_ms(location, &endpoints[id.index()].site);
                    assert_eq!(At(&facts, index).estimate_ms(Member::at(member)), expected);
                }
            }
        }
    }
}
