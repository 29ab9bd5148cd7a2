//! What the processor is asked for beyond plain arithmetic.

/// Begins to bring the cache line of `place` near, without waiting for it.
#[inline(always)]
pub fn prefetch<T>(place: &T) {
    fetch(place);
}

/// The same of an element of a table; of one that is not there, nothing comes of it.
#[inline(always)]
pub fn prefetch_in<T>(table: &[T], index: usize) {
    fetch(table.as_ptr().wrapping_add(index));
}

#[inline(always)]
fn fetch<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        #[expect(unsafe_code, reason = "measured: two misses a query are hidden")]
        // SAFETY: a prefetch reads nothing that the program sees and never faults, whatever the address.
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(place.cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// Where the first zero octet lies; `N`, a multiple of 16, where there is none.
#[inline(always)]
pub fn first_zero<const N: usize>(octets: &[u8; N]) -> usize {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_mm_cmpeq_epi8, _mm_movemask_epi8, _mm_set_epi64x, _mm_setzero_si128};
        for (at, octets) in octets.chunks_exact(16).enumerate() {
            let word = |from: usize| i64::from_le_bytes(*octets[from..].first_chunk().expect("sixteen octets"));
            #[expect(unsafe_code, reason = "measured: half the instructions of the plain way")]
            // SAFETY: SSE2 alone is used, which every x86-64 processor has.
            let zeros =
                unsafe { _mm_movemask_epi8(_mm_cmpeq_epi8(_mm_set_epi64x(word(8), word(0)), _mm_setzero_si128())) };
            if zeros != 0 {
                return at * 16 + zeros.trailing_zeros() as usize;
            }
        }
        N
    }
    #[cfg(not(target_arch = "x86_64"))]
    first_zero_plain(octets)
}

/// The same for any processor.
#[cfg(any(test, not(target_arch = "x86_64")))]
fn first_zero_plain<const N: usize>(octets: &[u8; N]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    for (at, word) in octets.chunks_exact(8).enumerate() {
        let word = u64::from_le_bytes(*word.first_chunk().expect("eight octets"));
        // The lowest bit set is that of the first zero; those above it may be wrong.
        let zeros = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if zeros != 0 {
            return at * 8 + zeros.trailing_zeros() as usize / 8;
        }
    }
    N
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_first_zero_is_found_alike(octets in prop::collection::vec(0u8..4, 48), zeros in 0usize..=48) {
            let mut octets: [u8; 48] = octets.try_into().unwrap();
            octets[zeros..].fill(0);
            let first = octets.iter().position(|&octet| octet == 0).unwrap_or(48);
            prop_assert_eq!((first_zero(&octets), first_zero_plain(&octets)), (first, first));
            let full = octets.map(|octet| octet | 0x80);
            prop_assert_eq!((first_zero(&full), first_zero_plain(&full)), (48, 48));
        }
    }
}
