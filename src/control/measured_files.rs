//! What is measured, on disk: `state/samples` and `state/estimates`.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use tracing::{error, info, warn};

use super::last_good::write_whole;
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
    let aside = path.with_extension("damaged");
    let age = fs::metadata(&aside).and_then(|found| found.modified()).ok().and_then(|at| at.elapsed().ok());
    if age.is_some_and(|age| age > settings.keep_for) {
        let _ = fs::remove_file(&aside); // it holds prefixes, too
    }
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
