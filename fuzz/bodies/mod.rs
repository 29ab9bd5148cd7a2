//! What each target does with its input, for the fuzzer (`fuzz_targets/`) and for `cargo test`
//! (`tests/fuzz_corpus`) alike.

pub(crate) mod config;
pub(crate) mod edns;
pub(crate) mod mmdb;
pub(crate) mod name;
pub(crate) mod paths;
pub(crate) mod sequences;
pub(crate) mod stream;
pub(crate) mod wire;
pub(crate) mod world;
pub(crate) mod zone;
