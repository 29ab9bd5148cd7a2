//! Floor 2: everything that a query reads, compiled into one immutable [`Snapshot`].
//!
//! ```text
//! Config, Zones, Geo ──Snapshot::compile──▶ Snapshot ──Published::publish──▶ every worker
//! Health             ──with_standings─────▶ Snapshot'   (shares what did not change)
//! ```
//!
//! A steered answer is a chain of look-ups: name → [`ServiceEntry`] → [`PlanTable`]: location →
//! `OrderId` → [`Reply`] → [`Image`]. Orders depend on places, estimates and fences alone, so a verdict
//! leaves them as they are; it only changes what each order of the plans that hold the endpoint comes
//! to ([`Snapshot::with_standings`]).

mod chunks;
mod compile;
mod counters;
mod endpoint;
mod fold;
mod hot;
mod image;
mod indices;
mod plan;
mod publish;
mod ranking;
mod ready;
mod replies;
mod reuse;
mod snapshot;
mod standing;
mod survey;
mod tries;

pub use counters::{Cells, CounterKey, Counters, OTHER_ZONES, RCODE_SLOTS, rcode_slot};
pub use hot::{FoldedName, HOT_ANSWER, HOT_BLOCK, HOT_NAME, Hit, Hot, HotAnswer, HotBuilder, HotService, fold};
pub use image::Image;
pub use plan::{Placed, PlanTable};
pub use publish::Published;
pub use ready::{Ready, ReadyKind};
pub use replies::Reply;
pub use snapshot::{Before, Parts, ServiceEntry, Snapshot};
pub use standing::Standing;
