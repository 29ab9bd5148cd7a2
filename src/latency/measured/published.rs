//! What answers go by: estimates, held still until they have moved far enough.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;

use super::World;
use super::estimate::{Estimates, Shift};
use crate::model::Country;

/// Factors on the prior by site, ascending by name.
pub(super) type Factors = Box<[(Arc<str>, f32)]>;

/// What is published of one prefix.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Prefix {
    /// Decayed count of its samples when this was taken up.
    pub(super) weight: f32,
    pub(super) factors: Factors,
}

/// What answers go by. Changes only past a threshold, so that nothing swings to and fro with the samples.
///
/// A place, which is a country, a network within it or a prefix, is published as a whole, with all sites that it has estimates of:
/// round trips of one place are compared with each other, and one that is new beside one that is old would be compared
/// wrongly.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Published {
    pub(super) countries: BTreeMap<Country, Factors>,
    pub(super) networks: BTreeMap<(Country, u32), Factors>,
    pub(super) prefixes: BTreeMap<IpNet, Prefix>,
}

/// Prefixes that are published: those whose samples × ms moved are most; what is published counts as [`KEPT`] times that.
pub(super) const MAX_PREFIXES: usize = 65_536;
const KEPT: f32 = 2.0;
/// A change is one from this part of the round trip on.
const PART: f32 = 0.1;
/// What is published goes when it says less than this part of a change.
const NOTHING: f32 = 0.5;

impl Published {
    /// The next one; none where nothing passes its threshold.
    ///
    /// A place is taken up where its estimates differ from what its parents publish by a *change*: where the round trip to a site is
    /// another by `min_gain_ms` and 10 % or more, or where a site that was as good or better than another is by as much worse. What is published
    /// of it stays until it is off by a change again, or until what the place says is less than half a change.
    #[must_use]
    pub fn next(&self, estimates: &Estimates, world: &impl World, min_gain_ms: f32) -> Option<Self> {
        let step = Step { estimates, min_gain_ms };
        let mut next =
            Self { countries: step.places(&self.countries, &estimates.countries, |_, _| 1.0), ..Self::default() };
        let country = |group: &(Country, u32), site: &str| next.factor(Some(group.0), None, site);
        next.networks = step.places(&self.networks, &estimates.networks, country);
        let said: BTreeMap<IpNet, &[Shift]> =
            estimates.prefixes.iter().map(|(prefix, shifts)| (*prefix, &**shifts)).collect();
        let mut ranked = Vec::new();
        for prefix in self.prefixes.keys().chain(said.keys()).copied().collect::<BTreeSet<IpNet>>() {
            let client = prefix.network();
            let (country, asn) = (world.country(client), world.asn(client));
            let parent = |site: &str| next.factor(country, asn, site);
            let shifts = said.get(&prefix).copied().unwrap_or_default();
            let old = self.prefixes.get(&prefix);
            let Some(factors) = step.place(old.map(|old| &old.factors), shifts, parent) else { continue };
            let weight = shifts.iter().map(|shift| shift.samples).sum();
            let moves = shifts.iter().map(|shift| shift.moves_ms(parent(step.name(shift))));
            let rank = moves.fold(0.0, f32::max) * weight * if old.is_some() { KEPT } else { 1.0 };
            let stays = old.filter(|old| old.factors == factors).cloned();
            ranked.push((rank, prefix, stays.unwrap_or(Prefix { weight, factors })));
        }
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        ranked.truncate(MAX_PREFIXES);
        next.prefixes = ranked.into_iter().map(|(_, prefix, place)| (prefix, place)).collect();
        (next != *self).then_some(next)
    }

    /// Factor on the prior for a place of which no prefix is published: by network, else country, else 1.
    #[must_use]
    pub fn factor(&self, country: Option<Country>, asn: Option<u32>, site: &str) -> f32 {
        let network = country.zip(asn).and_then(|network| self.networks.get(&network));
        let country = country.and_then(|country| self.countries.get(&country));
        let of = |factors: &Factors| site_factor(factors, site);
        network.and_then(of).or_else(|| country.and_then(of)).unwrap_or(1.0)
    }

