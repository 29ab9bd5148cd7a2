//! Octets read in wide steps.

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
