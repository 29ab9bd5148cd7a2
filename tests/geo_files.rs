//! Real and damaged files: the shipped database and MaxMind's test files against the reader itself.
//!
//! MaxMind's files are not shipped: they are looked for in `$MERIDIAN_SHARED`, else `../shared`.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/mmdb.rs"]
mod mmdb;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use ipnet::IpNet;
use maxminddb::{Reader, WithinOptions, geoip2};
use meridian::geo::{Database, Distinctions, Geo, UNLOCATED, compile, trace};
use meridian::latency::{Destination, Origin};
use meridian::model::{Coordinates, Location, LocationId, PlaceSet, Problem, Severity, Site, find_region};
use mmdb::{Value, Writer, asn, city, country, text};
use proptest::prelude::*;

static SHIPPED: LazyLock<Database> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("geoip/city.mmdb");
    read(&path)
});

/// Compiled once: it takes seconds without optimisation.
static GEO: LazyLock<Geo> = LazyLock::new(|| {
    let fences = [PlaceSet::built_in("eu").unwrap(), PlaceSet::built_in("apac").unwrap()];
    compile(std::slice::from_ref(&*SHIPPED), &Distinctions { fence_places: &fences, ..Distinctions::default() })
        .unwrap()
});

fn read(path: &Path) -> Database {
    Database { path: path.to_owned(), bytes: std::fs::read(path).unwrap().into() }
}

fn shared(folder: &str) -> Option<Vec<PathBuf>> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let root = std::env::var_os("MERIDIAN_SHARED").map_or_else(beside, PathBuf::from).join("data/maxmind").join(folder);
    if !root.is_dir() {
        println!("SKIPPED: no MaxMind test files at {}", root.display());
        return None;
    }
    let mut folders = vec![root];
    let mut files = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ext| ext == "mmdb") {
                files.push(path);
            }
        }
    }
    files.sort();
    Some(files)
}

/// xorshift64*: the same addresses in every run.
fn random() -> impl Iterator<Item = u64> {
    let mut state = 0x853c_49e6_748f_ea9b_u64;
    std::iter::repeat_with(move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    })
}

fn refused(database: &Database) -> Problem {
    let mut problems = compile(std::slice::from_ref(database), &Distinctions::default()).unwrap_err();
    assert_eq!(problems.len(), 1);
    let problem = problems.remove(0);
    assert_eq!((&problem.file, problem.severity), (&database.path, Severity::Error));
    assert!(problem.help.is_some() && problem.message.len() < 400, "{problem}");
    problem
}

/// What the reader finds at an address, held against what we do. MaxMind's nested schema.
fn assert_as_the_reader(geo: &Geo, reader: &Reader<Arc<[u8]>>, address: IpAddr, within_km: f64) {
    let found = reader.lookup(address).unwrap();
    let record: geoip2::City<'_> = found.decode().unwrap().unwrap_or_default();
    let ours = geo.locate(address);
    let location = geo.location(ours.location);
    let code = record.country.iso_code;
    assert_eq!(location.country.map(|country| country.to_string()).as_deref(), code, "{address}");
    if let Some(code) = record.continent.code {
        assert_eq!(location.continent.map(|continent| continent.code()), Some(code), "{address}");
    }
    let subdivision = record.subdivisions.first().and_then(|first| first.iso_code).filter(|_| code.is_some());
    let expected = subdivision.map(|first| format!("{}-{first}", code.unwrap()));
    assert_eq!(location.subdivision.map(|subdivision| subdivision.to_string()), expected, "{address}");
    if let (Some(latitude), Some(longitude)) = (record.location.latitude, record.location.longitude) {
        let point = Coordinates::new(latitude as f32, longitude as f32).unwrap();
        assert!(location.coordinates.unwrap().distance_km(point) <= within_km, "{address} {location:?} {point:?}");
    }
    // Leaves are networks of the file or several merged ones.
    assert!(ours.length <= found.network().unwrap().prefix() || !found.has_data(), "{address}");
}

/// Addresses at which the file's record and our location were found together. Each such pair is compared
/// in full where it first comes up; the millions of other addresses only have to be known pairs.
struct Pairs<'a> {
    reader: &'a Reader<Arc<[u8]>>,
    known: HashSet<(Option<usize>, LocationId)>,
}

