//! What is written, as hickory-proto reads it.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::opt::{ClientSubnet as HickorySubnet, EdnsCode, EdnsOption};

use super::*;

fn wire(text: &str) -> Vec<u8> {
    let labels = text.split('.').filter(|label| !label.is_empty());
    let mut wire: Vec<u8> = labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).collect();
    wire.push(0);
    wire
}

fn plain() -> Vec<u8> {
    packet([1, 0, 0, 0], &[QUESTION])
}

#[test]
fn names_are_compressed_and_keep_their_case() {
    let packet = plain();
    let query = parse(&packet).unwrap();
    let mut out = [0; 1232];
    let mut writer = Writer::reply(&query, &mut out, 1232);
    let mut add = |section, owner: &str, rtype, rdata: &[u8]| {
        writer.record(section, &wire(owner), rtype, Class::IN, 300, rdata).unwrap();
    };
    let soa = [wire("Ns1.shop.example"), wire("root.Ns1.shop.example"), vec![0; 20]].concat();
    add(Section::Answer, "www.shop.example", Rtype::CNAME, &wire("Edge.shop.example"));
    add(Section::Answer, "Edge.shop.example", Rtype::A, &[192, 0, 2, 1]);
    add(Section::Answer, "shop.example", Rtype::MX, &[&[0, 10][..], &wire("mail.Edge.shop.example")].concat());
    add(Section::Authority, "Shop.example", Rtype::SOA, &soa);
    add(Section::Authority, ".", Rtype::NS, &wire("."));
    add(Section::Additional, "_x.shop.example", Rtype::SRV, &[&[0; 6][..], &wire("edge.shop.example")].concat());
    let length = writer.finish(Ending { authoritative: true, ..Ending::default() });

    let reply = decode(&out[..length]);
    assert!(reply.metadata.authoritative && !reply.metadata.truncation && reply.metadata.recursion_desired);
    let text = |records: &[hickory_proto::rr::Record]| records.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(
        text(&reply.answers),
        [
            "WwW.shop.example. 300 IN CNAME Edge.shop.example.",
            "Edge.shop.example. 300 IN A 192.0.2.1",
            "shop.example. 300 IN MX 10 mail.Edge.shop.example.",
        ]
    );
    assert_eq!(
        text(&reply.authorities),
        ["Shop.example. 300 IN SOA Ns1.shop.example. root.Ns1.shop.example. 0 0 0 0 0", ". 300 IN NS ."]
    );
    assert_eq!(text(&reply.additionals), ["_x.shop.example. 300 IN SRV 0 0 0 edge.shop.example."]);
    // SRV is none of RFC 1035's types: its target is written in full (RFC 3597 §4).
    assert!(out[..length].ends_with(&wire("edge.shop.example")));
    let in_full = out[..length].windows(13).filter(|octets| octets == b"\x04shop\x07example").count();
    assert_eq!(in_full, 2, "the question and the SRV target");
}

#[test]
fn opt_echoes_and_tells() {
    let packet = with_options(&[&option(8, SUBNET)]);
    let query = parse(&packet).unwrap();
    let mut out = [0; 512];
    let error = ExtendedError { code: 22, text: "no endpoint may be answered" };
    let ending = Ending {
        rcode: Rcode::SERVFAIL,
        truncated: true,
        scope: 20,
        extended_error: Some(error),
        nsid: Some("nobody asked"),
        keepalive: Some(100),
        ..Ending::default()
    };
    let length = Writer::reply(&query, &mut out, 512).finish(ending);
    let reply = decode(&out[..length]);
    assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    assert!(reply.metadata.truncation && !reply.metadata.authoritative);
    let edns = reply.edns.unwrap();
    assert!(edns.flags().dnssec_ok);
    assert_eq!(edns.max_payload(), ADVERTISED_UDP_SIZE);
    let subnet = HickorySubnet::new([203, 0, 113, 0].into(), 24, 20);
    assert_eq!(edns.option(EdnsCode::Subnet), Some(&EdnsOption::Subnet(subnet)));
    let text = [&[0, 22][..], b"no endpoint may be answered"].concat();
    assert_eq!(edns.option(EdnsCode::from(15)), Some(&EdnsOption::Unknown(15, text)));
}

#[test]
fn courtesies_are_for_those_who_ask_and_where_there_is_room() {
    let packet = with_options(&[&option(3, &[]), &option(11, &[])]);
    let query = parse(&packet).unwrap();
    let nsid = "n".repeat(255);
    let ending = Ending { nsid: Some(&nsid), keepalive: Some(600), ..Ending::default() };
    let written = |txt: usize| {
        let mut out = [0; 512];
        let mut writer = Writer::reply(&query, &mut out, 512);
        let rdata = [&[txt as u8][..], &vec![b'x'; txt]].concat();
        writer.record(Section::Answer, &wire("www.shop.example"), Rtype::TXT, Class::IN, 5, &rdata).unwrap();
        let length = writer.finish(ending);
        let reply = decode(&out[..length]);
        assert!(!reply.metadata.truncation);
        let edns = reply.edns.unwrap();
        (edns.option(EdnsCode::NSID).is_some(), edns.option(EdnsCode::Keepalive).cloned())
    };
    let keepalive = Some(EdnsOption::Unknown(11, vec![2, 88]));
    assert_eq!((written(100), written(250)), ((true, keepalive.clone()), (false, keepalive)));
}

