//! Points on the globe as unit vectors, and the functions that distances and nearness are made of.
//!
//! Nodes must decide alike, whatever machine and C library they run on. So all here is made of addition,
//! multiplication, division and square roots, which IEEE 754 rounds alike everywhere; sine, cosine, arc sine, the
//! exponential and the logarithm are power series with a fixed number of terms, good to some 13 digits.

use crate::model::Coordinates;

/// Mean earth radius in km (IUGG), twice.
const DIAMETER_KM: f64 = 2.0 * 6371.009;

/// A point on the globe: the vector to it from the earth's centre, of length 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Point([f64; 3]);

impl Point {
    /// None where the figures are out of range or none.
    pub(super) fn new(at: Coordinates) -> Option<Self> {
        let Coordinates { latitude, longitude } = Coordinates::new(at.latitude, at.longitude)?;
        let (sin_lat, cos_lat) = sin_cos(f64::from(latitude).to_radians());
        let (sin_lon, cos_lon) = sin_cos(f64::from(longitude).to_radians());
        Some(Self([cos_lat * cos_lon, cos_lat * sin_lon, sin_lat]))
    }

    /// The square of the straight line through the earth, in earth radii: compares as distances do, at less cost.
    pub(super) fn chord_squared(self, other: Self) -> f64 {
        let [x, y, z] = [0, 1, 2].map(|axis| self.0[axis] - other.0[axis]);
        x * x + y * y + z * z
    }

    /// Great-circle distance in km.
    pub(super) fn distance_km(self, other: Self) -> f64 {
        Self::chord_km(self.chord_squared(other))
    }

    /// The great circle over a chord, of which this is the square, in km.
    pub(super) fn chord_km(squared: f64) -> f64 {
        DIAMETER_KM * arc_sine((squared.sqrt() / 2.0).min(1.0))
    }
}

/// Sine and cosine of an angle between −π and π.
fn sin_cos(angle: f64) -> (f64, f64) {
    let square = angle * angle;
    // From the last term to the first, each a factor of the one before: x − x³/6 + … = x (1 − x²/6 (1 − x²/20 (1 − …
    (1..=15_i32).rev().map(|n| f64::from(2 * n)).fold((angle, 1.0), |(sin, cos), n| {
        (angle - sin * square / (n * (n + 1.0)), 1.0 - cos * square / ((n - 1.0) * n))
    })
}

/// Arc sine of a figure between 0 and 1.
fn arc_sine(figure: f64) -> f64 {
    if figure > 0.5 {
        // The series is slow there; by the half angle it is not.
        return std::f64::consts::FRAC_PI_2 - 2.0 * arc_sine_series(((1.0 - figure) / 2.0).sqrt());
    }
    arc_sine_series(figure)
}

fn arc_sine_series(figure: f64) -> f64 {
    const FACTORS: [f64; 20] = {
        let (mut factors, mut n) = ([0.0; 20], 1);
        while n <= factors.len() {
            let odd = (2 * n - 1) as f64;
            factors[n - 1] = odd * odd / ((2 * n) as f64 * (2 * n + 1) as f64);
            n += 1;
        }
        factors
    };
    let square = figure * figure;
    figure * FACTORS.iter().rev().fold(1.0_f64, |sum, factor| 1.0 + sum * square * factor)
}

/// e to the power of −`figure`, which is between 0 and some 20.
pub(super) fn exp_of_minus(figure: f64) -> f64 {
    const INVERSES: [f64; 7] = [1.0, 1.0 / 2.0, 1.0 / 3.0, 1.0 / 4.0, 1.0 / 5.0, 1.0 / 6.0, 1.0 / 7.0];
    // The series converges at once near 0: of a 1024th, and that squared ten times.
    let small = figure / 1024.0;
    let power = INVERSES.iter().rev().fold(1.0_f64, |sum, inverse| 1.0 - sum * small * inverse);
    (0..10).fold(power, |power, _| power * power)
}

/// e to the power of a figure between −20 and 20.
pub(super) fn exp(figure: f64) -> f64 {
    let power = exp_of_minus(figure.abs());
    if figure > 0.0 { 1.0 / power } else { power }
}

/// The natural logarithm of a figure over 0 that is no denormal one.
pub(super) fn ln(figure: f64) -> f64 {
    const EXPONENT: u32 = 52;
    const BIAS: i64 = 1023;
    const FACTORS: [f64; 12] = {
        let (mut factors, mut n) = ([0.0; 12], 0);
        while n < factors.len() {
            factors[n] = 1.0 / (2 * n + 1) as f64;
            n += 1;
        }
        factors
    };
    // figure = part × 2^exponent, the part between √½ and √2, where the series of 2 artanh((part − 1) / (part + 1)) is short.
    let bits = figure.to_bits();
    let mut exponent = (bits >> EXPONENT) as i64 - BIAS;
    let mut part = f64::from_bits(bits & ((1 << EXPONENT) - 1) | (BIAS as u64) << EXPONENT);
    if part > std::f64::consts::SQRT_2 {
        (part, exponent) = (part / 2.0, exponent + 1);
    }
    let ratio = (part - 1.0) / (part + 1.0);
    let series = FACTORS.iter().rev().fold(0.0, |sum, factor| factor + sum * ratio * ratio);
    2.0 * ratio * series + exponent as f64 * std::f64::consts::LN_2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_what_the_library_says() {
        for step in 0..=1_000 {
            let part = f64::from(step) / 1_000.0;
            let angle = (2.0 * part - 1.0) * std::f64::consts::PI;
            let (sin, cos) = sin_cos(angle);
            assert!((sin - angle.sin()).abs() < 1e-14 && (cos - angle.cos()).abs() < 1e-14, "{angle}");
            assert!((arc_sine(part) - part.asin()).abs() < 1e-13, "{part}");
            let figure = 20.0 * part;
            assert!((exp_of_minus(figure) / (-figure).exp() - 1.0).abs() < 1e-12, "{figure}");
            assert!((exp(figure) / figure.exp() - 1.0).abs() < 1e-12, "{figure}");
            for figure in [figure.exp(), (-figure).exp(), 1e-300 + part, 1e9 * part + 0.5] {
                assert!((ln(figure) - figure.ln()).abs() < 1e-13 * (1.0 + figure.ln().abs()), "{figure}");
            }
        }
    }

    #[test]
    fn distances_are_those_of_coordinates() {
        let corners = [-90.0, -89.9, -33.87, 0.0, 51.51, 90.0].map(f32::from);
        let points = corners.into_iter().flat_map(|latitude| {
            [-180.0, -122.3, 0.0, 103.8, 179.99, 180.0].map(|longitude| Coordinates { latitude, longitude })
        });
        let points: Vec<Coordinates> = points.collect();
        for &a in &points {
            for &b in &points {
                let km = Point::new(a).unwrap().distance_km(Point::new(b).unwrap());
                assert!((km - a.distance_km(b)).abs() < 1e-3, "{a:?} {b:?}: {km}");
            }
        }
    }

    #[test]
    fn what_is_no_place_is_no_point() {
        for (latitude, longitude) in [(f32::NAN, 0.0), (0.0, f32::INFINITY), (90.1, 0.0), (0.0, -180.1)] {
            assert_eq!(Point::new(Coordinates { latitude, longitude }), None);
        }
    }
}
