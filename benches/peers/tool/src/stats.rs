//! The statistic of the verdict.

use crate::draw::Draw;

/// The share of slices that other programs, the hypervisor and cold caches have left alone is large
/// enough at this percentile, and it moves less than the minimum does.
const PERCENTILE: f64 = 0.2;
const RESAMPLES: usize = 2_000;
/// Slices of one server in a block.
const BLOCK: usize = 2;

/// Of sorted figures, between neighbours by proportion; 0 for none.
pub fn percentile(sorted: &[f64], share: f64) -> f64 {
    let Some(last) = sorted.len().checked_sub(1) else { return 0.0 };
    let place = last as f64 * share;
    let (below, part) = (place as usize, place.fract());
    sorted[below] + (sorted[(below + 1).min(last)] - sorted[below]) * part
}

/// What a server's answer costs: the 20th percentile of its slices.
pub fn cost(slices: &[f64]) -> f64 {
    let mut sorted = slices.to_vec();
    sorted.sort_by(f64::total_cmp);
    percentile(&sorted, PERCENTILE)
}

/// A ratio with its 95 % interval.
pub struct Ratio {
    pub value: f64,
    pub low: f64,
    pub high: f64,
}

/// How many times `base`'s cost `other` is; the interval by drawing whole blocks again and again, so
/// that what drifts slower than a block takes both.
pub fn ratio(base: &[f64], other: &[f64]) -> Ratio {
    let blocks = base.len().min(other.len()) / BLOCK;
    let mut draw = Draw::new(1);
    let mut ratios: Vec<f64> = (0..RESAMPLES)
        .map(|_| {
            let drawn: Vec<usize> = (0..blocks).map(|_| draw.below(blocks as u64) as usize * BLOCK).collect();
            let of =
                |slices: &[f64]| -> Vec<f64> { drawn.iter().flat_map(|&at| slices[at..at + BLOCK].to_vec()).collect() };
            cost(&of(other)) / cost(&of(base))
        })
        .collect();
    ratios.sort_by(f64::total_cmp);
    Ratio { value: cost(other) / cost(base), low: percentile(&ratios, 0.025), high: percentile(&ratios, 0.975) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_lie_between_neighbours() {
        assert_eq!(percentile(&[1.0, 2.0, 3.0], 0.5), 2.0);
        assert_eq!(percentile(&[1.0, 2.0], 0.25), 1.25);
        assert_eq!(percentile(&[], 0.5), 0.0);
    }

    #[test]
    fn the_interval_holds_the_truth_and_is_narrow() {
        let mut draw = Draw::new(7);
        let mut noisy = |level: f64| -> Vec<f64> {
            (0..400).map(|_| level * (1.0 + draw.below(1_000) as f64 / 20_000.0)).collect()
        };
        let Ratio { value, low, high } = ratio(&noisy(3_000.0), &noisy(3_300.0));
        assert!(low <= 1.1 && 1.1 <= high && low <= value && value <= high, "{low} {value} {high}");
        assert!(high - low < 0.01, "{low} {high}");
    }
}
