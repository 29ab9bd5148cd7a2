//! Text that is no TOML: what the parser says, with a word on the mistakes that are made most.

use toml::Spanned;
use toml::de::{DeTable, Error};

use super::report::{Report, Span};

/// The tree in `text`, as far as there is one; what does not parse is reported.
pub(super) fn parse<'t>(report: &mut Report<'_>, text: &'t str) -> Spanned<DeTable<'t>> {
    let (tree, mut errors) = DeTable::parse_recoverable(text);
    errors.sort_by_key(|error| span(error).start);
    let unclosed = errors.iter().any(|error| {
        error.message().starts_with("unclosed array,") || error.message().starts_with("unclosed inline table")
    });
    for error in &errors {
        report.syntax_error(&span(error), error.message().to_owned(), help(text, error));
        // All that follows is taken for more of the list that is not closed: one error is enough.
        if unclosed && ["missing", "unexpected `=`", "unclosed"].iter().any(|word| error.message().starts_with(word)) {
            report.break_from(&span(error));
        }
    }
    tree
}

fn span(error: &Error) -> Span {
    error.span().unwrap_or_default()
}

fn help(text: &str, error: &Error) -> Option<String> {
    let start = text.get(..span(error).start)?.rfind('\n').map_or(0, |at| at + 1);
    let line = text[start..].lines().next()?.trim();
    let message = error.message();
    if message.starts_with("duplicate key") {
        return Some("a key stands once in its table, and a [table] once in the file; [[table]] may repeat".to_owned());
    }
    if ["missing comma", "extra assignment", "unexpected `=` in array"].iter().any(|word| message.starts_with(word)) {
        return Some("if it is no comma that is missing, then the `]` or `}` before it".to_owned());
    }
    if message.starts_with("unclosed table") || message.starts_with("unclosed array table") {
        return Some("a table's head is `[name]`, one of a list of tables `[[name]]`".to_owned());
    }
    let Some((key, value)) = line.split_once('=') else { return Some("a line is `key = value`".to_owned()) };
    let (key, value) = (key.trim(), value.trim());
    let bare = value.split_whitespace().next().unwrap_or_default();
    match bare.to_lowercase().as_str() {
        "" | "#" => Some(format!("a value is missing: `{key} = …`")),
        "true" | "false" => Some(format!("in lower case: `{key} = {}`", bare.to_lowercase())),
        _ if bare.bytes().all(|octet| octet.is_ascii_alphanumeric() || b"-_.:/*".contains(&octet)) => {
            Some(format!("text stands in quotes: `{key} = \"{bare}\"`"))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    /// Lines with their help.
    fn said(text: &str) -> Vec<(usize, String)> {
        let mut report = Report::new(Path::new("f"), text);
        parse(&mut report, text);
        let (problems, _) = report.finish();
        problems.into_iter().map(|p| (p.spot.unwrap().line, p.help.unwrap_or_default())).collect()
    }

    #[test]
    fn common_mistakes_get_a_word() {
        for (text, word) in [
            ("ttl = 20s", "ttl = \"20s\""),
            ("a = True", "`a = true`"),
            ("a =", "value is missing"),
            ("a: 1", "`key = value`"),
            ("[a\nb = 1", "[name]"),
            ("a = 1\na = 2", "once in its table"),
            ("a = { b = \"1\" c = \"2\" }", "comma"),
        ] {
            let said = said(text);
            assert!(said.len() == 1 && said[0].1.contains(word), "{text}: {said:?}");
        }
    }

    #[test]
    fn an_unclosed_list_is_said_once() {
        let said = said("a = [ 1,\n2\n\nb = 3\nc = 4\n[d]\ne = 5\n");
        assert_eq!(said.len(), 1, "{said:?}");
        assert_eq!(said[0].0, 4);
    }
}
