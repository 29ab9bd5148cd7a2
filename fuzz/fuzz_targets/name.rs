//! See `bodies/name.rs`.
#![no_main]
#![allow(dead_code)]

#[path = "../bodies/mod.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|input: &[u8]| bodies::name::run(input));
