//! Interning: what databases and configuration say of a network → [`Location`]s, few enough to make a
//! table of.
//!
//! Points that lie in one cell of a grid, in one country and subdivision, are one place: the mean of
//! them, weighted by address space. The grid begins at 0.1 degrees (11 km, finer than any database is
//! right) and is made coarser until at most [`MAX_LOCATIONS`] are left; of the shipped
//! database's 8,445 points 8,405 stay apart, a full GeoLite2 City stays at the finest grid. Only a configuration that
//! names very many prefixes and autonomous systems can still have more: that is an error.
//!
//! Networks that are measured are told apart too, as far as there is room: for them no grid is made coarser.

use std::collections::{HashMap, HashSet};

use ipnet::IpNet;

use super::Distinctions;
use super::profiles::Profile;
use super::record::{Point, Record, UNITS};
use crate::model::{Continent, Coordinates, Country, FenceMask, Location, LocationId, PlaceSet, Subdivision};

/// Locations of leaves. Plans have a table entry for each, so this bounds memory by plan.
pub(super) const MAX_LOCATIONS: usize = 1 << 16;

/// How many of these networks that are measured may take.
const MAX_OF_MEASURED: usize = 1 << 14;

/// Cell sizes to try, in units of a [`Point`]: 0.1 to 10 degrees.
const CELLS: [i32; 7] = [1_000, 2_500, 5_000, 10_000, 20_000, 50_000, 100_000];

/// What profiles come to.
pub(super) struct Interned {
    pub(super) locations: Vec<Location>,
    /// By profile. Those without record and label share one.
    pub(super) ids: Vec<LocationId>,
    /// By location: that of the rest of the place, where it is one of a measured network; else itself.
    pub(super) plain: Vec<LocationId>,
    /// The measured networks that are told apart.
    pub(super) networks: HashSet<(Country, u32)>,
    /// How many found no room.
    pub(super) left_out: usize,
}

/// The locations; none: there are too many, however coarse the grid.
pub(super) fn intern(profiles: &[Profile], wanted: &Distinctions<'_>) -> Option<Interned> {
    let named = wanted.asns.iter().copied().collect();
    CELLS.into_iter().find_map(|cell| {
        let mut grid = Grid { cell, named: &named, networks: HashSet::new() };
        let mut grouped = grid.group(profiles)?;
        let left_out;
        (grid.networks, left_out) = grid.fitting(profiles, wanted.networks, MAX_LOCATIONS - grouped.0.len());
        if !grid.networks.is_empty() {
            grouped = grid.group(profiles)?;
        }
        let (groups, ids) = grouped;
        let plain = grid.plain(&groups);
        let locations = groups.iter().map(|group| group.location(wanted.fence_places)).collect();
        Some(Interned { locations, ids, plain, networks: grid.networks, left_out })
    })
}

/// Profiles alike but for their points within a cell.
struct Group {
    like: Profile,
    /// Σ weight × latitude, Σ weight × longitude, Σ weight; a cell crosses no meridian where degrees jump.
    sums: [f64; 3],
}

type Key = (Option<Country>, Option<Continent>, Option<Subdivision>, Option<u32>, Option<IpNet>, Option<(i32, i32)>);

/// What is one place, and what is not.
struct Grid<'a> {
    /// In units of a [`Point`].
    cell: i32,
    /// Autonomous systems that are told apart everywhere …
    named: &'a HashSet<u32>,
    /// … and in one country.
    networks: HashSet<(Country, u32)>,
}

