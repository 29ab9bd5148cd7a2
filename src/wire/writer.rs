//! A reply, written into the caller's buffer.
//!
//! ```text
//! | header | question as sent | records … →           ← room of the OPT | (limit)
//! ```
//! Header and OPT are written last, when counts and response code are known.

use std::net::IpAddr;

use super::edns::{
    ADVERTISED_UDP_SIZE, ClientSubnet, Edns, ExtendedError, FLAG_DNSSEC_OK, OPTION_CLIENT_SUBNET, OPTION_COOKIE,
    OPTION_EXTENDED_ERROR, OPTION_KEEPALIVE, OPTION_NSID, OPTION_PADDING,
};
use super::names::{Names, name_length};
use super::numbers::{Class, Rcode, Rtype};
use super::query::{HEADER_LENGTH, Header, Query, Question};
use crate::model::{CLIENT_COOKIE, SERVER_COOKIE};

/// A record section of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// ANSWER
    Answer,
    /// AUTHORITY
    Authority,
    /// ADDITIONAL
    Additional,
}

/// The record does not fit. Nothing of it was written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Full;

/// A place in a reply to go back to.
#[derive(Clone, Copy, Debug)]
pub struct Mark {
    length: usize,
    counts: [u16; 3],
    names: usize,
}

/// What a reply says besides its records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ending<'a> {
    /// The response code; above 15 only in reply to EDNS.
    pub rcode: Rcode,
    /// AA
    pub authoritative: bool,
    /// TC
    pub truncated: bool,
    /// SCOPE PREFIX-LENGTH, where the query had a client subnet option (RFC 7871 §7.2.1); else unused.
    pub scope: u8,
    /// Left out where it does not fit, its text first, or the client has no EDNS.
    pub extended_error: Option<ExtendedError<'a>>,
    /// Our cookie, where the client sent one; none: cookies are off (RFC 7873).
    pub cookie: Option<[u8; SERVER_COOKIE]>,
    /// Which server this is, where the client asks for it (RFC 5001); none: it is not told.
    pub nsid: Option<&'a str>,
    /// How long a connection may be idle, in tenths of a second, where the client asks for it; none: this is no
    /// connection (RFC 7828).
    pub keepalive: Option<u16>,
    /// The transport is encrypted: a reply to a padded query is padded too (RFC 7830 §4).
    pub encrypted: bool,
}

impl Default for Ending<'_> {
    /// NOERROR, no flags, scope 0.
    fn default() -> Self {
        Self {
            rcode: Rcode::NOERROR,
            authoritative: false,
            truncated: false,
            scope: 0,
            extended_error: None,
            cookie: None,
            nsid: None,
            keepalive: None,
            encrypted: false,
        }
    }
}

/// A reply being written. Constant in size; allocates nothing.
pub struct Writer<'b> {
    out: &'b mut [u8],
    length: usize,
    /// Octets that the reply may have in all.
    limit: usize,
    /// Octets that header, question and records may have: the limit less the OPT.
    room: usize,
    counts: [u16; 3],
    names: Names,
    header: Header,
    /// Octets of the question's name; 0: no question.
    question_name: usize,
    edns: Option<Edns>,
}

/// Octets of an OPT record without options.
pub(super) const OPT_LENGTH: usize = 11;
/// Octets of a cookie option with both cookies.
pub const COOKIE_LENGTH: usize = 4 + CLIENT_COOKIE + SERVER_COOKIE;
/// A padded reply has a multiple of so many octets (RFC 8467 §4.1).
const PADDED_TO: usize = 468;
/// Octets of a record from the start of its owner, a pointer, to its TTL.
const TTL_OFFSET: usize = 6;

impl<'b> Writer<'b> {
    /// A reply to `query` of at most `limit` octets ([`Query::udp_limit`]; 65,535 by TCP), or as
    /// many as `out` has.
    ///
    /// # Panics
    /// Where `out` or `limit` is below 512 octets, which header, question and OPT always fit into.
    #[must_use]
    pub fn reply(query: &Query<'_>, out: &'b mut [u8], limit: usize) -> Self {
        Self::new(query.header, Some(query.question), query.edns, out, limit)
    }

