//! Probes and hostnames against real servers on loopback.

#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/probes.rs"]
mod support;

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hickory_server::net::runtime::{Time, TokioRuntimeProvider};
use hickory_server::proto::rr::{self, RData, Record, rdata};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use meridian::config::{self, Http, HttpMethod, Probe, ProbeKind, Tls};
use meridian::health::Cause;
use meridian::model::{Addresses, Cost, Endpoint, Site, find_region};
use meridian::probe::{Resolved, Resolver, Trust};
use support::{
    Authority, OK, Reply, Web, acceptor, ask, body, closed_port, http, https, next_found, outcome_of, probe, run,
    tls_error,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::mpsc;

#[tokio::test]
async fn tcp_connects() {
    let listener = TcpListener::bind("[::1]:0").await.unwrap();
    assert!(outcome_of(probe(ProbeKind::Tcp), listener.local_addr().unwrap(), &[]).await.is_ok());
    let (_held, closed) = closed_port();
    assert_eq!(outcome_of(probe(ProbeKind::Tcp), closed, &[]).await, Err(Cause::Refused));
}

#[tokio::test]
async fn private_targets_must_be_meant() {
    let (_held, closed) = closed_port();
    for kind in [ProbeKind::Tcp, ProbeKind::Http(http())] {
        let probe = Probe { allow_private: false, ..probe(kind) };
        assert_eq!(outcome_of(probe, closed, &[]).await, Err(Cause::Private));
    }
}

#[tokio::test]
async fn status_and_text_decide() {
    assert!(ask(Reply::Text(OK), http()).await.is_ok());
    assert!(ask(Reply::Text("HTTP/1.1 250 Odd\r\n\r\n"), http()).await.is_ok());
    assert_eq!(ask(Reply::Text("HTTP/1.1 203 Other\r\n\r\n"), http()).await, Err(Cause::Status(203)));
    assert_eq!(ask(Reply::Text("HTTP/1.1 503 Sorry\r\n\r\nhealthy"), body("healthy")).await, Err(Cause::Status(503)));
    assert!(ask(Reply::Text(OK), body("healthy")).await.is_ok());
    assert!(ask(Reply::Text(OK), body("althy")).await.is_ok());
    assert_eq!(ask(Reply::Text(OK), body("healthy!")).await, Err(Cause::Body));
    assert_eq!(ask(Reply::Text(OK), body("ill")).await, Err(Cause::Body));
}

#[tokio::test]
async fn no_redirect_is_followed() {
    let mut elsewhere = Web::start(Reply::Text(OK), None).await;
    let text = format!("HTTP/1.1 302 Found\r\nLocation: http://{}/\r\nContent-Length: 0\r\n\r\n", elsewhere.address);
    assert_eq!(ask(Reply::Text(text.leak()), http()).await, Err(Cause::Status(302)));
    assert!(elsewhere.requests.try_recv().is_err());
}

#[tokio::test]
async fn redirects_are_followed_where_allowed_while_they_stay_with_the_target() {
    let follows = |redirects| Http { redirects, host: Some("shop.test".to_owned()), ..http() };
    let why = async |location: &str| {
        let text = format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
        let Err(Cause::Protocol(why)) = ask(Reply::Text(text.leak()), follows(2)).await else { panic!("{location}") };
        why
    };
    assert_eq!(why("/login").await, "it redirects more often than is allowed (2)");
    for elsewhere in ["http://192.0.2.1", "http://127.0.0.1", "https://shop.test", "http://shop.test"] {
        let location = format!("{elsewhere}/?token=secret");
        assert_eq!(why(&location).await, format!("it redirects elsewhere, to {elsewhere}"), "another host or port");
    }
    let text = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.2:PORT/\r\nContent-Length: 0\r\n\r\n";
    let vip = Http { host: Some("127.0.0.2".to_owned()), ..follows(2) };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let _ = stream.read(&mut [0; 1024]).await;
        stream.write_all(text.replace("PORT", &target.port().to_string()).as_bytes()).await.unwrap();
    });
    let Err(Cause::Protocol(why)) = outcome_of(probe(ProbeKind::Http(vip)), target, &[]).await else { panic!() };
    assert_eq!(why, format!("it redirects elsewhere, to http://127.0.0.2:{}", target.port()), "an address of another");

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let length = stream.read(&mut head).await.unwrap();
            let asked = String::from_utf8_lossy(&head[..length]).to_lowercase();
            let name = format!("http://shop.test:{}/there", target.port());
            let to =
                |location: &str| format!("HTTP/1.1 301 Moved\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
            let reply = match asked {
                _ if !asked.contains("\r\nhost: shop.test\r\n") => "HTTP/1.1 500 Who?\r\n\r\n".to_owned(),
                _ if asked.starts_with("get /there ") => OK.to_owned(),
                _ if asked.starts_with("get /here ") => to(&name),
                _ => to("/here"),
            };
            stream.write_all(reply.as_bytes()).await.unwrap();
        }
    });
    assert!(outcome_of(probe(ProbeKind::Http(follows(2))), target, &[]).await.is_ok());
    let once = outcome_of(probe(ProbeKind::Http(follows(1))), target, &[]).await;
    assert_eq!(once, Err(Cause::Protocol("it redirects more often than is allowed (1)".to_owned())));
}

