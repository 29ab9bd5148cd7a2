//! Order, patience and bounds in virtual time; what servers may do, against real ones.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::PrivateKeyDer;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::*;
use crate::config::{self, Tls};
use crate::health::{StateChange, Verdict};
use crate::model::{EndpointId, State};
use crate::probe::Trust;

const SECOND: Duration = Duration::from_secs(1);

/// What a [`Script`] does with a POST.
#[derive(Clone, Copy, PartialEq)]
enum Reply {
    Taken,
    Refused,
    ForGood,
    /// Nothing, until it is let go.
    Hangs,
}

/// Does what it is told, and then takes everything.
struct Script {
    replies: Mutex<VecDeque<Reply>>,
    /// Of each POST when it came, and the first and last id of its events.
    posts: mpsc::UnboundedSender<(Instant, u64, u64)>,
    go: Notify,
}

impl Post for Script {
    async fn post(&self, body: &Body) -> Result<(), Refusal> {
        let events: Vec<Value> = serde_json::from_slice(&body.json).unwrap();
        let ids: Vec<u64> = events.iter().map(|event| event["id"].as_u64().unwrap()).collect();
        assert!(ids.windows(2).all(|pair| pair[0] + 1 == pair[1]) && ids.last() == Some(&body.newest));
        self.posts.send((Instant::now(), ids[0], body.newest)).unwrap();
        let reply = self.replies.lock().unwrap().pop_front().unwrap_or(Reply::Taken);
        if reply == Reply::Hangs {
            self.go.notified().await;
        }
        let refusal = |for_good| Err(Refusal { why: "told so".to_owned(), for_good });
        match reply {
            Reply::Taken | Reply::Hangs => Ok(()),
            Reply::Refused => refusal(false),
            Reply::ForGood => refusal(true),
        }
    }
}

/// A task that posts to scripts.
struct Bench {
    events: Events,
    hook: watch::Sender<Option<Arc<Script>>>,
    posts: mpsc::UnboundedReceiver<(Instant, u64, u64)>,
    posted: mpsc::UnboundedSender<(Instant, u64, u64)>,
    progress: Arc<Progress>,
}

impl Bench {
    fn start(replies: impl IntoIterator<Item = Reply>) -> Self {
        let (posted, posts) = mpsc::unbounded_channel();
        let (events, hook) = (Events::default(), watch::Sender::new(None));
        let bench = Self { events, hook, posts, posted, progress: Arc::default() };
        bench.redirect(replies);
        tokio::spawn(Task::new(bench.events.listen(None).1, bench.progress.clone()).run(bench.hook.subscribe()));
        bench
    }

    fn redirect(&self, replies: impl IntoIterator<Item = Reply>) -> Arc<Script> {
        let replies = Mutex::new(replies.into_iter().collect());
        let script = Arc::new(Script { replies, posts: self.posted.clone(), go: Notify::new() });
        self.hook.send_replace(Some(script.clone()));
        script
    }

    fn record(&self, count: usize) {
        let change = StateChange { from: State::Up, to: State::Down };
        let (endpoint, reason) = (EndpointId(0), "refused".to_owned());
        let verdict = Verdict { endpoint, change, addresses: Vec::new(), doubt: true, reason };
        (0..count).for_each(|_| self.events.record(&"a".into(), &verdict, 7));
    }

    /// The next POST.
    async fn post(&mut self) -> (Instant, u64, u64) {
        self.posts.recv().await.unwrap()
    }

    /// The next POSTs, by their first and last ids.
    async fn ids<const N: usize>(&mut self) -> [(u64, u64); N] {
        let mut ids = [(0, 0); N];
        for one in &mut ids {
            let (_, first, last) = self.post().await;
            *one = (first, last);
        }
        ids
    }
}

#[tokio::test(start_paused = true)]
async fn what_waits_leaves_together_and_in_order() {
    let mut bench = Bench::start([]);
    bench.record(250);
    assert_eq!(bench.ids().await, [(1, 1), (2, 101), (102, 201), (202, 250)]);
    bench.record(1);
    assert_eq!(bench.ids().await, [(251, 251)]);
}

