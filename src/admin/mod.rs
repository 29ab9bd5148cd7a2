//! Floor 4: what operators and their tools ask by HTTP. Reads what the control plane shows, and hands it the operator's
//! orders.
//!
//! `/healthz`, `/readyz`, `/status` (JSON), `/metrics` (Prometheus), `/api/v1/explain`, `/api/v1/events`,
//! `/api/v1/overrides`, `/api/v1/measurements`, `/api/v1/estimates`. Closed to all but loopback and the prefixes of `[admin] allow`; orders are taken from loopback
//! and `[admin] operators` alone.

mod estimates;
mod events;
mod measurements;
mod metrics;
mod orders;
mod ramp;
mod status;

use std::borrow::Cow;
use std::io;
use std::net::{self, IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{ConnectInfo, DefaultBodyLimit, Query, Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use ipnet::IpNet;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::config;
use crate::control::{self, Digests, DiskFiles, Shared, asked_as};
use crate::geo::Database;
use crate::model::{Family, Files as _, Name};
use metrics::Metrics;

pub use measurements::Taken;
pub use orders::Ordered;
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
    operators: Vec<IpNet>,
    /// Orders are weighed and put in force one at a time.
    ordering: tokio::sync::Mutex<()>,
    /// Tables of estimates are large.
    moving: tokio::sync::Mutex<()>,
    metrics: Metrics,
    /// Explaining reads whole databases into memory: one request at a time.
    explaining: Arc<Semaphore>,
}

impl Admin {
    /// Binds the address of `[admin] listen`; none: there is no admin endpoint.
    ///
    /// # Errors
    /// The address cannot be had; the error says which and what to do.
    pub fn bind(settings: &config::Admin) -> io::Result<Option<net::TcpListener>> {
        let bind = |wanted| net::TcpListener::bind(wanted).map_err(|error| explain_bind(wanted, &error));
        settings.listen.map(bind).transpose()
    }

    /// The endpoint on a socket of [`bind`](Self::bind); in a tokio runtime.
    ///
    /// # Errors
    /// The runtime does not take the socket.
    pub fn new(listener: net::TcpListener, settings: &config::Admin, shared: Arc<Shared>) -> io::Result<Self> {
        let address = listener.local_addr()?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let explaining = Arc::new(Semaphore::new(1));
        let (allow, operators) = (settings.allow.clone(), settings.operators.clone());
        let context = Context {
            shared,
            allow,
            operators,
            ordering: tokio::sync::Mutex::default(),
            moving: tokio::sync::Mutex::default(),
            metrics: Metrics::install(),
            explaining,
        };
        Ok(Self { listener, address, context: Arc::new(context) })
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
        .route("/api/v1/events", get(events::events))
        .route("/api/v1/explain", get(explain))
        .route("/api/v1/overrides", get(orders::list).post(orders::order))
        .layer(DefaultBodyLimit::max(orders::LONGEST))
        .route("/api/v1/measurements", post(measurements::take).layer(DefaultBodyLimit::max(measurements::LONGEST)))
        .route(
            "/api/v1/estimates",
            get(estimates::give)
                .post(estimates::take)
                .layer(DefaultBodyLimit::max(estimates::LONGEST))
                .layer(middleware::from_fn_with_state(context.clone(), estimates::admit)),
        )
        .layer(middleware::from_fn_with_state(context.clone(), admit))
        .with_state(context)
}

/// Loopback, `[admin] allow` and `[admin] operators` only.
async fn admit(State(context): State<Arc<Context>>, request: Request, next: Next) -> Response {
    let peer = request.extensions().get::<ConnectInfo<SocketAddr>>().map(|info| info.0.ip().to_canonical());
    let mut named = context.allow.iter().chain(&context.operators);
    let mut admitted = |ip: IpAddr| ip.is_loopback() || named.any(|net| net.contains(&ip));
    if peer.is_some_and(&mut admitted) {
        return next.run(request).await;
    }
    (StatusCode::FORBIDDEN, "closed to this address; [admin] allow opens it\n").into_response()
}

async fn index() -> &'static str {
    "/healthz\n/readyz\n/status?service=NAME&limit=N\n/metrics\n/api/v1/events\n/api/v1/explain?client=IP&name=NAME&type=A\n/api/v1/overrides\n/api/v1/measurements\n/api/v1/estimates\n"
}

async fn ready(State(context): State<Arc<Context>>) -> (StatusCode, Cow<'static, str>) {
    if !context.shared.journal().ready {
        return (StatusCode::SERVICE_UNAVAILABLE, "the first round of probes is under way\n".into());
    }
    match context.shared.board().withdrawn() {
        Some(fault) => (StatusCode::SERVICE_UNAVAILABLE, format!("{fault}\n").into()),
        None => (StatusCode::OK, "ready\n".into()),
    }
}

/// `?service=&limit=`
#[derive(Deserialize)]
struct StatusQuery {
    service: Option<String>,
    limit: Option<usize>,
}

async fn status(State(context): State<Arc<Context>>, Query(query): Query<StatusQuery>) -> Response {
    let limit = query.limit.unwrap_or(DEFAULT_LIMIT);
    if let Some(name) = query.service.as_deref().filter(|name| !Status::knows(&context.shared, name)) {
        let text = format!("no service is named '{name}'; /status lists them\n");
        return (StatusCode::NOT_FOUND, text).into_response();
    }
    json(&Status::of(&context.shared, query.service.as_deref(), limit))
}

/// JSON on lines of its own: it is read by people with curl at night as often as by programs.
fn json(value: &impl serde::Serialize) -> Response {
    json_as(StatusCode::OK, value)
}

fn json_as(status: StatusCode, value: &impl serde::Serialize) -> Response {
    match serde_json::to_string_pretty(value) {
        Ok(text) => (status, [(header::CONTENT_TYPE, "application/json")], text + "\n").into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("our bug: {error}\n")).into_response(),
    }
}

