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
mod limit;
mod negative;
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
    /// Bounded by the length field, 65,535 octets (TCP, TLS, …).
    Stream,
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
    answer(snapshot, cells, asker, packet, out).length
}

/// What a client shows for not having forged its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vouched {
    /// Nothing.
    No,
    /// A cookie, none of ours that is valid, in a query that is answered with one.
    Asks,
    /// A valid cookie of ours.
    Yes,
}

/// A reply that was written.
struct Answered {
    /// 0: silence.
    length: usize,
    vouched: Vouched,
}

const SILENCE: Answered = Answered { length: 0, vouched: Vouched::No };

fn answer(snapshot: &Snapshot, cells: &Cells, asker: Asker, packet: &[u8], out: &mut [u8]) -> Answered {
    if !snapshot.parts.config.access.admits(asker.address) {
        cells.count(snapshot.denied_counter);
        return SILENCE;
    }
    match wire::parse(packet) {
        Err(Rejection::Silence) => SILENCE,
        Err(Rejection::Reply(rejected)) => {
            count(snapshot, cells, None, rejected.rcode);
            Answered { length: rejected.write(out), vouched: Vouched::No }
        }
        Ok(query) => answer_query(snapshot, cells, asker, &query, out),
    }
}

fn answer_query(snapshot: &Snapshot, cells: &Cells, asker: Asker, query: &Query<'_>, out: &mut [u8]) -> Answered {
    let limit = match asker.transport {
        Transport::Datagram => query.udp_limit(ADVERTISED_UDP_SIZE),
        Transport::Stream => usize::from(u16::MAX),
    };
    let mut resolution = Resolution::new(snapshot, cells, asker, query, Writer::reply(query, out, limit));
    resolution.resolve();
    let Some((zone, writer, mut ending)) = resolution.finish() else { return SILENCE };
    let server = &snapshot.parts.config.server;
    ending.nsid = server.identity.text();
    let mut vouched = Vouched::No;
    if let (Cookies::Secret(secret), Some(cookie)) = (&server.cookies, query.edns.and_then(|edns| edns.cookie)) {
        let (is_valid, ours) = secret.reply(cookie, asker.address, asker.now);
        ending.cookie = Some(ours);
        vouched = if is_valid { Vouched::Yes } else { Vouched::Asks };
    }
    if asker.transport == Transport::Stream {
        ending.keepalive = Some((server.tcp_idle.as_millis() / 100) as u16); // an hour at most
    }
    count(snapshot, cells, zone, ending.rcode);
    Answered { length: writer.finish(ending), vouched }
}

fn count(snapshot: &Snapshot, cells: &Cells, zone: Option<ZoneId>, rcode: Rcode) {
    let counters: &[CounterId] = snapshot.query_counters(zone);
    cells.count(counters[usize::from(rcode_slot(rcode.0))]);
}
