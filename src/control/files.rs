//! Files on disk, read as one set.
//!
//! A set may be a hundred thousand files. So nothing is read twice that need not be: a file that looks
//! as it did when it was read has the content that it had then, unless it had changed so shortly
//! before that another change would not show ([`SETTLED`]).

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs;
use std::hash::{Hash, Hasher};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::model::{Digest, Files};
use crate::sandbox::Sandbox;

/// The largest file that is read: a full city database has 134 MB.
const MAX_FILE: u64 = 1 << 30;
/// A file whose change lies further back than this shows the next change in its times. Coarse clocks
/// of file systems tick every two seconds.
const SETTLED: Duration = Duration::from_secs(2);
/// Contents below this are held in chunks of that size, not one by one: what is freed together lies
/// together, so that the memory goes back to the system.
const SMALL: usize = 64 << 10;
const CHUNK: usize = 1 << 20;

/// What tells without reading that a file is another one: editors replace by rename, others write in
/// place. Times are nanoseconds since 1970; who writes can set the time of modification back, but not
/// that of the change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: i64,
    changed: i64,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        fs::metadata(path).ok().map(|metadata| Self::from(&metadata))
    }

    fn is_settled_at(&self, now: SystemTime) -> bool {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let settled = since.saturating_sub(SETTLED).as_nanos();
        i128::from(self.changed) < settled as i128 && i128::from(self.modified) < settled as i128
    }
}

impl From<&fs::Metadata> for Stamp {
    fn from(metadata: &fs::Metadata) -> Self {
        let ns = |seconds: i64, ns: i64| seconds.saturating_mul(1_000_000_000).saturating_add(ns);
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            length: metadata.len(),
            modified: ns(metadata.mtime(), metadata.mtime_nsec()),
            changed: ns(metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// What a set of files looked like when it was read, those included that were not there.
#[derive(Clone, Debug, Default)]
pub struct Sight {
    /// In the order of the paths' octets: comparing paths part by part takes ten times as long.
    files: Arc<[SeenFile]>,
    /// What each listed folder held, as a digest of the names.
    folders: Arc<BTreeMap<PathBuf, Option<Digest>>>,
}

#[derive(Clone, Debug)]
struct SeenFile {
    path: Arc<Path>,
    stamp: Option<Stamp>,
    /// Of its content, where the stamp stands for that.
    digest: Option<Digest>,
}

/// Two sights are equal if all looks the same; what is known of contents plays no part.
impl PartialEq for Sight {
    fn eq(&self, other: &Self) -> bool {
        let same = |(one, other): (&SeenFile, &SeenFile)| {
            one.path.as_os_str() == other.path.as_os_str() && one.stamp == other.stamp
        };
        self.folders == other.folders
            && self.files.len() == other.files.len()
            && self.files.iter().zip(&*other.files).all(same)
    }
}

impl Eq for Sight {}

impl Sight {
    /// What the same set looks like now.
    #[must_use]
    pub fn again(&self) -> Self {
        let again = |seen: &SeenFile| {
            let stamp = Stamp::of(&seen.path);
            SeenFile { path: seen.path.clone(), stamp, digest: seen.digest.filter(|_| stamp == seen.stamp) }
        };
        let folders = self.folders.keys().map(|folder| (folder.clone(), list(folder).ok().map(|list| names(&list))));
        Self { files: self.files.iter().map(again).collect(), folders: Arc::new(folders.collect()) }
    }

    /// The folders whose changes may change the set: those named, those of links on the way there,
    /// and those that hold what linked files lead to.
    #[must_use]
    pub fn folders(&self) -> BTreeSet<PathBuf> {
        let files = || self.files.iter().map(|file| &*file.path);
        let named: BTreeSet<PathBuf> = self.folders.keys().cloned().chain(folders_of(files())).collect();
        let above: BTreeSet<&Path> = named.iter().flat_map(|folder| folder.ancestors()).collect();
        let linked: Vec<&Path> = files().filter(|path| path.is_symlink()).collect();
        let real: Vec<PathBuf> = linked.iter().filter_map(|path| fs::canonicalize(path).ok()).collect();
        let links = above.into_iter().filter(|path| path.is_symlink()).chain(linked);
        let found: BTreeSet<PathBuf> = folders_of(links).chain(folders_of(real.iter().map(PathBuf::as_path))).collect();
        found.into_iter().chain(named).collect()
    }

    /// Every file, those that were not there too.
    pub(super) fn files(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| &*file.path)
    }

    fn find(&self, path: &Path) -> Option<&SeenFile> {
        let found = self.files.binary_search_by(|file| file.path.as_os_str().cmp(path.as_os_str()));
        found.ok().map(|index| &self.files[index])
    }
}

impl Seen {
    fn check(&self) -> io::Result<()> {
        self.fit.as_ref().copied().map_err(|error| match error.raw_os_error() {
            Some(code) => io::Error::from_raw_os_error(code),
            None => io::Error::new(error.kind(), error.to_string()),
        })
    }
}

/// The folders of files; of those that lie in one folder, one after the other, that once.
fn folders_of<'p>(paths: impl Iterator<Item = &'p Path>) -> impl Iterator<Item = PathBuf> {
    let mut last = None;
    let folders = paths.map(folder_of).filter(move |folder| last.replace(*folder) != Some(*folder));
    folders.map(Path::to_owned)
}

/// The folder that a file lies in.
pub(super) fn folder_of(path: &Path) -> &Path {
    path.parent().map_or(path, |folder| if folder.as_os_str().is_empty() { Path::new(".") } else { folder })
}

/// Files on disk. One set is seen as one: a second read gives the same content, or an error.
#[derive(Debug, Default)]
pub struct DiskFiles {
    files: HashMap<Key, Seen>,
    folders: BTreeMap<PathBuf, Option<Digest>>,
    before: Sight,
    chunks: Vec<Vec<u8>>,
    sandbox: Option<Arc<Sandbox>>,
}

/// A path, known by its octets.
#[derive(Debug)]
struct Key(Arc<Path>);

impl Borrow<OsStr> for Key {
    fn borrow(&self) -> &OsStr {
        self.0.as_os_str()
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.as_os_str().hash(state);
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_os_str() == other.0.as_os_str()
    }
}

impl Eq for Key {}

/// What is known of a file.
#[derive(Debug)]
struct Seen {
    path: Arc<Path>,
    stamp: Option<Stamp>,
    /// Is it a plain file, and not too large?
    fit: io::Result<()>,
    /// Was it settled when it was looked at?
    settled: bool,
    digest: Option<Digest>,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// It was not read.
    Unread,
    Small {
        chunk: u32,
        start: u32,
        length: u32,
    },
    Large(Arc<[u8]>),
}

impl DiskFiles {
    /// What was seen `before` need not be read again for its digest.
    #[must_use]
    pub fn after(before: Sight) -> Self {
        Self { before, ..Self::default() }
    }

