//! What a database says of one network, read from either schema.
//!
//! MaxMind's nests (`country.iso_code`, `location.latitude`, …); DB-IP's, as ip-location-db packs it,
//! is flat (`country_code`, `latitude`, …). Both decode into one [`Record`]; fields that no decision
//! uses are skipped without being looked at.
//!
//! The country is where the client is: `country`. `represented_country` (an embassy, a base) says
//! whose users they are and not where. `registered_country` says where the network's holder sits;
//! where a record has nothing better (anycast, satellites), it lends its centroid as the point to rank
//! by, but the client stays without a country: a fence must not rest on it (BEHAVIOUR rule 3).
//!
//! The flat schema names subdivisions in words, not in ISO 3166-2 codes, so it gives none.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::model::{Continent, Coordinates, Country, Subdivision};

/// What a database says of one network.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Record {
    /// Where it is.
    pub country: Option<Country>,
    /// As the database says.
    pub continent: Option<Continent>,
    /// The widest subdivision given.
    pub subdivision: Option<Subdivision>,
    /// The database's point.
    pub point: Option<Point>,
    /// Whose network it is.
    pub asn: Option<u32>,
}

/// A point in units of 10⁻⁴ degrees (11 m; databases give no more digits), so that equal ones hash alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Point {
    /// −900,000..=900,000
    pub latitude: i32,
    /// −1,800,000..=1,800,000
    pub longitude: i32,
}

/// Units of a [`Point`] in a degree.
pub(super) const UNITS: f64 = 10_000.0;

impl Point {
    fn new(latitude: f64, longitude: f64) -> Option<Self> {
        let in_range = latitude.abs() <= 90.0 && longitude.abs() <= 180.0;
        let units = |degrees: f64| (degrees * UNITS).round() as i32;
        in_range.then(|| Self { latitude: units(latitude), longitude: units(longitude) })
    }

    /// In degrees.
    #[must_use]
    pub fn coordinates(self) -> Coordinates {
        let degrees = |units: i32| (f64::from(units) / UNITS) as f32;
        Coordinates { latitude: degrees(self.latitude), longitude: degrees(self.longitude) }
    }
}

impl Record {
    /// This, completed by what a later file says: the first file that has a field wins. What a later
    /// one says of the place counts only where both mean the same country, so that no client gets one
    /// file's country and another's point.
    #[must_use]
    pub(super) fn or(self, later: Self) -> Self {
        let asn = self.asn.or(later.asn);
        if self.country.is_none() && later.country.is_some() {
            return Self { asn, ..later };
        }
        if later.country.is_some() && later.country != self.country {
            return Self { asn, ..self };
        }
        Self {
            country: self.country,
            continent: self.continent.or(later.continent),
            subdivision: self.subdivision.or(later.subdivision),
            point: self.point.or(later.point),
            asn,
        }
    }
}

impl fmt::Display for Record {
    /// Such as `US US-WA NA 47.61,-122.33 AS64496`; `nothing` where all fields are missing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let point = self.point.map(|point| {
            let Coordinates { latitude, longitude } = point.coordinates();
            format!("{latitude},{longitude}")
        });
        let words = [
            self.country.map(|country| country.to_string()),
            self.subdivision.map(|subdivision| subdivision.to_string()),
            self.continent.map(|continent| continent.to_string()),
            point,
            self.asn.map(|asn| format!("AS{asn}")),
        ];
        let words: Vec<String> = words.into_iter().flatten().collect();
        f.write_str(if words.is_empty() { "nothing" } else { "" })?;
        f.write_str(&words.join(" "))
    }
}

impl<'de> Deserialize<'de> for Record {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(RecordVisitor)
    }
}

/// A record that is no map (some databases map addresses to plain strings) says nothing of a place.
struct RecordVisitor;

