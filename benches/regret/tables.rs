//! Tables of round-trip times and of places, read from files of comma-separated columns under one line of names.

use std::collections::HashMap;
use std::path::Path;

use meridian::model::{Coordinates, Country, Site, find_region};

/// A file's rows, each with its line, for messages.
pub(crate) struct Rows {
    path: String,
    text: String,
}

impl Rows {
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Self { path: path.display().to_string(), text })
    }

    /// The columns' names.
    pub(crate) fn names(&self) -> Vec<&str> {
        self.text.lines().next().unwrap_or("").split(',').map(str::trim).collect()
    }

    /// What `read` makes of every row.
    pub(crate) fn each<'a, T>(&'a self, read: impl Fn(&[&'a str]) -> Option<T>) -> Result<Vec<T>, String> {
        let rows = self.text.lines().enumerate().skip(1).filter(|(_, line)| !line.is_empty());
        let read = |(index, line): (usize, &'a str)| {
            let columns: Vec<&str> = line.split(',').map(str::trim).collect();
            read(&columns).ok_or_else(|| format!("{}:{}: not understood: {line}", self.path, index + 1))
        };
        rows.map(read).collect()
    }
}

/// A point by its two columns.
pub(crate) fn point(latitude: &str, longitude: &str) -> Option<Coordinates> {
    Coordinates::new(latitude.parse().ok()?, longitude.parse().ok()?)
}

/// Where clients are, and servers too.
pub(crate) struct City {
    pub(crate) name: String,
    pub(crate) country: Country,
    pub(crate) at: Coordinates,
}

/// A region of a cloud, and the city whose round trips stand for it.
pub(crate) struct Host {
    pub(crate) cloud: String,
    pub(crate) site: Site,
    pub(crate) city: usize,
}

/// Measured round trips between cities, some of which host regions.
pub(crate) struct Measured {
    pub(crate) cities: Vec<City>,
    pub(crate) hosts: Vec<Host>,
    /// From city to city, ms; not a number where nobody measured.
    ms: Vec<f32>,
    /// Rows of the round trips that name a city of unknown place.
    pub(crate) unplaced: usize,
}

/// Which of a table's round trips are a client's to a region.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Directions {
    /// Those from its city: where none was measured from, nobody asks.
    There,
    /// The mean of those from and to its city, or the one of these that there is.
    Both,
}

/// A client in the region's own city.
const SAME_CITY_MS: f32 = 1.0;

impl Measured {
    /// `cities`: city, country (its name or code), latitude, longitude. `rtt`: from, to, ms. `regions`: cloud, region,
    /// city; the region's own place is the built-in one.
    pub(crate) fn read(cities: &Path, rtt: &Path, regions: &Path, directions: Directions) -> Result<Self, String> {
        let countries = countries();
        let city = |columns: &[&str]| {
            let [name, country, latitude, longitude] = columns else { return None };
            let country = country.parse().ok().or_else(|| countries.get(*country).copied())?;
            Some(City { name: (*name).to_owned(), country, at: point(latitude, longitude)? })
        };
        let cities = Rows::read(cities)?.each(city)?;
        let index: HashMap<&str, usize> = cities.iter().zip(0..).map(|(city, index)| (&*city.name, index)).collect();
        let host = |columns: &[&str]| {
            let [cloud, region, city] = columns else { return None };
            let site = Site::from(find_region(cloud, region)?);
            Some(Host { cloud: (*cloud).to_owned(), site, city: *index.get(city)? })
        };
        let hosts = Rows::read(regions)?.each(host)?;
        let rows = Rows::read(rtt)?;
        let row = |columns: &[&str]| {
            let [from, to, ms] = columns else { return None };
            let ms: f32 = ms.parse().ok().filter(|ms: &f32| ms.is_finite() && *ms >= 0.0)?;
            Some((index.get(from).copied().zip(index.get(to).copied()), ms))
        };
        let mut sums = vec![(0.0_f32, 0_u32); cities.len() * cities.len()];
        let mut unplaced = 0;
        for (pair, ms) in rows.each(row)? {
            let Some((from, to)) = pair else {
                unplaced += 1;
                continue;
            };
            let (there, back) = (from * cities.len() + to, to * cities.len() + from);
            for at in [there, back].into_iter().take(if directions == Directions::Both { 2 } else { 1 }) {
                sums[at] = (sums[at].0 + ms, sums[at].1 + 1);
            }
        }
        let ms = sums.into_iter().map(|(sum, count)| sum / count as f32).collect();
        Ok(Self { cities, hosts, ms, unplaced })
    }

    /// From a client in a city to a region.
    pub(crate) fn ms(&self, city: usize, host: usize) -> Option<f32> {
        let to = self.hosts[host].city;
        let ms = if city == to { SAME_CITY_MS } else { self.ms[city * self.cities.len() + to] };
        Some(ms).filter(|ms| !ms.is_nan())
    }
}

/// Countries by name, as the built-in table spells it and as others do.
fn countries() -> HashMap<&'static str, Country> {
    let letters = || b'A'..=b'Z';
    let codes = letters().flat_map(|a| letters().map(move |b| String::from_utf8_lossy(&[a, b]).into_owned()));
    let countries = codes.filter_map(|code| code.parse::<Country>().ok());
    let mut by_name: HashMap<_, _> = countries.filter_map(|country| Some((country.facts()?.name, country))).collect();
    for (name, code) in [("Netherlands", "NL"), ("Czech Republic", "CZ")] {
        by_name.extend(code.parse().ok().map(|country| (name, country)));
    }
    by_name
}
