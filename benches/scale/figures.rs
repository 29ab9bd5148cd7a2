//! Figures beside their goals.

use std::fmt;
use std::time::Duration;

/// How much of the set is made.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Size {
    Tenth,
    Full,
}

impl Size {
    /// Of a number that the full set has.
    pub(crate) fn of(self, full: usize) -> usize {
        if self == Self::Full { full } else { full / 10 }
    }

    fn label(self) -> &'static str {
        if self == Self::Full { "full" } else { "a tenth" }
    }
}

/// Something measured, in the unit of its name.
pub(crate) struct Figure {
    pub(crate) what: &'static str,
    pub(crate) goal: &'static str,
    pub(crate) value: f64,
}

impl Figure {
    pub(crate) fn new(what: &'static str, goal: &'static str, value: f64) -> Self {
        Self { what, goal, value }
    }

    pub(crate) fn seconds(what: &'static str, goal: &'static str, time: Duration) -> Self {
        Self::new(what, goal, time.as_secs_f64())
    }

    pub(crate) fn ms(what: &'static str, goal: &'static str, time: Duration) -> Self {
        Self::new(what, goal, time.as_secs_f64() * 1e3)
    }

    pub(crate) fn mb(what: &'static str, goal: &'static str, octets: u64) -> Self {
        Self::new(what, goal, octets as f64 / 1e6)
    }
}

/// Adds what each record takes: resident memory less that of the program with next to no records.
pub(crate) fn per_record(figures: &mut Vec<Figure>, empty: u64, records: usize) {
    let steady = figures.iter().find(|figure| figure.what == STEADY).map_or(0.0, |figure| figure.value);
    let octets = (steady * 1e6 - empty as f64) / records as f64;
    figures.push(Figure::new("resident a record, octets", "110", octets));
}

/// The name of the figure that [`per_record`] starts from.
pub(crate) const STEADY: &str = "resident, steady, MB";

/// All figures of one set, by size.
pub(crate) struct Table {
    title: String,
    columns: Vec<(Size, Vec<Figure>)>,
}

impl Table {
    pub(crate) fn new(title: &str) -> Self {
        Self { title: title.to_owned(), columns: Vec::new() }
    }

    pub(crate) fn add(&mut self, size: Size, figures: Vec<Figure>) {
        self.columns.push((size, figures));
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<40} {:>12}", self.title, "goal (full)")?;
        for (size, _) in &self.columns {
            write!(f, " {:>12}", size.label())?;
        }
        writeln!(f)?;
        let Some((_, first)) = self.columns.first() else { return Ok(()) };
        for (row, figure) in first.iter().enumerate() {
            write!(f, "{:<40} {:>12}", figure.what, figure.goal)?;
            for (_, figures) in &self.columns {
                let value = figures.get(row).map_or("-".to_owned(), |figure| significant(figure.value));
                write!(f, " {value:>12}")?;
            }
            writeln!(f)?;
        }
        Ok(())
    }
}

/// Three figures that mean something.
fn significant(value: f64) -> String {
    let digits = (2.0 - value.abs().max(1e-9).log10().floor()).clamp(0.0, 6.0);
    format!("{value:.*}", digits as usize)
}
