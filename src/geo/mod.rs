//! GeoIP: the bytes of mmdb files and what the configuration names → where a client is.
//!
//! The address space of each family is a partition into prefixes, the **leaves**; every leaf has one
//! interned [`Location`], and equal neighbours are merged, so that an ECS scope is as short as it can
//! truthfully be. Space that no database knows is leaves too, of the location [`UNLOCATED`].
//!
//! ```text
//! mmdb ─ database ─▶ Partition of records ─┐ overlay: the first file that has a field wins
//! mmdb ─ database ─▶ Partition of records ─┤
//! `cidr:` labels ──▶ Partition of labels ──┴─▶ profiles ─ places ─▶ locations
//!                                                                      │ summary: inner nodes
//!                                              Family (look-up form) ◀───┘
//! ```
//!
//! **Bounds.** A file has at most 1 GiB, and at most four leaves a tree node. A leaf costs some 13 octets
//! (IPv4) or 26 (IPv6), 90 MB for the 4.5 million of the shipped database; twice that and the file while
//! it compiles, which takes 0.8 s. There are at most 65,536 locations of leaves (`places`: the grid gets
//! coarser) and some 8,900 of mixed prefixes (`summary`: they get stricter).

mod database;
mod family;
mod hash;
mod inner;
mod layout;
mod lines;
mod merged;
mod networks;
mod partition;
mod places;
mod profiles;
mod record;
mod subnets;
mod summary;
mod tree;
mod trie;

use std::collections::HashSet;
use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

pub use database::{Database, TraceStep, trace};
pub use merged::{Begun, Merged};
pub use record::{Point, Record};
pub use subnets::{Near, Subnets};

use crate::model::{Country, Location, LocationId, PlaceSet, Problem};
use database::{Content, Records, Space};
use family::Family;
use hash::IntMap;
use networks::Networks;
use partition::{Address, EMPTY};
use places::Interned;
use profiles::Profiles;
use summary::Summaries;

/// The location of clients that no database and no label knows: `Location::default()`.
pub const UNLOCATED: LocationId = LocationId(0);

/// What a file of the configuration turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// As given.
    pub path: PathBuf,
    /// The metadata's `database_type`, such as `GeoLite2-City`.
    pub database_type: String,
    /// The metadata's `build_epoch`.
    pub built: jiff::Timestamp,
    /// Networks with a record; IPv4's are counted once, however often they are grafted into IPv6.
    pub networks: usize,
}

/// The answer to a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// Index into [`Geo::locations`].
    pub location: LocationId,
    /// Prefix length, in the family of the address asked: the ECS scope.
    pub length: u8,
}

/// Where every address is. Immutable.
pub struct Geo {
    v4: Family<u32>,
    v6: Family<u128>,
    /// Of the leaf ::ffff:0:0/96 alone.
    mapped: LocationId,
    locations: Vec<Location>,
    /// None: the databases name no autonomous system.
    networks: Option<Networks>,
    /// Those that locations tell apart everywhere …
    asns: HashSet<u32>,
    /// … and in one country.
    measured: HashSet<(Country, u32)>,
    /// How many of those found no room.
    left_out: usize,
    files: Vec<FileInfo>,
}

/// What locations tell apart beside what databases say of a place.
#[derive(Clone, Copy, Debug, Default)]
pub struct Distinctions<'a> {
    /// Prefixes that become [`Location::label`], narrowest first where they nest.
    pub labels: &'a [IpNet],
    /// Autonomous systems that become [`Location::asn`].
    pub asns: &'a [u32],
    /// Those that do in one country, as far as there is room for their locations; the first before the others.
    pub networks: &'a [(Country, u32)],
    /// Bit i of [`Location::fences`] stands for the place i, of which there are at most
    /// [`MAX_FENCES`](crate::model::MAX_FENCES).
    pub fence_places: &'a [PlaceSet],
}

