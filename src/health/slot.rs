//! A check with what the board knows of it.

use std::net::IpAddr;
use std::sync::Arc;

use super::correlation::Alert;
use super::{Check, HealthState, Outcome};
use crate::model::State;

/// What a check is of; its successor after an edit has the same. No address: `probe_target`, which
/// stands for all.
pub(super) type Key = (Arc<str>, Arc<str>, Option<IpAddr>);

/// A check and where it counts.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) check: Arc<Check>,
    pub(super) health: HealthState,
    /// Index into the board's entries.
    pub(super) endpoint: usize,
    /// The address that it tells of; none: all of them.
    pub(super) address: Option<IpAddr>,
    /// It is probed fast.
    pub(super) fast: bool,
    /// It may turn soon, as far as has been told.
    pub(super) in_doubt: bool,
    /// Its target limits our probes, as far as has been told.
    pub(super) limited: bool,
}

impl Slot {
    /// Shall it be probed fast? While it is in doubt, or looked at closely; but more probes are no way to learn more of who
    /// limits them. Says if that has changed.
    pub(super) fn hasten(&mut self, alert: Alert) -> bool {
        let fast = self.health.wants_haste() || alert > Alert::None && !self.health.in_doubt();
        std::mem::replace(&mut self.fast, fast) != fast
    }

    pub(super) fn key(&self) -> Key {
        (self.check.endpoint.clone(), self.check.probe.name.clone(), self.address)
    }

    /// Can it speak against its target by a soft signal?
    pub(super) fn may_soften(&self) -> bool {
        self.check.probe.slow.is_some() || self.check.probe.kind.is_soft()
    }

    /// Its state; where soft signals are not heeded, as it would be without. Who measures a figure has answered then, too.
    pub(super) fn state(&self, heeds_soft: bool) -> State {
        match self.health.state() {
            state if heeds_soft => state,
            State::Unknown => State::Unknown,
            _ if self.check.probe.kind.is_soft() => State::Up,
            _ => self.health.hard_state(),
        }
    }

    /// Has it no outcome yet?
    pub(super) fn is_pending(&self) -> bool {
        self.health.state() == State::Unknown && self.health.last().is_none()
    }

    /// Is its state unknown until its next outcome, whatever that is?
    pub(super) fn is_awaited(&self) -> bool {
        self.health.state() == State::Unknown && self.health.is_undecided() && !self.abstains()
    }

    /// Has it no vote beside others? So it is while what should tell of the target does not.
    pub(super) fn abstains(&self) -> bool {
        let missing = self.health.last().is_some_and(|last| matches!(last.outcome, Outcome::Missing { .. }));
        self.health.state() == State::Unknown && missing
    }
}
