//! EDNS Client Subnet (RFC 7871): where the location comes from, and how far an answer holds.

use std::collections::BTreeSet;

use crate::dns::{Ask, World};
use crate::small::{
    BRITAIN, GERMANY, GERMANY_V6, HALF_GERMAN, SEATTLE, SINGAPORE, VIRGINIA, VIRGINIA_V6, ask, who, world, www,
};

/// Nearest alone: ties are too narrow for a split.
fn nearest() -> World {
    www("tie = \"0ms\"")
}

fn opt(world: &World, ask: &Ask) -> String {
    world.ask(ask).to_string().lines().last().unwrap().to_owned()
}

#[test]
fn the_subnet_decides_and_not_the_resolver() {
    let world = nearest();
    let asked = Ask::new("www.shop.example", "A").from("20.1.0.53").subnet("30.1.7.0/24");
    assert_eq!(world.who(&world.ask(&asked)), ["fra"]);
    assert_eq!(opt(&world, &asked), "OPT 1232 subnet=30.1.7.0/24/16");
    // IPv6 clients of a resolver that speaks IPv4.
    let asked = Ask::new("www.shop.example", "A").from("20.1.0.53").subnet("2a00:1:2:300::/56");
    assert_eq!(world.who(&world.ask(&asked)), ["fra"]);
    assert_eq!(opt(&world, &asked), "OPT 1232 subnet=2a00:1:2:300::/56/32");
}

#[test]
fn without_the_option_the_resolver_decides_and_none_comes_back() {
    let world = nearest();
    for (resolver, endpoint) in [("30.1.0.53", "fra"), ("20.2.0.53", "sea"), ("2600:1::53", "iad")] {
        let plain = Ask::new("www.shop.example", "AAAA").from(resolver);
        let reply = world.ask(&plain);
        assert_eq!((world.who(&reply), reply.message.edns.is_none()), (vec![endpoint.to_owned()], true));
        assert_eq!(opt(&world, &plain.edns(1232)), "OPT 1232");
    }
}

#[test]
fn source_0_asks_by_the_resolver_and_holds_for_everyone_of_it() {
    let world = nearest();
    for (subnet, echoed) in [("0.0.0.0/0", "0.0.0.0/0/0"), ("::/0", "::/0/0")] {
        let asked = Ask::new("www.shop.example", "A").from("20.2.0.53").subnet(subnet);
        assert_eq!(world.who(&world.ask(&asked)), ["sea"]);
        assert_eq!(opt(&world, &asked), format!("OPT 1232 subnet={echoed}"));
    }
    // As dig +subnet=0 sends it: family 0. hickory-proto does not read that one, so the octets are looked at.
    let asked = Ask::new("www.shop.example", "A").from("20.2.0.53").raw_subnet(&[0, 0, 0, 0]);
    let reply = world.octets(asked.asker, &asked.octets()).unwrap();
    assert!(reply.ends_with(&[0, 8, 0, 4, 0, 0, 0, 0]) && reply[3] & 0xf == 0, "{reply:?}");
}

#[test]
fn longer_sources_get_the_length_of_the_leaf() {
    let world = nearest();
    for source in [16, 20, 24, 32] {
        let reply = ask(&world, "A", &format!("30.1.0.0/{source}"));
        assert_eq!((world.who(&reply), reply.scope()), (vec!["fra".to_owned()], Some(16)));
    }
    assert_eq!(ask(&world, "A", "2a00:1::/128").scope(), Some(32));
}

#[test]
fn shorter_sources_get_the_heaviest_place_and_learn_how_much_to_send() {
    let world = nearest();
    // 30.0.0.0/8 holds three equal countries; its first leaf is the empty 30.0.0.0/16.
    let reply = ask(&world, "A", "30.0.0.0/8");
    assert_eq!(reply.scope(), Some(16));
    assert!(["fra", "ams", "lon"].contains(&world.who(&reply)[0].as_str()));
    let reply = ask(&world, "A", "20.0.0.0/14");
    assert_eq!(reply.scope(), Some(16), "{reply}");
    assert_eq!(ask(&world, "A", HALF_GERMAN).scope(), Some(25));
}

#[test]
fn clients_of_unknown_place() {
    // All are equally far. Private and unallocated space: the default, as far as nothing is known.
    let world = www("tie = \"0ms\"\nspread = \"random\"");
    let reply = ask(&world, "A", "10.1.2.0/24");
    assert_eq!((world.who(&reply).len(), reply.scope()), (1, Some(4)));
    let again = ask(&world, "A", "2.3.4.0/24");
    assert_eq!((world.who(&again), again.scope()), (world.who(&reply), Some(4)));
    assert_eq!(ask(&world, "A", "fd00::/48").scope(), Some(1), "{reply}");
    assert_eq!(ask(&nearest(), "A", "10.1.2.0/24").scope(), Some(24), "or by the key, where clients are shared");
}

