//! `dns` probes: one question, by UDP, and by TCP where the reply is cut short.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use hickory_proto::op::{Edns, Message, MessageType, Query, ResponseCode};
use hickory_proto::rr::{self, RData};
use hickory_proto::serialize::binary::BinDecodable as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UdpSocket};

use super::attempt::{Attempt, Failed, Found, Unfit, bounded, classify};
use crate::config::Dns;
use crate::health::Cause;

/// Octets of a reply by UDP that are taken.
const UDP_SIZE: u16 = 1232;

/// Asks a name server.
pub(super) struct DnsClient {
    target: SocketAddr,
    query: Query,
    expect: Vec<String>,
}

impl DnsClient {
    /// # Errors
    /// Why the settings make no question.
    pub(super) fn new(target: SocketAddr, dns: &Dns) -> Result<Self, Unfit> {
        let name = rr::Name::from_bytes(dns.name.as_wire()).map_err(|error| Unfit::Settings(error.to_string()))?;
        Ok(Self { target, query: Query::query(name, dns.record), expect: dns.expect.clone() })
    }

    async fn ask(&self) -> Result<Message, Failed> {
        // Its id is random, and the source port the kernel's, so that nobody answers unasked.
        let mut query = Message::query();
        query.metadata.recursion_desired = true;
        query.add_query(self.query.clone());
        query.edns.get_or_insert_with(Edns::new).set_max_payload(UDP_SIZE);
        let octets = query.to_vec().map_err(|error| classify(&error))?;
        let reply = self.by_udp(&query, &octets).await?;
        if reply.metadata.truncation { self.by_tcp(&query, &octets).await } else { Ok(reply) }
    }

    /// Waits until it is stopped; what is no reply is passed over: anybody may send it.
    async fn by_udp(&self, query: &Message, octets: &[u8]) -> Result<Message, Failed> {
        let any: IpAddr =
            if self.target.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
        let socket = UdpSocket::bind((any, 0)).await.map_err(|error| classify(&error))?;
        socket.connect(self.target).await.map_err(|error| classify(&error))?;
        socket.send(octets).await.map_err(|error| classify(&error))?;
        let mut buffer = [0; UDP_SIZE as usize];
        loop {
            let length = socket.recv(&mut buffer).await.map_err(|error| classify(&error))?;
            if let Some(reply) = read(query, &buffer[..length]) {
                return Ok(reply);
            }
        }
    }

    async fn by_tcp(&self, query: &Message, octets: &[u8]) -> Result<Message, Failed> {
        let mut stream = TcpStream::connect(self.target).await.map_err(|error| classify(&error))?;
        let length = u16::try_from(octets.len()).expect("a question is short");
        let framed = [&length.to_be_bytes(), octets].concat();
        stream.write_all(&framed).await.map_err(|error| classify(&error))?;
        let length = stream.read_u16().await.map_err(|error| classify(&error))?;
        let mut buffer = vec![0; length.into()];
        stream.read_exact(&mut buffer).await.map_err(|error| classify(&error))?;
        read(query, &buffer).ok_or_else(|| wrong("what came by TCP is no reply".to_owned()))
    }
}

impl Attempt for DnsClient {
    async fn attempt(&self) -> Result<Found, Failed> {
        let reply = self.ask().await?;
        let code = reply.metadata.response_code;
        if code != ResponseCode::NoError {
            return Err(wrong(format!("the response code is {code}")));
        }
        let record_type = self.query.query_type();
        let data = || reply.answers.iter().map(|record| &record.data).filter(|data| data.record_type() == record_type);
        if data().next().is_none() {
            return Err(wrong(format!("the answer has no {record_type} record")));
        }
        match self.expect.iter().find(|text| !data().any(|data| says(data, text))) {
            Some(lacking) => Err(wrong(format!("the answer lacks {lacking}"))),
            None => Ok(Found::Good),
        }
    }
}

fn wrong(text: String) -> Failed {
    Failed::There(Cause::Protocol(bounded(&text)))
}

/// The reply to that query, if it is one.
fn read(query: &Message, octets: &[u8]) -> Option<Message> {
    let reply = Message::from_vec(octets).ok()?;
    let is_reply = reply.metadata.message_type == MessageType::Response
        && reply.metadata.id == query.metadata.id
        && reply.queries == query.queries;
    is_reply.then_some(reply)
}

/// Is the record's data this text, as master files have it? Names with or without the last dot.
fn says(data: &RData, text: &str) -> bool {
    match data {
        RData::A(v4) => text.parse() == Ok(v4.0),
        RData::AAAA(v6) => text.parse() == Ok(v6.0),
        RData::TXT(txt) => txt.txt_data.concat() == text.as_bytes(),
        other => other.to_string().trim_end_matches('.').eq_ignore_ascii_case(text.trim_end_matches('.')),
    }
}
