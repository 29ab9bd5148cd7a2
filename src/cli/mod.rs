//! Floor 5: what the operator types and sees.

mod render;

pub use render::render;
