//! Asks a snapshot in process and reads the replies with hickory-proto, an independent reader.
#![allow(dead_code, reason = "no test binary uses all of it")]

use std::collections::BTreeMap;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hickory_proto::op::{Edns, Message, MessageType, OpCode, Query};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinDecodable;
use ipnet::IpNet;
use meridian::answer::{Asker, Batches, Transport, respond, with_hot};
use meridian::control::load;
use meridian::model::{EndpointId, Problem, Spread, State};
use meridian::table::{Cells, CounterKey, Counters, Snapshot, Standing};
use meridian::wire::{Batch, LONGEST};

/// A query in the making: without EDNS, by UDP, from an address that no database knows.
#[derive(Clone, Debug)]
pub(crate) struct Ask {
    pub(crate) message: Message,
    pub(crate) asker: Asker,
}

impl Ask {
    pub(crate) fn new(name: &str, rtype: &str) -> Self {
        let mut message = Message::new(0x2a17, MessageType::Query, OpCode::Query);
        let mut name = Name::from_ascii(name).unwrap();
        name.set_fqdn(true);
        message.add_query(Query::query(name, record_type(rtype)));
        let address = Ipv4Addr::LOCALHOST.into();
        Self { message, asker: Asker { address, transport: Transport::Datagram, random: 0, now: 0 } }
    }

    pub(crate) fn class(mut self, class: DNSClass) -> Self {
        self.message.queries[0].set_query_class(class);
        self
    }

    /// From this resolver.
    pub(crate) fn from(mut self, resolver: &str) -> Self {
        self.asker.address = resolver.parse().unwrap();
        self
    }

    pub(crate) fn tcp(mut self) -> Self {
        self.asker.transport = Transport::Stream;
        self
    }

    pub(crate) fn random(mut self, random: u64) -> Self {
        self.asker.random = random;
        self
    }

    /// At this time, in seconds.
    pub(crate) fn at(mut self, now: u32) -> Self {
        self.asker.now = now;
        self
    }

    /// With EDNS, taking UDP messages of that many octets.
    pub(crate) fn edns(mut self, udp_size: u16) -> Self {
        self.message.edns.get_or_insert_with(Edns::new).set_max_payload(udp_size);
        self
    }

    pub(crate) fn edns_version(mut self, version: u8) -> Self {
        self.message.edns.get_or_insert_with(Edns::new).set_version(version);
        self
    }

    /// With a client subnet option, its address cut to the prefix.
    pub(crate) fn subnet(self, prefix: &str) -> Self {
        self.net(prefix.parse().unwrap())
    }

    pub(crate) fn net(mut self, prefix: IpNet) -> Self {
        let prefix = prefix.trunc();
        let option = EdnsOption::Subnet(ClientSubnet::new(prefix.addr(), prefix.prefix_len(), 0));
        let edns = self.message.edns.get_or_insert_with(Edns::new);
        edns.set_max_payload(1232);
        edns.options_mut().insert(option);
        self
    }

    /// With these octets as the client subnet option.
    pub(crate) fn raw_subnet(self, data: &[u8]) -> Self {
        self.option(8, data)
    }

    /// With this option.
    pub(crate) fn option(mut self, code: u16, data: &[u8]) -> Self {
        let edns = self.message.edns.get_or_insert_with(Edns::new);
        edns.options_mut().insert(EdnsOption::Unknown(code, data.to_vec()));
        self
    }

    pub(crate) fn octets(&self) -> Vec<u8> {
        self.message.to_vec().unwrap()
    }
}

fn record_type(text: &str) -> RecordType {
    match (text, text.strip_prefix("TYPE")) {
        (_, Some(number)) => RecordType::from(number.parse::<u16>().unwrap()),
        ("DNAME", _) => RecordType::from(39),
        ("IXFR", _) => RecordType::from(251),
        _ => text.parse().unwrap(),
    }
}

/// A reply, decoded. As text it is a scripted exchange's second half:
/// `RCODE flags`, then `AN`, `NS` and `AD` records, then `OPT`.
#[derive(Debug)]
pub(crate) struct Reply {
    pub(crate) message: Message,
    pub(crate) length: usize,
}

impl Reply {
    /// Reads the octets, which must be a reply to `query` in every way that all replies are.
    pub(crate) fn read(query: &[u8], octets: &[u8]) -> Self {
        let message = Message::from_vec(octets).unwrap_or_else(|error| panic!("{error}: {octets:?}"));
        let (asked, metadata) = (Message::from_vec(query), &message.metadata);
        assert_eq!(metadata.message_type, MessageType::Response);
        assert!(!metadata.recursion_available && !metadata.authentic_data);
        assert_eq!(octets[..2], query[..2], "the id");
        if let Ok(asked) = asked {
            assert_eq!(metadata.recursion_desired, asked.metadata.recursion_desired);
            assert_eq!(message.edns.is_some(), asked.edns.is_some(), "OPT in, OPT out (RFC 6891 §7)");
            let question = 12 + asked.queries[0].name().len() + 4;
            assert_eq!(octets[12..question], query[12..question], "the question as sent");
        }
        Self { message, length: octets.len() }
    }

