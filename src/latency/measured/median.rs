//! Medians of weighted figures: what most say, however far off the others are.

/// A figure and its weight.
pub(super) type Weighted = (f64, f64);

/// The least figure that at least half of all weight does not exceed; none of no weight. Leaves the figures sorted.
///
/// Of two figures of one weight it is the lower: round trips err upwards.
pub(super) fn median(figures: &mut [Weighted]) -> Option<f64> {
    figures.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
    let half = figures.iter().map(|(_, weight)| weight).sum::<f64>() / 2.0;
    let mut below = 0.0;
    let reaches_half = |&&(_, weight): &&Weighted| {
        below += weight;
        below >= half
    };
    figures.iter().find(reaches_half).map(|(figure, _)| *figure).filter(|_| half > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn medians() {
        assert_eq!(median(&mut []), None);
        assert_eq!(median(&mut [(1.0, 0.0)]), None);
        assert_eq!(median(&mut [(3.0, 1.0), (1.0, 1.0), (900.0, 1.0)]), Some(3.0));
        assert_eq!(median(&mut [(2.0, 1.0), (1.0, 1.0)]), Some(1.0));
        assert_eq!(median(&mut [(1.0, 1.0), (2.0, 1.0), (3.0, 2.5)]), Some(3.0));
    }
}
