//! One mmdb file: verified, walked, cut to what can be used.
//!
//! `maxminddb` verifies a file before it is walked: no cycle, no pointer out of bounds, every record
//! readable. A walk takes at most three networks a tree node, so all that is made of a file is bounded
//! by its size, which is bounded by [`MAX_BYTES`].

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use maxminddb::{LookupResult, MaxMindDbError, Reader};

use super::FileInfo;
use super::hash::IntMap;
use super::partition::{Builder, EMPTY, Partition};
use super::profiles::ALIASES;
use super::record::Record;
use crate::model::Problem;

/// Of one file. The largest known, full commercial ones, have 500 MB.
const MAX_BYTES: usize = 1 << 30;

/// A tree without shared parts has two at most; `Reader::verify` has the same limit.
const NETWORKS_PER_NODE: usize = 3;

/// One mmdb file.
#[derive(Clone, Debug)]
pub struct Database {
    /// Names it in problems, traces and `/status`.
    pub path: PathBuf,
    /// Its content.
    pub bytes: Arc<[u8]>,
}

/// One file's step towards a location, for `explain`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TraceStep {
    /// Which file.
    pub file: PathBuf,
    /// The prefix that it matched or found empty; none if it has no such address family.
    pub network: Option<IpNet>,
    /// What it says, before it is merged with other files.
    pub record: Option<Record>,
}

/// Records of all files, each once. Index 0 is the record that says nothing.
#[derive(Debug)]
pub(super) struct Records {
    list: Vec<Record>,
    ids: HashMap<Record, u32>,
    /// The autonomous systems that matter; others are left out, so that their networks merge.
    asns: Vec<u32>,
}

impl Records {
    pub(super) fn new(asns: &[u32]) -> Self {
        let mut asns = asns.to_vec();
        asns.sort_unstable();
        let mut records = Self { list: Vec::new(), ids: HashMap::new(), asns };
        records.intern(Record::default());
        records
    }

    pub(super) fn get(&self, id: u32) -> &Record {
        &self.list[id as usize]
    }

    pub(super) fn intern(&mut self, record: Record) -> u32 {
        let asn = record.asn.filter(|asn| self.asns.binary_search(asn).is_ok());
        let record = Record { asn, ..record };
        *self.ids.entry(record).or_insert_with(|| {
            self.list.push(record);
            u32::try_from(self.list.len() - 1).expect("fewer records than octets of files")
        })
    }
}

/// What a file says of each address: indices into `Records`.
pub(super) struct Content {
    pub(super) v4: Partition<u32>,
    pub(super) v6: Partition<u128>,
    pub(super) info: FileInfo,
}

/// Reads a whole file.
pub(super) fn read(database: &Database, records: &mut Records) -> Result<Content, Problem> {
    let reader = open(database)?;
    let corrupt = |error| corrupt(database, &error);
    verify(&reader).map_err(corrupt)?;
    let built = build_time(database, &reader)?;
    let mut walk = Walk { v4: Builder::new(), v6: Builder::new(), by_offset: IntMap::default(), networks: 0 };
    let most = NETWORKS_PER_NODE * reader.metadata().node_count as usize;
    for (count, found) in reader.networks(maxminddb::WithinOptions::default()).map_err(corrupt)?.enumerate() {
        if count >= most {
            let message = format!("its tree has more than {NETWORKS_PER_NODE} networks a node");
            return Err(corrupt(MaxMindDbError::invalid_database(message)));
        }
        walk.take(&found.map_err(corrupt)?, records).map_err(corrupt)?;
    }
    if walk.by_offset.values().all(|entry| entry.says_nothing) {
        return Err(wrong_kind(database, &reader));
    }
    let info = FileInfo {
        path: database.path.clone(),
        database_type: reader.metadata().database_type.clone(),
        built,
        networks: walk.networks,
    };
    Ok(Content { v4: walk.v4.finish(), v6: walk.v6.finish(), info })
}

/// What each file, taken alone, says of an address: which network matched, and what was found.
///
/// A file that cannot be read says nothing; [`compile`](super::compile) reports those.
#[must_use]
pub fn trace(databases: &[Database], address: IpAddr) -> Vec<TraceStep> {
    databases.iter().map(|database| trace_one(database, address.to_canonical())).collect()
}

