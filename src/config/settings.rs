//! The tables that speak of the server itself: `[server]`, `[admin]`, `[geoip]`, `[reload]`,
//! `[resolver]`, `[health]`; and those with listeners of their own, `[tls]` and `[beacons]`.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ipnet::IpNet;

use super::beacons::{self, BeaconsSpec};
use super::health;
use super::limits::{read_access, read_ecs, read_rate_limit};
use super::meaning::{Access, Admin, Cookies, Ecs, Health, Identity, RateLimit, Resolver, Server, Transports};
use super::report::{At, Report, Span, quoted};
use super::scalar::{NotPrefix, prefix, show_duration, socket};
use super::table::{Table, Value};
use super::transports::{self, By, Listeners};

/// As messages name the keys that hold addresses to listen on.
const SERVER_LISTEN: &str = "[server] `listen`";
const ADMIN_LISTEN: &str = "[admin] `listen`";
const BOTH: &[By] = &[By::Udp, By::Tcp];

const SERVER_LATER: &[&str] = &["metrics_services"];
const RELOAD_LATER: &[&str] = &["confirm_over"];

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const YEAR: Duration = Duration::from_secs(366 * 86_400);

const MB: u64 = 1_000_000;
const GB: u64 = 1000 * MB;
/// Units of sizes, in octets, largest first.
const SIZES: [(&str, u64); 4] = [("GB", GB), ("MB", MB), ("KB", 1000), ("B", 1)];

/// What those tables say, with their defaults.
pub(super) struct Settings {
    pub(super) server: Server,
    pub(super) access: Access,
    pub(super) rate_limit: RateLimit,
    pub(super) ecs: Ecs,
    pub(super) tls: Transports,
    pub(super) admin: Admin,
    pub(super) beacons: BeaconsSpec,
    /// None: not typed.
    pub(super) databases: Option<Vec<At<PathBuf>>>,
    pub(super) geo_memory: u64,
    pub(super) settle: Duration,
    pub(super) resolver: Resolver,
    pub(super) health: Health,
    pub(super) first_round: Duration,
    pub(super) stale_after: Duration,
}

impl Settings {
    pub(super) fn new(folder: &Path) -> Self {
        let address = |text: &str| text.parse().expect("an address");
        Self {
            server: Server {
                listen: vec![address("127.0.0.1:5300"), address("[::1]:5300")],
                state: folder.join("state"),
                workers: None,
                receive_buffer: 4 * MB as usize,
                steer_by_cpu: false,
                tcp_connections: 1000,
                tcp_client_connections: 100,
                tcp_client_queries: 50_000,
                tcp_client_octets: 50 * MB as usize,
                tcp_idle: 10 * SECOND,
                proxy_from: Vec::new(),
                identity: Identity::Off,
                version: None,
                cookies: Cookies::Random,
            },
            access: Access::default(),
            rate_limit: RateLimit::default(),
            ecs: Ecs::default(),
            tls: Transports::default(),
            admin: Admin { listen: Some(address("127.0.0.1:8053")), allow: Vec::new(), operators: Vec::new() },
            beacons: BeaconsSpec::default(),
            databases: None,
            geo_memory: 128 * MB,
            settle: 500 * MS,
            resolver: Resolver { servers: Vec::new(), keep_for: 24 * HOUR, allow_private: false },
            health: Health::default(),
            first_round: 5 * SECOND,
            stale_after: 10 * MINUTE,
        }
    }

    /// Reads them; relative paths start at `folder`.
    pub(super) fn read(root: &mut Table<'_>, folder: &Path) -> Self {
        let mut settings = Self::new(folder);
        root.section("access", &[], |table| read_access(table, &mut settings.access));
        root.section("ecs", &[], |table| read_ecs(table, &mut settings.ecs));
        root.section("rate_limit", &[], |table| read_rate_limit(table, &mut settings.rate_limit));
        let mut listeners = Listeners::default();
        root.section("server", SERVER_LATER, |table| read_server(table, &mut settings.server, &mut listeners, folder));
        root.section("tls", &[], |table| settings.tls = transports::read(table, &mut listeners, folder));
        root.section("admin", &[], |table| read_admin(table, &mut settings.admin, &mut listeners));
        root.section("beacons", &[], |table| settings.beacons = beacons::read(table, &mut listeners));
        listeners.complete(SERVER_LISTEN, BOTH, &settings.server.listen);
        listeners.complete(ADMIN_LISTEN, &[By::Tcp], settings.admin.listen.as_slice());
        listeners.check(root.report);
        root.section("geoip", &[], |table| {
            let databases = table.optional("databases", |value| value.list(|item| path(item, folder)));
            settings.databases = databases.map(|at| at.value);
            settings.geo_memory = table.or("geo_memory", settings.geo_memory, |value| size(value, 0..=64 * GB));
        });
        root.section("reload", RELOAD_LATER, |table| {
            settings.settle = table.or("settle", settings.settle, |value| value.duration(MS..=MINUTE));
        });
        root.section("resolver", &[], |table| read_resolver(table, &mut settings.resolver));
        root.section("health", &[], |table| {
            health::read(table, &mut settings.health);
            let range = Duration::ZERO..=10 * MINUTE;
            settings.first_round = table.or("first_round", settings.first_round, |value| value.duration(range));
            let range = Duration::ZERO..=24 * HOUR;
            settings.stale_after = table.or("stale_after", settings.stale_after, |value| value.duration(range));
        });
        settings
    }
}

