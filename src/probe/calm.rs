//! Reports that are expected to change nothing: those of checks that are well and stay so.
//!
//! They are nearly all there are. Each by itself would wake the control plane; these are laid down for it, and it takes them
//! in together, before long or with the next one that may change something.

use std::sync::{Mutex, PoisonError};

use tokio::sync::Notify;

use super::Report;

/// More than so many go the other way, and wait.
const ROOM: usize = 65_536;

/// Where they are laid down.
#[derive(Debug, Default)]
pub struct Calm {
    reports: Mutex<Vec<Report>>,
    first: Notify,
}

impl Calm {
    /// Lays one down; gives it back where there is no more room.
    pub(super) fn put(&self, report: Report) -> Result<(), Report> {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        if reports.len() >= ROOM {
            return Err(report);
        }
        reports.push(report);
        if reports.len() == 1 {
            self.first.notify_one();
        }
        Ok(())
    }

    /// Until there are some, or were some since this was asked.
    pub async fn waits(&self) {
        self.first.notified().await;
    }

    /// Takes all of them.
    #[must_use]
    pub fn take(&self) -> Vec<Report> {
        std::mem::take(&mut *self.reports.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
