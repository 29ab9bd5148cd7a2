//! From samples to estimates.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ipnet::IpNet;
use jiff::Timestamp;

use super::groups::{Before, Gathered, Vote, gather};
use super::published::{Factors, KEPT, MOST_MS, Place, Published, find_factor};
use super::record::{minute, sessions, time_of};
use super::solve::{Case, Clock, Expected, Told};
use super::store::{Key, Samples};
use super::{TargetId, World};
use crate::latency::sphere::{exp, ln};
use crate::model::Country;

/// What samples say beyond the prior of the way to a site: estimate = prior × e^ln.
#[derive(Clone, Debug, PartialEq)]
pub struct Shift {
    /// The site.
    pub target: TargetId,
    /// Logarithm of the factor on the prior.
    pub ln: f32,
    /// How far off `ln` may be (a standard deviation, but for far tails): of a prefix, as it is known; of a country or network,
    /// its prefixes around it.
    pub spread: f32,
    /// What it rests on, decayed: of a prefix samples, of a country or network prefixes.
    pub samples: f32,
    /// When the newest sample came, to the minute.
    pub newest: Timestamp,
    /// The prior, ms; of a country or network, that of its prefixes in the middle.
    pub prior_ms: f32,
}

impl Shift {
    /// What it moves the expected round trip by if that was the prior times such a factor, ms.
    pub(super) fn moves_ms(&self, factor: f32) -> f32 {
        (self.prior_ms * (self.factor() - factor)).abs()
    }

    /// On the prior.
    #[must_use]
    pub fn factor(&self) -> f32 {
        exp(f64::from(self.ln)) as f32
    }
}

/// What samples say. Each list ascends, so that it is the same on every node; shifts ascend by site.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Estimates {
    /// The sites' names, by [`TargetId`].
    pub targets: Vec<Arc<str>>,
    /// Only countries of which their prefixes say something in common.
    pub countries: Vec<(Country, Vec<Shift>)>,
    /// Of a country's autonomous systems, those of which their prefixes say something else than the country's.
    pub networks: Vec<((Country, u32), Vec<Shift>)>,
    /// /24 and /48, shrunk towards what is published of network and country next, or the prior; only those that say something else than these. At most 131,072:
    /// those that move most samples by most ms.
    pub prefixes: Vec<(IpNet, Vec<Shift>)>,
    /// What servers take of their own, ms, whoever measures, as it is published next; only differences mean anything.
    pub biases_ms: Vec<(TargetId, f32)>,
    /// What is published of countries and networks next, and servers' biases: by these prefixes were worked out.
    pub(super) held: Published,
    pub(super) heard: Heard,
}

/// Of whom there are samples enough to say something, or that there is nothing to say.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Heard {
    /// With the sites of which enough of their prefixes told.
    pub(super) countries: BTreeMap<Country, Vec<TargetId>>,
    pub(super) networks: BTreeMap<(Country, u32), Vec<TargetId>>,
    /// Ascending.
    pub(super) prefixes: Vec<Key>,
    /// Samples from before, and from after, are forgotten.
    pub(super) oldest: Timestamp,
    pub(super) newest: Timestamp,
}

impl Heard {
    /// Would a sample of then be kept?
    pub(super) fn keeps(&self, at: Timestamp) -> bool {
        (self.oldest..=self.newest).contains(&at)
    }

    /// The part of the time, of which samples are kept for sixteen, that it lies in.
    pub(super) fn part(&self, at: Timestamp) -> i64 {
        let part = self.newest.duration_since(self.oldest).as_secs() / 16;
        at.as_second().div_euclid(part.max(1))
    }
}

/// Prefixes in [`Estimates`].
const MAX_PREFIXES: usize = 131_072;
/// A prefix no shift of which is farther from what is served without it than this, in logarithms, says nothing.
const SAYS_NOTHING: f32 = 0.02;
/// What a prefix says for its group is shrunk towards the prior by little: that is done with all votes together.
const VOTE_SPREAD: f64 = 0.30;
/// No shift is larger: from an eighth of the prior to some sixty times, since the nearest sites may be a few ms away by it.
pub(super) const MOST_LN: f64 = 4.1;

