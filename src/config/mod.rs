//! Floor 1: from what was typed to what it means.

mod meaning;

pub use meaning::{Admin, Config, Http, HttpMethod, Probe, ProbeKind, Resolver, Server, Tls, Zone, is_private};
