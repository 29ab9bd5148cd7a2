//! Places: what an operator may write behind `where` and `in`, and in `[sets]`.

use ipnet::IpNet;

use super::{Continent, Country, Location, Site, Subdivision};

/// One place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// `country:DE`
    Country(Country),
    /// `continent:EU`
    Continent(Continent),
    /// `subdivision:US-CA`
    Subdivision(Subdivision),
    /// `asn:64496`; of clients only.
    Asn(u32),
    /// `cidr:198.51.100.0/24`; of clients only.
    Cidr(IpNet),
}

impl Place {
    /// Does it hold this location?
    #[must_use]
    pub fn holds(&self, location: &Location) -> bool {
        match self {
            Self::Country(country) => location.country == Some(*country),
            Self::Continent(continent) => location.continent == Some(*continent),
            Self::Subdivision(subdivision) => location.subdivision == Some(*subdivision),
            Self::Asn(asn) => location.asn == Some(*asn),
            Self::Cidr(net) => location.label.is_some_and(|label| net.contains(&label)),
        }
    }

    /// Does it hold this site? Autonomous systems and prefixes hold none.
    #[must_use]
    pub fn holds_site(&self, site: &Site) -> bool {
        match self {
            Self::Country(country) => site.country == *country,
            Self::Continent(continent) => site.country.facts().is_some_and(|facts| facts.continent == *continent),
            Self::Subdivision(_) | Self::Asn(_) | Self::Cidr(_) => false,
        }
    }
}

/// A set of places with the words that the operator used for it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PlaceSet {
    /// As typed: a set's name or one place.
    pub label: String,
    /// Its members, nested sets resolved.
    pub places: Vec<Place>,
}

/// European Union: 27 members, with the territories that ISO 3166 codes apart (BEHAVIOUR rule 2).
const EU: &str = "AT BE BG HR CY CZ DK EE FI FR DE GR HU IE IT LV LT LU MT NL PL PT RO SK SI ES SE \
                  GF GP MQ MF RE YT AX";
/// What the European Economic Area adds.
const EEA_ONLY: &str = "IS LI NO";
/// Eastern, South-eastern and Southern Asia and Oceania (UN M49 030, 035, 034, 009; Taiwan, which
/// M49 does not list, with Eastern Asia).
const APAC: &str = "CN HK JP KP KR MN MO TW BN ID KH LA MM MY PH SG TH TL VN AF BD BT IN IR LK MV NP PK \
                    AS AU CC CK CX FJ FM GU HM KI MH MP NC NF NR NU NZ PF PG PN PW SB TK TO TV UM VU WF WS";

impl PlaceSet {
    /// The names of the built-in sets.
    pub const BUILT_IN: [&str; 3] = ["apac", "eea", "eu"];

    /// The built-in set of that name.
    #[must_use]
    pub fn built_in(name: &str) -> Option<Self> {
        let codes = match name {
            "eu" => EU.to_owned(),
            "eea" => format!("{EU} {EEA_ONLY}"),
            "apac" => APAC.to_owned(),
            _ => return None,
        };
        let country = |code: &str| Place::Country(code.parse().expect("built-in codes are countries"));
        Some(Self { label: name.to_owned(), places: codes.split_whitespace().map(country).collect() })
    }

    /// Does any member hold this location?
    #[must_use]
    pub fn holds(&self, location: &Location) -> bool {
        self.places.iter().any(|place| place.holds(location))
    }

    /// Does any member hold this site?
    #[must_use]
    pub fn holds_site(&self, site: &Site) -> bool {
        self.places.iter().any(|place| place.holds_site(site))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn in_country(code: &str) -> Location {
        let country: Country = code.parse().unwrap();
        Location { country: Some(country), continent: country.facts().map(|f| f.continent), ..Location::default() }
    }

    #[test]
    fn built_in_sets_are_lists_of_countries_and_no_continents() {
        let (eu, eea, apac) = ("eu", "eea", "apac");
        let holds = |set: &str, code: &str| PlaceSet::built_in(set).unwrap().holds(&in_country(code));
        assert_eq!(PlaceSet::built_in(eu).unwrap().places.len(), 27 + 7);
        assert!(holds(eu, "CY") && holds(eu, "RE") && !holds(eu, "GB") && !holds(eu, "NO") && !holds(eu, "CH"));
        assert!(holds(eea, "NO") && holds(eea, "DE") && !holds(eea, "CH"));
        assert!(
            holds(apac, "SG") && holds(apac, "AU") && holds(apac, "IN") && !holds(apac, "AE") && !holds(apac, "US")
        );
        for set in PlaceSet::BUILT_IN {
            for place in PlaceSet::built_in(set).unwrap().places {
                let Place::Country(country) = place else { panic!("{place:?}") };
                assert!(country.facts().is_some(), "{country}");
            }
        }
        assert!(PlaceSet::built_in("gulf").is_none());
    }

    #[test]
    fn prefixes_hold_what_lies_inside() {
        let mut location = in_country("US");
        location.label = Some("198.51.100.0/25".parse().unwrap());
        assert!(Place::Cidr("198.51.100.0/24".parse().unwrap()).holds(&location));
        assert!(!Place::Cidr("198.51.100.0/26".parse().unwrap()).holds(&location));
    }
}
