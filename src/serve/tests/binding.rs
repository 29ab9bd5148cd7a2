use std::net::{TcpListener, UdpSocket};

use socket2::{Domain, Socket, Type};

use super::*;

#[test]
fn port_0_is_one_port_for_udp_and_tcp() {
    let bound = Bound::bind(&localhost(&["127.0.0.1:0", "[::1]:0"]), udp_of(3)).unwrap();
    let addresses = bound.addresses();
    assert_eq!((addresses.len(), bound.udp.len()), (2, 6));
    for (index, socket) in bound.udp.iter().enumerate() {
        assert_eq!(socket.local_addr().unwrap(), addresses[index / 3]);
    }
}

#[test]
fn both_families_may_have_one_port() {
    let v4 = Bound::bind(&localhost(&["127.0.0.1:0"]), udp_of(1)).unwrap();
    let port = v4.addresses()[0].port();
    // Some other process may have it on IPv6; then there is nothing to see.
    match Bound::bind(&localhost(&[&format!("[::]:{port}")]), udp_of(1)) {
        Ok(any_v6) => assert!(any_v6.addresses()[0].is_ipv6()),
        Err(error) => assert!(TcpListener::bind(("::1", port)).is_err(), "{error}"),
    }
}

#[track_caller]
fn assert_in_use(address: SocketAddr, transport: Transport, words: &str) {
    let error = Bound::bind(&[address], udp_of(1)).unwrap_err();
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
    let ours = Bound::bind(&localhost(&["127.0.0.1:0"]), udp_of(2)).unwrap();
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
fn an_address_that_no_interface_has_yet_is_bound_and_told() {
    let listen = localhost(&["127.0.0.1:0", "192.0.2.123:0", "[2001:db8::123]:0"]);
    let bound = Bound::bind(&listen, udp_of(2)).unwrap();
    assert_eq!(bound.absent(), &listen[1..]);
    for (address, wanted) in bound.addresses().iter().zip(&listen) {
        assert_eq!(address.ip(), wanted.ip());
    }
}

#[test]
fn receive_buffers_are_as_large_as_told() {
    let granted = |octets| {
        let settings = UdpSettings { receive_buffer: octets, ..udp_of(2) };
        Bound::bind(&localhost(&["127.0.0.1:0"]), settings).unwrap().receive_buffer().unwrap()
    };
    assert_eq!(granted(100_000), 100_000, "below the limit of every system");
    // Only root gets more than the limit; how much less another one gets is told as well.
    assert!((100_000..=1_000_000_000).contains(&granted(1_000_000_000)));
}

#[test]
fn listeners_take_queries_with_the_syn_and_bound_what_the_kernel_holds() {
    let bound = Bound::bind(&localhost(&["127.0.0.1:0"]), udp_of(1)).unwrap();
    let listener = &bound.tcp[0];
    if let Ok([queue]) = socket::option(listener, libc::IPPROTO_TCP, libc::TCP_FASTOPEN) {
        assert_eq!(queue, 256);
    }
    let of = |option| socket::option::<1>(listener, libc::SOL_SOCKET, option).unwrap();
    // The kernel doubles what it is asked for.
    assert_eq!((of(libc::SO_SNDBUF), of(libc::SO_RCVBUF)), ([256 << 10], [128 << 10]));
}

#[test]
fn replies_are_never_cut_to_a_path_that_somebody_claims() {
    let bound = Bound::bind(&localhost(&["127.0.0.1:0", "[::1]:0"]), udp_of(1)).unwrap();
    let [v4, v6] = &bound.udp[..] else { panic!("{bound:?}") };
    let v4: [u32; 1] = socket::option(v4, libc::IPPROTO_IP, libc::IP_MTU_DISCOVER).unwrap();
    let v6: [u32; 1] = socket::option(v6, libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER).unwrap();
    assert_eq!((v4, v6), ([libc::IP_PMTUDISC_OMIT as u32], [libc::IPV6_PMTUDISC_OMIT as u32]));
}

#[test]
fn other_reasons_are_named_too() {
    let of = |address: &str, source: std::io::ErrorKind| {
        let address = address.parse().unwrap();
        BindError { address, transport: Transport::Udp, source: source.into() }.to_string()
    };
    let absent = of("192.0.2.1:53", std::io::ErrorKind::AddrNotAvailable);
    assert!(absent.contains("no interface of this machine has this address"), "{absent}");
    assert_eq!(
        of("127.0.0.1:5353", std::io::ErrorKind::AddrInUse),
        "cannot listen on 127.0.0.1:5353 (UDP): another server (5353 is mDNS's port: often avahi-daemon) holds it; \
         change [server] listen, or stop that server"
    );
}
