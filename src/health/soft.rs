//! Soft signals, which may be wrong about many at once: metrics, and answers that are slow (BEHAVIOUR rule 15).
//!
//! What they take out of a fence of some service, or set back there, is bounded by `max_soft_down` of its capacity. What is
//! down without them counts for nothing on either side, so that a death makes no soft signal believed, and the last that
//! lives is never taken out by one. Where they speak against more, it is load or the instrument: at once they are *unheeded*
//! for all endpoints of that fence, in every service, until it has been less for a window.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::correlation::{Notice, Subject, after};
use crate::config::Config;
use crate::model::Endpoint;

/// Shares are decimal fractions, which doubles do not hold exactly.
const ROUNDING: f64 = 1e-9;
/// So many endpoints are named.
const NAMED: usize = 5;

/// What the fences of services leave, and what soft signals take of it.
#[derive(Debug, Default)]
pub(super) struct SoftLimits {
    /// At most this share.
    share: f64,
    /// Heeded again after so long below it.
    window: Duration,
    fences: Vec<Fence>,
    endpoints: Vec<Softened>,
    /// Fences to be looked at again.
    stirred: BTreeSet<usize>,
    /// What is to be said of fences that are no more.
    gone: Vec<Notice>,
}

/// How an endpoint stands with soft signals and without.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stand {
    /// They speak against it.
    pub(super) softened: bool,
    /// It is down without them.
    pub(super) down: bool,
}

#[derive(Debug)]
struct Softened {
    name: Arc<str>,
    stand: Stand,
    /// The fences that leave it.
    fences: Vec<usize>,
}

/// Endpoints that a fence leaves to some clients, against some of which soft signals may speak.
#[derive(Debug)]
struct Fence {
    /// The first service that has it.
    service: Arc<str>,
    /// Indexes of endpoints, with what each can carry.
    members: Vec<(usize, f64)>,
    /// Soft signals count for nobody of it, and so it has been told; none: they do, or may not from now on.
    unheeded: Option<Unheeded>,
}

#[derive(Clone, Debug)]
struct Unheeded {
    /// Why, when it began.
    why: String,
    /// Since when they speak against little enough that they could count.
    under_since: Option<Timestamp>,
}

impl SoftLimits {
    /// Takes over the fences of a configuration, and how its endpoints stand; `may_speak`: against which soft signals can.
    /// What has been told of the same endpoints stands.
    pub(super) fn reconfigure(&mut self, config: &Config, stands: Vec<Stand>, may_speak: impl Fn(usize) -> bool) {
        let mut old = std::mem::take(self);
        let known = old.fences.iter().filter_map(|fence| Some((old.names(fence), fence.unheeded.clone()?)));
        let known: HashMap<Vec<Arc<str>>, Unheeded> = known.collect();
        let endpoint =
            |(endpoint, stand): (&Endpoint, Stand)| Softened { name: endpoint.name.clone(), stand, fences: Vec::new() };
        self.share = config.health.max_soft_down;
        self.window = config.health.window;
        self.gone = std::mem::take(&mut old.gone);
        self.endpoints = config.endpoints.iter().zip(stands).map(endpoint).collect();
        let mut services = vec![None; config.plans.len()];
        for service in config.services.iter().rev() {
            services[service.plan.index()] = Some(&service.label);
        }
        let (mut sets, mut stays) = (HashSet::new(), HashSet::new());
        for (plan, service) in config.plans.iter().zip(services) {
            let Some(service) = service.filter(|_| plan.members.iter().any(|id| may_speak(id.index()))) else {
                continue;
            };
            let capacities = plan.capacities(&config.endpoints);
            for set in plan.fenced_sets(&config.fence_combinations).into_iter().filter(|set| set.len() > 1) {
                let at = |index: usize| plan.members[index].index();
                let members: Vec<_> =
                    set.iter().map(|member| (at(member.index()), capacities[member.index()])).collect();
                let key: Vec<_> = members.iter().map(|(at, capacity)| (*at, capacity.to_bits())).collect();
                if !members.iter().any(|(at, _)| may_speak(*at)) || !sets.insert(key) {
                    continue;
                }
                let (index, service) = (self.fences.len(), service.clone());
                members.iter().for_each(|(at, _)| self.endpoints[*at].fences.push(index));
                let fence = Fence { service, members, unheeded: None };
                let names = self.names(&fence);
                self.fences.push(Fence { unheeded: known.get(&names).cloned(), ..fence });
                self.stirred.insert(index);
                stays.insert(names);
            }
        }
        let gone = old.fences.iter().filter(|fence| fence.unheeded.is_some() && !stays.contains(&old.names(fence)));
        self.gone.extend(gone.map(|fence| old.ends(fence)));
    }

    /// Takes in how an endpoint stands now.
    pub(super) fn turn(&mut self, endpoint: usize, stand: Stand) {
        let Softened { stand: before, fences, .. } = &mut self.endpoints[endpoint];
        if std::mem::replace(before, stand) == stand {
            return;
        }
        self.stirred.extend(fences.iter());
    }

