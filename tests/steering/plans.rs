//! Plans' tables: the lines that the hot path copies say what the slow path says, plan tries what locations
//! say, and what did not change is used again.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use ipnet::IpNet;
use meridian::control::{Loaded, load};
use meridian::model::{Addresses, CounterId, EndpointId, Family, LocationId, Service, State};
use meridian::table::{
    Before, Changed, CounterKey, Counters, HeldAs, Image, PlanTable, Ready, ReadyKind, Reply, Snapshot, Standing,
};
use proptest::prelude::*;

use crate::dns::World;
use crate::properties::{leaf, prefix_near, source};
use crate::shipped::SHIPPED;
use crate::small::{world, world_files, www, www_with};

fn says(ready: &Ready, image: &Image) -> bool {
    ready.kind == ReadyKind::Whole
        && ready.octets[..usize::from(ready.length)] == *image.bytes
        && usize::from(ready.records) == image.starts.len()
        && ready.ttl == image.ttl
        && [ready.counter] == *image.counters
}

/// A line of its own, or left to the slow path because the image is too long or of several endpoints.
fn is_of(ready: &Ready, image: &Image) -> bool {
    let fits = image.bytes.len() <= 48 && image.counters.len() == 1;
    if fits { says(ready, image) } else { ready.kind == ReadyKind::Slow }
}

/// How many orders are answered by a line, by a split's lines, and slowly.
fn ready_agrees(table: &PlanTable, locations: usize) -> [usize; 3] {
    let mut kinds = [0; 3];
    for family in Family::ALL {
        for location in 0..locations {
            let order = table.order(family, LocationId::at(location));
            let (replies, ready) = (table.replies(family), table.replies(family).ready(order));
            kinds[ready.kind as usize] += 1;
            match replies.reply(order) {
                Reply::Split(index) => {
                    assert_eq!((ready.kind, ready.index), (ReadyKind::Split, *index));
                    let shares = replies.split(*index).shares();
                    assert!(shares.len() > 1);
                    let mut members = shares.iter().map(|share| share.member);
                    assert!(members.all(|member| is_of(replies.ready_of(member), replies.image_of(member))));
                }
                Reply::Whole(image) => assert!(is_of(ready, image)),
                Reply::Nodata | Reply::Servfail => assert_eq!(ready.kind, ReadyKind::Slow),
            }
        }
    }
    kinds
}

fn all_agree(world: &World) -> [usize; 3] {
    let snapshot = &world.snapshot;
    let locations = snapshot.parts.geo.locations().len();
    let of = snapshot.services.iter().map(|service| ready_agrees(snapshot.plan(service), locations));
    of.fold([0; 3], |sum, kinds| std::array::from_fn(|kind| sum[kind] + kinds[kind]))
}

#[test]
fn lines_say_what_replies_say() {
    let [whole, split, slow] = all_agree(&SHIPPED);
    assert!(whole > 0 && split > 0 && slow > 0, "{whole} {split} {slow}");
    all_agree(&SHIPPED.without(&["azure-westeurope", "gcp-sydney", "aws-virginia"]));
    let names: Vec<&str> = SHIPPED.snapshot.parts.config.endpoints.iter().map(|endpoint| &*endpoint.name).collect();
    all_agree(&SHIPPED.without(&names));
}

