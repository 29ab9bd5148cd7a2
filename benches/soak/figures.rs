//! Latencies in microseconds, as they are reported.

use std::time::Duration;

/// All latencies of a run, in nanoseconds.
#[derive(Default)]
pub(crate) struct Figures(Vec<u32>);

impl Figures {
    pub(crate) fn add(&mut self, latency: Duration) {
        self.0.push(u32::try_from(latency.as_nanos()).unwrap_or(u32::MAX));
    }

    pub(crate) fn count(&self) -> usize {
        self.0.len()
    }

    /// The latencies below which these shares lie, in microseconds; NaN where there are none.
    pub(crate) fn quantiles<const N: usize>(&mut self, shares: [f64; N]) -> [f64; N] {
        self.0.sort_unstable();
        shares.map(|share| {
            let at = ((self.0.len() as f64 * share) as usize).min(self.0.len().saturating_sub(1));
            self.0.get(at).map_or(f64::NAN, |nanos| f64::from(*nanos) / 1000.0)
        })
    }
}
