//! Sites: cloud regions with their place. Every region of AWS, Azure and GCP is built in.

use std::fmt;
use std::sync::{Arc, LazyLock};

use super::{Coordinates, Country};

/// A cloud, by the name that the configuration uses: `aws`, `azure`, `gcp`, or the operator's own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Cloud(pub Arc<str>);

impl Cloud {
    /// The cloud of that name.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// Its name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Cloud {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Can a customer use the region?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RegionStatus {
    /// Open to all.
    GenerallyAvailable,
    /// Announced, not open yet.
    Announced,
    /// Open to some: governments, paired regions, China.
    Restricted,
}

/// A region of a cloud.
#[derive(Clone, Debug, PartialEq)]
pub struct Region {
    /// The cloud it belongs to.
    pub cloud: &'static str,
    /// The provider's name for it.
    pub name: &'static str,
    /// The nearest city.
    pub city: &'static str,
    /// Its country: what fences read.
    pub country: Country,
    /// Where it stands.
    pub coordinates: Coordinates,
    /// Can a customer use it?
    pub status: RegionStatus,
}

/// Where an endpoint stands: cloud and region, with the region's place.
#[derive(Clone, Debug, PartialEq)]
pub struct Site {
    /// The cloud.
    pub cloud: Cloud,
    /// The provider's, or the operator's, name for the region.
    pub region: Arc<str>,
    /// What fences read.
    pub country: Country,
    /// What latency is reckoned from.
    pub coordinates: Coordinates,
}

impl Site {
    /// `cloud/region`, by which its samples are kept.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{}/{}", self.cloud, self.region)
    }
}

impl From<&Region> for Site {
    fn from(region: &Region) -> Self {
        Self {
            cloud: Cloud::new(region.cloud),
            region: region.name.into(),
            country: region.country,
            coordinates: region.coordinates,
        }
    }
}

static REGIONS: LazyLock<Vec<Region>> = LazyLock::new(|| {
    let rows = include_str!("data/regions.csv").lines().skip(1);
    rows.map(|row| parse_row(row).unwrap_or_else(|| panic!("built-in region table: {row}"))).collect()
});

fn parse_row(row: &'static str) -> Option<Region> {
    let mut columns = row.split(',');
    let mut next = || columns.next();
    Some(Region {
        cloud: next()?,
        name: next()?,
        city: next()?,
        country: next()?.parse().ok()?,
        coordinates: Coordinates::new(next()?.parse().ok()?, next()?.parse().ok()?)?,
        status: match next()? {
            "ga" => RegionStatus::GenerallyAvailable,
            "announced" => RegionStatus::Announced,
            "restricted" => RegionStatus::Restricted,
            _ => return None,
        },
    })
}

/// All built-in regions, in the order of the data file (`src/model/data/regions.csv`).
#[must_use]
pub fn built_in_regions() -> &'static [Region] {
    &REGIONS
}

/// The built-in region `name` of `cloud`.
#[must_use]
pub fn find_region(cloud: &str, name: &str) -> Option<&'static Region> {
    REGIONS.iter().find(|region| region.cloud == cloud && region.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_whole() {
        assert_eq!(built_in_regions().len(), 171);
        for region in built_in_regions() {
            assert!(region.country.facts().is_some(), "{region:?}");
            let same = built_in_regions().iter().filter(|r| (r.cloud, r.name) == (region.cloud, region.name));
            assert_eq!(same.count(), 1, "{region:?}");
        }
    }

    #[test]
    fn known_countries_and_distances() {
        let region = |cloud, name| find_region(cloud, name).unwrap_or_else(|| panic!("{cloud} {name}"));
        for (cloud, name, country) in [
            ("aws", "us-east-1", "US"),
            ("aws", "eu-west-2", "GB"),
            ("aws", "af-south-1", "ZA"),
            ("azure", "westeurope", "NL"),
            ("azure", "northeurope", "IE"),
            ("azure", "southeastasia", "SG"),
            ("azure", "switzerlandnorth", "CH"),
            ("gcp", "europe-west3", "DE"),
            ("gcp", "asia-southeast1", "SG"),
            ("gcp", "southamerica-east1", "BR"),
        ] {
            assert_eq!(region(cloud, name).country.as_str(), country, "{cloud} {name}");
        }
        for (a, b, km, tolerance) in [
            (("aws", "us-east-1"), ("aws", "us-west-2"), 3_700.0, 200.0),
            (("azure", "southeastasia"), ("gcp", "asia-southeast1"), 0.0, 40.0),
            (("aws", "eu-west-2"), ("aws", "ap-southeast-2"), 16_990.0, 60.0),
            (("gcp", "europe-west3"), ("azure", "westeurope"), 365.0, 60.0),
        ] {
            let found = region(a.0, a.1).coordinates.distance_km(region(b.0, b.1).coordinates);
            assert!((found - km).abs() <= tolerance, "{a:?} {b:?}: {found} km");
        }
    }
}
