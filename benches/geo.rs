//! Where clients are: look-ups of random addresses in the shipped database, in all its locations and
//! merged by what three and ten sites far apart make of them; what it takes to build those.
//!
//! A look-up bench takes a million addresses that were drawn before and sums what it finds, so that no
//! look-up waits for the one before and none is repeated: its milliseconds are nanoseconds a look-up.
//! The hot path runs compiled for newer processors (`Fast`); `Plain` is for any x86-64.

#![allow(missing_docs)]

#[allow(dead_code, unused_imports, clippy::unwrap_used, reason = "it is tests', which use more of it")]
#[path = "../tests/support/mmdb.rs"]
mod mmdb;

use std::collections::HashMap;
use std::path::Path;
use std::sync::LazyLock;

use divan::Bencher;
use divan::counter::ItemsCount;
use ipnet::IpNet;
use meridian::geo::{Database, Distinctions, Geo, Merged, UNLOCATED, compile};
use meridian::latency::{Destination, Origin};
use meridian::model::{Country, Location, PlaceSet, Site, find_region};

const SITES: [&str; 10] = [
    "us-east-1",
    "eu-central-1",
    "ap-southeast-1",
    "us-west-2",
    "sa-east-1",
    "ap-northeast-1",
    "ap-southeast-2",
    "ap-south-1",
    "af-south-1",
    "eu-west-2",
];
const TIE_MS: f32 = 3.0;
const DRAWN: usize = 1 << 20;

fn main() {
    let ((tries, lists), size) = (GEO.octets(), |plan: &Merged| plan.octets() as f64 / 1e6);
    println!("MB: locations {:.2}, lists of shorter prefixes {:.2}", tries as f64 / 1e6, lists as f64 / 1e6);
    println!("MB: three sites {:.2}, ten sites {:.2}", size(&THREE), size(&TEN));
    let told_apart = making(MEASURED.len());
    let (further, left_out) = (told_apart.locations().len() - making(0).locations().len(), told_apart.left_out());
    println!("{} measured networks: {further} further locations, no room for {left_out}", MEASURED.len());
    divan::main();
}

static CITY: LazyLock<Database> = LazyLock::new(|| {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("geoip/city.mmdb");
    let bytes = std::fs::read(&path).expect("it is shipped").into();
    Database { path, bytes }
});
static GEO: LazyLock<Geo> = LazyLock::new(load);
static LOCATIONS: LazyLock<Merged> =
    LazyLock::new(|| GEO.merged(&(0..).take(GEO.locations().len()).collect::<Vec<_>>()));
static THREE: LazyLock<Merged> = LazyLock::new(|| GEO.merged(&orders(3)));
static TEN: LazyLock<Merged> = LazyLock::new(|| GEO.merged(&orders(10)));

fn load() -> Geo {
    let fences = [PlaceSet::built_in("eu").expect("it is built in")];
    compile(std::slice::from_ref(&*CITY), &Distinctions { fence_places: &fences, ..Distinctions::default() })
        .expect("the shipped database is good")
}

/// Of each /16 of IPv4 one of 3,000 autonomous systems, so that each has some twenty far from each other. No true database of them
/// may be shipped.
static SYSTEMS: LazyLock<Database> = LazyLock::new(|| {
    let put = |file: mmdb::Writer, index: u32| {
        file.put(&format!("{}.{}.0.0/16", index >> 8, index & 0xff), &mmdb::asn(system(index)))
    };
    let file = (1 << 8..224 << 8).fold(mmdb::Writer::new("GeoLite2-ASN", true), put);
    Database { path: Path::new("asn.mmdb").into(), bytes: file.finish().into() }
});

fn system(index: u32) -> u32 {
    1 + index.wrapping_mul(0x9e37_79b1) % 3_000
}

/// The systems of most leaves in a country, as many as may be told apart.
static MEASURED: LazyLock<Vec<(Country, u32)>> = LazyLock::new(|| {
    let mut counts = HashMap::<(Country, u32), usize>::new();
    for (leaf, id) in GEO.leaves() {
        if let (IpNet::V4(leaf), Some(country)) = (leaf, GEO.location(id).country) {
            *counts.entry((country, system(u32::from(leaf.network()) >> 16))).or_default() += 1;
        }
    }
    let mut networks: Vec<_> = counts.into_iter().map(|(network, count)| (count, network)).collect();
    networks.sort_unstable_by(|a, b| b.cmp(a));
    networks.into_iter().map(|(_, network)| network).take(1_024).collect()
});

fn making(networks: usize) -> Geo {
    let wanted = Distinctions { networks: &MEASURED[..networks], ..Distinctions::default() };
    compile(&[CITY.clone(), SYSTEMS.clone()], &wanted).expect("both are good")
}

/// By location, the number of the order of the first sites, as `steer::rank` tells orders apart: the
/// sites by expected latency, and how far each one's ties reach.
fn orders(sites: usize) -> Vec<u32> {
    let site = |name: &&str| Destination::new(&Site::from(find_region("aws", name).expect("it is built in")));
    let sites: Vec<Destination> = SITES[..sites].iter().map(site).collect();
    let mut ids = HashMap::new();
    let order = |location: &Location| {
        let origin = Origin::new(location);
        let mut ranked: Vec<(f32, usize)> = sites.iter().map(|site| origin.expected_ms(site)).zip(0..).collect();
        ranked.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let reach = |from: &(f32, usize)| ranked.partition_point(|to| to.0 <= from.0 + TIE_MS);
        let key: Vec<(usize, usize)> = ranked.iter().map(|one| (one.1, reach(one))).collect();
        let next = ids.len() as u32;
        *ids.entry(key).or_insert(next)
    };
    GEO.locations().iter().map(order).collect()
}

