//! How a member may be used: the order of use of BEHAVIOUR rule 7, and what it keeps of its clients (rule 8).
//!
//! A member that is degraded, comes back or is drained has a part of *its* clients, those that would have it if it were
//! up: a client whose threshold (0..256) is below what the member keeps sees it as if it were up, all others do not
//! see it while something better is there. All such parts are one mechanism, so they multiply.

use std::time::Duration;

use crate::model::{ALL_PARTS as ALL, Policy, Spread, State};

/// The steps of a ramp: 10, 25, 50 and 75 % of the clients; then all.
const STEPS: [u16; 4] = [26, 64, 128, 192];

/// What a ramp has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Step {
    /// In 1/256 of the clients.
    pub kept: u16,
    /// Until the next one; none: this is the last.
    pub lasts: Option<Duration>,
}

impl Step {
    /// Of a ramp that takes `over`, `age` after its begin.
    #[must_use]
    pub fn rising(age: Duration, over: Duration) -> Self {
        let quarter = over / STEPS.len() as u32;
        let passed = age.as_nanos().checked_div(quarter.as_nanos()).unwrap_or(u128::MAX);
        let step = STEPS.iter().zip(1..).nth(usize::try_from(passed).unwrap_or(usize::MAX));
        match step {
            Some((&kept, next)) => Self { kept, lasts: Some(quarter * next - age) },
            None => Self { kept: ALL, lasts: None },
        }
    }

    /// How far before its end a ramp upwards stands where one downwards that takes `over` is `age` after its begin, as a
    /// share of its length; 0: it begins anew.
    #[must_use]
    pub fn left(age: Duration, over: Duration) -> f64 {
        let kept = Self::falling(age, over).kept;
        STEPS.iter().position(|step| *step == kept).map_or(0.0, |passed| passed as f64 / STEPS.len() as f64)
    }

    /// The same downwards, from 75 % to nothing.
    #[must_use]
    pub fn falling(age: Duration, over: Duration) -> Self {
        let Self { kept, lasts } = Self::rising(age, over);
        let kept = STEPS.iter().position(|step| *step == kept).map_or(0, |index| STEPS[STEPS.len() - 1 - index]);
        Self { kept, lasts }
    }
}

/// How far a member is taken out or comes back, besides its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Phase {
    /// It came back so long ago.
    pub warming: Option<Duration>,
    /// It is drained since so long ago, over that long; none: as long as the policy says.
    pub draining: Option<(Duration, Option<Duration>)>,
}

/// How a member may be used now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Usage {
    /// What health says.
    pub state: State,
    /// What it has of its clients while something better is there, in 1/256.
    pub kept: u16,
    pub(super) level: Level,
    /// When this is to be reckoned anew; none: nothing changes by time.
    pub lasts: Option<Duration>,
}

/// The order of use, best first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Level {
    Up,
    Degraded,
    /// Warming or damped.
    Held,
    Unknown,
    /// It lives; the operator's hand takes it out.
    Drained,
    Down,
    /// Only before nothing (rule 19).
    DrainedDown,
    /// It must not be answered in any mode.
    Nowhere,
}

impl Usage {
    /// That of a member in this state and phase.
    #[must_use]
    pub fn new(state: State, phase: Phase, policy: &Policy) -> Self {
        // A set in one answer has no parts: who comes back is in it at once.
        let by_parts = !matches!(policy.spread, Spread::Multivalue(_));
        let warming = phase.warming.filter(|_| by_parts).map(|age| Step::rising(age, policy.warmup));
        let warming = warming.filter(|step| step.lasts.is_some());
        let draining = phase.draining.map(|(age, over)| Step::falling(age, over.unwrap_or(policy.drain)));
        let (level, of_state) = match state {
            State::Up => (Level::Up, ALL),
            State::Degraded if policy.degraded_kept >= ALL => (Level::Up, ALL),
            State::Degraded => (Level::Degraded, policy.degraded_kept),
            State::Damped => (Level::Held, 0),
            State::Unknown => (Level::Unknown, 0),
            State::Down => (Level::Down, 0),
        };
        let level = if warming.is_some() { level.max(Level::Held) } else { level };
        let level = match draining {
            Some(_) if level == Level::Down => Level::DrainedDown,
            Some(_) => Level::Drained,
            None => level,
        };
        let steps = || warming.iter().chain(&draining);
        let kept = steps().fold(of_state, |kept, step| (u32::from(kept) * u32::from(step.kept) / 256) as u16);
        Self { state, kept, level, lasts: steps().filter_map(|step| step.lasts).min() }
    }

