//! The states of all checks, summed up by address and endpoint.

mod memory;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::anchors::Anchors;
use super::client_errors::Complaint;
use super::correlation::{Alert, Correlation, Group, Notice};
use super::own_fault::{Fault, OwnFault};
use super::slot::{Key, Slot};
use super::slow::Outliers;
use super::soft::SoftLimits;
use super::summary::{Bare, Entry, Vote};
use super::verdict::{StateChange, Verdict};
use super::{Change, Check, CheckId, EndpointHealth, HealthState, Last, Outcome, Rules};
use crate::config::{Calculated, Config, Probe, ProbeKind};
use crate::model::{Addresses, Endpoint, EndpointId, Site, State};

/// The addresses of hostname endpoints, by endpoint name. Absent: not asked yet; empty: it does not
/// resolve.
pub type HostAddresses = BTreeMap<Arc<str>, Vec<IpAddr>>;

/// Who tells of an earlier time than that has had his clock set back.
const LATE: SignedDuration = SignedDuration::from_secs(1);

/// The states of all checks of all endpoints of one configuration.
#[derive(Debug, Default)]
pub struct Board {
    next_id: u64,
    slots: BTreeMap<CheckId, Slot>,
    entries: Vec<Entry>,
    /// Checks without an outcome and hostnames without an answer.
    pending: usize,
    first_round_complete: bool,
    /// Who shall be probed fast, or no more, since they were taken.
    paces: Vec<(CheckId, bool)>,
    /// Checks that are held back until some time.
    held: BTreeSet<CheckId>,
    /// Endpoints that may turn soon.
    in_doubt: usize,
    correlation: Correlation,
    anchors: Anchors,
    own_fault: OwnFault,
    /// What is to be said of many at once.
    notices: Vec<Notice>,
    outliers: Outliers,
    soft: SoftLimits,
    /// How far time has come.
    latest: Timestamp,
}

impl Board {
    /// Without endpoints.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes over the endpoints and probes of `config` and the addresses of its hostname endpoints.
    /// Unchanged checks keep state and id, edited ones show the state of their predecessor until
    /// their first outcome, the state of removed ones is dropped.
    pub fn reconfigure(&mut self, config: &Config, resolved: &HostAddresses, now: Timestamp) {
        let mut old = Predecessors::take(self);
        let probes: HashMap<&str, Arc<Probe>> =
            config.probes.iter().map(|probe| (&*probe.name, Arc::new(probe.clone()))).collect();
        for (index, endpoint) in config.endpoints.iter().enumerate() {
            self.add_endpoint(index, endpoint, &probes, resolved, &mut old, now);
        }
        let entries = &self.entries;
        let stands = entries.iter().map(|entry| entry.stand(&self.slots)).collect();
        self.soft.reconfigure(config, stands, |index| entries[index].may_soften);
        for (index, entry) in self.entries.iter_mut().enumerate() {
            entry.sum_up(&self.slots, !self.soft.is_unheeded(index), self.own_fault.held_from(), now);
        }
        let next_id = &mut self.next_id;
        self.anchors.reconfigure(&config.health, || new_id(next_id), now);
        self.correlation.reconfigure(&config.health, &config.endpoints);
        self.recount();
    }

    fn recount(&mut self) {
        let unknown = self.slots.values().filter(|slot| slot.is_pending()).count();
        let unresolved = self.entries.iter().filter(|entry| entry.bare == Some(Bare::Unresolved)).count();
        self.pending = unknown + unresolved;
        self.held =
            self.slots.iter().filter(|(_, slot)| slot.health.next_tick().is_some()).map(|(&id, _)| id).collect();
        self.correlation.recount(self.entries.iter().map(Entry::is_down));
        (0..self.entries.len()).for_each(|index| self.heed(index));
        self.in_doubt = self.entries.iter().filter(|entry| entry.may_turn).count();
        self.outliers.reconfigure(self.slots.iter().map(|(&id, slot)| (id, &*slot.check)));
        self.first_round_complete |= self.pending == 0;
    }