    pub(crate) fn rcode(&self) -> &'static str {
        match u16::from(self.message.metadata.response_code) {
            0 => "NOERROR",
            1 => "FORMERR",
            2 => "SERVFAIL",
            3 => "NXDOMAIN",
            4 => "NOTIMP",
            5 => "REFUSED",
            6 => "YXDOMAIN",
            16 => "BADVERS",
            other => panic!("response code {other}"),
        }
    }

    /// The addresses in the answer section, in order.
    pub(crate) fn addresses(&self) -> Vec<IpAddr> {
        let address = |record: &Record| match &record.data {
            RData::A(a) => Some(IpAddr::V4(a.0)),
            RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
            _ => None,
        };
        self.message.answers.iter().filter_map(address).collect()
    }

    /// The TTL of the last answer record.
    pub(crate) fn ttl(&self) -> u32 {
        self.message.answers.last().unwrap().ttl
    }

    fn subnet(&self) -> Option<&ClientSubnet> {
        match self.message.edns.as_ref()?.option(EdnsCode::Subnet)? {
            EdnsOption::Subnet(subnet) => Some(subnet),
            other => panic!("{other:?}"),
        }
    }

    /// SCOPE PREFIX-LENGTH; none: no client subnet option.
    pub(crate) fn scope(&self) -> Option<u8> {
        self.subnet().map(ClientSubnet::scope_prefix)
    }

    /// The INFO-CODE of an extended error (RFC 8914).
    pub(crate) fn extended_error(&self) -> Option<u16> {
        self.option(15).map(|data| u16::from_be_bytes([data[0], data[1]]))
    }

    /// The data of an option.
    pub(crate) fn option(&self, code: u16) -> Option<&[u8]> {
        match self.message.edns.as_ref()?.option(EdnsCode::from(code))? {
            EdnsOption::Unknown(_, data) => Some(data),
            EdnsOption::NSID(data) => Some(data.as_ref()),
            other => panic!("{other:?}"),
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Message { metadata, answers, authorities, additionals, edns, .. } = &self.message;
        f.write_str(self.rcode())?;
        f.write_str(if metadata.authoritative { " aa" } else { "" })?;
        f.write_str(if metadata.truncation { " tc" } else { "" })?;
        for (section, records) in [("AN", answers), ("NS", authorities), ("AD", additionals)] {
            records.iter().try_for_each(|record| write!(f, "\n{section} {}", presented(record)))?;
        }
        if let Some(edns) = edns {
            write!(f, "\nOPT {}", edns.max_payload())?;
        }
        if let Some(subnet) = self.subnet() {
            write!(f, " subnet={}/{}/{}", subnet.addr(), subnet.source_prefix(), subnet.scope_prefix())?;
        }
        self.extended_error().map_or(Ok(()), |code| write!(f, " error={code}"))
    }
}

/// In presentation form, also what hickory-proto does not write so: TXT, DNAME, unknown types.
fn presented(record: &Record) -> String {
    let data = match &record.data {
        RData::TXT(txt) => {
            let strings = txt.txt_data.iter().map(|string| format!("\"{}\"", string.escape_ascii()));
            strings.collect::<Vec<_>>().join(" ")
        }
        RData::Unknown { code, rdata } if u16::from(*code) == 39 => {
            Name::from_bytes(&rdata.anything).unwrap().to_string()
        }
        RData::Unknown { rdata, .. } => {
            let octets = rdata.anything.iter().map(|octet| format!("{octet:02x}"));
            format!("\\# {} {}", rdata.anything.len(), octets.collect::<String>())
        }
        data => data.to_string(),
    };
    let rtype = match record.record_type() {
        RecordType::Unknown(39) => "DNAME".to_owned(),
        RecordType::Unknown(number) => format!("TYPE{number}"),
        known => known.to_string(),
    };
    format!("{} {} {} {rtype} {data}", record.name, record.ttl, record.dns_class)
}

/// Lines of text without their indentation, so that exchanges stand in the code as they are read.
pub(crate) fn lines(text: &str) -> String {
    text.trim().lines().map(str::trim).collect::<Vec<_>>().join("\n")
}

/// A snapshot, steering, all endpoints up unless said otherwise.
pub(crate) struct World {
    pub(crate) snapshot: Snapshot,
    counters: Counters,
    cells: Cells,
}

/// Files in memory.
pub(crate) type Files = BTreeMap<PathBuf, Arc<[u8]>>;

pub(crate) fn files<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Files {
    files.into_iter().map(|(path, content)| (path.into(), content.into())).collect()
}

