//! Which module may name what.

use crate::code::{code_only, find_any};

/// A module may name those before it, and none after it.
const FLOORS: [&[&str]; 6] = [
    &["model"],
    &["wire", "config", "health", "latency", "steer"],
    &["zone", "geo", "table"],
    &["answer", "serve", "sandbox"],
    &["probe", "delegation", "beacons", "control", "admin"],
    &["cli"],
];
/// (module, what it may not name although that lies below it)
const STRANGERS: [(&str, &str); 1] = [("probe", "table")];
/// Calls that change what queries read, and the modules that may make them: the one that defines
/// them, and the one publisher.
const PUBLISHING: [&str; 3] = ["table::publish(", ".publish(", "Published::publish("];
const PUBLISHERS: [&str; 2] = ["table", "control"];
/// Floors 0 to 2 are functions of their arguments, so they name nothing of the world outside.
const PURE_FLOORS: usize = 3;
const IMPURE: [&str; 13] = [
    "std::fs",
    "fs::read",
    "File::open",
    "std::env::",
    "Instant::now",
    "SystemTime::now",
    "Timestamp::now",
    "Zoned::now",
    "tokio::",
    "TcpStream",
    "TcpListener",
    "UdpSocket",
    "ToSocketAddrs",
];

/// `src/cli/lab/http.rs` → cli, lab, http. `lib.rs` is empty, `main.rs` and what lies elsewhere none.
pub(crate) fn module_path(path: &str) -> Option<Vec<&str>> {
    let inside = path.strip_prefix("src/")?.strip_suffix(".rs")?;
    let mut parts: Vec<&str> = inside.split('/').collect();
    match parts.as_slice() {
        ["main"] => return None,
        ["lib"] | [.., "mod"] => _ = parts.pop(),
        _ => {}
    }
    Some(parts)
}

fn rank(module: &str) -> Option<usize> {
    FLOORS.iter().flat_map(|floor| floor.iter()).position(|known| *known == module)
}

pub(crate) fn wrong_imports(path: &str, text: &str) -> Vec<String> {
    let modules = module_path(path).expect("a file of the library");
    let own = modules[0];
    let wrong = |named: &str| {
        let below = rank(named).zip(rank(own)).is_none_or(|(named, own)| named <= own);
        !below || STRANGERS.contains(&(own, named))
    };
    let named = named_modules(text, modules.len());
    let wrong = named.into_iter().filter(|(_, named)| wrong(named));
    wrong
        .map(|(line, named)| format!("{path}:{line}: `{own}` names `{named}`, but imports point down: {FLOORS:?}"))
        .collect()
}

/// What a file that lies `depth` modules deep names at the crate's root, with the line.
fn named_modules(text: &str, depth: usize) -> Vec<(usize, String)> {
    let code = code_only(text);
    let mut named = Vec::new();
    let mut inline_modules: Vec<String> = Vec::new();
    let mut offset = 0;
    for (index, line) in code.lines().enumerate() {
        let (indent, statement) = line.split_at(line.len() - line.trim_start().len());
        if inline_modules.last().is_some_and(|opened| statement == "}" && opened == indent) {
            inline_modules.pop();
        }
        let ways_up = ["crate::".to_owned(), "super::".repeat(depth + inline_modules.len())];
        for (way, up) in ways_up.iter().enumerate() {
            for (at, _) in line.match_indices(up) {
                let longer = way == 1 && line[..at].ends_with("super::");
                let other_word = line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
                if !longer && !other_word {
                    let names = first_names(&code[offset + at + up.len()..]);
                    named.extend(names.into_iter().map(|name| (index + 1, name)));
                }
            }
        }
        if statement.ends_with('{') && statement.trim_start_matches("pub ").starts_with("mod ") {
            inline_modules.push(indent.to_owned());
        }
        offset += line.len() + 1;
    }
    named
}

/// The first name of a path, or of each path of a `{…}` group.
fn first_names(rest: &str) -> Vec<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = rest.strip_prefix('{') else {
        return vec![word(rest)];
    };
    let (mut names, mut depth, mut fresh) = (Vec::new(), 0, true);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => fresh = true,
            c if fresh && !c.is_whitespace() => {
                names.push(word(&group[at..]));
                fresh = false;
            }
            _ => {}
        }
    }
    names
}

pub(crate) fn unknown_modules(lib: &str) -> Vec<String> {
    let code = code_only(lib);
    let modules = code.lines().filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'));
    let homeless = modules.filter(|module| rank(module).is_none());
    homeless
        .map(|module| format!("src/lib.rs: `{module}` has no floor: add it to FLOORS in tests/tidy/floors.rs"))
        .collect()
}

