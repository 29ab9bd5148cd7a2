//! Changes of verdicts are posted to a webhook, signed, as the configuration says at the time.

use std::net::SocketAddr;

use serde_json::Value;
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{self, UnboundedReceiver};
use tokio::time::timeout;

use crate::server::{DEADLINE, Shop};

/// A request: its head, in small letters, and its body.
type Posted = (String, String);

/// Answers the first request with 500, and the others with 200.
async fn receiver() -> (SocketAddr, UnboundedReceiver<Posted>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, (sender, posted)) = (listener.local_addr().unwrap(), mpsc::unbounded_channel());
    tokio::spawn(async move {
        for status in ["500 No"].into_iter().chain(std::iter::repeat("200 OK")) {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap().to_ascii_lowercase().into());
            }
            let mut body = vec![0; header(&head, "content-length").parse().unwrap()];
            stream.read_exact(&mut body).await.unwrap();
            stream.write_all(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n").as_bytes()).await.unwrap();
            let _ = sender.send((head, String::from_utf8(body).unwrap()));
        }
    });
    (address, posted)
}

fn header<'h>(head: &'h str, name: &str) -> &'h str {
    let line = head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    line.unwrap_or_else(|| panic!("{name} in {head}"))
}

/// HMAC-SHA256 as RFC 2104 writes it, for keys of at most 64 octets.
fn hmac(key: &[u8], text: &[u8]) -> String {
    let pad = |with: u8| (0..64).map(|at| key.get(at).unwrap_or(&0) ^ with).collect::<Vec<u8>>();
    let inner = Sha256::digest([&pad(0x36)[..], text].concat());
    Sha256::digest([&pad(0x5c)[..], &inner].concat()).iter().map(|octet| format!("{octet:02x}")).collect()
}

/// The events of the next POST, whose signature is good.
async fn next(posted: &mut UnboundedReceiver<Posted>, key: &str) -> Vec<Value> {
    let (head, body) = timeout(DEADLINE, posted.recv()).await.expect("a POST").unwrap();
    let (time, tag) = header(&head, "meridian-signature").split_once(",v1=").unwrap();
    let time = time.strip_prefix("t=").unwrap();
    assert_eq!(tag, hmac(key.as_bytes(), format!("{time}.{body}").as_bytes()), "{head}{body}");
    let events: Vec<Value> = serde_json::from_str(&body).unwrap();
    let newest = events.last().unwrap()["id"].to_string();
    assert_eq!(header(&head, "meridian-event-id"), newest);
    events
}

/// Reads on until the endpoint has come to this.
async fn until(posted: &mut UnboundedReceiver<Posted>, key: &str, endpoint: &str, to: &str) -> Value {
    loop {
        let events = next(posted, key).await;
        if let Some(event) = events.into_iter().find(|event| event["endpoint"] == endpoint && event["to"] == to) {
            return event;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn verdicts_are_posted_and_edits_redirect_them() {
    const KEY: &str = "0123456789abcdef0123456789abcdef";
    let (shop, lab) = Shop::with_lab().await;
    let (address, mut posted) = receiver().await;
    let table = format!("[events]\nwebhook = \"http://{address}/\"\nwebhook_secret = \"webhook.key\"\n");
    shop.write("webhook.key", format!("{KEY}\n"));
    shop.edit("[geoip]", &format!("{table}webhook_allow_private = true\n[geoip]"));
    let server = shop.start_ready().await;
    // The first is refused, and comes again as it was.
    let first = next(&mut posted, KEY).await;
    assert_eq!((&first[0]["id"], &first[0]["from"], &first[0]["to"]), (&1.into(), &"unknown".into(), &"up".into()));
    assert_eq!(next(&mut posted, KEY).await, first);
    lab.obey("kill aws-sydney").await.unwrap();
    let down = until(&mut posted, KEY, "aws-sydney", "down").await;
    assert!(down["reason"].as_str().unwrap().contains("refused"), "{down}");
    assert!(server.metrics().await.contains("meridian_webhook_total{outcome=\"sent\"}"));

    let (other, mut posted_there) = receiver().await;
    let key = "fedcba9876543210fedcba9876543210";
    let edit = || {
        shop.write("webhook.key", key);
        shop.edit(&address.to_string(), &other.to_string());
    };
    assert_eq!(server.reading("another webhook", edit).await, "ok");
    lab.obey("heal all").await.unwrap();
    until(&mut posted_there, key, "aws-sydney", "up").await;
    assert!(posted.try_recv().is_err(), "nothing goes to the one before");

    let status = server.reading("no secret", || shop.write("webhook.key", "short")).await;
    assert_eq!(status, "failed", "a bad secret changes nothing");
    lab.obey("kill azure").await.unwrap();
    until(&mut posted_there, key, "azure-westeurope", "down").await;
    server.stop().await;
}
