//! The control plane's one task: what arrives → what is served.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until};
use tracing::{error, info, warn};

use super::files::{DiskFiles, Sight};
use super::hosts::Hosts;
use super::last_good::LastGood;
use super::load::{Loaded, load};
use super::shared::{Journal, Reload, ReloadResult, Shared};
use super::watch::Watch;
use crate::config::{self, Config};
use crate::health::Board;
use crate::model::{EndpointId, Files, Problem, State};
use crate::probe::{Prober, Report, Resolved, Resolver};
use crate::table::{Counters, Published, Snapshot, Standing};

/// Outcomes and addresses that may wait for the control task; when full, probes wait.
const CHANNEL: usize = 4096;
/// The most reports, or addresses, that are taken in before what they changed is published.
const MAX_BATCH: usize = 1024;

/// How to start.
#[derive(Clone, Debug)]
pub struct Options {
    /// The configuration.
    pub config: PathBuf,
    /// Refuse to start from the last good set (BEHAVIOUR rule 24).
    pub strict: bool,
}

/// The control plane. Made by [`Control::open`], then [`run`](Control::run).
pub struct Control {
    shared: Arc<Shared>,
    options: Options,
    loaded: Arc<Loaded>,
    prober: Prober,
    reports: mpsc::Receiver<Report>,
    resolver: Resolver,
    resolved: mpsc::Receiver<Resolved>,
    hosts: Hosts,
    watch: Watch,
    sight: Sight,
    /// When files that changed will have lain still long enough.
    settles: Option<Instant>,
    loading: Option<JoinHandle<Attempt>>,
    /// The set that is being written to `state/last-good`.
    keeping: Option<JoinHandle<()>>,
    /// Snapshots that a worker may still be reading.
    retired: Vec<Arc<Snapshot>>,
}

/// A set of files that was read and compiled, away from the control task.
struct Attempt {
    files: DiskFiles,
    /// What was read is what is there (BEHAVIOUR rule 25).
    still_same: bool,
    result: Result<(Loaded, Snapshot, Counters), Vec<Problem>>,
}

