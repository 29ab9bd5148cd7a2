//! A query's bytes, read in one walk.
//!
//! ```text
//! header → question(s) → answer, authority, additional records → end
//!             │                                  └ OPT → options → client subnet
//!             └ the walk stops at the first fault and keeps what it had found: a reply that says
//!               FORMERR still bears the question and, where the query had one, an OPT (RFC 6891 §7)
//! ```
//! Every step takes at least one octet, so the walk is bounded by the packet's length.

use super::edns::Edns;
use super::names::name_length;
use super::numbers::{Class, Rcode, Rtype};
use super::writer::{Ending, Writer};
use crate::model::SERVER_COOKIE;

/// Octets of a DNS header (RFC 1035 §4.1.1).
pub const HEADER_LENGTH: usize = 12;

const OPCODE_QUERY: u8 = 0;

/// A query that can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// The whole message.
    pub packet: &'a [u8],
    /// What a reply copies from its header.
    pub header: Header,
    /// Its one question.
    pub question: Question<'a>,
    /// Its OPT record, version 0; none: a client without EDNS.
    pub edns: Option<Edns>,
}

/// What a reply copies from the header of its query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The message's id.
    pub id: u16,
    /// Its opcode, 4 bits. Of a [`Query`] always 0, QUERY.
    pub opcode: u8,
    /// RD.
    pub recursion_desired: bool,
}

/// The question of a query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Question<'a> {
    /// The name in uncompressed wire form, case as it was sent. 1 to 255 octets.
    pub name: &'a [u8],
    /// QTYPE
    pub rtype: Rtype,
    /// QCLASS
    pub class: Class,
    /// The whole question as it was sent.
    pub(super) wire: &'a [u8],
}

impl Question<'_> {
    /// The offset in the message behind the question.
    #[must_use]
    pub fn end(&self) -> usize {
        HEADER_LENGTH + self.wire.len()
    }
}

impl Query<'_> {
    /// Octets that a reply by UDP may have: what the client takes, at most `at_most`; 512 for a
    /// client without EDNS (RFC 1035 §4.2.1, RFC 6891 §6.2.5).
    #[must_use]
    pub fn udp_limit(&self, at_most: u16) -> usize {
        usize::from(self.edns.map_or(512, |edns| edns.udp_size.min(at_most)))
    }
}

/// Why there is nothing to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rejection<'a> {
    /// It is shorter than a header, or itself a response: replying could start a loop.
    Silence,
    /// It is told what is wrong.
    Reply(Rejected<'a>),
}

/// A query that is answered by an error alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rejected<'a> {
    /// What the reply copies from its header.
    pub header: Header,
    /// FORMERR, NOTIMP or BADVERS; NOERROR where only a cookie was asked for (RFC 7873 §5.4).
    pub rcode: Rcode,
    /// Its question, where it has one that could be read.
    pub question: Option<Question<'a>>,
    /// Its OPT record, where one could be read; without its options where these could not.
    pub edns: Option<Edns>,
}

impl Rejected<'_> {
    /// Writes the reply into `out` and returns its length; it is at most 512. `encrypted` as in [`Ending`].
    ///
    /// # Panics
    /// Where `out` is shorter than 512 octets.
    pub fn write(&self, encrypted: bool, cookie: Option<[u8; SERVER_COOKIE]>, out: &mut [u8]) -> usize {
        let writer = Writer::new(self.header, self.question, self.edns, out, 512);
        writer.finish(Ending { rcode: self.rcode, encrypted, cookie, ..Ending::default() })
    }
}

/// Reads a query.
///
/// - An opcode other than QUERY is NOTIMP, whatever follows.
/// - QDCOUNT must be 1 (RFC 9619), or 0 in a query for a cookie alone (RFC 7873 §5.4); its name whole: a pointer there
///   could lead only into the header or to itself.
/// - Answer and authority must be empty, as NSD has it; an IXFR query may have one record of authority
///   (RFC 1995 §3).
/// - Additional records are passed over, TSIG too, but for one OPT, owned by the root.
/// - Nothing may follow the last record.
/// - A malformed client subnet option, or a second one, is FORMERR: [`ClientSubnet`].
/// - EDNS versions above 0 are BADVERS (RFC 6891 §6.1.3); their options are not looked at.
///
/// [`ClientSubnet`]: super::ClientSubnet
///
/// # Errors
/// [`Rejection`]: be silent, or write that reply.
pub fn parse(packet: &[u8]) -> Result<Query<'_>, Rejection<'_>> {
    let fixed = packet.first_chunk::<HEADER_LENGTH>().ok_or(Rejection::Silence)?;
    if fixed[2] & 0x80 != 0 {
        return Err(Rejection::Silence);
    }
    let header = Header {
        id: u16::from_be_bytes([fixed[0], fixed[1]]),
        opcode: fixed[2] >> 3 & 0xf,
        recursion_desired: fixed[2] & 1 != 0,
    };
    let mut parts = Parts::default();
    let whole = parts.walk(packet, Counts::read(fixed));
    let rcode = match (whole, parts.question) {
        _ if header.opcode != OPCODE_QUERY => Rcode::NOTIMP,
        (Err(Malformed), _) => Rcode::FORMERR,
        _ if parts.edns.is_some_and(|edns| edns.version > 0) => Rcode::BADVERS,
        (Ok(()), None) if parts.edns.is_some_and(|edns| edns.cookie.is_some()) => Rcode::NOERROR,
        (Ok(()), None) => Rcode::FORMERR,
        (Ok(()), Some(question)) => return Ok(Query { packet, header, question, edns: parts.edns }),
    };
    Err(Rejection::Reply(Rejected { header, rcode, question: parts.question, edns: parts.edns }))
}