    /// The prefixes that have factors of their own, ascending; their sites that are not among these go by [`Self::factor`].
    /// The last is how much is known of it: samples, decayed to when it was taken up.
    pub fn prefixes(&self) -> impl Iterator<Item = (IpNet, &[(Arc<str>, f32)], f32)> {
        self.prefixes.iter().map(|(prefix, place)| (*prefix, &*place.factors, place.weight))
    }

    /// The factors of one prefix of those.
    #[must_use]
    pub fn prefix(&self, prefix: &IpNet) -> Option<&[(Arc<str>, f32)]> {
        self.prefixes.get(prefix).map(|place| &*place.factors)
    }

    /// Is nothing published, so that all goes by the prior?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.countries.is_empty() && self.networks.is_empty() && self.prefixes.is_empty()
    }
}

fn site_factor(factors: &[(Arc<str>, f32)], site: &str) -> Option<f32> {
    factors.binary_search_by(|(name, _)| (**name).cmp(site)).ok().map(|at| factors[at].1)
}

/// From one published state to the next.
struct Step<'a> {
    estimates: &'a Estimates,
    min_gain_ms: f32,
}

impl Step<'_> {
    fn name(&self, shift: &Shift) -> &Arc<str> {
        &self.estimates.targets[shift.target.index()]
    }

    /// Those of one level.
    fn places<G: Ord + Copy>(
        &self,
        old: &BTreeMap<G, Factors>,
        said: &[(G, Vec<Shift>)],
        parent: impl Fn(&G, &str) -> f32,
    ) -> BTreeMap<G, Factors> {
        let said: BTreeMap<G, &[Shift]> = said.iter().map(|(group, shifts)| (*group, &**shifts)).collect();
        let groups: BTreeSet<G> = old.keys().chain(said.keys()).copied().collect();
        let next = |group: G| {
            let shifts = said.get(&group).copied().unwrap_or_default();
            Some((group, self.place(old.get(&group), shifts, |site| parent(&group, site))?))
        };
        groups.into_iter().filter_map(next).collect()
    }

    /// What is published of a place next; none: nothing.
    fn place(&self, old: Option<&Factors>, said: &[Shift], parent: impl Fn(&str) -> f32) -> Option<Factors> {
        let served = |site: &str| old.and_then(|old| site_factor(old, site)).unwrap_or_else(|| parent(site));
        if !self.changes(said, &parent, NOTHING) {
            return None;
        }
        if !self.changes(said, &served, 1.0) {
            return old.cloned();
        }
        let mut factors: Vec<(Arc<str>, f32)> =
            said.iter().map(|shift| (self.name(shift).clone(), shift.factor())).collect();
        factors.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        Some(factors.into())
    }

    /// Is what is said this part of a change, or more, from such factors?
    fn changes(&self, said: &[Shift], from: &impl Fn(&str) -> f32, part: f32) -> bool {
        let is_more = |ms: f32, of_ms: f32| ms >= part * self.min_gain_ms && ms >= part * PART * of_ms && ms > 0.0;
        let round_trips = |shift: &Shift| (shift.prior_ms * from(self.name(shift)), shift.prior_ms * shift.factor());
        let mut round_trips: Vec<(f32, f32)> = said.iter().map(round_trips).collect();
        if round_trips.iter().any(|(before, after)| is_more((after - before).abs(), *before)) {
            return true;
        }
        round_trips.sort_by(|a, b| a.0.total_cmp(&b.0));
        // Of all that stood before it, the one that is worst now.
        let mut worst = 0.0_f32;
        round_trips.iter().any(|(_, after)| {
            worst = worst.max(*after);
            is_more(worst - after, worst)
        })
    }
}
