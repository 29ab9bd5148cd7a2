//! `meridian status`: how the running server and its endpoints are, in a table.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;

use super::arguments::Status;
use super::report::{self, StartError};
use super::server;
use crate::control::{Override, Scope, Unwritten};

/// How often `--watch` looks.
const EVERY: Duration = Duration::from_secs(1);
/// Where there are more endpoints, those that are simply up are counted and not listed, unless all are asked for.
const MANY: usize = 40;
/// Problems of files that are told, and orders.
const WRONG: usize = 3;
const ORDERS: usize = 10;
/// Of services that something is wrong with, `/status` names so many.
const NAMED: usize = 20;
/// The latest events that are told.
const EVENTS: usize = 5;
/// Clears a terminal and goes to its top.
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Asks the running server, and prints what it says; until interrupted with `--watch`.
#[must_use]
pub fn run(arguments: &Status) -> ExitCode {
    report::start_log();
    report::finish(server::base(&arguments.config, arguments.server.as_deref()).and_then(|base| {
        report::block_on(async {
            let client = server::client()?;
            let look = async || {
                let text = server::text(&base, client.get(format!("{base}/status?limit=0"))).await?;
                let seen: Seen = serde_json::from_str(&text).map_err(io::Error::from)?;
                Ok(in_words(&seen, arguments.all, Timestamp::now()))
            };
            if !arguments.watch {
                return Ok(io::stdout().write_all(look().await?.as_bytes())?);
            }
            let clear = if io::stdout().is_terminal() { CLEAR } else { "" };
            loop {
                // A server that is restarted is what one watches.
                let words = look().await.unwrap_or_else(|error: StartError| format!("{error}\n"));
                writeln!(io::stdout(), "{clear}{words}")?;
                tokio::time::sleep(EVERY).await;
            }
        })
    }))
}

/// What of `/status` is told.
#[derive(Debug, Deserialize)]
struct Seen {
    version: String,
    generation: u64,
    ready: bool,
    started: Timestamp,
    reload: Reload,
    #[serde(default)]
    warnings: Vec<Wrong>,
    #[serde(default)]
    unwritten: Vec<Unwritten>,
    endpoints: Vec<Endpoint>,
    failing: Vec<Failing>,
    #[serde(default)]
    client_errors: Vec<Failing>,
    unheeded: Vec<Unheeded>,
    #[serde(rename = "self")]
    own_fault: Option<OwnFault>,
    withdrawn: Option<String>,
    #[serde(default)]
    exhausted: Vec<String>,
    #[serde(default)]
    panicking: Vec<String>,
    overrides: Vec<serde_json::Value>,
    services_total: usize,
    events: Vec<Event>,
    webhook: Option<Webhook>,
}

#[derive(Debug, Deserialize)]
struct Webhook {
    waiting: usize,
    error: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Unresolved {
    since: Timestamp,
    reason: String,
}

#[derive(Debug, Deserialize)]
struct Reload {
    at: Timestamp,
    result: String,
    stale: bool,
    restart_pending: bool,
    errors: Vec<Wrong>,
}

#[derive(Debug, Deserialize)]
struct Wrong {
    file: String,
    line: Option<usize>,
    message: String,
    help: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Endpoint {
    name: String,
    verdict: String,
    /// None: the server is older.
    live: Option<bool>,
    reason: String,
    since: Timestamp,
    r#override: Option<String>,
    ramp: Option<Ramp>,
    unresolved: Option<Unresolved>,
}

#[derive(Debug, Deserialize)]
struct Ramp {
    phase: String,
    share: f64,
    ends: Timestamp,
}

#[derive(Debug, Deserialize)]
struct Failing {
    cloud: String,
    region: Option<String>,
    reason: String,
}

#[derive(Debug, Deserialize)]
struct Unheeded {
    service: String,
    reason: String,
}

#[derive(Debug, Deserialize)]
struct OwnFault {
    reason: String,
}

#[derive(Debug, Deserialize)]
struct Event {
    at: Timestamp,
    of: String,
    endpoint: Option<String>,
    cloud: Option<String>,
    region: Option<String>,
    service: Option<String>,
    from: String,
    to: String,
    reason: String,
}

impl Endpoint {
    fn is_live(&self) -> bool {
        self.live.unwrap_or_else(|| matches!(&*self.verdict, "up" | "degraded"))
    }

