//! The last good sets of files, kept for the day when those on disk do not pass (BEHAVIOUR rule 24).
//!
//! ```text
//! state/last-good/00000007.json      the newest set: when, which config, path → digest of each file
//! state/last-good/files/SHA-256      contents, each once however many sets hold it
//! ```
//! Everything is written beside its place, synced and renamed in, content before the set that names
//! it, so that a set that can be read is whole. A damaged one is passed over with a warning.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::files::Digest;

/// How many sets are kept.
const DEPTH: usize = 5;

/// The sets kept in one state folder.
#[derive(Clone, Debug)]
pub struct LastGood {
    folder: PathBuf,
}

/// A set on disk.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    at: Timestamp,
    /// As it was typed: what the paths below are relative to.
    config: PathBuf,
    /// The same, absolute: whose set it is.
    absolute: PathBuf,
    files: BTreeMap<PathBuf, String>,
}

/// A set that was kept.
#[derive(Debug)]
pub struct KeptSet {
    /// When it was published.
    pub at: Timestamp,
    /// The configuration among its files.
    pub config: PathBuf,
    /// Its files.
    pub files: BTreeMap<PathBuf, Arc<[u8]>>,
}

impl LastGood {
    /// The sets kept below the state folder.
    #[must_use]
    pub fn below(state: &Path) -> Self {
        Self { folder: state.join("last-good") }
    }

    /// Keeps a set that was published, unless the newest one is the same.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn keep(&self, config: &Path, files: &BTreeMap<PathBuf, Arc<[u8]>>, at: Timestamp) -> io::Result<()> {
        fs::create_dir_all(self.folder.join("files"))?;
        let digests: BTreeMap<PathBuf, Digest> =
            files.iter().map(|(path, content)| (path.clone(), Digest::of(content))).collect();
        let manifest = Manifest {
            at,
            config: config.to_owned(),
            absolute: std::path::absolute(config)?,
            files: digests.iter().map(|(path, digest)| (path.clone(), digest.to_string())).collect(),
        };
        let sets = self.sets()?;
        let newest = sets.last().and_then(|(_, path)| read_manifest(path).ok());
        if newest.is_some_and(|newest| {
            (newest.absolute, newest.files) == (manifest.absolute.clone(), manifest.files.clone())
        }) {
            return Ok(());
        }
        for (path, digest) in &digests {
            let place = self.content(&digest.to_string());
            if fs::metadata(&place).map(|metadata| metadata.len()).ok() != Some(files[path].len() as u64) {
                write_whole(&place, &files[path])?;
            }
        }
        let next = sets.last().map_or(1, |(number, _)| number + 1);
        write_whole(&self.folder.join(format!("{next:08}.json")), &serde_json::to_vec_pretty(&manifest)?)?;
        self.prune()
    }

    /// The sets of this configuration, newest first; damaged ones are passed over with a warning.
    #[must_use]
    pub fn newest_first(&self, config: &Path) -> Vec<KeptSet> {
        let sets = self.sets().unwrap_or_default();
        let read = |path: &PathBuf| {
            let set = self.read_set(path, config);
            set.inspect_err(|error| warn!(set = %path.display(), %error, "a kept set is damaged and passed over")).ok()
        };
        sets.iter().rev().filter_map(|(_, path)| read(path)).flatten().collect()
    }

    fn read_set(&self, path: &Path, config: &Path) -> io::Result<Option<KeptSet>> {
        let manifest = read_manifest(path)?;
        if manifest.absolute != std::path::absolute(config)? {
            return Ok(None);
        }
        let mut files = BTreeMap::new();
        for (name, digest) in manifest.files {
            let content = Digest::from_hex(&digest).ok_or(io::ErrorKind::InvalidData).map(|_| self.content(&digest))?;
            let content = fs::read(content)?;
            if Digest::of(&content).to_string() != digest {
                return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{} has changed", name.display())));
            }
            files.insert(name, content.into());
        }
        Ok(Some(KeptSet { at: manifest.at, config: manifest.config, files }))
    }

    /// Drops all but the newest sets, and contents that none of these names.
    fn prune(&self) -> io::Result<()> {
        let sets = self.sets()?;
        let (old, kept) = sets.split_at(sets.len().saturating_sub(DEPTH));
        old.iter().try_for_each(|(_, path)| fs::remove_file(path))?;
        let manifests = kept.iter().filter_map(|(_, path)| read_manifest(path).ok());
        let named: BTreeSet<String> = manifests.flat_map(|manifest| manifest.files.into_values()).collect();
        for entry in fs::read_dir(self.folder.join("files"))? {
            let entry = entry?;
            if entry.file_name().to_str().is_none_or(|name| !named.contains(name)) {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    }

    /// Number and path of each set, oldest first.
    fn sets(&self) -> io::Result<Vec<(u32, PathBuf)>> {
        let mut sets = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let stem = path.file_stem().and_then(|stem| stem.to_str());
            if let (Some("json"), Some(Ok(number))) =
                (path.extension().and_then(|extension| extension.to_str()), stem.map(str::parse))
            {
                sets.push((number, path));
            }
        }
        sets.sort();
        Ok(sets)
    }

    fn content(&self, digest: &str) -> PathBuf {
        self.folder.join("files").join(digest)
    }
}

fn read_manifest(path: &Path) -> io::Result<Manifest> {
    Ok(serde_json::from_slice(&fs::read(path)?)?)
}

/// Writes beside the place, syncs and renames in, so that a crash leaves the old or the new.
fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    let beside = path.with_extension("new");
    let mut file = File::create(&beside)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let folder = path.parent().expect("a kept file lies in a folder");
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(text: &str) -> BTreeMap<PathBuf, Arc<[u8]>> {
        [("config.toml", text), ("zone", "same")].map(|(path, text)| (path.into(), text.as_bytes().into())).into()
    }

    #[test]
    fn five_sets_are_kept_and_damage_is_passed_over() {
        let state = tempfile::tempdir().unwrap();
        let kept = LastGood::below(state.path());
        let config = Path::new("config.toml");
        assert!(kept.newest_first(config).is_empty());
        for n in 0..7 {
            kept.keep(config, &set(&n.to_string()), Timestamp::UNIX_EPOCH).unwrap();
            kept.keep(config, &set(&n.to_string()), Timestamp::UNIX_EPOCH).unwrap(); // the same: no new set
        }
        let texts =
            || -> Vec<Vec<u8>> { kept.newest_first(config).iter().map(|set| set.files[config].to_vec()).collect() };
        assert_eq!(texts(), [b"6", b"5", b"4", b"3", b"2"]);
        assert_eq!(fs::read_dir(kept.folder.join("files")).unwrap().count(), 6);
        assert!(kept.newest_first(Path::new("other.toml")).is_empty());

        fs::write(kept.content(&Digest::of(b"6").to_string()), "7").unwrap();
        fs::write(kept.folder.join("00000006.json"), "{").unwrap();
        assert_eq!(texts(), [b"4", b"3", b"2"]);
        // What is damaged is written anew where its length tells, and the next set is whole.
        kept.keep(config, &set("8"), Timestamp::UNIX_EPOCH).unwrap();
        assert_eq!(texts()[0], b"8");
    }
}
