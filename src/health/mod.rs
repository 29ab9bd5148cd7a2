//! Floor 1: from outcomes of probes to what health says of addresses and endpoints.
//!
//! A [`Check`] is one probe at one target of one endpoint. [`HealthState`] counts its outcomes;
//! [`Board`] holds the states of all checks and sums them up: an address is as good as the worst of
//! its checks, an endpoint as good as the best of its addresses (BEHAVIOUR rule 17). An edit or a
//! hostname's new addresses go through [`Board::reconfigure`], which keeps what has not changed.
//!
//! What fails together is told of together ([`Group`], rule 13), and where the fault is ours ([`Fault`], rule 14), who went
//! down is held as it was: [`Board::correlate`] draws both from what the probes found. What clients report of a site
//! ([`ClientErrors`], rule 15) has it probed fast, and nothing else.
//!
//! Pure: times are arguments, and they are wall times, since they are shown, and since damping outlives a restart.
//! Intervals are the prober's.

mod anchors;
mod board;
mod check;
mod client_errors;
mod correlation;
mod damping;
mod outcome;
mod own_fault;
mod recovered;
mod slot;
mod slow;
mod soft;
mod state;
mod summary;
mod verdict;

pub use board::{Board, HostAddresses};
pub use check::{Check, CheckId};
pub use client_errors::{ClientErrors, Complained, Complaint};
pub use correlation::{Group, Notice, Subject};
pub use outcome::{Cause, Outcome};
pub use own_fault::Fault;
pub use recovered::Recovered;
pub use state::{Change, HealthState, Last, Rules};
pub use summary::{AddressHealth, EndpointHealth};
pub use verdict::{Remembered, RememberedCheck, StateChange, Verdict};
