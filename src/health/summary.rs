//! From the states of checks to those of addresses and endpoints.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use super::board::Slot;
use super::{CheckId, Last};
use crate::model::State;

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
    pub recovered: Option<Timestamp>,
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
    /// the endpoint and of the addresses that it had before stands, so that times stay.
    pub(super) fn after(before: Option<Self>, name: &Arc<str>, addresses: &[IpAddr], now: Timestamp) -> Self {
        let new = Self {
            name: name.clone(),
            state: State::Unknown,
            since: now,
            reason: String::new(),
            recovered: None,
            in_doubt: false,
            last: None,
            addresses: Vec::new(),
        };
        let mut health = before.unwrap_or(new);
        let old = std::mem::take(&mut health.addresses);
        let address = |&address: &IpAddr| {
            let kept = old.iter().find(|old| old.address == address).cloned();
            kept.unwrap_or(AddressHealth { address, state: State::Unknown, since: now, reason: String::new() })
        };
        Self { addresses: addresses.iter().map(address).collect(), ..health }
    }
}

impl Entry {
    /// Sums the states of checks up; times are those of changes.
    pub(super) fn sum_up(&mut self, slots: &BTreeMap<CheckId, Slot>, now: Timestamp) {
        for (address, votes) in self.health.addresses.iter_mut().zip(&self.votes) {
            let (state, reason) = worst(votes, slots, now);
            if state != address.state {
                (address.state, address.since) = (state, now);
            }
            address.reason = reason;
        }
        let (state, reason) = self.best();
        if state != self.health.state {
            self.health.recovered = match (self.health.state, state) {
                (_, State::Down | State::Unknown) => None,
                (State::Down, _) => Some(now),
                _ => self.health.recovered,
            };
            (self.health.state, self.health.since) = (state, now);
        }
        self.health.reason = reason;
        let usable =
            self.health.addresses.iter().zip(&self.votes).filter(|(address, _)| address.state < State::Unknown);
        let usable = usable.flat_map(|(_, votes)| votes).flat_map(Vote::checks).map(|id| &slots[id].health);
        (self.health.in_doubt, self.may_turn) = usable.fold((false, false), |(in_doubt, may_turn), health| {
            (in_doubt || health.in_doubt(), may_turn || health.wants_haste())
        });
        let lasts = self.votes.iter().flatten().flat_map(Vote::checks).filter_map(|id| slots[id].health.last());
        self.health.last = lasts.max_by_key(|last| last.at).cloned();
    }

    /// Sums up what was recalled: what is known has been so since the last of its checks turned.
    pub(super) fn recall(&mut self, slots: &BTreeMap<CheckId, Slot>, now: Timestamp) {
        self.sum_up(slots, now);
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
    fn checks(&self) -> &[CheckId] {
        match self {
            Self::Check(check) => std::slice::from_ref(check),
            Self::Counted { of, .. } => of,
        }
    }

    /// The check whose state it is; none: it has no vote.
    fn decisive<'s>(&self, slots: &'s BTreeMap<CheckId, Slot>) -> Option<&'s Slot> {
        let mut telling: Vec<&Slot> =
            self.checks().iter().map(|id| &slots[id]).filter(|slot| !slot.abstains()).collect();
        telling.sort_by_key(|slot| slot.health.state());
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

/// The worst state that has a vote, and an address's reason.
fn worst(votes: &[Vote], slots: &BTreeMap<CheckId, Slot>, now: Timestamp) -> (State, String) {
    if votes.is_empty() {
        return (State::Up, "it has no probe".to_owned());
    }
    // The first of the worst, so that the reason does not jump between equals.
    let decisive = votes.iter().rev().filter_map(|vote| Some((vote, vote.decisive(slots)?)));
    match decisive.max_by_key(|(_, slot)| slot.health.state()) {
        Some((vote, slot)) => (slot.health.state(), vote.reason(slot, now)),
        None => {
            let slot = &slots[&votes[0].checks()[0]];
            (State::Unknown, votes[0].reason(slot, now))
        }
    }
}
