//! What is said of verdicts, and of what fails together: log lines, events, counters.
//!
//! Where a cloud or a site fails as a whole, one warning says so, and whom it touches. What it covers is said at INFO from
//! then on: endpoints that go down within it, and the sites of a cloud. Those that went down before as much was known have
//! warnings of their own; they are what it was known by.

use std::collections::BTreeSet;
use std::ptr;
use std::sync::Arc;

use tracing::{debug, error, info, warn};

use super::shared::Shared;
use super::verdicts::Seen;
use crate::config::Config;
use crate::health::{Notice, StateChange, Subject, Verdict};
use crate::model::{Endpoint, Site, State};
use crate::table::{Changed, PlanTable, Snapshot};

/// So many services are named.
const NAMED: usize = 5;

/// Says what a batch of reports came to.
pub(super) struct Teller<'a> {
    shared: &'a Shared,
    snapshot: &'a Snapshot,
    /// Sites and clouds that fail as a whole.
    failing: BTreeSet<Subject>,
    /// Sites and clouds that begin to; a notice of their own says so.
    began: BTreeSet<Subject>,
}

/// How loud a verdict is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Loudness {
    Warn,
    Info,
    Debug,
}

impl<'a> Teller<'a> {
    /// After `snapshot` was published; with what is to be said of many at once, clouds first.
    pub(super) fn new(shared: &'a Shared, snapshot: &'a Snapshot) -> (Self, Vec<Notice>) {
        let mut board = shared.board();
        let mut notices = board.take_notices();
        let failing = board.groups().iter().filter(|group| group.failing_since.is_some());
        let failing = failing.map(|group| group.subject.clone()).collect();
        drop(board);
        notices.sort_by_key(|notice| !matches!(notice.subject, Subject::Cloud(_)));
        let began = notices.iter().filter(|notice| notice.failing).map(|notice| notice.subject.clone()).collect();
        (Self { shared, snapshot, failing, began }, notices)
    }

    /// Something that is said of many at once begins or ends.
    pub(super) fn tell_notice(&self, notice: &Notice) {
        let (Notice { subject, failing, reason }, generation) = (notice, self.snapshot.generation);
        match (subject, failing) {
            (Subject::Own, true) => error!(reason, generation, "the fault is ours: verdicts of down are held"),
            (Subject::Own, false) => warn!(reason, generation, "verdicts of down are held no more"),
            (Subject::Anchor(anchor), true) => warn!(%anchor, reason, "an anchor does not answer"),
            (Subject::Anchor(anchor), false) => info!(%anchor, reason, "an anchor answers again"),
            (Subject::Fence(service), true) => warn!(%service, reason, generation, "soft signals are not heeded"),
            (Subject::Fence(service), false) => info!(%service, reason, generation, "soft signals are heeded again"),
            (Subject::Clients(..), true) => warn!(%subject, reason, "clients report errors of a site"),
            (Subject::Clients(..), false) => info!(%subject, reason, "clients report no more errors of a site"),
            (Subject::Withdrawal, true) => error!(reason, "`/readyz` says no, for routers that ask it"),
            (Subject::Withdrawal, false) => warn!(reason, "`/readyz` says yes again"),
            (Subject::Cloud(cloud), true) => {
                let services = touched(&self.snapshot.parts.config, |site| site.cloud == *cloud);
                warn!(%cloud, reason, services, generation, "a cloud fails as a whole");
            }
            (Subject::Cloud(cloud), false) => {
                info!(%cloud, reason, generation, "a cloud fails as a whole no more");
                for subject in self.failing.difference(&self.began) {
                    // It was covered so far.
                    if let Subject::Site(of, region) = subject
                        && of == cloud
                    {
                        warn!(%cloud, %region, generation, "a site still fails as a whole");
                    }
                }
            }
            (Subject::Site(cloud, region), true) if self.failing.contains(&Subject::Cloud(cloud.clone())) => {
                info!(%cloud, %region, reason, generation, "a site fails as a whole");
            }
            (Subject::Site(cloud, region), true) => {
                let is_here = |site: &Site| site.cloud == *cloud && site.region == *region;
                let services = touched(&self.snapshot.parts.config, is_here);
                warn!(%cloud, %region, reason, services, generation, "a site fails as a whole");
            }
            (Subject::Site(cloud, region), false) => {
                info!(%cloud, %region, reason, generation, "a site fails as a whole no more");
            }
        }
        self.shared.events.record_notice(notice, generation);
    }

    /// What a report came to.
    pub(super) fn tell(&self, seen: &Seen) {
        if let Some((probe, outcome, rtt)) = &seen.found {
            if let Some(rtt) = rtt {
                metrics::histogram!("meridian_probe_seconds", "probe" => probe.clone()).record(rtt.as_secs_f64());
            }
            metrics::counter!("meridian_probe_outcomes_total", "probe" => probe.clone(), "outcome" => *outcome)
                .increment(1);
        }
        let Some((name, verdict)) = &seen.verdict else { return };
        let (Verdict { change, reason, .. }, generation) = (verdict, self.snapshot.generation);
        let events = &self.shared.events;
        if verdict.is_doubt() {
            match seen.found {
                Some((_, "limited", _)) => {
                    warn!(endpoint = %name, reason, "it limits our probes");
                    events.record(name, verdict, generation);
                }
                _ => debug!(endpoint = %name, reason, "doubt"),
            }
            return;
        }
        events.record(name, verdict, generation);
        let (from, to) = (change.from.as_str(), change.to.as_str());
        metrics::counter!("meridian_verdicts_total", "endpoint" => name.clone(), "to" => to).increment(1);
        if self.snapshot.steering && self.snapshot.standing(verdict.endpoint).held {
            warn!(endpoint = %name, from, to, reason, "verdict; held by hand, so it moves nothing");
            return;
        }
        if change.from == change.to {
            warn!(endpoint = %name, state = to, reason, generation, "address verdict"); // an address of it changed alone
            return;
        }
        let is_covered = change.to == State::Down && self.is_covered(verdict);
        match loudness(*change, is_covered) {
            Loudness::Warn => warn!(endpoint = %name, from, to, reason, generation, "verdict"),
            Loudness::Info => info!(endpoint = %name, from, to, reason, generation, "verdict"),
            Loudness::Debug => debug!(endpoint = %name, from, to, reason, "verdict"),
        }
    }

