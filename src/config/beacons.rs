//! `[beacons]`: round trips that browsers and agents report, at a listener of its own (BEHAVIOUR rule 28).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::endpoints::EndpointSpec;
use super::report::{At, Report, quoted};
use super::settings::{address, cidr};
use super::table::{Table, Value};
use super::transports::{By, Listeners};
use crate::model::Prefixes;

const LISTEN: &str = "[beacons] `listen`";
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);
/// A page's origin is looked for among all of them.
const MAX_ORIGINS: usize = 64;

/// `[beacons]`
#[derive(Clone, Debug, PartialEq)]
pub struct Beacons {
    /// TCP addresses of its HTTP listener; empty: there is none.
    pub listen: Vec<SocketAddr>,
    /// Origins whose pages may ask and report, as browsers write them: `https://www.shop.example`.
    pub origins: Vec<Box<str>>,
    /// Who says in `X-Forwarded-For` or `Forwarded` whose requests it brings, and is believed.
    pub trusted_proxies: Prefixes,
    /// Who reports without an id, and round trips that are more than a comparison.
    pub agents: Prefixes,
    /// Sessions of a thousand that measure.
    pub explore: u32,
    /// A client prefix has at most this share of an estimate's weight; 0..1.
    pub max_source_share: f64,
    /// A sample's weight halves in it.
    pub half_life: Duration,
    /// Samples are deleted when they are older.
    pub keep_for: Duration,
}

impl Default for Beacons {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            origins: Vec::new(),
            trusted_proxies: Prefixes::default(),
            agents: Prefixes::default(),
            explore: 2,
            max_source_share: 0.05,
            half_life: 7 * DAY,
            keep_for: 30 * DAY,
        }
    }
}

impl Beacons {
    /// Does an edit to `after` wait for a restart? What becomes of samples that were taken does not.
    #[must_use]
    pub fn needs_restart(&self, after: &Self) -> bool {
        let Self { max_source_share, half_life, keep_for, .. } = *self;
        *self != Self { max_source_share, half_life, keep_for, ..after.clone() }
    }
}

/// What the table says, with the places that [`check`] points at.
#[derive(Default)]
pub(super) struct BeaconsSpec {
    pub(super) beacons: Beacons,
    listen: Option<At<()>>,
    agents: Option<At<()>>,
}

pub(super) fn read(table: &mut Table<'_>, listeners: &mut Listeners) -> BeaconsSpec {
    let mut spec = BeaconsSpec::default();
    let beacons = &mut spec.beacons;
    if let Some(listen) = table.optional("listen", |value| value.list(|item| address(item, None, true))) {
        listeners.add(LISTEN, &[By::Tcp], &listen.value);
        spec.listen = Some(At { value: (), span: listen.span });
        beacons.listen = listen.value.into_iter().map(|at| at.value).collect();
    }
    beacons.origins = table.or("origins", Vec::new(), origins);
    beacons.trusted_proxies = prefixes(table, "trusted_proxies").map(|at| at.value).unwrap_or_default();
    if let Some(agents) = prefixes(table, "agents") {
        (beacons.agents, spec.agents) = (agents.value, Some(At { value: (), span: agents.span }));
    }
    beacons.explore = table.or("explore", beacons.explore, |value| value.integer(0..=1000));
    let share = |value: &Value<'_>| value.number(0.001..=1.0);
    beacons.max_source_share = table.or("max_source_share", beacons.max_source_share, share);
    let time = |value: &Value<'_>| value.duration(HOUR..=366 * DAY);
    beacons.half_life = table.or("half_life", beacons.half_life, time);
    beacons.keep_for = table.or("keep_for", beacons.keep_for, time);
    spec
}

fn prefixes(table: &mut Table<'_>, key: &'static str) -> Option<At<Prefixes>> {
    let typed = table.optional(key, |value| value.list(cidr))?;
    Some(At { value: typed.value.into_iter().map(|at| at.value).collect(), span: typed.span })
}

fn origins(value: &Value<'_>) -> Option<Vec<Box<str>>> {
    let origins = value.list(origin)?;
    if origins.len() > MAX_ORIGINS {
        return value.bad(format!("`origins` names {}; it must name {MAX_ORIGINS} at most", origins.len()), None);
    }
    Some(origins.into_iter().map(|at| at.value).collect())
}

