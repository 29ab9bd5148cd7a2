//! `grpc`: a health service over h2's own server.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use meridian::config::{Grpc, Probe, ProbeKind, Tls};
use meridian::health::Cause;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::support::{Authority, OK, Reply, Web, outcome_of, probe, tls_error};
use crate::web::server_config;

/// The octets of the answer, and `grpc-status` behind them; or in the head, where there are no octets.
#[derive(Clone, Copy)]
struct Answer(&'static [u8], Option<&'static str>);

const SERVING: Answer = Answer(&[0, 0, 0, 0, 2, 8, 1], Some("0"));

async fn start(answer: Answer, tls: Option<TlsAcceptor>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        match tls {
            Some(tls) => {
                if let Ok(stream) = tls.accept(stream).await {
                    serve(stream, answer).await;
                }
            }
            None => serve(stream, answer).await,
        }
    });
    address
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, Answer(octets, status): Answer) {
    let mut connection = h2::server::handshake(stream).await.unwrap();
    while let Some(Ok((request, mut respond))) = connection.accept().await {
        let (head, mut body) = request.into_parts();
        assert_eq!((head.uri.path(), head.method.as_str()), ("/grpc.health.v1.Health/Check", "POST"));
        assert_eq!(head.headers["content-type"], "application/grpc");
        tokio::spawn(async move {
            let asked = body.data().await.unwrap().unwrap();
            assert_eq!(asked, [&[0, 0, 0, 0, 6, 0x0a, 4][..], b"shop"].concat());
            let response = Response::builder().header("content-type", "application/grpc");
            if octets.is_empty() {
                let response = response.header("grpc-status", status.unwrap()).header("grpc-message", "who?");
                return drop(respond.send_response(response.body(()).unwrap(), true));
            }
            let mut stream = respond.send_response(response.body(()).unwrap(), false).unwrap();
            let _ = stream.send_data(Bytes::from_static(octets), status.is_none());
            if let Some(status) = status {
                let trailers: HeaderMap =
                    [("grpc-status".parse().unwrap(), status.parse().unwrap())].into_iter().collect();
                let _ = stream.send_trailers(trailers);
            }
        });
    }
}

fn shop(tls: Option<Tls>) -> Probe {
    probe(ProbeKind::Grpc(Grpc { service: "shop".to_owned(), tls }))
}

async fn ask(answer: Answer) -> Result<Duration, Cause> {
    outcome_of(shop(None), start(answer, None).await, &[]).await
}

#[tokio::test]
async fn what_the_service_says() {
    ask(SERVING).await.unwrap();
    static LONG: [u8; 5000] = [0; 5000];
    for (answer, words) in [
        (Answer(&[0, 0, 0, 0, 2, 8, 2], Some("0")), "the service says NOT_SERVING"),
        (Answer(&[0, 0, 0, 0, 2, 8, 3], Some("0")), "the service says SERVICE_UNKNOWN"),
        (Answer(&[0, 0, 0, 0, 0], Some("0")), "the service says UNKNOWN"),
        (Answer(&[], Some("5")), "grpc-status 5 who?"),
        (Answer(&[0, 0, 0, 0, 2, 8, 1], Some("14")), "grpc-status 14"),
        (Answer(&[0, 0, 0, 0, 2, 8, 1], None), "no grpc-status"),
        (Answer(b"hello", Some("0")), "the answer is no whole message"),
        (Answer(&LONG, Some("0")), "the answer is over 4 KiB"),
    ] {
        assert_eq!(ask(answer).await, Err(Cause::Protocol(words.to_owned())));
    }
}

#[tokio::test]
async fn other_servers_have_no_sense() {
    for reply in [Reply::Text(OK), Reply::Endless(OK), Reply::Text("")] {
        let web = Web::start(reply, None).await;
        assert!(matches!(outcome_of(shop(None), web.address, &[]).await, Err(Cause::Protocol(_) | Cause::Reset)));
    }
}

#[tokio::test]
async fn by_tls_the_certificate_counts() {
    let (authority, other) = (Authority::new(), Authority::new());
    let (ca, other) = (authority.0.pem(), other.0.pem());
    let tls = || Tls { ca: Some("ca.pem".into()), server_name: Some("www.shop.example".to_owned()), ..Tls::default() };
    let start = async || start(SERVING, Some(server_config(&authority, None, &["h2"]))).await;
    outcome_of(shop(Some(tls())), start().await, &[("ca.pem", &ca)]).await.unwrap();
    tls_error(outcome_of(shop(Some(tls())), start().await, &[("ca.pem", &other)]).await);
}
