//! Address → leaf, for the hot path: a trie of run-length bitmaps.
//!
//! The eighteen leading bits index a table; each node below decides six more. A node is a 64-bit
//! bitmap and a list of entries, one for each run of equal ones among its 64 slots: a bit marks where
//! a run begins, so an entry's place is a count of bits. An entry is a node further down, or a leaf:
//! its value and its length beyond the bits that led to the node. All nodes lie in one arena of
//! words, a node's bitmap and entries together, so that most levels cost one cache line.

use std::marker::PhantomData;

use super::partition::{Address, Partition};
use crate::model::prefetch;

const ROOT_BITS: u8 = 18;
const STRIDE: u8 = 6;

/// Set on entries that lead to a node; the rest is its place in the arena.
const NODE: u32 = 1 << 31;
/// Where a leaf keeps its length, of five bits, above its value.
const LENGTH_SHIFT: u32 = 26;
/// Values are below this.
pub(super) const MAX_VALUE: u32 = 1 << LENGTH_SHIFT;

/// What a partition says, frozen for look-ups.
pub(super) struct Trie<A> {
    root: Box<[u32]>,
    arena: Box<[u32]>,
    family: PhantomData<A>,
}

impl<A: Address> Trie<A> {
    pub(super) fn new(partition: &Partition<A>) -> Self {
        let mut layout = Layout { partition, leaf: 0, arena: Vec::new() };
        let mut root = Vec::with_capacity(1 << ROOT_BITS);
        while root.len() < 1 << ROOT_BITS {
            let (entry, slots) = layout.entry(0, ROOT_BITS);
            root.extend(std::iter::repeat_n(entry, slots));
        }
        Self { root: root.into(), arena: layout.arena.into(), family: PhantomData }
    }

    /// Begins to fetch the entry of the root that an address leads to.
    #[inline(always)]
    pub(super) fn prefetch_root(&self, address: A) {
        prefetch(&self.root[address.bits(0, ROOT_BITS)]);
    }

    /// Begins to fetch the node below that.
    #[inline(always)]
    pub(super) fn prefetch_node(&self, address: A) {
        let entry = self.root[address.bits(0, ROOT_BITS)];
        if entry & NODE != 0 {
            prefetch(&self.arena[(entry & !NODE) as usize]);
        }
    }

    /// Memory, in octets.
    pub(super) fn octets(&self) -> usize {
        size_of_val(&*self.root) + size_of_val(&*self.arena)
    }

    /// The value and length of the leaf around an address.
    #[inline(always)]
    pub(super) fn get(&self, address: A) -> (u32, u8) {
        let mut entry = self.root[address.bits(0, ROOT_BITS)];
        let mut above = 0;
        let mut depth = ROOT_BITS;
        while entry & NODE != 0 {
            let node = &self.arena[(entry & !NODE) as usize..];
            let runs = u64::from(node[0]) | u64::from(node[1]) << 32;
            let up_to = runs << (63 - address.bits(depth, STRIDE));
            entry = node[1 + up_to.count_ones() as usize];
            above = depth;
            depth += STRIDE;
        }
        (entry & (MAX_VALUE - 1), above + (entry >> LENGTH_SHIFT) as u8)
    }
}

/// Lays nodes out, children before parents, while it goes through the leaves once.
struct Layout<'a, A> {
    partition: &'a Partition<A>,
    leaf: usize,
    arena: Vec<u32>,
}

impl<A: Address> Layout<'_, A> {
    /// The next entry of a node `above` bits down that decides `stride` bits, and how many slots it has.
    fn entry(&mut self, above: u8, stride: u8) -> (u32, usize) {
        let length = self.partition.length(self.leaf);
        let end = above + stride;
        if length > end {
            return (NODE | self.node(end), 1);
        }
        let value = self.partition.value(self.leaf);
        assert!(value < MAX_VALUE, "locations are bounded far below");
        self.leaf += 1;
        (value | u32::from(length - above) << LENGTH_SHIFT, 1 << (end - length))
    }

    /// The node of the space in which the next leaf begins; its place in the arena.
    fn node(&mut self, above: u8) -> u32 {
        let (mut runs, mut entries, mut slot) = (0_u64, [0; 1 << STRIDE], 0);
        let mut count = 0;
        while slot < 1 << STRIDE {
            let (entry, slots) = self.entry(above, STRIDE);
            if count == 0 || entries[count - 1] != entry {
                runs |= 1 << slot;
                entries[count] = entry;
                count += 1;
            }
            slot += slots;
        }
        let place = u32::try_from(self.arena.len()).ok().filter(|place| place & NODE == 0);
        self.arena.extend([runs as u32, (runs >> 32) as u32]);
        self.arena.extend_from_slice(&entries[..count]);
        place.expect("files are bounded, so leaves are")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn agrees<A: Address>(prefixes: Vec<(A, u8, u32)>, random: &[A]) {
        let partition = Partition::of_nested(prefixes);
        let trie = Trie::new(&partition);
        let mut edges = Vec::new();
        for index in 0..partition.len() {
            let expected = (partition.value(index), partition.length(index));
            assert_eq!(trie.get(partition.start(index)), expected);
            edges.push(partition.start(index));
        }
        for &address in random {
            let index = edges.partition_point(|&start| start <= address) - 1;
            assert_eq!(trie.get(address), (partition.value(index), partition.length(index)));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_says_what_the_partition_says(
            v4 in prop::collection::vec((any::<u32>(), 0u8..=32, 0..MAX_VALUE), 0..40),
            v6 in prop::collection::vec((any::<u128>(), 0u8..=128, 0..MAX_VALUE), 0..40),
            near in prop::collection::vec(any::<u8>(), 8),
            random in prop::collection::vec(any::<u128>(), 16),
        ) {
            let mut v4: Vec<_> = v4.into_iter().map(|(at, length, value)| (at.masked(length), length, value)).collect();
            // Neighbours too, so that runs and deep nodes come up.
            let close = |first: u32, near: u8| (first ^ u32::from(near)).masked(30);
            v4.extend(near.iter().filter_map(|&near| v4.first().map(|at| (close(at.0, near), 30, 7))).collect::<Vec<_>>());
            agrees(v4, &random.iter().map(|&at| at as u32).collect::<Vec<_>>());
            agrees(v6.into_iter().map(|(at, length, value)| (at.masked(length), length, value)).collect(), &random);
        }
    }

    #[test]
    fn one_leaf_and_the_deepest_ones() {
        agrees::<u128>(Vec::new(), &[0, u128::MAX]);
        agrees::<u128>(vec![(u128::MAX, 128, 5), (u128::MAX - 1, 128, 6), (0, 128, MAX_VALUE - 1)], &[1, u128::MAX]);
        agrees::<u32>(vec![(u32::MAX, 32, 5), (0, 31, 6)], &[1, 2]);
    }
}