fn read_server(table: &mut Table<'_>, server: &mut Server, listeners: &mut Listeners, folder: &Path) {
    let listen = table.optional("listen", |value| value.filled_list(|item| address(item, None, true)));
    if let Some(listen) = listen {
        listeners.add(SERVER_LISTEN, BOTH, &listen.value);
        server.listen = listen.value.into_iter().map(|at| at.value).collect();
    }
    server.state = table.optional("state", |value| path(value, folder)).map_or(server.state.clone(), |at| at.value);
    server.workers = table.or("workers", None, workers);
    let buffer = |value: &Value<'_>| size(value, 64_000..=GB).map(|octets| octets as usize);
    server.receive_buffer = table.or("receive_buffer", server.receive_buffer, buffer);
    server.steer_by_cpu = table.or("steer_by_cpu", server.steer_by_cpu, Value::flag);
    let connections = |value: &Value<'_>| value.integer(1..=1_000_000).map(|number| number as usize);
    server.tcp_connections = table.or("tcp_connections", server.tcp_connections, connections);
    server.tcp_client_connections = table.or("tcp_client_connections", server.tcp_client_connections, connections);
    let queries = |value: &Value<'_>| value.integer(100..=1_000_000_000);
    server.tcp_client_queries = table.or("tcp_client_queries", server.tcp_client_queries, queries);
    let octets = |value: &Value<'_>| size(value, 100_000..=100 * GB).map(|octets| octets as usize);
    server.tcp_client_octets = table.or("tcp_client_octets", server.tcp_client_octets, octets);
    server.tcp_idle = table.or("tcp_idle", server.tcp_idle, |value| value.duration(100 * MS..=HOUR));
    server.proxy_from = prefixes(table, "proxy_from");
    server.identity = table.or("identity", Identity::Off, |value| {
        value.word().map(|word| match word {
            "off" => Identity::Off,
            "hostname" => Identity::Hostname,
            text => Identity::Text(text.into()),
        })
    });
    server.cookies = cookies(table, folder);
    server.version = table.or("version", None, |value| value.word().map(|word| (word != "off").then(|| word.into())));
}

/// `cookies`, and `cookie_secrets` where they are to be of a file.
fn cookies(table: &mut Table<'_>, folder: &Path) -> Cookies {
    let is_off = table.or("cookies", false, |value| value.choice(&[("random", false), ("off", true)]));
    let secrets = table.optional("cookie_secrets", |value| path(value, folder));
    match (is_off, secrets) {
        (false, Some(secrets)) => Cookies::Shared(secrets.value),
        (false, None) => Cookies::Random,
        (true, None) => Cookies::Off,
        (true, Some(secrets)) => {
            let message = "`cookies` are off, so `cookie_secrets` are for nothing";
            table.report.error_help("bad-value", &secrets.span, message, Some("leave out one of the two".to_owned()));
            Cookies::Off
        }
    }
}

fn workers(value: &Value<'_>) -> Option<Option<usize>> {
    if value.is_text() {
        return value.choice(&[("cores-1", None)]);
    }
    Some(Some(value.integer(1..=1024)? as usize))
}

fn read_admin(table: &mut Table<'_>, admin: &mut Admin, listeners: &mut Listeners) {
    let listen = table.optional("listen", |value| match value.text()? {
        "off" => Some(None),
        _ => address(value, None, true).map(Some),
    });
    if let Some(At { value, span }) = listen {
        listeners.add(ADMIN_LISTEN, &[By::Tcp], value.map(|value| At { value, span }).as_slice());
        admin.listen = value;
    }
    admin.allow = prefixes(table, "allow");
    admin.operators = prefixes(table, "operators");
}

/// A list of prefixes, empty by default.
fn prefixes(table: &mut Table<'_>, key: &'static str) -> Vec<IpNet> {
    let typed = table.optional(key, |value| value.list(cidr));
    typed.map_or(Vec::new(), |at| at.value.into_iter().map(|at| at.value).collect())
}

fn read_resolver(table: &mut Table<'_>, resolver: &mut Resolver) {
    let servers = table.optional("servers", |value| value.list(|item| address(item, Some(53), false)));
    resolver.servers = servers.map_or(Vec::new(), |at| at.value.into_iter().map(|at| at.value).collect());
    resolver.keep_for = table.or("keep_for", resolver.keep_for, |value| value.duration(SECOND..=YEAR));
    resolver.allow_private = table.or("allow_private", false, Value::flag);
}

