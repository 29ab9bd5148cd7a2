//! From a set of files to the parts of a snapshot: all that `check` does before it is happy.

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use ipnet::IpNet;
use tracing::warn;

use super::digests::Digests;
use super::measured_files::read_estimates;
use super::secrets;
use crate::config::{self, Config, Cookies, Identity, Spots, Zone};
use crate::geo::{self, Database, Distinctions, Geo};
use crate::latency::Published;
use crate::model::{CookieSecrets, Country, Digest, Files, PlaceSet, Problem, ServiceId};
use crate::probe::Trust;
use crate::table::{Measured, Parts};
use crate::zone::{self, Steered, ZoneTree, Zones};

/// A set of files that passed.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What a snapshot is compiled from.
    pub parts: Parts,
    /// Whom probes and the webhook trust.
    pub trust: Arc<Trust>,
    /// What the operator should know all the same.
    pub warnings: Vec<Problem>,
    /// What was read, by content.
    pub digests: Arc<Digests>,
    /// What the zones were made from, for the next load; by `ZoneId`.
    zones: Arc<[ZoneSource]>,
    geo: Arc<GeoSource>,
    /// What cookies are made with where no file says it.
    drawn: Option<CookieSecrets>,
}

/// Of a zone. A server may have very many, so what is kept of one is small: a zone that changed is
/// read anew, records and all.
#[derive(Clone, Debug)]
struct ZoneSource {
    /// The files that its own one includes.
    includes: Box<[PathBuf]>,
    warnings: Box<[Problem]>,
}

type MadeGeo = (Arc<Geo>, Arc<GeoSource>);

/// All that a compiled [`Geo`] depends on.
#[derive(Debug)]
struct GeoSource {
    files: GeoFiles,
    /// Networks that are measured, in the order in which they find room.
    networks: Vec<(Country, u32)>,
}

/// The same without what is measured.
#[derive(Debug, PartialEq)]
struct GeoFiles {
    databases: Vec<(PathBuf, Digest)>,
    labels: Vec<IpNet>,
    asns: Vec<u32>,
    fence_places: Vec<PlaceSet>,
}

impl GeoFiles {
    fn of(files: &mut dyn Files, config: &Config) -> Result<Self, Vec<Problem>> {
        let digest = |path: &PathBuf| match files.digest(path) {
            Ok(digest) => Ok((path.clone(), digest)),
            Err(error) => Err(vec![unreadable(path, &error)]),
        };
        Ok(Self {
            databases: config.databases.iter().map(digest).collect::<Result<_, _>>()?,
            labels: config.labels.clone(),
            asns: config.asns.clone(),
            fence_places: config.fence_places.clone(),
        })
    }

    /// The [`Geo`] that tells these networks apart: that of `before` where it is the same.
    fn make(
        self,
        networks: Vec<(Country, u32)>,
        files: &mut dyn Files,
        before: Option<&Loaded>,
    ) -> Result<MadeGeo, Vec<Problem>> {
        let before = before.filter(|before| before.geo.files == self);
        if let Some(before) = before.filter(|before| before.tells_apart(&networks)) {
            return Ok((before.parts.geo.clone(), before.geo.clone()));
        }
        let database = |(path, _): &(PathBuf, Digest)| match files.read(path) {
            Ok(bytes) => Ok(Database { path: path.clone(), bytes }),
            Err(error) => Err(vec![unreadable(path, &error)]),
        };
        let databases: Vec<Database> = self.databases.iter().map(database).collect::<Result<_, _>>()?;
        let Self { labels, asns, fence_places, .. } = &self;
        let geo = geo::compile(&databases, &Distinctions { labels, asns, networks: &networks, fence_places })?;
        let same = before.map(|before| &before.parts.geo).filter(|before| before.tells_the_same_apart(&geo));
        let geo = same.cloned().unwrap_or_else(|| Arc::new(geo));
        Ok((geo, Arc::new(GeoSource { files: self, networks })))
    }
}

impl Loaded {
    /// The same files, going by other estimates. Where these know other networks than those before, locations are made anew of the
    /// databases, unless these are not on disk any more as they were read: that is said, and until they are, such
    /// networks are not told from the rest of their countries.
    pub(super) fn going_by(&self, published: Arc<Published>, files: &mut dyn Files) -> Self {
        let made = self.telling_apart(&published, files).unwrap_or_else(|why| {
            warn!(why, "networks that are measured are not told from the rest of their countries");
            None
        });
        let (geo, source) = made.unwrap_or_else(|| (self.parts.geo.clone(), self.geo.clone()));
        self.over(geo, source, published)
    }