#[tokio::test]
async fn bodies_are_bounded_and_read_only_for_their_text() {
    const HEAD: &str = "HTTP/1.1 200 OK\r\n\r\n";
    assert!(ask(Reply::Endless(HEAD), http()).await.is_ok());
    assert!(ask(Reply::Hang(HEAD), http()).await.is_ok());
    assert_eq!(ask(Reply::Endless(HEAD), body("healthy")).await, Err(Cause::Body));
    assert!(ask(Reply::Hang("HTTP/1.1 200 OK\r\n\r\nhealthy"), body("healthy")).await.is_ok(), "it needs no end");
    let late = format!("{HEAD}{}healthy", "-".repeat(64 * 1024 - 6));
    assert_eq!(ask(Reply::Text(late.leak()), body("healthy")).await, Err(Cause::Body), "one octet too late");
    let in_time = format!("{HEAD}{}healthy", "-".repeat(64 * 1024 - 7));
    assert!(ask(Reply::Text(in_time.leak()), body("healthy")).await.is_ok());
}

#[tokio::test]
async fn silence_is_a_timeout_wherever_it_begins() {
    let timeout = Duration::from_millis(100);
    for reply in [Reply::Hang(""), Reply::Hang("HTTP/1.1 2"), Reply::Hang("HTTP/1.1 200 OK\r\n\r\nhealt")] {
        let web = Web::start(reply, None).await;
        let probe = Probe { timeout, interval: Duration::from_secs(20), ..probe(ProbeKind::Http(body("healthy"))) };
        assert_eq!(outcome_of(probe, web.address, &[]).await, Err(Cause::Timeout(timeout)));
    }
}

#[tokio::test]
async fn broken_connections_and_nonsense_have_their_causes() {
    assert_eq!(ask(Reply::Reset, http()).await, Err(Cause::Reset));
    let probe = probe(ProbeKind::Http(http()));
    let (_held, closed) = closed_port();
    assert_eq!(outcome_of(probe, closed, &[]).await, Err(Cause::Refused));
    let Err(Cause::Protocol(_)) = ask(Reply::Text("SSH-2.0-OpenSSH\r\n"), http()).await else { panic!() };
    let Err(Cause::Protocol(_)) = ask(Reply::Text("HTTP/1.1 200 OK\r\n"), http()).await else { panic!() };
}

#[tokio::test]
async fn the_request_is_as_configured() {
    let mut web = Web::start(Reply::Text(OK), None).await;
    let target = web.address;
    outcome_of(probe(ProbeKind::Http(http())), target, &[]).await.unwrap();
    let head = web.requests.recv().await.unwrap().to_ascii_lowercase();
    assert!(head.starts_with("get /healthz?deep=1 http/1.1\r\n"), "{head}");
    let agent = format!("\r\nuser-agent: meridian/{}\r\n", env!("CARGO_PKG_VERSION"));
    assert!(head.contains(&agent) && head.contains(&format!("\r\nhost: {target}\r\n")), "{head}");

    let http = Http { host: Some("www.shop.example".to_owned()), method: HttpMethod::Head, ..http() };
    outcome_of(probe(ProbeKind::Http(http)), target, &[]).await.unwrap();
    let head = web.requests.recv().await.unwrap().to_ascii_lowercase();
    assert!(head.starts_with("head /healthz") && head.contains("\r\nhost: www.shop.example\r\n"), "{head}");
}