/// The prefixes, and what the world says of them.
#[derive(Default)]
pub(super) struct Subjects {
    list: Vec<Entry>,
    priors: Vec<(TargetId, f32)>,
}

struct Entry {
    slot: u32,
    /// Its part of the one vote that its holding has.
    share: f32,
    country: Option<Country>,
    asn: Option<u32>,
    named_asn: Option<u32>,
    /// Where its priors end.
    to: usize,
}

/// One prefix.
pub(super) struct Subject<'a> {
    pub(super) slot: usize,
    pub(super) share: f32,
    country: Option<Country>,
    asn: Option<u32>,
    named_asn: Option<u32>,
    priors: &'a [(TargetId, f32)],
}

impl Subject<'_> {
    /// None: nothing stands there.
    pub(super) fn prior_ms(&self, target: TargetId) -> Option<f64> {
        let at = self.priors.binary_search_by_key(&target, |prior| prior.0).ok()?;
        Some(f64::from(self.priors[at].1))
    }

    fn network(&self) -> Option<(Country, u32)> {
        self.country.zip(self.asn)
    }
}

impl Subjects {
    pub(super) fn len(&self) -> usize {
        self.list.len()
    }

    /// How many votes they have together.
    pub(super) fn votes(&self) -> f64 {
        self.list.iter().map(|entry| f64::from(entry.share)).sum()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = Subject<'_>> {
        let starts = [0].into_iter().chain(self.list.iter().map(|entry| entry.to));
        self.list.iter().zip(starts).map(|(entry, from)| Subject {
            slot: entry.slot as usize,
            share: entry.share,
            country: entry.country,
            asn: entry.asn,
            named_asn: entry.named_asn,
            priors: &self.priors[from..entry.to],
        })
    }
}

impl Estimates {
    /// What samples say of a site: those of the client's own prefix, a /24 or /48, else of its network, else of its country. None: nothing
    /// that the prior does not.
    #[must_use]
    pub fn find(
        &self,
        prefix: IpNet,
        country: Option<Country>,
        asn: Option<u32>,
        site: &str,
    ) -> Option<(Place, &Shift)> {
        let target = TargetId(self.targets.iter().position(|name| **name == *site)? as u16);
        let own = || Some((Place::Prefix(prefix), find(&self.prefixes, &prefix, target)?));
        let network = || {
            let (country, asn) = country.zip(asn)?;
            Some((Place::Network(country, asn), find(&self.networks, &(country, asn), target)?))
        };
        let at_large = || Some((Place::Country(country?), find(&self.countries, &country?, target)?));
        own().or_else(network).or_else(at_large)
    }

    /// What is expected of a client's way to a site by network, country or the prior, without its own prefix's samples.
    pub(super) fn expected(
        &self,
        country: Option<Country>,
        asn: Option<u32>,
        target: TargetId,
        prior_ms: f64,
    ) -> Expected {
        let site = self.targets.get(target.index()).map_or("", |site| site); // it may be newer
        self.held.expected(country, asn, site, prior_ms)
    }

    /// A server's bias, ms.
    pub(super) fn bias_ms(&self, target: TargetId) -> f64 {
        let at = self.biases_ms.binary_search_by_key(&target, |bias| bias.0);
        at.map_or(0.0, |at| f64::from(self.biases_ms[at].1))
    }
}

/// What a sorted list says of a group's way to a site.
fn find<'a, G: Ord>(groups: &'a [(G, Vec<Shift>)], group: &G, target: TargetId) -> Option<&'a Shift> {
    let at = groups.binary_search_by(|(other, _)| other.cmp(group)).ok()?;
    let shifts = &groups[at].1;
    shifts.binary_search_by_key(&target, |shift| shift.target).ok().map(|at| &shifts[at])
}