    /// The same, where that was so and is no more.
    pub(super) fn telling_networks_apart(&self, files: &mut dyn Files) -> Option<Self> {
        let published = &self.parts.measured.published;
        let (geo, source) = self.telling_apart(published, files).ok()??; // what is wrong was said
        Some(self.over(geo, source, published.clone()))
    }

    fn over(&self, geo: Arc<Geo>, source: Arc<GeoSource>, published: Arc<Published>) -> Self {
        let parts = Parts { geo, ..self.parts.clone() }.with_measured(published);
        Self { parts, geo: source, ..self.clone() }
    }

    /// Locations that tell the networks apart of which something is published; none: those that there are do.
    fn telling_apart(&self, published: &Published, files: &mut dyn Files) -> Result<Option<MadeGeo>, String> {
        let networks = published.networks();
        if self.tells_apart(&networks) {
            return Ok(None);
        }
        let told = |problems: Vec<Problem>| problems.iter().map(Problem::to_string).collect::<Vec<_>>().join("; ");
        let source = GeoFiles::of(files, &self.parts.config).map_err(told)?;
        if source.databases != self.geo.files.databases {
            return Err("a database is not the one that was read".to_owned());
        }
        source.make(networks, files, Some(self)).map(Some).map_err(told)
    }

    /// Do locations tell just these networks apart, as far as there is room?
    fn tells_apart(&self, networks: &[(Country, u32)]) -> bool {
        let set = |networks: &[_]| networks.iter().copied().collect::<BTreeSet<(Country, u32)>>();
        let known = &self.geo.networks;
        known == networks || self.parts.geo.left_out() == 0 && set(known) == set(networks)
    }

    /// One hash over all content that decisions come from: nodes that show the same one decide alike
    /// (BEHAVIOUR rule 10). Where the files lie plays no part.
    #[must_use]
    pub fn decision_hash(&self) -> Digest {
        let mut digests: Vec<&Digest> = self.digests.iter().map(|(_, digest)| digest).collect();
        digests.sort();
        Digest::of_all(digests.iter().map(|digest| &digest.0[..]))
    }
}

/// Reads the configuration at `path` and all that it names. Parts of `before` are used again where
/// their files have not changed.
///
/// # Errors
/// Every problem found; a stage that needs what an earlier one refused is left out.
pub fn load(files: &mut dyn Files, path: &Path, before: Option<&Loaded>) -> Result<Loaded, Vec<Problem>> {
    let mut files = Recorder { files, digests: Vec::new() };
    let mut read = config::read(&mut files, path)?;
    if read.config.server.identity == Identity::Hostname {
        read.config.server.identity = hostname().map_or(Identity::Off, |name| Identity::Text(name.into()));
    }
    let mut problems = Vec::new();
    // Drawn once, so that cookies outlive an edit.
    let drawn = before.and_then(|before| before.drawn.clone()).or_else(drawn_secret);
    match cookies(&mut files, &read.config.server.cookies, drawn.as_ref()) {
        Ok(Some(cookies)) => read.config.server.cookies = cookies,
        Ok(None) => {
            read.config.server.cookies = Cookies::Off;
            let problem = Problem::warning("no-cookies", path, "the system gives no random octets: cookies are off");
            read.warnings.push(problem.help("see why, or write `cookies = \"off\"`"));
        }
        Err(problem) => problems.push(problem),
    }
    let mut warnings = read.warnings;
    let zones = zones(&mut files, path, &read.config, &read.spots, before);
    let published = match before {
        Some(before) => before.parts.measured.published.clone(),
        None => Arc::new(read_estimates(&read.config.server.state)),
    };
    let geo =
        GeoFiles::of(&mut files, &read.config).and_then(|source| source.make(published.networks(), &mut files, before));
    let webhook = read.config.webhook.as_ref().and_then(|webhook| webhook.tls.as_ref());
    let probes = read.config.probes.iter().filter_map(|probe| probe.kind.tls());
    let trust = Trust::of(probes.chain(webhook), &mut files);
    let zones = keep(zones, &mut problems);
    let geo = keep(geo, &mut problems);
    let trust = keep(trust, &mut problems);
    let (Some((trees, zones)), Some((geo, source)), Some(trust)) = (zones, geo, trust) else { return Err(problems) };
    if !problems.is_empty() {
        return Err(problems);
    }
    warnings.extend(zones.iter().flat_map(|source| source.warnings.iter().cloned()));
    let measured = match before {
        Some(before) if Arc::ptr_eq(&before.parts.geo, &geo) => before.parts.measured.clone(),
        _ => Arc::new(Measured::new(published, &geo)),
    };
    let parts = Parts { config: Arc::new(read.config), zones: Arc::new(trees), geo, measured, file: path.into() };
    let digests = Arc::new(files.digests.into_iter().collect());
    Ok(Loaded { parts, trust: Arc::new(trust), warnings, digests, zones: zones.into(), geo: source, drawn })
}

