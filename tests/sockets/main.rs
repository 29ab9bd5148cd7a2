//! The whole server over real sockets: UDP and TCP, IPv4 and IPv6, good packets and bad ones.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../support/dns.rs"]
mod dns;
mod malformed;

use std::io::{self, Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::Duration;

use dns::{Ask, Reply};
use meridian::cli::serve::Running;
use meridian::control::Options;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Longer than any answer takes: a test that waits for it has failed.
const LONG: Duration = Duration::from_secs(60);

const CONFIG: &str = r#"
    [server]
    listen = ["127.0.0.1:0", "[::1]:0"]
    workers = 1

    [admin]
    listen = "127.0.0.1:0"

    [geoip]
    databases = []

    [[endpoints]]
    name = "one"
    cloud = "aws"
    region = "us-east-1"
    addresses = ["198.51.100.1", "2001:db8::1"]

    [[zones]]
    name = "shop.example"
    file = "shop.zone"

    [[services]]
    name = "www.shop.example"
    endpoints = ["one"]
"#;

const ZONE: &str = "
$TTL 3600
@       SOA     ns1 hostmaster 7 7200 900 1209600 300
        NS      ns1
ns1     A       192.0.2.53
";

/// A running server on ports of its own, in a folder of its own.
pub(crate) struct Server {
    addresses: Vec<SocketAddr>,
    shutdown: oneshot::Sender<()>,
    task: JoinHandle<()>,
    _folder: tempfile::TempDir,
}

impl Server {
    /// Ready: steered names are answered.
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let big: String = (0..8).map(|n| format!("big TXT \"{n}{}\"\n", "0123456789".repeat(19))).collect();
        std::fs::write(folder.path().join("config.toml"), CONFIG).unwrap();
        std::fs::write(folder.path().join("shop.zone"), format!("{ZONE}{big}")).unwrap();
        let options = Options { config: folder.path().join("config.toml"), strict: true };
        let running = Running::start(options).await.unwrap_or_else(|error| panic!("{error:?}"));
        let (addresses, shared) = (running.addresses().to_vec(), running.shared());
        let (shutdown, ends) = oneshot::channel();
        let task = tokio::spawn(running.run(async {
            let _ = ends.await;
        }));
        while !shared.published.load().steering {
            tokio::task::yield_now().await;
        }
        Self { addresses, shutdown, task, _folder: folder }
    }

    pub(crate) fn addresses(&self) -> &[SocketAddr] {
        &self.addresses
    }

    pub(crate) async fn stop(self) {
        self.shutdown.send(()).unwrap();
        self.task.await.unwrap();
    }
}

pub(crate) fn udp_to(server: SocketAddr) -> UdpSocket {
    let any: IpAddr = if server.is_ipv4() { [127, 0, 0, 1].into() } else { "::1".parse().unwrap() };
    let socket = UdpSocket::bind((any, 0)).unwrap();
    socket.set_read_timeout(Some(LONG)).unwrap();
    socket.connect(server).unwrap();
    socket
}

pub(crate) fn tcp_to(server: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(server).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    stream
}

pub(crate) fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes()[..], message].concat()
}

pub(crate) fn read_framed(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut reply = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut reply)?;
    Ok(reply)
}

fn ask_udp(socket: &UdpSocket, ask: &Ask) -> Reply {
    let query = ask.octets();
    socket.send(&query).unwrap();
    let mut reply = [0; 65_535];
    let length = socket.recv(&mut reply).unwrap();
    Reply::read(&query, &reply[..length])
}

fn question(id: u16, name: &str, rtype: &str) -> Ask {
    let mut ask = Ask::new(name, rtype);
    ask.message.metadata.id = id;
    ask
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_answers_by_udp_and_tcp_on_ipv4_and_ipv6() {
    let server = Server::start().await;
    let families: Vec<bool> = server.addresses().iter().map(SocketAddr::is_ipv4).collect();
    assert_eq!(families, [true, false]);
    for &address in server.addresses() {
        let udp = udp_to(address);
        let mut tcp = tcp_to(address);
        for (name, rtype, expected) in [
            ("wWw.shop.example", "A", "NOERROR aa\nAN wWw.shop.example. 20 IN A 198.51.100.1"),
            ("www.shop.example", "AAAA", "NOERROR aa\nAN www.shop.example. 20 IN AAAA 2001:db8::1"),
            ("ns1.shop.example", "A", "NOERROR aa\nAN ns1.shop.example. 3600 IN A 192.0.2.53"),
            ("elsewhere.test", "A", "REFUSED"),
        ] {
            let ask = question(7, name, rtype);
            assert_eq!(ask_udp(&udp, &ask).to_string(), expected);
            tcp.write_all(&framed(&ask.octets())).unwrap();
            assert_eq!(Reply::read(&ask.octets(), &read_framed(&mut tcp).unwrap()).to_string(), expected);
        }
    }
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn several_queries_in_one_segment_are_answered_in_order() {
    let server = Server::start().await;
    for &address in server.addresses() {
        let asks = [
            question(1, "www.shop.example", "A"),
            question(2, "big.shop.example", "TXT").edns(1232),
            question(3, "nowhere.shop.example", "A"),
            question(4, "www.shop.example", "AAAA").subnet("203.0.113.0/24"),
        ];
        let all: Vec<u8> = asks.iter().flat_map(|ask| framed(&ask.octets())).collect();
        let mut tcp = tcp_to(address);
        // RFC 7766 §6.2.1.1, and the last query's end only once the others are answered.
        let (first, last) = all.split_at(all.len() - 5);
        tcp.write_all(first).unwrap();
        let mut replies = Vec::new();
        for ask in &asks[..3] {
            replies.push(Reply::read(&ask.octets(), &read_framed(&mut tcp).unwrap()));
        }
        tcp.write_all(last).unwrap();
        replies.push(Reply::read(&asks[3].octets(), &read_framed(&mut tcp).unwrap()));
        let rcodes: Vec<_> = replies.iter().map(|reply| (reply.rcode(), reply.message.answers.len())).collect();
        assert_eq!(rcodes, [("NOERROR", 1), ("NOERROR", 8), ("NXDOMAIN", 0), ("NOERROR", 1)]);
        assert_eq!(replies[3].scope(), Some(0), "without databases all are alike");
        // What is whole here is truncated in a datagram.
        let cut = ask_udp(&udp_to(address), &asks[1]);
        assert!(cut.message.metadata.truncation && cut.message.answers.is_empty() && cut.length <= 1232);
    }
    server.stop().await;
}
