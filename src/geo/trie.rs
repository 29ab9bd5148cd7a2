//! Address → leaf, for the hot path: a trie of run-length bitmaps.
//!
//! The leading bits index tables: eighteen bits one table for IPv4; for IPv6 fourteen one, and twelve
//! more a second one in the few parts of the space that are in use. A **table**'s entry is a leaf (its
//! length and value) or leads down. Each **node** below the tables decides six bits more. It begins with
//! a bitmap that marks, among its 64 slots, where a run of equal ones begins; then comes an entry for
//! each run, so that an entry's place is a count of bits. An **entry** has sixteen bits: a value below
//! 2¹⁵, or the distance, from a base that stands before the bitmap, of a node further down or of a large
//! value. Nodes lie in cache lines as `lines` has it: nearly all of them cost one miss.
//!
//! Lengths are not kept in nodes. A leaf is the widest prefix with one value throughout
//! ([`Partition`]), so it is the widest block of slots around the address that lies in its run.

use std::marker::PhantomData;

use super::layout::{FromLeaves, FromTrie};
use super::lines::{Lines, Spot};
use super::partition::{Address, Partition};

/// Bits that a node decides.
pub(super) const STRIDE: u8 = 6;
/// Set on table entries that lead down; the rest is the place of a node, or the number of a second table's first entry.
pub(super) const DOWN: u32 = 1 << 31;
/// Where a table's leaf keeps its length, of five bits, above its value.
pub(super) const LENGTH_SHIFT: u32 = 26;
/// The largest value.
pub(super) const MAX_VALUE: u32 = (1 << LENGTH_SHIFT) - 1;
/// Set on node entries that are distances from the base.
pub(super) const FAR: u16 = 1 << 15;
/// Units of a node's bitmap, and of its base, which stands before it if the node needs one.
pub(super) const BITMAP: usize = 4;
pub(super) const BASE: usize = 2;

/// What a partition says, frozen for look-ups.
pub(super) struct Trie<A> {
    pub(super) lines: Lines,
    pub(super) family: PhantomData<A>,
}

/// A node: where its bitmap stands, and that.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    spot: Spot<'a>,
    pub(super) runs: u64,
}

/// What an entry of a node is.
pub(super) enum Entry<'a> {
    Value(u32),
    Node(Node<'a>),
}

impl<A: Address> Trie<A> {
    pub(super) fn new(partition: &Partition<A>) -> Self {
        FromLeaves::new(partition.iter()).trie()
    }

    /// The same space with other values; leaves that become equal merge.
    pub(super) fn map(&self, value: impl Fn(u32) -> u32) -> Self {
        FromTrie::new(self, value).trie()
    }

    /// Begins to fetch what the first step of a look-up reads.
    #[inline(always)]
    pub(super) fn prefetch_root(&self, address: A) {
        let mut at = address.leading(A::TOP);
        // The few entries of IPv6's first table that are in use stay in the nearest cache.
        if A::CHUNK > 0 && self.lines.entry(at) & DOWN != 0 {
            at = Self::second(self.lines.entry(at), address);
        }
        self.lines.prefetch_entry(at);
    }

    /// The first step of a look-up: its table's entry. Begins to fetch the node below it.
    #[inline(always)]
    pub(super) fn begin(&self, address: A) -> u32 {
        let entry = self.table_entry(address);
        if entry & DOWN != 0 {
            self.lines.prefetch((entry & !DOWN) as usize);
        }
        entry
    }

    /// Memory, in octets.
    pub(super) fn octets(&self) -> usize {
        self.lines.octets()
    }

    /// The value and length of the leaf around an address.
    #[inline(always)]
    pub(super) fn get(&self, address: A) -> (u32, u8) {
        self.finish(self.table_entry(address), address)
    }

    /// The same, from the entry that [`Self::begin`] found.
    #[inline(always)]
    pub(super) fn finish(&self, entry: u32, address: A) -> (u32, u8) {
        if entry & DOWN == 0 {
            return (entry & MAX_VALUE, (entry >> LENGTH_SHIFT) as u8);
        }
        let mut node = self.node(entry);
        let mut decided = A::TOP + A::CHUNK;
        let mut rest = address.after(decided);
        loop {
            let slot = rest.leading(STRIDE) as u32;
            let index = (node.runs << (63 - slot)).count_ones() as usize - 1;
            decided += STRIDE;
            match self.node_entry(node, index) {
                Entry::Value(value) => return (value, decided - block(node.runs, slot)),
                Entry::Node(below) => node = below,
            }
            rest = rest.after(STRIDE);
        }
    }

    #[inline(always)]
    fn table_entry(&self, address: A) -> u32 {
        let first = self.lines.entry(address.leading(A::TOP));
        if A::CHUNK > 0 && first & DOWN != 0 { self.lines.entry(Self::second(first, address)) } else { first }
    }

    #[inline(always)]
    fn second(first: u32, address: A) -> usize {
        (first & !DOWN) as usize + address.after(A::TOP).leading(A::CHUNK)
    }

