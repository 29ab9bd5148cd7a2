//! The control plane's one task: what arrives → what is served.

use std::collections::BTreeSet;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, error, info, warn};

use super::attempt::{Attempt, Compiled, compile, from_last_good};
use super::files::DiskFiles;
use super::hosts::Hosts;
use super::last_good::LastGood;
use super::load::Loaded;
use super::settling::Settling;
use super::shared::{Journal, Reload, ReloadResult, Shared};
use super::watch::Watch;
use crate::config::Config;
use crate::health::Board;
use crate::model::{EndpointId, Problem, State};
use crate::probe::{Prober, Report, Resolved, Resolver};
use crate::table::{Counters, Published, Snapshot, Standing};

/// Outcomes and addresses that may wait for the control task; when full, probes wait.
const CHANNEL: usize = 4096;
/// The most reports that are taken in before what they changed is published.
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
    /// What sockets and folders were taken by.
    started: Arc<Config>,
    prober: Prober,
    reports: mpsc::Receiver<Report>,
    resolver: Resolver,
    resolved: mpsc::Receiver<Resolved>,
    hosts: Hosts,
    hangup: Signal,
    watch: Watch,
    settling: Settling,
    loading: Option<JoinHandle<Attempt>>,
    /// Writes a good set to the state folder, after the one before.
    keeping: Option<JoinHandle<()>>,
    /// Snapshots that a worker may still be reading.
    retired: Vec<Arc<Snapshot>>,
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
        let first = compile(&mut files, &options.config, None, &Counters::default(), State::Unknown);
        let settling = Settling::new(files.sight().clone());
        let (compiled, reload) = match first {
            Ok(compiled) => (compiled, Reload::ok()),
            Err(problems) if options.strict => return Err(problems),
            Err(problems) => match from_last_good(&options.config, &mut files) {
                Some((compiled, kept)) => {
                    problems.iter().for_each(|problem| error!(%problem, "configuration refused"));
                    error!(%kept, "the files on disk do not pass: serving the last good set");
                    (compiled, Reload::failed(problems))
                }
                None => return Err(problems),
            },
        };
        let Compiled { loaded, snapshot, counters } = compiled;
        let config = loaded.parts.config.clone();
        let (report, reports) = mpsc::channel(CHANNEL);
        let (resolve, resolved) = mpsc::channel(CHANNEL);
        let shared = Shared::new(Published::new(snapshot), Board::new(), journal(&loaded, reload), counters);
        let mut control = Self {
            shared: Arc::new(shared),
            prober: Prober::new(config.first_round, report),
            resolver: Resolver::new(&config.resolver, resolve),
            loaded: Arc::new(loaded),
            started: config.clone(),
            options,
            reports,
            resolved,
            hosts: Hosts::default(),
            hangup: signal(SignalKind::hangup()).expect("the handler of SIGHUP can be installed"),
            watch: Watch::new(),
            settling,
            loading: None,
            keeping: None,
            retired: Vec::new(),
        };
        control.resolver.reconfigure(&config.resolver, &config.endpoints).map_err(|problem| vec![*problem])?;
        control.loaded.warnings.iter().for_each(|problem| warn!(%problem, "configuration"));
        if !control.shared.journal().stale {
            control.keep(&files);
        }
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
        self.record_reload();
        self.watch_set();
        self.reconfigure_board(&mut self.shared.clone().board());
        self.reconfigure_prober();
        let opens = Instant::now() + self.config().first_round;
        let mut batch = Vec::new();
        tokio::pin!(shutdown);
        self.open_when_ready(opens);
        loop {
            let ready = self.shared.published.load().steering;
            let due = self.settling.due().filter(|_| self.loading.is_none());
            tokio::select! {
                () = &mut shutdown => break,
                _ = self.reports.recv_many(&mut batch, MAX_BATCH) => self.observe_all(batch.drain(..)),
                Some(resolved) = self.resolved.recv() => self.resolve(resolved),
                () = self.watch.changed() => self.notice(),
                _ = self.hangup.recv() => self.settling.hurry(Instant::now()),
                () = sleep_until(due.unwrap_or(opens)), if due.is_some() => self.start_loading(),
                attempt = join(&mut self.loading), if self.loading.is_some() => self.finish_loading(attempt),
                () = sleep_until(opens), if !ready => {}
            }
            self.open_when_ready(opens);
        }
        if let Some(keeping) = self.keeping {
            let _ = keeping.await; // its errors are logged
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
            let next = self.with_board(&self.shared.board(), &self.shared.published.load()).steering();
            self.publish(next);
            self.shared.journal().ready = true;
            self.shared.tell();
            let up = self.shared.board().endpoints().filter(|endpoint| endpoint.state == State::Up).count();
            let (endpoints, generation) = (self.config().endpoints.len(), self.shared.published.load().generation);
            if up == 0 && endpoints > 0 {
                error!(up, endpoints, generation, "ready, but no endpoint is up: answers are by when_none");
            } else {
                info!(up, endpoints, generation, "ready: steered names are answered");
            }
        }
    }

    /// Takes in reports, then publishes once.
    pub(super) fn observe_all(&mut self, reports: impl IntoIterator<Item = Report>) {
        let mut changed = BTreeSet::new();
        reports.into_iter().for_each(|report| self.observe_one(report, &mut changed));
        if !changed.is_empty() {
            let board = self.shared.board();
            let standings = changed.into_iter().map(|endpoint| (endpoint, self.standing(&board, endpoint))).collect();
            drop(board);
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
        match (verdict.change.from, verdict.change.to) {
            (_, State::Down) => warn!(endpoint = %name, from, to, reason = verdict.reason, generation, "verdict"),
            // An address of it changed alone.
            (before, after) if before == after => {
                warn!(endpoint = %name, state = to, reason = verdict.reason, generation, "address verdict");
            }
            // Ten thousand of these at a start would hide the one that matters; `ready` counts them.
            (State::Unknown, State::Up) => debug!(endpoint = %name, from, to, reason = verdict.reason, "verdict"),
            _ => info!(endpoint = %name, from, to, reason = verdict.reason, generation, "verdict"),
        }
    }

    /// Takes in the addresses of a hostname and of those that wait behind it, then publishes once.
    fn resolve(&mut self, first: Resolved) {
        self.hosts.take_in(first);
        for _ in 1..MAX_BATCH {
            let Ok(resolved) = self.resolved.try_recv() else { break };
            self.hosts.take_in(resolved);
        }
        let snapshot = self.shared.published.load_full();
        self.swap_in(&snapshot);
    }

    /// The board takes over the configuration and the hostnames' addresses.
    fn reconfigure_board(&self, board: &mut Board) {
        board.reconfigure(&self.loaded.parts.config, self.hosts.addresses(), Timestamp::now());
    }

    /// The prober runs what the board asks for.
    fn reconfigure_prober(&mut self) {
        let checks: Vec<_> = self.shared.board().checks().map(|(id, check)| (id, check.clone())).collect();
        // Without the board's lock: making the clients of new checks takes a while.
        self.prober.reconfigure(checks.iter().map(|(id, check)| (*id, check)), &self.loaded.trust);
    }

    /// A snapshot with every endpoint as the board has it. Plans whose endpoints all stand as before are
    /// shared.
    fn with_board(&self, board: &Board, snapshot: &Snapshot) -> Snapshot {
        let endpoints = (0..snapshot.parts.config.endpoints.len()).map(EndpointId::at);
        let standings = endpoints.map(|id| (id, self.standing(board, id)));
        snapshot.with_standings(standings.filter(|(id, standing)| snapshot.standing(*id) != standing).collect())
    }

    fn standing(&self, board: &Board, endpoint: EndpointId) -> Standing {
        let ttl = self.hosts.ttl(&self.loaded.parts.config.endpoints[endpoint.index()]);
        let addresses = &board.endpoint(endpoint).addresses;
        Standing { addresses: addresses.iter().map(|address| (address.address, address.state)).collect(), ttl }
    }

    fn publish(&mut self, mut next: Snapshot) {
        next.generation = self.shared.published.load().generation + 1;
        self.tell_exhausted(&next);
        self.retired.push(self.shared.published.publish(next));
        // A worker lets go of a snapshot before it blocks; whatever only we hold is freed here, off
        // the data path.
        self.retired.retain(|snapshot| Arc::strong_count(snapshot) > 1);
        self.shared.tell();
    }

    /// Says when the clients of a service lose their last living endpoint, and when they have one again.
    fn tell_exhausted(&self, next: &Snapshot) {
        for (entry, exhausted) in next.exhaustion_changes(&self.shared.published.load()) {
            let service = &entry.service.label;
            if exhausted {
                error!(%service, "some of its clients have no endpoint up: when_none acts for them");
            } else {
                info!(%service, "all its clients have an endpoint up again");
            }
        }
    }

    /// Watches the folders of the set last read. What changed since it was read shows in its looks.
    fn watch_set(&mut self) {
        self.watch.reconfigure(self.settling.looks().folders());
        self.notice();
    }

    /// A watched folder changed: is it one of our files?
    fn notice(&mut self) {
        let looks = self.settling.looks().again();
        self.settling.observe(Instant::now(), looks, self.config().settle);
    }

    fn start_loading(&mut self) {
        self.settling.begin();
        let (config, before) = (self.options.config.clone(), self.loaded.clone());
        let shared = self.shared.clone();
        self.loading = Some(tokio::task::spawn_blocking(move || Attempt::make(&config, &before, &shared)));
    }

    fn finish_loading(&mut self, attempt: Result<Attempt, JoinError>) {
        self.loading = None;
        let attempt = match attempt {
            Ok(attempt) => attempt,
            Err(error) => return self.refuse(vec![panicked(&self.options.config, &error)]),
        };
        self.settling.read(attempt.files.sight().clone());
        self.watch_set();
        if !attempt.still_same {
            info!("files changed while they were read; waiting until they lie still");
            return self.settling.hurry(Instant::now() + self.config().settle);
        }
        match attempt.result {
            Err(problems) => self.refuse(problems),
            Ok(compiled) => {
                let config = &compiled.loaded.parts.config;
                match self.resolver.reconfigure(&config.resolver, &config.endpoints) {
                    Err(problem) => self.refuse(vec![*problem]),
                    Ok(()) => self.accept(compiled, &attempt.files),
                }
            }
        }
    }

    fn refuse(&self, problems: Vec<Problem>) {
        for problem in &problems {
            error!(%problem, "configuration refused");
        }
        error!(errors = problems.len(), "refused: nothing has changed, the configuration before it still serves");
        {
            let mut journal = self.shared.journal();
            (journal.reload, journal.stale) = (Reload::failed(problems), true);
        }
        self.record_reload();
        self.shared.tell();
    }

    fn accept(&mut self, compiled: Compiled, files: &DiskFiles) {
        let Compiled { loaded, snapshot, counters } = compiled;
        warn_of_restart(&self.started, &loaded.parts.config);
        *self.shared.counters() = counters;
        self.hosts.edited(&self.loaded.parts.config, &loaded.parts.config);
        self.loaded = Arc::new(loaded);
        let ready = self.shared.journal().ready;
        *self.shared.journal() = Journal { ready, ..journal(&self.loaded, Reload::ok()) };
        self.swap_in(&snapshot);
        self.record_reload();
        self.loaded.warnings.iter().for_each(|problem| warn!(%problem, "configuration"));
        info!(generation = self.shared.published.load().generation, "configuration reloaded");
        self.keep(files);
    }

    /// Board and snapshot change under one lock, so that who reads both (`/status`) sees no mix.
    fn swap_in(&mut self, snapshot: &Snapshot) {
        let shared = self.shared.clone();
        let mut board = shared.board();
        self.reconfigure_board(&mut board);
        let mut next = self.with_board(&board, snapshot);
        next.steering = shared.published.load().steering;
        self.publish(next);
        drop(board);
        self.reconfigure_prober();
    }

    /// Keeps a good set for the day when the next does not pass. One after the other: a set that is
    /// pruned must not take content that the next one is about to name.
    fn keep(&mut self, files: &DiskFiles) {
        let kept = LastGood::below(&self.config().server.state);
        let (config, contents) = (self.options.config.clone(), files.contents().clone());
        let before = self.keeping.take();
        let keep = move || {
            if let Err(error) = kept.keep(&config, &contents, Timestamp::now()) {
                warn!(%error, "the good set could not be kept; a restart needs the files on disk to pass");
            }
        };
        self.keeping = Some(tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            let _ = tokio::task::spawn_blocking(keep).await;
        }));
    }

    fn record_reload(&self) {
        let result = self.shared.journal().reload.result.as_str();
        metrics::counter!("meridian_reloads_total", "result" => result).increment(1);
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
fn panicked(config: &Path, error: &JoinError) -> Problem {
    let problem = Problem::error("our-bug", config, format!("loading failed: {error}"));
    problem.help("please report it with these files")
}

fn journal(loaded: &Loaded, reload: Reload) -> Journal {
    Journal {
        stale: reload.result == ReloadResult::Failed,
        reload,
        ready: false,
        warnings: loaded.warnings.clone(),
        digests: loaded.digests.clone(),
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

/// Sockets and folders are taken at start; an edit to them is good but waits.
fn warn_of_restart(before: &Config, after: &Config) {
    if before.server != after.server || before.admin != after.admin {
        warn!("[server] and [admin] changes take effect at the next restart");
    }
}
