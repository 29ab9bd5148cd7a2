//! `dns`: a name server that answers well, badly, in too many octets, or lets others answer first.

use std::net::SocketAddr;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType, rdata};
use meridian::config::{Dns, Probe, ProbeKind};
use meridian::health::Cause;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, UdpSocket};

use crate::support::{closed_port, outcome_of, probe};

#[derive(Clone, Copy)]
enum Server {
    Good,
    Refuses,
    /// No record of the type.
    Empty,
    /// By UDP the whole answer does not fit.
    Cut,
    /// First come a wrong id, another question, a query and garbage.
    Forged,
    /// Only garbage.
    Garbage,
}

fn reply(query: &[u8], server: Server) -> Message {
    let query = Message::from_vec(query).unwrap();
    let mut reply = query.clone();
    reply.metadata.message_type = MessageType::Response;
    let name = query.queries[0].name().clone();
    match server {
        Server::Refuses => reply.metadata.response_code = ResponseCode::Refused,
        Server::Empty => {
            let name_data = RData::CNAME(rdata::CNAME("b.example.".parse().unwrap()));
            reply.answers.push(Record::from_rdata(name, 60, name_data));
        }
        _ => {
            for last in [1, 2] {
                let address = RData::A(rdata::A([192, 0, 2, last].into()));
                reply.answers.push(Record::from_rdata(name.clone(), 60, address));
            }
            reply.answers.push(Record::from_rdata(name, 60, RData::TXT(rdata::TXT::new(vec!["v=1 a".to_owned()]))));
        }
    }
    reply
}

async fn start(server: Server) -> SocketAddr {
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let udp = UdpSocket::bind(tcp.local_addr().unwrap()).await.unwrap();
    let address = udp.local_addr().unwrap();
    tokio::spawn(async move {
        let mut query = [0; 512];
        let (length, asker) = udp.recv_from(&mut query).await.unwrap();
        let good = reply(&query[..length], server);
        let mut sent = vec![b"garbage".to_vec(), Vec::new()];
        if let Server::Forged = server {
            let (mut id, mut question, mut query) = (good.clone(), good.clone(), good.clone());
            id.metadata.id = !id.metadata.id;
            question.queries[0].set_query_type(RecordType::AAAA);
            query.metadata.message_type = MessageType::Query;
            for mut forged in [id, question, query] {
                forged.answers.clear();
                sent.push(forged.to_vec().unwrap());
            }
        }
        let mut last = good.clone();
        if let Server::Cut = server {
            last.metadata.truncation = true;
            last.answers.clear();
        }
        if !matches!(server, Server::Garbage) {
            sent.push(last.to_vec().unwrap());
        }
        for octets in sent {
            udp.send_to(&octets, asker).await.unwrap();
        }
        let (mut stream, _) = tcp.accept().await.unwrap();
        let mut query = vec![0; stream.read_u16().await.unwrap().into()];
        stream.read_exact(&mut query).await.unwrap();
        let octets = reply(&query, server).to_vec().unwrap();
        stream.write_all(&[&(octets.len() as u16).to_be_bytes()[..], &octets].concat()).await.unwrap();
    });
    address
}

fn asks(record: RecordType, expect: &[&str]) -> Probe {
    let expect = expect.iter().map(|text| (*text).to_owned()).collect();
    probe(ProbeKind::Dns(Dns { name: "a.example".parse().unwrap(), record, expect }))
}

#[tokio::test]
async fn good_answers() {
    for server in [Server::Good, Server::Cut, Server::Forged] {
        outcome_of(asks(RecordType::A, &["192.0.2.2", "192.0.2.1"]), start(server).await, &[]).await.unwrap();
    }
    outcome_of(asks(RecordType::A, &[]), start(Server::Good).await, &[]).await.unwrap();
    outcome_of(asks(RecordType::TXT, &["v=1 a"]), start(Server::Good).await, &[]).await.unwrap();
}

#[tokio::test]
async fn bad_answers_and_none() {
    let why = |text: &str| Err(Cause::Protocol(text.to_owned()));
    let a = |expect: &[&str]| asks(RecordType::A, expect);
    let lacks = outcome_of(a(&["192.0.2.1", "192.0.2.3"]), start(Server::Good).await, &[]).await;
    assert_eq!(lacks, why("the answer lacks 192.0.2.3"));
    let empty = outcome_of(a(&[]), start(Server::Empty).await, &[]).await;
    assert_eq!(empty, why("the answer has no A record"));
    let Err(Cause::Protocol(refused)) = outcome_of(a(&[]), start(Server::Refuses).await, &[]).await else { panic!() };
    assert!(refused.starts_with("the response code is "), "{refused}");
    let timeout = Duration::from_millis(100);
    let patient = Probe { timeout, interval: Duration::from_secs(20), ..a(&[]) };
    let garbage = outcome_of(patient, start(Server::Garbage).await, &[]).await;
    assert_eq!(garbage, Err(Cause::Timeout(timeout)));
    let (_held, closed) = closed_port();
    assert_eq!(outcome_of(a(&[]), closed, &[]).await, Err(Cause::Refused));
}
