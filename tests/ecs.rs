//! Whose client subnets are heeded, and in which zones (RFC 7871 §11.1); both paths of an answer agree on it.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/dns.rs"]
mod dns;

use dns::{Ask, World, files};

const CONFIG: &str = r#"
[geoip]
databases = []
[ecs]
allow = ["192.0.2.0/24"]
[sets]
near = ["cidr:203.0.113.0/24"]
[[endpoints]]
name = "one"
cloud = "aws"
region = "us-east-1"
addresses = ["198.51.100.1"]
[[endpoints]]
name = "two"
cloud = "gcp"
region = "us-east4"
bias = "100ms"
addresses = ["198.51.100.2"]
[[zones]]
name = "shop.example"
file = "zone"
[[zones]]
name = "quiet.example"
file = "zone"
ecs = false
[[services]]
name = "www.shop.example"
endpoints = ["one", "two"]
prefer = [{ where = "near", clouds = ["gcp"], within = "any" }]
[[services]]
name = "www.quiet.example"
endpoints = ["one", "two"]
prefer = [{ where = "near", clouds = ["gcp"], within = "any" }]
"#;
const ZONE: &str = "$TTL 60\n@ SOA ns host 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n";

#[test]
fn only_those_of_resolvers_on_the_list_and_not_in_every_zone() {
    let world = World::new(files([("config.toml", CONFIG.as_bytes()), ("zone", ZONE.as_bytes())]));
    for (resolver, zone, near, far, is_echoed) in [
        ("192.0.2.1", "shop.example", "two", "one", true),
        ("192.0.3.1", "shop.example", "one", "one", false),
        ("203.0.113.9", "shop.example", "two", "two", false), // itself near
        ("192.0.2.1", "quiet.example", "one", "one", false),
        ("203.0.113.9", "quiet.example", "two", "two", false),
    ] {
        for cookie in [false, true] {
            for (subnet, expected) in [("203.0.113.0/24", near), ("203.0.114.0/24", far)] {
                let ask = Ask::new(&format!("www.{zone}"), "A").from(resolver).subnet(subnet);
                let ask = if cookie { ask.option(10, &[1; 8]) } else { ask };
                let reply = world.ask(&ask);
                assert_eq!(world.who(&reply), [expected], "{resolver} {zone} {subnet}");
                assert_eq!(reply.scope().is_some(), is_echoed, "{resolver} {zone} {subnet}");
            }
        }
        for (name, rtype) in [("ns", "A"), ("ns", "TXT"), ("no", "A"), ("", "SOA")] {
            let ask = Ask::new(format!("{name}.{zone}").trim_start_matches('.'), rtype)
                .from(resolver)
                .subnet("203.0.113.0/24");
            assert_eq!(world.ask(&ask).scope(), is_echoed.then_some(0), "{resolver} {name}.{zone} {rtype}");
        }
        let without = world.ask(&Ask::new(&format!("www.{zone}"), "A").from(resolver).edns(1232));
        assert_eq!(without.scope(), None);
    }
}
