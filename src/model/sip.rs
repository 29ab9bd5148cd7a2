//! SipHash-2-4 (Aumasson and Bernstein, 2012) of several messages side by side.
//!
//! A hash is a chain of steps that each wait for the one before; the steps of several fill the waiting. The crates
//! there are hash one message at a time. Four at once are a step of AVX2 each: the compiler does not see it by itself.

/// The rounds' constants: "somepseudorandomlygeneratedbytes".
const INITIAL: [u64; 4] = [0x736f_6d65_7073_6575, 0x646f_7261_6e64_6f6d, 0x6c79_6765_6e65_7261, 0x7465_6462_7974_6573];

/// The hashes of four messages, as [`hash`] has them.
#[inline(always)]
pub(super) fn hash_four<const BLOCKS: usize>(key: &[u8; 16], messages: &[[u64; 4]; BLOCKS]) -> [u64; 4] {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        #[expect(unsafe_code, reason = "measured: see benches/instructions")]
        // SAFETY: the processor has AVX2.
        return unsafe { avx2::hash(key, messages) };
    }
    hash(key, messages)
}

/// The hashes of `LANES` messages. Each message is `BLOCKS` numbers of eight octets, little end first, the last of
/// which ends with its length in octets.
#[inline(always)]
pub(super) fn hash<const LANES: usize, const BLOCKS: usize>(
    key: &[u8; 16],
    messages: &[[u64; LANES]; BLOCKS],
) -> [u64; LANES] {
    let (first, second) = key.split_at(8);
    let keys = [first, second].map(|half| u64::from_le_bytes(half.try_into().expect("a half of it")));
    let mut state = [[0; LANES]; 4];
    for (nth, lanes) in state.iter_mut().enumerate() {
        *lanes = [INITIAL[nth] ^ keys[nth % 2]; LANES];
    }
    for block in messages {
        state[3] = each(state[3], *block, |a, b| a ^ b);
        round(&mut state);
        round(&mut state);
        state[0] = each(state[0], *block, |a, b| a ^ b);
    }
    state[2] = state[2].map(|lane| lane ^ 0xff);
    for _ in 0..4 {
        round(&mut state);
    }
    let [a, b, c, d] = state;
    each(each(a, b, |a, b| a ^ b), each(c, d, |a, b| a ^ b), |a, b| a ^ b)
}

#[inline(always)]
fn round<const LANES: usize>([v0, v1, v2, v3]: &mut [[u64; LANES]; 4]) {
    let mix = |a: &mut [u64; LANES], b: &mut [u64; LANES], turn: u32| {
        *a = each(*a, *b, u64::wrapping_add);
        *b = each(b.map(|lane| lane.rotate_left(turn)), *a, |a, b| a ^ b);
    };
    let half = |lanes: &mut [u64; LANES]| *lanes = lanes.map(|lane| lane.rotate_left(32));
    mix(v0, v1, 13);
    half(v0);
    mix(v2, v3, 16);
    mix(v0, v3, 21);
    mix(v2, v1, 17);
    half(v2);
}

#[inline(always)]
fn each<const LANES: usize>(a: [u64; LANES], b: [u64; LANES], of: impl Fn(u64, u64) -> u64) -> [u64; LANES] {
    let mut result = a;
    for (a, b) in result.iter_mut().zip(b) {
        *a = of(*a, b);
    }
    result
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::{
        __m256i, _mm256_add_epi64, _mm256_or_si256, _mm256_set_epi64x, _mm256_set1_epi64x, _mm256_shuffle_epi32,
        _mm256_slli_epi64, _mm256_srli_epi64, _mm256_xor_si256,
    };

    use super::INITIAL;

    /// As above, a register for each part of the four states.
    #[target_feature(enable = "avx2")]
    pub(super) fn hash<const BLOCKS: usize>(key: &[u8; 16], messages: &[[u64; 4]; BLOCKS]) -> [u64; 4] {
        let (first, second) = key.split_at(8);
        let keys = [first, second].map(|half| u64::from_le_bytes(half.try_into().expect("a half of it")));
        let mut state = [_mm256_set1_epi64x(0); 4];
        for (nth, lanes) in state.iter_mut().enumerate() {
            *lanes = _mm256_set1_epi64x((INITIAL[nth] ^ keys[nth % 2]) as i64);
        }
        for block in messages {
            let [a, b, c, d] = block.map(|lane| lane as i64);
            let block = _mm256_set_epi64x(d, c, b, a);
            state[3] = _mm256_xor_si256(state[3], block);
            round(&mut state);
            round(&mut state);
            state[0] = _mm256_xor_si256(state[0], block);
        }
        state[2] = _mm256_xor_si256(state[2], _mm256_set1_epi64x(0xff));
        for _ in 0..4 {
            round(&mut state);
        }
        let [a, b, c, d] = state;
        zerocopy::transmute!(_mm256_xor_si256(_mm256_xor_si256(a, b), _mm256_xor_si256(c, d)))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn round([v0, v1, v2, v3]: &mut [__m256i; 4]) {
        mix::<13, 51>(v0, v1);
        *v0 = _mm256_shuffle_epi32::<HALVES>(*v0);
        mix::<16, 48>(v2, v3);
        mix::<21, 43>(v0, v3);
        mix::<17, 47>(v2, v1);
        *v2 = _mm256_shuffle_epi32::<HALVES>(*v2);
    }

    /// The two halves of each lane change places.
    const HALVES: i32 = 0b10_11_00_01;

    /// `b` is turned by `LEFT`; `RIGHT` is 64 less that.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn mix<const LEFT: i32, const RIGHT: i32>(a: &mut __m256i, b: &mut __m256i) {
        *a = _mm256_add_epi64(*a, *b);
        let turned = _mm256_or_si256(_mm256_slli_epi64::<LEFT>(*b), _mm256_srli_epi64::<RIGHT>(*b));
        *b = _mm256_xor_si256(turned, *a);
    }
}

#[cfg(test)]
mod tests {
    use std::hash::Hasher;

    use proptest::prelude::*;
    use siphasher::sip::SipHasher24;

    use super::{hash, hash_four};

    proptest! {
        #[test]
        fn lanes_are_what_the_reference_has(key: [u8; 16], texts: [[u8; 31]; 4]) {
            let block = |text: &[u8; 31], nth: usize| {
                let mut octets = [0; 32];
                octets[..31].copy_from_slice(text);
                octets[31] = 31;
                u64::from_le_bytes(octets[8 * nth..][..8].try_into().unwrap())
            };
            let blocks: [[u64; 4]; 4] = std::array::from_fn(|nth| texts.each_ref().map(|text| block(text, nth)));
            let expected = texts.map(|text| {
                let mut hasher = SipHasher24::new_with_key(&key);
                hasher.write(&text);
                hasher.finish()
            });
            prop_assert_eq!(hash(&key, &blocks), expected);
            prop_assert_eq!(hash_four(&key, &blocks), expected);
            prop_assert_eq!(hash(&key, &blocks.map(|[first, ..]| [first])), [expected[0]]);
        }
    }
}
