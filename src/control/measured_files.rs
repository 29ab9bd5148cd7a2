//! What is measured, on disk: `state/samples` and `state/estimates`.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

use tracing::{error, info, warn};

use super::last_good::{unfinished, write_whole};
use super::measuring::settings;
use crate::config::Config;
use crate::latency::{self, Samples};

pub(super) fn samples_below(state: &Path) -> PathBuf {
    state.join("samples")
}

pub(super) fn estimates_below(state: &Path) -> PathBuf {
    state.join("estimates")
}

/// What answers went by when the last process ended; nothing where that cannot be read, which is said.
pub(super) fn read_estimates(state: &Path) -> latency::Published {
    let path = estimates_below(state);
    let read = read(&path).map(|octets| octets.map(|octets| latency::Published::decode(&octets)));
    match read {
        Ok(None) => return latency::Published::default(),
        Ok(Some(Ok(published))) => return published,
        Ok(Some(Err(why))) => error!(file = %path.display(), error = why, "estimates of an earlier run are damaged"),
        Err(error) => error!(file = %path.display(), %error, "estimates of an earlier run cannot be read"),
    }
    error!("answers go by what is expected without them, until there are new ones");
    latency::Published::default()
}

/// Those of an earlier run, or none where there was none or they are damaged. None: they are there and cannot be read now.
pub(super) fn read_samples(path: &Path, settings: &latency::Settings) -> Option<Samples> {
    let aside = set_aside(path);
    match read(path) {
        Ok(None) => {}
        Ok(Some(octets)) => match Samples::decode(&octets, settings.clone()) {
            Ok(samples) => {
                info!(prefixes = samples.prefixes(), "begins with the samples of an earlier run");
                return Some(samples);
            }
            Err(why) => {
                let moved = fs::rename(path, &aside).is_ok();
                error!(file = %path.display(), error = why, moved_to = %aside.display(), moved, "samples of an earlier run are damaged: measuring begins anew");
            }
        },
        Err(error) => {
            error!(file = %path.display(), %error, "samples of an earlier run cannot be read: nothing is taken in until they can");
            return None;
        }
    }
    Some(Samples::new(settings.clone()))
}

fn set_aside(path: &Path) -> PathBuf {
    path.with_extension("damaged")
}

/// Removes what was set aside, or not written to its end, longer ago than samples are kept: it holds prefixes, too.
pub(super) fn forget(state: &Path, keep_for: Duration) {
    let path = samples_below(state);
    for path in [set_aside(&path), unfinished(&path)] {
        let age = fs::metadata(&path).and_then(|found| found.modified()).ok().and_then(|at| at.elapsed().ok());
        if age.is_some_and(|age| age > keep_for) {
            let _ = fs::remove_file(&path); // again at the next look
        }
    }
}

/// Those on disk, to be looked at; none: there are none, or none that can be read, which is said.
#[must_use]
pub fn kept_samples(config: &Config) -> Option<Samples> {
    let path = samples_below(&config.server.state);
    let octets = read(&path).map_err(|error| error.to_string()).transpose()?;
    let samples = octets.and_then(|octets| Samples::decode(&octets, settings(&config.beacons)));
    let told = |why: &String| warn!(file = %path.display(), error = why, "samples cannot be read, so none are counted");
    samples.inspect_err(told).ok()
}

/// None: there is none.
fn read(path: &Path) -> io::Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(octets) => Ok(Some(octets)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn write(path: &Path, octets: &[u8]) -> Result<(), String> {
    let folder = path.parent().map_or(Ok(()), fs::create_dir_all);
    let written = folder.and_then(|()| write_whole(path, |file| file.write_all(octets)));
    written.map_err(|error| format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::time::SystemTime;

    use super::*;

    #[test]
    fn what_lies_beside_the_samples_is_kept_no_longer_than_they() {
        let folder = tempfile::tempdir().unwrap();
        let (state, day) = (folder.path(), Duration::from_secs(86_400));
        for (name, days) in [("samples.damaged", 29), ("samples.new", 31), ("samples", 99)] {
            let file = File::create(state.join(name)).unwrap();
            file.set_modified(SystemTime::now() - days * day).unwrap();
        }
        let there = || ["samples.damaged", "samples.new", "samples"].map(|name| state.join(name).exists());
        forget(state, 30 * day);
        assert_eq!(there(), [true, false, true]);
        forget(state, 28 * day);
        assert_eq!(there(), [false, false, true]);
    }
}
