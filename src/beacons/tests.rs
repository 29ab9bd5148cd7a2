//! The listener by HTTP over loopback. Clients' addresses come by a trusted proxy, which is this test.

mod script;

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Request};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::task::{JoinHandle, JoinSet};

use super::*;
use crate::config::Beacons;
use crate::model::Prefixes;

const SITES: [&str; 2] = ["aws/us-east-1", "gcp/europe-west1"];
const PAGE: &str = "https://www.shop.example";
/// Clients that a trusted proxy brings.
const HERE: &str = "X-Forwarded-For: 203.0.113.77\r\n";
const THERE: &str = "X-Forwarded-For: 198.51.100.7\r\n";
const AGENT: &str = "X-Forwarded-For: 192.0.2.8\r\n";

/// A control plane that remembers.
#[derive(Default)]
struct StandIn {
    asked: Mutex<Vec<IpAddr>>,
    taken: Mutex<Vec<Reported>>,
    is_full: AtomicBool,
}

impl Exchange for StandIn {
    fn candidates(&self, service: &str, client: IpAddr) -> Option<Vec<Candidate>> {
        self.asked.lock().unwrap().push(client);
        let named = |name: &str| Candidate { site: name.into(), url: format!("https://rum.example/{name}").into() };
        match service {
            "www.shop.example" => Some(SITES.map(named).to_vec()),
            "*.many.example" => {
                Some((0..100).map(|index| named(&format!("cloud/{}-{index}", "x".repeat(100)))).collect())
            }
            "idle.shop.example" => Some(Vec::new()),
            _ => None,
        }
    }

    fn is_site(&self, site: &str) -> bool {
        site != "mars/olympus"
    }

    fn take(&self, sessions: Vec<Reported>) -> bool {
        let is_full = self.is_full.load(Ordering::Relaxed);
        if !is_full {
            self.taken.lock().unwrap().extend(sessions);
        }
        !is_full
    }
}

fn settings() -> Beacons {
    let prefixes = |net: &str| Prefixes::from_iter([net.parse().unwrap()]);
    Beacons {
        origins: vec![PAGE.into(), "http://localhost:8000".into()],
        trusted_proxies: prefixes("127.0.0.0/8"),
        agents: prefixes("192.0.2.0/24"),
        explore: 7,
        ..Beacons::default()
    }
}

/// A listener, whose time is told.
struct Served {
    address: SocketAddr,
    seconds: Arc<AtomicU64>,
    exchange: Arc<StandIn>,
    task: JoinHandle<()>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn context(settings: &Beacons) -> (Arc<Context>, Arc<StandIn>, Arc<AtomicU64>) {
    let (seconds, exchange) = (Arc::new(AtomicU64::new(1000)), Arc::new(StandIn::default()));
    let clock = seconds.clone();
    let clock = Box::new(move || Duration::from_secs(clock.load(Ordering::Relaxed)));
    (Arc::new(Context::new(settings, exchange.clone(), clock).unwrap()), exchange, seconds)
}

impl Served {
    fn start(settings: Beacons) -> Self {
        let settings = Beacons { listen: vec!["127.0.0.1:0".parse().unwrap()], ..settings };
        let listeners = bind(&settings).unwrap();
        let address = listeners[0].local_addr().unwrap();
        let (context, exchange, seconds) = context(&settings);
        let task = tokio::spawn(async move { connections::serve(listeners, context).await.unwrap() });
        Self { address, seconds, exchange, task }
    }

    /// Status, head and body of the reply.
    async fn ask(&self, request: &str, headers: &str, body: &str) -> (u16, String, String) {
        ask(self.address, request, headers, body).await
    }

    /// The reply's status to a POST, and what is said to be wrong; empty: nothing.
    async fn post(&self, headers: &str, body: &Value) -> (u16, String) {
        let (status, _, text) = self.ask("POST /v1/beacons", headers, &body.to_string()).await;
        let said =
            serde_json::from_str::<Value>(&text).map_or(String::new(), |json| json["error"].as_str().unwrap().into());
        (status, said)
    }

