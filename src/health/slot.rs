//! A check with what the board knows of it.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use super::slow::Pace;
use super::{Change, Check, HealthState, Outcome};
use crate::model::{EndpointId, State};

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
}

impl Slot {
    /// Shall it be probed fast? While it is in doubt, or looked at closely; but more probes are no way to learn more of who
    /// limits them. Says if that has changed.
    pub(super) fn hasten(&mut self, is_alert: bool) -> bool {
        let fast = self.health.wants_haste() || is_alert && !self.health.in_doubt();
        std::mem::replace(&mut self.fast, fast) != fast
    }

    pub(super) fn key(&self) -> Key {
        (self.check.endpoint.clone(), self.check.probe.name.clone(), self.address)
    }

    /// Takes in how fast it answers.
    pub(super) fn take_pace(
        &mut self,
        pace: Pace,
        now: Timestamp,
        remarks: &mut Vec<(EndpointId, String)>,
    ) -> Option<Change> {
        let why = match pace {
            Pace::Usual => None,
            Pace::Slow(why) => Some(why),
            Pace::Crowd(why) => {
                remarks.push((EndpointId::at(self.endpoint), format!("probe {}: {why}", self.check.probe.name)));
                None
            }
        };
        self.health.take_slow(now, why)
    }

    /// Has it no outcome yet?
    pub(super) fn is_pending(&self) -> bool {
        self.health.state() == State::Unknown && self.health.last().is_none()
    }

    /// Has it no vote beside others? So it is while what should tell of the target does not.
    pub(super) fn abstains(&self) -> bool {
        let missing = self.health.last().is_some_and(|last| matches!(last.outcome, Outcome::Missing { .. }));
        self.health.state() == State::Unknown && missing
    }
}
