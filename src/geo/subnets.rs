//! Which of some /24s and /48s an address lies in, for the hot path.
//!
//! Of IPv4 there is a **word** for each /18, with a bit for each of its /24s and the count of those before it: an address is
//! found, or what is free around it, with one look into 4 MB, wherever it lies. Of IPv6 there is a trie.

use ipnet::IpNet;

use super::partition::Partition;
use super::trie::{MAX_VALUE, Trie};
use crate::model::{Large, prefetch_in};

/// Bits of an IPv4 address that choose its word, and those that then choose its bit.
const WORD_BITS: u8 = 18;
const SLOT_BITS: u8 = 6;
const WORDS: usize = 1 << WORD_BITS;
const V4_LENGTH: u8 = WORD_BITS + SLOT_BITS;
const V6_LENGTH: u8 = 48;

/// Prefixes of one length a family, none twice, with numbers from 0 in their order. Immutable.
pub struct Subnets {
    v4: Large<Word>,
    v6: Trie<u128>,
    /// How many are of IPv4.
    count_v4: u32,
}

/// A /18.
#[derive(Clone, Copy, Debug, Default)]
#[repr(align(16))]
struct Word {
    /// Bit i: the /24 at i is one of them.
    members: u64,
    /// How many there are in words before it.
    before: u32,
    /// Where it has none: the length of the widest prefix around it that has none; else that of a subnet.
    free: u8,
}

/// What an address lies in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Near {
    /// One of the subnets, by its number.
    pub subnet: Option<u32>,
    /// Its length; else that of the widest prefix around the address that holds none of them.
    pub length: u8,
}

impl Subnets {
    /// Can a prefix be one?
    #[must_use]
    pub fn takes(prefix: &IpNet) -> bool {
        prefix.prefix_len() == if prefix.addr().is_ipv4() { V4_LENGTH } else { V6_LENGTH }
    }

    /// These, ascending.
    ///
    /// # Panics
    /// Where [`Self::takes`] says no, or they do not ascend.
    #[must_use]
    pub fn new(prefixes: impl Iterator<Item = IpNet>) -> Self {
        let mut words = vec![Word::default(); WORDS];
        let (mut v6, mut count_v4, mut last) = (Vec::new(), 0, None);
        for prefix in prefixes {
            assert!(Self::takes(&prefix) && last < Some(prefix), "{prefix} behind {last:?}");
            last = Some(prefix);
            match prefix {
                IpNet::V4(prefix) => {
                    let (word, slot) = split(prefix.network().into());
                    words[word].members |= 1 << slot;
                    count_v4 += 1;
                }
                IpNet::V6(prefix) => v6.push((prefix.network().into(), V6_LENGTH, v6.len() as u32 + 1)),
            }
        }
        assert!(v6.len() < MAX_VALUE as usize, "subnets are bounded far below");
        let mut before = 0;
        let taken: Vec<u32> = (0..).zip(&words).filter(|(_, word)| word.members != 0).map(|(at, _)| at).collect();
        let mut next = 0_usize;
        for (at, word) in (0..).zip(&mut words) {
            word.before = before;
            before += word.members.count_ones();
            if word.members != 0 {
                next += 1;
                word.free = V4_LENGTH;
                continue;
            }
            let around = [next.checked_sub(1), Some(next)].map(|one| one.and_then(|one| taken.get(one)));
            let widest = around.into_iter().flatten().map(|other| highest(other ^ at)).min();
            word.free = WORD_BITS - widest.unwrap_or(WORD_BITS);
        }
        Self { v4: words.into(), v6: Trie::new(&Partition::of_nested(v6)), count_v4 }
    }

    /// Begins to fetch what [`Self::near_v4`] reads.
    #[inline(always)]
    pub fn prefetch_v4(&self, address: u32) {
        prefetch_in(&self.v4, split(address).0);
    }

    /// Begins to fetch what [`Self::begin_v6`] reads.
    #[inline(always)]
    pub fn prefetch_v6(&self, address: u128) {
        self.v6.prefetch_root(address);
    }

    /// Begins to fetch what [`Self::near_v6`] reads.
    #[inline(always)]
    pub fn begin_v6(&self, address: u128) {
        let _ = self.v6.begin(address);
    }

    /// What an IPv4 address lies in.
    #[inline(always)]
    #[must_use]
    pub fn near_v4(&self, address: u32) -> Near {
        let (at, slot) = split(address);
        let Word { members, before, free } = self.v4[at];
        let below = members & ((1 << slot) - 1);
        if members >> slot & 1 != 0 {
            return Near { subnet: Some(before + below.count_ones()), length: V4_LENGTH };
        }
        // The nearest ones on either side; where there is none on one, a slot of a seventh bit. So there is no branch that
        // nobody foresees.
        let (previous, next) = (63 ^ below.leading_zeros(), slot + (members >> slot).trailing_zeros());
        let length = V4_LENGTH - highest((previous ^ slot).min(next ^ slot));
        Near { subnet: None, length: length.min(free) }
    }

