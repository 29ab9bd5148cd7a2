//! What the samples of one prefix say: its round trips, and how far each session's samples are off alike.
//!
//! Unknown are a round trip R to each site and an offset o of each session. A sample is R + o + the server's bias, give or take a
//! tenth of R ([`NOISE`]). Absolute samples have one offset together and no bias: what is longer on all ways of a prefix alike
//! than expected is its access, which would lengthen the way to a site that it has not measured, too. Known beforehand is that R lies about what is expected, by prior or parent; of o only that it is not
//! below 0, since a last mile may be glass or a satellite. So what is added to all samples of a session changes nothing.
//!
//! The most likely R and o come from normal equations, out of which the offsets are taken: a matrix as wide as there are
//! sites. What is far off counts less: expectations as of Student's t with three degrees of freedom, in logarithms, since the prior is mostly
//! right and now and then quite wrong; samples as of one with four, since packets are lost. So the equations are solved
//! [`ROUNDS`] times, each with weights by the last, and the first by medians of the samples, which start among the many and the
//! new. So one sample that is near to what is expected is averaged with it, and one that is far from it is believed until others
//! contradict it: a way that changed costs more than an outlier. (Outliers as a part of the model, and a second start from
//! what is expected, found ways that changed too late. Of a lone session `once` makes more.)

use super::median::{Weighted, median};
use super::record::{Seen, sessions};
use super::{Settings, TargetId};
use crate::latency::sphere::{exp_of_minus, ln};

/// How far off samples are, in round trips (the scale of Student's t) …
pub(super) const NOISE: f64 = 0.10;
/// … and, beside that, in ms: browsers' clocks.
pub(super) const CLOCK_MS: f64 = 1.0;
/// What is expected cannot be nearer to what is than this, in ms, whatever it is in parts.
const FLOOR_MS: f64 = 3.0;
const ROUNDS: usize = 4;
/// No round trip takes less, nor less than this of what is expected.
const LEAST_MS: f64 = 0.25;
const LEAST: f64 = 0.125;
/// A bias is told well where it is known to so many ms; the weight of votes falls with the square of what is worse. (From 2 to 5
/// it makes no difference.)
const BIAS_TOLD_MS: f64 = 3.0;
/// For servers' biases, clients' ways are taken to be so many times the prior: it is learnt from round trips between clouds'
/// regions, on networks of their own, and clients' ways are longer. Else what is missing of the far site's way beside the
/// near one's would pass for the far one's bias. (From 1.05 to 1.15 it makes little difference.)
const STRETCH: f64 = 1.1;

/// What is expected of a round trip.
#[derive(Clone, Copy, Debug)]
pub(super) struct Expected {
    /// The prior.
    pub(super) prior_ms: f64,
    /// Factor on it.
    pub(super) factor: f64,
    /// How far off that is, in parts.
    pub(super) spread: f64,
}

impl Expected {
    pub(super) fn ms(self) -> f64 {
        self.prior_ms * self.factor
    }

    /// Standard deviation.
    pub(super) fn spread_ms(self) -> f64 {
        (squared(self.spread * self.ms()) + squared(FLOOR_MS)).sqrt()
    }
}

/// A site that a prefix has samples of.
#[derive(Clone, Debug)]
pub(super) struct Told {
    pub(super) target: TargetId,
    pub(super) expected: Expected,
    bias_ms: f64,
    /// The round trip.
    pub(super) ms: f64,
    /// Its standard deviation.
    pub(super) spread_ms: f64,
    /// Decayed count of samples.
    pub(super) samples: f64,
    /// Of the newest sample.
    pub(super) minute: u32,
}

impl Told {
    /// How much of what is said is the samples' and not what was expected before, 0 to 1.
    pub(super) fn weight(&self) -> f64 {
        (1.0 - squared(self.spread_ms / self.expected.spread_ms())).clamp(0.0, 1.0)
    }

    /// No round trip is shorter.
    pub(super) fn least_ms(&self) -> f64 {
        LEAST_MS.max(LEAST * self.expected.ms())
    }

    /// What the expectation counts in the equations: as Student's t in logarithms pulls, so that half of what is expected is as far
    /// off as twice.
    fn expected_weight(&self) -> f64 {
        let (ms, expected_ms) = (self.ms, self.expected.ms());
        let scale = squared(self.expected.spread_ms() / expected_ms);
        let off = ln(ms / expected_ms);
        let off_ms = ms - expected_ms;
        let slope = if off_ms.abs() < 1e-3 * expected_ms { 1.0 / expected_ms } else { off / off_ms };
        4.0 * slope / (ms * (3.0 * scale + off * off))
    }

