//! `/api/v1/estimates`: the table that answers go by, to be taken to another server.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::time::timeout;

use super::measurements::older;
use super::orders::{not_admitted, refuse};
use super::{Context, json};
use crate::latency::Published;

/// The longest body, in octets: 65,536 prefixes of 90 sites each have less, where sites' names have 20 octets.
pub(super) const LONGEST: usize = 256 * 1024 * 1024;
/// One that takes longer, or waits longer for its turn, makes room for the next; shorter than whoever asks waits.
const PATIENCE: Duration = Duration::from_secs(570);

/// Who may not bring one is told before its body is read, and one is moved at a time.
pub(super) async fn admit(State(context): State<Arc<Context>>, request: Request, next: Next) -> Response {
    if *request.method() != Method::GET {
        let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().copied();
        if let Some(refused) = not_admitted(&context, peer.map(Extension), request.headers()) {
            return refused;
        }
    }
    let moved = async {
        let _turn = context.moving.lock().await;
        next.run(request).await
    };
    match timeout(PATIENCE, moved).await {
        Ok(response) => response,
        Err(_) => refuse(
            StatusCode::SERVICE_UNAVAILABLE,
            "it takes too long; what was brought may yet come into force".to_owned(),
        ),
    }
}

/// As `state/estimates` holds it.
pub(super) async fn give(State(context): State<Arc<Context>>) -> Response {
    let published = context.shared.published.load().parts.measured.published.clone();
    let Ok(octets) = tokio::task::spawn_blocking(move || published.encode()).await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response(); // a panic, which was logged
    };
    ([(header::CONTENT_TYPE, "application/octet-stream")], octets).into_response()
}

/// Has answers go by another one: 200 once they do, 400 where it is none or too old, 409 where another came in its place.
pub(super) async fn take(State(context): State<Arc<Context>>, body: Bytes) -> Response {
    let read = tokio::task::spawn_blocking(move || Published::decode(&body)).await;
    let published = match read.map_err(|error| error.to_string()).flatten() {
        Ok(published) => published,
        Err(why) => return refuse(StatusCode::BAD_REQUEST, format!("the body is no table of estimates: {why}")),
    };
    let keep_for = context.shared.published.load().parts.config.beacons.keep_for;
    if let Some(older) = published.newest().and_then(|newest| older(newest, keep_for)) {
        let why =
            format!("the newest sample behind the table {older}: it would be dropped at once, so it was not taken in");
        return refuse(StatusCode::BAD_REQUEST, why);
    }
    match context.shared.measuring.bring(published).await {
        Ok(in_force) => json(&in_force),
        Err(why) => refuse(StatusCode::CONFLICT, why),
    }
}