async fn scrape(State(context): State<Arc<Context>>) -> impl IntoResponse {
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    (kind, context.metrics.render(&context.shared))
}

/// `?client=&name=&type=`
#[derive(Deserialize)]
struct ExplainQuery {
    client: String,
    name: String,
    r#type: Option<String>,
}

async fn explain(State(context): State<Arc<Context>>, Query(query): Query<ExplainQuery>) -> Response {
    let wrong = |what: String| (StatusCode::BAD_REQUEST, what + "\n").into_response();
    let client = match asked_as(&query.client) {
        Ok(client) => client,
        Err(why) => return wrong(format!("client={}: {why}", query.client)),
    };
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
    let (served, shared) = (context.shared.journal().digests.clone(), context.shared.clone());
    // Reading databases and searching them takes a while; not on a task that serves others.
    let explained = tokio::task::spawn_blocking(move || {
        let _turn = turn; // until it is done, also where the client has gone
        let databases = databases(&snapshot.parts.config, &served);
        let mut explanation = control::explain(&snapshot, &databases, client, &name, family, true);
        explanation.add_samples(&shared, client.addr());
        explanation
    });
    match explained.await {
        Ok(explanation) => json(&explanation),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("our bug: {error}\n")).into_response(),
    }
}

/// The databases that serve, read again; those that are not on disk as they were served are left out.
fn databases(config: &config::Config, served: &Digests) -> Vec<Database> {
    let mut files = DiskFiles::default();
    let read = |path: &PathBuf| {
        let bytes = files.read(path).ok()?;
        (served.get(path).copied() == files.digest(path).ok()).then(|| Database { path: path.clone(), bytes })
    };
    config.databases.iter().filter_map(read).collect()
}

#[cfg(test)]
mod tests {
    use std::future::IntoFuture as _;

    use axum::Extension;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;

    use super::*;
    use crate::control::{Control, Options};

    /// The status line that a client at `peer` gets.
    async fn ask(context: Arc<Context>, peer: &str) -> String {
        let peer: SocketAddr = peer.parse().unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        // The outer layer puts the address in place of the socket's.
        let router = router(context).layer(Extension(ConnectInfo(peer)));
        let served = async {
            stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
            let mut reply = String::new();
            stream.read_to_string(&mut reply).await.unwrap();
            reply.lines().next().unwrap().to_owned()
        };
        tokio::select! {
            _ = axum::serve(listener, router).into_future() => panic!("it ended"),
            status = served => status,
        }
    }

    #[tokio::test]
    async fn closed_to_all_but_loopback_and_whom_allow_names() {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.toml");
        let zone = "[[zones]]\nname = \"shop.example\"\nfile = \"zone\"\n";
        std::fs::write(&config, format!("[geoip]\ndatabases = []\n{zone}")).unwrap();
        let zone = "@ 60 SOA ns1 a 1 1 1 1 1\n@ 60 NS ns1.elsewhere.example.\n";
        std::fs::write(folder.path().join("zone"), zone).unwrap();
        let shared = Control::open(Options { config, strict: true }).unwrap().shared();
        let allow = vec!["192.0.2.0/24".parse().unwrap(), "2001:db8::/32".parse().unwrap()];
        let explaining = Arc::new(Semaphore::new(1));
        let (operators, ordering) = (Vec::new(), tokio::sync::Mutex::default());
        let context = Arc::new(Context {
            shared,
            allow,
            operators,
            ordering,
            moving: tokio::sync::Mutex::default(),
            metrics: Metrics::install(),
            explaining,
        });
        for (peer, status) in [
            ("127.0.0.1:1", "HTTP/1.1 200 OK"),
            ("127.9.9.9:1", "HTTP/1.1 200 OK"),
            ("[::1]:1", "HTTP/1.1 200 OK"),
            ("[::ffff:127.0.0.1]:1", "HTTP/1.1 200 OK"),
            ("192.0.2.200:1", "HTTP/1.1 200 OK"),
            ("[::ffff:192.0.2.1]:1", "HTTP/1.1 200 OK"),
            ("[2001:db8::1]:1", "HTTP/1.1 200 OK"),
            ("192.0.3.1:1", "HTTP/1.1 403 Forbidden"),
            ("10.0.0.1:1", "HTTP/1.1 403 Forbidden"),
            ("[2001:db9::1]:1", "HTTP/1.1 403 Forbidden"),
        ] {
            assert_eq!(ask(context.clone(), peer).await, status, "{peer}");
        }
    }
}
