//! Who asks most: an estimate from samples, for people who look for the cause of a load.
//!
//! A worker counts one query of each batch for the whole batch, so that every query has the same chance; sources share
//! sets of four entries, in which a new one takes over the smallest ('space-saving', Metwally et al. 2005), so that a
//! source with a large share is found whatever the others do. Figures are halved every [`HALF_LIFE`] seconds.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use crate::model::Source;

const WAYS: usize = 4;
const SETS: usize = 64;
/// Seconds.
const HALF_LIFE: u32 = 10;

/// Who asks most, and whose replies are over a limit.
#[derive(Debug, Default)]
pub struct Traffic {
    /// All queries.
    pub asking: Talkers,
    /// Those whose replies were over it.
    pub limited: Talkers,
}

/// One writer's figures; anybody may read them meanwhile.
#[derive(Debug)]
pub struct Talkers {
    sources: [[AtomicU64; WAYS]; SETS],
    counts: [[AtomicU64; WAYS]; SETS],
    /// When they were halved last, in seconds as the writer counts them.
    halved: AtomicU32,
}

impl Default for Talkers {
    fn default() -> Self {
        let zeros = || std::array::from_fn(|_| std::array::from_fn(|_| AtomicU64::new(0)));
        Self { sources: zeros(), counts: zeros(), halved: AtomicU32::new(0) }
    }
}

impl Talkers {
    /// Counts `weight` queries of one source at `now`, in seconds. By the writer alone.
    pub fn count(&self, source: Source, weight: u64, now: u32) {
        let since = now.wrapping_sub(self.halved.load(Ordering::Relaxed));
        if since >= HALF_LIFE {
            self.halve(since / HALF_LIFE);
            self.halved.store(now, Ordering::Relaxed);
        }
        let number = source.number();
        let set = (number.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (u64::BITS - SETS.trailing_zeros())) as usize;
        let (sources, counts) = (&self.sources[set], &self.counts[set]);
        let known = sources.iter().position(|known| known.load(Ordering::Relaxed) == number);
        let way = known.unwrap_or_else(|| {
            let smallest = (0..WAYS).min_by_key(|&way| counts[way].load(Ordering::Relaxed)).expect("it has entries");
            sources[smallest].store(number, Ordering::Relaxed);
            smallest
        });
        counts[way].store(counts[way].load(Ordering::Relaxed) + weight, Ordering::Relaxed);
    }

    fn halve(&self, times: u32) {
        for count in self.counts.iter().flatten() {
            count.store(count.load(Ordering::Relaxed).checked_shr(times).unwrap_or(0), Ordering::Relaxed);
        }
    }

    /// Each source with its queries a second, as estimated at `now`; those too many by what others had before them.
    pub fn rates(&self, now: u32) -> impl Iterator<Item = (Source, f64)> {
        let since = now.wrapping_sub(self.halved.load(Ordering::Relaxed));
        // Asked evenly, a figure was that of one half-life when it was halved, and has grown since.
        let (decay, seconds) = (0.5_f64.powi((since / HALF_LIFE) as i32), f64::from(HALF_LIFE + since.min(HALF_LIFE)));
        let rate = move |(source, count): (&AtomicU64, &AtomicU64)| {
            let rate = count.load(Ordering::Relaxed) as f64 * decay / seconds;
            Source::from_number(source.load(Ordering::Relaxed)).map(|source| (source, rate)).filter(|_| rate > 0.0)
        };
        self.sources.iter().flatten().zip(self.counts.iter().flatten()).filter_map(rate)
    }
}
