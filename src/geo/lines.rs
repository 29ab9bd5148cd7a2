//! The memory of a trie: cache lines of 16-bit units. In the first ones is its first table, behind it are its other tables
//! and its nodes, of which one that fits in a line is never cut. All is one piece, so that it fills large pages.

use zerocopy::{transmute_mut, transmute_ref};

use crate::model::{Large, prefetch_in};

/// Units in a line.
const LINE: usize = 32;

/// Entries of a table in a line, two units each.
const ENTRIES: usize = LINE / 2;

/// One cache line.
type Line = [u32; ENTRIES];
const EMPTY: Line = [0; ENTRIES];

/// Lines that are written no more. A place is an index of units.
pub(super) struct Lines(Large<u32>);

/// A place that is being read, with the line that it lies in at hand.
#[derive(Clone, Copy)]
pub(super) struct Spot<'a> {
    lines: &'a Lines,
    line: &'a [u16; LINE],
    place: usize,
}

impl Spot<'_> {
    /// The four units here, the lowest first. They lie in one line.
    #[inline(always)]
    pub(super) fn word(&self) -> u64 {
        let units = &self.line[self.place % LINE..][..4];
        u64::from(units[0]) | u64::from(units[1]) << 16 | u64::from(units[2]) << 32 | u64::from(units[3]) << 48
    }

    /// The two units before this place, the lower first. They lie in the same line.
    #[inline(always)]
    pub(super) fn pair_before(&self) -> u32 {
        let at = self.place % LINE;
        let units = &self.line[at - 2..at];
        u32::from(units[0]) | u32::from(units[1]) << 16
    }

    /// The unit so many further, nearly always in the same line.
    #[inline(always)]
    pub(super) fn unit(&self, further: usize) -> u16 {
        match self.line.get(self.place % LINE + further) {
            Some(unit) => *unit,
            None => self.lines.unit(self.place + further),
        }
    }
}

impl Lines {
    #[inline(always)]
    pub(super) fn at(&self, place: usize) -> Spot<'_> {
        Spot { lines: self, line: self.line(place), place }
    }

    /// The unit at a place.
    fn unit(&self, place: usize) -> u16 {
        self.line(place)[place % LINE]
    }

    /// The line of a place.
    #[inline(always)]
    fn line(&self, place: usize) -> &[u16; LINE] {
        transmute_ref!(&self.0.as_chunks::<ENTRIES>().0[place / LINE])
    }

    /// The entry of a table; they are counted from the first one's.
    #[inline(always)]
    pub(super) fn entry(&self, at: usize) -> u32 {
        self.0[at]
    }

    /// Begins to fetch the line of a place.
    #[inline(always)]
    pub(super) fn prefetch(&self, place: usize) {
        prefetch_in(&self.0, place / 2);
    }

    /// Begins to fetch the line of a table's entry.
    #[inline(always)]
    pub(super) fn prefetch_entry(&self, at: usize) {
        prefetch_in(&self.0, at);
    }

    /// Memory, in octets.
    pub(super) fn octets(&self) -> usize {
        self.0.octets()
    }
}

/// Every piece can be read as a word.
const LEAST: usize = 4;
/// So many of the latest lines are filled up, so that what is placed in a row lies close together.
const WINDOW: usize = 768;

/// Fills lines.
pub(super) struct Packer {
    lines: Vec<Line>,
    /// By the number of units that are free at its end: lines, the latest last.
    open: [Vec<usize>; LINE],
}

impl Packer {
    /// Leaves room for a first table of so many entries.
    pub(super) fn new(entries: usize) -> Self {
        Self { lines: vec![EMPTY; entries.div_ceil(ENTRIES)], open: [const { Vec::new() }; LINE] }
    }

    /// Writes a table; the number of its first entry.
    pub(super) fn put_table(&mut self, entries: &[u32]) -> usize {
        let line = self.lines.len();
        self.lines.resize(line + entries.len().div_ceil(ENTRIES), EMPTY);
        self.write_table(line, entries);
        line * ENTRIES
    }

