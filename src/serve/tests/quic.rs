//! DNS over QUIC and HTTP/3 on loopback, asked by quinn's and h3's clients.

use std::net::UdpSocket;

use axum::body::Bytes;
use axum::http::Request;
use bytes::Buf as _;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, ConnectionError, Endpoint, ReadError, ReadToEndError, VarInt, WriteError};
use rustls::pki_types::PrivatePkcs8KeyDer;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::*;

/// The two sides' settings of TLS for a protocol.
fn tls(protocol: &str) -> (Arc<ServerConfig>, quinn::ClientConfig) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()).into();
    let ours = ServerConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
    let mut ours = ours.unwrap().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let theirs = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let mut theirs = theirs.unwrap().with_root_certificates(roots).with_no_client_auth();
    ours.alpn_protocols = vec![protocol.into()];
    theirs.alpn_protocols = vec![protocol.into()];
    (Arc::new(ours), quinn::ClientConfig::new(Arc::new(QuicClientConfig::try_from(theirs).unwrap())))
}

/// A toy's server, and a client that knows its certificate.
fn serve(transport: Transport, settings: TcpSettings) -> (Serving, SocketAddr, Endpoint) {
    let (ours, theirs) = tls(if transport == Transport::Quic { "doq" } else { "h3" });
    let bound = Bound::bind(&[], udp_of(1)).unwrap().with_https_path("/dns-query");
    let bound = bound.with_quic(transport, &localhost(&["127.0.0.1:0"]), &ours).unwrap();
    let server = bound.serve(settings, |_| zeroed_toy).unwrap();
    let (told, address) = server.encrypted_addresses()[0];
    assert_eq!(told, transport);
    let mut client = Endpoint::client("127.0.0.1:0".parse().unwrap()).unwrap();
    client.set_default_client_config(theirs);
    (server, address, client)
}

/// The toy, on what follows an ID of 0.
fn zeroed_toy(client: SocketAddr, transport: Transport, query: &[u8], out: &mut [u8]) -> usize {
    toy(client, transport, &query[2..], out)
}

/// Has an ID of 0 and is no response.
fn zeroed(text: &str) -> Vec<u8> {
    [b"\0\0", text.as_bytes()].concat()
}

fn stream_of(text: &str) -> Vec<u8> {
    let query = zeroed(text);
    [&(query.len() as u16).to_be_bytes()[..], &query].concat()
}

async fn connect(client: &Endpoint, server: SocketAddr) -> Connection {
    client.connect(server, "localhost").unwrap().await.unwrap()
}

/// What comes back on a stream of its own.
async fn exchange(connection: &Connection, stream: &[u8]) -> Result<String, ReadToEndError> {
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(stream).await.unwrap();
    send.finish().unwrap();
    let reply = receive.read_to_end(1 << 17).await?;
    let (length, reply) = reply.split_first_chunk().unwrap();
    assert_eq!(usize::from(u16::from_be_bytes(*length)), reply.len());
    Ok(String::from_utf8(reply.to_vec()).unwrap())
}