impl Control {
    /// Reads the set of files, or the last good one where that on disk does not pass, and compiles
    /// the first snapshot. Nothing is probed yet.
    ///
    /// # Errors
    /// Every problem of the files on disk, where there is no last good set or `strict` forbids it.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(options: Options) -> Result<Self, Vec<Problem>> {
        let mut files = DiskFiles::default();
        let first = attempt(&mut files, &options.config, None, &Counters::default());
        let sight = files.sight().clone();
        let mut keeping = None;
        let (loaded, snapshot, counters, reload) = match first {
            Ok((loaded, snapshot, counters)) => {
                keeping = Some(keep(&loaded, &options, &files, None));
                (loaded, snapshot, counters, Reload::ok())
            }
            Err(problems) if options.strict => return Err(problems),
            Err(problems) => match from_last_good(&options, &mut files) {
                Some((loaded, snapshot, counters)) => (loaded, snapshot, counters, Reload::failed(problems)),
                None => return Err(problems),
            },
        };
        let config = loaded.parts.config.clone();
        let (report, reports) = mpsc::channel(CHANNEL);
        let (resolve, resolved) = mpsc::channel(CHANNEL);
        let shared = Shared::new(Published::new(snapshot), Board::new(), journal(&loaded, reload), counters);
        let mut control = Self {
            shared: Arc::new(shared),
            prober: Prober::new(config.first_round, report),
            resolver: Resolver::new(&config.resolver, resolve),
            loaded: Arc::new(loaded),
            options,
            reports,
            resolved,
            hosts: Hosts::default(),
            watch: Watch::new(),
            sight,
            settles: None,
            loading: None,
            keeping,
            retired: Vec::new(),
        };
        control.resolver.reconfigure(&config.resolver, &config.endpoints).map_err(|problem| vec![*problem])?;
        control.log_start();
        Ok(control)
    }

    /// What workers and `admin` share with it.
    #[must_use]
    pub fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// The configuration that it started with.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.loaded.parts.config.clone()
    }

    /// Probes, watches and publishes until `shutdown` resolves.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        record_reload(&self.shared.journal().reload); // whoever counts has been installed by now
        self.watch_files();
        self.reconfigure_probes();
        let opens = Instant::now() + self.config().first_round;
        let mut hangup = signal(SignalKind::hangup()).expect("the handler of SIGHUP can be installed");
        tokio::pin!(shutdown);
        self.open_when_ready(opens);
        loop {
            let ready = self.shared.published.load().steering;
            tokio::select! {
                () = &mut shutdown => return,
                Some(report) = self.reports.recv() => self.observe(report),
                Some(resolved) = self.resolved.recv() => self.resolve(resolved),
                () = self.watch.changed() => self.notice(),
                _ = hangup.recv() => self.settles = Some(Instant::now()),
                () = sleep_until(self.settles.unwrap_or(opens)), if self.settles.is_some() => self.start_loading(),
                ended = join(&mut self.loading), if self.loading.is_some() => self.finish_loading(ended),
                () = sleep_until(opens), if !ready => {}
            }
            self.open_when_ready(opens);
        }
    }

    /// Answers steered names from the end of the first round on, or of its bound.
    fn open_when_ready(&mut self, opens: Instant) {
        if self.shared.published.load().steering {
            return;
        }
        let complete = self.shared.board().first_round_complete();
        if complete || Instant::now() >= opens {
            if !complete {
                warn!("the first round of probes is not complete; serving with what is known");
            }
            let next = self.standing_anew().steering();
            self.publish(next);
            self.shared.journal().ready = true;
            info!(generation = self.shared.published.load().generation, "ready: steered names are answered");
        }
    }

    /// Takes in a report and those that wait behind it, then publishes once.
    fn observe(&mut self, first: Report) {
        let mut changed = BTreeSet::new();
        self.observe_one(first, &mut changed);
        for _ in 1..MAX_BATCH {
            let Ok(report) = self.reports.try_recv() else { break };
            self.observe_one(report, &mut changed);
        }
        if !changed.is_empty() {
            let standings = changed.into_iter().map(|endpoint| (endpoint, self.standing(endpoint))).collect();
            let next = self.shared.published.load().with_standings(standings);
            self.publish(next);
        }
    }

    fn observe_one(&self, report: Report, changed: &mut BTreeSet<EndpointId>) {
        let mut board = self.shared.board();
        if let Some(check) = board.check(report.check) {
            let probe = check.probe.name.to_string();
            if let Some(rtt) = report.outcome.rtt() {
                metrics::histogram!("meridian_probe_seconds", "probe" => probe.clone()).record(rtt.as_secs_f64());
            }
            metrics::counter!("meridian_probe_outcomes_total", "probe" => probe, "outcome" => report.outcome.kind())
                .increment(1);
        }
        let Some(verdict) = board.observe(report.check, report.at, report.outcome) else { return };
        let name = board.endpoint(verdict.endpoint).name.clone();
        drop(board);
        changed.insert(verdict.endpoint);
        let (from, to) = (verdict.change.from.as_str(), verdict.change.to.as_str());
        metrics::counter!("meridian_verdicts_total", "endpoint" => name.to_string(), "to" => to).increment(1);
        let generation = self.shared.published.load().generation + 1;
        if verdict.change.to == State::Down {
            warn!(endpoint = %name, from, to, reason = verdict.reason, generation, "verdict");
        } else {
            info!(endpoint = %name, from, to, reason = verdict.reason, generation, "verdict");
        }
    }

    /// Takes in the addresses of a hostname and of those that wait behind it, then publishes once.
    fn resolve(&mut self, first: Resolved) {
        self.hosts.take_in(first);
        for _ in 1..MAX_BATCH {
            let Ok(resolved) = self.resolved.try_recv() else { break };
            self.hosts.take_in(resolved);
        }
        self.reconfigure_probes();
        let next = self.standing_anew();
        self.publish(next);
    }

    /// Board and prober take over the configuration and the hostnames' addresses.
    fn reconfigure_probes(&mut self) {
        let mut board = self.shared.board();
        board.reconfigure(&self.loaded.parts.config, self.hosts.addresses(), Timestamp::now());
        let checks: Vec<_> = board.checks().map(|(id, check)| (id, check.clone())).collect();
        drop(board); // making the clients of new checks takes a while
        self.prober.reconfigure(checks.iter().map(|(id, check)| (*id, check)), &self.loaded.trust);
    }

    /// The published snapshot with every endpoint as the board has it.
    fn standing_anew(&self) -> Snapshot {
        self.with_board(&self.shared.published.load())
    }

    /// Plans whose endpoints all stand as before are shared.
    fn with_board(&self, snapshot: &Snapshot) -> Snapshot {
        let endpoints = (0..snapshot.parts.config.endpoints.len()).map(EndpointId::at);
        let standings = endpoints.map(|id| (id, self.standing(id)));
        snapshot.with_standings(standings.filter(|(id, standing)| snapshot.standing(*id) != standing).collect())
    }

    fn standing(&self, endpoint: EndpointId) -> Standing {
        let ttl = self.hosts.ttl(&self.loaded.parts.config.endpoints[endpoint.index()]);
        let board = self.shared.board();
        let addresses = &board.endpoint(endpoint).addresses;
        Standing { addresses: addresses.iter().map(|address| (address.address, address.state)).collect(), ttl }
    }

    fn publish(&mut self, mut next: Snapshot) {
        next.generation = self.shared.published.load().generation + 1;
        self.retired.push(self.shared.published.publish(next));
        // A worker lets go of a snapshot before it blocks; whatever only we hold is freed here, off
        // the data path.
        self.retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
    }

    /// Watches the folders of the files that were read, and looks at what happened before.
    fn watch_files(&mut self) {
        self.watch.reconfigure(self.sight.folders());
        self.notice();
    }

    /// A watched folder changed: is it one of our files? What else is written there, a log perhaps,
    /// does not put a reload off.
    fn notice(&mut self) {
        let now = self.sight.again();
        if now != self.sight {
            self.sight = now;
            self.settles = Some(Instant::now() + self.config().settle);
        }
    }

    fn start_loading(&mut self) {
        self.settles = None;
        if self.loading.is_some() {
            // One at a time; look again when this one is done.
            self.settles = Some(Instant::now() + self.config().settle);
            return;
        }
        let (config, before) = (self.options.config.clone(), self.loaded.clone());
        let counters = self.shared.counters().clone();
        self.loading = Some(tokio::task::spawn_blocking(move || {
            let mut files = DiskFiles::default();
            let result = attempt(&mut files, &config, Some(&before), &counters);
            Attempt { still_same: files.still_same(), files, result }
        }));
    }

    fn finish_loading(&mut self, ended: Result<Attempt, JoinError>) {
        self.loading = None;
        let attempt = match ended {
            Ok(attempt) => attempt,
            Err(panic) => return self.refuse(vec![loading_failed(&self.options.config, &panic)]),
        };
        self.sight = attempt.files.sight().clone();
        self.watch_files();
        if !attempt.still_same {
            info!("files changed while they were read; waiting until they lie still");
            self.settles = Some(Instant::now() + self.config().settle);
            return;
        }
        match attempt.result {
            Err(problems) => self.refuse(problems),
            Ok((loaded, snapshot, counters)) => {
                let config = &loaded.parts.config;
                match self.resolver.reconfigure(&config.resolver, &config.endpoints) {
                    Err(problem) => self.refuse(vec![*problem]),
                    Ok(()) => self.accept(loaded, snapshot, counters, &attempt.files),
                }
            }
        }
    }

    fn refuse(&self, problems: Vec<Problem>) {
        for problem in &problems {
            error!(%problem, "configuration refused");
        }
        error!(problems = problems.len(), "nothing has changed: the last good configuration serves on");
        let reload = Reload::failed(problems);
        record_reload(&reload);
        let mut journal = self.shared.journal();
        (journal.reload, journal.stale) = (reload, true);
    }

    fn accept(&mut self, loaded: Loaded, snapshot: Snapshot, counters: Counters, files: &DiskFiles) {
        warn_of_restart(&self.loaded.parts.config, &loaded.parts.config);
        *self.shared.counters() = counters;
        self.hosts.edited(&self.loaded.parts.config, &loaded.parts.config);
        self.loaded = Arc::new(loaded);
        self.reconfigure_probes();
        let mut next = self.with_board(&snapshot);
        next.steering = self.shared.published.load().steering;
        self.publish(next);
        let reload = Reload::ok();
        record_reload(&reload);
        let ready = self.shared.journal().ready;
        *self.shared.journal() = Journal { ready, ..journal(&self.loaded, reload) };
        for problem in &self.loaded.warnings {
            warn!(%problem, "configuration");
        }
        info!(generation = self.shared.published.load().generation, "configuration reloaded");
        self.keeping = Some(keep(&self.loaded, &self.options, files, self.keeping.take()));
    }

    fn log_start(&self) {
        let journal = self.shared.journal();
        for problem in &journal.reload.problems {
            error!(%problem, "configuration refused");
        }
        for problem in &journal.warnings {
            warn!(%problem, "configuration");
        }
    }
}

