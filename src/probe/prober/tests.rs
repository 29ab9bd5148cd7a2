use super::*;
use crate::config::ProbeKind;
use crate::health::{HealthState, Rules};
use crate::model::{Cloud, State};

const SECOND: Duration = Duration::from_secs(1);

fn probe() -> Probe {
    Probe {
        name: "p".into(),
        kind: ProbeKind::Tcp,
        port: 443,
        interval: 2 * SECOND,
        jitter: 0.1,
        timeout: SECOND,
        fast_interval: SECOND / 4,
        slow_after: None,
        slow: None,
        down_after: 3,
        up_after: 2,
        damping: None,
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

/// Answers at once, but refuses from one time to another.
struct RefusesBetween(Instant, Instant);

impl Attempt for RefusesBetween {
    async fn attempt(&self) -> Result<Found, Failed> {
        let refuses = (self.0..self.1).contains(&Instant::now());
        if refuses { Err(Failed::There(Cause::Refused)) } else { Ok(Found::Good) }
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
        Self::with_room(room(), probe, attempts)
    }

    fn with_room(room: [usize; 2], probe: &Probe, attempts: impl IntoIterator<Item = impl Attempt>) -> Self {
        let (sender, reports) = mpsc::channel(16);
        let prober = Prober::with_room(4 * SECOND, sender, room);
        let start = Instant::now();
        let probe = Arc::new(probe.clone());
        let start_one = |(id, attempt)| prober.start(CheckId(id), &probe, None, || attempt);
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

/// How late a check is at most whose target answers, beside six hundred silent ones in doubt, of which four runs each want to
/// be under way; and how many of these were left out.
async fn latest(room: [usize; 2]) -> (Duration, u64) {
    let probe = Probe { jitter: 0.0, slow_after: Some(SECOND / 20), ..probe() };
    let mut bench = Bench::with_room(room, &probe, [After(Some(Duration::ZERO), Ok(Found::Good))]);
    bench.next().await;
    let (mut due, _, _) = bench.next().await; // from here on, it is due at every interval
    for id in 1..=600 {
        let silent = || After(None, Ok(Found::Good));
        let task = bench.prober.start(CheckId(id), &Arc::new(probe.clone()), None, silent);
        task.hurry(true);
        bench.tasks.push(task);
    }
    let mut late = Duration::ZERO;
    while due < 60 * SECOND {
        let (at, CheckId(id), _) = bench.next().await;
        if id == 0 {
            due += probe.interval;
            late = late.max(at - due);
        }
    }
    (late, bench.prober.discarded().crowded)
}

#[tokio::test(start_paused = true)]
async fn many_silent_targets_in_doubt_delay_no_other() {
    let (late, crowded) = latest([200, 4000]).await;
    assert!(late < SECOND / 4 && crowded == 0, "{late:?}, {crowded}");
    let (late, crowded) = latest([200, 0]).await;
    assert!(late > SECOND && crowded > 1000, "it is the other turns that help: {late:?}, {crowded}");
}

/// Panics at every other run.
struct Panics(AtomicU64);

impl Attempt for Panics {
    async fn attempt(&self) -> Result<Found, Failed> {
        assert!(self.0.fetch_add(1, Ordering::Relaxed) % 2 == 1, "as it should, in this test");
        Ok(Found::Good)
    }
}

#[tokio::test(start_paused = true)]
async fn a_run_that_panics_takes_no_other_with_it() {
    let mut bench = Bench::with_room([1, 0], &probe(), [Panics(AtomicU64::new(0))]);
    for _ in 0..5 {
        assert!(bench.next().await.2.is_success());
    }
}

/// Runs one check against a target from its death to its return, its doubts heeded as `control` does; when its state
/// changed.
async fn changes(probe: &Probe, attempt: impl Attempt, until: Duration) -> Vec<(State, Duration)> {
    let mut bench = Bench::new(probe, [attempt]);
    let mut health = HealthState::new(Rules::from(probe), Timestamp::UNIX_EPOCH);
    let (mut changes, mut fast) = (Vec::new(), false);
    loop {
        let (at, _, outcome) = bench.next().await;
        if at > until {
            return changes;
        }
        changes.extend(health.observe(Timestamp::UNIX_EPOCH, outcome).map(|change| (change.to, at)));
        if health.in_doubt() != fast {
            fast = !fast;
            bench.tasks[0].hurry(fast);
        }
    }
}

/// BEHAVIOUR rule 12, over many phases of the schedule.
#[tokio::test(start_paused = true)]
async fn deaths_are_seen_within_the_time_that_is_promised() {
    let (dies, heals) = (20 * SECOND, 60 * SECOND);
    let probe = probe();
    let to_the_first = probe.interval.mul_f64(1.0 + probe.jitter);
    let fast = probe.fast_interval * (probe.down_after - 1) + SECOND / 5;
    for _ in 0..50 {
        let start = Instant::now();
        let silent = changes(&probe, SilentBetween(start + dies, start + heals), 90 * SECOND).await;
        let start = Instant::now();
        let refused = changes(&probe, RefusesBetween(start + dies, start + heals), 40 * SECOND).await;
        for (changes, bound) in [(&silent, to_the_first + fast + probe.timeout), (&refused, to_the_first + fast)] {
            assert_eq!((changes[0].0, changes[1].0), (State::Up, State::Down));
            assert!(changes[0].1 <= SECOND + SECOND / 100, "{changes:?}");
            assert!((dies..dies + bound).contains(&changes[1].1), "{changes:?}, bound {bound:?}");
        }
        assert_eq!((refused.len(), silent.len(), silent[2].0), (2, 3, State::Up));
        let bound = to_the_first + fast;
        assert!((heals..heals + bound).contains(&silent[2].1), "{silent:?}");
    }
}

/// A second's pause, in which probes hang and time out when it is long over.
#[tokio::test(start_paused = true)]
async fn a_pause_that_is_over_takes_nobody_down() {
    let probe = probe();
    for pause in [300, 600, 900] {
        let start = Instant::now() + 20 * SECOND;
        let pauses = SilentBetween(start, start + Duration::from_millis(pause));
        assert_eq!(changes(&probe, pauses, 60 * SECOND).await.len(), 1, "{pause}: up, and nothing else");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lasting_silence_is_told_before_the_timeout() {
    let probe = probe();
    let mut bench = Bench::new(&probe, [SilentBetween(Instant::now() + 5 * SECOND, Instant::now() + 60 * SECOND)]);
    let (mut silent, mut last) = (None, Outcome::Silent);
    while !matches!(last, Outcome::Failure { .. }) {
        let (at, _, outcome) = bench.next().await;
        if outcome == Outcome::Silent {
            silent = Some(at);
        } else if silent.is_some() {
            assert_eq!(at - silent.unwrap(), SECOND - SECOND / 10, "100 ms after it began");
        }
        last = outcome;
    }
    assert!(silent.is_some());
}

#[tokio::test(start_paused = true)]
async fn waiting_for_a_permit_is_no_part_of_the_time_measured() {
    let slow = || After(Some(SECOND * 9 / 10), Ok(Found::Good));
    let mut bench = Bench::with_room([100, 0], &probe(), (0..=100).map(|_| slow()));
    for _ in 0..=100 {
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
    assert_eq!(bench.next().await.2, Outcome::Late);
    assert!(bench.next().await.2.is_success());
    assert_eq!(bench.prober.discarded(), Discarded { late: 1, exhausted: 0, crowded: 0 });

    // So is the timeout of a run that is under way, beside the run that is due.
    let long = Probe { interval: 20 * SECOND, timeout: 10 * SECOND, ..probe() };
    let mut bench = Bench::new(&long, [After(None, Ok(Found::Good))]);
    tokio::time::sleep(2 * SECOND).await;
    tokio::time::advance(60 * SECOND).await;
    let mut late = 0;
    let then = loop {
        match bench.next().await.2 {
            Outcome::Late => late += 1,
            other => break other,
        }
    };
    assert_eq!(then, Outcome::Failure { cause: Cause::Timeout(10 * SECOND) });
    assert!(late == 2 || late == 3, "{late}: now and then, the second run is under way, too");
    assert_eq!(bench.prober.discarded(), Discarded { late, exhausted: 0, crowded: 0 });

    let exhausted = Err(Failed::Here("too many open files".to_owned()));
    let mut bench = Bench::new(&probe(), [After(Some(Duration::ZERO), exhausted)]);
    assert!(tokio::time::timeout(60 * SECOND, bench.next()).await.is_err(), "nothing to report");
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
async fn who_is_well_and_stays_so_wakes_nobody() {
    let (sender, mut reports) = mpsc::channel(16);
    let calm = Arc::new(Calm::default());
    let prober = Prober::new(4 * SECOND, sender).with_calm(calm.clone());
    let dies = RefusesBetween(Instant::now() + 10 * SECOND, Instant::now() + 20 * SECOND);
    let task = prober.start(CheckId(0), &Arc::new(probe()), None, || dies);
    let told = async |reports: &mut mpsc::Receiver<Report>| reports.recv().await.unwrap().outcome.kind();
    assert_eq!(told(&mut reports).await, "success", "the first decides");
    assert_eq!(told(&mut reports).await, "refused");
    let before = calm.take();
    assert!(before.len() > 1 && before.iter().all(|report| report.outcome.rtt().is_some()), "{before:?}");
    assert!(before.windows(2).all(|pair| pair[0].at <= pair[1].at));
    while told(&mut reports).await == "refused" {}
    task.hurry(true);
    assert_eq!((told(&mut reports).await, calm.take().len()), ("success", 0), "in doubt, all counts at once");
    task.hurry(false);
    tokio::time::sleep(10 * SECOND).await;
    assert!(reports.try_recv().is_err() && calm.take().len() > 3);
}

#[tokio::test(start_paused = true)]
async fn an_edit_leaves_unchanged_checks_running_and_dropping_stops_all() {
    use crate::config::{Http, HttpMethod, Tls};
    let tls = Some(Tls { ca: Some("ca.pem".into()), ..Tls::default() });
    let http = Http {
        tls,
        method: HttpMethod::Get,
        path: "/".to_owned(),
        host: None,
        expect: vec![(200, 200)],
        http2: false,
        reuse: false,
        redirects: 0,
        body: None,
    };
    let secure = Probe { kind: ProbeKind::Http(http), ..probe() };
    let check = |probe: &Probe| {
        // Private and not allowed: nothing is sent.
        let target = "127.0.0.1:9".parse().unwrap();
        let (cloud, region) = (Cloud::new("aws"), "eu-west-1".into());
        Arc::new(Check { endpoint: "e".into(), cloud, region, probe: Arc::new(probe.clone()), target })
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
