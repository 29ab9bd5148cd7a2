//! Since when clients come back.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::model::Family;

/// By family, whose clients are its own: since when they come back. None: they do not.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Kept")]
pub struct Recovered([Option<Timestamp>; 2]);

/// As files have it. Those of version 1 have one for both.
#[derive(Deserialize)]
#[serde(untagged)]
enum Kept {
    Each([Option<Timestamp>; 2]),
    Both(Option<Timestamp>),
}

impl From<Kept> for Recovered {
    fn from(kept: Kept) -> Self {
        match kept {
            Kept::Each(each) => Self(each),
            Kept::Both(both) => Self([both; 2]),
        }
    }
}

impl From<[Option<Timestamp>; 2]> for Recovered {
    fn from(each: [Option<Timestamp>; 2]) -> Self {
        Self(each)
    }
}

impl Recovered {
    /// That of a family.
    #[must_use]
    pub fn of(&self, family: Family) -> Option<Timestamp> {
        self.0[family as usize]
    }

    pub(super) fn set(&mut self, family: Family, at: Option<Timestamp>) {
        self.0[family as usize] = at;
    }

    /// The later of both.
    #[must_use]
    pub fn last(&self) -> Option<Timestamp> {
        self.0.into_iter().max().flatten()
    }
}
