use std::net::{TcpListener, UdpSocket};

use socket2::{Domain, Socket, Type};

use super::*;

#[test]
fn port_0_is_one_port_for_udp_and_tcp() {
    let bound = Bound::bind(&localhost(&["127.0.0.1:0", "[::1]:0"]), 3).unwrap();
    let addresses = bound.addresses();
    assert_eq!((addresses.len(), bound.udp.len()), (2, 6));
    for (index, socket) in bound.udp.iter().enumerate() {
        assert_eq!(socket.local_addr().unwrap(), addresses[index / 3]);
    }
}

#[test]
fn both_families_may_have_one_port() {
    let v4 = Bound::bind(&localhost(&["127.0.0.1:0"]), 1).unwrap();
    let port = v4.addresses()[0].port();
    // Some other process may have it on IPv6; then there is nothing to see.
    match Bound::bind(&localhost(&[&format!("[::]:{port}")]), 1) {
        Ok(any_v6) => assert!(any_v6.addresses()[0].is_ipv6()),
        Err(error) => assert!(TcpListener::bind(("::1", port)).is_err(), "{error}"),
    }
}

#[track_caller]
fn assert_in_use(address: SocketAddr, transport: Transport, words: &str) {
    let error = Bound::bind(&[address], 1).unwrap_err();
    assert_eq!((error.address, error.transport), (address, transport));
    let text = error.to_string();
    assert!(text.contains(&address.to_string()) && text.contains(words) && text.contains("[server] listen"), "{text}");
}

#[test]
fn an_address_in_use_is_named() {
    let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
    assert_in_use(tcp.local_addr().unwrap(), Transport::Tcp, "(TCP): another server holds it");
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    assert_in_use(udp.local_addr().unwrap(), Transport::Udp, "(UDP): another server holds it");
    let ours = Bound::bind(&localhost(&["127.0.0.1:0"]), 2).unwrap();
    assert_in_use(ours.addresses()[0], Transport::Tcp, "another server holds it");
}

#[test]
fn a_stranger_that_shares_its_port_is_found() {
    let stranger = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    stranger.set_reuse_port(true).unwrap();
    stranger.bind(&localhost(&["127.0.0.1:0"])[0].into()).unwrap();
    let address = stranger.local_addr().unwrap().as_socket().unwrap();
    assert_in_use(address, Transport::Udp, "another server holds it");
}

#[test]
fn other_reasons_are_named_too() {
    let error = Bound::bind(&localhost(&["192.0.2.1:0"]), 1).unwrap_err();
    assert!(error.to_string().contains("no interface of this machine has this address"), "{error}");
    let mdns = BindError {
        address: "127.0.0.1:5353".parse().unwrap(),
        transport: Transport::Udp,
        source: std::io::ErrorKind::AddrInUse.into(),
    };
    assert_eq!(
        mdns.to_string(),
        "cannot listen on 127.0.0.1:5353 (UDP): another server (5353 is mDNS's port: often avahi-daemon) holds it; \
         change [server] listen, or stop that server"
    );
}
