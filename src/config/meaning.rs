//! What a configuration means, once everything typed in it has been found good.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use crate::model::{CookieSecret, Endpoint, FenceMask, Name, PlaceSet, Plan, Service};

/// A whole configuration. Nothing in it refers to a file that has not been named here.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[admin]`
    pub admin: Admin,
    /// `[process]`
    pub process: Process,
    /// `[geoip] databases`, resolved against the configuration's folder; of several the
    /// first that has a field wins. May be empty: then every client is unlocated.
    pub databases: Vec<PathBuf>,
    /// `[geoip] geo_memory`: octets at most for the busiest plans' tries.
    pub geo_memory: u64,
    /// `[reload] settle`: files must lie still this long.
    pub settle: Duration,
    /// `[resolver]`
    pub resolver: Resolver,
    /// `[health] first_round`: bound on the wait before the first answer.
    pub first_round: Duration,
    /// `[probes.*]`, by name.
    pub probes: Vec<Probe>,
    /// `[[endpoints]]`, in the order of the file; `EndpointId` indexes into it.
    pub endpoints: Vec<Endpoint>,
    /// `[[zones]]`, in the order of the file; `ZoneId` indexes into it.
    pub zones: Vec<Zone>,
    /// `[[services]]`, in the order of the file; `ServiceId` indexes into it.
    pub services: Vec<Service>,
    /// Distinct (endpoints, policy) pairs of the services; `PlanId` indexes into it.
    pub plans: Vec<Plan>,
    /// The distinct `where`s of all fences; `FenceMask` bits index into it. At most 64.
    pub fence_places: Vec<PlaceSet>,
    /// Every combination of fence places that one located client can lie in, the empty one included.
    pub fence_combinations: Vec<FenceMask>,
    /// Every prefix that some place names, so that locations can carry it as their label.
    pub labels: Vec<IpNet>,
    /// Every autonomous system that some place names.
    pub asns: Vec<u32>,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq)]
pub struct Server {
    /// UDP and TCP addresses; at least one.
    pub listen: Vec<SocketAddr>,
    /// The folder for what outlives a restart.
    pub state: PathBuf,
    /// UDP worker threads; none means one per core but one, at least one.
    pub workers: Option<usize>,
    /// Octets of each UDP socket's receive buffer.
    pub receive_buffer: usize,
    /// A worker has the queries that arrive on its processors, instead of the kernel's spread.
    pub steer_by_cpu: bool,
    /// TCP connections at once, over all listeners.
    pub tcp_connections: usize,
    /// A TCP connection without a query for this long is closed (RFC 7766 §6.2.3).
    pub tcp_idle: Duration,
    /// Told by `id.server` and NSID.
    pub identity: Identity,
    /// Told by `version.bind`; none: it is not told.
    pub version: Option<Box<str>>,
    /// DNS cookies.
    pub cookies: Cookies,
}

/// `[server] cookies`
#[derive(Clone, Debug, PartialEq)]
pub enum Cookies {
    /// Ignored.
    Off,
    /// A secret of this process. Whoever loads a configuration draws it.
    Random,
    /// Made and checked with this.
    Secret(CookieSecret),
}

/// `[server] identity`
#[derive(Clone, Debug, PartialEq)]
pub enum Identity {
    /// Not told.
    Off,
    /// The machine's host name. Whoever loads a configuration makes text of it.
    Hostname,
    /// 1 to 255 octets.
    Text(Box<str>),
}

impl Identity {
    /// What is told.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        if let Self::Text(text) = self { Some(text) } else { None }
    }
}

impl Server {
    /// Does an edit to `after` wait for a restart?
    #[must_use]
    pub fn needs_restart(&self, after: &Self) -> bool {
        let Self { identity, version, cookies, .. } = self.clone();
        *self != Self { identity, version, cookies, ..after.clone() }
    }
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Its HTTP address; none (`listen = "off"`): no admin endpoint.
    pub listen: Option<SocketAddr>,
    /// Who may ask besides loopback.
    pub allow: Vec<IpNet>,
}

