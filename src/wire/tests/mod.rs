//! hickory-proto reads every reply back, as a reader that knows nothing of our writer.

mod cutting;
mod keeping;
mod properties;
mod proxied;
mod rules;
mod writing;

use hickory_proto::op::{Message, MessageType};
use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};

use super::*;

/// Header with id 0x1234 and RD, then the parts.
fn packet(counts: [u16; 4], parts: &[&[u8]]) -> Vec<u8> {
    let mut packet = vec![0x12, 0x34, 1, 0];
    packet.extend(counts.iter().flat_map(|count| count.to_be_bytes()));
    packet.extend(parts.concat());
    packet
}

/// `WwW.shop.example` A IN
const QUESTION: &[u8] = b"\x03WwW\x04shop\x07example\0\0\x01\0\x01";

/// An OPT record that takes 4,096 octets, DO set.
fn opt(version: u8, options: &[&[u8]]) -> Vec<u8> {
    let options = options.concat();
    let mut record = vec![0, 0, 41, 0x10, 0, 0, version, 0x80, 0];
    record.extend((options.len() as u16).to_be_bytes());
    record.extend(options);
    record
}

fn option(code: u16, data: &[u8]) -> Vec<u8> {
    let mut option = code.to_be_bytes().to_vec();
    option.extend((data.len() as u16).to_be_bytes());
    option.extend(data);
    option
}

/// 203.0.113.0/24
const SUBNET: &[u8] = &[0, 1, 24, 0, 203, 0, 113];

fn with_options(options: &[&[u8]]) -> Vec<u8> {
    packet([1, 0, 0, 1], &[QUESTION, &opt(0, options)])
}

/// Reads a reply and checks that it is one, and has nothing behind its end.
fn decode(reply: &[u8]) -> Message {
    // hickory refuses family 0, which `dig +subnet=0` sends and has echoed.
    let mut reply = reply.to_vec();
    if let Some(at) = reply.windows(8).rposition(|octets| octets == [0, 8, 0, 4, 0, 0, 0, 0]) {
        reply[at + 5] = 1;
    }
    let mut decoder = BinDecoder::new(&reply);
    let message = Message::read(&mut decoder).unwrap_or_else(|error| panic!("{error}: {reply:?}"));
    assert!(decoder.is_empty(), "{reply:?}");
    assert_eq!(message.metadata.message_type, MessageType::Response);
    message
}

/// What answers any bytes: the reply that a rejection asks for, REFUSED to a good query.
fn reply(packet: &[u8], out: &mut [u8]) -> usize {
    match parse(packet) {
        Err(Rejection::Silence) => 0,
        Err(Rejection::Reply(rejected)) => rejected.write(false, None, out),
        Ok(query) => Writer::reply(&query, out, query.udp_limit(1232))
            .finish(Ending { rcode: Rcode::REFUSED, ..Ending::default() }),
    }
}
