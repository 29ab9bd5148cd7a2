//! The build form of an address family: its whole space, cut into prefixes.
//!
//! Two partitions into prefixes have a common refinement that is one too, since of two prefixes that
//! overlap one holds the other. So files, labels and reserved space are laid over each other in one
//! linear pass, and no two leaves ever overlap (RFC 7871 §7.2.1 asks that of scopes).

use std::fmt::Debug;
use std::hash::Hash;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address of one family as an unsigned integer, most significant bit first.
pub(super) trait Address: Copy + Ord + Hash + Debug {
    /// Its width.
    const WIDTH: u8;
    /// The lowest one.
    const ZERO: Self;

    /// The first address past the prefix that begins here; `ZERO` past the end of the space.
    fn end(self, length: u8) -> Self;
    /// The length of the prefix that reaches from here to `end`, where `ZERO` is the end of the space.
    fn length_to(self, end: Self) -> u8;
    /// The length of the widest prefix that begins here and reaches no further than `end`.
    fn widest_to(self, end: Self) -> u8;
    /// The first address of the prefix of that length around this one.
    fn masked(self, length: u8) -> Self;
    /// The first address of the upper half of the prefix that begins here; `length` is below `WIDTH`.
    fn midpoint(self, length: u8) -> Self;
    /// `count` bits from `skipped` on; past the width there are zeros.
    fn bits(self, skipped: u8, count: u8) -> usize;
    /// As the standard library has it.
    fn ip(self) -> IpAddr;

    /// How many clients a prefix may have: its addresses of IPv4, its /48 networks of IPv6, where a
    /// longer prefix counts as one.
    fn weight(length: u8) -> u64 {
        1 << Self::WIDTH.min(48).saturating_sub(length)
    }
}

macro_rules! address {
    ($int:ty, $ip:ty) => {
        impl Address for $int {
            const WIDTH: u8 = <$int>::BITS as u8;
            const ZERO: Self = 0;

            fn end(self, length: u8) -> Self {
                self.wrapping_add((1 as $int).checked_shl(u32::from(Self::WIDTH - length)).unwrap_or(0))
            }

            fn length_to(self, end: Self) -> u8 {
                // The size of the whole space wraps to 0, which has as many trailing zeros as bits.
                Self::WIDTH - end.wrapping_sub(self).trailing_zeros() as u8
            }

            fn widest_to(self, end: Self) -> u8 {
                let room = end.wrapping_sub(self);
                let fits = if room == 0 { Self::WIDTH } else { room.ilog2() as u8 };
                Self::WIDTH - fits.min(self.trailing_zeros() as u8)
            }

            fn masked(self, length: u8) -> Self {
                self & (Self::MAX.checked_shl(u32::from(Self::WIDTH - length)).unwrap_or(0))
            }

            fn midpoint(self, length: u8) -> Self {
                self | 1 << (Self::WIDTH - length - 1)
            }

            fn bits(self, skipped: u8, count: u8) -> usize {
                ((self << skipped) >> (Self::WIDTH - count)) as usize
            }

            fn ip(self) -> IpAddr {
                <$ip>::from(self).into()
            }
        }
    };
}
address!(u32, Ipv4Addr);
address!(u128, Ipv6Addr);

/// The value of space that nobody claimed.
pub(super) const EMPTY: u32 = 0;

/// A family's space as leaves in the order of addresses. The first starts at 0, each reaches to the
/// next, the last to the end. Costs an address and four octets a leaf.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Partition<A> {
    starts: Vec<A>,
    values: Vec<u32>,
}

impl<A: Address> Partition<A> {
    /// One empty leaf.
    pub(super) fn empty() -> Self {
        Builder::new().finish()
    }

    /// Cuts the space so that each address has the value of the narrowest of the prefixes around it.
    pub(super) fn of_nested(mut prefixes: Vec<(A, u8, u32)>) -> Self {
        prefixes.sort_unstable(); // by start, wider ones first
        let mut builder = Builder::new();
        let mut around: Vec<(A, u8, u32)> = Vec::new();
        for prefix in prefixes {
            while let Some(&(start, length, value)) = around.last() {
                if prefix.0.masked(length) == start {
                    break;
                }
                builder.fill_to(start.end(length), value);
                around.pop();
            }
            builder.fill_to_start(prefix.0, around.last().map_or(EMPTY, |outer| outer.2));
            around.push(prefix);
        }
        for (start, length, value) in around.into_iter().rev() {
            builder.fill_to(start.end(length), value);
        }
        builder.finish()
    }