#[test]
fn long_images_and_failures_are_left_to_the_slow_path() {
    let many: Vec<String> = (10..14).map(|n| format!("\"198.51.100.{n}\"")).collect();
    let addresses = format!("addresses = [{}]", many.join(", "));
    let four = www_with("endpoints = [\"fra\", \"ams\"]\ntie = \"100ms\"", &[("fra", &addresses)]);
    let [_, split, _] = all_agree(&four);
    assert!(split > 0);
    let none = www("when_none = \"servfail\"").without(&["ams", "fra", "dub", "lon", "iad", "sea", "sin", "syd"]);
    let [whole, split, slow] = all_agree(&none);
    assert!(whole == 0 && split == 0 && slow > 0);
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn plan_tries_say_what_locations_say(leaf in leaf(), entropy: u128, inside: u128, by in -12i8..=16, service in 0usize..4, v6: bool) {
        let family = if v6 { Family::V6 } else { Family::V4 };
        let (parts, plan) = (&SHIPPED.snapshot.parts, SHIPPED.snapshot.plan(&SHIPPED.snapshot.services[service]));
        let geo = &parts.geo;
        prop_assert!(plan.trie(family).is_some());
        let prefix = prefix_near(leaf, entropy, source(leaf, by));
        let (address, length) = (prefix.addr(), prefix.prefix_len());
        let placed = plan.place(parts, family, address, length);
        let by_location = geo.locate_prefix(address, length);
        prop_assert!(placed.length <= by_location.length);
        let of = |address: IpAddr| {
            let location = geo.locate(address).location;
            (plan.order(family, location), geo.location(location).is_located())
        };
        if placed.length > length {
            prop_assert_eq!(placed.order, plan.order(family, by_location.location));
            return Ok(());
        }
        // Whoever is in the scope has the order, and the leaf around them is that of one address too.
        let scope = IpNet::new(address, placed.length).unwrap().trunc();
        for address in [address, scope.addr(), scope.broadcast(), prefix_near(scope, inside, 128).addr()] {
            prop_assert_eq!(of(address), (placed.order, placed.located), "{} in {}", address, scope);
            prop_assert_eq!(plan.place(parts, family, address, u8::MAX), placed);
        }
    }
}

#[test]
fn ipv4_mapped_space_merges_with_nothing() {
    let plan = SHIPPED.snapshot.plan(&SHIPPED.snapshot.services[0]);
    let parts = &SHIPPED.snapshot.parts;
    let place = |address: &str, source| plan.place(parts, Family::V4, address.parse().unwrap(), source);
    assert_eq!(place("::ffff:81.2.69.1", 120), {
        let v4 = place("81.2.69.1", 24);
        meridian::table::Placed { length: 96 + v4.length, ..v4 }
    });
    assert_eq!(place("::fffe:0:0", 128).length, 96, "its neighbour ends before it");
}

/// `services` in the small world, after `loaded`.
fn read(services: &str, loaded: Option<&Loaded>) -> Loaded {
    load(&mut world_files(services, &[]), Path::new("config.toml"), loaded).unwrap()
}

fn compile(loaded: &Loaded, before: Option<Before<'_>>) -> Snapshot {
    let endpoints = loaded.parts.config.endpoints.iter();
    let standings = endpoints.map(|endpoint| Standing::all(endpoint, State::Up)).collect();
    Snapshot::compile(loaded.parts.clone(), standings, &mut Counters::default(), before, jiff::Timestamp::UNIX_EPOCH)
        .unwrap()
}

fn service(name: &str, endpoints: &str, keys: &str) -> String {
    format!("[[services]]\nname = \"{name}.shop.example\"\nendpoints = [{endpoints}]\n{keys}\n")
}

fn plan<'s>(snapshot: &'s Snapshot, name: &str) -> &'s PlanTable {
    let label = format!("{name}.shop.example");
    snapshot.plan(snapshot.services.iter().find(|entry| *snapshot.service(entry).label == *label).unwrap())
}

/// Where a plan's orders and its trie lie in memory.
fn lies(snapshot: &Snapshot, name: &str) -> (*const u8, *const meridian::geo::Merged) {
    let table = plan(snapshot, name);
    let order = table.order(Family::V4, LocationId(0));
    (table.ranked(Family::V4, order).octets().as_ptr(), table.trie(Family::V4).unwrap())
}

