//! Rust text without what only looks like code.

/// The text without comments and without what stands in quotes; every line keeps its number.
pub(crate) fn code_only(text: &str) -> String {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let (skipped, kept) = match c {
            '/' if rest.starts_with("//") => (rest.find('\n').unwrap_or(rest.len()), ""),
            '/' if rest.starts_with("/*") => (block_comment(rest), ""),
            '"' => (quoted(rest, '"'), "\"\""),
            '\'' if is_character(rest) => (quoted(rest, '\''), "''"),
            'r' if !code.ends_with(|c: char| c.is_alphanumeric() && !matches!(c, 'b' | 'c') || c == '_') => {
                match raw(rest) {
                    Some(length) => (length, "\"\""),
                    None => (1, "r"),
                }
            }
            c => (c.len_utf8(), &rest[..c.len_utf8()]),
        };
        code.push_str(kept);
        if kept != &rest[..skipped] {
            code.extend(rest[..skipped].matches('\n'));
        }
        rest = &rest[skipped..];
    }
    code
}

fn block_comment(text: &str) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at < text.len() {
        match &text.as_bytes()[at..] {
            [b'/', b'*', ..] => (depth, at) = (depth + 1, at + 2),
            [b'*', b'/', ..] if depth == 1 => return at + 2,
            [b'*', b'/', ..] => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
    }
    text.len()
}

fn quoted(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// A character, and not a lifetime?
fn is_character(text: &str) -> bool {
    let mut after = text.chars().skip(1);
    after.next() == Some('\\') || after.next() == Some('\'')
}

/// The length of a raw string at the start of the text.
fn raw(text: &str) -> Option<usize> {
    let marks = text[1..].len() - text[1..].trim_start_matches('#').len();
    let open = 1 + marks + 1;
    let end = "\"".to_owned() + &"#".repeat(marks);
    (text.as_bytes().get(open - 1) == Some(&b'"'))
        .then(|| text[open..].find(&end).map_or(text.len(), |at| open + at + end.len()))
}
/// The lines that hold one of the words, with the first such word.
pub(crate) fn find_any<'a>(text: &str, words: &[&'a str]) -> Vec<(usize, &'a str)> {
    let on_line =
        |(index, line): (usize, &str)| words.iter().find(|word| line.contains(**word)).map(|word| (index + 1, *word));
    text.lines().enumerate().filter_map(on_line).collect()
}

#[test]
fn only_code_is_left() {
    for (text, expected) in [
        ("a // b\nc", "a \nc"),
        ("a /* b /* c */\n d */ e", "a \n e"),
        (r#"f("x // \" y", 'z')"#, r#"f("", '')"#),
        ("'\\'' \"", "'' \"\""),
        ("fn f<'a>(x: &'a str) // 'b'", "fn f<'a>(x: &'a str) "),
        ("br##\"a\"# // \n\"## for r in x", "b\"\"\n for r in x"),
        ("r#type + var\"s\"", "r#type + var\"\""),
        ("\"a\\\n  b\";c", "\"\"\n;c"),
    ] {
        assert_eq!(code_only(text), expected, "{text}");
    }
}
