//! The locations of prefixes that hold several leaves.
//!
//! Seen as a binary tree, a partition's inner nodes are the prefixes that several leaves share. Half of
//! them have the location of the leaf at their first address, which every look-up finds anyway; the
//! others are listed here. A prefix is named by its midpoint, which no other prefix has: sorted, and
//! kept as the leading bits that many share and sixteen more, which suffice but for the few below.

use super::partition::Address;
use crate::model::LocationId;

/// Inner nodes whose location is not that of their first leaf.
pub(super) struct Inner<A> {
    /// Leading bits, and where the midpoints that have them begin; one more for the end.
    tops: Box<[(u32, u32)]>,
    /// The sixteen bits after those.
    lows: Box<[u16]>,
    /// The lower bits of a location, for each of those; and the seventeenth bits, eight in an octet.
    ids: Box<[u16]>,
    high_bits: Box<[u8]>,
    /// Midpoints that have further bits.
    deep: Box<[(A, LocationId)]>,
}

impl<A: Address> Inner<A> {
    /// So many leading bits that many midpoints share.
    const SHARED: u8 = if A::WIDTH == 32 { 16 } else { 32 };

    /// From midpoints in order.
    pub(super) fn new(nodes: impl Iterator<Item = (A, LocationId)>) -> Self {
        let (mut tops, mut lows, mut ids, mut deep) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut high_bits = Vec::new();
        for (midpoint, id) in nodes {
            if midpoint.masked(Self::SHARED + 16) != midpoint {
                deep.push((midpoint, id));
                continue;
            }
            let top = midpoint.leading(Self::SHARED) as u32;
            let index = lows.len();
            if tops.last().is_none_or(|&(last, _)| last != top) {
                tops.push((top, u32::try_from(index).expect("files are bounded, so leaves are")));
            }
            lows.push(midpoint.after(Self::SHARED).leading(16) as u16);
            ids.push(id.0 as u16);
            if index % 8 == 0 {
                high_bits.push(0);
            }
            assert!(id.0 < 1 << 17, "there are at most 65,537 locations of leaves and some 8,900 of mixed prefixes");
            high_bits[index / 8] |= (id.0 >> 16) as u8 * (1 << (index % 8));
        }
        tops.push((u32::MAX, u32::try_from(lows.len()).expect("files are bounded, so leaves are")));
        Self { tops: tops.into(), lows: lows.into(), ids: ids.into(), high_bits: high_bits.into(), deep: deep.into() }
    }

    /// The location of the inner node with that midpoint; none if it is that of its first leaf.
    pub(super) fn get(&self, midpoint: A) -> Option<LocationId> {
        if midpoint.masked(Self::SHARED + 16) != midpoint {
            let index = self.deep.binary_search_by_key(&midpoint, |&(deep, _)| deep).ok()?;
            return Some(self.deep[index].1);
        }
        let top = midpoint.leading(Self::SHARED) as u32;
        let (last, tops) = self.tops.split_last().expect("the end is there");
        let at = tops.binary_search_by_key(&top, |&(top, _)| top).ok()?;
        let (from, until) = (tops[at].1 as usize, tops.get(at + 1).unwrap_or(last).1 as usize);
        let low = midpoint.after(Self::SHARED).leading(16) as u16;
        let index = from + self.lows[from..until].binary_search(&low).ok()?;
        let high_bit = u32::from(self.high_bits[index / 8] >> (index % 8) & 1);
        Some(LocationId(u32::from(self.ids[index]) | high_bit << 16))
    }

    /// Memory, in octets.
    pub(super) fn octets(&self) -> usize {
        size_of_val(&*self.tops)
            + size_of_val(&*self.lows)
            + size_of_val(&*self.ids)
            + size_of_val(&*self.high_bits)
            + size_of_val(&*self.deep)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn agrees<A: Address>(nodes: &BTreeMap<A, LocationId>, others: &[A]) {
        let inner = Inner::new(nodes.iter().map(|(&midpoint, &id)| (midpoint, id)));
        for midpoint in nodes.keys().chain(others) {
            assert_eq!(inner.get(*midpoint), nodes.get(midpoint).copied(), "{midpoint:?}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn it_finds_what_it_was_given(
            nodes in prop::collection::btree_map((0u8..=128, any::<u128>()), (0u32..1 << 17).prop_map(LocationId), 0..200),
            others in prop::collection::vec(any::<u128>(), 16),
        ) {
            let nodes: BTreeMap<u128, _> = nodes.into_iter().map(|((length, at), id)| (at.masked(length), id)).collect();
            let short: Vec<u128> = others.iter().map(|at| at.masked(48)).collect();
            agrees(&nodes, &[&others[..], &short].concat());
            let v4 = nodes.iter().map(|(at, &id)| ((at >> 96) as u32, id)).collect();
            agrees::<u32>(&v4, &others.iter().map(|&at| at as u32).collect::<Vec<_>>());
        }
    }
}