#[test]
fn a_reload_ranks_only_what_is_new() {
    let (a, b) = (service("a", "\"ams\", \"iad\"", ""), service("b", "\"fra\", \"sin\"", ""));
    let first = read(&[&*a, &b].concat(), None);
    let serving = compile(&first, None);
    let again = |services: &[&str]| {
        let second = read(&services.concat(), Some(&first));
        assert!(Arc::ptr_eq(&first.parts.geo, &second.parts.geo));
        compile(&second, Some(Before { snapshot: &serving, count: &|_| 0 }))
    };
    let c = service("c", "\"lon\", \"sin\"", "");
    let next = again(&[&c, &b, &a]);
    assert_eq!(
        [lies(&next, "a"), lies(&next, "b")],
        [lies(&serving, "a"), lies(&serving, "b")],
        "other ids, same orders"
    );
    assert_ne!(lies(&next, "c"), lies(&serving, "b"));
    // What ranking does not read changes no order; what it reads does.
    let next = again(&[
        &service("a", "\"ams\", \"iad\"", "spread = \"random\""),
        &service("b", "\"fra\", \"sin\"", "tie = \"4ms\""),
    ]);
    assert_eq!(lies(&next, "a"), lies(&serving, "a"));
    assert_ne!(lies(&next, "b"), lies(&serving, "b"));
    // Other fences give other locations.
    let fenced = service("d", "\"fra\", \"sin\"", "fence = [{ where = \"eu\", in = \"eu\" }]");
    let second = read(&[&*a, &fenced].concat(), Some(&first));
    let next = compile(&second, Some(Before { snapshot: &serving, count: &|_| 0 }));
    assert_ne!(lies(&next, "a"), lies(&serving, "a"));
}

const EU: &str = "fence = [{ where = \"eu\", in = \"eu\" }]";

#[test]
fn panic_goes_on_over_an_edit() {
    let keys = "panic_below = 0.5\npanic_hold = \"60s\"\nwarmup = \"180s\"";
    let (a, b) = (service("a", "\"ams\", \"iad\", \"sin\"", keys), service("b", "\"fra\", \"lon\", \"sin\"", keys));
    let first = read(&[&*a, &b].concat(), None);
    let endpoints = &first.parts.config.endpoints;
    let standings = |down: &[&str]| -> Vec<Standing> {
        let state = |name: &str| if down.contains(&name) { State::Down } else { State::Up };
        endpoints.iter().map(|endpoint| Standing::all(endpoint, state(&endpoint.name))).collect()
    };
    let now = jiff::Timestamp::UNIX_EPOCH;
    let compile = |loaded: &Loaded, down: &[&str], before: Option<Before<'_>>| {
        let compiled = Snapshot::compile(loaded.parts.clone(), standings(down), &mut Counters::default(), before, now);
        let compiled = compiled.unwrap();
        match before {
            Some(before) => compiled.panicking_as(before.snapshot, now),
            None => compiled,
        }
    };
    let serving = compile(&first, &["ams", "iad"], None);
    assert_eq!(["a", "b"].map(|name| plan(&serving, name).is_panicking()), [true, false]);
    // Another service comes before it, and one endpoint is back; but enough has not been there for long enough yet.
    let second = read(&[&*service("c", "\"fra\", \"sin\"", ""), &a, &b].concat(), Some(&first));
    let next = compile(&second, &["iad"], Some(Before { snapshot: &serving, count: &|_| 0 }));
    assert_eq!(["a", "b"].map(|name| plan(&next, name).is_panicking()), [true, false]);
    assert!(!plan(&compile(&second, &["iad"], None), "a").is_panicking());
    // What has begun, or ended, while the edit was read goes on, or does not.
    let ams = endpoints.iter().position(|endpoint| &*endpoint.name == "ams").unwrap();
    let back = vec![(EndpointId::at(ams), Standing::all(&endpoints[ams], State::Up))];
    let calming = serving.with_standings(back.clone(), now);
    let next = compile(&second, &["iad"], None).panicking_as(&calming, now);
    assert!(plan(&calming, "a").is_panicking() && plan(&next, "a").is_panicking());
    let calm = compile(&first, &["iad"], None);
    let next = compile(&second, &["ams", "iad"], None).with_standings(back, now);
    assert_eq!([&next, &next.clone().panicking_as(&calm, now)].map(|at| plan(at, "a").is_panicking()), [true, false]);
    // Nor where all locations are others, as after an edit of fences, another database or new networks.
    let fenced = service("d", "\"fra\", \"sin\"", EU);
    let third = read(&[&*fenced, &a, &b].concat(), Some(&first));
    let next = compile(&third, &["iad"], Some(Before { snapshot: &serving, count: &|_| 0 }));
    assert_eq!(["a", "b"].map(|name| plan(&next, name).is_panicking()), [true, false]);
    // A plan that was edited goes on with its own, whatever one of the same endpoints does that comes before it.
    let five = "\"ams\", \"fra\", \"dub\", \"iad\", \"sin\"";
    let (a, fenced) = (service("a", five, keys), |more: &str| service("b", five, &format!("{keys}\n{EU}\n{more}")));
    let first = read(&[&*a, &fenced("")].concat(), None);
    let serving = compile(&first, &["ams", "fra"], None);
    assert_eq!(["a", "b"].map(|name| plan(&serving, name).is_panicking()), [false, true]);
    let second = read(&[&*a, &fenced("ttl_doubt = \"7s\"")].concat(), Some(&first));
    let next = compile(&second, &["ams"], Some(Before { snapshot: &serving, count: &|_| 0 }));
    assert_eq!(["a", "b"].map(|name| plan(&next, name).is_panicking()), [false, true]);
    assert!(!plan(&compile(&second, &["ams"], None), "b").is_panicking());
    // A plan of the same endpoints in the same orders that panics later is not drawn into it.
    let of = |name, below: &str| service(name, "\"ams\", \"iad\", \"sin\"", &format!("panic_below = {below}"));
    let first = read(&[of("a", "0.9"), of("b", "0.3")].concat(), None);
    let serving = compile(&first, &["ams"], None);
    let second = read(&[of("b", "0.3"), of("a", "0.9"), of("c", "0.2")].concat(), Some(&first));
    let next = compile(&second, &["ams"], Some(Before { snapshot: &serving, count: &|_| 0 }));
    assert_eq!(["a", "b", "c"].map(|name| plan(&next, name).is_panicking()), [true, false, false]);
}

