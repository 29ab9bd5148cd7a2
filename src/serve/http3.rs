//! HTTP/3 (RFC 9114) on a QUIC connection, for the router of DNS over HTTPS.
//!
//! The h3 crate keeps a frame until it is whole, and a client may say that a frame has 2^62 octets. [`Metered`] hands it
//! no more than a request may have, so a connection's requests being read hold [`REQUEST`] octets each at most.

use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::http::Response;
use bytes::Buf as _;
use h3::error::{Code, StreamError};
use h3::quic::{self, ConnectionErrorIncoming, StreamErrorIncoming, StreamId, WriteBuf};
use h3::server::{RequestResolver, RequestStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::connection::Asker;
use super::doh::LONGEST_QUERY;
use super::https::{self, LONGEST_HEAD};
use super::quic::LAST_REPLIES;

/// Octets of a request's stream: the head, the longest body, frames' heads, and an octet by which a body is too long.
const REQUEST: usize = LONGEST_HEAD as usize + LONGEST_QUERY + 1024;
/// Octets of the client's control stream, over the connection's whole life.
const CONTROL: usize = 1 << 16;

/// Requests of a connection, over its whole life; h3 keeps each that ended before its head was whole until the end. (The
/// figure counts ends of requests as well.)
const REQUESTS: usize = 20_000;

type Stream = Metered<h3_quinn::BidiStream<Bytes>>;

/// Serves a connection to its end.
pub(super) async fn serve(
    connection: quinn::Connection,
    router: Router,
    asker: Asker,
    idle: Duration,
    mut stop: watch::Receiver<()>,
) {
    let connection = Limited(h3_quinn::Connection::new(connection));
    let built = h3::server::builder().max_field_section_size(LONGEST_HEAD.into()).build(connection).await;
    let Ok(mut connection) = built else { return };
    let mut requests = JoinSet::new();
    for _ in 0..REQUESTS {
        tokio::select! {
            request = connection.accept() => match request {
                Ok(Some(request)) => drop(requests.spawn(exchange(request, router.clone(), asker.clone()))),
                _ => return, // the client has ended it, or is gone
            },
            Some(_) = requests.join_next() => {} // an error is the client's or the network's
            () = asker.last_query.idle_for(idle) => break,
            _ = stop.changed() => break,
        }
    }
    let _ = timeout(LAST_REPLIES, async {
        let _ = connection.shutdown(0).await; // no more requests
        while requests.join_next().await.is_some() {}
        // The rest is taken in, so that the client hears of the end before the connection is closed.
        while let Ok(Some(_)) = connection.accept().await {}
    })
    .await;
}

/// A request and its response.
async fn exchange(request: RequestResolver<Limited, Bytes>, router: Router, asker: Asker) -> Result<(), StreamError> {
    let turn = asker.turns.acquire().await;
    let (request, mut stream) = request.resolve_request().await?;
    let body = read_body(&mut stream).await?;
    let mut request = request.map(|()| Body::from(body));
    request.extensions_mut().insert(asker.clone());
    let (head, body) = https::call(router, request).await.into_parts();
    let body = to_bytes(body, usize::MAX).await.unwrap_or_default(); // it is whole already
    stream.send_response(Response::from_parts(head, ())).await?;
    if !body.is_empty() {
        stream.send_data(body).await?;
    }
    drop(turn);
    stream.finish().await
}

/// The body, or so much of it that it is too long.
async fn read_body(stream: &mut RequestStream<Stream, Bytes>) -> Result<Vec<u8>, StreamError> {
    let mut body = Vec::new();
    while let Some(mut piece) = stream.recv_data().await? {
        let taken = piece.remaining().min(LONGEST_QUERY + 1 - body.len());
        body.extend_from_slice(&piece.copy_to_bytes(taken));
        if body.len() > LONGEST_QUERY {
            break;
        }
    }
    Ok(body)
}

/// A connection whose streams are [`Metered`].
pub(super) struct Limited<C = h3_quinn::Connection>(C);

/// A stream that gives `left` octets and no more. It may be stopped and asked for its id at any time: h3 does so while a
/// read waits, and h3-quinn's panics then.
pub(super) struct Metered<S> {
    stream: S,
    id: StreamId,
    left: usize,
    /// A read waits.
    reading: bool,
}

impl<S: quic::RecvStream> Metered<S> {
    fn new(stream: S, left: usize) -> Self {
        Self { id: stream.recv_id(), stream, left, reading: false }
    }
}

impl quic::Connection<Bytes> for Limited {
    type RecvStream = Metered<h3_quinn::RecvStream>;
    type OpenStreams = Limited<h3_quinn::OpenStreams>;

    fn poll_accept_recv(&mut self, cx: &mut Context<'_>) -> Poll<Result<Self::RecvStream, ConnectionErrorIncoming>> {
        let stream = ready!(quic::Connection::<Bytes>::poll_accept_recv(&mut self.0, cx))?;
        Poll::Ready(Ok(Metered::new(stream, CONTROL)))
    }

    fn poll_accept_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Self::BidiStream, ConnectionErrorIncoming>> {
        let stream = ready!(quic::Connection::<Bytes>::poll_accept_bidi(&mut self.0, cx))?;
        Poll::Ready(Ok(Metered::new(stream, REQUEST)))
    }

    fn opener(&self) -> Self::OpenStreams {
        Limited(quic::Connection::<Bytes>::opener(&self.0))
    }
}

impl<C> quic::OpenStreams<Bytes> for Limited<C>
where
    C: quic::OpenStreams<Bytes, BidiStream = h3_quinn::BidiStream<Bytes>>,
{
    type BidiStream = Stream;
    type SendStream = C::SendStream;

    fn poll_open_bidi(&mut self, cx: &mut Context<'_>) -> Poll<Result<Self::BidiStream, StreamErrorIncoming>> {
        let stream = ready!(self.0.poll_open_bidi(cx))?;
        Poll::Ready(Ok(Metered::new(stream, REQUEST)))
    }

    fn poll_open_send(&mut self, cx: &mut Context<'_>) -> Poll<Result<Self::SendStream, StreamErrorIncoming>> {
        self.0.poll_open_send(cx)
    }

    fn close(&mut self, code: Code, reason: &[u8]) {
        self.0.close(code, reason);
    }
}

impl<S: quic::RecvStream> quic::RecvStream for Metered<S> {
    type Buf = S::Buf;

    fn poll_data(&mut self, cx: &mut Context<'_>) -> Poll<Result<Option<Self::Buf>, StreamErrorIncoming>> {
        let polled = self.stream.poll_data(cx);
        self.reading = polled.is_pending();
        let data = ready!(polled)?;
        let octets = data.as_ref().map_or(0, |data| data.remaining());
        match self.left.checked_sub(octets) {
            Some(left) => self.left = left,
            None => {
                let error_code = Code::H3_EXCESSIVE_LOAD.value();
                self.stream.stop_sending(error_code);
                return Poll::Ready(Err(StreamErrorIncoming::StreamTerminated { error_code }));
            }
        }
        Poll::Ready(Ok(data))
    }

    fn stop_sending(&mut self, error_code: u64) {
        if !self.reading {
            self.stream.stop_sending(error_code);
        } // else it is stopped when it is dropped, with no code
    }

    fn recv_id(&self) -> StreamId {
        self.id
    }
}

impl<S: quic::SendStream<Bytes>> quic::SendStream<Bytes> for Metered<S> {
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.stream.poll_ready(cx)
    }

    fn send_data<T: Into<WriteBuf<Bytes>>>(&mut self, data: T) -> Result<(), StreamErrorIncoming> {
        self.stream.send_data(data)
    }

    fn poll_finish(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), StreamErrorIncoming>> {
        self.stream.poll_finish(cx)
    }

    fn reset(&mut self, reset_code: u64) {
        self.stream.reset(reset_code);
    }

    fn send_id(&self) -> StreamId {
        self.stream.send_id()
    }
}
