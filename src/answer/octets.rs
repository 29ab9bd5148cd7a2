//! Octets read in wide steps.

use crate::table::HOT_NAME;

/// The big-endian number at `at`, all of which is inside.
#[inline(always)]
pub(super) fn u64_at(octets: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(*octets[at..].first_chunk().expect("a slot goes on behind the longest message"))
}

/// As [`u64_at`].
#[inline(always)]
pub(super) fn u32_at(octets: &[u8], at: usize) -> u32 {
    u32::from_be_bytes(*octets[at..].first_chunk().expect("a slot goes on behind the longest message"))
}

/// Where the first zero octet lies; the length where there is none.
#[inline(always)]
pub(super) fn first_zero(window: &[u8; HOT_NAME]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    for (at, word) in window.chunks_exact(8).enumerate() {
        let word = u64::from_le_bytes(*word.first_chunk().expect("eight octets"));
        // The lowest bit set is that of the first zero; those above it may be wrong.
        let zeros = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if zeros != 0 {
            return at * 8 + zeros.trailing_zeros() as usize / 8;
        }
    }
    HOT_NAME
}