/// With the secrets of the file, or what was drawn; none where there is nothing drawn.
fn cookies(files: &mut dyn Files, typed: &Cookies, drawn: Option<&CookieSecrets>) -> Result<Option<Cookies>, Problem> {
    let shared = match typed {
        Cookies::Off => return Ok(Some(Cookies::Off)),
        Cookies::Shared(path) => secrets::read(files, path)?,
        Cookies::Random | Cookies::Secrets(_) => None,
    };
    Ok(shared.or_else(|| drawn.cloned()).map(Cookies::Secrets))
}

/// Of octets that nobody can guess; none where the system has none.
fn drawn_secret() -> Option<CookieSecrets> {
    let mut octets = [0; 16];
    let random = rustls::crypto::ring::default_provider().secure_random;
    random.fill(&mut octets).ok().map(|()| CookieSecrets::new([octets]))
}

/// The machine's, as the kernel has it.
fn hostname() -> Option<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").ok()?;
    Some(name.trim().to_owned()).filter(|name| (1..=255).contains(&name.len()))
}

/// The value, or none and its problems to the others.
fn keep<T>(result: Result<T, Vec<Problem>>, problems: &mut Vec<Problem>) -> Option<T> {
    result.map_err(|found| problems.extend(found)).ok()
}

fn zones(
    files: &mut Recorder<'_>,
    path: &Path,
    config: &Config,
    spots: &Spots,
    before: Option<&Loaded>,
) -> Result<(Zones, Vec<ZoneSource>), Vec<Problem>> {
    let (mut trees, mut sources, mut problems) = (Vec::new(), Vec::new(), Vec::new());
    let services = services_by_zone(config);
    let services_before = before.map(|before| services_by_zone(&before.parts.config));
    let before = before.zip(services_before.as_deref());
    for (zone, services) in config.zones.iter().zip(&services) {
        if let Some((tree, source)) = reusable_zone(files, config, zone, services, before) {
            trees.push(tree);
            sources.push(source);
            continue;
        }
        let Some((data, mut warnings)) = keep(zone::read(files, &zone.file, &zone.name), &mut problems) else {
            continue;
        };
        let steered: Vec<Steered> = services.iter().map(|&id| steered(config, spots, path, id)).collect();
        let Some(tree) = keep(ZoneTree::build(&data, &steered), &mut problems) else { continue };
        warnings.extend(zone::targets_without_address(&data, &tree));
        if let Some((id, tree_before)) = before.and_then(|(before, _)| before.parts.zones.find_zone(tree.apex()))
            && let Some((before, _)) = before
        {
            // A tree is another one where its services are; that is no change of the zone.
            let same = |file: &PathBuf| before.digests.get(file) == files.digest(file).ok().as_ref();
            let edited = !data.files().iter().all(same);
            let mut warned = before.zones[id.index()].warnings.iter();
            let already = warned.any(|warning| warning.code == zone::SERIAL_NOT_RAISED);
            if edited || already {
                warnings.extend(zone::serial_not_raised(&data, tree_before, &tree, already));
            }
        }
        trees.push(tree);
        sources.push(ZoneSource { includes: data.files()[1..].into(), warnings: warnings.into() });
    }
    if problems.is_empty() { Ok((Zones::new(trees), sources)) } else { Err(problems) }
}

