//! Floor 3: the sockets. UDP on threads, all else on tokio; all call one bytes → bytes function.
//!
//! ```text
//! bind(listen) → Bound ── serve(settings, responder for each worker) → Serving ── stop().await
//!    one TCP listener and, for each worker, one UDP socket (SO_REUSEPORT) an address
//! UDP worker: receive → respond → send, by the batch (udp.rs over socket.rs)
//! TCP: accept → gate, which keeps the limit (tcp.rs) → connection (connection.rs)
//! from a proxy, both begin with whose connection it is (proxied.rs)
//! TLS: the same with a handshake before the first query; Certificates has what it shows (certificates.rs)
//! HTTPS: the same, and then hyper and axum's router (https.rs, doh.rs)
//! QUIC: accept → door, which keeps the limit → a stream for each query (quic.rs), or HTTP/3 (http3.rs)
//! ```
//! Nothing that a client sends ends a worker: socket errors and panics of the responder are counted
//! in [`Faults`], logged now and then, and the next packet is served.

mod allowance;
mod bind;
mod certificates;
mod connection;
mod crowd;
mod doh;
mod drops;
mod faults;
mod homes;
mod http3;
mod https;
mod names;
mod proxied;
mod quic;
mod socket;
mod tcp;
#[cfg(test)]
mod tests;
mod udp;

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::wire::Batch;
use connection::Responders;
use tcp::Layer;

pub use bind::{BindError, Bound, UdpSettings};
pub use certificates::{Certificates, Pair, ends};
pub use faults::Faults;

/// What a query came by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram.
    Udp,
    /// A connection; a reply may have 65,535 octets.
    Tcp,
    /// The same under TLS (RFC 7858).
    Tls,
    /// A request by HTTP/1.1 or HTTP/2 (RFC 8484).
    Https,
    /// A stream of QUIC (RFC 9250).
    Quic,
    /// A request by HTTP/3.
    Https3,
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
            Self::Https => "HTTPS",
            Self::Quic => "QUIC",
            Self::Https3 => "HTTP/3",
        })
    }
}

/// Answers messages. Each worker has its own and is alone with it, so it may keep scratch space.
pub trait Respond: Send + 'static {
    /// Writes the reply to `query` into `out` and returns its length; 0 is silence (which closes a
    /// connection). `out` has [`LONGEST`] octets for UDP and 65,535 for the others. It is called on the
    /// data path and may not block. It may panic: that is silence, and the next query finds it as it
    /// was left.
    ///
    /// [`LONGEST`]: crate::wire::LONGEST
    fn respond(&mut self, client: SocketAddr, transport: Transport, query: &[u8], out: &mut [u8]) -> usize;

    /// Answers what came by UDP together, each in its place, in order, counting [`Batch::begun`] up
    /// before it writes to a slot. Where a query has octets beyond its length, they are of an earlier
    /// one. It may panic: the query begun with last is lost, and those behind it are answered one by
    /// one.
    fn respond_batch(&mut self, batch: &mut Batch) {
        batch.answer_each(|client, query, out| self.respond(client, Transport::Udp, query, out));
    }

    /// Do connections from there begin with a PROXY header that says whose they are? Then `client` above is who that
    /// header names. What comes by UDP, the responder looks through itself.
    fn is_proxy(&mut self, _source: IpAddr) -> bool {
        false
    }
}

impl<F> Respond for F
where
    F: FnMut(SocketAddr, Transport, &[u8], &mut [u8]) -> usize + Send + 'static,
{
    fn respond(&mut self, client: SocketAddr, transport: Transport, query: &[u8], out: &mut [u8]) -> usize {
        self(client, transport, query, out)
    }
}

/// Bounds on TCP connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSettings {
    /// Connections at once, over all listeners; at least one. At the limit a new one takes the place of one that has
    /// brought no query yet, if there is one, and of the one that has been without a query for the longest time.
    pub connections: usize,
    /// The same of one client: an IPv4 address, or an IPv6 /56, which is what one subscriber has.
    pub client_connections: usize,
    /// Queries of one client in a second, by all its connections; at least one. Who is over it waits.
    pub client_queries: u32,
    /// The same of octets, of queries and answers.
    pub client_octets: usize,
    /// A connection without a whole query for this long is closed (RFC 7766 §6.2.3). For its first it has three
    /// seconds at most.
    pub idle: Duration,
}