    /// The node that a table's entry leads to.
    #[inline(always)]
    pub(super) fn node(&self, entry: u32) -> Node<'_> {
        let spot = self.lines.at((entry & !DOWN) as usize);
        Node { spot, runs: spot.word() }
    }

    /// The entry of a node's run.
    #[inline(always)]
    pub(super) fn node_entry<'a>(&'a self, node: Node<'a>, index: usize) -> Entry<'a> {
        let entry = node.spot.unit(BITMAP + index);
        if entry & FAR == 0 {
            return Entry::Value(entry.into());
        }
        let spot = self.lines.at(node.spot.pair_before() as usize + usize::from(entry & !FAR));
        let word = spot.word();
        // A run begins at the first slot of every node; large values leave this bit free.
        if word & 1 == 1 { Entry::Node(Node { spot, runs: word }) } else { Entry::Value(word as u32 >> 1) }
    }
}

/// The binary logarithm of the widest aligned block of slots around `slot` in its run.
#[inline(always)]
fn block(runs: u64, slot: u32) -> u8 {
    let first = slot - (runs << (63 - slot)).leading_zeros();
    let next = slot + 1 + (runs >> slot >> 1 | 1 << (63 - slot)).trailing_zeros();
    // A block that holds both slots reaches over the highest bit in which they differ. Before slot 0
    // and past the last one there are others of a seventh bit.
    let (before, after) = ((first.wrapping_sub(1) ^ slot) & 127, next ^ slot);
    31 - (before.min(after) | 1).leading_zeros() as u8
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn agrees<A: Address>(partition: &Partition<A>, trie: &Trie<A>, random: &[A]) {
        let leaves: Vec<_> = partition.iter().collect();
        for &(start, length, value) in &leaves {
            assert_eq!(trie.get(start), (value, length), "{start:?}/{length}");
            if length < A::WIDTH {
                assert_eq!(trie.get(start.midpoint(length)), (value, length), "{start:?}/{length}");
            }
        }
        for &address in random {
            let (_, length, value) = leaves[leaves.partition_point(|&(start, ..)| start <= address) - 1];
            assert_eq!(trie.get(address), (value, length));
        }
    }

    /// Itself, and what becomes of it if values are mapped to many, few and one.
    fn all_agree<A: Address>(prefixes: Vec<(A, u8, u32)>, random: &[A]) {
        let partition = Partition::of_nested(prefixes);
        let trie = Trie::new(&partition);
        agrees(&partition, &trie, random);
        let maps: [fn(u32) -> u32; 4] = [|value| value ^ 1 << 15, |value| value % 3, |value| (value % 2) << 20, |_| 7];
        for map in maps {
            agrees(&partition.map(map), &trie.map(map), random);
        }
    }

    fn distinct<A: Address>(prefixes: Vec<(A, u8, u32)>) -> Vec<(A, u8, u32)> {
        let masked = prefixes.into_iter().map(|(at, length, value)| ((at.masked(length), length), value));
        masked.collect::<BTreeMap<_, _>>().into_iter().map(|((at, length), value)| (at, length, value)).collect()
    }

    fn value() -> impl Strategy<Value = u32> {
        // Few ones, so that they merge; those at the border of large ones; any.
        prop_oneof![0..4u32, (1u32 << 15) - 2..(1 << 15) + 2, 0..=MAX_VALUE]
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_says_what_the_partition_says(
            v4 in prop::collection::vec((any::<u32>(), 0u8..=32, value()), 0..40),
            v6 in prop::collection::vec((any::<u128>(), 0u8..=128, value()), 0..40),
            near in prop::collection::vec((0u8..128, 0u32..64, 0u8..=6, value()), 0..200),
            random in prop::collection::vec(any::<u128>(), 16),
        ) {
            let (mut v4, mut v6) = (v4, v6);
            // Neighbours of one prefix on its way down, so that nodes have many runs and many children.
            let (root_v4, root_v6) = (v4.first().map_or(0, |at| at.0), v6.first().map_or(0, |at| at.0));
            for (above, slot, length, value) in near {
                let (above_v4, above_v6) = (above % 27, above.min(122));
                v4.push((root_v4 ^ slot << (26 - above_v4), above_v4 + length, value));
                v6.push((root_v6 ^ u128::from(slot) << (122 - above_v6), above_v6 + length, value));
            }
            all_agree(distinct(v4), &random.iter().map(|&at| at as u32).collect::<Vec<_>>());
            all_agree(distinct(v6), &random);
        }
    }

    #[test]
    fn one_leaf_and_the_deepest_ones() {
        all_agree::<u128>(Vec::new(), &[0, u128::MAX]);
        let deepest = vec![(u128::MAX, 128, 5), (u128::MAX - 1, 128, 6), (0, 128, MAX_VALUE)];
        all_agree::<u128>(deepest, &[1, u128::MAX]);
        all_agree::<u32>(vec![(u32::MAX, 32, 5), (0, 31, 6)], &[1, 2]);
    }

    /// The largest nodes, each slot a node or a large value, several levels down.
    #[test]
    fn full_nodes() {
        let hosts = (0..1 << 13).map(|low: u32| (0xc000_0000 | low, 32, low % 7));
        all_agree(hosts.collect(), &[]);
        let networks = (0..1 << 13).map(|low: u128| (0x2001_0db8 << 96 | low << 64, 64, (1 << 15) + low as u32));
        all_agree(networks.collect(), &[]);
    }
}
