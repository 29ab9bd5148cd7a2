//! The look-up form of an address family.
//!
//! **Leaves** are in the trie. **Prefixes shorter than a leaf** are beside it: seen as a binary tree,
//! the partition's inner nodes are the prefixes that several leaves share. Every leaf but the first
//! begins at the midpoint of exactly one of them, and every inner node's midpoint begins a leaf. So a
//! sorted list of the leaves' first addresses, with the inner nodes' locations beside it, has them all,
//! and the place of a midpoint in it is found by a table of the sixteen leading bits and a binary search.
//!
//! Costs an address and a `LocationId` a leaf (8 octets for IPv4, 20 for IPv6), about 5 more in the trie,
//! and 1.3 MB for the tables. With the shipped database 28 MB and 62 MB, of which the tries have 10 and 15.

use super::partition::{Address, Partition};
use super::trie::Trie;
use crate::model::LocationId;

/// The size of the table by leading bits.
const ROOTS: usize = 1 << 16;

/// One family's leaves and inner nodes.
pub(super) struct Family<A> {
    trie: Trie<A>,
    /// The leaf that holds the first address with these leading bits; one more for the end.
    roots: Box<[u32]>,
    starts: Box<[A]>,
    /// Entry i: the inner node whose midpoint is the start of leaf i. The first entry is unused.
    inner: Box<[LocationId]>,
}

impl<A: Address> Family<A> {
    /// Freezes a partition, whose values are location ids; `inner` has one entry a leaf.
    pub(super) fn new(partition: Partition<A>, inner: Vec<LocationId>) -> Self {
        let trie = Trie::new(&partition);
        let starts = partition.into_starts();
        assert_eq!(starts.len(), inner.len(), "an inner node for every leaf but the first");
        let last = u32::try_from(starts.len() - 1).expect("files are bounded, so leaves are");
        let mut roots = vec![last; ROOTS + 1].into_boxed_slice();
        let mut filled = 0;
        for (leaf, start) in (0..).zip(&starts) {
            // The leaf before holds all first addresses up to this start.
            let until = start.bits(0, 16) + usize::from(start.masked(16) != *start);
            for root in &mut roots[filled.min(until)..until] {
                *root = leaf - 1;
            }
            filled = filled.max(until);
        }
        Self { trie, roots, starts: starts.into(), inner: inner.into() }
    }

    /// The location of a prefix: its leaf's, else its inner node's. The length is that of the leaf at
    /// the prefix's first address: not above `source` in the first case, above it in the second.
    pub(super) fn prefix(&self, address: A, source: u8) -> (LocationId, u8) {
        let first = address.masked(source);
        let (location, length) = self.trie.get(first);
        if length <= source {
            return (LocationId(location), length);
        }
        (self.inner[self.index(first.midpoint(source))], length)
    }

    /// Every leaf's first address, length and location, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (A, u8, LocationId)> {
        self.starts.iter().map(|&start| {
            let (location, length) = self.trie.get(start);
            (start, length, LocationId(location))
        })
    }

    /// How many leaves.
    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    fn index(&self, address: A) -> usize {
        let top = address.bits(0, 16);
        let (low, high) = (self.roots[top] as usize, self.roots[top + 1] as usize);
        low + self.starts[low + 1..=high].partition_point(|&start| start <= address)
    }
}