#[test]
fn malformed_options_are_refused_as_such() {
    let world = nearest();
    for (what, data) in [
        ("no address behind source 24", &[0, 1, 24, 0][..]),
        ("too long an address", &[0, 1, 24, 0, 30, 1, 7, 0]),
        ("bits beyond source", &[0, 1, 20, 0, 30, 1, 0x1f]),
        ("source above 32", &[0, 1, 33, 0, 30, 1, 7, 0, 0]),
        ("source above 128", &[0, 2, 129, 0, 0x2a]),
        ("a scope in a query", &[0, 1, 24, 16, 30, 1, 7]),
        ("family 3", &[0, 3, 0, 0]),
        ("family 0 with an address", &[0, 0, 8, 0, 30]),
        ("three octets", &[0, 1, 0]),
        ("nothing", &[]),
    ] {
        let reply = world.ask(&Ask::new("www.shop.example", "A").raw_subnet(data));
        assert_eq!(reply.to_string(), "FORMERR\nOPT 1232", "{what}");
    }
    // Two: a reply could be truthful to one of them only. Beside another option (padding) it is good.
    let ask = Ask::new("www.shop.example", "A").subnet("30.1.7.0/24");
    for (code, rcode) in [(8, 1), (12, 0)] {
        let (mut two, option) = (ask.octets(), [0, code, 0, 7, 0, 1, 24, 0, 20, 1, 7]);
        let length = two.len() - option.len() - 1;
        two[length] += option.len() as u8;
        two.extend(option);
        let reply = world.octets(ask.asker, &two).unwrap();
        assert_eq!(reply[3] & 0xf, rcode, "{reply:?}");
    }
}

#[test]
fn a_chain_that_leads_to_a_service_is_steered_with_its_scope() {
    let world = world(
        "[[services]]
        name = \"www.shop.example\"
        endpoints = [\"*\"]
        tie = \"0ms\"
        [[services]]
        name = \"*.store.shop.example\"
        endpoints = [\"*\"]
        tie = \"0ms\"",
    );
    for (name, aliases) in [
        ("www.shop.example", 0),
        ("acme.store.shop.example", 0),
        ("a.b.store.shop.example", 0),
        ("shop.shop.example", 1),
        ("far.shop.example", 1),
        ("a.old.shop.example", 4),
    ] {
        for (prefix, endpoint) in [(GERMANY, "fra"), (VIRGINIA, "iad"), (SINGAPORE, "sin")] {
            for rtype in ["A", "AAAA"] {
                let reply = world.ask(&Ask::new(name, rtype).subnet(prefix));
                assert_eq!(world.who(&reply), [endpoint], "{name}");
                assert_eq!((reply.message.answers.len(), reply.scope()), (aliases + 1, Some(16)), "{name}: {reply}");
                assert_eq!(reply.ttl(), 20);
            }
        }
    }
}

#[test]
fn where_a_split_is_consulted_the_answer_holds_for_the_key() {
    // Everything in Europe ties: four share.
    let world = www("tie = \"40ms\"");
    let mut seen = BTreeSet::new();
    for third in 0..=255u8 {
        let all = format!("30.1.{third}.0/24");
        let reply = ask(&world, "A", &all);
        assert_eq!(reply.scope(), Some(24));
        let names = who(&world, &all);
        // The whole prefix has one answer, whichever part of it asks; a source within gets the same scope.
        for part in [format!("30.1.{third}.77/32"), format!("30.1.{third}.128/25")] {
            let inside = ask(&world, "AAAA", &part);
            assert_eq!((world.who(&inside), inside.scope()), (names.clone(), Some(24)), "{part}");
        }
        seen.extend(names);
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["ams", "dub", "fra", "lon"]);
    let six = ask(&world, "A", "2a00:1:7::/56");
    assert_eq!((six.scope(), ask(&world, "A", "2a00:1:7:ff00::/64").addresses()), (Some(48), six.addresses()));
    assert_eq!(ask(&world, "A", SINGAPORE).scope(), Some(16), "nothing ties with Singapore");
    // Shorter than the key: as the first prefix in it, and told to send more.
    let short = ask(&world, "A", "30.1.0.0/20");
    assert_eq!((short.scope(), short.addresses()), (Some(24), ask(&world, "A", "30.1.0.0/24").addresses()));
    // Without the option the resolver's whole address is the key.
    let by = |resolver: &str| world.ask(&Ask::new("www.shop.example", "A").from(resolver)).addresses();
    assert_eq!(by("30.1.9.53"), by("30.1.9.53"));
    let resolvers: BTreeSet<_> = (0..=255).map(|last| by(&format!("30.1.9.{last}"))).collect();
    assert_eq!(resolvers.len(), 4, "those of one /24 are spread like any others");
}

#[test]
fn ipv4_mapped_addresses_are_ipv4() {
    let world = nearest();
    let reply = ask(&world, "A", "::ffff:30.1.7.0/120");
    assert_eq!((world.who(&reply), reply.scope()), (vec!["fra".to_owned()], Some(96 + 16)));
}

#[test]
fn places_differ() {
    let world = nearest();
    let found = [GERMANY, BRITAIN, VIRGINIA, SEATTLE, SINGAPORE, GERMANY_V6, VIRGINIA_V6].map(|at| who(&world, at));
    assert_eq!(found.concat(), ["fra", "lon", "iad", "sea", "sin", "fra", "iad"]);
}
