//! Watching the folders of a set of files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tracing::warn;

/// Tells that something changed in the watched folders, never what: editors replace files by rename,
/// orchestrators swap links, so the folders are watched and the files looked at again.
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    changes: mpsc::Receiver<()>,
}

impl Watch {
    /// Watches nothing yet. Where the system offers no watching, SIGHUP alone reloads.
    pub(super) fn new() -> Self {
        let (sender, changes) = mpsc::channel(1);
        let tell = move |event: notify::Result<Event>| {
            // Reading a file is an event too, and what follows an event reads files.
            if event.is_ok_and(|event| matches!(event.kind, EventKind::Access(_))) {
                return;
            }
            // A full channel already tells it.
            let _ = sender.try_send(());
        };
        let watcher = notify::recommended_watcher(tell);
        let watcher = watcher.inspect_err(|error| warn!(%error, "files are not watched; SIGHUP reloads them")).ok();
        Self { watcher, folders: BTreeSet::new(), changes }
    }

    /// Watches exactly these folders from now on.
    pub(super) fn reconfigure<'p>(&mut self, folders: impl Iterator<Item = &'p Path>) {
        let folders: BTreeSet<PathBuf> = folders.map(folder_or_here).collect();
        let Some(watcher) = &mut self.watcher else { return };
        for gone in self.folders.difference(&folders) {
            let _ = watcher.unwatch(gone); // it may be gone from the disk as well
        }
        let mut watched: BTreeSet<PathBuf> = self.folders.intersection(&folders).cloned().collect();
        for new in folders.difference(&self.folders) {
            match watcher.watch(new, RecursiveMode::NonRecursive) {
                Ok(()) => drop(watched.insert(new.clone())),
                Err(error) => warn!(folder = %new.display(), %error, "this folder is not watched; SIGHUP reloads"),
            }
        }
        self.folders = watched;
    }

    /// Waits for a change.
    pub(super) async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            std::future::pending::<()>().await; // nothing is watched
        }
    }
}

fn folder_or_here(folder: &Path) -> PathBuf {
    if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder.to_owned() }
}
