//! What a configuration means, once everything typed in it has been found good.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;

use super::beacons::Beacons;
use super::events::Webhook;
use super::kinds::ProbeKind;
use crate::model::{CookieSecrets, Endpoint, FenceMask, Name, PlaceSet, Plan, Prefixes, Service};

/// A whole configuration. Nothing in it refers to a file that has not been named here.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[server]`
    pub server: Server,
    /// `[access]`
    pub access: Access,
    /// `[rate_limit]`
    pub rate_limit: RateLimit,
    /// `[ecs]`
    pub ecs: Ecs,
    /// `[tls]`
    pub tls: Transports,
    /// `[admin]`
    pub admin: Admin,
    /// `[beacons]`: round trips that browsers and agents report.
    pub beacons: Beacons,
    /// `[process]`
    pub process: Process,
    /// `[events]`: where changes of verdicts are posted.
    pub webhook: Option<Webhook>,
    /// `[geoip] databases`, resolved against the configuration's folder; of several the
    /// first that has a field wins. May be empty: then every client is unlocated.
    pub databases: Vec<PathBuf>,
    /// `[geoip] geo_memory`: octets at most for the busiest plans' tries.
    pub geo_memory: u64,
    /// `[reload] settle`: files must lie still this long.
    pub settle: Duration,
    /// `[resolver]`
    pub resolver: Resolver,
    /// `[health]`: what failures that come together mean.
    pub health: Health,
    /// `[health] first_round`: bound on the wait before the first answer.
    pub first_round: Duration,
    /// `[health] stale_after`: verdicts of an earlier run that are older are not taken up.
    pub stale_after: Duration,
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
    /// TCP connections at once of one client: an IPv4 address or an IPv6 /56.
    pub tcp_client_connections: usize,
    /// Queries of one client in a second by all its connections. Who is over it waits.
    pub tcp_client_queries: u32,
    /// The same of octets, of queries and answers.
    pub tcp_client_octets: usize,
    /// A TCP connection without a query for this long is closed (RFC 7766 §6.2.3).
    pub tcp_idle: Duration,
    /// Sources whose connections and datagrams begin with a PROXY header that says whose they are.
    pub proxy_from: Vec<IpNet>,
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
    /// Of secrets in a file, which several servers share. Whoever loads a configuration reads it.
    Shared(PathBuf),
    /// Made and checked with these.
    Secrets(CookieSecrets),
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
        let Self { proxy_from, identity, version, cookies, .. } = self.clone();
        *self != Self { proxy_from, identity, version, cookies, ..after.clone() }
    }
}

/// `[tls]`: listeners whose queries are encrypted.
#[derive(Clone, Debug, PartialEq)]
pub struct Transports {
    /// What all of them show; there where any of them is.
    pub certificate: Option<CertificateFiles>,
    /// TCP addresses of DNS over TLS (RFC 7858).
    pub listen: Vec<SocketAddr>,
    /// TCP addresses of DNS over HTTPS, by HTTP/1.1 and HTTP/2 (RFC 8484).
    pub https: Vec<SocketAddr>,
    /// The path at which HTTPS is asked; begins with `/`.
    pub https_path: Box<str>,
    /// UDP addresses of DNS over QUIC (RFC 9250).
    pub quic: Vec<SocketAddr>,
    /// UDP addresses of DNS over HTTPS, by HTTP/3.
    pub https3: Vec<SocketAddr>,
}

/// A certificate and its key, resolved against the configuration's folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFiles {
    /// PEM, the server's own certificate first, then those that lead to an authority.
    pub chain: PathBuf,
    /// PEM, the private key.
    pub key: PathBuf,
}

impl Default for Transports {
    /// None.
    fn default() -> Self {
        let (listen, https, quic, https3) = Default::default();
        Self { certificate: None, listen, https, https_path: "/dns-query".into(), quic, https3 }
    }
}

impl Transports {
    /// Does an edit to `after` wait for a restart? Certificates do not.
    #[must_use]
    pub fn needs_restart(&self, after: &Self) -> bool {
        *self != Self { certificate: self.certificate.clone(), ..after.clone() }
    }
}

/// `[access]`: whose queries are answered. The others get silence.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Access {
    /// Nobody's of these.
    pub deny: Prefixes,
    /// Of the rest these alone; empty: all.
    pub allow: Prefixes,
}

impl Access {
    /// All are answered.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.deny.is_empty() && self.allow.is_empty()
    }

    /// Is this client's query answered?
    #[must_use]
    pub fn admits(&self, client: IpAddr) -> bool {
        !self.deny.contains(client) && (self.allow.is_empty() || self.allow.contains(client))
    }
}

/// `[ecs]`: whose client subnets are heeded (RFC 7871 §11.1).
#[derive(Clone, Debug, PartialEq)]
pub struct Ecs {
    /// Of these resolvers; empty: of all.
    pub allow: Prefixes,
    /// In all zones.
    pub everywhere: bool,
}

impl Default for Ecs {
    fn default() -> Self {
        Self { allow: Prefixes::default(), everywhere: true }
    }
}