impl Pairs<'_> {
    fn check(&mut self, address: IpAddr, record: Option<usize>, network: u8) {
        let ours = GEO.locate(address);
        if self.known.insert((record, ours.location)) {
            assert_as_the_reader(&GEO, self.reader, address, 10.0);
        }
        assert!(ours.length <= network || record.is_none(), "{address}");
    }

    fn look_up(&mut self, address: IpAddr) {
        let found = self.reader.lookup(address).unwrap();
        self.check(address, found.offset(), found.network().unwrap().prefix());
    }
}

#[test]
fn the_shipped_file_is_read_as_the_reader_reads_it() {
    let reader = Reader::from_source(Arc::clone(&SHIPPED.bytes)).unwrap();
    let mut pairs = Pairs { reader: &reader, known: HashSet::new() };
    let (mut networks, mut v6) = (0, Vec::new());
    for found in reader.networks(WithinOptions::default()).unwrap() {
        let found = found.unwrap();
        let network = found.network().unwrap();
        let (first, last) = (network.network(), network.broadcast());
        if in_place(first) {
            networks += 1;
            pairs.check(first, found.offset(), network.prefix());
            pairs.check(last, found.offset(), network.prefix());
        }
        if let IpAddr::V6(first) = first {
            v6.push((u128::from(first), network.prefix()));
        }
    }
    assert_eq!(networks, 4_505_166);
    for bits in random().take(1_000_000) {
        pairs.look_up(Ipv4Addr::from((bits >> 32) as u32).into());
        // Random bits of IPv6 are nowhere: draw a network, then an address in it, and one past its end.
        let (first, length) = v6[(bits >> 20) as usize % v6.len()];
        let inside = first | u128::from(bits.wrapping_mul(bits | 1)) << 64 >> length;
        for address in [inside, inside.wrapping_add(1 << (128 - length))] {
            Some(Ipv6Addr::from(address).into())
                .filter(|&at| in_place(at))
                .into_iter()
                .for_each(|at| pairs.look_up(at));
        }
    }
    // Records that differ are rarely one place, so that there is about a pair for each.
    assert!((8_000..20_000).contains(&pairs.known.len()), "{}", pairs.known.len());
}

/// By location, the order of three sites far apart, and which of them tie.
fn three_sites() -> Vec<u32> {
    let sites =
        ["us-east-1", "eu-central-1", "ap-southeast-1"].map(|name| Site::from(find_region("aws", name).unwrap()));
    let sites = sites.map(|site| Destination::new(&site));
    let order = |location: &Location| {
        let origin = Origin::new(location);
        let ms = sites.each_ref().map(|site| origin.expected_ms(site));
        let sooner = |a: usize, b: usize| u32::from(ms[a] <= ms[b]) | u32::from((ms[a] - ms[b]).abs() <= 3.0) << 1;
        sooner(0, 1) | sooner(0, 2) << 2 | sooner(1, 2) << 4
    };
    GEO.locations().iter().map(order).collect()
}

#[test]
fn merged_plans_say_what_locations_say() {
    let mapped: IpNet = "::ffff:0:0/96".parse().unwrap();
    let ids = 0..u32::try_from(GEO.locations().len()).unwrap();
    // Few values, many and large ones, one.
    for values in [three_sites(), ids.clone().map(|id| (id % 900) << 12).collect(), ids.map(|_| 3).collect()] {
        let merged = GEO.merged(&values);
        let mut leaves: Vec<(IpNet, u32)> = Vec::new();
        for (leaf, id) in GEO.leaves().filter(|&(leaf, _)| leaf != mapped) {
            let value = values[id.index()];
            for address in [leaf.network(), leaf.broadcast()] {
                let (found, length) = merged.get(address);
                assert!(found == value && length <= leaf.prefix_len(), "{address} {found} {length}");
            }
            let around = IpNet::new(leaf.network(), merged.get(leaf.network()).1).unwrap().trunc();
            assert!(!around.contains(&mapped), "{around} is in part IPv4's");
            if leaves.last().is_none_or(|&(before, _)| before != around) {
                leaves.push((around, value));
            }
        }
        // No two siblings are alike, so no leaf could be wider.
        let siblings = leaves.windows(2).filter(|pair| pair[0].0.supernet() == pair[1].0.supernet());
        assert_eq!(siblings.filter(|pair| pair[0].1 == pair[1].1).count(), 0);
        for bits in random().take(1_000_000) {
            let address = Ipv4Addr::from((bits >> 32) as u32);
            let at = GEO.locate(address.into());
            let (value, length) = merged.get(address.into());
            assert!(value == values[at.location.index()] && length <= at.length, "{address}");
            assert_eq!(merged.get(address.to_ipv6_mapped().into()), (value, 96 + length));
        }
    }
}

