//! `[[endpoints]]` and the operator's own `[[regions]]`: reading what was typed, then what each means.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use super::beacons::endpoint_url;
use super::meaning::is_private;
use super::places::Sets;
use super::probes::ProbeSpec;
use super::report::{At, Report, one_of, quoted};
use super::scalar::duration;
use super::settings::{address, latency_ms};
use super::sites::Regions;
use super::table::{Table, Value};
use super::words::did_you_mean;
use crate::model::{Addresses, Capacity, Cost, Endpoint, Name, Target};

const CAPACITY_LATER: &[&str] = &["scale_time"];

/// The most endpoints of a configuration.
const MAX_ENDPOINTS: usize = 10_000;

/// The most addresses of one endpoint, and the most probes.
const MAX_ADDRESSES: usize = 16;
const MAX_PROBES: usize = 16;

/// An endpoint as typed. What has errors is missing, and was reported.
pub(super) struct EndpointSpec<'a> {
    pub(super) name: Option<At<&'a str>>,
    cloud: Option<At<&'a str>>,
    region: Option<At<&'a str>>,
    addresses: Option<Vec<At<IpAddr>>>,
    pub(super) hostname: Option<At<Name>>,
    pub(super) place_declared: bool,
    bias_ms: f32,
    weight: u32,
    cost: CostSpec<'a>,
    probes: Vec<At<&'a str>>,
    probe_target: Option<At<SocketAddr>>,
    capacity: Option<At<Capacity>>,
    pub(super) beacon: Option<At<Box<str>>>,
}

/// The default, and what holds at places, in the order of the file.
type CostSpec<'a> = (f64, Vec<(At<&'a str>, f64)>);

/// Reads all `[[endpoints]]`.
pub(super) fn read<'a>(root: &mut Table<'a>) -> Vec<EndpointSpec<'a>> {
    let mut tables = super::tables(root, "endpoints", "name", &[]);
    if let Some(table) = tables.get(MAX_ENDPOINTS) {
        table.report.error("too-many-endpoints", &table.span, format!("there are over {MAX_ENDPOINTS} endpoints"));
        tables.truncate(MAX_ENDPOINTS);
    }
    tables.into_iter().map(read_one).collect()
}

fn read_one<'a>(mut table: Table<'a>) -> EndpointSpec<'a> {
    let name = table.required("name", "\"aws-virginia\"", endpoint_name);
    let cloud = table.required("cloud", "\"aws\"", Value::word);
    let region = table.required("region", "\"us-east-1\"", Value::word);
    let (has_addresses, has_hostname) = (table.has("addresses"), table.has("hostname"));
    let addresses = table.optional("addresses", |value| value.filled_list(answer_address));
    let hostname = table.optional("hostname", hostname);
    match (has_addresses, has_hostname) {
        (false, false) => table.missing("addresses", "[\"192.0.2.1\"]"),
        (true, true) => {
            let message = "an endpoint has either `addresses` or a `hostname`, not both";
            table.report.error("bad-value", &table.span, message);
        }
        _ => {}
    }
    let spec = EndpointSpec {
        name,
        cloud,
        region,
        addresses: addresses.map(|at| distinct(table.report, at.value)),
        hostname,
        place_declared: table.or("place_declared", false, Value::flag),
        bias_ms: table.or("bias", 0.0, bias_ms),
        weight: table.or("weight", 100, |value| value.integer(1..=10_000)),
        cost: table.or("cost", (0.0, Vec::new()), read_cost),
        probes: table.or("probe", Vec::new(), read_probes),
        probe_target: table.optional("probe_target", |value| address(value, None, false)),
        capacity: table.optional("capacity", read_capacity),
        beacon: table.optional("beacon", endpoint_url),
    };
    if let Some(target) = spec.probe_target.as_ref().filter(|_| !table.has("probe")) {
        let help = "name a `probe`; without one the endpoint always counts as up";
        table.report.warning("unused-target", &target.span, "`probe_target` without a `probe` does nothing", help);
    }
    table.finish();
    spec
}

/// Names appear in globs, in `endpoint:NAME`, on the command line and as metric labels.
fn endpoint_name<'a>(value: &Value<'a>) -> Option<&'a str> {
    let text = value.word()?;
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    if text.bytes().all(plain) && text.len() <= 63 {
        return Some(text);
    }
    let allowed = "letters, digits, `-`, `_` and `.`, at most 63";
    value.bad(format!("{} is no name for an endpoint", quoted(text)), allowed.to_owned())
}

