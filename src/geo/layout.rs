//! Lays a [`Trie`] out, from a partition's leaves or from another trie, in one pass over either.

use std::iter::{Peekable, repeat_n};
use std::marker::PhantomData;

use super::lines::Packer;
use super::partition::Address;
use super::trie::{BASE, BITMAP, DOWN, Entry, FAR, LENGTH_SHIFT, MAX_VALUE, Node, STRIDE, Trie};

/// Slots of a node.
const SLOTS: u32 = 1 << STRIDE;

/// A leaf or a node for some slots.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Item {
    Value(u32),
    /// The next of those that wait to be placed.
    Node,
}

/// The runs of a node, before what lies below it has places.
struct Draft {
    bitmap: u64,
    items: [Item; SLOTS as usize],
    count: usize,
}

impl Draft {
    fn new() -> Self {
        Self { bitmap: 0, items: [Item::Node; SLOTS as usize], count: 0 }
    }

    /// What begins at a slot.
    fn push(&mut self, slot: u32, item: Item) {
        if self.count == 0 || item == Item::Node || self.items[self.count - 1] != item {
            self.bitmap |= 1 << slot;
            self.items[self.count] = item;
            self.count += 1;
        }
    }
}

/// A node as it will lie in its lines: base, if it needs one, bitmap, entries.
struct Piece {
    units: [u16; BASE + BITMAP + SLOTS as usize],
    /// Without a base it begins at `BASE`.
    from: usize,
    end: usize,
}

/// Places nodes. Those below a node are placed together when it is complete, near each other; it waits
/// for those beside it.
struct Layout {
    packer: Packer,
    waiting: Vec<Piece>,
}

impl Layout {
    fn new<A: Address>() -> Self {
        Self { packer: Packer::new(1 << A::TOP), waiting: Vec::new() }
    }

    /// Ends a node; those that wait from `mark` on are below it.
    fn node(&mut self, draft: &Draft, mark: usize) -> Item {
        if draft.count == 1 {
            return draft.items[0];
        }
        let items = &draft.items[..draft.count];
        let places = self.place(items, mark);
        let base = places[..items.len()].iter().copied().min().filter(|&base| base < usize::MAX);
        let mut piece = Piece { units: [0; _], from: BASE, end: BASE + BITMAP + items.len() };
        if let Some(base) = base {
            piece.from = 0;
            split(base as u64, &mut piece.units[..BASE]);
        }
        split(draft.bitmap, &mut piece.units[BASE..BASE + BITMAP]);
        for ((unit, &item), place) in piece.units[BASE + BITMAP..].iter_mut().zip(items).zip(places) {
            *unit = match item {
                Item::Value(value) if value < u32::from(FAR) => value as u16,
                _ => {
                    let distance = u16::try_from(place - base.unwrap_or(place)).ok();
                    FAR | distance.filter(|distance| distance & FAR == 0).expect("the packer keeps them close")
                }
            };
        }
        self.waiting.push(piece);
        Item::Node
    }

    /// Places the nodes from `mark` on, and the large values; where each item is, if it is one of them.
    fn place(&mut self, items: &[Item], mark: usize) -> [usize; SLOTS as usize] {
        let mut places = [usize::MAX; SLOTS as usize];
        let mut below = self.waiting.drain(mark..);
        for (index, &item) in items.iter().enumerate() {
            places[index] = match item {
                Item::Node => put(&mut self.packer, &below.next().expect("one for each")),
                Item::Value(value) if value < u32::from(FAR) => continue,
                Item::Value(value) => {
                    let before = items[..index].iter().position(|&before| before == item);
                    before.map_or_else(|| large(&mut self.packer, value), |before| places[before])
                }
            };
        }
        places
    }

    /// A table's entry, so far without a length.
    fn entry(&mut self, item: Item) -> u32 {
        match item {
            Item::Value(value) => value,
            Item::Node => DOWN | short(put(&mut self.packer, &self.waiting.pop().expect("it ended last"))),
        }
    }

    /// Ends a second table; the first one's entry.
    fn chunk<A: Address>(&mut self, mut entries: Vec<u32>) -> u32 {
        if entries[0] & DOWN == 0 && entries.iter().all(|&entry| entry == entries[0]) {
            return entries[0];
        }
        set_lengths(&mut entries, A::TOP);
        DOWN | short(self.packer.put_table(&entries))
    }

    fn finish<A: Address>(self, mut entries: Vec<u32>) -> Trie<A> {
        set_lengths(&mut entries, 0);
        Trie { lines: self.packer.finish(&entries), family: PhantomData }
    }
}

fn put(packer: &mut Packer, piece: &Piece) -> usize {
    packer.put(&piece.units[piece.from..piece.end]) + BASE - piece.from
}

/// A large value, told from a bitmap by its lowest bit.
fn large(packer: &mut Packer, value: u32) -> usize {
    let mut units = [0; BASE];
    split(u64::from(value) << 1, &mut units);
    packer.put(&units)
}

fn split(number: u64, units: &mut [u16]) {
    for (at, unit) in units.iter_mut().enumerate() {
        *unit = (number >> (16 * at)) as u16;
    }
}

fn short(place: usize) -> u32 {
    u32::try_from(place).ok().filter(|place| place & DOWN == 0).expect("files are bounded, so nodes are")
}

