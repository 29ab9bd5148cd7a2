//! QUIC: who is let in, and DNS over QUIC (RFC 9250).
//!
//! ```text
//! Endpoint ─ accept → Crowd (the limit) ┬ DoQ: a stream for each query, length and message each way
//!                                       └ HTTP/3 (http3.rs) → the router of https.rs
//! ```
//! Nobody's silence holds up others: handshakes are tasks of their own. From half a limit on, who wants in must first show
//! that its address is its own (RFC 9000 §8.1.2), so that nobody is put out for an address that was made up. Early data
//! (0-RTT) and moving to another address are off.
//!
//! A connection has [`STREAMS`] streams at once at most, of which few are read or written at a time ([`Asker`]). It sends
//! [`WINDOW`] octets ahead of what we read, and gets as many ahead of what it takes: a megabyte in all at most.

use std::future::IntoFuture as _;
use std::io;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use quinn::crypto::rustls::QuicServerConfig;
use quinn::{Connection, Endpoint, EndpointConfig, Incoming, ReadToEndError, RecvStream, SendStream, VarInt};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connection::{Asker, Peer, Responders};
use super::crowd::Crowd;
use super::https::{STREAMS, WINDOW};
use super::{Respond, TcpSettings, Transport, http3};
use crate::wire::{HEADER_LENGTH, parse};

/// What a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// A connection that shall end waits so long for the client to take its replies.
pub(super) const LAST_REPLIES: Duration = Duration::from_millis(500);
/// Octets of a stream: a length and the longest message.
const LONGEST_STREAM: usize = 2 + u16::MAX as usize;
/// Handshakes not looked at yet; they are taken as they come.
const WAITING: usize = 256;

/// DoQ's error codes (RFC 9250 §4.3).
const NO_ERROR: VarInt = VarInt::from_u32(0);
const INTERNAL_ERROR: VarInt = VarInt::from_u32(1);
const PROTOCOL_ERROR: VarInt = VarInt::from_u32(2);

/// An endpoint on a socket; in a tokio runtime. `tls` has the ALPN of what is spoken there.
///
/// # Errors
/// The system's.
pub(super) fn endpoint(
    transport: Transport,
    socket: UdpSocket,
    tls: Arc<rustls::ServerConfig>,
    idle: Duration,
) -> io::Result<Endpoint> {
    // HTTP/3's control stream and the two of QPACK, and one that means nothing. DoQ has none (RFC 9250 §4.3.3).
    let unidirectional = if transport == Transport::Https3 { 4 } else { 0 };
    let tls = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(tls));
    let mut bounds = quinn::TransportConfig::default();
    bounds
        .max_concurrent_bidi_streams(VarInt::from_u32(STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(unidirectional))
        .stream_receive_window(VarInt::from_u32(1 << 16))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(u64::from(WINDOW))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(idle.try_into().map_err(io::Error::other)?));
    config.transport_config(Arc::new(bounds)).migration(false).max_incoming(WAITING);
    Endpoint::new(EndpointConfig::default(), Some(config), socket, Arc::new(quinn::TokioRuntime))
}

/// One endpoint's connections.
pub(super) struct Door<R> {
    pub(super) endpoint: Endpoint,
    /// QUIC or HTTP/3.
    pub(super) transport: Transport,
    /// As of TCP.
    pub(super) settings: TcpSettings,
    /// Of HTTP/3.
    pub(super) router: Router,
    pub(super) responders: Arc<Responders<R>>,
    pub(super) stop: watch::Receiver<()>,
}

impl<R: Respond> Door<R> {
    /// Serves until all shall stop, then waits for the connections, but not for ever.
    pub(super) async fn run(mut self) {
        let mut crowd = Crowd::new(self.settings);
        let mut count = 0;
        loop {
            tokio::select! {
                incoming = self.endpoint.accept() => {
                    let Some(incoming) = incoming else { break };
                    if crowd.is_half_full(incoming.remote_address().ip()) && !incoming.remote_address_validated() {
                        let _ = incoming.retry(); // who may not be asked again has been asked
                    } else {
                        count += 1;
                        self.admit(&mut crowd, incoming, count);
                    }
                }
                () = crowd.one_ended() => {}
                _ = self.stop.changed() => break,
            }
        }
        self.endpoint.set_server_config(None); // nobody new
        crowd.drain().await;
        self.endpoint.close(NO_ERROR, b"");
        let _ = timeout(LAST_REPLIES, self.endpoint.wait_idle()).await;
    }

