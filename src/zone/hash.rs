//! The hash that names are found by, and the tables of it.
//!
//! Its seeds are drawn when the process starts: who chooses names cannot make them collide, and where
//! two collide, only they take longer to find.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

/// Two secret numbers: a product with a factor that is known could be made zero.
static SEEDS: LazyLock<(u64, u64)> = LazyLock::new(|| {
    let random = RandomState::new();
    (random.hash_one(1), random.hash_one(2))
});

/// 2⁶⁴ ÷ the golden ratio, odd.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a name is found by, beside its octets.
pub(super) type Tag = u32;

/// The tag of a name.
#[inline]
pub(super) fn tag(name: &[u8]) -> Tag {
    let (seed, secret) = *SEEDS;
    // The length is spread over all bits, so that no octet of the name can undo it.
    let mut hash = seed.wrapping_add((name.len() as u64).wrapping_mul(FACTOR));
    let mut rest = name;
    while rest.len() > 16 {
        hash = fold(word(&rest[..8]) ^ hash, word(&rest[8..16]) ^ secret);
        rest = &rest[16..];
    }
    // The end is read from its both sides; the length tells how they overlap.
    let length = name.len();
    let (low, high) = match length {
        16.. => (word(&name[length - 16..length - 8]), word(&name[length - 8..])),
        8.. => (word(&name[..8]), word(&name[length - 8..])),
        4.. => (half(&name[..4]), half(&name[length - 4..])),
        1.. => (u64::from(name[0]) | u64::from(name[length / 2]) << 8 | u64::from(name[length - 1]) << 16, 0),
        0 => (0, 0),
    };
    fold(low ^ hash, high ^ secret) as Tag
}

#[inline]
fn word(octets: &[u8]) -> u64 {
    u64::from_le_bytes(octets.try_into().expect("eight octets are taken"))
}

#[inline]
fn half(octets: &[u8]) -> u64 {
    u32::from_le_bytes(octets.try_into().expect("four octets are taken")).into()
}

#[inline]
fn fold(one: u64, other: u64) -> u64 {
    let product = u128::from(one) * u128::from(other);
    product as u64 ^ (product >> 64) as u64
}

/// Slots of a table that is to hold so many entries: at most four fifths are taken, so that a look-up
/// ends soon.
pub(super) fn slots_for(entries: usize) -> usize {
    (entries + entries / 4 + 1).next_power_of_two()
}

/// An open-addressing table: tags → numbers that the owner of the table gives a meaning.
#[derive(Clone, Debug, Default)]
pub(super) struct Index {
    /// Empty, or a power of two of them.
    slots: Vec<(Tag, u32)>,
    used: usize,
}

/// The number in an empty slot.
const EMPTY: u32 = u32::MAX;

impl Index {
    /// A table that holds so many without growing.
    pub(super) fn with_room(entries: usize) -> Self {
        Self { slots: vec![(0, EMPTY); slots_for(entries)], used: 0 }
    }

    /// The number under this tag that `is` the one looked for.
    #[inline]
    pub(super) fn find(&self, tag: Tag, mut is: impl FnMut(u32) -> bool) -> Option<u32> {
        let mask = self.slots.len().checked_sub(1)?;
        let mut slot = tag as usize & mask;
        loop {
            match self.slots[slot] {
                (_, EMPTY) => return None,
                (other, number) if other == tag && is(number) => return Some(number),
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    /// Adds a number that is not in the table.
    pub(super) fn add(&mut self, tag: Tag, number: u32) {
        debug_assert!(number != EMPTY, "tables are bounded below the last number");
        if slots_for(self.used + 1) > self.slots.len() {
            let wider = vec![(0, EMPTY); slots_for(self.used + 1)];
            for (tag, number) in std::mem::replace(&mut self.slots, wider) {
                if number != EMPTY {
                    self.put(tag, number);
                }
            }
        }
        self.put(tag, number);
        self.used += 1;
    }

    fn put(&mut self, tag: Tag, number: u32) {
        let mask = self.slots.len() - 1;
        let mut slot = tag as usize & mask;
        while self.slots[slot].1 != EMPTY {
            slot = (slot + 1) & mask;
        }
        self.slots[slot] = (tag, number);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// Names that differ in one octet, by their length or by where a label ends have tags of their
    /// own, nearly always.
    #[test]
    fn tags_tell_names_apart() {
        let (mut names, mut tags) = (HashSet::new(), HashSet::new());
        let mut add = |name: Vec<u8>| {
            tags.insert(tag(&name));
            names.insert(name);
        };
        for length in 0..=64 {
            add(vec![b'x'; length]);
            for at in 0..length {
                for octet in *b"abz019-_" {
                    let mut name = vec![b'x'; length];
                    name[at] = octet;
                    add(name);
                }
            }
        }
        for cut in 1..30 {
            add([&[cut as u8][..], &vec![b'y'; cut], &[30 - cut as u8], &vec![b'y'; 30 - cut], b"\0"].concat());
        }
        // 16,734 of 2^32: the birthday bound expects 0.03 equal pairs.
        assert_eq!(names.len(), 16_734);
        assert!(names.len() - tags.len() < 4, "{} tags", tags.len());
    }

    #[test]
    fn tables_grow_and_tell_equal_tags_apart() {
        let mut index = Index::default();
        assert_eq!(index.find(7, |_| true), None);
        (0..1000).for_each(|number| index.add(number % 10, number));
        assert!((0..1000).all(|number| index.find(number % 10, |found| found == number) == Some(number)));
        assert_eq!(index.find(3, |_| false), None);
        assert_eq!(index.find(11, |_| true), None);
        assert!(index.slots.len() <= slots_for(1000));
    }
}
