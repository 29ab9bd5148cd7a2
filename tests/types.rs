//! Every record type that is read from its own text, from zone text to the octets of an answer; the examples are
//! those of the types' RFCs where these have some.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/dns.rs"]
mod dns;

use dns::{Ask, Reply, World, files};
use hickory_proto::rr::RData;
use hickory_proto::serialize::binary::{BinEncodable, BinEncoder, NameEncoding};

const CONFIG: &str = "[geoip]\ndatabases = []\n[[zones]]\nname = \"t.test\"\nfile = \"zone\"\n";
const HEAD: &str = "$TTL 60\n@ SOA ns.elsewhere. host.elsewhere. 1 2 3 4 5\n@ NS ns.elsewhere.\n";

fn try_world(records: &str) -> Result<World, Vec<String>> {
    let zone = format!("{HEAD}{records}\n");
    let world = World::try_new(files([("config.toml", CONFIG.as_bytes()), ("zone", zone.as_bytes())]));
    world.map_err(|problems| problems.iter().map(|problem| problem.code.to_owned()).collect())
}

/// The octets in `text`: pairs of hexadecimal digits, and 'text' as it is; blanks mean nothing.
fn octets(text: &str) -> Vec<u8> {
    let mut octets = Vec::new();
    for (index, part) in text.split('\'').enumerate() {
        if index % 2 == 1 {
            octets.extend(part.bytes());
            continue;
        }
        let digits: Vec<u8> = part.bytes().filter(|octet| !octet.is_ascii_whitespace()).collect();
        let pair = |pair: &[u8]| u8::from_str_radix(str::from_utf8(pair).unwrap(), 16).unwrap();
        octets.extend(digits.chunks(2).map(pair));
    }
    octets
}

/// The data of the one record in the answer. No name in it is compressed: none shares a label with the question.
fn answered(world: &World, rtype: u16) -> Vec<u8> {
    let ask = Ask::new("r.t.test", &format!("TYPE{rtype}")).edns(1232);
    let query = ask.octets();
    let reply = world.octets(ask.asker, &query).unwrap();
    assert_eq!((reply[3] & 0xf, &reply[6..8]), (0, &[0, 1][..]), "TYPE{rtype}");
    let at = 12 + b"\x01r\x01t\x04test\0".len() + 4 + 12;
    let data = reply[at..reply.len() - 11].to_vec();
    assert_eq!(usize::from(u16::from_be_bytes([reply[at - 2], reply[at - 1]])), data.len());
    // Where the independent reader knows the type, it writes the same again. Of no data it reads nothing.
    if data.is_empty() {
        return data;
    }
    let record = &Reply::read(&query, &reply).message.answers[0];
    if !matches!(record.data, RData::Unknown { .. }) {
        let mut again = Vec::new();
        let mut encoder = BinEncoder::new(&mut again);
        encoder.set_name_encoding(NameEncoding::Uncompressed);
        record.data.emit(&mut encoder).unwrap();
        assert_eq!(again, data, "{record}");
    }
    data
}

