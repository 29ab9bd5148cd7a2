//! From the states of checks to those of addresses and endpoints.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::correlation::{Alert, are_near};
use super::slot::Slot;
use super::soft::Stand;
use super::{CheckId, Last, Recovered};
use crate::model::{Addresses, Endpoint, Family, State};

/// Families whose addresses come back within so long come back together.
const TOGETHER: Duration = Duration::from_secs(10);

/// What health says of an endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct EndpointHealth {
    /// Its name.
    pub name: Arc<str>,
    /// That of the best of its addresses.
    pub state: State,
    /// When it took that state.
    pub since: Timestamp,
    /// Why, in words for operators.
    pub reason: String,
    /// When it was usable again after it was down, as long as it stays so.
    pub recovered: Recovered,
    /// The state of the best address of each family, that of an endpoint without any address for both; none: it has none
    /// of it.
    pub(super) families: [Option<State>; 2],
    /// By family: it has been down, and is not up or degraded again.
    pub(super) is_away: [bool; 2],
    /// An address that may be answered may turn soon.
    pub in_doubt: bool,
    /// The latest outcome of any of its checks.
    pub last: Option<Last>,
    /// Its addresses in the order of the file; a hostname's as resolved.
    pub addresses: Vec<AddressHealth>,
}

/// What health says of one address.
#[derive(Clone, Debug, PartialEq)]
pub struct AddressHealth {
    /// The address.
    pub address: IpAddr,
    /// That of the worst of its checks.
    pub state: State,
    /// When it took that state.
    pub since: Timestamp,
    /// Why, in words for operators.
    pub reason: String,
    /// What its checks come to: the state, unless it is held or assumed.
    pub(super) found: State,
    /// The state is assumed: checks that an edit or an answer of the resolver brought have no outcome yet.
    is_assumed: bool,
    /// The state before, and since when it had that.
    pub(super) before: Option<(State, Timestamp)>,
}

/// An endpoint with its checks.
#[derive(Debug)]
pub(super) struct Entry {
    /// What each address is judged by, in the order of `health.addresses`.
    pub(super) votes: Vec<Vec<Vote>>,
    /// Why it has no address; none: it has.
    pub(super) bare: Option<Bare>,
    /// An address that may be answered has a check that is to decide soon.
    pub(super) may_turn: bool,
    /// How closely it is looked at, where it lives, for what is said of its site or cloud.
    pub(super) alert: Alert,
    /// Some check can speak against it by a soft signal.
    pub(super) may_soften: bool,
    /// Such signals count for it.
    pub(super) heeds_soft: bool,
    pub(super) health: EndpointHealth,
}

/// Why an endpoint has no address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Bare {
    Unresolved,
    Unresolvable,
}

impl EndpointHealth {
    /// That of an endpoint with these addresses, before its checks are summed up: what was said of
    /// the endpoint and of the addresses that it had before stands, so that times stay. An address that was of use is taken
    /// to be as it was until all of its checks have an outcome, and where a hostname has none that it had, to be as the best
    /// of those was: an edit that adds a probe to all endpoints would else have whoever is probed first get everybody.
    pub(super) fn after(before: Option<Self>, endpoint: &Endpoint, addresses: &[IpAddr], now: Timestamp) -> Self {
        let new = Self {
            name: endpoint.name.clone(),
            state: State::Unknown,
            since: now,
            reason: String::new(),
            recovered: Recovered::default(),
            families: [None; 2],
            is_away: [false; 2],
            in_doubt: false,
            last: None,
            addresses: Vec::new(),
        };
        let mut health = before.unwrap_or(new);
        let old = std::mem::take(&mut health.addresses);
        let is_hostname = matches!(endpoint.addresses, Addresses::Hostname(_));
        let address = |&address: &IpAddr| {
            let kept = old.iter().find(|old| old.address == address).cloned();
            let moved = is_hostname && !old.iter().any(|old| addresses.contains(&old.address));
            let alike = old.iter().filter(|old| moved && old.address.is_ipv4() == address.is_ipv4());
            let new = || AddressHealth::new(address, alike.map(|old| old.state).min(), now);
            kept.map_or_else(new, |kept| AddressHealth { is_assumed: kept.state < State::Unknown, ..kept })
        };
        Self { addresses: addresses.iter().map(address).collect(), ..health }
    }

