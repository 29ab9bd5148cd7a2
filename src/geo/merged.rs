//! The space again, with leaves merged by what one plan makes of their locations.

use std::net::IpAddr;

use super::family::Family;
use super::trie::{MAX_VALUE, Trie};
use crate::model::LocationId;

/// Address → a value, for the hot path. A leaf is as wide as the value stays the same, so its length
/// is a truthful scope of what depends on the value alone.
pub struct Merged {
    v4: Trie<u32>,
    v6: Trie<u128>,
}

/// A look-up whose first step is done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Begun(u32);

impl Merged {
    /// `mapped` is the location of the leaf whose space is looked up as IPv4: it gets a value that nothing else
    /// has, so that no scope reaches over it.
    pub(super) fn new(v4: &Family<u32>, v6: &Family<u128>, value: &[u32], mapped: LocationId) -> Self {
        let value = |location: LocationId| {
            let value = value[location.index()];
            assert!(value < MAX_VALUE, "orders are bounded far below");
            value
        };
        let apart = |location| if location == mapped { MAX_VALUE } else { value(location) };
        Self { v4: v4.merged(value), v6: v6.merged(apart) }
    }

    /// The value and the length of the leaf around an IPv4 address.
    #[inline(always)]
    #[must_use]
    pub fn get_v4(&self, address: u32) -> (u32, u8) {
        self.v4.get(address)
    }

    /// The same of an IPv6 address, which is no IPv4-mapped one.
    #[inline(always)]
    #[must_use]
    pub fn get_v6(&self, address: u128) -> (u32, u8) {
        self.v6.get(address)
    }

    /// The same of any; the length is in the family given.
    #[must_use]
    pub fn get(&self, address: IpAddr) -> (u32, u8) {
        match address {
            IpAddr::V4(v4) => self.get_v4(v4.into()),
            IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
                Some(v4) => {
                    let (value, length) = self.get_v4(v4.into());
                    (value, 96 + length)
                }
                None => self.get_v6(v6.into()),
            },
        }
    }

    /// Begins to fetch what [`Self::begin_v4`] reads.
    #[inline(always)]
    pub fn prefetch_v4(&self, address: u32) {
        self.v4.prefetch_root(address);
    }

    /// As for IPv4.
    #[inline(always)]
    pub fn prefetch_v6(&self, address: u128) {
        self.v6.prefetch_root(address);
    }

    /// The first step of a look-up, which begins to fetch what the others read.
    #[inline(always)]
    #[must_use]
    pub fn begin_v4(&self, address: u32) -> Begun {
        Begun(self.v4.begin(address))
    }

    /// As for IPv4.
    #[inline(always)]
    #[must_use]
    pub fn begin_v6(&self, address: u128) -> Begun {
        Begun(self.v6.begin(address))
    }

    /// What [`Self::get_v4`] says of the same address, from the first step on.
    #[inline(always)]
    #[must_use]
    pub fn finish_v4(&self, begun: Begun, address: u32) -> (u32, u8) {
        self.v4.finish(begun.0, address)
    }

    /// As for IPv4.
    #[inline(always)]
    #[must_use]
    pub fn finish_v6(&self, begun: Begun, address: u128) -> (u32, u8) {
        self.v6.finish(begun.0, address)
    }

    /// Memory, in octets.
    #[must_use]
    pub fn octets(&self) -> usize {
        self.v4.octets() + self.v6.octets()
    }
}

impl std::fmt::Debug for Merged {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Merged({} octets)", self.octets())
    }
}
