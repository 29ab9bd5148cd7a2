//! Edits of the good configuration, and what is then said.
#![allow(dead_code, reason = "no test binary uses all of it")]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meridian::config::{Loaded, read};
use meridian::model::{Problem, Severity};

pub(crate) const GOOD: &str = include_str!("../broken/good.toml");

pub(crate) fn read_text(text: &str) -> Result<Loaded, Vec<Problem>> {
    let mut files: BTreeMap<PathBuf, Arc<[u8]>> = BTreeMap::new();
    let text = (text.as_bytes().into(), "etc/config.toml");
    let empty = |name| (Arc::from(&b""[..]), name);
    let names =
        ["etc/city.mmdb", "etc/shop.example.zone", "etc/z/a.example.zone", "etc/z/b.example.zone", "etc/z/x.txt"];
    for (content, name) in names.into_iter().map(empty).chain([text]) {
        files.insert(name.into(), content);
    }
    read(&mut files, Path::new("etc/config.toml"))
}

/// The good text with `from` replaced once by `to`.
pub(crate) fn edited(from: &str, to: &str) -> String {
    assert!(GOOD.contains(from), "{from}");
    GOOD.replacen(from, to, 1)
}

/// Code, and the words pointed at, of each problem.
pub(crate) fn said(text: &str) -> Vec<(&'static str, String)> {
    let problems = match read_text(text) {
        Ok(loaded) => loaded.warnings,
        Err(problems) => {
            assert!(problems.iter().any(|problem| problem.severity == Severity::Error));
            problems
        }
    };
    let words = |problem: &Problem| problem.spot.as_ref().map_or("", |spot| &text[spot.span.clone()]).to_owned();
    problems.iter().map(|problem| (problem.code, words(problem))).collect()
}

#[track_caller]
pub(crate) fn check(rows: &[(&str, &str, &str, &str)]) {
    for (from, to, code, words) in rows {
        let said = said(&edited(from, to));
        assert_eq!(said, [(*code, (*words).to_owned())], "{from} → {to}");
    }
}
