//! Plans at scale, on the shipped database: ranking every location for every plan, and what a verdict costs,
//! of one endpoint and of a whole cloud. Plans have ten endpoints each and no two are alike; endpoints are
//! spread over every region of three clouds, ten a plan, one of which ten plans share. Without plan tries.
//!
//! And what a new estimate costs, by parts, while as many prefixes are published as can be: with the shipped configuration, and
//! with a hundred services of five such plans, with plan tries. All of it runs on the idle lane but `estimates_endpoints_stand`, which is the
//! control task's, and `estimates_swapped_in`, after which the next batch is answered by the new snapshot.

#![allow(missing_docs)]

mod estimated;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use divan::{AllocProfiler, Bencher};
use jiff::Timestamp;
use meridian::answer::with_hot;
use meridian::control::{DiskFiles, load};
use meridian::latency::{Published as Estimated, Samples};
use meridian::model::{EndpointId, Family, LocationId, Region, RegionStatus, State, built_in_regions};
use meridian::table::{Before, Counters, Measured, Parts, Published, Snapshot, Standing};

const PLANS: [usize; 2] = [100, 1000];
/// Endpoints a plan, of which the first is one that the next nine plans hold too.
const MEMBERS: usize = 10;

/// Prefixes that are published at most.
const MEASURED: usize = 65_536;
const SETS: [&str; 2] = ["shipped", "5 plans"];

static HUNDRED: LazyLock<Snapshot> = LazyLock::new(|| compile(&parts(PLANS[0], PLANS[0], "0B"), None));
static THOUSAND: LazyLock<Snapshot> = LazyLock::new(|| compile(&parts(PLANS[1], PLANS[1], "0B"), None));
static SHIPPED: LazyLock<Estimates> = LazyLock::new(|| Estimates::of(shipped()));
static FIVE: LazyLock<Estimates> = LazyLock::new(|| Estimates::of(parts(5, 100, "128MB")));

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
    for set in SETS {
        let Parts { config, measured, .. } = &Estimates::get(set).snapshot.parts;
        let (plans, services, derived) = (config.plans.len(), config.services.len(), measured.derived().len());
        println!("{set}: {plans} plans, {services} services; {derived} prefixes are derived locations");
    }
    divan::main();
}

fn snapshot(plans: usize) -> &'static Snapshot {
    if plans == PLANS[0] { &HUNDRED } else { &THOUSAND }
}

fn compile(parts: &Parts, before: Option<&Snapshot>) -> Snapshot {
    let standings = parts.config.endpoints.iter().map(|endpoint| Standing::all(endpoint, State::Up)).collect();
    let before = before.map(|snapshot| Before { snapshot, count: &|_| 0 });
    Snapshot::compile(parts.clone(), standings, &mut Counters::default(), before, Timestamp::UNIX_EPOCH)
        .expect("it compiles")
}

fn shipped() -> Parts {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.toml");
    load(&mut DiskFiles::default(), &path, None).expect("a good configuration").parts
}