    /// Is there nothing to say of it?
    fn is_plain(&self) -> bool {
        self.verdict == "up" && self.r#override.is_none() && self.ramp.is_none() && self.unresolved.is_none()
    }

    /// What is to be said of it besides its verdict.
    fn words(&self) -> String {
        let ramp = self.ramp.as_ref().map(|Ramp { phase, share, ends }| {
            format!("{phase}: {:.0} % of its clients, done at {ends:.0}", share * 100.0)
        });
        let why = (self.verdict != "up").then(|| self.reason.clone());
        let unresolved = self
            .unresolved
            .as_ref()
            .map(|Unresolved { since, reason }| format!("its hostname does not resolve since {since:.0}: {reason}"));
        [ramp, self.r#override.clone(), why, unresolved].into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}

fn in_words(seen: &Seen, all: bool, now: Timestamp) -> String {
    let mut text = String::new();
    let ready = if seen.ready { "ready" } else { "NOT READY: steered names are not answered yet" };
    let live = seen.endpoints.iter().filter(|endpoint| endpoint.is_live()).count();
    let (count, Reload { at, result, stale, restart_pending, errors }) = (seen.endpoints.len(), &seen.reload);
    let _ = writeln!(
        text,
        "meridian {} {ready}; runs for {}, generation {}; {live} of {count} endpoints live, {} services",
        seen.version,
        ago(seen.started, now),
        seen.generation,
        seen.services_total
    );
    let stale = if *stale { ", and what serves is NOT what is on disk" } else { "" };
    let restart = if *restart_pending { "; some edits wait for a restart" } else { "" };
    let _ = writeln!(text, "files read {} ago: {result}{stale}{restart}", ago(*at, now));
    problems_in_words(&mut text, errors);
    if !seen.warnings.is_empty() {
        let _ = writeln!(text, "warnings of what serves: {}", seen.warnings.len());
        problems_in_words(&mut text, &seen.warnings);
    }
    for Unwritten { what, since, error } in &seen.unwritten {
        let (what, since) = (what.as_str(), ago(*since, now));
        let _ = writeln!(text, "NOT ON DISK since {since}, a restart would begin without: {what}: {error}");
    }
    if let Some(Webhook { waiting, error: Some(error) }) = &seen.webhook {
        let _ = writeln!(text, "THE WEBHOOK TAKES NOTHING, {waiting} events wait: {error}");
    }
    if let Some(fault) = &seen.own_fault {
        let _ = writeln!(text, "OUR OWN FAULT, downs are held: {}", fault.reason);
    }
    if let Some(reason) = &seen.withdrawn {
        let _ = writeln!(text, "NOT READY for routers: {reason}");
    }
    for Failing { cloud, region, reason } in &seen.failing {
        let region = region.as_deref().map(|region| format!(" {region}")).unwrap_or_default();
        let _ = writeln!(text, "FAILS AS A WHOLE: {cloud}{region}: {reason}");
    }
    for Failing { cloud, region, reason } in &seen.client_errors {
        let _ = writeln!(text, "CLIENTS REPORT ERRORS: {cloud} {}: {reason}", region.as_deref().unwrap_or_default());
    }
    for Unheeded { service, reason } in &seen.unheeded {
        let _ = writeln!(text, "UNHEEDED in a fence of {service}: {reason}");
    }
    for (services, words) in
        [(&seen.exhausted, "NO ENDPOINT UP for some clients of"), (&seen.panicking, "PANIC, too little is up for")]
    {
        if !services.is_empty() {
            let more = if services.len() >= NAMED { ", …" } else { "" };
            let _ = writeln!(text, "{words}: {}{more}", services.join(", "));
        }
    }
    if !seen.overrides.is_empty() {
        let _ = writeln!(text, "orders by hand in force: {}", seen.overrides.len());
    }
    // Those of endpoints stand beside these.
    let orders = seen.overrides.iter().filter_map(|order| Override::deserialize(order).ok());
    let mut others = orders.filter(|order| matches!(order.scope, Scope::All | Scope::Service(_)));
    for order in others.by_ref().take(ORDERS) {
        let _ = writeln!(text, "    {order}");
    }
    let rest = others.count();
    if rest > 0 {
        let _ = writeln!(text, "    and {rest} more");
    }
    endpoints_in_words(&mut text, seen, all, now);
    text
}

/// The first of them.
fn problems_in_words(text: &mut String, problems: &[Wrong]) {
    for Wrong { file, line, message, help } in problems.iter().take(WRONG) {
        let line = line.map(|line| format!(":{line}")).unwrap_or_default();
        let help = help.as_ref().map(|help| format!(" ({help})")).unwrap_or_default();
        let _ = writeln!(text, "    {file}{line}: {message}{help}");
    }
    if problems.len() > WRONG {
        let _ = writeln!(text, "    and {} more; `meridian check` shows all", problems.len() - WRONG);
    }
}

fn endpoints_in_words(text: &mut String, seen: &Seen, all: bool, now: Timestamp) {
    let is_shown = |endpoint: &&Endpoint| all || seen.endpoints.len() <= MANY || !endpoint.is_plain();
    let shown: Vec<&Endpoint> = seen.endpoints.iter().filter(is_shown).collect();
    let width = shown.iter().map(|endpoint| endpoint.name.len()).max().unwrap_or_default();
    text.push('\n');
    for endpoint in &shown {
        let since = ago(endpoint.since, now);
        let line = format!("{:width$}  {:8}  {since:>8}  {}", endpoint.name, endpoint.verdict, endpoint.words());
        let _ = writeln!(text, "{}", line.trim_end());
    }
    let rest = seen.endpoints.len() - shown.len();
    if rest > 0 {
        let _ = writeln!(text, "and {rest} that are up; --all lists them");
    }
    let first = seen.events.len().saturating_sub(EVENTS);
    if first < seen.events.len() {
        text.push_str("\nlatest:\n");
    }
    for event in &seen.events[first..] {
        let Event { at, of, endpoint, cloud, region, service, from, to, reason } = event;
        let whose = [endpoint, cloud, region, service].into_iter().flatten().cloned().collect::<Vec<_>>().join(" ");
        let whose = if whose.is_empty() { of.clone() } else { whose };
        let what = match (&**of, &**from, &**to) {
            ("order", order, "off") => format!("no longer {order}: "),
            ("order", ..) => String::new(), // the reason tells it
            (_, from, to) => format!("{from} -> {to}: "),
        };
        let _ = writeln!(text, "{at:.0}  {whose}: {what}{reason}");
    }
}

/// How long ago, in its largest unit and the next.
fn ago(at: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(at).as_secs().max(0);
    let units = [(86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    let largest = units.iter().position(|(unit, _)| seconds >= *unit).unwrap_or(units.len() - 1);
    let (unit, name) = units[largest];
    let next = units.get(largest + 1).map(|(next, name)| format!("{}{name}", seconds % unit / next));
    format!("{}{name}{}", seconds / unit, next.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn seen(endpoints: serde_json::Value) -> Seen {
        let at = "2026-11-27T10:00:00Z";
        serde_json::from_value(json!({
            "version": "0.1.0", "generation": 7, "ready": true, "started": at,
            "reload": {"at": at, "result": "ok", "stale": false, "restart_pending": false, "errors": [
                {"file": "config.toml", "line": 7, "message": "`ttll` is not known", "help": "did you mean `ttl`?"}]},
            "warnings": [{"file": "shop.zone", "line": 2, "message": "its serial was not raised"}],
            "unwritten": [{"what": "orders", "since": at, "error": "state/overrides.json: disk full"}],
            "webhook": {"waiting": 7, "error": "refused"},
            "endpoints": endpoints, "failing": [{"cloud": "aws", "region": null, "reason": "3 of 4 down"}],
            "client_errors": [{"cloud": "aws", "region": "us-east-1", "reason": "5 of 9 networks"}],
            "unheeded": [], "self": null, "withdrawn": "the fault is ours", "overrides": [
                {"scope": {"kind": "service", "name": "www"}, "action": "hold", "over_s": null, "reason": "", "author": "anna",
                 "at": at, "until": null}],
            "exhausted": ["eu"], "panicking": ["www", "api"], "services_total": 2,
            "events": [
                {"at": at, "of": "endpoint", "endpoint": "b", "from": "up", "to": "down", "reason": "refused"},
                {"at": at, "of": "order", "cloud": "aws", "from": "drained", "to": "off", "reason": "taken back by anna"}],
        }))
        .unwrap()
    }

    fn endpoint(name: &str, verdict: &str) -> serde_json::Value {
        json!({"name": name, "verdict": verdict, "live": verdict == "up", "reason": "2 failures", "since": "2026-11-27T10:00:00Z",
               "override": null, "ramp": null})
    }

    #[test]
    fn what_is_wrong_stands_first_and_every_endpoint_has_a_line() {
        let now = "2026-11-27T11:02:03Z".parse().unwrap();
        let mut drained = endpoint("long-name", "up");
        let mut forced = endpoint("c", "up");
        (forced["live"], forced["override"]) = (false.into(), "forced down by anna".into());
        forced["unresolved"] = json!({"since": "2026-11-27T10:00:00Z", "reason": "timed out"});
        drained["override"] = "drained by anna".into();
        drained["ramp"] = json!({"phase": "draining", "share": 0.5, "ends": "2026-11-27T11:03:00Z"});
        let text = in_words(&seen(json!([drained, endpoint("b", "down"), forced])), false, now);
        assert_eq!(
            text,
            "meridian 0.1.0 ready; runs for 1h2m, generation 7; 1 of 3 endpoints live, 2 services\n\
             files read 1h2m ago: ok\n\
             \x20   config.toml:7: `ttll` is not known (did you mean `ttl`?)\n\
             warnings of what serves: 1\n\
             \x20   shop.zone:2: its serial was not raised\n\
             NOT ON DISK since 1h2m, a restart would begin without: orders: state/overrides.json: disk full\n\
             THE WEBHOOK TAKES NOTHING, 7 events wait: refused\n\
             NOT READY for routers: the fault is ours\n\
             FAILS AS A WHOLE: aws: 3 of 4 down\n\
             CLIENTS REPORT ERRORS: aws us-east-1: 5 of 9 networks\n\
             NO ENDPOINT UP for some clients of: eu\n\
             PANIC, too little is up for: www, api\n\
             orders by hand in force: 1\n\
             \x20   held by anna since 2026-11-27T10:00:00Z (www)\n\
             \n\
             long-name  up            1h2m  draining: 50 % of its clients, done at 2026-11-27T11:03:00Z; drained by anna\n\
             b          down          1h2m  2 failures\n\
             c          up            1h2m  forced down by anna; its hostname does not resolve since 2026-11-27T10:00:00Z: timed out\n\
             \n\
             latest:\n\
             2026-11-27T10:00:00Z  b: up -> down: refused\n\
             2026-11-27T10:00:00Z  aws: no longer drained: taken back by anna\n"
        );
    }

    #[test]
    fn of_many_those_that_are_simply_up_are_counted() {
        let now = "2026-11-27T10:00:09Z".parse().unwrap();
        let many: Vec<_> = (0..100).map(|n| endpoint(&format!("e{n}"), if n == 50 { "down" } else { "up" })).collect();
        let seen = seen(many.into());
        let text = in_words(&seen, false, now);
        assert!(
            text.contains("\ne50  down            9s  2 failures\nand 99 that are up; --all lists them\n"),
            "{text}"
        );
        assert!(in_words(&seen, true, now).contains("\ne7   up"));
    }
}