/// A running server. Dropping it stops it as well, without waiting.
pub struct Serving {
    addresses: Vec<SocketAddr>,
    encrypted: Vec<(Transport, SocketAddr)>,
    faults: Arc<Faults>,
    udp: Vec<JoinHandle<()>>,
    /// What is served on tokio.
    streams: JoinSet<()>,
    /// Dropping it tells everyone to stop.
    alive: watch::Sender<()>,
}

impl Bound {
    /// Starts to serve; in a tokio runtime. `responder` is called once for each worker, with its
    /// number: first all of UDP (workers × addresses), then `workers` that TCP connections share.
    ///
    /// # Errors
    /// Threads that cannot be started, listeners that the runtime does not take.
    pub fn serve<R: Respond>(
        self,
        settings: TcpSettings,
        mut responder: impl FnMut(usize) -> R,
    ) -> std::io::Result<Serving> {
        let (alive, stop) = watch::channel(());
        let faults = Arc::new(Faults::default());
        let (addresses, encrypted) = (self.addresses(), self.encrypted_addresses());
        let UdpSettings { workers, steer_by_cpu, .. } = self.settings;
        let cpus = if steer_by_cpu { socket::own_cpus()? } else { Vec::new() };
        let udp_workers = self.udp.len();
        let mut udp = Vec::with_capacity(udp_workers);
        for (index, socket) in self.udp.into_iter().enumerate() {
            let socket = Arc::new(socket);
            faults.drops.watch(Arc::downgrade(&socket));
            let worker = udp::Worker::new(socket, responder(index), Arc::clone(&faults), stop.clone())?;
            let own: Vec<usize> = cpus.iter().copied().filter(|cpu| cpu % workers == index % workers).collect();
            udp.push(std::thread::Builder::new().name(format!("udp-{index}")).spawn(move || worker.run(&own))?);
        }
        let shared = (0..workers).map(|index| responder(udp_workers + index)).collect();
        let plain = self.tcp.into_iter().map(|listener| (Layer::Plain, listener));
        let listeners = plain.chain(self.encrypted).map(|(layer, listener)| Ok((layer, listener.try_into()?)));
        let listeners = listeners.collect::<std::io::Result<Vec<_>>>()?;
        let responders = Arc::new(Responders::new(shared, Arc::clone(&faults)));
        let router = https::router(&self.https_path, Arc::clone(&responders));
        let mut streams = JoinSet::new();
        for (transport, socket, tls) in self.quic {
            let endpoint = quic::endpoint(transport, socket, tls, settings.idle)?;
            let (router, responders, stop) = (router.clone(), Arc::clone(&responders), stop.clone());
            streams.spawn(quic::Door { endpoint, transport, settings, router, responders, stop }.run());
        }
        streams.spawn(tcp::Gate::new(settings, responders, router, stop).run(listeners));
        Ok(Serving { addresses, encrypted, faults, udp, streams, alive })
    }
}

impl Serving {
    /// The addresses served by UDP and TCP, in the order of the configuration, ports resolved.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    /// The same of encrypted transports.
    #[must_use]
    pub fn encrypted_addresses(&self) -> &[(Transport, SocketAddr)] {
        &self.encrypted
    }

    /// What has gone wrong so far.
    #[must_use]
    pub fn faults(&self) -> &Arc<Faults> {
        &self.faults
    }

    /// Queries by UDP that the kernel dropped since the start.
    #[must_use]
    pub fn drops(&self) -> u64 {
        self.faults.udp_drops()
    }

    /// Stops: UDP workers answer what has reached them, connections what they have received;
    /// nothing new is accepted. It takes five seconds at most.
    pub async fn stop(mut self) {
        drop(self.alive);
        let joined = tokio::task::spawn_blocking(move || self.udp.into_iter().for_each(|thread| drop(thread.join())));
        let streams = async { while self.streams.join_next().await.is_some() {} };
        let (_, ()) = tokio::join!(joined, streams);
    }
}

/// Calls a responder; a panic in it is silence.
fn respond<R: Respond>(
    responder: &mut R,
    client: SocketAddr,
    transport: Transport,
    query: &[u8],
    out: &mut [u8],
    faults: &Faults,
) -> usize {
    let call = || responder.respond(client, transport, query, out).min(out.len());
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|_| {
        faults.count_panic(client);
        0
    })
}
