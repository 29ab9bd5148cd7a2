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
mod cookie;
mod derived;
mod hot;
mod limit;
mod negative;
mod octets;
mod plain;
mod resolve;
mod steered;

use std::net::IpAddr;

use crate::config::Cookies;
use crate::model::{CounterId, SERVER_COOKIE, ZoneId};
use crate::table::{Cells, Snapshot, rcode_slot};
use crate::wire::{self, ADVERTISED_UDP_SIZE, Edns, PROXY_SIGNATURE, ProxyHeader, Query, Rcode, Rejection, Writer};
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

    /// Is there nobody on the way who reads along? To those who see lengths, padding tells less (RFC 8467).
    #[must_use]
    pub fn is_encrypted(self) -> bool {
        matches!(self, Self::Tls | Self::Exchange)
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

/// Answers `packet` into `out` and returns the reply's length; 0 is silence. A datagram of a proxy is answered to its
/// client, who is then the one who asks.
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
    /// Whose query it is, where that came by a proxy.
    proxied: Option<IpAddr>,
}

fn answer(snapshot: &Snapshot, cells: &Cells, asker: Asker, packet: &[u8], out: &mut [u8]) -> Answered {
    let is_proxied = asker.transport == Transport::Datagram && packet.starts_with(&PROXY_SIGNATURE);
    let (asker, packet) = if is_proxied { behind_proxy(snapshot, asker, packet) } else { (asker, packet) };
    let proxied = is_proxied.then_some(asker.address);
    if !snapshot.parts.config.access.admits(asker.address) {
        cells.count(snapshot.denied_counter);
        return Answered { length: 0, vouched: Vouched::No, proxied };
    }
    Answered { proxied, ..answer_admitted(snapshot, cells, asker, packet, out) }
}

/// As [`answer`], whoever asks.
fn answer_admitted(snapshot: &Snapshot, cells: &Cells, asker: Asker, packet: &[u8], out: &mut [u8]) -> Answered {
    let proxied = None;
    match wire::parse(packet) {
        Err(Rejection::Silence) => Answered { length: 0, vouched: Vouched::No, proxied },
        Err(Rejection::Reply(mut rejected)) => {
            let (cookie, vouched) = reply_cookie(snapshot, asker, rejected.edns);
            if rejected.rcode == Rcode::NOERROR {
                // A cookie alone is asked for (RFC 7873 §5.4).
                let bears_server = rejected.edns.and_then(|edns| edns.cookie).is_some_and(|cookie| cookie.bears_server);
                rejected.rcode = match vouched {
                    Vouched::No => Rcode::FORMERR,
                    Vouched::Asks if bears_server => Rcode::BADCOOKIE,
                    Vouched::Asks | Vouched::Yes => Rcode::NOERROR,
                };
            }
            count(snapshot, cells, None, rejected.rcode);
            let length = rejected.write(asker.transport.is_encrypted(), cookie, out);
            Answered { length, vouched, proxied }
        }
        Ok(mut query) => {
            if let (Transport::Exchange, Some(edns)) = (asker.transport, &mut query.edns) {
                edns.wants_padding = true; // asked for or not (RFC 9250 §5.4)
            }
            if let Some(edns) = query.edns.as_mut().filter(|edns| edns.client_subnet.is_some())
                && !resolve::heeds_subnet(snapshot, asker, query.question.name)
            {
                edns.client_subnet = None; // as if it were an option that we do not know
            }
            let (length, vouched) = answer_query(snapshot, cells, asker, &query, out);
            Answered { length, vouched, proxied }
        }
    }
}

/// Who asks behind a PROXY header, and what; the header's octets where it is not good, or comes from no proxy of ours.
/// The reply goes to the proxy, without a header.
fn behind_proxy<'p>(snapshot: &Snapshot, asker: Asker, packet: &'p [u8]) -> (Asker, &'p [u8]) {
    match ProxyHeader::read(packet) {
        Some(ProxyHeader::Whole { client, length }) if is_proxy(snapshot, asker.address) => {
            let address = client.map_or(asker.address, |client| client.ip());
            (Asker { address, ..asker }, &packet[length..])
        }
        _ => (asker, packet),
    }
}

/// Is this address one of a proxy that says whose queries it brings?
#[must_use]
pub fn is_proxy(snapshot: &Snapshot, address: IpAddr) -> bool {
    snapshot.parts.config.server.proxy_from.iter().any(|net| net.contains(&address))
}

fn answer_query(
    snapshot: &Snapshot,
    cells: &Cells,
    asker: Asker,
    query: &Query<'_>,
    out: &mut [u8],
) -> (usize, Vouched) {
    let limit = match asker.transport {
        Transport::Datagram => query.udp_limit(ADVERTISED_UDP_SIZE),
        Transport::Stream | Transport::Tls | Transport::Exchange => usize::from(u16::MAX),
    };
    let mut resolution = Resolution::new(snapshot, cells, asker, query, Writer::reply(query, out, limit));
    resolution.resolve();
    let Some((zone, writer, mut ending)) = resolution.finish() else { return (0, Vouched::No) };
    let server = &snapshot.parts.config.server;
    ending.nsid = server.identity.text();
    let (cookie, vouched) = reply_cookie(snapshot, asker, query.edns);
    ending.cookie = cookie;
    if asker.transport.has_keepalive() {
        ending.keepalive = Some((server.tcp_idle.as_millis() / 100) as u16); // an hour at most
    }
    ending.encrypted = asker.transport.is_encrypted();
    count(snapshot, cells, zone, ending.rcode);
    (writer.finish(ending), vouched)
}

/// Our cookie, where the query has one and they are on, and what its own shows.
fn reply_cookie(snapshot: &Snapshot, asker: Asker, edns: Option<Edns>) -> (Option<[u8; SERVER_COOKIE]>, Vouched) {
    let cookie = edns.and_then(|edns| edns.cookie);
    let (Cookies::Secrets(secrets), Some(cookie)) = (&snapshot.parts.config.server.cookies, cookie) else {
        return (None, Vouched::No);
    };
    let (is_valid, ours) = secrets.reply(cookie, asker.address, asker.now);
    (Some(ours), if is_valid { Vouched::Yes } else { Vouched::Asks })
}

fn count(snapshot: &Snapshot, cells: &Cells, zone: Option<ZoneId>, rcode: Rcode) {
    let counters: &[CounterId] = snapshot.query_counters(zone);
    cells.count(counters[usize::from(rcode_slot(rcode.0))]);
}
