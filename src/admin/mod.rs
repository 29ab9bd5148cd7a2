//! Floor 4: what operators and their tools ask by HTTP. Reads what the control plane shows; changes
//! nothing.
//!
//! `/healthz`, `/readyz`, `/status` (JSON), `/metrics` (Prometheus), `/api/v1/explain`. Closed to all
//! but loopback and the prefixes of `[admin] allow`.

mod metrics;
mod status;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::Router;
use axum::extract::{ConnectInfo, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use ipnet::IpNet;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::config;
use crate::control::{self, DiskFiles, Shared};
use crate::geo::Database;
use crate::model::{Family, Files as _, Name};
use metrics::Metrics;

pub use status::{EndpointStatus, GeoStatus, LastStatus, ReloadStatus, ServiceStatus, Status};

/// How often histograms are folded when nobody scrapes.
const UPKEEP: Duration = Duration::from_secs(5);
/// Services in one `/status`, unless `limit` says otherwise.
const DEFAULT_LIMIT: usize = 1000;

/// The HTTP endpoint, bound.
pub struct Admin {
    listener: TcpListener,
    address: SocketAddr,
    context: Arc<Context>,
}

struct Context {
    shared: Arc<Shared>,
    allow: Vec<IpNet>,
    metrics: Metrics,
    /// Explaining reads whole databases into memory: one request at a time.
    explaining: Arc<Semaphore>,
}

impl Admin {
    /// Binds the address of `[admin] listen`; none: there is no admin endpoint.
    ///
    /// # Errors
    /// The address cannot be had; the error says which and what to do.
    pub async fn bind(settings: &config::Admin, shared: Arc<Shared>) -> io::Result<Option<Self>> {
        let Some(wanted) = settings.listen else { return Ok(None) };
        let listener = TcpListener::bind(wanted).await.map_err(|error| explain_bind(wanted, &error))?;
        let address = listener.local_addr()?;
        let explaining = Arc::new(Semaphore::new(1));
        let context = Context { shared, allow: settings.allow.clone(), metrics: Metrics::install(), explaining };
        Ok(Some(Self { listener, address, context: Arc::new(context) }))
    }

    /// The address bound.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until dropped.
    pub async fn run(self) {
        let upkeep = {
            let context = self.context.clone();
            async move {
                loop {
                    tokio::time::sleep(UPKEEP).await;
                    context.metrics.upkeep();
                }
            }
        };
        let router = router(self.context).into_make_service_with_connect_info::<SocketAddr>();
        tokio::select! {
            served = axum::serve(self.listener, router) => {
                if let Err(error) = served {
                    tracing::error!(%error, "the admin endpoint has ended");
                }
            }
            () = upkeep => {}
        }
    }
}

fn explain_bind(address: SocketAddr, error: &io::Error) -> io::Error {
    let what = match error.kind() {
        io::ErrorKind::AddrInUse => "another program listens there; stop it or change [admin] listen",
        io::ErrorKind::PermissionDenied => "this user may not; take a port above 1023 in [admin] listen",
        io::ErrorKind::AddrNotAvailable => "no interface of this machine has it; change [admin] listen",
        _ => "change [admin] listen",
    };
    io::Error::new(error.kind(), format!("cannot listen on {address} for admin: {error}: {what}"))
}

fn router(context: Arc<Context>) -> Router {
    Router::new()
        .route("/", get(index))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(ready))
        .route("/status", get(status))
        .route("/metrics", get(scrape))
        .route("/api/v1/explain", get(explain))
        .layer(middleware::from_fn_with_state(context.clone(), admit))
        .with_state(context)
}

/// Loopback and `[admin] allow` only.
async fn admit(State(context): State<Arc<Context>>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
    let admitted = |ip: IpAddr| ip.is_loopback() || context.allow.iter().any(|net| net.contains(&ip));
    if peer.is_some_and(admitted) {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "closed to this address; [admin] allow opens it\n").into_response()
}

async fn index() -> &'static str {
    "/healthz\n/readyz\n/status?service=NAME&limit=N\n/metrics\n/api/v1/explain?client=IP&name=NAME&type=A\n"
}

async fn ready(State(context): State<Arc<Context>>) -> (StatusCode, &'static str) {
    if context.shared.journal().ready {
        (StatusCode::OK, "ready\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the first round of probes is under way\n")
    }
}

/// `?service=&limit=`
#[derive(Deserialize)]
struct StatusQuery {
    service: Option<String>,
    limit: Option<usize>,
}

async fn status(State(context): State<Arc<Context>>, Query(query): Query<StatusQuery>) -> Json<Status> {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    Json(Status::of(&context.shared, query.service.as_deref(), limit))
}

async fn scrape(State(context): State<Arc<Context>>) -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, context.metrics.render(&context.shared))
}

/// `?client=&name=&type=`
#[derive(Deserialize)]
struct ExplainQuery {
    client: IpAddr,
    name: String,
    r#type: Option<String>,
}

async fn explain(State(context): State<Arc<Context>>, Query(query): Query<ExplainQuery>) -> Response {
    let wrong = |what: String| (StatusCode::BAD_REQUEST, what + "\n").into_response();
    let name: Name = match query.name.parse() {
        Ok(name) => name,
        Err(error) => return wrong(format!("name={}: {error}", query.name)),
    };
    let family = match query.r#type.as_deref().map(str::to_ascii_uppercase).as_deref() {
        None | Some("A") => Family::V4,
        Some("AAAA") => Family::V6,
        Some(other) => return wrong(format!("type={other}: A or AAAA")),
    };
    let turn = context.explaining.clone().acquire_owned().await.expect("it is never closed");
    let snapshot = context.shared.published.load_full();
    // Reading databases and searching them takes a while; not on a task that serves others.
    let explained = tokio::task::spawn_blocking(move || {
        let _turn = turn; // until it is done, also where the client has gone
        let databases = databases(&snapshot.parts.config);
        control::explain(&snapshot, &databases, query.client, &name, family, true)
    });
    match explained.await {
        Ok(explanation) => Json(explanation).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("our bug: {error}\n")).into_response(),
    }
}

/// The databases as they are on disk now; those that cannot be read are left out.
fn databases(config: &config::Config) -> Vec<Database> {
    let mut files = DiskFiles::default();
    let read = |path: &std::path::PathBuf| Some(Database { path: path.clone(), bytes: files.read(path).ok()? });
    config.databases.iter().filter_map(read).collect()
}
