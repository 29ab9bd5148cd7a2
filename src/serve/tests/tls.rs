//! DNS over TLS: a toy behind it, tokio-rustls as the client.

use std::path::Path;

use jiff::{SignedDuration, Timestamp};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, HandshakeKind, ProtocolVersion, RootCertStore, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::config::CertificateFiles;
use crate::serve::connection::{Connection, Peer};
use crate::serve::tcp::handshake;

const NAME: &str = "ns1.shop.example";

/// An authority, and a client that trusts it.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// PEM of a certificate and its key.
    fn issue(&self, last_year: i32) -> [String; 2] {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec![NAME.to_owned()]).unwrap();
        params.not_after = rcgen::date_time_ymd(last_year, 1, 1);
        [params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem()]
    }

    fn client(&self, versions: &[&'static SupportedProtocolVersion], protocol: &str) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_protocol_versions(versions).unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.into()];
        Arc::new(config).into()
    }
}

fn files() -> CertificateFiles {
    CertificateFiles { chain: "chain.pem".into(), key: "key.pem".into() }
}

fn read([chain, key]: [&str; 2]) -> Result<Pair, Vec<crate::model::Problem>> {
    let content = |path: &Path| if path == Path::new("key.pem") { key.as_bytes() } else { chain.as_bytes() };
    Pair::read(&files(), |path| Ok(content(path).into()))
}

fn pair([chain, key]: &[String; 2]) -> Pair {
    read([chain, key]).unwrap()
}

/// A toy by TLS alone, and what it shows.
fn serve_tls(settings: TcpSettings, shown: &[String; 2]) -> (Serving, SocketAddr, Arc<Certificates>) {
    let certificates = Arc::new(Certificates::default());
    certificates.replace(pair(shown));
    let config = Arc::new(certificates.server_config(&["dot"]).unwrap());
    let bound = Bound::bind(&[], udp_of(1)).unwrap().with_tls(&localhost(&["127.0.0.1:0"]), config).unwrap();
    let serving = bound.serve(settings, |_| toy).unwrap();
    let [(Transport::Tls, address)] = *serving.encrypted_addresses() else { panic!() };
    (serving, address, certificates)
}

async fn connect(client: &TlsConnector, server: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(server).await?;
    client.connect(ServerName::try_from(NAME).unwrap(), stream).await
}

