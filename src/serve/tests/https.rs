//! DNS over HTTPS: requests to the router, and connections in memory on a clock that is paused.

use std::sync::Arc;

use axum::body::{Body, to_bytes};
use axum::http::{Method, Request, header};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex};
use tokio::task::JoinHandle;

use super::*;
use crate::serve::connection::{Asker, Peer};
use crate::serve::https;

const PATH: &str = "/dns-query";
const DNS: (&str, &str) = ("content-type", "application/dns-message");
/// `static.shop.example` A, TTL 60, as a reply.
const REPLY: &[u8] = b"\0\0\x84\0\0\x01\0\x01\0\0\0\0\x06static\x04shop\x07example\0\0\x01\0\x01\
                       \xc0\x0c\0\x01\0\x01\0\0\0\x3c\0\x04\xcb\0\x71\x50";

fn asker() -> Asker {
    Asker::new(Peer { client: "192.0.2.1:5300".parse().unwrap(), transport: Transport::Https }, 7)
}

/// Status, headers and body that the toy, or another responder, gets for a request.
async fn ask_of<R: Respond>(responder: R, mut request: Request<Body>) -> (u16, header::HeaderMap, Vec<u8>) {
    let router = https::router(PATH, Arc::new(Responders::new(vec![responder], Arc::default())));
    request.extensions_mut().insert(asker());
    let (head, body) = https::call(router, request).await.into_parts();
    (head.status.as_u16(), head.headers, to_bytes(body, usize::MAX).await.unwrap().to_vec())
}

