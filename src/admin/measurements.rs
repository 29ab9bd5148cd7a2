//! `/api/v1/measurements`: round trips that the operator brings.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, Query, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use super::orders::{not_admitted, refuse};
use super::{Context, json, json_as};
use crate::control::Reported;

/// The longest body, in octets.
pub(super) const LONGEST: usize = 2 * 1024 * 1024;

/// Samples of one session.
const MOST_SAMPLES: usize = 16;

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
    let mut sessions: Vec<Reported> = match serde_json::from_slice(&body) {
        Ok(sessions) => sessions,
        Err(error) => return refuse(StatusCode::BAD_REQUEST, format!("the body is no list of sessions: {error}")),
    };
    let snapshot = context.shared.published.load_full();
    let keep_for = snapshot.parts.config.beacons.keep_for;
    if let Some(wrong) = sessions.iter().filter_map(|session| session.at).find_map(|at| wrong_time(at, keep_for)) {
        return refuse(StatusCode::BAD_REQUEST, wrong);
    }
    let known: BTreeSet<String> = snapshot.parts.config.endpoints.iter().map(|endpoint| endpoint.site.name()).collect();
    if let Some(long) = sessions.iter().map(|session| session.samples.len()).find(|count| *count > MOST_SAMPLES) {
        let wrong =
            format!("a session has {MOST_SAMPLES} samples at most, and one of these {long}: nothing was taken in");
        return refuse(StatusCode::BAD_REQUEST, wrong);
    }
    // No names wait that nobody knows.
    let mut unknown = BTreeSet::new();
    for (site, _) in
        sessions.iter_mut().flat_map(|session| session.samples.extract_if(.., |(site, _)| !known.contains(&**site)))
    {
        unknown.insert(site.to_string());
    }
    let unknown_sites = unknown.into_iter().collect();
    let all = sessions.len();
    let taken = context.shared.measuring.offer(sessions);
    if wish.last || taken < all {
        context.shared.measuring.hurry();
    }
    let reply = Taken { taken, unknown_sites };
    if taken < all { json_as(StatusCode::SERVICE_UNAVAILABLE, &reply) } else { json(&reply) }
}

/// Why nothing measured then would be kept; none: it would.
fn wrong_time(at: Timestamp, keep_for: Duration) -> Option<String> {
    let age = Timestamp::now().duration_since(at);
    if age < SignedDuration::from_secs(-60) {
        return Some(format!("{at} lies ahead: nothing was taken in"));
    }
    older(at, keep_for).map(|longer| format!("{at} {longer}: nothing was taken in"))
}

/// That nothing of that age is kept; none: it is.
pub(super) fn older(at: Timestamp, keep_for: Duration) -> Option<String> {
    let age = Duration::try_from(Timestamp::now().duration_since(at)).unwrap_or_default();
    let hours = keep_for.as_secs_f64() / 3600.0;
    (age > keep_for).then(|| format!("is longer ago than `keep_for` of [beacons], {hours} hours"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_neither_ahead_nor_too_long_ago() {
        let hours = |hours| Timestamp::now() + SignedDuration::from_hours(hours);
        let wrong = |at| wrong_time(hours(at), Duration::from_secs(24 * 3600));
        assert_eq!((wrong(0), wrong(-23)), (None, None));
        assert!(wrong(1).unwrap().contains("ahead") && wrong(-25).unwrap().contains("keep_for"));
    }
}
