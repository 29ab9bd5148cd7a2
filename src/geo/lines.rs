//! The memory of a trie's nodes: cache lines of 16-bit units, in which a node that fits in one is never cut.

use crate::model::{in_large_pages, prefetch};

/// Units in a line.
const LINE: usize = 32;

/// One cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u16; LINE]);

/// Lines that are written no more. A place is an index of units.
pub(super) struct Lines(Box<[Line]>);

impl Lines {
    /// The unit at a place.
    #[inline(always)]
    pub(super) fn unit(&self, place: usize) -> u16 {
        self.0[place / LINE].0[place % LINE]
    }

    /// The two units at a place, the lower first.
    #[inline(always)]
    pub(super) fn pair(&self, place: usize) -> u32 {
        u32::from(self.unit(place)) | u32::from(self.unit(place + 1)) << 16
    }

    /// The four units at a place, the lowest first. They lie in one line.
    #[inline(always)]
    pub(super) fn word(&self, place: usize) -> u64 {
        let units = &self.0[place / LINE].0[place % LINE..][..4];
        u64::from(units[0]) | u64::from(units[1]) << 16 | u64::from(units[2]) << 32 | u64::from(units[3]) << 48
    }

    /// Begins to fetch the line of a place.
    #[inline(always)]
    pub(super) fn prefetch(&self, place: usize) {
        prefetch(&self.0[place / LINE]);
    }

    /// Memory, in octets.
    pub(super) fn octets(&self) -> usize {
        size_of_val(&*self.0)
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
    pub(super) fn new() -> Self {
        Self { lines: Vec::new(), open: [const { Vec::new() }; LINE] }
    }

    /// Writes a piece, in the line that it fits best; its place. Longer ones than a line begin one. All
    /// pieces written in a row lie within [`WINDOW`] lines and those that they would take alone.
    pub(super) fn put(&mut self, piece: &[u16]) -> usize {
        let (line, free) = self.line_with(piece.len().max(LEAST));
        let place = line * LINE + LINE - free;
        for (place, &unit) in (place..).zip(piece) {
            self.lines[place / LINE].0[place % LINE] = unit;
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
        self.lines.resize(line + units.div_ceil(LINE), Line([0; LINE]));
        (line, LINE)
    }

    pub(super) fn finish(self) -> Lines {
        let lines: Box<[Line]> = self.lines.into();
        in_large_pages(&lines);
        Lines(lines)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn pieces_are_whole_apart_and_close(sizes in prop::collection::vec(2usize..=70, 1..2000)) {
            let mut packer = Packer::new();
            let pieces: Vec<Vec<u16>> = (0..).zip(&sizes).map(|(mark, &size)| vec![mark; size]).collect();
            let places: Vec<usize> = pieces.iter().map(|piece| packer.put(piece)).collect();
            let lines = packer.finish();
            for (&place, piece) in places.iter().zip(&pieces) {
                let read: Vec<u16> = (place..place + piece.len()).map(|place| lines.unit(place)).collect();
                prop_assert_eq!(&read, piece);
                prop_assert!(place % LINE + piece.len() <= LINE || place % LINE == 0);
                prop_assert_eq!(lines.word(place) as u32, lines.pair(place));
            }
            for row in places.windows(64) {
                prop_assert!(row.iter().max().unwrap() - row.iter().min().unwrap() < 1 << 15);
            }
        }
    }
}
