//! Who makes room at the limits of connections, on real sockets.

use std::io::{Read, Write};
use std::net::TcpStream;

use socket2::{Domain, Socket, Type};

use super::sockets::{PATIENCE, ask_tcp, assert_closed, tcp_client};
use super::*;

/// A client with an address of its own.
fn client_from(source: &str, server: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&format!("{source}:0").parse::<SocketAddr>().unwrap().into()).unwrap();
    socket.set_read_timeout(PATIENCE).unwrap();
    socket.connect(&server.into()).unwrap();
    socket.into()
}

#[track_caller]
fn assert_answered(stream: &mut TcpStream) {
    assert_eq!(ask_tcp(stream, "still there?"), "still there?T");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_at_its_limit_makes_room_for_itself() {
    let server = serve_toy(TcpSettings { client_connections: 2, ..SETTINGS });
    let address = server.addresses()[0];
    let mut others = client_from("127.0.0.2", address);
    assert_answered(&mut others);
    let mut own: Vec<_> = (0..3).map(|_| client_from("127.0.0.3", address)).collect();
    own[1..].iter_mut().for_each(assert_answered);
    assert_closed(own.remove(0));
    assert_answered(&mut others);
    own.iter_mut().for_each(assert_answered);
    assert_eq!((server.faults().client_evicted(), server.faults().evicted()), (1, 0));
    // An ended connection counts no more.
    for _ in 0..5 {
        drop(own.pop());
        while own.len() < 2 {
            own.push(client_from("127.0.0.3", address));
            assert_answered(own.last_mut().unwrap());
        }
    }
    assert_answered(&mut others);
}

#[tokio::test(flavor = "multi_thread")]
async fn those_that_have_not_asked_make_room_first() {
    let server = serve_toy(TcpSettings { connections: 3, ..SETTINGS });
    let address = server.addresses()[0];
    let mut longest_idle = tcp_client(address);
    assert_answered(&mut longest_idle);
    let mut half_open = tcp_client(address);
    half_open.write_all(&framed("half a query")[..5]).unwrap();
    let (mut third, mut fourth) = (tcp_client(address), tcp_client(address));
    assert_answered(&mut third);
    assert_answered(&mut fourth);
    assert_closed(half_open);
    assert_answered(&mut longest_idle);
    assert_eq!(server.faults().evicted(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_that_never_ask_keep_nobody_out() {
    let server = serve_toy(TcpSettings { connections: 50, client_connections: 40, ..SETTINGS });
    let address = server.addresses()[0];
    let mut stays = client_from("127.0.0.9", address);
    assert_answered(&mut stays);
    let slow: Vec<_> = (0..300)
        .map(|index| {
            let mut stream = client_from(&format!("127.0.1.{}", index % 10 + 1), address);
            let _ = stream.write_all(&[0]); // it may have made room already
            stream
        })
        .collect();
    assert_answered(&mut stays);
    assert_answered(&mut client_from("127.0.0.10", address));
    assert!(server.faults().evicted() >= 250, "{}", server.faults().evicted());
    drop(slow);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_too_much_waits_and_nobody_else() {
    let server = serve_toy(TcpSettings { client_queries: 100, ..SETTINGS });
    let address = server.addresses()[0];
    // All at once are ten seconds' worth.
    let mut greedy = client_from("127.0.0.11", address);
    greedy.write_all(&framed("a query of its own").repeat(1000)).unwrap();
    (0..5).for_each(|_| assert_answered_next(&mut greedy));
    while server.faults().paused() == 0 {
        tokio::task::yield_now().await;
    }
    greedy.write_all(&framed("one more")).unwrap();
    let mut modest = client_from("127.0.0.12", address);
    (0..5).for_each(|_| assert_answered(&mut modest));
    assert_eq!(server.faults().paused(), 1);
    // Nor does its wait hold up the end.
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connection_pays_no_debts() {
    let server = serve_toy(TcpSettings { client_connections: 1, client_queries: 100, ..SETTINGS });
    for count in 1..=3 {
        let mut greedy = client_from("127.0.0.13", server.addresses()[0]);
        greedy.write_all(&framed("a query of its own").repeat(1000)).unwrap();
        assert_answered_next(&mut greedy);
        while server.faults().paused() < count {
            tokio::task::yield_now().await;
        }
    }
    // The last of them made room for one that has asked for less than is free at once.
    let mut modest = client_from("127.0.0.13", server.addresses()[0]);
    assert_answered(&mut modest);
    while server.faults().paused() < 4 {
        tokio::task::yield_now().await;
    }
    server.stop().await;
}

#[track_caller]
fn assert_answered_next(stream: &mut TcpStream) {
    let mut length = [0; 2];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, b"a query of its ownT");
}
