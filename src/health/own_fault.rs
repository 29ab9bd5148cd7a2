//! Is the fault ours (*self*, BEHAVIOUR rules 14 and 16)?
//!
//! ```text
//!           found              still so after hold_for
//!   clear ────────▶ holding ────────────────────────────▶ given up
//!     ▲                │ not so for a window                 │ not so for a window
//!     └────────────────┴─────────────────────────────────────┘
//! ```
//!
//! Two things show it: sites in several clouds and half of the anchors are lost within a window, or our own timers fire late.
//! While it holds, what goes down is held as it was, and what went down within the window before is taken back. Given up, all
//! verdicts count as they are, until what showed it is over. Once it has lasted for `withdraw_after`, held or given up, the
//! server is not ready.

use std::collections::VecDeque;
use std::fmt;
use std::time::Duration;

use jiff::Timestamp;

use super::anchors::Anchors;
use super::correlation::{Correlation, Notice, Subject, after, are_near};
use crate::config::Health;

/// Parts of a window in which runs are counted.
const PARTS: u32 = 10;
/// Fewer late runs tell nothing.
const LEAST_LATE: u32 = 3;

/// What is known of faults of ours.
#[derive(Debug, Default)]
pub(super) struct OwnFault {
    stage: Stage,
    timers: Timers,
    /// It has lasted for `withdraw_after`.
    withdrawn: bool,
}

#[derive(Debug, Default)]
enum Stage {
    #[default]
    Clear,
    Found {
        fault: Fault,
        /// Who went down after this is held; none: given up.
        held_from: Option<Timestamp>,
        /// What showed it is over.
        over_since: Option<Timestamp>,
    },
}

/// The fault is ours.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// When it was found.
    pub since: Timestamp,
    /// By what, in words for operators.
    pub reason: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the fault has been ours since {:.0}: {}", self.since, self.reason)
    }
}

/// Runs of probes within a window.
#[derive(Debug, Default)]
struct Timers {
    parts: VecDeque<Part>,
}

#[derive(Debug)]
struct Part {
    start: Timestamp,
    due: u32,
    late: u32,
}

impl OwnFault {
    /// Counts a run of a probe, and whether it was discarded since our own timer was late.
    pub(super) fn count_run(&mut self, is_late: bool, window: Duration, now: Timestamp) {
        self.timers.count(is_late, window, now);
    }

    /// While it lasts.
    fn found(&self) -> Option<&Fault> {
        if let Stage::Found { fault, .. } = &self.stage { Some(fault) } else { None }
    }

    /// While the fault is ours, and verdicts are held for it.
    pub(super) fn fault(&self) -> Option<&Fault> {
        self.found().filter(|_| self.held_from().is_some())
    }

    /// Once it has lasted for `withdraw_after`.
    pub(super) fn withdrawn(&self) -> Option<&Fault> {
        self.found().filter(|_| self.withdrawn)
    }

    /// Who went down after that time is held as it was; none: nobody.
    pub(super) fn held_from(&self) -> Option<Timestamp> {
        if let Stage::Found { held_from, .. } = &self.stage { *held_from } else { None }
    }

