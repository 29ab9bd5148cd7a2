//! The shipped configuration and database: what the README shows, and that no client ever leaves its fence,
//! reckoned from the database's own bytes and lists written here, apart from the product's functions.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::path::Path;
use std::sync::LazyLock;

use ipnet::{IpNet, Ipv6Net};
use maxminddb::{PathElement, Reader, WithinOptions};
use meridian::model::State;

use crate::dns::{Ask, Files, World};

pub(crate) static SHIPPED: LazyLock<World> = LazyLock::new(|| {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| (path.into(), std::fs::read(root.join(path)).unwrap().into());
    let paths = ["config.toml", "zones/shop.example.zone", "zones/shop.example.mail.inc", "geoip/city.mmdb"];
    World::new(Files::from(paths.map(read)))
});

/// Services, and the addresses of those that clients in the EU may get.
pub(crate) const SERVICES: [&str; 4] =
    ["www.shop.example", "acme.store.shop.example", "api.shop.example", "eu.shop.example"];
const IN_EU: [&str; 8] = [
    "203.0.113.40",
    "203.0.113.50",
    "198.51.100.60",
    "192.0.2.70",
    "2001:db8:c::40",
    "2001:db8:c::50",
    "2001:db8:b::60",
    "2001:db8:a::70",
];
const EU: &str = "AT BE BG HR CY CZ DK EE FI FR DE GR HU IE IT LV LT LU MT NL PL PT RO SK SI ES SE \
                  GF GP MQ MF RE YT AX";
const IN_EU_NAMES: [&str; 4] = ["azure-westeurope", "azure-frankfurt", "gcp-belgium", "aws-dublin"];

static DATABASE: LazyLock<Reader<Vec<u8>>> =
    LazyLock::new(|| Reader::open_readfile(Path::new(env!("CARGO_MANIFEST_DIR")).join("geoip/city.mmdb")).unwrap());

/// Must all clients of the prefix stay in the EU? If one of them lies there, or may.
fn must_stay_in_eu(prefix: IpNet) -> bool {
    let networks = DATABASE.within(prefix.to_string().parse().unwrap(), WithinOptions::default()).unwrap();
    let path = [PathElement::Key("country"), PathElement::Key("iso_code")];
    let mut known = false;
    for network in networks {
        known = true;
        let country: Option<&str> = network.unwrap().decode_path(&path).unwrap();
        if country.is_none_or(|country| EU.split_whitespace().any(|member| member == country)) {
            return true;
        }
    }
    !known
}

/// May clients of `prefix` get this address of the service?
pub(crate) fn may_get(service: &str, prefix: IpNet, address: IpAddr) -> bool {
    let inside = IN_EU.map(|text| text.parse::<IpAddr>().unwrap());
    let allowed = if service == "eu.shop.example" {
        inside
            .into_iter()
            .filter(|address| {
                let text = address.to_string();
                text.starts_with("203.0.113.") || text.starts_with("2001:db8:c:")
            })
            .collect()
    } else {
        inside.to_vec()
    };
    allowed.contains(&address) || !must_stay_in_eu(prefix)
}

/// Some 50,000 leaves of all that there are, but for IPv6 space that means IPv4, which is looked up as such
/// or not at all.
pub(crate) static LEAVES: LazyLock<Vec<IpNet>> = LazyLock::new(|| {
    let aliases: [Ipv6Net; 3] = ["::/96", "::ffff:0:0/96", "2002::/16"].map(|net| net.parse().unwrap());
    let leaves = SHIPPED.snapshot.parts.geo.leaves().step_by(97).map(|(leaf, _)| leaf);
    leaves.filter(|leaf| !aliases.iter().any(|alias| IpNet::V6(*alias).contains(leaf))).collect()
});

fn all_ways(name: &str, prefix: &str) -> String {
    let mut found = BTreeSet::new();
    for rtype in ["A", "AAAA"] {
        let ask = Ask::new(name, rtype).subnet(prefix);
        for ask in [ask.clone().tcp(), ask] {
            let reply = SHIPPED.ask(&ask);
            assert!(reply.scope().is_some_and(|scope| scope > 0), "{reply}");
            assert_eq!((reply.rcode(), reply.ttl()), ("NOERROR", 20));
            found.extend(SHIPPED.who(&reply));
        }
    }
    assert_eq!(found.len(), 1, "one choice serves both: {found:?}");
    found.pop_first().unwrap()
}