    /// Is an address of it held as it was, although its checks say that it is down?
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.addresses.iter().any(AddressHealth::is_held)
    }
}

impl AddressHealth {
    /// Of use as others are, or unknown.
    fn new(address: IpAddr, others: Option<State>, now: Timestamp) -> Self {
        let assumed = others.filter(|state| *state < State::Unknown);
        let (state, is_assumed) = (assumed.unwrap_or(State::Unknown), assumed.is_some());
        Self { address, state, since: now, reason: String::new(), found: State::Unknown, is_assumed, before: None }
    }

    /// Is it held as it was, although its checks say that it is down?
    #[must_use]
    pub fn is_held(&self) -> bool {
        self.state != self.found && !self.is_assumed
    }

    /// A clock was set back: nothing of it has been later than `now`.
    pub(super) fn not_after(&mut self, now: Timestamp) {
        self.since = self.since.min(now);
        self.before = self.before.map(|(state, since)| (state, since.min(now)));
    }

    /// Takes in what its checks come to; is what some say awaited? While the fault is ours, who went down after
    /// `held_from` is held as it was.
    fn turn(
        &mut self,
        (found, reason): (State, String),
        is_awaited: bool,
        held_from: Option<Timestamp>,
        now: Timestamp,
    ) {
        self.found = found;
        self.is_assumed &= is_awaited && found == State::Unknown;
        if self.is_assumed {
            self.reason = format!("{reason}; taken to be {} until there is one", self.state.as_str());
            return;
        }
        if let Some(from) = held_from.filter(|_| found == State::Down) {
            if self.state == State::Down && self.since > from {
                (self.state, self.since) = self.before.take().unwrap_or((self.state, self.since));
            }
            if self.is_held() {
                self.reason = format!("{reason}; held as it was: the fault is ours");
                return;
            }
        }
        if found != self.state {
            self.before = Some((self.state, self.since));
            (self.state, self.since) = (found, now);
        }
        self.reason = reason;
    }
}

impl Entry {
    /// How it stands with soft signals and without; they speak against it where any address would stand better without.
    pub(super) fn stand(&self, slots: &BTreeMap<CheckId, Slot>) -> Stand {
        let without = |votes: &[Vote]| worst_state(votes, slots, false);
        let worse = |votes: &Vec<Vote>| worst_state(votes, slots, true) > without(votes);
        let down = match self.votes.iter().map(|votes| without(votes)).min() {
            Some(best) => best == State::Down,
            None => self.health.state == State::Down,
        };
        Stand { softened: self.may_soften && self.votes.iter().any(worse), down }
    }

    /// Sums the states of checks up; times are those of changes. `heeds_soft` as of
    /// [`SoftLimits`](super::soft::SoftLimits), `held_from` as of [`OwnFault`](super::own_fault::OwnFault).
    pub(super) fn sum_up(
        &mut self,
        slots: &BTreeMap<CheckId, Slot>,
        heeds_soft: bool,
        held_from: Option<Timestamp>,
        now: Timestamp,
    ) {
        self.heeds_soft = heeds_soft;
        for (address, votes) in self.health.addresses.iter_mut().zip(&self.votes) {
            let (found, mut reason) = worst(votes, slots, heeds_soft, now);
            if !heeds_soft && worst_state(votes, slots, true) > found {
                reason += "; soft signals count for nobody, since they speak against too many: ";
                reason += &worst(votes, slots, true, now).1;
            }
            let is_awaited = votes.iter().flat_map(Vote::checks).any(|id| slots[id].is_awaited());
            address.turn((found, reason), is_awaited, held_from, now);
        }
        let (state, reason) = self.best();
        if state != self.health.state {
            let held = self.health.addresses.iter().filter(|address| address.state == state && address.is_held());
            let since = held.map(|address| address.since).min();
            (self.health.state, self.health.since) = (state, since.unwrap_or(now));
        }
        self.health.reason = reason;
        for family in Family::ALL {
            self.turn_family(family, now);
        }
        let lasts = self.checks().filter_map(|id| slots[&id].health.last());
        self.health.last = lasts.max_by_key(|last| last.at).cloned();
    }

