//! Tables of estimates that come from elsewhere: another server's, or one that this server saved.

use std::sync::{Arc, Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::{Notify, oneshot};

use super::load::Loaded;
use super::shared::Shared;
use crate::latency::Published;

/// The table that answers go by.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InForce {
    /// Of the snapshot that serves.
    pub generation: u64,
    /// Countries, and autonomous systems in one, that it tells of.
    pub groups: usize,
    /// Prefixes that have an order of their own by it.
    pub derived_locations: usize,
    /// Over all that decisions come from, as `/status` has it.
    pub decision_hash: String,
    /// Why a restart would begin without it; none: it is on disk.
    pub not_kept: Option<String>,
}

impl InForce {
    pub(super) fn of(loaded: &Loaded, shared: &Shared) -> Self {
        let measured = &loaded.parts.measured;
        Self {
            generation: shared.published.load().generation,
            groups: measured.published.groups(),
            derived_locations: measured.derived().len(),
            decision_hash: shared.journal().decision_hash.to_string(),
            not_kept: None,
        }
    }
}

/// One that somebody brought, and waits for.
#[derive(Debug)]
pub(super) struct Brought {
    pub(super) published: Arc<Published>,
    pub(super) reply: oneshot::Sender<InForce>,
}

/// The newest that nobody has looked at yet.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<Option<Brought>>);

impl Waiting {
    pub(super) fn take(&self) -> Option<Brought> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// Not in place of one that came meanwhile: whoever waits for that one is told, and of this one, that it is not in force.
    pub(super) fn put_back(&self, brought: Brought) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(brought);
    }

    /// Has answers go by one that they went by until an edit came, which was read with the one before.
    pub(super) fn keep(&self, published: Arc<Published>) {
        let (reply, _) = oneshot::channel(); // nobody waits
        self.put_back(Brought { published, reply });
    }

    /// Waits until answers go by it.
    ///
    /// # Errors
    /// Another came in its place, or it could not be put in force, which the log tells.
    pub(super) async fn bring(&self, published: Published, hurry: &Notify) -> Result<InForce, String> {
        let (reply, in_force) = oneshot::channel();
        let brought = Brought { published: Arc::new(published), reply };
        // Whoever waited for one before learns that by the end of its channel.
        drop(self.0.lock().unwrap_or_else(PoisonError::into_inner).replace(brought));
        hurry.notify_one();
        let left = |_| "it was not put in force: another table came after it, or see the log".to_owned();
        in_force.await.map_err(left)
    }
}
