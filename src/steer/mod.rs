//! Floor 1: the decision. Pure, and it knows no past.
//!
//! ```text
//! plan, location, estimates ──Ranker::rank──▶ Order ──Settler::settle──▶ Choice, Settled ──pick(client key)──▶ Member
//!                             └────────────────── decide = both, with the trace ──────────────────┘
//! ```
//!
//! [`decide`] is the one decision function (DESIGN invariant 1). It has two halves, so that what does
//! not depend on health is done once per location and what does is done once per order:
//! - [`Ranker`] fences, ranks by expected latency and turns every number into a comparison: an [`Order`]
//!   holds no figures, so locations that compare alike share one;
//! - [`Settler`] takes how each member may be used ([`Usage`]) and finds who answers now: health → preference within
//!   its budget → cost within its budget → tie.
//!
//! Why an order is more than a ranked list: 'within 30 ms of the best *usable* member' depends on who
//! is usable, and so does 'the cheapest within the budget of the fastest'. With one preference a fixed
//! list can express that, with two or with a cost budget it cannot (taking away the fastest member may
//! bring a preferred one within its budget). So an order keeps, for each rank, how far down each budget
//! reaches; then every set of failures is answered exactly, and still without a number.
//!
//! The compiler keeps one order for all that settle alike (`merge`).

mod decide;
mod merge;
mod order;
mod panic;
mod parts;
mod rank;
mod settle;
mod spread;
mod usage;

pub use decide::{Candidate, Decision, decide};
pub use order::{Order, OrderBuf, Shape};
pub use panic::{Panic, age};
pub use parts::Parts;
pub use rank::{Facts, FenceClass, Ranker, allowed};
pub use settle::{Choice, Few, Outcome, Settled, Settler};
pub use spread::{Client, ClientKey, MAX_SHARES, Share, Split, client_key, pick, salt};
pub use usage::{Phase, Step, Usage};
