//! The last good sets of files, kept for the day when those on disk do not pass (BEHAVIOUR rule 24).
//!
//! ```text
//! state/last-good/00000007.set       the newest set: a line of JSON (when, which config, …), then of
//!                                    each file a line (digest, length, path), its content and a line end
//! state/last-good/files/SHA-256      the content of large files, each once however many sets hold it
//! ```
//! A set of a hundred thousand zones is one file to write, sync and rename, not a hundred thousand.
//! Everything is written beside its place, synced and renamed in, large content before the set that
//! names it, so that a set that can be read is whole. A damaged one is passed over with a warning.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, BufWriter, Read as _, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tracing::warn;

use super::digests::Digests;
use crate::model::Digest;

/// How many sets are kept.
const DEPTH: usize = 5;
/// Content of at least so many octets gets a file of its own when it was read.
const LARGE: usize = 64 << 10;
/// The longest line of a set.
const LONGEST_LINE: u64 = 1 << 20;

/// The sets kept in one state folder.
#[derive(Clone, Debug)]
pub struct LastGood {
    folder: PathBuf,
}

/// The first line of a set.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    at: Timestamp,
    /// As it was typed: what the paths below are relative to.
    config: PathBuf,
    /// The same, absolute: whose set it is.
    absolute: PathBuf,
    /// Over all paths and digests: two sets that have the same are the same.
    digest: String,
    files: usize,
    /// The digests of large content.
    large: BTreeSet<String>,
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

    /// Keeps a set that was published, unless the newest one is the same. `content` knows what was read
    /// for it; the other files have not changed since an earlier set, and are taken from the newest one
    /// or read again.
    ///
    /// # Errors
    /// Those of the disk; a file read again is not what it was.
    pub fn keep<'c>(
        &self,
        config: &Path,
        digests: &Digests,
        content: impl Fn(&Path) -> Option<&'c [u8]>,
        at: Timestamp,
    ) -> io::Result<()> {
        fs::create_dir_all(self.folder.join("files"))?;
        let sets = self.sets()?;
        let newest = sets.last().and_then(|(_, path)| SetReader::open(path).ok());
        let (absolute, digest) = (std::path::absolute(config)?, digest_of_all(digests));
        let same = |newest: &SetReader| (&newest.head.absolute, &newest.head.digest) == (&absolute, &digest);
        if newest.as_ref().is_some_and(same) {
            return Ok(());
        }
        let large = self.keep_large(digests, &content)?;
        let head = Head {
            at,
            config: config.to_owned(),
            absolute,
            digest,
            files: digests.iter().len(),
            large: large.iter().map(Digest::to_string).collect(),
        };
        let next = sets.last().map_or(1, |(number, _)| number + 1);
        write_whole(&self.folder.join(format!("{next:08}.set")), |file| {
            let mut file = BufWriter::new(file);
            writeln!(file, "{}", serde_json::to_string(&head)?)?;
            write_files(&mut file, &large, digests, &content, newest)?;
            file.flush()
        })?;
        self.prune()
    }

    /// The sets of this configuration, newest first, each read when its turn comes; damaged ones are
    /// passed over with a warning.
    pub fn newest_first(&self, config: &Path) -> impl Iterator<Item = KeptSet> {
        let sets = self.sets().unwrap_or_default().into_iter().rev();
        sets.filter_map(move |(_, path)| {
            let set = self.read_set(&path, config);
            set.inspect_err(|error| warn!(set = %path.display(), %error, "a kept set is damaged and passed over"))
                .ok()
                .flatten()
        })
    }

    fn read_set(&self, path: &Path, config: &Path) -> io::Result<Option<KeptSet>> {
        let mut reader = SetReader::open(path)?;
        if reader.head.absolute != std::path::absolute(config)? {
            return Ok(None);
        }
        let mut files = BTreeMap::new();
        while let Some(KeptFile { path, digest, content }) = reader.next()? {
            let content = match content {
                Some(content) => content,
                None => whole(&path, digest, fs::read(self.large(digest))?)?,
            };
            files.insert(path, content.into());
        }
        Ok(Some(KeptSet { at: reader.head.at, config: reader.head.config, files }))
    }

    /// Writes large content that was read and is not there yet; the digests of all that has, or has
    /// got, a file of its own.
    fn keep_large<'c>(
        &self,
        digests: &Digests,
        content: &impl Fn(&Path) -> Option<&'c [u8]>,
    ) -> io::Result<HashSet<Digest>> {
        let there =
            fs::read_dir(self.folder.join("files"))?.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
        let there: HashSet<Digest> = there.filter_map(|name| Digest::from_hex(&name)).collect();
        let mut large = HashSet::new();
        for (path, &digest) in digests.iter() {
            match content(path) {
                Some(held) if held.len() >= LARGE => {
                    let place = self.large(digest);
                    if fs::metadata(&place).map(|file| file.len()).ok() != Some(held.len() as u64) {
                        write_whole(&place, |file| file.write_all(held))?;
                    }
                    large.insert(digest);
                }
                None if there.contains(&digest) => _ = large.insert(digest),
                _ => {}
            }
        }
        Ok(large)
    }

    /// Drops all but the newest sets, and large content that none of these names.
    fn prune(&self) -> io::Result<()> {
        let sets = self.sets()?;
        let (old, kept) = sets.split_at(sets.len().saturating_sub(DEPTH));
        old.iter().try_for_each(|(_, path)| fs::remove_file(path))?;
        let heads = kept.iter().filter_map(|(_, path)| SetReader::open(path).ok());
        let named: BTreeSet<String> = heads.flat_map(|set| set.head.large).collect();
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
            if let (Some("set"), Some(Ok(number))) =
                (path.extension().and_then(|extension| extension.to_str()), stem.map(str::parse))
            {
                sets.push((number, path));
            }
        }
        sets.sort();
        Ok(sets)
    }

    fn large(&self, digest: Digest) -> PathBuf {
        self.folder.join("files").join(digest.to_string())
    }
}

