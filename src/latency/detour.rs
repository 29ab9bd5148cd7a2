//! Which countries' traffic leaves the shortest way.

use std::collections::HashMap;
use std::sync::LazyLock;

use super::rows;
use crate::model::Country;

/// Where the country is not known, or none of ISO 3166-1: as most of the world.
const ELSEWHERE: f32 = 0.6;

static BY_COUNTRY: LazyLock<HashMap<Country, f32>> = LazyLock::new(|| {
    let rows = rows(include_str!("data/detour.csv"));
    rows.map(|row| parse_row(row).unwrap_or_else(|| panic!("built-in detour table: {row}"))).collect()
});

fn parse_row(row: &str) -> Option<(Country, f32)> {
    let mut columns = row.splitn(3, ',');
    let country = columns.next()?.parse().ok()?;
    let share: f32 = columns.next()?.parse().ok()?;
    (0.0..=1.0).contains(&share).then_some((country, share))
}

/// How far a country's traffic goes by a backbone hub rather than the shortest way: 0 never, 1 always
/// (`src/latency/data/detour.csv`).
pub(super) fn detour(country: Option<Country>) -> f32 {
    country.and_then(|country| BY_COUNTRY.get(&country).copied()).unwrap_or(ELSEWHERE)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::built_in_regions;

    #[test]
    fn every_country_has_one() {
        assert_eq!(BY_COUNTRY.len(), 250);
        assert!(BY_COUNTRY.keys().all(|country| country.facts().is_some()));
        assert!(built_in_regions().iter().all(|region| BY_COUNTRY.contains_key(&region.country)));
        let of = |code: &str| detour(code.parse().ok());
        assert_eq!([of("DE"), of("SG"), of("IN"), of("NG")], [0.05, 0.15, 0.35, 0.8]);
        assert_eq!([of("ZZ"), detour(None)], [ELSEWHERE; 2]);
    }

    #[test]
    fn rows_that_are_none() {
        assert!(["DE", "DEU,0.1,", "DE,1.1,", "DE,x,", "DE,NaN,"].into_iter().all(|row| parse_row(row).is_none()));
    }
}