/// Type, its number, data as text, data as octets.
const TYPES: [(&str, u16, &str, &str); 43] = [
    ("A", 1, "192.0.2.1", "c0000201"),
    ("MD", 3, "a.elsewhere.", "01'a' 09'elsewhere' 00"),
    ("MF", 4, "a.elsewhere.", "01'a' 09'elsewhere' 00"),
    ("CNAME", 5, "Www.Elsewhere.", "03'Www' 09'Elsewhere' 00"),
    ("MB", 7, "a.elsewhere.", "01'a' 09'elsewhere' 00"),
    ("MG", 8, "a.elsewhere.", "01'a' 09'elsewhere' 00"),
    ("MR", 9, "a.elsewhere.", "01'a' 09'elsewhere' 00"),
    ("PTR", 12, "a\\.b.elsewhere.", "03'a.b' 09'elsewhere' 00"),
    ("HINFO", 13, "PC-Intel-700mhz \"Redhat Linux 7.1\"", "0f'PC-Intel-700mhz' 10'Redhat Linux 7.1'"),
    ("MINFO", 14, "a.b. c.d.", "01'a'01'b'00 01'c'01'd'00"),
    ("MX", 15, "10 mail.elsewhere.", "000a 04'mail' 09'elsewhere' 00"),
    ("TXT", 16, "\"one two\" three \"\" \"\\\"\\\\\\255\"", "07'one two' 05'three' 00 03'\"\\'ff"),
    ("RP", 17, "louie.trantor. lam1.people.", "05'louie'07'trantor'00 04'lam1'06'people'00"),
    ("AAAA", 28, "2001:db8::1", "20010db8 00000000 00000000 00000001"),
    ("SRV", 33, "0 5 443 www.elsewhere.", "0000 0005 01bb 03'www' 09'elsewhere' 00"),
    // RFC 3403 §6.2
    (
        "NAPTR",
        35,
        "100 50 \"a\" \"z3950+N2L+N2C\" \"\" cidserver.elsewhere.",
        "0064 0032 01'a' 0d'z3950+N2L+N2C' 00 09'cidserver' 09'elsewhere' 00",
    ),
    ("NAPTR", 35, "100 10 u sip+E2U \"!^.*$!sip:i@e!\" .", "0064 000a 01'u' 07'sip+E2U' 0e'!^.*$!sip:i@e!' 00"),
    ("DNAME", 39, "b.elsewhere.", "01'b' 09'elsewhere' 00"),
    // RFC 4255 §3.2
    ("SSHFP", 44, "2 1 123456789abcdef67890123456789abcdef67890", "02 01 123456789abcdef67890123456789abcdef67890"),
    // RFC 4025 §3.2
    ("IPSECKEY", 45, "10 1 2 192.0.2.38 AQNRU3mG", "0a 01 02 c0000226 010351537986"),
    ("IPSECKEY", 45, "10 0 2 . AQNRU3mG", "0a 00 02 010351537986"),
    ("IPSECKEY", 45, "10 3 2 gateway.elsewhere. AQNRU3mG", "0a 03 02 07'gateway'09'elsewhere'00 010351537986"),
    ("IPSECKEY", 45, "10 2 2 2001:db8::2 AQNRU3mG", "0a 02 02 20010db8000000000000000000000002 010351537986"),
    // RFC 6698 §2.3
    (
        "TLSA",
        52,
        "0 0 1 ( d2abde240d7cd3ee6b4b28c54df034b9 7983a1d16e8a410e4561cb106618e971 )",
        "00 00 01 d2abde240d7cd3ee6b4b28c54df034b97983a1d16e8a410e4561cb106618e971",
    ),
    // RFC 8078 §4: take the DS away.
    ("CDS", 59, "0 0 0 00", "0000 00 00 00"),
    ("CDNSKEY", 60, "0 3 0 AA==", "0000 03 00 00"),
    ("OPENPGPKEY", 61, "AQNR U3mG", "010351537986"),
    // RFC 8976 §A.1
    (
        "ZONEMD",
        63,
        "2018031900 1 1 ( c68090d90a7aed716bc459f9340e3d7c1370d4d24b7e2fc3 a1ddc0b9a87153b9a9713b3c9ae5cc27777f98b8e730044c )",
        "7848b91c 01 01 c68090d90a7aed716bc459f9340e3d7c1370d4d24b7e2fc3a1ddc0b9a87153b9a9713b3c9ae5cc27777f98b8e730044c",
    ),
    // RFC 9460 §D.1 and §D.2: its test vectors, but those of names of protocols with commas and backslashes, which
    // a reader may refuse (§7.1.1), and ours does.
    ("HTTPS", 65, "0 foo.example.com.", "0000 03'foo'07'example'03'com'00"),
    ("SVCB", 64, "1 .", "0001 00"),
    ("SVCB", 64, "16 foo.example.com. port=53", "0010 03'foo'07'example'03'com'00 0003 0002 0035"),
    ("SVCB", 64, "1 foo.example.com. key667=hello", "0001 03'foo'07'example'03'com'00 029b 0005 'hello'"),
    (
        "SVCB",
        64,
        "1 foo.example.com. key667=\"hello\\210qoo\"",
        "0001 03'foo'07'example'03'com'00 029b 0009 'hello'd2'qoo'",
    ),
    (
        "SVCB",
        64,
        "1 foo.example.com. ( ipv6hint=\"2001:db8::1,2001:db8::53:1\" )",
        "0001 03'foo'07'example'03'com'00 0006 0020 20010db8000000000000000000000001 20010db8000000000000000000530001",
    ),
    (
        "SVCB",
        64,
        "1 example.com. ( ipv6hint=\"2001:db8:122:344::192.0.2.33\" )",
        "0001 07'example'03'com'00 0006 0010 20010db8012203440000 0000c0000221",
    ),
    (
        "SVCB",
        64,
        "16 foo.example.org. ( alpn=h2,h3-19 mandatory=ipv4hint,alpn ipv4hint=192.0.2.1 )",
        "0010 03'foo'07'example'03'org'00 0000 0004 00010004 0001 0009 02'h2'05'h3-19' 0004 0004 c0000201",
    ),
    ("HTTPS", 65, "1 . alpn=h2 no-default-alpn ech=AAE=", "0001 00 0001 0003 02'h2' 0002 0000 0005 0002 0001"),
    // RFC 8659 §4.1
    ("CAA", 257, "128 issue \"ca1.example; account=230123\"", "80 05'issueca1.example; account=230123'"),
    ("CAA", 257, "0 iodef \"mailto:security@example.com\"", "00 05'iodefmailto:security@example.com'"),
    // RFC 3597 §5: of types that nobody knows, that are known by name alone, and that have a form of their own.
    ("TYPE731", 731, "\\# 6 abcd ( ef 01 23 45 )", "abcdef012345"),
    ("TYPE62347", 62347, "\\# 0", ""),
    ("LOC", 29, "\\# 16 00 12 16 13 8b 0d 2c 8c 7f f8 fc a5 00 98 96 80", "001216138b0d2c8c7ff8fca500989680"),
    ("A", 1, "\\# 4 0a000001", "0a000001"),
];

