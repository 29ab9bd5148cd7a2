//! One question to one server.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use hickory_proto::op::{Edns, Message, MessageType, Query};
use hickory_proto::rr::{self, RecordType};
use hickory_proto::serialize::binary::BinDecodable as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::model::Name;

/// Datagrams sent for one question, and how long each is waited for.
const ATTEMPTS: u32 = 2;
const PATIENCE: Duration = Duration::from_secs(2);
/// For all of an exchange by TCP.
const TCP_PATIENCE: Duration = Duration::from_secs(5);
/// Octets of a reply by UDP that are taken.
const UDP_SIZE: u16 = 1232;

/// No reply came.
#[derive(Debug)]
pub(super) struct Silence {
    /// In words.
    pub(super) why: String,
    /// No way leads there from this machine (it may have no IPv6): that says nothing of the server.
    pub(super) is_ours: bool,
}

impl From<io::Error> for Silence {
    fn from(error: io::Error) -> Self {
        use io::ErrorKind::{AddrNotAvailable, HostUnreachable, NetworkUnreachable, Unsupported};
        let is_ours = matches!(error.kind(), AddrNotAvailable | HostUnreachable | NetworkUnreachable | Unsupported);
        Self { why: error.to_string(), is_ours }
    }
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)
    }
}

/// Asks without recursion, by UDP, and by TCP where the reply is cut short.
pub(super) async fn ask(server: SocketAddr, name: &Name, rtype: RecordType) -> Result<Message, Silence> {
    let mut query = Message::query();
    query.metadata.recursion_desired = false;
    let name = rr::Name::from_bytes(name.as_wire()).map_err(io::Error::other)?;
    query.add_query(Query::query(name, rtype));
    query.edns.get_or_insert_with(Edns::new).set_max_payload(UDP_SIZE);
    let octets = query.to_vec().map_err(io::Error::other)?;
    for _ in 0..ATTEMPTS {
        match timeout(PATIENCE, by_udp(server, &query, &octets)).await {
            Ok(Ok(reply)) if reply.metadata.truncation => {
                let reply = timeout(TCP_PATIENCE, by_tcp(server, &query, &octets)).await;
                let reply = reply.unwrap_or_else(|late| Err(io::Error::other(late)));
                return reply.map_err(|error| Silence { why: format!("by TCP: {error}"), is_ours: false });
            }
            Ok(reply) => return Ok(reply?),
            Err(_late) => {}
        }
    }
    Err(Silence { why: format!("no answer in {} s", (PATIENCE * ATTEMPTS).as_secs()), is_ours: false })
}

/// Waits for as long as it is let for the reply; what is none is passed over: anybody may send it.
async fn by_udp(server: SocketAddr, query: &Message, octets: &[u8]) -> io::Result<Message> {
    let any = if server.is_ipv4() { IpAddr::V4(Ipv4Addr::UNSPECIFIED) } else { IpAddr::V6(Ipv6Addr::UNSPECIFIED) };
    let socket = UdpSocket::bind((any, 0)).await?;
    socket.connect(server).await?;
    socket.send(octets).await?;
    let mut buffer = [0; UDP_SIZE as usize];
    loop {
        let length = socket.recv(&mut buffer).await?;
        if let Some(reply) = read(query, &buffer[..length]) {
            return Ok(reply);
        }
    }
}

async fn by_tcp(server: SocketAddr, query: &Message, octets: &[u8]) -> io::Result<Message> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(octets.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), octets].concat()).await?;
    let length = stream.read_u16().await?;
    let mut buffer = vec![0; length.into()];
    stream.read_exact(&mut buffer).await?;
    read(query, &buffer).ok_or_else(|| io::Error::other("what came is no reply"))
}

/// The reply to that query, if it is one.
fn read(query: &Message, octets: &[u8]) -> Option<Message> {
    let reply = Message::from_vec(octets).ok()?;
    let is_reply = reply.metadata.message_type == MessageType::Response
        && reply.metadata.id == query.metadata.id
        && reply.queries == query.queries;
    is_reply.then_some(reply)
}