    pub(super) fn new(
        header: Header,
        question: Option<Question<'_>>,
        edns: Option<Edns>,
        out: &'b mut [u8],
        limit: usize,
    ) -> Self {
        let limit = limit.min(out.len()).min(usize::from(u16::MAX));
        assert!(limit >= 512, "a reply's buffer and limit are 512 octets or more");
        let opt = edns.map_or(0, |edns| {
            let subnet = edns.client_subnet.map_or(0, |subnet| 8 + subnet.address_octets());
            OPT_LENGTH + subnet + edns.cookie.map_or(0, |_| COOKIE_LENGTH)
        });
        let mut writer = Self {
            out,
            length: HEADER_LENGTH,
            limit,
            room: limit - opt,
            counts: [0; 3],
            names: Names::new(),
            header,
            question_name: 0,
            edns,
        };
        if let Some(question) = question {
            writer.start_with(question);
        }
        writer
    }

    fn start_with(&mut self, question: Question<'_>) {
        let end = question.end();
        self.out[HEADER_LENGTH..end].copy_from_slice(question.wire);
        self.length = end;
        self.question_name = question.name.len();
        let mut at = 0;
        while question.name[at] != 0 {
            self.names.learn(HEADER_LENGTH + at, question.name.len() - at);
            at += 1 + usize::from(question.name[at]);
        }
    }

    /// Adds a record to `section`, which is never one before that of an earlier record. `owner` and
    /// `rdata` are in uncompressed wire form. The owner and, of NS, CNAME, SOA, PTR and MX, the names
    /// in the data are compressed (RFC 3597 §4). Case is kept, but an owner that is the question's
    /// name takes the question's.
    ///
    /// # Errors
    /// [`Full`]
    ///
    /// # Panics
    /// Where `owner` is no uncompressed name.
    pub fn record(
        &mut self,
        section: Section,
        owner: &[u8],
        rtype: Rtype,
        class: Class,
        ttl: u32,
        rdata: &[u8],
    ) -> Result<(), Full> {
        let before = self.mark();
        let written = self.put_record(owner, rtype, class, ttl, rdata).and_then(|()| self.count(section, 1));
        if written.is_err() {
            self.rewind(before);
        }
        written
    }

    /// Adds ready records: `image` holds them one behind the other, each with a pointer as its owner;
    /// `starts` are the offsets in it where they begin. Copied, they get `owner`, an offset in this
    /// message ([`HEADER_LENGTH`] is the question's name, others come from [`offset_of`]) and `ttl`.
    /// Pointers in the image's data must lead to the question or nowhere.
    ///
    /// [`offset_of`]: Self::offset_of
    ///
    /// # Errors
    /// [`Full`]: none was added.
    ///
    /// # Panics
    /// Where a start is not inside `image`.
    pub fn image(&mut self, section: Section, image: &[u8], starts: &[u16], owner: u16, ttl: u32) -> Result<(), Full> {
        let before = self.mark();
        self.put(image)?;
        if let Err(full) = self.count(section, starts.len()) {
            self.rewind(before);
            return Err(full);
        }
        let copied = &mut self.out[before.length..self.length];
        for &start in starts {
            let start = usize::from(start);
            copied[start..start + 2].copy_from_slice(&(0xc000 | owner).to_be_bytes());
            copied[start + TTL_OFFSET..start + TTL_OFFSET + 4].copy_from_slice(&ttl.to_be_bytes());
        }
        Ok(())
    }

    /// Where `name` (uncompressed, any case for the question's) stands in the message, if a pointer
    /// can reach it.
    #[must_use]
    pub fn offset_of(&self, name: &[u8]) -> Option<u16> {
        let question = &self.out[HEADER_LENGTH..HEADER_LENGTH + self.question_name];
        // Length octets are below 'A', so folding the whole leaves them alone.
        if self.question_name > 0 && question.eq_ignore_ascii_case(name) {
            return Some(HEADER_LENGTH as u16);
        }
        self.names.find(self.out, name)
    }

