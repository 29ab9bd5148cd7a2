//! Lists of small numbers, and lists of lists of them.

use std::sync::Arc;

use crate::model::prefetch_in;

/// Numbers, in two octets each where all fit. Copies share them.
#[derive(Clone, Debug)]
pub(super) enum Indices {
    Narrow(Arc<[u16]>),
    Wide(Arc<[u32]>),
}

impl Indices {
    #[inline]
    pub(super) fn get(&self, index: usize) -> u32 {
        match self {
            Self::Narrow(list) => list[index].into(),
            Self::Wide(list) => list[index],
        }
    }

    /// Begins to fetch what [`Self::get`] reads.
    #[inline]
    pub(super) fn prefetch(&self, index: usize) {
        match self {
            Self::Narrow(list) => prefetch_in(list, index),
            Self::Wide(list) => prefetch_in(list, index),
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = u32> {
        let length = match self {
            Self::Narrow(list) => list.len(),
            Self::Wide(list) => list.len(),
        };
        (0..length).map(|index| self.get(index))
    }
}

impl Indices {
    /// Numbers that are all below `end`.
    pub(super) fn new(numbers: impl Iterator<Item = u32>, end: usize) -> Self {
        if end <= 1 << 16 {
            Self::Narrow(numbers.map(|number| number as u16).collect())
        } else {
            Self::Wide(numbers.collect())
        }
    }
}

/// For each index a list of numbers, in one piece.
#[derive(Debug)]
pub(super) struct Lists {
    starts: Box<[u32]>,
    numbers: Box<[u32]>,
}

impl Lists {
    /// The lists of `count` indices that have these (index, number) pairs.
    pub(super) fn new(count: usize, pairs: impl Iterator<Item = (usize, u32)> + Clone) -> Self {
        let mut starts = vec![0; count + 1];
        pairs.clone().for_each(|(index, _)| starts[index + 1] += 1);
        for index in 0..count {
            starts[index + 1] += starts[index];
        }
        let mut numbers = vec![0; starts[count] as usize];
        let mut next = starts.clone();
        for (index, number) in pairs {
            numbers[next[index] as usize] = number;
            next[index] += 1;
        }
        Self { starts: starts.into(), numbers: numbers.into() }
    }

    /// That of an index.
    pub(super) fn of(&self, index: usize) -> &[u32] {
        &self.numbers[self.starts[index] as usize..self.starts[index + 1] as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_kept_narrow_or_wide() {
        for list in [[7, 65_535, 0], [7, 65_536, 0]] {
            let indices = Indices::new(list.iter().copied(), list[1] as usize + 1);
            assert_eq!(matches!(indices, Indices::Narrow(_)), list[1] == 65_535);
            assert_eq!(indices.iter().collect::<Vec<_>>(), list);
        }
    }

    #[test]
    fn lists_hold_what_they_were_given() {
        let pairs = [(2, 5), (0, 1), (2, 3), (0, 9)];
        let lists = Lists::new(4, pairs.iter().copied());
        assert_eq!([lists.of(0), lists.of(1), lists.of(2), lists.of(3)], [&[1, 9][..], &[], &[5, 3], &[]]);
    }
}
