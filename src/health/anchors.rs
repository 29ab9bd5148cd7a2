//! Anchors: addresses in networks other than the clouds', which tell whether our own way out is well (BEHAVIOUR rule 14).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use super::correlation::{Notice, Subject};
use super::{Check, CheckId, HealthState, Outcome, Rules};
use crate::config::{Health, Probe, ProbeKind};
use crate::model::{Cloud, State};

/// Fewer tell nothing. (The configuration has none, or so many.)
const LEAST: usize = 3;

/// The anchors' checks. They are no endpoints: no answer and no count of endpoints holds them.
#[derive(Debug, Default)]
pub(super) struct Anchors {
    checks: BTreeMap<CheckId, Anchor>,
    /// When the last of them went down.
    last_down: Option<Timestamp>,
}

/// Half of them fail, or more.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct AnchorsLost {
    /// When the last of them went down.
    pub(super) at: Timestamp,
    pub(super) failing: usize,
    pub(super) of: usize,
}

#[derive(Debug)]
struct Anchor {
    check: Arc<Check>,
    health: HealthState,
    /// It is probed fast.
    fast: bool,
}

impl Anchors {
    /// Takes over those of a configuration. Who stays keeps id and state.
    pub(super) fn reconfigure(&mut self, health: &Health, mut next_id: impl FnMut() -> CheckId, now: Timestamp) {
        let mut old = std::mem::take(&mut self.checks);
        for &target in &health.anchors {
            let check = check(target, health.allow_private);
            let kept = old.iter().find(|(_, anchor)| *anchor.check == check).map(|(&id, _)| id);
            let (id, anchor) = kept.and_then(|id| old.remove_entry(&id)).unwrap_or_else(|| {
                let health = HealthState::new(Rules::from(&*check.probe), now);
                (next_id(), Anchor { check: Arc::new(check), health, fast: false })
            });
            self.checks.insert(id, anchor);
        }
    }

    /// Takes in what a check found; what is to be said of it. None: it is none of theirs.
    pub(super) fn observe(&mut self, id: CheckId, now: Timestamp, outcome: &Outcome) -> Option<Option<Notice>> {
        let anchor = self.checks.get_mut(&id)?;
        let Some(change) = anchor.health.observe(now, outcome.clone()) else { return Some(None) };
        let failing = change.to == State::Down;
        if failing {
            self.last_down = Some(now);
        }
        let subject = Subject::Anchor(anchor.check.target);
        let reason = format!("{}: {}", anchor.check.target, change.reason);
        let notice = Notice { subject, failing, reason };
        Some((failing || change.from == State::Down).then_some(notice))
    }

    /// Those that shall be probed fast (true) or no more (false) from now on: who is in doubt, or all.
    pub(super) fn hurry(&mut self, all: bool) -> Vec<(CheckId, bool)> {
        let turn = |(&id, anchor): (&CheckId, &mut Anchor)| {
            let fast = all || anchor.health.wants_haste();
            (std::mem::replace(&mut anchor.fast, fast) != fast).then_some((id, fast))
        };
        self.checks.iter_mut().filter_map(turn).collect()
    }

    /// None: most of them answer, or they are too few to tell anything.
    pub(super) fn lost(&self) -> Option<AnchorsLost> {
        let (failing, of) = (self.iter().filter(|(_, state)| *state == State::Down).count(), self.checks.len());
        let at = self.last_down?;
        (of >= LEAST && failing * 2 >= of).then_some(AnchorsLost { at, failing, of })
    }

    pub(super) fn check(&self, id: CheckId) -> Option<&Arc<Check>> {
        self.checks.get(&id).map(|anchor| &anchor.check)
    }

    pub(super) fn checks(&self) -> impl Iterator<Item = (CheckId, &Arc<Check>)> {
        self.checks.iter().map(|(&id, anchor)| (id, &anchor.check))
    }

    /// Each with its state.
    pub(super) fn iter(&self) -> impl Iterator<Item = (SocketAddr, State)> {
        self.checks.values().map(|anchor| (anchor.check.target, anchor.health.state()))
    }
}

/// A connection by TCP, which any open port answers.
fn check(target: SocketAddr, allow_private: bool) -> Check {
    let probe = Probe {
        name: "anchor".into(),
        kind: ProbeKind::Tcp,
        port: target.port(),
        interval: Duration::from_secs(2),
        jitter: 0.1,
        timeout: Duration::from_secs(1),
        fast_interval: Duration::from_millis(250),
        slow_after: None,
        slow: None,
        down_after: 2,
        up_after: 2,
        damping: None,
        allow_private,
    };
    Check { endpoint: "anchor".into(), cloud: Cloud::new(""), region: "".into(), probe: Arc::new(probe), target }
}
