//! The state of one check.
//!
//! ```text
//!            first success             first failure
//!        ┌─────────────────── unknown ───────────────────┐
//!        ▼                                               ▼
//!       up ────────── down_after failures in a row ──▶ down
//!        ◀─────────── up_after successes in a row ──────┘
//! ```
//!
//! The first outcome decides (BEHAVIOUR rule 11). A check whose settings were edited is carried
//! over: it shows the state that its predecessor had, and its own first outcome decides.

use jiff::Timestamp;

use super::Outcome;
use crate::model::State;

/// The state of one check: a count of outcomes in a row.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthState {
    down_after: u32,
    up_after: u32,
    state: State,
    since: Timestamp,
    reason: String,
    last: Option<Last>,
    /// Outcomes in a row that speak against `state`.
    against: u32,
}

/// The latest outcome.
#[derive(Clone, Debug, PartialEq)]
pub struct Last {
    /// When it was known.
    pub at: Timestamp,
    /// What it was.
    pub outcome: Outcome,
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
    /// Nothing known yet. Counts of 0 are taken as 1.
    #[must_use]
    pub fn new(down_after: u32, up_after: u32, now: Timestamp) -> Self {
        Self {
            down_after: down_after.max(1),
            up_after: up_after.max(1),
            state: State::Unknown,
            since: now,
            reason: "no outcome yet".to_owned(),
            last: None,
            against: 0,
        }
    }

    /// The same state under edited settings, until their first outcome decides.
    #[must_use]
    pub fn carried(self, down_after: u32, up_after: u32) -> Self {
        Self { down_after: down_after.max(1), up_after: up_after.max(1), last: None, against: 0, ..self }
    }

    /// Takes an outcome in; says so if the state changed by it.
    pub fn observe(&mut self, now: Timestamp, outcome: Outcome) -> Option<Change> {
        let first = self.last.is_none();
        let to = match outcome {
            Outcome::Success { .. } => State::Up,
            Outcome::Degraded { .. } => State::Degraded,
            Outcome::Failure { .. } => State::Down,
            Outcome::Missing { .. } | Outcome::Limited { .. } => self.state,
        };
        self.against = if to == self.state { 0 } else { self.against.saturating_add(1) };
        let needed = match to {
            _ if first => 1,
            better if better < self.state => self.up_after,
            _ => self.down_after,
        };
        let change = (self.against >= needed).then(|| self.turn(to, first, &outcome, now));
        self.last = Some(Last { at: now, outcome });
        change
    }

    /// The one place where the state changes.
    fn turn(&mut self, to: State, first: bool, outcome: &Outcome, now: Timestamp) -> Change {
        let reason = match (to, first, self.against) {
            (State::Degraded, _, count) => format!("{count} outcomes in a row, the last: {outcome}"),
            (State::Up, true, _) => "the first outcome is a success".to_owned(),
            (State::Up, false, 1) => "a success".to_owned(),
            (State::Up, false, count) => format!("{count} successes in a row"),
            (_, true, _) => format!("the first outcome is a failure: {outcome}"),
            (_, false, 1) => format!("a failure: {outcome}"),
            (_, false, count) => format!("{count} failures in a row, the last: {outcome}"),
        };
        let from = std::mem::replace(&mut self.state, to);
        (self.since, self.against) = (now, 0);
        self.reason.clone_from(&reason);
        Change { from, to, reason }
    }

    /// The state.
    #[must_use]
    pub fn state(&self) -> State {
        self.state
    }

    /// When it took that state.
    #[must_use]
    pub fn since(&self) -> Timestamp {
        self.since
    }

    /// Why it has that state, in words for operators.
    #[must_use]
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// The latest outcome.
    #[must_use]
    pub fn last(&self) -> Option<&Last> {
        self.last.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::health::Cause;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    fn success() -> Outcome {
        Outcome::Success { rtt: Duration::from_millis(3) }
    }

    fn refused() -> Outcome {
        Outcome::Failure { cause: Cause::Refused }
    }

    /// `+` for a success, `-` for a failure; the states after each.
    fn run(health: &mut HealthState, outcomes: &str) -> String {
        let word = |state| match state {
            State::Up => 'U',
            State::Down => 'D',
            State::Degraded | State::Unknown => '?',
        };
        let mut observe = |sign| {
            let before = health.state();
            let change = health.observe(NOW, if sign == '+' { success() } else { refused() });
            assert_eq!(change.as_ref().map(|c| (c.from, c.to)), {
                let after = health.state();
                (before != after).then_some((before, after))
            });
            word(health.state())
        };
        outcomes.chars().map(&mut observe).collect()
    }

    #[test]
    fn the_first_outcome_decides() {
        assert_eq!(run(&mut HealthState::new(3, 2, NOW), "+"), "U");
        assert_eq!(run(&mut HealthState::new(3, 2, NOW), "-"), "D");
        assert_eq!(HealthState::new(3, 2, NOW).state(), State::Unknown);
    }

    #[test]
    fn only_outcomes_in_a_row_count() {
        assert_eq!(run(&mut HealthState::new(3, 2, NOW), "+--+---"), "UUUUUUD");
        assert_eq!(run(&mut HealthState::new(3, 2, NOW), "-+-++"), "DDDDU");
        assert_eq!(run(&mut HealthState::new(1, 1, NOW), "+-+-"), "UDUD");
        assert_eq!(run(&mut HealthState::new(0, 0, NOW), "+-+-"), "UDUD");
    }

    #[test]
    fn reasons_are_words_and_times_are_those_of_the_change() {
        let mut health = HealthState::new(2, 2, NOW);
        let at = |s| Timestamp::from_second(s).unwrap();
        health.observe(at(1), success());
        health.observe(at(2), refused());
        assert_eq!(
            (health.state(), health.since(), health.reason()),
            (State::Up, at(1), "the first outcome is a success")
        );
        let change = health.observe(at(3), refused()).unwrap();
        assert_eq!(change.reason, "2 failures in a row, the last: connection refused");
        health.observe(at(4), refused());
        assert_eq!((health.state(), health.since(), health.reason()), (State::Down, at(3), &*change.reason));
        assert_eq!(health.last(), Some(&Last { at: at(4), outcome: refused() }));
    }

    #[test]
    fn an_edited_check_shows_its_old_state_until_its_first_outcome() {
        let mut health = HealthState::new(3, 2, NOW);
        run(&mut health, "+");
        let mut health = health.carried(5, 5);
        assert_eq!((health.state(), health.last()), (State::Up, None));
        assert_eq!(run(&mut health.clone(), "-"), "D");
        assert_eq!(run(&mut health, "+----"), "UUUUU");
    }
}
