//! What static zones cost: reading, memory, look-ups on random names. The zones are generated, ten
//! records each: SOA, two NS, A, AAAA, MX, TXT and CNAME at six names.
//!
//! Before the timed benches the memory is measured: what the process grows by on each record of a set
//! that is read and kept, as the system counts it. `ZONES` in the environment sets the size of the
//! large set (100,000 zones, a million records).

#![allow(missing_docs)]

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};

use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use meridian::model::{Files, Name};
use meridian::zone::{Found, ZoneData, ZoneTree, Zones, read};

const RECORDS: usize = 10;
/// So many names are asked for in turn: of the large set more than caches hold.
const NAMES: usize = 1 << 20;
/// So many of them in a sample: each goes on where the last one ended.
const LOOKUPS: usize = 1 << 10;
const LARGE: usize = 100_000;

fn main() {
    for zones in [large() / 10, large()] {
        report_memory(zones);
    }
    divan::main();
}

fn large() -> usize {
    std::env::var("ZONES").map_or(LARGE, |zones| zones.parse().expect("ZONES is a number"))
}

fn apex(zone: usize) -> Name {
    format!("customer-{zone}.example").parse().expect("it is a name")
}

fn text(zone: usize) -> Arc<[u8]> {
    let (high, low) = (zone / 250 % 250, zone % 250);
    let text = format!(
        "$TTL 3600
@ SOA ns1.hosting.example. hostmaster.hosting.example. 2026010101 7200 900 1209600 300
@ NS ns1.hosting.example.
@ NS ns2.hosting.example.
@ MX 10 mail
_dmarc TXT \"v=DMARC1; p=none; rua=mailto:dmarc@customer-{zone}.example\"
mail A 198.51.{high}.{low}
www A 203.0.{high}.{low}
www AAAA 2001:db8:{high}::{low}
shop CNAME www
api A 192.0.{high}.{low}
"
    );
    text.into_bytes().into()
}

/// One file, whatever it is called.
struct One(Arc<[u8]>);

impl Files for One {
    fn read(&mut self, _: &Path) -> io::Result<Arc<[u8]>> {
        Ok(self.0.clone())
    }

    fn list(&mut self, _: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(Vec::new())
    }
}

struct Source {
    apex: Name,
    file: One,
}

fn sources(zones: usize) -> Vec<Source> {
    (0..zones).map(|zone| Source { apex: apex(zone), file: One(text(zone)) }).collect()
}

fn read_one(source: &mut Source) -> ZoneData {
    let (data, warnings) = read(&mut source.file, Path::new("zone"), &source.apex).expect("it is good");
    assert!(warnings.is_empty());
    data
}

fn build(data: &ZoneData) -> ZoneTree {
    ZoneTree::build(data, &[]).expect("no service is in it")
}

fn load(sources: &mut [Source]) -> Zones {
    Zones::new(sources.iter_mut().map(|source| build(&read_one(source))).collect())
}

fn report_memory(zones: usize) {
    let mut sources = sources(zones);
    load(&mut sources[..1]);
    let before = resident();
    let loaded = load(&mut sources);
    let grown = resident() - before;
    let (records, grown) = (loaded.len() * RECORDS, grown as f64);
    println!("{records} records in {zones} zones: {:.1} octets a record resident", grown / records as f64);
}

/// Octets of memory that the process holds.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("it has this line");
    line.trim().trim_end_matches(" kB").parse::<usize>().expect("it is a number") * 1024
}

/// Reading a tenth of the large set: text to finished trees, from memory.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn load_per_record(bencher: Bencher<'_, '_>) {
    let mut sources = sources(large() / 10);
    let records = sources.len() * RECORDS;
    bencher.counter(ItemsCount::new(records)).bench_local(|| load(&mut sources));
}

/// The reading alone: text to build form, checked.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn read_per_record(bencher: Bencher<'_, '_>) {
    let mut sources = sources(large() / 10);
    let records = sources.len() * RECORDS;
    bencher.counter(ItemsCount::new(records)).bench_local(|| {
        for source in &mut sources {
            black_box(read_one(source));
        }
    });
}

/// From the build form to the look-up form.
#[divan::bench(sample_count = 20, sample_size = 1)]
fn build_per_record(bencher: Bencher<'_, '_>) {
    let data: Vec<ZoneData> = sources(large() / 10).iter_mut().map(read_one).collect();
    bencher.counter(ItemsCount::new(data.len() * RECORDS)).bench_local(|| {
        for data in &data {
            black_box(build(data));
        }
    });
}

/// All zones of the large set, read once.
static ZONES: LazyLock<Zones> = LazyLock::new(|| load(&mut sources(large())));
static TENTH: LazyLock<Zones> = LazyLock::new(|| load(&mut sources(large() / 10)));
static FEW: LazyLock<Zones> = LazyLock::new(|| load(&mut sources(large() / 100)));

/// xorshift64*: a different figure at each call, the same ones in each run.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) as usize
    }
}

/// Names at random, one after the other.
fn look_up(bencher: Bencher<'_, '_>, zones: &Zones, labels: &[&str], is: fn(&Found<'_, '_>) -> bool) {
    let mut draw = Draw(7);
    // One behind the other, so that the names themselves are at hand when they are asked for.
    let (mut wires, mut ends) = (Vec::new(), Vec::new());
    for _ in 0..NAMES {
        let name = format!("{}{}", labels[draw.next() % labels.len()], apex(draw.next() % zones.len()));
        wires.extend(name.parse::<Name>().expect("it is a name").as_wire());
        ends.push(wires.len());
    }
    let mut first = 0;
    bencher.counter(ItemsCount::new(LOOKUPS)).bench_local(|| {
        for ends in ends[first..=first + LOOKUPS].windows(2) {
            let name = black_box(&wires[ends[0]..ends[1]]);
            let (_, zone) = zones.find_zone(name).expect("it is in a zone");
            assert!(is(&zone.find(name, 1)));
        }
        first = (first + LOOKUPS) % (NAMES - LOOKUPS);
    });
}

const HELD: [&str; 3] = ["www.", "mail.", "api."];

fn is_answer(found: &Found<'_, '_>) -> bool {
    matches!(found, Found::Answer { rrset, .. } if rrset.octets().len() == 6)
}

fn is_nxdomain(found: &Found<'_, '_>) -> bool {
    matches!(found, Found::NxDomain)
}

#[divan::bench(sample_count = 1000, sample_size = 1)]
fn look_up_in_few(bencher: Bencher<'_, '_>) {
    look_up(bencher, &FEW, &HELD, is_answer);
}

#[divan::bench(sample_count = 1000, sample_size = 1)]
fn look_up_in_tenth(bencher: Bencher<'_, '_>) {
    look_up(bencher, &TENTH, &HELD, is_answer);
}

#[divan::bench(sample_count = 1000, sample_size = 1)]
fn look_up_in_all(bencher: Bencher<'_, '_>) {
    look_up(bencher, &ZONES, &HELD, is_answer);
}

#[divan::bench(sample_count = 1000, sample_size = 1)]
fn look_up_nxdomain_in_all(bencher: Bencher<'_, '_>) {
    look_up(bencher, &ZONES, &["ftp.", "a.b.c.", "x.www."], is_nxdomain);
}
