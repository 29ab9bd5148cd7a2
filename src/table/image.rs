//! Images: the ready records of an answer.

use std::net::IpAddr;

use crate::model::{CounterId, Family};

/// Record types of addresses (RFC 1035 §3.2.2, RFC 3596 §2.1).
const TYPE_A: u16 = 1;
const TYPE_AAAA: u16 = 28;
/// Owner pointer, type, class, TTL and RDLENGTH come before the address.
const FIXED: usize = 12;

/// Address records of one endpoint set and type, as they go into a message, but for the TTL, which is
/// filled when copied. The owner is a pointer to octet 12, the question's name, so that services
/// share images.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The records, one after the other, each [`Image::record_length`] octets.
    pub bytes: Box<[u8]>,
    /// How many.
    pub records: u16,
    /// TTL bound of the addresses, in seconds.
    pub ttl: u32,
    /// What to count when it is answered: its endpoints.
    pub counters: Box<[CounterId]>,
}

impl Image {
    /// The image of `addresses`, all of `family`.
    #[must_use]
    pub fn new(family: Family, addresses: &[IpAddr], ttl: u32, counters: Box<[CounterId]>) -> Self {
        let mut bytes = Vec::with_capacity(addresses.len() * (FIXED + 16));
        for address in addresses {
            let (rtype, length) = if family == Family::V4 { (TYPE_A, 4u16) } else { (TYPE_AAAA, 16) };
            bytes.extend_from_slice(&[0xc0, 12]);
            bytes.extend_from_slice(&rtype.to_be_bytes());
            bytes.extend_from_slice(&[0, 1, 0, 0, 0, 0]); // class IN, TTL
            bytes.extend_from_slice(&length.to_be_bytes());
            match address {
                IpAddr::V4(v4) => bytes.extend_from_slice(&v4.octets()),
                IpAddr::V6(v6) => bytes.extend_from_slice(&v6.octets()),
            }
        }
        let records = u16::try_from(addresses.len()).expect("the configuration bounds its addresses");
        Self { bytes: bytes.into(), records, ttl, counters }
    }

    /// Octets of each of its records.
    #[must_use]
    pub fn record_length(&self) -> usize {
        self.bytes.len().checked_div(usize::from(self.records)).unwrap_or(0)
    }
}