/// Waits for the load under way.
async fn join(loading: &mut Option<JoinHandle<Attempt>>) -> Result<Attempt, JoinError> {
    match loading {
        Some(task) => task.await,
        None => std::future::pending().await,
    }
}

/// Loading must not panic; where it did, nothing changes and the operator is told.
fn loading_failed(config: &Path, panic: &JoinError) -> Problem {
    let problem = Problem::error("our-bug", config, format!("loading failed: {panic}"));
    problem.help("please report it with these files")
}

/// Loads and compiles without serving: what `check` and `explain` do. Every endpoint is taken to be
/// up.
///
/// # Errors
/// Every problem found.
pub fn trial(files: &mut dyn Files, path: &Path) -> Result<(Loaded, Snapshot), Vec<Problem>> {
    let (loaded, snapshot, _) = compiled(files, path, None, &Counters::default(), State::Up)?;
    Ok((loaded, snapshot))
}

/// Loads and compiles, with every endpoint unknown.
fn attempt(
    files: &mut dyn Files,
    path: &Path,
    before: Option<&Loaded>,
    counters: &Counters,
) -> Result<(Loaded, Snapshot, Counters), Vec<Problem>> {
    compiled(files, path, before, counters, State::Unknown)
}

fn compiled(
    files: &mut dyn Files,
    path: &Path,
    before: Option<&Loaded>,
    counters: &Counters,
    state: State,
) -> Result<(Loaded, Snapshot, Counters), Vec<Problem>> {
    let loaded = load(files, path, before)?;
    let mut counters = counters.clone();
    let standing = |endpoint| Standing::all(endpoint, state);
    let standings = loaded.parts.config.endpoints.iter().map(standing).collect();
    let snapshot = Snapshot::compile(loaded.parts.clone(), standings, &mut counters, 0, false)?;
    Ok((loaded, snapshot, counters))
}