    fn noise_ms(&self, ms: f64) -> f64 {
        (squared(NOISE * ms) + squared(CLOCK_MS)).sqrt()
    }
}

/// A session, or all of a prefix whose samples hold nothing but the way.
pub(super) struct Sitting {
    pub(super) offset: Offset,
    /// It is the latter.
    is_absolute: bool,
    /// Its samples, as indices.
    from: usize,
    to: usize,
}

/// How far all samples of a sitting are off alike.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Offset {
    /// Not at all, as far as anybody can tell: they are absolute, and of one site.
    None,
    /// It would be below 0, so it is 0.
    Least,
    /// Unknown; this by the last round.
    Ms(f64),
}

impl Offset {
    fn ms(self) -> f64 {
        if let Self::Ms(ms) = self { ms } else { 0.0 }
    }
}

pub(super) struct Sample {
    /// Index into [`Case::told`].
    pub(super) site: usize,
    /// Without bias.
    pub(super) ms: f64,
    /// By its age.
    pub(super) aged: f64,
    minute: u32,
    /// Of this round.
    weight: f64,
}

/// One prefix's samples, made ready. Used again for the next: nothing is allocated for long.
#[derive(Default)]
pub(super) struct Case {
    /// Ascending by site; also sites whose samples could not be compared.
    pub(super) told: Vec<Told>,
    pub(super) sittings: Vec<Sitting>,
    pub(super) samples: Vec<Sample>,
    /// Row by row, and one more column for the right side.
    matrix: Vec<f64>,
    votes: Vec<Weighted>,
    /// What the samples of a sitting weigh.
    by_site: Vec<(usize, f64)>,
}

/// The age of samples in weights.
#[derive(Clone, Copy)]
pub(super) struct Clock {
    now: u32,
    oldest: u32,
    half_life_minutes: f64,
}

impl Clock {
    pub(super) fn new(settings: &Settings, now: u32, oldest: u32) -> Self {
        Self { now, oldest, half_life_minutes: (settings.half_life.as_secs_f64() / 60.0).max(1.0) }
    }

    fn weight(self, minute: u32) -> f64 {
        let age = f64::from(self.now.saturating_sub(minute));
        exp_of_minus((age / self.half_life_minutes * std::f64::consts::LN_2).min(20.0))
    }
}

impl Case {
    /// Takes up a record. `expected`: none where no such site stands. What is too old, or then has nothing to compare with,
    /// is left out.
    pub(super) fn load(
        &mut self,
        words: &[u32],
        clock: Clock,
        expected: impl Fn(TargetId) -> Option<Expected>,
        bias_ms: impl Fn(TargetId) -> f64,
    ) {
        self.told.clear();
        self.sittings.clear();
        self.samples.clear();
        for session in sessions(words).filter(|session| session.minute() >= clock.oldest) {
            for (target, _) in session.samples() {
                if let Err(at) = self.told.binary_search_by_key(&target, |told| told.target)
                    && let Some(expected) = expected(target)
                {
                    let bias_ms = bias_ms(target);
                    let told = Told { target, expected, bias_ms, ms: 0.0, spread_ms: 0.0, samples: 0.0, minute: 0 };
                    self.told.insert(at, told);
                }
            }
        }
        let sessions = || sessions(words).filter(|session| session.minute() >= clock.oldest);
        for session in sessions().filter(|session| !session.is_absolute()) {
            let from = self.samples.len();
            self.load_session(session, clock);
            self.sit(from, false);
        }
        let from = self.samples.len();
        sessions().filter(|session| session.is_absolute()).for_each(|session| self.load_session(session, clock));
        self.sit(from, true);
        if self.samples.is_empty() {
            self.told.clear();
        }
    }

    fn load_session(&mut self, session: Seen<'_>, clock: Clock) {
        let (minute, aged) = (session.minute(), clock.weight(session.minute()));
        for (target, ms) in session.samples() {
            if let Ok(site) = self.told.binary_search_by_key(&target, |told| told.target) {
                let bias_ms = if session.is_absolute() { 0.0 } else { self.told[site].bias_ms };
                self.samples.push(Sample { site, ms: ms - bias_ms, aged, minute, weight: 0.0 });
            }
        }
    }