impl World {
    /// Loads `config.toml` and what it names from `files`.
    pub(crate) fn try_new(mut files: Files) -> Result<Self, Vec<Problem>> {
        let loaded = load(&mut files, Path::new("config.toml"), None)?;
        let standing = |endpoint| Standing::all(endpoint, State::Up);
        let standings = loaded.parts.config.endpoints.iter().map(standing).collect();
        let mut counters = Counters::default();
        let snapshot =
            Snapshot::compile(loaded.parts.clone(), standings, &mut counters, None, jiff::Timestamp::UNIX_EPOCH)?;
        let snapshot = with_hot(snapshot.steering());
        Ok(Self { snapshot, counters, cells: Cells::default() })
    }

    pub(crate) fn new(files: Files) -> Self {
        Self::try_new(files).unwrap_or_else(|problems| {
            panic!("{}", problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))
        })
    }

    pub(crate) fn with_snapshot(&self, snapshot: Snapshot) -> Self {
        Self { snapshot, counters: self.counters.clone(), cells: Cells::default() }
    }

    pub(crate) fn endpoint(&self, name: &str) -> EndpointId {
        let endpoints = &self.snapshot.parts.config.endpoints;
        EndpointId::at(endpoints.iter().position(|endpoint| &*endpoint.name == name).unwrap())
    }

    /// The same where these endpoints stand so.
    pub(crate) fn standing(&self, names: &[&str], state: State) -> Self {
        let config = &self.snapshot.parts.config;
        let standing = |name: &&str| {
            let id = self.endpoint(name);
            (id, Standing::all(&config.endpoints[id.index()], state))
        };
        self.with_snapshot(
            self.snapshot.with_standings(names.iter().map(standing).collect(), jiff::Timestamp::UNIX_EPOCH),
        )
    }

    /// The same where these endpoints are down.
    pub(crate) fn without(&self, names: &[&str]) -> Self {
        self.standing(names, State::Down)
    }

    /// The octets of the reply; none: silence.
    pub(crate) fn octets(&self, asker: Asker, query: &[u8]) -> Option<Vec<u8>> {
        let mut out = vec![0xee; usize::from(u16::MAX)];
        let length = respond(&self.snapshot, &self.cells, asker, query, &mut out);
        out.truncate(length);
        if asker.transport == Transport::Datagram && query.len() <= LONGEST && !self.draws() {
            self.batches_agree(asker, query, &out);
        }
        (length > 0).then_some(out)
    }

    /// Does some service answer by chance?
    fn draws(&self) -> bool {
        self.snapshot.parts.config.plans.iter().any(|plan| plan.policy.spread == Spread::Random)
    }

    /// The batched path, compiled both ways, says the same and counts the same as [`respond`] did.
    fn batches_agree(&self, asker: Asker, query: &[u8], expected: &[u8]) {
        let counted = Cells::default();
        respond(&self.snapshot, &counted, asker, query, &mut vec![0; LONGEST]);
        for plain in [false, true] {
            let (mut batch, cells) = (Batch::default(), Cells::default());
            batch.slots[0].fill(0xaa);
            batch.slots[0][..query.len()].copy_from_slice(query);
            (batch.count, batch.lengths[0]) = (1, query.len() as u16);
            batch.clients[0] = SocketAddr::new(asker.address, 4242);
            let mut batches = Batches::new(0);
            batches.now = u64::from(asker.now) * 1_000_000;
            let answer = if plain { Batches::respond_plain } else { Batches::respond };
            answer(&mut batches, &self.snapshot, &cells, &mut batch);
            assert_eq!(&batch.slots[0][..batch.lengths[0].into()], expected, "plain: {plain}, query {query:x?}");
            for (key, id) in self.counters.iter() {
                assert_eq!(cells.read(id), counted.read(id), "{key:?}, plain: {plain}");
            }
        }
    }

    pub(crate) fn ask(&self, ask: &Ask) -> Reply {
        let query = ask.octets();
        Reply::read(&query, &self.octets(ask.asker, &query).expect("a reply"))
    }

    /// The endpoints whose addresses the reply holds, in its order, each once.
    pub(crate) fn who(&self, reply: &Reply) -> Vec<String> {
        let mut names = Vec::new();
        for address in reply.addresses() {
            let mut endpoints = self.snapshot.parts.config.endpoints.iter().enumerate();
            let holds = |id| self.snapshot.standing(EndpointId::at(id)).addresses.iter().any(|(a, _)| *a == address);
            let name = endpoints.find(|(id, _)| holds(*id)).unwrap_or_else(|| panic!("whose is {address}?")).1;
            if names.last() != Some(&name.name.to_string()) {
                names.push(name.name.to_string());
            }
        }
        names
    }

    /// The figure of a counter.
    pub(crate) fn count(&self, key: &CounterKey) -> u64 {
        self.read(&self.cells, key)
    }

    /// The figure of a counter in other cells.
    pub(crate) fn read(&self, cells: &Cells, key: &CounterKey) -> u64 {
        self.counters.iter().find(|(known, _)| known == key).map_or(0, |(_, id)| cells.read(id))
    }
}
