//! What a client should measure next.

use std::net::IpAddr;

use jiff::Timestamp;

use super::estimate::{Estimates, prior_ms};
use super::solve::Case;
use super::store::{Key, Samples, spread};
use super::{TargetId, World};

/// A site could be best if it could be by so many spreads: of Student's t with three degrees of freedom, 3 % lie lower.
const DOUBT: f64 = 3.0;
/// Fewer samples than this, decayed, may all be outliers: then the site could be what is expected without them, too.
const FEW: f64 = 1.5;
/// A session measures this many, so that there is something to compare, and one outlier among them shows.
const FEWEST: usize = 3;
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
    /// At most `count`: the one expected best first; then those that could be better for all that is known, the likeliest
    /// first; then, up to three, the next best. What nobody has measured for long is known as badly as what nobody has ever
    /// measured. One session of sixteen, by `seed`, takes a site that nothing speaks for instead of the last of them or besides, so that
    /// none is ever written off.
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
        let rank = |site: &Outlook| (hopeless(site), if hopeless(site) { site.ms } else { site.least_ms });
        sites[1..].sort_by(|a, b| rank(a).0.cmp(&rank(b).0).then(rank(a).1.total_cmp(&rank(b).1)));
        let hopeful = 1 + sites[1..].iter().take_while(|site| !hopeless(site)).count();
        let mut chosen = hopeful.max(FEWEST.min(sites.len())).min(count);
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
        case.average();
        let mut allowed = allowed.to_vec();
        allowed.sort_unstable();
        allowed.dedup();
        let outlook = |target: TargetId| {
            let expected = expected(target)?;
            let least_ms = expected.ms() - DOUBT * expected.spread_ms();
            let unmeasured = Outlook { target, ms: expected.ms(), least_ms };
            let Some(told) = case.told().find(|told| told.target == target) else { return Some(unmeasured) };
            let told_ms = told.ms - DOUBT * told.spread_ms;
            let least_ms = if told.samples < FEW { told_ms.min(least_ms) } else { told_ms };
            Some(Outlook { target, ms: told.ms, least_ms })
        };
        allowed.into_iter().filter_map(outlook).collect()
    }
}
