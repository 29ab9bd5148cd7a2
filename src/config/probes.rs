//! `[probes.NAME]`

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::kinds::{KINDS, Kind, Port, ProbeKind, Reader};
use super::meaning::{Damping, Probe, Slow};
use super::report::{At, one_of, quoted};
use super::table::{Table, Value};
use super::words::did_you_mean;

/// More than so many probes of one target are never under way at once.
const MOST_OVERLAP: u32 = 10;

const DAMPING: Damping =
    Damping { half_life: Duration::from_secs(300), hold_at: 3.0, free_at: 1.0, at_most: Duration::from_secs(900) };

/// A probe as typed.
pub(super) struct ProbeSpec {
    pub(super) name: At<Arc<str>>,
    /// None: it has errors, reported already.
    pub(super) probe: Option<Probe>,
    /// The files with certificates that it names.
    pub(super) certificates: Vec<At<PathBuf>>,
    /// The probes that it counts.
    counted: Vec<At<Arc<str>>>,
}

/// The names of those that give soft signals, or may.
pub(super) fn soft(specs: &[ProbeSpec]) -> HashSet<Arc<str>> {
    let probes = || specs.iter().filter_map(|spec| spec.probe.as_ref());
    let own = probes().filter(|probe| probe.slow.is_some() || probe.kind.is_soft());
    let own: HashSet<Arc<str>> = own.map(|probe| probe.name.clone()).collect();
    let counts = |probe: &&Probe| matches!(&probe.kind, ProbeKind::Calculated(of) if of.of.iter().any(|name| own.contains(name)));
    let counting: Vec<Arc<str>> = probes().filter(counts).map(|probe| probe.name.clone()).collect();
    own.into_iter().chain(counting).collect()
}

/// Reads all of `[probes]`.
pub(super) fn read(root: &mut Table<'_>, folder: &Path) -> Vec<ProbeSpec> {
    let Some(probes) = root.value("probes").and_then(|value| value.table("[probes]", &[])) else { return Vec::new() };
    let specs: Vec<_> = probes.into_entries().into_iter().map(|(name, value)| read_one(name, &value, folder)).collect();
    for at in specs.iter().flat_map(|spec| &spec.counted) {
        let found = specs.iter().find(|spec| spec.name.value == at.value);
        let kind = found.and_then(|spec| spec.probe.as_ref()).map(|probe| &probe.kind);
        match (found, kind) {
            (None, _) => {
                let known = || specs.iter().map(|spec| &*spec.name.value);
                let help = did_you_mean(&at.value, known()).or_else(|| Some(format!("probes are {}", one_of(known()))));
                let message = format!("there is no probe {}", quoted(&at.value));
                root.report.error_help("unknown-probe", &at.span, message, help);
            }
            (_, Some(ProbeKind::Calculated(_))) => {
                let message = format!("{} is calculated itself", quoted(&at.value));
                let help = "name the probes that it counts".to_owned();
                root.report.error_help("bad-value", &at.span, message, Some(help));
            }
            _ => {}
        }
    }
    specs
}

fn read_one(name: At<&str>, value: &Value<'_>, folder: &Path) -> ProbeSpec {
    let name = At { value: name.value.into(), span: name.span };
    let mut spec = ProbeSpec { name, probe: None, certificates: Vec::new(), counted: Vec::new() };
    let Some(mut table) = value.table(format!("[probes.{}]", spec.name.value), &[]) else { return spec };
    let Some(kind) = table.required("type", "\"https\"", |value| value.choice(&KINDS)) else { return spec };
    let mut reader = Reader { folder, certificates: &mut spec.certificates, counted: &mut spec.counted };
    let meaning = reader.read(&mut table, kind.value);
    if kind.value == Kind::Calculated {
        spec.probe = meaning.map(|kind| calculated(&spec.name.value, kind));
        table.finish();
        return spec;
    }
    spec.probe = read_timing(&mut table, &spec.name.value, kind.value.port(), meaning);
    table.finish();
    spec
}

