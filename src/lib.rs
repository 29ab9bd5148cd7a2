//! Meridian: a geo-aware authoritative DNS server and traffic router.
//!
//! The modules are floors; imports point only down (`tests/tidy.rs` reads them):
//!
//! | floor | modules |
//! |---|---|
//! | 0, words | [`model`] |
//! | 1, pure functions | [`config`], [`latency`], [`steer`] |
//! | 2, compiled | [`zone`], [`geo`], [`table`] |

pub mod config;
pub mod geo;
pub mod latency;
pub mod model;
pub mod steer;
pub mod table;
pub mod zone;
