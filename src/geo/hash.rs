//! Hash maps of small integers, millions of look-ups a compile: a multiplication a word is enough.
//!
//! Keys are ids that we give out and offsets into the operator's own file: a file made to collide
//! slows its own compile down, off the path that answers.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map whose keys are integers or tuples of them.
pub(super) type IntMap<K, V> = HashMap<K, V, BuildHasherDefault<IntHasher>>;

/// Multiplies and folds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct IntHasher(u64);

/// 2⁶⁴ ÷ the golden ratio, odd.
const FACTOR: u64 = 0x9e37_79b9_7f4a_7c15;

impl Hasher for IntHasher {
    fn write(&mut self, bytes: &[u8]) {
        for &octet in bytes {
            self.write_u64(octet.into());
        }
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(word.into());
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_u64(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word).wrapping_mul(u128::from(FACTOR));
        self.0 = product as u64 ^ (product >> 64) as u64 ^ self.0.rotate_left(23);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