/// What every type has.
fn read_timing(table: &mut Table<'_>, name: &Arc<str>, port: Port, kind: Option<ProbeKind>) -> Option<Probe> {
    let any_port = |value: &Value<'_>| value.integer(1..=65_535).and_then(|port| u16::try_from(port).ok());
    let port = match port {
        Port::Default(port) => Some(table.or("port", port, any_port)),
        Port::None => Some(0),
        Port::Said => table.required("port", "443", any_port).map(|at| at.value),
    };
    let ms = Duration::from_millis;
    let interval = table.or("interval", ms(2000), |value| value.duration(ms(10)..=ms(3_600_000)));
    let timeout = table.optional("timeout", |value| value.duration(ms(1)..=ms(60_000)));
    if let Some(timeout) = timeout.as_ref().filter(|timeout| timeout.value > interval * MOST_OVERLAP) {
        let message = format!("`timeout` is over {MOST_OVERLAP} times `interval`: too many probes would overlap");
        table.report.error_help("bad-value", &timeout.span, message, Some("shorten it".to_owned()));
    }
    let fast = table.or("fast_interval", ms(250).min(interval), |value| value.duration(ms(10)..=ms(3_600_000)));
    let slow_after = table.or("slow_after", None, |value| match value.text()? {
        "auto" => Some(None),
        _ => value.duration(ms(1)..=ms(60_000)).map(Some),
    });
    // Whoever else tells, or runs, takes a time of its own.
    let tells_of_target = kind.as_ref().is_none_or(ProbeKind::goes_to_target);
    let mut probe = Probe {
        name: name.clone(),
        kind: ProbeKind::Tcp,
        port: port.unwrap_or_default(),
        interval,
        jitter: table.or("jitter", 0.1, |value| value.number(0.0..=0.5)),
        timeout: timeout.map_or(ms(1000), |timeout| timeout.value),
        down_after: table.or("down_after", 3, |value| value.integer(1..=100)),
        up_after: table.or("up_after", 2, |value| value.integer(1..=100)),
        fast_interval: fast.min(interval),
        slow_after,
        slow: if tells_of_target { table.or("slow", None, slow) } else { None },
        damping: table.or("damping", Some(DAMPING), damping),
        allow_private: table.or("allow_private", false, Value::flag),
    };
    port?;
    probe.kind = kind?;
    Some(probe)
}

/// It is never run itself, so it has no times of its own.
fn calculated(name: &Arc<str>, kind: ProbeKind) -> Probe {
    let never = Duration::MAX;
    Probe {
        name: name.clone(),
        kind,
        port: 0,
        interval: never,
        jitter: 0.0,
        timeout: never,
        fast_interval: never,
        slow_after: None,
        slow: None,
        down_after: 1,
        up_after: 1,
        damping: None,
        allow_private: false,
    }
}

/// A table, each word of which has a default; or `"off"`.
fn slow(value: &Value<'_>) -> Option<Option<Slow>> {
    if value.is_text() {
        return value.choice(&[("off", None)]);
    }
    let mut table = value.table("`slow`", &[])?;
    let ms = Duration::from_millis;
    let slow = Slow {
        over: table.or("over", 2.0, |value| value.number(1.1..=100.0)),
        at_least: table.or("at_least", ms(100), |value| value.duration(ms(1)..=ms(60_000))),
        samples: table.or("samples", 30, |value| value.integer(5..=1000)) as usize,
    };
    table.finish();
    Some(Some(slow))
}

/// A table, each word of which has a default; or `"off"`.
fn damping(value: &Value<'_>) -> Option<Option<Damping>> {
    if value.is_text() {
        return value.choice(&[("off", None)]);
    }
    let mut table = value.table("`damping`", &[])?;
    let (second, day) = (Duration::from_secs(1), Duration::from_secs(86_400));
    let damping = Damping {
        half_life: table.or("half_life", DAMPING.half_life, |value| value.duration(second..=day)),
        hold_at: table.or("hold_at", DAMPING.hold_at, |value| value.number(1.0..=100.0)),
        free_at: table.or("free_at", DAMPING.free_at, |value| value.number(0.1..=100.0)),
        at_most: table.or("at_most", DAMPING.at_most, |value| value.duration(second..=day)),
    };
    if damping.free_at >= damping.hold_at {
        let help = "what is held is freed when its penalty has come down to `free_at`".to_owned();
        return value.bad("`free_at` must be below `hold_at`".to_owned(), help);
    }
    table.finish();
    Some(Some(damping))
}
