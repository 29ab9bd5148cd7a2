//! `[health]`: what failures that come together mean.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::kinds::ProbeKind;
use super::meaning::{Health, Probe, is_private};
use super::probes::ProbeSpec;
use super::report::{At, Report};
use super::scalar::show_duration;
use super::settings::address;
use super::table::{Table, Value};

/// Anchors that tell anything, where there are any.
const LEAST_ANCHORS: usize = 3;
const MAX_ANCHORS: usize = 16;
const MAX_WITHDRAW_AFTER: Duration = Duration::from_secs(86_400);

/// Reads what it says of correlation.
pub(super) fn read(table: &mut Table<'_>, health: &mut Health) {
    let (second, minute) = (Duration::from_secs(1), Duration::from_secs(60));
    let share = |value: &Value<'_>| value.number(0.1..=1.0);
    health.window = table.or("window", health.window, |value| value.duration(second..=10 * minute));
    health.site_down = table.or("site_down", health.site_down, share);
    health.cloud_down = table.or("cloud_down", health.cloud_down, share);
    health.self_fail = table.or("self_fail", health.self_fail, |value| value.number(0.5..=1.0));
    health.max_soft_down = table.or("max_soft_down", health.max_soft_down, |value| value.number(0.0..=1.0));
    health.hold_for = table.or("hold_for", health.hold_for, |value| value.duration(second..=60 * minute));
    health.allow_private = table.or("allow_private", false, Value::flag);
    let anchors = table.optional("anchors", |value| {
        check_count(value, value.items()?.len());
        value.list(|item| address(item, None, false))
    });
    if let Some(anchors) = anchors {
        check_anchors(&anchors.value, health.allow_private, table.report);
        health.anchors = anchors.value.into_iter().map(|at| at.value).collect();
    }
    health.withdraw_after = table.or("withdraw_after", None, |value| match value.text()? {
        "never" => Some(None),
        _ => value.duration(second..=MAX_WITHDRAW_AFTER).map(Some),
    });
}

fn check_count(anchors: &Value<'_>, count: usize) {
    if (1..LEAST_ANCHORS).contains(&count) {
        let message = format!("`anchors` names {count}; where it names any, it must name three or more");
        let help = "three or more, in networks other than your clouds: else one that fails says too much".to_owned();
        anchors.bad::<()>(message, help);
    } else if count > MAX_ANCHORS {
        let help = format!("{MAX_ANCHORS} are enough to tell");
        anchors.bad::<()>(format!("`anchors` names {count}; it must name {MAX_ANCHORS} at most"), help);
    }
}

/// Each is there once, and lies where the Internet is.
fn check_anchors(anchors: &[At<SocketAddr>], allow_private: bool, report: &Report<'_>) {
    let mut seen = HashSet::new();
    for at in anchors {
        let ip = at.value.ip();
        if !seen.insert(ip) {
            let help = "an anchor that is counted twice says too much".to_owned();
            report.error_help("duplicate-address", &at.span, format!("`anchors` names {ip} twice"), Some(help));
        }
        if is_private(ip) && !allow_private {
            let message =
                format!("{ip} is loopback, private or link-local: it does not tell whether we reach the Internet");
            let help = "if it is meant, write `allow_private = true` in [health]".to_owned();
            report.error_help("private-target", &at.span, message, Some(help));
        }
    }
}

/// A probe that runs less than once in a window finds its endpoint down when the anchors have failed for longer than that.
pub(super) fn check_window(health: &Health, probes: &[ProbeSpec], report: &Report<'_>) {
    let is_rare = |probe: &&Probe| {
        let is_run = !matches!(probe.kind, ProbeKind::Calculated(_)) && probe.kind.goes_to_target();
        is_run && probe.interval > health.window && !health.anchors.is_empty()
    };
    for (spec, probe) in probes.iter().filter_map(|spec| Some((spec, spec.probe.as_ref().filter(is_rare)?))) {
        let (interval, window) = (show_duration(probe.interval), show_duration(health.window));
        let message = format!(
            "the probe `{}` runs every {interval}, and failures belong together within {window}: a fault of our own may \
             be missed",
            probe.name
        );
        let help = "raise `window` of [health], or shorten its `interval`";
        report.warning("rare-probe", &spec.name.span, message, help);
    }
}
