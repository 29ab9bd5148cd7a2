//! How long files and functions may be.

use crate::code::code_only;

pub(crate) fn too_long(
    lengths: &[(String, usize)],
    allowed: &[(String, usize)],
    limit: usize,
    list: &str,
) -> Vec<String> {
    let longest = |what: &String| lengths.iter().filter(|(name, _)| name == what).map(|(_, lines)| *lines).max();
    let excused = |what: &String| allowed.iter().any(|(name, _)| name == what);
    let over = lengths.iter().filter(|(what, lines)| *lines > limit && !excused(what));
    let over =
        over.map(|(what, lines)| format!("{what}: {lines} lines, {limit} at most: find the nouns in it and part them"));
    let stale = allowed.iter().filter_map(|(what, excuse)| match longest(what) {
        None => Some(format!("{what}: is no more; take it from {list}")),
        Some(lines) if lines <= limit => Some(format!("{what}: {lines} lines are within {limit}; take it from {list}")),
        Some(lines) if lines > *excuse => {
            Some(format!("{what}: grew to {lines} lines; exceptions only shrink, this one is {excuse}"))
        }
        Some(lines) if lines < *excuse => Some(format!("{what}: well done, now write {lines} for {excuse} in {list}")),
        Some(_) => None,
    });
    over.chain(stale).collect()
}

/// Each function of a file as rustfmt leaves it: from its `fn` line to the `}` below that `fn`.
pub(crate) fn function_lengths(path: &str, text: &str) -> Vec<(String, usize)> {
    let code = code_only(text);
    let lines: Vec<&str> = code.lines().collect();
    let functions = lines.iter().enumerate().filter_map(|(start, line)| Some((start, line, function_name(line)?)));
    let lengths = functions.filter_map(|(start, line, name)| {
        let indent = &line[..line.len() - line.trim_start().len()];
        let end = function_end(&lines[start..], indent);
        let length =
            end.unwrap_or_else(|| panic!("{path}:{}: where does {name} end? Is the file formatted?", start + 1));
        (length > 0).then(|| (format!("{path} {name}"), length))
    });
    lengths.collect()
}

fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let qualifier = |word: &str| {
        matches!(word, "pub" | "const" | "async" | "unsafe" | "extern" | "\"\"") || word.starts_with("pub(")
    };
    let name = after.split(['(', '<']).next()?;
    (before.split_whitespace().all(qualifier) && (before.is_empty() || before.ends_with(' '))).then_some(name)
}

/// How many lines it has; 0 when it has no body.
fn function_end(lines: &[&str], indent: &str) -> Option<usize> {
    let mut in_body = false;
    for (index, line) in lines.iter().enumerate() {
        let Some(statement) = line.strip_prefix(indent) else { continue };
        if in_body && statement == "}" {
            return Some(index + 1);
        }
        if !in_body && !statement.starts_with(' ') {
            match statement.chars().last() {
                Some('{') => in_body = true,
                Some('}') => return Some(index + 1),
                Some(';') => return Some(0),
                _ => {}
            }
        }
    }
    None
}

#[test]
fn lengths_are_counted() {
    let text = "\
fn one() {}
impl X {
    pub(crate) const fn two(
        a: u8,
    ) -> u8
    where
        u8: Copy,
    {
        let fn_name = 1;
        r#\"
}
    }
\"#;
    }
    fn declared(&self);
    fn declared_long(
        &self,
    ) -> bool;
    async fn three() -> [u8; 2] {
        fn inner() {
        }
    }
}
";
    let found: Vec<_> =
        function_lengths("x.rs", text).into_iter().map(|(name, length)| (name.replace("x.rs ", ""), length)).collect();
    let expected = [("one", 1), ("two", 12), ("three", 4), ("inner", 2)];
    assert_eq!(found, expected.map(|(name, length)| (name.to_owned(), length)));
}

#[test]
#[should_panic(expected = "x.rs:1: where does f end?")]
fn a_function_without_end_is_not_passed_over() {
    function_lengths("x.rs", "fn f() {\n    1\n  }\n");
}

#[test]
fn exceptions_only_shrink() {
    let told = |lines, excuse: Option<usize>| {
        let allowed: Vec<_> = excuse.map(|excuse| ("a".to_owned(), excuse)).into_iter().collect();
        too_long(&[("a".to_owned(), lines)], &allowed, 10, "LIST").join("\n")
    };
    assert_eq!(told(10, None), "");
    assert!(told(11, None).starts_with("a: 11 lines, 10 at most"));
    assert_eq!(told(12, Some(12)), "");
    assert!(told(13, Some(12)).contains("grew to 13"));
    assert!(told(11, Some(12)).contains("write 11 for 12 in LIST"));
    assert!(told(10, Some(12)).contains("take it from LIST"));
    assert!(too_long(&[], &[("a".to_owned(), 12)], 10, "LIST")[0].contains("is no more"));
}