/// The configuration of so many plans, which so many services share, over ten times as many endpoints as plans.
fn parts(plans: usize, services: usize, geo_memory: &str) -> Parts {
    let mut config = format!(
        "[geoip]\ndatabases = [\"city.mmdb\"]\ngeo_memory = \"{geo_memory}\"\n\
         [[zones]]\nname = \"shop.example\"\nfile = \"zone\"\n"
    );
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
    let mut members = |plan: usize| {
        let drawn = (1..MEMBERS).map(|_| draw.next() as usize % endpoints);
        let members: Vec<String> = [plan / 10].into_iter().chain(drawn).map(|n| format!("\"e{n}\"")).collect();
        members.join(", ")
    };
    let plans: Vec<String> = (0..plans).map(&mut members).collect();
    for (service, members) in (0..services).zip(plans.iter().cycle()) {
        write!(config, "[[services]]\nname = \"s{service}.shop.example\"\nendpoints = [{members}]\n")
            .expect("to memory");
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
    bencher.bench_local(|| compile(parts, None));
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
        .bench_local_values(|changed| snapshot.with_standings(changed, Timestamp::UNIX_EPOCH));
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

/// All that stands by when samples are looked at.
struct Estimates {
    samples: Samples,
    published: Arc<Estimated>,
    /// With what is published.
    snapshot: Snapshot,
}

impl Estimates {
    fn of(parts: Parts) -> Self {
        let (samples, published) = estimated::samples(&parts, MEASURED);
        let published = Arc::new(published);
        let parts = parts.with_measured(published.clone());
        Self { snapshot: with_hot(compile(&parts, None)), samples, published }
    }

    fn get(set: &str) -> &'static Self {
        if set == SETS[0] { &SHIPPED } else { &FIVE }
    }

    /// The next parts: as many prefixes, measured anew.
    fn parts(&self) -> Parts {
        self.snapshot.parts.with_measured(Arc::new((*self.published).clone()))
    }
}

/// What samples say, and what of it is published.
#[divan::bench(args = SETS, sample_count = 10, sample_size = 1)]
fn estimates_looked_at(bencher: Bencher<'_, '_>, set: &str) {
    let Estimates { samples, published, .. } = Estimates::get(set);
    bencher.bench_local(|| {
        published.next(
            &samples.estimate(published, &estimated::Flat, 5.0, Timestamp::UNIX_EPOCH),
            &estimated::Flat,
            5.0,
        )
    });
}

/// Derived locations and where they lie.
#[divan::bench(args = SETS, sample_count = 10, sample_size = 1)]
fn estimates_placed(bencher: Bencher<'_, '_>, set: &str) {
    let Estimates { published, snapshot, .. } = Estimates::get(set);
    bencher.bench_local(|| Measured::new(published.clone(), &snapshot.parts.geo));
}

/// Where prefixes alone have changed: derived locations are ranked, the others stay.
#[divan::bench(args = SETS, sample_count = 10, sample_size = 1)]
fn estimates_of_prefixes_compiled(bencher: Bencher<'_, '_>, set: &str) {
    let estimates = Estimates::get(set);
    let parts = estimates.parts();
    bencher.bench_local(|| compile(&parts, Some(&estimates.snapshot)));
}

/// Where a country has changed: all is ranked, and plan tries are made anew.
#[divan::bench(args = SETS, sample_count = 3, sample_size = 1)]
fn estimates_of_a_country_compiled(bencher: Bencher<'_, '_>, set: &str) {
    let parts = Estimates::get(set).parts();
    bencher.bench_local(|| compile(&parts, None));
}

/// The table of hot names.
#[divan::bench(args = SETS, sample_count = 10, sample_size = 1)]
fn estimates_hot_names(bencher: Bencher<'_, '_>, set: &str) {
    bencher.with_inputs(|| Estimates::get(set).snapshot.clone()).bench_local_values(with_hot);
}

/// Every endpoint as it stands by now.
#[divan::bench(args = SETS, sample_count = 10, sample_size = 1)]
fn estimates_endpoints_stand(bencher: Bencher<'_, '_>, set: &str) {
    let snapshot = &Estimates::get(set).snapshot;
    let endpoints = snapshot.parts.config.endpoints.iter().enumerate();
    let standings: Vec<_> =
        endpoints.map(|(index, endpoint)| (EndpointId::at(index), Standing::all(endpoint, State::Up))).collect();
    bencher
        .with_inputs(|| standings.clone())
        .bench_local_values(|standings| snapshot.with_standings(standings, Timestamp::UNIX_EPOCH));
}

/// What readers see of it.
#[divan::bench(args = SETS)]
fn estimates_swapped_in(bencher: Bencher<'_, '_>, set: &str) {
    let snapshot = &Estimates::get(set).snapshot;
    let served = Published::new(snapshot.clone());
    bencher.with_inputs(|| snapshot.clone()).bench_local_values(|next| served.publish(next));
}

/// The snapshot that served before, when nobody reads it any more.
#[divan::bench(args = SETS, sample_count = 5, sample_size = 1)]
fn estimates_freed(bencher: Bencher<'_, '_>, set: &str) {
    let estimates = Estimates::get(set);
    bencher.with_inputs(|| compile(&estimates.parts(), Some(&estimates.snapshot))).bench_local_values(drop);
}