    /// Takes in what a check found. None: nothing that answers may hold has changed, or there is no
    /// such check any more.
    pub fn observe(&mut self, id: CheckId, now: Timestamp, outcome: Outcome) -> Option<Verdict> {
        let now = self.forward(now);
        if outcome != Outcome::Silent {
            self.own_fault.count_run(outcome == Outcome::Late, self.correlation.health().window, now);
        }
        if let Some(notice) = self.anchors.observe(id, now, &outcome) {
            self.notices.extend(notice);
            return None;
        }
        let slot = self.slots.get_mut(&id)?;
        let (index, was_pending, abstained) = (slot.endpoint, slot.is_pending(), slot.abstains());
        if !matches!(outcome, Outcome::Silent | Outcome::Late) {
            self.entries[index].health.last = Some(Last { at: now, outcome: outcome.clone() });
        }
        let rtt = outcome.rtt();
        let change = slot.health.observe(now, outcome);
        let forgiven = self.own_fault.held_from().and_then(|from| slot.health.forgive(from, now));
        let change = forgiven.or(change);
        let slow = rtt.map(|rtt| self.outliers.observe(id, &slot.check, rtt, now));
        if change.as_ref().is_some_and(|change| change.to == State::Down) {
            self.outliers.forget(id, &slot.check);
        }
        let slowed = slow.and_then(|why| slot.health.take_slow(now, why));
        let change = slowed.or(change);
        let moved = abstained != slot.abstains();
        if was_pending && !slot.is_pending() {
            self.pending -= 1;
            self.first_round_complete |= self.pending == 0;
        }
        self.conclude(id, change, moved, now)
    }

    /// Takes in what clients report of a site; [`correlate`](Self::correlate) draws what follows.
    pub fn hear(&mut self, complaint: &Complaint, now: Timestamp) {
        let now = self.forward(now);
        self.notices.extend(self.correlation.hear(complaint, now));
    }

    /// Draws what follows from many outcomes together (BEHAVIOUR rules 13 and 14), after some were taken in.
    pub fn correlate(&mut self, now: Timestamp) -> Vec<Verdict> {
        let now = self.forward(now);
        let (notices, alerts) = self.correlation.review(now);
        let (unheeded, softened) = self.soft.review(now);
        self.notices.extend(notices.into_iter().chain(unheeded));
        let stirred = alerts.into_iter().chain(softened);
        let mut verdicts: Vec<Verdict> = stirred.filter_map(|index| self.sum_up(index, None, now)).collect();
        if let Some(notice) = self.own_fault.review(&self.correlation, &self.anchors, now) {
            if let Some(from) = self.own_fault.held_from() {
                for slot in self.slots.values_mut() {
                    slot.health.forgive(from, now); // all are summed up anew
                }
            }
            let taken_back = notice.failing.then(|| format!("taken back, the fault is ours: {}", notice.reason));
            let all = (0..self.entries.len()).filter_map(|index| self.sum_up(index, taken_back.clone(), now));
            verdicts.extend(all);
            self.notices.push(notice);
        }
        self.notices.extend(self.own_fault.review_withdrawal(self.correlation.health(), now));
        self.paces.extend(self.anchors.hurry(self.correlation.is_fresh(now)));
        verdicts
    }

