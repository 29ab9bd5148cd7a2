//! Where clients are: small databases written for the purpose, against what they were written from.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/mmdb.rs"]
mod mmdb;

use std::collections::HashMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use meridian::geo::{Database, Distinctions, Geo, Match, UNLOCATED, compile, trace};
use meridian::model::{Coordinates, Country, FenceMask, Location, Place, PlaceSet};
use mmdb::{Value, Writer, asn, city, country, text};
use proptest::prelude::*;

fn database(path: &str, writer: &Writer) -> Database {
    Database { path: path.into(), bytes: writer.finish().into() }
}

fn one(writer: &Writer) -> Geo {
    compile(&[database("test.mmdb", writer)], &Distinctions::default()).unwrap()
}

fn at<'a>(geo: &'a Geo, address: &str) -> &'a Location {
    geo.location(geo.locate(address.parse().unwrap()).location)
}

fn code(location: &Location) -> String {
    location.country.map(|country| country.to_string()).unwrap_or_default()
}

fn places(places: &[Place]) -> PlaceSet {
    PlaceSet { label: "test".to_owned(), places: places.to_vec() }
}

fn of_country(code: &str) -> Place {
    Place::Country(code.parse().unwrap())
}

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

/// Every family's leaves follow each other from the first address to the last.
fn assert_covered(geo: &Geo) {
    let (mut v4, mut v6): (Option<Ipv4Addr>, Option<Ipv6Addr>) = (None, None);
    for (leaf, _) in geo.leaves() {
        match leaf {
            IpNet::V4(leaf) => {
                assert_eq!(u64::from(u32::from(leaf.network())), v4.map_or(0, |last| u64::from(u32::from(last)) + 1));
                v4 = Some(leaf.broadcast());
            }
            IpNet::V6(leaf) => {
                assert_eq!(u128::from(leaf.network()), v6.map_or(0, |last| u128::from(last) + 1));
                v6 = Some(leaf.broadcast());
            }
        }
    }
    assert_eq!((v4, v6), (Some(Ipv4Addr::BROADCAST), Some(Ipv6Addr::from(u128::MAX))));
}

#[test]
fn without_databases_everyone_is_unlocated() {
    let geo = compile(&[], &Distinctions::default()).unwrap();
    assert_eq!(geo.locate("192.0.2.1".parse().unwrap()), Match { location: UNLOCATED, length: 0 });
    assert_eq!(geo.locate_prefix("2001:db8::".parse().unwrap(), 48).location, UNLOCATED);
    assert_covered(&geo);
}

#[test]
fn a_country_without_a_point_gets_its_centroid_and_continent() {
    let geo = one(&Writer::new("GeoLite2-Country", true).put("198.51.100.0/24", &country("NL")));
    let facts = "NL".parse::<Country>().unwrap().facts().unwrap();
    let found = at(&geo, "198.51.100.7");
    assert_eq!((found.coordinates, found.continent), (Some(facts.centroid), Some(facts.continent)));
    assert!(at(&geo, "198.51.101.7") == &Location::default());
}

#[test]
fn the_flat_schema_as_a_pair_of_files_without_description() {
    let flat = |code: &str, latitude: f32| {
        Value::Map(vec![
            ("city", text("Somewhere")),
            ("country_code", text(code)),
            ("latitude", Value::Float(latitude)),
            ("longitude", Value::Float(5.5)),
            ("state1", text("Goa")),
        ])
    };
    let mut v4 = Writer::new("city ipv4", false).put("203.0.113.0/24", &flat("NL", 52.25));
    let mut v6 = Writer::new("city ipv6", true).put("2001:db8::/32", &flat("IN", 15.5));
    (v4.description, v6.description) = (false, false);
    let geo = compile(&[database("v4.mmdb", &v4), database("v6.mmdb", &v6)], &Distinctions::default()).unwrap();
    let (nl, india) = (at(&geo, "203.0.113.9"), at(&geo, "2001:db8:5::1"));
    assert_eq!((code(nl).as_str(), nl.coordinates), ("NL", Coordinates::new(52.25, 5.5)));
    assert_eq!((code(india).as_str(), india.subdivision), ("IN", None));
    let files: Vec<_> = geo.files().iter().map(|file| (file.database_type.as_str(), file.networks)).collect();
    assert_eq!(files, [("city ipv4", 1), ("city ipv6", 1)]);
    assert_eq!(geo.files()[0].built.to_string(), "2026-06-05T13:43:16Z");
}

