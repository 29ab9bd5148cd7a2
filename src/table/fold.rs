//! A hash of short keys by multiplication. They are of our own making, so none is made to collide.

/// Multiplies and folds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fold(pub(super) u64);

impl Fold {
    #[inline]
    pub(super) fn word(&mut self, word: u64) {
        let product = u128::from(self.0 ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = product as u64 ^ (product >> 64) as u64 ^ self.0.rotate_left(23);
    }
}

/// The hash of octets.
#[inline]
pub(super) fn fold(octets: &[u8]) -> u64 {
    let mut fold = Fold::default();
    let (words, rest) = octets.as_chunks::<8>();
    words.iter().for_each(|word| fold.word(u64::from_le_bytes(*word)));
    if !rest.is_empty() {
        let mut word = [0; 8];
        word[..rest.len()].copy_from_slice(rest);
        fold.word(u64::from_le_bytes(word));
    }
    fold.0
}
