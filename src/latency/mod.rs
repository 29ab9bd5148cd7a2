//! Floor 1: the expected round-trip time between a client's location and a site.
//!
//! The **prior** is what geography, cables and the clouds' own published round trips tell:
//!
//! ```text
//! 2 ms + 0.0122 ms a km of the way (`graph`: hubs and cables)
//!      + 0.0122 ms a km of the detour by a backbone hub, as far as the countries take one (`detour`)
//!      + what round trips between cloud regions showed to be missing nearby (`residual`);
//!        both count less on short ways
//! and never less than light takes
//! ```
//!
//! What depends on one end alone is worked out once an end: [`Origin`] for a location, some microseconds and half a
//! kilobyte; [`Destination`] for a site, some more. A pair is then a few hundred multiplications. Every figure comes out
//! the same on every machine (`sphere`), and [`expected_ms`] says what the two halves say.
//!
//! What clients measured corrects it: [`Samples`] keeps their round trips, [`Estimates`] is what these say beyond the prior,
//! and [`Published`] what answers go by (`measured`).
//!
//! The figures and their judgement: `benches/regret`. The data, with their origin: `src/latency/data`.

mod detour;
mod graph;
mod measured;
mod residual;
mod sphere;

pub use graph::way_km;
pub use measured::{
    Counted, Estimates, Factor, Kind, Place, Published, Samples, Session, Settings, Shift, TargetId, World,
};
pub use residual::{ALONE, UNIT_MS, nearness, rise};

use crate::model::{Country, Location, Site};
use detour::detour;
use graph::{Access, GRAPH};
use residual::{Nearness, RESIDUAL};
use sphere::Point;

/// What a round trip costs before any distance, in ms.
pub const BASE_MS: f32 = 2.0;
/// Per km of way: light in glass there and back (0.0098 ms), and the bends that the graph does not know.
pub const MS_PER_KM: f32 = 0.0122;
/// How much of a detour is taken within one country.
const AT_HOME: f32 = 0.15;
/// No round trip takes less than this and …
const LEAST_MS: f32 = 1.0;
/// … this for each km of great circle: light in glass, in a cable as straight as they are laid.
const LEAST_MS_PER_KM: f32 = 0.0105;

/// An end of a round trip, as far as it does not depend on the other.
#[derive(Debug)]
struct End {
    at: Point,
    country: Option<Country>,
    detour: f32,
    access: Access,
    nearness: Nearness,
}

/// A client's location, ready to be paired with many sites.
#[derive(Debug)]
pub struct Origin(Option<End>);

/// A site, ready to be paired with many locations.
#[derive(Debug)]
pub struct Destination(Option<Far>);

#[derive(Debug)]
struct Far {
    end: End,
    /// From each hub, in km.
    ways: Box<[f32]>,
    /// Of each anchor's nearness.
    weights: Box<[f32]>,
}

impl End {
    fn new(at: Point, country: Option<Country>) -> Self {
        Self { at, country, detour: detour(country), access: GRAPH.access(at), nearness: RESIDUAL.nearness(at) }
    }
}

impl Origin {
    /// That of a location.
    #[must_use]
    pub fn new(location: &Location) -> Self {
        let at = location.coordinates.and_then(Point::new);
        Self(at.map(|at| End::new(at, location.country)))
    }

    /// Expected round-trip time to a site, in ms, as [`expected_ms`] has it.
    #[must_use]
    pub fn expected_ms(&self, to: &Destination) -> f32 {
        let (Some(here), Some(there)) = (&self.0, &to.0) else { return BASE_MS };
        let far = &there.end;
        let direct_km = here.at.distance_km(far.at) as f32;
        let way_km = here.access.way_km(&there.ways, direct_km);
        let home = if here.country.is_some() && here.country == far.country { AT_HOME } else { 1.0 };
        let detour = home * (1.0 - (1.0 - here.detour) * (1.0 - far.detour));
        let detour_km = detour * (here.access.backbone_km(&far.access) - way_km).max(0.0);
        let residual_ms = RESIDUAL.between_ms(&here.nearness, &far.nearness, &there.weights);
        let more_ms = rise(way_km) * (MS_PER_KM * detour_km + residual_ms);
        let expected_ms = BASE_MS + MS_PER_KM * way_km + more_ms;
        expected_ms.max(LEAST_MS + LEAST_MS_PER_KM * direct_km)
    }
}

impl Destination {
    /// That of a site.
    #[must_use]
    pub fn new(site: &Site) -> Self {
        let far = |at| {
            let end = End::new(at, Some(site.country));
            let (ways, weights) = (GRAPH.ways(&end.access), RESIDUAL.weights(&end.nearness));
            Far { end, ways, weights }
        };
        Self(Point::new(site.coordinates).map(far))
    }
}

/// Expected round-trip time in ms between a client at `location` and `site`.
///
/// A location without coordinates is equally far from everywhere: all sites tie. Whoever asks for many pairs makes an
/// [`Origin`] of each location and a [`Destination`] of each site.
#[must_use]
pub fn expected_ms(location: &Location, site: &Site) -> f32 {
    Origin::new(location).expected_ms(&Destination::new(site))
}

/// The rows of a built-in table, without remarks and the names of columns.
fn rows(table: &str) -> impl Iterator<Item = &str> {
    table.lines().filter(|line| !line.starts_with('#')).skip(1)
}

#[cfg(test)]
mod tests;
