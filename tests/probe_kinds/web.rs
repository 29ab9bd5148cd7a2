//! `http` and `https`: limits, kept connections, HTTP/2, certificates of both sides and their ends.

use std::path::PathBuf;
use std::sync::Arc;

use meridian::config::{CertificateFiles, Http, HttpMethod, Probe, ProbeKind, Tls};
use meridian::health::{Cause, Outcome};
use meridian::probe::Trust;
use metrics_exporter_prometheus::PrometheusBuilder;
use rcgen::{CertificateParams, KeyPair};
use rustls::RootCertStore;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::WebPkiClientVerifier;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{
    Authority, OK, Reply, Web, body, found_by, http, https, next_found, outcome_of, probe, run, tls_error,
};

#[tokio::test]
async fn limits_are_no_failures_unless_expected() {
    for (status, expect, found) in [
        (429, vec![(200, 399)], Outcome::Limited { status: 429 }),
        (403, vec![(200, 399)], Outcome::Limited { status: 403 }),
        (401, vec![(200, 399)], Outcome::Failure { cause: Cause::Status(401) }),
    ] {
        let text = format!("HTTP/1.1 {status} Sorry\r\n\r\n");
        let web = Web::start(Reply::Text(text.leak()), None).await;
        assert_eq!(found_by(probe(ProbeKind::Http(Http { expect, ..http() })), web.address, &[]).await, found);
    }
    let web = Web::start(Reply::Text("HTTP/1.1 403 Sorry\r\n\r\n"), None).await;
    let meant = Http { expect: vec![(403, 403)], ..http() };
    assert!(found_by(probe(ProbeKind::Http(meant)), web.address, &[]).await.is_success());
}

/// What a body of 64 KiB and more comes to in plain text is nobody's business: nothing is unpacked.
#[tokio::test]
async fn packed_bodies_stay_packed() {
    let head = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n";
    let web = Web::start(Reply::Endless(head), None).await;
    assert_eq!(outcome_of(probe(ProbeKind::Http(body("healthy"))), web.address, &[]).await, Err(Cause::Body));
}

/// Answers every request on a connection; sends each connection's number of requests.
#[tokio::test]
async fn a_kept_connection_is_used_again() {
    for (reuse, method) in [(true, HttpMethod::Get), (true, HttpMethod::Head), (false, HttpMethod::Get)] {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let text = if method == HttpMethod::Get { OK } else { "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n" };
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let (mut heads, mut head) = (0, Vec::new());
            while heads < 3 {
                let Ok(octet) = stream.read_u8().await else { return heads };
                head.push(octet);
                if head.ends_with(b"\r\n\r\n") {
                    (heads, head) = (heads + 1, Vec::new());
                    stream.write_all(text.as_bytes()).await.unwrap();
                }
            }
            heads
        });
        let probe = probe(ProbeKind::Http(Http { reuse, method, ..http() }));
        let (_prober, mut reports) = run(probe, address, &[]);
        assert!(next_found(&mut reports).await.is_success());
        tokio::spawn(async move { while reports.recv().await.is_some() {} });
        assert_eq!(server.await.unwrap(), if reuse { 3 } else { 1 });
    }
}

pub(crate) fn server_config(authority: &Authority, clients: Option<&Authority>, protocols: &[&str]) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec!["www.shop.example".to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority.0).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        rustls::ServerConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions().unwrap();
    let builder = match clients {
        Some(clients) => {
            let mut roots = RootCertStore::empty();
            roots.add(clients.0.der().clone()).unwrap();
            let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider).build().unwrap();
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let mut config = builder.with_single_cert(vec![certificate.der().clone()], key).unwrap();
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

fn with_tls(change: impl FnOnce(&mut Http, &mut Tls)) -> Probe {
    let mut probe = https(Some("www.shop.example"), None);
    let ProbeKind::Http(http) = &mut probe.kind else { panic!() };
    let mut tls = http.tls.take().unwrap();
    change(http, &mut tls);
    http.tls = Some(tls);
    probe
}

fn shows_certificate() -> Probe {
    with_tls(|_, tls| tls.client = Some(CertificateFiles { chain: "own.pem".into(), key: "own.key".into() }))
}

#[tokio::test]
async fn a_certificate_of_ours_is_shown_to_whom_asks() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let key = KeyPair::generate().unwrap();
    let own = CertificateParams::new(vec!["probe.example".to_owned()]).unwrap().signed_by(&key, &clients.0).unwrap();
    let (ca, own, key) = (authority.0.pem(), own.pem(), key.serialize_pem());
    let files = [("ca.pem", &*ca), ("own.pem", &*own), ("own.key", &*key)];
    let asks = Web::start(Reply::Text(OK), Some(server_config(&authority, Some(&clients), &[]))).await;
    outcome_of(shows_certificate(), asks.address, &files).await.unwrap();
    tls_error(outcome_of(https(Some("www.shop.example"), None), asks.address, &files).await);
    let trusts_others = Web::start(Reply::Text(OK), Some(server_config(&authority, Some(&authority), &[]))).await;
    tls_error(outcome_of(shows_certificate(), trusts_others.address, &files).await);
}

