//! Packets that troubled other parsers, sent to a running server: silence or an error that fits,
//! and a good answer to the next client.
#![allow(clippy::unwrap_used)]

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, Query};
use hickory_proto::rr::{Name, RecordType};
use meridian::serve::{Bound, Serving, TcpSettings, Transport};
use meridian::wire::{Ending, Rcode, Rejection, Writer, parse};

/// A server that refuses every good query.
fn start_server() -> Serving {
    let bound = Bound::bind(&["127.0.0.1:0".parse().unwrap()], 1).unwrap();
    let settings = TcpSettings { connections: 10, idle: Duration::from_secs(60) };
    bound.serve(settings, |_| refuse).unwrap()
}

fn refuse(_: SocketAddr, transport: Transport, packet: &[u8], out: &mut [u8]) -> usize {
    match parse(packet) {
        Err(Rejection::Silence) => 0,
        Err(Rejection::Reply(rejected)) => rejected.write(out),
        Ok(query) => {
            let limit = if transport == Transport::Udp { query.udp_limit(1232) } else { out.len() };
            Writer::reply(&query, out, limit).finish(Ending { rcode: Rcode::REFUSED, ..Ending::default() })
        }
    }
}

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
    let server = start_server();
    let address = server.addresses()[0];
    for (path, packet) in packets {
        send_udp(address, &packet);
        send_tcp(address, &packet);
        assert_eq!(server.faults().panics(), 0, "{}", path.display());
    }
    ask_tcp(address);
    server.stop().await;
}

/// Octets; TCP alone gets what is longer.
const LONGEST_DATAGRAM: usize = 65_507;

/// Sends the packet, then a good query on the same socket: what comes before its answer is the
/// packet's reply.
fn send_udp(address: SocketAddr, packet: &[u8]) {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    socket.connect(address).unwrap();
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
            return check_good(&reply[..length]);
        }
        check_reply(packet, &reply[..length]);
    }
}

fn send_tcp(address: SocketAddr, packet: &[u8]) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(&(packet.len() as u16).to_be_bytes()).unwrap();
    stream.write_all(packet).unwrap();
    // The server may have closed already.
    let _ = stream.shutdown(Shutdown::Write);
    match read_framed(&mut stream) {
        Ok(reply) => check_reply(packet, &reply),
        Err(error) => {
            assert!(matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset), "{error}");
            assert!(is_silent(packet), "no answer to {packet:?}");
        }
    }
}

fn ask_tcp(address: SocketAddr) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let good = good_query(7);
    stream.write_all(&[&(good.len() as u16).to_be_bytes()[..], &good].concat()).unwrap();
    check_good(&read_framed(&mut stream).unwrap());
}

fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut reply = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut reply)?;
    Ok(reply)
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
    let mut message = Message::query();
    message.metadata.id = id;
    message.add_query(Query::query(Name::from_ascii("www.shop.example.").unwrap(), RecordType::A));
    message.to_vec().unwrap()
}

/// What this server says to a good query.
fn check_good(reply: &[u8]) {
    let message = Message::from_vec(reply).unwrap();
    assert_eq!(u16::from(message.metadata.response_code), Rcode::REFUSED.0);
    assert_eq!(message.queries[0].name().to_string(), "www.shop.example.");
}
