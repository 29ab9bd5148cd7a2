//! Countries (ISO 3166-1 alpha-2), their subdivisions (ISO 3166-2) and continents.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::LazyLock;

use super::Coordinates;

/// An ISO 3166-1 alpha-2 code, upper case. Any two letters parse: databases also use codes such as
/// XK that the standard leaves to its users.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Country([u8; 2]);

impl Country {
    /// The code as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("two ASCII letters")
    }
}

impl FromStr for Country {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        match text.as_bytes() {
            [a, b] if a.is_ascii_alphabetic() && b.is_ascii_alphabetic() => {
                Ok(Self([a.to_ascii_uppercase(), b.to_ascii_uppercase()]))
            }
            _ => Err(()),
        }
    }
}

impl fmt::Display for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for Country {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What is known of a country without asking a database.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CountryFacts {
    /// English short name.
    pub name: &'static str,
    /// The continent that GeoNames puts it on.
    pub continent: Continent,
    /// Mean place of its people: stands in where a database has no point.
    pub centroid: Coordinates,
}

static FACTS: LazyLock<HashMap<Country, CountryFacts>> = LazyLock::new(|| {
    let rows = include_str!("data/countries.csv").lines().skip(1);
    rows.map(|row| parse_row(row).unwrap_or_else(|| panic!("built-in country table: {row}"))).collect()
});

fn parse_row(row: &'static str) -> Option<(Country, CountryFacts)> {
    // The name is quoted where it holds a comma: take the other columns from the ends.
    let (code, rest) = row.split_once(',')?;
    let mut last = rest.rsplitn(4, ',');
    let longitude = last.next()?.parse().ok()?;
    let latitude = last.next()?.parse().ok()?;
    let continent = last.next()?.parse().ok()?;
    let name = last.next()?.trim_matches('"');
    Some((code.parse().ok()?, CountryFacts { name, continent, centroid: Coordinates::new(latitude, longitude)? }))
}

impl Country {
    /// The built-in facts (`src/model/data/countries.csv`); none for codes outside ISO 3166-1.
    #[must_use]
    pub fn facts(self) -> Option<&'static CountryFacts> {
        FACTS.get(&self)
    }
}

/// An ISO 3166-2 subdivision: a country and up to three letters or digits, such as US-CA.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subdivision {
    country: Country,
    code: [u8; 3], // zero-padded
}

impl Subdivision {
    /// The subdivision `code` (one to three letters or digits, without the country) of `country`.
    #[must_use]
    pub fn new(country: Country, code: &str) -> Option<Self> {
        let bytes = code.as_bytes();
        if bytes.is_empty() || bytes.len() > 3 || !bytes.iter().all(u8::is_ascii_alphanumeric) {
            return None;
        }
        let mut padded = [0; 3];
        for (to, from) in padded.iter_mut().zip(bytes) {
            *to = from.to_ascii_uppercase();
        }
        Some(Self { country, code: padded })
    }

    /// The country it lies in.
    #[must_use]
    pub fn country(self) -> Country {
        self.country
    }
}

impl FromStr for Subdivision {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (country, code) = text.split_once('-').ok_or(())?;
        Self::new(country.parse()?, code).ok_or(())
    }
}

impl fmt::Display for Subdivision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = std::str::from_utf8(&self.code).expect("ASCII");
        write!(f, "{}-{}", self.country, code.trim_end_matches('\0'))
    }
}

impl fmt::Debug for Subdivision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A continent, by the codes of GeoNames and MaxMind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Continent {
    /// AF
    Africa,
    /// AN
    Antarctica,
    /// AS
    Asia,
    /// EU
    Europe,
    /// NA
    NorthAmerica,
    /// OC
    Oceania,
    /// SA
    SouthAmerica,
}

impl Continent {
    /// All seven, by code.
    pub const ALL: [Self; 7] = [
        Self::Africa,
        Self::Antarctica,
        Self::Asia,
        Self::Europe,
        Self::NorthAmerica,
        Self::Oceania,
        Self::SouthAmerica,
    ];

    /// The two-letter code.
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Self::Africa => "AF",
            Self::Antarctica => "AN",
            Self::Asia => "AS",
            Self::Europe => "EU",
            Self::NorthAmerica => "NA",
            Self::Oceania => "OC",
            Self::SouthAmerica => "SA",
        }
    }
}

impl FromStr for Continent {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        Self::ALL.into_iter().find(|c| c.code().eq_ignore_ascii_case(text)).ok_or(())
    }
}

impl fmt::Display for Continent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_country_has_its_facts() {
        assert_eq!(FACTS.len(), 250);
        let facts = "NL".parse::<Country>().unwrap().facts().unwrap();
        assert_eq!((facts.name, facts.continent), ("The Netherlands", Continent::Europe));
        assert!(facts.centroid.distance_km(Coordinates::new(52.1, 5.0).unwrap()) < 50.0);
        assert!("ZZ".parse::<Country>().unwrap().facts().is_none());
    }

    #[test]
    fn codes_parse_and_print() {
        assert_eq!("de".parse::<Country>().unwrap().to_string(), "DE");
        assert!("DEU".parse::<Country>().is_err() && "1A".parse::<Country>().is_err());
        assert_eq!("us-ca".parse::<Subdivision>().unwrap().to_string(), "US-CA");
        assert_eq!("GB-ENG".parse::<Subdivision>().unwrap().to_string(), "GB-ENG");
        assert!("US-".parse::<Subdivision>().is_err() && "US-CALI".parse::<Subdivision>().is_err());
        assert_eq!("eu".parse::<Continent>().unwrap(), Continent::Europe);
    }
}