impl Grid<'_> {
    fn key(&self, profile: &Profile, asn: Option<u32>) -> Key {
        let Record { country, continent, subdivision, point, .. } = profile.record;
        let in_cell = point.map(|point| (point.latitude.div_euclid(self.cell), point.longitude.div_euclid(self.cell)));
        (country, continent, subdivision, asn, profile.label, in_cell)
    }

    fn tells_apart(&self, record: &Record, asn: u32) -> bool {
        self.named.contains(&asn) || record.country.is_some_and(|country| self.networks.contains(&(country, asn)))
    }

    /// None: they are too many.
    fn group(&self, profiles: &[Profile]) -> Option<(Vec<Group>, Vec<LocationId>)> {
        let mut groups: Vec<Group> = Vec::new();
        let mut by_key: HashMap<Key, LocationId> = HashMap::new();
        let mut ids = Vec::with_capacity(profiles.len());
        for profile in profiles {
            let asn = profile.record.asn.filter(|asn| self.tells_apart(&profile.record, *asn));
            let id = *by_key.entry(self.key(profile, asn)).or_insert_with(|| {
                let like = Profile { record: Record { asn, ..profile.record }, ..*profile };
                groups.push(Group { like, sums: [0.0; 3] });
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

    fn plain(&self, groups: &[Group]) -> Vec<LocationId> {
        let is_measured = |like: &Profile| like.record.asn.is_some_and(|asn| !self.named.contains(&asn));
        let plain = (0..).zip(groups).filter(|(_, group)| !is_measured(&group.like));
        let by_key: HashMap<Key, u32> =
            plain.map(|(id, group)| (self.key(&group.like, group.like.record.asn), id)).collect();
        let of = |(id, Group { like, .. }): (u32, &Group)| {
            let key = self.key(like, like.record.asn.filter(|_| !is_measured(like)));
            LocationId(by_key.get(&key).copied().unwrap_or(id))
        };
        (0..).zip(groups).map(of).collect()
    }

    /// Those of `networks`, first things first, whose locations find room, and how many do not. Which are told apart anyway is
    /// passed over.
    fn fitting(
        &self,
        profiles: &[Profile],
        networks: &[(Country, u32)],
        room: usize,
    ) -> (HashSet<(Country, u32)>, usize) {
        let mut keys: HashMap<(Country, u32), HashSet<Key>> =
            networks.iter().map(|network| (*network, HashSet::new())).collect();
        for profile in profiles {
            let Record { country, asn, .. } = profile.record;
            let of = country.zip(asn).and_then(|network| keys.get_mut(&network));
            if let Some(of) = of.filter(|_| !asn.is_some_and(|asn| self.named.contains(&asn))) {
                of.insert(self.key(profile, asn));
            }
        }
        let (mut room, mut left_out) = (room.min(MAX_OF_MEASURED), 0);
        let fits = |network: &&(Country, u32)| {
            let count = keys[*network].len();
            let Some(left) = room.checked_sub(count) else {
                left_out += 1;
                return false;
            };
            room = left;
            count > 0
        };
        (networks.iter().filter(fits).copied().collect(), left_out)
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Of a network in a country, so many places in a row.
    fn profiles(country: &str, asn: u32, count: i32) -> impl Iterator<Item = Profile> {
        let country = Some(country.parse().unwrap());
        (0..count).map(move |index| {
            let point = Some(Point { latitude: index / 1_000 * 1_000, longitude: index % 1_000 * 1_000 });
            let record = Record { country, point, asn: Some(asn), ..Record::default() };
            Profile { record, label: None, weight: 1.0 }
        })
    }

    #[test]
    fn measured_networks_are_told_apart_while_there_is_room() {
        let (large, small) = (MAX_OF_MEASURED as i32 - 10, 20);
        let all = [("FR", 1, large), ("FR", 2, small), ("FR", 3, 10), ("DE", 2, small), ("FR", 4, 5)];
        let profiles: Vec<Profile> =
            all.into_iter().flat_map(|(country, asn, count)| profiles(country, asn, count)).collect();
        let network = |country: &str, asn| (country.parse::<Country>().unwrap(), asn);
        let told_apart = |networks: &[(Country, u32)]| {
            let interned = intern(&profiles, &Distinctions { networks, ..Distinctions::default() }).unwrap();
            let mut networks: Vec<_> = interned.networks.into_iter().collect();
            networks.sort_unstable();
            (networks, interned.locations.len() as i32, interned.left_out)
        };
        // In Germany it is the same system, and not measured; one that nobody has seen takes nothing.
        let wanted = [network("FR", 2), network("FR", 9), network("FR", 3)];
        assert_eq!(told_apart(&wanted), (vec![network("FR", 2), network("FR", 3)], large + 20 + 10 + small, 0));
        // What does not fit is left out, what comes behind it is not.
        let wanted = [network("FR", 1), network("FR", 2), network("FR", 3)];
        let found = told_apart(&wanted);
        assert_eq!(found, (vec![network("FR", 1), network("FR", 3)], large + small + 10 + small, 1));
        // Each but those that have a place alone stands beside the rest of it.
        let Interned { locations, plain, .. } =
            intern(&profiles, &Distinctions { networks: &wanted[2..], ..Distinctions::default() }).unwrap();
        let of_three = (0..).zip(&locations).filter(|(_, location)| location.asn == Some(3));
        assert!(of_three.clone().count() == 10 && of_three.clone().all(|(id, _)| plain[id as usize] != LocationId(id)));
        assert!(
            of_three.map(|(id, location)| (&locations[plain[id as usize].index()], location)).all(|(plain, own)| (
                plain.asn,
                plain.country,
                plain.coordinates
            ) == (
                None,
                own.country,
                own.coordinates
            ))
        );
        let named = Distinctions { asns: &[2], networks: &wanted[1..2], ..Distinctions::default() };
        assert!(intern(&profiles, &named).unwrap().networks.is_empty(), "it is told apart everywhere");
    }

    #[test]
    fn no_place_is_made_coarser_for_them() {
        let full = profiles("FR", 1, MAX_LOCATIONS as i32 - 8).chain(profiles("DE", 2, 5)).chain(profiles("DE", 3, 4));
        let profiles: Vec<Profile> = full.collect();
        let networks: Vec<(Country, u32)> = [3, 2].map(|asn| ("DE".parse().unwrap(), asn)).into();
        let interned = intern(&profiles, &Distinctions { networks: &networks, ..Distinctions::default() }).unwrap();
        // Five places of Germany, and room for three more.
        assert_eq!((interned.locations.len(), interned.left_out), (MAX_LOCATIONS - 3, 2));
        let interned =
            intern(&profiles[8..], &Distinctions { networks: &networks, ..Distinctions::default() }).unwrap();
        assert_eq!((interned.networks.len(), interned.left_out), (2, 0));
    }
}
