//! Floor 4: the control plane. It alone publishes.
//!
//! ```text
//! probe ── Report ──▶ Board::observe ── Verdict ──┐
//! resolver ── Resolved ──▶ Board::reconfigure ────┼──▶ Snapshot::with_standings ──▶ publish ──▶ every worker
//! Watch, SIGHUP ──settle──▶ load → compile ────────┘                                   │
//!                           (idle lane) │ problems: log, journal, metric               ▼
//!                                       └ good: kept in state/last-good       the one before: freed
//!                                         (idle lane)                             (idle lane)
//! ```

mod attempt;
mod digests;
mod edits;
mod events;
mod exchange;
mod explain;
mod explanation;
mod files;
mod first;
mod freeing;
mod hosts;
mod idle;
mod impact;
mod last_good;
mod load;
mod looks;
mod measured_files;
mod measuring;
mod orders;
mod overrides;
mod remembered;
mod request;
mod run;
mod secrets;
mod settling;
mod shared;
mod tables;
mod telling;
#[cfg(test)]
mod tests;
mod unwritten;
mod verdicts;
mod watch;
mod webhook;

pub use attempt::{check_secrets, reload, trial};
pub use digests::Digests;
pub use events::{AddressEvent, Event, Events};
pub use explain::{asked_as, explain};
pub use explanation::{Answered, Choice, Contender, Counted, DatabaseSays, Explanation, MeasuredBy, Placed};
pub use files::{DiskFiles, Sight};
pub use first::First;
pub use freeing::Freeing;
pub use hosts::Unresolved;
pub use idle::run_soon;
pub use impact::{Impact, Move, PlanImpact, Weighed};
pub use last_good::{KeptSet, LastGood};
pub use load::{Loaded, load};
pub use measured_files::kept_samples;
pub use measuring::{Measuring, Reported, Told};
pub use overrides::{Action, Override, Overrides, Scope};
pub use request::{Done, Request, Verb};
pub use run::{Control, Options};
pub use shared::{Journal, Reload, ReloadResult, Shared, Talker};
pub use tables::InForce;
pub use unwritten::{Kept, Unwritten};
pub use webhook::Posting;
