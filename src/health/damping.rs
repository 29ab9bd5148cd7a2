//! Flap damping, as of routes (RFC 2439): each flip adds one to a penalty that decays; who has too much of it is held back
//! until it is small again, and no longer than `at_most`.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::config::Damping;

/// How much a check has flapped of late, in flips.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Penalty {
    /// What it was at the last flip.
    flips: f64,
    last: Timestamp,
    /// When it was last held back.
    held: Option<Timestamp>,
}

impl Penalty {
    /// Counts a flip.
    pub(super) fn flip(&mut self, damping: &Damping, now: Timestamp) {
        if self.held.is_some() && self.held_until(damping, now).is_none() {
            if self.is_over(damping, now) {
                self.flips = 0.0; // it has done its time, however it behaved
            }
            self.held = None;
        }
        self.flips = self.at(damping, now) + 1.0;
        self.last = now;
        if self.held.is_none() && self.flips >= damping.hold_at {
            self.held = Some(now);
        }
    }

    /// A clock may be set back: nothing of it has been later than `now`.
    pub(super) fn not_after(&mut self, now: Timestamp) {
        self.last = self.last.min(now);
        self.held = self.held.map(|held| held.min(now));
    }

    /// Until when it is held back; none: it is not, at `now`.
    pub(super) fn held_until(&self, damping: &Damping, now: Timestamp) -> Option<Timestamp> {
        let latest = after(self.held?, damping.at_most.as_secs_f64());
        let half_lives = (self.flips / damping.free_at).log2().max(0.0);
        let until = after(self.last, damping.half_life.as_secs_f64() * half_lives).min(latest);
        (until > now).then_some(until)
    }

    /// What it is at `now`.
    pub(super) fn at(&self, damping: &Damping, now: Timestamp) -> f64 {
        let elapsed = now.duration_since(self.last).as_secs_f64().max(0.0);
        self.flips * (-elapsed / damping.half_life.as_secs_f64()).exp2()
    }

    fn is_over(&self, damping: &Damping, now: Timestamp) -> bool {
        self.held.is_some_and(|held| now >= after(held, damping.at_most.as_secs_f64()))
    }
}

fn after(start: Timestamp, seconds: f64) -> Timestamp {
    let seconds = SignedDuration::try_from_secs_f64(seconds).unwrap_or(SignedDuration::MAX);
    start.checked_add(seconds).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const DAMPING: Damping =
        Damping { half_life: Duration::from_secs(300), hold_at: 3.0, free_at: 1.0, at_most: Duration::from_secs(900) };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// After flips at these seconds: until when it is held at the last.
    fn held(flips: &[i64]) -> Option<i64> {
        let mut penalty = Penalty::default();
        flips.iter().for_each(|&second| penalty.flip(&DAMPING, at(second)));
        penalty.held_until(&DAMPING, at(*flips.last().unwrap())).map(Timestamp::as_second)
    }

    #[test]
    fn three_flips_at_once_hold_it_and_time_frees_it() {
        assert_eq!(held(&[1000]), None);
        assert_eq!(held(&[1000, 1000]), None);
        // From 3 to 1 it decays in log2(3) half-lives.
        assert_eq!(held(&[1000, 1000, 1000]), Some(1475));
        // A half-life apart they never make three: 1 + 1/2 + 1/4 + …
        assert_eq!(held(&[0, 300, 600, 900, 1200, 1500]), None);
        assert_eq!(held(&[0, 10, 20]), None, "a little less than three");
        assert!(held(&[0, 10, 20, 30]).is_some());
    }

    #[test]
    fn no_hold_is_longer_than_at_most() {
        let mut penalty = Penalty::default();
        (0..2000).for_each(|second| penalty.flip(&DAMPING, at(second)));
        // Held since 2 or 3 seconds after the start, freed 900 later, held again soon after.
        let since = penalty.held.unwrap().as_second();
        assert!((1800..1815).contains(&since), "{since}");
        assert_eq!(penalty.held_until(&DAMPING, at(1999)), Some(at(since + 900)));
        assert_eq!(penalty.held_until(&DAMPING, at(since + 900)), None);
    }

    #[test]
    fn a_clock_that_is_set_back_does_no_harm() {
        let mut penalty = Penalty::default();
        [1000, 1000, 1000].iter().for_each(|&second| penalty.flip(&DAMPING, at(second)));
        penalty.not_after(at(10));
        penalty.flip(&DAMPING, at(10));
        assert!(penalty.held_until(&DAMPING, at(10)).is_some_and(|until| until <= at(910)));
        assert_eq!(penalty.held_until(&DAMPING, at(910)), None);
    }
}
