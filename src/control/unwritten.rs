//! What of `state` could not be written: a restart would begin without it.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// What is kept below `state`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kept {
    /// Orders by hand.
    Orders,
    /// Verdicts of probes.
    Verdicts,
    /// The set of files that serves.
    LastGood,
    /// Samples of round trips.
    Samples,
    /// The table of estimates that answers go by.
    Estimates,
}

impl Kept {
    /// All there are.
    pub const ALL: [Self; 5] = [Self::Orders, Self::Verdicts, Self::LastGood, Self::Samples, Self::Estimates];

    /// The word that `/status` and metrics use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Orders => "orders",
            Self::Verdicts => "verdicts",
            Self::LastGood => "last_good",
            Self::Samples => "samples",
            Self::Estimates => "estimates",
        }
    }
}

/// Something that could not be written.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Unwritten {
    /// What.
    pub what: Kept,
    /// Since when.
    pub since: Timestamp,
    /// Why not, with the path.
    pub error: String,
}

/// What could not be written when it was tried last.
#[derive(Debug, Default)]
pub(super) struct State(Mutex<BTreeMap<Kept, Unwritten>>);

impl State {
    /// Takes note of how writing it ended. `error`: none, it is on disk.
    pub(super) fn note(&self, what: Kept, error: Option<&str>) {
        let mut unwritten = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match error {
            None => drop(unwritten.remove(&what)),
            Some(error) => {
                let new = || Unwritten { what, since: Timestamp::now(), error: String::new() };
                error.clone_into(&mut unwritten.entry(what).or_insert_with(new).error);
            }
        }
    }

    pub(super) fn list(&self) -> Vec<Unwritten> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_since_when_it_fails_until_it_is_written() {
        let state = State::default();
        state.note(Kept::Samples, None);
        state.note(Kept::Orders, Some("disk full"));
        let since = state.list()[0].since;
        state.note(Kept::Orders, Some("read-only"));
        let told = Unwritten { what: Kept::Orders, since, error: "read-only".to_owned() };
        assert_eq!(state.list(), [told]);
        state.note(Kept::Orders, None);
        assert_eq!(state.list(), []);
        for what in Kept::ALL {
            assert_eq!(serde_json::to_value(what).unwrap(), what.as_str());
        }
    }
}