#[test]
fn panic_of_others_moves_no_plan_that_is_held() {
    let (endpoints, keys) = ("\"ams\", \"iad\", \"sin\"", "panic_below = 0.6");
    let services = [service("a", endpoints, keys), service("b", endpoints, &format!("{keys}\nttl_doubt = \"7s\""))];
    let loaded = read(&services.concat(), None);
    let (endpoints, now) = (&loaded.parts.config.endpoints, jiff::Timestamp::UNIX_EPOCH);
    let state = |name: &str, down: &[&str]| if down.contains(&name) { State::Down } else { State::Up };
    let standings =
        |down: &[&str]| endpoints.iter().map(|endpoint| Standing::all(endpoint, state(&endpoint.name, down))).collect();
    let compile = |down: &[&str]| {
        Snapshot::compile(loaded.parts.clone(), standings(down), &mut Counters::default(), None, now).unwrap()
    };
    // Two of three live, which is in the margin: no panic begins, and one that goes on stays.
    let held = |id: &EndpointId| {
        let endpoint = &endpoints[id.index()];
        let Addresses::Fixed(addresses) = &endpoint.addresses else { unreachable!("all are fixed here") };
        let state = state(&endpoint.name, &["ams"]);
        HeldAs { addresses: addresses.iter().map(|address| (*address, state)).collect(), ..HeldAs::default() }
    };
    let a = loaded.parts.config.services.iter().find(|service| service.label.starts_with("a.")).unwrap().plan;
    let holds = [(a, loaded.parts.config.plans[a.index()].members.iter().map(held).collect())];
    let iad = endpoints.iter().position(|endpoint| &*endpoint.name == "iad").unwrap();
    let down = vec![(EndpointId::at(iad), Standing::all(&endpoints[iad], State::Down))];
    let serving = compile(&["ams"]).holding(&holds, now).with_standings(down, now);
    let panicking = |snapshot: &Snapshot| ["a", "b"].map(|name| plan(snapshot, name).is_panicking());
    assert_eq!(panicking(&serving), [false, true]);
    let next = compile(&["ams", "iad"]);
    assert_eq!(panicking(&next), [true, true]);
    assert_eq!(panicking(&next.holding(&holds, now).panicking_as(&serving, now)), [false, true]);
}

