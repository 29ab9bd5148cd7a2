//! Floor 1: from what was typed to what it means.
//!
//! ```text
//! text ─ toml ─▶ tree ─ read ─▶ what was typed, each value with its place ─ resolve ─▶ Config
//! ```
//! Nothing stops at the first error. **Reading** (`table`) asks each table for its keys; a value that
//! is not good is reported and missing from then on. **Resolving** connects names (sets, regions,
//! endpoints, plans) and judges the whole (`checks`); what is missing because of an error is never
//! reported a second time. Where the text itself does not parse, the lines at fault are blanked, the
//! rest is read, and nothing is resolved: what seems to be missing may stand in those lines.

mod beacons;
mod blocks;
mod checks;
mod combinations;
mod endpoints;
mod events;
mod health;
mod kinds;
mod limits;
mod meaning;
mod places;
mod plans;
mod probes;
mod process;
mod report;
mod scalar;
mod services;
mod settings;
mod sites;
mod syntax;
mod table;
mod transports;
mod words;
mod zones;

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;
use toml::de::DeTable;

pub use beacons::Beacons;
pub use events::Webhook;
pub use kinds::{
    Aim, Calculated, Dns, Exchange, Grpc, Http, HttpMethod, Limits, Metric, ProbeKind, Sample, Script, StateFile, Tls,
};
pub use meaning::{
    Access, Admin, CertificateFiles, Config, Cookies, Damping, Ecs, Health, Identity, Probe, Process, RateLimit,
    Resolver, Sandboxing, Server, Slow, Transports, Zone, is_private,
};
pub use scalar::duration;
pub use services::MAX_RAMP;
pub use words::{closest, glob};

use crate::model::{
    Addresses, Cloud, Coordinates, Cost, Country, Endpoint, FenceMask, Files, Name, Place, PlaceSet, Plan, Problem,
    Site, Spot,
};
use blocks::{Blocks, Miscut};
use report::{At, Report, Span};
use services::{Services, Steered};
use table::Table;
use words::did_you_mean;

/// The longest configuration file, in octets.
pub const MAX_FILE: usize = 16 << 20;

/// A configuration that can be served.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it means.
    pub config: Config,
    /// What the operator should know, in the order of the file.
    pub warnings: Vec<Problem>,
    /// Where it says so.
    pub spots: Spots,
}

/// Where in the configuration file things are named, for problems that later stages find.
#[derive(Clone, Debug, PartialEq)]
pub struct Spots {
    /// The configuration file.
    pub file: PathBuf,
    /// The `name` of each service, by `ServiceId`.
    pub services: Vec<Spot>,
    /// The `name` of each endpoint, by `EndpointId`.
    pub endpoints: Vec<Spot>,
    /// The `file` of each zone, by `ZoneId`; with `[zones] directory`, that.
    pub zones: Vec<Spot>,
    /// Each database, as in `Config::databases`; none for the default one.
    pub databases: Vec<Option<Spot>>,
}

/// Reads the configuration at `path`. Relative paths in it start at its folder. The files that it
/// names (zones, databases, certificates) are read through `files` too, to see that they are there.
///
/// # Errors
/// All problems found, warnings included, in the order of the file; at least one is an error.
pub fn read(files: &mut dyn Files, path: &Path) -> Result<Loaded, Vec<Problem>> {
    let octets = files.read(path).map_err(|error| vec![unreadable(path, &error.to_string())])?;
    if octets.len() > MAX_FILE {
        return Err(vec![unreadable(path, &format!("it is longer than {} MiB", MAX_FILE >> 20))]);
    }
    let text = match std::str::from_utf8(&octets) {
        Ok(text) => text,
        Err(error) => {
            let at = error.valid_up_to();
            let good = String::from_utf8_lossy(&octets[..at]);
            let problem = Problem::error("syntax", path, "the file is not UTF-8 from here on");
            return Err(vec![problem.at(Spot::of_span(&good, at..at)).help("save it as UTF-8")]);
        }
    };
    let (loaded, report) = parse_by_blocks(text, files, path).unwrap_or_else(|Miscut| parse(text, files, path));
    let (problems, failed) = report.finish();
    match loaded {
        Some((config, spots)) if !failed => Ok(Loaded { config, warnings: problems, spots }),
        _ => Err(problems),
    }
}

