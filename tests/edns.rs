//! A battery after RFC 8906 §8, by its sections, and of what RFC 6891 and the options' RFCs say of queries that
//! break their rules. Each query goes both ways, `respond` and the batch, which must say the same to the octet
//! (`support::dns`). The questions are such that both ways have something of their own to say.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/dns.rs"]
mod dns;

use std::net::Ipv4Addr;
use std::sync::LazyLock;

use dns::{Reply, World, files};
use meridian::answer::{Asker, Transport};

const CONFIG: &str = r#"
    [server]
    identity = "ns1-fra"
    [geoip]
    databases = []

    [[endpoints]]
    name = "one"
    cloud = "aws"
    region = "us-east-1"
    addresses = ["198.51.100.1"]

    [[zones]]
    name = "shop.example"
    file = "shop.zone"

    [[services]]
    name = "www.shop.example"
    endpoints = ["one"]
"#;

static WORLD: LazyLock<World> = LazyLock::new(|| {
    let text = |name: &str, n: usize| format!("{name} TXT \"{n}{}\"\n", "0123456789".repeat(19));
    let large = (0..4).map(|n| text("large", n)).chain((0..7).map(|n| text("huge", n))).collect::<String>();
    let zone = format!("$TTL 60\n@ SOA ns host 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\nstatic A 192.0.2.2\n{large}");
    World::new(files([("config.toml", CONFIG.as_bytes()), ("shop.zone", zone.as_bytes())]))
});

const A: u16 = 1;
const SOA: u16 = 6;
const TXT: u16 = 16;
/// The apex's SOA; a static answer; a steered one; NODATA; NXDOMAIN; none of ours.
const QUESTIONS: [(&str, u16); 6] = [
    ("shop.example", SOA),
    ("static.shop.example", A),
    ("www.shop.example", A),
    ("www.shop.example", SOA),
    ("none.shop.example", A),
    ("elsewhere.test", A),
];

const RD: u16 = 0x0100;
const AA: u16 = 0x0400;
const DO: u16 = 0x8000;

fn name(text: &str) -> Vec<u8> {
    let labels = text.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat());
    labels.chain([0]).collect()
}

/// A query with these flags and additional records.
fn query((qname, qtype): (&str, u16), flags: u16, additionals: &[Vec<u8>]) -> Vec<u8> {
    let counts = [1, 0, 0, additionals.len() as u16].map(u16::to_be_bytes).concat();
    let head = [&[0x2a, 0x17], &flags.to_be_bytes()[..], &counts].concat();
    [head, name(qname), qtype.to_be_bytes().into(), vec![0, 1], additionals.concat()].concat()
}

fn option(code: u16, data: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes(), &(data.len() as u16).to_be_bytes(), data].concat()
}

/// An OPT record; `options` as they stand on the wire.
fn opt(size: u16, version: u8, flags: u16, options: &[Vec<u8>]) -> Vec<u8> {
    let options = options.concat();
    let length = options.len() as u16;
    [&[0, 0, 41], &size.to_be_bytes()[..], &[0, version], &flags.to_be_bytes(), &length.to_be_bytes(), &options]
        .concat()
}

fn ask(transport: Transport, query: &[u8]) -> Vec<u8> {
    let asker = Asker { address: Ipv4Addr::new(192, 0, 2, 99).into(), transport, random: 0, now: 1_000_000 };
    WORLD.octets(asker, query).expect("a reply")
}

fn udp(query: &[u8]) -> Vec<u8> {
    ask(Transport::Datagram, query)
}

fn read(query: &[u8]) -> Reply {
    Reply::read(query, &udp(query))
}

/// The reply with EDNS, and the same without its OPT record: what the plain query gets.
fn read_edns(question: (&str, u16), opt: Vec<u8>) -> Reply {
    let (plain, reply) = (read(&query(question, 0, &[])), read(&query(question, 0, &[opt])));
    let text = reply.to_string();
    let (records, opt) = text.split_once("\nOPT 1232").unwrap_or_else(|| panic!("no OPT in {text}"));
    assert_eq!(records, plain.to_string(), "to {question:?}");
    assert!(opt.is_empty() || opt.starts_with(" error=") || opt.starts_with(" subnet="), "{opt}");
    assert_eq!(version_and_flags(&reply).0, 0);
    reply
}

/// EDNS version and flags of a reply.
fn version_and_flags(reply: &Reply) -> (u8, u16) {
    let edns = reply.message.edns.as_ref().unwrap();
    (edns.version(), u16::from(*edns.flags()))
}

