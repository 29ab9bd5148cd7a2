//! Ids that have been used, for as long as they would be good otherwise.
//!
//! Numbers are kept by when their id was made, in slots of half an id's validity: those of the last three slots may be
//! good, and a slot is forgotten as a whole when one that begins three later is needed. So nothing is looked through, and
//! an id that is forgotten is one that has expired.

use std::collections::HashSet;

use super::id::VALID;
use super::refusal::Refusal;

/// Seconds of a slot.
const SLOT: u32 = VALID / 2;
/// Slots in which ids that are good were made.
const SLOTS: usize = 3;
/// Ids of one slot that are remembered: 1,200,000 in all, 15 MB. At the bound further ones of the slot are refused: none
/// is forgotten before its time, and so none can be used twice.
const MOST: usize = 400_000;

/// The ids that have been used.
#[derive(Default)]
pub(super) struct Used {
    slots: [Slot; SLOTS],
}

#[derive(Default)]
struct Slot {
    /// Which one, from the start.
    index: u32,
    numbers: HashSet<u64>,
}

impl Used {
    /// Notes the use of ids, each as when it was made and its number: of all, or of none.
    ///
    /// # Errors
    /// [`Refusal::Used`], be it one of these twice; [`Refusal::Expired`]; [`Refusal::Crowded`].
    pub(super) fn take(&mut self, ids: &[(u32, u64)]) -> Result<(), Refusal> {
        for (done, &(made, number)) in ids.iter().enumerate() {
            if let Err(refusal) = self.take_one(made, number, MOST) {
                self.give_back(&ids[..done]);
                return Err(refusal);
            }
        }
        Ok(())
    }

    /// These have not been used after all.
    pub(super) fn give_back(&mut self, ids: &[(u32, u64)]) {
        for &(made, number) in ids {
            self.slot(made).numbers.remove(&number);
        }
    }

    fn take_one(&mut self, made: u32, number: u64, most: usize) -> Result<(), Refusal> {
        let index = made / SLOT;
        let slot = self.slot(made);
        if slot.index > index {
            return Err(Refusal::Expired);
        }
        if slot.index < index {
            *slot = Slot { index, numbers: HashSet::new() };
        }
        if slot.numbers.contains(&number) {
            return Err(Refusal::Used);
        }
        if slot.numbers.len() >= most {
            return Err(Refusal::Crowded);
        }
        slot.numbers.insert(number);
        Ok(())
    }

    fn slot(&mut self, made: u32) -> &mut Slot {
        &mut self.slots[(made / SLOT) as usize % SLOTS]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn once_and_not_again() {
        let mut used = Used::default();
        assert_eq!(used.take(&[(10, 1)]), Ok(()));
        assert_eq!(used.take(&[(10, 1)]), Err(Refusal::Used));
        assert_eq!(used.take(&[(10, 2), (11, 3), (10, 2)]), Err(Refusal::Used), "twice at once");
        assert_eq!(used.take(&[(10, 2), (11, 3)]), Ok(()), "of those nothing was noted");
        assert_eq!(used.take(&[(11, 4), (10, 1)]), Err(Refusal::Used));
        assert_eq!(used.take(&[(11, 4)]), Ok(()));
    }

    #[test]
    fn at_the_bound_none_is_forgotten() {
        let mut used = Used::default();
        for number in 0..4 {
            assert_eq!(used.take_one(0, number, 4), Ok(()));
        }
        assert_eq!(used.take_one(0, 4, 4), Err(Refusal::Crowded));
        assert_eq!(used.take_one(0, 3, 4), Err(Refusal::Used));
        assert_eq!(used.take_one(SLOT, 4, 4), Ok(()), "the next slot has room");
    }

    proptest! {
        /// Against a set of all that was ever used. A number is of one id, and so of one time.
        #[test]
        fn none_is_taken_twice(steps in prop::collection::vec((0_u32..120, 0_u32..=VALID, 0_u64..4), 1..200)) {
            let (mut used, mut all, mut now) = (Used::default(), HashSet::new(), 0);
            for (step, age, number) in steps {
                now += step;
                let made = now.saturating_sub(age);
                let id = (made, 4 * u64::from(made) + number);
                let fresh = all.insert(id);
                prop_assert_eq!(used.take(&[id]), if fresh { Ok(()) } else { Err(Refusal::Used) });
            }
        }
    }
}
