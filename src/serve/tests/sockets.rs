//! Real sockets on loopback. Reads have a long timeout, so that a fault is an error and not a hang.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream, UdpSocket};
use std::sync::Barrier;

use super::*;

pub(super) const PATIENCE: Option<Duration> = Some(Duration::from_secs(60));

pub(super) fn udp_client(server: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind((server.ip(), 0)).unwrap();
    socket.connect(server).unwrap();
    socket.set_read_timeout(PATIENCE).unwrap();
    socket
}

pub(super) fn ask_udp(socket: &UdpSocket, query: &str) -> String {
    socket.send(query.as_bytes()).unwrap();
    receive_udp(socket)
}

pub(super) fn receive_udp(socket: &UdpSocket) -> String {
    let mut reply = [0; 5000];
    let length = socket.recv(&mut reply).unwrap();
    String::from_utf8_lossy(&reply[..length]).into()
}

pub(super) fn tcp_client(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(PATIENCE).unwrap();
    stream
}

pub(super) fn ask_tcp(stream: &mut TcpStream, query: &str) -> String {
    stream.write_all(&framed(query)).unwrap();
    receive_tcp(stream)
}

pub(super) fn receive_tcp(stream: &mut TcpStream) -> String {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut reply = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut reply).unwrap();
    String::from_utf8(reply).unwrap()
}