    fn write_table(&mut self, line: usize, entries: &[u32]) {
        for (line, entries) in self.lines[line..].iter_mut().zip(entries.chunks(ENTRIES)) {
            line[..entries.len()].copy_from_slice(entries);
        }
    }

    /// Writes a piece, in the line that it fits best; its place. Longer ones than a line begin one. All
    /// pieces written in a row lie within [`WINDOW`] lines and those that they would take alone.
    pub(super) fn put(&mut self, piece: &[u16]) -> usize {
        let (line, free) = self.line_with(piece.len().max(LEAST));
        let place = line * LINE + LINE - free;
        for (place, &unit) in (place..).zip(piece) {
            let units: &mut [u16; LINE] = transmute_mut!(&mut self.lines[place / LINE]);
            units[place % LINE] = unit;
        }
        let end = place + piece.len();
        let free = end.next_multiple_of(LINE) - end;
        if free >= LEAST {
            self.open[free].push(end / LINE);
        }
        place
    }

    /// A line with so many units free, else as many new lines as that takes, of which the first.
    fn line_with(&mut self, units: usize) -> (usize, usize) {
        let recent = self.lines.len().saturating_sub(WINDOW);
        for free in units..LINE {
            match self.open[free].pop() {
                Some(line) if line >= recent => return (line, free),
                // The others are older still.
                Some(_) => self.open[free].clear(),
                None => {}
            }
        }
        let line = self.lines.len();
        self.lines.resize(line + units.div_ceil(LINE), EMPTY);
        (line, LINE)
    }

    /// Writes the first table.
    pub(super) fn finish(mut self, first: &[u32]) -> Lines {
        self.write_table(0, first);
        Lines(self.lines.into_flattened().into())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn pieces_are_whole_apart_and_close(
            sizes in prop::collection::vec(2usize..=70, 1..2000),
            tables in prop::collection::vec(prop::collection::vec(any::<u32>(), 1..200), 2),
        ) {
            let mut packer = Packer::new(tables[0].len());
            let pieces: Vec<Vec<u16>> = (0..).zip(&sizes).map(|(mark, &size)| vec![mark; size]).collect();
            let (before, after) = pieces.split_at(pieces.len() / 2);
            let mut places: Vec<usize> = before.iter().map(|piece| packer.put(piece)).collect();
            let second = packer.put_table(&tables[1]);
            places.extend(after.iter().map(|piece| packer.put(piece)));
            let lines = packer.finish(&tables[0]);
            for (from, table) in [0, second].into_iter().zip(&tables) {
                let read: Vec<u32> = (from..from + table.len()).map(|at| lines.entry(at)).collect();
                prop_assert_eq!(&read, table);
            }
            for (&place, piece) in places.iter().zip(&pieces) {
                let read: Vec<u16> = (place..place + piece.len()).map(|place| lines.unit(place)).collect();
                prop_assert_eq!(&read, piece);
                prop_assert!(place % LINE + piece.len() <= LINE || place % LINE == 0);
                let spot = lines.at(place);
                prop_assert_eq!(spot.unit(1), piece[1]);
                prop_assert_eq!(spot.unit(piece.len() - 1), piece[piece.len() - 1]);
                prop_assert_eq!(spot.word() as u16, piece[0]);
                if piece.len() == 6 {
                    let after = lines.at(place + 2);
                    prop_assert_eq!(after.word(), u64::from(piece[0]) * 0x1_0001_0001_0001);
                    prop_assert_eq!(after.pair_before(), u32::from(piece[0]) * 0x1_0001);
                }
            }
            let (before, after) = places.split_at(before.len());
            for row in before.windows(64).chain(after.windows(64)) {
                prop_assert!(row.iter().max().unwrap() - row.iter().min().unwrap() < 1 << 15);
            }
        }
    }
}