#[test]
fn the_shipped_file_takes_as_little_memory_as_was_promised() {
    let (tries, lists) = GEO.octets();
    let plan = GEO.merged(&three_sites()).octets();
    // A plan's fill a large page a family.
    assert!(tries < 14_000_000 && lists < 14_000_000 && plan <= 4 << 20, "{tries} {lists} {plan}");
}

#[test]
fn the_shipped_file_knows_its_places() {
    let at = |address: &str| GEO.location(GEO.locate(address.parse().unwrap()).location);
    let (eu, apac) = (0b01, 0b10);
    for (address, country, near, fences) in [
        ("67.183.58.7", "US", (47.61, -122.33), 0),    // Seattle
        ("72.66.0.1", "US", (38.9, -77.3), 0),         // Virginia, by Washington
        ("103.86.96.0", "AU", (-33.87, 151.21), apac), // Sydney
        ("185.107.56.0", "NL", (51.9, 4.5), eu),       // Rotterdam
        ("81.2.69.0", "GB", (51.51, -0.13), 0),        // London
        ("2001:218::1", "JP", (35.7, 139.7), apac),    // Tokyo
    ] {
        let location = at(address);
        let point = Coordinates::new(near.0, near.1).unwrap();
        assert_eq!(location.country.unwrap().to_string(), country, "{address}");
        assert!(location.coordinates.unwrap().distance_km(point) < 60.0, "{address} {location:?}");
        assert_eq!((location.fences.0, location.mixed), (fences, false), "{address}");
    }
    for nowhere in ["10.1.2.3", "192.168.0.1", "127.0.0.1", "fd00::1", "::1", "2002:808:808::1"] {
        assert_eq!(GEO.locate(nowhere.parse().unwrap()).location, UNLOCATED, "{nowhere}");
    }
    let file = &GEO.files()[0];
    assert_eq!((file.database_type.as_str(), file.networks), ("DBIP-City-Lite-Compact", 4_505_166));
    assert_eq!(file.built.to_string(), "2026-06-05T13:43:16Z");
    let step = &trace(std::slice::from_ref(&*SHIPPED), "185.107.56.9".parse().unwrap())[0];
    assert_eq!(step.network, Some("185.107.56.0/22".parse().unwrap()));
    assert_eq!(step.record.unwrap().to_string(), "NL EU 51.85,4.49");
}

#[test]
fn the_shipped_file_has_bounded_leaves_and_locations() {
    let (mut leaves, mut after) = (0, BTreeMap::new());
    let mut merged = BTreeSet::new();
    for (leaf, id) in GEO.leaves() {
        leaves += 1;
        let family = leaf.max_prefix_len();
        let (first, last) = match leaf {
            IpNet::V4(leaf) => (u128::from(u32::from(leaf.network())), u128::from(u32::from(leaf.broadcast()))),
            IpNet::V6(leaf) => (leaf.network().into(), leaf.broadcast().into()),
        };
        // They follow each other without gap or overlap, and no two siblings are alike.
        let before = after.insert(family, (last, leaf, id));
        assert_eq!(first, before.map_or(0, |(last, ..)| last + 1), "{leaf}");
        let alike = before.filter(|(_, sibling, same)| *same == id && sibling.supernet() == leaf.supernet());
        merged.extend(alike.map(|(_, sibling, _)| sibling));
    }
    assert!(merged.is_empty(), "{merged:?}");
    assert_eq!((after[&32].0, after[&128].0), (u128::from(u32::MAX), u128::MAX));
    assert!((4_000_000..5_000_000).contains(&leaves), "{leaves}");
    let mixed = GEO.locations().iter().filter(|location| location.mixed).count();
    let plain = GEO.locations().len() - mixed;
    assert!((8_000..9_000).contains(&plain) && mixed <= 8_192 + 260, "{plain} {mixed}");
}

