//! Any zone text: it is read or refused with places, and a zone that is read can be asked.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meridian::model::{Name, Problem, Severity};
use meridian::zone::{ZoneTree, read};

/// Problems that are of a whole zone.
const WITHOUT_LINE: [&str; 2] = ["no-soa", "no-ns"];

/// Reads it as the zone `a`; `more` can be included.
pub(crate) fn run(input: &[u8]) {
    let apex: Name = "a".parse().expect("it is a name");
    let files = [("zone", input), ("more", b"x 60 A 192.0.2.1\ny 60 CNAME x\n")];
    let mut files: BTreeMap<PathBuf, Arc<[u8]>> = files.map(|(path, text)| (path.into(), text.into())).into();
    let (data, warnings) = match read(&mut files, Path::new("zone"), &apex) {
        Ok(read) => read,
        Err(problems) => return judge(&problems, true),
    };
    judge(&warnings, false);
    let tree = match ZoneTree::build(&data, &[]) {
        Ok(tree) => tree,
        Err(problems) => return judge(&problems, true),
    };
    assert_eq!(tree.apex(), apex.as_wire());
    for (name, node) in tree.nodes() {
        for set in node.rrsets() {
            assert!(set.len() > 0);
        }
        for rtype in [1, 5, 255] {
            let _ = tree.find(&name, rtype);
            let _ = tree.find(&[&[1, b'*'][..], &name].concat(), rtype);
        }
    }
}

fn judge(problems: &[Problem], refused: bool) {
    assert_eq!(problems.iter().any(|problem| problem.severity == Severity::Error), refused, "{problems:?}");
    assert!(problems.len() <= 202, "a hundred of each, and what is left");
    for problem in problems {
        assert!(!problem.message.is_empty());
        let has_line = problem.spot.as_ref().is_some_and(|spot| spot.line > 0);
        assert!(has_line || WITHOUT_LINE.contains(&problem.code), "{problem:?}");
    }
}