/// BEHAVIOUR rule 20.
#[test]
fn doubt_bounds_ttls_as_each_service_says() {
    let set = "spread = \"multivalue\"\nmultivalue = 2\nttl_doubt = \"9s\"";
    let services = [
        service("a", "\"ams\"", ""),
        service("b", "\"ams\"", "ttl_doubt = \"7s\""),
        service("c", "\"ams\", \"iad\"", set),
    ];
    let world = world(&services.concat());
    let ttls = |snapshot: &Snapshot| {
        ["a", "b", "c"].map(|name| {
            let table = plan(snapshot, name);
            match table.replies(Family::V4).reply(table.order(Family::V4, LocationId(0))) {
                Reply::Whole(image) => image.ttl,
                other => panic!("{other:?}"),
            }
        })
    };
    assert_eq!(ttls(&world.snapshot), [u32::MAX; 3]);
    let in_doubt = |ttl: u32| {
        let endpoints = world.snapshot.parts.config.endpoints.iter().enumerate();
        let stands = |endpoint| Standing { in_doubt: true, ttl, ..Standing::all(endpoint, State::Up) };
        let standings = endpoints.map(|(index, endpoint)| (EndpointId::at(index), stands(endpoint)));
        world.snapshot.with_standings(standings.collect(), jiff::Timestamp::UNIX_EPOCH)
    };
    assert_eq!(ttls(&in_doubt(u32::MAX)), [5, 7, 9]);
    assert_eq!(ttls(&in_doubt(6)), [5, 6, 6], "a hostname's addresses are not kept for longer than theirs");
}

#[test]
fn plans_that_rank_alike_share_their_orders() {
    let (a, b) = (service("a", "\"ams\", \"iad\"", ""), service("b", "\"ams\", \"iad\"", "spread = \"random\""));
    let snapshot = world(&[&*a, &b].concat()).snapshot;
    assert!(!std::ptr::eq(plan(&snapshot, "a"), plan(&snapshot, "b")));
    assert_eq!(lies(&snapshot, "a"), lies(&snapshot, "b"));
}

#[test]
fn a_verdict_touches_the_plans_that_hold_the_endpoint() {
    let services = [
        service("a", "\"ams\", \"iad\"", ""),
        service("b", "\"fra\", \"iad\"", ""),
        service("c", "\"fra\", \"sin\"", ""),
    ];
    let world = world(&services.concat());
    let same =
        |next: &Snapshot| ["a", "b", "c"].map(|name| std::ptr::eq(plan(&world.snapshot, name), plan(next, name)));
    assert_eq!(same(&world.without(&["iad"]).snapshot), [false, false, true]);
    assert_eq!(same(&world.without(&["ams", "sin"]).snapshot), [false, true, false]);
    assert_eq!(same(&world.without(&["syd"]).snapshot), [true, true, true]);
}

