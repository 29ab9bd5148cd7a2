//! One mmdb file: walked, decoded, cut to what can be used.
//!
//! Every record that the tree leads to is decoded, each once, and any that is damaged where it is
//! looked at condemns the file. `tree` bounds the leaves by the nodes, so all that is made of a file
//! is bounded by its size, and that by [`MAX_BYTES`].

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::{IpNet, Ipv6Net};
use maxminddb::Reader;

use super::FileInfo;
use super::hash::IntMap;
use super::networks::Asns;
use super::partition::{Address, Builder, Partition};
use super::profiles::ALIASES;
use super::record::Record;
use super::tree::Tree;
use crate::model::Problem;

/// Of one file. The largest known, full commercial ones, have 500 MB.
const MAX_BYTES: usize = 1 << 30;

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
    /// All of them.
    pub(super) networks: Asns,
}

impl Records {
    pub(super) fn new(mut asns: Vec<u32>) -> Self {
        asns.sort_unstable();
        let mut records = Self { list: Vec::new(), ids: HashMap::new(), asns, networks: Asns::default() };
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

/// What a file says of each address.
pub(super) struct Content {
    pub(super) v4: Space<u32>,
    pub(super) v6: Space<u128>,
    pub(super) info: FileInfo,
}

/// The same of one family.
pub(super) struct Space<A> {
    /// Indices into [`Records`].
    pub(super) records: Partition<A>,
    /// Indices into its [`Asns`].
    pub(super) networks: Partition<A>,
}

impl<A: Address> Space<A> {
    /// Nothing.
    pub(super) fn empty() -> Self {
        Self { records: Partition::empty(), networks: Partition::empty() }
    }
}

/// Reads a whole file.
pub(super) fn read(database: &Database, records: &mut Records) -> Result<Content, Box<Problem>> {
    let reader = open(database)?;
    let built = build_time(database, &reader)?;
    let mut walk = Walk { reader: &reader, records, ids: IntMap::default(), knows: false, networks: 0 };
    let (v4, v6) = walk.both_families(&database.bytes).map_err(|cause| corrupt(database, cause))?;
    if !walk.knows {
        return Err(wrong_kind(database, &reader));
    }
    let networks = walk.networks;
    let database_type = reader.metadata().database_type.clone();
    Ok(Content { v4, v6, info: FileInfo { path: database.path.clone(), database_type, built, networks } })
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

fn open(database: &Database) -> Result<Reader<Arc<[u8]>>, Box<Problem>> {
    let size = database.bytes.len();
    if size > MAX_BYTES {
        let message = format!("the database has {size} octets; at most {MAX_BYTES} are read");
        return Err(Problem::error("database-too-large", &database.path, message).into());
    }
    Reader::from_source(Arc::clone(&database.bytes)).map_err(|error| corrupt(database, error))
}

fn corrupt(database: &Database, cause: impl fmt::Display) -> Box<Problem> {
    // The cause may quote the file.
    let cause: String = cause.to_string().chars().take(300).collect();
    let message = format!("it cannot be used as a GeoIP database: {cause}");
    Problem::error("database-corrupt", &database.path, message)
        .help("download it again, and put it in place by renaming a complete file")
        .into()
}

fn build_time(database: &Database, reader: &Reader<Arc<[u8]>>) -> Result<jiff::Timestamp, Box<Problem>> {
    let epoch = reader.metadata().build_epoch;
    let built = i64::try_from(epoch).ok().and_then(|seconds| jiff::Timestamp::from_second(seconds).ok());
    built.ok_or_else(|| corrupt(database, format_args!("its build_epoch {epoch} is no time in seconds since 1970")))
}

fn wrong_kind(database: &Database, reader: &Reader<Arc<[u8]>>) -> Box<Problem> {
    let kind: String = reader.metadata().database_type.chars().take(80).collect();
    let message = format!("no record of this database ({kind:?}) has a country, a point or an autonomous system");
    Problem::error("database-kind", &database.path, message)
        .help("use a City, Country, Enterprise or ASN database of MaxMind's, DB-IP's or ip-location-db's making")
        .into()
}

/// Takes the networks of a file.
struct Walk<'a> {
    reader: &'a Reader<Arc<[u8]>>,
    records: &'a mut Records,
    /// By offset into the data section: record and network.
    ids: IntMap<usize, (u32, u32)>,
    /// Some record says something, even if only of an autonomous system that does not matter.
    knows: bool,
    networks: usize,
}

impl Walk<'_> {
    fn both_families(&mut self, bytes: &[u8]) -> Result<(Space<u32>, Space<u128>), String> {
        let metadata = self.reader.metadata();
        let tree = Tree::new(bytes, metadata).ok_or("the search tree is longer than the file")?;
        let v4 = self.family(&tree, metadata.ip_version, |_, _| false)?;
        if metadata.ip_version == 4 {
            return Ok((v4, Space::empty()));
        }
        let alias = |start: u128, length: u8| ALIASES.contains(&Ipv6Net::new_assert(start.into(), length));
        Ok((v4, self.family(&tree, metadata.ip_version, alias)?))
    }

    fn family<A: Address>(
        &mut self,
        tree: &Tree<'_>,
        ip_version: u16,
        skip: impl Fn(A, u8) -> bool,
    ) -> Result<Space<A>, String> {
        let (mut records, mut networks) = (Builder::new(), Builder::new());
        tree.walk(tree.root::<A>(ip_version), skip, |start: A, length, offset| {
            let (record, network) = self.record(start.ip(), offset)?;
            records.push_at(start, length, record);
            networks.push_at(start, length, network);
            self.networks += 1;
            Ok(())
        })?;
        Ok(Space { records: records.finish(), networks: networks.finish() })
    }

    /// The record at an address, which the tree says is at that offset, and its network.
    fn record(&mut self, address: IpAddr, offset: usize) -> Result<(u32, u32), String> {
        if let Some(ids) = self.ids.get(&offset) {
            return Ok(*ids);
        }
        let record: Option<Record> =
            self.reader.lookup(address).and_then(|found| found.decode()).map_err(|error| error.to_string())?;
        let record = record.unwrap_or_default();
        self.knows |= record != Record::default();
        let ids = (self.records.intern(record), self.records.networks.intern(record.asn));
        self.ids.insert(offset, ids);
        Ok(ids)
    }
}
