//! Floor 4: runs the probes and resolves hostname endpoints; what they find leaves on channels.
//!
//! [`Prober`] runs one task per [`Check`](crate::health::Check): wait, probe, send a [`Report`].
//! Tasks share nothing but a bound on probes in flight, so that a slow target delays no other.
//! [`Trust`] holds what probes with TLS need, made once per configuration. [`Spawner`] is the process that starts scripts.
//! [`Resolver`] runs one task
//! per hostname endpoint and sends [`Resolved`] when its addresses change (BEHAVIOUR rule 26).
//!
//! Both take a new configuration through `reconfigure`, which leaves alone what has not changed, and
//! stop everything when dropped.

mod attempt;
mod calm;
mod dns;
mod exchange;
mod expiry;
mod figures;
mod grpc;
mod http;
mod icmp;
mod lookup;
mod memory;
mod metric;
mod prober;
mod resolver;
mod schedule;
mod scripts;
mod state_file;
mod tls;
mod trust;

pub use attempt::innermost;
pub use calm::Calm;
pub use prober::{Discarded, Prober, Report};
pub use resolver::{Resolved, Resolver, resolver_client};
pub use scripts::{Scripts, Spawner, serve_scripts};
pub use trust::Trust;
