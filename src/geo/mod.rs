//! GeoIP: the bytes of mmdb files and what the configuration names → where a client is.
//!
//! The address space of each family is a partition into prefixes, the **leaves**; every leaf has one
//! interned [`Location`]. Space that no database knows is leaves too, of the location [`UNLOCATED`].

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;

use crate::model::{Location, LocationId, PlaceSet, Problem};

/// The location of clients that no database and no label knows: `Location::default()`.
pub const UNLOCATED: LocationId = LocationId(0);

/// One mmdb file.
#[derive(Clone, Debug)]
pub struct Database {
    /// Names it in problems, traces and `/status`.
    pub path: PathBuf,
    /// Its content.
    pub bytes: Arc<[u8]>,
}

/// What a file of the configuration turned out to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileInfo {
    /// As given.
    pub path: PathBuf,
    /// The metadata's `database_type`, such as `GeoLite2-City`.
    pub database_type: String,
    /// The metadata's `build_epoch`.
    pub built: jiff::Timestamp,
    /// Networks with a record, IPv4 counted once.
    pub networks: usize,
}

/// The answer to a look-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match {
    /// Index into [`Geo::locations`].
    pub location: LocationId,
    /// Prefix length that the answer holds for, in the family of the address asked: an ECS scope.
    pub length: u8,
}

/// Where every address is. Immutable.
#[derive(Debug)]
pub struct Geo {
    locations: Vec<Location>,
    files: Vec<FileInfo>,
}

/// Compiles databases and the configuration's own prefixes.
///
/// # Errors
/// Every database that cannot be used, with its cause.
pub fn compile(
    _databases: &[Database],
    _labels: &[IpNet],
    _asns: &[u32],
    _fence_places: &[PlaceSet],
) -> Result<Geo, Vec<Problem>> {
    Ok(Geo { locations: vec![Location::default()], files: Vec::new() })
}

impl Geo {
    /// The location of one address, and the length of the leaf that holds it.
    #[must_use]
    pub fn locate(&self, _address: IpAddr) -> Match {
        Match { location: UNLOCATED, length: 0 }
    }

    /// The location of the `source` first bits of an address (EDNS Client Subnet, RFC 7871).
    #[must_use]
    pub fn locate_prefix(&self, _address: IpAddr, _source: u8) -> Match {
        Match { location: UNLOCATED, length: 0 }
    }

    /// The location of that id.
    #[must_use]
    pub fn location(&self, id: LocationId) -> &Location {
        &self.locations[id.index()]
    }

    /// All locations; `LocationId` indexes into it.
    #[must_use]
    pub fn locations(&self) -> &[Location] {
        &self.locations
    }

    /// The files it was compiled from, in the order given.
    #[must_use]
    pub fn files(&self) -> &[FileInfo] {
        &self.files
    }
}
