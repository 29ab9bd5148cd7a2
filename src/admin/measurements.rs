//! `/api/v1/measurements`: round trips that the operator brings.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::orders::{not_admitted, refuse};
use super::{Context, json, json_as};
use crate::control::Reported;

/// The longest body, in octets.
pub(super) const LONGEST: usize = 2 * 1024 * 1024;

/// The reply to sessions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Taken {
    /// How many of them, from the first on, were taken in; the others found no room, and may be sent again.
    pub taken: usize,
    /// Sites among them at which no endpoint stands: their round trips are left out.
    pub unknown_sites: Vec<String>,
}

#[derive(Deserialize)]
pub(super) struct Wish {
    /// This is the last of them: estimates are to be looked at now.
    #[serde(default)]
    last: bool,
}

/// Takes sessions in: 200, or 503 where not all found room.
pub(super) async fn take(
    State(context): State<Arc<Context>>,
    peer: Option<axum::Extension<ConnectInfo<SocketAddr>>>,
    Query(wish): Query<Wish>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(refused) = not_admitted(&context, peer, &headers) {
        return refused;
    }
    let sessions: Vec<Reported> = match serde_json::from_slice(&body) {
        Ok(sessions) => sessions,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, format!("the body is no list of sessions: {error}")),
    };
    let snapshot = context.shared.published.load_full();
    let known: std::collections::BTreeSet<String> =
        snapshot.parts.config.endpoints.iter().map(|endpoint| endpoint.site.name()).collect();
    let sites = sessions.iter().flat_map(|session| &session.samples).map(|(site, _)| site);
    let unknown: std::collections::BTreeSet<&str> =
        sites.map(|site| &**site).filter(|site| !known.contains(*site)).collect();
    let unknown_sites = unknown.into_iter().map(str::to_owned).collect();
    let all = sessions.len();
    let taken = context.shared.measuring.offer(sessions);
    if wish.last || taken < all {
        context.shared.measuring.hurry();
    }
    let reply = Taken { taken, unknown_sites };
    if taken < all { json_as(StatusCode::SERVICE_UNAVAILABLE, &reply) } else { json(&reply) }
}