#[test]
fn section_8_1_1_the_zone_is_served() {
    let plain = read(&query(QUESTIONS[0], 0, &[]));
    let soa = "shop.example. 60 IN SOA ns.shop.example. host.shop.example. 1 2 3 4 5";
    assert_eq!(plain.to_string(), format!("NOERROR aa\nAN {soa}"));
}

#[test]
fn section_8_1_2_unknown_types() {
    let reply = read(&query(("shop.example", 1000), 0, &[]));
    assert_eq!((reply.rcode(), reply.message.answers.len(), reply.message.authorities.len()), ("NOERROR", 0, 1));
    assert!(reply.message.metadata.authoritative);
}

/// §8.1.3.1 CD, §8.1.3.2 AD, §8.1.3.3 the reserved bit, and those that mean nothing in a query: RA, TC, AA.
#[test]
fn section_8_1_3_header_bits_are_ignored() {
    for question in QUESTIONS {
        for edns in [vec![], vec![opt(1232, 0, 0, &[])]] {
            let plain = udp(&query(question, 0, &edns));
            for bits in [0x0010, 0x0020, 0x0040, 0x0080 | 0x0200 | AA, 0x000f] {
                assert_eq!(udp(&query(question, bits, &edns)), plain, "{bits:x} to {question:?}");
            }
        }
    }
}

/// RD is copied, and no recursion is offered.
#[test]
fn section_8_1_3_4_recursive_queries() {
    for question in QUESTIONS {
        let (plain, mut recursive) = (udp(&query(question, 0, &[])), udp(&query(question, RD, &[])));
        assert_eq!((recursive[2] & 1, recursive[3] & 0x80), (1, 0));
        recursive[2] &= !1;
        assert_eq!(recursive, plain, "{question:?}");
    }
}

#[test]
fn section_8_1_4_unknown_opcodes() {
    for opcode in 1..16_u16 {
        let flags = opcode << 11;
        let header = [&[0x2a, 0x17], &flags.to_be_bytes()[..], &[0; 8]].concat();
        assert_eq!(udp(&header), [&[0x2a, 0x17, 0x80 | (opcode << 3) as u8, 4][..], &[0; 8]].concat(), "header alone");
        // All other bits set, too.
        let reply = udp(&query(QUESTIONS[1], flags | 0x07ff, &[]));
        assert_eq!(reply[2..4], [0x81 | (opcode << 3) as u8, 4]);
        assert_eq!(read(&query(QUESTIONS[1], flags, &[opt(1232, 0, 0, &[])])).to_string(), "NOTIMP\nOPT 1232");
        // What follows may be of a form that only the opcode explains.
        assert_eq!(udp(&[&header[..], &[0xff; 40]].concat())[3], 4);
    }
    let header_alone = [&[0x2a, 0x17, 0, 0][..], &[0; 8]].concat();
    assert_eq!(udp(&header_alone)[2..4], [0x80, 1], "QUERY without a question");
}

#[test]
fn section_8_1_5_tcp() {
    for question in QUESTIONS {
        for edns in [vec![], vec![opt(512, 0, 0, &[])]] {
            let query = query(question, 0, &edns);
            assert_eq!(ask(Transport::Stream, &query), udp(&query), "{question:?}");
        }
    }
    let huge = query(("huge.shop.example", TXT), 0, &[opt(512, 0, 0, &[])]);
    let reply = Reply::read(&huge, &ask(Transport::Stream, &huge));
    assert_eq!((reply.message.answers.len(), reply.message.metadata.truncation), (7, false));
}

#[test]
fn section_8_2_1_minimal_edns() {
    for question in QUESTIONS {
        let reply = read_edns(question, opt(1232, 0, 0, &[]));
        assert_eq!(version_and_flags(&reply), (0, 0));
    }
}

/// §8.2.2 alone, §8.2.5 with unknown flags, §8.2.6 with unknown options, §8.2.9 with DO; and with octets that
/// are no options of version 0 and need not be any of another.
#[test]
fn sections_8_2_2_5_6_9_version_negotiation() {
    for question in QUESTIONS {
        for version in [1, 255] {
            for (flags, options) in [
                (0, vec![]),
                (0x0040, vec![]),
                (0x7fff, vec![]),
                (0, option(100, b"x")),
                (DO, vec![]),
                (DO, option(8, &[0, 1, 99])),
                (0, vec![0xff; 3]),
            ] {
                let reply = read(&query(question, 0, &[opt(1232, version, flags, &[options])]));
                assert_eq!(reply.to_string(), "BADVERS\nOPT 1232", "{question:?}");
                assert_eq!(version_and_flags(&reply), (0, flags & DO));
                assert_eq!(reply.option(100), None);
            }
        }
    }
}