    /// What has come of it: says so when it begins or ends.
    pub(super) fn review(&mut self, groups: &Correlation, anchors: &Anchors, now: Timestamp) -> Option<Notice> {
        let health = groups.health();
        self.timers.forget(health.window, now);
        let lost = anchors.lost().and_then(|anchors| Some((anchors, groups.sites_lost()?)));
        let late = self.timers.late(health.window, now);
        let is_so = lost.is_some() || late.is_some();
        match &mut self.stage {
            Stage::Clear => {
                let fresh = lost.filter(|(anchors, _)| {
                    groups.last_down().is_some_and(|down| are_near(down, anchors.at, health.window))
                });
                let reason = match (fresh, late) {
                    (Some((anchors, sites)), _) => format!(
                        "{} of {} sites in {} clouds and {} of {} anchors fail",
                        sites.failing, sites.of, sites.clouds, anchors.failing, anchors.of
                    ),
                    (None, Some((late, due))) => {
                        format!("our own timers fired late for {late} of {due} probes within {:?}", health.window)
                    }
                    (None, None) => return None,
                };
                let fault = Fault { since: now, reason: reason.clone() };
                let held_from = now.checked_sub(health.window).unwrap_or(Timestamp::MIN);
                self.stage = Stage::Found { fault, held_from: Some(held_from), over_since: None };
                Some(Notice { subject: Subject::Own, failing: true, reason })
            }
            Stage::Found { fault, held_from, over_since } => {
                fault.since = fault.since.min(now); // a clock may be set back
                *over_since = if is_so { None } else { Some(over_since.map_or(now, |since| since.min(now))) };
                let was_held = held_from.is_some();
                let is_long = now >= after(fault.since, health.hold_for);
                if is_long {
                    *held_from = None;
                }
                let is_over = over_since.is_some_and(|since| now >= after(since, health.window));
                if is_over {
                    self.stage = Stage::Clear;
                }
                let reason = if is_long {
                    format!("held for {:?}: verdicts count as they are", health.hold_for)
                } else {
                    format!("what showed it has been over for {:?}", health.window)
                };
                let ended = was_held && (is_long || is_over);
                ended.then_some(Notice { subject: Subject::Own, failing: false, reason })
            }
        }
    }

    /// After [`review`](Self::review): says so when the server is not ready for it, and when it is again.
    pub(super) fn review_withdrawal(&mut self, health: &Health, now: Timestamp) -> Option<Notice> {
        let found = self.found().zip(health.withdraw_after);
        // A clock that is set back ends nothing.
        let found = found.filter(|(fault, wait)| self.withdrawn || now >= after(fault.since, *wait));
        let found = found.map(|(fault, _)| fault.clone());
        let is_over = self.found().is_none();
        if found.is_some() == std::mem::replace(&mut self.withdrawn, found.is_some()) {
            return None;
        }
        let failing = found.is_some();
        let reason = found.map_or_else(
            || if is_over { "what showed a fault of ours is over" } else { "`withdraw_after` is never" }.to_owned(),
            |fault| fault.to_string(),
        );
        Some(Notice { subject: Subject::Withdrawal, failing, reason })
    }

    /// When [`review`](Self::review) has something to do, if nothing else happens.
    pub(super) fn next_tick(&self, health: &Health) -> Option<Timestamp> {
        let Health { window, hold_for, withdraw_after, .. } = *health;
        let Stage::Found { fault, held_from, over_since } = &self.stage else { return None };
        let counted = self.timers.parts.front().filter(|_| over_since.is_none());
        let ends = [
            held_from.map(|_| after(fault.since, hold_for)),
            over_since.map(|since| after(since, window)),
            withdraw_after.filter(|_| !self.withdrawn).map(|wait| after(fault.since, wait)),
        ];
        ends.into_iter().chain([counted.map(|part| after(part.start, window))]).flatten().min()
    }
}

impl Timers {
    fn count(&mut self, is_late: bool, window: Duration, now: Timestamp) {
        self.forget(window, now);
        if self.parts.back().is_none_or(|part| now >= after(part.start, window / PARTS)) {
            self.parts.push_back(Part { start: now, due: 0, late: 0 });
        }
        let part = self.parts.back_mut().expect("one was made where there was none");
        (part.due, part.late) = (part.due + 1, part.late + u32::from(is_late));
    }

    fn forget(&mut self, window: Duration, now: Timestamp) {
        self.parts.retain(|part| are_near(part.start, now, window));
    }

    /// Those that were late, of those that were due, where these are over a half; over half a window at least, since a
    /// pause that is over (a start, a machine that slept) is none that lasts.
    fn late(&self, window: Duration, now: Timestamp) -> Option<(u32, u32)> {
        let sum = |(late, due), part: &Part| (late + part.late, due + part.due);
        let (late, due) = self.parts.iter().fold((0, 0), sum);
        let lasts = self.parts.front().is_some_and(|first| now >= after(first.start, window / 2));
        (lasts && late >= LEAST_LATE && late * 2 > due).then_some((late, due))
    }
}
