//! The whole server in one process, on loopback: probes, edits, restarts, hostnames, HTTP.
#![allow(clippy::unwrap_used, missing_docs)]

mod beacons;
mod edits;
mod encrypted;
mod hostnames;
mod http;
mod measured;
#[allow(dead_code, reason = "no test binary uses all of it")]
#[path = "../support/mmdb.rs"]
mod mmdb;
mod networks;
mod orders;
mod own_fault;
mod probes;
mod refusals;
mod restart;
#[path = "../support/server.rs"]
mod server;
#[path = "../support/tls.rs"]
mod tls;
mod webhook;

use jiff::Timestamp;
use serde_json::Value;

/// An endpoint in `/status`.
fn of<'s>(status: &'s Value, name: &str) -> &'s Value {
    let endpoints = status["endpoints"].as_array().unwrap();
    endpoints.iter().find(|endpoint| endpoint["name"] == name).unwrap_or_else(|| panic!("{name} in {status:#}"))
}

fn time(value: &Value) -> Timestamp {
    value.as_str().unwrap().parse().unwrap()
}