async fn ask(stream: &mut TlsStream<TcpStream>, query: &str) -> std::io::Result<String> {
    stream.write_all(&framed(query)).await?;
    let mut answer = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut answer).await?;
    Ok(String::from_utf8(answer).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn both_versions_answer_and_resume() {
    let authority = Authority::new();
    let (server, address, _) = serve_tls(SETTINGS, &authority.issue(2999));
    for (version, expected) in
        [(&rustls::version::TLS13, ProtocolVersion::TLSv1_3), (&rustls::version::TLS12, ProtocolVersion::TLSv1_2)]
    {
        let client = authority.client(&[version], "dot");
        for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
            let mut stream = connect(&client, address).await.unwrap();
            for query in ["the first query", "another query"] {
                assert_eq!(ask(&mut stream, query).await.unwrap(), format!("{query}T"));
            }
            let session = stream.get_ref().1;
            assert_eq!((session.protocol_version(), session.handshake_kind()), (Some(expected), Some(kind)));
            assert_eq!(session.alpn_protocol(), Some(&b"dot"[..]));
        }
    }
    assert_eq!(server.faults().failed_handshakes(), 0);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_next_handshake_shows_a_new_certificate_and_connections_stay() {
    let (old, new) = (Authority::new(), Authority::new());
    let (server, address, certificates) = serve_tls(SETTINGS, &old.issue(2999));
    let [of_old, of_new] = [&old, &new].map(|authority| authority.client(rustls::ALL_VERSIONS, "dot"));
    let mut stays = connect(&of_old, address).await.unwrap();
    assert!(connect(&of_new, address).await.is_err());
    certificates.replace(pair(&new.issue(2999)));
    assert!(connect(&of_new, address).await.is_ok());
    assert_eq!(ask(&mut stays, "still there, is it?").await.unwrap(), "still there, is it?T");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failed_handshakes_are_counted_and_half_open_ones_are_under_the_limit() {
    let authority = Authority::new();
    let (server, address, _) = serve_tls(TcpSettings { connections: 2, ..SETTINGS }, &authority.issue(2999));
    assert!(connect(&authority.client(rustls::ALL_VERSIONS, "h2"), address).await.is_err(), "another protocol");
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(&framed("a query in the clear")).await.unwrap();
    let mut rest = Vec::new();
    let _ = plain.read_to_end(&mut rest).await;
    assert_eq!(server.faults().failed_handshakes(), 2);

    let mut half_open = TcpStream::connect(address).await.unwrap();
    let client = authority.client(rustls::ALL_VERSIONS, "dot");
    let mut streams = [connect(&client, address).await.unwrap(), connect(&client, address).await.unwrap()];
    for stream in &mut streams {
        assert_eq!(ask(stream, "is there room?").await.unwrap(), "is there room?T");
    }
    assert!(matches!(half_open.read(&mut [0]).await, Ok(0) | Err(_)), "it made room");
    assert_eq!(server.faults().evicted(), 1);
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_handshake_that_does_not_end_is_ended() {
    let certificates = Arc::new(Certificates::default());
    let tls = Arc::new(certificates.server_config(&["dot"]).unwrap()).into();
    let (faults, (alive, stop)) = (Faults::default(), watch::channel(()));
    let (_ours, theirs) = duplex(1000);
    let started = tokio::time::Instant::now();
    assert!(handshake(&tls, theirs, &faults, stop.clone()).await.is_none());
    assert_eq!((started.elapsed().as_secs(), faults.failed_handshakes()), (5, 1));
    let (_ours, theirs) = duplex(1000);
    drop(alive);
    assert!(handshake(&tls, theirs, &faults, stop).await.is_none());
    assert_eq!((started.elapsed().as_secs(), faults.failed_handshakes()), (5, 1), "all shall stop: nobody's fault");
}

#[tokio::test(start_paused = true)]
async fn a_client_that_never_reads_is_closed() {
    let (authority, certificates) = (Authority::new(), Arc::new(Certificates::default()));
    certificates.replace(pair(&authority.issue(2999)));
    let tls = Arc::new(certificates.server_config(&["dot"]).unwrap()).into();
    let ((ours, theirs), (_alive, stop), faults) = (duplex(4096), watch::channel(()), Arc::default());
    let started = tokio::time::Instant::now();
    let serve = async {
        let stream = handshake(&tls, theirs, &faults, stop.clone()).await.unwrap();
        let peer = Peer { client: "192.0.2.1:5300".parse().unwrap(), transport: Transport::Tls };
        let responders = Arc::new(Responders::new(vec![toy], Arc::clone(&faults)));
        Connection::new(peer, 0, responders, Duration::from_secs(60), stop.clone()).run(stream).await
    };
    let ask = async {
        let client = authority.client(rustls::ALL_VERSIONS, "dot");
        let mut stream = client.connect(ServerName::try_from(NAME).unwrap(), ours).await.unwrap();
        while stream.write_all(&framed("never read by anyone")).await.is_ok() {}
    };
    let (ended, ()) = tokio::join!(serve, ask);
    assert_eq!(ended.unwrap_err().kind(), std::io::ErrorKind::TimedOut);
    assert_eq!(started.elapsed().as_secs(), 10);
}

#[test]
fn a_bad_pair_is_named_with_its_file() {
    let (authority, codes) = (Authority::new(), |problems: Vec<crate::model::Problem>| {
        let code = |problem: crate::model::Problem| (problem.code, problem.file.display().to_string());
        assert!(problems.iter().all(|problem| problem.help.is_some()), "{problems:?}");
        problems.into_iter().map(code).collect::<Vec<_>>()
    });
    let ([chain, key], [_, other]) = (authority.issue(2999), authority.issue(2999));
    let broken = chain.replacen("MII", "###", 1);
    let text_of = |tag: &str, text: &str| format!("-----BEGIN {tag}-----\n{text}\n-----END {tag}-----\n");
    let encrypted = text_of("ENCRYPTED PRIVATE KEY", "AAAA");
    for (files, expected) in [
        ([&*chain, &*other], &[("key-mismatch", "key.pem")][..]),
        ([&key, &chain], &[("certificate-bad", "chain.pem"), ("key-bad", "key.pem")]),
        (["", ""], &[("certificate-bad", "chain.pem"), ("key-bad", "key.pem")]),
        ([&broken, &key], &[("certificate-bad", "chain.pem")]),
        ([&text_of("CERTIFICATE", "AAAA"), &key], &[("certificate-bad", "chain.pem")]),
        ([&chain, &encrypted], &[("key-bad", "key.pem")]),
        ([&chain, &text_of("PRIVATE KEY", "AAAA")], &[("key-bad", "key.pem")]),
    ] {
        let expected: Vec<_> = expected.iter().map(|(code, file)| (*code, (*file).to_owned())).collect();
        assert_eq!(codes(read(files).unwrap_err()), expected);
    }
    let secret = key.lines().nth(1).unwrap();
    assert!(!format!("{:?}", read([&chain, &key])).contains(secret));
    assert!(!format!("{:?}", read([&key, &key])).contains(secret), "the files were confused");
    let gone = Pair::read(&files(), |_| Err(std::io::ErrorKind::NotFound.into())).unwrap_err();
    assert_eq!(
        gone.iter().map(|problem| problem.code).collect::<Vec<_>>(),
        ["certificate-unreadable", "key-unreadable"]
    );
}

#[test]
fn the_end_of_a_certificate_is_told_ahead() {
    let authority = Authority::new();
    // Times up to 2049 are written in another way than those from 2050 on.
    for year in [2001, 2049, 2050, 2999] {
        let pair = pair(&authority.issue(year));
        let ends: Timestamp = format!("{year}-01-01T00:00:00Z").parse().unwrap();
        assert_eq!(pair.ends(), Some(ends));
        let code = |days: i64| {
            let warning = pair.warning(ends - SignedDuration::from_hours(24 * days) - SignedDuration::from_secs(1));
            warning.map(|problem| problem.code)
        };
        assert_eq!(code(-1), Some("certificate-expired"));
        assert_eq!((code(13), code(14)), (Some("certificate-ends-soon"), None));
    }
}
