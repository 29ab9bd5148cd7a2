//! Panic: too little is up to carry everybody (BEHAVIOUR rule 18).
//!
//! Reckoned over the members that one fence leaves: of their capacity, what probes call down. Where what is left falls
//! below `panic_below`, members that are down keep a part of their clients: as much as the others cannot carry, if all
//! clients together ask for `panic_below` of all capacity, which is the least at which that can be. (What they really
//! ask for is not known yet.) So it begins without a jump, from nothing at the threshold. Where none is up, `when_none`
//! acts instead.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::usage::Step;
use crate::model::{ALL_PARTS as ALL, Policy};

/// A time so far ahead shows that a clock was set back; less may come from two clocks.
const SET_BACK: SignedDuration = SignedDuration::from_secs(-1);

/// It ends so far above the threshold.
const MARGIN: f32 = 0.1;

/// Panic over the members of one fence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Panic {
    /// What members that are down keep of their clients, in 1/256; 0: no panic.
    pub kept: u16,
    /// What they kept when there was too little last.
    peak: u16,
    /// Since when there has been enough.
    calm_since: Option<Timestamp>,
}

impl Panic {
    /// What becomes of it where `living` of the capacity (0..=1) is not down.
    #[must_use]
    pub fn after(self, living: f32, policy: &Policy, now: Timestamp) -> Self {
        let below = policy.panic_below;
        // None lives: `when_none` acts. All do: nobody is left to keep anything, and the next to die dies alone.
        if living <= 0.0 || living >= 1.0 || below <= 0.0 {
            return Self::default();
        }
        if living < below {
            let share = ((1.0 - living / below) / (1.0 - living)).clamp(0.0, 1.0);
            let kept = ((f32::from(ALL) * share).round() as u16).max(1);
            return Self { kept, peak: kept, calm_since: None };
        }
        if self.kept == 0 {
            return Self::default();
        }
        if living <= below + MARGIN {
            return Self { kept: self.peak, calm_since: None, ..self };
        }
        let calm_since = self.calm_since.unwrap_or(now);
        let step = Self { calm_since: Some(calm_since), ..self }.step(policy, now);
        let kept = (u32::from(self.peak) * u32::from(step.kept) / 256) as u16;
        if kept == 0 { Self::default() } else { Self { kept, calm_since: Some(calm_since), ..self } }
    }

    /// When it is to be reckoned anew, if nothing else happens.
    #[must_use]
    pub fn next(self, policy: &Policy, now: Timestamp) -> Option<Timestamp> {
        self.calm_since?;
        now.checked_add(self.step(policy, now).lasts?).ok()
    }

    /// All of it for `panic_hold`, then less and less, as a warm-up the other way round.
    fn step(self, policy: &Policy, now: Timestamp) -> Step {
        let calm = self.calm_since.map_or(Duration::ZERO, |since| age(since, now));
        match policy.panic_hold.checked_sub(calm).filter(|left| !left.is_zero()) {
            Some(left) => Step { kept: ALL, lasts: Some(left) },
            None => Step::falling(calm - policy.panic_hold, policy.warmup),
        }
    }
}

/// How long ago that was. Where it has yet to come, a clock was set back: then it is long over, lest what has ended begin
/// anew.
#[must_use]
pub fn age(since: Timestamp, now: Timestamp) -> Duration {
    let age = now.duration_since(since);
    if age < SET_BACK { Duration::MAX } else { Duration::try_from(age).unwrap_or_default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn policy() -> Policy {
        let (panic_hold, warmup) = (Duration::from_secs(60), Duration::from_secs(180));
        Policy { panic_below: 0.5, panic_hold, warmup, ..Policy::nearest() }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::new(seconds, 0).unwrap()
    }

    #[test]
    fn it_begins_without_a_jump_and_leaves_off_where_none_is_up() {
        let kept = |living| Panic::default().after(living, &policy(), at(0)).kept;
        assert_eq!([1.0, 0.7, 0.5].map(kept), [0, 0, 0]);
        assert_eq!([0.499, 0.4, 1.0 / 3.0, 0.1, 0.0].map(kept), [1, 85, 128, 228, 0]);
        let off = Policy { panic_below: 0.0, ..policy() };
        assert_eq!(Panic::default().after(0.1, &off, at(0)), Panic::default());
    }

    #[test]
    fn it_ends_above_its_threshold_after_a_while_and_by_steps() {
        let policy = policy();
        let begun = Panic::default().after(1.0 / 3.0, &policy, at(0));
        assert_eq!(begun.next(&policy, at(0)), None);
        let between = begun.after(0.55, &policy, at(10));
        assert_eq!((between.kept, between.next(&policy, at(10))), (128, None), "no more, and not yet less");
        let calm = between.after(2.0 / 3.0, &policy, at(20));
        assert_eq!((calm.kept, calm.next(&policy, at(20))), (128, Some(at(80))));
        assert_eq!(calm.after(0.55, &policy, at(30)).next(&policy, at(30)), None, "it begins anew");
        let mut panic = calm;
        let mut seen = Vec::new();
        let mut now = at(20);
        while let Some(next) = panic.next(&policy, now) {
            (panic, now) = (panic.after(2.0 / 3.0, &policy, next), next);
            seen.push((next.as_second(), panic.kept));
        }
        assert_eq!(seen, [(80, 96), (125, 64), (170, 32), (215, 13), (260, 0)]);
        assert_eq!(panic, Panic::default());
        assert_eq!(calm.after(1.0 / 3.0, &policy, at(100)).kept, 128, "and worse again is worse at once");
        assert_eq!(calm.after(1.0, &policy, at(30)), Panic::default(), "with all there, it is over at once");
        assert_eq!(calm.after(2.0 / 3.0, &policy, at(-3600)), Panic::default(), "a clock set back does not prolong it");
    }
}
