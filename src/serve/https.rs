//! DNS over HTTPS (RFC 8484): one router for HTTP/1.1, HTTP/2 and HTTP/3.
//!
//! ```text
//! TLS ─ hyper ┐                             ┌ doh.rs: what was typed → query
//! QUIC ─ h3 ──┴→ router: path, GET, POST ──▶│ Responders: query → reply
//!                                           └ wire::freshness → Cache-Control
//! ```
//! Any DNS reply is a success, whatever its response code (§4.2.1). What gets none is told why in a line of text: 400
//! for what is no query, 404 for another path, 405 for another method, 413 for a body above 65,535 octets, 415 for a body
//! of another type, and 503 where there is silence: before the first round of probes, or to who is not admitted. The client is who holds the other end of
//! the connection, whatever the request says of others it came by.
//!
//! A connection has [`STREAMS`] requests at once at most, of which few are read at a time ([`Asker`]); with what waits in
//! HTTP/2's windows that makes half a megabyte, beside the replies that it does not take. Heads are bounded by
//! [`LONGEST_HEAD`], so what does not fit into a URL goes by POST. It ends when it brings no whole query for as long as
//! `tcp_idle`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{DefaultBodyLimit, Extension, FromRequest as _, RawQuery, Request, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{Router, get};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::time::timeout;

use super::Respond;
use super::connection::{Asker, Responders};
use super::doh::{self, LONGEST_QUERY, MEDIA_TYPE, Refusal};
use crate::wire::{Rejection, freshness, parse};

/// Requests of a connection at once.
pub(super) const STREAMS: u32 = 100;
/// Octets of a request's head.
pub(super) const LONGEST_HEAD: u32 = 1 << 14;
/// Octets that a client may send ahead, on all streams of a connection.
pub(super) const WINDOW: u32 = 1 << 18;
/// What a connection that shall end may take for what it has begun.
const LAST_REPLIES: Duration = Duration::from_millis(500);

/// Answers at `path`. Requests bear their [`Asker`].
pub(super) fn router<R: Respond>(path: &str, responders: Arc<Responders<R>>) -> Router {
    Router::new()
        .route(path, get(by_get::<R>).post(by_post::<R>))
        .layer(DefaultBodyLimit::max(LONGEST_QUERY))
        .with_state(responders)
}

/// Serves a connection to its end.
pub(super) async fn serve<S>(stream: S, router: Router, asker: Asker, idle: Duration, mut stop: watch::Receiver<()>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let last_query = asker.last_query.clone();
    last_query.is_now(false); // a handshake's time is its own
    let service = TowerToHyperService::new(router.layer(Extension(asker)));
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(idle).max_buf_size(LONGEST_HEAD as usize);
    builder
        .http2()
        .max_concurrent_streams(STREAMS)
        .max_header_list_size(LONGEST_HEAD)
        .initial_connection_window_size(WINDOW);
    let mut connection = std::pin::pin!(builder.serve_connection(TokioIo::new(stream), service));
    tokio::select! {
        _ = &mut connection => return,
        () = last_query.idle_for(idle) => {}
        _ = stop.changed() => {}
    }
    connection.as_mut().graceful_shutdown();
    let _ = timeout(LAST_REPLIES, connection).await; // what the client does not take is its loss
}

async fn by_get<R: Respond>(
    State(responders): State<Arc<Responders<R>>>,
    Extension(asker): Extension<Asker>,
    RawQuery(query_string): RawQuery,
) -> Response {
    asker.take(1, 0).await;
    match doh::query_in_url(query_string.as_deref()) {
        Ok(query) => answer(&responders, &asker, &query).await,
        Err(refusal) => refuse(refusal),
    }
}

async fn by_post<R: Respond>(
    State(responders): State<Arc<Responders<R>>>,
    Extension(asker): Extension<Asker>,
    headers: HeaderMap,
    request: Request,
) -> Response {
    asker.take(1, 0).await;
    let content_type = headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok());
    if let Err(refusal) = doh::check_media_type(content_type) {
        return refuse(refusal);
    }
    let turn = asker.turns.acquire().await;
    let query = Bytes::from_request(request, &()).await;
    drop(turn);
    match query {
        Ok(query) => answer(&responders, &asker, &query).await,
        Err(rejection) => rejection.into_response(),
    }
}

async fn answer<R: Respond>(responders: &Responders<R>, asker: &Asker, query: &[u8]) -> Response {
    if parse(query) == Err(Rejection::Silence) {
        return refuse(Refusal { status: 400, why: "this is no DNS query" });
    }
    let Some(reply) = responders.reply(asker.worker, asker.peer, query) else {
        return refuse(Refusal { status: 503, why: "there is no answer for you now" });
    };
    asker.last_query.is_now(true); // silence keeps no connection
    asker.take(0, query.len() + reply.len()).await;
    let kept = match freshness(&reply) {
        Some(seconds) => {
            HeaderValue::try_from(format!("private, max-age={seconds}")).expect("digits are good in a header")
        }
        None => HeaderValue::from_static("no-store"),
    };
    ([(CONTENT_TYPE, HeaderValue::from_static(MEDIA_TYPE)), (CACHE_CONTROL, kept)], reply).into_response()
}

fn refuse(Refusal { status, why }: Refusal) -> Response {
    let status = StatusCode::from_u16(status).expect("refusals have statuses of HTTP");
    (status, [(CACHE_CONTROL, "no-store")], format!("{why}\n")).into_response()
}

/// Hands a request that came by HTTP/3 to the router.
pub(super) async fn call(mut router: Router, request: Request<Body>) -> Response {
    let response: Result<Response, Infallible> = tower_service::Service::call(&mut router, request).await;
    match response {
        Ok(response) => response,
    }
}