#[test]
fn padded_where_the_query_was_and_nobody_reads_along() {
    let padded = with_options(&[&option(12, &[0; 7])]);
    let plain = with_options(&[]);
    let lengths = |packet: &[u8], encrypted, txt: usize, limit: usize| {
        let query = parse(packet).unwrap();
        let mut out = [0xee; 2000];
        let mut writer = Writer::reply(&query, &mut out, limit);
        for chunk in vec![b'x'; txt].chunks(200) {
            let rdata = [&[chunk.len() as u8][..], chunk].concat();
            writer.record(Section::Answer, &wire("www.shop.example"), Rtype::TXT, Class::IN, 5, &rdata).unwrap();
        }
        let length = writer.finish(Ending { encrypted, ..Ending::default() });
        let option = decode(&out[..length]).edns.unwrap().option(EdnsCode::Padding).cloned();
        let padding = option.map(|option| match option {
            EdnsOption::Unknown(12, octets) => {
                assert!(octets.iter().all(|octet| *octet == 0));
                octets.len()
            }
            other => panic!("{other:?}"),
        });
        (length, padding)
    };
    assert_eq!(lengths(&plain, true, 100, 2000).1, None);
    assert_eq!(lengths(&padded, false, 100, 2000).1, None);
    let bare = lengths(&padded, false, 100, 2000).0;
    assert_eq!(lengths(&padded, true, 100, 2000), (468, Some(468 - bare - 4)));
    for txt in 1..600 {
        let (bare, whole) = (lengths(&padded, false, txt, 2000).0, lengths(&padded, true, txt, 2000).0);
        assert_eq!(whole, (bare + 4).next_multiple_of(468), "{txt}");
    }
    // No further than the limit, and not at all where there is no room for the option.
    assert_eq!(lengths(&padded, true, 600, 800).0, 800);
    let whole = lengths(&padded, false, 600, 800).0;
    assert_eq!(lengths(&padded, true, 600, whole + 3), (whole, None));
    assert_eq!(lengths(&padded, true, 600, whole + 4), (whole + 4, Some(0)));
}

#[test]
fn refusals_are_padded_too() {
    let mut packet = with_options(&[&option(12, &[])]);
    packet[2] = 4 << 3; // NOTIFY
    let Err(Rejection::Reply(rejected)) = parse(&packet) else { panic!("{packet:?}") };
    let mut out = [0; 512];
    assert!(rejected.write(false, &mut out) < 100);
    assert_eq!(rejected.write(true, &mut out), 468);
    assert_eq!(decode(&out[..468]).metadata.response_code, ResponseCode::NotImp);
}

#[test]
fn no_opt_in_none_out() {
    let packet = plain();
    let query = parse(&packet).unwrap();
    let mut out = [0; 512];
    let extended_error = Some(ExtendedError { code: 0, text: "" });
    let length = Writer::reply(&query, &mut out, 512).finish(Ending { extended_error, ..Ending::default() });
    assert!(decode(&out[..length]).edns.is_none());
}

#[test]
fn family_0_is_echoed() {
    let packet = with_options(&[&option(8, &[0, 0, 0, 0])]);
    let query = parse(&packet).unwrap();
    let mut out = [0; 512];
    let length = Writer::reply(&query, &mut out, 512).finish(Ending::default());
    assert!(out[..length].ends_with(&[0, 8, 0, 4, 0, 0, 0, 0]));
}

#[test]
fn full_leaves_no_half_and_opt_always_fits() {
    let packet = with_options(&[&option(8, SUBNET)]);
    let query = parse(&packet).unwrap();
    let mut out = [0xff; 600];
    let mut writer = Writer::reply(&query, &mut out, 512);
    let mut added = 0;
    let text = [&[90][..], &[b'x'; 90]].concat();
    while writer.record(Section::Answer, b"\x04edge\x04shop\x07example\0", Rtype::TXT, Class::IN, 1, &text).is_ok() {
        added += 1;
    }
    assert_eq!(added, 4);
    let a = [192, 0, 2, 1];
    while writer.record(Section::Answer, query.question.name, Rtype::A, Class::IN, 1, &a).is_ok() {
        added += 1;
    }
    let long = ExtendedError { code: 3, text: &"stale".repeat(100) };
    let length = writer.finish(Ending { truncated: true, extended_error: Some(long), ..Ending::default() });
    assert!((512 - 16..=512).contains(&length), "{length}");
    assert!(out[512..].iter().all(|&octet| octet == 0xff));
    let reply = decode(&out[..length]);
    assert_eq!(reply.answers.len(), added);
    assert!(reply.edns.unwrap().option(EdnsCode::Subnet).is_some());
}