impl Ecs {
    /// Is a client subnet from this resolver heeded?
    #[must_use]
    pub fn heeds(&self, resolver: IpAddr) -> bool {
        self.allow.is_empty() || self.allow.contains(resolver)
    }
}

/// `[rate_limit]`: replies by UDP a second, to one source (/24 or /56) and of one kind, from one worker.
#[derive(Clone, Debug, PartialEq)]
pub struct RateLimit {
    /// Replies longer than 1.5 times their query, and those that say that there is none; none: not limited.
    pub answers: Option<u32>,
    /// Replies that say what is wrong; none: not limited.
    pub errors: Option<u32>,
    /// Every so many of those over the limit are cut short, the others not sent; 0: none is sent.
    pub slip: u8,
    /// Only count them.
    pub log_only: bool,
    /// Sources without limit.
    pub allow: Prefixes,
}

impl Default for RateLimit {
    fn default() -> Self {
        Self { answers: Some(5000), errors: Some(200), slip: 2, log_only: false, allow: Prefixes::default() }
    }
}

/// `[admin]`
#[derive(Clone, Debug, PartialEq)]
pub struct Admin {
    /// Its HTTP address; none (`listen = "off"`): no admin endpoint.
    pub listen: Option<SocketAddr>,
    /// Who may ask besides loopback.
    pub allow: Vec<IpNet>,
    /// Who may ask and give orders besides loopback.
    pub operators: Vec<IpNet>,
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
    /// Edits may bring `script` probes: what starts them is there, even where no probe needs it at the start.
    pub scripts: bool,
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

impl Sandboxing {
    /// Its word.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::On => "on",
            Self::Require => "require",
        }
    }
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

/// `[health]`: what failures that come together mean (BEHAVIOUR rules 13 and 14). Shares are 0..1.
#[derive(Clone, Debug, PartialEq)]
pub struct Health {
    /// What fails within so long of each other belongs together.
    pub window: Duration,
    /// A site fails when this share of its endpoints is down.
    pub site_down: f64,
    /// The same of a cloud.
    pub cloud_down: f64,
    /// The fault is ours when this share of all sites fails, and half of the anchors.
    pub self_fail: f64,
    /// What we reach while our own way out is well; none, or three and more.
    pub anchors: Vec<SocketAddr>,
    /// While the fault is ours, verdicts are held this long at most.
    pub hold_for: Duration,
    /// After so long a fault of ours the server is not ready, so that whoever routes to it looks elsewhere; none: never.
    pub withdraw_after: Option<Duration>,
    /// Anchors may be loopback, private and link-local addresses (tests, labs).
    pub allow_private: bool,
    /// Soft signals take out at most this share of a fence's capacity.
    pub max_soft_down: f64,
}

impl Default for Health {
    fn default() -> Self {
        let (window, hold_for) = (Duration::from_secs(10), Duration::from_secs(120));
        let (site_down, cloud_down, self_fail, max_soft_down) = (0.6, 0.6, 0.7, 0.34);
        let (anchors, withdraw_after, allow_private) = (Vec::new(), None, false);
        Self {
            window,
            site_down,
            cloud_down,
            self_fail,
            anchors,
            hold_for,
            withdraw_after,
            allow_private,
            max_soft_down,
        }
    }
}

/// `[[zones]]`, or a file of `[zones] directory`
#[derive(Clone, Debug, PartialEq)]
pub struct Zone {
    /// Its apex.
    pub name: Name,
    /// Its master file, resolved against the configuration's folder.
    pub file: Arc<Path>,
    /// Client subnets are heeded in it; else resolvers stand for their clients.
    pub ecs: bool,
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
    /// The same while in doubt.
    pub fast_interval: Duration,
    /// Unanswered for so long, a probe raises doubt; none: four times the median of its answers, 100 ms at least.
    pub slow_after: Option<Duration>,
    /// Who is slow beside others counts as degraded; none: nobody is.
    pub slow: Option<Slow>,
    /// Failures that make an address down.
    pub down_after: u32,
    /// Successes in a row that make it up again, and that clear failures while it is up.
    pub up_after: u32,
    /// How flaps are damped; none: not.
    pub damping: Option<Damping>,
    /// Loopback, private and link-local targets are meant.
    pub allow_private: bool,
}

/// From when on an endpoint is slow.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Slow {
    /// Over so many times its own baseline, and over twice its peers',
    pub over: f64,
    /// by so much each time.
    pub at_least: Duration,
    /// Answers that are looked at.
    pub samples: usize,
}

/// How flaps are damped, in flips: each adds one to a penalty that decays.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Damping {
    /// The penalty halves in it.
    pub half_life: Duration,
    /// From so much on, it is held back.
    pub hold_at: f64,
    /// Until it has come down to so much.
    pub free_at: f64,
    /// But no longer than that.
    pub at_most: Duration,
}

impl Config {
    /// The probe of that name.
    #[must_use]
    pub fn probe(&self, name: &str) -> Option<&Probe> {
        self.probes.iter().find(|probe| &*probe.name == name)
    }

    /// Are there scripts to start, or may an edit bring some?
    #[must_use]
    pub fn wants_scripts(&self) -> bool {
        self.process.scripts || self.probes.iter().any(|probe| matches!(probe.kind, ProbeKind::Script(_)))
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
