//! What round trips that were measured say beyond the prior.
//!
//! ```text
//! Session ──Samples::take──▶ Samples ──estimate──▶ Estimates ──Published::next──▶ Published ──factor──▶ answers
//!                               ▲                      │
//!                               └── what to measure ◀──┴── Samples::candidates
//! ```
//!
//! Samples are kept as they came, by prefix (/24, /48) and session, and looked at anew each time (`store`, `record`): so no
//! estimate of yesterday is built into them, and a new GeoIP database, another prior or a server moved to another region spoils
//! nothing. What is worked out of them:
//!
//! 1. **A session's offset.** A client's own last mile is in each round trip that it measures, in those of one session alike. So
//!    of a [`Kind::Relative`] session only differences count: its offset is an unknown beside the round trips (`solve`). So is
//!    that of all [`Kind::Absolute`] ones of a prefix: what all its ways have in common would lengthen one more, too.
//! 2. **A server's bias.** A server takes its time, whoever asks. What is missing at all prefixes alike is taken off; near
//!    prefixes tell it best, since there the prior can be wrong by little (`biases`).
//! 3. **Shifts of countries and networks** (autonomous system × country): the median of what prefixes say, of which each has one
//!    vote, however often it measured (`groups`).
//! 4. **Shifts of prefixes**: what its own samples say, shrunk towards its network, country, or the prior, by how much they weigh
//!    (`solve`; `once` where no site has a second sample). Weight halves with each half-life.
//!
//! Why a few liars do not steer others: a sample belongs to the prefix that it came from, and moves that one. All that goes
//! beyond a prefix is a median with at most one vote a prefix, beside votes for no change that nobody cast: as many as make
//! `max_source_share` of one prefix's vote, and more than [`LIARS`] of all prefixes have. So whoever has fewer prefixes than
//! these can never outvote them, even where nobody else measures; and where others measure, only move the median to where one
//! of theirs stands. Such small moves go no farther: biases, countries and networks stay as they are published until they are off
//! by a threshold, and prefixes are worked out by what is published of these. (All /48s of an IPv6 /32 share one vote, since who holds one has 65,536 of these.)
//! Nor can they take away what is published: that is what votes for no change then stand for, and of a site with fewer votes it stays until
//! the samples behind it would be too old to be kept. The price: what fewer say of a country is not believed of its other prefixes.
//!
//! All figures are made of what rounds alike on every machine (`sphere`). Nodes that go by the same [`Published`] decide alike, to
//! the bit; two that took the same samples in, in another order, may differ in an estimate's last bits.

mod biases;
mod estimate;
mod explore;
mod groups;
mod median;
mod once;
mod published;
mod record;
mod saved;
mod solve;
mod store;

pub use estimate::{Estimates, Shift};
pub use published::{Factor, Place, Published};
pub use store::{Counted, Samples};

use std::net::IpAddr;
use std::time::Duration;

use crate::model::Country;

/// A site in samples: index into [`Samples::targets`].
#[derive(Copy, Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetId(pub u16);

impl TargetId {
    /// As an index.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

/// What one client measured in one go.
#[derive(Clone, Copy, Debug)]
pub struct Session<'a> {
    /// Who. Cut to its /24 or /48 before anything is kept.
    pub client: IpAddr,
    /// What its round trips hold.
    pub kind: Kind,
    /// Round trips, ms. What is not between 0 and 10,000, or to no known site, is left out; of one site the least counts, and
    /// of more than eight sites the nearest.
    pub samples: &'a [(TargetId, f32)],
}

/// What round trips hold besides the way.
#[derive(Copy, Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The client's own last mile and the servers' time: only differences within a session count.
    Relative,
    /// Nothing: an imported table; an agent's TCP round trip. Those of several sessions can be compared.
    Absolute,
}

/// What the store asks of the rest of the server when it works out estimates.
pub trait World {
    /// Where a client is.
    fn country(&self, client: IpAddr) -> Option<Country>;
    /// Its autonomous system.
    fn asn(&self, client: IpAddr) -> Option<u32>;
    /// The same if answers tell it from the rest of its country, so that what is published of it goes for all of its prefixes.
    fn named_asn(&self, client: IpAddr) -> Option<u32> {
        self.asn(client)
    }
    /// The prior between the client's location and a site, ms; none: nothing stands there now.
    fn prior_ms(&self, client: IpAddr, target: TargetId) -> Option<f32>;
    /// Is its whole prefix in one place? Else factors of its own would move nothing: parts of it may lie under different fences.
    fn is_one_place(&self, client: IpAddr) -> bool;
}

/// How long samples count, and how much.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// After so long a sample weighs half.
    pub half_life: Duration,
    /// After so long it is deleted.
    pub keep_for: Duration,
    /// The most that one client prefix weighs in an estimate that goes for others, 0 to 1.
    pub max_source_share: f32,
}

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl Default for Settings {
    fn default() -> Self {
        Self { half_life: 7 * DAY, keep_for: 30 * DAY, max_source_share: 0.05 }
    }
}

/// Fewer than this share of all prefixes that measured are taken to lie together.
const LIARS: f64 = 0.0125;

impl Settings {
    /// How many votes for no change stand beside those of so many prefixes.
    fn abstentions(&self, prefixes: f64) -> f64 {
        let share = f64::from(self.max_source_share).clamp(1e-3, 1.0);
        (1.0 / share).max(LIARS * prefixes)
    }
}

#[cfg(test)]
mod tests;