impl Samples {
    /// What the samples say now, beside what is `published`: each prefix is worked out by what is published next of
    /// all else, which is held still ([`Published::next`], with the same arguments). So what others measured moves it only past a
    /// threshold.
    #[must_use]
    pub fn estimate(&self, published: &Published, world: &impl World, min_gain_ms: f32, now: Timestamp) -> Estimates {
        let subjects = self.subjects(world);
        let clock = self.clock(now);
        let biases = self.biases(&subjects, clock, published);
        let by_site = |(index, bias): (usize, Option<f64>)| Some((TargetId(index as u16), bias? as f32));
        let biases_ms = biases.into_iter().enumerate().filter_map(by_site).collect();
        let (prefixes, oldest) = (self.slots.keys().copied().collect(), time_of(self.oldest(now)));
        let newest = time_of(self.newest(now));
        let heard = Heard { prefixes, oldest, newest, ..Heard::default() };
        let mut estimates = Estimates { targets: self.targets.clone(), biases_ms, heard, ..Estimates::default() };
        self.estimate_groups(&mut estimates, published, &subjects, clock);
        estimates.held = published.next_groups(&estimates, min_gain_ms);
        estimates.prefixes = self.estimate_prefixes(&estimates, published, &subjects, clock);
        estimates
    }

    pub(super) fn clock(&self, now: Timestamp) -> Clock {
        Clock::new(&self.settings, minute(now), self.oldest(now))
    }

    /// In the order of prefixes.
    fn subjects(&self, world: &impl World) -> Subjects {
        let (mut subjects, mut holdings) = (Subjects::default(), Vec::new());
        for (key, &slot) in &self.slots {
            holdings.push(key.holding());
            let client = key.prefix().network();
            let from = subjects.priors.len();
            let measured = sessions(&self.records[slot as usize].words).flat_map(|session| session.samples());
            for (target, _) in measured {
                let known = &subjects.priors[from..];
                if let Err(at) = known.binary_search_by_key(&target, |prior| prior.0)
                    && let Some(prior_ms) = prior_ms(world, client, target)
                {
                    subjects.priors.insert(from + at, (target, prior_ms));
                }
            }
            let (country, asn, named_asn) = (world.country(client), world.asn(client), world.named_asn(client));
            subjects.list.push(Entry { slot, share: 1.0, country, asn, named_asn, to: subjects.priors.len() });
        }
        // Those of one holding lie side by side.
        let mut entries = subjects.list.iter_mut();
        for holding in holdings.chunk_by(|a, b| a == b) {
            entries.by_ref().take(holding.len()).for_each(|entry| entry.share = 1.0 / holding.len() as f32);
        }
        subjects
    }

    /// Countries first, then networks within them.
    fn estimate_groups(&self, estimates: &mut Estimates, published: &Published, subjects: &Subjects, clock: Clock) {
        let abstentions = self.settings.abstentions(subjects.votes());
        // A prefix has one vote at most: fewer than there are for no change need not be asked.
        let countries = with_more(subjects.iter().filter_map(|subject| subject.country), abstentions);
        let networks = with_more(subjects.iter().filter_map(|subject| subject.network()), abstentions);
        let (mut by_country, mut by_network) = (Vec::new(), Vec::new());
        let mut case = Case::default();
        for subject in subjects.iter() {
            let country = subject.country.filter(|country| countries.contains(country));
            let network = subject.network().filter(|network| networks.contains(network));
            if country.is_none() && network.is_none() {
                continue;
            }
            let expected = |target| {
                let prior_ms = subject.prior_ms(target)?;
                Some(Expected { prior_ms, factor: 1.0, spread: VOTE_SPREAD })
            };
            case.load(&self.records[subject.slot].words, clock, expected, |target| estimates.bias_ms(target));
            case.solve();
            for told in case.told() {
                by_country.extend(country.map(|group| vote(group, subject.share, told)));
                by_network.extend(network.map(|group| vote(group, subject.share, told)));
            }
        }
        let published_of = |factors: Option<&Factors>, target: TargetId| {
            let factor = find_factor(factors?, &estimates.targets[target.index()])?;
            estimates.heard.keeps(factor.newest).then(|| (ln(factor.factor.into()) as f32, factor.newest))
        };
        let before = |country, target| Before {
            parent: 0.0,
            published: published_of(published.countries.get(&country), target),
        };
        let Gathered { said: countries, heard } = gather(by_country, abstentions, before);
        let before = |network: (Country, u32), target| {
            // Of a network that is heard, so is the country.
            let parent = find(&countries, &network.0, target).map_or(0.0, |shift| shift.ln);
            Before { parent, published: published_of(published.networks.get(&network), target) }
        };
        let networks = gather(by_network, abstentions, before);
        (estimates.countries, estimates.heard.countries) = (countries, heard);
        (estimates.networks, estimates.heard.networks) = (networks.said, networks.heard);
    }

