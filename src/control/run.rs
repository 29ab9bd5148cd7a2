//! The control plane's one task: what arrives → what is served.

use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout};
use tracing::{error, info, warn};

use super::attempt::Compiled;
use super::edits::{Looking, Reading, finished};
use super::first::First;
use super::freeing::Freeing;
use super::hosts::Hosts;
use super::load::Loaded;
use super::looks::Looks;
use super::orders::Orders;
use super::remembered;
use super::request::Order;
use super::settling::Settling;
use super::shared::{Inlets, Journal, Shared};
use super::telling::tell_services;
use super::watch::Watch;
use super::webhook::Deliveries;
use crate::config::Config;
use crate::health::{Board, CheckId, Complaint};
use crate::model::{Digest, EndpointId, Problem, State};
use crate::probe::{Calm, Prober, Report, Resolved, Resolver, Scripts};
use crate::table::{Published, Snapshot, Standing};

/// Outcomes and addresses that may wait for the control task; when full, probes wait.
const CHANNEL: usize = 4096;
/// What is expected to change nothing waits for so long at most.
const CALM: Duration = Duration::from_millis(25);
/// Orders that may wait.
const MAX_ORDERS: usize = 16;
/// Complaints of clients that may wait.
const MAX_COMPLAINTS: usize = 64;
/// The most reports that are taken in at a time: all that wait, so that none is taken in before an older one.
pub(super) const MAX_BATCH: usize = CHANNEL;
/// At the end, how long the last good set may take to be kept. It is whole or not there.
pub(super) const LAST_WAIT: Duration = Duration::from_secs(5);

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
    pub(super) shared: Arc<Shared>,
    pub(super) options: Options,
    pub(super) loaded: Arc<Loaded>,
    /// What sockets and folders were taken by.
    pub(super) started: Arc<Config>,
    prober: Prober,
    reporter: mpsc::Sender<Report>,
    pub(super) reports: mpsc::Receiver<Report>,
    pub(super) calm: Arc<Calm>,
    /// When what lies there is taken in.
    pub(super) calm_at: Option<Instant>,
    pub(super) resolver: Resolver,
    resolved: mpsc::Receiver<Resolved>,
    pub(super) hosts: Hosts,
    hangup: Signal,
    pub(super) watch: Watch,
    pub(super) settling: Settling,
    pub(super) looking: Looking,
    pub(super) loading: Option<JoinHandle<Result<Reading, String>>>,
    /// Writes a good set to the state folder, after the one before.
    pub(super) keeping: Option<JoinHandle<()>>,
    /// When verdicts were published last.
    pub(super) verdicts_at: Option<Instant>,
    /// Writes what health knows to the state folder, and when next.
    pub(super) remembering: Option<JoinHandle<()>>,
    pub(super) remember_at: Instant,
    /// So many endpoints are in doubt that this bounds no TTL.
    pub(super) storm: bool,
    pub(super) freeing: Freeing<Snapshot>,
    received: mpsc::Receiver<Order>,
    complained: mpsc::Receiver<Complaint>,
    pub(super) orders: Orders,
    /// Writes orders to the state folder, after those before.
    pub(super) keeping_orders: Option<JoinHandle<()>>,
    /// Over the files that decisions come from.
    pub(super) files_hash: Digest,
    /// Posts events to the webhook.
    pub(super) deliveries: Deliveries,
    pub(super) looks: Looks,
}

impl Control {
    /// Reads the first set of files and takes it up.
    ///
    /// # Errors
    /// As [`First::read`] and [`start`](Self::start).
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn open(options: Options) -> Result<Self, Vec<Problem>> {
        Self::start(First::read(options)?)
    }

