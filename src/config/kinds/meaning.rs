//! What each kind of probe does, once its words have been found good.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::rr::RecordType;

use super::Sample;
use crate::config::CertificateFiles;
use crate::model::Name;

/// What a probe does.
#[derive(Clone, Debug, PartialEq)]
pub enum ProbeKind {
    /// Connects.
    Tcp,
    /// Connects, says something, listens.
    Exchange(Exchange),
    /// Shakes hands by TLS.
    Tls(Tls),
    /// Asks a web server.
    Http(Http),
    /// Asks for a figure, of whoever measures it.
    Metric(Metric),
    /// Asks a name server.
    Dns(Dns),
    /// Asks the standard health service of gRPC.
    Grpc(Grpc),
    /// Reads what another program wrote.
    File(StateFile),
    /// Starts a program.
    Script(Script),
    /// Sends an echo request.
    Icmp,
    /// Does nothing itself: what others come to.
    Calculated(Calculated),
}

impl ProbeKind {
    /// Does it go to the target itself?
    #[must_use]
    pub fn goes_to_target(&self) -> bool {
        !matches!(self, Self::Metric(_) | Self::File(_) | Self::Script(_))
    }

    /// Does it tell of something else than whether the target answers, and may be wrong about many at once?
    #[must_use]
    pub fn is_soft(&self) -> bool {
        matches!(self, Self::Metric(_))
    }

    /// Its settings of TLS, if it has any.
    #[must_use]
    pub fn tls(&self) -> Option<&Tls> {
        match self {
            Self::Tls(tls) => Some(tls),
            Self::Http(http) => http.tls.as_ref(),
            Self::Metric(metric) => metric.tls.as_ref(),
            Self::Grpc(grpc) => grpc.tls.as_ref(),
            Self::Tcp
            | Self::Exchange(_)
            | Self::Dns(_)
            | Self::File(_)
            | Self::Script(_)
            | Self::Icmp
            | Self::Calculated(_) => None,
        }
    }
}

/// What several probes come to: the state that at least so many of them have, or a better one. Those that do not tell are
/// not counted.
#[derive(Clone, Debug, PartialEq)]
pub struct Calculated {
    /// From 1 to their number.
    pub at_least: usize,
    /// Their names; none is calculated itself.
    pub of: Vec<Arc<str>>,
}

/// A TCP probe that speaks.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Exchange {
    /// Said once connected.
    pub send: Option<String>,
    /// Text that the first 4 KiB of what comes must hold.
    pub expect: Option<String>,
}

/// An HTTP probe.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// TLS settings of `https`; none: `http`.
    pub tls: Option<Tls>,
    /// By HTTP/2 and nothing else; with TLS alone.
    pub http2: bool,
    /// On a connection that is kept.
    pub reuse: bool,
    /// So many redirects are followed, to where the target itself answers.
    pub redirects: usize,
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

/// How a probe verifies the certificate, and what it shows of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tls {
    /// PEM file of the only authorities trusted; none: the system's.
    pub ca: Option<PathBuf>,
    /// The name that the certificate must bear, sent as SNI; none: `host`, else the target's address.
    pub server_name: Option<String>,
    /// The certificate shown to a server that asks for one.
    pub client: Option<CertificateFiles>,
    /// A certificate that ends sooner is warned of; zero: none is.
    pub expires_within: Duration,
}

/// A figure that somebody else measures, and what it means.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Where it is told; may hold `{endpoint}` and `{address}`, as the aim may.
    pub url: String,
    /// TLS settings of `https`.
    pub tls: Option<Tls>,
    /// Which figure.
    pub aim: Aim,
    /// What is good.
    pub limits: Limits,
    /// No figure counts as degraded, and not as nothing known.
    pub missing_degrades: bool,
}

/// A figure in an answer.
#[derive(Clone, Debug, PartialEq)]
pub enum Aim {
    /// In Prometheus text; the largest of those that match.
    Sample(Sample),
    /// In JSON: the parts of a pointer (RFC 6901).
    Pointer(Vec<String>),
}

/// A figure beyond one of them is not good.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// Above: degraded.
    pub degraded_over: Option<f64>,
    /// Above: down.
    pub down_over: Option<f64>,
    /// Below: degraded.
    pub degraded_under: Option<f64>,
    /// Below: down.
    pub down_under: Option<f64>,
}

/// A question to a name server.
#[derive(Clone, Debug, PartialEq)]
pub struct Dns {
    /// Whom it asks for.
    pub name: Name,
    /// And for what.
    pub record: RecordType,
    /// What the records of the answer must say, others may be there; empty: anything.
    pub expect: Vec<String>,
}

/// A request to `grpc.health.v1.Health/Check`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Grpc {
    /// Empty: the server as a whole.
    pub service: String,
    /// None: in plain text.
    pub tls: Option<Tls>,
}

/// A program whose exit code says how a target fares, and its first line why.
#[derive(Clone, Debug, PartialEq)]
pub struct Script {
    /// Its absolute path, then its arguments.
    pub command: Vec<String>,
}

/// A file that begins with `up`, `degraded` or `down`, and why.
#[derive(Clone, Debug, PartialEq)]
pub struct StateFile {
    /// Resolved against the configuration's folder. Its last part may hold `{endpoint}` and `{address}`.
    pub path: PathBuf,
    /// Written longer ago, it tells nothing.
    pub max_age: Duration,
}

impl StateFile {
    /// The folder that it lies in.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
    }
}