/// Scheme, host and port as a browser writes them in `Origin` (RFC 6454 §6.2): it is compared by its octets.
fn origin(value: &Value<'_>) -> Option<Box<str>> {
    let text = value.word()?;
    let example = "scheme and host as in \"https://www.shop.example\", and the port where it is not the usual one";
    let schemes = [("https://", ":443"), ("http://", ":80")];
    let found = schemes.iter().find_map(|(scheme, usual)| Some((text.strip_prefix(scheme)?, *usual)));
    let Some((host, usual)) = found else {
        return value.bad(format!("{} is no origin of http or https", quoted(text)), example.to_owned());
    };
    let written = host.split('/').next().unwrap_or_default().to_ascii_lowercase();
    let written = written.strip_suffix(usual).unwrap_or(&written);
    if !is_authority(written) {
        return value.bad(format!("{} is no origin", quoted(text)), example.to_owned());
    }
    if written != host {
        let scheme = &text[..text.len() - host.len()];
        let message = format!("{} is not how browsers write an origin", quoted(text));
        return value.bad(message, format!("write \"{scheme}{written}\""));
    }
    Some(text.into())
}

/// A host name, an IPv4 address or an IPv6 address in brackets, with a port or without; in lower case.
fn is_authority(text: &str) -> bool {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
        _ => (text, None),
    };
    let good_port = |port: &str| port.bytes().all(|octet| octet.is_ascii_digit()) && port.parse::<u16>().is_ok();
    let is_host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => host.split('.').all(|label| {
            !label.is_empty()
                && label.bytes().all(|octet| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_'))
        }),
    };
    is_host && port.is_none_or(good_port)
}

/// A URL that a browser can fetch from one endpoint; it bears no user and password, which `fetch` refuses.
pub(super) fn endpoint_url(value: &Value<'_>) -> Option<Box<str>> {
    const EXAMPLE: &str = "\"https://aws-use1.rum.shop.example/pixel\"";
    let url = super::kinds::url(value, EXAMPLE)?;
    let authority = url.split('/').nth(2).unwrap_or_default().split('?').next().unwrap_or_default();
    if !is_authority(&authority.to_ascii_lowercase()) {
        return value.bad(format!("{} names no host", quoted(&url)), format!("as in {EXAMPLE}"));
    }
    Some(url.into())
}

/// Warns of what does nothing without its counterpart, or too much.
pub(super) fn check(spec: &BeaconsSpec, endpoints: &[EndpointSpec<'_>], report: &Report<'_>) {
    let beacons = &spec.beacons;
    let is_agent = |address: IpAddr| beacons.agents.contains(address) && !beacons.trusted_proxies.contains(address);
    if let Some(agents) = &spec.agents
        && !beacons.origins.is_empty()
        && (is_agent(Ipv4Addr::LOCALHOST.into()) || is_agent(Ipv6Addr::LOCALHOST.into()))
    {
        let message = "whoever a proxy on this machine lets through would be an agent, without an id or a limit";
        let help = "name the proxy in `trusted_proxies`, or agents by other addresses";
        report.warning("proxy-as-agent", &agents.span, message, help);
    }
    let first = endpoints.iter().find_map(|endpoint| endpoint.beacon.as_ref());
    match (&spec.listen, first) {
        (_, Some(beacon)) if beacons.listen.is_empty() => {
            let help = "set `listen` of [beacons], or leave it out";
            report.warning(
                "unused-beacon",
                &beacon.span,
                "`beacon` without a listener of [beacons] does nothing",
                help,
            );
        }
        (Some(listen), _) if !beacons.listen.is_empty() && beacons.origins.is_empty() && beacons.agents.is_empty() => {
            let help = "name `origins` whose pages may report, or `agents`";
            report.warning("unused-beacon", &listen.span, "nobody may report to this listener of [beacons]", help);
        }
        (Some(listen), None) if !beacons.listen.is_empty() && !beacons.origins.is_empty() => {
            let help = "give endpoints a `beacon`, a URL that a browser fetches from them";
            report.warning("unused-beacon", &listen.span, "no endpoint has a `beacon`: browsers measure nothing", help);
        }
        _ => {}
    }
}