/// The zone as it was before, if its files, includes among them, are the same and so are the services
/// at its names. `before` goes with its services by zone.
fn reusable_zone(
    files: &mut Recorder<'_>,
    config: &Config,
    zone: &Zone,
    services: &[ServiceId],
    before: Option<(&Loaded, &[Vec<ServiceId>])>,
) -> Option<(ZoneTree, ZoneSource)> {
    let (before, services_before) = before?;
    let (id, tree) = before.parts.zones.find_zone(zone.name.as_wire())?;
    let (source, config_before) = (&before.zones[id.index()], &before.parts.config);
    let named = |id: &ServiceId| (*id, &config.services[id.index()].name);
    let named_before = |id: &ServiceId| (*id, &config_before.services[id.index()].name);
    let mut same = |path: &Path| files.digest(path).is_ok_and(|now| before.digests.get(path) == Some(&now));
    let unchanged = tree.apex() == zone.name.as_wire()
        && config_before.zones[id.index()].file == zone.file
        && services.iter().map(named).eq(services_before[id.index()].iter().map(named_before))
        && same(&zone.file)
        && source.includes.iter().all(|path| same(path));
    unchanged.then(|| (tree.clone(), source.clone()))
}

/// The services of each zone.
fn services_by_zone(config: &Config) -> Vec<Vec<ServiceId>> {
    let mut by_zone = vec![Vec::new(); config.zones.len()];
    for (index, service) in config.services.iter().enumerate() {
        by_zone[service.zone.index()].push(ServiceId::at(index));
    }
    by_zone
}

/// A service with the place of its name.
fn steered(config: &Config, spots: &Spots, path: &Path, service: ServiceId) -> Steered {
    Steered {
        name: config.services[service.index()].name.clone(),
        service,
        file: path.to_owned(),
        spot: spots.services.get(service.index()).cloned(),
    }
}

fn unreadable(path: &Path, error: &io::Error) -> Problem {
    Problem::error("unreadable", path, format!("the database cannot be read: {error}"))
}

/// Notes the digest of whatever is read.
struct Recorder<'f> {
    files: &'f mut dyn Files,
    digests: Vec<(Arc<Path>, Digest)>,
}

