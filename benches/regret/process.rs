//! A Gaussian process over a few thousand observations, in plain arithmetic: the same bits on every machine.

/// The observations' covariance with their noise, as the product of a lower triangle and its transpose (Cholesky).
pub(crate) struct Gaussian {
    /// Row i has i + 1 figures.
    lower: Vec<Vec<f64>>,
}

impl Gaussian {
    pub(crate) fn new(covariance: impl Fn(usize, usize) -> f64, noise: &[f64]) -> Self {
        let mut lower: Vec<Vec<f64>> = Vec::with_capacity(noise.len());
        for (i, noise) in noise.iter().enumerate() {
            let mut row = Vec::with_capacity(i + 1);
            for (j, other) in lower.iter().enumerate() {
                row.push((covariance(i, j) - dot(&row, &other[..j])) / other[j]);
            }
            row.push((covariance(i, i) + noise - dot(&row, &row)).sqrt());
            lower.push(row);
        }
        Self { lower }
    }

    /// What each observation weighs in the mean: the covariance's inverse times the observations.
    pub(crate) fn weights(&self, observed: &[f64]) -> Vec<f64> {
        let mut half = Vec::with_capacity(observed.len());
        for (row, observed) in self.lower.iter().zip(observed) {
            half.push((observed - dot(&row[..half.len()], &half)) / row[half.len()]);
        }
        for i in (0..half.len()).rev() {
            let row = &self.lower[i];
            half[i] /= row[i];
            let weight = half[i];
            half[..i].iter_mut().zip(row).for_each(|(above, figure)| *above -= figure * weight);
        }
        half
    }

    /// By how much the process misses each observation when it has not seen it.
    pub(crate) fn left_out(&self, observed: &[f64]) -> Vec<f64> {
        let weights = self.weights(observed).into_iter().enumerate();
        weights.map(|(at, weight)| weight / self.inverse_at(at)).collect()
    }

    /// The inverse's figure on the diagonal: the squares of a column of the triangle's inverse.
    fn inverse_at(&self, at: usize) -> f64 {
        let mut column = vec![1.0 / self.lower[at][at]];
        for row in &self.lower[at + 1..] {
            let end = at + column.len();
            column.push(-dot(&row[at..end], &column) / row[end]);
        }
        dot(&column, &column)
    }
}

/// The middle one, or the higher of the two; 0 of none.
pub(crate) fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(0.0)
}

/// Of the first figures of `a` and all of `b`, in lanes that a processor takes at once, added in one order.
fn dot(a: &[f64], b: &[f64]) -> f64 {
    const LANES: usize = 8;
    let (a, b) = (&a[..a.len().min(b.len())], &b[..a.len().min(b.len())]);
    let mut lanes = [0.0; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let rest: f64 = a_chunks.remainder().iter().zip(b_chunks.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in a_chunks.zip(b_chunks) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum::<f64>() + rest
}
