//! Connections, and what each may take.
//!
//! There is a limit of all and one of each network; at either, a new one is closed at once. Whoever is silent, or sends a
//! head or a body by drops, is closed too, so that places come free. Proxies of ours are under the first limit alone.

use std::collections::HashMap;
use std::io;
use std::net::{self, IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::Extension;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::client::Prefix;
use super::routes::{self, Context, Peer};
use crate::model::Prefixes;

/// Connections at once, on all listeners, and those of one /24 or /48.
const MOST: usize = 1024;
const MOST_OF_A_NETWORK: usize = 64;
/// Octets of a request's head.
const LONGEST_HEAD: usize = 16 << 10;
/// What a head may take to come, from the reply before it on.
const HEAD: Duration = Duration::from_secs(10);
/// What a connection may take in all. Replies are shorter than what the kernel takes of them at once, so that a client that
/// does not read ends with it too.
const LIFE: Duration = Duration::from_secs(300);
/// What one that shall end may take for what it has begun.
const LAST_REPLY: Duration = Duration::from_secs(6);
/// After an error in accepting that may stay (no file descriptors left).
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);

/// Serves until dropped.
pub(super) async fn serve(listeners: Vec<net::TcpListener>, context: Arc<Context>) -> io::Result<()> {
    let places = Arc::new(Places::new(context.settings.trusted_proxies.clone()));
    let router = routes::router(context);
    let mut accepting = JoinSet::new();
    for listener in listeners {
        listener.set_nonblocking(true)?;
        accepting.spawn(accept(TcpListener::from_std(listener)?, router.clone(), places.clone()));
    }
    while accepting.join_next().await.is_some() {}
    Ok(())
}

/// Accepts until dropped, and its connections with it.
async fn accept(listener: TcpListener, router: Router, places: Arc<Places>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            arrival = listener.accept() => match arrival {
                Ok((stream, peer)) => match Place::take(&places, peer.ip()) {
                    Some(place) => drop(connections.spawn(connection(stream, peer, router.clone(), place))),
                    None => metrics::counter!("meridian_beacons_refused_total", "why" => "connections").increment(1),
                },
                // The client has gone already.
                Err(error) if matches!(error.kind(), io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset) => {}
                Err(error) => {
                    tracing::debug!(%error, "a connection of a beacon was not accepted");
                    sleep(PAUSE_AFTER_ERROR).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connection(stream: TcpStream, peer: SocketAddr, router: Router, place: Place) {
    let _place = place; // until it ends
    let service = TowerToHyperService::new(router.layer(Extension(Peer(peer.ip()))));
    let mut builder = auto::Builder::new(TokioExecutor::new()).http1_only();
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(LONGEST_HEAD);
    let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
    if timeout(LIFE, &mut connection).await.is_err() {
        connection.as_mut().graceful_shutdown();
        let _ = timeout(LAST_REPLY, connection).await; // what the client does not take is its loss
    }
}

/// Who has how many connections.
struct Places {
    proxies: Prefixes,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    all: usize,
    /// Of networks that have any.
    by_network: HashMap<Prefix, usize>,
}

impl Places {
    fn new(proxies: Prefixes) -> Self {
        Self { proxies, taken: Mutex::default() }
    }
}

/// A connection's place among all; it comes free when this is dropped.
struct Place {
    places: Arc<Places>,
    /// None: a proxy's.
    network: Option<Prefix>,
}

impl Place {
    /// None: there is none for this client.
    fn take(places: &Arc<Places>, client: IpAddr) -> Option<Self> {
        let network = (!places.proxies.contains(client)).then(|| Prefix::of(client));
        let mut taken = places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.all >= MOST {
            return None;
        }
        if let Some(network) = network {
            let of_network = taken.by_network.entry(network).or_default();
            if *of_network >= MOST_OF_A_NETWORK {
                return None;
            }
            *of_network += 1;
        }
        taken.all += 1;
        Some(Self { places: places.clone(), network })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.places.taken.lock().unwrap_or_else(PoisonError::into_inner);
        taken.all -= 1;
        let Some(network) = self.network else { return };
        let Some(of_network) = taken.by_network.get_mut(&network) else { return };
        *of_network -= 1;
        if *of_network == 0 {
            taken.by_network.remove(&network);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_bounded_and_come_free() {
        let proxies = ["10.0.0.0/8".parse().unwrap()].into_iter().collect();
        let places = Arc::new(Places::new(proxies));
        let ip = |text: &str| text.parse::<IpAddr>().unwrap();
        let take = |from: &str, count: usize| -> Vec<Place> {
            (0..count).filter_map(|_| Place::take(&places, ip(from))).collect()
        };
        let of_one = take("192.0.2.1", 100);
        assert_eq!((of_one.len(), take("192.0.2.200", 1).len(), take("192.0.3.1", 1).len()), (64, 0, 1));
        let of_proxies = take("10.0.0.1", 2000);
        assert_eq!((of_proxies.len(), take("192.0.3.1", 1).len()), (1024 - 64, 0));
        drop(of_one);
        assert_eq!(take("192.0.2.1", 100).len(), 64);
        drop(of_proxies);
        let taken = places.taken.lock().unwrap();
        assert_eq!((taken.all, taken.by_network.len()), (0, 0));
    }
}
