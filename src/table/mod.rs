//! Floor 2: everything that a query reads, compiled into one immutable [`Snapshot`].
//!
//! ```text
//! Config, Zones, Geo ──Snapshot::compile──▶ Snapshot ──Published::publish──▶ every worker
//! Health             ──with_standings─────▶ Snapshot'   (shares what did not change)
//! ```
//!
//! A steered answer is a chain of look-ups: name → [`ServiceEntry`] → [`PlanTable`]: address → `OrderId`
//! (by the plan's own trie, else by location) → [`Ready`], a line to copy, or for what does not fit one
//! [`Reply`] → [`Image`]. Orders depend on places, estimates and fences alone, so a verdict leaves them as
//! they are; it only changes what each order of the plans that hold the endpoint comes to
//! ([`Snapshot::with_standings`]). So does time, while ramps go on ([`Snapshot::due`]).
//!
//! **Compiling.** `survey` works out once what is the same for all plans: estimates by site and location.
//! `ranking` ranks a plan for every location into one arena; `reuse` finds plans that rank alike, in this
//! configuration or the one before. `tries` gives the busiest plans tries, within `geo_memory`. `replies`
//! settles orders.

mod chunks;
mod compile;
mod counters;
mod endpoint;
mod fold;
mod hot;
mod image;
mod indices;
mod measured;
mod negative;
mod panics;
mod plan;
mod publish;
mod ranking;
mod ready;
mod replies;
mod reuse;
mod snapshot;
mod standing;
mod survey;
mod talkers;
mod tries;

pub use counters::{Cells, CounterKey, Counters, LIMITED_ACTIONS, LIMITED_KINDS, OTHER_ZONES, RCODE_SLOTS, rcode_slot};
pub use hot::{FoldedName, HOT_ANSWER, HOT_BLOCK, HOT_NAME, Hot, HotAnswer, HotBuilder, HotLine, HotService, fold};
pub use image::Image;
pub use measured::Measured;
pub use negative::{NEGATIVE, Negative};
pub use plan::{Held, Placed, PlanTable};
pub use publish::Published;
pub use ready::{Ready, ReadyKind};
pub use replies::{Replies, Reply};
pub use snapshot::{Before, Changed, Parts, ServiceEntry, Snapshot};
pub use standing::{Hand, HeldAs, Returned, Standing};
pub use talkers::{Talkers, Traffic};