pub(crate) fn impurities(path: &str, text: &str) -> Vec<String> {
    let own = module_path(path).expect("a file of the library")[0];
    if !FLOORS[..PURE_FLOORS].iter().any(|floor| floor.contains(&own)) {
        return Vec::new();
    }
    let found = find_any(&code_only(before_tests(path, text)), &IMPURE);
    found
        .into_iter()
        .map(|(line, word)| format!("{path}:{line}: `{word}`, but `{own}` is pure: make it an argument"))
        .collect()
}

pub(crate) fn wrong_publishers(path: &str, text: &str) -> Vec<String> {
    let own = module_path(path).expect("a file of the library")[0];
    if PUBLISHERS.contains(&own) {
        return Vec::new();
    }
    let found = find_any(&code_only(before_tests(path, text)), &PUBLISHING);
    found.into_iter().map(|(line, call)| format!("{path}:{line}: `{call}…)`, but only `control` publishes")).collect()
}

/// What ships. Tests are free: they come last in a file, or have a file named `tests`.
fn before_tests<'a>(path: &str, text: &'a str) -> &'a str {
    if path.ends_with("/tests.rs") || path.contains("/tests/") {
        return "";
    }
    text.split_once("\nmod tests {").map_or(text, |(code, _)| code)
}

#[test]
fn the_root_is_named_in_many_ways() {
    let names = |text: &str, depth| {
        named_modules(text, depth).into_iter().map(|(line, name)| format!("{line} {name}")).collect::<Vec<_>>()
    };
    assert_eq!(names("use crate::model::Name;\nfn f() -> crate::wire::Query {}", 1), ["1 model", "2 wire"]);
    assert_eq!(names("use crate::{\n    geo::{Trie, x},\n    model,\n};", 1), ["1 geo", "1 model"]);
    assert_eq!(names("// crate::model\nlet text = \"crate::wire\"; my_crate::x", 1), [""; 0]);
    assert_eq!(names("use super::super::zone;\nuse super::sibling;", 2), ["1 zone"]);
    assert_eq!(
        names("mod tests {\n    use super::*;\n    use super::super::zone;\n}\nuse super::wire;", 1),
        ["3 zone", "5 wire"]
    );
}

#[test]
fn imports_up_and_sideways_are_found() {
    let wrong = |path: &str, text: &str| wrong_imports(path, text).len();
    assert_eq!(wrong("src/steer/mod.rs", "use crate::{model::Plan, steer::pick, health};"), 0);
    assert_eq!(wrong("src/steer/mod.rs", "use crate::zone::ZoneTree;"), 1);
    assert_eq!(wrong("src/health/mod.rs", "use crate::steer::pick;"), 1, "same floor, later");
    assert_eq!(wrong("src/model/name.rs", "fn f() { crate::wire::parse() }"), 1);
    assert_eq!(wrong("src/probe/http.rs", "use crate::table::Snapshot;"), 1, "a stranger");
    assert_eq!(wrong("src/control/mod.rs", "use crate::{table, probe};"), 0);
    let told = wrong_imports("src/wire/mod.rs", "\nuse crate::config::Config;");
    assert!(told[0].starts_with("src/wire/mod.rs:2: `wire` names `config`"), "{told:?}");
}

#[test]
fn homeless_modules_are_found() {
    assert_eq!(unknown_modules("pub mod model;\npub mod wire;\n// pub mod x;"), [""; 0]);
    assert_eq!(unknown_modules("pub mod utilities;").len(), 1);
}

#[test]
fn impurities_and_publishers_are_found() {
    let tested =
        "fn f() {}\n#[cfg(test)]\n#[allow(missing_docs)]\nmod tests {\n fn g() { std::fs::read(x); p.publish(s); } }";
    assert_eq!(impurities("src/zone/mod.rs", tested), [""; 0]);
    assert_eq!(wrong_publishers("src/admin/mod.rs", tested), [""; 0]);
    assert_eq!(impurities("src/steer/mod.rs", "let now = Instant::now();").len(), 1);
    assert_eq!(impurities("src/probe/mod.rs", "let now = Instant::now();"), [""; 0]);
    assert_eq!(wrong_publishers("src/admin/mod.rs", "published.publish(snapshot);").len(), 1);
    assert_eq!(wrong_publishers("src/control/mod.rs", "published.publish(snapshot);"), [""; 0]);
}
