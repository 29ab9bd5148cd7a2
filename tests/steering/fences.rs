//! Residency (BEHAVIOUR rules 1 to 3): whatever fails, no client leaves its fence.

use std::collections::BTreeSet;

use meridian::model::State;

use crate::small::{
    AS_IN_GERMANY, BRITAIN, EMIRATES, FRANCE, GERMANY, GERMANY_V6, HALF_GERMAN, HALF_KNOWN, SEATTLE, VIRGINIA, ask,
    who, world_with, www,
};

const EU: [&str; 3] = ["ams", "dub", "fra"];
const ALL: [&str; 8] = ["ams", "fra", "dub", "lon", "iad", "sea", "sin", "syd"];

/// Everyone whom clients of the /24s of `prefix` get.
fn all_of(world: &crate::dns::World, prefix: &str) -> BTreeSet<String> {
    let net: ipnet::IpNet = prefix.parse().unwrap();
    let length = if net.addr().is_ipv4() { 24 } else { 48 };
    net.subnets(length.max(net.prefix_len())).unwrap().take(64).flat_map(|net| who(world, &net.to_string())).collect()
}

#[test]
fn no_failure_crosses_a_fence() {
    for when_none in ["ignore_health", "servfail", "nodata", "endpoint:fra"] {
        let world = www(&format!("fence = [{{ where = \"eu\", in = \"eu\" }}]\nwhen_none = \"{when_none}\""));
        for prefix in [GERMANY, FRANCE, GERMANY_V6, HALF_GERMAN] {
            for down in [&EU[..], &EU[1..], &EU[..1], &ALL] {
                let found = all_of(&world.without(down), prefix);
                assert!(found.iter().all(|name| EU.contains(&name.as_str())), "{when_none} {prefix}: {found:?}");
            }
        }
        // Nobody is kept out of the EU, and without the fence's endpoints the others still have theirs.
        assert_eq!(who(&world.without(&["lon"]), BRITAIN).len(), 1);
        assert_eq!(who(&world.without(&EU), VIRGINIA), ["iad"]);
        // And it is told: only where somebody has nothing living left.
        let told = |down: &[&str]| {
            world.without(down).snapshot.services_where(meridian::table::PlanTable::is_exhausted).count() > 0
        };
        assert!(told(&EU) && !told(&EU[1..]) && !told(&["lon"]));
    }
}

#[test]
fn in_the_fence_when_all_are_down() {
    let with = |word: &str| {
        let keys = format!("tie = \"0ms\"\nfence = [{{ where = \"eu\", in = \"eu\" }}]\nwhen_none = \"{word}\"");
        www(&keys).without(&EU)
    };
    let soa = "NS shop.example. 20 IN SOA ns1.shop.example. hostmaster.shop.example. 7 7200 900 1209600 300";
    assert_eq!(who(&with("ignore_health"), GERMANY), ["fra"], "the order as if all were up");
    assert_eq!(who(&with("endpoint:dub"), GERMANY), ["dub"]);
    for rtype in ["A", "AAAA"] {
        let opt = |scope: &str| format!("OPT 1232 subnet=30.1.0.0/16/{scope}");
        assert_eq!(ask(&with("nodata"), rtype, GERMANY).to_string(), format!("NOERROR aa\n{soa}\n{}", opt("0")));
        let failed = ask(&with("servfail"), rtype, GERMANY);
        assert_eq!(failed.to_string(), format!("SERVFAIL aa\n{} error=0", opt("0")));
    }
}

#[test]
fn states_are_used_in_order() {
    let mut world = www("tie = \"0ms\"\nfence = [{ where = \"eu\", in = \"eu\" }]");
    for (state, next) in [(State::Down, "ams"), (State::Unknown, "ams"), (State::Degraded, "ams")] {
        assert_eq!(who(&world.standing(&["fra"], state), GERMANY), [next]);
    }
    // Degraded before unknown before down.
    world = world.standing(&["dub"], State::Down);
    assert_eq!(who(&world.standing(&["fra"], State::Unknown).standing(&["ams"], State::Degraded), GERMANY), ["ams"]);
    assert_eq!(who(&world.standing(&["fra"], State::Down).standing(&["ams"], State::Unknown), GERMANY), ["ams"]);
    assert_eq!(who(&world.standing(&["fra", "ams"], State::Down), GERMANY), ["fra"]);
}

#[test]
fn narrower_fences() {
    let fence = |narrowed: &str| www(&format!("fence = [{{ where = \"eu\", in = \"eu\", {narrowed} }}]"));
    assert_eq!(who(&fence("clouds = [\"aws\"]"), GERMANY), ["dub"]);
    assert_eq!(who(&fence("endpoints = [\"a*\", \"lon\"]"), GERMANY), ["ams"]);
    assert_eq!(who(&fence("clouds = [\"aws\"]").without(&["dub"]), GERMANY), ["dub"]);
}

