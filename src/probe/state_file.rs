//! `file` probes: what another program has written of its target.

use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, SystemTime};

use tokio::sync::Semaphore;

use super::attempt::{Attempt, Failed, Found, bounded};
use crate::config::StateFile;
use crate::health::{Cause, Check};

const MAX_SIZE: u64 = 4096;
/// Read at once: each takes a thread, which cannot be stopped where a disk hangs.
static READS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(16)));

/// Reads a file.
pub(super) struct FileReader {
    path: Arc<Path>,
    max_age: Duration,
}

impl FileReader {
    pub(super) fn new(check: &Check, file: &StateFile) -> Self {
        let name = file.path.file_name().unwrap_or_default().to_string_lossy();
        let name = name.replace("{endpoint}", &check.endpoint).replace("{address}", &check.target.ip().to_string());
        // A name leads to no other folder.
        Self { path: file.folder().join(name.replace('/', "_")).into(), max_age: file.max_age }
    }
}

impl Attempt for FileReader {
    async fn attempt(&self) -> Result<Found, Failed> {
        let permit = Arc::clone(&READS).acquire_owned().await.map_err(|error| Failed::Here(error.to_string()))?;
        let path = self.path.clone();
        let read = tokio::task::spawn_blocking(move || {
            let _permit = permit;
            read(&path)
        });
        let read = read.await.map_err(|error| Failed::Here(error.to_string()))?;
        let name = self.path.display();
        match read {
            Ok((_, Some(age))) if age > self.max_age => {
                Ok(Found::Missing(format!("{name} was last written {} s ago", age.as_secs())))
            }
            Ok((text, _)) => judge(&text).unwrap_or_else(|| {
                Ok(Found::Missing(format!("{name} does not begin with \"up\", \"degraded\" or \"down\"")))
            }),
            // EMFILE and ENFILE
            Err(error) if matches!(error.raw_os_error(), Some(23 | 24)) => Err(Failed::Here(error.to_string())),
            Err(error) => Ok(Found::Missing(format!("cannot read {name}: {error}"))),
        }
    }
}

/// The beginning of the file, and how long ago it was written; none: not yet.
fn read(path: &Path) -> io::Result<(String, Option<Duration>)> {
    // A pipe without a writer would be waited for.
    let file = std::fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::other("it is no plain file"));
    }
    let age = SystemTime::now().duration_since(metadata.modified()?).ok();
    let mut text = Vec::new();
    file.take(MAX_SIZE).read_to_end(&mut text)?;
    Ok((String::from_utf8_lossy(&text).into_owned(), age))
}

/// None: it says nothing.
fn judge(text: &str) -> Option<Result<Found, Failed>> {
    let line = text.lines().next()?.trim();
    let (word, reason) = line.split_once(char::is_whitespace).unwrap_or((line, ""));
    let reason = bounded(if reason.is_empty() { line } else { reason.trim_start() });
    match word {
        "up" => Some(Ok(Found::Good)),
        "degraded" => Some(Ok(Found::Degraded(reason))),
        "down" => Some(Err(Failed::There(Cause::Told(reason)))),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_word_decides() {
        assert_eq!(judge("up"), Some(Ok(Found::Good)));
        assert_eq!(judge("up all is well\r\ndown"), Some(Ok(Found::Good)));
        assert_eq!(judge("degraded  two of three\n"), Some(Ok(Found::Degraded("two of three".to_owned()))));
        assert_eq!(judge("down\tfor \u{7}work"), Some(Err(Failed::There(Cause::Told("for  work".to_owned())))));
        assert_eq!(judge("down"), Some(Err(Failed::There(Cause::Told("down".to_owned())))));
        for nothing in ["", "\n", "\nup", "upper", "UP", "\u{fffd}"] {
            assert_eq!(judge(nothing), None, "{nothing:?}");
        }
    }
}
