//! `tcp` that speaks, and `tls`.

use std::net::SocketAddr;
use std::time::Duration;

use meridian::config::{Exchange, Probe, ProbeKind, Tls};
use meridian::health::Cause;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::{Authority, OK, Reply, Web, outcome_of, probe, tls_error};

fn talk(send: Option<&str>, expect: &str) -> Probe {
    let exchange = Exchange { send: send.map(str::to_owned), expect: Some(expect.to_owned()) };
    probe(ProbeKind::Exchange(exchange))
}

/// Sends a greeting, and what it is told, in small letters, octet by octet.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let _ = stream.write_all(b"220 ready\r\n").await;
                while let Ok(octet) = stream.read_u8().await {
                    let _ = stream.write_u8(octet.to_ascii_lowercase()).await;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn what_is_said_and_what_comes() {
    let address = echo().await;
    outcome_of(talk(None, "220 "), address, &[]).await.unwrap();
    outcome_of(talk(Some("PING\r\n"), "ready\r\nping\r\n"), address, &[]).await.unwrap();
    let silent = Exchange { send: Some("PING".to_owned()), expect: None };
    outcome_of(probe(ProbeKind::Exchange(silent)), address, &[]).await.unwrap();
    let timeout = Duration::from_millis(100);
    let wrong = Probe { timeout, interval: Duration::from_secs(20), ..talk(None, "221") };
    assert_eq!(outcome_of(wrong, address, &[]).await, Err(Cause::Timeout(timeout)), "it might still come");
}

#[tokio::test]
async fn an_end_and_an_endless_reply_lack_the_text() {
    let lacks = Err(Cause::Protocol("what came lacks the expected text".to_owned()));
    let request = Some("GET / HTTP/1.1\r\n\r\n");
    let web = Web::start(Reply::Text(OK), None).await;
    outcome_of(talk(request, "healthy"), web.address, &[]).await.unwrap();
    assert_eq!(outcome_of(talk(request, "ill"), web.address, &[]).await, lacks);
    let web = Web::start(Reply::Endless(OK), None).await;
    assert_eq!(outcome_of(talk(request, "ill"), web.address, &[]).await, lacks);
}

#[tokio::test]
async fn a_handshake_is_enough() {
    let authority = Authority::new();
    let files = [("ca.pem", &*authority.0.pem())];
    let tls = |name: &str| {
        let tls = Tls { ca: Some("ca.pem".into()), server_name: Some(name.to_owned()), ..Tls::default() };
        probe(ProbeKind::Tls(tls))
    };
    let web = Web::start(Reply::Hang(""), Some(authority.acceptor("www.shop.example", 2999))).await;
    outcome_of(tls("www.shop.example"), web.address, &files).await.unwrap();
    tls_error(outcome_of(tls("other.example"), web.address, &files).await);
    let expired = Web::start(Reply::Hang(""), Some(authority.acceptor("www.shop.example", 2001))).await;
    tls_error(outcome_of(tls("www.shop.example"), expired.address, &files).await);
    let greeting = echo().await;
    tls_error(outcome_of(tls("www.shop.example"), greeting, &files).await);
}
