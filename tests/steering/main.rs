//! Where clients are sent: on a small database written for the purpose, whose every prefix is known, and
//! on the shipped configuration and database. Every answer is read by hickory-proto.
#![allow(clippy::unwrap_used, missing_docs)]

mod derived;
#[path = "../support/dns.rs"]
mod dns;
mod ecs;
mod fences;
#[path = "../support/mmdb.rs"]
mod mmdb;
mod plans;
mod policy;
mod properties;
mod shipped;
mod small;