    fn estimate_prefixes(
        &self,
        estimates: &Estimates,
        published: &Published,
        subjects: &Subjects,
        clock: Clock,
    ) -> Vec<(IpNet, Vec<Shift>)> {
        let mut said: Vec<(f32, Key, Vec<Shift>)> = Vec::new();
        let most_first =
            |a: &(f32, Key, Vec<Shift>), b: &(f32, Key, Vec<Shift>)| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1));
        let keep_most = |said: &mut Vec<(f32, Key, Vec<Shift>)>| {
            if said.len() > MAX_PREFIXES {
                said.select_nth_unstable_by(MAX_PREFIXES, most_first);
                said.truncate(MAX_PREFIXES);
            }
        };
        let mut case = Case::default();
        for subject in subjects.iter() {
            let record = &self.records[subject.slot];
            let expected =
                |target| Some(estimates.expected(subject.country, subject.asn, target, subject.prior_ms(target)?));
            case.load(&record.words, clock, expected, |target| estimates.bias_ms(target));
            case.solve();
            case.average();
            let served = |told: &Told| {
                let site = &estimates.targets[told.target.index()];
                f64::from(estimates.held.factor(subject.country, subject.named_asn, site))
            };
            if case.told().any(|told| (shift_ln(told) - ln(served(told))).abs() as f32 >= SAYS_NOTHING) {
                // As what is published is ranked, or what is cut here would have stayed there.
                let off_ms = |told: &Told| (told.ms - told.expected.prior_ms * served(told)).abs().min(MOST_MS.into());
                let moves = case.told().map(|told| (off_ms(told) * told.samples) as f32);
                let kept = if published.prefix(&record.key.prefix()).is_some() { KEPT } else { 1.0 };
                let rank = moves.fold(0.0, f32::max) * subject.share * kept;
                said.push((rank, record.key, case.told().map(shift).collect()));
            }
            if said.len() >= 2 * MAX_PREFIXES {
                keep_most(&mut said);
            }
        }
        keep_most(&mut said);
        said.sort_unstable_by_key(|(_, key, _)| *key); // as prefixes sort
        said.into_iter().map(|(_, key, shifts)| (key.prefix(), shifts)).collect()
    }
}

/// The world's answer, if it is one.
pub(super) fn prior_ms(world: &impl World, client: std::net::IpAddr, target: TargetId) -> Option<f32> {
    world.prior_ms(client, target).filter(|ms| ms.is_finite() && *ms > 0.0)
}

/// The groups with more members than so many.
fn with_more<G: Ord>(members: impl Iterator<Item = G>, least: f64) -> BTreeSet<G> {
    let mut counts = BTreeMap::<G, usize>::new();
    members.for_each(|group| *counts.entry(group).or_default() += 1);
    counts.into_iter().filter(|(_, count)| *count as f64 > least).map(|(group, _)| group).collect()
}

fn shift_ln(told: &Told) -> f64 {
    ln(told.ms / told.expected.prior_ms).clamp(-MOST_LN, MOST_LN)
}

fn vote<G>(group: G, share: f32, told: &Told) -> Vote<G> {
    Vote {
        group,
        target: told.target,
        ln: shift_ln(told) as f32,
        share,
        weight: told.weight() as f32 * share,
        prior_ms: told.expected.prior_ms as f32,
        minute: told.minute,
    }
}

fn shift(told: &Told) -> Shift {
    Shift {
        target: told.target,
        ln: shift_ln(told) as f32,
        spread: (told.spread_ms / told.ms) as f32,
        samples: told.samples as f32,
        newest: time_of(told.minute),
        prior_ms: told.expected.prior_ms as f32,
    }
}
