//! Floor 4: the control plane.

mod files;
mod last_good;

pub use files::{Digest, DiskFiles, Sight};
pub use last_good::{KeptSet, LastGood};
