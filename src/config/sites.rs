//! Clouds and regions: those built in, and the operator's own `[[regions]]`.

use std::collections::{BTreeSet, HashMap};

use super::report::{At, Report, one_of, quoted};
use super::table::{Table, Value};
use super::words::did_you_mean;
use crate::model::{Cloud, Coordinates, Country, RegionStatus, Site, built_in_regions, find_region};

/// Reckoning is quadratic in the length of a name.
const LONGEST: usize = 80;
/// Words that regions' names are made of, in any order.
const COMPASS: [&str; 5] = ["north", "south", "east", "west", "central"];

/// A region of the operator's own, as typed.
pub(super) struct RegionSpec<'a> {
    cloud: Option<At<&'a str>>,
    name: Option<At<&'a str>>,
    country: Option<Country>,
    coordinates: Option<Coordinates>,
}

/// Reads all `[[regions]]`.
pub(super) fn read<'a>(root: &mut Table<'a>) -> Vec<RegionSpec<'a>> {
    let tables = super::tables(root, "regions", "name", &[]);
    tables.into_iter().map(read_one).collect()
}

fn read_one<'a>(mut table: Table<'a>) -> RegionSpec<'a> {
    let cloud = table.required("cloud", "\"on-premises\"", Value::word);
    let name = table.required("name", "\"frankfurt-1\"", Value::word);
    // The city is for the reader of the file; nothing is reckoned from it.
    table.optional("city", Value::word);
    let country = table.required("country", "\"DE\"", |value| {
        let text = value.text()?;
        let country = text.parse::<Country>().ok().filter(|country| country.facts().is_some());
        country.or_else(|| value.bad(format!("{} is no country", quoted(text)), "two letters of ISO 3166-1".to_owned()))
    });
    let latitude = table.required("latitude", "50.11", |value| value.number(-90.0..=90.0));
    let longitude = table.required("longitude", "8.68", |value| value.number(-180.0..=180.0));
    let coordinates = latitude
        .zip(longitude)
        .and_then(|(latitude, longitude)| Coordinates::new(latitude.value as f32, longitude.value as f32));
    table.finish();
    RegionSpec { cloud, name, country: country.map(|at| at.value), coordinates }
}

/// All regions that an endpoint may stand in.
pub(super) struct Regions<'a> {
    /// None: declared with errors, reported already.
    own: HashMap<(&'a str, &'a str), Option<Site>>,
    clouds: BTreeSet<&'a str>,
}

impl<'a> Regions<'a> {
    /// Those built in and `specs`; reports what is declared twice.
    pub(super) fn new(specs: &[RegionSpec<'a>], report: &Report<'_>) -> Self {
        let built_in = built_in_regions().iter().map(|region| region.cloud);
        let mut regions = Self { own: HashMap::new(), clouds: built_in.collect() };
        for spec in specs {
            regions.clouds.extend(spec.cloud.as_ref().map(|cloud| cloud.value));
            let (Some(cloud), Some(name)) = (&spec.cloud, &spec.name) else { continue };
            let site = || {
                let (cloud, region) = (Cloud::new(cloud.value), name.value.into());
                Some(Site { cloud, region, country: spec.country?, coordinates: spec.coordinates? })
            };
            let twice = find_region(cloud.value, name.value).is_some();
            if twice || regions.own.insert((cloud.value, name.value), site()).is_some() {
                let why = if twice { "built in" } else { "declared already" };
                let message = format!("region `{}` of `{}` is {why}", name.value, cloud.value);
                report.error_help("duplicate-name", &name.span, message, Some("give yours another name".to_owned()));
            }
        }
        regions
    }

    /// The names of all clouds.
    pub(super) fn clouds(&self) -> impl Iterator<Item = &str> {
        self.clouds.iter().copied()
    }

    /// Reports a cloud that is none.
    pub(super) fn check_cloud(&self, cloud: &At<&str>, report: &Report<'_>) -> bool {
        let known = self.clouds.contains(cloud.value);
        if !known {
            let near = did_you_mean(cloud.value, self.clouds());
            let clouds = format!("clouds are {}; declare another one's regions in [[regions]]", one_of(self.clouds()));
            let message = format!("there is no cloud {}", quoted(cloud.value));
            report.error_help("unknown-cloud", &cloud.span, message, near.or(Some(clouds)));
        }
        known
    }

    /// The place of a region; reports what is none, or not open yet.
    pub(super) fn find(&self, cloud: &At<&str>, region: &At<&str>, report: &Report<'_>) -> Option<Site> {
        if !self.check_cloud(cloud, report) {
            return None;
        }
        if let Some(own) = self.own.get(&(cloud.value, region.value)) {
            return own.clone();
        }
        let Some(found) = find_region(cloud.value, region.value) else {
            let message = format!("`{}` has no region {}", cloud.value, quoted(region.value));
            report.error_help("unknown-region", &region.span, message, Some(self.near(cloud.value, region.value)));
            return None;
        };
        if found.status == RegionStatus::Announced {
            let message = format!("region `{}` of `{}` is announced, not open yet", found.name, found.cloud);
            report.warning("announced-region", &region.span, message, "check that your endpoint stands there");
        }
        Some(found.into())
    }

    /// A word on what may be meant.
    fn near(&self, cloud: &str, region: &str) -> String {
        let own = self.own.keys().copied();
        let all: Vec<(&str, &str)> = built_in_regions().iter().map(|r| (r.cloud, r.name)).chain(own).collect();
        let mut names: Vec<&str> = all.iter().filter(|(of, _)| *of == cloud).map(|(_, name)| *name).collect();
        let meant = meant(region, &names);
        let near = (!meant.is_empty()).then(|| format!("did you mean {}?", one_of(meant)));
        if let Some((other, _)) = all.iter().find(|(_, name)| *name == region) {
            let near = near.map(|near| format!("; {near}")).unwrap_or_default();
            return format!("it is a region of `{other}`{near}");
        }
        let alike = |name: &str| strsim::jaro_winkler(region.get(..LONGEST).unwrap_or(region), name);
        names.sort_by(|a, b| alike(b).total_cmp(&alike(a)).then(a.cmp(b)));
        names.truncate(5);
        let city = built_in_regions().iter().find(|r| r.cloud == cloud && r.city.eq_ignore_ascii_case(region));
        let city = city.map(|found| format!("did you mean `{}` ({})?", found.name, found.city));
        let near = city.or(near).map_or(String::new(), |near| format!("{near} "));
        format!("{near}near names are {}; declare your own in [[regions]]", one_of(names))
    }
}

/// Those that are nearest to what was typed, if at most a third of it has to change; three at most. Clouds name the same place alike but for
/// the order of words, hyphens and abbreviations, and who writes one cloud's name in the other's way means it.
fn meant<'n>(typed: &str, names: &[&'n str]) -> Vec<&'n str> {
    if typed.len() > LONGEST {
        return Vec::new();
    }
    let (lower, words) = (typed.to_lowercase(), words(typed));
    let distance = |name: &str| {
        let by_words = strsim::osa_distance(&words, &self::words(name));
        strsim::osa_distance(&lower, &name.to_lowercase()).min(by_words)
    };
    let names = names.iter().filter(|name| name.len() <= LONGEST);
    let mut near: Vec<(usize, &str)> = names.map(|name| (distance(name), *name)).collect();
    near.sort_unstable();
    let least = near.first().map(|(least, _)| *least).filter(|least| *least <= (typed.chars().count() / 3).max(1));
    let nearest = near.into_iter().take_while(|(distance, _)| Some(*distance) == least);
    nearest.map(|(_, name)| name).take(3).collect()
}

