//! What answers go by: estimates, held still until they have moved far enough.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;

use super::biases::PRIOR_SPREAD;
use super::estimate::{Estimates, Shift};
use super::record::MAX_TARGETS;
use super::solve::Expected;
use super::store::Key;
use super::{TargetId, World};
use crate::model::Country;

/// What is published of a place: factors by site, ascending by name.
pub(super) type Factors = Box<[Factor]>;

/// What moves the prior of one site, with what it rested on when it was taken up.
#[derive(Clone, Debug, PartialEq)]
pub struct Factor {
    /// `cloud/region`
    pub site: Arc<str>,
    /// On the prior.
    pub factor: f32,
    /// Standard deviation of its logarithm.
    pub spread: f32,
    /// Decayed weight: of a prefix samples, of a country or network prefixes.
    pub samples: f32,
    /// When the newest sample came, to the minute; known to an eighth of the time that samples are kept for.
    pub newest: Timestamp,
}

/// Whose factor it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A prefix's own.
    Prefix(IpNet),
    /// An autonomous system's in a country.
    Network(Country, u32),
    /// A country's.
    Country(Country),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prefix(prefix) => write!(f, "prefix {prefix}"),
            Self::Network(country, asn) => write!(f, "AS{asn} in {country}"),
            Self::Country(country) => write!(f, "country {country}"),
        }
    }
}

/// What is published of one prefix.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Prefix {
    /// Decayed count of the samples of the site that has most, when this was taken up.
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
    /// What servers take of their own, by site, ms. Answers do not go by it, but what is published next does.
    pub(super) biases: BTreeMap<Arc<str>, f32>,
    pub(super) countries: BTreeMap<Country, Factors>,
    pub(super) networks: BTreeMap<(Country, u32), Factors>,
    pub(super) prefixes: BTreeMap<IpNet, Prefix>,
}

/// Prefixes that are published: those whose samples × ms moved are most; what is published counts as [`KEPT`] times that.
pub(super) const MAX_PREFIXES: usize = 65_536;
pub(super) const KEPT: f32 = 2.0;
/// Networks that answers may tell from the rest of their countries.
const MAX_NETWORKS: usize = 1_024;
/// Whoever claims more than this, in ms, gains no place by it.
pub(super) const MOST_MS: f32 = 300.0;
/// Prefixes of one holding ([`Key::holding`]) that are published: nobody takes all places.
const MAX_OF_HOLDING: usize = 1_024;
/// A change is one from this part of the round trip on.
const PART: f32 = 0.1;
/// What is published goes when it says less than this part of a change.
const NOTHING: f32 = 0.5;