    /// Makes one sitting of the samples from there on, if these can be compared or stand for themselves.
    fn sit(&mut self, from: usize, is_absolute: bool) {
        let samples = &self.samples[from..];
        let Some(first) = samples.first() else { return };
        let is_of_one_site = samples.iter().all(|sample| sample.site == first.site);
        // Of one site alone an absolute run is taken as it stands, but not beside sessions that know better.
        if is_of_one_site && !(is_absolute && self.sittings.is_empty()) {
            return self.samples.truncate(from);
        }
        for sample in samples {
            let told = &mut self.told[sample.site];
            (told.samples, told.minute) = (told.samples + sample.aged, told.minute.max(sample.minute));
        }
        let offset = if is_of_one_site { Offset::None } else { Offset::Ms(0.0) };
        self.sittings.push(Sitting { offset, is_absolute, from, to: self.samples.len() });
    }

    /// The sites that it has samples of, ascending.
    pub(super) fn told(&self) -> impl Iterator<Item = &Told> {
        self.told.iter().filter(|told| told.samples > 0.0)
    }

    /// Works out the round trips.
    pub(super) fn solve(&mut self) {
        self.begin();
        for _ in 0..ROUNDS {
            self.weigh();
            self.equations();
            self.reduce();
            self.settle_offsets();
        }
    }

    /// Medians: of each session's offset by what is expected, then of each round trip by these offsets. None begins below half of
    /// what is expected: ways are longer than they should be, but hardly ever shorter.
    fn begin(&mut self) {
        let Self { told, sittings, samples, votes, .. } = self;
        for sitting in sittings.iter_mut().filter(|sitting| sitting.offset != Offset::None) {
            votes.clear();
            votes.extend(samples[sitting.from..sitting.to].iter().map(|sample| {
                let told = &told[sample.site];
                (sample.ms - told.expected.ms(), sample.aged / told.expected.spread_ms())
            }));
            let longest = samples[sitting.from..sitting.to]
                .iter()
                .map(|sample| sample.ms - told[sample.site].expected.ms() / 2.0);
            let longest_ms = longest.fold(f64::INFINITY, f64::min);
            sitting.offset = Offset::Ms(median(votes).unwrap_or(0.0).min(longest_ms).max(0.0));
        }
        for (site, told) in told.iter_mut().enumerate() {
            votes.clear();
            for sitting in &*sittings {
                let own = samples[sitting.from..sitting.to].iter().filter(|sample| sample.site == site);
                votes.extend(own.map(|sample| (sample.ms - sitting.offset.ms(), sample.aged)));
            }
            told.ms = median(votes).unwrap_or(told.expected.ms()).max(told.least_ms());
        }
    }

    /// What each sample counts, by how far off it is.
    fn weigh(&mut self) {
        for sitting in &self.sittings {
            for sample in &mut self.samples[sitting.from..sitting.to] {
                let told = &self.told[sample.site];
                let ms = sample.ms - sitting.offset.ms();
                let weight = 5.0 / (4.0 * squared(told.noise_ms(told.ms)) + squared(ms - told.ms));
                sample.weight = sample.aged * weight;
            }
        }
    }

    /// The normal equations of the round trips.
    fn equations(&mut self) {
        let width = self.told.len() + 1;
        self.matrix.clear();
        self.matrix.resize(self.told.len() * width, 0.0);
        for (site, told) in self.told.iter().enumerate() {
            let weight = told.expected_weight();
            self.matrix[site * width + site] = weight;
            self.matrix[site * width + width - 1] = weight * told.expected.ms();
        }
        for sitting in &self.sittings {
            let samples = &self.samples[sitting.from..sitting.to];
            for sample in samples {
                let row = sample.site * width;
                self.matrix[row + sample.site] += sample.weight;
                self.matrix[row + width - 1] += sample.weight * sample.ms;
            }
            let Offset::Ms(_) = sitting.offset else { continue };
            // o = Σ w (sample − R) / Σ w: put into the rows of R.
            let all = samples.iter().fold(0.0, |sum, sample| sum + sample.weight);
            let known = samples.iter().fold(0.0, |sum, sample| sum + sample.weight * sample.ms);
            self.by_site.clear();
            for sample in samples {
                match self.by_site.iter_mut().find(|(site, _)| *site == sample.site) {
                    Some((_, weight)) => *weight += sample.weight,
                    None => self.by_site.push((sample.site, sample.weight)),
                }
            }
            for (site, weight) in &self.by_site {
                let (row, part) = (site * width, weight / all);
                self.matrix[row + width - 1] -= part * known;
                for (other, weight) in &self.by_site {
                    self.matrix[row + other] -= part * weight;
                }
            }
        }
    }

