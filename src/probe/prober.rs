//! Runs all checks, each in a task of its own.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};

use super::attempt::{Attempt, Client, Failed, Found};
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
    /// `trust` holds the authorities of their probes. It returns soon: a check makes its HTTP client
    /// when it is first due.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn reconfigure<'a>(&mut self, checks: impl IntoIterator<Item = (CheckId, &'a Arc<Check>)>, trust: &Arc<Trust>) {
        let mut old = std::mem::take(&mut self.tasks);
        for (id, check) in checks {
            let pem = trust.pem(&check.probe).cloned();
            let kept = old.remove(&id).filter(|running| running.pem == pem);
            let running = kept.unwrap_or_else(|| {
                let (check, trust) = (check.clone(), trust.clone());
                Running { pem, task: self.start(id, &check.probe.clone(), move || Client::new(&check, &trust)) }
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

    fn start<A: Attempt>(
        &self,
        id: CheckId,
        probe: &Probe,
        make: impl FnOnce() -> A + Send + 'static,
    ) -> JoinHandle<()> {
        let schedule = Schedule::new(probe.interval, probe.jitter, self.first_round, Random::seeded());
        let runner = Runner {
            id,
            timeout: probe.timeout,
            // Over half an interval late is too late.
            grace: probe.interval / 2,
            shared: self.shared.clone(),
        };
        tokio::spawn(runner.run(schedule, make))
    }
}

/// The task of one check.
struct Runner {
    id: CheckId,
    timeout: Duration,
    grace: Duration,
    shared: Arc<Shared>,
}

impl Runner {
    /// Until the channel of reports is closed. `make` is called when the first run is due, so that the
    /// work is spread as the first runs are.
    async fn run<A: Attempt>(self, mut schedule: Schedule, make: impl FnOnce() -> A) {
        let mut due = Instant::now() + schedule.next_gap();
        sleep_until(due).await;
        let attempt = make();
        loop {
            sleep_until(due).await;
            let late = due.elapsed() > self.grace;
            let permit = self.shared.in_flight.acquire().await.expect("it is never closed");
            let start = Instant::now();
            let outcome = if late { self.shared.count_late() } else { self.outcome(&attempt, start).await };
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
    async fn outcome(&self, attempt: &impl Attempt, start: Instant) -> Option<Outcome> {
        let cause = match timeout(self.timeout, attempt.attempt()).await {
            Ok(Ok(found)) => {
                let rtt = start.elapsed();
                return Some(match found {
                    Found::Good => Outcome::Success { rtt },
                    Found::Degraded(why) => Outcome::Degraded { rtt, why },
                    Found::Missing(why) => Outcome::Missing { why },
                    Found::Limited(status) => Outcome::Limited { status },
                });
            }
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
        metrics::counter!("meridian_probes_discarded_total", "why" => "late").increment(1);
        if count.is_power_of_two() {
            tracing::warn!(count, "probe timers fire late: this machine is starved; such outcomes are discarded");
        }
        None
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
mod tests {
    use super::*;
    use crate::config::ProbeKind;
    use crate::health::HealthState;
    use crate::model::State;

    const SECOND: Duration = Duration::from_secs(1);

    fn probe() -> Probe {
        Probe {
            name: "p".into(),
            kind: ProbeKind::Tcp,
            port: 443,
            interval: 2 * SECOND,
            jitter: 0.1,
            timeout: SECOND,
            down_after: 3,
            up_after: 2,
            allow_private: false,
        }
    }

    /// Answers after a time, or never.
    struct After(Option<Duration>, Result<Found, Failed>);

    impl Attempt for After {
        async fn attempt(&self) -> Result<Found, Failed> {
            match self.0 {
                Some(time) => tokio::time::sleep(time).await,
                None => std::future::pending().await,
            }
            self.1.clone()
        }
    }

    /// Answers at once, but is silent from one time to another.
    struct SilentBetween(Instant, Instant);

    impl Attempt for SilentBetween {
        async fn attempt(&self) -> Result<Found, Failed> {
            if (self.0..self.1).contains(&Instant::now()) { std::future::pending().await } else { Ok(Found::Good) }
        }
    }

    /// Runs checks of `probe` with ids from 0, one for each attempt.
    struct Bench {
        prober: Prober,
        reports: mpsc::Receiver<Report>,
        start: Instant,
        tasks: Vec<Running>,
    }

    impl Bench {
        fn new(probe: &Probe, attempts: impl IntoIterator<Item = impl Attempt>) -> Self {
            let (sender, reports) = mpsc::channel(16);
            let prober = Prober::new(4 * SECOND, sender);
            let start = Instant::now();
            let start_one = |(id, attempt)| Running { pem: None, task: prober.start(CheckId(id), probe, || attempt) };
            let tasks = (0..).zip(attempts).map(start_one).collect();
            Self { prober, reports, start, tasks }
        }

        async fn next(&mut self) -> (Duration, CheckId, Outcome) {
            let report = self.reports.recv().await.unwrap();
            (self.start.elapsed(), report.check, report.outcome)
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_round_is_early_and_starts_keep_their_distance() {
        let mut bench = Bench::new(&probe(), (0..50).map(|_| After(Some(100 * SECOND / 1000), Ok(Found::Good))));
        let mut starts = vec![Vec::new(); 50];
        while starts.iter().any(|starts| starts.len() < 20) {
            let (at, CheckId(id), outcome) = bench.next().await;
            let rtt = outcome.rtt().unwrap();
            assert!((100..105).contains(&rtt.as_millis()), "{rtt:?}");
            starts[id as usize].push(at - rtt);
        }
        for starts in starts {
            assert!(starts[0] <= SECOND + SECOND / 100, "within a quarter of first_round: {:?}", starts[0]);
            let gaps = starts[1..].windows(2).map(|pair| (pair[1] - pair[0]).as_millis());
            assert!(gaps.into_iter().all(|gap| (1790..=2210).contains(&gap)), "{starts:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_target_times_out_and_delays_no_other() {
        let silent = || After(None, Ok(Found::Good));
        let quick = || After(Some(Duration::ZERO), Ok(Found::Good));
        let mut bench = Bench::new(&probe(), [silent(), silent(), silent(), quick()]);
        let mut quick_at = Vec::new();
        while quick_at.len() < 30 {
            let (at, CheckId(id), outcome) = bench.next().await;
            if id == 3 {
                quick_at.push(at);
            } else {
                assert_eq!(outcome, Outcome::Failure { cause: Cause::Timeout(SECOND) });
            }
        }
        let gaps = quick_at[1..].windows(2).map(|pair| (pair[1] - pair[0]).as_millis());
        assert!(gaps.into_iter().all(|gap| gap <= 2210), "{quick_at:?}");
        assert_eq!(bench.prober.discarded(), Discarded::default());
    }

    #[tokio::test(start_paused = true)]
    async fn it_is_down_and_up_within_the_time_that_the_settings_promise() {
        let (dies, heals) = (20 * SECOND, 60 * SECOND);
        let probe = probe();
        let start = Instant::now();
        let mut bench = Bench::new(&probe, [SilentBetween(start + dies, start + heals)]);
        let mut health = HealthState::new(probe.down_after, probe.up_after, Timestamp::UNIX_EPOCH);
        let mut changes = Vec::new();
        while changes.len() < 3 {
            let (at, _, outcome) = bench.next().await;
            assert!(at < 2 * heals);
            changes.extend(health.observe(Timestamp::UNIX_EPOCH, outcome).map(|change| (change.to, at)));
        }
        let runs = |count: u32| (count * probe.interval).mul_f64(1.0 + probe.jitter) + SECOND / 10;
        let within = |(state, at): (State, Duration), expected, from: Duration, bound: Duration| {
            assert_eq!(state, expected);
            assert!((from..from + bound).contains(&at), "{state:?} at {at:?}, {bound:?} after {from:?}");
        };
        within(changes[0], State::Up, Duration::ZERO, SECOND + SECOND / 100);
        within(changes[1], State::Down, dies, runs(probe.down_after) + probe.timeout);
        within(changes[2], State::Up, heals, runs(probe.up_after));
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_for_a_permit_is_no_part_of_the_time_measured() {
        let slow = || After(Some(SECOND * 9 / 10), Ok(Found::Good));
        let mut bench = Bench::new(&probe(), (0..=MAX_IN_FLIGHT).map(|_| slow()));
        for _ in 0..=MAX_IN_FLIGHT {
            let (_, _, outcome) = bench.next().await;
            assert!(outcome.rtt().is_some_and(|rtt| rtt < SECOND), "{outcome:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_late_timer_or_an_exhausted_machine_saw_is_discarded_and_counted() {
        let mut bench = Bench::new(&probe(), [After(Some(Duration::ZERO), Ok(Found::Good))]);
        bench.next().await;
        // Nothing runs while the clock jumps: the next start is late by far.
        tokio::time::advance(60 * SECOND).await;
        bench.next().await;
        assert_eq!(bench.prober.discarded(), Discarded { late: 1, exhausted: 0 });

        // So is the timeout of a run that is under way.
        let long = Probe { interval: 20 * SECOND, timeout: 10 * SECOND, ..probe() };
        let mut bench = Bench::new(&long, [After(None, Ok(Found::Good))]);
        tokio::time::sleep(2 * SECOND).await;
        tokio::time::advance(60 * SECOND).await;
        assert_eq!(bench.next().await.2, Outcome::Failure { cause: Cause::Timeout(10 * SECOND) });
        assert_eq!(bench.prober.discarded(), Discarded { late: 1, exhausted: 0 });

        let exhausted = Err(Failed::Here("too many open files".to_owned()));
        let mut bench = Bench::new(&probe(), [After(Some(Duration::ZERO), exhausted)]);
        assert!(timeout(60 * SECOND, bench.next()).await.is_err(), "nothing to report");
        assert!(bench.prober.discarded().exhausted > 20);
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_channel_holds_outcomes_back_and_a_closed_one_ends_the_task() {
        let mut bench = Bench::new(&probe(), (0..40).map(|_| After(Some(Duration::ZERO), Ok(Found::Good))));
        tokio::time::sleep(600 * SECOND).await;
        assert_eq!(bench.reports.len(), 16);
        bench.reports.close();
        while bench.reports.recv().await.is_some() {}
        for running in &mut bench.tasks {
            (&mut running.task).await.unwrap();
        }
        assert_eq!(bench.prober.discarded(), Discarded::default(), "a wait for the reader is no late timer");
    }

    #[tokio::test(start_paused = true)]
    async fn an_edit_leaves_unchanged_checks_running_and_dropping_stops_all() {
        use crate::config::{Http, HttpMethod, Tls};
        let tls = Some(Tls { ca: Some("ca.pem".into()), ..Tls::default() });
        let http = Http {
            http2: false,
            reuse: false,
            tls,
            method: HttpMethod::Get,
            path: "/".to_owned(),
            host: None,
            expect: vec![(200, 200)],
            body: None,
        };
        let secure = Probe { kind: ProbeKind::Http(http), ..probe() };
        let check = |probe: &Probe| {
            // Private and not allowed: nothing is sent.
            let target = "127.0.0.1:9".parse().unwrap();
            Arc::new(Check { endpoint: "e".into(), probe: Arc::new(probe.clone()), target })
        };
        let trust = || {
            let pem = rcgen::generate_simple_self_signed(vec!["x.example".to_owned()]).unwrap().cert.pem();
            let mut files = BTreeMap::from([("ca.pem".into(), Arc::<[u8]>::from(pem.as_bytes()))]);
            Arc::new(Trust::load(std::slice::from_ref(&secure), &mut files).unwrap())
        };
        let (plain, secured) = (check(&probe()), check(&secure));
        let (sender, mut reports) = mpsc::channel(16);
        let mut prober = Prober::new(4 * SECOND, sender);
        let task = |prober: &Prober, id| prober.tasks[&CheckId(id)].task.id();

        let first = trust();
        prober.reconfigure([(CheckId(1), &plain), (CheckId(2), &secured), (CheckId(3), &plain)], &first);
        let (one, two) = (task(&prober, 1), task(&prober, 2));
        prober.reconfigure([(CheckId(1), &plain), (CheckId(2), &secured), (CheckId(4), &plain)], &first);
        assert_eq!((task(&prober, 1), task(&prober, 2)), (one, two));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..30 {
            seen.insert(reports.recv().await.unwrap().check.0);
        }
        assert_eq!(seen, [1, 2, 4].into(), "3 has stopped before its first run");

        prober.reconfigure([(CheckId(1), &plain), (CheckId(2), &secured)], &trust());
        assert_eq!(task(&prober, 1), one);
        assert_ne!(task(&prober, 2), two, "other authorities, another task");
        drop(prober);
        while reports.recv().await.is_some() {}
    }
}