    /// A session's id.
    async fn id(&self, headers: &str) -> String {
        let (status, _, text) = self.ask("GET /v1/beacons/session?service=www.shop.example", headers, "").await;
        assert_eq!(status, 200, "{text}");
        serde_json::from_str::<Value>(&text).unwrap()["id"].as_str().unwrap().to_owned()
    }

    fn taken(&self) -> Vec<Reported> {
        std::mem::take(&mut *self.exchange.taken.lock().unwrap())
    }
}

async fn ask(address: SocketAddr, request: &str, headers: &str, body: &str) -> (u16, String, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let length = body.len();
    let text = format!(
        "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    );
    let _ = stream.write_all(text.as_bytes()).await; // it may refuse before it has read all
    let mut reply = Vec::new();
    let _ = stream.read_to_end(&mut reply).await;
    let reply = String::from_utf8(reply).unwrap();
    let (head, body) = reply.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{request}: {reply}"));
    (head[9..12].parse().unwrap(), head.to_ascii_lowercase(), body.to_owned())
}

fn report(id: &str) -> Value {
    json!({ "id": id, "samples": [{ "site": SITES[0], "rtt_ms": 12.5 }, { "site": SITES[1], "rtt_ms": null }] })
}

#[tokio::test]
async fn a_session_is_offered_and_its_report_taken_once() {
    let served = Served::start(settings());
    let (status, head, text) = served.ask("GET /v1/beacons/session?service=www.shop.example", HERE, "").await;
    assert_eq!(status, 200, "{text}");
    assert!(head.contains("content-type: application/json") && head.contains("cache-control: no-store"), "{head}");
    let offer: Value = serde_json::from_str(&text).unwrap();
    let candidates = json!([
        { "site": SITES[0], "url": "https://rum.example/aws/us-east-1" },
        { "site": SITES[1], "url": "https://rum.example/gcp/europe-west1" },
    ]);
    assert_eq!(offer["candidates"], candidates);
    let expires: jiff::Timestamp = offer["expires"].as_str().unwrap().parse().unwrap();
    assert!(expires > jiff::Timestamp::now());
    assert_eq!(*served.exchange.asked.lock().unwrap(), ["203.0.113.77".parse::<IpAddr>().unwrap()]);

    let body = report(offer["id"].as_str().unwrap());
    assert_eq!(served.post(HERE, &body).await, (204, String::new()));
    let samples = vec![(SITES[0].into(), Some(12.5)), (SITES[1].into(), None)];
    let expected = Reported { client: "203.0.113.0".parse().unwrap(), absolute: false, samples };
    assert_eq!(served.taken(), [expected]);
    assert_eq!(served.post(HERE, &body).await, (403, "this id has been used".to_owned()));
    assert_eq!(served.taken(), []);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_posts_at_once_one_is_taken() {
    let served = Served::start(settings());
    for _ in 0..5 {
        let (body, address) = (report(&served.id(HERE).await).to_string(), served.address);
        let mut posts = JoinSet::new();
        for _ in 0..8 {
            let body = body.clone();
            posts.spawn(async move { ask(address, "POST /v1/beacons", HERE, &body).await.0 });
        }
        let mut statuses = posts.join_all().await;
        statuses.sort_unstable();
        assert_eq!(statuses, [204, 403, 403, 403, 403, 403, 403, 403]);
        assert_eq!(served.taken().len(), 1);
    }
}

#[tokio::test]
async fn ids_that_are_refused() {
    let served = Served::start(settings());
    let (id, other) = (served.id(HERE).await, Served::start(settings()).id(HERE).await);
    let said = |said: &str| (403, said.to_owned());
    assert_eq!(served.post(THERE, &report(&id)).await, said("this id was made for another network"));
    assert_eq!(served.post("", &report(&id)).await.0, 400, "the proxy does not say whose it is");
    assert_eq!(served.post(HERE, &report(&other)).await, said("this id is not ours"));
    assert_eq!(served.post(HERE, &report("")).await, said("this id is not ours"));
    assert_eq!(served.post(HERE, &report(&"A".repeat(8000))).await, said("this id is not ours"));
    let none = json!({ "samples": [{ "site": SITES[0], "rtt_ms": 1 }] });
    assert_eq!(served.post(HERE, &none).await.0, 403);
    let elsewhere = json!({ "id": id, "samples": [{ "site": "aws/eu-west-1", "rtt_ms": 1 }] });
    assert_eq!(served.post(HERE, &elsewhere).await, said("the id does not offer the site 'aws/eu-west-1'"));
    let absolute = json!({ "id": id, "kind": "absolute", "samples": [{ "site": SITES[0], "rtt_ms": 1 }] });
    assert_eq!(served.post(HERE, &absolute).await.0, 403);
    served.seconds.fetch_add(601, Ordering::Relaxed);
    assert_eq!(served.post(HERE, &report(&id)).await, said("this id is older than ten minutes"));
    assert_eq!(served.taken(), [], "of all that nothing");
    let id = served.id(HERE).await;
    served.seconds.fetch_add(600, Ordering::Relaxed);
    assert_eq!(served.post(&HERE.replace("77", "200"), &report(&id)).await.0, 204, "the same network, in time");
}

#[tokio::test]
async fn reports_together_are_taken_or_refused_together() {
    let served = Served::start(settings());
    let (one, two) = (served.id(HERE).await, served.id(HERE).await);
    let refused = json!([report(&one), report(&two), report(&one)]);
    assert_eq!(served.post(HERE, &refused).await, (403, "this id has been used".to_owned()));
    let refused = json!([report(&one), { "id": two, "samples": [] }]);
    assert_eq!(served.post(HERE, &refused).await.0, 400);
    assert_eq!(served.taken(), []);
    assert_eq!(served.post(HERE, &json!([report(&one), report(&two)])).await.0, 204);
    assert_eq!(served.taken().len(), 2);
}

#[tokio::test]
async fn every_other_status() {
    let served = Served::start(settings());
    for (request, body, status) in [
        ("GET /v1/beacons/session?service=idle.shop.example", "", 204),
        ("GET /v1/beacons/session?service=none.shop.example", "", 404),
        ("GET /v1/beacons/session", "", 400),
        ("GET /v1/beacons/session?service=a&service=b", "", 400),
        ("GET /metrics", "", 404),
        ("GET /v1/beacons", "", 405),
        ("POST /v1/beacons", "{", 400),
        ("POST /v1/beacons", "{\"samples\": [{\"site\": \"a/b\", \"rtt_ms\": NaN}]}", 400),
        ("POST /v1/beacons", "{\"samples\": [{\"site\": \"a/b\", \"rtt_ms\": 1e999}]}", 400),
        ("POST /v1/beacons", &*"[".repeat(16 << 10), 400),
        ("POST /v1/beacons", &*" ".repeat((16 << 10) + 1), 413),
    ] {
        let (found, _, text) = served.ask(request, HERE, body).await;
        assert_eq!(found, status, "{request} {body:.60}: {text}");
        let is_told = serde_json::from_str::<Value>(&text).is_ok_and(|json| json["error"].is_string());
        assert_eq!(is_told, ![204, 405].contains(&status), "{request}: {text}");
    }
    let long = format!("{HERE}X-Long: {}\r\n", "x".repeat(20_000));
    assert_eq!(served.ask("GET /v1/beacon.js", &long, "").await.0, 431);
    let id = served.id(THERE).await;
    served.exchange.is_full.store(true, Ordering::Relaxed);
    assert_eq!(served.post(THERE, &report(&id)).await.0, 503);
    served.exchange.is_full.store(false, Ordering::Relaxed);
    assert_eq!(served.post(THERE, &report(&id)).await.0, 204, "its id was not used");
    assert_eq!(served.post(THERE, &report(&id)).await.0, 403);
}

#[tokio::test]
async fn a_network_has_so_many_a_minute() {
    let served = Served::start(settings());
    let id = served.id(THERE).await;
    for _ in 0..60 {
        assert_eq!(served.post(HERE, &Value::Null).await.0, 400);
    }
    assert_eq!(served.post(HERE, &Value::Null).await.0, 429);
    assert_eq!(served.post(THERE, &report(&id)).await.0, 204, "another network");
    for _ in 0..60 {
        served.id(HERE).await;
    }
    let (status, _, text) = served.ask("GET /v1/beacons/session?service=www.shop.example", HERE, "").await;
    assert_eq!((status, text.contains("error")), (429, true));
    served.seconds.fetch_add(1, Ordering::Relaxed);
    assert_eq!(served.post(HERE, &report(&served.id(HERE).await)).await.0, 204);
}

#[tokio::test]
async fn an_id_offers_what_fits() {
    let served = Served::start(settings());
    let (_, _, text) = served.ask("GET /v1/beacons/session?service=*.many.example", HERE, "").await;
    let offer: Value = serde_json::from_str(&text).unwrap();
    let candidates = offer["candidates"].as_array().unwrap();
    assert_eq!(candidates.len(), 9, "a kilobyte of names");
    let sample = |candidate: &Value| json!({ "site": candidate["site"], "rtt_ms": 1 });
    let body = json!({ "id": offer["id"], "samples": candidates.iter().map(sample).collect::<Vec<_>>() });
    assert_eq!(served.post(HERE, &body).await.0, 204);
}

#[tokio::test]
async fn a_client_that_is_no_proxy_is_who_it_is() {
    let served = Served::start(Beacons { trusted_proxies: Prefixes::default(), ..settings() });
    for forged in [HERE, AGENT, "Forwarded: for=192.0.2.8\r\n"] {
        let id = served.id(forged).await;
        assert_eq!(served.post(forged, &json!({ "samples": [{ "site": "a/b", "rtt_ms": 1 }] })).await.0, 403);
        assert_eq!(served.post("", &report(&id)).await.0, 204, "both come from the same end of a connection");
        assert_eq!(served.taken()[0].client, "127.0.0.0".parse::<IpAddr>().unwrap());
    }
    assert!(served.exchange.asked.lock().unwrap().iter().all(|ip| ip.is_loopback()));
}

#[tokio::test]
async fn agents_need_no_id_and_may_be_absolute() {
    let served = Served::start(settings());
    let body = json!({ "kind": "absolute", "samples": [{ "site": "own/frankfurt", "rtt_ms": 0.4 }] });
    for _ in 0..100 {
        assert_eq!(served.post(AGENT, &body).await.0, 204, "it is under no limit");
    }
    let taken = served.taken();
    let samples = vec![("own/frankfurt".into(), Some(0.4))];
    assert_eq!(taken[99], Reported { client: "192.0.2.0".parse().unwrap(), absolute: true, samples });
    assert_eq!(served.post(AGENT, &report("forged")).await.0, 403, "one that it does bring must be good");
    assert_eq!(served.post(AGENT, &report(&served.id(AGENT).await)).await.0, 204);
    assert!(!served.taken()[0].absolute);
    assert_eq!(served.post(HERE, &body).await.0, 403);
    // A slip is told, and what is right is taken.
    let slip = json!({ "kind": "absolute", "samples": [{ "site": "mars/olympus", "rtt_ms": 1 }, { "site": "own/a", "rtt_ms": 2 }] });
    let (status, _, text) = served.ask("POST /v1/beacons", AGENT, &slip.to_string()).await;
    assert_eq!((status, &*text, served.taken().len()), (200, "{\"unknown_sites\":[\"mars/olympus\"]}\n", 1));
}

#[tokio::test]
async fn pages_of_other_origins_are_refused() {
    let served = Served::start(settings());
    let session = "GET /v1/beacons/session?service=www.shop.example";
    for (origin, is_allowed) in [
        (PAGE, true),
        ("http://localhost:8000", true),
        ("https://WWW.shop.example", false),
        ("https://www.shop.example:443", false),
        ("https://www.shop.example.evil.example", false),
        ("http://www.shop.example", false),
        ("null", false),
        ("", false),
    ] {
        let headers = format!("{HERE}Origin: {origin}\r\n");
        let (status, head, _) = served.ask(session, &headers, "").await;
        assert_eq!(status, if is_allowed { 200 } else { 403 }, "{origin}");
        let told = |name: &str| head.lines().any(|line| line == format!("{name}: {origin}"));
        assert_eq!(told("access-control-allow-origin"), is_allowed, "{head}");
        assert_eq!(told("timing-allow-origin"), is_allowed, "{head}");
        assert!(head.contains("\r\nvary: origin"), "{head}");
        assert!(!head.contains("access-control-allow-credentials"), "{head}");
        let headers = format!("{headers}Access-Control-Request-Method: POST\r\n");
        let (status, head, _) = served.ask("OPTIONS /v1/beacons", &headers, "").await;
        assert_eq!(status, if is_allowed { 204 } else { 403 }, "{origin}");
        assert_eq!(head.contains("access-control-allow-headers: content-type"), is_allowed, "{head}");
    }
    // A picture on somebody's page uses up no session; the script is for all.
    for (of, status) in [("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)] {
        let headers = format!("{HERE}Sec-Fetch-Site: {of}\r\n");
        assert_eq!(served.ask(session, &headers, "").await.0, status, "{of}");
        assert_eq!(served.ask("GET /v1/beacon.js", &headers, "").await.0, 200, "{of}");
    }
    assert_eq!(served.ask(session, &format!("{HERE}Origin: {PAGE}\r\nSec-Fetch-Site: same-site\r\n"), "").await.0, 200);
    let id = served.id(HERE).await;
    let of = |origin: &str| format!("{HERE}Origin: {origin}\r\nContent-Type: text/plain;charset=UTF-8\r\n");
    assert_eq!(served.post(&of("https://evil.example"), &report(&id)).await.0, 403);
    assert_eq!(served.post(&of(PAGE), &report(&id)).await.0, 204);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_come_ends() {
    let (context, ..) = context(&settings());
    let never = tokio_stream::pending::<Result<Bytes, std::convert::Infallible>>();
    let request = Request::builder().method("POST").uri("/v1/beacons").header("x-forwarded-for", "203.0.113.77");
    let request = request.body(Body::from_stream(never)).unwrap();
    let peer = routes::Peer("127.0.0.1".parse().unwrap());
    let mut router = routes::router(context).layer(Extension(peer));
    let reply = tower_service::Service::call(&mut router, request).await.unwrap();
    assert_eq!(reply.status(), 408);
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_come_ends() {
    let served = Served::start(settings());
    let mut stream = TcpStream::connect(served.address).await.unwrap();
    stream.write_all(b"GET /v1/beac").await.unwrap();
    let begun = tokio::time::Instant::now();
    let _ = stream.read_to_end(&mut Vec::new()).await; // it waits for as long as the connection stands
    assert!((9..=11).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

/// Scheduling policy and nice value of the threads of that name, as the kernel tells them.
fn threads(name: &str) -> Vec<(String, String)> {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let stats = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("stat")).ok());
    let named = stats.filter(|stat| stat.contains(&format!("({name})")));
    let fields = |stat: String| {
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        (fields[38].to_owned(), fields[16].to_owned())
    };
    named.map(fields).collect()
}

#[tokio::test]
async fn it_has_a_thread_that_gives_way() {
    let settings = Beacons { listen: vec!["127.0.0.1:0".parse().unwrap()], ..settings() };
    let listeners = bind(&settings).unwrap();
    let address = listeners[0].local_addr().unwrap();
    let _serving = start(listeners, &settings, Arc::new(StandIn::default())).unwrap();
    assert_eq!(ask(address, "GET /v1/beacon.js", "", "").await.0, 200);
    let [(policy, nice)] = &threads("beacons")[..] else { panic!() };
    assert_eq!(policy, "0", "SCHED_OTHER");
    assert!(nice.parse::<i32>().unwrap() >= 10, "{nice}; more where the tests themselves are nicer");
}

#[tokio::test]
async fn sockets_are_bound_and_errors_say_what_to_do() {
    let settings =
        Beacons { listen: vec!["127.0.0.1:0".parse().unwrap(), "127.0.0.1:0".parse().unwrap()], ..settings() };
    let listeners = bind(&settings).unwrap();
    let addresses: Vec<SocketAddr> = listeners.iter().map(|listener| listener.local_addr().unwrap()).collect();
    let error = bind(&Beacons { listen: addresses.clone(), ..settings.clone() }).unwrap_err().to_string();
    assert!(error.contains("another program listens there; stop it or change [beacons] listen"), "{error}");
    let task = tokio::spawn(async move { serve(listeners, &settings, Arc::new(StandIn::default())).await });
    for address in addresses {
        assert_eq!(ask(address, "GET /v1/beacon.js", "", "").await.0, 200);
    }
    task.abort();
}
