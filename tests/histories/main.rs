//! Scripted histories of a day at the shop, in virtual time: expected verdicts, TTLs, parts of the clients, events.
#![allow(clippy::unwrap_used, missing_docs)]

mod outages;
mod properties;
mod world;