#[test]
fn ipv4_has_one_place_in_ipv6() {
    let tree = Writer::new("GeoLite2-City", true).put("192.0.2.0/24", &city("DE", 52.5, 13.4));
    let tree = tree.graft("::ffff:0:0/96").graft("2002::/16").put("2001:db8::/32", &city("FR", 48.9, 2.4));
    let geo = one(&tree);
    assert_eq!(geo.files()[0].networks, 2);
    let mapped = geo.locate("::ffff:192.0.2.1".parse().unwrap());
    assert_eq!((mapped.location, mapped.length), (geo.locate("192.0.2.1".parse().unwrap()).location, 96 + 24));
    // Shorter: the leaf at the prefix's first address, which is the empty one before the network.
    assert_eq!(geo.locate_prefix("::ffff:192.0.2.0".parse().unwrap(), 96 + 16).length, 96 + 23);
    for alias in ["::192.0.2.1", "2002:c000:201::1"] {
        assert_eq!(geo.locate(alias.parse().unwrap()).location, UNLOCATED, "{alias}");
    }
    // No scope may reach from IPv6 into the space that is looked up as IPv4.
    assert!(geo.leaves().any(|(leaf, _)| leaf == net("::ffff:0:0/96")));
    assert_covered(&geo);
}

#[test]
fn a_record_over_the_place_of_ipv4_is_one_of_all_ipv4() {
    let geo = one(&Writer::new("GeoLite2-City", true).put("::/64", &city("DE", 52.5, 13.4)));
    assert_eq!(geo.locate("192.0.2.1".parse().unwrap()).length, 0);
    assert_eq!(code(at(&geo, "192.0.2.1")), "DE");
    assert_eq!((code(at(&geo, "::1:0:0:1")), code(at(&geo, "::1"))), ("DE".to_owned(), String::new()));
}

#[test]
fn neighbours_alike_become_one_leaf() {
    let berlin = city("DE", 52.5, 13.4);
    let geo = one(&Writer::new("GeoLite2-City", false).put("10.0.0.0/10", &berlin).put("10.64.0.0/10", &berlin));
    assert_eq!(geo.locate("10.70.0.1".parse().unwrap()).length, 9);
    assert_eq!(geo.locate_prefix("10.0.0.0".parse().unwrap(), 24).length, 9);
}

#[test]
fn city_and_autonomous_systems_merge_and_the_first_file_wins() {
    let cities = Writer::new("GeoLite2-City", true).put("192.0.2.0/24", &city("DE", 52.5, 13.4));
    let countries = Writer::new("GeoLite2-Country", true).put("192.0.0.0/16", &country("FR"));
    let asns = Writer::new("GeoLite2-ASN", true).put("192.0.2.0/25", &asn(64496)).put("192.0.2.128/25", &asn(64497));
    let files = [database("city.mmdb", &cities), database("country.mmdb", &countries), database("asn.mmdb", &asns)];
    let fence = [places(&[Place::Asn(64496)])];
    let wanted = Distinctions { asns: &[64496], fence_places: &fence, ..Distinctions::default() };
    let geo = compile(&files, &wanted).unwrap();
    let (named, other) = (at(&geo, "192.0.2.1"), at(&geo, "192.0.2.129"));
    assert_eq!((code(named).as_str(), named.asn, named.fences), ("DE", Some(64496), FenceMask(1)));
    // A system that nothing names makes no location of its own.
    assert_eq!((code(other).as_str(), other.asn, other.fences), ("DE", None, FenceMask(0)));
    assert_eq!(code(at(&geo, "192.0.3.1")), "FR");
    // But it is known.
    let asked = ["192.0.2.1", "192.0.2.129", "::ffff:192.0.2.129", "192.0.3.1", "2001:db8::1"];
    let known = asked.map(|address| geo.asn(address.parse().unwrap()));
    assert_eq!(known, [Some(64496), Some(64497), Some(64497), None, None]);
    assert_eq!(geo.locate("192.0.2.129".parse().unwrap()).length, 25);
    // One that is measured is told apart in the country in which it is.
    let [in_germany, in_france] = ["DE", "FR"].map(|country| (country.parse().unwrap(), 64497));
    let told_apart = |networks: &[_]| {
        let geo = compile(&files, &Distinctions { networks, ..wanted }).unwrap();
        (at(&geo, "192.0.2.129").asn, geo.tells_apart(in_germany), geo.tells_apart((in_france.0, 64496)))
    };
    assert_eq!(told_apart(&[in_germany]), (Some(64497), true, true));
    assert_eq!(told_apart(&[in_france]), (None, false, true));

    let steps = trace(&files, "192.0.2.1".parse().unwrap());
    let told: Vec<String> = steps
        .iter()
        .map(|step| {
            let (network, record) = (step.network.unwrap(), step.record.unwrap_or_default());
            format!("{} {network} {record}", step.file.display())
        })
        .collect();
    assert_eq!(
        told,
        ["city.mmdb 192.0.2.0/24 DE 52.5,13.4", "country.mmdb 192.0.0.0/16 FR", "asn.mmdb 192.0.2.0/25 AS64496"]
    );
    assert_eq!(trace(&files, "2002::1".parse().unwrap())[0].network, Some(net("2002::/16")));
}