    fn admit(&self, crowd: &mut Crowd, incoming: Incoming, count: usize) {
        let transport = self.transport;
        let mut asker = Asker::new(Peer { client: incoming.remote_address(), transport }, count);
        let (router, responders, idle) = (self.router.clone(), Arc::clone(&self.responders), self.settings.idle);
        let mut stop = self.stop.clone();
        let (client, last_query) = (asker.peer.client.ip(), asker.last_query.clone());
        crowd.admit(client, false, last_query, self.responders.faults(), |allowance| async move {
            asker.allowance = allowance;
            let connection = tokio::select! {
                connection = timeout(HANDSHAKE, incoming.into_future()) => connection,
                _ = stop.changed() => return,
            };
            asker.last_query.is_now(false); // a handshake's time is its own
            match connection {
                Ok(Ok(connection)) if transport == Transport::Https3 => {
                    http3::serve(connection, router, asker, idle, stop).await;
                }
                Ok(Ok(connection)) => serve(connection, asker, responders, idle, stop).await,
                _ => responders.faults().count_failed_handshake(),
            }
        });
    }
}

/// The client breaks a rule that ends the connection (RFC 9250 §4.3.3).
#[derive(Debug)]
struct ProtocolError;

/// Serves a connection of DNS over QUIC to its end.
async fn serve<R: Respond>(
    connection: Connection,
    asker: Asker,
    responders: Arc<Responders<R>>,
    idle: Duration,
    mut stop: watch::Receiver<()>,
) {
    let mut exchanges = JoinSet::new();
    loop {
        tokio::select! {
            streams = connection.accept_bi() => match streams {
                Ok((send, receive)) => {
                    exchanges.spawn(exchange(send, receive, asker.clone(), Arc::clone(&responders)));
                }
                Err(_) => return, // the client has ended it, or is gone
            },
            Some(ended) = exchanges.join_next() => if let Ok(Err(ProtocolError)) = ended {
                return connection.close(PROTOCOL_ERROR, b"RFC 9250 section 4.3.3");
            },
            () = asker.last_query.idle_for(idle) => break,
            _ = stop.changed() => break,
        }
    }
    let _ = timeout(LAST_REPLIES, async { while exchanges.join_next().await.is_some() {} }).await;
    connection.close(NO_ERROR, b"");
}

/// A query and its reply. Done once the client has the reply, or does not want it.
async fn exchange<R: Respond>(
    mut send: SendStream,
    mut receive: RecvStream,
    asker: Asker,
    responders: Arc<Responders<R>>,
) -> Result<(), ProtocolError> {
    let turn = asker.turns.acquire().await;
    let message = match receive.read_to_end(LONGEST_STREAM).await {
        Ok(message) => message,
        Err(ReadToEndError::TooLong) => return Err(ProtocolError),
        Err(ReadToEndError::Read(_)) => return Ok(()), // called off
    };
    let query = query(&message)?;
    asker.last_query.is_now(true);
    asker.take(1, message.len()).await;
    let mut reply = Vec::new();
    if !responders.answer(asker.worker, asker.peer, query, &mut reply) {
        let _ = send.reset(INTERNAL_ERROR);
        return Ok(());
    }
    asker.take(0, reply.len()).await;
    let written = send.write_all(&reply).await.is_ok() && send.finish().is_ok();
    drop(turn);
    if written {
        let _ = send.stopped().await;
    }
    Ok(())
}

/// The one query of a stream: whole, nothing behind it, its ID 0 (§4.2.1), and no TCP keepalive (§5.5.2).
fn query(stream: &[u8]) -> Result<&[u8], ProtocolError> {
    let (length, query) = stream.split_first_chunk().ok_or(ProtocolError)?;
    let whole = query.len() == usize::from(u16::from_be_bytes(*length)) && query.len() >= HEADER_LENGTH;
    let keepalive = || parse(query).is_ok_and(|query| query.edns.is_some_and(|edns| edns.wants_keepalive));
    if whole && query[..2] == [0, 0] && !keepalive() { Ok(query) } else { Err(ProtocolError) }
}