/// Compiles databases, in their order of precedence, into locations that differ by what is `wanted`.
///
/// Of several files the first that has a field wins; what a later one says of the place counts only
/// where both mean the same country. A country without a point gets its centroid, one without a
/// continent its own.
///
/// # Errors
/// A problem for every database that cannot be used, with its cause: `database-corrupt`,
/// `database-kind`, `database-too-large`; or `too-many-locations`.
pub fn compile(databases: &[Database], wanted: &Distinctions<'_>) -> Result<Geo, Vec<Problem>> {
    let asns = wanted.networks.iter().map(|(_, asn)| asn).chain(wanted.asns);
    let mut records = Records::new(asns.copied().collect());
    let (v4, v6, files) = read_all(databases, &mut records)?;
    let networks = Networks::new(&v4.networks, &v6.networks, std::mem::take(&mut records.networks));
    let mut profiles = Profiles::new(wanted.labels);
    let (v4, v6) = (profiles.of_v4(&v4.records, &records), profiles.of_v6(&v6.records, &records));
    let interned = places::intern(profiles.list(), wanted).ok_or_else(|| vec![too_many_locations(databases)])?;
    let Interned { mut locations, ids, mut plain, networks: measured, left_out } = interned;
    locations.push(Location::default()); // of the profile `MAPPED`
    let mapped = LocationId::at(locations.len() - 1);
    plain.push(mapped);
    let id = |profile: u32| ids.get(profile as usize).unwrap_or(&mapped).0;
    let (v4, v6) = (v4.map(id), v6.map(id));
    let mut summaries = Summaries::new(&locations, &plain);
    let (inner_v4, inner_v6) = (summaries.of(&v4), summaries.of(&v6));
    let mixed = summaries.finish();
    let v4 = Family::new(&v4, &mixed.resolve(inner_v4));
    let v6 = Family::new(&v6, &mixed.resolve(inner_v6));
    locations.extend(mixed.locations);
    let asns = wanted.asns.iter().copied().collect();
    Ok(Geo { v4, v6, mapped, locations, networks, asns, measured, left_out, files })
}

impl Geo {
    /// The location of one address, and the length of the leaf that holds it.
    ///
    /// An IPv4-mapped IPv6 address is where the IPv4 address is.
    #[must_use]
    pub fn locate(&self, address: IpAddr) -> Match {
        self.locate_prefix(address, u8::MAX)
    }

    /// The location of the `source` leading bits of an address (EDNS Client Subnet, RFC 7871).
    ///
    /// Where a leaf holds the whole prefix, this is the leaf's location and length, which is at most
    /// `source`. Else it is the location with most weight inside, with the fences of all leaves inside
    /// and [`Location::mixed`] where these differ; and the length is that of the leaf at the prefix's
    /// first address. That is more than `source`, by which a resolver learns that more bits would get
    /// it a better answer (§7.2.1).
    #[must_use]
    pub fn locate_prefix(&self, address: IpAddr, source: u8) -> Match {
        let found = |(location, length): (LocationId, u8)| Match { location, length };
        match address {
            IpAddr::V4(v4) => found(self.v4.prefix(v4.into(), source.min(32))),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) if source >= 96 => {
                    let (location, length) = self.v4.prefix(v4.into(), source.min(128) - 96);
                    found((location, 96 + length))
                }
                _ => found(self.v6.prefix(v6.into(), source.min(128))),
            },
        }
    }

    /// The autonomous system of an address, be it one that the configuration names or not; none: no database names it.
    #[must_use]
    pub fn asn(&self, address: IpAddr) -> Option<u32> {
        self.networks.as_ref()?.get(address)
    }

    /// Do locations tell this network from the rest of its country?
    #[must_use]
    pub fn tells_apart(&self, network: (Country, u32)) -> bool {
        self.asns.contains(&network.1) || self.measured.contains(&network)
    }

    /// The networks that they tell apart because these are measured, in no order.
    pub fn measured_networks(&self) -> impl ExactSizeIterator<Item = (Country, u32)> {
        self.measured.iter().copied()
    }

    /// How many measured networks found no room.
    #[must_use]
    pub fn left_out(&self) -> usize {
        self.left_out
    }

    /// Of the same databases, and of wishes that differ in measured networks alone: is all the same?
    #[must_use]
    pub fn tells_the_same_apart(&self, other: &Self) -> bool {
        self.measured == other.measured && self.left_out == other.left_out
    }

    /// The location of that id.
    #[must_use]
    pub fn location(&self, id: LocationId) -> &Location {
        &self.locations[id.index()]
    }

    /// All locations; `LocationId` indexes into it. First those of leaves, at most 65,537; then mixed ones, at
    /// most 8,192 and one a country.
    #[must_use]
    pub fn locations(&self) -> &[Location] {
        &self.locations
    }

    /// The space anew, with leaves merged that have the same `value` (index: [`LocationId`]).
    #[must_use]
    pub fn merged(&self, value: &[u32]) -> Merged {
        Merged::new(&self.v4, &self.v6, value, self.mapped)
    }

    /// Memory, in octets: of the tries, and of the lists for prefixes shorter than a leaf.
    #[must_use]
    pub fn octets(&self) -> (usize, usize) {
        let (v4, v6) = (self.v4.octets(), self.v6.octets());
        (v4.0 + v6.0 + self.networks.as_ref().map_or(0, Networks::octets), v4.1 + v6.1)
    }

    /// The files it was compiled from, in the order given.
    #[must_use]
    pub fn files(&self) -> &[FileInfo] {
        &self.files
    }

    /// Every leaf: IPv4's in the order of addresses, then IPv6's. They cover all space and never overlap.
    pub fn leaves(&self) -> impl Iterator<Item = (IpNet, LocationId)> {
        let v4 = self.v4.iter().map(|(start, length, id)| (IpNet::V4(Ipv4Net::new_assert(start.into(), length)), id));
        let v6 = self.v6.iter().map(|(start, length, id)| (IpNet::V6(Ipv6Net::new_assert(start.into(), length)), id));
        v4.chain(v6)
    }
}

