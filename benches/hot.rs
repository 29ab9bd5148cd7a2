//! What a query costs inside the process, by the batch, beside what copying it costs; nanoseconds, or
//! instructions under callgrind.
//!
//! ```text
//! cargo bench --bench hot                                   a table of nanoseconds
//! cargo bench --bench hot -- --smoke                        the same over few queries: does it still run?
//! valgrind --tool=callgrind BINARY --instructions           a function a kind of query: `measure_…`
//! ```
//! A million queries are drawn before the clock starts, with random names and random subnets, so no
//! cache line is asked for twice in a row. Three sites far apart, the shipped database; with estimates, those of as many prefixes as
//! are published at most, or, to count instructions, of a sixteenth.

#![allow(missing_docs)]

mod estimated;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use meridian::answer::{Batches, with_hot};
use meridian::control::trial;
use meridian::model::EndpointId;
use meridian::table::{Before, Cells, Counters, Snapshot};
use meridian::wire::{BATCH, Batch};

/// The longest query drawn.
const QUERY: usize = 96;
/// Prefixes that are published at most.
const PREFIXES: usize = 65_536;
/// How often each figure is taken; the least counts.
const ROUNDS: usize = 7;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    match arguments.first().map(String::as_str) {
        None => table(1_000_000),
        Some("--smoke") => table(10_000),
        Some("--instructions") => instructions(),
        Some(_) => println!("usage: cargo bench --bench hot [-- --smoke | --instructions]"),
    }
}

/// A query, ready to be copied.
#[derive(Clone, Copy)]
struct Drawn {
    octets: [u8; QUERY],
    length: u16,
}

fn table(queries: usize) {
    println!(
        "nanoseconds a query, least of {ROUNDS} rounds over {queries} queries; copying them into the batch is left out"
    );
    println!("{:<44} {:>8} {:>8} {:>8}", "", "as built", "plain", "copying");
    for names in [1, 1_000, 100_000] {
        let (without, with) = snapshots(names, PREFIXES);
        for kind in if names == 1_000 { &Kind::ALL[..] } else { &Kind::ALL[..2] } {
            let snapshot = if *kind == Kind::GeoEstimated { &with } else { &without };
            let drawn = draw(queries, names, *kind);
            let copying = least(&drawn, BATCH, |_| {});
            let mut figures = String::new();
            for answer in [Batches::respond, Batches::respond_plain] {
                let (cells, mut batches) = (Cells::default(), Batches::new(1));
                let all = least(&drawn, BATCH, |batch| answer(&mut batches, snapshot, &cells, batch));
                write!(figures, " {:>8.1}", all - copying).expect("a string takes it");
            }
            println!("{:<44}{figures} {copying:>8.1}", format!("{}, {names} names", kind.label()));
        }
        if names == 1_000 {
            for size in [1, 8] {
                let drawn = draw(queries, names, Kind::Geo);
                let (cells, mut batches) = (Cells::default(), Batches::new(1));
                let copying = least(&drawn, size, |_| {});
                let all = least(&drawn, size, |batch| batches.respond(&without, &cells, batch));
                println!("{:<44} {:>8.1}", format!("geo with subnet, {names} names, batches of {size}"), all - copying);
            }
        }
    }
}

/// The least time a query over all of `drawn`, in nanoseconds.
fn least(drawn: &[Drawn], size: usize, mut answer: impl FnMut(&mut Batch)) -> f64 {
    let mut batch = Batch::default();
    let rounds = (0..ROUNDS).map(|_| {
        let start = Instant::now();
        go(drawn, size, &mut batch, &mut answer);
        start.elapsed().as_nanos() as f64 / drawn.len() as f64
    });
    rounds.fold(f64::INFINITY, f64::min)
}

fn go(drawn: &[Drawn], size: usize, batch: &mut Batch, answer: &mut impl FnMut(&mut Batch)) {
    batch.clients = [SocketAddr::from(([127, 0, 0, 1], 53)); BATCH];
    for queries in drawn.chunks(size) {
        batch.count = queries.len();
        for ((slot, length), query) in batch.slots.iter_mut().zip(&mut batch.lengths).zip(queries) {
            slot[..QUERY].copy_from_slice(&query.octets);
            *length = query.length;
        }
        answer(batch);
        black_box(&batch.slots[0][0]);
    }
}

/// Few queries of each kind, each kind in a function of its own.
fn instructions() {
    let ((snapshot, with), cells, mut batches) = (snapshots(1_000, PREFIXES / 16), Cells::default(), Batches::new(1));
    let mut batch = Batch::default();
    for kind in Kind::ALL {
        let drawn = draw(64 * BATCH, 1_000, kind);
        go(&drawn, BATCH, &mut batch, &mut |_| {});
        for queries in drawn.chunks(BATCH) {
            batch.count = queries.len();
            for ((slot, length), query) in batch.slots.iter_mut().zip(&mut batch.lengths).zip(queries) {
                slot[..QUERY].copy_from_slice(&query.octets);
                *length = query.length;
            }
            match kind {
                Kind::Geo => measure_geo(&mut batches, &snapshot, &cells, &mut batch),
                Kind::GeoEstimated => measure_estimated(&mut batches, &with, &cells, &mut batch),
                Kind::GeoCookie => measure_cookie(&mut batches, &snapshot, &cells, &mut batch),
                Kind::GeoWithout => measure_geo_without(&mut batches, &snapshot, &cells, &mut batch),
                Kind::Static => measure_static(&mut batches, &snapshot, &cells, &mut batch),
                Kind::NoName => measure_nxdomain(&mut batches, &snapshot, &cells, &mut batch),
            }
        }
        println!("{} queries of {}", drawn.len(), kind.label());
    }
}