    /// Takes up what was read. Nothing is probed yet.
    ///
    /// # Errors
    /// There are hostnames to resolve and no servers to ask.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn start(first: First) -> Result<Self, Vec<Problem>> {
        let First { options, compiled, reload, files, settling, sandbox, certificates, spawner } = first;
        let Compiled { loaded, snapshot, counters, hook, .. } = compiled;
        let config = loaded.parts.config.clone();
        let (reporter, reports) = mpsc::channel(CHANNEL);
        let calm = Arc::new(Calm::default());
        let (resolve, resolved) = mpsc::channel(CHANNEL);
        let (orders, received) = mpsc::channel(MAX_ORDERS);
        let (complaints, complained) = mpsc::channel(MAX_COMPLAINTS);
        let files_hash = loaded.decision_hash();
        let journal = Journal::new(&loaded, files_hash, reload);
        let (published, inlets) = (Published::new(snapshot), Inlets { orders, complaints });
        let shared = Shared::new(published, Board::new(), journal, counters, certificates, sandbox, inlets);
        let mut control = Self {
            deliveries: Deliveries::start(&shared.events, hook, shared.posting.clone()),
            shared: Arc::new(shared),
            prober: Prober::new(config.first_round, reporter.clone())
                .with_scripts(spawner.map(Scripts::from))
                .with_calm(calm.clone()),
            resolver: Resolver::new(&config.resolver, resolve),
            storm: false,
            loaded: Arc::new(loaded),
            started: config.clone(),
            options,
            reporter,
            reports,
            calm,
            calm_at: None,
            resolved,
            hosts: Hosts::default(),
            hangup: signal(SignalKind::hangup()).expect("the handler of SIGHUP can be installed"),
            watch: Watch::new(),
            settling,
            looking: Looking::default(),
            loading: None,
            keeping: None,
            verdicts_at: None,
            remembering: None,
            remember_at: Instant::now() + remembered::EVERY,
            freeing: Freeing::start(),
            received,
            complained,
            orders: Orders::default(),
            keeping_orders: None,
            files_hash,
            looks: Looks::default(),
        };
        control.resolver.reconfigure(&config.resolver, &config.endpoints).map_err(|problem| vec![*problem])?;
        control.loaded.warnings.iter().for_each(|problem| warn!(%problem, "configuration"));
        if !control.shared.journal().stale {
            control.keep(files);
        }
        Ok(control)
    }

    /// What workers and `admin` share with it.
    #[must_use]
    pub fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Where probes report. So may others that observe the endpoints; outcomes of checks that the
    /// board does not know are passed over.
    #[must_use]
    pub fn reporter(&self) -> mpsc::Sender<Report> {
        self.reporter.clone()
    }

    /// The configuration that it started with.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.loaded.parts.config.clone()
    }

    /// Probes, watches and publishes until `shutdown` resolves.
    pub async fn run(mut self, shutdown: impl Future<Output = ()>) {
        self.record_reload();
        let folders = self.settling.looks().folders();
        self.watch_set(folders);
        self.reconfigure_board(&mut self.shared.clone().board());
        self.restore_orders();
        self.recall();
        self.reconfigure_prober();
        self.looks.start();
        let opens = Instant::now() + self.config().first_round;
        let mut batch = Vec::new();
        tokio::pin!(shutdown);
        self.open_when_ready(opens);
        loop {
            let ready = self.shared.published.load().steering;
            let due = self.settling.due().filter(|_| self.loading.is_none());
            let free_at = self.free_at();
            let look_at = self.looks.due(&self.shared.measuring).filter(|_| self.loading.is_none());
            tokio::select! {
                () = &mut shutdown => break,
                _ = self.reports.recv_many(&mut batch, MAX_BATCH) => self.take_reports(&mut batch).await,
                () = self.calm.waits(), if self.calm_at.is_none() => self.calm_at = Some(Instant::now() + CALM),
                () = sleep_until(self.calm_at.unwrap_or(opens)), if self.calm_at.is_some() => self.take_calm().await,
                Some(resolved) = self.resolved.recv() => self.resolve(resolved),
                Some(order) = self.received.recv() => self.take_order(order),
                Some(complaint) = self.complained.recv() => self.hear(&complaint),
                () = self.watch.changed() => self.notice(),
                _ = self.hangup.recv() => self.settling.hurry(Instant::now()),
                () = sleep_until(due.unwrap_or(opens)), if due.is_some() => self.start_loading(),
                looks = self.looking.finished() => self.finish_looking(looks),
                reading = finished(&mut self.loading) => self.finish_loading(reading),
                () = sleep_until(opens), if !ready => {}
                () = sleep_until(self.remember_at) => self.remember(),
                () = self.shared.measuring.hurried() => self.looks.hurry(),
                () = sleep_until(look_at.unwrap_or(opens)), if look_at.is_some() => self.look(),
                look = self.looks.finished() => self.finish_look(look),
                () = sleep_until(free_at.unwrap_or(opens)), if free_at.is_some() => self.tick(),
            }
            self.open_when_ready(opens);
        }
        self.remember_last().await;
        self.keep_measured_last().await;
        for keeping in [self.keeping, self.keeping_orders].into_iter().flatten() {
            let _ = timeout(LAST_WAIT, keeping).await; // its errors are logged
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
            self.hold_as_served();
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

    /// Takes in the addresses of a hostname and of those that wait behind it, then publishes once.
    fn resolve(&mut self, first: Resolved) {
        let mut moved = self.hosts.take_in(first);
        for _ in 1..MAX_BATCH {
            let Ok(resolved) = self.resolved.try_recv() else { break };
            moved |= self.hosts.take_in(resolved);
        }
        self.shared.set_unresolved(self.hosts.unresolved(&self.loaded.parts.config));
        let snapshot = self.shared.published.load_full();
        if moved {
            return self.swap_in(&snapshot);
        }
        // As most answers do, they bring another TTL for the same addresses.
        let changed = self.changed(&self.shared.board(), &snapshot);
        if !changed.is_empty() {
            self.publish(snapshot.with_standings(changed, Timestamp::now()));
        }
    }

    /// The board takes over the configuration and the hostnames' addresses.
    fn reconfigure_board(&mut self, board: &mut Board) {
        board.reconfigure(&self.loaded.parts.config, self.hosts.addresses(), Timestamp::now());
        self.storm = board.is_storm();
    }

    /// The prober runs what the board asks for.
    fn reconfigure_prober(&mut self) {
        let checks: Vec<_> = self.shared.board().checks().map(|(id, check)| (id, check.clone())).collect();
        self.prober.reconfigure(checks.iter().map(|(id, check)| (*id, check)), &self.loaded.trust);
    }

    /// Checks in doubt are probed fast.
    pub(super) fn hurry(&self, paces: Vec<(CheckId, bool)>) {
        paces.into_iter().for_each(|(check, is_fast)| self.prober.hurry(check, is_fast));
    }

    /// When time alone changes something: what is held back is free, or a ramp goes on.
    fn free_at(&self) -> Option<Instant> {
        let (held, ramps) = (self.shared.board().next_tick(), self.shared.published.load().due());
        let orders = self.shared.overrides().next_expiry();
        let wait = held.into_iter().chain(ramps).chain(orders).min()?.duration_since(Timestamp::now());
        Some(Instant::now() + Duration::try_from(wait).unwrap_or_default())
    }

    /// A snapshot with every endpoint as the board has it. Plans whose endpoints all stand as before are
    /// shared.
    fn with_board(&self, board: &Board, snapshot: &Snapshot) -> Snapshot {
        snapshot.with_standings(self.changed(board, snapshot), Timestamp::now())
    }

    /// The endpoints that do not stand in the snapshot as the board has them.
    pub(super) fn changed(&self, board: &Board, snapshot: &Snapshot) -> Vec<(EndpointId, Standing)> {
        let endpoints = (0..snapshot.parts.config.endpoints.len()).map(EndpointId::at);
        let standings = endpoints.map(|id| (id, self.standing(board, id)));
        standings.filter(|(id, standing)| snapshot.standing(*id) != standing).collect()
    }

    pub(super) fn standing(&self, board: &Board, endpoint: EndpointId) -> Standing {
        let config = &self.loaded.parts.config;
        let of = &config.endpoints[endpoint.index()];
        let ordered = self.shared.overrides().of(of);
        let standing = Standing::of_health(board.endpoint(endpoint), self.hosts.ttl(of), !self.storm);
        self.orders.apply(ordered, &of.name, standing)
    }

    pub(super) fn publish(&mut self, next: Snapshot) {
        let before = self.publish_untold(next);
        self.tell_published(before);
    }

    /// What services come to by it is told by [`tell_published`](Self::tell_published), with what served before.
    pub(super) fn publish_untold(&mut self, mut next: Snapshot) -> Arc<Snapshot> {
        next = self.held(next, Timestamp::now());
        next.generation = self.shared.published.load().generation + 1;
        let before = self.shared.published.publish(next);
        self.shared.tell();
        before
    }

    /// The same, its services held as ordered.
    fn held(&self, next: Snapshot, now: Timestamp) -> Snapshot {
        let holds = self.orders.holds(&next.parts.config);
        if holds.is_empty() && !next.is_holding() { next } else { next.holding(&holds, now) }
    }

    pub(super) fn tell_published(&mut self, before: Arc<Snapshot>) {
        tell_services(&self.shared, &before);
        self.freeing.retire(before);
    }

    /// Board and snapshot change under one lock, so that who reads both (`/status`) sees no mix.
    pub(super) fn swap_in(&mut self, snapshot: &Snapshot) {
        let shared = self.shared.clone();
        self.hold_as_served();
        let mut board = shared.board();
        self.reconfigure_board(&mut board);
        let served = shared.published.load_full();
        let now = Timestamp::now();
        let mut next = self.held(self.with_board(&board, snapshot), now).panicking_as(&served, now);
        next.steering = served.steering;
        self.publish(next);
        drop(board);
        shared.make_room();
        self.reconfigure_prober();
    }
}
