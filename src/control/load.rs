//! From a set of files to the parts of a snapshot: all that `check` does before it is happy.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};

use super::files::Digest;
use crate::config::{self, Config, Spots};
use crate::geo::{self, Database, Geo};
use crate::model::{Files, Name, PlaceSet, Problem};
use crate::probe::Trust;
use crate::table::Parts;
use crate::zone::{self, Steered, ZoneData, ZoneTree, Zones};

/// A set of files that passed.
#[derive(Debug)]
pub struct Loaded {
    /// What a snapshot is compiled from.
    pub parts: Parts,
    /// Whom `https` probes trust.
    pub trust: Arc<Trust>,
    /// What the operator should know all the same.
    pub warnings: Vec<Problem>,
    /// What was read, by content.
    pub digests: Arc<BTreeMap<PathBuf, Digest>>,
    /// For the next load: what can be used again.
    reusable: Reusable,
}

/// Parts with what they were made from; the same source, the same part.
#[derive(Debug)]
struct Reusable {
    zones: Vec<(Name, Arc<ZoneData>, Vec<Problem>)>,
    geo: GeoSource,
}

/// All that a compiled [`Geo`] depends on.
#[derive(Debug, PartialEq)]
struct GeoSource {
    databases: Vec<(PathBuf, Digest)>,
    labels: Vec<ipnet::IpNet>,
    asns: Vec<u32>,
    fence_places: Vec<PlaceSet>,
}

impl Loaded {
    /// One hash over all content that decisions come from: nodes that show the same one decide alike
    /// (BEHAVIOUR rule 10). Where the files lie plays no part.
    #[must_use]
    pub fn decision_hash(&self) -> Digest {
        let mut digests: Vec<&Digest> = self.digests.values().collect();
        digests.sort();
        let mut hash = Sha256::new();
        digests.iter().for_each(|digest| hash.update(digest.0));
        Digest(hash.finalize().into())
    }
}

/// Reads the configuration at `path` and all that it names. Parts of `before` are used again where
/// their files have not changed.
///
/// # Errors
/// Every problem found; a stage that needs what an earlier one refused is left out.
pub fn load(files: &mut dyn Files, path: &Path, before: Option<&Loaded>) -> Result<Loaded, Vec<Problem>> {
    let mut files = Recorder { files, digests: BTreeMap::new() };
    let read = config::read(&mut files, path)?;
    let mut problems = Vec::new();
    let mut warnings = read.warnings;
    let zones = zones(&mut files, path, &read.config, &read.spots, before);
    let geo = geo(&mut files, &read.config, before);
    let trust = Trust::load(&read.config.probes, &mut files);
    let zones = keep(zones, &mut problems);
    let geo = keep(geo, &mut problems);
    let trust = keep(trust, &mut problems);
    let (Some((trees, data)), Some((geo, source)), Some(trust)) = (zones, geo, trust) else { return Err(problems) };
    warnings.extend(data.iter().flat_map(|(_, _, warnings)| warnings.clone()));
    let parts = Parts { config: Arc::new(read.config), zones: Arc::new(trees), geo, file: path.into() };
    let reusable = Reusable { zones: data, geo: source };
    let trust = Arc::new(trust);
    Ok(Loaded { parts, trust, warnings, digests: Arc::new(files.digests), reusable })
}

/// The value, or none and its problems to the others.
fn keep<T>(result: Result<T, Vec<Problem>>, problems: &mut Vec<Problem>) -> Option<T> {
    result.map_err(|found| problems.extend(found)).ok()
}

type ReadZones = (Zones, Vec<(Name, Arc<ZoneData>, Vec<Problem>)>);

fn zones(
    files: &mut Recorder<'_>,
    path: &Path,
    config: &Config,
    spots: &Spots,
    before: Option<&Loaded>,
) -> Result<ReadZones, Vec<Problem>> {
    let (mut trees, mut read, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    for (index, zone) in config.zones.iter().enumerate() {
        let found = match reusable_zone(files, &zone.name, &zone.file, before) {
            Some(again) => Ok(again),
            None => zone::read(files, &zone.file, &zone.name).map(|(data, warnings)| (Arc::new(data), warnings)),
        };
        let Some((data, warnings)) = keep(found, &mut problems) else { continue };
        let steered = steered(config, spots, path, index);
        let tree = keep(ZoneTree::build(&data, &steered), &mut problems);
        trees.extend(tree.map(Arc::new));
        read.push((zone.name.clone(), data, warnings));
    }
    if problems.is_empty() { Ok((Zones::new(trees), read)) } else { Err(problems) }
}

/// What was read of the zone before, if its files, includes among them, are the same.
fn reusable_zone(
    files: &mut Recorder<'_>,
    apex: &Name,
    file: &Path,
    before: Option<&Loaded>,
) -> Option<(Arc<ZoneData>, Vec<Problem>)> {
    let before = before?;
    let (_, data, warnings) = before.reusable.zones.iter().find(|(name, ..)| name == apex)?;
    let same = |path: &PathBuf| {
        let digest = before.digests.get(path);
        files.read(path).is_ok() && files.digests.get(path) == digest
    };
    let unchanged = data.files().first().is_some_and(|first| first == file) && data.files().iter().all(same);
    unchanged.then(|| (data.clone(), warnings.clone()))
}

/// The services of one zone, with the places of their names.
fn steered(config: &Config, spots: &Spots, path: &Path, zone: usize) -> Vec<Steered> {
    let services = config.services.iter().enumerate().filter(|(_, service)| service.zone.index() == zone);
    let steered = services.map(|(index, service)| Steered {
        name: service.name.clone(),
        service: crate::model::ServiceId::at(index),
        file: path.to_owned(),
        spot: spots.services.get(index).cloned(),
    });
    steered.collect()
}

fn geo(
    files: &mut Recorder<'_>,
    config: &Config,
    before: Option<&Loaded>,
) -> Result<(Arc<Geo>, GeoSource), Vec<Problem>> {
    let mut databases = Vec::new();
    let mut source = GeoSource {
        databases: Vec::new(),
        labels: config.labels.clone(),
        asns: config.asns.clone(),
        fence_places: config.fence_places.clone(),
    };
    for path in &config.databases {
        let bytes = files.read(path).map_err(|error| vec![unreadable(path, &error)])?;
        source.databases.push((path.clone(), files.digests[path]));
        databases.push(Database { path: path.clone(), bytes });
    }
    if let Some(before) = before.filter(|before| before.reusable.geo == source) {
        return Ok((before.parts.geo.clone(), source));
    }
    let geo = geo::compile(&databases, &source.labels, &source.asns, &source.fence_places)?;
    Ok((Arc::new(geo), source))
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    Problem::error("unreadable", path, format!("the database cannot be read: {error}"))
}

/// Notes the digest of whatever is read.
struct Recorder<'f> {
    files: &'f mut dyn Files,
    digests: BTreeMap<PathBuf, Digest>,
}

impl Files for Recorder<'_> {
    fn read(&mut self, path: &Path) -> io::Result<Arc<[u8]>> {
        let content = self.files.read(path)?;
        self.digests.entry(path.to_owned()).or_insert_with(|| Digest::of(&content));
        Ok(content)
    }

    fn list(&mut self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        self.files.list(folder)
    }
}
