//! The state of one check.
//!
//! ```text
//!            first success             first failure
//!        ┌─────────────────── unknown ───────────────────┐
//!        ▼                                               ▼
//!       up ◀─ up_after better ─ degraded ─ worse ──▶   down
//!        │  ───── worse ──────▶   ▲                      │
//!        ├──────────── down_after failures ─────────────▶│
//!        ◀───────── up_after successes in a row ─────────┤
//!        ├─▶ damped: up or degraded by its outcomes, but it has flapped; time frees it
//!        └─▶ degraded: up by its outcomes, but slow beside others
//! ```
//!
//! The first outcome decides (BEHAVIOUR rule 11). Outcomes that are worse than the state add up, `down_after` of them
//! turn it to the mildest of them, and `up_after` good ones in a row clear them, as gdnsd's `ok_thresh` does: who fails
//! every third time is down before long. A failure that a later probe's success has overtaken counts but does not decide, so
//! that a pause which is over takes nobody down. Outcomes that are better turn it after `up_after` in a row. Between the first that
//! speaks against the state and the decision, and while a probe is unanswered for long, it is *in doubt*: it is probed
//! faster (rule 12).
//!
//! A check whose settings were edited is carried over: it shows the state that its predecessor had, and its own first
//! outcome decides.

use std::collections::VecDeque;

use jiff::{Timestamp, Unit};
use serde::{Deserialize, Serialize};

use super::Outcome;
use super::damping::Penalty;
use crate::config::{Damping, Probe};
use crate::model::State;

/// So many flips can be forgiven.
const FORGIVABLE: usize = 8;

/// What turns a check.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rules {
    /// So many outcomes worse than its state.
    pub down_after: u32,
    /// So many better ones in a row.
    pub up_after: u32,
    /// None: it may flap.
    pub damping: Option<Damping>,
}

impl From<&Probe> for Rules {
    fn from(probe: &Probe) -> Self {
        Self { down_after: probe.down_after.max(1), up_after: probe.up_after.max(1), damping: probe.damping }
    }
}

/// The state of one check, of which a count of outcomes decides.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthState {
    rules: Rules,
    /// What its outcomes say.
    found: State,
    /// What it counts as: that, or damped.
    state: State,
    since: Timestamp,
    reason: String,
    last: Option<Last>,
    /// The next outcome decides.
    undecided: bool,
    evidence: Evidence,
    suspicion: Option<Suspicion>,
    penalty: Penalty,
    /// When it flipped of late, each with the penalty before.
    flips: VecDeque<(Timestamp, Penalty)>,
    /// It is up, but slow: why.
    slow: Option<String>,
}

/// What is no outcome, and raises doubt all the same.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Suspicion {
    /// A probe is unanswered for long.
    Silent,
    /// It limits our probes.
    Limited,
}

/// Outcomes since the last decision.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Evidence {
    /// Worse than the state, and not cleared yet.
    worse: u32,
    mildest: State,
    /// Better than the state, in a row.
    better: u32,
    poorest: State,
    /// As good as the state or better, in a row.
    good: u32,
}

impl Evidence {
    const NONE: Self = Self { worse: 0, mildest: State::Down, better: 0, poorest: State::Up, good: 0 };

    /// Takes one in; what the state turns to by it, and by how many.
    fn weigh(&mut self, state: State, outcome: State, rules: &Rules) -> Option<(State, u32)> {
        if outcome > state {
            self.mildest = self.mildest.min(outcome);
            *self = Self { worse: self.worse + 1, mildest: self.mildest, ..Self::NONE };
            return (self.worse >= rules.down_after).then_some((self.mildest, self.worse));
        }
        self.good = self.good.saturating_add(1);
        if self.good >= rules.up_after {
            (self.worse, self.mildest) = (0, State::Down);
        }
        if outcome == state {
            (self.better, self.poorest) = (0, State::Up);
            return None;
        }
        (self.better, self.poorest) = (self.better + 1, self.poorest.max(outcome));
        (self.better >= rules.up_after).then_some((self.poorest, self.better))
    }
}

/// The latest outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Last {
    /// When it was known.
    pub at: Timestamp,
    /// What it was.
    pub outcome: Outcome,
}

