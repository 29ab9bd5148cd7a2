//! What is measured, beside the locations of the database.
//!
//! A country or a network whose round trips differ from the prior changes the estimates of its locations. A prefix that
//! differs from its country becomes a **derived location**: its number goes on behind those of the database, it has the place
//! and the fences of the leaf around it, and estimates of its own. A prefix in which the database has several leaves is
//! left to these: they may lie under different fences.
//!
//! Derived locations lie in a space of their own (`geo::Subnets`), which is made anew with each change (65,536 take
//! some milliseconds), and not in the plans' tries, of which each takes as long as a reload. An answer looks into both; the
//! scope is the longer of the two leaves, so that scopes never overlap.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use ipnet::IpNet;

use crate::geo::{Geo, Match, Near, Subnets};
use crate::latency::{Factor, Place, Published};
use crate::model::{Country, Digest, Location, LocationId, Site};

/// What is measured, over one set of locations. Immutable.
#[derive(Debug, Default)]
pub struct Measured {
    /// What answers go by.
    pub published: Arc<Published>,
    /// The prefixes of derived locations, and the location of the leaf around each.
    derived: Vec<(IpNet, LocationId)>,
    /// Where they are, by the index into `derived`. None: there are none.
    space: Option<Subnets>,
    /// Bit i of word j: the leaf around the one at 64 j + i is located.
    located: Box<[u64]>,
    /// The number of the first.
    first: u32,
    /// Over what is published, and the networks that locations tell apart for it; none: nothing is.
    pub digest: Option<Digest>,
}

impl Measured {
    /// That over these locations.
    #[must_use]
    pub fn new(published: Arc<Published>, geo: &Geo) -> Self {
        let leaf = |prefix: IpNet| {
            let Match { location, length } = geo.locate_prefix(prefix.network(), prefix.prefix_len());
            (length <= prefix.prefix_len() && Subnets::takes(&prefix)).then_some((prefix, location))
        };
        let derived: Vec<_> = published.prefixes().filter_map(|(prefix, ..)| leaf(prefix)).collect();
        let space = (!derived.is_empty()).then(|| Subnets::new(derived.iter().map(|(prefix, _)| *prefix)));
        let is_located = |(_, leaf): &(IpNet, LocationId)| u64::from(geo.location(*leaf).is_located());
        let word = |leaves: &[_]| (0..).zip(leaves).fold(0, |word, (bit, leaf)| word | is_located(leaf) << bit);
        let located = derived.chunks(64).map(word).collect();
        let first = u32::try_from(geo.locations().len()).expect("locations are bounded");
        let digest = (!published.is_empty()).then(|| digest(&published, geo));
        Self { published, derived, space, located, first, digest }
    }

    /// The prefixes of derived locations, in the order of their numbers, and the location of the leaf around each.
    #[must_use]
    pub fn derived(&self) -> &[(IpNet, LocationId)] {
        &self.derived
    }

    /// The derived location around an address, if there is one; and the length of the widest prefix around it of which that
    /// is so, in the family given.
    #[must_use]
    pub fn find(&self, address: IpAddr) -> (Option<LocationId>, u8) {
        let Some(space) = &self.space else { return (None, 0) };
        let (Near { subnet, length }, above) = match address {
            IpAddr::V4(v4) => (space.near_v4(v4.into()), 0),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => (space.near_v4(v4.into()), 96),
                None => (space.near_v6(v6.into()), 0),
            },
        };
        (subnet.map(|subnet| self.location(subnet)), above + length)
    }

    /// Where derived locations are, for look-ups by steps; none: there are none.
    #[inline(always)]
    #[must_use]
    pub fn space(&self) -> Option<&Subnets> {
        self.space.as_ref()
    }

    /// The location of a subnet of [`Self::space`].
    #[inline(always)]
    #[must_use]
    pub fn location(&self, subnet: u32) -> LocationId {
        LocationId(self.first + subnet)
    }

    /// Is the leaf around a subnet of [`Self::space`] located?
    #[inline(always)]
    #[must_use]
    pub fn is_located(&self, subnet: u32) -> bool {
        self.located[subnet as usize / 64] >> (subnet % 64) & 1 != 0
    }

    /// The derived location of that number: its prefix, and the leaf's location; none: it is one of the database.
    #[must_use]
    pub fn get(&self, id: LocationId) -> Option<&(IpNet, LocationId)> {
        self.derived.get(id.0.checked_sub(self.first)? as usize)
    }

    /// Where a prefix is, as [`Geo::locate_prefix`] has it, or the derived location that holds it.
    #[must_use]
    pub fn locate_prefix(&self, geo: &Geo, address: IpAddr, source: u8) -> Match {
        let source = source.min(if address.is_ipv4() { 32 } else { 128 });
        let (location, length) = self.find(super::plan::first(address, source));
        match location.filter(|_| length <= source) {
            Some(location) => Match { location, length },
            None => {
                let Match { location, length: leaf } = geo.locate_prefix(address, source);
                Match { location, length: leaf.max(length) }
            }
        }
    }

    /// Factor on the prior between a location of the database and a site.
    #[must_use]
    pub fn factor(&self, location: &Location, site: &Site) -> f32 {
        if self.published.groups() > 0 {
            self.published.factor(location.country, location.asn, &site.name())
        } else {
            1.0
        }
    }

    /// What moves the prior between any location and a site; none: nothing does.
    #[must_use]
    pub fn found_at(&self, geo: &Geo, id: LocationId, site: &Site) -> Option<(Place, &Factor)> {
        let name = site.name();
        let (prefix, leaf) = self.get(id).map_or((None, id), |(prefix, leaf)| (Some(*prefix), *leaf));
        let Location { country, asn, .. } = geo.location(leaf);
        self.published.find(prefix, *country, *asn, &name)
    }
}

fn digest(published: &Published, geo: &Geo) -> Digest {
    let networks: BTreeSet<(Country, u32)> = geo.measured_networks().collect();
    let octets = |(country, asn): (Country, u32)| format!("{country} {asn}\n");
    Digest::of_all([&published.encode()[..], networks.into_iter().map(octets).collect::<String>().as_bytes()])
}
