//! What each kind of probe does, once its words have been found good.

use std::path::PathBuf;
use std::time::Duration;

use super::Sample;
use crate::config::CertificateFiles;

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
}

impl ProbeKind {
    /// Does it go to the target itself?
    #[must_use]
    pub fn goes_to_target(&self) -> bool {
        !matches!(self, Self::Metric(_))
    }

    /// Its settings of TLS, if it has any.
    #[must_use]
    pub fn tls(&self) -> Option<&Tls> {
        match self {
            Self::Tls(tls) => Some(tls),
            Self::Http(http) => http.tls.as_ref(),
            Self::Metric(metric) => metric.tls.as_ref(),
            Self::Tcp | Self::Exchange(_) => None,
        }
    }
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
