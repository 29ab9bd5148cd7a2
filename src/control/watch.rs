//! Watching the folders of a set of files.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use notify::{Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher as _};
use tokio::sync::mpsc;
use tracing::warn;

/// Tells that something changed in the watched folders, never what: editors replace files by rename,
/// orchestrators swap links, so the folders are watched and the files looked at again.
pub(super) struct Watch {
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<Folder>,
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

    /// Watches exactly these folders from now on. One that was replaced by another of its name is
    /// watched anew: the system watches the folder itself, wherever it is moved to.
    pub(super) fn reconfigure(&mut self, folders: impl Iterator<Item = PathBuf>) {
        let folders: BTreeSet<Folder> = folders.map(folder_or_here).map(Folder::of).collect();
        let Some(watcher) = &mut self.watcher else { return };
        for gone in self.folders.difference(&folders) {
            let _ = watcher.unwatch(&gone.path); // it may be gone from the disk as well
        }
        let mut watched: BTreeSet<Folder> = self.folders.intersection(&folders).cloned().collect();
        for new in folders.difference(&self.folders) {
            match watcher.watch(&new.path, RecursiveMode::NonRecursive) {
                Ok(()) => drop(watched.insert(new.clone())),
                Err(error) => warn!(folder = %new.path.display(), %error, "this folder is not watched; SIGHUP reloads"),
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

/// A folder, and which one it is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Folder {
    path: PathBuf,
    /// Device and inode.
    identity: Option<(u64, u64)>,
}

impl Folder {
    fn of(path: PathBuf) -> Self {
        let identity = fs::metadata(&path).ok().map(|metadata| (metadata.dev(), metadata.ino()));
        Self { path, identity }
    }
}

fn folder_or_here(folder: PathBuf) -> PathBuf {
    if folder.as_os_str().is_empty() { PathBuf::from(".") } else { folder }
}