    /// What the sandbox keeps out of reach is told as such.
    #[must_use]
    pub fn within(self, sandbox: Option<Arc<Sandbox>>) -> Self {
        Self { sandbox, ..self }
    }

    fn explain(&self, path: &Path, error: io::Error) -> io::Error {
        match &self.sandbox {
            Some(sandbox) => sandbox.explain(path, error),
            None => error,
        }
    }

    /// What the set looked like.
    #[must_use]
    pub fn sight(&self) -> Sight {
        let file = |seen: &Seen| SeenFile {
            path: seen.path.clone(),
            stamp: seen.stamp,
            digest: seen.digest.filter(|_| seen.settled),
        };
        let mut files: Vec<SeenFile> = self.files.values().map(file).collect();
        files.sort_by(|a, b| a.path.as_os_str().cmp(b.path.as_os_str()));
        Sight { files: files.into(), folders: Arc::new(self.folders.clone()) }
    }

    /// The content of a file, if it was read.
    #[must_use]
    pub fn content(&self, path: &Path) -> Option<&[u8]> {
        match &self.files.get(path.as_os_str())?.content {
            Content::Unread => None,
            &Content::Small { chunk, start, length } => {
                Some(&self.chunks[chunk as usize][start as usize..][..length as usize])
            }
            Content::Large(content) => Some(content),
        }
    }

    /// Is what is on disk now what was read (BEHAVIOUR rule 25)? What had changed shortly before is
    /// read again and compared.
    #[must_use]
    pub fn still_same(&self) -> bool {
        let same = |seen: &Seen| {
            let known = seen.settled || seen.digest.is_none();
            let length = seen.stamp.map_or(0, |stamp| stamp.length);
            known || read(&seen.path, length).is_ok_and(|now| Some(Digest::of(&now)) == seen.digest)
        };
        let looks = |seen: &Seen| Stamp::of(&seen.path) == seen.stamp;
        let folders =
            || self.folders.iter().all(|(folder, &known)| list(folder).ok().map(|list| names(&list)) == known);
        self.files.values().all(|seen| looks(seen) && same(seen)) && folders()
    }

