//! `[probes.NAME]`

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::meaning::{Damping, Http, HttpMethod, Probe, ProbeKind, Tls};
use super::report::{At, quoted};
use super::settings::path;
use super::table::{Table, Value, not_built_yet};
use crate::model::Name;

const LATER: &[&str] = &["slow", "url", "sample", "degraded_over", "down_over", "missing"];

/// More than so many probes of one target are never under way at once.
const MOST_OVERLAP: u32 = 10;

const DAMPING: Damping =
    Damping { half_life: Duration::from_secs(300), hold_at: 3.0, free_at: 1.0, at_most: Duration::from_secs(900) };

/// A probe as typed.
pub(super) struct ProbeSpec {
    pub(super) name: At<Arc<str>>,
    /// None: it has errors, reported already.
    pub(super) probe: Option<Probe>,
    /// The same as in the probe, with its place.
    pub(super) ca: Option<At<PathBuf>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Tcp,
    Http,
    Https,
    Metric,
}

/// Reads all of `[probes]`.
pub(super) fn read(root: &mut Table<'_>, folder: &Path) -> Vec<ProbeSpec> {
    let Some(probes) = root.value("probes").and_then(|value| value.table("[probes]", &[])) else { return Vec::new() };
    probes.into_entries().into_iter().map(|(name, value)| read_one(name, &value, folder)).collect()
}

fn read_one(name: At<&str>, value: &Value<'_>, folder: &Path) -> ProbeSpec {
    let mut spec = ProbeSpec { name: At { value: name.value.into(), span: name.span }, probe: None, ca: None };
    let Some(mut table) = value.table(format!("[probes.{}]", name.value), LATER) else { return spec };
    let kinds = [("http", Kind::Http), ("https", Kind::Https), ("tcp", Kind::Tcp), ("metric", Kind::Metric)];
    let Some(kind) = table.required("type", "\"https\"", |value| value.choice(&kinds)) else { return spec };
    if kind.value == Kind::Metric {
        // Its keys are later words too; this says it once.
        not_built_yet(table.report, "metric", &kind.span);
        return spec;
    }
    let http = (kind.value != Kind::Tcp).then(|| read_http(&mut table, kind.value, folder, &mut spec.ca));
    spec.probe = read_timing(&mut table, &spec.name.value, kind.value, http);
    table.finish();
    spec
}