#[test]
fn labels_nest_and_hold_without_a_database() {
    let labels = ["198.51.100.0/24", "198.51.100.64/26", "2001:db8::/32", "::ffff:192.0.2.0/120"].map(net);
    let fences = labels.map(|label| places(&[Place::Cidr(label)]));
    let geo =
        compile(&[], &Distinctions { labels: &labels, fence_places: &fences, ..Distinctions::default() }).unwrap();
    let (outer, inner) = (at(&geo, "198.51.100.1"), at(&geo, "198.51.100.65"));
    assert_eq!((outer.label, outer.fences), (Some(labels[0]), FenceMask(0b0001)));
    assert_eq!((inner.label, inner.fences), (Some(labels[1]), FenceMask(0b0011)));
    assert_eq!(at(&geo, "2001:db8::1").fences, FenceMask(0b0100));
    assert_eq!(at(&geo, "192.0.2.1").fences, FenceMask(0b1000));
    assert_eq!(geo.locate("198.51.100.1".parse().unwrap()).length, 26, "de-aggregated around the inner one");
    assert_covered(&geo);

    let mixed = geo.locate_prefix("198.51.100.0".parse().unwrap(), 24);
    let location = geo.location(mixed.location);
    assert_eq!((location.label, location.fences, location.mixed), (Some(labels[0]), FenceMask(0b0011), true));
    // Space around that nobody lives in mixes nothing.
    let wide = geo.location(geo.locate_prefix("2000::".parse().unwrap(), 4).location);
    assert_eq!((wide.label, wide.mixed), (Some(labels[2]), false));
}

#[test]
fn a_prefix_over_several_leaves_is_the_heaviest_place_under_all_their_fences() {
    let tree = Writer::new("GeoLite2-City", true)
        .put("192.0.2.0/25", &city("GB", 51.5, -0.1))
        .put("192.0.2.128/26", &city("DE", 52.5, 13.4))
        .put("198.51.100.0/25", &city("US", 47.6, -122.3));
    let eu = PlaceSet::built_in("eu").unwrap();
    let geo = compile(
        &[database("test.mmdb", &tree)],
        &Distinctions { fence_places: &[eu, places(&[of_country("GB")])], ..Distinctions::default() },
    )
    .unwrap();
    let found = |address: &str, source| {
        let found = geo.locate_prefix(address.parse().unwrap(), source);
        let location = geo.location(found.location);
        (code(location), location.fences.0, location.mixed, found.length)
    };
    assert_eq!(found("192.0.2.129", 24), ("GB".to_owned(), 0b11, true, 25));
    assert_eq!(found("192.0.2.129", 25), ("DE".to_owned(), 0b01, false, 26));
    assert_eq!(found("192.0.2.129", 26), ("DE".to_owned(), 0b01, false, 26));
    assert_eq!(found("198.51.100.0", 24), ("US".to_owned(), 0, false, 25));
    // Equally heavy and under no fence, but beside leaves under some.
    assert!(found("192.0.0.0", 2).2);
    assert_eq!(geo.locate_prefix("10.0.0.0".parse().unwrap(), 9).location, UNLOCATED);
}

#[test]
fn clients_without_a_country_mix_with_those_that_have_one() {
    let registered = Value::Map(vec![("registered_country", Value::Map(vec![("iso_code", text("US"))]))]);
    let tree = Writer::new("GeoLite2-Country", false)
        .put("192.0.2.0/25", &country("DE"))
        .put("192.0.2.128/25", &registered)
        .put("192.0.3.0/25", &country("DE"));
    let geo = one(&tree);
    assert!(!at(&geo, "192.0.2.129").is_located() && at(&geo, "192.0.2.129").coordinates.is_some());
    let found = |prefix: &str| geo.location(geo.locate_prefix(prefix.parse().unwrap(), 24).location);
    let (mixed, alone) = (found("192.0.2.0"), found("192.0.3.0"));
    assert!(mixed.mixed && !alone.mixed);
    // They may be anywhere: every fence applies.
    assert_eq!((mixed.fences, alone.fences), (FenceMask(u64::MAX), FenceMask(0)));
}

