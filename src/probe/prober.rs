//! Runs all checks, each in a task of its own.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore, mpsc};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until, timeout};

use super::attempt::{Attempt, Client, Failed, Found};
use super::calm::Calm;
use super::schedule::{Random, Schedule, SlowAfter};
use super::scripts::Scripts;
use super::trust::Trust;
use crate::config::Probe;
use crate::health::{Cause, Check, CheckId, Outcome};

/// Probes in flight at once, over all checks. Beyond it they wait in turn, and the wait is no part of what they measure.
/// Each takes one file descriptor.
pub const MAX_IN_FLIGHT: usize = 1024;
/// Probes of one check in flight at once; what is due beyond it is left out. The settings keep timeouts below so many
/// intervals.
const MAX_OVERLAP: usize = 16;

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

/// Runs checks and sends a [`Report`] for each run, also for those that a late timer made worthless. Dropping it stops them all.
pub struct Prober {
    first_round: Duration,
    /// None: no script can be started.
    scripts: Option<Scripts>,
    /// For what changes nothing; none: that goes with all else.
    calm: Option<Arc<Calm>>,
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
    /// What it trusts.
    pem: Option<Arc<[u8]>>,
    pace: Arc<Pace>,
    task: JoinHandle<()>,
}

impl Running {
    fn hurry(&self, is_fast: bool) {
        self.pace.is_fast.store(is_fast, Ordering::Relaxed);
        self.pace.changed.notify_one();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How a check is probed.
#[derive(Default)]
struct Pace {
    /// It is in doubt.
    is_fast: AtomicBool,
    changed: Notify,
    /// The last that was told of it is a success.
    is_well: AtomicBool,
}

impl Pace {
    fn is_fast(&self) -> bool {
        self.is_fast.load(Ordering::Relaxed)
    }

    /// Takes in what is told next: does it change nothing?
    fn stays_calm(&self, outcome: &Outcome) -> bool {
        let is_well = matches!(outcome, Outcome::Success { .. });
        self.is_well.swap(is_well, Ordering::Relaxed) && is_well && !self.is_fast()
    }
}

impl Prober {
    /// Without checks. `first_round` bounds the wait for all first outcomes. While `reports` is
    /// full, the checks that have something to say wait; when it is closed they end.
    #[must_use]
    pub fn new(first_round: Duration, reports: mpsc::Sender<Report>) -> Self {
        let in_flight = Semaphore::new(MAX_IN_FLIGHT);
        let shared = Shared { reports, in_flight, late: AtomicU64::new(0), exhausted: AtomicU64::new(0) };
        Self { first_round, scripts: None, calm: None, tasks: BTreeMap::new(), shared: Arc::new(shared) }
    }

    /// With a place for what changes nothing, for checks to come.
    #[must_use]
    pub fn with_calm(self, calm: Arc<Calm>) -> Self {
        Self { calm: Some(calm), ..self }
    }

    /// With what starts scripts, for checks to come.
    #[must_use]
    pub fn with_scripts(self, scripts: Option<Scripts>) -> Self {
        Self { scripts, ..self }
    }

    /// Runs exactly these checks from now on: those that ran before, with the same id and
    /// certificate authorities, are left alone, new ones begin with their first round, others stop.
    /// `trust` holds the authorities of their probes. It returns soon: a check makes its HTTP client
    /// when it is first due.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn reconfigure<'a>(&mut self, checks: impl IntoIterator<Item = (CheckId, &'a Arc<Check>)>, trust: &Arc<Trust>) {
        let mut old = std::mem::take(&mut self.tasks);
        for (id, check) in checks {
            let pem = trust.pem(&check.probe).cloned();
            let before = old.remove(&id);
            let is_fast = before.as_ref().is_some_and(|running| running.pace.is_fast());
            let running = before.filter(|running| running.pem == pem).unwrap_or_else(|| {
                let (check, trust, scripts) = (check.clone(), trust.clone(), self.scripts.clone());
                self.start(id, &check.probe.clone(), pem, move || Client::new(&check, &trust, scripts.as_ref()))
            });
            running.hurry(is_fast);
            self.tasks.insert(id, running);
        }
    }

    /// From now on, a check is probed fast or no more: it is in doubt or not. Of one that does not run, nothing comes of
    /// it.
    pub fn hurry(&self, id: CheckId, is_fast: bool) {
        if let Some(running) = self.tasks.get(&id) {
            running.hurry(is_fast);
        }
    }

    /// Runs that told nothing of their target.
    #[must_use]
    pub fn discarded(&self) -> Discarded {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Discarded { late: count(&self.shared.late), exhausted: count(&self.shared.exhausted) }
    }

    fn start<A: Attempt>(
        &self,
        id: CheckId,
        probe: &Probe,
        pem: Option<Arc<[u8]>>,
        make: impl FnOnce() -> A + Send + 'static,
    ) -> Running {
        let schedule = Schedule::new(probe, self.first_round, Random::seeded());
        let pace = Arc::new(Pace::default());
        let runner = Runner {
            timeout: probe.timeout,
            // Over half an interval late is too late.
            grace: probe.interval / 2,
            reporter: Reporter { id, shared: self.shared.clone(), calm: self.calm.clone(), pace: pace.clone() },
            slow_after: SlowAfter::new(probe.slow_after),
            runs: 0,
            succeeded: Arc::default(),
        };
        Running { pem, pace, task: tokio::spawn(runner.run(schedule, make)) }
    }
}

/// The task of one check.
struct Runner {
    timeout: Duration,
    grace: Duration,
    reporter: Reporter,
    slow_after: SlowAfter,
    /// Begun so far.
    runs: u64,
    /// The latest begun that has succeeded.
    succeeded: Arc<AtomicU64>,
}

impl Runner {
    /// Until the channel of reports is closed. `make` is called when the first run is due, so that the
    /// work is spread as the first runs are. A run is a task of its own: one that hangs delays none that is due.
    async fn run<A: Attempt>(mut self, mut schedule: Schedule, make: impl FnOnce() -> A) {
        let mut start = Instant::now();
        let mut gap = schedule.next_gap(false);
        sleep_until(start + gap).await;
        let attempt = Arc::new(make());
        let mut runs = JoinSet::new();
        loop {
            let due = start + gap;
            tokio::select! {
                biased;
                Some(ended) = runs.join_next() => match ended {
                    Ok(Ended::Took(rtt)) => self.slow_after.learn(rtt),
                    Ok(Ended::Told) | Err(_) => {} // a panic is logged
                    Ok(Ended::Closed) => return,
                },
                () = sleep_until(due) => {
                    start = Instant::now();
                    gap = schedule.next_gap(self.reporter.pace.is_fast());
                    if due.elapsed() > self.grace {
                        self.reporter.tell_late();
                    } else if runs.len() < MAX_OVERLAP {
                        runs.spawn(self.one(&attempt).run(runs.is_empty()));
                    }
                }
                () = self.reporter.pace.changed.notified() => if self.reporter.pace.is_fast() {
                    gap = gap.min(schedule.fast.max(start.elapsed())); // what is past was not due
                },
            }
        }
    }