fn request(method: Method, uri: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Request<Body> {
    let builder = Request::builder().method(method).uri(uri);
    let builder = headers.iter().fold(builder, |builder, (name, value)| builder.header(*name, *value));
    builder.body(body.into()).unwrap()
}

fn get(query: &[u8]) -> Request<Body> {
    use base64::engine::{Engine as _, general_purpose::URL_SAFE_NO_PAD};
    request(Method::GET, &format!("{PATH}?dns={}", URL_SAFE_NO_PAD.encode(query)), &[], Body::empty())
}

#[tokio::test]
async fn get_and_post_are_answered_alike() {
    for request in [get(b"a query of text"), request(Method::POST, PATH, &[DNS], "a query of text")] {
        let (status, headers, body) = ask_of(toy, request).await;
        assert_eq!((status, body.as_slice()), (200, &b"a query of textT"[..]));
        assert_eq!(headers[header::CONTENT_TYPE], "application/dns-message");
        assert_eq!(headers[header::CONTENT_LENGTH], "16");
    }
    let (status, headers, body) = ask_of(
        toy,
        request(Method::HEAD, get(b"a query of text").uri().path_and_query().unwrap().as_str(), &[], Body::empty()),
    )
    .await;
    assert_eq!((status, headers[header::CONTENT_LENGTH].as_bytes(), body.len()), (200, &b"16"[..], 0));
    let told = |client: SocketAddr, transport, _: &[u8], out: &mut [u8]| {
        let text = format!("{client} {transport}");
        out[..text.len()].copy_from_slice(text.as_bytes());
        text.len()
    };
    let forwarded = [DNS, ("x-forwarded-for", "203.0.113.9"), ("forwarded", "for=203.0.113.9")];
    let (_, _, body) = ask_of(told, request(Method::POST, PATH, &forwarded, "who am I to you?")).await;
    assert_eq!(String::from_utf8(body).unwrap(), "192.0.2.1:5300 HTTPS", "no header says who asks");
}

#[tokio::test]
async fn replies_are_kept_as_long_as_their_records() {
    let fixed = |_: SocketAddr, _, query: &[u8], out: &mut [u8]| {
        out[..REPLY.len()].copy_from_slice(REPLY);
        out[3] = query[11]; // the response code
        REPLY.len()
    };
    let kept = async |rcode| {
        let query = [0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, rcode];
        let (status, headers, body) = ask_of(fixed, get(&query)).await;
        assert_eq!((status, body[3]), (200, rcode), "each DNS reply is a success");
        headers[header::CACHE_CONTROL].to_str().unwrap().to_owned()
    };
    assert_eq!(kept(0).await, "private, max-age=60");
    for failure in [1, 2, 5] {
        assert_eq!(kept(failure).await, "no-store", "{failure}");
    }
}

#[tokio::test]
async fn what_gets_no_reply_is_told_why() {
    let post = |headers, body: Vec<u8>| request(Method::POST, PATH, headers, body);
    let whole = || get(b"a query of text");
    let uri = whole().uri().to_string();
    let of = |uri: &str| request(Method::GET, uri, &[], Body::empty());
    for (request, status, why) in [
        (of(PATH), 400, "one parameter `dns`"),
        (of(&format!("{uri}=")), 400, "without padding"),
        (of(&format!("{PATH}?dns=AA+A")), 400, "no base64url"),
        (get(b"short"), 400, "no DNS query"),
        (get(b"..\x80 a response"), 400, "no DNS query"),
        (get(b"?no answer yet"), 503, "no answer for you now"),
        (get(b"!a panic of ours"), 503, ""),
        (of(&uri.replace(PATH, "/dns")), 404, ""),
        (of(&uri.replace(PATH, "/dns-query/x")), 404, ""),
        (post(&[], b"a query of text".to_vec()), 415, "application/dns-message"),
        (post(&[("content-type", "application/dns-json")], Vec::new()), 415, "application/dns-message"),
        (post(&[DNS], vec![b'a'; 65_536]), 413, "length limit"),
        (post(&[DNS], Vec::new()), 400, "no DNS query"),
        (request(Method::PUT, PATH, &[DNS], "a query of text"), 405, ""),
    ] {
        let what = format!("{request:?}");
        let (got, headers, body) = ask_of(toy, request).await;
        let body = String::from_utf8(body).unwrap();
        assert_eq!(got, status, "{what}: {body}");
        assert!(body.contains(why), "{what}: {body}");
        assert_ne!(
            headers.get(header::CONTENT_TYPE).map(|kind| kind.as_bytes()),
            Some(&b"application/dns-message"[..])
        );
        if got == 405 {
            assert_eq!(headers[header::ALLOW], "GET,HEAD,POST");
        }
    }
    let longest = [vec![b'a'; 65_534], vec![b'?']].concat();
    assert_eq!(ask_of(toy_of_length, post(&[DNS], longest)).await.2, b"65535");
}

/// Answers how long the query is.
fn toy_of_length(_: SocketAddr, _: Transport, query: &[u8], out: &mut [u8]) -> usize {
    let text = query.len().to_string();
    out[..text.len()].copy_from_slice(text.as_bytes());
    text.len()
}

/// A connection over a pipe, idle for 30 seconds at most.
fn connect() -> (DuplexStream, JoinHandle<()>, watch::Sender<()>) {
    let (alive, stop) = watch::channel(());
    let (ours, theirs) = duplex(1 << 16);
    let router = https::router(PATH, Arc::new(Responders::new(vec![toy], Arc::default())));
    (ours, tokio::spawn(https::serve(theirs, router, asker(), Duration::from_secs(30), stop)), alive)
}

async fn rest(mut stream: DuplexStream) -> String {
    let mut rest = Vec::new();
    let _ = stream.read_to_end(&mut rest).await;
    String::from_utf8(rest).unwrap()
}

const POST: &str = "POST /dns-query HTTP/1.1\r\nhost: x\r\ncontent-type: application/dns-message\r\n";

#[tokio::test(start_paused = true)]
async fn a_connection_ends_when_it_brings_no_whole_query() {
    let begun = tokio::time::Instant::now();
    let (stream, ended, _alive) = connect();
    ended.await.unwrap();
    assert_eq!(rest(stream).await, "");
    assert_eq!(begun.elapsed().as_secs(), 3);

    // A byte each second puts off nothing, be it of a head or of a body.
    for head in [POST.to_owned(), format!("{POST}content-length: 1000\r\n\r\n")] {
        let (mut stream, ended, _alive) = connect();
        let begun = tokio::time::Instant::now();
        stream.write_all(head.as_bytes()).await.unwrap();
        while stream.write_all(b"a").await.is_ok() && !ended.is_finished() {
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        ended.await.unwrap();
        assert!((3..6).contains(&begun.elapsed().as_secs()), "{head}: {:?}", begun.elapsed());
        assert!(!rest(stream).await.contains("200 OK"));
    }
}

#[tokio::test(start_paused = true)]
async fn queries_keep_a_connection_and_a_stop_ends_it_behind_them() {
    let (mut stream, ended, alive) = connect();
    for _ in 0..5 {
        stream.write_all(format!("{POST}content-length: 15\r\n\r\na query of text").as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"a query of textT") {
            head.push(stream.read_u8().await.unwrap());
        }
        assert!(head.starts_with(b"HTTP/1.1 200 OK\r\n"));
        tokio::time::sleep(Duration::from_secs(20)).await;
    }
    drop(alive);
    ended.await.unwrap();
    assert_eq!(rest(stream).await, "");
}

#[tokio::test(start_paused = true)]
async fn heads_are_bounded() {
    let (mut stream, ended, _alive) = connect();
    let head = format!("{POST}x: {}\r\n\r\n", "x".repeat(20_000));
    let _ = stream.write_all(head.as_bytes()).await;
    let text = rest(stream).await;
    assert!(text.starts_with("HTTP/1.1 431 "), "{text}");
    ended.await.unwrap();
}