    /// What is known of a file.
    fn seen(&mut self, path: &Path) -> &mut Seen {
        if !self.files.contains_key(path.as_os_str()) {
            let seen = self.look(path);
            self.files.insert(Key(seen.path.clone()), seen);
        }
        self.files.get_mut(path.as_os_str()).expect("it is there now")
    }

    /// Looks at a file the first time.
    fn look(&self, path: &Path) -> Seen {
        let known = self.before.find(path);
        let metadata = fs::metadata(path);
        let stamp = metadata.as_ref().ok().map(Stamp::from);
        let settled = stamp.is_some_and(|stamp| stamp.is_settled_at(SystemTime::now()));
        let digest = known.filter(|known| known.stamp == stamp).and_then(|known| known.digest);
        let path = known.map_or_else(|| path.into(), |known| known.path.clone());
        let fit = metadata.and_then(|metadata| check(&metadata));
        Seen { path, stamp, fit, settled, digest, content: Content::Unread }
    }

    fn hold(&mut self, content: &Arc<[u8]>) -> Content {
        if content.len() >= SMALL {
            return Content::Large(content.clone());
        }
        if self.chunks.last().is_none_or(|chunk| chunk.len() + content.len() > CHUNK) {
            self.chunks.push(Vec::with_capacity(CHUNK));
        }
        let chunk = self.chunks.len() - 1;
        let start = self.chunks[chunk].len();
        self.chunks[chunk].extend_from_slice(content);
        Content::Small { chunk: chunk as u32, start: start as u32, length: content.len() as u32 } // below CHUNK
    }
}

impl Files for DiskFiles {
    /// Seen as part of the set, but held by nobody here.
    fn secret(&mut self, path: &Path) -> io::Result<Option<Arc<[u8]>>> {
        let seen = self.seen(path);
        seen.check()?;
        let read = read_known(path, seen);
        let (content, digest) = read.map_err(|error| self.explain(path, error))?;
        self.seen(path).digest = Some(digest);
        Ok(Some(content))
    }

    fn read(&mut self, path: &Path) -> io::Result<Arc<[u8]>> {
        let seen = self.seen(path);
        match &seen.content {
            Content::Large(content) => return Ok(content.clone()),
            Content::Small { .. } => return Ok(self.content(path).unwrap_or_default().into()),
            Content::Unread => {}
        }
        seen.check()?;
        let (content, digest) = read_known(path, seen).map_err(|error| self.explain(path, error))?;
        let held = self.hold(&content);
        let seen = self.seen(path);
        (seen.digest, seen.content) = (Some(digest), held);
        Ok(content)
    }

    fn list(&mut self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let listed = list(folder).map_err(|error| self.explain(folder, error));
        let digest = listed.as_ref().ok().map(|list| names(list));
        if *self.folders.entry(folder.to_owned()).or_insert(digest) != digest {
            return Err(io::Error::other("it changed while the set was read"));
        }
        listed
    }

    fn check(&mut self, path: &Path) -> io::Result<()> {
        self.seen(path).check()?;
        fs::File::open(path).map(drop).map_err(|error| self.explain(path, error))
    }

    fn digest(&mut self, path: &Path) -> io::Result<Digest> {
        match self.seen(path).digest {
            Some(digest) => Ok(digest),
            None => self.read(path).map(|content| Digest::of(&content)),
        }
    }

