//! From a set of files to a snapshot, away from the control task.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use tracing::{error, warn};

use super::files::{DiskFiles, Sight};
use super::last_good::LastGood;
use super::load::{Loaded, load};
use super::secrets;
use super::shared::Shared;
use super::webhook::Hook;
use crate::answer::with_hot;
use crate::config::{self, Config};
use crate::model::{Endpoint, EndpointId, Files, Problem, State};
use crate::serve::Pair;
use crate::table::{Before, Counters, Snapshot, Standing};

/// A set of files that was read and compiled.
pub(super) struct Attempt {
    pub(super) files: DiskFiles,
    /// What was read is what is there (BEHAVIOUR rule 25).
    pub(super) still_same: bool,
    pub(super) result: Result<Compiled, Vec<Problem>>,
}

/// A set of files that passed, with all that is made of it.
#[derive(Debug)]
pub(super) struct Compiled {
    pub(super) loaded: Loaded,
    pub(super) snapshot: Snapshot,
    pub(super) counters: Counters,
    /// What encrypted listeners show; none: the configuration names none.
    pub(super) pair: Option<Pair>,
    /// Where events are posted; none: the configuration names no webhook.
    pub(super) hook: Option<Arc<Hook>>,
}

impl Compiled {
    /// With the certificate and keys that it names. They are always those on disk, since no kept set holds a key.
    pub(super) fn with_secrets(mut self, files: &mut DiskFiles) -> Result<Self, Vec<Problem>> {
        (self.pair, self.hook) = read_secrets(files, &self.loaded)?;
        self.loaded.warnings.extend(self.pair.as_ref().and_then(|pair| pair.warning(Timestamp::now())));
        Ok(self)
    }
}

type Secrets = (Option<Pair>, Option<Arc<Hook>>);

fn read_secrets(files: &mut DiskFiles, loaded: &Loaded) -> Result<Secrets, Vec<Problem>> {
    match (read_pair(files, &loaded.parts.config), read_hook(files, loaded)) {
        (Ok(pair), Ok(hook)) => Ok((pair, hook)),
        (pair, hook) => Err([pair.err(), hook.err()].into_iter().flatten().flatten().collect()),
    }
}

fn read_pair(files: &mut DiskFiles, config: &Config) -> Result<Option<Pair>, Vec<Problem>> {
    let named = config.tls.certificate.as_ref();
    named.map(|named| Pair::read(named, |path| files.secret(path).map(Option::unwrap_or_default))).transpose()
}

fn read_hook(files: &mut DiskFiles, loaded: &Loaded) -> Result<Option<Arc<Hook>>, Vec<Problem>> {
    let named = loaded.parts.config.webhook.as_ref();
    let read = |named| Hook::read(named, &loaded.trust, files, &loaded.parts.file).map(Arc::new);
    named.map(read).transpose()
}

/// Reads the certificate and keys that the configuration names, as `check` does. What the operator should know of
/// them all the same.
///
/// # Errors
/// Every problem found.
pub fn check_secrets(files: &mut DiskFiles, loaded: &Loaded) -> Result<Option<Problem>, Vec<Problem>> {
    let (pair, _) = read_secrets(files, loaded)?;
    Ok(pair.and_then(|pair| pair.warning(Timestamp::now())))
}

impl Attempt {
    /// Reads and compiles what is on disk now. Endpoints stand as in what is served, so that hardly
    /// anything is left to be settled when it is swapped in; new ones are unknown. `before` is the set
    /// that serves, `looks` what files looked like.
    pub(super) fn make(path: &Path, before: &Loaded, looks: Sight, shared: &Shared) -> Self {
        let mut files = DiskFiles::after(looks).within(shared.sandbox.clone());
        let (counters, served) = (shared.counters().clone(), shared.published.load_full());
        let endpoints = served.parts.config.endpoints.iter().enumerate();
        let known: HashMap<&str, (usize, &Endpoint)> = endpoints.map(|(id, one)| (&*one.name, (id, one))).collect();
        let standing = |endpoint: &Endpoint| match known.get(&*endpoint.name) {
            Some((id, same)) if same.addresses == endpoint.addresses => served.standing(EndpointId::at(*id)).clone(),
            _ => Standing::all(endpoint, State::Unknown),
        };
        let serving = Before { snapshot: &served, count: &|counter| shared.count(counter) };
        let result = compile(&mut files, path, Some((before, serving)), &counters, &standing);
        let result = result.and_then(|compiled| compiled.with_secrets(&mut files));
        Self { still_same: files.still_same(), files, result }
    }
}

