//! What the board says, and what it keeps over a restart.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Recovered;
use super::state::Memory;
use crate::model::{EndpointId, State};

/// Something changed what answers may hold.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// Whose it was.
    pub endpoint: EndpointId,
    /// The endpoint's states before and now; they are equal where only addresses changed.
    pub change: StateChange,
    /// The addresses that changed.
    pub addresses: Vec<(IpAddr, StateChange)>,
    /// Whether it may turn soon has changed, or why.
    pub doubt: bool,
    /// Why, in words for operators: probe, target, cause.
    pub reason: String,
}

impl Verdict {
    /// An endpoint in that state may turn soon.
    pub(super) fn of_doubt(endpoint: EndpointId, state: State, reason: &str) -> Self {
        let change = StateChange { from: state, to: state };
        Self { endpoint, change, addresses: Vec::new(), doubt: true, reason: reason.to_owned() }
    }

    /// Has nothing changed but whether it may turn soon?
    #[must_use]
    pub fn is_doubt(&self) -> bool {
        self.change.from == self.change.to && self.addresses.is_empty()
    }
}

/// Before and now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// Before.
    pub from: State,
    /// Now.
    pub to: State,
}

/// What outlives a restart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remembered {
    /// Of checks.
    pub checks: Vec<RememberedCheck>,
    /// When endpoints were usable again, by name.
    pub recovered: BTreeMap<Arc<str>, Recovered>,
}

/// What a check knew.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RememberedCheck {
    pub(super) endpoint: Arc<str>,
    pub(super) probe: Arc<str>,
    pub(super) address: Option<IpAddr>,
    pub(super) memory: Memory,
}
