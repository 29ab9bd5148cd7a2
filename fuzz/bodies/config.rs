//! Any configuration text: it means something, or every problem has its words and can be shown.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meridian::cli::render;
use meridian::config::read;
use meridian::model::Severity;

use super::world;

/// Reads it.
pub(crate) fn run(input: &[u8]) {
    let texts = [("config.toml", input), ("zone", world::ZONE.as_bytes()), ("ca.pem", b""), ("city.mmdb", b"")];
    let mut files: BTreeMap<PathBuf, Arc<[u8]>> = texts.map(|(path, text)| (path.into(), text.into())).into();
    let read = read(&mut files, Path::new("config.toml"));
    let (problems, refused) = match read {
        Ok(loaded) => {
            assert_eq!(loaded.spots.services.len(), loaded.config.services.len());
            assert_eq!(loaded.spots.endpoints.len(), loaded.config.endpoints.len());
            (loaded.warnings, false)
        }
        Err(problems) => (problems, true),
    };
    assert_eq!(problems.iter().any(|problem| problem.severity == Severity::Error), refused, "{problems:?}");
    let shown = render(&problems, &mut files, false);
    assert_eq!(shown.is_empty(), problems.is_empty());
    for problem in &problems {
        let within = problem.spot.as_ref().is_none_or(|spot| spot.line > 0 && spot.span.end <= input.len());
        assert!(within && !problem.message.is_empty(), "{problem:?}");
    }
}
