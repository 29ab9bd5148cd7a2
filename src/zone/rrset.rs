//! RRsets in the form that answers are copied from.

use std::fmt;

/// The records of one name and type (RFC 2181 §5): a view of its zone.
///
/// Data is in uncompressed wire form; names in it keep the case that the file has.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct RRset<'z> {
    /// The type's number.
    pub rtype: u16,
    /// Seconds, below 2^31.
    pub ttl: u32,
    /// How many records; at least one.
    count: u16,
    /// Each record's data behind its length in two octets, big-endian: as RDLENGTH and RDATA stand
    /// in a message.
    octets: &'z [u8],
}

/// Octets of a frozen RRset before its records: type, count, TTL, length of the records.
pub(super) const HEAD: usize = 10;

impl<'z> RRset<'z> {
    /// Takes the RRset at the beginning of `rest` off it.
    #[inline]
    pub(super) fn take(rest: &mut &'z [u8]) -> Self {
        let rtype = u16::from_be_bytes(take(rest));
        let count = u16::from_be_bytes(take(rest));
        let ttl = u32::from_be_bytes(take(rest));
        let length = u16::from_be_bytes(take(rest));
        let (octets, after) = rest.split_at(length.into());
        *rest = after;
        Self { rtype, ttl, count, octets }
    }

    /// Writes an RRset as [`RRset::take`] reads it.
    pub(super) fn put<'d>(out: &mut Vec<u8>, rtype: u16, ttl: u32, rdatas: impl Iterator<Item = &'d [u8]>) {
        let begin = out.len();
        out.extend([0; HEAD]);
        let mut count = 0_u16;
        for rdata in rdatas {
            out.extend(u16::try_from(rdata.len()).expect("a draft is bounded to 65,535 octets").to_be_bytes());
            out.extend(rdata);
            count += 1;
        }
        let length = u16::try_from(out.len() - begin - HEAD).expect("a draft is bounded to 65,535 octets");
        out[begin..begin + 2].copy_from_slice(&rtype.to_be_bytes());
        out[begin + 2..begin + 4].copy_from_slice(&count.to_be_bytes());
        out[begin + 4..begin + 8].copy_from_slice(&ttl.to_be_bytes());
        out[begin + 8..begin + HEAD].copy_from_slice(&length.to_be_bytes());
    }

    /// How many records; at least one.
    #[must_use]
    #[expect(clippy::len_without_is_empty, reason = "no RRset is empty")]
    pub fn len(&self) -> usize {
        self.count.into()
    }

    /// The data of each record, in the order of the file.
    #[must_use]
    pub fn rdatas(&self) -> Rdatas<'z> {
        Rdatas { rest: self.octets }
    }

    /// RDLENGTH and RDATA of each record, one behind the other.
    #[must_use]
    pub fn octets(&self) -> &'z [u8] {
        self.octets
    }
}

/// Takes so many octets off the beginning of a frozen zone's.
#[inline]
pub(super) fn take<const N: usize>(rest: &mut &[u8]) -> [u8; N] {
    let (taken, after) = rest.split_first_chunk().expect("a frozen zone ends with a whole node");
    *rest = after;
    *taken
}

impl fmt::Debug for RRset<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.ttl, super::rtype::name_of(self.rtype))?;
        self.rdatas().try_for_each(|rdata| write!(f, " {}", rdata.escape_ascii()))
    }
}

/// The data of each record of an RRset.
#[derive(Clone, Debug)]
pub struct Rdatas<'z> {
    rest: &'z [u8],
}

impl<'z> Iterator for Rdatas<'z> {
    type Item = &'z [u8];

    #[inline]
    fn next(&mut self) -> Option<&'z [u8]> {
        let (length, rest) = self.rest.split_first_chunk::<2>()?;
        let (rdata, rest) = rest.split_at(u16::from_be_bytes(*length).into());
        self.rest = rest;
        Some(rdata)
    }
}
