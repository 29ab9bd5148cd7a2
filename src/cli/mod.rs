//! Floor 5: what a command of `meridian` does, built from the floors below.

pub mod arguments;
pub mod lab;
