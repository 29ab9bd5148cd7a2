//! Runs all checks, each in a task of its own.

use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::stream::{FuturesUnordered, StreamExt as _};
use jiff::Timestamp;
use tokio::sync::{Notify, Semaphore, SemaphorePermit, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::attempt::{Attempt, Client, Failed, Found};
use super::calm::Calm;
use super::schedule::{Random, Schedule, SlowAfter};
use super::scripts::Scripts;
use super::trust::Trust;
use crate::config::Probe;
use crate::health::{Cause, Check, CheckId, Outcome};

/// Probes in flight at once, over all checks, while their answers may come soon: so much work at one time does not make a busy
/// machine miss its own timeouts. Beyond it they wait in turn, and the wait is no part of what they measure; those that
/// overlap another one of their check are left out.
const MAX_PROMPT: usize = 2048;
/// Probes in flight beside these that have been unanswered for `slow_after`, or half of their timeout. So a cloud that falls
/// silent does not delay others' probes.
const MAX_SILENT: usize = 16_384;
/// Probes of one check in flight at once; what is due beyond it is left out. The settings keep timeouts below so many
/// intervals.
const MAX_OVERLAP: usize = 16;

/// Turns of each of both kinds: a quarter of the file descriptors that this process may have at most, since each takes one.
fn room() -> [usize; 2] {
    let descriptors = rlimit::getrlimit(rlimit::Resource::NOFILE).map_or(4096, |(soft, _)| soft);
    let quarter = usize::try_from(descriptors / 4).unwrap_or(usize::MAX);
    [MAX_PROMPT, MAX_SILENT].map(|most| most.min(quarter))
}

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
    /// This machine ran out of file descriptors, memory, or turns for scripts.
    pub exhausted: u64,
    /// Too many overlapped others of their checks.
    pub crowded: u64,
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
    prompt: Semaphore,
    silent: Semaphore,
    late: AtomicU64,
    exhausted: AtomicU64,
    crowded: AtomicU64,
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
        Self::with_room(first_round, reports, room())
    }

    fn with_room(first_round: Duration, reports: mpsc::Sender<Report>, [prompt, silent]: [usize; 2]) -> Self {
        let shared = Shared {
            reports,
            prompt: Semaphore::new(prompt),
            silent: Semaphore::new(silent),
            late: AtomicU64::new(0),
            exhausted: AtomicU64::new(0),
            crowded: AtomicU64::new(0),
        };
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
        let Shared { late, exhausted, crowded, .. } = &*self.shared;
        Discarded { late: count(late), exhausted: count(exhausted), crowded: count(crowded) }
    }

    fn start<A: Attempt>(
        &self,
        id: CheckId,
        probe: &Arc<Probe>,
        pem: Option<Arc<[u8]>>,
        make: impl FnOnce() -> A + Send + 'static,
    ) -> Running {
        let schedule = Schedule::new(probe, self.first_round, Random::seeded());
        let pace = Arc::new(Pace::default());
        let reporter = Reporter { id, shared: self.shared.clone(), calm: self.calm.clone(), pace: pace.clone() };
        Running { pem, pace, task: tokio::spawn(run(reporter, probe.clone(), schedule, make)) }
    }
}

/// A check as it is run.
struct Runner<A> {
    attempt: A,
    timeout: Duration,
    /// So late is too late.
    grace: Duration,
    reporter: Reporter,
    /// The latest run that has succeeded.
    succeeded: AtomicU64,
}

/// Runs a check until the channel of reports is closed. `make` is called when the first run is due, so that the work is
/// spread as the first runs are. All runs of a check are in its one task, and one that hangs delays none that is due.
async fn run<A: Attempt>(reporter: Reporter, probe: Arc<Probe>, mut schedule: Schedule, make: impl FnOnce() -> A) {
    let mut start = Instant::now();
    let mut gap = schedule.next_gap(false);
    let mut due = pin!(sleep_until(start + gap));
    due.as_mut().await;
    let (timeout, grace) = (probe.timeout, probe.interval / 2);
    let runner = Runner { attempt: make(), timeout, grace, reporter, succeeded: AtomicU64::new(0) };
    let mut slow_after = SlowAfter::new(probe.slow_after);
    let (mut runs, mut begun) = (FuturesUnordered::new(), 0);
    due.as_mut().reset(start + gap);
    loop {
        tokio::select! {
            biased;
            Some(ended) = runs.next() => match ended {
                Ok(Ended::Took(rtt)) => slow_after.learn(rtt),
                Ok(Ended::Told) | Err(_) => {} // a panic is logged
                Ok(Ended::Closed) => return,
            },
            () = due.as_mut() => {
                let is_late = due.deadline().elapsed() > grace;
                start = Instant::now();
                gap = schedule.next_gap(runner.reporter.pace.is_fast());
                due.as_mut().reset(start + gap);
                if is_late {
                    runner.reporter.tell_late();
                } else if runs.len() < MAX_OVERLAP {
                    begun += 1;
                    let slow_after = slow_after.get().filter(|after| *after < timeout);
                    let run = runner.once(begun, slow_after, !runs.is_empty());
                    // Boxed: the set keeps room for one more, for each of thousands of checks.
                    runs.push(Box::pin(AssertUnwindSafe(run).catch_unwind()));
                }
            }
            () = runner.reporter.pace.changed.notified() => if runner.reporter.pace.is_fast() {
                gap = gap.min(schedule.fast.max(start.elapsed())); // what is past was not due
                due.as_mut().reset(start + gap);
            },
        }
    }
}