/// A region's name by its words, sorted: `europe-west4`, `eu-west-4` and `westeurope4` are one.
fn words(name: &str) -> String {
    let lower = name.to_lowercase().replace("northamerica", "na").replace("southamerica", "sa");
    let mut rest = lower.replace("europe", "eu").replace("asia", "ap");
    let mut words = Vec::new();
    for word in COMPASS {
        while let Some(at) = rest.find(word) {
            words.push(word.to_owned());
            rest.replace_range(at..at + word.len(), "-");
        }
    }
    let ends = |a: char, b: char| a.is_ascii_digit() != b.is_ascii_digit();
    let mut before = '-';
    for letter in rest.chars() {
        if !letter.is_alphanumeric() {
            before = '-';
            continue;
        }
        match words.last_mut() {
            Some(word) if before != '-' && !ends(before, letter) => word.push(letter),
            _ => words.push(letter.to_string()),
        }
        before = letter;
    }
    words.sort_unstable();
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_meant_by_a_mistyped_region() {
        for (cloud, typed, expected) in [
            ("aws", "us-east1", "us-east-1"),
            ("aws", "useast-1", "us-east-1"),
            ("aws", "us_east_1", "us-east-1"),
            ("aws", "US-East-1", "us-east-1"),
            ("aws", "us-esat-1", "us-east-1"),
            ("aws", "us-east", "us-east-1 us-east-2"),
            ("aws", "east-us-2", "us-east-2"),
            ("aws", "eu-west1", "eu-west-1"),
            ("aws", "europe-west-3", "eu-west-3"),
            ("aws", "eu-centrall-1", "eu-central-1"),
            ("aws", "asia-southeast2", "ap-southeast-2"),
            ("aws", "ap-south-east-1", "ap-southeast-1"),
            ("aws", "sa-east1", "sa-east-1"),
            ("azure", "west-europe", "westeurope"),
            ("azure", "West Europe", "westeurope"),
            ("azure", "europewest", "westeurope"),
            ("azure", "us-east", "eastus"),
            ("azure", "us-east-2", "eastus2"),
            ("azure", "uk-south", "uksouth"),
            ("azure", "germanywestcentrall", "germanywestcentral"),
            ("azure", "southeast-asia", "southeastasia"),
            ("azure", "amsterdam", ""),
            ("gcp", "eu-west1", "europe-west1"),
            ("gcp", "eu-west-4", "europe-west4"),
            ("gcp", "us-east-4", "us-east4"),
            ("gcp", "us-east-1", "us-east1"),
            ("gcp", "asia-south-east1", "asia-southeast1"),
            ("gcp", "ap-northeast1", "asia-northeast1"),
            ("gcp", "na-northeast-1", "northamerica-northeast1"),
            ("gcp", "frankfurt", ""),
            ("aws", "us-west-3", "us-west-1 us-west-2"),
            ("aws", "on-premises", ""),
            ("aws", "x", ""),
            ("aws", "", ""),
        ] {
            let names: Vec<&str> =
                built_in_regions().iter().filter(|region| region.cloud == cloud).map(|region| region.name).collect();
            assert_eq!(meant(typed, &names).join(" "), expected, "{cloud} {typed}");
        }
        assert!(meant(&"us-east-1".repeat(99), &["us-east-1"]).is_empty());
    }

    #[test]
    fn another_clouds_region_is_told_with_what_this_one_has() {
        let regions = Regions { own: HashMap::new(), clouds: BTreeSet::new() };
        assert_eq!(regions.near("aws", "us-east1"), "it is a region of `gcp`; did you mean `us-east-1`?");
        assert_eq!(regions.near("gcp", "japaneast"), "it is a region of `azure`");
        assert!(
            regions.near("azure", "Amsterdam").starts_with("did you mean `westeurope` (Amsterdam)? near names are")
        );
    }
}
