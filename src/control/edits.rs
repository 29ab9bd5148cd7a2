//! An edit's path: looking at files, reading them and keeping a good set are work for the idle lane;
//! what is left for the control task is to swap in what was made there.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::attempt::{Attempt, Compiled};
use super::files::{DiskFiles, Sight};
use super::idle;
use super::last_good::LastGood;
use super::load::Loaded;
use super::run::Control;
use super::shared::{Journal, Reload, Shared};
use super::unwritten::Kept;
use crate::config::Config;
use crate::model::{Digest, Problem};

/// A task on the idle lane, if there is one.
type Waiting<T> = Option<JoinHandle<Result<T, String>>>;

/// Waits for the work under way; forever where there is none.
pub(super) async fn finished<T>(waiting: &mut Waiting<T>) -> Result<T, String> {
    let Some(task) = waiting else { return std::future::pending().await };
    let result = task.await;
    *waiting = None;
    result.unwrap_or_else(|error: JoinError| Err(error.to_string()))
}

/// What reading a set of files came to.
pub(super) struct Reading {
    attempt: Attempt,
    /// What it looked like.
    sight: Sight,
    /// What is to be watched for its changes.
    folders: BTreeSet<PathBuf>,
    /// Of a set that passed.
    decision_hash: Option<Digest>,
}

impl Reading {
    fn make(config: &Path, before: &Loaded, looks: Sight, shared: &Shared) -> Self {
        let attempt = Attempt::make(config, before, looks, shared);
        let sight = attempt.files.sight();
        let folders = sight.folders();
        let decision_hash = attempt.result.as_ref().ok().map(|compiled| compiled.loaded.decision_hash());
        Self { attempt, sight, folders, decision_hash }
    }
}

/// A look at the files of the set, and whether there is to be another: a set of a hundred thousand
/// takes a while to look at.
#[derive(Default)]
pub(super) struct Looking {
    looks: Waiting<Sight>,
    again: bool,
}

impl Looking {
    /// Looks at the set, once more if it is being looked at already.
    fn begin(&mut self, looks: &Sight) {
        if self.looks.is_some() {
            self.again = true;
            return;
        }
        self.again = false;
        let looks = looks.clone();
        self.looks = Some(tokio::spawn(idle::run_soon(move || looks.again())));
    }

    /// Of another set than the one that is to be looked at now.
    fn forget(&mut self) {
        *self = Self::default();
    }

    pub(super) async fn finished(&mut self) -> Result<Sight, String> {
        finished(&mut self.looks).await
    }
}

impl Control {
    /// Watches the folders of the set last read. What changed since it was read shows in its looks.
    pub(super) fn watch_set(&mut self, folders: BTreeSet<PathBuf>) {
        self.watch.reconfigure(folders);
        self.looking.forget();
        self.notice();
    }

    /// A watched folder changed: is it one of our files?
    pub(super) fn notice(&mut self) {
        self.looking.begin(self.settling.looks());
    }

    pub(super) fn finish_looking(&mut self, looks: Result<Sight, String>) {
        match looks {
            Ok(looks) => self.settling.observe(Instant::now(), looks, self.config().settle),
            Err(why) => warn!(why, "files could not be looked at; SIGHUP reloads them"),
        }
        if self.looking.again {
            self.notice();
        }
    }

    pub(super) fn start_loading(&mut self) {
        self.settling.begin();
        // What a look under way would find is read now; what changes later, the look after it finds.
        self.looking.forget();
        let (config, before) = (self.options.config.clone(), self.loaded.clone());
        let (looks, shared) = (self.settling.looks().clone(), self.shared.clone());
        let read = move || Reading::make(&config, &before, looks.clone(), &shared);
        self.loading = Some(tokio::spawn(idle::run_soon(read)));
    }