#[test]
fn the_busiest_plans_get_tries_within_the_memory_given() {
    let memory = |octets: usize| format!("geoip.geo_memory = \"{octets}B\"\n");
    let services = [
        service("a", "\"ams\", \"iad\"", ""),
        service("b", "\"fra\", \"sin\"", ""),
        service("c", "\"fra\", \"sin\"", ""),
    ];
    let files = |octets: Option<usize>| {
        let mut files = world_files(&services.concat(), &[]);
        let text = String::from_utf8(files[Path::new("config.toml")].to_vec()).unwrap();
        let text = octets.map_or(String::new(), memory) + &text;
        files.insert("config.toml".into(), text.into_bytes().into());
        files
    };
    let tries = |snapshot: &Snapshot| ["a", "b", "c"].map(|name| plan(snapshot, name).trie(Family::V6).is_some());
    let all = World::new(files(None)).snapshot;
    assert_eq!(tries(&all), [true, true, true]);
    let one = plan(&all, "a").trie(Family::V4).unwrap().octets() * 3 / 2;
    let loaded = load(&mut files(Some(one)), Path::new("config.toml"), None).unwrap();
    let serving = compile(&loaded, None);
    assert_eq!(tries(&serving), [false, true, true], "the one with two services");
    let mut counters = Counters::default();
    let standings =
        Vec::from_iter(loaded.parts.config.endpoints.iter().map(|endpoint| Standing::all(endpoint, State::Up)));
    let busy = |counters: &Counters| {
        let of = |key: &CounterKey| matches!(key, CounterKey::Service(name) if **name == *"a.shop.example");
        counters.iter().find(|(key, _)| of(key)).map(|(_, id)| id)
    };
    Snapshot::compile(loaded.parts.clone(), standings.clone(), &mut counters, None, jiff::Timestamp::UNIX_EPOCH)
        .unwrap();
    let busy = busy(&counters).unwrap();
    let count = |id: CounterId| u64::from(id == busy);
    let before = Some(Before { snapshot: &serving, count: &count });
    let next =
        Snapshot::compile(loaded.parts.clone(), standings, &mut counters, before, jiff::Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(tries(&next), [true, false, false], "the one that is asked for");
    let none = World::new(files(Some(0))).snapshot;
    assert_eq!(tries(&none), [false; 3]);
}

#[test]
fn who_loses_the_last_endpoint_is_told_once() {
    let (a, b) = (service("a", "\"ams\", \"iad\"", ""), service("b", "\"iad\", \"sin\"", ""));
    let loaded = read(&[&*a, &b, &service("c", "\"ams\", \"iad\"", "")].concat(), None);
    let snapshot = compile(&loaded, None);
    let standing = |of: &Snapshot, names: &[&str], state| {
        let endpoints = &loaded.parts.config.endpoints;
        let id = |name: &&str| endpoints.iter().position(|endpoint| *endpoint.name == **name).unwrap();
        let changed = names.iter().map(id).map(|id| (EndpointId::at(id), Standing::all(&endpoints[id], state)));
        of.with_standings(changed.collect(), jiff::Timestamp::UNIX_EPOCH)
    };
    let told = |now: &Snapshot, before: &Snapshot| {
        let changes = now.changes_where(before, PlanTable::is_exhausted).into_iter();
        let is_its_plan = |service: &Service, table: &PlanTable| std::ptr::eq(now.plan_table(service.plan), table);
        let told = |Changed { service, holds, table }: Changed<'_>| {
            let here = now.parts.config.services.iter().find(|here| here.label == service.label);
            assert_eq!(table.is_some(), here.is_some());
            assert!(here.zip(table).is_none_or(|(here, table)| is_its_plan(here, table)), "of another plan");
            format!("{} {holds}", service.label)
        };
        changes.map(told).collect::<Vec<_>>()
    };
    let fewer = standing(&snapshot, &["iad"], State::Down);
    assert!(told(&fewer, &snapshot).is_empty());
    let none = standing(&fewer, &["ams"], State::Down);
    assert_eq!(told(&none, &fewer), ["a.shop.example true", "c.shop.example true"]);
    assert!(told(&none, &none).is_empty());
    assert_eq!(
        told(&standing(&none, &["iad"], State::Degraded), &none),
        ["a.shop.example false", "c.shop.example false"]
    );
    // An edit: c is no more, b loses sin.
    let second = read(&[&*a, &service("b", "\"iad\"", "")].concat(), Some(&loaded));
    let next = standing(&compile(&second, None), &["ams", "iad"], State::Down);
    assert_eq!(told(&next, &none), ["b.shop.example true", "c.shop.example false"]);
    // Plans are fewer, and have other numbers: what was the second is the only one.
    let before = standing(&compile(&read(&[&*a, &b].concat(), None), None), &["iad", "sin"], State::Down);
    let only = compile(&read(&b, None), None);
    assert_eq!(told(&only, &before), ["b.shop.example false"]);
    let first = compile(&read(&a, None), None);
    assert_eq!(told(&first, &before), ["b.shop.example false"], "its number is that of no plan");
}