fn unreadable(path: &Path, why: &str) -> Problem {
    Problem::error("missing-file", path, format!("cannot read the configuration: {why}"))
        .help("say where it is with `--config FILE`")
}

type Parsed<'r> = (Option<(Config, Spots)>, Report<'r>);

/// Parses, reads and resolves the text in parts, if it can be cut into parts and all of them parse.
fn parse_by_blocks<'r>(text: &'r str, files: &mut dyn Files, path: &'r Path) -> Result<Parsed<'r>, Miscut> {
    let (blocks, report) = (Blocks::of(text), Report::new(path, text));
    let head = blocks.head();
    let (tree, errors) = DeTable::parse_recoverable(&head);
    if !errors.is_empty() || blocks.is_empty() || tree.get_ref().contains_key("services") {
        return Err(Miscut);
    }
    let folder = path.parent().unwrap_or(Path::new(""));
    let typed = Typed { services: Services::Blocks(blocks), ..Typed::read(&report, tree.get_ref(), folder, files) };
    let resolved = resolve(typed, &report, files, path)?;
    Ok((resolved, report))
}

/// Parses and reads the text as one; resolves where all of it parsed.
fn parse<'r>(text: &'r str, files: &mut dyn Files, path: &'r Path) -> Parsed<'r> {
    let mut report = Report::new(path, text);
    let tree = syntax::parse(&mut report, text);
    let folder = path.parent().unwrap_or(Path::new(""));
    if !report.is_partial() {
        let typed = Typed::read(&report, tree.get_ref(), folder, files);
        let resolved = resolve(typed, &report, files, path);
        return (resolved.ok().flatten(), report); // nothing was cut
    }
    let rest = report.text_without_broken_lines();
    let (tree, _) = DeTable::parse_recoverable(&rest);
    Typed::read(&report, tree.get_ref(), folder, files);
    (None, report)
}

/// All that was typed.
struct Typed<'a> {
    settings: settings::Settings,
    process: Process,
    events: events::EventsSpec,
    probes: Vec<probes::ProbeSpec>,
    sets: places::SetSpecs<'a>,
    regions: Vec<sites::RegionSpec<'a>>,
    endpoints: Vec<endpoints::EndpointSpec<'a>>,
    zones: Vec<zones::ZoneSpec>,
    defaults: services::PolicySpec<'a>,
    services: Services<'a>,
}

impl<'a> Typed<'a> {
    fn read(report: &'a Report<'a>, tree: &'a DeTable<'a>, folder: &Path, files: &mut dyn Files) -> Self {
        let mut root = Table::new(report, "the configuration", 0..0, tree, &["load"]);
        let typed = Self {
            settings: settings::Settings::read(&mut root, folder),
            process: process::read(&mut root),
            events: events::read(&mut root, folder),
            probes: probes::read(&mut root, folder),
            sets: places::read(&mut root),
            regions: sites::read(&mut root),
            endpoints: endpoints::read(&mut root),
            zones: zones::read(&mut root, folder, files),
            defaults: services::read_defaults(&mut root),
            services: Services::Read(services::read(&mut root)),
        };
        root.finish();
        typed
    }
}

/// The tables of `[[key]]`, each named by the text of its `name_key` where it has one.
fn tables<'a>(
    root: &mut Table<'a>,
    key: &'static str,
    name_key: &'static str,
    later: &'static [&'static str],
) -> Vec<Table<'a>> {
    let Some(items) = root.value(key).and_then(|value| value.items()) else { return Vec::new() };
    items.iter().filter_map(|item| item.named_table(key, name_key, later)).collect()
}

