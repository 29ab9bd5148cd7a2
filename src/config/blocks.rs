//! The `[[services]]` of a large file, read one at a time.
//!
//! A tree of the whole text takes thirty times the text: half a gigabyte where there are a hundred
//! thousand services. So the text is cut before each line `[[services]]`, what is left (the head) is
//! parsed as one document, and of each block a tree is made while it is looked at. A cut may be wrong,
//! inside a text of several lines say; then some part does not parse, or holds something else than one
//! service, and the whole text is parsed at once, which finds the errors that there are.

use std::ops::Range;

use toml::de::DeTable;

use super::report::Report;
use super::services::{self, ServiceSpec};
use super::table::Table;

const HEAD: &str = "[[services]]";

/// Some part is not what it was taken for: the text has to be parsed as a whole.
pub(super) struct Miscut;

/// The blocks of a text.
pub(super) struct Blocks<'a> {
    text: &'a str,
    ranges: Vec<Range<usize>>,
}

impl<'a> Blocks<'a> {
    /// Cuts `text`; without services there is no block.
    pub(super) fn of(text: &'a str) -> Self {
        let (mut ranges, mut open, mut at) = (Vec::new(), None, 0);
        for line in text.split_inclusive('\n') {
            let word = line.trim_start();
            if word.starts_with('[') && !word.starts_with("[services.") && !word.starts_with("[[services.") {
                ranges.extend(open.take().map(|start| start..at));
                open = is_head(line).then_some(at);
            }
            at += line.len();
        }
        ranges.extend(open.map(|start| start..at));
        Self { text, ranges }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }

    /// The text with its blocks blanked out, every other octet at its place.
    pub(super) fn head(&self) -> String {
        let (mut head, mut at) = (String::with_capacity(self.text.len()), 0);
        for range in &self.ranges {
            head.push_str(&self.text[at..range.start]);
            head.extend(std::iter::repeat_n(' ', range.len() - 1).chain(['\n']));
            at = range.end;
        }
        head + &self.text[at..]
    }

    /// Hands each service to `look`, in the order of the file.
    pub(super) fn each(&self, report: &Report<'_>, mut look: impl FnMut(&ServiceSpec<'_>)) -> Result<(), Miscut> {
        self.ranges.iter().try_for_each(|range| self.read(range, report, &mut look))
    }

    /// Hands the service of that index to `look`.
    pub(super) fn one(&self, index: usize, report: &Report<'_>, look: impl FnMut(&ServiceSpec<'_>)) {
        let _ = self.read(&self.ranges[index], report, look); // it was read before
    }

    fn read(
        &self,
        range: &Range<usize>,
        report: &Report<'_>,
        mut look: impl FnMut(&ServiceSpec<'_>),
    ) -> Result<(), Miscut> {
        let (tree, errors) = DeTable::parse_recoverable(&self.text[range.clone()]);
        let tree = tree.get_ref();
        if !errors.is_empty() || tree.len() != 1 {
            return Err(Miscut);
        }
        let mut root = Table::new(report, "the configuration", 0..0, tree, &[]).based(range.start);
        match &services::read(&mut root)[..] {
            [service] => look(service),
            _ => return Err(Miscut),
        }
        Ok(())
    }
}

fn is_head(line: &str) -> bool {
    let rest = line.strip_prefix(HEAD).map(str::trim_start);
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('#'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_cut_and_the_rest_keeps_its_place() {
        let text = "a = 1\n[[services]] # one\nname = \"x\"\n[services.b]\n[c]\nd = 2\n[[services]]\nü = 1";
        let blocks = Blocks::of(text);
        let cut: Vec<&str> = blocks.ranges.iter().map(|range| &text[range.clone()]).collect();
        assert_eq!(cut, ["[[services]] # one\nname = \"x\"\n[services.b]\n", "[[services]]\nü = 1"]);
        let head = blocks.head();
        assert_eq!(head.len(), text.len());
        assert_eq!(head.split_whitespace().collect::<String>(), "a=1[c]d=2");
        assert_eq!(head.find("[c]"), text.find("[c]"));
        assert!(Blocks::of("[[services.x]]\n[ [services]]\n[[servicesx]]\n").is_empty());
    }
}
