//! Meridian: a geo-aware authoritative DNS server and traffic router.
//!
//! The modules are floors; imports point only down (a test reads the `use crate::` lines):
//!
//! | floor | modules |
//! |---|---|
//! | 0, words | [`model`] |
//! | 1, pure functions | [`health`] |
//! | 4, control plane | [`probe`] |

pub mod config;
pub mod health;
pub mod model;
pub mod probe;
