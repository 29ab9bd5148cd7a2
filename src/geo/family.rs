//! The look-up form of an address family: leaves in the trie, prefixes shorter than a leaf beside it. (Of the shipped
//! database both families' tries have 14 MB, the lists 12.)

use super::inner::Inner;
use super::partition::{Address, Partition};
use super::summary::AS_ITS_FIRST_LEAF;
use super::trie::Trie;
use crate::model::LocationId;

/// One family's leaves and inner nodes.
pub(super) struct Family<A> {
    trie: Trie<A>,
    inner: Inner<A>,
    leaves: usize,
}

impl<A: Address> Family<A> {
    /// Freezes a partition, whose values are location ids; `inner` has one entry a leaf, that of the inner
    /// node whose midpoint the leaf begins at. Each leaf but the first begins at the midpoint of exactly one.
    pub(super) fn new(partition: &Partition<A>, inner: &[LocationId]) -> Self {
        assert_eq!(partition.len(), inner.len(), "an inner node for every leaf but the first");
        let nodes = partition.iter().zip(inner).skip(1).map(|((start, ..), &id)| (start, id));
        Self {
            trie: Trie::new(partition),
            inner: Inner::new(nodes.filter(|&(_, id)| id != AS_ITS_FIRST_LEAF)),
            leaves: partition.len(),
        }
    }

    /// The location of a prefix: its leaf's, else its inner node's. The length is that of the leaf at
    /// the prefix's first address: not above `source` in the first case, above it in the second.
    pub(super) fn prefix(&self, address: A, source: u8) -> (LocationId, u8) {
        let first = address.masked(source);
        let (location, length) = self.trie.get(first);
        let location = LocationId(location);
        if length <= source {
            return (location, length);
        }
        (self.inner.get(first.midpoint(source)).unwrap_or(location), length)
    }

    /// The trie with other values; leaves that become equal merge.
    pub(super) fn merged(&self, value: impl Fn(LocationId) -> u32) -> Trie<A> {
        self.trie.map(|location| value(LocationId(location)))
    }

    /// Every leaf's first address, length and location, in order. Each costs a look-up.
    pub(super) fn iter(&self) -> impl Iterator<Item = (A, u8, LocationId)> {
        let mut next = Some(A::ZERO);
        std::iter::from_fn(move || {
            let start = next?;
            let (location, length) = self.trie.get(start);
            next = Some(start.end(length)).filter(|&end| end != A::ZERO);
            Some((start, length, LocationId(location)))
        })
    }

    /// How many leaves.
    pub(super) fn len(&self) -> usize {
        self.leaves
    }

    /// Memory of the trie and of the list beside it, in octets.
    pub(super) fn octets(&self) -> (usize, usize) {
        (self.trie.octets(), self.inner.octets())
    }
}
