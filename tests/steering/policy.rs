//! Preferences, cost, ties and spread (BEHAVIOUR rules 5 to 8), addresses and TTLs.

use std::collections::BTreeMap;
use std::net::IpAddr;

use meridian::model::State;
use meridian::table::{PlanTable, Standing};

use crate::dns::{Ask, World};
use crate::small::{
    AS_IN_GERMANY, BRITAIN, GERMANY, GERMANY_V6, SEATTLE, SINGAPORE, SYDNEY, VIRGINIA, ask, who, world_with, www,
    www_with,
};

#[test]
fn a_preference_wins_within_its_budget() {
    let prefer = |within: &str| {
        www(&format!(
            "tie = \"0ms\"\nprefer = [{{ where = \"country:DE\", clouds = [\"azure\"], within = \"{within}\" }}]"
        ))
    };
    // Amsterdam is some 9 ms further than Frankfurt.
    let near = prefer("30ms");
    assert_eq!(who(&near, GERMANY), ["ams"]);
    assert_eq!(who(&near, GERMANY_V6), ["ams"]);
    assert_eq!(who(&near, BRITAIN), ["lon"], "only its clients prefer it");
    assert_eq!(who(&near.without(&["ams"]), GERMANY), ["fra"], "Singapore is too far");
    assert_eq!(who(&near.without(&["fra"]), GERMANY), ["ams"]);
    assert_eq!(who(&prefer("1ms"), GERMANY), ["fra"]);
    let strict = prefer("any");
    assert_eq!(who(&strict.without(&["ams"]), GERMANY), ["sin"]);
    assert_eq!(who(&strict.without(&["ams", "sin"]), GERMANY), ["fra"]);
}