    /// Do soft signals count for nothing at an endpoint, since they speak against too many of a fence of it?
    pub(super) fn is_unheeded(&self, endpoint: usize) -> bool {
        let Softened { stand, fences, .. } = &self.endpoints[endpoint];
        stand.softened
            && fences
                .iter()
                .map(|&fence| &self.fences[fence])
                .any(|fence| fence.unheeded.is_some() || self.is_over(fence))
    }

    /// What is to be said after some turned or time passed, and which endpoints are to be summed up anew.
    pub(super) fn review(&mut self, now: Timestamp) -> (Vec<Notice>, BTreeSet<usize>) {
        let (mut notices, mut endpoints) = (std::mem::take(&mut self.gone), BTreeSet::new());
        for index in std::mem::take(&mut self.stirred) {
            let (over, fence) = (self.is_over(&self.fences[index]), &self.fences[index]);
            let softened = fence.members.iter().map(|(at, _)| *at).filter(|&at| self.endpoints[at].stand.softened);
            endpoints.extend(softened);
            let unheeded = match (fence.unheeded.clone(), over) {
                (None, false) => None,
                (None, true) => {
                    let begins = self.begins(fence);
                    notices.push(begins.clone());
                    Some(Unheeded { why: begins.reason, under_since: None })
                }
                (Some(unheeded), true) => Some(Unheeded { under_since: None, ..unheeded }),
                (Some(unheeded), false) => {
                    let since = unheeded.under_since.map_or(now, |since| since.min(now)); // a clock may be set back
                    let is_over = now >= after(since, self.window);
                    if is_over {
                        notices.push(self.ends(fence));
                    } else {
                        self.stirred.insert(index);
                    }
                    (!is_over).then_some(Unheeded { under_since: Some(since), ..unheeded })
                }
            };
            self.fences[index].unheeded = unheeded;
        }
        (notices, endpoints)
    }

    /// When [`review`](Self::review) has something to do, if nothing else happens.
    pub(super) fn next_tick(&self) -> Option<Timestamp> {
        let waiting = self.stirred.iter().filter_map(|&index| self.fences[index].unheeded.as_ref()?.under_since);
        waiting.min().map(|since| after(since, self.window))
    }

    /// Where soft signals count for nothing, and why.
    pub(super) fn unheeded(&self) -> impl Iterator<Item = Notice> {
        let notice = |fence: &Fence| {
            let Unheeded { why, under_since } = fence.unheeded.as_ref()?;
            let since = under_since.map(|since| format!("; less since {since:.0}")).unwrap_or_default();
            let subject = Subject::Fence(fence.service.clone());
            Some(Notice { subject, failing: true, reason: why.clone() + &since })
        };
        self.fences.iter().filter_map(notice)
    }

    fn is_over(&self, fence: &Fence) -> bool {
        self.softened(fence) > self.share + ROUNDING
    }

    /// The share of what lives of its capacity that soft signals speak against.
    fn softened(&self, fence: &Fence) -> f64 {
        let (mut softened, mut all) = (0.0, 0.0);
        for (at, capacity) in &fence.members {
            let stand = self.endpoints[*at].stand;
            all += if stand.down { 0.0 } else { *capacity };
            softened += if stand.softened && !stand.down { *capacity } else { 0.0 };
        }
        if all > 0.0 { softened / all } else { 0.0 }
    }

    fn names(&self, fence: &Fence) -> Vec<Arc<str>> {
        fence.members.iter().map(|(at, _)| self.endpoints[*at].name.clone()).collect()
    }

    fn begins(&self, fence: &Fence) -> Notice {
        let percent = |share: f64| (share * 100.0).round();
        let stands = fence.members.iter().map(|(at, _)| &self.endpoints[*at]);
        let against = stands.filter(|endpoint| endpoint.stand.softened && !endpoint.stand.down);
        let against: Vec<Arc<str>> = against.map(|endpoint| endpoint.name.clone()).collect();
        let reason = format!(
            "soft signals speak against {} of {} endpoints, {} % of the capacity that lives ({}); over max_soft_down, {} %, it \
             is load or the instrument, and counts for none of them",
            against.len(),
            fence.members.len(),
            percent(self.softened(fence)),
            named(&against),
            percent(self.share),
        );
        Notice { subject: Subject::Fence(fence.service.clone()), failing: true, reason }
    }

    fn ends(&self, fence: &Fence) -> Notice {
        let reason = format!("soft signals count again for {}", named(&self.names(fence)));
        Notice { subject: Subject::Fence(fence.service.clone()), failing: false, reason }
    }
}

fn named(names: &[Arc<str>]) -> String {
    let more = names.len().saturating_sub(NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    names[..names.len().min(NAMED)].join(", ") + &more
}
