//! Targets that accept, and then say nothing, or an octet now and then: whatever the kind, it is their silence.

use std::time::Duration;

use meridian::config::{Grpc, Http, Probe, ProbeKind, Tls};
use meridian::health::Cause;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;

use crate::support::{http, outcome_of, probe};

/// Sends the octets one by one, and nothing more.
async fn drips(octets: &'static [u8]) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                for octet in octets {
                    let _ = stream.write_u8(*octet).await; // the probe may have given up
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                std::future::pending::<()>().await;
            });
        }
    });
    address
}

#[tokio::test]
async fn who_stalls_is_silent() {
    const HANDSHAKE: &[u8] = &[22, 3, 3, 64, 0, 2, 0, 0, 80, 3, 3, 0, 0, 0];
    const HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nX: ";
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    let pem = rcgen::generate_simple_self_signed(vec!["shop.test".to_owned()]).unwrap().cert.pem();
    let tls = || Tls { ca: Some("ca.pem".into()), server_name: Some("shop.test".to_owned()), ..Tls::default() };
    let https = |http2| ProbeKind::Http(Http { tls: Some(tls()), http2, ..http() });
    let grpc = |tls| ProbeKind::Grpc(Grpc { service: "shop".to_owned(), tls });
    let timeout = Duration::from_millis(150);
    for (kind, octets) in [
        (ProbeKind::Tls(tls()), HANDSHAKE),
        (https(false), HANDSHAKE),
        (https(true), HANDSHAKE),
        (ProbeKind::Http(http()), HEAD),
        (grpc(None), SETTINGS),
        (grpc(Some(tls())), HANDSHAKE),
    ] {
        for octets in [&[], octets] {
            let probe = Probe { timeout, interval: Duration::from_secs(20), ..probe(kind.clone()) };
            let outcome = outcome_of(probe, drips(octets).await, &[("ca.pem", &pem)]).await;
            assert_eq!(outcome, Err(Cause::Timeout(timeout)), "{kind:?} {}", octets.len());
        }
    }
}