/// Reports names that are given twice.
fn report_duplicates<'t>(names: impl Iterator<Item = &'t At<&'t str>>, what: &str, report: &Report<'_>) {
    let mut first: HashMap<&str, &Span> = HashMap::new();
    for name in names {
        if let Some(other) = first.get(name.value) {
            report_duplicate(what, name.value, &name.span, other, report);
        } else {
            first.insert(name.value, &name.span);
        }
    }
}

fn report_duplicate(what: &str, name: &str, span: &Span, first: &Span, report: &Report<'_>) {
    let message = format!("the {what} `{name}` exists already, line {}", report.line(first));
    report.error_help("duplicate-name", span, message, Some("give one of them another name".to_owned()));
}

/// Reports a file that cannot be read.
fn check_readable(file: &At<PathBuf>, what: &str, files: &mut dyn Files, report: &Report<'_>) {
    if let Err(error) = files.check(&file.value) {
        let message = format!("cannot read the {what} {}: {error}", file.value.display());
        let beside = file.value.parent().and_then(|folder| files.list(folder).ok()).unwrap_or_default();
        let names = beside.iter().filter_map(|path| path.file_name()?.to_str());
        let near = file.value.file_name().and_then(|name| did_you_mean(name.to_str()?, names));
        let help = near.unwrap_or_else(|| path_help(&error).to_owned());
        report.error_help("missing-file", &file.span, message, Some(help));
    }
}

/// The likely fix where what is at a path cannot be read.
fn path_help(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::PermissionDenied => "see the owner and mode of the file and of its folders, and [process]",
        _ => "the path is relative to the folder of this file",
    }
}

fn resolve(
    typed: Typed<'_>,
    report: &Report<'_>,
    files: &mut dyn Files,
    path: &Path,
) -> Result<Option<(Config, Spots)>, Miscut> {
    let (sets, regions) = (places::Sets::new(&typed.sets, report), sites::Regions::new(&typed.regions, report));
    let zones = zones::Zones::new(&typed.zones, files, report);
    for certificate in typed.probes.iter().flat_map(|spec| &spec.certificates).chain(&typed.events.ca) {
        check_readable(certificate, "certificate file", files, report);
    }
    health::check_window(&typed.settings.health, &typed.probes, report);
    beacons::check(&typed.settings.beacons, &typed.endpoints, report);
    let databases = databases(&typed.settings, path, files, report);
    let endpoints = endpoints::resolve(&typed.endpoints, &regions, &sets, &typed.probes, report);
    let mut resolver = plans::Resolver {
        report,
        regions: &regions,
        sets: &sets,
        zones: &zones,
        endpoints: &endpoints,
        names: &plans::Names::new(&typed.endpoints),
        place_declared: typed.endpoints.iter().map(|spec| spec.place_declared).collect(),
        defaults: &typed.defaults,
        matches: HashMap::new(),
        plans: plans::Plans::default(),
    };
    let mut services: Vec<Steered> = Vec::new();
    typed.services.each(report, |spec| {
        let span = spec.name.as_ref().map_or(0..0, |at| at.span.clone());
        services.push(Steered { meaning: resolver.resolve(spec), span });
    })?;
    let plans::Plans { plans, fence_places, .. } = resolver.plans;
    check_service_names(&services, &typed.endpoints, &zones, report);
    let combinations = combinations::combinations(&fence_places);
    checks::Checker {
        report,
        endpoints: &filled(&endpoints),
        fence_places: &fence_places,
        combinations: &combinations,
        defaults: &typed.defaults,
        // What is to be mended first may change it.
        soft_probes: &if report.has_errors() { HashSet::new() } else { probes::soft(&typed.probes) },
        max_soft_down: typed.settings.health.max_soft_down,
    }
    .check(&typed.services, &services, &plans);

    let spots = Spots {
        file: path.to_owned(),
        services: services.iter().filter(|s| s.name().is_some()).map(|s| report.spot(&s.span)).collect(),
        endpoints: typed.endpoints.iter().filter_map(|spec| Some(report.spot(&spec.name.as_ref()?.span))).collect(),
        zones: typed.zones.iter().filter_map(|spec| Some(report.spot(&spec.file.as_ref()?.span))).collect(),
        databases: databases.iter().map(|(_, spot)| spot.clone()).collect(),
    };
    let resolved = Resolved { databases, endpoints, services, plans, fence_places, combinations };
    Ok(resolved.config(typed, files).map(|config| (config, spots)))
}

