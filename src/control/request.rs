//! What an operator asks for, and what that came to.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use super::overrides::{Action, Override};

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// What.
    pub action: Verb,
    /// An endpoint, `CLOUD/REGION`, a region or a cloud; `all` for holds.
    pub target: String,
    /// Why, for those who look later.
    #[serde(default)]
    pub reason: String,
    /// Who asks.
    pub author: String,
    /// For how long; none: until it is taken back. A duration as the configuration writes it.
    #[serde(default, rename = "for")]
    pub lasting: Option<String>,
    /// How long a drain takes; none: as long as each service says.
    #[serde(default)]
    pub over: Option<String>,
    /// Do it although clients are left without an endpoint, or too little capacity.
    #[serde(default)]
    pub accept_impact: bool,
    /// Do nothing; tell what it would come to.
    #[serde(default)]
    pub dry_run: bool,
}

/// What can be ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Take its clients away by steps.
    Drain,
    /// Give them back.
    Undrain,
    /// Count it as up.
    Up,
    /// Never answer it.
    Down,
    /// Let verdicts move nothing.
    Hold,
    /// Take back what was forced or held.
    Release,
}

impl Verb {
    pub(super) fn action(self) -> Option<Action> {
        match self {
            Self::Drain => Some(Action::Drain),
            Self::Up => Some(Action::Up),
            Self::Down => Some(Action::Down),
            Self::Hold => Some(Action::Hold),
            Self::Undrain | Self::Release => None,
        }
    }
}

/// A request on its way to the control task.
pub(super) struct Order {
    pub(super) request: Request,
    /// What it came to; an error is about the request.
    pub(super) reply: oneshot::Sender<Result<Done, String>>,
}

/// What an order came to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The orders that it put in force.
    pub put: Vec<Override>,
    /// Those that it took back.
    pub removed: Vec<Override>,
    /// Those that it stands in place of: of the same action and target, given before.
    #[serde(default)]
    pub replaced: Vec<Override>,
    /// Of a drain: when the last step is taken, by the slowest of the services.
    pub drained_at: Option<Timestamp>,
    /// Of what is taken back: when the last step of those that come back by it is taken at the latest.
    #[serde(default)]
    pub back_at: Option<Timestamp>,
    /// Why they are not on disk, so that a restart would lose them; none: they are.
    pub not_kept: Option<String>,
}