/// The packet breaks a rule of its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Malformed;

/// QDCOUNT, ANCOUNT, NSCOUNT, ARCOUNT
pub(super) struct Counts {
    pub(super) questions: u16,
    pub(super) answers: u16,
    pub(super) authorities: u16,
    pub(super) additionals: u16,
}

impl Counts {
    pub(super) fn read(header: &[u8; HEADER_LENGTH]) -> Self {
        let count = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        Self { questions: count(4), answers: count(6), authorities: count(8), additionals: count(10) }
    }
}

/// What the walk has found so far.
#[derive(Default)]
struct Parts<'a> {
    question: Option<Question<'a>>,
    edns: Option<Edns>,
}

impl<'a> Parts<'a> {
    fn walk(&mut self, packet: &'a [u8], counts: Counts) -> Result<(), Malformed> {
        let mut cursor = Cursor::behind_header(packet);
        for _ in 0..counts.questions {
            let question = cursor.question()?;
            self.question = (counts.questions == 1).then_some(question);
        }
        for _ in 0..u32::from(counts.answers) + u32::from(counts.authorities) {
            cursor.record()?;
        }
        for _ in 0..counts.additionals {
            let record = cursor.record()?;
            if record.rtype == Rtype::OPT {
                self.read_opt(&record)?;
            }
        }
        // Who asks for a zone's changes brings the SOA that it has (RFC 1995 §3).
        let soa = u16::from(self.question.is_some_and(|question| question.rtype == Rtype::IXFR));
        let clean = counts.questions <= 1 && counts.answers == 0 && counts.authorities <= soa;
        if clean && cursor.at == packet.len() { Ok(()) } else { Err(Malformed) }
    }

    /// The fixed part is kept even if the options behind it are malformed.
    fn read_opt(&mut self, record: &Record<'_>) -> Result<(), Malformed> {
        if !record.owned_by_root || self.edns.is_some() {
            return Err(Malformed);
        }
        let edns = self.edns.insert(Edns::from_fixed(record.class, record.ttl));
        if edns.version == 0 { edns.read_options(record.rdata) } else { Ok(()) }
    }
}

/// A record, as far as anybody here asks.
pub(super) struct Record<'a> {
    owned_by_root: bool,
    pub(super) rtype: Rtype,
    class: u16,
    pub(super) ttl: u32,
    pub(super) rdata: &'a [u8],
}

/// A place in a packet.
pub(super) struct Cursor<'a> {
    pub(super) packet: &'a [u8],
    pub(super) at: usize,
}

impl<'a> Cursor<'a> {
    /// In a packet that has a header.
    pub(super) fn behind_header(packet: &'a [u8]) -> Self {
        Self { packet, at: HEADER_LENGTH }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let taken = self.packet[self.at..].get(..length).ok_or(Malformed)?;
        self.at += length;
        Ok(taken)
    }

    fn octets<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let taken = self.packet[self.at..].first_chunk().ok_or(Malformed)?;
        self.at += N;
        Ok(*taken)
    }

    fn u16(&mut self) -> Result<u16, Malformed> {
        self.octets().map(u16::from_be_bytes)
    }

    pub(super) fn question(&mut self) -> Result<Question<'a>, Malformed> {
        let rest = &self.packet[self.at..];
        let name = self.take(name_length(rest).ok_or(Malformed)?)?;
        let rtype = Rtype(self.u16()?);
        let class = Class(self.u16()?);
        Ok(Question { name, rtype, class, wire: &rest[..name.len() + 4] })
    }

    pub(super) fn record(&mut self) -> Result<Record<'a>, Malformed> {
        let start = self.at;
        self.skip_name()?;
        let owned_by_root = self.packet[start..self.at] == [0];
        let rtype = Rtype(self.u16()?);
        let class = self.u16()?;
        let ttl = u32::from_be_bytes(self.octets()?);
        let length = self.u16()?;
        Ok(Record { owned_by_root, rtype, class, ttl, rdata: self.take(length.into())? })
    }

    /// A name that may end with a pointer. Nobody asks where it leads.
    fn skip_name(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while self.at - start < 255 {
            match self.octets::<1>()?[0] {
                0 => return Ok(()),
                length @ 1..=63 => drop(self.take(length.into())?),
                0xc0.. => return self.octets::<1>().map(drop),
                _ => return Err(Malformed),
            }
        }
        Err(Malformed)
    }
}