#[tokio::test(start_paused = true)]
async fn what_comes_of_it_is_told() {
    let bench = Bench::start([Reply::Taken, Reply::Refused, Reply::ForGood]);
    let after = async |seconds: f64| {
        sleep(SECOND.mul_f64(seconds)).await;
        let Posting { sent, failed, waiting, taken, error, .. } = bench.progress.get().unwrap();
        (sent, failed, waiting, taken.is_some(), error.is_some())
    };
    assert_eq!(after(0.1).await, (0, 0, 0, false, false));
    bench.record(1);
    assert_eq!(after(0.1).await, (1, 0, 0, true, false));
    bench.record(3);
    assert_eq!(after(0.1).await, (1, 0, 3, true, true));
    assert_eq!(after(3.0).await, (3, 1, 0, true, false));
    bench.hook.send_replace(None);
    sleep(SECOND).await;
    assert_eq!(bench.progress.get(), None);
}

#[tokio::test(start_paused = true)]
async fn tries_come_less_and_less_often_and_end() {
    let mut bench = Bench::start([Reply::Refused; 9]);
    bench.record(2);
    let (mut before, ..) = bench.post().await;
    for wait in [1_u32, 2, 4, 8, 16, 32, 60] {
        let (at, first, last) = bench.post().await;
        assert_eq!((first, last), (1, 1), "nothing overtakes it");
        let took = at - before;
        assert!(took * 2 >= wait * SECOND && took <= wait * SECOND + SECOND / 100, "{took:?} of {wait} s");
        before = at;
    }
    let (at, first, last) = bench.post().await;
    assert_eq!((at - before, first, last), (Duration::ZERO, 2, 2), "the first is given up");
    assert_eq!(bench.ids().await, [(2, 2)]);
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_is_not_sent_again() {
    let mut bench = Bench::start([Reply::ForGood, Reply::Taken]);
    bench.record(3);
    let start = Instant::now();
    assert_eq!(bench.ids().await, [(1, 1), (2, 3)]);
    assert_eq!(start.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn the_oldest_make_room() {
    let mut bench = Bench::start([]);
    let script = bench.redirect([Reply::Hangs]);
    bench.record(1);
    assert_eq!(bench.ids().await, [(1, 1)]);
    for _ in 0..3 {
        bench.record(500);
        sleep(SECOND).await; // they are heard: virtual time passes when nothing else is to be done
    }
    script.go.notify_one();
    assert_eq!(bench.ids().await, [(502, 601), (602, 701)]);
}

#[tokio::test(start_paused = true)]
async fn an_edit_redirects_what_waits_and_none_forgets_it() {
    let mut bench = Bench::start([]);
    bench.redirect([Reply::Hangs]);
    bench.record(3);
    assert_eq!(bench.ids().await, [(1, 1)]);
    bench.redirect([Reply::Hangs]);
    assert_eq!(bench.ids().await, [(1, 1)], "nobody has said that it was taken");
    bench.hook.send_replace(None);
    sleep(SECOND).await;
    bench.record(2);
    sleep(SECOND).await;
    bench.redirect([]);
    bench.record(1);
    assert_eq!(bench.ids().await, [(6, 6)]);
}

/// Answers each request with this and stays; the heads of requests.
async fn server(reply: &'static str) -> (SocketAddr, mpsc::UnboundedReceiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, (sender, heads)) = (listener.local_addr().unwrap(), mpsc::unbounded_channel());
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut request = String::new();
            while !request.ends_with("[]") {
                request.push(stream.read_u8().await.unwrap().into());
            }
            let _ = sender.send(request);
            stream.write_all(reply.as_bytes()).await.unwrap();
            held.push(stream);
        }
    });
    (address, heads)
}

fn hook(address: SocketAddr, timeout: Duration) -> Hook {
    hook_at(format!("http://{address}/hooks?of=meridian"), timeout, None)
}

