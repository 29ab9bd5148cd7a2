//! Connections that a proxy brings, on real sockets and on a paused clock.

use std::io::{ErrorKind, Write};

use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use super::sockets::{assert_closed, receive_tcp, tcp_client};
use super::*;
use crate::serve::proxied::client;
use crate::wire::{PROXY_LONGEST, PROXY_SIGNATURE};

/// Answers with the client's address. All of IPv4 loopback are proxies, IPv6 is not.
struct Who;

impl Respond for Who {
    fn respond(&mut self, client: SocketAddr, _: Transport, _: &[u8], out: &mut [u8]) -> usize {
        let text = client.to_string();
        out[..text.len()].copy_from_slice(text.as_bytes());
        text.len()
    }

    fn is_proxy(&mut self, source: IpAddr) -> bool {
        source.is_ipv4()
    }
}

/// 192.0.2.7:4242 asks, with `more` octets of TLVs.
fn header(more: usize) -> Vec<u8> {
    let addresses = [192, 0, 2, 7, 198, 51, 100, 1, 0x10, 0x92, 0, 53];
    let length = ((addresses.len() + more) as u16).to_be_bytes();
    [&PROXY_SIGNATURE[..], &[0x21, 0x11], &length, &addresses, &vec![0; more]].concat()
}

fn local() -> Vec<u8> {
    [&PROXY_SIGNATURE[..], &[0x20, 0, 0, 0]].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_is_who_the_proxy_says() {
    let settings = TcpSettings { client_connections: 1, ..SETTINGS };
    let bound = Bound::bind(&localhost(&["127.0.0.1:0", "[::1]:0"]), udp_of(1)).unwrap();
    let server = bound.serve(settings, |_| Who).unwrap();
    let [v4, v6] = *server.addresses() else { panic!() };
    let (mut proxied, mut own) = (tcp_client(v4), tcp_client(v4));
    let query = framed("who am I, please");
    proxied.write_all(&[header(100), query.clone(), query.clone()].concat()).unwrap();
    own.write_all(&[local(), query.clone()].concat()).unwrap();
    assert_eq!(receive_tcp(&mut own), own.local_addr().unwrap().to_string());
    for _ in 0..2 {
        assert_eq!(receive_tcp(&mut proxied), "192.0.2.7:4242", "a proxy is under no limit of one client");
    }
    let mut without = tcp_client(v4);
    without.write_all(&query).unwrap();
    assert_closed(without);
    // From others a header is never read: it is no query.
    let mut liar = tcp_client(v6);
    liar.write_all(&[query.clone(), header(0)].concat()).unwrap();
    assert_eq!(receive_tcp(&mut liar), liar.local_addr().unwrap().to_string());
    server.stop().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_than_the_header_is_read_and_no_longer_waited() {
    let proxy: SocketAddr = "192.0.2.99:99".parse().unwrap();
    let (mut ours, mut theirs) = duplex(10_000);
    ours.write_all(&[header(0), b"the rest".to_vec()].concat()).await.unwrap();
    assert_eq!(client(&mut theirs, proxy).await.unwrap(), "192.0.2.7:4242".parse().unwrap());
    ours.write_all(&local()).await.unwrap();
    let mut rest = [0; 8];
    theirs.read_exact(&mut rest).await.unwrap();
    assert_eq!((&rest, client(&mut theirs, proxy).await.unwrap()), (b"the rest", proxy));

    for (octets, expected) in [
        (header(PROXY_LONGEST), ErrorKind::InvalidData),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), ErrorKind::InvalidData),
        (header(0)[..27].to_vec(), ErrorKind::TimedOut),
    ] {
        let (mut ours, mut theirs) = duplex(10_000);
        ours.write_all(&octets).await.unwrap();
        assert_eq!(client(&mut theirs, proxy).await.unwrap_err().kind(), expected);
    }
}
