//! Which web pages may ask and report (the Fetch standard's CORS protocol).
//!
//! A browser says in `Origin` of which page it asks; a page cannot make it say something else. Where it asks for a picture or the like, it
//! says in `Sec-Fetch-Site` alone that the page is another's: that gets the script, which pages load so, and no session, lest any page
//! uses up those of its reader's network. Whoever says nothing is no page of another origin, and is held by its id alone.

use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_METHOD, CACHE_CONTROL, ORIGIN, VARY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use super::refusal::Refusal;
use super::routes::{self, Context};

const CROSS_ORIGIN_RESOURCE_POLICY: HeaderName = HeaderName::from_static("cross-origin-resource-policy");
const TIMING_ALLOW_ORIGIN: HeaderName = HeaderName::from_static("timing-allow-origin");
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");
const PREFLIGHT: [(HeaderName, &str); 3] = [
    (ACCESS_CONTROL_ALLOW_METHODS, "GET, POST"),
    (ACCESS_CONTROL_ALLOW_HEADERS, "content-type"),
    (ACCESS_CONTROL_MAX_AGE, "86400"),
];

/// Refuses requests of pages that are not of `origins`, answers preflights, and tells browsers which page may read a reply.
pub(super) async fn admit(State(context): State<Arc<Context>>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(ORIGIN).cloned();
    let is_allowed =
        |origin: &HeaderValue| context.settings.origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes());
    let is_preflight =
        request.method() == Method::OPTIONS && request.headers().contains_key(ACCESS_CONTROL_REQUEST_METHOD);
    let allowed = origin.clone().filter(is_allowed);
    let of_other_page =
        request.headers().get(SEC_FETCH_SITE).is_some_and(|site| site == "cross-site" || site == "same-site");
    let mut response = match (&origin, &allowed) {
        (Some(_), None) => Refusal::Origin.reply(),
        (None, _) if of_other_page && request.uri().path() != routes::SCRIPT_PATH => Refusal::Origin.reply(),
        (Some(_), Some(_)) if is_preflight => (StatusCode::NO_CONTENT, PREFLIGHT).into_response(),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    headers.append(VARY, HeaderValue::from_static("Origin"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // A page that isolates itself loads the script all the same.
    headers.insert(CROSS_ORIGIN_RESOURCE_POLICY, HeaderValue::from_static("cross-origin"));
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    if let Some(origin) = allowed {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(TIMING_ALLOW_ORIGIN, origin);
    }
    response
}
