//! What a client should measure next.

use std::net::IpAddr;

use jiff::Timestamp;

use super::estimate::{Estimates, prior_ms};
use super::solve::Case;
use super::store::{Key, Samples, spread};
use super::{TargetId, World};

/// A site could be best if it could be by so many spreads: of Student's t with three degrees of freedom, 3 % lie lower.
const DOUBT: f64 = 3.0;
/// A session measures this many, so that there is something to compare.
const FEWEST: usize = 2;
/// One session of so many measures a site that nothing speaks for.
const RARELY: u64 = 16;

/// What is known of a site.
struct Outlook {
    target: TargetId,
    ms: f64,
    /// The least that it could be, within reason.
    least_ms: f64,
}

impl Samples {
    /// Of the `allowed` sites, which are those that the client's fences allow, those that a session of this client should measure.
    ///
    /// At most `count`: the one expected best first; then those that could be better for all that is known, the likeliest first, or
    /// the second best where none could. What nobody has measured for long is known as badly as what nobody has measured. One session of
    /// sixteen, by `seed`, takes for the last of them a site that nothing speaks for, so that no site is ever written off.
    #[must_use]
    #[allow(clippy::too_many_arguments, reason = "each is an input of a pure function")]
    pub fn candidates(
        &self,
        estimates: &Estimates,
        world: &impl World,
        client: IpAddr,
        allowed: &[TargetId],
        count: usize,
        seed: u64,
        now: Timestamp,
    ) -> Vec<TargetId> {
        let mut sites = self.outlooks(estimates, world, client, allowed, now);
        sites.sort_unstable_by(|a, b| a.ms.total_cmp(&b.ms).then(a.target.cmp(&b.target)));
        let Some(best_ms) = sites.first().map(|best| best.ms) else { return Vec::new() };
        let hopeless = |site: &Outlook| site.least_ms >= best_ms;
        // The second best stands in where nobody else has hope.
        let fewest = FEWEST.min(sites.len());
        if sites[1..].iter().any(|site| !hopeless(site)) {
            sites[1..].sort_by(|a, b| a.least_ms.total_cmp(&b.least_ms));
        }
        let hopeful = 1 + sites[1..].iter().take_while(|site| !hopeless(site)).count();
        let mut chosen = hopeful.max(fewest).min(count);
        let others = sites.len() - chosen;
        let last = if chosen < count { chosen } else { chosen.saturating_sub(1) };
        if spread(seed).is_multiple_of(RARELY) && others > 0 && last > 0 {
            sites.swap(last, chosen + (spread(!seed) % others as u64) as usize);
            chosen = last + 1;
        }
        sites.truncate(chosen);
        sites.into_iter().map(|site| site.target).collect()
    }

    /// Of each allowed site where something stands.
    fn outlooks(
        &self,
        estimates: &Estimates,
        world: &impl World,
        client: IpAddr,
        allowed: &[TargetId],
        now: Timestamp,
    ) -> Vec<Outlook> {
        let key = Key::of(client);
        let client = key.prefix().network();
        let (country, asn) = (world.country(client), world.asn(client));
        let expected =
            |target| Some(estimates.expected(country, asn, target, f64::from(prior_ms(world, client, target)?)));
        let mut case = Case::default();
        case.load(self.words(key), self.clock(now), expected, |target| estimates.bias_ms(target));
        case.solve();
        let mut allowed = allowed.to_vec();
        allowed.sort_unstable();
        allowed.dedup();
        let outlook = |target: TargetId| {
            let told = case.told().find(|told| told.target == target).map(|told| (told.ms, told.spread_ms));
            let unmeasured = || expected(target).map(|expected| (expected.ms(), expected.spread_ms()));
            let (ms, spread_ms) = told.or_else(unmeasured)?;
            Some(Outlook { target, ms, least_ms: ms - DOUBT * spread_ms })
        };
        allowed.into_iter().filter_map(outlook).collect()
    }
}
