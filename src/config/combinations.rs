//! Which fence places one client can lie in at once.

use std::collections::{BTreeSet, HashMap};
use std::hash::Hash;

use ipnet::IpNet;

use crate::model::{Continent, Country, FenceMask, Place, PlaceSet, Subdivision};

/// More combinations than this are not told apart: all places of autonomous systems and all of
/// prefixes then count as if they lay in each other.
const MAX_COMBINATIONS: usize = 4096;

/// Every combination of `places` that one located client can lie in, the empty one first. A client is
/// in one country and its continent, at most one subdivision of that country, at most one autonomous
/// system, and in one prefix with those around it.
pub(super) fn combinations(places: &[PlaceSet]) -> Vec<FenceMask> {
    let masks = Masks::new(places);
    let of_countries = masks.of_countries();
    let (mut of_asns, mut of_nets) = (with_none(masks.asns.values().copied()), masks.of_nets());
    if of_countries.len() * of_asns.len() * of_nets.len() > MAX_COMBINATIONS {
        of_asns = BTreeSet::from([0, all(&of_asns)]);
        of_nets = BTreeSet::from([0, all(&of_nets)]);
    }
    let mut found = BTreeSet::new();
    for country in &of_countries {
        for asn in &of_asns {
            found.extend(of_nets.iter().map(|net| country | asn | net));
        }
    }
    found.into_iter().map(FenceMask).collect()
}

/// Which fence places name a thing, by the thing.
#[derive(Default)]
struct Masks {
    countries: HashMap<Country, u64>,
    continents: HashMap<Continent, u64>,
    subdivisions: HashMap<Subdivision, u64>,
    asns: HashMap<u32, u64>,
    nets: HashMap<IpNet, u64>,
}

impl Masks {
    fn new(places: &[PlaceSet]) -> Self {
        let mut masks = Self::default();
        for (index, set) in places.iter().enumerate() {
            let bit = FenceMask::default().with(index).0;
            for place in &set.places {
                match *place {
                    Place::Country(country) => add(&mut masks.countries, country, bit),
                    Place::Continent(continent) => add(&mut masks.continents, continent, bit),
                    Place::Subdivision(subdivision) => add(&mut masks.subdivisions, subdivision, bit),
                    Place::Asn(asn) => add(&mut masks.asns, asn, bit),
                    Place::Cidr(net) => add(&mut masks.nets, net, bit),
                }
            }
        }
        masks
    }

    fn of_country(&self, country: Country) -> u64 {
        let continent = country.facts().map_or(0, |facts| get(&self.continents, &facts.continent));
        get(&self.countries, &country) | continent
    }

    /// Of countries, of continents' countries that no place names, and of subdivisions.
    fn of_countries(&self) -> BTreeSet<u64> {
        let countries = self.countries.keys().map(|&country| self.of_country(country));
        let parts = self.subdivisions.iter().map(|(part, mask)| mask | self.of_country(part.country()));
        let outside = self.subdivisions.keys().map(|part| self.of_country(part.country()));
        with_none(countries.chain(parts).chain(outside).chain(self.continents.values().copied()))
    }

    fn of_nets(&self) -> BTreeSet<u64> {
        let around = |net: &IpNet| std::iter::successors(Some(*net), IpNet::supernet);
        with_none(self.nets.keys().map(|net| around(net).map(|net| get(&self.nets, &net)).fold(0, |a, b| a | b)))
    }
}

fn add<K: Eq + Hash>(masks: &mut HashMap<K, u64>, key: K, bit: u64) {
    *masks.entry(key).or_default() |= bit;
}

fn get<K: Eq + Hash>(masks: &HashMap<K, u64>, key: &K) -> u64 {
    masks.get(key).copied().unwrap_or_default()
}

fn with_none(masks: impl Iterator<Item = u64>) -> BTreeSet<u64> {
    masks.chain([0]).collect()
}

fn all(masks: &BTreeSet<u64>) -> u64 {
    masks.iter().fold(0, |a, b| a | b)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(places: &[Place]) -> PlaceSet {
        PlaceSet { label: String::new(), places: places.to_vec() }
    }

    #[test]
    fn what_one_client_can_lie_in() {
        let country = |code: &str| Place::Country(code.parse().unwrap());
        let cidr = |net: &str| Place::Cidr(net.parse().unwrap());
        let places = [
            PlaceSet::built_in("eu").unwrap(),
            set(&[country("DE")]),
            set(&[country("AE")]),
            set(&[Place::Continent(Continent::Africa)]),
            set(&[Place::Subdivision("US-CA".parse().unwrap())]),
        ];
        // Réunion is in `eu` and in Africa.
        let masks: Vec<u64> = combinations(&places).into_iter().map(|mask| mask.0).collect();
        assert_eq!(masks, [0, 0b1, 0b11, 0b100, 0b1000, 0b1001, 0b10000]);
        let places = [set(&[cidr("10.0.0.0/8")]), set(&[cidr("10.1.0.0/16")]), set(&[cidr("11.0.0.0/8")])];
        let masks: Vec<u64> = combinations(&places).into_iter().map(|mask| mask.0).collect();
        assert_eq!(masks, [0, 0b1, 0b11, 0b100]);
        let places = [set(&[Place::Asn(1)]), set(&[Place::Asn(2)]), set(&[country("DE")])];
        let masks: Vec<u64> = combinations(&places).into_iter().map(|mask| mask.0).collect();
        assert_eq!(masks, [0, 0b1, 0b10, 0b100, 0b101, 0b110]);
        assert_eq!(combinations(&[]), [FenceMask(0)]);
    }
}