#[test]
fn all_fences_that_apply_hold_at_once() {
    let world = www("fence = [
          { where = \"eu\", in = \"eu\" },
          { where = \"country:FR\", in = \"continent:EU\", clouds = [\"azure\", \"aws\"] },
          { where = \"asn:64496\", in = \"continent:EU\", endpoints = [\"ams\", \"dub\"] },
          { where = \"cidr:30.1.7.0/24\", in = \"continent:EU\", endpoints = [\"dub\", \"lon\"] },
        ]
        tie = \"0ms\"");
    for down in [&[][..], &["dub"], &["ams", "dub", "fra"]] {
        let world = world.without(down);
        assert_eq!(who(&world, "30.1.7.0/24"), ["dub"]);
        assert_eq!(who(&world, "9.9.9.0/24"), ["dub"], "inside them all");
        assert!(["ams", "dub"].contains(&who(&world, AS_IN_GERMANY)[0].as_str()));
        assert!(["ams", "dub"].contains(&who(&world, FRANCE)[0].as_str()));
        assert_eq!(who(&world, VIRGINIA), ["iad"]);
    }
    assert_eq!(who(&world, "30.1.64.0/24"), ["fra"]);
    // Parts of Germany are under other fences than the rest: they all apply.
    assert_eq!(who(&world, GERMANY), ["dub"]);
    let state = www("fence = [{ where = \"subdivision:US-WA\", in = \"country:US\", clouds = [\"gcp\"] }]");
    assert_eq!(who(&state.without(&["sea", "iad"]), SEATTLE), ["sea"]);
    assert_ne!(who(&state.without(&["sea", "iad"]), VIRGINIA), ["iad"]);
    // Scopes are cut at what the configuration names.
    assert_eq!(ask(&world, "A", AS_IN_GERMANY).scope(), Some(17));
    assert_eq!(ask(&world, "A", "30.1.7.0/24").scope(), Some(24));
    assert_eq!(ask(&world, "A", "30.1.6.0/24").scope(), Some(24));
    assert_eq!(ask(&world, "A", "30.1.64.0/24").scope(), Some(18));
}

#[test]
fn of_unknown_place_by_default_means_inside_every_fence() {
    let world = www("fence = [{ where = \"eu\", in = \"eu\" }, { where = \"country:AE\", in = \"continent:EU\" }]");
    for prefix in ["9.9.0.0/16", "10.0.0.0/16", "60.1.0.128/25", "2001:db8::/32"] {
        let found = all_of(&world, prefix);
        assert!(found.iter().all(|name| EU.contains(&name.as_str())), "{prefix}: {found:?}");
        assert!(found.len() > 1 || prefix.ends_with("/25"), "all are equally far: {found:?}");
    }
    assert_eq!(who(&world.without(&["ams", "dub", "fra", "lon"]), EMIRATES).len(), 1);
    // Half German, half British: German law for both.
    for down in [&[][..], &EU] {
        assert!(EU.contains(&who(&world.without(down), HALF_GERMAN)[0].as_str()));
    }
    assert_eq!(who(&world, "50.1.0.128/25"), ["lon"]);
}

#[test]
fn a_prefix_with_clients_of_no_known_country_meets_every_fence() {
    let world = www("fence = [{ where = \"eu\", in = \"eu\" }]\ntie = \"0ms\"");
    assert_eq!(who(&world, "60.1.0.0/25"), ["iad"]);
    assert!(EU.contains(&who(&world, "60.1.0.128/25")[0].as_str()));
    assert!(EU.contains(&who(&world, HALF_KNOWN)[0].as_str()), "some of its clients may be in the EU");
}

#[test]
fn of_unknown_place_may_mean_a_named_set() {
    let world = www("fence = [{ where = \"eu\", in = \"eu\" }]\nfence_unknown = \"country:GB\"");
    assert_eq!(who(&world, "9.9.9.0/24"), ["lon"]);
    assert_eq!(who(&world.without(&["lon"]), "9.9.9.0/24"), ["lon"], "a fence as well");
    assert_eq!(who(&world, HALF_GERMAN), ["lon"], "none of the set is inside the fence known to apply");
    let both = www("fence = [{ where = \"eu\", in = \"eu\" }]\nfence_unknown = \"continent:EU\"\ntie = \"0ms\"");
    assert!(EU.contains(&who(&both, HALF_GERMAN)[0].as_str()), "the set inside the fence known to apply");
}

#[test]
fn which_types_exist_depends_on_no_place() {
    // Germany's only endpoint has no IPv6 address: nobody gets AAAA, in Virginia neither.
    let service = "[[services]]
        name = \"www.shop.example\"
        endpoints = [\"*\"]
        fence = [{ where = \"country:DE\", in = \"country:DE\" }]";
    let world = world_with(service, &[("fra", "addresses = [\"198.51.100.2\"]")]);
    for prefix in [GERMANY, VIRGINIA, "9.9.9.0/24"] {
        let reply = ask(&world, "AAAA", prefix);
        assert_eq!((reply.rcode(), reply.message.answers.len(), reply.scope()), ("NOERROR", 0, Some(0)), "{prefix}");
        assert_eq!(reply.message.authorities[0].ttl, 20);
        assert_eq!(ask(&world, "A", prefix).addresses().len(), 1);
    }
}

#[test]
fn a_named_set_for_unknown_places_has_the_types_that_exist() {
    // Of the set, only London has IPv6, and of those inside the fence known to apply none.
    let service = "[sets]
        near = [\"country:GB\", \"country:DE\"]
        [[services]]
        name = \"www.shop.example\"
        endpoints = [\"*\"]
        fence = [{ where = \"eu\", in = \"eu\" }]
        fence_unknown = \"near\"";
    let world = world_with(service, &[("fra", "addresses = [\"198.51.100.2\"]")]);
    for prefix in [GERMANY, VIRGINIA, "9.9.9.0/24", HALF_GERMAN] {
        for rtype in ["A", "AAAA"] {
            assert_eq!(ask(&world, rtype, prefix).addresses().len(), 1, "{rtype} {prefix}");
        }
    }
}
