//! What is not done, and why.

use axum::http::StatusCode;
use axum::response::Response;
use serde_json::json;

use super::routes;

/// Why a request comes to nothing. The client is told in a line of JSON, `{"error": "…"}`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The request is not as it should be: how.
    Malformed(String),
    /// A proxy of ours brought it and does not say whose it is.
    NoClient,
    /// It comes from a page of another origin.
    Origin,
    /// There is no id, and the client is no agent.
    NoId,
    /// The id is not of our making.
    Forged,
    /// It was made for another network.
    Elsewhere,
    /// It is too old.
    Expired,
    /// It has been used.
    Used,
    /// A sample is of a site that the id does not offer: which.
    NotOffered(String),
    /// Round trips that are to stand for themselves, and the client is no agent.
    NoAgent,
    /// There is no such path.
    NoPath,
    /// There is no such service.
    NoService,
    /// The body did not come in time.
    Slow,
    /// The body is too long.
    TooLarge,
    /// The client's network has had what it may have in a minute.
    Limited,
    /// As many ids are in use as can be remembered.
    Crowded,
    /// The control plane takes no more now.
    Full,
}

impl Refusal {
    /// The reply, counted in `meridian_beacons_refused_total`.
    pub(super) fn reply(self) -> Response {
        let (status, why, text) = self.parts();
        metrics::counter!("meridian_beacons_refused_total", "why" => why).increment(1);
        routes::json(status, &json!({ "error": text }))
    }

    /// Status, label, and what the client is told.
    fn parts(self) -> (StatusCode, &'static str, String) {
        let (status, why, text) = match self {
            Self::Malformed(text) => return (StatusCode::BAD_REQUEST, "malformed", text),
            Self::NotOffered(site) => {
                let text = format!("the id does not offer the site '{site}'");
                return (StatusCode::FORBIDDEN, "not_offered", text);
            }
            Self::NoClient => (StatusCode::BAD_REQUEST, "no_client", "the proxy does not say whose request this is"),
            Self::Origin => (StatusCode::FORBIDDEN, "origin", "the page's origin is not one of [beacons] origins"),
            Self::NoId => {
                (StatusCode::FORBIDDEN, "no_id", "a report needs the id of a session; [beacons] agents need none")
            }
            Self::Forged => (StatusCode::FORBIDDEN, "forged", "this id is not ours"),
            Self::Elsewhere => (StatusCode::FORBIDDEN, "elsewhere", "this id was made for another network"),
            Self::Expired => (StatusCode::FORBIDDEN, "expired", "this id is older than ten minutes"),
            Self::Used => (StatusCode::FORBIDDEN, "used", "this id has been used"),
            Self::NoAgent => {
                (StatusCode::FORBIDDEN, "no_agent", "\"absolute\" round trips are taken from [beacons] agents alone")
            }
            Self::NoPath => (StatusCode::NOT_FOUND, "no_path", "there is nothing at this path"),
            Self::NoService => (StatusCode::NOT_FOUND, "no_service", "there is no such service"),
            Self::Slow => (StatusCode::REQUEST_TIMEOUT, "slow", "the body did not come in time"),
            Self::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too_large", "a body has 16 KiB at most"),
            Self::Limited => (StatusCode::TOO_MANY_REQUESTS, "limited", "this network may do so again in a second"),
            Self::Crowded => (StatusCode::TOO_MANY_REQUESTS, "crowded", "too many ids are in use"),
            Self::Full => (StatusCode::SERVICE_UNAVAILABLE, "full", "no more reports can be taken now"),
        };
        (status, why, text.to_owned())
    }
}
