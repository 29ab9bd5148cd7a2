//! Floor 0: the words that every other floor speaks.
//!
//! Plain data and small methods on it; no I/O, no clock, nothing that imports from another floor.
//! A **location** is where a client is, a **place** a set of locations that an operator can name, a
//! **site** (cloud and region) where endpoints stand, a **plan** a set of endpoints with a policy.

mod cookie;
mod country;
mod cpu;
mod digest;
mod endpoint;
mod ids;
mod large;
mod location;
mod name;
mod place;
mod policy;
mod prefixes;
mod problem;
mod region;
mod sip;
mod source;

pub use cookie::{Bearer, CLIENT_COOKIE, Cookie, CookieSecrets, SERVER_COOKIE};
pub use country::{Continent, Country, CountryFacts, Subdivision};
pub use cpu::{first_zero, prefetch, prefetch_in};
pub use digest::Digest;
pub use endpoint::{Addresses, Capacity, Cost, Endpoint, Family, State, Target};
pub use ids::{CounterId, EndpointId, LocationId, Member, OrderId, PlanId, ServiceId, ZoneId};
pub use large::Large;
pub use location::{Coordinates, FenceMask, Location, MAX_FENCES};
pub use name::{Name, NameError};
pub use place::{Place, PlaceSet};
pub use policy::{
    ALL_PARTS, Fence, FenceUnknown, MAX_MEMBERS, MAX_MULTIVALUE, Plan, Policy, Preference, Service, Spread, WhenNone,
    Within,
};
pub use prefixes::Prefixes;
pub use problem::{Files, Problem, Severity, Spot};
pub use region::{Cloud, Region, RegionStatus, Site, built_in_regions, find_region};
pub use source::Source;