/// Cuts the runs of leaves in a table, `above` bits down, into prefixes.
fn set_lengths(entries: &mut [u32], above: u8) {
    let (mut from, bits) = (0, entries.len().ilog2());
    while from < entries.len() {
        let value = entries[from];
        if value & DOWN != 0 {
            from += 1;
            continue;
        }
        let same = entries[from..].iter().take_while(|&&entry| entry == value).count();
        let until = from + same;
        while from < until {
            let aligned = if from == 0 { bits } else { from.trailing_zeros() };
            let width = aligned.min((until - from).ilog2());
            let length = u32::from(above) + bits - width;
            entries[from..from + (1 << width)].fill(value | length << LENGTH_SHIFT);
            from += 1 << width;
        }
    }
}

fn checked(value: u32) -> u32 {
    assert!(value <= MAX_VALUE, "locations and orders are bounded far below");
    value
}

/// From the leaves of a partition.
pub(super) struct FromLeaves<I: Iterator> {
    layout: Layout,
    leaves: Peekable<I>,
}

impl<A: Address, I: Iterator<Item = (A, u8, u32)>> FromLeaves<I> {
    pub(super) fn new(leaves: I) -> Self {
        Self { layout: Layout::new::<A>(), leaves: leaves.peekable() }
    }

    pub(super) fn trie(mut self) -> Trie<A> {
        let entries = self.table(A::TOP, A::TOP, if A::CHUNK == 0 { Self::node_below_tables } else { Self::chunk });
        self.layout.finish(entries)
    }

    /// A table of so many bits, down to `end`.
    fn table(&mut self, bits: u8, end: u8, deeper: fn(&mut Self) -> u32) -> Vec<u32> {
        let mut entries = Vec::with_capacity(1 << bits);
        while entries.len() < 1 << bits {
            match self.leaf(end) {
                Some((value, slots)) => entries.extend(repeat_n(value, slots as usize)),
                None => entries.push(deeper(self)),
            }
        }
        entries
    }

    fn chunk(&mut self) -> u32 {
        let entries = self.table(A::CHUNK, A::TOP + A::CHUNK, Self::node_below_tables);
        self.layout.chunk::<A>(entries)
    }

    fn node_below_tables(&mut self) -> u32 {
        let item = self.node(A::TOP + A::CHUNK + STRIDE);
        self.layout.entry(item)
    }

    /// The node that decides the bits before `end`, of the space in which the next leaf begins.
    fn node(&mut self, end: u8) -> Item {
        let (mark, mut draft, mut slot) = (self.layout.waiting.len(), Draft::new(), 0);
        while slot < SLOTS {
            let (item, slots) = match self.leaf(end) {
                Some((value, slots)) => (Item::Value(value), slots),
                None => (self.node(end + STRIDE), 1),
            };
            draft.push(slot, item);
            slot += slots;
        }
        self.layout.node(&draft, mark)
    }

    /// The next leaf and how many slots it has, unless it lies below slots that end after `end` bits.
    fn leaf(&mut self, end: u8) -> Option<(u32, u32)> {
        let (_, length, value) = self.leaves.next_if(|&(_, length, _)| length <= end)?;
        Some((checked(value), 1 << (end - length)))
    }
}

/// From another trie: its nodes, with other values.
pub(super) struct FromTrie<'a, A, F> {
    layout: Layout,
    source: &'a Trie<A>,
    value: F,
}

impl<'a, A: Address, F: Fn(u32) -> u32> FromTrie<'a, A, F> {
    pub(super) fn new(source: &'a Trie<A>, value: F) -> Self {
        Self { layout: Layout::new::<A>(), source, value }
    }

    pub(super) fn trie(mut self) -> Trie<A> {
        let deeper = if A::CHUNK == 0 { Self::node_below_tables } else { Self::chunk };
        let entries = self.table(0, A::TOP, deeper);
        self.layout.finish(entries)
    }

    /// The table of so many bits at a place.
    fn table(&mut self, from: usize, bits: u8, deeper: fn(&mut Self, u32) -> u32) -> Vec<u32> {
        let source = self.source;
        let mut entry = |entry: u32| match entry & DOWN {
            0 => checked((self.value)(entry & MAX_VALUE)),
            _ => deeper(self, entry),
        };
        (from..from + (1 << bits)).map(|at| entry(source.lines.entry(at))).collect()
    }

    fn chunk(&mut self, entry: u32) -> u32 {
        let entries = self.table((entry & !DOWN) as usize, A::CHUNK, Self::node_below_tables);
        self.layout.chunk::<A>(entries)
    }

    fn node_below_tables(&mut self, entry: u32) -> u32 {
        let item = self.node(self.source.node(entry));
        self.layout.entry(item)
    }

    fn node(&mut self, node: Node<'a>) -> Item {
        let (mark, mut draft, mut left) = (self.layout.waiting.len(), Draft::new(), node.runs);
        for index in 0..node.runs.count_ones() as usize {
            let item = match self.source.node_entry(node, index) {
                Entry::Value(value) => Item::Value(checked((self.value)(value))),
                Entry::Node(below) => self.node(below),
            };
            draft.push(left.trailing_zeros(), item);
            left &= left - 1;
        }
        self.layout.node(&draft, mark)
    }
}
