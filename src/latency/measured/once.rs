//! What a prefix says that has measured once.
//!
//! Nothing contradicts what is far off in a lone session: a round trip twice as long as expected is a way that is so, or a packet
//! that was lost. Both are about as likely, and what is most likely (`solve`) is then no good guess. So here all round
//! trips that could be are weighed by how likely they are, and their mean is said: whoever chooses by that loses least where it is
//! wrong. A second session that says the same is believed, by `solve`.
//!
//! For each offset that the session could have, sites do not depend on each other. So for each, the mean round trip to a site is
//! a sum over a scale of round trips, of how likely each is by what was expected and the sample by it; and offsets are weighed
//! by how likely the session is as a whole.

use super::solve::{CLOCK_MS, Case, NOISE, Offset, Sample, Told, squared};
use crate::latency::sphere::exp;

/// So many round trips are looked at, from the least to the most of what is expected, in steps as wide as samples are wrong …
const STEPS: usize = 31;
/// … in logarithms.
const LEAST: f64 = -1.5;
const STEP: f64 = 0.12;
/// One sample of so many is two to six times as long as the others: a packet was lost.
const LOST: f64 = 1.0 / 50.0;
const LOST_TIMES: [f64; 2] = [2.0, 6.0];
/// Offsets are looked at by which one of the sites would be so many spreads off what is expected.
const SPREADS: [f64; 7] = [-3.0, -1.5, -0.7, 0.0, 0.7, 1.5, 3.0];
/// Ways are longer than they should be, by far now and then, and hardly ever shorter: so many times as far off upwards. (From 1.5
/// to 2.5 it makes little difference.)
const UPWARDS: f64 = 2.0;
/// No site is taken to be expected so badly that these would lie beyond the scale.
const MOST_SPREAD: f64 = 0.6;

/// One round trip that a site could have.
#[derive(Clone, Copy, Default)]
struct Could {
    ms: f64,
    /// By what was expected; of all together 1.
    likely: f64,
    /// Of samples of it, by their scale.
    per_noise_ms: f64,
}

/// All that one site could have.
type Scale = [Could; STEPS];

impl Case {
    /// Of a prefix that measured once: the mean of what it could have meant. As this gets older it says less.
    pub(super) fn average(&mut self) {
        let [sitting] = &*self.sittings else { return };
        if self.samples.len() > self.told().count() {
            return; // absolute ones, some of one site: these can contradict each other
        }
        let scales: Vec<Scale> = self.samples.iter().map(|sample| scale(&self.told[sample.site])).collect();
        let offsets = match sitting.offset {
            Offset::None => vec![0.0],
            Offset::Least | Offset::Ms(_) => self.offsets(),
        };
        let mut sum = 0.0;
        let mut sums = vec![0.0; scales.len()];
        let mut means = vec![0.0; scales.len()];
        for (at, &offset_ms) in offsets.iter().enumerate() {
            let mut likely = width(&offsets, at);
            for ((sample, scale), mean) in self.samples.iter().zip(&scales).zip(&mut means) {
                let (of_site, ms) = likely_and_mean(scale, sample.ms - offset_ms);
                (likely, *mean) = (likely * of_site, ms);
            }
            sum += likely;
            sums.iter_mut().zip(&means).for_each(|(sum, mean)| *sum += likely * mean);
        }
        for (Sample { site, aged, .. }, sum_ms) in self.samples.iter().zip(sums) {
            let told = &mut self.told[*site];
            let expected_ms = told.expected.ms();
            let ms = expected_ms + aged * (sum_ms / sum - expected_ms);
            told.ms = if ms.is_finite() { ms.max(told.least_ms()) } else { told.ms };
        }
    }

    /// The offsets that the session could have, ascending.
    fn offsets(&self) -> Vec<f64> {
        let by_site = |sample: &Sample| {
            let (ms, expected) = (sample.ms, self.told[sample.site].expected);
            let spread = (expected.spread_ms() / expected.ms()).min(MOST_SPREAD);
            SPREADS.map(|spreads| (ms - expected.ms() * exp(spreads * spread)).max(0.0))
        };
        let mut offsets: Vec<f64> = self.samples.iter().flat_map(by_site).collect();
        offsets.sort_unstable_by(f64::total_cmp);
        offsets.dedup();
        offsets
    }
}

/// How much of all offsets one of these stands for, ms.
fn width(offsets: &[f64], at: usize) -> f64 {
    let (last, next) = (at.saturating_sub(1), (at + 1).min(offsets.len() - 1));
    if last == next { 1.0 } else { (offsets[next] - offsets[last]) / 2.0 }
}

fn scale(told: &Told) -> Scale {
    let expected_ms = told.expected.ms();
    let spread = told.expected.spread_ms() / expected_ms;
    let mut sum = 0.0;
    let mut scale = [Could::default(); STEPS];
    for (step, could) in scale.iter_mut().enumerate() {
        let off = LEAST + STEP * step as f64;
        could.ms = expected_ms * exp(off);
        let spreads = if off > 0.0 { off / (UPWARDS * spread) } else { off / spread };
        could.likely = 1.0 / squared(1.0 + squared(spreads) / 3.0);
        could.per_noise_ms = 1.0 / (squared(NOISE * could.ms) + squared(CLOCK_MS)).sqrt();
        sum += could.likely;
    }
    scale.iter_mut().for_each(|could| could.likely /= sum);
    scale
}

/// How likely a sample of so many ms is, and the mean of what the round trip then is.
fn likely_and_mean(scale: &Scale, ms: f64) -> (f64, f64) {
    /// Of Student's t with four degrees of freedom, in the middle.
    const MIDDLE: f64 = 0.375;
    let [twice, often] = LOST_TIMES;
    let (mut sum, mut sum_ms) = (0.0, 0.0);
    for could in scale {
        let off = (ms - could.ms) * could.per_noise_ms;
        let far = 1.0 + squared(off) / 4.0;
        let heard = MIDDLE * could.per_noise_ms / (squared(far) * far.sqrt());
        let is_lost = ms > twice * could.ms && ms < often * could.ms;
        let lost = if is_lost { 1.0 / ((often - twice) * could.ms) } else { 0.0 };
        let likely = could.likely * ((1.0 - LOST) * heard + LOST * lost);
        (sum, sum_ms) = (sum + likely, sum_ms + likely * could.ms);
    }
    (sum, sum_ms / sum)
}
