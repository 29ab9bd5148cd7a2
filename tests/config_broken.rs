//! What the operator sees of each broken configuration in tests/broken, by the way that `check` goes:
//! a snapshot a file.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code, reason = "no test binary uses all of it")]
#[path = "support/mmdb.rs"]
mod mmdb;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meridian::cli::render;
use meridian::control::trial;

const ZONE: &str = "@ 60 SOA ns1 hostmaster 1 60 60 60 60\n@ 60 NS ns1\nns1 60 A 192.0.2.53\n";

type Memory = BTreeMap<PathBuf, Arc<[u8]>>;

/// Each file of tests/broken by its name, with the files that all of them name.
fn broken() -> Vec<(String, Memory)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/broken");
    let mut paths: Vec<PathBuf> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "toml"));
    paths.sort();
    let files = |path: &PathBuf| {
        let database = mmdb::Writer::new("GeoLite2-City", true).put("192.0.2.0/24", &mmdb::city("DE", 50.1, 8.7));
        let cname = std::fs::read(folder.join("cname.zone")).unwrap();
        let mut files = Memory::new();
        for (name, content) in
            [("city.mmdb", &database.finish()), ("shop.example.zone", &ZONE.into()), ("cname.zone", &cname)]
        {
            files.insert(name.into(), content[..].into());
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
        let problems = trial(&mut files, Path::new("config.toml")).err().unwrap_or_default();
        assert_eq!(problems.is_empty(), name == "good", "{name}: {problems:#?}");
        assert!(problems.iter().all(|problem| problem.spot.is_some() && problem.help.is_some()), "{problems:#?}");
        if name != "good" {
            insta::assert_snapshot!(name, render(&problems, &mut files, false));
        }
    }
}