impl Published {
    /// The next one, by what [`Samples::estimate`](super::Samples::estimate) made of this one; none where nothing passes its
    /// threshold.
    ///
    /// A place is taken up where its estimates differ from what its parents publish by a *change*: where the round trip to a site is
    /// another by `min_gain_ms` and 10 % or more, or where a site that was as good or better than another is by as much worse. What is published
    /// of it stays until it is off by a change again, or until what the place says is less than half a change; and what too few say
    /// anything of, until the samples behind it would be too old to be kept.
    #[must_use]
    pub fn next(&self, estimates: &Estimates, world: &impl World, min_gain_ms: f32) -> Option<Self> {
        let (step, heard) = (Step { estimates, min_gain_ms }, &estimates.heard);
        if heard.prefixes.is_empty() {
            // All of it comes from elsewhere, and stays as whoever measures has it.
            let lasts = self.factors().any(|factors| step.standing(factors, &[]).is_some());
            return (!lasts && !self.is_empty()).then(Self::default);
        }
        let mut next = self.next_groups(estimates, min_gain_ms);
        let said: BTreeMap<IpNet, &[Shift]> =
            estimates.prefixes.iter().map(|(prefix, shifts)| (*prefix, &**shifts)).collect();
        let mut ranked = Vec::new();
        for prefix in self.prefixes.keys().chain(said.keys()).copied().collect::<BTreeSet<IpNet>>() {
            let client = prefix.network();
            if !world.is_one_place(client) {
                continue;
            }
            let (country, asn) = (world.country(client), world.named_asn(client));
            let parent = |site: &str| next.factor(country, asn, site);
            let shifts = said.get(&prefix).copied().unwrap_or_default();
            let old = self.prefixes.get(&prefix);
            if heard.prefixes.binary_search(&Key::of(client)).is_err() {
                let stays = old.and_then(|old| Some((old.weight, step.standing(&old.factors, &[])?)));
                ranked.extend(
                    stays.map(|(weight, factors)| (min_gain_ms * weight * KEPT, prefix, Prefix { weight, factors })),
                );
                continue;
            }
            let standing = old.and_then(|old| step.standing(&old.factors, shifts));
            let Some(factors) = step.place(standing.as_ref(), shifts, parent) else { continue };
            // Answers know nothing of a network that is not told apart: what it says of sites that the prefix has not measured
            // stands beside what the prefix says, else these would be compared wrongly. As it says it now, if at all.
            let network = country.zip(world.asn(client));
            let own =
                step.without_its_networks(factors, shifts, network.and_then(|network| self.networks.get(&network)));
            if own.is_empty() {
                continue;
            }
            let unnamed = network.filter(|network| asn != Some(network.1));
            let factors = match unnamed.and_then(|network| next.networks.get(&network)) {
                Some(of_network) => beside(own, of_network),
                None => own,
            };
            let weight = shifts.iter().map(|shift| shift.samples).fold(0.0, f32::max);
            let moves = |shift: &Shift| shift.moves_ms(parent(step.name(shift))).min(MOST_MS) * shift.samples;
            let rank = shifts.iter().map(moves).fold(0.0, f32::max) * if old.is_some() { KEPT } else { 1.0 };
            let stays = old.filter(|old| old.factors == factors).cloned();
            ranked.push((rank, prefix, stays.unwrap_or(Prefix { weight, factors })));
        }
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        let mut of_holding = BTreeMap::<u64, usize>::new();
        ranked.retain(|(_, prefix, _)| {
            let count = of_holding.entry(Key::of(prefix.network()).holding()).or_default();
            *count += 1;
            *count <= MAX_OF_HOLDING
        });
        ranked.truncate(MAX_PREFIXES);
        next.prefixes = ranked.into_iter().map(|(_, prefix, place)| (prefix, place)).collect();
        (!self.may_stay_for(&next, estimates)).then_some(next)
    }

    /// The next one as far as it goes for more than one prefix: of countries, networks and servers.
    pub(super) fn next_groups(&self, estimates: &Estimates, min_gain_ms: f32) -> Self {
        let (step, heard) = (Step { estimates, min_gain_ms }, &estimates.heard);
        let countries = step.places(&self.countries, &estimates.countries, &heard.countries, |_, _| 1.0);
        let mut next = Self { countries, ..Self::default() };
        let country = |group: &(Country, u32), site: &str| next.factor(Some(group.0), None, site);
        next.networks = step.places(&self.networks, &estimates.networks, &heard.networks, country);
        let unknown = |site: &Arc<str>| !self.is_empty() && !estimates.targets.contains(site);
        next.biases = self.biases.clone();
        next.biases.retain(|site, _| unknown(site));
        let name = |target: &TargetId| estimates.targets[target.index()].clone();
        next.biases.extend(estimates.biases_ms.iter().map(|(target, ms)| (name(target), *ms)));
        while next.biases.len() > MAX_TARGETS {
            next.biases.pop_last();
        }
        next
    }

    /// Is the next one the same, but for how new the samples are, and that by less than an eighth of the time that they are kept for? Whoever
    /// has another table decides anew.
    fn may_stay_for(&self, next: &Self, estimates: &Estimates) -> bool {
        let is_as = |old: &Factor, new: &Factor| {
            let (at, parts) = (old.newest, |at| estimates.heard.part(at));
            *old == Factor { newest: at, ..new.clone() } && parts(new.newest) <= parts(at) + 1
        };
        let are_as = |(old, new): (&Factors, &Factors)| {
            old.len() == new.len() && old.iter().zip(new).all(|(old, new)| is_as(old, new))
        };
        self.biases == next.biases
            && self.countries.keys().eq(next.countries.keys())
            && self.networks.keys().eq(next.networks.keys())
            && self.prefixes.keys().eq(next.prefixes.keys())
            && self.factors().zip(next.factors()).all(are_as)
    }

    /// Of all places.
    fn factors(&self) -> impl Iterator<Item = &Factors> {
        let prefixes = self.prefixes.values().map(|prefix| &prefix.factors);
        self.countries.values().chain(self.networks.values()).chain(prefixes)
    }

    /// What a server takes of its own, ms; none: nobody has said yet.
    pub(super) fn bias_ms(&self, site: &str) -> Option<f64> {
        self.biases.get(site).map(|ms| f64::from(*ms))
    }

