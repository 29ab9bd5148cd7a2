//! Floor 3: a query's bytes → a reply's bytes, from one snapshot.
//!
//! ```text
//! respond ── wire::parse ──▶ resolve: Zones::find_zone → ZoneTree::find ─┬─▶ answer, alias, referral,
//!                              ▲                 │ alias inside our zones │   nodata, nxdomain, refused
//!                              └── next name ◀───┘                        └─▶ steered: locate → reply
//! ```
//! All transports call [`respond`]. It allocates, locks, awaits and logs nothing. UDP calls it through
//! [`Batches`], which answers what is asked most, and alike, without it.

mod batch;
mod hot;
mod octets;
mod plain;
mod resolve;
mod steered;

use std::net::IpAddr;

use crate::config::Cookies;
use crate::model::{CounterId, ZoneId};
use crate::table::{Cells, Snapshot, rcode_slot};
use crate::wire::{self, ADVERTISED_UDP_SIZE, Query, Rcode, Rejection, Writer};
use resolve::Resolution;

pub use batch::Batches;
pub use hot::with_hot;

/// How the query came: what bounds the reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Bounded by the client's EDNS and by 1232 octets.
    Datagram,
    /// A connection: bounded by the length field, 65,535 octets.
    Stream,
    /// The same under TLS.
    Tls,
    /// Encrypted, a stream for each query: HTTPS, QUIC.
    Exchange,
}

impl Transport {
    /// Does the client keep a connection of ours alive by asking on (RFC 7828)? HTTP and QUIC have words of their own
    /// for that (RFC 9250 §5.5.2).
    #[must_use]
    pub fn has_keepalive(self) -> bool {
        matches!(self, Self::Stream | Self::Tls)
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub struct Asker {
    /// The transport's source address.
    pub address: IpAddr,
    /// How.
    pub transport: Transport,
    /// Drawn anew for each query: what `spread = "random"` picks by.
    pub random: u64,
    /// Seconds of Unix time: what cookies are dated by.
    pub now: u32,
}

/// Octets that every reply buffer has at least.
pub const MIN_BUFFER: usize = 512;

/// Answers `packet` into `out` and returns the reply's length; 0 is silence.
///
/// # Panics
/// When `out` is shorter than [`MIN_BUFFER`].
pub fn respond(snapshot: &Snapshot, cells: &Cells, asker: Asker, packet: &[u8], out: &mut [u8]) -> usize {
    match wire::parse(packet) {
        Err(Rejection::Silence) => 0,
        Err(Rejection::Reply(rejected)) => {
            count(snapshot, cells, None, rejected.rcode);
            rejected.write(out)
        }
        Ok(query) => answer(snapshot, cells, asker, &query, out),
    }
}

fn answer(snapshot: &Snapshot, cells: &Cells, asker: Asker, query: &Query<'_>, out: &mut [u8]) -> usize {
    let limit = match asker.transport {
        Transport::Datagram => query.udp_limit(ADVERTISED_UDP_SIZE),
        Transport::Stream | Transport::Tls | Transport::Exchange => usize::from(u16::MAX),
    };
    let mut resolution = Resolution::new(snapshot, cells, asker, query, Writer::reply(query, out, limit));
    resolution.resolve();
    let Some((zone, writer, mut ending)) = resolution.finish() else { return 0 };
    let server = &snapshot.parts.config.server;
    ending.nsid = server.identity.text();
    if let (Cookies::Secret(secret), Some(cookie)) = (&server.cookies, query.edns.and_then(|edns| edns.cookie)) {
        ending.cookie = Some(secret.reply(cookie, asker.address, asker.now));
    }
    if asker.transport.has_keepalive() {
        ending.keepalive = Some((server.tcp_idle.as_millis() / 100) as u16); // an hour at most
    }
    count(snapshot, cells, zone, ending.rcode);
    writer.finish(ending)
}

fn count(snapshot: &Snapshot, cells: &Cells, zone: Option<ZoneId>, rcode: Rcode) {
    let counters: &[CounterId] = snapshot.query_counters(zone);
    cells.count(counters[usize::from(rcode_slot(rcode.0))]);
}
