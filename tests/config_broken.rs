//! What the operator sees of each broken configuration in tests/broken: a snapshot a file.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meridian::cli::render;
use meridian::config::read;

type Memory = BTreeMap<PathBuf, Arc<[u8]>>;

/// Each file of tests/broken by its name, with the files that all of them name.
fn broken() -> Vec<(String, Memory)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "toml"));
    paths.sort();
    let files = |path: &PathBuf| {
        let mut files = Memory::new();
        for beside in ["city.mmdb", "shop.example.zone", "cname.zone"] {
            files.insert(beside.into(), b""[..].into());
        }
        let text = std::fs::read(path).unwrap();
        files.insert("config.toml".into(), text.into());
        (path.file_stem().unwrap().to_str().unwrap().to_owned(), files)
    };
    paths.iter().map(files).collect()
}

#[test]
fn each_says_what_where_and_how_to_mend_it() {
    for (name, mut files) in broken() {
        let problems = read(&mut files, Path::new("config.toml")).err().unwrap_or_default();
        let expected_good = ["good", "service-below-cname"].contains(&name.as_str());
        assert_eq!(problems.is_empty(), expected_good, "{name}: {problems:#?}");
        assert!(problems.iter().all(|problem| problem.spot.is_some() && problem.help.is_some()), "{problems:#?}");
        if !expected_good {
            insta::assert_snapshot!(name, render(&problems, &mut files, false));
        }
    }
}
