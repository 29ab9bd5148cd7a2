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