fn trace_one(database: &Database, address: IpAddr) -> TraceStep {
    let nothing = TraceStep { file: database.path.clone(), network: None, record: None };
    if let Some(net) = ALIASES.into_iter().map(IpNet::V6).find(|net| net.contains(&address)) {
        return TraceStep { network: Some(net), ..nothing };
    }
    let Ok(reader) = open(database) else { return nothing };
    let Ok(found) = reader.lookup(address) else { return nothing };
    let network = found.network().ok().and_then(|net| IpNet::new(net.ip(), net.prefix()).ok());
    TraceStep { network, record: found.decode().ok().flatten(), ..nothing }
}

fn open(database: &Database) -> Result<Reader<Arc<[u8]>>, Problem> {
    let size = database.bytes.len();
    if size > MAX_BYTES {
        let message = format!("the database has {size} octets; at most {MAX_BYTES} are read");
        return Err(Problem::error("database-too-large", &database.path, message));
    }
    Reader::from_source(Arc::clone(&database.bytes)).map_err(|error| corrupt(database, &error))
}

/// `Reader::verify` refuses files without a description for that alone, and those of ip-location-db
/// have none. Their walk is bounded all the same, and all that is used of their records is decoded.
fn verify(reader: &Reader<Arc<[u8]>>) -> Result<(), MaxMindDbError> {
    if reader.metadata().description.is_empty() { Ok(()) } else { reader.verify() }
}

fn corrupt(database: &Database, error: &MaxMindDbError) -> Problem {
    let message = format!("it cannot be used as a GeoIP database: {error}");
    Problem::error("database-corrupt", &database.path, message)
        .help("download it again, and put it in place by renaming a complete file")
}

fn build_time(database: &Database, reader: &Reader<Arc<[u8]>>) -> Result<jiff::Timestamp, Problem> {
    let epoch = reader.metadata().build_epoch;
    let built = i64::try_from(epoch).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    built.ok_or_else(|| {
        let message = format!("its build_epoch {epoch} is no time in seconds since 1970");
        Problem::error("database-corrupt", &database.path, message).help("download it again")
    })
}

fn wrong_kind(database: &Database, reader: &Reader<Arc<[u8]>>) -> Problem {
    let kind: String = reader.metadata().database_type.chars().take(80).collect();
    let message = format!("no record of this database ({kind:?}) has a country, a point or an autonomous system");
    Problem::error("database-kind", &database.path, message).help(
        "use a City, Country, Enterprise or ASN database: GeoLite2 or GeoIP2, DB-IP, or one packed by ip-location-db",
    )
}

/// Takes the networks of a file, which come in the order of addresses, IPv4 first.
struct Walk {
    v4: Builder<u32>,
    v6: Builder<u128>,
    by_offset: IntMap<usize, Entry>,
    networks: usize,
}

#[derive(Clone, Copy)]
struct Entry {
    id: u32,
    says_nothing: bool, // before other autonomous systems are left out
}

impl Walk {
    fn take(&mut self, found: &LookupResult<'_, Arc<[u8]>>, records: &mut Records) -> Result<(), MaxMindDbError> {
        let network = found.network()?;
        let (address, length) = (network.ip(), network.prefix());
        if ALIASES[1..].iter().any(|net| length >= net.prefix_len() && IpNet::V6(*net).contains(&address)) {
            return Ok(());
        }
        let value = self.record(found, records)?;
        self.networks += 1;
        match address {
            IpAddr::V4(address) => self.v4.push_at(address.into(), length, value),
            IpAddr::V6(Ipv6Addr::UNSPECIFIED) => {
                // A record over the place of the IPv4 tree is one of all IPv4 space.
                self.v4.push_at(Ipv4Addr::UNSPECIFIED.into(), 0, value);
                self.v6.push_at(0, length, value);
            }
            IpAddr::V6(address) => self.v6.push_at(address.into(), length, value),
        }
        Ok(())
    }

    fn record(&mut self, found: &LookupResult<'_, Arc<[u8]>>, records: &mut Records) -> Result<u32, MaxMindDbError> {
        let Some(offset) = found.offset() else { return Ok(EMPTY) };
        if let Some(entry) = self.by_offset.get(&offset) {
            return Ok(entry.id);
        }
        let record: Record = found.decode()?.unwrap_or_default();
        let entry = Entry { id: records.intern(record), says_nothing: record == Record::default() };
        self.by_offset.insert(offset, entry);
        Ok(entry.id)
    }
}