#[test]
fn bad_keys_are_named_and_not_cited() {
    let authority = Authority::new();
    let (ca, other) = (authority.0.pem(), KeyPair::generate().unwrap().serialize_pem());
    for (key, code) in [(None, "key-unreadable"), (Some("-----SECRET"), "key-bad"), (Some(&*other), "key-mismatch")] {
        let mut files = [("ca.pem", Some(&*ca)), ("own.pem", Some(&*ca)), ("own.key", key)]
            .into_iter()
            .filter_map(|(path, text)| Some((PathBuf::from(path), Arc::from(text?.as_bytes()))))
            .collect::<std::collections::BTreeMap<PathBuf, Arc<[u8]>>>();
        let problems = Trust::load(&[shows_certificate()], &mut files).unwrap_err();
        assert_eq!((problems.len(), problems[0].code), (1, code));
        assert!(!problems[0].to_string().contains("SECRET"), "{}", problems[0]);
    }
}

#[tokio::test]
async fn http2_is_spoken_where_wished_and_nothing_else_then() {
    let authority = Authority::new();
    let ca = authority.0.pem();
    let files = [("ca.pem", &*ca)];
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = server_config(&authority, None, &["h2"]);
    let server = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = acceptor.accept(stream).await.unwrap();
        let mut preface = [0; 24];
        stream.read_exact(&mut preface).await.unwrap();
        // Settings; HEADERS of stream 1: ends there, `:status 200` (HPACK index 8); nothing is taken back.
        let frames = [&[0, 0, 0, 4, 0, 0, 0, 0, 0][..], &[0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88]].concat();
        stream.write_all(&frames).await.unwrap();
        let mut rest = [0; 4096];
        while stream.read(&mut rest).await.is_ok_and(|length| length > 0) {}
        preface
    });
    let http2 = || with_tls(|http, _| http.http2 = true);
    let (prober, mut reports) = run(http2(), address, &files);
    assert!(next_found(&mut reports).await.is_success());
    drop(prober);
    assert_eq!(server.await.unwrap(), *b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
    let old = Web::start(Reply::Text(OK), Some(server_config(&authority, None, &["http/1.1"]))).await;
    tls_error(outcome_of(http2(), old.address, &files).await);
    let deaf = Web::start(Reply::Text(OK), Some(server_config(&authority, None, &[]))).await;
    let timeout = std::time::Duration::from_millis(200);
    let outcome = outcome_of(Probe { timeout, ..http2() }, deaf.address, &files).await;
    assert!(outcome.is_err(), "{outcome:?}");
}

#[tokio::test]
async fn the_end_of_a_certificate_is_a_metric() {
    let recorder = PrometheusBuilder::new().build_recorder();
    let _guard = metrics::set_default_local_recorder(&recorder);
    let authority = Authority::new();
    let ca = authority.0.pem();
    let ends = |address| {
        format!("meridian_probe_certificate_ends_seconds{{probe=\"p\",endpoint=\"e\",target=\"{address}\"}} 4070908800")
    };
    let web = Web::start(Reply::Text(OK), Some(authority.acceptor("www.shop.example", 2099))).await;
    outcome_of(https(Some("www.shop.example"), None), web.address, &[("ca.pem", &ca)]).await.unwrap();
    assert!(recorder.handle().render().contains(&ends(web.address)), "{}", recorder.handle().render());
    let tls = Tls { ca: Some("ca.pem".into()), server_name: Some("www.shop.example".to_owned()), ..Tls::default() };
    let web = Web::start(Reply::Hang(""), Some(authority.acceptor("www.shop.example", 2099))).await;
    outcome_of(probe(ProbeKind::Tls(tls)), web.address, &[("ca.pem", &ca)]).await.unwrap();
    assert!(recorder.handle().render().contains(&ends(web.address)), "{}", recorder.handle().render());
}
