//! From a set of files to a snapshot, away from the control task.

use std::collections::HashMap;
use std::path::Path;

use jiff::Timestamp;
use tracing::warn;

use super::files::{DiskFiles, Sight};
use super::last_good::LastGood;
use super::load::{Loaded, load};
use super::shared::Shared;
use crate::answer::with_hot;
use crate::config;
use crate::model::{Endpoint, EndpointId, Files, Problem, State};
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
    let snapshot = with_hot(Snapshot::compile(loaded.parts.clone(), standings, &mut counters, before)?);
    Ok(Compiled { loaded, snapshot, counters })
}

/// The newest kept set of this configuration that passes.
pub(super) fn from_last_good(path: &Path, files: &mut DiskFiles) -> Option<(Compiled, Timestamp)> {
    let state = config::state_folder(files, path);
    let kept = LastGood::below(&state);
    let unknown = |endpoint: &Endpoint| Standing::all(endpoint, State::Unknown);
    kept.newest_first(path).find_map(|mut set| {
        let config = set.config.clone();
        compile(&mut set.files, &config, None, &Counters::default(), &unknown)
            .inspect_err(|problems| problems.iter().for_each(|problem| warn!(kept = %set.at, %problem, "kept set")))
            .ok()
            .map(|compiled| (compiled, set.at))
    })
}