#[test]
fn a_long_extended_error_loses_its_text() {
    let packet = with_options(&[]);
    let query = parse(&packet).unwrap();
    let mut out = [0; 512];
    let long = ExtendedError { code: 3, text: &"stale".repeat(100) };
    let length =
        Writer::reply(&query, &mut out, 512).finish(Ending { extended_error: Some(long), ..Ending::default() });
    let edns = decode(&out[..length]).edns.unwrap();
    assert_eq!(edns.option(EdnsCode::from(15)), Some(&EdnsOption::Unknown(15, vec![0, 3])));
}

#[test]
fn a_rewound_rrset_leaves_no_trace() {
    let packet = plain();
    let query = parse(&packet).unwrap();
    let finish = |rewound: bool| {
        let mut out = [0; 512];
        let mut writer = Writer::reply(&query, &mut out, 512);
        let mark = writer.mark();
        if rewound {
            writer.record(Section::Additional, b"\x02ns\0", Rtype::NS, Class::IN, 1, b"\x03foo\x02ns\0").unwrap();
            writer.rewind(mark);
        }
        writer.record(Section::Answer, b"\x03foo\x02ns\0", Rtype::NS, Class::IN, 1, b"\x02ns\0").unwrap();
        let length = writer.finish(Ending::default());
        out[..length].to_vec()
    };
    assert_eq!(finish(true), finish(false));
}

#[test]
fn images_are_patched_at_copy() {
    let packet = plain();
    let query = parse(&packet).unwrap();
    let record = |last| [&b"\0\0\0\x01\0\x01\0\0\0\0\0\x04"[..], &[192, 0, 2, last]].concat();
    let image = [record(1), record(2)].concat();
    let mut out = [0; 512];
    let mut writer = Writer::reply(&query, &mut out, 512);
    let edge = wire("edge.shop.example");
    assert_eq!(writer.offset_of(&edge), None);
    writer.record(Section::Answer, &wire("www.shop.example"), Rtype::CNAME, Class::IN, 60, &edge).unwrap();
    assert_eq!(writer.offset_of(&wire("www.SHOP.example")), Some(12));
    let edge_at = writer.offset_of(&edge).unwrap();
    writer.image(Section::Answer, &image, &[0, 16], edge_at, 20).unwrap();
    let mark = writer.mark();
    while writer.image(Section::Answer, &image, &[0, 16], 12, 20).is_ok() {}
    writer.rewind(mark);
    let length = writer.finish(Ending::default());
    let answers = decode(&out[..length]).answers;
    let text: Vec<_> = answers.iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        [
            "WwW.shop.example. 60 IN CNAME edge.shop.example.",
            "edge.shop.example. 20 IN A 192.0.2.1",
            "edge.shop.example. 20 IN A 192.0.2.2",
        ]
    );
}

#[test]
fn names_beyond_a_pointers_reach_are_written_in_full() {
    let packet = plain();
    let query = parse(&packet).unwrap();
    let mut out = vec![0; 65_535];
    let mut writer = Writer::reply(&query, &mut out, 65_535);
    let text = [&[255][..], &[b'x'; 255]].concat();
    let mut add = |owner: &str, rtype, rdata: &[u8]| {
        writer.record(Section::Answer, &wire(owner), rtype, Class::IN, 1, rdata).unwrap();
    };
    for _ in 0..70 {
        add("www.shop.example", Rtype::TXT, &text);
    }
    for _ in 0..2 {
        add("far.away.test", Rtype::NS, &wire("ns.far.away.test"));
    }
    let length = writer.finish(Ending::default());
    assert!(length > 0x4000);
    let answers = decode(&out[..length]).answers;
    assert_eq!(answers.len(), 72);
    for answer in &answers[70..] {
        assert_eq!(answer.to_string(), "far.away.test. 1 IN NS ns.far.away.test.");
    }
}

#[test]
fn more_names_than_are_remembered() {
    let packet = plain();
    let query = parse(&packet).unwrap();
    let mut out = vec![0; 65_535];
    let mut writer = Writer::reply(&query, &mut out, 65_535);
    let owners: Vec<_> = (0..200).map(|index| format!("host{index}.shop.example.")).collect();
    for owner in owners.iter().chain(&owners) {
        writer.record(Section::Answer, &wire(owner), Rtype::A, Class::IN, 1, &[192, 0, 2, 1]).unwrap();
    }
    let length = writer.finish(Ending::default());
    let answers = decode(&out[..length]).answers;
    let names: Vec<_> = answers.iter().map(|answer| answer.name.to_string()).collect();
    assert_eq!(names, [owners.clone(), owners].concat());
}