/// Over all paths and digests.
fn digest_of_all(digests: &Digests) -> String {
    let pieces = digests.iter().flat_map(|(path, digest)| [&digest.0[..], path.as_os_str().as_encoded_bytes(), b"\0"]);
    Digest::of_all(pieces).to_string()
}

/// The files of a set: what was read, what the newest set has, what is still on disk.
fn write_files<'c>(
    file: &mut impl Write,
    large: &HashSet<Digest>,
    digests: &Digests,
    content: &impl Fn(&Path) -> Option<&'c [u8]>,
    mut newest: Option<SetReader>,
) -> io::Result<()> {
    let mut next = || newest.as_mut().and_then(|set| set.next().ok().flatten());
    let mut kept = next();
    for (path, &digest) in digests.iter() {
        while kept.as_ref().is_some_and(|kept| kept.path.as_os_str() < path.as_os_str()) {
            kept = next();
        }
        let large = large.contains(&digest);
        let again = match &kept {
            _ if large || content(path).is_some() => None,
            Some(KeptFile { path: same, digest: known, content: Some(_) }) if same == path && *known == digest => None,
            _ => Some(read_again(path, digest)?),
        };
        let held = content(path).or(again.as_deref());
        let octets = held.or_else(|| kept.as_ref()?.content.as_deref()).unwrap_or_default();
        let kind = if large { "large".to_owned() } else { octets.len().to_string() };
        writeln!(file, "{digest} {kind} {}", serde_json::to_string(path)?)?;
        if !large {
            file.write_all(octets)?;
            file.write_all(b"\n")?;
        }
    }
    Ok(())
}

/// A file of a set; large content lies elsewhere.
struct KeptFile {
    path: PathBuf,
    digest: Digest,
    content: Option<Vec<u8>>,
}

/// A set, read from its beginning to its end.
struct SetReader {
    head: Head,
    rest: BufReader<File>,
    left: usize,
}

impl SetReader {
    fn open(path: &Path) -> io::Result<Self> {
        let mut rest = BufReader::new(File::open(path)?);
        let head: Head = serde_json::from_slice(&read_line(&mut rest)?)?;
        Ok(Self { left: head.files, head, rest })
    }

    /// The next file, found undamaged; none at the end.
    fn next(&mut self) -> io::Result<Option<KeptFile>> {
        if self.left == 0 {
            return Ok(None);
        }
        self.left -= 1;
        let line = String::from_utf8(read_line(&mut self.rest)?).map_err(damaged)?;
        let mut words = line.splitn(3, ' ');
        let mut word = || words.next().ok_or_else(|| damaged("a line is cut"));
        let digest = Digest::from_hex(word()?).ok_or_else(|| damaged("a digest is none"))?;
        let (kind, path) = (word()?, PathBuf::from(serde_json::from_str::<String>(word()?)?));
        if kind == "large" {
            return Ok(Some(KeptFile { path, digest, content: None }));
        }
        let length: u64 = kind.parse().map_err(damaged)?;
        let mut content = Vec::new();
        self.rest.by_ref().take(length).read_to_end(&mut content)?;
        read_line(&mut self.rest)?;
        Ok(Some(KeptFile { content: Some(whole(&path, digest, content)?), path, digest }))
    }
}

fn read_line(from: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut line = Vec::new();
    from.take(LONGEST_LINE).read_until(b'\n', &mut line)?;
    Ok(line)
}

fn damaged(why: impl ToString) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why.to_string())
}

/// The content, if it is what the set names.
fn whole(path: &Path, digest: Digest, content: Vec<u8>) -> io::Result<Vec<u8>> {
    let is_whole = Digest::of(&content) == digest;
    is_whole.then_some(content).ok_or_else(|| damaged(format!("{} has changed", path.display())))
}