/// What every type has.
fn read_timing(table: &mut Table<'_>, name: &Arc<str>, kind: Kind, http: Option<Http>) -> Option<Probe> {
    let any_port = |value: &Value<'_>| value.integer(1..=65_535).and_then(|port| u16::try_from(port).ok());
    let port = match kind {
        Kind::Http => Some(table.or("port", 80, any_port)),
        Kind::Https => Some(table.or("port", 443, any_port)),
        Kind::Tcp | Kind::Metric => table.required("port", "443", any_port).map(|at| at.value),
    };
    let ms = Duration::from_millis;
    let interval = table.or("interval", ms(2000), |value| value.duration(ms(10)..=ms(3_600_000)));
    let timeout = table.optional("timeout", |value| value.duration(ms(1)..=ms(60_000)));
    if let Some(timeout) = timeout.as_ref().filter(|timeout| timeout.value > interval * MOST_OVERLAP) {
        let message = format!("`timeout` is over {MOST_OVERLAP} times `interval`: too many probes would overlap");
        table.report.error_help("bad-value", &timeout.span, message, Some("shorten it".to_owned()));
    }
    if let Some(reuse) = table.optional("reuse", Value::flag).filter(|reuse| reuse.value) {
        not_built_yet(table.report, "reuse = true", &reuse.span);
    }
    let fast = table.or("fast_interval", ms(250).min(interval), |value| value.duration(ms(10)..=ms(3_600_000)));
    let slow_after = table.or("slow_after", None, |value| match value.text()? {
        "auto" => Some(None),
        _ => value.duration(ms(1)..=ms(60_000)).map(Some),
    });
    let probe = Probe {
        name: name.clone(),
        kind: http.map_or(ProbeKind::Tcp, ProbeKind::Http),
        port: port.unwrap_or_default(),
        interval,
        jitter: table.or("jitter", 0.1, |value| value.number(0.0..=0.5)),
        timeout: timeout.map_or(ms(1000), |timeout| timeout.value),
        down_after: table.or("down_after", 3, |value| value.integer(1..=100)),
        up_after: table.or("up_after", 2, |value| value.integer(1..=100)),
        fast_interval: fast.min(interval),
        slow_after,
        damping: table.or("damping", Some(DAMPING), damping),
        allow_private: table.or("allow_private", false, Value::flag),
    };
    port.map(|_| probe)
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

/// What `http` and `https` have.
fn read_http(table: &mut Table<'_>, kind: Kind, folder: &Path, ca: &mut Option<At<PathBuf>>) -> Http {
    let tls = (kind == Kind::Https).then(|| {
        *ca = table.optional("ca", |value| path(value, folder));
        let server_name = table.optional("server_name", host_name).map(|at| at.value);
        Tls { ca: ca.as_ref().map(|at| at.value.clone()), server_name }
    });
    let methods = [("GET", HttpMethod::Get), ("HEAD", HttpMethod::Head)];
    let method = table.or("method", HttpMethod::Get, |value| value.choice(&methods));
    let body = table.optional("body", Value::word);
    if let Some(body) = body.as_ref().filter(|_| method == HttpMethod::Head) {
        let help = Some("use `method = \"GET\"`, or leave `body` out".to_owned());
        table.report.error_help("bad-value", &body.span, "a HEAD request gets no body to look into", help);
    }
    let expect = table.optional("expect", |value| value.filled_list(statuses));
    Http {
        tls,
        method,
        path: table.or("path", "/".to_owned(), url_path),
        host: table.optional("host", host_and_port).map(|at| at.value),
        expect: expect.map_or(vec![(200, 399)], |at| at.value.into_iter().map(|at| at.value).collect()),
        body: body.map(|at| at.value.to_owned()),
    }
}

fn url_path(value: &Value<'_>) -> Option<String> {
    let text = value.word()?;
    if !text.starts_with('/') || !text.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'#') {
        let help = "start with `/`; other characters than ASCII's visible ones are written %XX";
        return value.bad(format!("`path` is {}; it must be a path and query", quoted(text)), help.to_owned());
    }
    Some(text.to_owned())
}

/// A name that a certificate can bear, or an address.
fn host_name(value: &Value<'_>) -> Option<String> {
    let text = value.word()?;
    if is_host(text) {
        return Some(text.to_owned());
    }
    value.bad(format!("{} is no host name", quoted(text)), "letters, digits, hyphens and dots".to_owned())
}

/// What `Host` may carry.
fn host_and_port(value: &Value<'_>) -> Option<String> {
    let text = value.word()?;
    let host = text.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(text, |(host, _)| host);
    if is_host(host.trim_start_matches('[').trim_end_matches(']')) {
        return Some(text.to_owned());
    }
    value.bad(format!("`host` is {}; it must be a host name", quoted(text)), "without `https://` and path".to_owned())
}

fn is_host(text: &str) -> bool {
    let letters = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    text.parse::<std::net::IpAddr>().is_ok() || (text.bytes().all(letters) && text.parse::<Name>().is_ok())
}

/// A status, or a range of them: `200`, `"204"`, `"200-399"`.
fn statuses(value: &Value<'_>) -> Option<(u16, u16)> {
    if !value.is_text() {
        let status = value.integer(100..=599).and_then(|status| u16::try_from(status).ok())?;
        return Some((status, status));
    }
    let text = value.text()?;
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| text.trim().parse().ok().filter(|status| (100..=599).contains(status));
    match (status(first), status(last)) {
        (Some(first), Some(last)) if first <= last => Some((first, last)),
        _ => {
            let message = format!("{} is no range of HTTP statuses, which are 100 to 599", quoted(text));
            value.bad(message, "as in 200 or \"200-399\"".to_owned())
        }
    }
}