    /// What an IPv6 address lies in, which is no IPv4-mapped one.
    #[inline(always)]
    #[must_use]
    pub fn near_v6(&self, address: u128) -> Near {
        let (value, length) = self.v6.get(address);
        Near { subnet: value.checked_sub(1).map(|at| self.count_v4 + at), length }
    }
}

/// The widest block around one number that does not hold another has as many bits as stand below the highest in which they
/// differ.
#[inline(always)]
fn highest(differing: u32) -> u8 {
    31 - differing.leading_zeros() as u8
}

/// Which word an address is in, and its place there.
#[inline(always)]
fn split(address: u32) -> (usize, u32) {
    let at = address >> (32 - V4_LENGTH);
    ((at >> SLOT_BITS) as usize, at & ((1 << SLOT_BITS) - 1))
}

impl std::fmt::Debug for Subnets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Subnets({} of IPv4)", self.count_v4)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

    use proptest::prelude::*;

    use super::*;

    fn near(subnets: &Subnets, address: IpAddr) -> Near {
        match address {
            IpAddr::V4(v4) => subnets.near_v4(v4.into()),
            IpAddr::V6(v6) => subnets.near_v6(v6.into()),
        }
    }

    /// As its documentation says it.
    fn expected(prefixes: &[IpNet], address: IpAddr) -> Near {
        let length = if address.is_ipv4() { V4_LENGTH } else { V6_LENGTH };
        if let Some(at) = prefixes.iter().position(|prefix| prefix.contains(&address)) {
            return Near { subnet: Some(at as u32), length };
        }
        let around = |length: u8| IpNet::new(address, length).unwrap().trunc();
        let is_free = |length: &u8| !prefixes.iter().any(|prefix| around(*length).contains(prefix));
        Near { subnet: None, length: (0..=length).find(is_free).unwrap() }
    }

    fn prefix_v4(address: u32) -> IpNet {
        IpNet::new(Ipv4Addr::from(address).into(), V4_LENGTH).unwrap().trunc()
    }

    fn prefix_v6(address: u128) -> IpNet {
        IpNet::new(Ipv6Addr::from(address).into(), V6_LENGTH).unwrap().trunc()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_address_is_found_or_what_is_free_around_it(
            root: u32,
            near_v4 in prop::collection::vec((0u32..1 << 16, 8u32..16), 0..40),
            far in prop::collection::vec(any::<u32>(), 0..10),
            v6 in prop::collection::vec((0u128..1 << 20, 76u32..82), 0..20),
            asked in prop::collection::vec((0u32..1 << 24, any::<u32>()), 40),
        ) {
            let near_v4 = near_v4.into_iter().map(|(low, shift)| root ^ low << (24 - shift));
            let v4: Vec<u32> = near_v4.chain(far).collect();
            let v6: Vec<u128> = v6.into_iter().map(|(low, shift)| 0x2001_0db8 << 96 | low << shift).collect();
            let prefixes: BTreeSet<IpNet> =
                v4.iter().copied().map(prefix_v4).chain(v6.iter().copied().map(prefix_v6)).collect();
            let prefixes: Vec<IpNet> = prefixes.into_iter().collect();
            let subnets = Subnets::new(prefixes.iter().copied());
            let asked_v4 = asked.iter().flat_map(|(low, any)| [root ^ low, *any]).chain(v4);
            let asked_v6 = asked.iter().map(|(low, _)| 0x2001_0db8 << 96 | u128::from(*low) << 72).chain(v6);
            let asked = asked_v4.map(|at| Ipv4Addr::from(at).into()).chain(asked_v6.map(|at| Ipv6Addr::from(at).into()));
            for address in asked {
                prop_assert_eq!(near(&subnets, address), expected(&prefixes, address), "{}", address);
            }
        }
    }

    #[test]
    fn none_and_all_of_a_word() {
        let none = Subnets::new([].into_iter());
        let nothing = Near { subnet: None, length: 0 };
        assert_eq!([none.near_v4(0), none.near_v4(u32::MAX), none.near_v6(1 << 127)], [nothing; 3]);
        let full = Subnets::new((0..64).map(|at| prefix_v4(0xc000_0000 | at << 8)));
        assert_eq!(full.near_v4(0xc000_3fff), Near { subnet: Some(63), length: 24 });
        assert_eq!(full.near_v4(0xc000_4000), Near { subnet: None, length: 18 });
        assert_eq!(full.near_v4(0), Near { subnet: None, length: 1 });
    }
}
