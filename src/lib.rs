//! Meridian: a geo-aware authoritative DNS server and traffic router.
//!
//! The modules are floors; imports point only down (a test reads the `use crate::` lines):
//!
//! | floor | modules |
//! |---|---|
//! | 0, words | [`model`] |
//! | 1, pure functions | [`wire`] |
//! | 3, data plane | [`serve`] |

pub mod config;
pub mod model;
pub mod serve;
pub mod wire;
