//! What goes wrong at the sockets, counted. Rare, so all workers share the counters.

use std::fmt::Display;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};

use tracing::{error, warn};

use super::drops::Drops;

/// Counts since the start.
#[derive(Debug, Default)]
pub struct Faults {
    panics: AtomicU64,
    socket_errors: AtomicU64,
    evicted: AtomicU64,
    client_evicted: AtomicU64,
    paused: AtomicU64,
    failed_handshakes: AtomicU64,
    pub(super) drops: Drops,
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

    /// Queries by UDP that the kernel dropped, mostly because they came faster than they were read. The
    /// kernel is asked: not for every query.
    pub fn udp_drops(&self) -> u64 {
        self.drops.total()
    }

    /// Connections, of TCP or QUIC, that were closed to make room at the limit.
    pub fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// Connections, of TCP or QUIC, that were closed to make room for another of the same client, at the limit of one.
    pub fn client_evicted(&self) -> u64 {
        self.client_evicted.load(Ordering::Relaxed)
    }

    /// Waits of clients that had taken more than one may in a second by TCP, TLS, HTTPS or QUIC.
    pub fn paused(&self) -> u64 {
        self.paused.load(Ordering::Relaxed)
    }

    /// Handshakes of TLS or QUIC that failed or took too long.
    pub fn failed_handshakes(&self) -> u64 {
        self.failed_handshakes.load(Ordering::Relaxed)
    }

    pub(super) fn count_panic(&self, client: SocketAddr) {
        if let Some(count) = bump(&self.panics) {
            error!(count, %client, "answering a query panicked: this is a bug; the client got no answer");
        }
    }

    /// Whose query it was is not known, and all are answered still, if this one's own answering does
    /// not panic as well.
    pub(super) fn count_batch_panic(&self) {
        if let Some(count) = bump(&self.panics) {
            error!(count, "answering a batch of queries panicked: this is a bug; they are answered one by one");
        }
    }

    pub(super) fn count_socket_error(&self, doing: &str, error: &dyn Display) {
        if let Some(count) = bump(&self.socket_errors) {
            warn!(count, %error, "socket error while {doing}");
        }
    }

    pub(super) fn count_eviction(&self) {
        if let Some(count) = bump(&self.evicted) {
            warn!(count, "the limit of connections is reached: the longest idle one is closed for a new one");
        }
    }

    pub(super) fn count_client_eviction(&self, client: IpAddr) {
        if let Some(count) = bump(&self.client_evicted) {
            warn!(count, %client, "a client is at its limit of TCP connections: its longest idle one is closed for a new one");
        }
    }

    pub(super) fn count_pause(&self, client: IpAddr) {
        if let Some(count) = bump(&self.paused) {
            warn!(count, %client, "a client is over what one may ask by TCP in a second: it waits");
        }
    }

    /// Any scanner brings some, so that nothing is said.
    pub(super) fn count_failed_handshake(&self) {
        bump(&self.failed_handshakes);
    }
}

/// Adds one; the new count where it is worth a line in the log: a power of two, so that a flood
/// of faults is no flood of lines.
fn bump(counter: &AtomicU64) -> Option<u64> {
    let count = counter.fetch_add(1, Ordering::Relaxed) + 1;
    count.is_power_of_two().then_some(count)
}