    fn one<A>(&mut self, attempt: &Arc<A>) -> Run<A> {
        self.runs += 1;
        Run {
            number: self.runs,
            succeeded: Arc::clone(&self.succeeded),
            attempt: Arc::clone(attempt),
            timeout: self.timeout,
            slow_after: self.slow_after.get().filter(|after| *after < self.timeout),
            grace: self.grace,
            reporter: self.reporter.clone(),
        }
    }
}

/// Where a check's outcomes go.
#[derive(Clone)]
struct Reporter {
    id: CheckId,
    shared: Arc<Shared>,
    calm: Option<Arc<Calm>>,
    pace: Arc<Pace>,
}

impl Reporter {
    /// False where nobody hears it any more.
    async fn tell(&self, outcome: Outcome) -> bool {
        let calm = self.calm.as_ref().filter(|_| self.pace.stays_calm(&outcome));
        let mut report = Report { check: self.id, at: Timestamp::now(), outcome };
        if let Some(calm) = calm {
            match calm.put(report) {
                Ok(()) => return true,
                Err(back) => report = back,
            }
        }
        self.shared.reports.send(report).await.is_ok()
    }

    /// Does not wait where the channel is full: that would make the next run late too.
    fn tell_late(&self) {
        let report = Report { check: self.id, at: Timestamp::now(), outcome: self.shared.count_late() };
        let _ = self.shared.reports.try_send(report); // one more or less does not tell
    }
}

/// One run of a check.
struct Run<A> {
    number: u64,
    /// The latest of its check that has succeeded.
    succeeded: Arc<AtomicU64>,
    attempt: Arc<A>,
    timeout: Duration,
    slow_after: Option<Duration>,
    grace: Duration,
    reporter: Reporter,
}

/// How a run ended.
enum Ended {
    /// With an answer, after so long.
    Took(Duration),
    /// With another outcome, or none.
    Told,
    /// Nobody listens any more.
    Closed,
}

impl<A: Attempt> Run<A> {
    /// One that overlaps another `may_wait` no longer: where no more are allowed in flight, it is left out, lest checks
    /// in doubt take the others' turns.
    async fn run(self, may_wait: bool) -> Ended {
        let in_flight = &self.reporter.shared.in_flight;
        let permit = if may_wait { in_flight.acquire().await.ok() } else { in_flight.try_acquire().ok() };
        let Some(permit) = permit else { return Ended::Told };
        let start = Instant::now();
        let outcome = self.outcome(start).await;
        drop(permit);
        let Some(outcome) = outcome else { return Ended::Told };
        let rtt = outcome.rtt();
        if !self.reporter.tell(outcome).await {
            return Ended::Closed;
        }
        rtt.map_or(Ended::Told, Ended::Took)
    }