    pub(super) fn finish_loading(&mut self, reading: Result<Reading, String>) {
        let Reading { attempt, sight, folders, decision_hash } = match reading {
            Ok(reading) => reading,
            Err(why) => return self.refuse(vec![panicked(&self.options.config, &why)]),
        };
        self.settling.read(sight);
        self.watch_set(folders);
        if !attempt.still_same {
            info!("files changed while they were read; waiting until they lie still");
            self.settling.wait_until(Instant::now() + self.config().settle);
            return self.freeing.free(attempt);
        }
        match attempt.result {
            Err(problems) => self.refuse(problems),
            Ok(compiled) => {
                let config = &compiled.loaded.parts.config;
                match self.resolver.reconfigure(&config.resolver, &config.endpoints) {
                    Err(problem) => {
                        self.refuse(vec![*problem]);
                        self.freeing.free(compiled);
                    }
                    Ok(()) => {
                        let hash = decision_hash.unwrap_or_else(|| compiled.loaded.decision_hash());
                        self.accept(compiled, hash);
                        return self.keep(attempt.files);
                    }
                }
            }
        }
        self.freeing.free(attempt.files);
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

    fn accept(&mut self, compiled: Compiled, decision_hash: Digest) {
        let Compiled { loaded, snapshot, counters, pair, hook } = compiled;
        let restart_pending = waits_for_restart(&self.started, &loaded.parts.config);
        if let Some(pair) = pair {
            self.shared.certificates.replace(pair);
        }
        self.deliveries.redirect(hook);
        let counters = std::mem::replace(&mut *self.shared.counters(), Arc::new(counters));
        self.hosts.edited(&self.loaded.parts.config, &loaded.parts.config);
        let loaded = std::mem::replace(&mut self.loaded, Arc::new(loaded));
        self.shared.set_unresolved(self.hosts.unresolved(&self.loaded.parts.config));
        let served = &loaded.parts.measured.published;
        if !Arc::ptr_eq(served, &self.loaded.parts.measured.published) {
            self.shared.measuring.keep(served.clone());
        } else if self.shared.measuring.told().prefixes > 0 {
            // Samples are to be kept otherwise, or say something else now.
            self.shared.measuring.hurry();
        }
        let ready = self.shared.journal().ready;
        *self.shared.journal() =
            Journal { ready, restart_pending, ..Journal::new(&self.loaded, decision_hash, Reload::ok()) };
        self.files_hash = decision_hash;
        self.tell_decision_hash();
        self.swap_in(&snapshot);
        self.freeing.free((counters, loaded, snapshot));
        self.record_reload();
        self.loaded.warnings.iter().for_each(|problem| warn!(%problem, "configuration"));
        info!(generation = self.shared.published.load().generation, "configuration reloaded");
    }

    /// Keeps a good set for the day when the next does not pass. One after the other: a set that is
    /// pruned must not take content that the next one is about to name.
    pub(super) fn keep(&mut self, files: DiskFiles) {
        let kept = LastGood::below(&self.config().server.state);
        let (config, digests) = (self.options.config.clone(), self.loaded.digests.clone());
        let (before, shared) = (self.keeping.take(), self.shared.clone());
        let keep = move || {
            let kept = kept.keep(&config, &digests, |path| files.content(path), Timestamp::now());
            kept.map_err(|error| error.to_string())
        };
        self.keeping = Some(tokio::spawn(async move {
            if let Some(before) = before {
                let _ = before.await;
            }
            let error = idle::run(keep).await.flatten().err();
            shared.state.note(Kept::LastGood, error.as_deref());
            if let Some(error) = error {
                warn!(
                    error,
                    "the good set could not be kept; a restart needs the files on disk to pass; SIGHUP tries again"
                );
            }
        }));
    }

    pub(super) fn record_reload(&self) {
        let result = self.shared.journal().reload.result.as_str();
        metrics::counter!("meridian_reloads_total", "result" => result).increment(1);
    }
}

/// Loading must not panic; where it did, nothing changes and the operator is told.
fn panicked(config: &Path, why: &str) -> Problem {
    let problem = Problem::error("our-bug", config, format!("loading failed: {why}"));
    problem.help("please report it with these files")
}

/// Sockets and folders are taken at start; an edit to them is good but waits, and the operator is told.
fn waits_for_restart(before: &Config, after: &Config) -> bool {
    let scripts = after.wants_scripts() && !before.wants_scripts();
    if scripts {
        warn!("there were no script probes at the start: those that are new tell nothing until a restart");
    }
    let changed = [
        ("[server]", before.server.needs_restart(&after.server)),
        ("[tls]", before.tls.needs_restart(&after.tls)),
        ("[admin]", before.admin != after.admin),
        ("[beacons]", before.beacons.needs_restart(&after.beacons)),
        ("[process]", before.process != after.process),
    ];
    let tables: Vec<&str> = changed.into_iter().filter(|(_, waits)| *waits).map(|(table, _)| table).collect();
    if !tables.is_empty() {
        let tables = tables.join(", ");
        warn!(
            "what was changed in {tables} takes effect at the next restart; README says which of their keys need none"
        );
    }
    scripts || !tables.is_empty()
}
