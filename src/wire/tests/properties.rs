//! Any bytes, mutated queries, random RRsets.

use hickory_proto::rr::{Name, RData, Record, rdata};
use hickory_proto::serialize::binary::BinEncodable;
use proptest::prelude::*;

use super::*;

/// Whatever comes in: silence, or a reply within its limit that hickory reads and that is its own.
fn check_reply(packet: &[u8]) {
    let mut out = [0; 1232];
    let length = reply(packet, &mut out);
    let is_query = packet.len() >= HEADER_LENGTH && packet[2] & 0x80 == 0;
    assert_eq!(length > 0, is_query);
    if is_query {
        let message = decode(&out[..length]);
        assert_eq!(message.metadata.id.to_be_bytes(), packet[..2]);
        assert_eq!(out[2] >> 3 & 0xf, packet[2] >> 3 & 0xf);
        assert!(parse(&out[..length]) == Err(Rejection::Silence), "a reply to a reply");
    }
}

fn good_query() -> impl Strategy<Value = Vec<u8>> {
    let subnet = prop_oneof![Just(vec![]), Just(option(8, SUBNET)), Just(option(8, &[0, 2, 0, 0]))];
    let other = (any::<u16>().prop_filter("not ECS", |&code| code != 8), prop::collection::vec(any::<u8>(), 0..20));
    (prop::bool::ANY, subnet, other).prop_map(|(edns, subnet, (code, data))| match edns {
        true => with_options(&[&subnet, &option(code, &data)]),
        false => packet([1, 0, 0, 0], &[QUESTION]),
    })
}

const LABELS: &[&[u8]] = &[b"a", b"A", b"www", b"shop", b"Shop", b"example"];

/// A label of letters in both cases, and now and then of any octets.
fn label() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        4 => prop::sample::select(LABELS).prop_map(<[u8]>::to_vec),
        1 => prop::collection::vec(any::<u8>(), 1..=63),
    ]
}

fn name() -> impl Strategy<Value = Name> {
    prop::collection::vec(label(), 0..=3).prop_map(|labels| Name::from_labels(labels).unwrap())
}

fn data() -> impl Strategy<Value = RData> {
    let octets = || prop::collection::vec(any::<u8>(), 0..40);
    prop_oneof![
        any::<[u8; 4]>().prop_map(|octets| RData::A(rdata::A(octets.into()))),
        any::<[u8; 16]>().prop_map(|octets| RData::AAAA(rdata::AAAA(octets.into()))),
        name().prop_map(|name| RData::NS(rdata::NS(name))),
        name().prop_map(|name| RData::CNAME(rdata::CNAME(name))),
        name().prop_map(|name| RData::PTR(rdata::PTR(name))),
        (any::<u16>(), name()).prop_map(|(preference, name)| RData::MX(rdata::MX::new(preference, name))),
        (name(), name(), any::<u32>())
            .prop_map(|(primary, mailbox, serial)| RData::SOA(rdata::SOA::new(primary, mailbox, serial, 1, 2, 3, 4))),
        (any::<[u16; 3]>(), name()).prop_map(|([a, b, c], name)| RData::SRV(rdata::SRV::new(a, b, c, name))),
        octets().prop_map(|octets| RData::TXT(rdata::TXT::from_bytes(vec![&octets]))),
    ]
}

/// Uncompressed wire form, by hickory's writer.
fn wire(value: &impl BinEncodable) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut encoder = hickory_proto::serialize::binary::BinEncoder::new(&mut octets);
    encoder.set_name_encoding(hickory_proto::serialize::binary::NameEncoding::Uncompressed);
    value.emit(&mut encoder).unwrap();
    octets
}

proptest! {
    #[test]
    fn any_bytes(packet in prop::collection::vec(any::<u8>(), 0..600)) {
        check_reply(&packet);
    }

    /// Small counts and labels come by more often than by chance.
    #[test]
    fn nearly_sensible_bytes(
        head in any::<[u8; 2]>(),
        counts in prop::collection::vec(0u8..3, 4),
        body in prop::collection::vec(prop_oneof![0u8..5, any::<u8>(), Just(41), Just(0xc0), Just(8)], 0..80),
    ) {
        let counts = counts.iter().flat_map(|&count| [0, count]).collect();
        check_reply(&[head.to_vec(), vec![0, 0], counts, body].concat());
    }

    #[test]
    fn mutated_queries(
        mut packet in good_query(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        assert!(parse(&packet).is_ok());
        for (at, octet) in changes {
            let at = at.index(packet.len());
            packet[at] = octet;
        }
        packet.truncate(cut.map_or(packet.len(), |cut| cut.index(packet.len())));
        check_reply(&packet);
    }

    #[test]
    fn records_come_back_as_they_were(
        records in prop::collection::vec((name(), data(), any::<u32>()), 0..40),
        edns in any::<bool>(),
        limit in 512usize..4096,
    ) {
        let packet = if edns { with_options(&[&option(8, SUBNET)]) } else { packet([1, 0, 0, 0], &[QUESTION]) };
        let query = parse(&packet).unwrap();
        let mut out = [0; 4096];
        let mut writer = Writer::reply(&query, &mut out, limit);
        let mut expected = Vec::new();
        for (owner, data, ttl) in records {
            let ttl = ttl & 0x7fff_ffff;
            let rtype = Rtype(data.record_type().into());
            let octets = wire(&data);
            if writer.record(Section::Answer, &wire(&owner), rtype, Class::IN, ttl, &octets).is_ok() {
                expected.push(Record::from_rdata(owner, ttl, data));
            }
        }
        let length = writer.finish(Ending::default());
        prop_assert!(length <= limit);
        let reply = decode(&out[..length]);
        prop_assert_eq!(reply.edns.is_some(), edns);
        prop_assert_eq!(reply.answers.len(), expected.len());
        for (answer, expected) in reply.answers.iter().zip(&expected) {
            // hickory compares names without case, their wire form with it.
            let mut owner = wire(&expected.name);
            if owner.eq_ignore_ascii_case(query.question.name) {
                owner = query.question.name.to_vec();
            }
            prop_assert_eq!(wire(&answer.name), owner);
            prop_assert_eq!(wire(&answer.data), wire(&expected.data));
            prop_assert_eq!(answer.ttl, expected.ttl);
        }
    }
}