/// xorshift64*: the same figures in each run.
fn random() -> impl Iterator<Item = u64> {
    let mut state = 0x853c_49e6_748f_ea9b_u64;
    std::iter::repeat_with(move || {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        state.wrapping_mul(0x2545_f491_4f6c_dd1d)
    })
}

static V4: LazyLock<Vec<u32>> = LazyLock::new(|| random().take(DRAWN).map(|bits| (bits >> 32) as u32).collect());

/// Random bits of IPv6 are nowhere: a network is drawn, then an address in it.
static V6: LazyLock<Vec<u128>> = LazyLock::new(|| {
    let networks: Vec<(u128, u8)> = GEO
        .leaves()
        .filter_map(|(leaf, id)| match leaf {
            IpNet::V6(leaf) if id != UNLOCATED => Some((leaf.network().into(), leaf.prefix_len())),
            _ => None,
        })
        .collect();
    let address = |bits: u64| {
        let (start, length) = networks[(bits >> 32) as usize % networks.len()];
        start | u128::from(bits.wrapping_mul(bits | 1)) << 64 >> length
    };
    random().take(DRAWN).map(address).collect()
});

// Loops, not iterators' closures: these would not be compiled for the newer processor with the rest.

#[inline(always)]
fn sum_v4(merged: &Merged, addresses: &[u32]) -> u64 {
    let mut sum = 0;
    for &address in addresses {
        let (value, length) = merged.get_v4(address);
        sum += u64::from(value) + u64::from(length);
    }
    sum
}

#[inline(always)]
fn sum_v6(merged: &Merged, addresses: &[u128]) -> u64 {
    let mut sum = 0;
    for &address in addresses {
        let (value, length) = merged.get_v6(address);
        sum += u64::from(value) + u64::from(length);
    }
    sum
}

#[cfg_attr(target_arch = "x86_64", target_feature(enable = "popcnt,bmi1,bmi2,avx2"))]
fn fast_sum_v4(merged: &Merged, addresses: &[u32]) -> u64 {
    sum_v4(merged, addresses)
}

#[cfg_attr(target_arch = "x86_64", target_feature(enable = "popcnt,bmi1,bmi2,avx2"))]
fn fast_sum_v6(merged: &Merged, addresses: &[u128]) -> u64 {
    sum_v6(merged, addresses)
}

#[derive(Debug, Clone, Copy)]
enum Code {
    Plain,
    Fast,
}

const CODES: [Code; 2] = [Code::Plain, Code::Fast];

impl Code {
    fn can_run(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let newer = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("bmi2");
            matches!(self, Self::Plain) || newer && is_x86_feature_detected!("popcnt")
        }
        #[cfg(not(target_arch = "x86_64"))]
        true
    }
}

fn v4(bencher: Bencher<'_, '_>, code: Code, merged: &Merged) {
    assert!(code.can_run(), "this processor is too old");
    let addresses: &[u32] = &V4;
    bencher.counter(ItemsCount::new(DRAWN)).bench_local(|| match code {
        Code::Plain => sum_v4(merged, addresses),
        #[expect(unsafe_code, reason = "functions for newer processors are unsafe to call")]
        #[allow(unused_unsafe)]
        // SAFETY: the processor was asked whether it has these features.
        Code::Fast => unsafe { fast_sum_v4(merged, addresses) },
    });
}

fn v6(bencher: Bencher<'_, '_>, code: Code, merged: &Merged) {
    assert!(code.can_run(), "this processor is too old");
    let addresses: &[u128] = &V6;
    bencher.counter(ItemsCount::new(DRAWN)).bench_local(|| match code {
        Code::Plain => sum_v6(merged, addresses),
        #[expect(unsafe_code, reason = "functions for newer processors are unsafe to call")]
        #[allow(unused_unsafe)]
        // SAFETY: the processor was asked whether it has these features.
        Code::Fast => unsafe { fast_sum_v6(merged, addresses) },
    });
}

#[divan::bench(args = CODES)]
fn v4_locations(bencher: Bencher<'_, '_>, code: Code) {
    v4(bencher, code, &LOCATIONS);
}

#[divan::bench(args = CODES)]
fn v4_three_sites(bencher: Bencher<'_, '_>, code: Code) {
    v4(bencher, code, &THREE);
}

#[divan::bench(args = CODES)]
fn v4_ten_sites(bencher: Bencher<'_, '_>, code: Code) {
    v4(bencher, code, &TEN);
}

#[divan::bench(args = CODES)]
fn v6_locations(bencher: Bencher<'_, '_>, code: Code) {
    v6(bencher, code, &LOCATIONS);
}

#[divan::bench(args = CODES)]
fn v6_three_sites(bencher: Bencher<'_, '_>, code: Code) {
    v6(bencher, code, &THREE);
}

#[divan::bench(args = CODES)]
fn v6_ten_sites(bencher: Bencher<'_, '_>, code: Code) {
    v6(bencher, code, &TEN);
}

/// Both families' tries of a plan.
#[divan::bench(args = [3, 10], sample_count = 10, sample_size = 1)]
fn merge(bencher: Bencher<'_, '_>, sites: usize) {
    let orders = orders(sites);
    bencher.bench_local(|| GEO.merged(&orders));
}

/// The database's octets → everything that look-ups need.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn compile_shipped(bencher: Bencher<'_, '_>) {
    bencher.bench_local(load);
}

/// As a look does that publishes something of networks that were not told apart before.
#[divan::bench(args = [0, 128, 1_024], sample_count = 5, sample_size = 1)]
fn compile_with_measured_networks(bencher: Bencher<'_, '_>, networks: usize) {
    bencher.bench_local(|| making(networks));
}