#[tokio::test]
async fn certificates_are_verified_by_name_apart_from_the_address() {
    let authority = Authority::new();
    let files = [("ca.pem", &*authority.0.pem())];
    let mut web = Web::start(Reply::Text(OK), Some(authority.acceptor("www.shop.example", 2999))).await;

    outcome_of(https(Some("www.shop.example:8443"), None), web.address, &files).await.unwrap();
    let head = web.requests.recv().await.unwrap().to_ascii_lowercase();
    assert!(head.starts_with("some(\"www.shop.example\")") && head.contains("host: www.shop.example:8443"), "{head}");

    outcome_of(https(Some("other.example"), Some("www.shop.example")), web.address, &files).await.unwrap();
    let head = web.requests.recv().await.unwrap().to_ascii_lowercase();
    assert!(head.starts_with("some(\"www.shop.example\")") && head.contains("host: other.example"), "{head}");

    let wrong = tls_error(outcome_of(https(None, Some("other.example")), web.address, &files).await);
    assert!(wrong.contains("other.example"), "{wrong}");
    tls_error(outcome_of(https(None, None), web.address, &files).await);
    let odd = outcome_of(https(None, Some("192.0.2.1")), web.address, &files).await;
    assert!(matches!(odd, Err(Cause::Protocol(_))), "{odd:?}");

    let web = Web::start(Reply::Text(OK), Some(authority.acceptor("127.0.0.1", 2999))).await;
    outcome_of(https(None, None), web.address, &files).await.unwrap();
}

#[tokio::test]
async fn expired_and_self_signed_certificates_and_those_of_others_are_refused() {
    let authority = Authority::new();
    let files = [("ca.pem", &*authority.0.pem())];
    let probe = || https(None, Some("www.shop.example"));
    let own = rcgen::generate_simple_self_signed(vec!["www.shop.example".to_owned()]).unwrap();
    for acceptor in [
        authority.acceptor("www.shop.example", 2001),
        Authority::new().acceptor("www.shop.example", 2999),
        acceptor(own.cert.der().clone(), &own.signing_key),
    ] {
        let web = Web::start(Reply::Text(OK), Some(acceptor)).await;
        tls_error(outcome_of(probe(), web.address, &files).await);
    }
}

#[tokio::test]
async fn without_a_ca_file_the_systems_authorities_decide() {
    let mut probe = https(None, Some("www.shop.example"));
    let ProbeKind::Http(Http { tls: Some(tls), .. }) = &mut probe.kind else { panic!() };
    tls.ca = None;
    if let Err(problems) = Trust::load(std::slice::from_ref(&probe), &mut BTreeMap::new()) {
        assert_eq!(problems[0].code, "ca-system");
        return println!("this machine has no certificate authorities: {}", problems[0]);
    }
    let web = Web::start(Reply::Text(OK), Some(Authority::new().acceptor("www.shop.example", 2999))).await;
    tls_error(outcome_of(probe, web.address, &[]).await);
}

#[tokio::test]
async fn every_probe_sees_the_certificate_anew() {
    let authority = Authority::new();
    let mut web = Web::start(Reply::Text(OK), Some(authority.acceptor("www.shop.example", 2999))).await;
    let probe = https(None, Some("www.shop.example"));
    let (_prober, mut reports) = run(probe, web.address, &[("ca.pem", &authority.0.pem())]);
    for _ in 0..3 {
        assert!(next_found(&mut reports).await.is_success());
        let head = web.requests.recv().await.unwrap();
        assert!(head.contains("Some(Full)"), "no resumed session: {head}");
    }
}

#[test]
fn bad_ca_files_are_all_named() {
    let with = |ca: &str| {
        let tls = Tls { ca: Some(ca.into()), ..Tls::default() };
        probe(ProbeKind::Http(Http { tls: Some(tls), ..http() }))
    };
    let cut = Authority::new().0.pem().replacen("MII", "M!I", 1);
    let mut files: BTreeMap<PathBuf, Arc<[u8]>> = [
        ("empty.pem", String::new()),
        ("cut.pem", cut),
        ("odd.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned()),
    ]
    .map(|(path, text)| (path.into(), text.as_bytes().into()))
    .into();
    let names = ["missing.pem", "empty.pem", "cut.pem", "odd.pem", "cut.pem"];
    let problems = Trust::load(&names.map(with), &mut files).unwrap_err();
    let found: Vec<_> = problems.iter().map(|problem| (problem.file.to_str().unwrap(), problem.code)).collect();
    let expected =
        [("missing.pem", "ca-unreadable"), ("empty.pem", "ca-empty"), ("cut.pem", "ca-bad"), ("odd.pem", "ca-bad")];
    assert_eq!(found, expected);
}

/// Answers from its zone, or refuses while it is broken.
struct Upstream {
    good: Catalog,
    empty: Catalog,
    broken: Arc<AtomicBool>,
}

#[async_trait::async_trait]
impl RequestHandler for Upstream {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, response: R) -> ResponseInfo {
        let catalog = if self.broken.load(Ordering::SeqCst) { &self.empty } else { &self.good };
        catalog.handle_request::<R, T>(request, response).await
    }
}

fn record(name: &str, ttl: u32, data: RData) -> Record {
    Record::from_rdata(name.parse().unwrap(), ttl, data)
}

