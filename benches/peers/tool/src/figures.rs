//! From slices to figures.

use crate::queries::Draw;

/// One target's costs, in nanoseconds an answer, a slice each.
pub type Costs = Vec<f64>;

/// The share `at` (0..=1) of sorted figures lies below this one.
pub fn quantile(sorted: &[f64], at: f64) -> f64 {
    sorted.get(((sorted.len() as f64 - 1.0) * at).round() as usize).copied().unwrap_or(f64::NAN)
}

pub fn sorted(figures: &[f64]) -> Vec<f64> {
    let mut figures = figures.to_vec();
    figures.sort_by(f64::total_cmp);
    figures
}

/// What is judged: the 20th percentile. Disturbance only ever adds, so means and medians wander with it.
pub fn level(costs: &[f64]) -> f64 {
    quantile(&sorted(costs), 0.2)
}

/// The ratio of two levels, with a 95 % interval by bootstrap over slices.
pub fn ratio(costs: &[f64], base: &[f64]) -> (f64, f64, f64) {
    let mut draw = Draw(42);
    let mut again = |costs: &[f64]| -> Vec<f64> {
        costs.iter().map(|_| costs[draw.below(costs.len() as u64) as usize]).collect()
    };
    let ratios: Vec<f64> = (0..1000).map(|_| level(&again(costs)) / level(&again(base))).collect();
    let ratios = sorted(&ratios);
    (level(costs) / level(base), quantile(&ratios, 0.025), quantile(&ratios, 0.975))
}