/// With the only authority that is trusted, as PEM.
fn hook_at(url: String, timeout: Duration, authority: Option<&str>) -> Hook {
    let octets = |text: &str| Arc::<[u8]>::from(text.as_bytes());
    let key = (PathBuf::from("key"), octets("0123456789abcdef"));
    let mut files = BTreeMap::from([key, ("ca.pem".into(), octets(authority.unwrap_or_default()))]);
    let tls = authority.map(|_| Tls { ca: Some("ca.pem".into()), ..Tls::default() });
    let settings = config::Webhook { url, secret: "key".into(), tls, timeout, allow_private: true };
    let trust = Trust::of(&settings.tls, &mut files).unwrap();
    Hook::read(&settings, &trust, &mut files, Path::new("config.toml")).unwrap()
}

fn body() -> Body {
    Body { newest: 7, json: "[]".into() }
}

#[tokio::test]
async fn each_answer_has_its_meaning() {
    for (reply, taken, for_good) in [
        ("HTTP/1.1 204 No Content\r\n\r\n", true, false),
        ("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\nit never ends", true, false),
        ("HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", false, true),
        ("HTTP/1.1 400 Bad Request\r\n\r\n", false, true),
        ("HTTP/1.1 408 Request Timeout\r\n\r\n", false, false),
        ("HTTP/1.1 429 Too Many Requests\r\n\r\n", false, false),
        ("HTTP/1.1 500 Internal Server Error\r\n\r\n", false, false),
        ("SSH-2.0\r\n", false, false),
    ] {
        let (address, mut heads) = server(reply).await;
        let posted = hook(address, 30 * SECOND).post(&body()).await;
        assert_eq!(posted.is_ok(), taken, "{reply}");
        assert_eq!(posted.is_err_and(|refusal| refusal.for_good), for_good, "{reply}");
        let head = heads.recv().await.unwrap().to_lowercase();
        assert!(head.starts_with("post /hooks?of=meridian http/1.1\r\n"), "{head}");
        for header in ["user-agent: meridian/", "content-type: application/json\r\n", "meridian-event-id: 7\r\n"] {
            assert!(head.contains(header), "{header} {head}");
        }
        let signed = head.split_once("meridian-signature: t=").unwrap().1.split_once("\r\n").unwrap().0;
        let (seconds, tag) = signed.split_once(",v1=").unwrap();
        let age = Timestamp::now().as_second() - seconds.parse::<i64>().unwrap();
        assert!((0..60).contains(&age) && tag.len() == 64, "{signed}");
        assert!(heads.try_recv().is_err(), "one request and no more");
    }
}

#[tokio::test]
async fn nobody_there_and_nobody_who_answers() {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let hook_there = hook(socket.local_addr().unwrap(), 30 * SECOND);
    let refusal = hook_there.post(&body()).await.err().unwrap();
    assert_eq!((&*refusal.why, refusal.for_good), ("connection refused", false));
    let (address, _heads) = server("").await;
    let refusal = hook(address, SECOND / 10).post(&body()).await.err().unwrap();
    assert_eq!((&*refusal.why, refusal.for_good), ("no answer within 100ms", false));
}

/// An authority, and a server at loopback with a certificate of it.
fn authority() -> (String, TlsAcceptor) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let certificate = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
    let key = PrivateKeyDer::Pkcs8(key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let config = builder.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], key).unwrap();
    (issuer.pem(), Arc::new(config).into())
}

#[tokio::test]
async fn its_certificate_is_held_against_the_authorities_named() {
    let ((pem, acceptor), (other, _)) = (authority(), authority());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut request = String::new();
            while !request.ends_with("[]") {
                request.push(stream.read_u8().await.unwrap().into());
            }
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await.unwrap();
        }
    });
    let hook = |pem: &str| hook_at(format!("https://{address}/"), 30 * SECOND, Some(pem));
    let refusal = hook(&other).post(&body()).await.err().unwrap();
    assert!(refusal.why.starts_with("TLS: ") && !refusal.for_good, "{}", refusal.why);
    assert!(hook(&pem).post(&body()).await.is_ok());
    assert!(!hook(&pem).is_same(&hook(&other)));
}

#[test]
fn counts_are_told_at_powers_of_two() {
    let mut tally = Tally::default();
    let told: Vec<u64> = (0..20).filter_map(|_| tally.add(1)).collect();
    assert_eq!(told, [1, 2, 4, 8, 16]);
    assert_eq!([tally.add(0), tally.add(11), tally.add(1), tally.add(500)], [None, None, Some(32), Some(532)]);
}
