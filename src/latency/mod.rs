//! Floor 1: the expected round-trip time between a client's location and a site.
//!
//! For now the prior is distance alone; the steering issue replaces the body of [`expected_ms`] by a
//! model of the network and corrects it with samples.

use crate::model::{Coordinates, Location, Site};

/// What a round trip costs before any distance, in ms.
const BASE_MS: f64 = 2.0;
/// Per km of great circle: light in glass there and back (0.0098 ms) times the usual detour.
const MS_PER_KM: f64 = 0.0165;

/// Expected round-trip time in ms between a client at `location` and `site`.
///
/// A location without coordinates is equally far from everywhere: all sites tie.
#[must_use]
pub fn expected_ms(location: &Location, site: &Site) -> f32 {
    location.coordinates.map_or(BASE_MS as f32, |at| distance_ms(at, site.coordinates))
}

fn distance_ms(a: Coordinates, b: Coordinates) -> f32 {
    (BASE_MS + MS_PER_KM * a.distance_km(b)) as f32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::find_region;

    #[test]
    fn distance_alone() {
        let site = Site::from(find_region("aws", "eu-west-2").unwrap());
        let here = Location { coordinates: Some(site.coordinates), ..Location::default() };
        assert_eq!(expected_ms(&here, &site), 2.0);
        let sydney = Site::from(find_region("aws", "ap-southeast-2").unwrap());
        assert!((expected_ms(&here, &sydney) - 282.4).abs() < 1.5);
        assert_eq!(expected_ms(&Location::default(), &sydney), 2.0);
    }
}
