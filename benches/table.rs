//! Plans at scale, on the shipped database: ranking every location for every plan, and what a verdict costs,
//! of one endpoint and of a whole cloud. Plans have ten endpoints each and no two are alike; endpoints are
//! spread over every region of three clouds, ten a plan, one of which ten plans share. Without plan tries.

#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use divan::{AllocProfiler, Bencher};
use meridian::control::load;
use meridian::model::{EndpointId, Family, LocationId, Region, RegionStatus, State, built_in_regions};
use meridian::table::{Counters, Parts, Snapshot, Standing};

const PLANS: [usize; 2] = [100, 1000];
/// Endpoints a plan, of which the first is one that the next nine plans hold too.
const MEMBERS: usize = 10;

static HUNDRED: LazyLock<Snapshot> = LazyLock::new(|| compile(&parts(PLANS[0])));
static THOUSAND: LazyLock<Snapshot> = LazyLock::new(|| compile(&parts(PLANS[1])));

/// Prints what each bench allocates; `max alloc` of compiling is about what the snapshot takes.
#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

fn main() {
    for plans in PLANS {
        let (snapshot, mut orders) = (snapshot(plans), 0); // not in the first bench's time
        let locations = snapshot.parts.geo.locations().len();
        for service in &*snapshot.services {
            let order = |index| snapshot.plan(service).order(Family::V4, LocationId::at(index)).index() + 1;
            orders += (0..locations).map(order).max().unwrap_or(0);
        }
        println!("{plans} plans over {locations} locations: {} orders each", orders / plans);
    }
    divan::main();
}

fn snapshot(plans: usize) -> &'static Snapshot {
    if plans == PLANS[0] { &HUNDRED } else { &THOUSAND }
}

fn compile(parts: &Parts) -> Snapshot {
    let standings = parts.config.endpoints.iter().map(|endpoint| Standing::all(endpoint, State::Up)).collect();
    Snapshot::compile(parts.clone(), standings, &mut Counters::default(), None, jiff::Timestamp::UNIX_EPOCH)
        .expect("it compiles")
}

/// The configuration of so many plans, a service each, over ten times as many endpoints.
fn parts(plans: usize) -> Parts {
    let mut config =
        "[geoip]\ndatabases = [\"city.mmdb\"]\ngeo_memory = \"0B\"\n[[zones]]\nname = \"shop.example\"\nfile = \"zone\"\n"
            .to_owned();
    let open = |cloud: &str| {
        let regions = built_in_regions().iter();
        regions.filter(|region| region.cloud == cloud && region.status == RegionStatus::GenerallyAvailable).collect()
    };
    let clouds: [Vec<&Region>; 3] = ["aws", "azure", "gcp"].map(open);
    let endpoints = plans * MEMBERS;
    for n in 0..endpoints {
        let regions = &clouds[n % 3];
        let region = regions[n / 3 % regions.len()];
        let [_, a, b, c] = (n as u32).to_be_bytes();
        let addresses = format!("addresses = [\"203.{a}.{b}.{c}\", \"2001:db8::{a:x}:{b:x}:{c:x}\"]");
        let site = format!("cloud = \"{}\"\nregion = \"{}\"", region.cloud, region.name);
        write!(config, "[[endpoints]]\nname = \"e{n}\"\n{site}\n{addresses}\n").expect("to memory");
    }
    let mut draw = Draw(1);
    for plan in 0..plans {
        let drawn = (1..MEMBERS).map(|_| draw.next() as usize % endpoints);
        let members: Vec<String> = [plan / 10].into_iter().chain(drawn).map(|n| format!("\"e{n}\"")).collect();
        let members = members.join(", ");
        write!(config, "[[services]]\nname = \"s{plan}.shop.example\"\nendpoints = [{members}]\n").expect("to memory");
    }
    let zone = "@ 60 SOA ns h 1 2 3 4 5\n@ 60 NS ns\nns 60 A 192.0.2.9\n";
    let city = Path::new(env!("CARGO_MANIFEST_DIR")).join("geoip/city.mmdb");
    let city = std::fs::read(city).expect("the shipped database");
    let files: [(&str, &[u8]); 3] =
        [("config.toml", config.as_bytes()), ("zone", zone.as_bytes()), ("city.mmdb", &city)];
    let mut files: BTreeMap<PathBuf, Arc<[u8]>> =
        files.map(|(path, content)| (path.into(), content.into())).into_iter().collect();
    load(&mut files, Path::new("config.toml"), None).expect("a good configuration").parts
}

/// xorshift64*: the same figures in each run.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// Ranking every location for every plan, and settling.
#[divan::bench(args = PLANS, sample_count = 3, sample_size = 1)]
fn compile_anew(bencher: Bencher<'_, '_>, plans: usize) {
    let parts = &snapshot(plans).parts;
    bencher.bench_local(|| compile(parts));
}

fn verdicts(bencher: Bencher<'_, '_>, plans: usize, holds: impl Fn(usize) -> bool) {
    let snapshot = snapshot(plans);
    let endpoints = &snapshot.parts.config.endpoints;
    let changed: Vec<usize> = (0..endpoints.len()).filter(|&index| holds(index)).collect();
    bencher
        .with_inputs(|| {
            let standing = |&index: &usize| (EndpointId::at(index), Standing::all(&endpoints[index], State::Down));
            changed.iter().map(standing).collect::<Vec<_>>()
        })
        .bench_local_values(|changed| snapshot.with_standings(changed, jiff::Timestamp::UNIX_EPOCH));
}

/// The verdict of an endpoint that ten plans hold.
#[divan::bench(args = PLANS)]
fn one_verdict(bencher: Bencher<'_, '_>, plans: usize) {
    verdicts(bencher, plans, |index| index == 3);
}

/// Every endpoint of a cloud at once.
#[divan::bench(args = PLANS)]
fn a_cloud(bencher: Bencher<'_, '_>, plans: usize) {
    let endpoints = &snapshot(plans).parts.config.endpoints;
    verdicts(bencher, plans, |index| endpoints[index].site.cloud.as_str() == "azure");
}