/// Where a check's outcomes go.
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

/// How a run ended.
enum Ended {
    /// With an answer, after so long.
    Took(Duration),
    /// With another outcome, or none.
    Told,
    /// Nobody listens any more.
    Closed,
}

impl<A: Attempt> Runner<A> {
    /// Run `number`. One that `overlaps` another of its check waits for no turn, lest checks in doubt take the others'.
    async fn once(&self, number: u64, slow_after: Option<Duration>, overlaps: bool) -> Ended {
        let shared = &self.reporter.shared;
        let turn = if overlaps { shared.prompt.try_acquire().ok() } else { shared.prompt.acquire().await.ok() };
        let Some(turn) = turn else {
            shared.count_crowded();
            return Ended::Told;
        };
        let Some(outcome) = self.outcome(number, slow_after, turn).await else { return Ended::Told };
        let rtt = outcome.rtt();
        if !self.reporter.tell(outcome).await {
            return Ended::Closed;
        }
        rtt.map_or(Ended::Told, Ended::Took)
    }

    /// None: nothing is known of the target, nor of our timers.
    async fn outcome(&self, number: u64, slow_after: Option<Duration>, turn: SemaphorePermit<'_>) -> Option<Outcome> {
        let (shared, start) = (&self.reporter.shared, Instant::now());
        let cause = match self.found(slow_after, start, turn).await {
            Some(Ok(found)) => {
                let rtt = start.elapsed();
                self.succeeded.fetch_max(number, Ordering::Relaxed);
                return Some(match found {
                    Found::Good => Outcome::Success { rtt },
                    Found::Degraded(why) => Outcome::Degraded { rtt, why },
                    Found::Missing(why) => Outcome::Missing { why },
                    Found::Limited(status) => Outcome::Limited { status },
                });
            }
            Some(Err(Failed::There(cause))) => cause,
            Some(Err(Failed::Here(why))) => return shared.count_exhausted(&why),
            Some(Err(Failed::Crowded)) => {
                shared.count_crowded();
                return None;
            }
            // The answer may well have come while we slept.
            None if start.elapsed() > self.timeout + self.grace => return Some(shared.count_late()),
            None => Cause::Timeout(self.timeout),
        };
        let is_overtaken = self.succeeded.load(Ordering::Relaxed) > number;
        Some(if is_overtaken { Outcome::Overtaken { cause } } else { Outcome::Failure { cause } })
    }

    /// Attempts it, and tells of silence on the way, where its turn goes to another; none: it took too long. One timer does
    /// for both.
    async fn found(
        &self,
        slow_after: Option<Duration>,
        start: Instant,
        mut turn: SemaphorePermit<'_>,
    ) -> Option<Result<Found, Failed>> {
        let early = slow_after.unwrap_or(self.timeout / 2);
        let mut attempt = pin!(self.attempt.attempt());
        let mut bell = pin!(sleep_until(start + early));
        let mut is_early = true;
        loop {
            tokio::select! {
                biased;
                found = &mut attempt => return Some(found),
                () = &mut bell => {
                    if !std::mem::take(&mut is_early) {
                        return None;
                    }
                    bell.as_mut().reset(start + self.timeout);
                    if let Ok(silent) = self.reporter.shared.silent.try_acquire() {
                        drop(std::mem::replace(&mut turn, silent));
                    }
                    // A late timer is our fault and not the target's.
                    if slow_after.is_some() && start.elapsed() < early + self.grace {
                        self.reporter.tell(Outcome::Silent).await;
                    }
                }
            }
        }
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
            tracing::warn!(
                count,
                why,
                "cannot probe, for want of something on this machine; such outcomes are discarded"
            );
        }
        None
    }

    fn count_crowded(&self) {
        let count = self.crowded.fetch_add(1, Ordering::Relaxed) + 1;
        metrics::counter!("meridian_probes_discarded_total", "why" => "crowded").increment(1);
        if count.is_power_of_two() {
            tracing::warn!(count, "too many probes are unanswered: some that were to overlap others are left out");
        }
    }
}

#[cfg(test)]
mod tests;
