//! Files on disk, read as one set.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use sha2::{Digest as _, Sha256};

use crate::model::Files;

/// The largest file that is read: a full city database has 134 MB.
const MAX_FILE: u64 = 1 << 30;

/// A SHA-256 of content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of these octets.
    #[must_use]
    pub fn of(octets: &[u8]) -> Self {
        Self(Sha256::digest(octets).into())
    }

    /// The digest that 64 hexadecimal digits write.
    #[must_use]
    pub fn from_hex(text: &str) -> Option<Self> {
        let mut octets = [0; 32];
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        for (octet, at) in octets.iter_mut().zip((0..64).step_by(2)) {
            *octet = u8::from_str_radix(&text[at..at + 2], 16).ok()?;
        }
        Some(Self(octets))
    }
}

impl std::fmt::Display for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        std::fmt::Display::fmt(self, f)
    }
}

/// What tells without reading that a file is another one: editors replace by rename, others write in
/// place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    length: u64,
    modified: Option<SystemTime>,
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        let (device, inode) = (metadata.dev(), metadata.ino());
        Some(Self { device, inode, length: metadata.len(), modified: metadata.modified().ok() })
    }
}

/// What a set of files looked like when it was read, those included that were not there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sight {
    files: BTreeMap<PathBuf, Option<Stamp>>,
    folders: BTreeMap<PathBuf, Option<Vec<PathBuf>>>,
}

impl Sight {
    /// What the same set looks like now.
    #[must_use]
    pub fn again(&self) -> Self {
        Self {
            files: self.files.keys().map(|path| (path.clone(), Stamp::of(path))).collect(),
            folders: self.folders.keys().map(|folder| (folder.clone(), list(folder).ok())).collect(),
        }
    }

    /// The folders whose changes may change the set: those named, those of links on the way there,
    /// and those that hold what linked files lead to.
    #[must_use]
    pub fn folders(&self) -> BTreeSet<PathBuf> {
        let files = self.files.keys().map(PathBuf::as_path);
        let links = files.clone().chain(self.folders.keys().map(PathBuf::as_path)).flat_map(Path::ancestors);
        let links = links.filter(|path| path.is_symlink()).filter_map(folder_of);
        let real = files.clone().filter(|path| path.is_symlink());
        let real = real.filter_map(|path| folder_of(&fs::canonicalize(path).ok()?));
        files.filter_map(folder_of).chain(links).chain(real).chain(self.folders.keys().cloned()).collect()
    }
}

fn folder_of(path: &Path) -> Option<PathBuf> {
    let folder = path.parent()?;
    Some(if folder.as_os_str().is_empty() { Path::new(".") } else { folder }.to_owned())
}

/// Files on disk. Each is read once; a second read gives the same content.
#[derive(Debug, Default)]
pub struct DiskFiles {
    contents: BTreeMap<PathBuf, Arc<[u8]>>,
    sight: Sight,
}

impl DiskFiles {
    /// What was read.
    #[must_use]
    pub fn contents(&self) -> &BTreeMap<PathBuf, Arc<[u8]>> {
        &self.contents
    }

    /// What the set looked like.
    #[must_use]
    pub fn sight(&self) -> &Sight {
        &self.sight
    }

    /// Is what is on disk now what was read (BEHAVIOUR rule 25)? Reads and compares all.
    #[must_use]
    pub fn still_same(&self) -> bool {
        let same = |(path, content): (&PathBuf, &Arc<[u8]>)| read(path).is_ok_and(|now| now == *content);
        self.sight.again() == self.sight && self.contents.iter().all(same)
    }
}

impl Files for DiskFiles {
    fn read(&mut self, path: &Path) -> io::Result<Arc<[u8]>> {
        if let Some(content) = self.contents.get(path) {
            return Ok(content.clone());
        }
        self.sight.files.insert(path.to_owned(), Stamp::of(path));
        let content = read(path)?;
        self.contents.insert(path.to_owned(), content.clone());
        Ok(content)
    }

    fn list(&mut self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        if let Some(Some(listed)) = self.sight.folders.get(folder) {
            return Ok(listed.clone());
        }
        let listed = list(folder);
        self.sight.folders.insert(folder.to_owned(), listed.as_ref().ok().cloned());
        listed
    }
}

fn read(path: &Path) -> io::Result<Arc<[u8]>> {
    let metadata = fs::metadata(path)?;
    if !metadata.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no plain file"));
    }
    if metadata.len() > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 GiB"));
    }
    Ok(fs::read(path)?.into())
}

fn list(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
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
        assert!(files.read(&absent).is_err() && files.sight().again() == *files.sight());
        fs::write(&absent, "").unwrap();
        assert_ne!(files.sight().again(), *files.sight(), "a file that was missing has come");
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

    #[test]
    fn digests_print_and_parse() {
        let digest = Digest::of(b"");
        assert!(digest.to_string().starts_with("e3b0c44298fc1c14"));
        assert_eq!(Digest::from_hex(&digest.to_string()), Some(digest));
        assert_eq!(Digest::from_hex("xyz"), None);
    }
}
