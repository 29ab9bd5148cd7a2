//! TCP: who is let in.
//!
//! ```text
//! listener ─ accept ┐                  ┌ Connection (connection.rs), a task each
//! listener ─ accept ┴→ Gate (the limit)┴ TLS handshake → Connection …
//! ```
//! A connection counts from its acceptance on, so that handshakes that never end are under the limits too: that of all
//! and that of its client. At either, the one that has brought no query yet or none for the longest time is closed for
//! the new one, of the same client where it is the client's limit. So half-open connections in any number push out each
//! other first; and whoever shares an address with many gets in all the same. A proxy of ours is under the first limit
//! alone: whose its connections are is known only later.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::connection::{Connection, LastQuery, Peer, Responders};
use super::{Faults, Respond, TcpSettings, Transport, proxied};

/// After an error in accepting that may stay (no file descriptors left).
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);
/// What connections may take to end when all shall stop.
const DRAIN: Duration = Duration::from_secs(4);
/// What a TLS handshake may take. A slow path needs three round trips.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// What lies between a listener's connections and their queries.
#[derive(Clone)]
pub(super) enum Layer {
    Plain,
    Tls(TlsAcceptor),
}

impl Layer {
    pub(super) fn transport(&self) -> Transport {
        match self {
            Self::Plain => Transport::Tcp,
            Self::Tls(_) => Transport::Tls,
        }
    }
}

impl fmt::Debug for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.transport().fmt(f)
    }
}

/// A connection that was accepted.
struct Arrival {
    stream: TcpStream,
    client: SocketAddr,
    layer: Layer,
}

/// Keeps the connections and their limit.
pub(super) struct Gate<R> {
    settings: TcpSettings,
    responders: Arc<Responders<R>>,
    stop: watch::Receiver<()>,
    tasks: JoinSet<()>,
    open: HashMap<Id, Open>,
    /// Open connections of each client that has any.
    clients: HashMap<IpAddr, usize>,
    /// Connections so far.
    count: usize,
}

/// A connection as the gate sees it.
struct Open {
    client: IpAddr,
    task: AbortHandle,
    last_query: LastQuery,
}

impl<R: Respond> Gate<R> {
    pub(super) fn new(settings: TcpSettings, responders: Responders<R>, stop: watch::Receiver<()>) -> Self {
        let (tasks, open, clients) = (JoinSet::new(), HashMap::new(), HashMap::new());
        Self { settings, responders: Arc::new(responders), stop, tasks, open, clients, count: 0 }
    }

    /// Serves until all shall stop, then waits for the connections, but not for ever.
    pub(super) async fn run(mut self, listeners: Vec<(Layer, TcpListener)>) {
        let (accepted, mut arrivals) = mpsc::channel(1);
        for (layer, listener) in listeners {
            let faults = Arc::clone(self.responders.faults());
            tokio::spawn(accept(listener, layer, accepted.clone(), faults, self.stop.clone()));
        }
        drop(accepted);
        loop {
            // The acceptors end when all shall stop, and with them the arrivals.
            tokio::select! {
                arrival = arrivals.recv() => match arrival {
                    Some(arrival) => self.admit(arrival),
                    None => break,
                },
                Some(ended) = self.tasks.join_next_with_id() => self.forget(ended),
            }
        }
        let all_ended = async { while self.tasks.join_next().await.is_some() {} };
        let _ = timeout(DRAIN, all_ended).await;
        self.tasks.abort_all();
    }

    fn admit(&mut self, arrival: Arrival) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.forget(ended);
        }
        let Arrival { stream, client, layer } = arrival;
        let (key, is_proxied) = (client_of(client.ip()), self.responders.is_proxy(client.ip()));
        let of_client = self.clients.get(&key).copied().unwrap_or_default();
        if !is_proxied && of_client >= self.settings.client_connections.max(1) {
            self.make_room(|open| open.client == key);
            self.responders.faults().count_client_eviction(key);
        } else if self.open.len() >= self.settings.connections.max(1) {
            self.make_room(|_| true);
            self.responders.faults().count_eviction();
        }
        self.count += 1;
        let (peer, responders) = (Peer { client, transport: layer.transport() }, Arc::clone(&self.responders));
        let connection = Connection::new(peer, self.count, responders, self.settings.idle, self.stop.clone());
        let last_query = connection.last_query();
        let _ = stream.set_nodelay(true); // slower without, not wrong
        let (faults, stop) = (Arc::clone(self.responders.faults()), self.stop.clone());
        let task = self.tasks.spawn(async move {
            let mut stream = stream;
            let connection = if is_proxied {
                let Ok(client) = proxied::client(&mut stream, client).await else { return };
                connection.of(client)
            } else {
                connection
            };
            match layer {
                Layer::Plain => drop(connection.run(stream).await),
                Layer::Tls(tls) => {
                    if let Some(stream) = handshake(&tls, stream, &faults, stop).await {
                        drop(connection.run(stream).await);
                    }
                }
            }
        });
        self.open.insert(task.id(), Open { client: key, task, last_query });
        *self.clients.entry(key).or_default() += 1;
    }

    /// Closes the one of these that is the least loss.
    fn make_room(&mut self, among: impl Fn(&Open) -> bool) {
        let least = self.open.iter().filter(|(_, open)| among(open)).min_by_key(|(_, open)| open.last_query.get());
        if let Some((&id, open)) = least {
            open.task.abort();
            self.remove(id);
        }
    }

    fn forget(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        self.remove(ended.map_or_else(|error| error.id(), |(id, ())| id));
    }

    fn remove(&mut self, id: Id) {
        let Some(Open { client, .. }) = self.open.remove(&id) else { return };
        if let Entry::Occupied(mut count) = self.clients.entry(client) {
            *count.get_mut() -= 1;
            if *count.get() == 0 {
                count.remove();
            }
        }
    }
}

/// Whose connections are counted together: an IPv6 subscriber has a /56 or more (RFC 6177), and any address in it.
fn client_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 72 << 72).into(),
    }
}

/// Shakes hands, in bounded time; none: that failed, or all shall stop.
pub(super) async fn handshake<S: AsyncRead + AsyncWrite + Unpin>(
    tls: &TlsAcceptor,
    stream: S,
    faults: &Faults,
    mut stop: watch::Receiver<()>,
) -> Option<TlsStream<S>> {
    let shaken = tokio::select! {
        shaken = timeout(HANDSHAKE, tls.accept(stream)) => shaken,
        _ = stop.changed() => return None,
    };
    let stream = shaken.ok().and_then(Result::ok);
    if stream.is_none() {
        faults.count_failed_handshake();
    }
    stream
}

/// Accepts until all shall stop.
async fn accept(
    listener: TcpListener,
    layer: Layer,
    accepted: mpsc::Sender<Arrival>,
    faults: Arc<Faults>,
    mut stop: watch::Receiver<()>,
) {
    loop {
        let arrival = tokio::select! {
            arrival = listener.accept() => arrival,
            _ = stop.changed() => return,
        };
        match arrival {
            Ok((stream, client)) => {
                if accepted.send(Arrival { stream, client, layer: layer.clone() }).await.is_err() {
                    return;
                }
            }
            // The client has gone already.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(error) => {
                faults.count_socket_error("accepting by TCP", &error);
                sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}
