//! When the next run of a check starts.
//!
//! The first round begins at once, spread over a window that is short beside `first_round`. Where
//! the interval is longer than the window, the second run comes at a random time within one
//! interval, so that checks that began together do not stay together. Then every gap is
//! interval × (1 ± jitter), or in doubt `fast_interval`.

use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use crate::config::Probe;

/// The gaps between the starts of one check.
#[derive(Debug)]
pub(super) struct Schedule {
    interval: Duration,
    /// The gap while in doubt.
    pub(super) fast: Duration,
    jitter: f64,
    window: Duration,
    /// Runs begun or planned.
    runs: u64,
    random: Random,
}

impl Schedule {
    /// `first_round` bounds the wait for all first outcomes.
    pub(super) fn new(probe: &Probe, first_round: Duration, random: Random) -> Self {
        let (interval, fast) = (probe.interval, probe.fast_interval);
        let window = interval.min(first_round / 4);
        Self { interval, fast, jitter: probe.jitter.clamp(0.0, 1.0), window, runs: 0, random }
    }

    /// From the last start (at first: from now) to the next one.
    pub(super) fn next_gap(&mut self, is_fast: bool) -> Duration {
        self.runs += 1;
        let random = self.random.next_share();
        match self.runs {
            // No longer, since detection is promised by it; shorter, lest many go in step.
            3.. if is_fast => self.fast.mul_f64(1.0 - self.jitter * random),
            1 => self.window.mul_f64(random),
            2 if self.window < self.interval => self.interval.mul_f64(random),
            _ => self.interval.mul_f64(1.0 + self.jitter * (2.0 * random - 1.0)),
        }
    }
}

/// From when on an unanswered probe raises doubt.
#[derive(Debug)]
pub(super) enum SlowAfter {
    Fixed(Duration),
    /// Four times the median of these, the latest answers' times in a ring.
    Learned {
        times: Vec<Duration>,
        next: usize,
    },
}

/// Answers whose times are remembered.
const TIMES: usize = 31;
/// What is learned is no less than this.
const LEAST: Duration = Duration::from_millis(100);

impl SlowAfter {
    /// Of that time; without one, learned.
    pub(super) fn new(fixed: Option<Duration>) -> Self {
        fixed.map_or(Self::Learned { times: Vec::new(), next: 0 }, Self::Fixed)
    }

    /// An answer took so long.
    pub(super) fn learn(&mut self, rtt: Duration) {
        let Self::Learned { times, next } = self else { return };
        if times.len() < TIMES {
            times.push(rtt);
        } else {
            times[*next] = rtt;
            *next = (*next + 1) % TIMES;
        }
    }

    /// None: nothing is known yet.
    pub(super) fn get(&self) -> Option<Duration> {
        match self {
            Self::Fixed(after) => Some(*after),
            Self::Learned { times, .. } if times.is_empty() => None,
            Self::Learned { times, .. } => {
                let mut times = times.clone();
                let middle = times.len() / 2;
                let (_, median, _) = times.select_nth_unstable(middle);
                Some((*median * 4).max(LEAST))
            }
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
        let (fast, window) = (interval, interval.min(SECOND));
        let mut schedule = Schedule { interval, fast, jitter, window, runs: 0, random: Random(seed) };
        (0..200).map(|_| schedule.next_gap(false)).collect()
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
