//! What a browser would measure, drawn from the table: for stores in this process and over the wire alike.
//!
//! A sample is the table's round trip, times 1 and a part (a tenth, `--noise` per cent) of Student's t with four degrees of
//! freedom, one in fifty 2 to 6 times as long; to all of one session the client's last mile is added, 15 ms in the median, and
//! to all of one region its server's time, up to 40 ms.

use crate::judge::Random;

/// Sites in a session.
pub(crate) const CANDIDATES: usize = 3;

/// What a region's server takes, whoever measures, ms.
pub(crate) fn bias_ms(random: &mut Random) -> f64 {
    40.0 * random.unit()
}

/// How much farther a region that has moved is for a client, ms: for a quarter of these; none for the others.
pub(crate) fn farther_ms(random: &mut Random) -> Option<f32> {
    (random.below(4) == 0).then(|| (40.0 + 110.0 * random.unit()) as f32)
}

/// Of these regions those that the prior has for the nearest.
pub(crate) fn nearest(mut regions: Vec<usize>, prior_ms: impl Fn(usize) -> f32) -> Vec<usize> {
    regions.sort_by(|a, b| prior_ms(*a).total_cmp(&prior_ms(*b)));
    regions.truncate(CANDIDATES);
    regions
}

/// One session's samples, ms, of ways each with its round trip and its server's bias. `noise`: how far off samples are, in parts
/// of the round trip.
pub(crate) fn session(ways: &[(f32, f64)], noise: f64, random: &mut Random) -> Vec<f32> {
    let last_mile_ms = (15.0 * (0.6 * random.normal()).exp()) as f32;
    let bias_ms = ways.iter().map(|(_, bias_ms)| *bias_ms as f32);
    table(ways, noise, random).into_iter().zip(bias_ms).map(|(ms, bias_ms)| ms + bias_ms + last_mile_ms).collect()
}

/// The same without last mile and biases, as a table has them.
pub(crate) fn table(ways: &[(f32, f64)], noise: f64, random: &mut Random) -> Vec<f32> {
    let sample = |&(truth_ms, _): &(f32, f64)| {
        let squares: f64 = (0..4).map(|_| random.normal().powi(2)).sum();
        let noise = (1.0 + noise * random.normal() / (squares / 4.0).sqrt()).max(0.3);
        let outlier = if random.below(50) == 0 { 2.0 + 4.0 * random.unit() } else { 1.0 };
        (f64::from(truth_ms) * noise * outlier) as f32
    };
    ways.iter().map(sample).collect()
}