#[test]
fn what_the_readme_shows() {
    for name in ["www.shop.example", "acme.store.shop.example", "shop.shop.example"] {
        let of = |prefix: &str| all_ways(name, prefix);
        let sydney = of("103.86.96.0/24");
        assert!(["gcp-sydney", "azure-singapore", "gcp-singapore", "gcp-tokyo"].contains(&sydney.as_str()), "{sydney}");
        assert!(of("185.107.56.0/24").starts_with("azure-"), "the Netherlands: Azure's, in the EU");
        assert!(IN_EU_NAMES.contains(&of("185.107.56.0/24").as_str()));
        assert_eq!(of("81.2.69.0/24"), "aws-london", "outside the fence: the nearest");
        assert_eq!(of("131.107.0.0/24"), "gcp-oregon", "Redmond, beside Seattle");
        assert_eq!(of("128.143.0.0/24"), "aws-virginia", "Charlottesville");
    }
}

#[test]
fn killing_them_one_by_one() {
    let next = |down: &[&str]| {
        let world = SHIPPED.without(down);
        world.who(&world.ask(&Ask::new("www.shop.example", "A").subnet("103.86.96.0/24"))).concat()
    };
    assert_eq!(next(&[]), "gcp-sydney");
    // The rest of the preferred are over 30 ms further than Sydney's other one.
    assert_eq!(next(&["gcp-sydney"]), "aws-sydney");
    assert!(["gcp-singapore", "azure-singapore"].contains(&next(&["gcp-sydney", "aws-sydney"]).as_str()));
}

#[test]
fn killing_every_eu_region_sends_no_eu_client_outside() {
    let geo = &SHIPPED.snapshot.parts.geo;
    let mut seen = vec![false; geo.locations().len()];
    let down = SHIPPED.without(&IN_EU_NAMES);
    let (mut inside, mut outside) = (0, 0);
    for leaf in &*LEAVES {
        let id = geo.locate_prefix(leaf.addr(), leaf.prefix_len()).location;
        if std::mem::replace(&mut seen[id.index()], true) {
            continue;
        }
        let (service, rtype) =
            [("www.shop.example", "A"), ("api.shop.example", "AAAA"), ("eu.shop.example", "A")][id.index() % 3];
        let reply = down.ask(&Ask::new(service, rtype).net(*leaf));
        assert_eq!(reply.rcode(), "NOERROR");
        assert!(!reply.addresses().is_empty());
        for address in reply.addresses() {
            assert!(may_get(service, *leaf, address), "{leaf} {service}: {address}");
        }
        if must_stay_in_eu(*leaf) { inside += 1 } else { outside += 1 }
    }
    assert!(inside > 400 && outside > 2000, "{inside} places in the EU, {outside} elsewhere");
}

#[test]
fn by_any_transport_and_resolver() {
    let by = |resolver: &str| SHIPPED.who(&SHIPPED.ask(&Ask::new("www.shop.example", "A").from(resolver))).concat();
    assert_eq!(by("81.2.69.53"), "aws-london");
    assert_eq!(by("103.86.96.53"), "gcp-sydney");
    assert!(IN_EU_NAMES.contains(&by("127.0.0.1").as_str()), "of unknown place: inside every fence");
}

#[test]
fn states_in_words_for_all() {
    // Whatever everyone's state is, if it is the same for all, answers are the same.
    let names: Vec<&str> = SHIPPED.snapshot.parts.config.endpoints.iter().map(|endpoint| &*endpoint.name).collect();
    let answers = |state| {
        let world = SHIPPED.standing(&names, state);
        let asked = LEAVES.iter().step_by(500).map(|leaf| world.ask(&Ask::new("www.shop.example", "A").net(*leaf)));
        asked.map(|reply| reply.to_string()).collect::<Vec<_>>()
    };
    let up = answers(State::Up);
    for state in [State::Degraded, State::Unknown, State::Down] {
        assert_eq!(answers(state), up, "{state:?}");
    }
}
