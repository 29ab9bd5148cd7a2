//! Two code paths, one answer: a batch is answered as `respond` answers each of its queries, whatever
//! they are. (Every other test that asks by UDP holds the two against each other as well: `support::dns`.)
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/dns.rs"]
mod dns;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::Path;

use dns::{Ask, Files, Reply, World};
use meridian::answer::{Asker, Batches, Transport, respond};
use meridian::control::{DiskFiles, trial};
use meridian::model::{EndpointId, State};
use meridian::table::{Cells, Snapshot, Standing, fold};
use meridian::wire::{BATCH, Batch, LONGEST};

fn shipped() -> Snapshot {
    compiled().steering()
}

fn compiled() -> Snapshot {
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.toml");
    trial(&mut DiskFiles::default(), &shipped).expect("the shipped configuration is good").1
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

    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }

    fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

const NAMES: [&str; 19] = [
    "www.shop.example",
    "www.shop.example",
    "api.shop.example",
    "eu.shop.example",
    "WwW.sHop.eXample",
    "berlin.store.shop.example",
    "store.shop.example",
    "shop.example",
    "SHOP.example",
    "ns1.shop.example",
    "static.shop.example",
    "shop.shop.example",
    "_loyalty._tcp.shop.example",
    "x.preview.shop.example",
    "ns1.warehouse.shop.example",
    "no-such-name.shop.example",
    "a-name-that-has-more-than-forty-eight-octets.shop.example",
    "elsewhere.example",
    ".",
];
const TYPES: [u16; 14] = [1, 1, 1, 28, 28, 65, 2, 6, 5, 15, 16, 33, 255, 252];

fn option(code: u16, data: &[u8]) -> Vec<u8> {
    [&code.to_be_bytes()[..], &(data.len() as u16).to_be_bytes(), data].concat()
}

/// A query, mostly of the plain kind; often with a client subnet, seldom with something odd.
fn query(draw: &mut Draw) -> Vec<u8> {
    let mut packet = vec![draw.next() as u8, draw.next() as u8, draw.next() as u8 & 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    let labels = draw.one(&NAMES).split('.').filter(|label| !label.is_empty());
    packet.extend(labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()));
    packet.push(0);
    packet.extend(draw.one(&TYPES).to_be_bytes());
    packet.extend([0, if draw.below(50) == 0 { 3 } else { 1 }]);
    if draw.below(5) == 0 {
        return packet;
    }
    packet[11] = 1;
    let mut options = Vec::new();
    for _ in 0..*draw.one(&[0, 1, 1, 1, 1, 2]) {
        options.extend(match draw.below(8) {
            0 => option(10, &draw.next().to_be_bytes()),
            3 => option(10, &[draw.next(); 6].map(u64::to_be_bytes).concat()[..*draw.one(&[8, 16, 24, 40, 41, 9, 0])]),
            1 => option(3, &[]),
            2 => option(12, &[0; 40][..draw.below(40)]),
            _ => subnet(draw),
        });
    }
    let size = *draw.one(&[0, 512, 1232, 4096]) as u16;
    packet.extend([0, 0, 41]);
    packet.extend(size.to_be_bytes());
    packet.extend([0, (draw.below(40) == 0).into(), if draw.below(2) == 0 { 0x80 } else { 0 }, draw.below(2) as u8]);
    packet.extend((options.len() as u16).to_be_bytes());
    packet.extend(options);
    packet
}

/// A client subnet option, well-formed for the most part.
fn subnet(draw: &mut Draw) -> Vec<u8> {
    let is_v6 = draw.below(3) == 0;
    let source = if is_v6 { *draw.one(&[0, 32, 44, 48, 56, 64, 128]) } else { *draw.one(&[0, 8, 17, 22, 24, 24, 32]) };
    let mut address = (u128::from(draw.next()) << 64 | u128::from(draw.next())).to_be_bytes();
    if is_v6 {
        address[..2].copy_from_slice(&[0x20 | draw.below(2) as u8, draw.below(20) as u8]);
    }
    if is_v6 && draw.below(10) == 0 {
        address[..12].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff]);
    }
    let octets = usize::from(u8::div_ceil(source, 8));
    if source % 8 != 0 && draw.below(20) > 0 {
        address[octets - 1] &= 0xff << (8 - source % 8);
    }
    let octets = (octets + usize::from(draw.below(40) == 0)).min(16);
    let family = if draw.below(40) == 0 { draw.below(4) as u8 } else { 1 + u8::from(is_v6) };
    option(8, &[&[0, family, source, u8::from(draw.below(40) == 0)], &address[..octets]].concat())
}

/// Fills the batch; some of it damaged.
fn fill(batch: &mut Batch, draw: &mut Draw) {
    batch.count = 1 + draw.below(BATCH);
    for index in 0..batch.count {
        let mut packet = query(draw);
        for _ in 0..draw.below(40).saturating_sub(36) {
            let at = draw.below(packet.len());
            packet[at] = draw.next() as u8;
        }
        if draw.below(30) == 0 {
            packet.truncate(draw.below(packet.len()));
        }
        batch.slots[index][..packet.len()].copy_from_slice(&packet);
        batch.lengths[index] = packet.len() as u16;
        let v4 = IpAddr::V4(Ipv4Addr::from(draw.next() as u32));
        let v6 = Ipv6Addr::from(0x2001 << 112 | u128::from(draw.next()) << 48);
        let mapped = Ipv4Addr::from(draw.next() as u32).to_ipv6_mapped();
        let address = *draw.one(&[v4, v4, IpAddr::V6(v6), IpAddr::V6(mapped)]);
        batch.clients[index] = SocketAddr::new(address, 53);
    }
}