/// A size in octets.
fn size(value: &Value<'_>, range: RangeInclusive<u64>) -> Option<u64> {
    let text = value.text()?;
    let Some(octets) = octets(text) else {
        let form = "a whole number with its unit: `B`, `KB`, `MB` or `GB`, as in \"128MB\"";
        return value.bad(format!("{} is no size; a size is {form}", quoted(text)), None);
    };
    if !range.contains(&octets) {
        let (least, most) = (show_octets(*range.start()), show_octets(*range.end()));
        return value.bad(format!("{} is not between {least} and {most}", quoted(text)), None);
    }
    Some(octets)
}

/// The octets in `text`: a whole number (underscores allowed) and its unit, of powers of a thousand.
fn octets(text: &str) -> Option<u64> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit() && c != '_')?);
    let (_, octets) = SIZES.iter().find(|(name, _)| *name == unit)?;
    let number = digits.starts_with(|c: char| c.is_ascii_digit()).then(|| digits.replace('_', ""))?;
    number.parse::<u64>().ok()?.checked_mul(*octets)
}

/// In the largest unit that leaves no rest.
fn show_octets(octets: u64) -> String {
    let (name, unit) =
        SIZES.iter().find(|(_, unit)| octets >= *unit && octets.is_multiple_of(*unit)).unwrap_or(&("B", 1));
    format!("{}{name}", octets / unit)
}

/// A path; relative ones start at `folder`.
pub(super) fn path(value: &Value<'_>, folder: &Path) -> Option<PathBuf> {
    let text = value.text()?;
    if text.is_empty() || text.contains('\0') {
        return value.bad(format!("{} is no path", quoted(text)), None);
    }
    Some(folder.join(text))
}

/// A socket address, as [`socket`] has it.
pub(super) fn address(value: &Value<'_>, default_port: Option<u16>, any_port: bool) -> Option<SocketAddr> {
    let text = value.text()?;
    socket(text, default_port, any_port).or_else(|| {
        let allowed = match default_port {
            Some(port) => format!("`ADDRESS:PORT`, or an address alone (port {port})"),
            None => "`ADDRESS:PORT`".to_owned(),
        };
        let help = "an IP address, IPv6 in brackets, as in \"127.0.0.1:5300\" or \"[::1]:5300\"";
        value.bad(format!("{} is no socket address; it must be {allowed}", quoted(text)), help.to_owned())
    })
}

/// A prefix without bits behind its length.
pub(super) fn cidr(value: &Value<'_>) -> Option<IpNet> {
    let text = value.text()?;
    prefix(text).map_err(|error| bad_prefix(value.report, &value.span(), text, &error)).ok()
}

/// Reports that the text at `span` is no prefix.
pub(super) fn bad_prefix(report: &Report<'_>, span: &Span, text: &str, error: &NotPrefix) {
    let (why, help) = match error {
        NotPrefix::HostBits(net) => ("has bits set behind its length", format!("the prefix is `{net}`")),
        NotPrefix::NoLength(net) => ("has no length", format!("for this address alone write `{net}`")),
        NotPrefix::Other => ("is no prefix", "it is written ADDRESS/LENGTH, as in `198.51.100.0/24`".to_owned()),
    };
    report.error_help("bad-cidr", span, format!("{} {why}", quoted(text)), Some(help));
}

/// A latency: at most ten seconds.
pub(super) fn latency_ms(value: &Value<'_>) -> Option<f32> {
    value.duration(Duration::ZERO..=10 * SECOND).map(|latency| latency.as_millis() as f32)
}

/// A TTL: whole seconds, 31 bits (RFC 2181 §8).
pub(super) fn ttl(value: &Value<'_>) -> Option<Duration> {
    let ttl = value.duration(Duration::ZERO..=Duration::from_secs(0x7fff_ffff))?;
    if ttl.subsec_millis() != 0 {
        let nearest = show_duration(Duration::from_secs(ttl.as_secs().max(1)));
        let message = format!("`ttl` is `{}`; a TTL counts whole seconds", show_duration(ttl));
        return value.bad(message, format!("write \"{nearest}\""));
    }
    Some(ttl)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, octets) in [("128MB", 128_000_000), ("0B", 0), ("1_500KB", 1_500_000), ("2GB", 2_000_000_000)] {
            assert_eq!(super::octets(text), Some(octets), "{text}");
        }
        for text in [
            "",
            "128",
            "MB",
            "128 MB",
            "128mb",
            "128MiB",
            "-1MB",
            "1.5GB",
            "_1MB",
            "99999999999999999999B",
            "99999999999GB",
        ] {
            assert_eq!(octets(text), None, "{text}");
        }
        for text in ["128MB", "1500KB", "64GB", "0B", "7B"] {
            assert_eq!(show_octets(octets(text).unwrap()), text);
        }
    }
}
