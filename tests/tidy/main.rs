//! The house rules that a compiler does not check: the floors' order, sizes, purity, one publisher,
//! no trace of the machine on which a file was written.
//!
//! The rules are the constants at the top of this file and of `floors`. Each check is a function
//! from text to complaints that is tried on samples below it. Exceptions may only shrink: one that
//! has become too large fails too.

mod code;
mod floors;
mod sizes;
mod unsafety;

use std::fs;
use std::path::Path;
use std::process::Command;

const LONGEST_FILE: usize = 500;
const LONGEST_FUNCTION: usize = 70;
/// (file, its lines) of Rust files over the limit.
const LONG_FILES: &[(&str, usize)] = &[];
/// (file, function, its lines) of functions over the limit.
const LONG_FUNCTIONS: &[(&str, &str, usize)] = &[];

/// The README's test command, which `.ci/run` calls.
const TEST_COMMAND: &str = "cargo test --locked";

/// What no file holds; split here, so that this one does not hold it either.
fn telltales() -> Vec<String> {
    let split = [
        ["/wor", "k/"],
        ["/ro", "ot/"],
        ["/ho", "me/"],
        ["/Use", "rs/"],
        ["index.crates", ".io"],
        ["static.crates", ".io"],
        ["registry.npm", "js.org"],
        ["py", "pi.org"],
        ["python", "hosted.org"],
        ["proxy.golang", ".org"],
    ];
    split.map(|halves| halves.concat()).into()
}

#[test]
fn imports_point_down() {
    complain(sources().iter().flat_map(|(path, text)| floors::wrong_imports(path, text)));
}

#[test]
fn every_module_has_a_floor() {
    complain(floors::unknown_modules(&read("src/lib.rs")));
}

#[test]
fn low_floors_are_pure() {
    complain(sources().iter().flat_map(|(path, text)| floors::impurities(path, text)));
}

#[test]
fn one_module_publishes() {
    complain(sources().iter().flat_map(|(path, text)| floors::wrong_publishers(path, text)));
}

#[test]
fn unsafe_code_has_its_modules() {
    let every = rust_files();
    complain(every.iter().flat_map(|(path, text)| unsafety::misplaced(path, text)));
    complain(every.iter().flat_map(|(path, text)| unsafety::unexplained(path, text)));
    complain(unsafety::excused_in_vain(&every));
}

#[test]
fn files_are_short() {
    let lengths: Vec<_> = rust_files().iter().map(|(path, text)| (path.clone(), text.lines().count())).collect();
    let allowed: Vec<_> = LONG_FILES.iter().map(|(path, lines)| ((*path).to_owned(), *lines)).collect();
    complain(sizes::too_long(&lengths, &allowed, LONGEST_FILE, "LONG_FILES"));
}

#[test]
fn functions_are_short() {
    let lengths: Vec<_> = rust_files().iter().flat_map(|(path, text)| sizes::function_lengths(path, text)).collect();
    let allowed: Vec<_> = LONG_FUNCTIONS.iter().map(|(path, name, lines)| (format!("{path} {name}"), *lines)).collect();
    complain(sizes::too_long(&lengths, &allowed, LONGEST_FUNCTION, "LONG_FUNCTIONS"));
}

#[test]
fn no_file_tells_of_a_machine() {
    complain(tracked().iter().flat_map(|(path, text)| machine_traces(path, text)));
}

#[test]
fn readme_and_ci_test_alike() {
    complain(["README.md", ".ci/run"].into_iter().filter_map(|path| {
        let told = read(path).contains(TEST_COMMAND);
        (!told).then(|| format!("{path}: the test command is `{TEST_COMMAND}` (tests/tidy/main.rs), and is not in it"))
    }));
}

fn complain(complaints: impl IntoIterator<Item = String>) {
    let complaints: Vec<String> = complaints.into_iter().collect();
    assert!(complaints.is_empty(), "{} untidy:\n{}\n", complaints.len(), complaints.join("\n"));
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every text file of the repository, by its path in it; without git, of the folder.
fn tracked() -> Vec<(String, String)> {
    let listed = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard", "-z"])
        .current_dir(root())
        .output()
        .ok()
        .filter(|output| output.status.success());
    let paths: Vec<String> = match listed {
        Some(output) => String::from_utf8_lossy(&output.stdout).split_terminator('\0').map(str::to_owned).collect(),
        None => walk(root()),
    };
    let text = |path: String| fs::read_to_string(root().join(&path)).ok().map(|text| (path, text));
    let texts: Vec<_> = paths.into_iter().filter_map(text).collect();
    assert!(texts.iter().any(|(path, _)| path == "src/lib.rs"), "the sources were not found");
    texts
}

fn walk(folder: &Path) -> Vec<String> {
    let (mut found, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            let inside = path.strip_prefix(root()).expect("it was found there").to_string_lossy().into_owned();
            match entry.file_type() {
                Ok(kind) if kind.is_dir() && !["target", "state", ".git"].contains(&&*inside) => folders.push(path),
                Ok(kind) if kind.is_file() => found.push(inside),
                _ => {}
            }
        }
    }
    found
}

fn rust_files() -> Vec<(String, String)> {
    tracked().into_iter().filter(|(path, _)| path.ends_with(".rs")).collect()
}

/// The files of the library.
fn sources() -> Vec<(String, String)> {
    rust_files()
        .into_iter()
        .filter(|(path, _)| floors::module_path(path).is_some_and(|path| !path.is_empty()))
        .collect()
}

fn machine_traces(path: &str, text: &str) -> Vec<String> {
    let telltales = telltales();
    if path == "Cargo.lock" {
        return Vec::new();
    }
    let inside_a_path = |before: &str| before.ends_with(|c: char| c.is_alphanumeric() || "._-/~>".contains(c));
    let traces = text.lines().enumerate().flat_map(|(index, line)| {
        let held = telltales.iter().filter(move |word| {
            line.match_indices(word.as_str()).any(|(at, _)| !word.starts_with('/') || !inside_a_path(&line[..at]))
        });
        held.map(move |word| {
            format!("{path}:{}: holds `{word}`, which tells of the machine that it was made on", index + 1)
        })
    });
    traces.collect()
}

#[test]
fn traces_are_found() {
    let [home, registry] = [["/ho", "me/"].concat(), ["index.crates", ".io"].concat()];
    let text = format!("a\nb {home}me\nhttps://www.example{home}x see ~{home}\nat {registry}");
    let lines: Vec<usize> =
        machine_traces("x.md", &text).iter().map(|told| told.split(':').nth(1).unwrap().parse().unwrap()).collect();
    assert_eq!(lines, [2, 4]);
    assert!(machine_traces("Cargo.lock", &text).is_empty());
}
