//! Problems as the operator sees them: with a caret under the place.

use std::fmt::Write;
use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Origin, Renderer, Snippet};

use crate::model::{Files, Problem, Severity, Spot};

/// At most so many lines of a place are shown.
const MAX_LINES: usize = 3;

/// The problems as text, one after the other, each ending with an empty line. `files` gives the text
/// that they point into; a problem whose file has none there is shown by line and column. `colour`
/// is for terminals: the caller knows whether there is one, and whether NO_COLOR is set.
#[must_use]
pub fn render(problems: &[Problem], files: &mut dyn Files, colour: bool) -> String {
    let renderer = if colour { Renderer::styled().hyperlink(false) } else { Renderer::plain() };
    let mut shown = String::new();
    for problem in problems {
        let path = problem.file.display().to_string();
        let octets = files.read(&problem.file).ok();
        let text = octets.as_deref().and_then(|octets| std::str::from_utf8(octets).ok());
        let lines = problem.spot.as_ref().and_then(|spot| lines(text?, spot));
        let group = group(problem, &path, lines);
        writeln!(shown, "{}\n", renderer.render(&[group])).expect("writing to a string");
    }
    shown
}

fn group<'a>(problem: &'a Problem, path: &'a str, lines: Option<(&'a str, Range<usize>)>) -> Group<'a> {
    let level = if problem.severity == Severity::Error { Level::ERROR } else { Level::WARNING };
    let title = level.primary_title(&problem.message).id(problem.code);
    let group = match (lines, &problem.spot) {
        (Some((text, span)), Some(spot)) => {
            let caret = AnnotationKind::Primary.span(span);
            title.element(Snippet::source(text).line_start(spot.line).path(path).annotation(caret))
        }
        (_, Some(spot)) => title.element(Origin::path(path).line(spot.line).char_column(spot.column)),
        _ => title.element(Origin::path(path)),
    };
    match &problem.help {
        Some(help) => group.element(Level::HELP.message(help)),
        None => group,
    }
}

/// The lines of the spot, at most [`MAX_LINES`], and its span in them. None where it is not in `text`,
/// which may have changed since.
fn lines<'t>(text: &'t str, spot: &Spot) -> Option<(&'t str, Range<usize>)> {
    let Range { start, end } = spot.span;
    let first = text.get(..start)?.rfind('\n').map_or(0, |at| at + 1);
    let mut last = start;
    for line in text[start..].split_inclusive('\n').take(MAX_LINES) {
        last += line.len();
        if last >= end {
            break;
        }
    }
    let shown = text[first..last].trim_end_matches(['\r', '\n']);
    let end = end.min(first + shown.len()).max(start);
    text.is_char_boundary(end).then(|| (shown, start - first..end - first))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use super::*;

    fn shown(text: Option<&str>, span: Range<usize>) -> String {
        let path = Path::new("config.toml");
        let mut files: BTreeMap<PathBuf, Arc<[u8]>> = BTreeMap::new();
        files.extend(text.map(|text| (path.to_owned(), text.as_bytes().into())));
        let spot = Spot::of_span(text.unwrap_or("a\nbcd"), span);
        render(&[Problem::error("odd", path, "it is odd").at(spot).help("make it even")], &mut files, false)
    }

    #[test]
    fn a_caret_stands_under_the_place() {
        let expected = "\
error[odd]: it is odd
 --> config.toml:2:5
  |
2 | é = 17
  |     ^^
  |
  = help: make it even

";
        assert_eq!(shown(Some("a = 1\né = 17\nb = 2\n"), 11..13), expected);
    }

    #[test]
    fn without_the_text_there_is_the_place() {
        assert_eq!(shown(None, 2..3), "error[odd]: it is odd\n--> config.toml:2:1\n = help: make it even\n\n");
    }

    #[test]
    fn places_outside_the_text_and_of_many_lines() {
        let many = "x\n".repeat(9);
        for (text, span) in [("", 0..0), ("ab", 2..2), ("ab\n", 3..3), ("a", 5..9), ("é", 1..2), (&many, 4..17)] {
            let shown = shown(Some(text), span);
            assert!(shown.contains("it is odd") && shown.lines().count() < 12, "{shown}");
        }
    }
}