fn address(name: &str, ttl: u32, text: &str) -> Record {
    record(
        name,
        ttl,
        match text.parse().unwrap() {
            IpAddr::V4(v4) => RData::A(rdata::A(v4)),
            IpAddr::V6(v6) => RData::AAAA(rdata::AAAA(v6)),
        },
    )
}

fn hosted(name: &str, hostname: &str) -> Endpoint {
    Endpoint {
        name: name.into(),
        site: Site::from(find_region("aws", "us-east-1").unwrap()),
        addresses: Addresses::Hostname(hostname.parse().unwrap()),
        bias_ms: 0.0,
        weight: 100,
        cost: Cost::default(),
        probes: Vec::new(),
        probe_target: None,
        capacity: None,
        beacon: None,
    }
}

#[tokio::test]
async fn hostnames_are_followed_and_kept_while_their_servers_fail() {
    let origin: rr::Name = "cloud.example.".parse().unwrap();
    let mut zone: InMemoryZoneHandler<TokioRuntimeProvider> =
        InMemoryZoneHandler::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny);
    let soa = rdata::SOA::new(origin.clone(), origin.clone(), 1, 60, 60, 60, 40);
    for record in [
        record("cloud.example.", 60, RData::SOA(soa)),
        record("www.cloud.example.", 50, RData::CNAME(rdata::CNAME("lb.cloud.example.".parse().unwrap()))),
        address("lb.cloud.example.", 300, "203.0.113.20"),
        address("lb.cloud.example.", 300, "2001:db8::20"),
        address("inside.cloud.example.", 300, "127.0.0.1"),
    ] {
        assert!(zone.upsert_mut(record, 1));
    }
    let zone = Arc::new(zone);
    let broken = Arc::new(AtomicBool::new(false));
    let mut good = Catalog::new();
    good.upsert(origin.into(), vec![zone.clone()]);
    let mut server = hickory_server::Server::new(Upstream { good, empty: Catalog::new(), broken: broken.clone() });
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let servers = vec![socket.local_addr().unwrap()];
    server.register_socket(socket);

    // Edited settings make it ask at once; a longer or shorter `keep_for` is such an edit.
    let settings = |keep_for, allow_private| config::Resolver {
        servers: servers.clone(),
        keep_for: Duration::from_secs(keep_for),
        allow_private,
    };
    let resolved = |endpoint: &str, addresses: &[&str], ttl| Resolved {
        endpoint: endpoint.into(),
        addresses: addresses.iter().map(|text| text.parse().unwrap()).collect(),
        ttl: Duration::from_secs(ttl),
        problem: None,
    };
    let (sender, mut changes) = mpsc::channel::<Resolved>(1);
    let mut resolver = Resolver::new(&settings(600, false), sender);
    let www = [hosted("www", "www.cloud.example")];
    resolver.reconfigure(&settings(600, false), &www).unwrap();
    let both = ["203.0.113.20", "2001:db8::20"];
    assert_eq!(changes.recv().await, Some(resolved("www", &both, 50)), "the CNAME's TTL is the shortest");

    zone.upsert(address("lb.cloud.example.", 45, "203.0.113.3"), 2).await;
    resolver.reconfigure(&settings(601, false), &www).unwrap();
    let three = ["203.0.113.3", "203.0.113.20", "2001:db8::20"];
    assert_eq!(changes.recv().await, Some(resolved("www", &three, 45)));

    broken.store(true, Ordering::SeqCst);
    resolver.reconfigure(&settings(602, false), &www).unwrap();
    let mut failing = async || {
        let told = changes.recv().await.unwrap();
        assert!(told.problem.is_some(), "{told:?}");
        Resolved { problem: None, ..told }
    };
    assert_eq!(failing().await, resolved("www", &three, 30), "last good, with a short TTL");
    resolver.reconfigure(&settings(0, false), &www).unwrap();
    assert_eq!(failing().await, resolved("www", &[], 5), "keep_for is over");
    broken.store(false, Ordering::SeqCst);

    let inside = [hosted("inside", "inside.cloud.example")];
    resolver.reconfigure(&settings(0, false), &inside).unwrap();
    assert_eq!(failing().await, resolved("inside", &[], 5), "private addresses are refused");
    resolver.reconfigure(&settings(0, true), &inside).unwrap();
    let meant = changes.recv().await.unwrap();
    assert_eq!(meant.addresses, ["127.0.0.1".parse::<IpAddr>().unwrap()]);
    assert_eq!(meant.problem, None);

    drop(resolver);
    assert_eq!(changes.recv().await, None, "no task is left");
}
