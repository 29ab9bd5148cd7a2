//! One test for each rule by which a query is taken or refused.

use std::net::IpAddr;

use hickory_proto::op::{OpCode, ResponseCode};

use super::*;

fn rejected(packet: &[u8]) -> Rejected<'_> {
    match parse(packet) {
        Err(Rejection::Reply(rejected)) => rejected,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_formerr(packet: &[u8]) {
    assert_eq!(rejected(packet).rcode, Rcode::FORMERR, "{packet:?}");
}

#[test]
fn a_plain_query() {
    let packet = packet([1, 0, 0, 0], &[QUESTION]);
    let query = parse(&packet).unwrap();
    assert_eq!((query.header.id, query.header.recursion_desired), (0x1234, true));
    assert_eq!(query.question.name, b"\x03WwW\x04shop\x07example\0");
    assert_eq!((query.question.rtype, query.question.class), (Rtype::A, Class::IN));
    assert_eq!(query.question.end(), packet.len());
    assert_eq!((query.edns, query.udp_limit(1232)), (None, 512));
}

#[test]
fn a_query_with_edns() {
    let packet = with_options(&[&option(10, &[7; 8]), &option(8, SUBNET), &option(65001, &[])]);
    let query = parse(&packet).unwrap();
    let edns = query.edns.unwrap();
    assert!(edns.dnssec_ok);
    assert_eq!((edns.udp_size, edns.version, query.udp_limit(1232)), (4096, 0, 1232));
    let subnet = edns.client_subnet.unwrap();
    assert_eq!((subnet.family, subnet.source, subnet.address), (1, 24, IpAddr::from([203, 0, 113, 0])));
}

#[test]
fn a_small_udp_size_is_512() {
    let mut packet = with_options(&[]);
    let size = packet.len() - 8;
    packet[size..size + 2].copy_from_slice(&100u16.to_be_bytes());
    assert_eq!(parse(&packet).unwrap().udp_limit(1232), 512);
    packet[size..size + 2].copy_from_slice(&600u16.to_be_bytes());
    assert_eq!(parse(&packet).unwrap().udp_limit(1232), 600);
}

#[test]
fn silence() {
    assert_eq!(parse(&[]), Err(Rejection::Silence));
    assert_eq!(parse(&[0; 11]), Err(Rejection::Silence));
    let mut response = packet([1, 0, 0, 0], &[QUESTION]);
    response[2] |= 0x80;
    assert_eq!(parse(&response), Err(Rejection::Silence));
    response[2] |= 0x28; // UPDATE
    assert_eq!(parse(&response), Err(Rejection::Silence));
}

#[test]
fn other_opcodes_are_notimp_whatever_follows() {
    let zone_and_update = packet([1, 0, 1, 1], &[QUESTION, b"\0\0\x01\0\x01\0\0\0\0\0\0", &opt(0, &[])]);
    for (opcode, whole) in [(1, true), (2, true), (4, true), (5, true), (15, true), (5, false)] {
        let mut packet = if whole { zone_and_update.clone() } else { packet([9, 9, 9, 9], &[QUESTION]) };
        packet[2] |= opcode << 3;
        let mut out = [0; 512];
        let length = rejected(&packet).write(false, &mut out);
        let reply = decode(&out[..length]);
        assert_eq!(reply.metadata.response_code, ResponseCode::NotImp);
        assert_eq!((reply.metadata.id, u8::from(reply.metadata.op_code)), (0x1234, opcode));
        assert_eq!((reply.edns.is_some(), reply.queries.len()), (whole, usize::from(whole)));
    }
}

#[test]
fn one_question() {
    assert_formerr(&packet([0, 0, 0, 0], &[]));
    assert_formerr(&packet([0, 0, 0, 1], &[&opt(0, &[])]));
    assert_formerr(&packet([2, 0, 0, 0], &[QUESTION, QUESTION]));
    assert_eq!(rejected(&packet([2, 0, 0, 0], &[QUESTION, QUESTION])).question, None);
    assert_formerr(&packet([1, 0, 0, 0], &[]));
    assert_formerr(&packet([1, 0, 0, 0], &[&QUESTION[..QUESTION.len() - 1]]));
}

#[test]
fn the_name_is_whole() {
    let question = |name: &[u8]| packet([1, 0, 0, 0], &[name, &[0, 1, 0, 1]]);
    assert!(parse(&question(&[0])).is_ok());
    for name in [&[0xc0, 12][..], &[0xc0, 0], &[1, b'a', 0xc0, 12], &[0x40, 0], &[0x80, 0]] {
        assert_formerr(&question(name));
    }
    let labels = |count: usize| [[1, b'a'].repeat(count), vec![0]].concat();
    assert_eq!(labels(127).len(), 255);
    assert!(parse(&question(&labels(127))).is_ok());
    assert_formerr(&question(&labels(128)));
    assert!(parse(&question(&[&[63][..], &[b'a'; 63], &[0]].concat())).is_ok());
}

#[test]
fn answer_and_authority_are_empty() {
    let a = b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\x7f\0\0\x01";
    for counts in [[1, 1, 0, 1], [1, 0, 1, 1]] {
        let packet = packet(counts, &[QUESTION, a, &opt(0, &[])]);
        let rejected = rejected(&packet);
        assert_eq!(rejected.rcode, Rcode::FORMERR);
        assert!(rejected.question.is_some() && rejected.edns.is_some());
    }
    assert!(parse(&packet([1, 0, 0, 1], &[QUESTION, a])).is_ok());
}

#[test]
fn nothing_behind_the_end_and_nothing_missing() {
    assert_formerr(&packet([1, 0, 0, 0], &[QUESTION, &[0]]));
    assert_formerr(&packet([1, 0, 0, 1], &[QUESTION, &opt(0, &[]), &[0]]));
    assert_formerr(&packet([1, 0, 0, 2], &[QUESTION, &opt(0, &[])]));
    let whole = with_options(&[&option(8, SUBNET)]);
    for end in HEADER_LENGTH..whole.len() {
        assert_formerr(&whole[..end]);
    }
}

#[test]
fn one_opt_owned_by_the_root_among_others() {
    let tsig = b"\x03key\0\0\xfa\0\xff\0\0\0\0\0\x02\x01\x02";
    let query = packet([1, 0, 0, 2], &[QUESTION, &opt(0, &[]), tsig]);
    assert!(parse(&query).unwrap().edns.is_some());
    let two = packet([1, 0, 0, 2], &[QUESTION, &opt(0, &[]), &opt(0, &[])]);
    assert_formerr(&two);
    assert!(rejected(&two).edns.is_some());
    assert_formerr(&packet([1, 0, 0, 1], &[QUESTION, &[1, b'a'], &opt(0, &[])]));
    assert_formerr(&packet([1, 0, 0, 1], &[QUESTION, &[0xc0, 12], &opt(0, &[])[1..]]));
}

#[test]
fn newer_edns_versions_are_badvers() {
    // Options of a version that nobody knows are not ours to judge.
    let packet = packet([1, 0, 0, 1], &[QUESTION, &opt(1, &[&[0, 8, 0, 1]])]);
    let mut out = [0; 512];
    let length = rejected(&packet).write(false, &mut out);
    let reply = decode(&out[..length]);
    // 16 is BADSIG too, but that only in TSIG.
    assert_eq!(u16::from(reply.metadata.response_code), Rcode::BADVERS.0);
    let edns = reply.edns.unwrap();
    assert_eq!((edns.version(), edns.max_payload()), (0, 1232));
    assert_eq!(reply.queries.len(), 1);
}

#[test]
fn options_end_where_opt_ends() {
    for options in [&[0][..], &[0, 10, 0], &[0, 10, 0, 2, 1], &[0, 10, 0xff, 0xff]] {
        let packet = with_options(&[options]);
        assert_formerr(&packet);
        assert!(rejected(&packet).edns.is_some_and(|edns| edns.client_subnet.is_none()));
    }
}

#[test]
fn client_subnets() {
    let v6 = [&[0, 2, 48, 0][..], &[0x20, 1, 0x0d, 0xb8, 0, 5]].concat();
    let good: [(&[u8], &str); 8] = [
        (SUBNET, "203.0.113.0"),
        (&[0, 1, 32, 0, 203, 0, 113, 255], "203.0.113.255"),
        (&[0, 1, 25, 0, 203, 0, 113, 128], "203.0.113.128"),
        (&[0, 1, 1, 0, 128], "128.0.0.0"),
        (&[0, 1, 0, 0], "0.0.0.0"),
        (&[0, 2, 0, 0], "::"),
        (&[0, 0, 0, 0], "0.0.0.0"),
        (&v6, "2001:db8:5::"),
    ];
    for (data, address) in good {
        let packet = with_options(&[&option(8, data)]);
        let subnet = parse(&packet).unwrap().edns.unwrap().client_subnet.unwrap();
        assert_eq!((subnet.address.to_string().as_str(), subnet.source), (address, data[2]));
    }
    let too_long_v6 = [&[0, 2, 129, 0][..], &[0; 17]].concat();
    let bad: [(&str, &[u8]); 13] = [
        ("no prefix lengths", &[0, 1]),
        ("empty", &[]),
        ("no scope", &[0, 1, 0]),
        ("source over 32", &[0, 1, 33, 0, 1, 2, 3, 4, 0]),
        ("source over 128", &too_long_v6),
        ("scope in a query", &[0, 1, 24, 24, 203, 0, 113]),
        ("an octet too few", &[0, 1, 24, 0, 203, 0]),
        ("an octet too many", &[0, 1, 24, 0, 203, 0, 113, 0]),
        ("octets for source 0", &[0, 1, 0, 0, 0]),
        ("bits beyond source", &[0, 1, 23, 0, 203, 0, 113]),
        ("unknown family", &[0, 3, 24, 0, 203, 0, 113]),
        ("unknown family without address", &[0, 3, 0, 0]),
        ("family 0 with an address", &[0, 0, 8, 0, 10]),
    ];
    for (what, data) in bad {
        let packet = with_options(&[&option(8, data)]);
        let rejected = rejected(&packet);
        assert_eq!(rejected.rcode, Rcode::FORMERR, "{what}");
        assert!(rejected.edns.is_some_and(|edns| edns.client_subnet.is_none()), "{what}");
    }
    assert_formerr(&with_options(&[&option(8, SUBNET), &option(8, SUBNET)]));
}

#[test]
fn a_formerr_reply() {
    let packet = packet([1, 0, 0, 1], &[QUESTION, &opt(0, &[&option(8, &[0, 3, 0, 0])])]);
    let mut out = [0; 512];
    let length = rejected(&packet).write(false, &mut out);
    let reply = decode(&out[..length]);
    assert_eq!((reply.metadata.response_code, reply.metadata.op_code), (ResponseCode::FormErr, OpCode::Query));
    assert_eq!((reply.metadata.id, reply.metadata.recursion_desired), (0x1234, true));
    assert_eq!(reply.queries[0].name().to_string(), "WwW.shop.example.");
    let edns = reply.edns.unwrap();
    assert!(edns.flags().dnssec_ok && edns.options().as_ref().is_empty());
}