    /// Every leaf's length and value, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u8, u32)> {
        (0..self.len()).map(|index| (self.length(index), self.values[index]))
    }

    /// Both at once: every leaf of the common refinement has what `combine` makes of the two values.
    pub(super) fn overlay(&self, other: &Self, mut combine: impl FnMut(u32, u32) -> u32) -> Self {
        let mut builder = Builder::new();
        let (mut mine, mut theirs) = (0, 0);
        while mine < self.len() && theirs < other.len() {
            let length = self.length(mine).max(other.length(theirs));
            builder.push(length, combine(self.values[mine], other.values[theirs]));
            mine += usize::from(self.end(mine) == builder.next);
            theirs += usize::from(other.end(theirs) == builder.next);
        }
        builder.finish()
    }

    /// Other values; neighbours that become equal merge.
    pub(super) fn map(&self, mut value: impl FnMut(u32) -> u32) -> Self {
        let mut builder = Builder::new();
        for (length, old) in self.iter() {
            builder.push(length, value(old));
        }
        builder.finish()
    }

    pub(super) fn len(&self) -> usize {
        self.starts.len()
    }

    pub(super) fn length(&self, index: usize) -> u8 {
        self.starts[index].length_to(self.end(index))
    }

    #[cfg(test)]
    pub(super) fn start(&self, index: usize) -> A {
        self.starts[index]
    }

    pub(super) fn value(&self, index: usize) -> u32 {
        self.values[index]
    }

    /// The first address of every leaf.
    pub(super) fn into_starts(self) -> Vec<A> {
        self.starts
    }

    fn end(&self, index: usize) -> A {
        self.starts.get(index + 1).copied().unwrap_or(A::ZERO)
    }
}

/// Takes leaves in the order of addresses and merges equal neighbours into the widest prefix.
#[derive(Debug)]
pub(super) struct Builder<A> {
    starts: Vec<A>,
    values: Vec<u32>,
    next: A,
}

impl<A: Address> Builder<A> {
    pub(super) fn new() -> Self {
        Self { starts: Vec::new(), values: Vec::new(), next: A::ZERO }
    }

    /// The prefix after those before it. What lies between is empty.
    pub(super) fn push_at(&mut self, start: A, length: u8, value: u32) {
        self.fill_to_start(start, EMPTY);
        self.push(length, value);
    }

    /// The rest of the space is empty.
    pub(super) fn finish(mut self) -> Partition<A> {
        self.fill_to(A::ZERO, EMPTY);
        self.starts.shrink_to_fit();
        self.values.shrink_to_fit();
        Partition { starts: self.starts, values: self.values }
    }

    fn is_full(&self) -> bool {
        self.next == A::ZERO && !self.starts.is_empty()
    }

    /// Fills up to `end`, where `ZERO` is the end of the space.
    fn fill_to(&mut self, end: A, value: u32) {
        while self.next != end || (end == A::ZERO && !self.is_full()) {
            self.push(self.next.widest_to(end), value);
        }
    }

    /// Fills up to `start`, where `ZERO` is the start of the space.
    fn fill_to_start(&mut self, start: A, value: u32) {
        if start != A::ZERO {
            self.fill_to(start, value);
        }
    }

