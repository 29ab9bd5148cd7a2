//! What was read, by content.

use std::path::Path;
use std::sync::Arc;

use crate::model::Digest;

/// What was read for a set, by path, and what it was known by.
#[derive(Debug)]
pub struct Digests(Box<[(Arc<Path>, Digest)]>);

impl FromIterator<(Arc<Path>, Digest)> for Digests {
    fn from_iter<T: IntoIterator<Item = (Arc<Path>, Digest)>>(digests: T) -> Self {
        let mut digests: Vec<_> = digests.into_iter().collect();
        digests.sort_by(|(a, _), (b, _)| a.as_os_str().cmp(b.as_os_str()));
        digests.dedup_by(|(a, _), (b, _)| a.as_os_str() == b.as_os_str());
        Self(digests.into())
    }
}

impl Digests {
    /// That of a file; none: it was not read.
    #[must_use]
    pub fn get(&self, path: &Path) -> Option<&Digest> {
        let found = self.0.binary_search_by(|(known, _)| known.as_os_str().cmp(path.as_os_str()));
        found.ok().map(|index| &self.0[index].1)
    }

    /// All, in the order of the paths' octets.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&Path, &Digest)> {
        self.0.iter().map(|(path, digest)| (&**path, digest))
    }
}
