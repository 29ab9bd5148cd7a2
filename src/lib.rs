//! Meridian: a geo-aware authoritative DNS server and traffic router.
//!
//! The modules are floors; imports point only down (a test reads the `use crate::` lines):
//!
//! | floor | modules |
//! |---|---|
//! | 0, words | [`model`] |
//! | 2, compiled | [`geo`] |

pub mod config;
pub mod latency;
pub mod geo;
pub mod model;
pub mod steer;
