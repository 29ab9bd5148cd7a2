//! `/api/v1/overrides`: what the operator ordered by hand, and new orders.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Context, json, json_as};
use crate::control::{Done, Impact, Override, Request, Verb, Weighed};

/// The longest order, in octets.
pub(super) const LONGEST: usize = 4 * 1024;

/// The reply to an order.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ordered {
    /// What it came to; none: nothing was done.
    pub done: Option<Done>,
    /// What it comes to for clients once it has had its whole effect; empty for holds, which move nothing.
    pub impact: Impact,
    /// Why nothing was done; none: it was, or was not to be.
    pub refused: Option<String>,
}

/// Those in force.
pub(super) async fn list(State(context): State<Arc<Context>>) -> Response {
    let overrides: Vec<Override> = context.shared.overrides().list().to_vec();
    json(&overrides)
}

/// Takes an order: 200 done, 400 wrong, 409 refused for its impact, which the reply tells.
pub(super) async fn order(
    State(context): State<Arc<Context>>,
    peer: Option<axum::Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    if let Some(refused) = not_admitted(&context, peer, &headers) {
        return refused;
    }
    let request: Request = match serde_json::from_slice(&body) {
        Ok(request) => request,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, format!("the body is no order: {error}")),
    };
    // One after the other: what is weighed is what there is when it is done.
    let _turn = context.ordering.lock().await;
    let impact = match weigh(&context, &request).await {
        Ok(impact) => impact,
        Err((status, why)) => return refuse(status, why),
    };
    if request.dry_run {
        return json(&Ordered { done: None, impact, refused: None });
    }
    if impact.is_grave() && !request.accept_impact {
        let why = "it leaves clients without an endpoint that lives, or too little capacity";
        let why =
            if impact.blind.is_empty() { why } else { "it sends clients to endpoints that are down by their probes" };
        let why = why.to_owned();
        return json_as(StatusCode::CONFLICT, &Ordered { done: None, impact, refused: Some(why) });
    }
    match context.shared.order(request).await {
        Ok(done) => json(&Ordered { done: Some(done), impact, refused: None }),
        Err(why) => refuse(StatusCode::BAD_REQUEST, why),
    }
}

/// What all who are no operator get.
pub(super) fn not_admitted(
    context: &Context,
    peer: Option<axum::Extension<ConnectInfo<SocketAddr>>>,
    headers: &HeaderMap,
) -> Option<Response> {
    let forbid = |why: &str| Some(refuse(StatusCode::FORBIDDEN, why.to_owned()));
    let peer = peer.map(|peer| peer.0.0.ip().to_canonical());
    if !peer.is_some_and(|ip| ip.is_loopback() || context.operators.iter().any(|net| net.contains(&ip))) {
        return forbid("orders are closed to this address; [admin] operators opens it");
    }
    // Any web page may make its reader's browser post to loopback, and then the browser says so.
    if headers.contains_key(header::ORIGIN) {
        return forbid("orders from web pages are refused");
    }
    None
}

pub(super) fn refuse(status: StatusCode, why: String) -> Response {
    (status, why + "\n").into_response()
}

/// What the order would come to. Looks at each location of each plan, so not on a task that serves others.
async fn weigh(context: &Arc<Context>, request: &Request) -> Result<Impact, (StatusCode, String)> {
    let (snapshot, now) = (context.shared.published.load_full(), Timestamp::now());
    let before = context.shared.overrides().clone();
    let mut after = before.clone();
    after.obey(request, &snapshot.parts.config, now).map_err(|why| (StatusCode::BAD_REQUEST, why))?;
    if request.action == Verb::Hold {
        return Ok(Impact::default());
    }
    let weighed = {
        // The board first: whoever changes both holds it meanwhile.
        let board = context.shared.board();
        let snapshot = context.shared.published.load_full();
        Weighed::new(&snapshot, &board, &before, &after).map(|ordered| (snapshot, ordered))
    };
    let Some((snapshot, ordered)) = weighed else {
        return Err((StatusCode::SERVICE_UNAVAILABLE, "the server has not started yet".to_owned()));
    };
    let weighed = tokio::task::spawn_blocking(move || Impact::of(&snapshot, ordered, now)).await;
    weighed.map_err(|error| (StatusCode::INTERNAL_SERVER_ERROR, format!("our bug: {error}")))
}
