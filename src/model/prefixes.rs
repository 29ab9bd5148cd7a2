//! Sets of addresses, written as prefixes.

use std::net::IpAddr;

use ipnet::IpNet;

/// Addresses under any of several prefixes. A look-up is a binary search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prefixes {
    /// First and last addresses of ranges that neither meet nor overlap, in ascending order.
    v4: Box<[(u32, u32)]>,
    v6: Box<[(u128, u128)]>,
}

impl Prefixes {
    /// Is the address under one of them? An IPv4 address mapped into IPv6 is the IPv4 address.
    #[must_use]
    pub fn contains(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(v4) => holds(&self.v4, v4.into()),
            IpAddr::V6(v6) => holds(&self.v6, v6.into()),
        }
    }

    /// No address is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }
}

fn holds<T: Ord + Copy>(ranges: &[(T, T)], address: T) -> bool {
    let behind = ranges.partition_point(|&(first, _)| first <= address);
    behind > 0 && address <= ranges[behind - 1].1
}

impl FromIterator<IpNet> for Prefixes {
    fn from_iter<I: IntoIterator<Item = IpNet>>(prefixes: I) -> Self {
        let prefixes: Vec<IpNet> = prefixes.into_iter().collect();
        // Sorted, and of those that lie in others or make a larger one together only these.
        let mut prefixes = IpNet::aggregate(&prefixes);
        prefixes.sort_unstable();
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for prefix in prefixes {
            match prefix {
                IpNet::V4(net) => v4.push((net.network().into(), net.broadcast().into())),
                IpNet::V6(net) => v6.push((net.network().into(), net.broadcast().into())),
            }
        }
        Self { v4: v4.into(), v6: v6.into() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn of_both_families() {
        let nets = ["192.0.2.0/24", "192.0.2.128/25", "10.0.0.0/8", "2001:db8::/32", "::1/128", "198.51.100.7/32"];
        let set: Prefixes = nets.iter().map(|net| net.parse::<IpNet>().unwrap()).collect();
        for (address, inside) in [
            ("192.0.2.0", true),
            ("192.0.2.255", true),
            ("192.0.3.0", false),
            ("192.0.1.255", false),
            ("10.255.255.255", true),
            ("::ffff:10.0.0.1", true),
            ("198.51.100.7", true),
            ("198.51.100.6", false),
            ("2001:db8:ffff::", true),
            ("2001:db9::", false),
            ("::1", true),
            ("::", false),
        ] {
            assert_eq!(set.contains(address.parse().unwrap()), inside, "{address}");
        }
        assert!(Prefixes::default().is_empty() && !set.is_empty());
        assert!(!Prefixes::default().contains("192.0.2.1".parse().unwrap()));
    }

    proptest! {
        #[test]
        fn as_asking_each_prefix(prefixes in prop::collection::vec((0_u32..1024, 22_u8..=32), 0..20), address in 0_u32..1024) {
            let nets: Vec<IpNet> = prefixes.iter().map(|&(bits, length)| {
                IpNet::new(IpAddr::V4(bits.into()), length).unwrap().trunc()
            }).collect();
            let set: Prefixes = nets.iter().copied().collect();
            let address = IpAddr::V4(address.into());
            prop_assert_eq!(set.contains(address), nets.iter().any(|net| net.contains(&address)));
        }
    }
}
