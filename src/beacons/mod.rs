//! Floor 4: the beacon listener, at which browsers and agents report round trips (BEHAVIOUR rule 28).
//!
//! ```text
//! browser ─ GET /v1/beacon.js ──────────▶ the script, which draws whether this page load measures
//!         ─ GET /v1/beacons/session ────▶ Exchange::candidates → a signed id (id.rs) and what to time
//!         ─ fetches of the candidates, one after the other, in idle time
//!         ─ POST /v1/beacons ───────────▶ body.rs → id.rs → used.rs → Exchange::take → 204
//! agent   ─ POST /v1/beacons ───────────▶ the same without an id → 204, or 200 with the sites that there are not
//! ```
//! What a stranger can do with it is bounded. A report counts for the network that it came from (client.rs), which no
//! header names but that of a proxy of ours; it needs an id that this process has signed for that network, within ten minutes,
//! once; it tells of the sites that the id offered and of no others; and a network has sixty reports a
//! minute. Web pages of other origins are refused (cors.rs). Who holds the other end of a connection cannot hold it for
//! long (connections.rs).
//!
//! It speaks plain HTTP/1.1: where pages are on https, so must the listener be, by a proxy before it that
//! `trusted_proxies` names. Ids are of one process: where several servers share a name, a client has to come to the same one
//! twice within its ten minutes, or its report is refused.
//!
//! No address is kept: a report goes on with its client cut to /24 or /48.
//!
//! It has a thread of its own ([`start`]), which takes a tenth of a core that others want whole: whatever reaches it, no probe
//! and no verdict waits behind it.

mod body;
mod client;
mod connections;
mod cors;
mod id;
mod limit;
mod refusal;
mod routes;
#[cfg(test)]
mod tests;
mod used;

use std::io;
use std::net::{self, IpAddr, SocketAddr};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use socket2::{Domain, Protocol, Socket, Type};
use thread_priority::{
    NormalThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy, set_thread_priority_and_policy, thread_native_id,
};
use tokio::runtime;
use tokio::sync::oneshot;
use tracing::{error, warn};

use crate::config;
use routes::Context;

/// Connections that the kernel completes ahead of `accept`.
const BACKLOG: i32 = 256;

/// Nice 10, on a scale of 99 from nice 19 to -20.
const NICE_10: u8 = 22;

/// What the control plane offers the listener. All are called on the one thread that serves all, which others may keep from
/// running: they wait for nothing, and hold no lock that anybody waits for.
pub trait Exchange: Send + Sync + 'static {
    /// Sites that a session of this client at this service should time, in this order: all inside the client's
    /// fence. The first sixteen are offered, as far as their names come to a kilobyte. Empty: there is nothing to measure.
    /// None: there is no such service. The address is the client's own and is not to be kept.
    fn candidates(&self, service: &str, client: IpAddr) -> Option<Vec<Candidate>>;

    /// Does an endpoint stand there?
    fn is_site(&self, site: &str) -> bool;

    /// Takes sessions in, all or none; false: there is no room for them now.
    fn take(&self, sessions: Vec<Reported>) -> bool;
}

/// A site and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// `cloud/region`, without control characters.
    pub site: Arc<str>,
    /// What a browser fetches from an endpoint there.
    pub url: Arc<str>,
}

/// What one session found.
#[derive(Clone, Debug, PartialEq)]
pub struct Reported {
    /// The first address of the /24 or /48 that it came from.
    pub client: IpAddr,
    /// Round trips stand for themselves, as an agent measures them; else they compare these sites with each other.
    pub absolute: bool,
    /// Each site once, as `cloud/region`, with its round trip in ms (0.05 to 10,000), or none where it did not answer. Of
    /// an agent, there need not be such a site.
    pub samples: Vec<(Arc<str>, Option<f32>)>,
}

/// Binds the addresses of `[beacons] listen`; an IPv6 one takes no IPv4.
///
/// # Errors
/// The first address that cannot be had; the error says which and what to do.
pub fn bind(settings: &config::Beacons) -> io::Result<Vec<net::TcpListener>> {
    let bind = |&address: &SocketAddr| bind_one(address).map_err(|error| explain_bind(address, &error));
    settings.listen.iter().map(bind).collect()
}

fn bind_one(address: SocketAddr) -> io::Result<net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?; // connections of the server before this one may linger
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn explain_bind(address: SocketAddr, error: &io::Error) -> io::Error {
    let what = match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there; stop it or change [beacons] listen",
        io::ErrorKind::PermissionDenied => "this user may not; take a port above 1023 in [beacons] listen",
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has it; change [beacons] listen",
        _ => "change [beacons] listen",
    };
    io::Error::new(error.kind(), format!("cannot listen on {address} for beacons: {error}: {what}"))
}

/// The listener on its thread, which ends when this is dropped.
#[derive(Debug)]
pub struct Serving {
    _alive: oneshot::Sender<()>,
}

/// Serves sockets of [`bind`] on a thread of its own.
///
/// # Errors
/// The system gives no thread.
pub fn start(
    listeners: Vec<net::TcpListener>,
    settings: &config::Beacons,
    exchange: Arc<dyn Exchange>,
) -> io::Result<Serving> {
    let runtime = runtime::Builder::new_current_thread().enable_all().build()?;
    let (settings, (alive, ended)) = (settings.clone(), oneshot::channel());
    thread::Builder::new().name("beacons".to_owned()).spawn(move || {
        be_nice();
        runtime.block_on(async {
            tokio::select! {
                served = serve(listeners, &settings, exchange) => if let Err(error) = served {
                    error!(%error, "the beacon listener has ended");
                },
                _ = ended => {}
            }
        });
    })?;
    Ok(Serving { _alive: alive })
}

fn be_nice() {
    let nice_10 = ThreadPriority::Crossplatform(NICE_10.try_into().expect("it is below 100"));
    let policy = ThreadSchedulePolicy::Normal(NormalThreadSchedulePolicy::Other);
    if let Err(error) = set_thread_priority_and_policy(thread_native_id(), nice_10, policy) {
        warn!(?error, "the beacon listener runs at normal priority");
    }
}

/// Serves sockets of [`bind`] until dropped; in a tokio runtime.
///
/// # Errors
/// The runtime does not take a socket, or the system gives no random key.
pub async fn serve(
    listeners: Vec<net::TcpListener>,
    settings: &config::Beacons,
    exchange: Arc<dyn Exchange>,
) -> io::Result<()> {
    let start = Instant::now();
    let context = Context::new(settings, exchange, Box::new(move || start.elapsed()))?;
    connections::serve(listeners, Arc::new(context)).await
}
