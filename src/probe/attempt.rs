//! One run of a probe, and how its errors read.

use std::error::Error;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use tokio::net::TcpStream;

use super::dns::DnsClient;
use super::exchange::Talk;
use super::grpc::GrpcClient;
use super::http::HttpClient;
use super::icmp::Pinger;
use super::metric::MetricClient;
use super::scripts::{ScriptRunner, Scripts};
use super::state_file::FileReader;
use super::tls::TlsClient;
use super::trust::{Trust, Unready};
use crate::config::{ProbeKind, is_private};
use crate::health::{Cause, Check};

/// Runs one probe once, without a bound in time.
pub(super) trait Attempt: Send + Sync + 'static {
    /// It is stopped by dropping the future.
    fn attempt(&self) -> impl Future<Output = Result<Found, Failed>> + Send;
}

/// What an answer came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// It is as it should be.
    Good,
    /// It answers, but says that it is not well: what.
    Degraded(String),
    /// It tells nothing of what it should tell of: how.
    Missing(String),
    /// It limits our probes, by this status.
    Limited(u16),
}

/// Why an attempt failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Failed {
    /// The target, or the way to it.
    There(Cause),
    /// This machine ran out of something, so that nothing is known of the target.
    Here(String),
    /// Others of the same check are under way, and there is no room for more.
    Crowded,
}

/// Why a check cannot be run.
pub(super) enum Unfit {
    /// As it is configured.
    Settings(String),
    /// Something is not at hand, which is no fault of the target.
    Unready(String),
}

impl From<Unready> for Unfit {
    fn from(unready: Unready) -> Self {
        match unready {
            Unready::Unloaded => Self::Settings("its certificate authorities are not loaded".to_owned()),
            Unready::NoKey => Self::Unready("the kept set that is served has no key for client_certificate".to_owned()),
        }
    }
}

/// What attempts a check.
pub(super) enum Client {
    Tcp(SocketAddr),
    Talk(Talk),
    Tls(TlsClient),
    Http(HttpClient),
    Metric(MetricClient),
    Dns(DnsClient),
    Grpc(GrpcClient),
    File(FileReader),
    Script(ScriptRunner),
    Icmp(Pinger),
    /// The check cannot be run; always the same is found.
    Fixed(Result<Found, Failed>),
}

impl Client {
    pub(super) fn new(check: &Check, trust: &Trust, scripts: Option<&Scripts>) -> Self {
        if check.probe.kind.goes_to_target() && !check.probe.allow_private && is_private(check.target.ip()) {
            return Self::Fixed(Err(Failed::There(Cause::Private)));
        }
        Self::of(check, trust, scripts).unwrap_or_else(|unfit| {
            Self::Fixed(match unfit {
                Unfit::Settings(why) => Err(Failed::There(Cause::Protocol(why))),
                Unfit::Unready(why) => Ok(Found::Missing(why)),
            })
        })
    }

    fn of(check: &Check, trust: &Trust, scripts: Option<&Scripts>) -> Result<Self, Unfit> {
        Ok(match &check.probe.kind {
            ProbeKind::Tcp => Self::Tcp(check.target),
            ProbeKind::Exchange(exchange) => Self::Talk(Talk { target: check.target, exchange: exchange.clone() }),
            ProbeKind::Tls(tls) => Self::Tls(TlsClient::new(check, tls, &[], trust)?),
            ProbeKind::Http(http) => Self::Http(HttpClient::new(check, http, trust)?),
            ProbeKind::Metric(metric) => Self::Metric(MetricClient::new(check, metric, trust)?),
            ProbeKind::Dns(dns) => Self::Dns(DnsClient::new(check.target, dns)?),
            ProbeKind::Grpc(grpc) => Self::Grpc(GrpcClient::new(check, grpc, trust)?),
            ProbeKind::File(file) => Self::File(FileReader::new(check, file)),
            ProbeKind::Calculated(_) => {
                return Err(Unfit::Settings("it is calculated, and does nothing itself".to_owned()));
            }
            ProbeKind::Script(script) => Self::Script(ScriptRunner::new(check, script, scripts)?),
            ProbeKind::Icmp => Self::Icmp(Pinger::new(check.target.ip())),
        })
    }
}