#[test]
fn from_text_to_octets() {
    for (mnemonic, rtype, text, expected) in TYPES {
        // By mnemonic and by number, with the class before or behind the TTL or left out.
        for line in [
            format!("r {mnemonic} {text}"),
            format!("r 60 IN {mnemonic} {text}"),
            format!("r IN 60 TYPE{rtype} {text}"),
            format!("r {} {text}", mnemonic.to_lowercase()),
        ] {
            let world = try_world(&line).unwrap_or_else(|problems| panic!("{line}: {problems:?}"));
            assert_eq!(answered(&world, rtype), octets(expected), "{line}");
        }
    }
}

/// RFC 4034 §5.4. A DS stands at a delegation.
#[test]
fn ds() {
    let digest = "2bb183af5f22588179a53b0a98631fad1a292118";
    let world = try_world(&format!("r NS ns.elsewhere.\nr DS 60485 5 1 ( {digest} )")).unwrap();
    assert_eq!(answered(&world, 43), octets(&format!("ec45 05 01 {digest}")));
}

/// RFC 9460 §D.3: what must not be taken. And of others what their form forbids.
#[test]
fn data_that_is_not_taken() {
    for line in [
        "SVCB 1 foo.example.com. ( key123=abc key123=def )",
        "SVCB 1 foo.example.com. mandatory",
        "SVCB 1 foo.example.com. alpn",
        "SVCB 1 foo.example.com. port",
        "SVCB 1 foo.example.com. ipv4hint",
        "SVCB 1 foo.example.com. ipv6hint",
        "SVCB 1 foo.example.com. no-default-alpn=abc",
        "SVCB 1 foo.example.com. mandatory=key123",
        "SVCB 1 foo.example.com. mandatory=mandatory",
        "SVCB 1 foo.example.com. ( mandatory=key123,key123 key123=abc )",
        "SVCB 16 foo.example.org. alpn=\"f\\\\\\\\oo\\\\,bar,h2\"",
        "SSHFP 2 1 12345",
        "TLSA 0 0 1 xx",
        "CAA 256 issue x",
        "NAPTR 1 2 s x",
        "A \\# 5 0a00000100",
        "MX \\# 2 000a",
        "TYPE731 abcd",
        "TYPE731 \\# 3 abcd",
    ] {
        match try_world(&format!("r {line}")) {
            Err(problems) => {
                assert!(problems[0] == "bad-data" || problems[0] == "rfc3597-form", "{line}: {problems:?}");
            }
            Ok(_) => panic!("{line} is taken"),
        }
    }
}
