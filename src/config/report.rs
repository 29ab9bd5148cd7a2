//! What is wrong in one file, gathered while reading goes on: a problem never stops the reader.

use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ops::Range;
use std::path::Path;

use crate::model::{Problem, Severity, Spot};

/// Octets of the file.
pub(super) type Span = Range<usize>;

/// A value and where it was typed.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct At<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

/// The most problems that are kept; the rest are counted.
const MAX_PROBLEMS: usize = 1000;

/// Problems in one file, and the index that turns octets into lines.
pub(super) struct Report<'a> {
    file: &'a Path,
    text: &'a str,
    line_starts: Vec<usize>,
    /// Lines (from 0) that do not parse: what stands there is not judged further.
    broken_lines: HashSet<usize>,
    problems: RefCell<Vec<Problem>>,
    dropped_errors: Cell<usize>,
    dropped_warnings: Cell<usize>,
}

impl<'a> Report<'a> {
    pub(super) fn new(file: &'a Path, text: &'a str) -> Self {
        let ends = text.bytes().enumerate().filter(|(_, octet)| *octet == b'\n');
        let line_starts = std::iter::once(0).chain(ends.map(|(at, _)| at + 1)).collect();
        Self {
            file,
            text,
            line_starts,
            broken_lines: HashSet::new(),
            problems: RefCell::default(),
            dropped_errors: Cell::default(),
            dropped_warnings: Cell::default(),
        }
    }

    /// What is at `span`, for later problems in other files.
    pub(super) fn spot(&self, span: &Span) -> Spot {
        let line = self.line_index(span.start);
        let before = self.text.get(self.line_starts[line]..span.start).unwrap_or_default();
        Spot { line: line + 1, column: before.chars().count() + 1, span: span.clone() }
    }

    /// The line, from 1.
    pub(super) fn line(&self, span: &Span) -> usize {
        self.line_index(span.start) + 1
    }

    pub(super) fn error(&self, code: &'static str, span: &Span, message: impl Into<String>) {
        self.push(Problem::error(code, self.file, message), span);
    }

    pub(super) fn error_help(&self, code: &'static str, span: &Span, message: impl Into<String>, help: Option<String>) {
        self.push(Problem { help, ..Problem::error(code, self.file, message) }, span);
    }

    pub(super) fn warning(&self, code: &'static str, span: &Span, message: impl Into<String>, help: impl Into<String>) {
        self.push(Problem::warning(code, self.file, message).help(help), span);
    }

    /// A problem of the whole file.
    pub(super) fn error_without_spot(&self, code: &'static str, message: String, help: String) {
        self.keep(Problem::error(code, self.file, message).help(help));
    }

    /// Reports text that is no TOML. Nothing more is said about its lines.
    pub(super) fn syntax_error(&mut self, span: &Span, message: String, help: Option<String>) {
        self.error_help("syntax", span, message, help);
        self.broken_lines.insert(self.line_index(span.start));
    }

    /// From this line on nothing more is judged.
    pub(super) fn break_from(&mut self, span: &Span) {
        self.broken_lines.extend(self.line_index(span.start)..self.line_starts.len());
    }

    /// Is anything wrong so far?
    pub(super) fn has_errors(&self) -> bool {
        self.problems.borrow().iter().any(|problem| problem.severity == Severity::Error)
    }

    /// Did some text not parse? Then what seems to be missing may stand there.
    pub(super) fn is_partial(&self) -> bool {
        !self.broken_lines.is_empty()
    }

    /// The file with its broken lines blanked out, every other octet at its place. With the head of a
    /// table its whole body goes, which would else count as more of the table above.
    pub(super) fn text_without_broken_lines(&self) -> String {
        let mut headless = false;
        let keep = |(index, line): (usize, &str)| {
            let (broken, head) = (self.broken_lines.contains(&index), line.trim_start().starts_with('['));
            headless = head && broken || headless && !head;
            if broken || headless { blank(line) } else { line.to_owned() }
        };
        self.text.split_inclusive('\n').enumerate().map(keep).collect()
    }

