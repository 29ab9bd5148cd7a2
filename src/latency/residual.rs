//! What measured round trips between the clouds' regions add to the graph: a Gaussian process, collapsed to a table.
//!
//! The process is over pairs of places. Its covariance of (a, b) and (c, d) is e(a,c) e(b,d) + e(a,d) e(b,c) +
//! [`ALONE`] (e(a,c) + e(a,d) + e(b,c) + e(b,d) + 1), where e, the [`nearness`], is exp(−km / 2000). So its mean at (a, b)
//! comes to e(a)ᵀ W e(b) + [`ALONE`] (w·e(a) + w·e(b) + t), of which the part [`rise`] counts; with e(a) the nearness to each of the anchors, which are the
//! measured regions' places; W one figure for each pair of them; w its rows' sums; t half the sum of w.

use std::sync::LazyLock;

use super::rows;
use super::sphere::{Point, exp_of_minus};
use crate::model::Coordinates;

/// One of the process is so many ms.
pub const UNIT_MS: f64 = 30.0;
/// How much the two ends of a pair count alone, beside the pair.
pub const ALONE: f64 = 0.3;
/// On a way of so many km, half of the residual and the detour counts.
const RISE_KM: f32 = 200.0;
/// Nearness falls to 1/e over so many km.
const REACH_KM: f64 = 2_000.0;
/// The dot product is summed in so many lanes, which a processor takes at once.
const LANES: usize = 8;

/// What was learnt.
pub(super) struct Residual {
    anchors: Vec<Point>,
    /// Row by row, each of [`Self::width`].
    pairs: Box<[f32]>,
    /// Row sums.
    alone: Box<[f32]>,
    /// What all pairs have in common, in units.
    common: f32,
}

/// The built-in table (`src/latency/data/residual.csv`).
pub(super) static RESIDUAL: LazyLock<Residual> = LazyLock::new(|| {
    Residual::new(include_str!("data/residual.csv")).unwrap_or_else(|row| panic!("built-in residual: {row}"))
});

/// A place, as the process sees it.
#[derive(Debug)]
pub(super) struct Nearness {
    /// To each anchor; zeros up to a multiple of [`LANES`].
    to_anchors: Box<[f32]>,
    /// What the place adds whatever the other end, in units.
    alone: f32,
}

impl Residual {
    /// # Errors
    /// The first row that is none.
    fn new(table: &str) -> Result<Self, &str> {
        let mut anchors = Vec::new();
        let mut triangle: Vec<Vec<f32>> = Vec::new();
        for row in rows(table) {
            let (anchor, pairs) = parse_row(row).filter(|(_, pairs)| pairs.len() == anchors.len()).ok_or(row)?;
            anchors.push(anchor);
            triangle.push(pairs);
        }
        let width = anchors.len().next_multiple_of(LANES);
        let mut pairs = vec![0.0; anchors.len() * width];
        for (a, row) in triangle.iter().enumerate() {
            for (b, &figure) in row.iter().enumerate() {
                (pairs[a * width + b], pairs[b * width + a]) = (figure, figure);
            }
        }
        let mut alone: Box<[f32]> = pairs.chunks(width.max(1)).map(|row| row.iter().sum()).collect();
        let common = ALONE as f32 * alone.iter().sum::<f32>() / 2.0;
        alone.iter_mut().for_each(|sum| *sum *= ALONE as f32);
        Ok(Self { anchors, pairs: pairs.into(), alone, common })
    }

    fn width(&self) -> usize {
        self.anchors.len().next_multiple_of(LANES)
    }

    /// How near a place is to each anchor.
    pub(super) fn nearness(&self, at: Point) -> Nearness {
        let mut to_anchors = vec![0.0; self.width()];
        for (nearness, &anchor) in to_anchors.iter_mut().zip(&self.anchors) {
            *nearness = near(at, anchor) as f32;
        }
        let alone = to_anchors.iter().zip(&self.alone).map(|(near, alone)| near * alone).sum();
        Nearness { to_anchors: to_anchors.into(), alone }
    }