/// `[process]`
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Process {
    /// Name or number of the user that it becomes once its sockets are bound; none: it stays who it is.
    pub user: Option<Box<str>>,
    /// The same of the group; none: the user's own.
    pub group: Option<Box<str>>,
    /// What holds it from then on.
    pub sandbox: Sandboxing,
}

/// `[process] sandbox`
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Sandboxing {
    /// Nothing.
    Off,
    /// What the kernel has for it.
    #[default]
    On,
    /// All of it; without that no start.
    Require,
}

/// `[resolver]`
#[derive(Clone, Debug, PartialEq)]
pub struct Resolver {
    /// Recursive servers; empty: those of `/etc/resolv.conf`.
    pub servers: Vec<SocketAddr>,
    /// Last good addresses are kept this long while resolving fails.
    pub keep_for: Duration,
    /// Hostname endpoints may resolve to loopback, private and link-local addresses (tests, labs).
    pub allow_private: bool,
}

/// `[[zones]]`, or a file of `[zones] directory`
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    /// Its apex.
    pub name: Name,
    /// Its master file, resolved against the configuration's folder.
    pub file: Arc<Path>,
}

/// `[probes.NAME]`
#[derive(Clone, Debug, PartialEq)]
pub struct Probe {
    /// Its name.
    pub name: Arc<str>,
    /// What it does.
    pub kind: ProbeKind,
    /// Port, where the target names none. `http` 80, `https` 443.
    pub port: u16,
    /// From one start to the next.
    pub interval: Duration,
    /// Each interval is drawn from interval × (1 ± jitter); 0..1.
    pub jitter: f64,
    /// Longest wait for a good outcome, connecting included.
    pub timeout: Duration,
    /// Failures in a row that make an address down.
    pub down_after: u32,
    /// Successes in a row that make it up again.
    pub up_after: u32,
    /// Loopback, private and link-local targets are meant.
    pub allow_private: bool,
}

/// What a probe does.
#[derive(Clone, Debug, PartialEq)]
pub enum ProbeKind {
    /// Connects.
    Tcp,
    /// Asks a web server.
    Http(Http),
}

/// An HTTP probe.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// TLS settings of `https`; none: `http`.
    pub tls: Option<Tls>,
    /// `GET` or `HEAD`.
    pub method: HttpMethod,
    /// Path and query, from `/`.
    pub path: String,
    /// `Host`, where it is not the target's address.
    pub host: Option<String>,
    /// Status codes that are good, as inclusive ranges; not empty.
    pub expect: Vec<(u16, u16)>,
    /// Text that the first 64 KiB of the body must hold.
    pub body: Option<String>,
}

/// The method of an HTTP probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpMethod {
    /// GET
    Get,
    /// HEAD
    Head,
}

/// How an `https` probe verifies the certificate.
#[derive(Clone, Debug, PartialEq)]
pub struct Tls {
    /// PEM file of the only authorities trusted; none: the system's.
    pub ca: Option<PathBuf>,
    /// The name that the certificate must bear, sent as SNI; none: `host`, else the target's address.
    pub server_name: Option<String>,
}

impl Config {
    /// The probe of that name.
    #[must_use]
    pub fn probe(&self, name: &str) -> Option<&Probe> {
        self.probes.iter().find(|probe| &*probe.name == name)
    }
}

/// Is it loopback, private, link-local, unspecified, multicast or broadcast: nothing that an endpoint on the
/// Internet can have (RFC 6890)?
#[must_use]
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let shared = matches!(v4.octets(), [100, 64..=127, ..]); // RFC 6598
            v4.is_loopback()
                || v4.is_private()
                || v4.is_link_local()
                || v4.is_unspecified()
                || v4.is_multicast()
                || v4.is_broadcast()
                || shared
        }
        IpAddr::V6(v6) => match v6.to_ipv4_mapped() {
            Some(v4) => is_private(IpAddr::V4(v4)),
            None => {
                let unique_local = v6.segments()[0] & 0xfe00 == 0xfc00;
                let link_local = v6.segments()[0] & 0xffc0 == 0xfe80;
                v6.is_loopback() || v6.is_unspecified() || v6.is_multicast() || unique_local || link_local
            }
        },
    }
}
