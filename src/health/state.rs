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
//!        └─▶ damped: up or degraded by its outcomes, but it has flapped; time frees it
//! ```
//!
//! The first outcome decides (BEHAVIOUR rule 11). Outcomes that are worse than the state add up, `down_after` of them
//! turn it to the mildest of them, and `up_after` good ones in a row clear them, as gdnsd's `ok_thresh` does: who fails
//! every third time is down before long. Outcomes that are better turn it after `up_after` in a row. Between the first that
//! speaks against the state and the decision, and while a probe is unanswered for long, it is *in doubt*: it is probed
//! faster (rule 12).
//!
//! A check whose settings were edited is carried over: it shows the state that its predecessor had, and its own first
//! outcome decides.

use jiff::{Timestamp, Unit};

use super::Outcome;
use super::damping::Penalty;
use crate::config::{Damping, Probe};
use crate::model::State;

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
        }
    }

    /// The same state under edited settings, until their first outcome decides.
    #[must_use]
    pub fn carried(self, rules: Rules) -> Self {
        Self { rules, last: None, undecided: true, evidence: Evidence::NONE, suspicion: None, ..self }
    }

    /// Takes an outcome in; says so if the state changed by it.
    pub fn observe(&mut self, now: Timestamp, outcome: Outcome) -> Option<Change> {
        let says = match outcome {
            Outcome::Success { .. } => State::Up,
            Outcome::Degraded { .. } => State::Degraded,
            Outcome::Failure { .. } => State::Down,
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
        };
        self.suspicion = None;
        let turn = if self.undecided {
            self.undecided = says == State::Unknown;
            (says != self.found).then_some((says, 0))
        } else {
            self.evidence.weigh(self.found, says, &self.rules)
        };
        if let Some((to, count)) = turn {
            self.turn(to, count, &outcome, now);
        }
        self.last = Some(Last { at: now, outcome });
        self.tick(now)
    }

    /// Lets time pass: says so if the state changed by it, or by what came before.
    pub fn tick(&mut self, now: Timestamp) -> Option<Change> {
        let held = self.held_until(now).is_some();
        let to = match self.found {
            State::Up | State::Degraded if held => State::Damped,
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

    /// May the state turn soon?
    #[must_use]
    pub fn in_doubt(&self) -> bool {
        !self.undecided && (self.suspicion.is_some() || self.evidence.worse > 0 || self.evidence.better > 0)
    }

    /// Shall it be probed fast? While in doubt; but more probes are no way to learn more of who limits them.
    #[must_use]
    pub fn wants_haste(&self) -> bool {
        self.in_doubt() && self.suspicion != Some(Suspicion::Limited)
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
        match self.held_until(now) {
            Some(until) if self.state == State::Damped => {
                let until = until.round(Unit::Second).unwrap_or(until);
                format!("{}; it has flapped: held back until {until}", self.reason)
            }
            _ => self.reason.clone(),
        }
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

    use jiff::SignedDuration;
    use proptest::prelude::*;

    use super::*;
    use crate::health::Cause;

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;
    const DAMPING: Damping =
        Damping { half_life: Duration::from_secs(300), hold_at: 3.0, free_at: 1.0, at_most: Duration::from_secs(900) };

    fn success() -> Outcome {
        Outcome::Success { rtt: Duration::from_millis(3) }
    }

    fn refused() -> Outcome {
        Outcome::Failure { cause: Cause::Refused }
    }

    fn outcome(sign: char) -> Outcome {
        match sign {
            '+' => success(),
            '-' => refused(),
            'd' => Outcome::Degraded { rtt: Duration::ZERO, why: "lag is 42, over 30".to_owned() },
            'm' => Outcome::Missing { why: "no such sample".to_owned() },
            'l' => Outcome::Limited { status: 429 },
            's' => Outcome::Silent,
            other => panic!("{other}"),
        }
    }

    fn letter(state: State) -> char {
        match state {
            State::Up => 'U',
            State::Degraded => 'G',
            State::Damped => 'H',
            State::Unknown => '?',
            State::Down => 'D',
        }
    }

    fn check(down_after: u32, up_after: u32, damping: Option<Damping>) -> HealthState {
        HealthState::new(Rules { down_after, up_after, damping }, NOW)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// The states after each outcome.
    fn run(health: &mut HealthState, outcomes: &str) -> String {
        let mut observe = |sign| {
            let before = health.state();
            let change = health.observe(NOW, outcome(sign));
            assert_eq!(change.as_ref().map(|c| (c.from, c.to)), {
                let after = health.state();
                (before != after).then_some((before, after))
            });
            letter(health.state())
        };
        outcomes.chars().map(&mut observe).collect()
    }

    #[test]
    fn the_first_outcome_decides() {
        for (outcomes, states) in [("+", "U"), ("-", "D"), ("d", "G"), ("mm-", "??D"), ("ls+", "??U")] {
            assert_eq!(run(&mut check(3, 2, None), outcomes), states, "{outcomes}");
        }
        assert_eq!(check(3, 2, None).state(), State::Unknown);
    }

    #[test]
    fn failures_add_up_until_successes_in_a_row_clear_them() {
        for (outcomes, states) in [
            ("+---", "UUUD"),
            ("+--++--", "UUUUUUU"), // cleared
            ("+--+-", "UUUUD"),     // not cleared by one
            ("-+-++", "DDDDU"),     // up needs a row
        ] {
            assert_eq!(run(&mut check(3, 2, None), outcomes), states, "{outcomes}");
        }
        assert_eq!(run(&mut check(1, 1, None), "+-+-"), "UDUD");
    }

    #[test]
    fn it_turns_to_the_mildest_of_what_speaks_against_it() {
        for (outcomes, states) in [
            ("+ddd", "UUUG"),
            ("+-d-", "UUUG"), // then three failures more
            ("+ddd---", "UUUGGGD"),
            ("+ddd++", "UUUGGU"),
            ("---dd", "DDDDG"),
            ("---+d", "DDDDG"), // the poorer of two
            ("+mmm++", "UUU??U"),
            ("+lll", "UUUU"),
        ] {
            let outcomes = outcomes.replace(' ', "");
            assert_eq!(run(&mut check(3, 2, None), &outcomes), states.replace(' ', ""), "{outcomes}");
        }
    }

    #[test]
    fn it_is_in_doubt_from_the_first_that_speaks_against_it_until_the_decision() {
        let doubt = |outcomes: &str| {
            let mut health = check(3, 2, None);
            let mut after = |sign| {
                health.observe(NOW, outcome(sign));
                match (health.in_doubt(), health.wants_haste()) {
                    (true, true) => '!',
                    (true, false) => 'l',
                    _ => '.',
                }
            };
            outcomes.chars().map(&mut after).collect::<String>()
        };
        for (outcomes, expected) in
            [("+---+-", ".!!.!."), ("+-++", ".!!."), ("+s+", ".!."), ("+ls+", ".ll."), ("-+s-", ".!!."), ("-ss", "...")]
        {
            assert_eq!(doubt(outcomes), expected, "{outcomes}");
        }
    }

    #[test]
    fn reasons_are_words_and_times_are_those_of_the_change() {
        let mut health = check(2, 2, None);
        health.observe(at(1), success());
        health.observe(at(2), refused());
        assert_eq!(
            (health.state(), health.since(), &*health.reason(at(2))),
            (State::Up, at(1), "the first outcome is a success")
        );
        let change = health.observe(at(3), refused()).unwrap();
        assert_eq!(change.reason, "2 failures, the last: connection refused");
        health.observe(at(4), refused());
        assert_eq!((health.state(), health.since(), health.reason(at(4))), (State::Down, at(3), change.reason));
        assert_eq!(health.last(), Some(&Last { at: at(4), outcome: refused() }));
        let mut metric = check(1, 1, None);
        assert_eq!(metric.observe(at(1), outcome('d')).unwrap().reason, "lag is 42, over 30");
        assert_eq!(metric.observe(at(2), outcome('m')).unwrap().reason, "not known: no such sample");
    }

    #[test]
    fn an_edited_check_shows_its_old_state_until_its_first_outcome() {
        let mut health = check(3, 2, None);
        run(&mut health, "+");
        let mut health = health.carried(Rules { down_after: 5, up_after: 5, damping: None });
        assert_eq!((health.state(), health.last()), (State::Up, None));
        assert_eq!(run(&mut health.clone(), "-"), "D");
        assert_eq!(run(&mut health, "+----"), "UUUUU");
    }

    #[test]
    fn who_flaps_is_held_back_and_time_frees_it() {
        let mut health = check(1, 1, Some(DAMPING));
        assert_eq!(run(&mut health, "+-+-+-"), "UDUDUD");
        let change = health.observe(NOW, success()).unwrap();
        assert_eq!((change.from, change.to), (State::Down, State::Damped));
        assert_eq!(change.reason, "a success; it has flapped: held back until 1970-01-01T00:07:55Z");
        assert_eq!(run(&mut health, "-+"), "DH", "down is down all the same");
        let free = health.next_tick().unwrap();
        assert_eq!(health.tick(free - SignedDuration::from_secs(1)), None);
        let change = health.tick(free).unwrap();
        assert_eq!((change.from, change.to, &*change.reason), (State::Damped, State::Up, "a success"));
        assert_eq!(health.next_tick(), None);
    }

    proptest! {
        /// Whatever happens: up only by a success, and nothing is held back for longer than `at_most` from its last flip.
        #[test]
        fn up_takes_a_success_and_damping_ends(
            down_after in 1..5_u32,
            up_after in 1..5_u32,
            history in prop::collection::vec((0..60_i64, prop::sample::select(vec!['+', '-', 'd', 'm', 'l', 's'])), 0..200),
        ) {
            let mut health = check(down_after, up_after, Some(DAMPING));
            let (mut second, mut success) = (0, false);
            for (gap, sign) in history {
                second += gap;
                success |= sign == '+';
                health.tick(at(second));
                let before = health.state();
                health.observe(at(second), outcome(sign));
                prop_assert!(success || health.state() != State::Up);
                if before == State::Down && health.state() == State::Up {
                    prop_assert_eq!(sign, '+');
                }
                if let Some(free) = health.next_tick() {
                    prop_assert!(free > at(second) && free <= at(second + 900));
                }
            }
            health.tick(at(second + 900));
            prop_assert!(health.state() != State::Damped);
        }
    }
}