    /// The place reached, so that a whole RRset can be taken back.
    #[must_use]
    pub fn mark(&self) -> Mark {
        Mark { length: self.length, counts: self.counts, names: self.names.used() }
    }

    /// Takes back everything since `mark`, which must be this reply's.
    pub fn rewind(&mut self, mark: Mark) {
        self.length = mark.length;
        self.counts = mark.counts;
        self.names.forget_from(mark.names);
    }

    /// Writes OPT (where the query had one) and header, and returns the reply's length.
    #[must_use]
    pub fn finish(mut self, ending: Ending<'_>) -> usize {
        self.room = self.limit;
        if let Some(edns) = self.edns {
            self.put_opt(edns, &ending).expect("its room was held back");
            self.counts[Section::Additional as usize] += 1;
        }
        self.put_header(&ending);
        self.length
    }

    fn put_header(&mut self, ending: &Ending<'_>) {
        let Header { id, opcode, recursion_desired } = self.header;
        // RA is clear since no recursion is offered, CD as RFC 4035 §3.1.6 has it.
        let flags = 0x8000
            | u16::from(opcode) << 11
            | u16::from(ending.authoritative) << 10
            | u16::from(ending.truncated) << 9
            | u16::from(recursion_desired) << 8
            | ending.rcode.0 & 0xf;
        let [answers, authorities, additionals] = self.counts;
        let questions = u16::from(self.question_name > 0);
        let fields = [id, flags, questions, answers, authorities, additionals];
        for (octets, field) in self.out.chunks_exact_mut(2).zip(fields) {
            octets.copy_from_slice(&field.to_be_bytes());
        }
    }

    fn put_opt(&mut self, edns: Edns, ending: &Ending<'_>) -> Result<(), Full> {
        self.put(&[0])?;
        self.put_u16(Rtype::OPT.0)?;
        self.put_u16(ADVERTISED_UDP_SIZE)?;
        let version = 0;
        self.put(&[(ending.rcode.0 >> 4) as u8, version])?;
        self.put_u16(if edns.dnssec_ok { FLAG_DNSSEC_OK } else { 0 })?;
        self.put_measured(|writer| {
            if let Some(subnet) = edns.client_subnet {
                writer.put_client_subnet(subnet, ending.scope)?;
            }
            if let (Some(cookie), Some(server)) = (edns.cookie, ending.cookie) {
                writer.put_u16(OPTION_COOKIE)?;
                writer.put_measured(|writer| writer.put(&cookie.client).and_then(|()| writer.put(&server)))?;
            }
            // The rest is a courtesy: no answer is truncated for it.
            if let (true, Some(tenths)) = (edns.wants_keepalive, ending.keepalive) {
                writer.offer(OPTION_KEEPALIVE, &[&tenths.to_be_bytes()]);
            }
            if let (true, Some(nsid)) = (edns.wants_nsid, ending.nsid) {
                writer.offer(OPTION_NSID, &[nsid.as_bytes()]);
            }
            if let Some(ExtendedError { code, text }) = ending.extended_error {
                let code = code.to_be_bytes();
                let _ = writer.offer(OPTION_EXTENDED_ERROR, &[&code, text.as_bytes()])
                    || writer.offer(OPTION_EXTENDED_ERROR, &[&code]);
            }
            if edns.wants_padding && ending.encrypted {
                writer.pad();
            }
            Ok(())
        })
    }

    /// FAMILY, SOURCE and ADDRESS as they came (RFC 7871 §7.2.1).
    fn put_client_subnet(&mut self, subnet: ClientSubnet, scope: u8) -> Result<(), Full> {
        self.put_u16(OPTION_CLIENT_SUBNET)?;
        self.put_measured(|writer| {
            writer.put_u16(subnet.family)?;
            writer.put(&[subnet.source, scope])?;
            match subnet.address {
                IpAddr::V4(address) => writer.put(&address.octets()[..subnet.address_octets()]),
                IpAddr::V6(address) => writer.put(&address.octets()[..subnet.address_octets()]),
            }
        })
    }