#[track_caller]
pub(super) fn assert_closed(mut stream: TcpStream) {
    match stream.read(&mut [0]) {
        Ok(0) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_transports_on_both_families() {
    let listen = localhost(&["127.0.0.1:0", "[::1]:0"]);
    let server = Bound::bind(&listen, udp_of(2)).unwrap().serve(SETTINGS, |_| toy).unwrap();
    for &address in server.addresses() {
        // Many clients, so that each worker's socket gets some.
        for client in 0..16 {
            let query = format!("query of client {client}");
            assert_eq!(ask_udp(&udp_client(address), &query), format!("{query}U"));
            assert_eq!(ask_tcp(&mut tcp_client(address), &query), format!("{query}T"));
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn responders_are_told_who_asks_and_each_worker_has_one() {
    let mut workers = Vec::new();
    let bound = Bound::bind(&localhost(&["127.0.0.1:0", "[::1]:0"]), udp_of(3)).unwrap();
    let server = bound
        .serve(SETTINGS, |worker| {
            workers.push(worker);
            |client: SocketAddr, _, _: &[u8], out: &mut [u8]| {
                let text = client.to_string();
                out[..text.len()].copy_from_slice(text.as_bytes());
                text.len()
            }
        })
        .unwrap();
    assert_eq!(workers, (0..9).collect::<Vec<_>>());
    let udp = udp_client(server.addresses()[1]);
    assert_eq!(ask_udp(&udp, "who am I, please"), udp.local_addr().unwrap().to_string());
    let mut tcp = tcp_client(server.addresses()[0]);
    assert_eq!(ask_tcp(&mut tcp, "who am I, please"), tcp.local_addr().unwrap().to_string());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_silence_and_the_next_is_answered() {
    let server = serve_toy(SETTINGS);
    let address = server.addresses()[0];
    let udp = udp_client(address);
    for count in 1..=3 {
        udp.send(b"!panic for me please").unwrap();
        assert_eq!(ask_udp(&udp, "still there?"), "still there?U");
        assert_eq!(server.faults().panics(), count);
    }
    let mut tcp = tcp_client(address);
    tcp.write_all(&framed("!panic for me please")).unwrap();
    assert_closed(tcp);
    for _ in 0..4 {
        assert_eq!(ask_tcp(&mut tcp_client(address), "still there?"), "still there?T");
    }
    assert_eq!(server.faults().panics(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_that_have_gone_and_empty_packets_end_no_worker() {
    let server = serve_toy(SETTINGS);
    let address = server.addresses()[0];
    let stays = udp_client(address); // its port is none that a reply to those that go may be on its way to
    for _ in 0..50 {
        let gone = udp_client(address);
        gone.send(b"").unwrap();
        gone.send(b"nobody waits for the answer").unwrap();
        drop(gone);
        let mut gone = tcp_client(address);
        gone.write_all(&framed("nobody waits for the answer")).unwrap();
        drop(gone);
    }
    for _ in 0..8 {
        assert_eq!(ask_udp(&stays, "still there?"), "still there?U");
        assert_eq!(ask_tcp(&mut tcp_client(address), "still there?"), "still there?T");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_limit_the_longest_idle_makes_room() {
    let server = serve_toy(TcpSettings { connections: 2, ..SETTINGS });
    let address = server.addresses()[0];
    let (mut first, mut second) = (tcp_client(address), tcp_client(address));
    ask_tcp(&mut first, "the first client");
    ask_tcp(&mut second, "the second client");
    ask_tcp(&mut first, "the first client");
    let mut third = tcp_client(address);
    assert_eq!(ask_tcp(&mut third, "the third client"), "the third clientT");
    assert_closed(second);
    assert_eq!(ask_tcp(&mut first, "the first client"), "the first clientT");
    assert_eq!(server.faults().evicted(), 1);
    drop(third);
    drop(first);
}

#[tokio::test(flavor = "multi_thread")]
async fn ended_connections_free_their_places() {
    let server = serve_toy(TcpSettings { connections: 2, ..SETTINGS });
    let mut stays = tcp_client(server.addresses()[0]);
    for _ in 0..20 {
        ask_tcp(&mut stays, "stays all the time");
        let mut passes = tcp_client(server.addresses()[0]);
        assert_eq!(ask_tcp(&mut passes, "passes by once"), "passes by onceT");
        passes.shutdown(Shutdown::Write).unwrap();
        assert_closed(passes);
    }
    assert_eq!(ask_tcp(&mut stays, "stays all the time"), "stays all the timeT");
}

/// The first query by UDP and by TCP holds its worker until a second has arrived and all shall stop.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn stopping_answers_what_has_arrived() {
    let (entered, leave) = (Arc::new(Barrier::new(2)), Arc::new(Barrier::new(3)));
    let gates = (Arc::clone(&entered), Arc::clone(&leave));
    let bound = Bound::bind(&localhost(&["127.0.0.1:0"]), udp_of(1)).unwrap();
    let server = bound
        .serve(SETTINGS, move |_| {
            let (entered, leave) = gates.clone();
            move |client: SocketAddr, transport, query: &[u8], out: &mut [u8]| {
                if query.starts_with(b"hold") {
                    entered.wait();
                    leave.wait();
                }
                toy(client, transport, query, out)
            }
        })
        .unwrap();
    let address = server.addresses()[0];

    let (udp, mut tcp) = (udp_client(address), tcp_client(address));
    udp.send(b"hold the worker").unwrap();
    entered.wait();
    udp.send(b"this one has arrived").unwrap();
    tcp.write_all(&framed("hold the worker")).unwrap();
    entered.wait();
    tcp.write_all(&framed("this one has arrived")).unwrap();
    // Polled once, it has told all to stop.
    let mut stopping = std::pin::pin!(server.stop());
    tokio::select! {
        biased;
        () = &mut stopping => panic!("it waits for those that are held"),
        () = std::future::ready(()) => {}
    }
    leave.wait();
    stopping.await;
    for answer in ["hold the workerU", "this one has arrivedU"] {
        assert_eq!(receive_udp(&udp), answer);
    }
    for answer in ["hold the workerT", "this one has arrivedT"] {
        assert_eq!(receive_tcp(&mut tcp), answer);
    }
    assert_closed(tcp);
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_stops_as_well() {
    let Serving { udp, mut streams, alive, .. } = serve_toy(SETTINGS);
    drop(alive);
    while let Some(ended) = streams.join_next().await {
        ended.unwrap();
    }
    udp.into_iter().for_each(|thread| thread.join().unwrap());
}