    /// What is expected of the way to a site from a place of which no prefix is published.
    pub(super) fn expected(&self, country: Option<Country>, asn: Option<u32>, site: &str, prior_ms: f64) -> Expected {
        let found = self.find(None, country, asn, site);
        let of = |(_, factor): (Place, &Factor)| (f64::from(factor.factor), f64::from(factor.spread));
        let (factor, spread) = found.map_or((1.0, PRIOR_SPREAD), of);
        Expected { prior_ms, factor, spread }
    }

    /// Factor on the prior for a place of which no prefix is published: by network, else country, else 1.
    #[must_use]
    pub fn factor(&self, country: Option<Country>, asn: Option<u32>, site: &str) -> f32 {
        self.find(None, country, asn, site).map_or(1.0, |(_, factor)| factor.factor)
    }

    /// What moves the prior of a site, the narrowest place's first; none: nothing does.
    #[must_use]
    pub fn find(
        &self,
        prefix: Option<IpNet>,
        country: Option<Country>,
        asn: Option<u32>,
        site: &str,
    ) -> Option<(Place, &Factor)> {
        let of = |factors| find_factor(factors, site);
        let own = || Some((Place::Prefix(prefix?), of(&self.prefixes.get(&prefix?)?.factors)?));
        let network = || {
            let (country, asn) = country.zip(asn)?;
            Some((Place::Network(country, asn), of(self.networks.get(&(country, asn))?)?))
        };
        let at_large = || Some((Place::Country(country?), of(self.countries.get(&country?)?)?));
        own().or_else(network).or_else(at_large)
    }

    /// The prefixes that have factors of their own, ascending; their sites that are not among these go by [`Self::factor`].
    /// The last is how much is known of it: samples of the site that has most, decayed to when it was taken up.
    pub fn prefixes(&self) -> impl Iterator<Item = (IpNet, &[Factor], f32)> {
        self.prefixes.iter().map(|(prefix, place)| (*prefix, &*place.factors, place.weight))
    }

    /// The factors of one prefix of those.
    #[must_use]
    pub fn prefix(&self, prefix: &IpNet) -> Option<&[Factor]> {
        self.prefixes.get(prefix).map(|place| &*place.factors)
    }

    /// How many countries and networks have factors.
    #[must_use]
    pub fn groups(&self) -> usize {
        self.countries.len() + self.networks.len()
    }

    /// How many networks there are that answers never tell apart, since there are too many.
    #[must_use]
    pub fn networks_beyond(&self) -> usize {
        self.networks.len().saturating_sub(MAX_NETWORKS)
    }

    /// The networks that have factors, those of most prefixes first, as many as answers may tell from the rest of their
    /// countries.
    #[must_use]
    pub fn networks(&self) -> Vec<(Country, u32)> {
        let most = |factors: &Factors| factors.iter().map(|factor| factor.samples).fold(0.0, f32::max);
        let mut ranked: Vec<_> = self.networks.iter().map(|(network, factors)| (most(factors), *network)).collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        ranked.into_iter().map(|(_, network)| network).take(MAX_NETWORKS).collect()
    }

    /// Are the factors of countries the same, and those of the networks that answers tell apart?
    #[must_use]
    pub fn has_groups_of(&self, other: &Self, is_told_apart: impl Fn((Country, u32)) -> bool) -> bool {
        fn by_site<G>((group, factors): (G, &Factors)) -> (G, Vec<(&str, f32)>) {
            (group, factors.iter().map(|factor| (&*factor.site, factor.factor)).collect())
        }
        let told_apart = |(network, _): &(&(Country, u32), &Factors)| is_told_apart(**network);
        let networks = other.networks.iter().filter(&told_apart).map(by_site);
        self.countries.iter().map(by_site).eq(other.countries.iter().map(by_site))
            && self.networks.iter().filter(&told_apart).map(by_site).eq(networks)
    }

    /// When the newest sample came that anything of it rests on; none: nothing is published.
    #[must_use]
    pub fn newest(&self) -> Option<Timestamp> {
        self.factors().flatten().map(|factor| factor.newest).max()
    }

    /// Is nothing published, so that all goes by the prior?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.countries.is_empty() && self.networks.is_empty() && self.prefixes.is_empty()
    }
}

/// That of a site.
pub(super) fn find_factor<'f>(factors: &'f [Factor], site: &str) -> Option<&'f Factor> {
    factors.binary_search_by(|factor| (*factor.site).cmp(site)).ok().map(|at| &factors[at])
}

