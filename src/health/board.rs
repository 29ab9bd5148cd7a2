//! The states of all checks, summed up by address and endpoint.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::slow::{Outliers, Pace};
use super::state::Memory;
use super::summary::{Bare, Entry, Vote};
use super::{Change, Check, CheckId, EndpointHealth, HealthState, Last, Outcome, Rules};
use crate::config::{Calculated, Config, Probe, ProbeKind};
use crate::model::{Addresses, Endpoint, EndpointId, Site, State};

/// The addresses of hostname endpoints, by endpoint name. Absent: not asked yet; empty: it does not
/// resolve.
pub type HostAddresses = BTreeMap<Arc<str>, Vec<IpAddr>>;

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
    outliers: Outliers,
    /// What operators should know and changes nothing, since it was taken.
    notices: Vec<(EndpointId, String)>,
}

/// One outcome changed what answers may hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Whose it was.
    pub endpoint: EndpointId,
    /// The endpoint's states before and now; they are equal where only addresses changed.
    pub change: StateChange,
    /// The addresses that changed.
    pub addresses: Vec<(IpAddr, StateChange)>,
    /// Whether it may turn soon has changed.
    pub doubt: bool,
    /// Why, in words for operators: probe, target, cause.
    pub reason: String,
}

/// Before and now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// Before.
    pub from: State,
    /// Now.
    pub to: State,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub(super) check: Arc<Check>,
    pub(super) health: HealthState,
    /// Index into `entries`.
    endpoint: usize,
    /// The address that it tells of; none: all of them.
    address: Option<IpAddr>,
    /// It is probed fast.
    fast: bool,
    /// It may turn soon, as far as has been told.
    in_doubt: bool,
}

/// What a check knew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Remembered {
    endpoint: Arc<str>,
    probe: Arc<str>,
    address: Option<IpAddr>,
    memory: Memory,
}

