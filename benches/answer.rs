//! What an answer costs inside the process, on the shipped configuration and database: parsing, the
//! look-ups, the whole; and what it costs to make and to change a snapshot. Addresses and endpoints
//! are drawn at random, so that no cache line is asked for twice in a row.

#![allow(missing_docs)]

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;
use std::sync::LazyLock;

use divan::{Bencher, black_box};
use meridian::answer::{Asker, Transport, respond};
use meridian::control::{DiskFiles, load, trial};
use meridian::model::{EndpointId, State};
use meridian::table::{Cells, Counters, Snapshot, Standing};
use meridian::wire;

fn main() {
    LazyLock::force(&SNAPSHOT); // not in the first bench's time
    divan::main();
}

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.toml");
    let (_, snapshot) = trial(&mut DiskFiles::default(), &shipped).expect("the shipped configuration is good");
    snapshot.steering()
});

/// xorshift64*: a different figure at each call, the same ones in each run.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn address(&mut self) -> Ipv4Addr {
        Ipv4Addr::from((self.next() >> 32) as u32)
    }
}

/// A query for A of `name`, with a client subnet /24 at the end.
fn query(name: &str) -> Vec<u8> {
    let mut packet = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    packet.extend(name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()));
    packet.extend([0, 0, 1, 0, 1]);
    packet.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 11, 0, 8, 0, 7, 0, 1, 24, 0, 0, 0, 0]);
    packet
}

fn answer(bencher: Bencher<'_, '_>, name: &str) {
    let (cells, mut draw, mut out) = (Cells::default(), Draw(1), vec![0; 4096]);
    let mut packet = query(name);
    let subnet = packet.len() - 3;
    let asker = Asker { address: IpAddr::V4(Ipv4Addr::LOCALHOST), transport: Transport::Datagram, random: 0, now: 0 };
    bencher.bench_local(|| {
        packet[subnet..].copy_from_slice(&draw.address().octets()[..3]);
        let length = respond(&SNAPSHOT, &cells, asker, black_box(&packet), &mut out);
        assert!(length > packet.len() - 20);
    });
}

#[divan::bench]
fn answer_steered_with_subnet(bencher: Bencher<'_, '_>) {
    answer(bencher, "www.shop.example");
}

#[divan::bench]
fn answer_alias_to_steered(bencher: Bencher<'_, '_>) {
    answer(bencher, "shop.shop.example");
}

#[divan::bench]
fn answer_static(bencher: Bencher<'_, '_>) {
    answer(bencher, "ns1.shop.example");
}

#[divan::bench]
fn answer_nxdomain(bencher: Bencher<'_, '_>) {
    answer(bencher, "no-such-name.shop.example");
}

#[divan::bench]
fn parse_with_subnet(bencher: Bencher<'_, '_>) {
    let packet = query("www.shop.example");
    bencher.bench_local(|| wire::parse(black_box(&packet)).is_ok());
}

#[divan::bench]
fn locate_random_prefix(bencher: Bencher<'_, '_>) {
    let mut draw = Draw(1);
    bencher.bench_local(|| SNAPSHOT.parts.geo.locate_prefix(IpAddr::V4(draw.address()), 24));
}

#[divan::bench]
fn find_name(bencher: Bencher<'_, '_>) {
    let name = b"\x03www\x04shop\x07example\0";
    bencher.bench_local(|| {
        let (_, zone) = SNAPSHOT.parts.zones.find_zone(black_box(name)).expect("it is ours");
        black_box(zone.find(black_box(name), 1));
    });
}

/// From a verdict to the snapshot that is published.
#[divan::bench]
fn one_verdict(bencher: Bencher<'_, '_>) {
    let (mut draw, endpoints) = (Draw(1), &SNAPSHOT.parts.config.endpoints);
    bencher.bench_local(|| {
        let id = EndpointId::at(draw.next() as usize % endpoints.len());
        let state = if draw.next() & 1 == 0 { State::Down } else { State::Up };
        SNAPSHOT.with_standings(vec![(id, Standing::all(&endpoints[id.index()], state))], jiff::Timestamp::UNIX_EPOCH)
    });
}

/// Ranking every location for every plan.
#[divan::bench(sample_count = 10)]
fn compile_snapshot(bencher: Bencher<'_, '_>) {
    let parts = &SNAPSHOT.parts;
    bencher.bench_local(|| {
        let standings = parts.config.endpoints.iter().map(|endpoint| Standing::all(endpoint, State::Up)).collect();
        Snapshot::compile(parts.clone(), standings, &mut Counters::default(), None, jiff::Timestamp::UNIX_EPOCH)
            .expect("it compiled before")
    });
}

/// Reading the whole set, the city database among it.
#[divan::bench(sample_count = 5, sample_size = 1)]
fn load_shipped(bencher: Bencher<'_, '_>) {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.toml");
    bencher.bench_local(|| load(&mut DiskFiles::default(), &shipped, None).expect("the shipped configuration is good"));
}