    /// All problems in the order of the file, and whether there is an error among them.
    pub(super) fn finish(self) -> (Vec<Problem>, bool) {
        let mut problems = self.problems.into_inner();
        problems.sort_by_key(|problem| problem.spot.as_ref().map_or(usize::MAX, |spot| spot.span.start));
        problems.dedup();
        let (errors, warnings) = (self.dropped_errors.get(), self.dropped_warnings.get());
        if errors > 0 {
            problems.push(Problem::error(
                "too-many-problems",
                self.file,
                format!("{errors} more errors are not shown"),
            ));
        }
        if warnings > 0 {
            let message = format!("{warnings} more warnings are not shown");
            problems.push(Problem::warning("too-many-problems", self.file, message));
        }
        let failed = problems.iter().any(|problem| problem.severity == Severity::Error);
        (problems, failed)
    }

    fn push(&self, problem: Problem, span: &Span) {
        if !self.broken_lines.contains(&self.line_index(span.start)) {
            self.keep(problem.at(self.spot(span)));
        }
    }

    fn keep(&self, problem: Problem) {
        let mut problems = self.problems.borrow_mut();
        let dropped = match problem.severity {
            _ if problems.len() < MAX_PROBLEMS => return problems.push(problem),
            Severity::Error => &self.dropped_errors,
            Severity::Warning => &self.dropped_warnings,
        };
        dropped.set(dropped.get() + 1);
    }

    fn line_index(&self, at: usize) -> usize {
        self.line_starts.partition_point(|&start| start <= at).saturating_sub(1)
    }
}

fn blank(line: &str) -> String {
    line.bytes().map(|octet| if octet == b'\n' { '\n' } else { ' ' }).collect()
}

/// ``` `a`, `b` or `c` ```, of at most twenty.
pub(super) fn one_of<'c>(words: impl IntoIterator<Item = &'c str>) -> String {
    let mut words: Vec<String> = words.into_iter().take(21).map(|word| format!("`{word}`")).collect();
    if words.len() == 21 {
        words[20] = "…".to_owned();
    }
    match words.pop() {
        Some(last) if words.is_empty() => last,
        Some(last) => format!("{} or {last}", words.join(", ")),
        None => "nothing".to_owned(),
    }
}

/// Text as a message may show it: in back quotes, cut where it is long.
pub(super) fn quoted(text: &str) -> String {
    const SHOWN: usize = 60;
    match text.char_indices().nth(SHOWN) {
        None => format!("`{}`", text.escape_debug()),
        Some((end, _)) => format!("`{}…`", text[..end].escape_debug()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_and_quotes_are_bounded() {
        assert_eq!(one_of(["a", "b", "c"]), "`a`, `b` or `c`");
        assert_eq!(quoted(&"é".repeat(100)).chars().count(), 63);
    }

    #[test]
    fn spots_are_those_of_the_model() {
        let text = "a = 1\n\nü = \"x\"\r\nlast";
        let report = Report::new(Path::new("f"), text);
        for (at, _) in text.char_indices() {
            assert_eq!(report.spot(&(at..at + 1)), Spot::of_span(text, at..at + 1));
        }
        assert_eq!(report.line(&(text.len()..text.len())), 4);
    }

    #[test]
    fn problems_are_bounded_and_in_order() {
        let text = "x\n".repeat(3000);
        let report = Report::new(Path::new("f"), &text);
        (0..1500).rev().for_each(|at| report.error("odd", &(at..at), "odd"));
        let (problems, failed) = report.finish();
        assert!(failed && problems.len() == MAX_PROBLEMS + 1);
        assert_eq!(problems[MAX_PROBLEMS].message, "500 more errors are not shown");
        assert!(problems[..MAX_PROBLEMS].is_sorted_by_key(|problem| problem.spot.as_ref().unwrap().line));
    }
}