#[test]
fn section_8_2_3_unknown_options() {
    for question in QUESTIONS {
        let codes = [0, 1, 2, 4, 5, 6, 7, 9, 13, 14, 16, 17, 20, 100, 0xfde9, 0xffff];
        let options = codes.map(|code| [option(code, b""), option(code, b"data")].concat());
        let reply = read_edns(question, opt(1232, 0, 0, &options));
        assert!(codes.iter().all(|&code| reply.option(code).is_none()), "none is sent back");
        read_edns(question, opt(1232, 0, 0, &[option(100, b"")]));
    }
}

#[test]
fn section_8_2_4_unknown_flags() {
    for question in QUESTIONS {
        for flags in [0x0001, 0x0040, 0x4000, 0x7fff] {
            assert_eq!(version_and_flags(&read_edns(question, opt(1232, 0, flags, &[]))), (0, 0));
        }
        assert_eq!(version_and_flags(&read_edns(question, opt(1232, 0, 0xffff, &[]))), (0, DO));
    }
}

#[test]
fn section_8_2_7_truncated_responses() {
    let query = query(("large.shop.example", TXT), 0, &[opt(512, 0, DO, &[])]);
    let reply = read(&query);
    assert_eq!((reply.to_string().as_str(), version_and_flags(&reply)), ("NOERROR aa tc\nOPT 1232", (0, DO)));
    assert!(reply.length <= 512);
}

/// RFC 3225 §3: the bit is copied.
#[test]
fn section_8_2_8_dnssec_ok() {
    for question in QUESTIONS {
        assert_eq!(version_and_flags(&read_edns(question, opt(1232, 0, DO, &[]))), (0, DO));
    }
}

/// NSID, client subnet, EXPIRE, cookie, keepalive, padding, chain, key tag: in this order and the other.
#[test]
fn section_8_2_10_several_options() {
    let subnet = option(8, &[0, 1, 24, 0, 203, 0, 113]);
    let mut options =
        [option(3, b""), subnet, option(9, b""), option(10, &[7; 8]), option(11, b""), option(12, &[0; 9])].to_vec();
    options.extend([option(13, &[0]), option(14, &[0, 1])]);
    for question in QUESTIONS {
        for _ in 0..2 {
            let reply = read_edns(question, opt(1232, 0, 0, &options));
            assert_eq!(reply.option(3), Some(&b"ns1-fra"[..]));
            assert_eq!(reply.option(10).map(<[u8]>::len), Some(24));
            assert!(reply.to_string().contains(" subnet=203.0.113.0/24/"));
            assert!([9, 11, 12, 13, 14].iter().all(|&code| reply.option(code).is_none()));
            options.reverse();
        }
    }
}

/// RFC 6891 §6.2.3: below 512 is 512; and no more than 1232 leaves, whatever the client takes.
#[test]
fn payload_sizes() {
    for (size, large, huge) in [(0, 0, 0), (511, 0, 0), (512, 0, 0), (1232, 4, 0), (4096, 4, 0), (65_535, 4, 0)] {
        for (name, answers) in [("large.shop.example", large), ("huge.shop.example", huge)] {
            let reply = read(&query((name, TXT), 0, &[opt(size, 0, 0, &[])]));
            let message = &reply.message;
            assert_eq!((message.answers.len(), message.metadata.truncation), (answers, answers == 0), "{name} {size}");
            assert!(reply.length <= usize::from(size.clamp(512, 1232)));
        }
        for question in QUESTIONS {
            read_edns(question, opt(size, 0, 0, &[]));
        }
    }
}

