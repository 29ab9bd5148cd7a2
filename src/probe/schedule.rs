//! When the next run of a check starts.
//!
//! The first round begins at once, spread over a window that is short beside `first_round`. Where
//! the interval is longer than the window, the second run comes at a random time within one
//! interval, so that checks that began together do not stay together. Then every gap is
//! interval × (1 ± jitter).

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

/// The gaps between the starts of one check.
#[derive(Debug)]
pub(super) struct Schedule {
    interval: Duration,
    jitter: f64,
    window: Duration,
    /// Runs begun or planned.
    runs: u64,
    random: Random,
}

impl Schedule {
    /// `first_round` bounds the wait for all first outcomes.
    pub(super) fn new(interval: Duration, jitter: f64, first_round: Duration, random: Random) -> Self {
        let window = interval.min(first_round / 4);
        Self { interval, jitter: jitter.clamp(0.0, 1.0), window, runs: 0, random }
    }

    /// From the last start (at first: from now) to the next one.
    pub(super) fn next_gap(&mut self) -> Duration {
        self.runs += 1;
        let random = self.random.next_share();
        match self.runs {
            1 => self.window.mul_f64(random),
            2 if self.window < self.interval => self.interval.mul_f64(random),
            _ => self.interval.mul_f64(1.0 + self.jitter * (2.0 * random - 1.0)),
        }
    }
}

/// SplitMix64: enough to spread probes. Source: Steele, Lea, Flood, "Fast splittable pseudorandom
/// number generators", OOPSLA 2014.
#[derive(Debug)]
pub(super) struct Random(pub(super) u64);

impl Random {
    /// Another one for every caller and process.
    pub(super) fn seeded() -> Self {
        Self(RandomState::new().hash_one(0))
    }

    /// From 0 to below 1.
    fn next_share(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^= bits >> 31;
        (bits >> 11) as f64 / (1_u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn gaps(interval: Duration, jitter: f64, seed: u64) -> Vec<Duration> {
        let mut schedule = Schedule::new(interval, jitter, 4 * SECOND, Random(seed));
        (0..200).map(|_| schedule.next_gap()).collect()
    }

    #[test]
    fn the_first_round_is_early_and_gaps_stay_within_their_bounds() {
        let mut firsts = Vec::new();
        for seed in 0..200 {
            let gaps = gaps(10 * SECOND, 0.2, seed);
            assert!(gaps[0] < SECOND && gaps[1] < 10 * SECOND);
            assert!(gaps[2..].iter().all(|gap| (8 * SECOND..=12 * SECOND).contains(gap)));
            let (low, high) = (gaps[2..].iter().min().unwrap(), gaps[2..].iter().max().unwrap());
            assert!(*low < 9 * SECOND && *high > 11 * SECOND, "jitter uses its range: {low:?} {high:?}");
            firsts.push(gaps[0]);
        }
        firsts.sort();
        assert!(firsts[0] < SECOND / 10 && firsts[199] > SECOND * 9 / 10, "the window is used");
    }

    #[test]
    fn without_jitter_gaps_are_the_interval() {
        let gaps = gaps(SECOND, 0.0, 7);
        assert!(gaps[0] < SECOND);
        assert!(gaps[1..].iter().all(|gap| *gap == SECOND));
    }
}