    fn shared(&mut self, path: &Path) -> Arc<Path> {
        self.seen(path).path.clone()
    }
}

/// Reads a file of which this is known, with its digest.
fn read_known(path: &Path, seen: &Seen) -> io::Result<(Arc<[u8]>, Digest)> {
    let content = read(path, seen.stamp.map_or(0, |stamp| stamp.length))?;
    let digest = Digest::of(&content);
    if seen.digest.is_some_and(|known| known != digest) {
        return Err(io::Error::other("it changed while the set was read"));
    }
    Ok((content, digest))
}

/// Reads a file that had this length a moment ago. Where it has another one now, it looks another too.
fn read(path: &Path, length: u64) -> io::Result<Arc<[u8]>> {
    let length = usize::try_from(length).map_err(io::Error::other)?;
    let mut content: Arc<[u8]> = std::iter::repeat_n(0, length).collect();
    let octets = Arc::get_mut(&mut content).expect("nobody else has it yet");
    fs::File::open(path)?.read_exact(octets).map_err(|error| match error.kind() {
        io::ErrorKind::UnexpectedEof => io::Error::other("it changed while the set was read"),
        _ => error,
    })?;
    Ok(content)
}

fn check(metadata: &fs::Metadata) -> io::Result<()> {
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file"));
    }
    if metadata.len() > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 GiB"));
    }
    Ok(())
}

fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        let path = entry.path();
        if kind.is_file() || kind.is_symlink() && path.is_file() {
            paths.push(path);
        }
    }
    paths.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    Ok(paths)
}

/// What a listing is known by.
fn names(paths: &[PathBuf]) -> Digest {
    Digest::of_all(paths.iter().flat_map(|path| [path.as_os_str().as_encoded_bytes(), b"\0"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_is_read_once_and_notices_change() {
        let folder = tempfile::tempdir().unwrap();
        let (path, absent) = (folder.path().join("a"), folder.path().join("b"));
        fs::write(&path, "one").unwrap();
        let mut files = DiskFiles::default();
        assert_eq!(&*files.read(&path).unwrap(), b"one");
        assert!(files.read(&absent).is_err());
        assert_eq!(files.list(folder.path()).unwrap(), std::slice::from_ref(&path));
        assert!(files.still_same());
        // Replaced by rename, as editors do, with content of the same length.
        fs::write(folder.path().join("new"), "two").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert!(!files.still_same());
        assert_eq!(&*files.read(&path).unwrap(), b"one", "one set is seen as one");
        let mut files = DiskFiles::default();
        assert!(files.read(&absent).is_err() && files.sight().again() == files.sight());
        fs::write(&absent, "").unwrap();
        assert_ne!(files.sight().again(), files.sight(), "a file that was missing has come");
    }

    #[test]
    fn what_looks_as_before_is_not_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        fs::write(&path, "one").unwrap();
        let mut files = DiskFiles::default();
        files.read(&path).unwrap();
        assert_eq!(files.sight().files[0].digest, None, "it changed a moment ago");

        let seen = |digest, stamp| SeenFile { path: Arc::from(&*path), stamp, digest: Some(Digest::of(digest)) };
        let after = |seen| DiskFiles::after(Sight { files: [seen].into(), ..Sight::default() });
        let mut files = after(seen(b"known", Stamp::of(&path)));
        assert_eq!(files.digest(&path).unwrap(), Digest::of(b"known"), "it was not read");
        assert!(files.content(&path).is_none() && files.read(&path).is_err(), "but it is another one");
        let mut files = after(seen(b"known", None));
        assert_eq!(files.digest(&path).unwrap(), Digest::of(b"one"));
        assert_eq!(files.content(&path), Some(&b"one"[..]));

        let stamp = Stamp::of(&path).unwrap();
        let changed = SystemTime::UNIX_EPOCH + Duration::from_nanos(stamp.changed.unsigned_abs());
        assert!(!stamp.is_settled_at(changed + SETTLED) && stamp.is_settled_at(changed + 2 * SETTLED));
    }

    #[test]
    fn folders_behind_links_count() {
        let kept = tempfile::tempdir().unwrap();
        let root = fs::canonicalize(kept.path()).unwrap();
        for folder in ["etc", "zones", "releases", "releases/1"] {
            fs::create_dir(root.join(folder)).unwrap();
        }
        fs::write(root.join("zones/a.zone"), "").unwrap();
        fs::write(root.join("releases/1/b.zone"), "").unwrap();
        std::os::unix::fs::symlink("../zones/a.zone", root.join("etc/a.zone")).unwrap();
        std::os::unix::fs::symlink("releases/1", root.join("current")).unwrap();
        let mut files = DiskFiles::default();
        files.read(&root.join("etc/a.zone")).unwrap();
        files.read(&root.join("current/b.zone")).unwrap();
        let expected =
            ["", "current", "etc", "zones"].map(|folder| root.join(folder)).map(|path| path.components().collect());
        assert_eq!(files.sight().folders(), BTreeSet::from(expected));
    }
}
