//! Meridian: a geo-aware authoritative DNS server and traffic router.
//!
//! The modules are floors; imports point only down (`tests/tidy.rs` reads them):
//!
//! | floor | modules |
//! |---|---|
//! | 0, words | [`model`] |
//! | 1, pure functions | [`wire`], [`config`], [`health`], [`latency`], [`steer`] |
//! | 2, compiled, immutable | [`zone`], [`geo`], [`table`] |
//! | 3, data plane | [`answer`], [`serve`], [`sandbox`] |
//! | 4, control plane | [`probe`], [`delegation`], [`beacons`], [`control`], [`admin`] |
//! | 5, commands | [`cli`] |

pub mod admin;
pub mod answer;
pub mod beacons;
pub mod cli;
pub mod config;
pub mod control;
pub mod delegation;
pub mod geo;
pub mod health;
pub mod latency;
pub mod model;
pub mod probe;
pub mod sandbox;
pub mod serve;
pub mod steer;
pub mod table;
pub mod wire;
pub mod zone;