    /// Solves the equations: the round trips, and from the inverse's diagonal how well they are known.
    fn reduce(&mut self) {
        let (count, width) = (self.told.len(), self.told.len() + 1);
        let matrix = &mut self.matrix;
        // Cholesky: the lower triangle, in place, and the right side with it.
        for i in 0..count {
            for j in 0..=i {
                let sum =
                    (0..j).fold(matrix[i * width + j], |sum, k| sum - matrix[i * width + k] * matrix[j * width + k]);
                matrix[i * width + j] =
                    if i == j { sum.max(f64::MIN_POSITIVE).sqrt() } else { sum / matrix[j * width + j] };
            }
            let right = (0..i)
                .fold(matrix[i * width + count], |sum, k| sum - matrix[i * width + k] * matrix[k * width + count]);
            matrix[i * width + count] = right / matrix[i * width + i];
        }
        for i in (0..count).rev() {
            let back = (i + 1..count)
                .fold(matrix[i * width + count], |sum, k| sum - matrix[k * width + i] * matrix[k * width + count]);
            matrix[i * width + count] = back / matrix[i * width + i];
            self.told[i].ms = matrix[i * width + count].max(self.told[i].least_ms());
        }
        let mut column = vec![0.0; count];
        for site in 0..count {
            let mut squares = 0.0;
            for i in site..count {
                let own = if i == site { 1.0 } else { 0.0 };
                let sum = (site..i).fold(own, |sum, k| sum - matrix[i * width + k] * column[k]);
                column[i] = sum / matrix[i * width + i];
                squares += column[i] * column[i];
            }
            self.told[site].spread_ms = squares.sqrt();
        }
    }

    fn settle_offsets(&mut self) {
        for sitting in self.sittings.iter_mut().filter(|sitting| sitting.offset != Offset::None) {
            let samples = &self.samples[sitting.from..sitting.to];
            let (sum, all) = samples.iter().fold((0.0, 0.0), |(sum, all), sample| {
                (sum + sample.weight * (sample.ms - self.told[sample.site].ms), all + sample.weight)
            });
            let offset_ms: f64 = sum / all;
            sitting.offset = if offset_ms > 0.0 { Offset::Ms(offset_ms) } else { Offset::Least };
        }
    }

    /// What this prefix says of each server's bias, with the weight of its vote, up to 1: what is left of its samples
    /// without what is expected, and without what the session's *other* sites say of its offset.
    pub(super) fn say_biases(&mut self, mut vote: impl FnMut(TargetId, Weighted)) {
        let Self { told, sittings, samples, votes, .. } = self;
        let relative = || sittings.iter().filter(|sitting| !sitting.is_absolute);
        let missing = |sample: &Sample| sample.ms - STRETCH * told[sample.site].expected.ms();
        let variance = |sample: &Sample| {
            let told = &told[sample.site];
            squared(told.noise_ms(told.expected.ms())) + squared(told.expected.spread_ms())
        };
        for (site, here) in told.iter().enumerate() {
            let mut least = f64::INFINITY;
            votes.clear();
            for sitting in relative() {
                let samples = &samples[sitting.from..sitting.to];
                let Some(own) = samples.iter().find(|sample| sample.site == site) else { continue };
                let others = samples.iter().filter(|sample| sample.site != site);
                let (sum, weight): (f64, f64) = others.fold((0.0, 0.0), |(sum, all), sample| {
                    (sum + missing(sample) / variance(sample), all + 1.0 / variance(sample))
                });
                least = least.min(variance(own) + 1.0 / weight);
                votes.push((missing(own) - (sum / weight).max(0.0) + here.bias_ms, own.aged));
            }
            let well = squared(BIAS_TOLD_MS);
            if let Some(bias_ms) = median(votes) {
                vote(here.target, (bias_ms, here.samples.min(1.0) * well / (well + least)));
            }
        }
    }
}

pub(super) fn squared(figure: f64) -> f64 {
    figure * figure
}