/// The newest kept set that passes.
fn from_last_good(options: &Options, files: &mut DiskFiles) -> Option<(Loaded, Snapshot, Counters)> {
    let state = config::state_folder(files, &options.config);
    let sets = LastGood::below(&state).newest_first(&options.config);
    sets.into_iter().find_map(|mut set| {
        let config = set.config.clone();
        attempt(&mut set.files, &config, None, &Counters::default())
            .inspect(|_| error!(kept = %set.at, "the files on disk do not pass: serving the last good set"))
            .inspect_err(|problems| problems.iter().for_each(|problem| warn!(kept = %set.at, %problem, "kept set")))
            .ok()
    })
}

/// Keeps a good set for the day when the next does not pass, once the one `before` it is written: two
/// at a time would prune each other's files.
fn keep(loaded: &Loaded, options: &Options, files: &DiskFiles, before: Option<JoinHandle<()>>) -> JoinHandle<()> {
    let kept = LastGood::below(&loaded.parts.config.server.state);
    let (config, contents, at) = (options.config.clone(), files.contents().clone(), Timestamp::now());
    let keep = move || {
        if let Err(error) = kept.keep(&config, &contents, at) {
            warn!(%error, "the good set could not be kept; a restart needs the files on disk to pass");
        }
    };
    tokio::spawn(async move {
        if let Some(before) = before {
            let _ = before.await; // however it ended, it writes no more
        }
        let _ = tokio::task::spawn_blocking(keep).await;
    })
}

fn journal(loaded: &Loaded, reload: Reload) -> Journal {
    Journal {
        stale: reload.result == ReloadResult::Failed,
        reload,
        ready: false,
        warnings: loaded.warnings.clone(),
        decision_hash: loaded.decision_hash(),
    }
}

impl Reload {
    fn ok() -> Self {
        Self { at: Timestamp::now(), result: ReloadResult::Ok, problems: Vec::new() }
    }

    fn failed(problems: Vec<Problem>) -> Self {
        Self { at: Timestamp::now(), result: ReloadResult::Failed, problems }
    }
}

fn record_reload(reload: &Reload) {
    metrics::counter!("meridian_reloads_total", "result" => reload.result.as_str()).increment(1);
}

/// Sockets and folders are taken at start; an edit to them is good but waits.
fn warn_of_restart(before: &Config, after: &Config) {
    if before.server != after.server || before.admin != after.admin {
        warn!("[server] and [admin] changes take effect at the next restart");
    }
}