/// A file that had not changed when the set was read.
fn read_again(path: &Path, digest: Digest) -> io::Result<Vec<u8>> {
    whole(path, digest, fs::read(path)?)
}

/// Where it stands until it is whole.
pub(super) fn unfinished(path: &Path) -> PathBuf {
    path.with_extension("new")
}

/// Writes beside the place, syncs and renames in, so that a crash leaves the old or the new.
pub(super) fn write_whole(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let beside = unfinished(path);
    let mut file = File::create(&beside)?;
    write(&mut file)?;
    file.sync_all()?;
    fs::rename(&beside, path)?;
    let folder = path.parent().expect("a kept file lies in a folder");
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Set = BTreeMap<PathBuf, Arc<[u8]>>;

    fn set(text: &str) -> Set {
        let large = format!("{text} {}", "x".repeat(LARGE));
        let files = [("config.toml", text), ("large", &large), ("zone", "same")];
        files.map(|(path, text)| (path.into(), text.as_bytes().into())).into()
    }

    fn digests(set: &Set) -> Digests {
        let digests = set.iter().map(|(path, content)| (Arc::from(&**path), Digest::of(content)));
        digests.collect()
    }

    fn keep(kept: &LastGood, set: &Set, read: impl Fn(&Path) -> bool) -> io::Result<()> {
        let content = |path: &Path| set.get(path).filter(|_| read(path)).map(|content| &**content);
        kept.keep(Path::new("config.toml"), &digests(set), content, Timestamp::UNIX_EPOCH)
    }

    #[test]
    fn five_sets_are_kept_and_damage_is_passed_over() {
        let state = tempfile::tempdir().unwrap();
        let kept = LastGood::below(state.path());
        let config = Path::new("config.toml");
        assert_eq!(kept.newest_first(config).count(), 0);
        for n in 0..7 {
            keep(&kept, &set(&n.to_string()), |_| true).unwrap();
            keep(&kept, &set(&n.to_string()), |_| true).unwrap(); // the same: no new set
        }
        let texts = || -> Vec<Vec<u8>> { kept.newest_first(config).map(|set| set.files[config].to_vec()).collect() };
        assert_eq!(texts(), [b"6", b"5", b"4", b"3", b"2"]);
        assert_eq!(kept.newest_first(config).next().unwrap().files, set("6"));
        assert_eq!(fs::read_dir(kept.folder.join("files")).unwrap().count(), 5);
        assert_eq!(kept.newest_first(Path::new("other.toml")).count(), 0);

        let damage = |name: &str, from: &str, to: &str| {
            let path = kept.folder.join(name);
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.contains(from), "{text}");
            fs::write(path, text.replacen(from, to, 1)).unwrap();
        };
        damage("00000007.set", "\nsame\n", "\nsome\n");
        damage("00000006.set", "{", "");
        fs::write(kept.large(Digest::of(&set("4")[Path::new("large")])), "4").unwrap();
        assert_eq!(texts(), [b"3", b"2"]);
        let cut = fs::read(kept.folder.join("00000004.set")).unwrap();
        fs::write(kept.folder.join("00000004.set"), &cut[..cut.len() - 2]).unwrap();
        assert_eq!(texts(), [b"2"]);
        // What is damaged is written anew where its length tells, and the next set is whole.
        keep(&kept, &set("4"), |_| true).unwrap();
        assert_eq!(texts(), [b"4", b"4"]);
    }

    #[test]
    fn what_was_not_read_comes_from_the_newest_set_or_from_disk() {
        let folder = tempfile::tempdir().unwrap();
        let kept = LastGood::below(folder.path());
        let at = |name: &str| folder.path().join(name);
        let text = |text: &str| Arc::from(text.as_bytes());
        let config = PathBuf::from("config.toml");
        let first: Set = [(config.clone(), text("1")), (at("a"), text("a")), (at("b"), text("b"))].into();
        keep(&kept, &first, |_| true).unwrap();
        // `a` is in the newest set, `c` on disk.
        fs::write(at("c"), "c").unwrap();
        let second: Set = [(config.clone(), text("2")), (at("a"), text("a")), (at("c"), text("c"))].into();
        keep(&kept, &second, |path| path == config).unwrap();
        assert_eq!(kept.newest_first(&config).next().unwrap().files, second);
        // `c` is neither in it any more as it was, nor on disk.
        fs::write(at("c"), "d").unwrap();
        let third: Set = [(config.clone(), text("3")), (at("c"), text("e"))].into();
        let error = keep(&kept, &third, |path| path == config).unwrap_err();
        assert!(error.to_string().ends_with("c has changed"), "{error}");
        assert_eq!(kept.newest_first(&config).next().unwrap().files, second);
    }
}
