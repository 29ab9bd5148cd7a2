//! Each kind of probe against a real server: good, wrong and malicious.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../support/probes.rs"]
mod support;

mod dns;
mod grpc;
mod local;
mod metric;
mod script;
mod stalling;
mod tcp;
mod web;