/// What names in the configuration turned out to mean.
struct Resolved {
    databases: Vec<(PathBuf, Option<Spot>)>,
    endpoints: Vec<Option<Endpoint>>,
    services: Vec<Steered>,
    plans: Vec<Plan>,
    fence_places: Vec<PlaceSet>,
    combinations: Vec<FenceMask>,
}

impl Resolved {
    /// The configuration; none where some part has errors, reported by now.
    fn config(self, typed: Typed<'_>, files: &mut dyn Files) -> Option<Config> {
        let mut config = Config {
            server: typed.settings.server,
            access: typed.settings.access,
            rate_limit: typed.settings.rate_limit,
            ecs: typed.settings.ecs,
            tls: typed.settings.tls,
            admin: typed.settings.admin,
            beacons: typed.settings.beacons.beacons,
            process: typed.process,
            webhook: typed.events.webhook,
            databases: self.databases.into_iter().map(|(file, _)| file).collect(),
            geo_memory: typed.settings.geo_memory,
            settle: typed.settings.settle,
            resolver: typed.settings.resolver,
            health: typed.settings.health,
            first_round: typed.settings.first_round,
            stale_after: typed.settings.stale_after,
            probes: typed.probes.into_iter().map(|spec| spec.probe).collect::<Option<_>>()?,
            endpoints: trimmed(self.endpoints.into_iter().collect::<Option<_>>()?),
            zones: zones::resolve(typed.zones, files),
            services: trimmed(self.services.into_iter().map(|service| service.meaning.ok()).collect::<Option<_>>()?),
            plans: self.plans,
            fence_places: self.fence_places,
            fence_combinations: self.combinations,
            labels: Vec::new(),
            asns: Vec::new(),
        };
        (config.labels, config.asns) = named_of_clients(&config);
        config.ecs.everywhere = config.zones.iter().all(|zone| zone.ecs);
        Some(config)
    }
}

/// What a list was made from may have been larger, and its memory is used again: only as much as is
/// needed stays.
fn trimmed<T>(mut list: Vec<T>) -> Vec<T> {
    list.shrink_to_fit();
    list
}

