//! Where `unsafe` may stand, and what stands with it.

use crate::code::code_only;

/// The only files of the library that may hold it: the sockets, a processor's instructions, large pages, the vector
/// code.
const MAY: [&str; 5] =
    ["src/serve/socket.rs", "src/model/cpu.rs", "src/model/large.rs", "src/model/sip.rs", "src/answer/batch.rs"];

pub(crate) fn misplaced(path: &str, text: &str) -> Vec<String> {
    if MAY.contains(&path) || !path.starts_with("src/") {
        return Vec::new();
    }
    let complain = |line| format!("{path}:{line}: `unsafe`, which only {MAY:?} may hold");
    lines_with_unsafe(text).into_iter().map(complain).collect()
}

/// Each `unsafe` follows its SAFETY comment: nothing stands between but the comment's other lines, and
/// the beginning of the statement that holds it.
pub(crate) fn unexplained(path: &str, text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().collect();
    let is_explained = |line: &usize| {
        let above = lines[..line - 1].iter().rev().skip_while(|line| !line.trim_start().starts_with("//")).take(8);
        let gap = lines[..line - 1].iter().rev().take_while(|line| !line.trim_start().starts_with("//")).count();
        let comment = above.take_while(|line| line.trim_start().starts_with("//"));
        gap <= 1 && comment.into_iter().any(|line| line.trim_start().starts_with("// SAFETY: "))
    };
    let bare = lines_with_unsafe(text).into_iter().filter(|line| !is_explained(line));
    bare.map(|line| format!("{path}:{line}: `unsafe` without a `// SAFETY: ` comment right above")).collect()
}

/// What no longer needs its place on the list loses it.
pub(crate) fn excused_in_vain(files: &[(String, String)]) -> Vec<String> {
    let in_vain = files.iter().filter(|(path, text)| MAY.contains(&&**path) && lines_with_unsafe(text).is_empty());
    in_vain.map(|(path, _)| format!("{path}: holds no `unsafe`; take it from MAY in tests/tidy/unsafety.rs")).collect()
}

fn lines_with_unsafe(text: &str) -> Vec<usize> {
    let is_word = |line: &str| line.split(|c: char| !c.is_alphanumeric() && c != '_').any(|word| word == "unsafe");
    let code = code_only(text);
    code.lines().enumerate().filter(|(_, line)| is_word(line)).map(|(index, _)| index + 1).collect()
}

#[test]
fn unsafe_is_found_in_code_alone() {
    let text = "// unsafe\nlet x = \"unsafe\";\n#[expect(unsafe_code)]\nunsafe {}\nunsafe fn f() {}\n";
    assert_eq!(lines_with_unsafe(text), [4, 5]);
    assert_eq!(misplaced("src/wire/query.rs", text).len(), 2);
    assert_eq!(misplaced("src/model/cpu.rs", text), [""; 0]);
}

#[test]
fn a_safety_comment_stands_right_above() {
    let of = |text: &str| unexplained("x.rs", text).len();
    assert_eq!(of("// SAFETY: fine,\n// indeed.\nlet x = unsafe {};"), 0);
    assert_eq!(of("// SAFETY: fine.\nlet x =\n    unsafe {};"), 0);
    assert_eq!(of("// it is fine\nunsafe {}"), 1);
    assert_eq!(of("// SAFETY: fine.\na();\nb();\nunsafe {}"), 1);
    assert_eq!(of("unsafe {}"), 1);
}

#[test]
fn an_excuse_that_nobody_needs_is_found() {
    let told =
        |text: &str| excused_in_vain(&[(MAY[0].to_owned(), text.to_owned()), ("src/x.rs".to_owned(), String::new())]);
    assert_eq!(told("unsafe {}").len(), 0);
    assert_eq!(told("// unsafe").len(), 1);
}