#[test]
fn many_fences_make_mixed_locations_stricter_and_not_many() {
    // Each /24 is Germany's but for a part that lies under a set of fences of its own.
    let mut labels = Vec::new();
    let mut fences: Vec<PlaceSet> = (0..16).map(|_| places(&[])).collect();
    for index in 0..10_000_u32 {
        let label = IpNet::V4(Ipv4Net::new_assert((index << 8 | 1).into(), 32));
        (0..16).filter(|bit| index >> bit & 1 == 1).for_each(|bit| fences[bit].places.push(Place::Cidr(label)));
        labels.push(label);
    }
    let tree = Writer::new("GeoLite2-Country", false).put("0.0.0.0/1", &country("DE"));
    let geo = compile(
        &[database("test.mmdb", &tree)],
        &Distinctions { labels: &labels, fence_places: &fences, ..Distinctions::default() },
    )
    .unwrap();
    let mixed = geo.locations().iter().filter(|location| location.mixed).count();
    assert!((8_192..8_192 + 16).contains(&mixed), "{mixed}");
    for index in 1..10_000_u32 {
        let found = geo.location(geo.locate_prefix(Ipv4Addr::from(index << 8).into(), 24).location);
        assert_eq!((found.mixed, found.fences.0 & u64::from(index)), (true, u64::from(index)), "{index}");
    }
}

#[test]
fn too_many_locations_are_an_error() {
    let labels: Vec<IpNet> = (0..70_000_u32).map(|n| IpNet::V4(Ipv4Net::new_assert((n << 8).into(), 24))).collect();
    let problems = compile(&[], &Distinctions { labels: &labels, ..Distinctions::default() }).unwrap_err();
    assert_eq!(problems[0].code, "too-many-locations");
}

#[test]
fn points_of_a_crowded_database_share_cells() {
    let mut tree = Writer::new("GeoLite2-City", false);
    for index in 0..70_000_u32 {
        // 280 × 250 points, 0.1° apart: the grid of 0.25° is the first with few enough cells.
        let (latitude, longitude) = (f64::from(index / 280) * 0.1, f64::from(index % 280) * 0.1);
        tree = tree.put(&format!("{}/24", Ipv4Addr::from(index << 8)), &city("DE", latitude, longitude));
    }
    let geo = one(&tree);
    assert!((10_000..20_000).contains(&geo.locations().len()), "{}", geo.locations().len());
    for index in (0..70_000_u32).step_by(997) {
        let there = geo.location(geo.locate(Ipv4Addr::from(index << 8).into()).location).coordinates.unwrap();
        let put = Coordinates::new((index / 280) as f32 * 0.1, (index % 280) as f32 * 0.1).unwrap();
        assert!(there.distance_km(put) < 40.0, "{there:?} {put:?}");
    }
}

const CODES: [&str; 5] = ["DE", "GB", "US", "CA", "FR"];

prop_compose! {
    // Close together, so that they nest, touch and share prefixes.
    fn network()(high in 0u32..8, low in any::<u32>(), length in 1u8..=32, value in 0..CODES.len()) -> (Ipv4Net, usize) {
        (Ipv4Net::new_assert((high << 29 | low & 0xf0f).into(), length).trunc(), value)
    }
}

