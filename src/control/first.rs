//! A start's first part: the set of files, read and compiled before there is any thread but the main
//! one, so that the process can be locked up in between.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tracing::{error, info};

use super::attempt::{Compiled, compile, from_last_good};
use super::files::{DiskFiles, folder_of};
use super::run::Options;
use super::settling::Settling;
use super::shared::Reload;
use crate::config::{Config, Process};
use crate::model::{Endpoint, Problem, State};
use crate::probe::Spawner;
use crate::sandbox::{Paths, Sandbox};
use crate::serve::Certificates;
use crate::table::{Counters, Standing};

/// What a server starts with. Nothing is probed and no thread was started yet.
pub struct First {
    pub(super) options: Options,
    pub(super) compiled: Compiled,
    pub(super) reload: Reload,
    pub(super) files: DiskFiles,
    pub(super) settling: Settling,
    pub(super) sandbox: Option<Arc<Sandbox>>,
    pub(super) certificates: Arc<Certificates>,
    pub(super) spawner: Option<Spawner>,
}

impl First {
    /// Reads the set of files, or the last good one where that on disk does not pass, and compiles the
    /// first snapshot.
    ///
    /// # Errors
    /// Every problem of the files on disk, where there is no last good set or `strict` forbids it.
    pub fn read(options: Options) -> Result<Self, Vec<Problem>> {
        let mut files = DiskFiles::default();
        let unknown = |endpoint: &Endpoint| Standing::all(endpoint, State::Unknown);
        let first = compile(&mut files, &options.config, None, &Counters::default(), &unknown);
        let first = first.and_then(|compiled| compiled.with_secrets(&mut files));
        let settling = Settling::new(files.sight());
        let (mut compiled, reload) = match first {
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
        let certificates = Arc::<Certificates>::default();
        if let Some(pair) = compiled.pair.take() {
            certificates.replace(pair);
        }
        Ok(Self { options, compiled, reload, files, settling, sandbox: None, certificates, spawner: None })
    }

    /// The configuration that serves first.
    #[must_use]
    pub fn config(&self) -> &Arc<Config> {
        &self.compiled.loaded.parts.config
    }

    /// What encrypted listeners show.
    #[must_use]
    pub fn certificates(&self) -> &Arc<Certificates> {
        &self.certificates
    }

    /// What this set needs of the disk, and what the one on disk does where that does not serve.
    #[must_use]
    pub fn paths(&self) -> Paths {
        let config = self.config();
        let served = self.compiled.loaded.digests.iter().map(|(path, _)| folder_of(path).to_owned());
        // Secrets of a set on disk are read for a kept one too.
        let on_disk = self.settling.looks().folders().into_iter().chain(self.files.sight().folders());
        let read = on_disk.chain(served).collect();
        let write: BTreeSet<PathBuf> = config.databases.iter().map(|file| folder_of(file).to_owned()).collect();
        Paths { read, write, state: config.server.state.clone() }
    }

    /// Starts the process that starts scripts: `program`, which is this one, as the user that is wanted. To be called
    /// before this process is held.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_spawner(&mut self, program: &Path, wanted: &Process) -> io::Result<()> {
        let spawner = Spawner::start(program, wanted)?;
        info!(process = spawner.id(), "scripts are started by a process of their own");
        self.spawner = Some(spawner);
        Ok(())
    }

    /// The process is held by this from now on.
    pub fn enter(&mut self, sandbox: Sandbox) {
        self.sandbox = Some(Arc::new(sandbox));
    }

    /// The first file of the set that can be read no more, why, and how many there are.
    #[must_use]
    pub fn unreadable(&self) -> Option<(&Path, io::Error, usize)> {
        if self.reload.problems.is_empty() {
            // Secrets are among what was seen, not among the digests.
            let files = self.settling.looks().files();
            let mut failed = files.filter_map(|path| Some((path, File::open(path).err()?)));
            let (path, error) = failed.next()?;
            return Some((path, error, 1 + failed.count()));
        }
        None // some may have been unreadable before
    }
}
