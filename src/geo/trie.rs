//! The look-up form of an address family.
//!
//! A table by the sixteen leading bits says which leaves can hold an address; a binary search among
//! them finds the one. Nothing is stored of a leaf's length: it reaches to the next leaf.
//!
//! **Prefixes shorter than a leaf.** Seen as a binary tree, the partition's inner nodes are the
//! prefixes that several leaves share. Every leaf but the first begins at the midpoint of exactly one
//! of them, and every inner node's midpoint begins a leaf: so a second array beside the leaves holds
//! the inner nodes' values, and a prefix is two look-ups.
//!
//! Costs an address (4 or 16 octets) and two values a leaf: 12 octets for IPv4 and 24 for IPv6 with
//! `LocationId`s, and 256 KiB for the table.

use super::partition::{Address, Partition};

/// The root table's size: one entry for each value of the sixteen leading bits.
const ROOTS: usize = 1 << 16;

/// A partition with a value for every leaf and for every prefix that holds several leaves.
pub(super) struct Trie<A, T> {
    /// The leaf that holds the first address with these leading bits; one more for the end.
    roots: Box<[u32]>,
    starts: Box<[A]>,
    leaves: Box<[T]>,
    /// Entry i: the inner node whose midpoint is the start of leaf i. The first entry is unused.
    inner: Box<[T]>,
}

impl<A: Address, T: Copy> Trie<A, T> {
    /// Freezes a partition; `inner` has one entry a leaf.
    pub(super) fn freeze(partition: Partition<A>, value: impl Fn(u32) -> T, inner: Vec<T>) -> Self {
        let (starts, values) = partition.into_parts();
        assert_eq!(starts.len(), inner.len(), "an inner node for every leaf but the first");
        let last = u32::try_from(starts.len() - 1).expect("files are bounded, so leaves are");
        let mut roots = vec![last; ROOTS + 1].into_boxed_slice();
        let mut filled = 0;
        for (leaf, start) in (0..).zip(&starts) {
            // The leaf before holds all first addresses up to this start.
            let until = if start.masked(16) == *start { start.top() } else { start.top() + 1 };
            for root in &mut roots[filled.min(until)..until] {
                *root = leaf - 1;
            }
            filled = filled.max(until);
        }
        let leaves = values.into_iter().map(value).collect();
        Self { roots, starts: starts.into(), leaves, inner: inner.into() }
    }

    /// The value of a prefix: the leaf's that holds it, else the inner node's. The length is that of
    /// the leaf at the prefix's first address: not above `source` in the first case, above it in the
    /// second.
    pub(super) fn prefix(&self, address: A, source: u8) -> (T, u8) {
        let first = address.masked(source);
        let index = self.index(first);
        let length = self.length(index);
        if length <= source {
            return (self.leaves[index], length);
        }
        (self.inner[self.index(first.midpoint(source))], length)
    }

    /// Every leaf's first address, length and value, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (A, u8, T)> {
        (0..self.len()).map(|index| (self.starts[index], self.length(index), self.leaves[index]))
    }

    /// How many leaves.
    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    fn index(&self, address: A) -> usize {
        let (low, high) = (self.roots[address.top()] as usize, self.roots[address.top() + 1] as usize);
        low + self.starts[low + 1..=high].partition_point(|&start| start <= address)
    }

    fn length(&self, index: usize) -> u8 {
        self.starts[index].length_to(self.starts.get(index + 1).copied().unwrap_or(A::ZERO))
    }
}