/// What outlives a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Memory {
    found: State,
    since: Timestamp,
    reason: String,
    penalty: Penalty,
}

/// A transition.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// The state before.
    pub from: State,
    /// The state now.
    pub to: State,
    /// Why, in words for operators.
    pub reason: String,
}

impl HealthState {
    /// Nothing known yet.
    #[must_use]
    pub fn new(rules: Rules, now: Timestamp) -> Self {
        Self {
            rules,
            found: State::Unknown,
            state: State::Unknown,
            since: now,
            reason: "no outcome yet".to_owned(),
            last: None,
            undecided: true,
            evidence: Evidence::NONE,
            suspicion: None,
            penalty: Penalty::default(),
            flips: VecDeque::new(),
            slow: None,
        }
    }

    /// The same state under edited settings, until their first outcome decides.
    #[must_use]
    pub fn carried(self, rules: Rules) -> Self {
        Self { rules, last: None, undecided: true, evidence: Evidence::NONE, suspicion: None, slow: None, ..self }
    }

    /// What outlives a restart; none: it knows nothing.
    pub(super) fn remember(&self) -> Option<Memory> {
        let Self { found, since, penalty, .. } = *self;
        (found != State::Unknown).then(|| Memory { found, since, reason: self.reason.clone(), penalty })
    }

    /// Goes on where an earlier process was. Outcomes count from there, and the first decides nothing alone.
    pub(super) fn recall(&mut self, memory: Memory, now: Timestamp) {
        let Memory { found, since, reason, penalty } = memory;
        if found != State::Unknown {
            (self.found, self.reason, self.penalty, self.undecided) = (found, reason, penalty, false);
            self.tick(now);
            self.since = since;
            self.not_after(now);
        }
    }

    /// Takes an outcome in; says so if the state changed by it.
    pub fn observe(&mut self, now: Timestamp, outcome: Outcome) -> Option<Change> {
        let says = match outcome {
            Outcome::Success { .. } => State::Up,
            Outcome::Degraded { .. } => State::Degraded,
            Outcome::Failure { .. } | Outcome::Overtaken { .. } => State::Down,
            Outcome::Missing { .. } => State::Unknown,
            Outcome::Limited { .. } => {
                self.suspicion = Some(Suspicion::Limited);
                self.last = Some(Last { at: now, outcome });
                return self.tick(now);
            }
            Outcome::Silent => {
                // Of who is down, nothing else is expected.
                if self.found != State::Down {
                    self.suspicion = self.suspicion.or(Some(Suspicion::Silent));
                }
                return self.tick(now);
            }
            Outcome::Late => return self.tick(now),
        };
        self.suspicion = None;
        let decides = !matches!(outcome, Outcome::Overtaken { .. });
        let turn = if self.undecided {
            self.undecided = says == State::Unknown;
            (says != self.found).then_some((says, 0))
        } else {
            self.evidence.weigh(self.found, says, &self.rules).filter(|_| decides)
        };
        if let Some((to, count)) = turn {
            self.turn(to, count, &outcome, now);
        }
        self.last = Some(Last { at: now, outcome });
        self.tick(now)
    }

    /// Takes in whether its answers are slow, and why: a soft signal, by which who is up counts as degraded. Says so if the
    /// state changed by it.
    pub fn take_slow(&mut self, now: Timestamp, why: Option<String>) -> Option<Change> {
        let was_slow = std::mem::replace(&mut self.slow, why).is_some();
        let change = self.tick(now)?;
        let ended = was_slow && self.slow.is_none();
        Some(if ended { Change { reason: "it is slow no more".to_owned(), ..change } } else { change })
    }

    /// Flips after that time were no fault of the target's.
    pub(super) fn forgive(&mut self, since: Timestamp, now: Timestamp) -> Option<Change> {
        let first = self.flips.iter().position(|(at, _)| *at > since)?;
        self.penalty = self.flips[first].1;
        self.flips.truncate(first);
        self.tick(now)
    }