    /// What a place makes of the nearness of another: W e, by anchor.
    pub(super) fn weights(&self, place: &Nearness) -> Box<[f32]> {
        let mut weights = vec![0.0; self.width()];
        for (weight, row) in weights.iter_mut().zip(self.pairs.chunks(self.width().max(1))) {
            *weight = dot(row, &place.to_anchors);
        }
        weights.into()
    }

    /// The residual between two places far apart in ms, of which the second has such weights.
    pub(super) fn between_ms(&self, a: &Nearness, b: &Nearness, weights_of_b: &[f32]) -> f32 {
        UNIT_MS as f32 * (dot(&a.to_anchors, weights_of_b) + a.alone + b.alone + self.common)
    }
}

/// The part of residual and detour that counts on a way of this length, in km: what stays in one city goes nowhere else
/// and misses nothing, whatever is missing abroad.
#[must_use]
pub fn rise(way_km: f32) -> f32 {
    way_km / (way_km + RISE_KM)
}

/// How near two places are to each other, 0 to 1: what the process's covariance is made of; none where one is no place.
#[must_use]
pub fn nearness(a: Coordinates, b: Coordinates) -> Option<f64> {
    Some(near(Point::new(a)?, Point::new(b)?))
}

fn near(a: Point, b: Point) -> f64 {
    exp_of_minus(a.distance_km(b) / REACH_KM)
}

/// In one order of additions whatever the processor.
fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    for (a, b) in a.chunks_exact(LANES).zip(b.chunks_exact(LANES)) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    lanes.iter().sum()
}

/// An anchor, and its figures with those before it.
fn parse_row(row: &str) -> Option<(Point, Vec<f32>)> {
    let mut columns = row.split(',');
    let at = Coordinates::new(columns.next()?.parse().ok()?, columns.next()?.parse().ok()?)?;
    let pairs = columns.map(|figure| figure.parse().ok().filter(|figure: &f32| figure.is_finite()));
    Some((Point::new(at)?, pairs.collect::<Option<_>>()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "# Made up.\nlatitude,longitude,pairs\n0,0\n0,90,0.5\n0,-90,-0.25,1\n";

    #[test]
    fn a_table_says_what_its_process_says() {
        let table = Residual::new(TABLE).unwrap_or_else(|row| panic!("{row}"));
        let [a, b] = [(10.0, 20.0), (-30.0, 100.0)].map(|(lat, lon)| Coordinates::new(lat, lon).unwrap());
        let anchors = [0.0, 90.0, -90.0].map(|longitude| Coordinates::new(0.0, longitude).unwrap());
        let mut sum = 0.0;
        for (c, d, figure) in [(0, 1, 0.5), (0, 2, -0.25), (1, 2, 1.0)] {
            let e = |x, y: usize| nearness(x, anchors[y]).unwrap();
            let pair = e(a, c) * e(b, d) + e(a, d) * e(b, c);
            sum += figure * (pair + ALONE * (e(a, c) + e(a, d) + e(b, c) + e(b, d) + 1.0));
        }
        let [a, b] = [a, b].map(|at| table.nearness(Point::new(at).unwrap()));
        for (a, b) in [(&a, &b), (&b, &a)] {
            let found = f64::from(table.between_ms(a, b, &table.weights(b)));
            assert!((found - UNIT_MS * sum).abs() < 1e-3, "{found} {}", UNIT_MS * sum);
        }
    }

    #[test]
    fn rows_that_are_none_are_named() {
        for row in ["0,0,1", "0", "91,0", "0,0,NaN", "0,0,"] {
            let table = format!("latitude,longitude,pairs\n{row}\n");
            assert_eq!(Residual::new(&table).err(), Some(row));
        }
        assert!(Residual::new("latitude,longitude,pairs\n").is_ok_and(|empty| empty.common == 0.0));
    }

    #[test]
    fn nearness_is_of_places() {
        let at = |latitude, longitude| Coordinates { latitude, longitude };
        assert_eq!(nearness(at(10.0, 20.0), at(10.0, 20.0)), Some(1.0));
        assert!((nearness(at(0.0, 0.0), at(0.0, 180.0)).unwrap() - 4.5e-5).abs() < 1e-6);
        assert_eq!(nearness(at(f32::NAN, 0.0), at(0.0, 0.0)), None);
        assert_eq!([0.0, RISE_KM].map(rise), [0.0, 0.5]);
    }
}
