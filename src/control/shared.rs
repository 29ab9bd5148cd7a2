//! What the control plane shows to the others: the published snapshot and the record of what happened.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use jiff::Timestamp;
use tokio::sync::{mpsc, oneshot, watch};

use super::digests::Digests;
use super::events::Events;
use super::hosts::Unresolved;
use super::load::Loaded;
use super::measuring::Measuring;
use super::overrides::Overrides;
use super::request::{Done, Order, Request};
use super::unwritten::{State, Unwritten};
use super::webhook::{Posting, Progress};
use crate::health::{Board, ClientErrors, Complaint};
use crate::model::{Digest, Problem, Source};
use crate::sandbox::Sandbox;
use crate::serve::{Certificates, Faults};
use crate::table::{Cells, Counters, Published, Traffic};

/// Shared with workers (the snapshot and their own cells) and with `admin` (all of it).
#[derive(Debug)]
pub struct Shared {
    /// What is served.
    pub published: Published,
    /// What encrypted listeners show.
    pub certificates: Arc<Certificates>,
    /// When the process started.
    pub started: Timestamp,
    /// What health has found.
    pub events: Events,
    /// What is measured.
    pub measuring: Measuring,
    /// Who could reach which site of late. The thread of the beacon listener alone locks it.
    pub(super) client_errors: Mutex<ClientErrors>,
    pub(super) posting: Arc<Progress>,
    /// What of `state` could not be written.
    pub(super) state: State,
    /// Hostnames of endpoints that do not resolve.
    unresolved: Mutex<BTreeMap<Arc<str>, Unresolved>>,
    /// What holds the process; none: nothing.
    pub sandbox: Option<Arc<Sandbox>>,
    board: Mutex<Board>,
    overrides: Mutex<Overrides>,
    inlets: Inlets,
    journal: Mutex<Journal>,
    counters: Mutex<Arc<Counters>>,
    workers: Mutex<Vec<(Arc<Cells>, Arc<Traffic>)>>,
    faults: OnceLock<Arc<Faults>>,
    news: watch::Sender<()>,
}

/// Where control hears what others want of it.
#[derive(Debug)]
pub(super) struct Inlets {
    pub(super) orders: mpsc::Sender<Order>,
    pub(super) complaints: mpsc::Sender<Complaint>,
}

/// What happened last.
#[derive(Clone, Debug)]
pub struct Journal {
    /// The last time that files were read.
    pub reload: Reload,
    /// What is served is not what is on disk: the files there do not pass.
    pub stale: bool,
    /// The set that is served has edits that take effect at the next restart.
    pub restart_pending: bool,
    /// Has the first round of probes passed, or its bound?
    pub ready: bool,
    /// What the operator should know of the set that is served.
    pub warnings: Vec<Problem>,
    /// What was read for the set that is served, by content.
    pub digests: Arc<Digests>,
    /// Over all content that decisions come from (BEHAVIOUR rule 10).
    pub decision_hash: Digest,
}

/// A source that asks much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Talker {
    /// Which.
    pub source: Source,
    /// Its queries by UDP a second.
    pub queries: f64,
    /// Those a second whose replies were over a limit.
    pub limited: f64,
}

impl Talker {
    fn new(source: Source) -> Self {
        Self { source, queries: 0.0, limited: 0.0 }
    }
}

/// How a reload ended.
#[derive(Clone, Debug)]
pub struct Reload {
    /// When.
    pub at: Timestamp,
    /// How.
    pub result: ReloadResult,
    /// What was wrong; empty unless it failed.
    pub problems: Vec<Problem>,
}

impl Journal {
    pub(super) fn new(loaded: &Loaded, decision_hash: Digest, reload: Reload) -> Self {
        let stale = reload.result == ReloadResult::Failed;
        let (warnings, digests) = (loaded.warnings.clone(), loaded.digests.clone());
        Self { reload, stale, restart_pending: false, ready: false, warnings, digests, decision_hash }
    }
}

impl Reload {
    pub(super) fn ok() -> Self {
        Self { at: Timestamp::now(), result: ReloadResult::Ok, problems: Vec::new() }
    }

    pub(super) fn failed(problems: Vec<Problem>) -> Self {
        Self { at: Timestamp::now(), result: ReloadResult::Failed, problems }
    }
}

/// The ends of a reload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReloadResult {
    /// The set on disk serves.
    Ok,
    /// It does not pass; the last good one serves.
    Failed,
}

impl ReloadResult {
    /// The word that `/status` and metrics use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Failed => "failed",
        }
    }
}

impl Shared {
    pub(super) fn new(
        published: Published,
        board: Board,
        journal: Journal,
        counters: Counters,
        certificates: Arc<Certificates>,
        sandbox: Option<Arc<Sandbox>>,
        inlets: Inlets,
    ) -> Self {
        Self {
            published,
            certificates,
            started: Timestamp::now(),
            events: Events::default(),
            measuring: Measuring::default(),
            posting: Arc::default(),
            state: State::default(),
            unresolved: Mutex::default(),
            sandbox,
            board: Mutex::new(board),
            overrides: Mutex::default(),
            inlets,
            client_errors: Mutex::default(),
            journal: Mutex::new(journal),
            counters: Mutex::new(Arc::new(counters)),
            workers: Mutex::new(Vec::new()),
            faults: OnceLock::new(),
            news: watch::Sender::new(()),
        }
    }