#[test]
fn the_first_preference_that_reaches_decides() {
    let world = www("tie = \"0ms\"
        prefer = [
          { where = \"country:DE\", endpoints = [\"sin\", \"dub\"], within = \"30ms\" },
          { where = \"continent:EU\", endpoints = [\"ams\"], within = \"30ms\" },
        ]");
    assert_eq!(who(&world, GERMANY), ["dub"]);
    assert_eq!(who(&world.without(&["dub"]), GERMANY), ["ams"]);
    assert_eq!(who(&world, BRITAIN), ["ams"]);
}

#[test]
fn places_of_every_kind_may_prefer() {
    let world = www("tie = \"0ms\"
        prefer = [
          { where = \"cidr:30.1.7.0/24\", endpoints = [\"syd\"], within = \"any\" },
          { where = \"asn:64496\", endpoints = [\"sin\"], within = \"any\" },
          { where = \"subdivision:US-WA\", endpoints = [\"iad\"], within = \"any\" },
        ]");
    for (prefix, endpoint) in [
        ("30.1.7.0/24", "syd"),
        ("30.1.6.0/24", "fra"),
        (AS_IN_GERMANY, "sin"),
        (SEATTLE, "iad"),
        (VIRGINIA, "iad"),
        (SYDNEY, "syd"),
    ] {
        assert_eq!(who(&world, prefix), [endpoint], "{prefix}");
    }
}

#[test]
fn the_cheapest_within_the_budget_of_the_fastest() {
    let costs = [
        ("fra", "cost = 0.2"),
        ("ams", "cost = { \"country:DE\" = 0.1, default = 0.3 }"),
        ("dub", "cost = 0.05"),
        ("lon", "cost = 0.2"),
    ];
    let budget = |budget: &str| {
        www_with(
            &format!("endpoints = [\"fra\", \"ams\", \"dub\", \"lon\"]\ntie = \"0ms\"\ncost_budget = \"{budget}\""),
            &costs,
        )
    };
    assert_eq!(who(&budget("0ms"), GERMANY), ["fra"]);
    assert_eq!(who(&budget("10ms"), GERMANY), ["ams"], "Dublin is 22 ms further");
    assert_eq!(who(&budget("30ms"), GERMANY), ["dub"]);
    assert_eq!(who(&budget("30ms").without(&["dub"]), GERMANY), ["ams"]);
    // Dearer for others: from London, Amsterdam costs more than London itself.
    assert_eq!(who(&budget("7ms"), BRITAIN), ["lon"]);
    // Reckoned from the fastest that is usable.
    assert_eq!(who(&budget("10ms").without(&["fra", "ams"]), GERMANY), ["dub"]);
}

/// How many /24s of Germany each endpoint has.
fn shares(world: &World) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for third in 0..=255 {
        *shares.entry(who(world, &format!("30.1.{third}.0/24")).concat()).or_default() += 1;
    }
    shares
}

#[test]
fn sticky_clients_share_by_weight_and_stay() {
    let world = www_with("endpoints = [\"fra\", \"ams\"]\ntie = \"10ms\"", &[("fra", "weight = 300")]);
    let shares = shares(&world);
    assert!((170..=215).contains(&shares["fra"]) && shares["fra"] + shares["ams"] == 256, "{shares:?}");
    // The draw of the query plays no part.
    for random in [0, 1, u64::MAX] {
        let asked = Ask::new("www.shop.example", "A").subnet("30.1.3.0/24").random(random);
        assert_eq!(world.who(&world.ask(&asked)), who(&world, "30.1.3.0/24"));
    }
    // Whoever was not at the one that fails stays; and all come back.
    let without = world.without(&["ams"]);
    assert_eq!(self::shares(&without)["fra"], 256);
    assert_eq!(self::shares(&without.standing(&["ams"], State::Up)), shares);
}

#[test]
fn services_spread_their_clients_apart() {
    let service = |name: &str| {
        format!("[[services]]\nname = \"{name}.shop.example\"\nendpoints = [\"fra\", \"ams\"]\ntie = \"10ms\"\n")
    };
    let world = crate::small::world(&format!("{}{}", service("www"), service("api")));
    let by = |name: &str, third: u8| {
        world.ask(&Ask::new(&format!("{name}.shop.example"), "A").subnet(&format!("30.1.{third}.0/24"))).addresses()
    };
    let differ = (0..=255).filter(|&third| by("www", third) != by("api", third)).count();
    assert!((64..192).contains(&differ), "{differ}");
}

#[test]
fn random_draws_anew_and_holds_for_the_leaf() {
    let world = www("endpoints = [\"fra\", \"ams\"]\nspread = \"random\"\ntie = \"10ms\"");
    let draw = |random| {
        let reply = world.ask(&Ask::new("www.shop.example", "A").subnet("30.1.3.0/24").random(random));
        assert_eq!(reply.scope(), Some(16));
        world.who(&reply).concat()
    };
    let drawn = (0..1000).filter(|&random| draw(random) == "fra").count();
    assert!((400..600).contains(&drawn), "{drawn}");
}

#[test]
fn multivalue_holds_several_in_one_answer() {
    let world = www("spread = \"multivalue\"\nmultivalue = 2\ntie = \"10ms\"");
    let reply = ask(&world, "A", GERMANY);
    assert_eq!((world.who(&reply), reply.scope()), (vec!["fra".to_owned(), "ams".to_owned()], Some(16)));
    assert_eq!(who(&world, "30.1.3.0/24"), ["fra", "ams"], "no key plays a part");
    assert_eq!(who(&world, SINGAPORE), ["sin"], "nothing ties with it");
    assert_eq!(who(&world.without(&["ams"]), GERMANY), ["fra"], "the next is over 10 ms away");
    let wide = www("spread = \"multivalue\"\nmultivalue = 3\ntie = \"40ms\"");
    assert_eq!(who(&wide, GERMANY).len(), 3);
    assert_eq!(who(&wide.without(&["ams"]), GERMANY).len(), 3, "the next moves up");
}

#[test]
fn an_address_that_is_down_alone_leaves_the_answer() {
    let addresses = "addresses = [\"198.51.100.21\", \"198.51.100.22\", \"2001:db8::21\", \"2001:db8::22\"]";
    let world = www_with("endpoints = [\"fra\", \"ams\"]\ntie = \"0ms\"", &[("fra", addresses)]);
    let [a, b, c, d] =
        ["198.51.100.21", "198.51.100.22", "2001:db8::21", "2001:db8::22"].map(|text| text.parse::<IpAddr>().unwrap());
    let standing = |down: &[IpAddr]| {
        let state = |address| if down.contains(&address) { State::Down } else { State::Up };
        let addresses = [a, b, c, d].map(|address| (address, state(address))).to_vec();
        world.with_snapshot(
            world
                .snapshot
                .with_standings(vec![(world.endpoint("fra"), Standing::of(addresses))], jiff::Timestamp::UNIX_EPOCH),
        )
    };
    let answers = |down: &[IpAddr]| {
        let world = standing(down);
        (ask(&world, "A", GERMANY).addresses(), ask(&world, "AAAA", GERMANY).addresses())
    };
    assert_eq!(answers(&[]), (vec![a, b], vec![c, d]));
    assert_eq!(answers(&[a]), (vec![b], vec![c, d]));
    assert_eq!(answers(&[a, d]), (vec![b], vec![c]));
    // A family that is down as a whole goes to the next endpoint.
    assert_eq!(answers(&[a, b]), (vec!["198.51.100.1".parse().unwrap()], vec![c, d]));
}

#[test]
fn hostnames_answer_with_their_addresses_no_longer_than_these_last() {
    let world = www_with(
        "endpoints = [\"fra\", \"dub\"]\ntie = \"0ms\"\nttl = \"1m\"",
        &[("fra", "hostname = \"lb.elsewhere.test\"")],
    );
    // Not resolved yet: never answered.
    assert_eq!(who(&world, GERMANY), ["dub"]);
    let resolved = Standing { ttl: 7, ..Standing::of(vec![("192.0.2.7".parse().unwrap(), State::Up)]) };
    let world = world.with_snapshot(
        world.snapshot.with_standings(vec![(world.endpoint("fra"), resolved)], jiff::Timestamp::UNIX_EPOCH),
    );
    let reply = ask(&world, "A", GERMANY);
    assert_eq!((world.who(&reply), reply.ttl()), (vec!["fra".to_owned()], 7));
    // It has no IPv6 address; others have, so AAAA exists for all.
    let reply = ask(&world, "AAAA", GERMANY);
    assert_eq!((world.who(&reply), reply.ttl()), (vec!["dub".to_owned()], 60));
    // Alone and unresolved: SERVFAIL with an extended error, never NODATA (rule 19).
    let alone = www_with("endpoints = [\"fra\"]", &[("fra", "hostname = \"lb.elsewhere.test\"")]);
    let reply = ask(&alone, "A", GERMANY);
    assert_eq!((reply.rcode(), reply.extended_error(), reply.scope()), ("SERVFAIL", Some(0), Some(0)));
}

#[test]
fn bias_is_added_to_the_expected_latency() {
    let far = ("fra", "bias = \"20ms\"");
    assert_eq!(who(&www_with("tie = \"0ms\"", &[far]), GERMANY), ["ams"]);
    assert_eq!(who(&www_with("tie = \"0ms\"", &[far, ("lon", "bias = \"-5ms\"")]), GERMANY), ["lon"]);
}

#[test]
fn static_names_know_no_health() {
    let world = www("");
    let ask = Ask::new("static.shop.example", "A").subnet(GERMANY);
    let all: Vec<String> = world.snapshot.parts.config.endpoints.iter().map(|e| e.name.to_string()).collect();
    let down = world.without(&all.iter().map(String::as_str).collect::<Vec<_>>());
    assert_eq!(world.ask(&ask).to_string(), down.ask(&ask).to_string());
    assert!(world.ask(&ask).to_string().contains("AN static.shop.example. 3600 IN A 192.0.2.80"));
}

#[test]
fn a_verdict_leaves_plans_that_do_not_hold_the_endpoint_as_they_are() {
    let service = |name: &str, endpoints: &str| {
        format!("[[services]]\nname = \"{name}.shop.example\"\nendpoints = [{endpoints}]\n")
    };
    let world =
        crate::small::world(&format!("{}{}", service("www", "\"fra\", \"ams\""), service("api", "\"iad\", \"sea\"")));
    let next = world.without(&["fra"]);
    let plan = |world: &World, index: usize| -> *const _ { world.snapshot.plan(&world.snapshot.services[index]) };
    assert_ne!(plan(&world, 0), plan(&next, 0));
    assert_eq!(plan(&world, 1), plan(&next, 1));
    assert_eq!(next.snapshot.generation, world.snapshot.generation + 1);
    assert!(std::sync::Arc::ptr_eq(&world.snapshot.parts.geo, &next.snapshot.parts.geo));
    // And the snapshot that was is as it was.
    assert_eq!(world.who(&ask(&world, "A", "30.1.0.0/24")).len(), 1);
}

#[test]
fn panic_is_reckoned_by_capacity_and_fence() {
    let panicking = |world: &World, down: &[&str]| {
        world.without(down).snapshot.services_where(PlanTable::is_panicking).count() == 1
    };
    let four = "endpoints = [\"fra\", \"ams\", \"dub\", \"iad\"]\ntie = \"0ms\"\npanic_below = 0.5";
    let alike = www_with(four, &[]);
    assert!(!panicking(&alike, &["fra", "ams"]), "half of it lives");
    assert!(panicking(&alike, &["fra", "ams", "dub"]));
    assert!(!panicking(&alike, &["fra", "ams", "dub", "iad"]), "nothing lives: when_none acts");
    let capacities = [
        ("iad", "capacity = { now = 100, max = 2_700 }"),
        ("fra", "capacity = 100"),
        ("ams", "capacity = 100"),
        ("dub", "capacity = 100"),
    ];
    let large = www_with(four, &capacities);
    assert!(panicking(&large, &["iad"]), "a tenth of it lives");
    assert!(!panicking(&large, &["fra", "ams", "dub"]));
    let service =
        format!("[[services]]\nname = \"www.shop.example\"\n{four}\nfence = [{{ where = \"eu\", in = \"eu\" }}]");
    let fenced = world_with(&service, &capacities);
    assert!(panicking(&fenced, &["fra", "ams"]), "a third of what clients in the EU may use");
}