/// RFC 6891 §6.1.1: one OPT, of the root, anywhere among the additional records.
#[test]
fn malformed_opt_records() {
    let good = opt(1232, 0, 0, &[]);
    let a = b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\x7f\0\0\x01".to_vec();
    for question in QUESTIONS {
        for additionals in [[good.clone(), a.clone()], [a.clone(), good.clone()]] {
            assert!(read(&query(question, 0, &additionals)).message.edns.is_some());
        }
        let owned = [name("x"), good[1..].to_vec()].concat();
        let pointed = [vec![0xc0, 12], good[1..].to_vec()].concat();
        for additionals in [vec![good.clone(), good.clone()], vec![owned], vec![pointed], vec![good[..10].to_vec()]] {
            assert_eq!(udp(&query(question, 0, &additionals))[3] & 0xf, 1, "{additionals:?}");
        }
        for options in [&[0][..], &[0, 12, 0], &[0, 12, 0, 1], &[0, 12, 0xff, 0xff, 0], &[0, 12, 0, 1, 0, 0]] {
            let reply = read(&query(question, 0, &[opt(1232, 0, 0, &[options.to_vec()])]));
            assert_eq!(reply.to_string(), "FORMERR\nOPT 1232", "{options:?}");
        }
        // An OPT record in another section.
        let mut elsewhere = query(question, 0, std::slice::from_ref(&good));
        elsewhere.swap(9, 11);
        assert_eq!(udp(&elsewhere)[3] & 0xf, 1);
        // The extended response code of a query means nothing.
        let mut coded = good.clone();
        coded[5] = 0xff;
        read_edns(question, coded);
    }
}

/// RFC 7873 §4: 8 octets, or 16 to 40.
#[test]
fn cookies() {
    for question in QUESTIONS {
        for length in [0, 1, 7, 8, 9, 15, 16, 17, 24, 40, 41, 64] {
            let query = query(question, 0, &[opt(1232, 0, 0, &[option(10, &vec![7; length])])]);
            let reply = read(&query);
            if length == 8 || (16..=40).contains(&length) {
                assert_eq!(reply.option(10).map(|cookie| (cookie.len(), cookie[7])), Some((24, 7)), "{length}");
            } else {
                assert_eq!(reply.to_string(), "FORMERR\nOPT 1232", "{length}");
            }
        }
        let two = [option(10, &[7; 8]), option(10, &[8; 8])];
        let reply = read_edns(question, opt(1232, 0, 0, &two));
        assert_eq!(reply.option(10).map(|cookie| cookie[0]), Some(7), "the first counts");
    }
}

/// RFC 7871 §7.1.2 and §7.2.1.
#[test]
fn client_subnets() {
    let good: [&[u8]; 5] = [
        &[0, 1, 24, 0, 203, 0, 113],
        &[0, 1, 0, 0],
        &[0, 2, 0, 0],
        &[0, 2, 48, 0, 0x20, 1, 0x0d, 0xb8, 0, 1],
        &[0, 1, 32, 0, 203, 0, 113, 9],
    ];
    let malformed: [&[u8]; 12] = [
        &[],
        &[0],
        &[0, 1, 24],
        &[0, 1, 24, 0],
        &[0, 1, 24, 0, 203, 0],
        &[0, 1, 24, 0, 203, 0, 113, 0],
        &[0, 1, 23, 0, 203, 0, 113],
        &[0, 1, 33, 0, 203, 0, 113, 9, 0],
        &[0, 1, 24, 24, 203, 0, 113],
        &[0, 3, 8, 0, 1],
        &[0, 0, 8, 0, 1],
        &[0, 2, 129, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0],
    ];
    for question in QUESTIONS {
        for data in good {
            read_edns(question, opt(1232, 0, 0, &[option(8, data)]));
        }
        // `dig +subnet=0` sends family 0, which the independent reader does not take.
        let reply = udp(&query(question, 0, &[opt(1232, 0, 0, &[option(8, &[0; 4])])]));
        assert!(reply[3] & 0xf != 1 && reply.windows(8).any(|octets| octets == option(8, &[0; 4])));
        let twice = [option(8, good[0]), option(8, good[0])];
        for options in malformed.iter().map(|data| vec![option(8, data)]).chain([twice.to_vec()]) {
            let reply = read(&query(question, 0, &[opt(1232, 0, 0, &options)]));
            assert_eq!(reply.to_string(), "FORMERR\nOPT 1232", "{options:?}");
        }
    }
}

/// RFC 7830 §3, RFC 7828 §3.2.1: neither is answered by UDP; how long a connection may idle is told on one.
#[test]
fn padding_and_keepalive() {
    for question in QUESTIONS {
        for length in [0, 1, 100, 1000] {
            assert_eq!(read_edns(question, opt(1232, 0, 0, &[option(12, &vec![0; length])])).option(12), None);
        }
        for data in [&[][..], &[0, 100]] {
            assert_eq!(read_edns(question, opt(1232, 0, 0, &[option(11, data)])).option(11), None);
        }
        let query = query(question, 0, &[opt(1232, 0, 0, &[option(11, b"")])]);
        assert_eq!(Reply::read(&query, &ask(Transport::Stream, &query)).option(11), Some(&[0, 100][..]));
    }
}
