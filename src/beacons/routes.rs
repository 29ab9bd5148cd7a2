//! What is asked and answered, one function a request.

use std::collections::BTreeSet;
use std::io;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::rejection::QueryRejection;
use axum::extract::{DefaultBodyLimit, Extension, FromRequest as _, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::body::{self, Kind, Report};
use super::client::{Prefix, client_of};
use super::cors;
use super::id::{self, Id, LONGEST_SITES, Signer};
use super::limit::Limiter;
use super::refusal::Refusal;
use super::used::Used;
use super::{Candidate, Exchange, Reported};
use crate::config;

/// Pages of other origins load it.
pub(super) const SCRIPT_PATH: &str = "/v1/beacon.js";
/// What a body may take to come.
const BODY: Duration = Duration::from_secs(5);
/// The script, but for what it is told when it is served.
const SCRIPT: &str = include_str!("beacon.js");
/// What stands in it for `explore`.
const EXPLORE: &str = "EXPLORE";

/// What all requests share.
pub(super) struct Context {
    pub(super) settings: config::Beacons,
    exchange: Arc<dyn Exchange>,
    script: Bytes,
    signer: Signer,
    used: Mutex<Used>,
    /// Of sessions and of reports.
    asked: Mutex<Limiter>,
    reported: Mutex<Limiter>,
    /// Time since the start.
    clock: Clock,
}

/// Never goes back.
pub(super) type Clock = Box<dyn Fn() -> Duration + Send + Sync>;

/// Who holds the other end of the connection.
#[derive(Clone, Copy)]
pub(super) struct Peer(pub(super) IpAddr);

impl Context {
    /// # Errors
    /// The system gives no random key.
    pub(super) fn new(settings: &config::Beacons, exchange: Arc<dyn Exchange>, clock: Clock) -> io::Result<Self> {
        let signer = Signer::random().map_err(|_| io::Error::other("the system gives no random key for beacons"))?;
        let script = SCRIPT.replacen(EXPLORE, &settings.explore.to_string(), 1).into();
        let (settings, used, asked, reported) =
            (settings.clone(), Mutex::default(), Mutex::default(), Mutex::default());
        Ok(Self { settings, exchange, script, signer, used, asked, reported, clock })
    }

    fn client(&self, Peer(peer): Peer, headers: &HeaderMap) -> Result<IpAddr, Refusal> {
        client_of(peer, headers, &self.settings.trusted_proxies)
    }

    /// # Errors
    /// [`Refusal::Limited`]
    fn admit(&self, limiter: &Mutex<Limiter>, prefix: Prefix) -> Result<(), Refusal> {
        let now_ms = (self.clock)().as_millis() as u64;
        let mut limiter = limiter.lock().unwrap_or_else(PoisonError::into_inner);
        limiter.take(prefix, now_ms).then_some(()).ok_or(Refusal::Limited)
    }

    /// Seconds since the start.
    fn now(&self) -> u32 {
        (self.clock)().as_secs() as u32
    }
}

/// Requests bear their [`Peer`].
pub(super) fn router(context: Arc<Context>) -> Router {
    Router::new()
        .route(SCRIPT_PATH, get(script))
        .route("/v1/beacons/session", get(session))
        .route("/v1/beacons", post(report))
        .fallback(|| async { Refusal::NoPath.reply() })
        .layer(DefaultBodyLimit::max(body::LONGEST))
        .layer(middleware::from_fn_with_state(context.clone(), cors::admit))
        .with_state(context)
}

/// JSON on a line.
pub(super) fn json(status: StatusCode, value: &impl Serialize) -> Response {
    let text = serde_json::to_string(value).unwrap_or_default(); // text and lists can be written
    (status, [(header::CONTENT_TYPE, "application/json")], text + "\n").into_response()
}

async fn script(State(context): State<Arc<Context>>) -> Response {
    let headers =
        [(header::CONTENT_TYPE, "text/javascript; charset=utf-8"), (header::CACHE_CONTROL, "public, max-age=3600")];
    (headers, context.script.clone()).into_response()
}

/// `?service=NAME`
#[derive(Deserialize)]
struct Wanted {
    service: String,
}

/// What a session is told.
#[derive(Serialize)]
struct Offer<'o> {
    id: String,
    candidates: Vec<Offered<'o>>,
    /// Until when the id is good.
    expires: Timestamp,
}

#[derive(Serialize)]
struct Offered<'o> {
    site: &'o str,
    url: &'o str,
}