    /// Clients of one family notice nothing of the other: the ramp of who comes back is its own. Where both come back
    /// together, it is one for both.
    fn turn_family(&mut self, family: Family, now: Timestamp) {
        let of_family = || self.health.addresses.iter().filter(|address| family.holds(&address.address));
        let found = match self.health.addresses.is_empty() {
            true => Some(self.health.state),
            false => of_family().map(|address| address.state).min(),
        };
        let is_held = of_family().any(|address| Some(address.state) == found && address.is_held());
        let at = family as usize;
        if std::mem::replace(&mut self.health.families[at], found) == found {
            return;
        }
        let EndpointHealth { is_away, recovered, .. } = &mut self.health;
        // What is taken back never was away.
        is_away[at] &= !is_held;
        match found {
            Some(State::Down) => {
                is_away[at] = true;
                recovered.set(family, None);
            }
            // None is of use before all others: the ramp begins behind it. An address may go and come while it is down.
            Some(State::Unknown | State::Damped) | None => recovered.set(family, None),
            Some(State::Up | State::Degraded) if std::mem::take(&mut is_away[at]) => {
                let with_other = recovered.last().filter(|other| are_near(*other, now, TOGETHER));
                recovered.set(family, Some(with_other.unwrap_or(now)));
            }
            Some(State::Up | State::Degraded) => {}
        }
    }

    /// Takes in what is said of its site or cloud, and what that and its checks come to: may it turn? Who is held does not by
    /// what is found next.
    pub(super) fn heed(&mut self, alert: Alert, slots: &BTreeMap<CheckId, Slot>) {
        self.alert = if self.is_down() { Alert::None } else { alert };
        let is_usable = |address: &AddressHealth| address.state < State::Unknown && !address.is_held();
        let usable = self.health.addresses.iter().zip(&self.votes).filter(|(address, _)| is_usable(address));
        let usable = usable.flat_map(|(_, votes)| votes).flat_map(Vote::checks).map(|id| &slots[id]);
        let usable = usable.filter(|slot| self.heeds_soft || !slot.check.probe.kind.is_soft()).map(|slot| &slot.health);
        let (in_doubt, may_turn) = usable.fold((false, false), |(in_doubt, may_turn), health| {
            (in_doubt || health.in_doubt(), may_turn || health.wants_haste())
        });
        self.may_turn = may_turn;
        self.health.in_doubt = in_doubt || self.alert == Alert::Doubted && self.health.state < State::Unknown;
    }

    /// Is it down, by what its checks come to?
    pub(super) fn is_down(&self) -> bool {
        match self.health.addresses.iter().map(|address| address.found).min() {
            Some(found) => found == State::Down,
            None => self.health.state == State::Down,
        }
    }

    /// Each as often as an address is judged by it.
    pub(super) fn checks(&self) -> impl Iterator<Item = CheckId> {
        self.votes.iter().flatten().flat_map(Vote::checks).copied()
    }

    /// Sums up what was recalled: what is known has been so since the last of its checks turned. It was usable again at
    /// `recovered`.
    pub(super) fn recall(
        &mut self,
        slots: &BTreeMap<CheckId, Slot>,
        heeds_soft: bool,
        recovered: Recovered,
        now: Timestamp,
    ) {
        self.sum_up(slots, heeds_soft, None, now);
        for family in Family::ALL {
            match self.health.families[family as usize] {
                Some(State::Up | State::Degraded) => {
                    self.health.recovered.set(family, recovered.of(family).map(|at| at.min(now)));
                }
                // It has been down, or it would not be held back.
                Some(State::Damped) => self.health.is_away[family as usize] = true,
                Some(State::Unknown | State::Down) | None => {}
            }
        }
        let since = |votes: &[Vote]| {
            let checks = votes.iter().flat_map(Vote::checks);
            checks.map(|id| slots[id].health.since()).max().unwrap_or(now)
        };
        for (address, votes) in self.health.addresses.iter_mut().zip(&self.votes) {
            if address.state != State::Unknown {
                address.since = since(votes);
            }
        }
        let alike = self.health.addresses.iter().filter(|address| address.state == self.health.state);
        if let Some(since) = alike.map(|address| address.since).min().filter(|_| self.health.state != State::Unknown) {
            self.health.since = since;
        }
    }