/// The code by which the server ended the connection.
async fn closed_by(connection: &Connection) -> u64 {
    match connection.closed().await {
        ConnectionError::ApplicationClosed(close) => close.error_code.into_inner(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn doq_has_a_stream_for_each_query() {
    let (server, address, client) = serve(Transport::Quic, SETTINGS);
    let connection = connect(&client, address).await;
    for number in 0..300 {
        let query = format!("query number {number}");
        assert_eq!(exchange(&connection, &stream_of(&query)).await.unwrap(), format!("{query}T"));
    }
    // Many at once, more than there may be streams.
    let queries = (0..300).map(|number| format!("at once: {number}"));
    let exchanges = queries.map(|query| {
        let connection = connection.clone();
        tokio::spawn(async move { (exchange(&connection, &stream_of(&query)).await.unwrap(), query) })
    });
    for ended in exchanges.collect::<Vec<_>>() {
        let (reply, query) = ended.await.unwrap();
        assert_eq!(reply, format!("{query}T"));
    }
    // The last query is answered before the connection ends.
    let (mut send, mut receive) = connection.open_bi().await.unwrap();
    send.write_all(&stream_of("the last one")).await.unwrap();
    send.finish().unwrap();
    let reply = receive.read_to_end(1 << 17).await.unwrap();
    assert!(reply.ends_with(b"the last oneT"));
    server.stop().await;
    assert_eq!(closed_by(&connection).await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn doq_resets_a_stream_without_an_answer() {
    let (server, address, client) = serve(Transport::Quic, SETTINGS);
    let connection = connect(&client, address).await;
    for silent in ["?nothing to say", "!a panic of ours"] {
        let reset = exchange(&connection, &stream_of(silent)).await.unwrap_err();
        assert_eq!(reset, ReadToEndError::Read(ReadError::Reset(VarInt::from_u32(1))), "DOQ_INTERNAL_ERROR");
    }
    assert_eq!(exchange(&connection, &stream_of("one more query")).await.unwrap(), "one more queryT");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn doq_ends_a_connection_that_breaks_its_rules() {
    let (server, address, client) = serve(Transport::Quic, SETTINGS);
    let whole = stream_of("a good query");
    let keepalive = b"\0\0\0\0\0\x01\0\0\0\0\0\x01\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0\0\0\0\x04\0\x0b\0\0";
    let keepalive = [&(keepalive.len() as u16).to_be_bytes()[..], keepalive].concat();
    for (what, stream) in [
        ("an ID", [&[0, 14, 0, 1][..], b"a good query"].concat()),
        ("two queries", [whole.as_slice(), &whole].concat()),
        ("half a query", whole[..9].to_vec()),
        ("nothing", Vec::new()),
        ("less than a header", stream_of("short")),
        ("more than a message", vec![0xff; 65_538]),
        ("a TCP keepalive", keepalive),
    ] {
        let connection = connect(&client, address).await;
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        let sent = send.write_all(&stream).await;
        assert!(matches!(sent, Ok(()) | Err(WriteError::ConnectionLost(_))), "{what}: {sent:?}");
        let _ = send.finish();
        assert_eq!(closed_by(&connection).await, 2, "{what}: DOQ_PROTOCOL_ERROR");
    }
    server.stop().await;
}

/// The first datagram of a client, which hears nothing back.
async fn first_datagram(client: &Endpoint) -> Vec<u8> {
    let sink = UdpSocket::bind("127.0.0.1:0").unwrap();
    let connecting = client.connect(sink.local_addr().unwrap(), "localhost").unwrap();
    let read = tokio::task::spawn_blocking(move || {
        let mut datagram = vec![0; 2000];
        let length = sink.recv(&mut datagram).unwrap();
        datagram.truncate(length);
        datagram
    });
    let datagram = read.await.unwrap();
    drop(connecting);
    datagram
}

#[tokio::test(flavor = "multi_thread")]
async fn handshakes_that_stand_still_hold_up_nobody() {
    let (server, address, client) = serve(Transport::Quic, SETTINGS);
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    for _ in 0..20 {
        stranger.send_to(&first_datagram(&client).await, address).unwrap();
    }
    let connection = connect(&client, address).await;
    assert_eq!(exchange(&connection, &stream_of("one good query")).await.unwrap(), "one good queryT");
    assert_eq!(server.faults().failed_handshakes(), 0, "they stand still yet");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_limit_the_longest_idle_connection_makes_room() {
    let (server, address, client) = serve(Transport::Quic, TcpSettings { connections: 2, ..SETTINGS });
    let first = connect(&client, address).await;
    exchange(&first, &stream_of("the first one")).await.unwrap();
    let second = connect(&client, address).await;
    exchange(&second, &stream_of("the second one")).await.unwrap();
    exchange(&first, &stream_of("the first again")).await.unwrap();
    // Who has not shown an address puts out nobody.
    let stranger = UdpSocket::bind("127.0.0.1:0").unwrap();
    stranger.send_to(&first_datagram(&client).await, address).unwrap();
    let retry = stranger.recv(&mut [0; 2000]).unwrap();
    assert!(retry > 0);
    assert_eq!(server.faults().evicted(), 0);
    let third = connect(&client, address).await;
    assert_eq!(exchange(&third, &stream_of("the third one")).await.unwrap(), "the third oneT");
    second.closed().await;
    assert_eq!(exchange(&first, &stream_of("the first stays")).await.unwrap(), "the first staysT");
    assert_eq!(server.faults().evicted(), 1);
    server.stop().await;
}

type Requests = h3::client::SendRequest<h3_quinn::OpenStreams, Bytes>;

/// Speaks HTTP/3 on a connection.
async fn http3(connection: Connection) -> Requests {
    let (mut driver, requests) = h3::client::new(h3_quinn::Connection::new(connection)).await.unwrap();
    tokio::spawn(async move { std::future::poll_fn(|cx| driver.poll_close(cx)).await });
    requests
}

/// Status and body.
async fn ask(requests: &mut Requests, request: Request<()>, body: Vec<u8>) -> (u16, String) {
    let mut stream = requests.send_request(request).await.unwrap();
    if !body.is_empty() {
        let _ = stream.send_data(body.into()).await; // a body that is too long is not taken to its end
    }
    let _ = stream.finish().await;
    let status = stream.recv_response().await.unwrap().status().as_u16();
    let mut body = Vec::new();
    while let Some(piece) = stream.recv_data().await.unwrap() {
        body.extend_from_slice(piece.chunk());
    }
    (status, String::from_utf8(body).unwrap())
}

fn post(path: &str) -> Request<()> {
    let post = Request::post(format!("https://localhost{path}"));
    post.header("content-type", "application/dns-message").body(()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn http3_has_the_router_of_https() {
    let (server, address, client) = serve(Transport::Https3, SETTINGS);
    let connection = connect(&client, address).await;
    let mut requests = http3(connection.clone()).await;
    let query = || zeroed("a query of text");
    for _ in 0..150 {
        assert_eq!(ask(&mut requests, post("/dns-query"), query()).await, (200, "a query of textT".to_owned()));
    }
    let by_url = Request::get("https://localhost/dns-query?dns=AABhIHF1ZXJ5IG9mIHRleHQ").body(()).unwrap();
    assert_eq!(ask(&mut requests, by_url, Vec::new()).await, (200, "a query of textT".to_owned()));
    assert_eq!(ask(&mut requests, post("/elsewhere"), query()).await.0, 404);
    assert_eq!(ask(&mut requests, post("/dns-query"), vec![0; 65_536]).await.0, 413);
    assert_eq!(ask(&mut requests, post("/dns-query"), vec![0; 100_000]).await.0, 413);
    let untyped = Request::post("https://localhost/dns-query").body(()).unwrap();
    assert_eq!(ask(&mut requests, untyped, query()).await.0, 415);
    assert_eq!(ask(&mut requests, post("/dns-query"), query()).await.0, 200);
    server.stop().await;
    assert_eq!(closed_by(&connection).await, 0x100, "H3_NO_ERROR");
}

#[tokio::test(flavor = "multi_thread")]
async fn http3_frames_that_claim_to_be_huge_are_cut_off() {
    let (server, address, client) = serve(Transport::Https3, SETTINGS);
    let connection = connect(&client, address).await;
    let mut requests = http3(connection.clone()).await;
    // HEADERS, and a frame of no known type, each of 2^30 octets.
    for kind in [[0x01, 0xc0, 0, 0, 0, 0x40, 0, 0, 0].as_slice(), &[0x21, 0xc0, 0, 0, 0, 0x40, 0, 0, 0]] {
        let (mut send, _receive) = connection.open_bi().await.unwrap();
        send.write_all(kind).await.unwrap();
        let mut taken = 0;
        let stopped = loop {
            match send.write(&[0; 4096]).await {
                Ok(octets) => taken += octets,
                Err(stopped) => break stopped,
            }
            assert!(taken < 1 << 20, "no end");
        };
        assert_eq!(stopped, WriteError::Stopped(VarInt::from_u32(0x107)), "H3_EXCESSIVE_LOAD");
    }
    let query = zeroed("a query of text");
    assert_eq!(ask(&mut requests, post("/dns-query"), query).await, (200, "a query of textT".to_owned()));
    server.stop().await;
}
