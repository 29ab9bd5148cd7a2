//! What tests of probes have in common: targets on loopback, certificates, one check.
#![allow(dead_code, reason = "no test binary uses all of it")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use meridian::config::{Http, HttpMethod, Probe, ProbeKind, Tls};
use meridian::health::{Cause, Check, CheckId, Outcome};
use meridian::model::Cloud;
use meridian::probe::{Prober, Report, Trust};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// What a test's web server does with a request.
#[derive(Clone, Copy)]
pub(crate) enum Reply {
    /// Sends this and closes.
    Text(&'static str),
    /// Sends this and nothing more, but stays.
    Hang(&'static str),
    /// Sends this, then octets without end.
    Endless(&'static str),
    /// Breaks the connection.
    Reset,
}

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nhealthy";

/// A web server; the heads of its requests, with the names asked for by SNI in front.
pub(crate) struct Web {
    pub(crate) address: SocketAddr,
    pub(crate) requests: mpsc::UnboundedReceiver<String>,
}

impl Web {
    pub(crate) async fn start(reply: Reply, tls: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (sender, requests) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let (tls, sender) = (tls.clone(), sender.clone());
                tokio::spawn(async move {
                    let Some(tls) = tls else {
                        if matches!(reply, Reply::Reset) {
                            socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
                        }
                        return serve(stream, reply, String::new(), sender).await;
                    };
                    if let Ok(stream) = tls.accept(stream).await {
                        let session = stream.get_ref().1;
                        let about = format!("{:?} {:?}\n", session.server_name(), session.handshake_kind());
                        serve(stream, reply, about, sender).await;
                    }
                });
            }
        });
        Self { address, requests }
    }
}

pub(crate) async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    reply: Reply,
    mut head: String,
    sender: mpsc::UnboundedSender<String>,
) {
    while !head.contains("\r\n\r\n") {
        match stream.read_u8().await {
            Ok(octet) => head.push(octet.into()),
            Err(_) => return,
        }
    }
    let _ = sender.send(head);
    let (Reply::Text(text) | Reply::Hang(text) | Reply::Endless(text)) = reply else { return };
    let mut sent = stream.write_all(text.as_bytes()).await;
    match reply {
        Reply::Hang(_) => std::future::pending().await,
        Reply::Endless(_) => {
            while sent.is_ok() {
                sent = stream.write_all(&[b'x'; 4096]).await;
            }
        }
        Reply::Text(_) | Reply::Reset => drop(stream.shutdown().await),
    }
}

pub(crate) fn probe(kind: ProbeKind) -> Probe {
    Probe {
        name: "p".into(),
        kind,
        port: 80,
        interval: Duration::from_millis(20),
        jitter: 0.1,
        timeout: Duration::from_secs(20),
        down_after: 3,
        up_after: 2,
        fast_interval: Duration::from_millis(250),
        slow_after: None,
        slow: None,
        damping: None,
        allow_private: true,
    }
}

pub(crate) fn http() -> Http {
    Http {
        tls: None,
        method: HttpMethod::Get,
        http2: false,
        reuse: false,
        redirects: 0,
        path: "/healthz?deep=1".to_owned(),
        host: None,
        expect: vec![(200, 200), (204, 299)],
        body: None,
    }
}

pub(crate) fn body(text: &str) -> Http {
    Http { body: Some(text.to_owned()), ..http() }
}

/// Of `e`, a region of a cloud.
pub(crate) fn check(probe: Probe, target: SocketAddr) -> Check {
    let (cloud, region) = (Cloud::new("aws"), "eu-west-1".into());
    Check { endpoint: "e".into(), cloud, region, probe: Arc::new(probe), target }
}

/// Runs one check; its reports.
pub(crate) fn run(probe: Probe, target: SocketAddr, files: &[(&str, &str)]) -> (Prober, mpsc::Receiver<Report>) {
    let (sender, reports) = mpsc::channel(1);
    let mut files: BTreeMap<PathBuf, Arc<[u8]>> =
        files.iter().map(|(path, text)| (PathBuf::from(path), text.as_bytes().into())).collect();
    let trust = Arc::new(Trust::load(std::slice::from_ref(&probe), &mut files).unwrap());
    let check = Arc::new(check(probe, target));
    let mut prober = Prober::new(Duration::from_millis(40), sender);
    prober.reconfigure([(CheckId(7), &check)], &trust);
    (prober, reports)
}

/// The first outcome of a check.
pub(crate) async fn found_by(probe: Probe, target: SocketAddr, files: &[(&str, &str)]) -> Outcome {
    let (_prober, mut reports) = run(probe, target, files);
    next_found(&mut reports).await
}

/// The next outcome of a check, but for runs that came to nothing since this machine was busy.
pub(crate) async fn next_found(reports: &mut mpsc::Receiver<Report>) -> Outcome {
    loop {
        let report = reports.recv().await.unwrap();
        assert_eq!(report.check, CheckId(7));
        if report.outcome != Outcome::Late {
            return report.outcome;
        }
    }
}

/// The same; its cause if it failed.
pub(crate) async fn outcome_of(probe: Probe, target: SocketAddr, files: &[(&str, &str)]) -> Result<Duration, Cause> {
    match found_by(probe, target, files).await {
        Outcome::Success { rtt } => Ok(rtt),
        Outcome::Failure { cause } => Err(cause),
        other => panic!("{other:?}"),
    }
}

pub(crate) async fn ask(reply: Reply, http: Http) -> Result<Duration, Cause> {
    let web = Web::start(reply, None).await;
    outcome_of(probe(ProbeKind::Http(http)), web.address, &[]).await
}

/// Nothing listens there while the socket is held.
pub(crate) fn closed_port() -> (TcpSocket, SocketAddr) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = socket.local_addr().unwrap();
    (socket, address)
}

/// A certificate authority and a server with a certificate of it for `name`.
pub(crate) struct Authority(pub(crate) CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    pub(crate) fn acceptor(&self, name: &str, last_year: i32) -> TlsAcceptor {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(last_year, 1, 1);
        let certificate = params.signed_by(&key, &self.0).unwrap();
        acceptor(certificate.der().clone(), &key)
    }
}

pub(crate) fn acceptor(certificate: rustls::pki_types::CertificateDer<'static>, key: &KeyPair) -> TlsAcceptor {
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_no_client_auth().with_single_cert(vec![certificate], key).unwrap()).into()
}

pub(crate) fn https(host: Option<&str>, server_name: Option<&str>) -> Probe {
    let tls = Tls { ca: Some("ca.pem".into()), server_name: server_name.map(str::to_owned), ..Tls::default() };
    probe(ProbeKind::Http(Http { tls: Some(tls), host: host.map(str::to_owned), ..http() }))
}

pub(crate) fn tls_error(outcome: Result<Duration, Cause>) -> String {
    let Err(Cause::Tls(why)) = outcome else { panic!("{outcome:?}") };
    why
}