/// What a check is of; its successor after an edit has the same. No address: `probe_target`, which
/// stands for all.
type Key = (Arc<str>, Arc<str>, Option<IpAddr>);

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
        self.recount();
    }

    fn recount(&mut self) {
        let unknown = self.slots.values().filter(|slot| slot.is_pending()).count();
        let unresolved = self.entries.iter().filter(|entry| entry.bare == Some(Bare::Unresolved)).count();
        self.pending = unknown + unresolved;
        self.held =
            self.slots.iter().filter(|(_, slot)| slot.health.next_tick().is_some()).map(|(&id, _)| id).collect();
        self.in_doubt = self.entries.iter().filter(|entry| entry.may_turn).count();
        self.outliers.reconfigure(self.slots.iter().map(|(&id, slot)| (id, &*slot.check)));
        self.first_round_complete |= self.pending == 0;
    }

    /// Takes in what a check found. None: nothing that answers may hold has changed, or there is no
    /// such check any more.
    pub fn observe(&mut self, id: CheckId, now: Timestamp, outcome: Outcome) -> Option<Verdict> {
        let slot = self.slots.get_mut(&id)?;
        let (index, was_pending, abstained) = (slot.endpoint, slot.is_pending(), slot.abstains());
        if outcome != Outcome::Silent {
            self.entries[index].health.last = Some(Last { at: now, outcome: outcome.clone() });
        }
        let rtt = outcome.rtt();
        let change = slot.health.observe(now, outcome);
        let pace = rtt.map(|rtt| self.outliers.observe(id, &slot.check, rtt, now));
        let slowed = pace.and_then(|pace| slot.take_pace(pace, now, &mut self.notices));
        let change = slowed.or(change);
        let moved = abstained != slot.abstains();
        if was_pending && !slot.is_pending() {
            self.pending -= 1;
            self.first_round_complete |= self.pending == 0;
        }
        self.conclude(id, change, moved, now)
    }

    /// Lets time pass, for what is held back until some time.
    pub fn tick(&mut self, now: Timestamp) -> Vec<Verdict> {
        let is_due = |id: &CheckId| self.slots[id].health.next_tick().is_none_or(|at| at <= now);
        let due: Vec<CheckId> = self.held.iter().copied().filter(is_due).collect();
        let conclude = |id| {
            let change = self.slots.get_mut(&id)?.health.tick(now);
            self.conclude(id, change, false, now)
        };
        due.into_iter().filter_map(conclude).collect()
    }

    /// When [`tick`](Self::tick) has something to do.
    #[must_use]
    pub fn next_tick(&self) -> Option<Timestamp> {
        self.held.iter().filter_map(|id| self.slots[id].health.next_tick()).min()
    }

    /// The checks that shall be probed fast (true) or no more (false) since this was asked.
    pub fn take_paces(&mut self) -> Vec<(CheckId, bool)> {
        std::mem::take(&mut self.paces)
    }

    /// Of whom operators should know what, though nothing changes by it, since this was asked.
    pub fn take_notices(&mut self) -> Vec<(EndpointId, String)> {
        std::mem::take(&mut self.notices)
    }

    /// Endpoints that may turn soon. Who limits our probes is in doubt for as long as that lasts, and not among them.
    #[must_use]
    pub fn in_doubt(&self) -> usize {
        self.in_doubt
    }

    /// Sums up what a check's change comes to, or that it has a vote now or no more (`moved`).
    fn conclude(&mut self, id: CheckId, change: Option<Change>, moved: bool, now: Timestamp) -> Option<Verdict> {
        let slot = self.slots.get_mut(&id)?;
        let hastened = slot.health.wants_haste() != slot.fast;
        if hastened {
            slot.fast = !slot.fast;
            self.paces.push((id, slot.fast));
        }
        let turned = hastened || slot.health.in_doubt() != slot.in_doubt;
        slot.in_doubt = slot.health.in_doubt();
        match slot.health.next_tick() {
            Some(_) => self.held.insert(id),
            None => self.held.remove(&id),
        };
        if change.is_none() && !turned && !moved {
            return None;
        }
        let last = || slot.health.last().map_or_else(String::new, |last| last.outcome.to_string());
        let said = change.map_or_else(last, |change| change.reason);
        let reason = format!("probe {} at {}: {said}", slot.check.probe.name, slot.check.target);
        let endpoint = EndpointId::at(slot.endpoint);
        let entry = &mut self.entries[slot.endpoint];
        let (from, before) = (entry.health.state, entry.address_states());
        let (doubt, may_turn) = (entry.health.in_doubt, entry.may_turn);
        entry.sum_up(&self.slots, now);
        let changed = |((address, from), (_, to))| (from != to).then_some((address, StateChange { from, to }));
        let addresses: Vec<_> = before.into_iter().zip(entry.address_states()).filter_map(changed).collect();
        let change = StateChange { from, to: entry.health.state };
        self.in_doubt = self.in_doubt + usize::from(entry.may_turn) - usize::from(may_turn);
        let doubt = doubt != entry.health.in_doubt;
        let any = change.from != change.to || !addresses.is_empty() || doubt;
        any.then_some(Verdict { endpoint, change, addresses, doubt, reason })
    }

    /// What outlives a restart.
    #[must_use]
    pub fn remember(&self) -> Vec<Remembered> {
        let remember = |slot: &Slot| {
            let (endpoint, probe, address) = slot.key();
            slot.health.remember().map(|memory| Remembered { endpoint, probe, address, memory })
        };
        self.slots.values().filter_map(remember).collect()
    }

    /// Goes on where an earlier process was, for checks that know nothing yet; how many these are. What is of no check is
    /// passed over.
    pub fn recall(&mut self, remembered: Vec<Remembered>, now: Timestamp) -> usize {
        let keyed = remembered.into_iter().map(|it| ((it.endpoint, it.probe, it.address), it.memory));
        let mut memories: HashMap<Key, Memory> = keyed.collect();
        let mut recalled = 0;
        for slot in self.slots.values_mut().filter(|slot| slot.is_pending()) {
            if let Some(memory) = memories.remove(&slot.key()) {
                slot.health.recall(memory, now);
                recalled += 1;
            }
        }
        self.entries.iter_mut().for_each(|entry| entry.recall(&self.slots, now));
        self.recount();
        recalled
    }

    /// What is to be probed.
    pub fn checks(&self) -> impl Iterator<Item = (CheckId, &Arc<Check>)> {
        self.slots.iter().map(|(&id, slot)| (id, &slot.check))
    }

    /// The check of that id, while there is one.
    #[must_use]
    pub fn check(&self, id: CheckId) -> Option<&Arc<Check>> {
        self.slots.get(&id).map(|slot| &slot.check)
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
        let health = EndpointHealth::after(old.endpoints.remove(&endpoint.name), &endpoint.name, &addresses, now);
        let mut entry = Entry { votes, bare, may_turn: false, health };
        entry.sum_up(&self.slots, now);
        self.entries.push(entry);
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
                self.next_id += 1;
                (
                    CheckId(self.next_id),
                    Slot { check: Arc::new(check), health, endpoint, address, fast: false, in_doubt: false },
                )
            }
        };
        self.slots.insert(id, slot);
        id
    }
}

impl Slot {
    fn key(&self) -> Key {
        (self.check.endpoint.clone(), self.check.probe.name.clone(), self.address)
    }

    /// Takes in how fast it answers.
    fn take_pace(&mut self, pace: Pace, now: Timestamp, notices: &mut Vec<(EndpointId, String)>) -> Option<Change> {
        let why = match pace {
            Pace::Usual => None,
            Pace::Slow(why) => Some(why),
            Pace::Crowd(why) => {
                notices.push((EndpointId::at(self.endpoint), format!("probe {}: {why}", self.check.probe.name)));
                None
            }
        };
        self.health.take_slow(now, why)
    }

    /// Has it no outcome yet?
    fn is_pending(&self) -> bool {
        self.health.state() == State::Unknown && self.health.last().is_none()
    }

    /// Has it no vote beside others? So it is while what should tell of the target does not.
    pub(super) fn abstains(&self) -> bool {
        let missing = self.health.last().is_some_and(|last| matches!(last.outcome, Outcome::Missing { .. }));
        self.health.state() == State::Unknown && missing
    }
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