impl Attempt for Client {
    async fn attempt(&self) -> Result<Found, Failed> {
        // Boxed, lest the future of the smallest be as large as that of the largest, and be copied with each run.
        match self {
            Self::Tcp(target) => connect(*target).await,
            Self::Talk(talk) => Box::pin(talk.attempt()).await,
            Self::Tls(client) => Box::pin(client.attempt()).await,
            Self::Http(client) => Box::pin(client.attempt()).await,
            Self::Metric(client) => Box::pin(client.attempt()).await,
            Self::Dns(client) => Box::pin(client.attempt()).await,
            Self::Grpc(client) => Box::pin(client.attempt()).await,
            Self::File(reader) => Box::pin(reader.attempt()).await,
            Self::Script(runner) => Box::pin(runner.attempt()).await,
            Self::Icmp(pinger) => Box::pin(pinger.attempt()).await,
            Self::Fixed(found) => found.clone(),
        }
    }
}

/// Connects, and is gone. Nothing was said, so the connection is reset and not closed by both: thousands a second would else
/// hold thousands of ports and sockets for a minute (TIME-WAIT).
async fn connect(target: SocketAddr) -> Result<Found, Failed> {
    let stream = TcpStream::connect(target).await.map_err(|error| classify(&error))?;
    let _ = stream.set_zero_linger(); // closed as ever without
    Ok(Found::Good)
}

/// What went wrong beneath the layers that reported it, in words.
#[must_use]
pub fn innermost(error: &(dyn Error + 'static)) -> String {
    match classify(error) {
        Failed::There(cause) => cause.to_string(),
        Failed::Here(why) => why,
        Failed::Crowded => "there is no room for more".to_owned(),
    }
}

/// Finds what went wrong beneath the layers that reported it.
pub(super) fn classify(error: &(dyn Error + 'static)) -> Failed {
    let mut error = error;
    loop {
        if let Some(tls) = error.downcast_ref::<rustls::Error>() {
            return Failed::There(Cause::Tls(bounded(&tls.to_string())));
        }
        // It ended before the request was on its way.
        if error.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_canceled) {
            return Failed::There(Cause::Reset);
        }
        let io = error.downcast_ref::<io::Error>();
        if let Some(failed) = io.and_then(classify_io) {
            return failed;
        }
        // An I/O error that wraps another names it by `get_ref`; its `source` skips that one.
        let wrapped = io.and_then(io::Error::get_ref).map(|inner| inner as &(dyn Error + 'static));
        match wrapped.or_else(|| error.source()) {
            Some(inner) => error = inner,
            None => return Failed::There(Cause::Protocol(bounded(&error.to_string()))),
        }
    }
}

fn classify_io(error: &io::Error) -> Option<Failed> {
    // ENFILE and EMFILE have no `ErrorKind`; the numbers are the same on every Unix.
    if matches!(error.raw_os_error(), Some(23 | 24)) || error.kind() == ErrorKind::OutOfMemory {
        return Some(Failed::Here(error.to_string()));
    }
    let cause = match error.kind() {
        ErrorKind::ConnectionRefused => Cause::Refused,
        ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted | ErrorKind::BrokenPipe => Cause::Reset,
        ErrorKind::HostUnreachable
        | ErrorKind::NetworkUnreachable
        | ErrorKind::AddrNotAvailable
        | ErrorKind::TimedOut => Cause::Unreachable,
        _ => return None,
    };
    Some(Failed::There(cause))
}

/// Errors may quote what the peer sent: one line of at most 200 characters.
pub(super) fn bounded(text: &str) -> String {
    text.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_innermost_error_decides() {
        let reset = io::Error::from(ErrorKind::ConnectionReset);
        assert_eq!(classify(&io::Error::other(io::Error::other(reset))), Failed::There(Cause::Reset));
        let tls = io::Error::new(ErrorKind::InvalidData, rustls::Error::DecryptError);
        let Failed::There(Cause::Tls(_)) = classify(&tls) else { panic!("{tls}") };
        let odd = io::Error::other("a\nb".repeat(1000));
        let Failed::There(Cause::Protocol(text)) = classify(&odd) else { panic!("{odd}") };
        assert_eq!((text.len(), &text[..3]), (200, "a b"));
    }

    #[test]
    fn running_out_of_descriptors_says_nothing_of_the_target() {
        let Failed::Here(_) = classify(&io::Error::from_raw_os_error(24)) else { panic!("EMFILE") };
    }
}