/// These, and others of sites that they say nothing of.
fn beside(factors: Factors, others: &Factors) -> Factors {
    let missing = others.iter().filter(|other| find_factor(&factors, &other.site).is_none()).cloned();
    let mut all: Vec<Factor> = missing.collect();
    all.extend(factors);
    all.sort_unstable_by(|a, b| a.site.cmp(&b.site));
    all.into()
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
        heard: &BTreeMap<G, Vec<TargetId>>,
        parent: impl Fn(&G, &str) -> f32,
    ) -> BTreeMap<G, Factors> {
        let said: BTreeMap<G, &[Shift]> = said.iter().map(|(group, shifts)| (*group, &**shifts)).collect();
        let groups: BTreeSet<G> = old.keys().chain(said.keys()).copied().collect();
        let next = |group: G| {
            let (old, shifts) = (old.get(&group), said.get(&group).copied().unwrap_or_default());
            let Some(told) = heard.get(&group) else {
                return Some((group, self.standing(old?, &[])?));
            };
            let (said, unheard) = old.map(|old| self.split(old, shifts, told)).unwrap_or_default();
            let next = self.place(Some(&said), shifts, |site| parent(&group, site)).unwrap_or_default();
            let next = beside(next, &unheard);
            (!next.is_empty()).then_some((group, next))
        };
        groups.into_iter().filter_map(next).collect()
    }

    /// Those of a group of which something is said, and those of which too few told to say anything, and which are not too old. Where
    /// enough told and there is nothing to say, its parent's hold, lest what is over stay beside what goes on.
    fn split(&self, old: &Factors, said: &[Shift], told: &[TargetId]) -> (Factors, Factors) {
        let is_said = |factor: &Factor| said.iter().any(|shift| *self.name(shift) == factor.site);
        let is_unheard = |factor: &Factor| {
            self.estimates.heard.keeps(factor.newest)
                && told.iter().all(|target| self.estimates.targets[target.index()] != factor.site)
        };
        let (said, others): (Vec<_>, Vec<_>) = old.iter().cloned().partition(is_said);
        (said.into(), others.into_iter().filter(is_unheard).collect())
    }

    /// Those of which something is said, or the samples behind which would not be forgotten yet; none: no such. So what is published
    /// outlasts its samples by that: they may be on another node, or lost.
    fn standing(&self, old: &Factors, said: &[Shift]) -> Option<Factors> {
        let stands = |factor: &&Factor| {
            self.estimates.heard.keeps(factor.newest) || said.iter().any(|shift| *self.name(shift) == factor.site)
        };
        let standing: Factors = old.iter().filter(stands).cloned().collect();
        (!standing.is_empty()).then_some(standing)
    }

    /// Those of a prefix without what stood beside them until now: what its network says of sites that nothing is said of.
    fn without_its_networks(&self, factors: Factors, said: &[Shift], network: Option<&Factors>) -> Factors {
        let Some(network) = network else { return factors };
        let is_own = |factor: &Factor| {
            find_factor(network, &factor.site).is_none() || said.iter().any(|shift| *self.name(shift) == factor.site)
        };
        factors.into_vec().into_iter().filter(is_own).collect()
    }

    /// What is published of a place next; none: nothing.
    fn place(&self, old: Option<&Factors>, said: &[Shift], parent: impl Fn(&str) -> f32) -> Option<Factors> {
        let served = |site: &str| {
            old.and_then(|old| find_factor(old, site)).map_or_else(|| parent(site), |factor| factor.factor)
        };
        if !self.changes(said, &parent, NOTHING) {
            return None;
        }
        if !self.changes(said, &served, 1.0) {
            return old.map(|old| self.as_young(old, said));
        }
        let factor = |shift: &Shift| {
            let &Shift { spread, samples, newest, .. } = shift;
            Factor { site: self.name(shift).clone(), factor: shift.factor(), spread, samples, newest }
        };
        let mut factors: Vec<Factor> = said.iter().map(factor).collect();
        factors.sort_unstable_by(|a, b| a.site.cmp(&b.site));
        Some(factors.into())
    }

    /// The same, and as young as the samples behind it.
    fn as_young(&self, old: &Factors, said: &[Shift]) -> Factors {
        let young = |factor: &Factor| {
            let newest = said.iter().find(|shift| *self.name(shift) == factor.site).map(|shift| shift.newest);
            Factor { newest: newest.map_or(factor.newest, |newest| newest.max(factor.newest)), ..factor.clone() }
        };
        old.iter().map(young).collect()
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
