//! Endpoints: what answers point to and probes look at.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Location, Name, PlaceSet, Site};

/// An address family. Each one ranks the endpoints that have an address of it (DESIGN invariant 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Family {
    /// Asked for by type A.
    V4,
    /// Asked for by type AAAA.
    V6,
}

impl Family {
    /// Both, in order: `ALL[family as usize] == family`.
    pub const ALL: [Self; 2] = [Self::V4, Self::V6];

    /// Is the address of this family?
    #[must_use]
    pub fn holds(self, address: &IpAddr) -> bool {
        address.is_ipv4() == (self == Self::V4)
    }
}

/// What health says of an endpoint or one of its addresses, best first in order of use
/// (BEHAVIOUR rule 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It answers as it should, or has no probe.
    Up,
    /// It answers, but badly.
    Degraded,
    /// It answers, but has flapped: others first, for a while.
    Damped,
    /// No outcome yet.
    Unknown,
    /// It does not answer.
    Down,
}

impl State {
    /// The word that `/status` and logs use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Up => "up",
            Self::Degraded => "degraded",
            Self::Damped => "damped",
            Self::Unknown => "unknown",
            Self::Down => "down",
        }
    }
}

/// Where an endpoint's addresses come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Addresses {
    /// Written in the configuration; at least one.
    Fixed(Vec<IpAddr>),
    /// Resolved by `[resolver]` and answered as addresses (BEHAVIOUR rule 26).
    Hostname(Name),
}

/// Where to probe, when not the answer address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// Address and port that a probe connects to.
    pub address: SocketAddr,
}

/// What traffic from an endpoint costs, per GB, by the client's place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cost {
    /// Where no place below holds the client.
    pub default: f64,
    /// The first that holds the client decides.
    pub by_place: Vec<(PlaceSet, f64)>,
}

impl Cost {
    /// Per GB, for a client at `location`.
    #[must_use]
    pub fn at(&self, location: &Location) -> f64 {
        let place = self.by_place.iter().find(|(set, _)| set.holds(location));
        place.map_or(self.default, |(_, cost)| *cost)
    }
}

/// One way into the storefront: a place, its addresses and how to tell that it lives.
#[derive(Clone, Debug, PartialEq)]
pub struct Endpoint {
    /// Unique in the configuration.
    pub name: Arc<str>,
    /// Cloud and region, with the region's place.
    pub site: Site,
    /// What answers carry.
    pub addresses: Addresses,
    /// Added to its expected latency, in ms.
    pub bias_ms: f32,
    /// Its share among endpoints that tie; at least 1.
    pub weight: u32,
    /// What its traffic costs.
    pub cost: Cost,
    /// Names of the probes that must all succeed; none: it counts as up.
    pub probes: Vec<Arc<str>>,
    /// Where to probe instead of each address; its outcome stands for all of them (rule 17).
    pub probe_target: Option<Target>,
    /// What it can carry; none: as much as the others of a plan in the mean.
    pub capacity: Option<Capacity>,
    /// A URL that browsers fetch from it to time the way; none: they do not.
    pub beacon: Option<Arc<str>>,
}

/// What an endpoint can carry, in requests per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Capacity {
    /// As it runs.
    pub now: f64,
    /// Once it has scaled out.
    pub max: f64,
}

impl Endpoint {
    /// Does it count as having an address of `family` when it is settled which types a service has?
    /// What a hostname resolves to is not known then: it counts for IPv4 alone, and its IPv6
    /// addresses join where others give the service AAAA.
    #[must_use]
    pub fn counts_for(&self, family: Family) -> bool {
        match &self.addresses {
            Addresses::Fixed(addresses) => addresses.iter().any(|address| family.holds(address)),
            Addresses::Hostname(_) => family == Family::V4,
        }
    }

    /// May it have an address of `family`? A hostname may resolve to both.
    #[must_use]
    pub fn may_have(&self, family: Family) -> bool {
        matches!(self.addresses, Addresses::Hostname(_)) || self.counts_for(family)
    }
}
