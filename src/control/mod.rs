//! Floor 4: the control plane. It alone publishes.
//!
//! ```text
//! probe ── Report ──▶ Board::observe ── Verdict ──┐
//! resolver ── Resolved ──▶ Board::reconfigure ────┼──▶ Snapshot::with_standings ──▶ publish
//! Watch, SIGHUP ──settle──▶ load → compile (apart) ┘                                   │
//!                             │ problems: log, journal, metric; nothing changes        ▼
//!                             └ good: kept in state/last-good                    every worker
//! ```

mod attempt;
mod explain;
mod files;
mod hosts;
mod last_good;
mod load;
mod run;
mod settling;
mod shared;
#[cfg(test)]
mod tests;
mod watch;

pub use attempt::trial;
pub use explain::{Answered, Choice, Contender, DatabaseSays, Explanation, Placed, explain};
pub use files::{Digest, DiskFiles, Sight};
pub use last_good::{KeptSet, LastGood};
pub use load::{Loaded, load};
pub use run::{Control, Options};
pub use shared::{Journal, Reload, ReloadResult, Shared};
