//! The build form of an address family: its whole space, cut into prefixes.
//!
//! Two partitions into prefixes have a common refinement that is one too, since of two prefixes that
//! overlap one holds the other. So files, labels and reserved space are laid over each other in one
//! linear pass, and no two leaves ever overlap (RFC 7871 §7.2.1 asks that of scopes).

use std::fmt::Debug;
use std::hash::Hash;
use std::marker::PhantomData;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// An address of one family as an unsigned integer, most significant bit first.
pub(super) trait Address: Copy + Ord + Hash + Debug {
    /// Its width.
    const WIDTH: u8;
    /// The lowest one.
    const ZERO: Self;
    /// So many leading bits index the trie's first table,
    const TOP: u8;
    /// and so many more a second one, in the parts of the space that need it; 0 is none.
    const CHUNK: u8;

    /// The first address past the prefix that begins here; `ZERO` past the end of the space.
    fn end(self, length: u8) -> Self;
    /// The length of the widest prefix that begins here and reaches no further than `end`.
    fn widest_to(self, end: Self) -> u8;
    /// The first address of the prefix of that length around this one.
    fn masked(self, length: u8) -> Self;
    /// The first address of the upper half of the prefix that begins here; `length` is below `WIDTH`.
    fn midpoint(self, length: u8) -> Self;
    /// The `count` leading bits; at least one.
    fn leading(self, count: u8) -> usize;
    /// Without the `count` leading bits; zeros move up from below.
    fn after(self, count: u8) -> Self;
    /// As the standard library has it.
    fn ip(self) -> IpAddr;

    /// How many clients a prefix may have: its addresses of IPv4, its /48 networks of IPv6, where a
    /// longer prefix counts as one.
    fn weight(length: u8) -> u64 {
        1 << Self::WIDTH.min(48).saturating_sub(length)
    }
}

macro_rules! address {
    ($int:ty, $ip:ty, $top:expr, $chunk:expr) => {
        impl Address for $int {
            const WIDTH: u8 = <$int>::BITS as u8;
            const ZERO: Self = 0;
            const TOP: u8 = $top;
            const CHUNK: u8 = $chunk;

            fn end(self, length: u8) -> Self {
                self.wrapping_add((1 as $int).checked_shl(u32::from(Self::WIDTH - length)).unwrap_or(0))
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

            #[inline(always)]
            fn leading(self, count: u8) -> usize {
                (self >> (Self::WIDTH - count)) as usize
            }

            #[inline(always)]
            fn after(self, count: u8) -> Self {
                self << count
            }

            fn ip(self) -> IpAddr {
                <$ip>::from(self).into()
            }
        }
    };
}
address!(u32, Ipv4Addr, 18, 0);
address!(u128, Ipv6Addr, 14, 12);

/// The value of space that nobody claimed.
pub(super) const EMPTY: u32 = 0;

/// A family's space as leaves in the order of addresses. The first starts at 0, each where the one
/// before it ends, so that lengths say all: five octets a leaf. Of leaves with the same value no two
/// are siblings: a leaf is the widest prefix around its addresses that has its value throughout.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Partition<A> {
    lengths: Vec<u8>,
    values: Vec<u32>,
    family: PhantomData<A>,
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

    /// Every leaf's first address, length and value, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (A, u8, u32)> {
        self.lengths.iter().zip(&self.values).scan(A::ZERO, |next, (&length, &value)| {
            let start = *next;
            *next = start.end(length);
            Some((start, length, value))
        })
    }

    /// Both at once: every leaf of the common refinement has what `combine` makes of the two values.
    pub(super) fn overlay(&self, other: &Self, mut combine: impl FnMut(u32, u32) -> u32) -> Self {
        let mut builder = Builder::new();
        let (mut mine, mut theirs) = (self.iter().peekable(), other.iter().peekable());
        while let (Some(&(start, length, value)), Some(&(their_start, their_length, their_value))) =
            (mine.peek(), theirs.peek())
        {
            builder.push(length.max(their_length), combine(value, their_value));
            mine.next_if(|_| start.end(length) == builder.next);
            theirs.next_if(|_| their_start.end(their_length) == builder.next);
        }
        builder.finish()
    }

    /// Other values; neighbours that become equal merge.
    pub(super) fn map(&self, mut value: impl FnMut(u32) -> u32) -> Self {
        let mut builder = Builder::new();
        for (_, length, old) in self.iter() {
            builder.push(length, value(old));
        }
        builder.finish()
    }

    pub(super) fn len(&self) -> usize {
        self.lengths.len()
    }
}

/// Takes leaves in the order of addresses and merges equal neighbours into the widest prefix.
#[derive(Debug)]
pub(super) struct Builder<A> {
    lengths: Vec<u8>,
    values: Vec<u32>,
    next: A,
}

impl<A: Address> Builder<A> {
    pub(super) fn new() -> Self {
        Self { lengths: Vec::new(), values: Vec::new(), next: A::ZERO }
    }

    /// The prefix after those before it. What lies between is empty.
    pub(super) fn push_at(&mut self, start: A, length: u8, value: u32) {
        self.fill_to_start(start, EMPTY);
        self.push(length, value);
    }

    /// The rest of the space is empty.
    pub(super) fn finish(mut self) -> Partition<A> {
        self.fill_to(A::ZERO, EMPTY);
        self.lengths.shrink_to_fit();
        self.values.shrink_to_fit();
        Partition { lengths: self.lengths, values: self.values, family: PhantomData }
    }

    fn is_full(&self) -> bool {
        self.next == A::ZERO && !self.lengths.is_empty()
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
            if self.lengths.last() != Some(&length) || self.values.last() != Some(&value) {
                break;
            }
            self.lengths.pop();
            self.values.pop();
            length -= 1;
            start = start.masked(length);
        }
        self.lengths.push(length);
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
        partition.iter().take_while(|&(start, ..)| start <= address).last().unwrap().2
    }

    fn is_sound<A: Address>(partition: &Partition<A>) -> bool {
        let leaves: Vec<_> = partition.iter().collect();
        let aligned = leaves.iter().all(|&(start, length, _)| start.masked(length) == start);
        let merged = leaves.windows(2).all(|pair| {
            let [(_, before, lower), (start, length, upper)] = [pair[0], pair[1]];
            length != before || start.masked(length - 1) == start || lower != upper
        });
        let (last, length, _) = leaves[leaves.len() - 1];
        last.end(length) == A::ZERO && aligned && merged
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
        let leaves = |partition: &Partition<u128>| partition.iter().collect::<Vec<_>>();
        assert_eq!(leaves(&Partition::empty()), [(0, 0, EMPTY)]);
        let last = leaves(&Partition::of_nested(vec![(u128::MAX, 128, 7)]));
        assert_eq!((last.len(), last[128]), (129, (u128::MAX, 128, 7)));
        let mut halves = Builder::<u32>::new();
        halves.push_at(0, 1, 5);
        halves.push_at(1 << 31, 1, 5);
        assert_eq!(halves.finish().iter().collect::<Vec<_>>(), [(0, 0, 5)]);
    }
}