async fn session(
    State(context): State<Arc<Context>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Response {
    offer(&context, peer, &headers, wanted).unwrap_or_else(Refusal::reply)
}

fn offer(
    context: &Context,
    peer: Peer,
    headers: &HeaderMap,
    wanted: Result<Query<Wanted>, QueryRejection>,
) -> Result<Response, Refusal> {
    let client = context.client(peer, headers)?;
    let prefix = Prefix::of(client);
    context.admit(&context.asked, prefix)?;
    let Query(Wanted { service }) =
        wanted.map_err(|_| Refusal::Malformed("say which, as ?service=www.shop.example".to_owned()))?;
    let candidates = context.exchange.candidates(&service, client).ok_or(Refusal::NoService)?;
    let offered = fitting(&candidates);
    if offered.is_empty() {
        outcomes("nothing").increment(1);
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    outcomes("offered").increment(1);
    let id = context.signer.sign(prefix, context.now(), offered.iter().map(|candidate| &*candidate.site));
    let candidates = offered.iter().map(|Candidate { site, url }| Offered { site, url }).collect();
    let expires = Timestamp::now().saturating_add(SignedDuration::from_secs(id::VALID.into()));
    let expires = expires.expect("a time of some minutes can be added");
    Ok(json(StatusCode::OK, &Offer { id, candidates, expires }))
}

/// Those that an id can offer.
fn fitting(candidates: &[Candidate]) -> &[Candidate] {
    let mut octets = 0;
    let fits = |candidate: &&Candidate| {
        octets += candidate.site.len() + 1;
        octets <= LONGEST_SITES
    };
    let count = candidates.iter().take(body::MOST_SAMPLES).take_while(fits).count();
    &candidates[..count]
}

async fn report(State(context): State<Arc<Context>>, Extension(peer): Extension<Peer>, request: Request) -> Response {
    match take(&context, peer, request).await {
        Ok(unknown) if unknown.is_empty() => StatusCode::NO_CONTENT.into_response(),
        Ok(unknown) => json(StatusCode::OK, &serde_json::json!({ "unknown_sites": unknown })),
        Err(refusal) => refusal.reply(),
    }
}

/// The sites at which nothing stands: their samples are left out.
async fn take(context: &Context, peer: Peer, request: Request) -> Result<BTreeSet<Arc<str>>, Refusal> {
    let client = context.client(peer, request.headers())?;
    let (prefix, is_agent) = (Prefix::of(client), context.settings.agents.contains(client));
    if !is_agent {
        context.admit(&context.reported, prefix)?;
    }
    let body = timeout(BODY, Bytes::from_request(request, &())).await.map_err(|_| Refusal::Slow)?;
    let body = body.map_err(|rejection| match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Refusal::TooLarge,
        _ => Refusal::Malformed("the body could not be read".to_owned()),
    })?;
    let now = context.now();
    let judge = |report| judge(context, report, prefix, is_agent, now);
    let judged = body::read(&body)?.into_iter().map(judge).collect::<Result<Vec<_>, _>>()?;
    let ids: Vec<(u32, u64)> = judged.iter().filter_map(|(id, _)| id.as_ref().map(|id| (id.made, id.number))).collect();
    let used = || context.used.lock().unwrap_or_else(PoisonError::into_inner);
    used().take(&ids)?;
    let count = judged.len() as u64;
    // An id offers sites that there are, or were.
    let told = judged.iter().filter(|(id, _)| id.is_none()).flat_map(|(_, reported)| &reported.samples);
    let mut unknown: BTreeSet<Arc<str>> = told.map(|(site, _)| site.clone()).collect();
    unknown.retain(|site| !context.exchange.is_site(site));
    let known = |(_, mut reported): (_, Reported)| {
        reported.samples.retain(|(site, _)| !unknown.contains(site));
        reported
    };
    if !context.exchange.take(judged.into_iter().map(known).collect()) {
        used().give_back(&ids); // so that the same may be sent again
        return Err(Refusal::Full);
    }
    outcomes("taken").increment(count);
    Ok(unknown)
}

/// What a report comes to, and its id, of which it is not known yet whether it has been used.
fn judge(
    context: &Context,
    report: Report,
    prefix: Prefix,
    is_agent: bool,
    now: u32,
) -> Result<(Option<Id>, Reported), Refusal> {
    let id = report.id.map(|id| context.signer.read(&id, prefix, now)).transpose()?;
    if id.is_none() && !is_agent {
        return Err(Refusal::NoId);
    }
    let absolute = report.kind == Kind::Absolute;
    if absolute && !is_agent {
        return Err(Refusal::NoAgent);
    }
    let samples = report.samples.into_iter().map(|sample| {
        let site = match &id {
            Some(id) => id.offers(&sample.site).ok_or(Refusal::NotOffered(sample.site))?,
            None => sample.site.into(),
        };
        Ok((site, sample.rtt_ms.map(|rtt_ms| rtt_ms as f32)))
    });
    let samples = samples.collect::<Result<_, Refusal>>()?;
    Ok((id, Reported { client: prefix.address(), absolute, samples }))
}

fn outcomes(outcome: &'static str) -> metrics::Counter {
    metrics::counter!("meridian_beacons_total", "outcome" => outcome)
}
