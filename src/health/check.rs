//! What is probed.

use std::net::SocketAddr;
use std::sync::Arc;

use crate::config::Probe;
use crate::model::Cloud;

/// One probe at one target of one endpoint.
#[derive(Clone, Debug, PartialEq)]
pub struct Check {
    /// The endpoint's name.
    pub endpoint: Arc<str>,
    /// Where that stands: its cloud,
    pub cloud: Cloud,
    /// and its region there.
    pub region: Arc<str>,
    /// What is done.
    pub probe: Arc<Probe>,
    /// Where.
    pub target: SocketAddr,
}

/// A check for as long as nothing about it changes. An edited check gets another id, and none is
/// used twice, so that an outcome on its way cannot be taken for another check's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CheckId(pub u64);
