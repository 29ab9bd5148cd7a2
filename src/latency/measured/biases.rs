//! What servers take of their own: what is missing of all prefixes' samples of a site, whoever measured.

use super::estimate::Subjects;
use super::median::{Weighted, median};
use super::solve::{Case, Clock, Expected};
use super::store::Samples;
use super::{LIARS, Published};

/// So often are biases worked out, each time by what the last said of the other sites' …
const ROUNDS: usize = 8;
/// … of which this part is taken: two sites that are only ever measured together would else swing to and fro.
const STEP: f64 = 0.5;
/// No vote weighs more than so many in the mean: the near ones, of which there are few, tell most. (From 2 to 6 it makes no
/// difference.)
const HEAVIEST: f64 = 3.0;
/// Servers differ by some tens of ms. What is more is missing on the ways: clients of one region may all be farther from it
/// than the prior says, and nothing but its size tells that from its server's time.
pub(super) const MOST_MS: f64 = 25.0;
/// What a server is taken to take stays while votes are within so many ms of it: by default, what moves by less changes no
/// answer. What a hundredth of all prefixes say moves a vote by tenths of a ms, rarely by more than three. So what others'
/// estimates are worked out by stands still, whoever lies. (From 3 to 5 regret is the same.)
const HELD_MS: f64 = 5.0;
/// For the same reason a third as many votes are for 0 as others.
const ABSTAIN: f64 = 0.33;
/// Of more prefixes than this, only each second, third … is asked.
const ASKED: usize = 65_536;
/// How far off the prior is, in parts: the scale of Student's t with three degrees of freedom. Learnt from either of AWS and
/// Azure, the prior misses the other's round trips by 7 to 8 % in the median, 34 % at the 95th percentile, 48 to 75 % at the
/// 99th: 0.10 by all three; clients' networks are a little worse.
pub(super) const PRIOR_SPREAD: f64 = 0.12;

impl Samples {
    /// By site, ms: what was `published`, or what is voted now where that is too far from it or nothing was. None: too few say
    /// anything, and nothing was, or nothing else is published any more.
    ///
    /// What all have in common is not told from the clients' last mile, and makes no difference.
    pub(super) fn biases(&self, subjects: &Subjects, clock: Clock, published: &Published) -> Vec<Option<f64>> {
        let held: Vec<Option<f64>> = self.targets.iter().map(|site| published.bias_ms(site)).collect();
        let few = self.settings.abstentions(0.0);
        let mut biases: Vec<Option<f64>> = vec![None; self.targets.len()];
        let mut votes: Vec<Vec<(Weighted, f64)>> = vec![Vec::new(); self.targets.len()];
        let step = subjects.len() / ASKED + 1;
        let mut case = Case::default();
        for _ in 0..ROUNDS {
            votes.iter_mut().for_each(Vec::clear);
            for subject in subjects.iter().step_by(step) {
                let words = &self.records[subject.slot].words;
                let expected = |target| {
                    let prior_ms = subject.prior_ms(target)?;
                    Some(Expected { prior_ms, factor: 1.0, spread: PRIOR_SPREAD })
                };
                case.load(words, clock, expected, |target| biases[target.index()].unwrap_or(0.0));
                let share = f64::from(subject.share);
                case.say_biases(|target, vote| votes[target.index()].push((vote, share)));
            }
            for ((bias, votes), held) in biases.iter_mut().zip(&votes).zip(&held) {
                let is_heard = votes.iter().map(|(_, share)| share).sum::<f64>() > few;
                let voted = self.vote(votes, subjects.votes() / step as f64);
                let last = bias.unwrap_or(0.0);
                *bias =
                    if is_heard { Some(last + STEP * (voted - last)) } else { held.filter(|_| !published.is_empty()) };
            }
        }
        let stays = |voted: f64, held: f64| (voted - held).abs() <= HELD_MS;
        let next = |(voted, held): (Option<f64>, Option<f64>)| {
            held.filter(|held| voted.is_some_and(|voted| stays(voted, *held))).or(voted)
        };
        biases.into_iter().zip(held).map(next).collect()
    }

    /// The median of a site's votes, each with its share of a whole one, and of those for 0; none of the first weighs more than
    /// `max_source_share`.
    fn vote(&self, votes: &[(Weighted, f64)], voters: f64) -> f64 {
        let shares: f64 = votes.iter().map(|(_, share)| share).sum();
        let sum: f64 = votes.iter().map(|((_, weight), share)| weight * share).sum();
        let most = HEAVIEST * sum / shares.max(1.0);
        let mut votes: Vec<Weighted> =
            votes.iter().map(|((bias, weight), share)| (*bias, weight.min(most) * share)).collect();
        let sum: f64 = votes.iter().map(|(_, weight)| weight).sum();
        let least = most * self.settings.abstentions(0.0) - sum;
        votes.push((0.0, least.max(ABSTAIN * sum).max(most * LIARS * voters)));
        median(&mut votes).unwrap_or(0.0).clamp(-MOST_MS, MOST_MS)
    }
}