    /// Lets time pass, for what is held back until some time.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Verdict> {
        let now = self.forward(now);
        let is_due = |id: &CheckId| self.slots[id].health.next_tick().is_none_or(|at| at <= now);
        let due: Vec<CheckId> = self.held.iter().copied().filter(is_due).collect();
        let conclude = |id| {
            let change = self.slots.get_mut(&id)?.health.tick(now);
            self.conclude(id, change, false, now)
        };
        let mut verdicts: Vec<Verdict> = due.into_iter().filter_map(conclude).collect();
        verdicts.extend(self.correlate(now));
        verdicts
    }

    /// Reports come a little late, and what time has freed they must not hold back again. A clock may be set back for good.
    fn forward(&mut self, now: Timestamp) -> Timestamp {
        let is_late = now < self.latest && self.latest.duration_since(now) < LATE;
        if now < self.latest && !is_late {
            self.slots.values_mut().for_each(|slot| slot.health.not_after(now));
            let addresses = self.entries.iter_mut().flat_map(|entry| &mut entry.health.addresses);
            addresses.for_each(|address| address.not_after(now));
        }
        self.latest = if is_late { self.latest } else { now };
        self.latest
    }

    /// When [`tick`](Self::tick) has something to do.
    #[must_use]
    pub fn next_tick(&self) -> Option<Timestamp> {
        let freed = self.held.iter().filter_map(|id| self.slots[id].health.next_tick());
        let groups = self.correlation.next_tick().into_iter().chain(self.soft.next_tick());
        freed.chain(groups).chain(self.own_fault.next_tick(self.correlation.health())).min()
    }

    /// The checks that shall be probed fast (true) or no more (false) since this was asked.
    pub fn take_paces(&mut self) -> Vec<(CheckId, bool)> {
        std::mem::take(&mut self.paces)
    }

    /// What is to be said of sites, clouds and ourselves since this was asked.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }

    /// Endpoints that may turn soon by their own probes. Who limits these is in doubt for as long as that lasts, and not
    /// among them.
    #[must_use]
    pub fn in_doubt(&self) -> usize {
        self.in_doubt
    }

    /// Are so many endpoints in doubt that answers to be kept for a short time would be a storm of queries (BEHAVIOUR rule
    /// 20)? One is always listened to: else there would be no doubt among three.
    #[must_use]
    pub fn is_storm(&self) -> bool {
        self.in_doubt > 1 && self.in_doubt * 4 > self.entries.len()
    }

    /// Sums up what a check's change comes to, or that it has a vote now or no more (`moved`).
    fn conclude(&mut self, id: CheckId, change: Option<Change>, moved: bool, now: Timestamp) -> Option<Verdict> {
        let slot = self.slots.get_mut(&id)?;
        let index = slot.endpoint;
        let hastened = slot.hasten(self.entries[index].alert);
        if hastened {
            self.paces.push((id, slot.fast));
        }
        let turned = hastened || slot.health.in_doubt() != slot.in_doubt;
        slot.in_doubt = slot.health.in_doubt();
        let is_limited = slot.health.is_limited();
        let limits = !std::mem::replace(&mut slot.limited, is_limited) && is_limited;
        match slot.health.next_tick() {
            Some(_) => self.held.insert(id),
            None => self.held.remove(&id),
        };
        if change.is_none() && !turned && !moved && !limits {
            return None;
        }
        let last = || slot.health.last().map_or_else(String::new, |last| last.outcome.to_string());
        let said = change.map_or_else(last, |change| change.reason);
        let reason = format!("probe {} at {}: {said}", slot.check.probe.name, slot.check.target);
        // That it limits our probes is told, whether answers change by it or not.
        let told = limits.then(|| Verdict::of_doubt(EndpointId::at(index), self.entries[index].health.state, &reason));
        self.sum_up(index, Some(reason), now).or(told)
    }

    /// Sums an endpoint up; says so if what answers may hold has changed, for that reason (none: the endpoint's own).
    fn sum_up(&mut self, index: usize, reason: Option<String>, now: Timestamp) -> Option<Verdict> {
        let entry = &mut self.entries[index];
        let (from, before, was_down) = (entry.health.state, entry.address_states(), entry.is_down());
        let (doubt, may_turn) = (entry.health.in_doubt, entry.may_turn);
        self.soft.turn(index, entry.stand(&self.slots));
        entry.sum_up(&self.slots, !self.soft.is_unheeded(index), self.own_fault.held_from(), now);
        let is_down = entry.is_down();
        if is_down != was_down {
            self.correlation.turn(index, is_down, now);
        }
        self.heed(index);
        let entry = &self.entries[index];
        let changed = |((address, from), (_, to))| (from != to).then_some((address, StateChange { from, to }));
        let addresses: Vec<_> = before.into_iter().zip(entry.address_states()).filter_map(changed).collect();
        let change = StateChange { from, to: entry.health.state };
        self.in_doubt = self.in_doubt + usize::from(entry.may_turn) - usize::from(may_turn);
        let doubt = doubt != entry.health.in_doubt;
        let any = change.from != change.to || !addresses.is_empty() || doubt;
        any.then(|| {
            let reason = reason.unwrap_or_else(|| entry.health.reason.clone()) + &self.correlation.words(index);
            Verdict { endpoint: EndpointId::at(index), change, addresses, doubt, reason }
        })
    }

    /// What follows for an endpoint from what is said of its site or cloud.
    fn heed(&mut self, index: usize) {
        let entry = &mut self.entries[index];
        let before = entry.alert;
        entry.heed(self.correlation.alert(index), &self.slots);
        if entry.alert == before {
            return;
        }
        for id in entry.checks() {
            let slot = self.slots.get_mut(&id).expect("it is judged by checks that there are");
            if slot.hasten(entry.alert) {
                self.paces.push((id, slot.fast));
            }
        }
    }

    /// What is to be probed, anchors last.
    pub fn checks(&self) -> impl Iterator<Item = (CheckId, &Arc<Check>)> {
        self.slots.iter().map(|(&id, slot)| (id, &slot.check)).chain(self.anchors.checks())
    }

    /// The check of that id, while there is one.
    #[must_use]
    pub fn check(&self, id: CheckId) -> Option<&Arc<Check>> {
        self.slots.get(&id).map(|slot| &slot.check).or_else(|| self.anchors.check(id))
    }

    /// The anchors with their states.
    pub fn anchors(&self) -> impl Iterator<Item = (SocketAddr, State)> {
        self.anchors.iter()
    }

    /// The sites and clouds that endpoints with probes stand in.
    #[must_use]
    pub fn groups(&self) -> &[Group] {
        self.correlation.groups()
    }

    /// Where soft signals count for nothing, and why (BEHAVIOUR rule 15).
    pub fn unheeded(&self) -> impl Iterator<Item = Notice> {
        self.soft.unheeded()
    }

    /// While the fault is ours, and not that of all the endpoints that seem to be down (BEHAVIOUR rule 14).
    #[must_use]
    pub fn own_fault(&self) -> Option<&Fault> {
        self.own_fault.fault()
    }

    /// The fault has been ours for `withdraw_after`, so that whoever routes to this server had better look elsewhere.
    #[must_use]
    pub fn withdrawn(&self) -> Option<&Fault> {
        self.own_fault.withdrawn()
    }

    /// Why an endpoint has its state, in words for operators: its own reason, and what is said of its site and cloud.
    ///
    /// # Panics
    /// As [`endpoint`](Self::endpoint).
    #[must_use]
    pub fn reason(&self, id: EndpointId) -> String {
        self.endpoint(id).reason.clone() + &self.correlation.words(id.index())
    }

    /// All endpoints; `EndpointId` of the configuration last taken over indexes into it.
    pub fn endpoints(&self) -> impl ExactSizeIterator<Item = &EndpointHealth> {
        self.entries.iter().map(|entry| &entry.health)
    }

    /// What health says of an endpoint of the configuration last taken over.
    ///
    /// # Panics
    /// When it is no endpoint of that configuration.
    #[must_use]
    pub fn endpoint(&self, id: EndpointId) -> &EndpointHealth {
        &self.entries[id.index()].health
    }

    /// Has every check had an outcome and every hostname an answer, at some time since the start?
    #[must_use]
    pub fn first_round_complete(&self) -> bool {
        self.first_round_complete
    }

    fn add_endpoint(
        &mut self,
        index: usize,
        endpoint: &Endpoint,
        probes: &HashMap<&str, Arc<Probe>>,
        resolved: &HostAddresses,
        old: &mut Predecessors,
        now: Timestamp,
    ) {
        let (addresses, bare) = addresses_of(endpoint, resolved);
        let mut place = |address: Option<IpAddr>, target: &dyn Fn(&Probe) -> SocketAddr| -> Vec<Vote> {
            let mut made = BTreeMap::<Arc<str>, CheckId>::new();
            let mut check = |name: &Arc<str>| {
                let probe = probes.get(&**name)?;
                let mut make = || {
                    let Site { cloud, region, .. } = &endpoint.site;
                    let (name, cloud, region) = (endpoint.name.clone(), cloud.clone(), region.clone());
                    let check = Check { endpoint: name, cloud, region, probe: probe.clone(), target: target(probe) };
                    self.add_check(index, address, check, old, now)
                };
                Some(*made.entry(name.clone()).or_insert_with(&mut make))
            };
            let vote = |name: &Arc<str>| match &probes.get(&**name)?.kind {
                ProbeKind::Calculated(Calculated { at_least, of }) => Some(Vote::Counted {
                    name: name.clone(),
                    at_least: *at_least,
                    of: of.iter().filter_map(&mut check).collect(),
                }),
                _ => check(name).map(Vote::Check),
            };
            endpoint.probes.iter().filter_map(vote).collect()
        };
        let votes = match endpoint.probe_target {
            Some(at) => vec![place(None, &|_| at.address); addresses.len()],
            None => {
                let each =
                    |&address: &IpAddr| place(Some(address), &|probe: &Probe| SocketAddr::new(address, probe.port));
                addresses.iter().map(each).collect()
            }
        };
        let health = EndpointHealth::after(old.endpoints.remove(&endpoint.name), endpoint, &addresses, now);
        let may_soften = votes.iter().flatten().flat_map(Vote::checks).any(|id| self.slots[id].may_soften());
        self.entries.push(Entry {
            votes,
            bare,
            may_turn: false,
            alert: Alert::None,
            may_soften,
            heeds_soft: true,
            health,
        });
    }

    fn add_check(
        &mut self,
        endpoint: usize,
        address: Option<IpAddr>,
        check: Check,
        old: &mut Predecessors,
        now: Timestamp,
    ) -> CheckId {
        let key = (check.endpoint.clone(), check.probe.name.clone(), address);
        let rules = Rules::from(&*check.probe);
        let (id, slot) = match old.slots.remove(&key) {
            Some((id, slot)) if *slot.check == check => (id, Slot { endpoint, ..slot }),
            other => {
                let health = match other {
                    Some((_, slot)) => slot.health.carried(rules),
                    None => HealthState::new(rules, now),
                };
                (
                    new_id(&mut self.next_id),
                    Slot {
                        check: Arc::new(check),
                        health,
                        endpoint,
                        address,
                        fast: false,
                        in_doubt: false,
                        limited: false,
                    },
                )
            }
        };
        self.slots.insert(id, slot);
        id
    }
}

