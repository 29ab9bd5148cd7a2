//! Problems in an operator's files: what, where, and what to do about it.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Digest;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// The set of files cannot be served.
    Error,
    /// It can be served, but the operator should know.
    Warning,
}

/// A place in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spot {
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// Octets of the file; may be empty.
    pub span: Range<usize>,
}

impl Spot {
    /// The spot of `span` in `text`.
    #[must_use]
    pub fn of_span(text: &str, span: Range<usize>) -> Self {
        let before = &text.as_bytes()[..span.start.min(text.len())];
        let line_start = before.iter().rposition(|&octet| octet == b'\n').map_or(0, |at| at + 1);
        let line = 1 + before.iter().filter(|&&octet| octet == b'\n').count();
        let column = 1 + String::from_utf8_lossy(&before[line_start..]).chars().count();
        Self { line, column, span }
    }
}

/// One problem, with all that is needed to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// A stable name in kebab case, such as `unknown-key`; tests and alerts may rely on it.
    pub code: &'static str,
    /// What was found and what is allowed, in one sentence without the place.
    pub message: String,
    /// Which file.
    pub file: PathBuf,
    /// Where in it, if it is a place in text.
    pub spot: Option<Spot>,
    /// The likely fix.
    pub help: Option<String>,
}

impl Problem {
    /// An error without a spot or help.
    #[must_use]
    pub fn error(code: &'static str, file: &Path, message: impl Into<String>) -> Self {
        let file = file.to_owned();
        Self { severity: Severity::Error, code, message: message.into(), file, spot: None, help: None }
    }

    /// A warning without a spot or help.
    #[must_use]
    pub fn warning(code: &'static str, file: &Path, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(code, file, message) }
    }

    /// The same with its spot.
    #[must_use]
    pub fn at(self, spot: Spot) -> Self {
        Self { spot: Some(spot), ..self }
    }

    /// The same with the likely fix.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

impl fmt::Display for Problem {
    /// `FILE:LINE:COLUMN: error: MESSAGE (HELP)`, for logs and `/status`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(spot) = &self.spot {
            write!(f, ":{}:{}", spot.line, spot.column)?;
        }
        let severity = if self.severity == Severity::Error { "error" } else { "warning" };
        write!(f, ": {severity}: {}", self.message)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, " ({help})"))
    }
}

/// Where the files of a configuration come from: the disk, a kept set, or a test's memory. What has
/// been read once must read the same for the life of the value, so that one set is seen as one.
pub trait Files {
    /// The content of a file.
    ///
    /// # Errors
    /// As reading a file has them.
    fn read(&mut self, path: &Path) -> io::Result<Arc<[u8]>>;

    /// The content of a file with a secret in it, which nobody keeps. None: this set has no secrets.
    ///
    /// # Errors
    /// As reading a file has them.
    fn secret(&mut self, path: &Path) -> io::Result<Option<Arc<[u8]>>> {
        self.read(path).map(Some)
    }

    /// The plain files in a folder, sorted.
    ///
    /// # Errors
    /// As listing a folder has them.
    fn list(&mut self, folder: &Path) -> io::Result<Vec<PathBuf>>;

    /// Is there such a file, and may it be read? Of a large set not all is read before its turn comes.
    ///
    /// # Errors
    /// As reading it has them.
    fn check(&mut self, path: &Path) -> io::Result<()> {
        self.read(path).map(drop)
    }

    /// The digest of a file's content, which need not be read for it where it is known.
    ///
    /// # Errors
    /// As reading the file has them.
    fn digest(&mut self, path: &Path) -> io::Result<Digest> {
        self.read(path).map(|content| Digest::of(&content))
    }

    /// The path for those who keep it: one and the same piece of memory for all of them.
    fn shared(&mut self, path: &Path) -> Arc<Path> {
        path.into()
    }
}

/// Files in memory: a kept set, or a test's.
impl Files for BTreeMap<PathBuf, Arc<[u8]>> {
    fn read(&mut self, path: &Path) -> io::Result<Arc<[u8]>> {
        self.get(path).cloned().ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn list(&mut self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(self.keys().filter(|path| path.parent() == Some(folder)).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spots_count_lines_and_characters() {
        let text = "a = 1\nü = x\n";
        let at = text.find('x').unwrap();
        let spot = Spot::of_span(text, at..at + 1);
        assert_eq!((spot.line, spot.column), (2, 5));
        let problem = Problem::error("odd", Path::new("config.toml"), "it is odd").at(spot).help("make it even");
        assert_eq!(problem.to_string(), "config.toml:2:5: error: it is odd (make it even)");
    }
}