/// Names of services are unique, and no hostname of an endpoint leads back to us.
fn check_service_names(
    services: &[Steered],
    endpoints: &[endpoints::EndpointSpec<'_>],
    zones: &zones::Zones,
    report: &Report<'_>,
) {
    let mut first: HashMap<&Name, &Span> = HashMap::with_capacity(services.len());
    for (name, span) in services.iter().filter_map(|service| Some((service.name()?, &service.span))) {
        if let Some(other) = first.get(name) {
            report_duplicate("service", &name.to_string(), span, other, report);
        } else {
            first.insert(name, span);
        }
    }
    for hostname in endpoints.iter().filter_map(|spec| spec.hostname.as_ref()) {
        checks::check_hostname(hostname, first.contains_key(&hostname.value), zones, report);
    }
}

/// The databases, each with its place; reports those that cannot be read.
fn databases(
    settings: &settings::Settings,
    path: &Path,
    files: &mut dyn Files,
    report: &Report<'_>,
) -> Vec<(PathBuf, Option<Spot>)> {
    if let Some(typed) = &settings.databases {
        typed.iter().for_each(|file| check_readable(file, "database", files, report));
        return typed.iter().map(|file| (file.value.clone(), Some(report.spot(&file.span)))).collect();
    }
    let default = path.with_file_name("geoip/city.mmdb");
    if let Err(error) = files.check(&default) {
        let message = format!("cannot read {}, which `databases` of [geoip] is by default: {error}", default.display());
        let help = "name another, or write `databases = []` to steer without knowing where clients are";
        report.error_without_spot("missing-file", message, help.to_owned());
    }
    vec![(default, None)]
}

/// The endpoints, with a stand-in where there were errors; no plan refers to those.
fn filled(endpoints: &[Option<Endpoint>]) -> Vec<Endpoint> {
    let stand_in = || Endpoint {
        name: "".into(),
        site: Site {
            cloud: Cloud::new(""),
            region: "".into(),
            country: "ZZ".parse::<Country>().expect("two letters"),
            coordinates: Coordinates { latitude: 0.0, longitude: 0.0 },
        },
        addresses: Addresses::Fixed(Vec::new()),
        bias_ms: 0.0,
        weight: 1,
        cost: Cost::default(),
        probes: Vec::new(),
        probe_target: None,
        capacity: None,
        beacon: None,
    };
    endpoints.iter().map(|endpoint| endpoint.clone().unwrap_or_else(stand_in)).collect()
}

/// Prefixes and autonomous systems that decide something, each once, ascending.
fn named_of_clients(config: &Config) -> (Vec<IpNet>, Vec<u32>) {
    let preferences = config.plans.iter().flat_map(|plan| &plan.policy.preferences).map(|preference| &preference.place);
    let costs = config.endpoints.iter().flat_map(|endpoint| &endpoint.cost.by_place).map(|(place, _)| place);
    let sets: Vec<&PlaceSet> = config.fence_places.iter().chain(preferences).chain(costs).collect();
    let (mut labels, mut asns) = (Vec::new(), Vec::new());
    for place in sets.iter().flat_map(|set| &set.places) {
        match place {
            Place::Cidr(net) => labels.push(*net),
            Place::Asn(asn) => asns.push(*asn),
            Place::Country(_) | Place::Continent(_) | Place::Subdivision(_) => {}
        }
    }
    labels.sort_unstable();
    labels.dedup();
    asns.sort_unstable();
    asns.dedup();
    (labels, asns)
}

/// The folder for what outlives a restart, as the configuration at `path` has it, as far as its text
/// can be read: it is needed most where the rest does not pass. `state` beside it by default.
#[must_use]
pub fn state_folder(files: &mut dyn Files, path: &Path) -> PathBuf {
    let octets = files.read(path).unwrap_or_default();
    let state = typed_text(&octets, "server", "state");
    path.parent().unwrap_or(Path::new("")).join(state.as_deref().unwrap_or("state"))
}

/// Where the server with the configuration at `path` answers HTTP, as far as the text can be read: it runs, and is
/// asked, while an edit has errors. None: nowhere.
///
/// # Errors
/// There is no such file.
pub fn admin_address(files: &mut dyn Files, path: &Path) -> Result<Option<SocketAddr>, Vec<Problem>> {
    let octets = files.read(path).map_err(|error| vec![unreadable(path, &error.to_string())])?;
    let typed = typed_text(&octets, "admin", "listen");
    Ok(match typed.as_deref() {
        Some("off") => None,
        typed => typed.and_then(|listen| listen.parse().ok()).or(settings::Settings::new(Path::new("")).admin.listen),
    })
}

/// The text of a key in a table, whatever else is wrong.
fn typed_text(octets: &[u8], table: &str, key: &str) -> Option<String> {
    let text = String::from_utf8_lossy(octets);
    let (tree, _) = DeTable::parse_recoverable(&text);
    let value = tree.get_ref().get(table)?.get_ref().as_table()?.get(key)?;
    value.get_ref().as_str().map(str::to_owned)
}