    /// Puts an option if there is room for it.
    fn offer(&mut self, code: u16, data: &[&[u8]]) -> bool {
        let before = self.length;
        let written = self
            .put_u16(code)
            .and_then(|()| self.put_measured(|writer| data.iter().try_for_each(|octets| writer.put(octets))));
        if written.is_err() {
            self.length = before;
        }
        written.is_ok()
    }

    /// Fills the message up to a full block, or as far as it may go. The last option of the last record.
    fn pad(&mut self) {
        const ZEROS: [u8; PADDED_TO] = [0; PADDED_TO];
        let start = self.length + 4;
        let end = start.next_multiple_of(PADDED_TO).min(self.room);
        self.offer(OPTION_PADDING, &[&ZEROS[..end.saturating_sub(start)]]);
    }

    fn put_record(&mut self, owner: &[u8], rtype: Rtype, class: Class, ttl: u32, rdata: &[u8]) -> Result<(), Full> {
        match self.offset_of(owner) {
            Some(at) if owner != [0] => self.put_u16(0xc000 | at)?,
            _ => self.put_name(owner)?,
        }
        self.put_u16(rtype.0)?;
        self.put_u16(class.0)?;
        self.put(&ttl.to_be_bytes())?;
        self.put_measured(|writer| writer.put_rdata(rtype, rdata))
    }

    /// The rest of RFC 1035's types with names in them are obsolete, and written as they are.
    fn put_rdata(&mut self, rtype: Rtype, rdata: &[u8]) -> Result<(), Full> {
        let (before, names) = match rtype {
            Rtype::NS | Rtype::CNAME | Rtype::PTR => (0, 1),
            Rtype::MX => (2, 1),
            Rtype::SOA => (0, 2),
            _ => (rdata.len(), 0),
        };
        let (fixed, mut rest) = rdata.split_at_checked(before).unwrap_or((rdata, &[]));
        self.put(fixed)?;
        for _ in 0..names {
            let Some(length) = name_length(rest) else { break };
            self.put_name(&rest[..length])?;
            rest = &rest[length..];
        }
        self.put(rest)
    }

    /// Puts a name, its longest suffix that the message has already as a pointer.
    fn put_name(&mut self, name: &[u8]) -> Result<(), Full> {
        let mut rest = name;
        while rest[0] != 0 {
            if let Some(at) = self.names.find(self.out, rest) {
                return self.put_u16(0xc000 | at);
            }
            let (label, after) = rest.split_at(1 + usize::from(rest[0]));
            let at = self.length;
            self.put(label)?;
            self.names.learn(at, rest.len());
            rest = after;
        }
        self.put(&[0])
    }

    /// Puts what `put` puts, behind its length in two octets.
    fn put_measured(&mut self, put: impl FnOnce(&mut Self) -> Result<(), Full>) -> Result<(), Full> {
        let at = self.length;
        self.put_u16(0)?;
        put(self)?;
        let length = (self.length - at - 2) as u16; // the limit is 65,535
        self.out[at..at + 2].copy_from_slice(&length.to_be_bytes());
        Ok(())
    }

    fn put_u16(&mut self, value: u16) -> Result<(), Full> {
        self.put(&value.to_be_bytes())
    }

    fn put(&mut self, octets: &[u8]) -> Result<(), Full> {
        let end = self.length + octets.len();
        if end > self.room {
            return Err(Full);
        }
        self.out[self.length..end].copy_from_slice(octets);
        self.length = end;
        Ok(())
    }

    /// The OPT needs a count of its own.
    fn count(&mut self, section: Section, records: usize) -> Result<(), Full> {
        let later = &self.counts[section as usize + 1..];
        debug_assert!(later.iter().all(|&count| count == 0), "sections are written in order");
        let count = usize::from(self.counts[section as usize]) + records;
        if count >= usize::from(u16::MAX) {
            return Err(Full);
        }
        self.counts[section as usize] = count as u16;
        Ok(())
    }
}