fn answer_address(value: &Value<'_>) -> Option<IpAddr> {
    let text = value.text()?;
    match text.parse() {
        Ok(IpAddr::V6(v6)) if v6.to_ipv4_mapped().is_some() => {
            let v4 = v6.to_canonical();
            value.bad(format!("{} is an IPv4 address in IPv6 form", quoted(text)), format!("write \"{v4}\""))
        }
        Ok(address) => Some(address),
        Err(_) => {
            let help = if text.parse::<SocketAddr>().is_ok() {
                "leave the port out: DNS answers carry none"
            } else {
                "an IPv4 or IPv6 address; for a name use `hostname`"
            };
            value.bad(format!("{} is no IP address", quoted(text)), help.to_owned())
        }
    }
}

fn distinct(report: &Report<'_>, mut addresses: Vec<At<IpAddr>>) -> Vec<At<IpAddr>> {
    if let Some(at) = addresses.get(MAX_ADDRESSES) {
        report.error("bad-value", &at.span, format!("an endpoint has at most {MAX_ADDRESSES} addresses"));
        addresses.truncate(MAX_ADDRESSES);
    }
    let mut seen = HashSet::new();
    for at in &addresses {
        if !seen.insert(at.value) {
            report.error("duplicate-address", &at.span, format!("`addresses` names {} twice", at.value));
        }
    }
    addresses
}

fn hostname(value: &Value<'_>) -> Option<Name> {
    let text = value.word()?;
    if text.parse::<IpAddr>().is_ok() {
        return value.bad(format!("{} is an address", quoted(text)), format!("write `addresses = [\"{text}\"]`"));
    }
    match text.parse::<Name>() {
        Ok(name) if !name.is_root() && !name.is_wildcard() => Some(name),
        Ok(_) => value.bad(format!("{} cannot be looked up", quoted(text)), "name one host".to_owned()),
        Err(error) => value.bad(format!("{} is no domain name: {error}", quoted(text)), None),
    }
}

/// A latency, which may be negative: an endpoint may be favoured.
fn bias_ms(value: &Value<'_>) -> Option<f32> {
    match value.duration_text()?.strip_prefix('-').and_then(duration) {
        Some(less) if less.as_secs() <= 10 => Some(-(less.as_millis() as f32)),
        _ => latency_ms(value),
    }
}

fn read_cost<'a>(value: &Value<'a>) -> Option<CostSpec<'a>> {
    const RANGE: std::ops::RangeInclusive<f64> = 0.0..=1_000_000.0;
    if !value.is_table() {
        return Some((value.number(RANGE)?, Vec::new()));
    }
    let (mut default, mut by_place) = (0.0, Vec::new());
    // The first place that holds the client decides: `into_entries` keeps the order of the file.
    for (place, value) in value.table("`cost`", &[])?.into_entries() {
        let Some(cost) = value.number(RANGE) else { continue };
        match place.value {
            "default" => default = cost,
            _ => by_place.push((place, cost)),
        }
    }
    Some((default, by_place))
}

/// Requests per second; a number, or as it runs and as far as it scales.
fn read_capacity(value: &Value<'_>) -> Option<Capacity> {
    const RANGE: std::ops::RangeInclusive<f64> = 1.0..=1e12;
    if !value.is_table() {
        return value.number(RANGE).map(|number| Capacity { now: number, max: number });
    }
    let mut table = value.table("`capacity`", CAPACITY_LATER)?;
    let now = table.required("now", "40_000", |value| value.number(RANGE));
    let max = table.optional("max", |value| value.number(RANGE));
    table.finish();
    let now = now?.value;
    match max {
        Some(At { value: max, span }) if max < now => {
            let message = format!("`max` is {max}, below `now`, {now}");
            value.report.error_help("bad-value", &span, message, Some("`max` is what it scales out to".to_owned()));
            None
        }
        max => Some(Capacity { now, max: max.map_or(now, |at| at.value) }),
    }
}

fn read_probes<'a>(value: &Value<'a>) -> Option<Vec<At<&'a str>>> {
    if value.is_text() {
        return value.text().map(|name| vec![value.at(name)]);
    }
    let mut probes = value.list(Value::text)?;
    probes.sort_by_key(|at| at.value);
    probes.dedup_by_key(|at| at.value);
    probes.sort_by_key(|at| at.span.start);
    if probes.len() > MAX_PROBES {
        return value.bad(format!("an endpoint has at most {MAX_PROBES} probes"), None);
    }
    Some(probes)
}