impl Files for Recorder<'_> {
    fn read(&mut self, path: &Path) -> io::Result<Arc<[u8]>> {
        let content = self.files.read(path)?;
        let digest = self.files.digest(path)?;
        self.digests.push((self.files.shared(path), digest));
        Ok(content)
    }

    fn digest(&mut self, path: &Path) -> io::Result<Digest> {
        let digest = self.files.digest(path)?;
        self.digests.push((self.files.shared(path), digest));
        Ok(digest)
    }

    fn check(&mut self, path: &Path) -> io::Result<()> {
        self.files.check(path)
    }

    // Not among the digests: these are kept, and shown.
    fn secret(&mut self, path: &Path) -> io::Result<Option<Arc<[u8]>>> {
        self.files.secret(path)
    }

    fn shared(&mut self, path: &Path) -> Arc<Path> {
        self.files.shared(path)
    }

    fn list(&mut self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        self.files.list(folder)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const CONFIG: &str = "geoip.databases = []
[[zones]]\nname = \"a.example\"\nfile = \"a\"
[[zones]]\nname = \"b.example\"\nfile = \"b\"
[[endpoints]]\nname = \"one\"\ncloud = \"aws\"\nregion = \"us-east-1\"\naddresses = [\"192.0.2.1\"]
[[services]]\nname = \"www.b.example\"\nendpoints = [\"one\"]\n";
    const ZONE: &str = "$TTL 60\n@ SOA ns host 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n$INCLUDE more\n";

    type Set = BTreeMap<PathBuf, Arc<[u8]>>;

    fn set() -> Set {
        let files = [("config.toml", CONFIG), ("a", ZONE), ("b", ZONE), ("more", "x A 192.0.2.2\nx A 192.0.2.2\n")];
        files.map(|(path, text)| (path.into(), text.as_bytes().into())).into()
    }

    fn change(set: &mut Set, path: &str, change: impl Fn(&str) -> String) {
        let file = set.get_mut(Path::new(path)).unwrap();
        *file = change(str::from_utf8(file).unwrap()).into_bytes().into();
    }

    /// For each zone after: is it the very tree of `before`?
    fn reused(set: &mut Set, before: &Loaded) -> Vec<bool> {
        let after = load(set, Path::new("config.toml"), Some(before)).unwrap();
        let kept = after.warnings.iter().filter(|warning| warning.code != "serial-not-raised").count();
        assert_eq!(kept, 2, "a zone that is used again keeps its warnings");
        let same = after.parts.zones.iter().map(|tree| {
            let trees = before.parts.zones.iter();
            trees.into_iter().any(|before| std::ptr::eq(before.soa().octets(), tree.soa().octets()))
        });
        same.collect()
    }

    #[test]
    fn zones_that_did_not_change_are_used_again() {
        let mut files = set();
        let before = load(&mut files, Path::new("config.toml"), None).unwrap();
        assert_eq!(before.warnings.len(), 2);
        assert_eq!(reused(&mut files, &before), [true, true]);
        change(&mut files, "b", |zone| format!("{zone}y TXT new\n"));
        assert_eq!(reused(&mut files, &before), [true, false]);
        change(&mut files, "more", |zone| format!("{zone}z TXT new\n"));
        assert_eq!(reused(&mut files, &before), [false, false]);
        // The same records, found by the same name in another place of the list.
        let mut files = set();
        change(&mut files, "config.toml", |config| {
            let (a, b) = ("name = \"a.example\"\nfile = \"a\"", "name = \"b.example\"\nfile = \"b\"");
            config.replace(a, "A").replace(b, a).replace('A', b)
        });
        assert_eq!(reused(&mut files, &before), [true, true]);
    }

    #[test]
    fn a_changed_zone_raises_its_serial() {
        let mut files = set();
        change(&mut files, "a", |_| "$TTL 60\n@ SOA ns host 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n".to_owned());
        let mut before = load(&mut files, Path::new("config.toml"), None).unwrap();
        for (zone, said) in [
            ("1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n; a remark\n", None),
            ("1 2 3 4 5\n@ NS ns\nns A 192.0.2.2\n", Some("stayed at 1")),
            ("1 2 3 4 5\n@ NS ns\nns A 192.0.2.2\n; a remark\n", Some("stayed at 1")),
            ("2 2 3 4 5\n@ NS ns\nns A 192.0.2.3\n", None),
            ("4294967295 2 3 4 5\n@ NS ns\nns A 192.0.2.3\n", Some("from 2 to 4294967295")),
            ("7 2 3 4 5\n@ NS ns\nns A 192.0.2.3\n", None),
            ("6 2 3 4 5\n@ NS ns\nns A 192.0.2.3\n", Some("from 7 to 6")),
        ] {
            change(&mut files, "a", |_| format!("$TTL 60\n@ SOA ns host {zone}"));
            let after = load(&mut files, Path::new("config.toml"), Some(&before)).unwrap();
            let of_serial = |loaded: &Loaded| {
                let mut warnings = loaded.warnings.iter().filter(|warning| warning.code == "serial-not-raised");
                warnings.next().map(|warning| (warning.message.clone(), warning.spot.clone().unwrap().line))
            };
            match (of_serial(&after), said) {
                (Some((message, 2)), Some(said)) => assert!(message.contains(said), "{message}"),
                (None, None) => {}
                other => panic!("{other:?}"),
            }
            let again = load(&mut files, Path::new("config.toml"), Some(&after)).unwrap();
            assert_eq!(of_serial(&again), of_serial(&after), "it holds until the serial is raised");
            before = again;
        }
    }

    #[test]
    fn a_zone_whose_services_changed_is_read_anew() {
        let mut files = set();
        let before = load(&mut files, Path::new("config.toml"), None).unwrap();
        change(&mut files, "config.toml", |config| config.replace("www.b", "shop.b"));
        assert_eq!(reused(&mut files, &before), [true, false]);
        let mut files = set();
        change(&mut files, "config.toml", |config| {
            config.replace("[[services]]", "[[services]]\nname = \"w.a.example\"\nendpoints = [\"one\"]\n[[services]]")
        });
        // The other service has another number now.
        assert_eq!(reused(&mut files, &before), [false, false]);
        change(&mut files, "b", |zone| format!("{zone}www A 192.0.2.9\n"));
        let problems = load(&mut files, Path::new("config.toml"), Some(&before)).unwrap_err();
        assert_eq!(problems.iter().map(|problem| problem.code).collect::<Vec<_>>(), ["service-has-addresses"]);
        let mut files = set();
        files.remove(Path::new("more"));
        assert!(load(&mut files, Path::new("config.toml"), Some(&before)).is_err(), "an include is gone");
    }
}