    /// In that state, and nothing besides.
    #[must_use]
    pub fn plain(state: State, policy: &Policy) -> Self {
        Self::new(state, Phase::default(), policy)
    }

    /// Is it of use only behind the other?
    #[must_use]
    pub fn is_behind(&self, other: &Self) -> bool {
        self.level > other.level
    }

    /// In a word: that of its state, or what takes it out.
    #[must_use]
    pub fn as_str(&self) -> &'static str {
        match self.level {
            Level::Drained if self.lasts.is_some() => "draining",
            Level::Drained => "drained",
            Level::DrainedDown => "drained, and down",
            Level::Held if self.is_warming() => "warming",
            _ => self.state.as_str(),
        }
    }

    /// Does the operator's hand take it out?
    #[must_use]
    pub fn is_drained(&self) -> bool {
        matches!(self.level, Level::Drained | Level::DrainedDown)
    }

    /// Does it come back by steps?
    #[must_use]
    pub fn is_warming(&self) -> bool {
        self.level == Level::Held && self.state < State::Damped
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn ramps_go_by_steps_and_end() {
        let up = |seconds| {
            let Step { kept, lasts } = Step::rising(Duration::from_secs(seconds), 4 * MINUTE);
            (kept, lasts.map(|lasts| lasts.as_secs()))
        };
        assert_eq!(up(0), (26, Some(60)));
        assert_eq!(up(59), (26, Some(1)));
        assert_eq!(up(60), (64, Some(60)));
        assert_eq!(up(239), (192, Some(1)));
        assert_eq!(up(240), (256, None));
        let down = |seconds| Step::falling(Duration::from_secs(seconds), 4 * MINUTE).kept;
        assert_eq!([0, 60, 120, 180, 240, 900].map(down), [192, 128, 64, 26, 0, 0]);
        let left = |seconds| Step::left(Duration::from_secs(seconds), 4 * MINUTE);
        assert_eq!([0, 60, 120, 180, 240].map(left), [0.75, 0.5, 0.25, 0.0, 0.0]);
        for seconds in [0, 60, 120, 180] {
            assert_eq!(up((left(seconds) * 240.0) as u64).0, down(seconds), "it goes on where the other was");
        }
        assert_eq!(Step::rising(Duration::ZERO, Duration::ZERO), Step { kept: 256, lasts: None });
        assert_eq!(Step::falling(Duration::ZERO, Duration::ZERO), Step { kept: 0, lasts: None });
    }

    #[test]
    fn parts_multiply_and_the_worst_word_decides_the_order() {
        let policy = Policy { degraded_kept: 128, warmup: 4 * MINUTE, drain: 4 * MINUTE, ..Policy::nearest() };
        let usage = |state, warming: Option<Duration>, draining: Option<Duration>| {
            let phase = Phase { warming, draining: draining.map(|age| (age, None)) };
            let Usage { kept, level, .. } = Usage::new(state, phase, &policy);
            (level, kept)
        };
        assert_eq!(usage(State::Up, None, None), (Level::Up, 256));
        assert_eq!(usage(State::Degraded, None, None), (Level::Degraded, 128));
        assert_eq!(usage(State::Up, Some(MINUTE), None), (Level::Held, 64));
        assert_eq!(usage(State::Degraded, Some(MINUTE), None), (Level::Held, 32));
        assert_eq!(usage(State::Up, Some(4 * MINUTE), None), (Level::Up, 256), "it is over");
        assert_eq!(usage(State::Up, None, Some(MINUTE)), (Level::Drained, 128));
        assert_eq!(usage(State::Damped, None, Some(MINUTE)), (Level::Drained, 0));
        assert_eq!(usage(State::Down, Some(MINUTE), None), (Level::Down, 0));
        assert_eq!(usage(State::Down, None, Some(MINUTE)), (Level::DrainedDown, 0));
        let at_once = Policy { degraded_kept: 256, ..policy };
        assert_eq!(Usage::plain(State::Degraded, &at_once).level, Level::Up, "it keeps all");
    }
}
