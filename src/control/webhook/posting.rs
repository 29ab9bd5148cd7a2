//! What comes of posting events, for `/status`.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

/// Since events go there.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Posting {
    /// Events that it took.
    pub sent: u64,
    /// Events given up, since it did not take them.
    pub failed: u64,
    /// Events that made room for later ones.
    pub dropped: u64,
    /// Events that wait now, those under way among them.
    pub waiting: usize,
    /// When it took some last; null: never.
    pub taken: Option<Timestamp>,
    /// Why it did not take the last try; null: it did, or there was none.
    pub error: Option<String>,
}

/// Where the task tells it; none while there is no webhook.
#[derive(Debug, Default)]
pub(crate) struct Progress(Mutex<Option<Posting>>);

impl Progress {
    pub(crate) fn get(&self) -> Option<Posting> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on events go somewhere (else), for which so many wait; none: nowhere.
    pub(super) fn begin(&self, waiting: Option<usize>) {
        let posting = waiting.map(|waiting| Posting { waiting, ..Posting::default() });
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = posting;
    }

    pub(super) fn update(&self, update: impl FnOnce(&mut Posting)) {
        if let Some(posting) = &mut *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            update(posting);
        }
    }
}
