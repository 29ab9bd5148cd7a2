//! SipHash-2-4 (Aumasson and Bernstein, 2012) of several messages side by side.
//!
//! A hash is a chain of steps that each wait for the one before; the steps of several fill the waiting. The crates
//! there are hash one message at a time.

/// The rounds' constants: "somepseudorandomlygeneratedbytes".
const INITIAL: [u64; 4] = [0x736f_6d65_7073_6575, 0x646f_7261_6e64_6f6d, 0x6c79_6765_6e65_7261, 0x7465_6462_7974_6573];

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

#[cfg(test)]
mod tests {
    use std::hash::Hasher;

    use proptest::prelude::*;
    use siphasher::sip::SipHasher24;

    use super::hash;

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
            prop_assert_eq!(hash(&key, &blocks.map(|[first, ..]| [first])), [expected[0]]);
        }
    }
}
