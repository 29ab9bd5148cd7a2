//! What the prefixes of a country, or of a network within one, have in common.

use super::TargetId;
use super::biases::PRIOR_SPREAD;
use super::estimate::Shift;
use super::median::{Weighted, median};
use super::record::time_of;

/// What one prefix says of a site, for its group.
#[derive(Clone, Copy, Debug)]
pub(super) struct Vote<G> {
    pub(super) group: G,
    pub(super) target: TargetId,
    /// Logarithm of the factor on the prior.
    pub(super) ln: f32,
    /// 1 at most, however many samples it has.
    pub(super) weight: f32,
    pub(super) prior_ms: f32,
    /// Of its newest sample.
    pub(super) minute: u32,
}

/// Prefixes of one group lie no nearer to each other than so, whatever they say, and no farther off than the prior.
const LEAST_SPREAD: f64 = 0.06;
/// The scale of Student's t with three degrees of freedom, in medians of what is off.
const IN_MEDIANS: f64 = 1.31;

/// By group: the shifts that most of its prefixes share, beside so many votes for what is said without them (`before`).
///
/// Ascending by group and site; what stays as it was before is left out.
pub(super) fn gather<G: Ord + Copy>(
    mut votes: Vec<Vote<G>>,
    abstentions: f64,
    before: impl Fn(G, TargetId) -> f32,
) -> Vec<(G, Vec<Shift>)> {
    votes.sort_unstable_by(|a, b| {
        let by_place = (a.group, a.target).cmp(&(b.group, b.target));
        let by_say = a.ln.total_cmp(&b.ln).then(a.prior_ms.total_cmp(&b.prior_ms)).then(a.weight.total_cmp(&b.weight));
        by_place.then(by_say)
    });
    let mut groups: Vec<(G, Vec<Shift>)> = Vec::new();
    for votes in votes.chunk_by(|a, b| (a.group, a.target) == (b.group, b.target)) {
        let (group, target) = (votes[0].group, votes[0].target);
        let Some(shift) = shared(votes, abstentions, before(group, target)) else { continue };
        match groups.last_mut() {
            Some((last, shifts)) if *last == group => shifts.push(shift),
            _ => groups.push((group, vec![shift])),
        }
    }
    groups
}

/// What these say of one site; none: nothing new.
fn shared<G>(votes: &[Vote<G>], abstentions: f64, before: f32) -> Option<Shift> {
    let of = |figure: &dyn Fn(&Vote<G>) -> f64| -> Vec<Weighted> {
        votes.iter().map(|vote| (figure(vote), f64::from(vote.weight))).collect()
    };
    let mut said = of(&|vote| f64::from(vote.ln));
    said.push((f64::from(before), abstentions));
    let ln = median(&mut said).filter(|ln| *ln != f64::from(before))?;
    let off = median(&mut of(&|vote| (f64::from(vote.ln) - ln).abs()))?;
    let prior_ms = median(&mut of(&|vote| f64::from(vote.prior_ms)))?;
    let newest = votes.iter().map(|vote| vote.minute).max()?;
    Some(Shift {
        target: votes[0].target,
        ln: ln as f32,
        spread: (IN_MEDIANS * off).clamp(LEAST_SPREAD, PRIOR_SPREAD) as f32,
        samples: votes.iter().map(|vote| vote.weight).sum(),
        newest: time_of(newest),
        prior_ms: prior_ms as f32,
    })
}