impl<'de> Visitor<'de> for RecordVisitor {
    type Value = Record;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a GeoIP record")
    }

    fn visit_map<M: MapAccess<'de>>(self, map: M) -> Result<Record, M::Error> {
        Fields::deserialize(MapAccessDeserializer::new(map))?.into_record()
    }

    fn visit_str<E: Error>(self, _text: &str) -> Result<Record, E> {
        Ok(Record::default())
    }
}

/// The fields of both schemas, as written.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Fields<'a> {
    #[serde(borrow)]
    continent: Code<'a>,
    country: IsoCode<'a>,
    registered_country: IsoCode<'a>,
    subdivisions: First<'a>,
    location: Place,
    traits: Traits,
    country_code: Option<&'a str>,
    latitude: Number,
    longitude: Number,
    autonomous_system_number: Number,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Code<'a> {
    code: Option<&'a str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct IsoCode<'a> {
    iso_code: Option<&'a str>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Place {
    latitude: Number,
    longitude: Number,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Traits {
    autonomous_system_number: Number,
}

impl Fields<'_> {
    fn into_record<E: Error>(self) -> Result<Record, E> {
        // Codes that are none ('', '-', 'ZZ' for unknown) mean that the database does not know.
        let known = |code: &&str| !code.eq_ignore_ascii_case("ZZ");
        let country: Option<Country> =
            self.country.iso_code.or(self.country_code).filter(known).and_then(|code| code.parse().ok());
        let code = self.subdivisions.0.iso_code;
        let point = point(self.location.latitude.or(self.latitude), self.location.longitude.or(self.longitude))?;
        let holder = self.registered_country.iso_code.filter(|_| country.is_none());
        let centroid = holder.and_then(|code| code.parse::<Country>().ok()?.facts()).map(|facts| facts.centroid);
        Ok(Record {
            country,
            continent: self.continent.code.and_then(|code| code.parse().ok()),
            subdivision: country.zip(code).and_then(|(country, code)| Subdivision::new(country, code)),
            point: point.or_else(|| centroid.and_then(|c| Point::new(c.latitude.into(), c.longitude.into()))),
            asn: asn(self.autonomous_system_number.or(self.traits.autonomous_system_number))?,
        })
    }
}

fn point<E: Error>(latitude: Number, longitude: Number) -> Result<Option<Point>, E> {
    let (Some(latitude), Some(longitude)) = (latitude.0, longitude.0) else { return Ok(None) };
    let point = Point::new(latitude, longitude);
    point.map(Some).ok_or_else(|| E::custom(format_args!("latitude {latitude}, longitude {longitude} is no point")))
}

fn asn<E: Error>(number: Number) -> Result<Option<u32>, E> {
    let Some(number) = number.0 else { return Ok(None) };
    let asn = number as u32; // saturates
    if f64::from(asn) != number {
        return Err(E::custom(format_args!("{number} is no autonomous system number")));
    }
    Ok(Some(asn).filter(|&asn| asn != 0)) // AS 0 is reserved (RFC 7607)
}

/// The first entry of an array: the widest subdivision.
#[derive(Default)]
struct First<'a>(IsoCode<'a>);

impl<'de: 'a, 'a> Deserialize<'de> for First<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct FirstVisitor;
        impl<'de> Visitor<'de> for FirstVisitor {
            type Value = First<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array of subdivisions")
            }

            fn visit_seq<S: SeqAccess<'de>>(self, mut sequence: S) -> Result<First<'de>, S::Error> {
                let first = sequence.next_element()?.unwrap_or_default();
                while sequence.next_element::<IgnoredAny>()?.is_some() {}
                Ok(First(first))
            }
        }
        deserializer.deserialize_seq(FirstVisitor)
    }
}

/// A number that may be a double, a float, an integer or digits in a string; an empty string is none.
#[derive(Clone, Copy, Default)]
struct Number(Option<f64>);

impl Number {
    fn or(self, other: Self) -> Self {
        Self(self.0.or(other.0))
    }
}

impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NumberVisitor;
        impl Visitor<'_> for NumberVisitor {
            type Value = Number;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number")
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Number, E> {
                Ok(Number(Some(number)))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Number, E> {
                Ok(Number(Some(number as f64)))
            }

            fn visit_u64<E: Error>(self, number: u64) -> Result<Number, E> {
                Ok(Number(Some(number as f64)))
            }

            fn visit_str<E: Error>(self, text: &str) -> Result<Number, E> {
                if text.is_empty() {
                    return Ok(Number(None));
                }
                text.parse()
                    .map(|number| Number(Some(number)))
                    .map_err(|_| E::custom(format_args!("{text:?} is no number")))
            }
        }
        deserializer.deserialize_any(NumberVisitor)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: &serde_json::Value) -> Result<Record, String> {
        // Text, since fields are borrowed from the input, as they are from a database.
        serde_json::from_str(&value.to_string()).map_err(|error| error.to_string())
    }

    #[test]
    fn both_schemas() {
        let nested = json!({
            "city": { "names": { "en": "Milton" } },
            "continent": { "code": "NA" },
            "country": { "iso_code": "US", "names": { "en": "United States" } },
            "location": { "accuracy_radius": 22, "latitude": 47.2513, "longitude": -122.3149 },
            "registered_country": { "iso_code": "CA" },
            "represented_country": { "iso_code": "DE", "type": "military" },
            "subdivisions": [{ "iso_code": "WA" }, { "iso_code": "XX" }],
            "traits": { "autonomous_system_number": 209 },
        });
        assert_eq!(read(&nested).unwrap().to_string(), "US US-WA NA 47.2513,-122.3149 AS209");
        let flat = json!({
            "city": "London", "country_code": "GB", "latitude": "51.5143", "longitude": -0.0912, "postcode": "",
            "state1": "England", "state2": "", "timezone": "",
        });
        assert_eq!(read(&flat).unwrap().to_string(), "GB 51.5143,-0.0912");
        assert_eq!(read(&json!({ "autonomous_system_number": 64496 })).unwrap().to_string(), "AS64496");
        assert_eq!(read(&json!({ "country_code": "ZZ", "latitude": "" })).unwrap(), Record::default());
        assert_eq!(read(&json!({ "ip": "1.1.1.1" })).unwrap().to_string(), "nothing");
    }

    #[test]
    fn the_holder_of_a_network_lends_a_point_but_no_country() {
        let record = read(&json!({ "registered_country": { "iso_code": "NL" } })).unwrap();
        assert!(record.country.is_none() && record.continent.is_none());
        let centroid = "NL".parse::<Country>().unwrap().facts().unwrap().centroid;
        assert!(record.point.unwrap().coordinates().distance_km(centroid) < 0.1);
    }

    #[test]
    fn nonsense_is_named() {
        let error = |value| read(&value).unwrap_err();
        assert!(
            error(json!({ "latitude": 91.5, "longitude": 0.0 })).starts_with("latitude 91.5, longitude 0 is no point")
        );
        assert!(error(json!({ "latitude": "north" })).contains("\"north\" is no number"));
        assert!(error(json!({ "autonomous_system_number": -5 })).contains("-5 is no autonomous system number"));
        assert!(error(json!({ "country": 5 })).contains("expected struct IsoCode"));
    }

    #[test]
    fn the_first_file_that_has_a_field_wins() {
        let city = read(&json!({ "country_code": "DE", "latitude": 52.5, "longitude": 13.4 })).unwrap();
        let country = read(&json!({ "country": { "iso_code": "DE" }, "continent": { "code": "EU" } })).unwrap();
        let abroad = read(&json!({ "country_code": "FR", "latitude": 48.8, "longitude": 2.3 })).unwrap();
        let network = read(&json!({ "autonomous_system_number": 64496 })).unwrap();
        assert_eq!(country.or(city).or(network).to_string(), "DE EU 52.5,13.4 AS64496");
        assert_eq!(country.or(abroad).to_string(), "DE EU");
        assert_eq!(network.or(abroad).or(city).to_string(), "FR 48.8,2.3 AS64496");
    }
}