/// What endpoints mean, in the order of the file; none where there were errors.
pub(super) fn resolve(
    specs: &[EndpointSpec<'_>],
    regions: &Regions<'_>,
    sets: &Sets,
    probes: &[ProbeSpec],
    report: &Report<'_>,
) -> Vec<Option<Endpoint>> {
    let probes: HashMap<&str, &ProbeSpec> = probes.iter().map(|probe| (&*probe.name.value, probe)).collect();
    super::report_duplicates(specs.iter().filter_map(|spec| spec.name.as_ref()), "endpoint", report);
    report_shared_addresses(specs, report);
    specs.iter().map(|spec| resolve_one(spec, regions, sets, &probes, report)).collect()
}

fn resolve_one(
    spec: &EndpointSpec<'_>,
    regions: &Regions<'_>,
    sets: &Sets,
    probes: &HashMap<&str, &ProbeSpec>,
    report: &Report<'_>,
) -> Option<Endpoint> {
    let site = match (&spec.cloud, &spec.region) {
        (Some(cloud), Some(region)) => regions.find(cloud, region, report),
        _ => None,
    };
    let costs = spec.cost.1.iter();
    let by_place: Vec<_> = costs.map(|(place, cost)| Some((sets.find(place, report)?, *cost))).collect();
    for at in &spec.probes {
        if !probes.contains_key(at.value) {
            let help = did_you_mean(at.value, probes.keys().copied());
            let help = help.or_else(|| Some(format!("probes are {}", one_of(sorted(probes.keys().copied())))));
            report.error_help("unknown-probe", &at.span, format!("there is no probe {}", quoted(at.value)), help);
        }
    }
    check_private(spec, probes, report);
    let fixed = |addresses: &Vec<At<IpAddr>>| Addresses::Fixed(addresses.iter().map(|at| at.value).collect());
    let hostname = || spec.hostname.as_ref().map(|at| Addresses::Hostname(at.value.clone()));
    Some(Endpoint {
        name: spec.name.as_ref()?.value.into(),
        site: site?,
        addresses: spec.addresses.as_ref().map(fixed).or_else(hostname)?,
        bias_ms: spec.bias_ms,
        weight: spec.weight,
        cost: Cost { default: spec.cost.0, by_place: by_place.into_iter().collect::<Option<_>>()? },
        probes: spec.probes.iter().map(|at| Arc::from(at.value)).collect(),
        probe_target: spec.probe_target.as_ref().map(|at| Target { address: at.value }),
        capacity: spec.capacity.as_ref().map(|at| at.value),
        beacon: spec.beacon.as_ref().map(|at| Arc::from(&*at.value)),
    })
}

fn sorted<'c>(words: impl Iterator<Item = &'c str>) -> Vec<&'c str> {
    let mut words: Vec<&str> = words.collect();
    words.sort_unstable();
    words
}

/// Private addresses: doubtful in answers, refused to probes that do not mean them.
fn check_private(spec: &EndpointSpec<'_>, probes: &HashMap<&str, &ProbeSpec>, report: &Report<'_>) {
    let addresses = spec.addresses.iter().flatten();
    let private: Vec<_> = addresses.filter(|at| is_private(at.value)).map(|at| (at.value, &at.span)).collect();
    for (address, span) in &private {
        let message = format!("{address} is no address on the Internet: answers with it work only inside your network");
        report.warning("private-address", span, message, "answer with a public address");
    }
    let targets = match &spec.probe_target {
        Some(at) if is_private(at.value.ip()) => vec![(at.value.ip(), &at.span)],
        Some(_) => Vec::new(),
        None => private,
    };
    for (address, span) in targets {
        for spec in spec.probes.iter().filter_map(|at| probes.get(at.value)) {
            if spec.probe.as_ref().is_some_and(|probe| probe.kind.goes_to_target() && !probe.allow_private) {
                let name = &spec.name.value;
                let message =
                    format!("the probe `{name}` does not go to {address}: it is loopback, private or link-local");
                let line = report.line(&spec.name.span);
                let help = format!("if it is meant, write `allow_private = true` in [probes.{name}], line {line}");
                report.error_help("private-target", span, message, Some(help));
            }
        }
    }
}

fn report_shared_addresses(specs: &[EndpointSpec<'_>], report: &Report<'_>) {
    let mut owners: HashMap<IpAddr, usize> = HashMap::new();
    for (index, spec) in specs.iter().enumerate() {
        for at in spec.addresses.iter().flatten() {
            let owner = *owners.entry(at.value).or_insert(index);
            if let (true, Some(first)) = (owner != index, &specs[owner].name) {
                let message = format!("{} is an address of `{}` too", at.value, first.value);
                report.warning("shared-address", &at.span, message, "each endpoint has addresses of its own");
            }
        }
    }
}
