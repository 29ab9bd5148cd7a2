//! The fuzz targets without the fuzzer: each over what is kept of its corpus, and over some thousands of
//! mutations of that, the same in each run. `cargo fuzz` looks further; `fuzz/README.md` says how.
#![allow(missing_docs)]

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

#[path = "../../fuzz/bodies/mod.rs"]
mod bodies;

/// xorshift64*: the same figures in each run.
struct Draw(u64);

impl Draw {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `bound`, which is not zero.
    fn below(&mut self, bound: usize) -> usize {
        (self.next() >> 33) as usize % bound
    }
}

/// What is kept of a target, in the order of the names.
fn corpus(target: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let mut paths: Vec<_> =
        fs::read_dir(&folder).expect("it is kept").map(|entry| entry.expect("one").path()).collect();
    paths.sort();
    paths.iter().map(|path| fs::read(path).expect("it can be read")).collect()
}

/// One seed with a few changes, or the beginning of one and the end of another.
fn mutated(seeds: &[Vec<u8>], draw: &mut Draw) -> Vec<u8> {
    let mut input = seeds[draw.below(seeds.len())].clone();
    for _ in 0..=draw.below(4) {
        let at = draw.below(input.len() + 1);
        match draw.below(7) {
            0 if at < input.len() => input[at] ^= 1 << draw.below(8),
            1 if at < input.len() => input[at] = [0, 1, 0x3f, 0x40, 0x7f, 0x80, 0xc0, 0xff, b'.', b'"'][draw.below(10)],
            2 => input.insert(at, draw.next() as u8),
            3 => drop(input.drain(at..(at + 1 + draw.below(8)).min(input.len()))),
            4 => input.truncate(at),
            5 => {
                let other = &seeds[draw.below(seeds.len())];
                input.truncate(at);
                input.extend(&other[draw.below(other.len() + 1)..]);
            }
            _ => {
                let end = (at + draw.below(24)).min(input.len());
                let again = input[at..end].to_vec();
                input.splice(at..at, again);
            }
        }
    }
    input
}

/// Runs a target over all of it; an input that fails is shown in full.
fn hold(target: &str, run: fn(&[u8]), mutations: usize) {
    let (seeds, mut draw) = (corpus(target), Draw(0x6d65_7269_6469_616e));
    assert!(seeds.len() > 5, "the corpus of {target} is kept");
    let drawn = (0..mutations).map(|_| mutated(&seeds, &mut draw));
    for input in seeds.iter().cloned().chain(drawn) {
        if catch_unwind(|| run(&input)).is_err() {
            panic!("{target} fails, as said above, for \"{}\"", input.escape_ascii());
        }
    }
}

#[test]
fn config() {
    hold("config", bodies::config::run, 1_000);
}

#[test]
fn edns() {
    hold("edns", bodies::edns::run, 30_000);
}

#[test]
fn mmdb() {
    hold("mmdb", bodies::mmdb::run, 2_000);
}

#[test]
fn name() {
    hold("name", bodies::name::run, 30_000);
}

#[test]
fn paths() {
    hold("paths", bodies::paths::run, 20_000);
}

#[test]
fn sequences() {
    hold("sequences", bodies::sequences::run, 60);
}

#[test]
fn stream() {
    hold("stream", bodies::stream::run, 300);
}

#[test]
fn wire() {
    hold("wire", bodies::wire::run, 30_000);
}

#[test]
fn zone() {
    hold("zone", bodies::zone::run, 5_000);
}
