//! Events go to a webhook (`[events] webhook`).
//!
//! ```text
//! Events ─▶ Backlog (the oldest make room) ─▶ a batch ─▶ POST ─▶ taken: the next batch
//!                                               ▲          └──▶ refused for good, or so many times: given up
//!                                               └─ waits ──┘ no answer in time, 408, 429, 5xx
//! ```
//! A task of its own, so that it delays no verdict. One batch is under way at a time, and what waits meanwhile leaves
//! together: events come in their order, and a cloud that dies is a few POSTs and not hundreds.

mod backlog;
mod hook;
mod posting;
#[cfg(test)]
mod tests;

use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::warn;

use super::events::{Event, Events};
use backlog::Backlog;
pub(super) use hook::Hook;
pub use posting::Posting;
pub(super) use posting::Progress;

/// Events of one POST.
const MOST_AT_ONCE: usize = 100;
/// A batch is given up when it has not been taken in so many tries.
const TRIES: u32 = 8;
/// Between the first two tries; then twice as long each time, up to [`LONGEST_WAIT`].
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(60);

/// Takes events, if it will.
trait Post: Send + Sync + 'static {
    /// It is stopped by dropping the future.
    fn post(&self, body: &Body) -> impl Future<Output = Result<(), Refusal>> + Send;
}

/// What is posted.
struct Body {
    /// The id of the newest event in it.
    newest: u64,
    /// All of them, the oldest first.
    json: Bytes,
}

/// Why a POST was not taken.
struct Refusal {
    why: String,
    /// Another try would come to the same.
    for_good: bool,
}

/// The task that posts events. It ends when this is dropped.
pub(super) struct Deliveries {
    hook: watch::Sender<Option<Arc<Hook>>>,
    task: JoinHandle<()>,
}

impl Deliveries {
    /// Those recorded from now on go to `hook`; `progress` tells what comes of it.
    pub(super) fn start(events: &Events, hook: Option<Arc<Hook>>, progress: Arc<Progress>) -> Self {
        let (sender, hooks) = watch::channel(hook);
        let task = tokio::spawn(Task::new(events.listen(None).1, progress).run(hooks));
        Self { hook: sender, task }
    }

    /// From now on they go there. What waits goes there too; where it is nowhere, it is forgotten.
    pub(super) fn redirect(&self, hook: Option<Arc<Hook>>) {
        self.hook.send_if_modified(|before| {
            let same = match (&*before, &hook) {
                (Some(before), Some(hook)) => before.is_same(hook),
                (before, hook) => before.is_none() && hook.is_none(),
            };
            if !same {
                *before = hook;
            }
            !same
        });
    }
}

impl Drop for Deliveries {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Task {
    listener: Receiver<Arc<Event>>,
    backlog: Backlog,
    /// Under way. Where the hook changes meanwhile, it is begun again.
    batch: Vec<Arc<Event>>,
    refused: Tally,
    failed: Tally,
    progress: Arc<Progress>,
}

impl Task {
    fn new(listener: Receiver<Arc<Event>>, progress: Arc<Progress>) -> Self {
        let (refused, failed) = <(Tally, Tally)>::default();
        Self { listener, backlog: Backlog::default(), batch: Vec::new(), refused, failed, progress }
    }

    /// Until there are no more hooks to come, or no events.
    async fn run<P: Post>(mut self, mut hooks: watch::Receiver<Option<Arc<P>>>) {
        loop {
            let hook = hooks.borrow_and_update().clone();
            tokio::select! {
                biased; // what comes after an edit goes where that says
                changed = hooks.changed() => if changed.is_err() { return },
                () = self.serve(hook.as_deref()) => return,
            }
        }
    }

    async fn serve<P: Post>(&mut self, hook: Option<&P>) {
        self.progress.begin(hook.map(|_| self.batch.len() + self.backlog.len()));
        let Some(hook) = hook else {
            (self.backlog, self.batch) = Default::default();
            while !matches!(self.listener.recv().await, Err(RecvError::Closed)) {}
            return;
        };
        loop {
            if self.batch.is_empty() {
                self.batch = self.backlog.take(MOST_AT_ONCE);
            }
            if !self.batch.is_empty() {
                if !self.deliver(hook).await {
                    return;
                }
                self.batch.clear();
            } else if !self.backlog.hear(self.listener.recv().await, &self.progress) {
                return;
            }
        }
    }

    /// Posts the batch, and hears what comes meanwhile. False: no more will come.
    async fn deliver<P: Post>(&mut self, hook: &P) -> bool {
        let count = self.batch.len() as u64;
        let mut posted = pin!(insist(hook, &self.batch, &mut self.refused, &self.progress));
        let posted = loop {
            tokio::select! {
                biased; // what has come belongs to the next batch
                heard = self.listener.recv() => if !self.backlog.hear(heard, &self.progress) { return false },
                posted = &mut posted => break posted,
            }
        };
        self.progress.update(|posting| {
            *(if posted.is_ok() { &mut posting.sent } else { &mut posting.failed }) += count;
            posting.waiting = self.backlog.len();
        });
        let outcome = if posted.is_ok() { "sent" } else { "failed" };
        metrics::counter!("meridian_webhook_total", "outcome" => outcome).increment(count);
        if let Err(why) = posted
            && let Some(events) = self.failed.add(count)
        {
            warn!(events, why, "the webhook did not take events: they are lost");
        }
        true
    }
}

/// Posts until it is taken or given up: why.
async fn insist(
    hook: &impl Post,
    batch: &[Arc<Event>],
    refused: &mut Tally,
    progress: &Progress,
) -> Result<(), String> {
    let json = serde_json::to_vec(batch).unwrap_or_default(); // numbers and text can be written
    let body = Body { newest: batch.last().map_or(0, |event| event.id), json: json.into() };
    let mut wait = FIRST_WAIT;
    for tries_left in (0..TRIES).rev() {
        let posted = hook.post(&body).await;
        progress.update(|posting| match &posted {
            Ok(()) => (posting.taken, posting.error) = (Some(Timestamp::now()), None),
            Err(Refusal { why, .. }) => posting.error = Some(why.clone()),
        });
        let Err(Refusal { why, for_good }) = posted else { break };
        if for_good || tries_left == 0 {
            return Err(why);
        }
        if let Some(tries) = refused.add(1) {
            warn!(tries, why, "the webhook does not take events: they wait");
        }
        sleep(wait.mul_f64(1.0 - share() / 2.0)).await;
        wait = (wait * 2).min(LONGEST_WAIT);
    }
    Ok(())
}

/// From 0 to 1: another one each time, so that many servers do not come back together.
fn share() -> f64 {
    RandomState::new().hash_one(0) as f64 / u64::MAX as f64
}

/// A count that is told at powers of two, so that a bad hour does not fill the disk.
#[derive(Default)]
struct Tally(u64);

impl Tally {
    /// Adds some; the count, if it is time to tell it.
    fn add(&mut self, count: u64) -> Option<u64> {
        let before = self.0;
        self.0 += count;
        (count > 0 && before.checked_ilog2() != self.0.checked_ilog2()).then_some(self.0)
    }
}