    /// A clock was set back: nothing of it has been later than `now`.
    pub(super) fn not_after(&mut self, now: Timestamp) {
        self.since = self.since.min(now);
        self.penalty.not_after(now);
        for (at, before) in &mut self.flips {
            *at = (*at).min(now);
            before.not_after(now);
        }
    }

    /// Lets time pass: says so if the state changed by it, or by what came before.
    pub fn tick(&mut self, now: Timestamp) -> Option<Change> {
        let held = self.held_until(now).is_some();
        let to = match self.found {
            State::Up | State::Degraded if held => State::Damped,
            State::Up if self.slow.is_some() => State::Degraded,
            found => found,
        };
        if to == self.state {
            return None;
        }
        let from = std::mem::replace(&mut self.state, to);
        self.since = now;
        Some(Change { from, to, reason: self.reason(now) })
    }

    /// When [`tick`](Self::tick) has something to do, if nothing else happens.
    #[must_use]
    pub fn next_tick(&self) -> Option<Timestamp> {
        (self.state == State::Damped).then(|| self.held_until(self.since)).flatten()
    }

    /// The one place where what the outcomes say changes. `count` is 0 for the first one.
    fn turn(&mut self, to: State, count: u32, outcome: &Outcome, now: Timestamp) {
        self.reason = match (to, count) {
            (State::Up, 0) => "the first outcome is a success".to_owned(),
            (State::Up, 1) => "a success".to_owned(),
            (State::Up, _) => format!("{count} successes in a row"),
            (State::Degraded | State::Damped, _) => outcome.to_string(),
            (State::Unknown, _) => format!("not known: {outcome}"),
            (State::Down, 0) => format!("the first outcome is a failure: {outcome}"),
            (State::Down, 1) => format!("a failure: {outcome}"),
            (State::Down, _) => format!("{count} failures, the last: {outcome}"),
        };
        let was_usable = matches!(self.found, State::Up | State::Degraded);
        if let Some(damping) = self.rules.damping.as_ref().filter(|_| was_usable && to == State::Down) {
            self.flips.push_back((now, self.penalty));
            if self.flips.len() > FORGIVABLE {
                self.flips.pop_front();
            }
            self.penalty.flip(damping, now);
        }
        (self.found, self.evidence) = (to, Evidence::NONE);
    }

    fn held_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.penalty.held_until(self.rules.damping.as_ref()?, now)
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// The state, were its answers not slow.
    pub(super) fn hard_state(&self) -> State {
        if self.found == State::Up && self.state == State::Degraded { State::Up } else { self.state }
    }

    /// May the state turn soon?
    #[must_use]
    pub fn in_doubt(&self) -> bool {
        let told = || self.suspicion.is_some() || self.evidence.worse > 0 || self.evidence.better > 0;
        self.is_limited() || !self.undecided && told()
    }

    /// Does its target limit our probes?
    pub(super) fn is_limited(&self) -> bool {
        self.suspicion == Some(Suspicion::Limited)
    }

    /// Shall it be probed fast? While in doubt; but more probes are no way to learn more of who limits them.
    #[must_use]
    pub fn wants_haste(&self) -> bool {
        self.in_doubt() && !self.is_limited()
    }

    /// Has it no outcome yet that says anything?
    #[must_use]
    pub fn is_undecided(&self) -> bool {
        self.undecided
    }

    /// When it took that state.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// Why it has that state, in words for operators.
    #[must_use]
    pub fn reason(&self, now: Timestamp) -> String {
        let limits = self.last.as_ref().filter(|_| self.is_limited()).map(|last| format!("; but {}", last.outcome));
        self.reason_without(now) + &limits.unwrap_or_default()
    }

    fn reason_without(&self, now: Timestamp) -> String {
        match self.held_until(now) {
            Some(until) if self.state == State::Damped => {
                let until = until.round(Unit::Second).unwrap_or(until);
                format!("{}; it has flapped: held back until {until}", self.reason)
            }
            _ => self.slow.as_ref().filter(|_| self.found == State::Up).unwrap_or(&self.reason).clone(),
        }
    }

    /// The latest outcome.
    #[must_use]
    pub fn last(&self) -> Option<&Last> {
        self.last.as_ref()
    }
}

#[cfg(test)]
mod tests;
