//! Where a client is, as far as a database and the configuration can tell.

use ipnet::IpNet;

use super::{Continent, Country, Subdivision};

/// The most fence places (distinct `where`s of fences) that one configuration may hold.
pub const MAX_FENCES: usize = 64;

/// Which fence places of the configuration a location lies in: bit i stands for entry i of
/// `Config::fence_places`. For a prefix wider than the database's leaves it is the union over the
/// leaves inside, so that all their fences apply (BEHAVIOUR rule 3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FenceMask(pub u64);

impl FenceMask {
    /// Does fence place `index` apply?
    #[must_use]
    pub fn contains(self, index: usize) -> bool {
        index < MAX_FENCES && self.0 & (1 << index) != 0
    }

    /// The mask with fence place `index` added.
    #[must_use]
    pub fn with(self, index: usize) -> Self {
        assert!(index < MAX_FENCES, "the configuration bounds its fence places");
        Self(self.0 | 1 << index)
    }
}

/// A point on the globe, degrees (WGS 84): latitude −90..90, longitude −180..180.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Coordinates {
    /// Degrees north.
    pub latitude: f32,
    /// Degrees east.
    pub longitude: f32,
}

/// Mean earth radius in km (IUGG).
const EARTH_RADIUS_KM: f64 = 6371.009;

impl Coordinates {
    /// The point, if both figures are in range.
    #[must_use]
    pub fn new(latitude: f32, longitude: f32) -> Option<Self> {
        let in_range = (-90.0..=90.0).contains(&latitude) && (-180.0..=180.0).contains(&longitude);
        in_range.then_some(Self { latitude, longitude })
    }

    /// Great-circle distance in km (haversine, exact for antipodes too).
    #[must_use]
    pub fn distance_km(self, other: Self) -> f64 {
        let (lat_a, lat_b) = (f64::from(self.latitude).to_radians(), f64::from(other.latitude).to_radians());
        let half_lat = (lat_b - lat_a) / 2.0;
        let half_lon = (f64::from(other.longitude) - f64::from(self.longitude)).to_radians() / 2.0;
        let h = half_lat.sin().powi(2) + lat_a.cos() * lat_b.cos() * half_lon.sin().powi(2);
        2.0 * EARTH_RADIUS_KM * h.sqrt().min(1.0).asin()
    }
}

/// An interned geo record: all that a decision may know of a client's place.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Location {
    /// ISO 3166-1 country; none where the databases know nothing.
    pub country: Option<Country>,
    /// The continent that the database gives, else the country's.
    pub continent: Option<Continent>,
    /// ISO 3166-2 subdivision, where the database has one.
    pub subdivision: Option<Subdivision>,
    /// The database's point, else the country's population-weighted centroid.
    pub coordinates: Option<Coordinates>,
    /// Autonomous system, only if the configuration names it.
    pub asn: Option<u32>,
    /// The narrowest prefix that the configuration names (`cidr:`) and that holds the client.
    pub label: Option<IpNet>,
    /// The fence places that apply.
    pub fences: FenceMask,
    /// This stands for a prefix whose leaves lie under different fences: `fence_unknown` applies.
    pub mixed: bool,
}

impl Location {
    /// Is the client's country known? Without one, `fence_unknown` applies (BEHAVIOUR rule 3).
    #[must_use]
    pub fn is_located(&self) -> bool {
        self.country.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances() {
        let seattle = Coordinates::new(47.61, -122.33).unwrap();
        let london = Coordinates::new(51.51, -0.13).unwrap();
        let sydney = Coordinates::new(-33.87, 151.21).unwrap();
        assert!((seattle.distance_km(london) - 7_700.0).abs() < 50.0);
        assert!((london.distance_km(sydney) - 16_990.0).abs() < 60.0);
        let (pole, antipode) = (Coordinates::new(90.0, 0.0).unwrap(), Coordinates::new(-90.0, 0.0).unwrap());
        assert!((pole.distance_km(antipode) - 20_015.0).abs() < 1.0);
        assert_eq!(london.distance_km(london), 0.0);
        assert!(Coordinates::new(91.0, 0.0).is_none() && Coordinates::new(f32::NAN, 0.0).is_none());
    }

    #[test]
    fn fence_masks() {
        let mask = FenceMask::default().with(0).with(63);
        assert!(mask.contains(0) && mask.contains(63) && !mask.contains(1) && !mask.contains(64));
    }
}