impl fmt::Debug for Geo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (leaves, locations) = (self.v4.len() + self.v6.len(), self.locations.len());
        write!(f, "Geo {{ {leaves} leaves, {locations} locations, {:?} }}", self.files)
    }
}

type Files = (Space<u32>, Space<u128>, Vec<FileInfo>);

/// Reads every file and merges them, in order, into one space for each family.
fn read_all(databases: &[Database], records: &mut Records) -> Result<Files, Vec<Problem>> {
    let mut problems = Vec::new();
    let mut files = Vec::new();
    let mut spaces: Option<(Space<u32>, Space<u128>)> = None;
    let mut known = IntMap::default();
    for database in databases {
        match database::read(database, records) {
            Ok(Content { v4, v6, info }) => {
                files.push(info);
                let mut merge = |first, later| merge(first, later, records, &mut known);
                spaces = Some(match spaces.take() {
                    Some((first_v4, first_v6)) => (lay(&first_v4, &v4, &mut merge), lay(&first_v6, &v6, merge)),
                    None => (v4, v6),
                });
            }
            Err(problem) => problems.push(*problem),
        }
    }
    let (v4, v6) = spaces.unwrap_or_else(|| (Space::empty(), Space::empty()));
    if problems.is_empty() { Ok((v4, v6, files)) } else { Err(problems) }
}

/// One over the other.
fn lay<A: Address>(first: &Space<A>, later: &Space<A>, merge: impl FnMut(u32, u32) -> u32) -> Space<A> {
    let known = |first, later| if first == EMPTY { later } else { first };
    Space {
        records: first.records.overlay(&later.records, merge),
        networks: first.networks.overlay(&later.networks, known),
    }
}

fn merge(first: u32, later: u32, records: &mut Records, known: &mut IntMap<(u32, u32), u32>) -> u32 {
    if first == EMPTY || later == EMPTY {
        return first.max(later); // the other of the two
    }
    *known.entry((first, later)).or_insert_with(|| records.intern(records.get(first).or(*records.get(later))))
}

fn too_many_locations(databases: &[Database]) -> Problem {
    let file = databases.first().map_or(Path::new("config.toml"), |database| &database.path);
    let message = format!(
        "with all prefixes and autonomous systems that the configuration names there are more than {} locations",
        places::MAX_LOCATIONS
    );
    Problem::error("too-many-locations", file, message).help("name fewer `cidr:` and `asn:` places, or wider ones")
}
