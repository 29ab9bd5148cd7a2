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
/// share images; behind an alias it is pointed elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The records, one after the other.
    pub bytes: Box<[u8]>,
    /// Where each begins.
    pub starts: Box<[u16]>,
    /// TTL bound of the addresses, in seconds.
    pub ttl: u32,
    /// What to count when it is answered: its endpoints.
    pub counters: Box<[CounterId]>,
}

impl Image {
    /// The image of `addresses`, all of `family`.
    #[must_use]
    pub fn new(family: Family, addresses: &[IpAddr], ttl: u32, counters: Box<[CounterId]>) -> Self {
        let (rtype, length) = if family == Family::V4 { (TYPE_A, 4u16) } else { (TYPE_AAAA, 16) };
        let record = FIXED + usize::from(length);
        let mut bytes = Vec::with_capacity(addresses.len() * record);
        for address in addresses {
            bytes.extend_from_slice(&[0xc0, 12]);
            bytes.extend_from_slice(&rtype.to_be_bytes());
            bytes.extend_from_slice(&[0, 1, 0, 0, 0, 0]); // class IN, TTL
            bytes.extend_from_slice(&length.to_be_bytes());
            match address {
                IpAddr::V4(v4) => bytes.extend_from_slice(&v4.octets()),
                IpAddr::V6(v6) => bytes.extend_from_slice(&v6.octets()),
            }
        }
        let start = |at| u16::try_from(at).expect("the configuration bounds an endpoint's addresses");
        let starts = (0..bytes.len()).step_by(record).map(start).collect();
        Self { bytes: bytes.into(), starts, ttl, counters }
    }

    /// The data of each record: an address in network order.
    pub fn rdatas(&self) -> impl Iterator<Item = &[u8]> {
        let ends = self.starts.iter().skip(1).copied().map(usize::from).chain([self.bytes.len()]);
        self.starts.iter().zip(ends).map(|(&start, end)| &self.bytes[usize::from(start) + FIXED..end])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_stand_ready() {
        let addresses = ["192.0.2.1", "192.0.2.2"].map(|text| text.parse().unwrap());
        let image = Image::new(Family::V4, &addresses, 60, Box::new([]));
        assert_eq!(*image.starts, [0, 16]);
        assert_eq!(image.bytes[..16], [0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 1]);
        assert_eq!(image.rdatas().collect::<Vec<_>>(), [[192, 0, 2, 1], [192, 0, 2, 2]]);
    }
}
