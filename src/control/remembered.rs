//! What health knew, kept on disk, so that a restart in the middle of an outage begins with it and not with nothing.
//!
//! `state/verdicts.json` is written every [`EVERY`] and at the end, beside its place, synced and renamed in.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use super::idle;
use super::last_good::write_whole;
use super::run::{Control, LAST_WAIT};
use super::unwritten;
use crate::health::{Recovered, Remembered, RememberedCheck};

/// How often it is written.
pub(super) const EVERY: Duration = Duration::from_secs(30);
/// The form of the file that this version reads and writes.
const VERSION: u32 = 2;

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kept {
    version: u32,
    at: Timestamp,
    checks: Vec<RememberedCheck>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    recovered: BTreeMap<Arc<str>, Recovered>,
}

impl Control {
    /// Takes up what an earlier process knew, if that is not too old.
    pub(super) fn recall(&self) {
        let config = self.config();
        let path = file_below(&config.server.state);
        let now = Timestamp::now();
        let kept = match read(&path) {
            Ok(None) => return,
            Ok(Some(kept)) => kept,
            Err(error) => {
                let aside = path.with_extension("damaged");
                let moved = fs::rename(&path, &aside).is_ok();
                error!(file = %path.display(), %error, moved_to = %aside.display(), moved, "verdicts of an earlier run are damaged: probes begin anew");
                return;
            }
        };
        let age = Duration::try_from(now.duration_since(kept.at)).unwrap_or(Duration::MAX);
        if age > config.stale_after {
            return info!(?age, stale_after = ?config.stale_after, "verdicts of an earlier run are too old: probes begin anew");
        }
        let Kept { checks, recovered, .. } = kept;
        let count = self.shared.board().recall(Remembered { checks, recovered }, now);
        info!(count, ?age, "begins with the verdicts of an earlier run");
    }

    /// Writes what is known, after what is being written. While the fault is ours, what was known before stays.
    pub(super) fn remember(&mut self) {
        self.remember_at = Instant::now() + EVERY;
        self.keep_unkept();
        let is_written = self.remembering.as_ref().is_some_and(|task| !task.is_finished());
        if is_written || self.shared.board().own_fault().is_some() {
            return;
        }
        let (path, known) = (file_below(&self.started.server.state), self.shared.board().remember());
        let shared = self.shared.clone();
        self.remembering = Some(tokio::spawn(async move {
            let written =
                idle::run(move || write(&path, known).map_err(|error| format!("{}: {error}", path.display())));
            let error = written.await.flatten().err();
            shared.state.note(unwritten::Kept::Verdicts, error.as_deref());
            if let Some(error) = error {
                warn!(error, "verdicts could not be kept; a restart would begin without");
            }
        }));
    }

    /// The last time, at the end.
    pub(super) async fn remember_last(&mut self) {
        if let Some(before) = self.remembering.take() {
            let _ = timeout(LAST_WAIT, before).await;
        }
        self.remember();
        if let Some(last) = self.remembering.take() {
            let _ = timeout(LAST_WAIT, last).await; // its errors are logged
        }
    }
}

fn file_below(state: &Path) -> PathBuf {
    state.join("verdicts.json")
}

/// None: there is none.
fn read(path: &Path) -> Result<Option<Kept>, String> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error.to_string()),
    };
    let kept: Kept = serde_json::from_slice(&bytes).map_err(|error| error.to_string())?;
    match kept.version {
        1..=VERSION => Ok(Some(kept)),
        other => Err(format!("it has version {other}; this program reads {VERSION}")),
    }
}

fn write(path: &Path, known: Remembered) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let Remembered { checks, recovered } = known;
    let text = serde_json::to_vec(&Kept { version: VERSION, at: Timestamp::now(), checks, recovered })?;
    write_whole(path, |file| file.write_all(&text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_of_version_1_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = file_below(folder.path());
        let text =
            r#"{"version": 1, "at": "2026-11-29T00:00:00Z", "checks": [], "recovered": {"a": "2026-11-28T00:00:00Z"}}"#;
        fs::write(&path, text).unwrap();
        let since = "2026-11-28T00:00:00Z".parse().ok();
        assert_eq!(read(&path).unwrap().unwrap().recovered["a"], [since; 2].into());
    }
}
