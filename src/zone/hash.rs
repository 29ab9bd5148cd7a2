//! The hash that names are found by, and the tables of it.
//!
//! A name is hashed label by label from the root down, so that one walk gives the hashes of the name
//! and of all that lies above it. The seeds are drawn when the process starts: who chooses names
//! cannot make them collide, and where two collide, only they take longer to find.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

/// Octets of the longest name (RFC 1035 §2.3.4), and labels of the deepest without the root's.
const LONGEST: usize = 255;
const MOST_LABELS: usize = 127;

/// Two secret numbers: a product with a factor that is known could be made zero.
static SEEDS: LazyLock<(u64, u64)> = LazyLock::new(|| {
    let random = RandomState::new();
    (random.hash_one(1), random.hash_one(2))
});

/// What a name is found by, beside its octets.
pub(super) type Tag = u32;

/// A wire name with the places of its labels.
pub(super) struct Labels<'n> {
    name: &'n [u8],
    /// Where each label begins, the leftmost first, the root's left out.
    starts: [u8; MOST_LABELS],
    count: usize,
}

impl<'n> Labels<'n> {
    /// The labels of a name in uncompressed wire form; none where it is no whole name.
    #[inline]
    pub(super) fn of(name: &'n [u8]) -> Option<Self> {
        if name.len() > LONGEST {
            return None;
        }
        let (mut starts, mut count, mut at) = ([0; MOST_LABELS], 0, 0);
        loop {
            match *name.get(at)? {
                0 if at + 1 == name.len() => return Some(Self { name, starts, count }),
                length @ 1..=63 => {
                    *starts.get_mut(count)? = u8::try_from(at).ok()?;
                    count += 1;
                    at += 1 + usize::from(length);
                }
                _ => return None,
            }
        }
    }

    /// The name.
    #[inline]
    pub(super) fn name(&self) -> &'n [u8] {
        self.name
    }

    /// The root, then each name on the way down to this one, each with its tag.
    #[inline]
    pub(super) fn down(&self) -> impl Iterator<Item = (&'n [u8], Tag)> {
        let (name, seeds) = (self.name, *SEEDS);
        let root = (&name[name.len() - 1..], seeds.0 as Tag);
        let mut hash = seeds.0;
        let mut end = name.len() - 1;
        let below = self.starts[..self.count].iter().rev().map(move |&start| {
            let start = usize::from(start);
            hash = extend(hash, seeds.1, &name[start + 1..end]);
            end = start;
            (&name[start..], hash as Tag)
        });
        std::iter::once(root).chain(below)
    }

    /// The tag of the whole name.
    #[inline]
    pub(super) fn tag(&self) -> Tag {
        let seeds = *SEEDS;
        let (mut hash, mut end) = (seeds.0, self.name.len() - 1);
        for &start in self.starts[..self.count].iter().rev() {
            let start = usize::from(start);
            hash = extend(hash, seeds.1, &self.name[start + 1..end]);
            end = start;
        }
        hash as Tag
    }
}

/// 2⁶⁴ ÷ the golden ratio, odd.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

/// The hash of a name with one more label.
#[inline]
fn extend(hash: u64, secret: u64, label: &[u8]) -> u64 {
    // Spread over all bits, so that no octet of the label can undo it.
    let mut hash = hash.wrapping_add((label.len() as u64).wrapping_mul(FACTOR));
    let mut rest = label;
    while let Some((chunk, after)) = rest.split_first_chunk::<16>() {
        let (low, high) = chunk.split_at(8);
        hash = fold(word(low) ^ hash, word(high) ^ secret);
        rest = after;
    }
    // What is left over is read from both its ends; the length in the hash tells how they overlap.
    let (low, high) = match rest.len() {
        0 => return hash,
        8.. => (word(&rest[..8]), word(&rest[rest.len() - 8..])),
        4.. => (half(&rest[..4]), half(&rest[rest.len() - 4..])),
        n => (u64::from(rest[0]) | u64::from(rest[n / 2]) << 8 | u64::from(rest[n - 1]) << 16, 0),
    };
    fold(low ^ hash, high ^ secret)
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

/// Slots of a table that is to hold so many entries: at most two thirds are taken, so that a look-up
/// ends soon.
pub(super) fn slots_for(entries: usize) -> usize {
    (entries + entries / 2 + 1).next_power_of_two()
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

    #[test]
    fn names_from_the_root_down() {
        let name = b"\x03www\x04shop\x07example\0";
        let labels = Labels::of(name).unwrap();
        let down: Vec<_> = labels.down().collect();
        let expected: [&[u8]; 4] = [b"\0", b"\x07example\0", b"\x04shop\x07example\0", name];
        assert_eq!(down.iter().map(|(name, _)| *name).collect::<Vec<_>>(), expected);
        for (suffix, tag) in down {
            assert_eq!(Labels::of(suffix).unwrap().tag(), tag, "{suffix:?}");
        }
        for wire in [&b""[..], b"\x03ab\0", b"\x01a", b"\xc0\x0c", b"\0\0", b"\x01a\0\0", &[1; 300]] {
            assert!(Labels::of(wire).is_none(), "{wire:?}");
        }
        let deepest = [b"\x01a".repeat(127), vec![0]].concat();
        assert_eq!(Labels::of(&deepest).unwrap().down().count(), 128);
    }

    /// Names that differ in one octet or by where a label ends have tags of their own, nearly always.
    #[test]
    fn tags_tell_names_apart() {
        let mut tags = HashSet::new();
        let mut names = 0;
        for length in 1..=63 {
            for at in 0..length {
                for octet in *b"abz019-_" {
                    let mut label = vec![b'x'; length];
                    label[at] = octet;
                    tags.insert(Labels::of(&[&[length as u8][..], &label, b"\0"].concat()).unwrap().tag());
                    names += 1;
                }
            }
        }
        for cut in 1..30 {
            let name = [&[cut as u8][..], &vec![b'y'; cut], &[30 - cut as u8], &vec![b'y'; 30 - cut], b"\0"].concat();
            tags.insert(Labels::of(&name).unwrap().tag());
            names += 1;
        }
        // 16,157 of 2^32: the birthday bound expects 0.03 equal pairs.
        assert!(names - tags.len() < 4, "{names} names, {} tags", tags.len());
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
