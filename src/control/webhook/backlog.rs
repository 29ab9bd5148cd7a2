//! Events that wait to be posted.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;
use tracing::warn;

use super::{Progress, Tally};
use crate::control::events::Event;

/// Events that may wait. A cloud that dies is some hundred.
const MOST: usize = 1000;

/// Waiting events, the oldest first. At the bound the oldest make room: what comes later tells more of now.
#[derive(Default)]
pub(super) struct Backlog {
    waiting: VecDeque<Arc<Event>>,
    dropped: Tally,
}

impl Backlog {
    /// Takes in what a listener heard, and tells of it. False: no more will come.
    pub(super) fn hear(&mut self, heard: Result<Arc<Event>, RecvError>, progress: &Progress) -> bool {
        let (waited, dropped) = (self.waiting.len(), self.dropped.0);
        let goes_on = self.take_in(heard);
        progress.update(|posting| {
            posting.waiting = (posting.waiting + self.waiting.len()).saturating_sub(waited);
            posting.dropped += self.dropped.0 - dropped;
        });
        goes_on
    }

    fn take_in(&mut self, heard: Result<Arc<Event>, RecvError>) -> bool {
        match heard {
            Ok(event) => {
                if self.waiting.len() == MOST {
                    self.waiting.pop_front();
                    self.count_dropped(1);
                }
                self.waiting.push_back(event);
            }
            // What it did not hear in time is older than all that it will hear.
            Err(RecvError::Lagged(count)) => self.count_dropped(count),
            Err(RecvError::Closed) => return false,
        }
        true
    }

    /// The oldest, up to so many.
    pub(super) fn take(&mut self, at_most: usize) -> Vec<Arc<Event>> {
        self.waiting.drain(..at_most.min(self.waiting.len())).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    fn count_dropped(&mut self, count: u64) {
        metrics::counter!("meridian_webhook_total", "outcome" => "dropped").increment(count);
        if let Some(events) = self.dropped.add(count) {
            warn!(events, "too many events wait for the webhook: the oldest are lost");
        }
    }
}
