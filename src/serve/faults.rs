//! What goes wrong at the sockets, counted. Rare, so all workers share the counters.

use std::fmt::Display;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{error, warn};

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Faults {
    panics: AtomicU64,
    socket_errors: AtomicU64,
    evicted: AtomicU64,
}

impl Faults {
    /// Panics of the responder: our bugs.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Errors in receiving, sending and accepting.
    pub fn socket_errors(&self) -> u64 {
        self.socket_errors.load(Ordering::Relaxed)
    }

    /// TCP connections that were closed to make room at the limit.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    pub(super) fn count_panic(&self, client: SocketAddr) {
        if let Some(count) = bump(&self.panics) {
            error!(count, %client, "answering a query panicked: this is a bug; the client got no answer");
        }
    }

    pub(super) fn count_socket_error(&self, doing: &str, error: &dyn Display) {
        if let Some(count) = bump(&self.socket_errors) {
            warn!(count, %error, "socket error while {doing}");
        }
    }

    pub(super) fn count_eviction(&self) {
        if let Some(count) = bump(&self.evicted) {
            warn!(count, "the limit of TCP connections is reached: the longest idle one is closed for a new one");
        }
    }
}

/// Adds one; the new count where it is worth a line in the log: a power of two, so that a flood
/// of faults is no flood of lines.
fn bump(counter: &AtomicU64) -> Option<u64> {
    let count = counter.fetch_add(1, Ordering::Relaxed) + 1;
    count.is_power_of_two().then_some(count)
}