/// Loads and compiles without serving: what `check` and `explain` do. Every endpoint is taken to be
/// up.
///
/// # Errors
/// Every problem found.
pub fn trial(files: &mut dyn Files, path: &Path) -> Result<(Loaded, Snapshot), Vec<Problem>> {
    let up = |endpoint: &Endpoint| Standing::all(endpoint, State::Up);
    let Compiled { loaded, snapshot, .. } = compile(files, path, None, &Counters::default(), &up)?;
    Ok((loaded, snapshot))
}

/// Reads and compiles once more what is on disk, as an edit does: with parts of the set `before` and
/// the standings that are served. Nothing is published.
///
/// # Errors
/// Every problem found.
pub fn reload(path: &Path, before: &Loaded, shared: &Shared) -> Result<(Loaded, Snapshot), Vec<Problem>> {
    let Compiled { loaded, snapshot, .. } = Attempt::make(path, before, Sight::default(), shared).result?;
    Ok((loaded, snapshot))
}

/// Loads and compiles, with every endpoint standing so.
pub(super) fn compile(
    files: &mut dyn Files,
    path: &Path,
    before: Option<(&Loaded, Before<'_>)>,
    counters: &Counters,
    standing: &dyn Fn(&Endpoint) -> Standing,
) -> Result<Compiled, Vec<Problem>> {
    let loaded = load(files, path, before.map(|(loaded, _)| loaded))?;
    let mut counters = counters.clone();
    let standings = loaded.parts.config.endpoints.iter().map(standing).collect();
    let before = before.map(|(_, serving)| serving);
    let snapshot =
        with_hot(Snapshot::compile(loaded.parts.clone(), standings, &mut counters, before, Timestamp::now())?);
    Ok(Compiled { loaded, snapshot, counters, pair: None, hook: None })
}

/// A kept set. What it has no copy of, since nobody keeps secrets, is as it is on disk; where that is bad, there is none.
struct Kept<'d> {
    set: BTreeMap<PathBuf, Arc<[u8]>>,
    disk: &'d mut DiskFiles,
}

impl Files for Kept<'_> {
    fn read(&mut self, path: &Path) -> io::Result<Arc<[u8]>> {
        self.set.read(path)
    }

    fn list(&mut self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        self.set.list(folder)
    }

    fn secret(&mut self, path: &Path) -> io::Result<Option<Arc<[u8]>>> {
        let content = self.disk.secret(path).ok().flatten();
        Ok(content.filter(|content| secrets::parse(content, path).is_ok()))
    }
}

/// The newest kept set of this configuration that passes.
pub(super) fn from_last_good(path: &Path, files: &mut DiskFiles) -> Option<(Compiled, Timestamp)> {
    let state = config::state_folder(files, path);
    let kept = LastGood::below(&state);
    let unknown = |endpoint: &Endpoint| Standing::all(endpoint, State::Unknown);
    let (mut compiled, at) = kept.newest_first(path).find_map(|set| {
        let config = set.config.clone();
        let mut kept = Kept { set: set.files, disk: files };
        compile(&mut kept, &config, None, &Counters::default(), &unknown)
            .inspect_err(|problems| problems.iter().for_each(|problem| warn!(kept = %set.at, %problem, "kept set")))
            .ok()
            .map(|compiled| (compiled, set.at))
    })?;
    match read_pair(files, &compiled.loaded.parts.config) {
        Ok(pair) => compiled.pair = pair,
        Err(problems) => problems.iter().for_each(|problem| error!(%problem, "no encrypted query can be answered")),
    }
    match read_hook(files, &compiled.loaded) {
        Ok(hook) => compiled.hook = hook,
        Err(problems) => problems.iter().for_each(|problem| error!(%problem, "no event is posted")),
    }
    Some((compiled, at))
}
