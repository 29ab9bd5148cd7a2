//! A verdict's path: what probes report, until it is published.
//!
//! A verdict after quiet is published at once. One that follows another closely belongs to a burst, a
//! cloud that dies: what comes within [`WINDOW`] is collected first, since each publication settles
//! plans anew, and many endpoints' verdicts in one cost little more than one.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use tokio::time::Instant;
use tracing::{debug, info, warn};

use super::events::Events;
use super::run::{Control, MAX_BATCH};
use crate::health::{StateChange, Verdict};
use crate::model::State;
use crate::probe::Report;

/// No verdict for so long is quiet.
const QUIET: Duration = Duration::from_millis(1);
/// How long a burst is collected, 0.3 ms with the wake-up after it.
const WINDOW: Duration = Duration::from_micros(200);

/// What a report came to.
pub(super) struct Seen {
    /// Probe, outcome and how long it took; none: time did it.
    found: Option<(Arc<str>, &'static str, Option<Duration>)>,
    /// With the endpoint's name.
    verdict: Option<(Arc<str>, Verdict)>,
    /// Nothing changes by it, but operators should know.
    notice: bool,
}

impl Control {
    /// Takes in reports, and those that belong to the same burst, then publishes once.
    pub(super) async fn take_reports(&mut self, batch: &mut Vec<Report>) {
        let mut seen = self.observe(batch.drain(..));
        let burst = self.verdicts_at.is_some_and(|at| at.elapsed() < QUIET);
        if burst && seen.iter().any(|seen| seen.verdict.is_some()) {
            // Tokio's timers tick in milliseconds.
            let _ = tokio::task::spawn_blocking(|| thread::sleep(WINDOW)).await;
            while batch.len() < MAX_BATCH
                && let Ok(report) = self.reports.try_recv()
            {
                batch.push(report);
            }
            seen.extend(self.observe(batch.drain(..)));
        }
        self.conclude(&seen);
    }

    /// The board takes reports in.
    pub(super) fn observe(&self, reports: impl IntoIterator<Item = Report>) -> Vec<Seen> {
        let mut board = self.shared.board();
        let seen = |report: Report| {
            let probe = board.check(report.check)?.probe.name.clone();
            let found = Some((probe, report.outcome.kind(), report.outcome.rtt()));
            let verdict = board.observe(report.check, report.at, report.outcome);
            let verdict = verdict.map(|verdict| (board.endpoint(verdict.endpoint).name.clone(), verdict));
            Some(Seen { found, verdict, notice: false })
        };
        let mut seen: Vec<_> = reports.into_iter().filter_map(seen).collect();
        self.hurry(board.take_paces());
        for (endpoint, reason) in board.take_notices() {
            let health = board.endpoint(endpoint);
            let change = StateChange { from: health.state, to: health.state };
            let verdict = Verdict { endpoint, change, addresses: Vec::new(), doubt: false, reason };
            seen.push(Seen { found: None, verdict: Some((health.name.clone(), verdict)), notice: true });
        }
        seen
    }

    /// Lets time pass for the board.
    pub(super) fn tick(&mut self) {
        let mut board = self.shared.board();
        let verdicts = board.tick(Timestamp::now()).into_iter();
        let named = verdicts.map(|verdict| (board.endpoint(verdict.endpoint).name.clone(), verdict));
        let seen: Vec<_> = named.map(|verdict| Seen { found: None, verdict: Some(verdict), notice: false }).collect();
        drop(board);
        self.conclude(&seen);
    }

    /// Publishes what changed. Then it is counted and said: whoever reads the log may be slow.
    pub(super) fn conclude(&mut self, seen: &[Seen]) {
        let verdicts = seen.iter().filter_map(|seen| seen.verdict.as_ref());
        let changed: BTreeSet<_> = verdicts.map(|(_, verdict)| verdict.endpoint).collect();
        if !changed.is_empty() {
            let (shared, now) = (self.shared.clone(), self.shared.published.load());
            let board = shared.board();
            // One is always listened to: else there would be no doubt among three.
            let storm = board.in_doubt() > 1 && board.in_doubt() * 4 > board.endpoints().len();
            let standings = if std::mem::replace(&mut self.storm, storm) == storm {
                let standing = |endpoint| (endpoint, self.standing(&board, endpoint));
                changed.into_iter().map(standing).filter(|(id, standing)| now.standing(*id) != standing).collect()
            } else {
                self.changed(&board, &now)
            };
            drop(board);
            if !standings.is_empty() {
                self.publish(now.with_standings(standings));
                self.verdicts_at = Some(Instant::now());
            }
        }
        let generation = self.shared.published.load().generation;
        seen.iter().for_each(|seen| seen.tell(generation, &self.shared.events));
    }
}

impl Seen {
    fn tell(&self, generation: u64, events: &Events) {
        if let Some((probe, outcome, rtt)) = &self.found {
            if let Some(rtt) = rtt {
                metrics::histogram!("meridian_probe_seconds", "probe" => probe.clone()).record(rtt.as_secs_f64());
            }
            metrics::counter!("meridian_probe_outcomes_total", "probe" => probe.clone(), "outcome" => *outcome)
                .increment(1);
        }
        let Some((name, verdict)) = &self.verdict else { return };
        let Verdict { change, addresses, reason, .. } = verdict;
        if change.from == change.to && addresses.is_empty() {
            match self.found {
                Some((_, "limited", _)) => {
                    warn!(endpoint = %name, reason, "it limits our probes");
                    events.record(name, verdict, generation);
                }
                _ if self.notice => {
                    warn!(endpoint = %name, reason, "no verdict");
                    events.record(name, verdict, generation);
                }
                _ => debug!(endpoint = %name, reason, "doubt"),
            }
            return;
        }
        events.record(name, verdict, generation);
        let (from, to) = (change.from.as_str(), change.to.as_str());
        metrics::counter!("meridian_verdicts_total", "endpoint" => name.clone(), "to" => to).increment(1);
        match (change.from, change.to) {
            (_, State::Down) => warn!(endpoint = %name, from, to, reason, generation, "verdict"),
            // An address of it changed alone.
            (before, after) if before == after => {
                warn!(endpoint = %name, state = to, reason, generation, "address verdict");
            }
            // Ten thousand of these at a start would hide the one that matters; `ready` counts them.
            (State::Unknown, State::Up) => debug!(endpoint = %name, from, to, reason, "verdict"),
            _ => info!(endpoint = %name, from, to, reason, generation, "verdict"),
        }
    }
}
