//! The memory of a trie's nodes: cache lines of 16-bit units, in which a node that fits in one is never cut.

use crate::model::{Large, prefetch_in};

/// Units in a line.
const LINE: usize = 32;

/// One cache line.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u16; LINE]);

/// Lines that are written no more. A place is an index of units.
pub(super) struct Lines(Large<Line>);

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
        Spot { lines: self, line: &self.0[place / LINE].0, place }
    }

    /// The unit at a place.
    fn unit(&self, place: usize) -> u16 {
        self.0[place / LINE].0[place % LINE]
    }

    /// Begins to fetch the line of a place.
    #[inline(always)]
    pub(super) fn prefetch(&self, place: usize) {
        prefetch_in(&self.0, place / LINE);
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
        Lines(self.lines.into())
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
            for row in places.windows(64) {
                prop_assert!(row.iter().max().unwrap() - row.iter().min().unwrap() < 1 << 15);
            }
        }
    }
}
