//! What queries are counted and limited by.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// The network that a datagram says it comes from, /24 or /56: who forges an address there, or has one, mostly has
/// all of it. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source(u64);

/// In bits that no prefix takes.
const V4: u64 = 1 << 56;
const V6: u64 = 2 << 56;

impl Source {
    /// Of an address; one of IPv4 mapped into IPv6 is of IPv4.
    #[inline]
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(V4 | u64::from(u32::from(v4) >> 8)),
            IpAddr::V6(v6) => Self(V6 | (u128::from(v6) >> 72) as u64),
        }
    }

    /// As one number below 2^58 that is not zero.
    #[inline]
    #[must_use]
    pub fn number(self) -> u64 {
        self.0
    }

    /// The one that has this number, if one has.
    #[must_use]
    pub fn from_number(number: u64) -> Option<Self> {
        matches!(number & !(V4 - 1), V4 | V6).then_some(Self(number))
    }
}

/// As a prefix.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let prefix = self.0 & (V4 - 1);
        match self.0 & V4 != 0 {
            true => write!(f, "{}/24", Ipv4Addr::from((prefix as u32) << 8)),
            false => write!(f, "{}/56", Ipv6Addr::from(u128::from(prefix) << 72)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes() {
        for (address, source) in [
            ("192.0.2.77", "192.0.2.0/24"),
            ("::ffff:192.0.2.77", "192.0.2.0/24"),
            ("0.0.0.0", "0.0.0.0/24"),
            ("255.255.255.255", "255.255.255.0/24"),
            ("::", "::/56"),
            ("2001:db8:1:2345::1", "2001:db8:1:2300::/56"),
            ("ffff:ffff:ffff:ffff::", "ffff:ffff:ffff:ff00::/56"),
        ] {
            let found = Source::of(address.parse().unwrap());
            assert_eq!(found.to_string(), source, "{address}");
            assert!(found.number() != 0 && found.number() < 1 << 58);
            assert_eq!(Source::from_number(found.number()), Some(found));
        }
        assert_eq!((Source::from_number(0), Source::from_number(3 << 56)), (None, None));
    }
}