/// None is used twice.
fn new_id(last: &mut u64) -> CheckId {
    *last += 1;
    CheckId(*last)
}

/// The addresses of an endpoint, each once; and why there are none.
fn addresses_of(endpoint: &Endpoint, resolved: &HostAddresses) -> (Vec<IpAddr>, Option<Bare>) {
    let (addresses, bare) = match &endpoint.addresses {
        Addresses::Fixed(addresses) => (Some(addresses), Bare::Unresolvable),
        Addresses::Hostname(_) => (resolved.get(&endpoint.name), Bare::Unresolved),
    };
    let bare = if addresses.is_some() { Bare::Unresolvable } else { bare };
    let mut seen = HashSet::new();
    let addresses: Vec<_> = addresses.into_iter().flatten().copied().filter(|&address| seen.insert(address)).collect();
    let bare = addresses.is_empty().then_some(bare);
    (addresses, bare)
}

/// What the board knew before an edit.
struct Predecessors {
    slots: HashMap<Key, (CheckId, Slot)>,
    endpoints: HashMap<Arc<str>, EndpointHealth>,
}

impl Predecessors {
    /// Empties the board.
    fn take(board: &mut Board) -> Self {
        let slots = std::mem::take(&mut board.slots).into_iter().map(|(id, slot)| (slot.key(), (id, slot)));
        let entries = std::mem::take(&mut board.entries);
        let endpoints = entries.into_iter().map(|entry| (entry.health.name.clone(), entry.health));
        Self { slots: slots.collect(), endpoints: endpoints.collect() }
    }
}

#[cfg(test)]
mod tests;