    /// Does the endpoint's site or cloud fail as a whole? That has been said, then.
    fn is_covered(&self, verdict: &Verdict) -> bool {
        let Site { cloud, region, .. } = &self.snapshot.parts.config.endpoints[verdict.endpoint.index()].site;
        let groups = [Subject::Cloud(cloud.clone()), Subject::Site(cloud.clone(), region.clone())];
        groups.iter().any(|group| self.failing.contains(group))
    }
}

fn loudness(change: StateChange, is_covered: bool) -> Loudness {
    match (change.from, change.to) {
        (_, State::Down) if is_covered => Loudness::Info,
        (_, State::Down) => Loudness::Warn,
        // Ten thousand of these at a start would hide the one that matters; `ready` counts them.
        (State::Unknown, State::Up) => Loudness::Debug,
        _ => Loudness::Info,
    }
}

/// Says whose clients lose their last living endpoint or have one again, and where panic begins or ends: once for all services
/// that turn together.
pub(super) fn tell_services(shared: &Shared, before: &Snapshot) {
    let snapshot = shared.published.load();
    let (config, generation) = (&snapshot.parts.config, snapshot.generation);
    let exhausted = snapshot.changes_where(before, PlanTable::is_exhausted);
    let panicking = snapshot.changes_where(before, PlanTable::is_panicking);
    let turned = |changes: &[Changed<'_>], begins: bool| -> Option<(Arc<str>, String)> {
        let labels = || changes.iter().filter(|change| change.holds == begins).map(|change| &change.service.label);
        labels().next().map(|first| (first.clone(), listed(labels().map(|label| &**label).collect(), config)))
    };
    let say = |changes: &[Changed<'_>], begins: bool, turn: (&'static str, &'static str), reason: &str| {
        let Some((first, services)) = turned(changes, begins) else { return };
        if begins {
            error!(services, generation, "{reason}");
        } else {
            info!(services, generation, "{reason}");
        }
        shared.events.record_services(first, turn, format!("{services}: {reason}"), generation);
    };
    let none =
        "some clients have no endpoint up: they get what `when_none` says, or SERVFAIL where all are forced down";
    say(&exhausted, true, ("served", "exhausted"), none);
    say(&exhausted, false, ("exhausted", "served"), "all clients have an endpoint up again");
    let begun = panicking.iter().filter(|change| change.holds);
    let mut tables: Vec<&PlanTable> = begun.filter_map(|change| change.table).collect();
    tables.dedup_by(|one, other| ptr::eq(*one, *other));
    let left = tables.into_iter().map(|table| table.living_in_panic(&config.endpoints)).fold(1.0, f64::min) * 100.0;
    let panic = format!("panic: {left:.0} % of a fence's capacity is up, so endpoints that are down keep a part");
    say(&panicking, true, ("calm", "panic"), &panic);
    let over = "panic is over: enough lives again, or nothing does, and then `when_none` acts";
    say(&panicking, false, ("panic", "calm"), over);
}

/// The services that have an endpoint at such a site, in words.
fn touched(config: &Config, is_here: impl Fn(&Site) -> bool) -> String {
    let here: Vec<bool> = config.endpoints.iter().map(|endpoint: &Endpoint| is_here(&endpoint.site)).collect();
    let plans: Vec<bool> = config.plans.iter().map(|plan| plan.members.iter().any(|id| here[id.index()])).collect();
    let services = config.services.iter().filter(|service| plans[service.plan.index()]);
    listed(services.map(|service| &*service.label).collect(), config)
}

/// How many services of all, and the first of them by name.
fn listed(mut labels: Vec<&str>, config: &Config) -> String {
    let count = labels.len();
    labels.truncate(NAMED);
    let more = if count > NAMED { format!(" and {} more", count - NAMED) } else { String::new() };
    let named = if count > 0 { format!(": {}{more}", labels.join(", ")) } else { String::new() };
    format!("{count} of {}{named}", config.services.len())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_falls_with_others_is_no_warning_of_its_own() {
        let loud = |from, to, is_covered| loudness(StateChange { from, to }, is_covered);
        assert_eq!(loud(State::Up, State::Down, false), Loudness::Warn);
        assert_eq!(loud(State::Up, State::Down, true), Loudness::Info);
        assert_eq!(loud(State::Down, State::Up, false), Loudness::Info);
        assert_eq!(loud(State::Unknown, State::Up, false), Loudness::Debug);
        assert_eq!(loud(State::Unknown, State::Down, false), Loudness::Warn);
    }
}
