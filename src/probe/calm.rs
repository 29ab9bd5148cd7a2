//! Reports that change nothing: those of checks that are well and stay so.
//!
//! They are nearly all there are. Each by itself would wake the control plane; these are laid down for it, and it takes them
//! in some dozen times a second, or when one comes that may change something, before that one.

use std::sync::{Mutex, PoisonError};

use super::Report;

/// More than so many go the other way, and wait.
const ROOM: usize = 65_536;

/// Where they are laid down.
#[derive(Debug, Default)]
pub struct Calm {
    reports: Mutex<Vec<Report>>,
}

impl Calm {
    /// Lays one down; gives it back where there is no more room.
    pub(super) fn put(&self, report: Report) -> Result<(), Report> {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        if reports.len() >= ROOM {
            return Err(report);
        }
        reports.push(report);
        Ok(())
    }

    /// Takes all of them, oldest first.
    #[must_use]
    pub fn take(&self) -> Vec<Report> {
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let room = reports.len();
        std::mem::replace(&mut *reports, Vec::with_capacity(room))
    }
}