    /// The states of the addresses.
    pub(super) fn address_states(&self) -> Vec<(IpAddr, State)> {
        self.health.addresses.iter().map(|address| (address.address, address.state)).collect()
    }

    /// The state of the best address, and the endpoint's reason.
    fn best(&self) -> (State, String) {
        let addresses = &self.health.addresses;
        let Some(best) = addresses.iter().min_by_key(|address| address.state) else {
            return match self.bare {
                Some(Bare::Unresolved) => (State::Unknown, "its hostname is not resolved yet".to_owned()),
                _ => (State::Down, "its hostname does not resolve".to_owned()),
            };
        };
        let others: Vec<_> = addresses.iter().filter(|address| address.state != best.state).collect();
        let Some(worst) = others.iter().max_by_key(|address| address.state) else {
            return (best.state, best.reason.clone());
        };
        let (alike, all) = (addresses.len() - others.len(), addresses.len());
        let state = best.state.as_str();
        let reason = format!("{alike} of {all} addresses {state}; {}: {}", worst.address, worst.reason);
        (best.state, reason)
    }
}

/// One that an address is judged by.
#[derive(Clone, Debug)]
pub(super) enum Vote {
    Check(CheckId),
    /// What several come to: the state that `at_least` so many have, or a better one.
    Counted {
        name: Arc<str>,
        at_least: usize,
        of: Vec<CheckId>,
    },
}

impl Vote {
    pub(super) fn checks(&self) -> &[CheckId] {
        match self {
            Self::Check(check) => std::slice::from_ref(check),
            Self::Counted { of, .. } => of,
        }
    }

    /// The check whose state it is; none: it has no vote.
    fn decisive<'s>(&self, slots: &'s BTreeMap<CheckId, Slot>, heeds_soft: bool) -> Option<&'s Slot> {
        let mut telling: Vec<&Slot> =
            self.checks().iter().map(|id| &slots[id]).filter(|slot| !slot.abstains()).collect();
        telling.sort_by_key(|slot| slot.state(heeds_soft));
        let needed = match self {
            Self::Check(_) => 1,
            Self::Counted { at_least, .. } => *at_least,
        };
        telling.get(needed.min(telling.len()).checked_sub(1)?).copied()
    }

    fn reason(&self, slot: &Slot, now: Timestamp) -> String {
        let said = format!("probe {}: {}", slot.check.probe.name, slot.health.reason(now));
        match self {
            Self::Check(_) => said,
            Self::Counted { name, at_least, of } => format!("probe {name}, {at_least} of {}: {said}", of.len()),
        }
    }
}

/// The worst that has a vote, and the check that decides it.
fn worst_of<'s>(
    votes: &'s [Vote],
    slots: &'s BTreeMap<CheckId, Slot>,
    heeds_soft: bool,
) -> Option<(&'s Vote, &'s Slot)> {
    // The first of the worst, so that the reason does not jump between equals.
    let decisive = votes.iter().rev().filter_map(|vote| Some((vote, vote.decisive(slots, heeds_soft)?)));
    decisive.max_by_key(|(_, slot)| slot.state(heeds_soft))
}

/// The worst state that has a vote.
fn worst_state(votes: &[Vote], slots: &BTreeMap<CheckId, Slot>, heeds_soft: bool) -> State {
    let without = if votes.is_empty() { State::Up } else { State::Unknown };
    worst_of(votes, slots, heeds_soft).map_or(without, |(_, slot)| slot.state(heeds_soft))
}

/// The same, and an address's reason.
fn worst(votes: &[Vote], slots: &BTreeMap<CheckId, Slot>, heeds_soft: bool, now: Timestamp) -> (State, String) {
    let state = worst_state(votes, slots, heeds_soft);
    let reason = match (worst_of(votes, slots, heeds_soft), votes) {
        (Some((vote, slot)), _) => vote.reason(slot, now),
        (None, [first, ..]) => first.reason(&slots[&first.checks()[0]], now),
        (None, []) => "it has no probe".to_owned(),
    };
    (state, reason)
}