    fn push(&mut self, mut length: u8, value: u32) {
        let mut start = self.next;
        self.next = start.end(length);
        // The upper half of a prefix merges with the lower one before it, if that is one leaf.
        while length > 0 && start.masked(length - 1) != start {
            let lower = start.masked(length - 1);
            if self.starts.last() != Some(&lower) || self.values.last() != Some(&value) {
                break;
            }
            self.starts.pop();
            self.values.pop();
            start = lower;
            length -= 1;
        }
        self.starts.push(start);
        self.values.push(value);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Narrowest prefix around an address; the last one listed of equal ones is the same prefix.
    fn narrowest(prefixes: &[(u32, u8, u32)], address: u32) -> u32 {
        let around = prefixes.iter().filter(|(start, length, _)| address.masked(*length) == *start);
        around.max_by_key(|(_, length, _)| *length).map_or(EMPTY, |(_, _, value)| *value)
    }

    fn value_at(partition: &Partition<u32>, address: u32) -> u32 {
        partition.values[partition.starts.partition_point(|&start| start <= address) - 1]
    }

    fn is_sound<A: Address>(partition: &Partition<A>) -> bool {
        let aligned = (0..partition.len()).all(|index| {
            let (start, length) = (partition.starts[index], partition.length(index));
            start.masked(length) == start && start.end(length) == partition.end(index)
        });
        let merged = (1..partition.len()).all(|index| {
            let (length, start) = (partition.length(index), partition.starts[index]);
            let siblings = length == partition.length(index - 1) && start.masked(length - 1) != start;
            !siblings || partition.values[index] != partition.values[index - 1]
        });
        partition.starts[0] == A::ZERO && aligned && merged
    }

    prop_compose! {
        // Few distinct leading bits, so that prefixes nest and touch.
        fn prefix()(bits in 0u32..64, low in any::<u32>(), length in 0u8..=32, value in 0u32..4) -> (u32, u8, u32) {
            ((bits << 26 | low & 0x3).masked(length), length, value)
        }
    }

    fn distinct(mut prefixes: Vec<(u32, u8, u32)>) -> Vec<(u32, u8, u32)> {
        prefixes.sort_unstable();
        prefixes.dedup_by_key(|prefix| (prefix.0, prefix.1));
        prefixes
    }

    fn probes(prefixes: &[(u32, u8, u32)], random: Vec<u32>) -> impl Iterator<Item = u32> {
        let edges = prefixes.iter().flat_map(|(start, length, _)| {
            [*start, start.wrapping_sub(1), start.end(*length), start.end(*length).wrapping_sub(1)]
        });
        edges.chain(random).collect::<Vec<_>>().into_iter()
    }

    proptest! {
        #[test]
        fn nested_prefixes_give_the_narrowest(
            prefixes in prop::collection::vec(prefix(), 0..20),
            random in prop::collection::vec(any::<u32>(), 8),
        ) {
            let prefixes = distinct(prefixes);
            let partition = Partition::of_nested(prefixes.clone());
            prop_assert!(is_sound(&partition));
            for address in probes(&prefixes, random) {
                prop_assert_eq!(value_at(&partition, address), narrowest(&prefixes, address));
            }
        }

        #[test]
        fn overlays_see_both_values(
            ours in prop::collection::vec(prefix(), 0..12),
            theirs in prop::collection::vec(prefix(), 0..12),
            random in prop::collection::vec(any::<u32>(), 8),
        ) {
            let (ours, theirs) = (distinct(ours), distinct(theirs));
            let (a, b) = (Partition::of_nested(ours.clone()), Partition::of_nested(theirs.clone()));
            let both = a.overlay(&b, |a, b| 4 * a + b);
            prop_assert!(is_sound(&both));
            for address in probes(&ours, random).chain(probes(&theirs, Vec::new())) {
                let expected = 4 * narrowest(&ours, address) + narrowest(&theirs, address);
                prop_assert_eq!(value_at(&both, address), expected);
            }
            prop_assert_eq!(both.map(|value| value / 4), a);
        }
    }

    #[test]
    fn the_ends_of_the_space() {
        let whole = Partition::<u128>::empty();
        assert_eq!((whole.len(), whole.length(0)), (1, 0));
        let last = Partition::of_nested(vec![(u128::MAX, 128, 7)]);
        assert_eq!((last.len(), last.values[128], last.length(128)), (129, 7, 128));
        let mut halves = Builder::<u32>::new();
        halves.push_at(0, 1, 5);
        halves.push_at(1 << 31, 1, 5);
        assert_eq!(halves.finish(), Partition { starts: vec![0], values: vec![5] });
    }
}