/// What `locate_prefix` should find, by looking at every leaf.
fn by_hand(geo: &Geo, prefix: Ipv4Net) -> (Option<Location>, FenceMask, bool) {
    let mut weights: HashMap<String, (u64, Location)> = HashMap::new();
    let mut masks = Vec::new();
    for (leaf, id) in geo.leaves() {
        let IpNet::V4(leaf) = leaf else { break };
        let location = geo.location(id);
        if prefix.contains(&leaf) && *location != Location::default() {
            weights.entry(format!("{location:?}")).or_insert((0, location.clone())).0 += 1 << (32 - leaf.prefix_len());
            masks.push((location.fences, location.is_located()));
        }
    }
    let located = masks.iter().filter(|(_, located)| *located).count();
    let anywhere = located > 0 && located < masks.len(); // clients of no known country beside others
    let union = masks.iter().fold(0, |union, (mask, _)| union | mask.0) | if anywhere { u64::MAX } else { 0 };
    let mixed = masks.iter().any(|mask| *mask != masks[0]);
    let most = weights.values().map(|(weight, _)| *weight).max();
    let heaviest: Vec<_> = weights.into_values().filter(|(weight, _)| Some(*weight) == most).collect();
    // Where two are equally heavy, which one is found is not the matter of this test.
    let heaviest = (heaviest.len() == 1).then(|| heaviest[0].1.clone());
    (heaviest, FenceMask(union), mixed)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn look_ups_agree_with_the_leaves(
        networks in prop::collection::vec(network(), 1..24),
        labels in prop::collection::vec(network(), 0..6),
        asked in prop::collection::vec((network(), 0u8..=32), 32),
    ) {
        let mut networks = networks;
        networks.sort_by_key(|(network, _)| network.prefix_len());
        let mut tree = Writer::new("GeoLite2-Country", true);
        for (network, value) in &networks {
            tree = tree.put(&network.to_string(), &country(CODES[*value]));
        }
        let labels: Vec<IpNet> = labels.into_iter().map(|(label, _)| label.into()).collect();
        let mut fences = vec![PlaceSet::built_in("eu").unwrap(), places(&[of_country("US")])];
        fences.extend(labels.iter().map(|label| places(&[Place::Cidr(*label)])));
        let geo = compile(&[database("test.mmdb", &tree)], &Distinctions { labels: &labels, fence_places: &fences, ..Distinctions::default() }).unwrap();
        assert_covered(&geo);
        for ((network, _), source) in asked {
            let address = network.network();
            // The address itself: the last network and the narrowest label around it.
            let expected = networks.iter().rev().find(|(network, _)| network.contains(&address));
            let label = labels.iter().filter(|label| label.contains(&IpAddr::V4(address)));
            let found = geo.location(geo.locate(address.into()).location);
            prop_assert_eq!(code(found), expected.map_or("", |(_, value)| CODES[*value]));
            prop_assert_eq!(found.label, label.max_by_key(|label| label.prefix_len()).copied());
            // A prefix: its leaf, or what by_hand sums up.
            let prefix = Ipv4Net::new_assert(address, source).trunc();
            let found = geo.locate_prefix(address.into(), source);
            let location = geo.location(found.location);
            let first = geo.locate(prefix.network().into());
            prop_assert_eq!(found.length, first.length);
            let leaf = IpNet::V4(Ipv4Net::new_assert(prefix.network(), found.length).trunc());
            prop_assert!(geo.leaves().any(|(network, id)| network == leaf && id == first.location));
            if found.length <= source {
                prop_assert_eq!(found.location, first.location);
            } else {
                let (heaviest, fences, mixed) = by_hand(&geo, prefix);
                prop_assert_eq!((location.fences, location.mixed), (fences, mixed));
                if let Some(heaviest) = heaviest {
                    prop_assert_eq!((location.country, location.label), (heaviest.country, heaviest.label));
                }
            }
        }
    }

    #[test]
    fn ipv6_look_ups_agree_with_the_reader(
        networks in prop::collection::vec((any::<u128>(), 1u8..=128, 0..CODES.len()), 1..24),
        random in prop::collection::vec(any::<u128>(), 16),
    ) {
        let mut tree = Writer::new("GeoLite2-Country", true);
        // Global unicast, so that no alias is met.
        let mut networks: Vec<_> = networks
            .into_iter()
            .map(|(bits, length, value)| {
                let address = bits & !(7 << 125) | 1 << 125 | 1 << 124;
                (Ipv6Net::new_assert(address.into(), length.max(4)).trunc(), value)
            })
            .collect();
        networks.sort_by_key(|(network, _)| network.prefix_len());
        for (network, value) in &networks {
            tree = tree.put(&network.to_string(), &country(CODES[*value]));
        }
        let geo = one(&tree);
        assert_covered(&geo);
        let reader = maxminddb::Reader::from_source(tree.finish()).unwrap();
        let edges = networks.iter().flat_map(|(network, _)| {
            let (first, last) = (u128::from(network.network()), u128::from(network.broadcast()));
            [first, last, first - 1, last.wrapping_add(1)]
        });
        for address in edges.chain(random.into_iter().map(|bits| bits | 1 << 125 | 1 << 124)) {
            let address = Ipv6Addr::from(address);
            let found = reader.lookup(address.into()).unwrap();
            let record: Option<maxminddb::geoip2::Country<'_>> = found.decode().unwrap();
            let expected = record.and_then(|record| record.country.iso_code).unwrap_or_default();
            let ours = geo.locate(address.into());
            prop_assert_eq!(code(geo.location(ours.location)), expected);
            prop_assert!(ours.length <= found.network().unwrap().prefix());
        }
    }
}