/// Answers many batches both ways under one snapshot; how many answers had what the batched path takes.
fn hold_together(snapshot: &Snapshot, seed: u64) {
    let (mut draw, mut batch, mut out) = (Draw(seed), Batch::default(), vec![0; LONGEST]);
    let cells = [Cells::default(), Cells::default(), Cells::default()];
    for round in 0..600 {
        fill(&mut batch, &mut draw);
        let asked: Vec<Vec<u8>> =
            (0..batch.count).map(|at| batch.slots[at][..batch.lengths[at].into()].to_vec()).collect();
        let mut answers = Vec::new();
        for (cells, answer) in cells.iter().zip([Batches::respond, Batches::respond_plain]) {
            let mut batch = Batch {
                slots: batch.slots.clone(),
                lengths: batch.lengths,
                clients: batch.clients,
                count: batch.count,
                begun: 0,
            };
            answer(&mut Batches::new(0), snapshot, cells, &mut batch);
            answers.push(batch);
        }
        for (at, query) in asked.iter().enumerate() {
            let asker = Asker { address: batch.clients[at].ip(), transport: Transport::Datagram, random: 0, now: 0 };
            let length = respond(snapshot, &cells[2], asker, query, &mut out);
            for answered in &answers {
                let reply = &answered.slots[at][..answered.lengths[at].into()];
                assert_eq!(reply, &out[..length], "round {round}, from {}: {query:x?}", asker.address);
            }
        }
    }
    let figures = |cells: &Cells| (0..5000).map(|id| cells.read(meridian::model::CounterId(id))).collect::<Vec<_>>();
    assert_eq!(figures(&cells[0]), figures(&cells[2]), "what is counted");
    assert_eq!(figures(&cells[1]), figures(&cells[2]));
}

#[test]
fn any_queries_are_answered_alike() {
    let snapshot = shipped();
    hold_together(&snapshot, 1);
    let endpoints = &snapshot.parts.config.endpoints;
    let down = |index: usize| (EndpointId::at(index), Standing::all(&endpoints[index], State::Down));
    hold_together(
        &snapshot.with_standings((0..endpoints.len()).step_by(2).map(down).collect(), jiff::Timestamp::UNIX_EPOCH),
        2,
    );
    hold_together(&snapshot.with_standings((0..endpoints.len()).map(down).collect(), jiff::Timestamp::UNIX_EPOCH), 3);
}

#[test]
fn before_steering_services_are_silent_in_both() {
    hold_together(&compiled(), 4);
}

/// Without this, a path that takes nothing would pass.
#[test]
fn what_is_asked_most_is_hot() {
    let hot = shipped().hot;
    let hit = |name: &str, rtype: u16| {
        let mut window = [0; meridian::table::HOT_NAME];
        let wire: Vec<u8> =
            name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).chain([0]).collect();
        window[..wire.len()].copy_from_slice(&wire);
        let folded = fold(&window, wire.len());
        hot.find(hot.place(&folded), &folded, rtype).map(|line| !line.is_static())
    };
    assert_eq!(hit("www.shop.example", 1), Some(true), "steered");
    assert_eq!(hit("Api.Shop.Example", 28), Some(true), "steered");
    for (name, rtype) in [
        ("www.shop.example", 65),
        ("www.shop.example", 16),
        ("ns1.shop.example", 1),
        ("shop.example", 6),
        ("shop.example", 2),
        ("static.shop.example", 28),
    ] {
        assert_eq!(hit(name, rtype), Some(false), "{name} {rtype}");
    }
    for (name, rtype) in [("no.shop.example", 1), ("shop.shop.example", 1), ("warehouse.shop.example", 1)] {
        assert_eq!(hit(name, rtype), None, "{name} {rtype}");
    }
}

/// Every image of every endpoint, and every ready answer, read by an independent reader.
#[test]
fn every_image_is_read_by_hickory() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| (path.into(), std::fs::read(root.join(path)).unwrap().into());
    let paths = ["config.toml", "zones/shop.example.zone", "zones/shop.example.mail.inc", "geoip/city.mmdb"];
    let mut files = Files::from(paths.map(read));
    let config = String::from_utf8(files[Path::new("config.toml")].to_vec()).unwrap();
    // One alone is panic.
    files.insert("config.toml".into(), config.replace("panic_below = 0.5", "panic_below = 0.0").into_bytes().into());
    let world = World::new(files);
    let endpoints = &world.snapshot.parts.config.endpoints;
    for (index, endpoint) in endpoints.iter().enumerate() {
        let others = (0..endpoints.len()).filter(|other| *other != index);
        let down = others.map(|at| (EndpointId::at(at), Standing::all(&endpoints[at], State::Down))).collect();
        let alone = world.with_snapshot(world.snapshot.with_standings(down, jiff::Timestamp::UNIX_EPOCH));
        for rtype in ["A", "AAAA"] {
            let reply = alone.ask(&Ask::new("www.shop.example", rtype).subnet("8.8.8.0/24"));
            assert_eq!(alone.who(&reply), [&*endpoint.name]);
        }
    }
    for zone in world.snapshot.parts.zones.iter() {
        for (name, node) in zone.nodes() {
            for rtype in node.rrsets().map(|rrset| rrset.rtype).chain([1, 28, 65]) {
                let mut query = vec![0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
                query.extend_from_slice(&name);
                query.extend(rtype.to_be_bytes());
                query.extend([0, 1]);
                let address = Ipv4Addr::LOCALHOST.into();
                let asker = Asker { address, transport: Transport::Datagram, random: 0, now: 0 };
                Reply::read(&query, &world.octets(asker, &query).expect("a reply"));
            }
        }
    }
}
