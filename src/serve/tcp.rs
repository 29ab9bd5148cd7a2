//! TCP: who is let in.
//!
//! ```text
//! listener ─ accept ┐                   ┌ Connection (connection.rs), a task each
//! listener ─ accept ┼→ Gate (the limits)┼ TLS handshake → Connection …
//! listener ─ accept ┘                   └ TLS handshake → HTTPS (https.rs)
//! ```
//! A connection counts from its acceptance on, so that handshakes that never end are under the limits (crowd.rs) too.

use std::fmt;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::connection::{Connection, Peer, Responders};
use super::crowd::Crowd;
use super::{Faults, Respond, TcpSettings, Transport, https, proxied};

/// After an error in accepting that may stay (no file descriptors left).
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);
/// What a TLS handshake may take. A slow path needs three round trips.
const HANDSHAKE: Duration = Duration::from_secs(5);

/// What lies between a listener's connections and their queries.
#[derive(Clone)]
pub(super) enum Layer {
    Plain,
    Tls(TlsAcceptor),
    Https(TlsAcceptor),
}

impl Layer {
    pub(super) fn transport(&self) -> Transport {
        match self {
            Self::Plain => Transport::Tcp,
            Self::Tls(_) => Transport::Tls,
            Self::Https(_) => Transport::Https,
        }
    }

    fn tls(&self) -> Option<&TlsAcceptor> {
        match self {
            Self::Plain => None,
            Self::Tls(tls) | Self::Https(tls) => Some(tls),
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
    /// Of HTTPS.
    router: Router,
    stop: watch::Receiver<()>,
    crowd: Crowd,
    /// Connections so far.
    count: usize,
}

impl<R: Respond> Gate<R> {
    pub(super) fn new(
        settings: TcpSettings,
        responders: Arc<Responders<R>>,
        router: Router,
        stop: watch::Receiver<()>,
    ) -> Self {
        Self { settings, responders, router, stop, crowd: Crowd::new(settings), count: 0 }
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
                () = self.crowd.one_ended() => {}
            }
        }
        self.crowd.drain().await;
    }

    fn admit(&mut self, arrival: Arrival) {
        self.count += 1;
        let Arrival { mut stream, client, layer } = arrival;
        let _ = stream.set_nodelay(true); // slower without, not wrong
        let (responders, faults) = (Arc::clone(&self.responders), Arc::clone(self.responders.faults()));
        let (idle, stop, router) = (self.settings.idle, self.stop.clone(), self.router.clone());
        let (peer, is_proxied) = (Peer { client, transport: layer.transport() }, responders.is_proxy(client.ip()));
        let connection = Connection::new(peer, self.count, responders, idle, stop.clone());
        let last_query = connection.last_query();
        self.crowd.admit(client.ip(), is_proxied, last_query, self.responders.faults(), |allowance| async move {
            let connection = connection.within(allowance);
            let connection = if is_proxied {
                let Ok(client) = proxied::client(&mut stream, client).await else { return };
                connection.of(client)
            } else {
                connection
            };
            let Some(tls) = layer.tls() else { return drop(connection.run(stream).await) };
            let Some(stream) = handshake(tls, stream, &faults, stop.clone()).await else { return };
            match layer {
                Layer::Https(_) => https::serve(stream, router, connection.asker(), idle, stop).await,
                Layer::Plain | Layer::Tls(_) => drop(connection.run(stream).await),
            }
        });
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