    /// None: nothing is known of the target, nor of our timers.
    async fn outcome(&self, start: Instant) -> Option<Outcome> {
        let mut attempt = pin!(timeout(self.timeout, self.attempt.attempt()));
        let found = match self.slow_after {
            None => attempt.await,
            Some(after) => match timeout(after, &mut attempt).await {
                Ok(found) => found,
                Err(_) => {
                    // A late timer is our fault and not the target's.
                    if start.elapsed() < after + self.grace {
                        self.reporter.tell(Outcome::Silent).await;
                    }
                    attempt.await
                }
            },
        };
        let shared = &self.reporter.shared;
        let cause = match found {
            Ok(Ok(found)) => {
                let rtt = start.elapsed();
                self.succeeded.fetch_max(self.number, Ordering::Relaxed);
                return Some(match found {
                    Found::Good => Outcome::Success { rtt },
                    Found::Degraded(why) => Outcome::Degraded { rtt, why },
                    Found::Missing(why) => Outcome::Missing { why },
                    Found::Limited(status) => Outcome::Limited { status },
                });
            }
            Ok(Err(Failed::There(cause))) => cause,
            Ok(Err(Failed::Here(why))) => return shared.count_exhausted(&why),
            // The answer may well have come while we slept.
            Err(_) if start.elapsed() > self.timeout + self.grace => return Some(shared.count_late()),
            Err(_) => Cause::Timeout(self.timeout),
        };
        let is_overtaken = self.succeeded.load(Ordering::Relaxed) > self.number;
        Some(if is_overtaken { Outcome::Overtaken { cause } } else { Outcome::Failure { cause } })
    }
}

/// Counts are logged at powers of two, so that a bad hour does not fill the disk.
impl Shared {
    fn count_late(&self) -> Outcome {
        let count = self.late.fetch_add(1, Ordering::Relaxed) + 1;
        metrics::counter!("meridian_probes_discarded_total", "why" => "late").increment(1);
        if count.is_power_of_two() {
            tracing::warn!(count, "probe timers fire late: this machine is starved; such outcomes are discarded");
        }
        Outcome::Late
    }

    fn count_exhausted(&self, why: &str) -> Option<Outcome> {
        let count = self.exhausted.fetch_add(1, Ordering::Relaxed) + 1;
        metrics::counter!("meridian_probes_discarded_total", "why" => "exhausted").increment(1);
        if count.is_power_of_two() {
            tracing::warn!(count, why, "cannot probe: raise the limit on open files; such outcomes are discarded");
        }
        None
    }
}

#[cfg(test)]
mod tests;
