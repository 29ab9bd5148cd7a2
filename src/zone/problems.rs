//! What is wrong with a zone's files, bounded.

use std::cmp::Reverse;

use super::data::{Place, ZoneData};
use crate::model::{Problem, Severity};

/// So many errors and so many warnings are kept; of the rest only the number.
const MOST: usize = 100;

/// Errors and warnings as they are found. Each list has a bound of its own: warnings never crowd
/// out an error.
#[derive(Default)]
pub(super) struct Problems {
    errors: Vec<Problem>,
    warnings: Vec<Problem>,
    left_out: usize,
}

impl Problems {
    pub(super) fn error(&mut self, data: &ZoneData, code: &'static str, place: Place, message: String, help: String) {
        self.push(Problem::error(code, data.file(place), message).at(place.spot()).help(help));
    }

    pub(super) fn warn(&mut self, data: &ZoneData, code: &'static str, place: Place, message: String, help: String) {
        self.push(Problem::warning(code, data.file(place), message).at(place.spot()).help(help));
    }

    pub(super) fn push(&mut self, problem: Problem) {
        let list = if problem.severity == Severity::Error { &mut self.errors } else { &mut self.warnings };
        if list.len() < MOST {
            list.push(problem);
        } else {
            self.left_out += 1;
        }
    }

    pub(super) fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// All problems in the order of the files' lines, errors before warnings on the same line.
    pub(super) fn finish(self, data: &ZoneData) -> Vec<Problem> {
        let worst = if self.has_errors() { Severity::Error } else { Severity::Warning };
        let mut all = self.errors;
        all.extend(self.warnings);
        all.sort_by_cached_key(|problem| {
            let file = data.files().iter().position(|file| *file == problem.file);
            let spot = problem.spot.as_ref().map(|spot| (spot.line, spot.column));
            (file, spot.is_none(), spot, Reverse(problem.severity == Severity::Error))
        });
        if let (Some(last), true) = (all.last(), self.left_out > 0) {
            let message = format!("{} more problems are not shown", self.left_out);
            all.push(Problem { severity: worst, ..Problem::error("more-problems", &last.file, message) });
        }
        all
    }
}
