//! RRsets in the form that answers are copied from.

use std::fmt;

/// The records of one name and type (RFC 2181 §5), laid out in one buffer.
///
/// Data is in uncompressed wire form; names in it keep the case that the file has.
#[derive(Clone, PartialEq, Eq)]
pub struct RRset {
    /// The type's number.
    pub rtype: u16,
    /// Seconds, below 2^31.
    pub ttl: u32,
    /// How many records; at least one.
    count: u16,
    /// Each record's data behind its length in two octets, big-endian: as RDLENGTH and RDATA stand
    /// in a message.
    octets: Box<[u8]>,
}

impl RRset {
    /// An RRset of `octets`: lengths and data by turns, as a draft gathers them.
    pub(super) fn new(rtype: u16, ttl: u32, octets: &[u8]) -> Self {
        let count = Rdatas { rest: octets }.count();
        let count = u16::try_from(count).expect("a draft is bounded to 65,535 octets");
        Self { rtype, ttl, count, octets: octets.into() }
    }

    /// How many records; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no RRset is empty")]
    pub fn len(&self) -> usize {
        self.count.into()
    }

    /// The data of each record, in the order of the file.
    #[must_use]
    pub fn rdatas(&self) -> Rdatas<'_> {
        Rdatas { rest: &self.octets }
    }

    /// RDLENGTH and RDATA of each record, one behind the other.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }
}

impl fmt::Debug for RRset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.ttl, super::rtype::name_of(self.rtype))?;
        self.rdatas().try_for_each(|rdata| write!(f, " {}", rdata.escape_ascii()))
    }
}

/// The data of each record of an RRset.
#[derive(Clone, Debug)]
pub struct Rdatas<'a> {
    rest: &'a [u8],
}

impl<'a> Rdatas<'a> {
    /// Over lengths and data by turns.
    pub(super) fn over(octets: &'a [u8]) -> Self {
        Self { rest: octets }
    }
}

impl<'a> Iterator for Rdatas<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (length, rest) = self.rest.split_first_chunk::<2>()?;
        let (rdata, rest) = rest.split_at(u16::from_be_bytes(*length).into());
        self.rest = rest;
        Some(rdata)
    }
}
