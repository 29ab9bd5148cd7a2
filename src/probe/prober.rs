//! Runs all checks, each in a task of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::attempt::{Attempt, Client, Failed};
use super::schedule::{Random, Schedule};
use super::trust::Trust;
use crate::config::Probe;
use crate::health::{Cause, Check, CheckId, Outcome};

/// Probes in flight at once, over all checks. A check has at most one in flight, so that up to this
/// number of checks none waits for another; beyond it they wait in turn, and the wait is no part of
/// what they measure. Each takes one file descriptor.
pub const MAX_IN_FLIGHT: usize = 1024;

/// What a check found.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// Which check.
    pub check: CheckId,
    /// When it was known.
    pub at: Timestamp,
    /// What it was.
    pub outcome: Outcome,
}

/// Runs that told nothing of their target, since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Discarded {
    /// A timer fired over half an interval late: we were starved (BEHAVIOUR rule 16).
    pub late: u64,
    /// This machine ran out of file descriptors or memory.
    pub exhausted: u64,
}

/// Runs checks and sends a [`Report`] for each run. Dropping it stops them all.
pub struct Prober {
    first_round: Duration,
    tasks: BTreeMap<CheckId, Running>,
    shared: Arc<Shared>,
}

/// What the tasks share.
struct Shared {
    reports: mpsc::Sender<Report>,
    in_flight: Semaphore,
    late: AtomicU64,
    exhausted: AtomicU64,
}

/// A task, stopped when dropped.
struct Running {
    /// The authorities that it trusts.
    pem: Option<Arc<[u8]>>,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Prober {
    /// Without checks. `first_round` bounds the wait for all first outcomes. While `reports` is
    /// full, the checks that have something to say wait; when it is closed they end.
    #[must_use]
    pub fn new(first_round: Duration, reports: mpsc::Sender<Report>) -> Self {
        let in_flight = Semaphore::new(MAX_IN_FLIGHT);
        let shared = Shared { reports, in_flight, late: AtomicU64::new(0), exhausted: AtomicU64::new(0) };
        Self { first_round, tasks: BTreeMap::new(), shared: Arc::new(shared) }
    }

    /// Runs exactly these checks from now on: those that ran before, with the same id and
    /// certificate authorities, are left alone, new ones begin with their first round, others stop.
    /// `trust` holds the authorities of their probes.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn reconfigure<'a>(&mut self, checks: impl IntoIterator<Item = (CheckId, &'a Arc<Check>)>, trust: &Trust) {
        let mut old = std::mem::take(&mut self.tasks);
        for (id, check) in checks {
            let pem = trust.pem(&check.probe).cloned();
            let kept = old.remove(&id).filter(|running| running.pem == pem);
            let running = kept.unwrap_or_else(|| {
                let client = Client::new(check, trust);
                Running { pem, task: self.start(id, &check.probe, client) }
            });
            self.tasks.insert(id, running);
        }
    }

    /// Runs that told nothing of their target.
    #[must_use]
    pub fn discarded(&self) -> Discarded {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Discarded { late: count(&self.shared.late), exhausted: count(&self.shared.exhausted) }
    }

    fn start(&self, id: CheckId, probe: &Probe, attempt: impl Attempt) -> JoinHandle<()> {
        let schedule = Schedule::new(probe.interval, probe.jitter, self.first_round, Random::seeded());
        let runner = Runner {
            id,
            timeout: probe.timeout,
            // Over half an interval late is too late.
            grace: probe.interval / 2,
            attempt,
            shared: self.shared.clone(),
        };
        tokio::spawn(runner.run(schedule))
    }
}

/// The task of one check.
struct Runner<A> {
    id: CheckId,
    timeout: Duration,
    grace: Duration,
    attempt: A,
    shared: Arc<Shared>,
}

impl<A: Attempt> Runner<A> {
    /// Until the channel of reports is closed.
    async fn run(self, mut schedule: Schedule) {
        let mut due = Instant::now() + schedule.next_gap();
        loop {
            sleep_until(due).await;
            let late = due.elapsed() > self.grace;
            let permit = self.shared.in_flight.acquire().await.expect("it is never closed");
            let start = Instant::now();
            let outcome = if late { self.shared.count_late() } else { self.outcome(start).await };
            drop(permit);
            if let Some(outcome) = outcome {
                let report = Report { check: self.id, at: Timestamp::now(), outcome };
                if self.shared.reports.send(report).await.is_err() {
                    return;
                }
            }
            due = Instant::now().max(start + schedule.next_gap());
        }
    }

    /// None: nothing is known of the target.
    async fn outcome(&self, start: Instant) -> Option<Outcome> {
        let cause = match timeout(self.timeout, self.attempt.attempt()).await {
            Ok(Ok(())) => return Some(Outcome::Success { rtt: start.elapsed() }),
            Ok(Err(Failed::There(cause))) => cause,
            Ok(Err(Failed::Here(why))) => return self.shared.count_exhausted(&why),
            // The answer may well have come while we slept.
            Err(_) if start.elapsed() > self.timeout + self.grace => return self.shared.count_late(),
            Err(_) => Cause::Timeout(self.timeout),
        };
        Some(Outcome::Failure { cause })
    }
}

/// Counts are logged at powers of two, so that a bad hour does not fill the disk.
impl Shared {
    fn count_late(&self) -> Option<Outcome> {
        let count = self.late.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            tracing::warn!(count, "probe timers fire late: this machine is starved; such outcomes are discarded");
        }
        None
    }

    fn count_exhausted(&self, why: &str) -> Option<Outcome> {
        let count = self.exhausted.fetch_add(1, Ordering::Relaxed) + 1;
        if count.is_power_of_two() {
            tracing::warn!(count, why, "cannot probe: raise the limit on open files; such outcomes are discarded");
        }
        None
    }
}
