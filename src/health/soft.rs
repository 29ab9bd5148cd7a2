//! Soft signals, which may be wrong about many at once: metrics, and answers that are slow (BEHAVIOUR rule 15).
//!
//! What they take out of a fence of some service, or set back there, is bounded by `max_soft_down` of its capacity. Where
//! they speak against more, it is load or the instrument: they are *unheeded* for all endpoints of that fence, in every
//! service, and that is said once.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::correlation::{Notice, Subject};
use crate::config::Config;
use crate::model::{FenceMask, Member, Plan};

/// Shares are decimal fractions, which doubles do not hold exactly.
const ROUNDING: f64 = 1e-9;
/// So many endpoints are named.
const NAMED: usize = 5;

/// What the fences of services leave, and what soft signals take of it.
#[derive(Debug, Default)]
pub(super) struct SoftLimits {
    /// At most this share.
    share: f64,
    fences: Vec<Fence>,
    /// By endpoint: the fences that leave it.
    of: Vec<Vec<usize>>,
    /// By endpoint: soft signals speak against it.
    softened: Vec<bool>,
    /// Fences to be looked at again.
    stirred: BTreeSet<usize>,
}

/// Endpoints that a fence leaves to some clients, against some of which soft signals may speak.
#[derive(Debug)]
struct Fence {
    /// The first service that has it.
    service: Arc<str>,
    members: Vec<FenceMember>,
    /// Soft signals speak against too much of it, as far as has been told.
    unheeded: bool,
}

#[derive(Debug)]
struct FenceMember {
    /// Index of the endpoint.
    at: usize,
    name: Arc<str>,
    capacity: f64,
}

impl Fence {
    /// The share of its capacity that soft signals speak against.
    fn softened(&self, softened: &[bool]) -> f64 {
        let capacity = |sum, member: &FenceMember| sum + member.capacity;
        let lost = self.members.iter().filter(|member| softened[member.at]).fold(0.0, capacity);
        lost / self.members.iter().fold(0.0, capacity)
    }

    fn key(&self) -> (Arc<str>, Vec<Arc<str>>) {
        (self.service.clone(), self.members.iter().map(|member| member.name.clone()).collect())
    }

    fn notice(&self, softened: &[bool], share: f64) -> Notice {
        let percent = |share: f64| (share * 100.0).round();
        let subject = Subject::Fence(self.service.clone());
        if !self.unheeded {
            return Notice { subject, failing: false, reason: "soft signals count again".to_owned() };
        }
        let against: Vec<&str> =
            self.members.iter().filter(|member| softened[member.at]).map(|member| &*member.name).collect();
        let more = against.len().saturating_sub(NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let reason = format!(
            "soft signals speak against {} of {} endpoints, {} % of their capacity ({}{more}); over max_soft_down, {} %, it is \
             load or the instrument, and counts for nobody there",
            against.len(),
            self.members.len(),
            percent(self.softened(softened)),
            against[..against.len().min(NAMED)].join(", "),
            percent(share),
        );
        Notice { subject, failing: true, reason }
    }
}

impl SoftLimits {
    /// Takes over the fences of a configuration, and against which endpoints soft signals speak; `may_speak`: against which
    /// they can. What has been told of a fence stands.
    pub(super) fn reconfigure(&mut self, config: &Config, softened: Vec<bool>, may_speak: impl Fn(usize) -> bool) {
        let told: HashSet<_> = self.fences.iter().filter(|fence| fence.unheeded).map(Fence::key).collect();
        let mut services = vec![None; config.plans.len()];
        for service in config.services.iter().rev() {
            services[service.plan.index()] = Some(&service.label);
        }
        (self.share, self.softened) = (config.health.max_soft_down, softened);
        (self.fences, self.of) = (Vec::new(), vec![Vec::new(); self.softened.len()]);
        let mut known = HashSet::new();
        for (plan, service) in config.plans.iter().zip(services) {
            let Some(service) = service else { continue };
            if !plan.members.iter().any(|id| may_speak(id.index())) {
                continue;
            }
            let capacities = plan.capacities(&config.endpoints);
            for set in sets(plan, &config.fence_combinations) {
                let member = |member: Member| {
                    let at = plan.members[member.index()].index();
                    FenceMember { at, name: config.endpoints[at].name.clone(), capacity: capacities[member.index()] }
                };
                let members: Vec<FenceMember> = set.into_iter().map(member).collect();
                let mut is_new = || known.insert(members.iter().map(|member| member.at).collect::<Vec<_>>());
                if !members.iter().any(|member| may_speak(member.at)) || !is_new() {
                    continue;
                }
                members.iter().for_each(|member| self.of[member.at].push(self.fences.len()));
                let fence = Fence { service: service.clone(), members, unheeded: false };
                self.fences.push(Fence { unheeded: told.contains(&fence.key()), ..fence });
            }
        }
        self.stirred = (0..self.fences.len()).collect();
    }

    /// Soft signals speak against an endpoint, or no more.
    pub(super) fn turn(&mut self, endpoint: usize, softened: bool) {
        if std::mem::replace(&mut self.softened[endpoint], softened) != softened {
            self.stirred.extend(&self.of[endpoint]);
        }
    }

    /// Do soft signals count for nothing at an endpoint, since they speak against too many of a fence of it?
    pub(super) fn is_unheeded(&self, endpoint: usize) -> bool {
        self.softened[endpoint] && self.of[endpoint].iter().any(|&fence| self.is_over(&self.fences[fence]))
    }

    fn is_over(&self, fence: &Fence) -> bool {
        fence.softened(&self.softened) > self.share + ROUNDING
    }

    /// What is to be said after some turned, and which endpoints are to be summed up anew.
    pub(super) fn review(&mut self) -> (Vec<Notice>, BTreeSet<usize>) {
        let (mut notices, mut endpoints) = (Vec::new(), BTreeSet::new());
        for index in std::mem::take(&mut self.stirred) {
            let over = self.is_over(&self.fences[index]);
            let fence = &mut self.fences[index];
            if std::mem::replace(&mut fence.unheeded, over) != over {
                notices.push(fence.notice(&self.softened, self.share));
                endpoints.extend(fence.members.iter().map(|member| member.at).filter(|&at| self.softened[at]));
            }
        }
        (notices, endpoints)
    }

    /// Where soft signals count for nothing, and why.
    pub(super) fn unheeded(&self) -> impl Iterator<Item = Notice> {
        let unheeded = self.fences.iter().filter(|fence| fence.unheeded);
        unheeded.map(|fence| fence.notice(&self.softened, self.share))
    }
}

/// The members that the fences of a plan leave to some clients, each set once.
fn sets(plan: &Plan, combinations: &[FenceMask]) -> BTreeSet<Vec<Member>> {
    let own = plan.policy.fences.iter().fold(FenceMask::default(), |mask, fence| mask.with(fence.place));
    let masks: BTreeSet<u64> = combinations.iter().map(|mask| mask.0 & own.0).collect();
    let known = masks.into_iter().map(|mask| plan.allowed(FenceMask(mask)).collect());
    known.chain([plan.allowed_unknown()]).filter(|set: &Vec<Member>| !set.is_empty()).collect()
}