macro_rules! measured {
    ($($name:ident)*) => {$(
        #[inline(never)]
        fn $name(batches: &mut Batches, snapshot: &Snapshot, cells: &Cells, batch: &mut Batch) {
            batches.respond(snapshot, cells, black_box(batch));
            black_box(stringify!($name)); // so that equal bodies stay apart
        }
    )*};
}
measured! { measure_geo measure_estimated measure_cookie measure_geo_without measure_static measure_nxdomain }

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Geo,
    GeoEstimated,
    GeoCookie,
    GeoWithout,
    Static,
    NoName,
}

impl Kind {
    const ALL: [Self; 6] =
        [Self::Geo, Self::GeoEstimated, Self::GeoCookie, Self::GeoWithout, Self::Static, Self::NoName];

    fn label(self) -> &'static str {
        match self {
            Self::Geo => "geo with subnet",
            Self::GeoEstimated => "geo with subnet and estimates",
            Self::GeoCookie => "geo with subnet and cookie",
            Self::GeoWithout => "geo by the resolver",
            Self::Static => "static",
            Self::NoName => "no such name",
        }
    }
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

fn draw(queries: usize, names: usize, kind: Kind) -> Vec<Drawn> {
    let mut draw = Draw(1);
    let one = |_| {
        let name = match kind {
            Kind::Geo | Kind::GeoEstimated | Kind::GeoCookie | Kind::GeoWithout => {
                format!("n{}.shop.example", (draw.next() >> 33) as usize % names)
            }
            Kind::Static => format!("s{}.shop.example", (draw.next() >> 33) % 500),
            Kind::NoName => format!("x{}.shop.example", (draw.next() >> 33) % 1_000_000),
        };
        let mut packet = vec![draw.next() as u8, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
        packet.extend(name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()));
        packet.extend([0, 0, 1, 0, 1]);
        packet.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
        if kind != Kind::GeoWithout {
            let [a, b, c, ..] = draw.next().to_be_bytes();
            *packet.last_mut().expect("it is not empty") = 11;
            packet.extend([0, 8, 0, 7, 0, 1, 24, 0, a, b, c]);
        }
        if kind == Kind::GeoCookie {
            let options = packet.len() - 12;
            packet[options] += 12;
            packet.extend([0, 10, 0, 8]);
            packet.extend(draw.next().to_be_bytes());
        }
        let mut octets = [0; QUERY];
        octets[..packet.len()].copy_from_slice(&packet);
        Drawn { octets, length: packet.len() as u16 }
    };
    (0..queries).map(one).collect()
}

/// The same without estimates, and with those of so many prefixes.
fn snapshots(names: usize, prefixes: usize) -> (Snapshot, Snapshot) {
    let without = snapshot(names);
    let parts = without.parts.with_measured(Arc::new(estimated::samples(&without.parts, prefixes).1));
    let standings = (0..parts.config.endpoints.len()).map(|id| without.standing(EndpointId::at(id)).clone()).collect();
    let before = Before { snapshot: &without, count: &|_| 0 };
    let with = Snapshot::compile(parts, standings, &mut Counters::default(), Some(before), Timestamp::UNIX_EPOCH);
    let with = with_hot(with.unwrap_or_else(|problems| panic!("{problems:?}"))).steering();
    (without, with)
}

/// `names` services over three sites, and 500 static names.
fn snapshot(names: usize) -> Snapshot {
    let mut config =
        String::from("[geoip]\ndatabases = [\"city.mmdb\"]\n[[zones]]\nname = \"shop.example\"\nfile = \"zone\"\n");
    for (name, cloud, region, octet) in
        [("a", "aws", "us-east-1", 1), ("b", "aws", "eu-central-1", 2), ("c", "aws", "ap-southeast-1", 3)]
    {
        let addresses = format!("[\"192.0.2.{octet}\", \"2001:db8::{octet}\"]");
        writeln!(
            config,
            "[[endpoints]]\nname = \"{name}\"\ncloud = \"{cloud}\"\nregion = \"{region}\"\naddresses = {addresses}"
        )
        .expect("a string takes it");
    }
    for n in 0..names {
        writeln!(config, "[[services]]\nname = \"n{n}.shop.example\"\nendpoints = [\"a\", \"b\", \"c\"]")
            .expect("a string takes it");
    }
    let mut zone = String::from("@ 60 SOA ns1 a 1 1 1 1 1\n@ 60 NS ns1\nns1 60 A 192.0.2.53\n");
    (0..500).for_each(|n| writeln!(zone, "s{n} 60 A 192.0.2.{}", n % 256).expect("a string takes it"));
    let database = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("geoip/city.mmdb")).expect("it is shipped");
    let mut files: BTreeMap<PathBuf, Arc<[u8]>> = BTreeMap::new();
    for (path, content) in [("config.toml", config.into_bytes()), ("zone", zone.into_bytes()), ("city.mmdb", database)]
    {
        files.insert(path.into(), content.into());
    }
    let (_, snapshot) = trial(&mut files, Path::new("config.toml")).unwrap_or_else(|problems| panic!("{problems:?}"));
    snapshot.steering()
}
