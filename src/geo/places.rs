//! Interning: what databases and configuration say of a network → [`Location`]s, few enough to make a
//! table of.
//!
//! Points that lie in one cell of a grid, in one country and subdivision, are one place: the mean of
//! them, weighted by address space. The grid begins at 0.1 degrees (11 km, finer than any database is
//! right) and is made coarser until at most [`MAX_LOCATIONS`] are left; of the shipped
//! database's 8,445 points 8,405 stay apart, a full GeoLite2 City stays at the finest grid. Only a configuration that
//! names very many prefixes and autonomous systems can still have more: that is an error.

use std::collections::HashMap;

use ipnet::IpNet;

use super::profiles::Profile;
use super::record::{Point, Record, UNITS};
use crate::model::{Continent, Coordinates, Country, FenceMask, Location, LocationId, PlaceSet, Subdivision};

/// Locations of leaves. Plans have a table entry for each, so this bounds memory by plan.
pub(super) const MAX_LOCATIONS: usize = 1 << 16;

/// Cell sizes to try, in units of a [`Point`]: 0.1 to 10 degrees.
const CELLS: [i32; 7] = [1_000, 2_500, 5_000, 10_000, 20_000, 50_000, 100_000];

/// The locations, and which of them each profile is. Profiles without record and label share one.
pub(super) fn intern(profiles: &[Profile], fence_places: &[PlaceSet]) -> Option<(Vec<Location>, Vec<LocationId>)> {
    CELLS.into_iter().find_map(|cell| {
        let (groups, ids) = group(profiles, cell)?;
        Some((groups.iter().map(|group| group.location(fence_places)).collect(), ids))
    })
}

/// Profiles alike but for their points within a cell.
struct Group {
    like: Profile,
    /// Σ weight × latitude, Σ weight × longitude, Σ weight; a cell crosses no meridian where degrees jump.
    sums: [f64; 3],
}

type Key = (Option<Country>, Option<Continent>, Option<Subdivision>, Option<u32>, Option<IpNet>, Option<(i32, i32)>);

fn group(profiles: &[Profile], cell: i32) -> Option<(Vec<Group>, Vec<LocationId>)> {
    let mut groups: Vec<Group> = Vec::new();
    let mut by_key: HashMap<Key, LocationId> = HashMap::new();
    let mut ids = Vec::with_capacity(profiles.len());
    for profile in profiles {
        let Record { country, continent, subdivision, point, asn } = profile.record;
        let in_cell = point.map(|point| (point.latitude.div_euclid(cell), point.longitude.div_euclid(cell)));
        let key = (country, continent, subdivision, asn, profile.label, in_cell);
        let id = *by_key.entry(key).or_insert_with(|| {
            groups.push(Group { like: *profile, sums: [0.0; 3] });
            LocationId::at(groups.len() - 1)
        });
        if groups.len() > MAX_LOCATIONS {
            return None;
        }
        groups[id.index()].add(profile);
        ids.push(id);
    }
    Some((groups, ids))
}

impl Group {
    fn add(&mut self, profile: &Profile) {
        let Some(Point { latitude, longitude }) = profile.record.point else { return };
        let parts = [f64::from(latitude), f64::from(longitude), 1.0];
        for (sum, part) in self.sums.iter_mut().zip(parts) {
            *sum += profile.weight * part;
        }
    }

    fn location(&self, fence_places: &[PlaceSet]) -> Location {
        let Record { country, continent, subdivision, asn, .. } = self.like.record;
        let facts = country.and_then(Country::facts);
        let mut location = Location {
            country,
            continent: continent.or(facts.map(|facts| facts.continent)),
            subdivision,
            coordinates: self.mean().or(facts.map(|facts| facts.centroid)),
            asn,
            label: self.like.label,
            fences: FenceMask::default(),
            mixed: false,
        };
        let applies = |index: &usize| fence_places[*index].holds(&location);
        location.fences = (0..fence_places.len()).filter(applies).fold(FenceMask::default(), FenceMask::with);
        location
    }

    fn mean(&self) -> Option<Coordinates> {
        let [latitude, longitude, weight] = self.sums;
        let degrees = |sum: f64| (sum / weight / UNITS) as f32;
        (weight > 0.0).then(|| Coordinates { latitude: degrees(latitude), longitude: degrees(longitude) })
    }
}
