//! Packets that troubled other parsers, sent to a running server: silence or an error that fits,
//! and a good answer to the next client.

use std::io::{ErrorKind, Write};
use std::net::{Shutdown, SocketAddr};
use std::path::{Path, PathBuf};

use hickory_proto::op::{Message, MessageType};

use crate::dns::Reply;
use crate::{Server, framed, question, read_framed, tcp_to, udp_to};

/// Every file in `folder` whose name ends so, in order; none: it is not there.
fn packets(folder: &Path, ending: &str) -> Option<Vec<(PathBuf, Vec<u8>)>> {
    let entries = std::fs::read_dir(folder).ok()?;
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.is_file() && path.to_string_lossy().ends_with(ending));
    paths.sort();
    Some(paths.into_iter().map(|path| (path.clone(), std::fs::read(path).unwrap())).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shared_corpus() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = std::env::var_os("MERIDIAN_SHARED").map_or(root.join("../shared"), PathBuf::from);
    let folder = shared.join("data/conformance/malformed");
    match packets(&folder, ".pkt") {
        Some(packets) => {
            assert!(packets.len() >= 300, "{} packets", packets.len());
            survive(packets).await;
        }
        None => println!("SKIPPED: no {} here; set MERIDIAN_SHARED", folder.display()),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn our_own_seeds() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/wire");
    let packets = packets(&folder, "").unwrap();
    assert!(packets.len() >= 12);
    survive(packets).await;
}

async fn survive(packets: Vec<(PathBuf, Vec<u8>)>) {
    let server = Server::start().await;
    let address = server.addresses()[0];
    for (path, packet) in packets {
        send_udp(address, &packet);
        send_tcp(address, &packet, &path);
    }
    ask_tcp(address);
    server.stop().await;
}

/// Octets; TCP alone gets what is longer.
const LONGEST_DATAGRAM: usize = 65_507;

/// Sends the packet, then a good query on the same socket: what comes before its answer is the
/// packet's reply.
fn send_udp(address: SocketAddr, packet: &[u8]) {
    let socket = udp_to(address);
    if packet.len() <= LONGEST_DATAGRAM {
        socket.send(packet).unwrap();
    }
    // The id differs from the packet's, so that the two replies cannot be taken for each other.
    let good = good_query(!id_of(packet));
    socket.send(&good).unwrap();
    let mut reply = [0; 65_535];
    loop {
        let length = socket.recv(&mut reply).unwrap();
        if reply[..2] == good[..2] {
            return check_good(&good, &reply[..length]);
        }
        check_reply(packet, &reply[..length]);
    }
}

/// A panic would be silence, which is told from an answer here: one function answers both transports.
fn send_tcp(address: SocketAddr, packet: &[u8], path: &Path) {
    let mut stream = tcp_to(address);
    stream.write_all(&framed(packet)).unwrap();
    // The server may have closed already.
    let _ = stream.shutdown(Shutdown::Write);
    match read_framed(&mut stream) {
        Ok(reply) => check_reply(packet, &reply),
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{error}");
            assert!(is_silent(packet), "no answer to {}", path.display());
        }
    }
}

fn ask_tcp(address: SocketAddr) {
    let mut stream = tcp_to(address);
    let good = good_query(7);
    stream.write_all(&framed(&good)).unwrap();
    check_good(&good, &read_framed(&mut stream).unwrap());
}

/// Shorter than a header, or a response: what no server answers.
fn is_silent(packet: &[u8]) -> bool {
    packet.len() < 12 || packet[2] & 0x80 != 0
}

fn id_of(packet: &[u8]) -> u16 {
    packet.first_chunk().map_or(0, |id| u16::from_be_bytes(*id))
}

fn check_reply(packet: &[u8], reply: &[u8]) {
    assert!(!is_silent(packet), "an answer to {packet:?}");
    let mut reply = reply.to_vec();
    // hickory refuses a client subnet of family 0, which is echoed where source is 0.
    if let Some(at) = reply.windows(8).rposition(|octets| octets == [0, 8, 0, 4, 0, 0, 0, 0]) {
        reply[at + 5] = 1;
    }
    let message = Message::from_vec(&reply).unwrap_or_else(|error| panic!("{error}: {reply:?} to {packet:?}"));
    assert_eq!(message.metadata.message_type, MessageType::Response);
    assert_eq!(message.metadata.id, id_of(packet));
}

fn good_query(id: u16) -> Vec<u8> {
    question(id, "www.shop.example", "A").octets()
}

fn check_good(query: &[u8], reply: &[u8]) {
    let reply = Reply::read(query, reply).to_string();
    assert_eq!(reply, "NOERROR aa\nAN www.shop.example. 20 IN A 198.51.100.1");
}

/// A good query whose padding (RFC 7830) makes it `length` octets long.
fn padded(length: usize) -> Vec<u8> {
    let mut packet = good_query(7);
    packet[11] = 1;
    let padding = length - packet.len() - 11 - 4;
    packet.extend([0, 0, 41, 4, 208, 0, 0, 0, 0]);
    for number in [4 + padding, 12, padding] {
        packet.extend((number as u16).to_be_bytes());
    }
    packet.resize(length, 0);
    packet
}

/// A datagram has room for 2,048 octets, over which the cut one is no whole message.
#[tokio::test(flavor = "multi_thread")]
async fn a_datagram_that_is_too_long_is_malformed() {
    let server = Server::start().await;
    for &address in server.addresses() {
        for (length, expected) in [(2048, "NOERROR"), (2049, "FORMERR"), (60_000, "FORMERR")] {
            let (query, socket, mut reply) = (padded(length), udp_to(address), [0; 4096]);
            socket.send(&query).unwrap();
            let received = socket.recv(&mut reply).unwrap();
            let seen = &query[..length.min(2048)];
            assert_eq!(Reply::read(seen, &reply[..received]).rcode(), expected, "{length} octets by UDP");
            let mut stream = tcp_to(address);
            stream.write_all(&framed(&query)).unwrap();
            let whole = read_framed(&mut stream).unwrap();
            assert_eq!(Reply::read(&query, &whole).rcode(), "NOERROR", "{length} octets by TCP");
        }
    }
    server.stop().await;
}
