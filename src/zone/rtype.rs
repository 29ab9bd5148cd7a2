//! The record types that a zone's own rules speak of (IANA, DNS parameters).

use domain::base::iana::Rtype;

pub(super) const A: u16 = Rtype::A.to_int();
pub(super) const NS: u16 = Rtype::NS.to_int();
pub(super) const CNAME: u16 = Rtype::CNAME.to_int();
pub(super) const SOA: u16 = Rtype::SOA.to_int();
pub(super) const PTR: u16 = Rtype::PTR.to_int();
pub(super) const MX: u16 = Rtype::MX.to_int();
pub(super) const AAAA: u16 = Rtype::AAAA.to_int();
pub(super) const SRV: u16 = Rtype::SRV.to_int();
pub(super) const DNAME: u16 = Rtype::DNAME.to_int();
pub(super) const DS: u16 = Rtype::DS.to_int();
pub(super) const ANY: u16 = Rtype::ANY.to_int();

/// Is it an address type, the kind that services answer?
pub(super) fn is_address(rtype: u16) -> bool {
    matches!(rtype, A | AAAA)
}

/// Where the first name in the data of that type begins, for those types whose target matters.
fn name_at(rtype: u16) -> Option<usize> {
    match rtype {
        NS | CNAME | SOA | PTR | DNAME => Some(0),
        MX => Some(2),
        SRV => Some(6),
        _ => None,
    }
}

/// The name that a record points to, in its own case; none for types without one.
pub(super) fn target(rtype: u16, rdata: &[u8]) -> Option<&[u8]> {
    name_at(rtype).filter(|_| rtype != SOA).and_then(|at| rdata.get(at..))
}

/// Are two records of one RRset the same record? Names compare without case (RFC 4343).
pub(super) fn same(rtype: u16, one: &[u8], other: &[u8]) -> bool {
    let Some(at) = name_at(rtype).filter(|&at| at <= one.len() && at <= other.len()) else { return one == other };
    one[..at] == other[..at] && one[at..].eq_ignore_ascii_case(&other[at..])
}

/// The type's mnemonic, or `TYPE` and its number (RFC 3597 §5).
pub(super) fn name_of(rtype: u16) -> String {
    Rtype::from_int(rtype).to_mnemonic_str().map_or_else(|| format!("TYPE{rtype}"), str::to_owned)
}

/// The likely fix of a name that does not read.
pub(super) const NAME_HELP: &str =
    "labels of 1 to 63 octets between dots, 255 octets in all; without a dot at its end it is below the origin";
