//! A verdict's path: what probes report, until it is published.
//!
//! A verdict after quiet is published at once. One that follows another closely belongs to a burst, a
//! cloud that dies: what comes within [`WINDOW`] is collected first, since each publication settles
//! plans anew, and many endpoints' verdicts in one cost little more than one. So it is with doubt, which a verdict may
//! follow.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;

use super::run::{Control, MAX_BATCH};
use super::telling::Teller;
use crate::health::{Board, Complaint, Outcome, Verdict};
use crate::probe::Report;

/// No verdict for so long is quiet.
const QUIET: Duration = Duration::from_millis(1);
/// How long a burst is collected, 0.3 ms with the wake-up after it.
const WINDOW: Duration = Duration::from_micros(200);

/// What a report came to.
pub(super) struct Seen {
    /// Probe, outcome and how long it took; none: nothing of the target.
    pub(super) found: Option<(Arc<str>, &'static str, Option<Duration>)>,
    /// With the endpoint's name.
    pub(super) verdict: Option<(Arc<str>, Verdict)>,
}

impl Control {
    /// Takes in reports, and those that belong to the same burst, then publishes once.
    pub(super) async fn take_reports(&mut self, batch: &mut Vec<Report>) {
        let mut seen = self.observe(batch);
        let burst = self.verdicts_at.is_some_and(|at| at.elapsed() < QUIET);
        if any_of(&seen, |_| true) && (burst || !any_of(&seen, |verdict| !verdict.is_doubt())) {
            // Tokio's timers tick in milliseconds.
            let _ = tokio::task::spawn_blocking(|| thread::sleep(WINDOW)).await;
            while batch.len() < MAX_BATCH
                && let Ok(report) = self.reports.try_recv()
            {
                batch.push(report);
            }
            seen.extend(self.observe(batch));
        }
        self.conclude(&seen);
    }

    /// Takes in what is expected to change nothing, with what waits in the channel.
    pub(super) async fn take_calm(&mut self) {
        self.calm_at = None;
        let mut batch = self.waiting();
        self.take_reports(&mut batch).await;
    }

    /// What waits in the channel.
    fn waiting(&mut self) -> Vec<Report> {
        std::iter::from_fn(|| self.reports.try_recv().ok()).take(MAX_BATCH).collect()
    }

    /// The board takes reports in, and those that are laid down with them, in the order of time; and draws what follows from
    /// all together.
    pub(super) fn observe(&self, reports: &mut Vec<Report>) -> Vec<Seen> {
        reports.append(&mut self.calm.take());
        reports.sort_by_key(|report| report.at);
        let mut board = self.shared.board();
        let seen = |report: Report| {
            let probe = board.check(report.check)?.probe.name.clone();
            let found = (probe, report.outcome.kind(), report.outcome.rtt());
            let found = (report.outcome != Outcome::Late).then_some(found);
            let verdict = board.observe(report.check, report.at, report.outcome);
            let verdict = verdict.map(|verdict| (board.endpoint(verdict.endpoint).name.clone(), verdict));
            Some(Seen { found, verdict })
        };
        let mut seen: Vec<_> = reports.drain(..).filter_map(seen).collect();
        let verdicts = board.correlate(Timestamp::now());
        seen.extend(by_themselves(&board, verdicts));
        self.hurry(board.take_paces());
        seen
    }

    /// Lets time pass, for the board and for ramps.
    pub(super) fn tick(&mut self) {
        // What was seen before comes first.
        let mut waiting = self.waiting();
        let mut seen = self.observe(&mut waiting);
        let (now, shared) = (Timestamp::now(), self.shared.clone());
        let mut board = shared.board();
        let verdicts = board.tick(now);
        seen.extend(by_themselves(&board, verdicts));
        self.hurry(board.take_paces());
        drop(board);
        self.conclude(&seen);
        self.expire_orders(now);
        let snapshot = self.shared.published.load_full();
        if snapshot.due().is_some_and(|due| due <= now) {
            self.publish(snapshot.with_standings(Vec::new(), now));
        }
    }

    /// Takes in what clients report of a site. It moves nothing but the pace of its probes.
    pub(super) fn hear(&mut self, complaint: &Complaint) {
        let (now, shared) = (Timestamp::now(), self.shared.clone());
        let mut board = shared.board();
        board.hear(complaint, now);
        let verdicts = board.correlate(now);
        let seen: Vec<_> = by_themselves(&board, verdicts).collect();
        self.hurry(board.take_paces());
        drop(board);
        self.conclude(&seen);
    }

    /// Publishes what changed. Then it is counted and said: whoever reads the log may be slow.
    pub(super) fn conclude(&mut self, seen: &[Seen]) {
        let mut before = None;
        let verdicts = seen.iter().filter_map(|seen| seen.verdict.as_ref());
        let changed: BTreeSet<_> = verdicts.map(|(_, verdict)| verdict.endpoint).collect();
        if !changed.is_empty() {
            let (shared, now) = (self.shared.clone(), self.shared.published.load());
            let board = shared.board();
            let storm = board.is_storm();
            let standings = if std::mem::replace(&mut self.storm, storm) == storm {
                let standing = |endpoint| (endpoint, self.standing(&board, endpoint));
                changed.into_iter().map(standing).filter(|(id, standing)| now.standing(*id) != standing).collect()
            } else {
                self.changed(&board, &now)
            };
            drop(board);
            if !standings.is_empty() {
                before = Some(self.publish_untold(now.with_standings(standings, Timestamp::now())));
                self.verdicts_at = Some(Instant::now());
            } else {
                self.shared.tell(); // it shows in `/status` all the same
            }
        }
        let snapshot = self.shared.published.load();
        let (teller, notices) = Teller::new(&self.shared, &snapshot);
        // What covers many is said before each of them.
        notices.iter().for_each(|notice| teller.tell_notice(notice));
        seen.iter().for_each(|seen| teller.tell(seen));
        drop(snapshot);
        // What follows for services is said behind what it comes from.
        if let Some(before) = before {
            self.tell_published(before);
        }
        if !notices.is_empty() || any_of(seen, |_| true) {
            self.shared.tell(); // of the events
        }
    }
}

fn any_of(seen: &[Seen], is_so: fn(&Verdict) -> bool) -> bool {
    seen.iter().filter_map(|seen| seen.verdict.as_ref()).any(|(_, verdict)| is_so(verdict))
}

/// Verdicts that no report of the endpoint's own brought.
fn by_themselves(board: &Board, verdicts: Vec<Verdict>) -> impl Iterator<Item = Seen> {
    verdicts.into_iter().map(|verdict| {
        let name = board.endpoint(verdict.endpoint).name.clone();
        Seen { found: None, verdict: Some((name, verdict)) }
    })
}