/// Not among IPv6's aliases of IPv4.
fn in_place(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(_) => true,
        IpAddr::V6(v6) => !matches!(v6.segments(), [0, 0, 0, 0, 0, 0 | 0xffff, ..] | [0x2001, 0, ..] | [0x2002, ..]),
    }
}

/// At both ends of every network and beside them, all but IPv6's aliases of IPv4.
fn assert_edges_as_the_reader(geo: &Geo, database: &Database) {
    let reader = Reader::from_source(Arc::clone(&database.bytes)).unwrap();
    let found = reader.networks(WithinOptions::default()).unwrap();
    let networks: Vec<_> = found.map(|found| found.unwrap().network().unwrap()).collect();
    for network in networks {
        let edges = match (network.network(), network.broadcast()) {
            (IpAddr::V4(first), IpAddr::V4(last)) => {
                let (first, last) = (u32::from(first), u32::from(last));
                [first, last, first.wrapping_sub(1), last.wrapping_add(1)].map(|at| IpAddr::V4(at.into()))
            }
            (IpAddr::V6(first), IpAddr::V6(last)) => {
                let (first, last) = (u128::from(first), u128::from(last));
                [first, last, first.wrapping_sub(1), last.wrapping_add(1)].map(|at| IpAddr::V6(at.into()))
            }
            _ => unreachable!("a network is of one family"),
        };
        edges.iter().filter(|at| in_place(**at)).for_each(|at| assert_as_the_reader(geo, &reader, *at, 16.0));
    }
}

#[test]
fn good_files_load_as_the_reader_reads_them_or_say_why_not() {
    let Some(files) = shared("test-data") else { return };
    let mut loaded = Vec::new();
    let mut reasons: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for path in &files {
        let database = read(path);
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let Ok(geo) = compile(std::slice::from_ref(&database), &Distinctions::default()) else {
            let problem = refused(&database);
            if problem.code == "database-kind" {
                assert!(problem.help.unwrap().contains("City, Country, Enterprise or ASN"));
            }
            reasons.entry(problem.code).or_default().push(name);
            continue;
        };
        assert_edges_as_the_reader(&geo, &database);
        loaded.push(name);
    }
    // Enterprise and City files, also MaxMind's Shield ones; ISP and ASN files; but for damaged ones.
    assert_eq!(
        loaded,
        [
            "GeoIP2-City-Shield-Test",
            "GeoIP2-City-Test",
            "GeoIP2-Country-Shield-Test",
            "GeoIP2-Country-Test",
            "GeoIP2-Enterprise-Shield-Test",
            "GeoIP2-Enterprise-Test",
            "GeoIP2-ISP-Test",
            "GeoIP2-Precision-Enterprise-Shield-Test",
            "GeoIP2-Precision-Enterprise-Test",
            "GeoLite2-ASN-Test",
            "GeoLite2-City-Test",
            "GeoLite2-Country-Test",
        ]
    );
    assert_eq!(
        reasons["database-corrupt"],
        [
            "GeoIP2-City-Test-Broken-Double-Format",
            "GeoIP2-City-Test-Invalid-Node-Count",
            "MaxMind-DB-test-broken-pointers-24",
            "MaxMind-DB-test-broken-search-tree-24",
        ]
    );
    let wrong_kinds = &reasons["database-kind"];
    for kind in ["GeoIP2-Connection-Type-Test", "GeoIP2-Anonymous-IP-Test", "GeoIP2-Domain-Test"] {
        assert!(wrong_kinds.iter().any(|name| name == kind), "{kind}: {reasons:?}");
    }
    assert_eq!(files.len(), loaded.len() + reasons.values().map(Vec::len).sum::<usize>());
}