    /// What health knows. Held for moments only: no worker waits for it.
    pub fn board(&self) -> MutexGuard<'_, Board> {
        lock(&self.board)
    }

    /// What the operator ordered by hand.
    pub fn overrides(&self) -> MutexGuard<'_, Overrides> {
        lock(&self.overrides)
    }

    /// Has an order put in force, and waits until it is kept.
    ///
    /// # Errors
    /// It cannot be done: why.
    pub async fn order(&self, request: Request) -> Result<Done, String> {
        let (reply, done) = oneshot::channel();
        let ended = |_| "the control plane has ended".to_owned();
        self.inlets.orders.send(Order { request, reply }).await.map_err(|error| ended(error.to_string()))?;
        done.await.map_err(|error| ended(error.to_string()))?
    }

    /// Has control hear what clients report. Where more waits than it takes in, it is left out: it will be said again.
    pub(super) fn complain(&self, complaint: Complaint) {
        let _ = self.inlets.complaints.try_send(complaint);
    }

    /// What happened last.
    pub fn journal(&self) -> MutexGuard<'_, Journal> {
        lock(&self.journal)
    }

    /// The names of the counters.
    pub fn counters(&self) -> MutexGuard<'_, Arc<Counters>> {
        lock(&self.counters)
    }

    /// Tells when something was published or the journal has a new entry; what, it does not say.
    #[must_use]
    pub fn news(&self) -> watch::Receiver<()> {
        self.news.subscribe()
    }

    pub(super) fn tell(&self) {
        self.news.send_replace(());
    }

    /// Takes in what a worker counts with, so that its figures are summed with the others'.
    pub fn add_worker(&self, cells: Arc<Cells>, traffic: Arc<Traffic>) {
        cells.make_room(self.counters().end());
        lock(&self.workers).push((cells, traffic));
    }

    /// Makes room for counters that came with an edit.
    pub(super) fn make_room(&self) {
        let end = self.counters().end();
        lock(&self.workers).iter().for_each(|(cells, _)| cells.make_room(end));
    }

    /// The sources that ask most, most first, as estimated over the last seconds.
    #[must_use]
    pub fn talkers(&self, at_most: usize) -> Vec<Talker> {
        let now = Timestamp::now().as_second() as u32; // as workers count
        let mut talkers = HashMap::<Source, Talker>::new();
        for (_, traffic) in &*lock(&self.workers) {
            for (source, rate) in traffic.asking.rates(now) {
                talkers.entry(source).or_insert(Talker::new(source)).queries += rate;
            }
            for (source, rate) in traffic.limited.rates(now) {
                talkers.entry(source).or_insert(Talker::new(source)).limited += rate;
            }
        }
        // What is limited is counted one by one, what is asked by samples: who is limited has asked as often.
        let known = |talker: Talker| Talker { queries: talker.queries.max(talker.limited), ..talker };
        let mut talkers: Vec<_> = talkers.into_values().map(known).collect();
        talkers.sort_by(|a, b| b.queries.total_cmp(&a.queries).then(a.source.cmp(&b.source)));
        talkers.truncate(at_most);
        talkers
    }

    /// What comes of posting events; none: there is no webhook.
    #[must_use]
    pub fn posting(&self) -> Option<Posting> {
        self.posting.get()
    }

    /// What could not be written to `state`, so that a restart would begin without it.
    #[must_use]
    pub fn unwritten(&self) -> Vec<Unwritten> {
        self.state.list()
    }

    /// The endpoints whose hostname does not resolve: they are answered with what it resolved to last, for `keep_for`.
    #[must_use]
    pub fn unresolved(&self) -> BTreeMap<Arc<str>, Unresolved> {
        lock(&self.unresolved).clone()
    }

    pub(super) fn set_unresolved(&self, unresolved: BTreeMap<Arc<str>, Unresolved>) {
        *lock(&self.unresolved) = unresolved;
    }

    /// Takes in what counts the sockets' faults.
    pub fn set_faults(&self, faults: Arc<Faults>) {
        let _ = self.faults.set(faults); // sockets are bound once
    }

    /// What has gone wrong at the sockets; none: nothing is served yet.
    #[must_use]
    pub fn faults(&self) -> Option<&Faults> {
        self.faults.get().map(|faults| &**faults)
    }

    /// The sum of a counter over all workers.
    #[must_use]
    pub fn count(&self, id: crate::model::CounterId) -> u64 {
        lock(&self.workers).iter().map(|(cells, _)| cells.read(id)).sum()
    }
}

/// A holder that panicked left whole values behind: each is replaced in one step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
