//! Soft signals, which may be wrong about many at once: metrics, and answers that are slow (BEHAVIOUR rule 15).
//!
//! What they take out of a fence of some service, or set back there, is bounded by `max_soft_down` of its capacity. What is
//! down without them counts for nothing on either side, so that a death makes no soft signal believed, and the last that
//! lives is never taken out by one. Where they speak against more, it is load or the instrument: at once they are *unheeded*
//! for all endpoints of that fence, in every service, until it has been less for a window.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::correlation::{Notice, Subject, after};
use crate::config::Config;

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
    /// Soft signals count for nobody of it.
    unheeded: bool,
    /// Since when they speak against little enough that they could.
    under_since: Option<Timestamp>,
    /// What has been told.
    told: bool,
}

impl SoftLimits {
    /// Takes over the fences of a configuration, and how its endpoints stand; `may_speak`: against which soft signals can.
    /// What has been told of the same endpoints stands.
    pub(super) fn reconfigure(&mut self, config: &Config, stands: Vec<Stand>, may_speak: impl Fn(usize) -> bool) {
        let mut old = std::mem::take(self);
        let mut told: HashSet<Vec<Arc<str>>> = HashSet::new();
        for fence in old.fences.iter().filter(|fence| fence.told) {
            told.insert(old.names(fence));
        }
        let endpoint = |(endpoint, stand): (&crate::model::Endpoint, Stand)| Softened {
            name: endpoint.name.clone(),
            stand,
            fences: Vec::new(),
        };
        self.share = config.health.max_soft_down;
        self.window = config.health.window;
        self.gone = std::mem::take(&mut old.gone);
        self.endpoints = config.endpoints.iter().zip(stands).map(endpoint).collect();
        let mut services = vec![None; config.plans.len()];
        for service in config.services.iter().rev() {
            services[service.plan.index()] = Some(&service.label);
        }
        let mut known = HashSet::new();
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
                if members.iter().any(|(at, _)| may_speak(*at)) && known.insert(key) {
                    self.add(service, members, &mut told);
                }
            }
        }
        for fence in old.fences.iter().filter(|fence| fence.told && told.contains(&old.names(fence))) {
            self.gone.push(old.notice(fence, false));
        }
    }

    fn add(&mut self, service: &Arc<str>, members: Vec<(usize, f64)>, told: &mut HashSet<Vec<Arc<str>>>) {
        let index = self.fences.len();
        members.iter().for_each(|(at, _)| self.endpoints[*at].fences.push(index));
        let mut fence = Fence { service: service.clone(), members, unheeded: false, under_since: None, told: false };
        fence.told = told.remove(&self.names(&fence));
        // What was unheeded has to be so little for a window, as ever.
        fence.unheeded = fence.told || self.is_over(&fence);
        self.fences.push(fence);
        self.stirred.insert(index);
    }

    /// Takes in how an endpoint stands now.
    pub(super) fn turn(&mut self, endpoint: usize, stand: Stand) {
        let Softened { stand: before, fences, .. } = &mut self.endpoints[endpoint];
        if std::mem::replace(before, stand) == stand {
            return;
        }
        for index in fences.clone() {
            if self.is_over(&self.fences[index]) {
                self.fences[index].unheeded = true;
            }
            self.stirred.insert(index);
        }
    }

    /// Do soft signals count for nothing at an endpoint, since they speak against too many of a fence of it?
    pub(super) fn is_unheeded(&self, endpoint: usize) -> bool {
        let Softened { stand, fences, .. } = &self.endpoints[endpoint];
        stand.softened && fences.iter().any(|&fence| self.fences[fence].unheeded)
    }

    /// What is to be said after some turned or time passed, and which endpoints are to be summed up anew.
    pub(super) fn review(&mut self, now: Timestamp) -> (Vec<Notice>, BTreeSet<usize>) {
        let (mut notices, mut endpoints) = (std::mem::take(&mut self.gone), BTreeSet::new());
        for index in std::mem::take(&mut self.stirred) {
            let over = self.is_over(&self.fences[index]);
            let (fence, window) = (&mut self.fences[index], self.window);
            fence.under_since = if over || !fence.unheeded { None } else { fence.under_since.or(Some(now)) };
            if let Some(since) = fence.under_since {
                fence.unheeded = now < after(since.min(now), window);
                if fence.unheeded {
                    self.stirred.insert(index);
                }
            }
            if fence.unheeded == fence.told {
                continue;
            }
            fence.told = fence.unheeded;
            endpoints.extend(fence.members.iter().map(|(at, _)| *at));
            notices.push(self.notice(&self.fences[index], self.fences[index].told));
        }
        endpoints.retain(|&at| self.endpoints[at].stand.softened);
        (notices, endpoints)
    }

    /// When [`review`](Self::review) has something to do, if nothing else happens.
    pub(super) fn next_tick(&self) -> Option<Timestamp> {
        let waiting = self.stirred.iter().filter_map(|&index| self.fences[index].under_since);
        waiting.min().map(|since| after(since, self.window))
    }

    /// Where soft signals count for nothing, and why.
    pub(super) fn unheeded(&self) -> impl Iterator<Item = Notice> {
        self.fences.iter().filter(|fence| fence.told).map(|fence| self.notice(fence, true))
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

    fn notice(&self, fence: &Fence, begins: bool) -> Notice {
        let percent = |share: f64| (share * 100.0).round();
        let stands = fence.members.iter().map(|(at, _)| &self.endpoints[*at]);
        let against: Vec<_> = stands.filter(|endpoint| endpoint.stand.softened && !endpoint.stand.down).collect();
        let named = |names: Vec<&str>| {
            let more = names.len().saturating_sub(NAMED);
            let more = if more > 0 { format!(" and {more} more") } else { String::new() };
            names[..names.len().min(NAMED)].join(", ") + &more
        };
        let reason = if begins {
            format!(
                "soft signals speak against {} of {} endpoints, {} % of the capacity that lives ({}); over max_soft_down, {} %, \
                 it is load or the instrument, and counts for none of them",
                against.len(),
                fence.members.len(),
                percent(self.softened(fence)),
                named(against.iter().map(|endpoint| &*endpoint.name).collect()),
                percent(self.share),
            )
        } else {
            format!("soft signals count again for {}", named(self.names(fence).iter().map(|name| &**name).collect()))
        };
        Notice { subject: Subject::Fence(fence.service.clone()), failing: begins, reason }
    }
}
