//! What the server says of itself: CH names (RFC 4892), NSID (RFC 5001) and TCP keepalive (RFC 7828).
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/dns.rs"]
mod dns;

use dns::{Ask, World, files};
use hickory_proto::rr::DNSClass;

const CONFIG: &str = r#"
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
const ZONE: &str = "$TTL 60\n@ SOA ns host 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\nstatic A 192.0.2.2\n";

/// With these lines in `[server]`.
fn world(server: &str) -> World {
    let config = format!("[server]\n{server}\n{CONFIG}");
    World::new(files([("config.toml", config.as_bytes()), ("shop.zone", ZONE.as_bytes())]))
}

#[test]
fn who_the_server_is_is_told_where_the_operator_says_so() {
    let (told, untold) = (world("identity = \"ns1-fra\"\nversion = \"Meridian\""), world(""));
    let chaos = |name: &str, rtype: &str| Ask::new(name, rtype).class(DNSClass::CH);
    for (name, text) in [
        ("version.bind", "Meridian"),
        ("VERSION.server", "Meridian"),
        ("id.server", "ns1-fra"),
        ("hostname.bind", "ns1-fra"),
    ] {
        let expected = format!("NOERROR aa\nAN {name}. 0 CH TXT \"{text}\"");
        assert_eq!(told.ask(&chaos(name, "TXT")).to_string(), expected);
        assert_eq!(told.ask(&chaos(name, "A")).to_string(), "REFUSED");
        assert_eq!(untold.ask(&chaos(name, "TXT").edns(1232)).to_string(), "REFUSED\nOPT 1232 error=21");
    }
    for name in ["www.shop.example", "static.shop.example", "nowhere.shop.example"] {
        let ask = Ask::new(name, "A").edns(1232);
        assert_eq!(told.ask(&ask.clone().option(3, &[])).option(3), Some(&b"ns1-fra"[..]));
        assert_eq!(told.ask(&ask).option(3), None, "nobody asked");
        assert_eq!(untold.ask(&ask.option(3, &[])).option(3), None, "it is not told");
    }
}

/// RFC 7828 §3.3: ten seconds, in tenths of one.
#[test]
fn how_long_a_connection_may_be_idle_is_told_on_connections() {
    let world = world("");
    let ask = Ask::new("www.shop.example", "A").edns(1232).option(11, &[]);
    assert_eq!(world.ask(&ask.clone().tcp()).option(11), Some(&[0, 100][..]));
    assert_eq!(world.ask(&ask).option(11), None);
    assert_eq!(world.ask(&Ask::new("www.shop.example", "A").edns(1232).tcp()).option(11), None);
}

/// RFC 7873 §5.2: the reply bears the client's cookie and ours, which is good until the next one is due.
#[test]
fn cookies_are_answered_on_both_paths() {
    let world = world("");
    for (name, rtype) in [("www.shop.example", "A"), ("static.shop.example", "A"), ("nowhere.shop.example", "AAAA")] {
        let ask = |cookie: &[u8]| Ask::new(name, rtype).edns(1232).at(1_000_000).from("192.0.2.99").option(10, cookie);
        let given = world.ask(&ask(&[7; 8])).option(10).unwrap().to_vec();
        assert_eq!((given.len(), &given[..12]), (24, &[7, 7, 7, 7, 7, 7, 7, 7, 1, 0, 0, 0][..]));
        let again = |ask: Ask| world.ask(&ask).option(10).unwrap().to_vec();
        assert_eq!(again(ask(&given).at(1_001_800)), given);
        assert_ne!(again(ask(&given).at(1_001_801)), given, "it is renewed");
        assert_ne!(again(ask(&given).from("192.0.2.98")), given, "another's");
        assert_eq!(again(ask(&given).tcp()), given);
        assert_eq!(again(ask(&[&given[..], &[0; 9]].concat())).len(), 24, "one of another make");
        for length in [0, 7, 9, 15, 41] {
            assert_eq!(world.ask(&ask(&vec![1; length])).rcode(), "FORMERR", "{length}");
        }
        assert_eq!(world.ask(&Ask::new(name, rtype).edns(1232)).option(10), None, "not asked for");
    }
    let off = self::world("cookies = \"off\"");
    let reply = off.ask(&Ask::new("www.shop.example", "A").edns(1232).option(10, &[7; 8]));
    assert_eq!((reply.rcode(), reply.option(10)), ("NOERROR", None));
}

/// RFC 9018 §5: servers that share secrets take each other's cookies, while these are changed too.
#[test]
fn secrets_of_a_file_are_shared() {
    let (old, new) = ("e5e973e5a6b2a43f48e7dc849e37bfcf", "dd3bdf9344b678b185a6f5cb60fca715");
    let server = |secrets: &str| {
        let config = format!("[server]\ncookie_secrets = \"cookies.secrets\"\n{CONFIG}");
        World::new(files([
            ("config.toml", config.as_bytes()),
            ("shop.zone", ZONE.as_bytes()),
            ("cookies.secrets", secrets.as_bytes()),
        ]))
    };
    let ask = |cookie: &[u8]| Ask::new("static.shop.example", "A").edns(1232).at(1_000_000).option(10, cookie);
    let (before, between) = (server(&format!("{old}\n{new}\n")), server(&format!("# changed\n{new}\n{old}\n")));
    let first = before.ask(&ask(&[7; 8])).option(10).unwrap().to_vec();
    let second = between.ask(&ask(&first)).option(10).unwrap().to_vec();
    assert_ne!(first, second, "a cookie of the old secret is replaced");
    assert_eq!(before.ask(&ask(&first)).option(10), Some(&first[..]), "its maker keeps it");
    assert_eq!(between.ask(&ask(&second)).option(10), Some(&second[..]), "and so does the other's");
    assert_eq!(server(new).ask(&ask(&second)).option(10), Some(&second[..]), "a third that has that secret alone");
}

/// RFC 7873 §5.4: a query without a question, for a cookie alone.
#[test]
fn a_cookie_alone_is_answered() {
    let world = world("");
    let asker = Ask::new("", "A").asker;
    let query = |options: &[u8]| {
        let mut query =
            vec![0x2a, 0x17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, options.len() as u8];
        query.extend_from_slice(options);
        query
    };
    let reply = world.octets(asker, &query(&[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8])).unwrap();
    assert_eq!(reply[..12], [0x2a, 0x17, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 1], "NOERROR, no question");
    assert_eq!(reply[22..35], [28, 0, 10, 0, 24, 1, 2, 3, 4, 5, 6, 7, 8], "both cookies");
    assert_eq!(reply.len(), 12 + 11 + 28);
    let wrong = [&[0, 10, 0, 24, 1, 2, 3, 4, 5, 6, 7, 8][..], &[9; 16]].concat();
    let reply = world.octets(asker, &query(&wrong)).unwrap();
    assert_eq!((reply[3] & 0xf, reply[17], reply.len()), (7, 1, 12 + 11 + 28), "BADCOOKIE");
    let off = self::world("cookies = \"off\"");
    assert_eq!(off.octets(asker, &query(&wrong)).unwrap()[3], 1, "FORMERR: cookies are off");
    for (options, why) in [(&[][..], "no cookie"), (&[0, 10, 0, 7, 1, 2, 3, 4, 5, 6, 7], "one of seven octets")] {
        assert_eq!(world.octets(asker, &query(options)).unwrap()[3], 1, "FORMERR: {why}");
    }
}