#[test]
fn bad_files_are_refused_and_name_themselves() {
    let Some(files) = shared("bad-data") else { return };
    for path in &files {
        let database = read(path);
        let problem = refused(&database);
        println!("{problem}");
        assert!(["database-corrupt", "database-kind"].contains(&problem.code));
        let step = &trace(&[database], "1.1.1.1".parse().unwrap())[0];
        assert!(step.record.is_none_or(|record| record.to_string() == "nothing"));
    }
    assert_eq!(files.len(), 21);
    // All are named at once.
    let all: Vec<Database> = files.iter().map(|path| read(path)).collect();
    assert_eq!(compile(&all, &Distinctions::default()).unwrap_err().len(), 21);
}

fn sample(description: bool) -> Writer {
    let enterprise = Value::Map(vec![
        ("traits", Value::Map(vec![("autonomous_system_number", Value::U32(64497))])),
        ("subdivisions", Value::Array(vec![Value::Map(vec![("iso_code", text("WA"))])])),
    ]);
    let flat =
        Value::Map(vec![("country_code", text("FR")), ("latitude", text("48.9")), ("longitude", Value::Float(2.4))]);
    let mut writer = Writer::new("GeoLite2-City", true)
        .put("192.0.2.0/24", &city("DE", 52.5, 13.4))
        .put("198.51.100.0/25", &country("US"))
        .put("203.0.113.0/24", &asn(64496))
        .put("203.0.113.128/25", &enterprise)
        .graft("::ffff:0:0/96")
        .put("2001:db8::/32", &flat)
        .put("2001:db8:1::/64", &country("JP"));
    writer.description = description;
    writer
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    /// Flips and cuts either go unnoticed or are told of; whatever is left can be asked.
    #[test]
    fn damaged_files_never_panic(
        description in any::<bool>(),
        flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in prop::option::weighted(0.2, any::<prop::sample::Index>()),
        address in any::<u32>(),
    ) {
        let mut bytes = sample(description).finish();
        for (at, value) in flips {
            let at = at.index(bytes.len());
            bytes[at] ^= value;
        }
        if let Some(cut) = cut {
            let length = cut.index(bytes.len());
            bytes.truncate(length);
        }
        let database = Database { path: "damaged.mmdb".into(), bytes: bytes.into() };
        match compile(std::slice::from_ref(&database), &Distinctions { asns: &[64496], ..Distinctions::default() }) {
            Ok(geo) => {
                prop_assert!(geo.locate(Ipv4Addr::from(address).into()).length <= 32);
                prop_assert!(geo.leaves().count() < 100_000);
            }
            Err(problems) => prop_assert!(problems.iter().all(|problem| problem.file == database.path)),
        }
        let _ = trace(&[database], Ipv4Addr::from(address).into());
    }

    #[test]
    fn noise_never_panics(noise in prop::collection::vec(any::<u8>(), 0..512), metadata in any::<bool>()) {
        let mut bytes = noise;
        if metadata {
            let good = sample(true).finish();
            let marker = good.windows(14).position(|window| window == b"\xab\xcd\xefMaxMind.com").unwrap();
            bytes.extend_from_slice(&good[marker..]);
        }
        let database = Database { path: "noise.mmdb".into(), bytes: bytes.into() };
        let _ = compile(std::slice::from_ref(&database), &Distinctions::default());
        let _ = trace(&[database], IpAddr::V6(Ipv6Addr::LOCALHOST));
    }
}

/// Trees whose nodes are shared can stand for more networks than any memory holds.
#[test]
fn a_tree_folded_onto_itself_is_refused() {
    for description in [true, false] {
        let mut writer = Writer::new("GeoLite2-City", true).put("2001:db8::/32", &city("DE", 52.5, 13.4));
        writer.description = description;
        let mut bytes = writer.finish();
        // Both sides of every node on the way lead on: 2³¹ paths to one record.
        for node in 0..31 {
            let side = |at: usize| [bytes[6 * node + at], bytes[6 * node + at + 1], bytes[6 * node + at + 2]];
            let on = if side(0) == [0, 0, 32] { side(3) } else { side(0) };
            bytes[6 * node..6 * node + 6].copy_from_slice(&[on, on].concat());
        }
        let database = Database { path: "folded.mmdb".into(), bytes: bytes.into() };
        let problem = refused(&database);
        assert!(problem.message.contains("tree"), "{problem}");
    }
}
