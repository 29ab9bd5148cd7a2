//! Watching the folders of a set of files.

use std::collections::BTreeSet;
use std::path::PathBuf;

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

    /// Watches exactly these folders from now on. Those that it has are watched anew: the folder of
    /// that name may be another one by now, and the watch of the one that is gone hears nothing more.
    pub(super) fn reconfigure(&mut self, folders: BTreeSet<PathBuf>) {
        let Some(watcher) = &mut self.watcher else { return };
        for gone in self.folders.difference(&folders) {
            let _ = watcher.unwatch(gone); // it may be gone from the disk as well
        }
        for folder in &folders {
            if let Err(error) = watcher.watch(folder, RecursiveMode::NonRecursive) {
                warn!(folder = %folder.display(), %error, "this folder is not watched; SIGHUP reloads");
            }
        }
        self.folders = folders;
    }

    /// Waits for a change.
    pub(super) async fn changed(&mut self) {
        if self.changes.recv().await.is_none() {
            std::future::pending::<()>().await; // nothing is watched
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn a_folder_that_was_replaced_is_watched_again() {
        let root = tempfile::tempdir().unwrap();
        let folder = root.path().join("zones");
        let folders = || BTreeSet::from([folder.clone()]);
        fs::create_dir(&folder).unwrap();
        let mut watch = Watch::new();
        watch.reconfigure(folders());
        fs::remove_dir(&folder).unwrap();
        watch.changed().await;
        fs::create_dir(&folder).unwrap();
        watch.reconfigure(folders());
        while watch.changes.try_recv().is_ok() {}
        fs::write(folder.join("a.zone"), "").unwrap();
        watch.changed().await;
    }
}
