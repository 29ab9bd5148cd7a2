//! A long list of which a few entries change at a time: its copies share what they have in common.

use std::ops::Index;
use std::sync::Arc;

/// Entries a chunk: a change copies as many pointers, and a copy of the list has one for so many.
const CHUNK: usize = 64;

/// A list in chunks.
#[derive(Debug)]
pub(super) struct Chunks<T>(Box<[Arc<[Arc<T>]>]>);

impl<T> Clone for Chunks<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Chunks<T> {
    /// Puts another entry in the place of one.
    pub(super) fn set(&mut self, index: usize, entry: T) {
        Arc::make_mut(&mut self.0[index / CHUNK])[index % CHUNK] = Arc::new(entry);
    }
}

impl<T> FromIterator<T> for Chunks<T> {
    fn from_iter<I: IntoIterator<Item = T>>(entries: I) -> Self {
        let entries: Vec<Arc<T>> = entries.into_iter().map(Arc::new).collect();
        Self(entries.chunks(CHUNK).map(Into::into).collect())
    }
}

impl<T> Index<usize> for Chunks<T> {
    type Output = T;

    #[inline]
    fn index(&self, index: usize) -> &T {
        &self.0[index / CHUNK][index % CHUNK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_shares_all_chunks_but_one() {
        let list: Chunks<usize> = (0..200).collect();
        let mut next = list.clone();
        next.set(130, 7);
        assert_eq!((list[130], next[130], next[131]), (130, 7, 131));
        let shared = list.0.iter().zip(&next.0).filter(|(a, b)| Arc::ptr_eq(a, b)).count();
        assert_eq!((list.0.len(), shared), (4, 3));
        assert!(std::ptr::eq(&list[131], &next[131]), "and of that one all entries but one");
    }
}
