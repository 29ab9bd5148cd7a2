//! Clouds and regions: those built in, and the operator's own `[[regions]]`.

use std::collections::{BTreeSet, HashMap};

use super::report::{At, Report, one_of, quoted};
use super::table::{Table, Value};
use super::words::did_you_mean;
use crate::model::{Cloud, Coordinates, Country, RegionStatus, Site, built_in_regions, find_region};

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
        if let Some((other, _)) = all.iter().find(|(_, name)| *name == region) {
            return format!("it is a region of `{other}`");
        }
        let mut names: Vec<&str> = all.iter().filter(|(of, _)| *of == cloud).map(|(_, name)| *name).collect();
        let alike = |name: &str| strsim::jaro_winkler(region.get(..80).unwrap_or(region), name);
        names.sort_by(|a, b| alike(b).total_cmp(&alike(a)).then(a.cmp(b)));
        names.truncate(5);
        let near = did_you_mean(region, names.iter().copied());
        let city = built_in_regions().iter().find(|r| r.cloud == cloud && r.city.eq_ignore_ascii_case(region));
        let city = city.map(|found| format!("did you mean `{}` ({})?", found.name, found.city));
        let near = near.or(city).map_or(String::new(), |near| format!("{near} "));
        format!("{near}near names are {}; declare your own in [[regions]]", one_of(names))
    }
}
