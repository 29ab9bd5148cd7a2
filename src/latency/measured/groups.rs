//! What the prefixes of a country, or of a network within one, have in common.

use std::collections::BTreeMap;

use jiff::Timestamp;

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
    /// Its part of one vote.
    pub(super) share: f32,
    /// As much as that at most, however many samples it has.
    pub(super) weight: f32,
    pub(super) prior_ms: f32,
    /// Of its newest sample.
    pub(super) minute: u32,
}

/// What is said of a group's way to a site without its votes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    /// Logarithm of the factor of what the group is part of.
    pub(super) parent: f32,
    /// Logarithm of the group's own factor that is published, and when the newest sample behind it came; none: there is none.
    pub(super) published: Option<(f32, Timestamp)>,
}

/// Prefixes of one group lie no nearer to each other than so, whatever they say, and no farther off than the prior.
const LEAST_SPREAD: f64 = 0.06;
/// The scale of Student's t with three degrees of freedom, in medians of what is off.
const IN_MEDIANS: f64 = 1.31;

/// What groups say, ascending, and which of them were heard: those that have more votes on some site than there are for what is said
/// without them. Of others nothing is said, so that too few neither bring a factor nor take one away.
pub(super) struct Gathered<G> {
    pub(super) said: Vec<(G, Vec<Shift>)>,
    /// And the sites of which more than so many prefixes told, whatever that weighs.
    pub(super) heard: BTreeMap<G, Vec<TargetId>>,
}

/// By group and site: the shifts that most of its prefixes share. What is as of the group's parent is left out.
pub(super) fn gather<G: Ord + Copy>(
    mut votes: Vec<Vote<G>>,
    abstentions: f64,
    before: impl Fn(G, TargetId) -> Before,
) -> Gathered<G> {
    votes.sort_unstable_by(|a, b| {
        let by_place = (a.group, a.target).cmp(&(b.group, b.target));
        let by_say = a.ln.total_cmp(&b.ln).then(a.prior_ms.total_cmp(&b.prior_ms)).then(a.weight.total_cmp(&b.weight));
        by_place.then(by_say)
    });
    let (mut said, mut heard) = (Vec::<(G, Vec<Shift>)>::new(), BTreeMap::new());
    for of_group in votes.chunk_by(|a, b| a.group == b.group) {
        let group = of_group[0].group;
        let sites = || of_group.chunk_by(|a, b| a.target == b.target);
        if sites().any(|votes| weight(votes) > abstentions) {
            let told =
                sites().filter(|votes| votes.iter().map(|vote| f64::from(vote.share)).sum::<f64>() > abstentions);
            heard.insert(group, told.map(|votes| votes[0].target).collect());
            let shift = |votes: &[Vote<G>]| shared(votes, abstentions, before(group, votes[0].target));
            let shifts: Vec<Shift> = sites().filter_map(shift).collect();
            said.extend((!shifts.is_empty()).then_some((group, shifts)));
        }
    }
    Gathered { said, heard }
}

fn weight<G>(votes: &[Vote<G>]) -> f64 {
    votes.iter().map(|vote| f64::from(vote.weight)).sum()
}

/// What these say of one site; none: nothing new. What is published stays with half the votes that brought it.
fn shared<G>(votes: &[Vote<G>], abstentions: f64, before: Before) -> Option<Shift> {
    let of = |figure: &dyn Fn(&Vote<G>) -> f64| -> Vec<Weighted> {
        votes.iter().map(|vote| (figure(vote), f64::from(vote.weight))).collect()
    };
    let (Before { parent, published }, weight) = (before, weight(votes));
    let published = published.filter(|_| weight > abstentions / 2.0);
    let mut said = of(&|vote| f64::from(vote.ln));
    said.push((f64::from(published.map_or(parent, |(ln, _)| ln)), abstentions));
    let ln = median(&mut said).filter(|ln| *ln != f64::from(parent))?;
    let off = median(&mut of(&|vote| (f64::from(vote.ln) - ln).abs()))?;
    let prior_ms = median(&mut of(&|vote| f64::from(vote.prior_ms)))?;
    let newest = time_of(votes.iter().map(|vote| vote.minute).max()?);
    Some(Shift {
        target: votes[0].target,
        ln: ln as f32,
        spread: (IN_MEDIANS * off).clamp(LEAST_SPREAD, PRIOR_SPREAD) as f32,
        samples: weight as f32,
        // Who cannot move it cannot keep it, either.
        newest: published.filter(|_| weight <= abstentions).map_or(newest, |(_, newest)| newest),
        prior_ms: prior_ms as f32,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const VOTES: f64 = 20.0;

    /// So many votes of such a weight.
    fn votes(site: u16, count: usize, weight: f32, ln: f32) -> Vec<Vote<u8>> {
        vec![
            Vote { group: 1, target: TargetId(site), ln, share: 1.0, weight, prior_ms: 50.0, minute: 29_000_000 };
            count
        ]
    }

    #[test]
    fn one_site_is_heard_and_others_stand_by_their_votes() {
        let published = time_of(28_999_000);
        let before = |_, site: TargetId| Before { parent: 0.0, published: (site.0 > 0).then_some((0.7, published)) };
        let all =
            [votes(0, 21, 1.0, 0.5), votes(1, 11, 1.0, 0.0), votes(2, 9, 1.0, 0.0), votes(3, 40, 0.1, 0.0)].concat();
        let Gathered { said, heard } = gather(all, VOTES, before);
        let said: Vec<_> = said[0].1.iter().map(|shift| (shift.target.0, shift.ln, shift.newest)).collect();
        // The second has over half the votes that it took: it stays, and no younger.
        assert_eq!(said, [(0, 0.5, time_of(29_000_000)), (1, 0.7, published)]);
        assert_eq!(heard[&1], [TargetId(0), TargetId(3)], "of the last enough told that there is nothing to say");
        let few = gather(votes(0, 20, 1.0, 0.5), VOTES, before);
        assert!(few.said.is_empty() && few.heard.is_empty());
        let turned = gather(votes(1, 21, 1.0, 0.0), VOTES, before);
        assert!(turned.said.is_empty() && turned.heard.contains_key(&1), "as its parent");
    }
}
