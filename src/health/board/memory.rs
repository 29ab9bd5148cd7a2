//! A board's memory: what outlives a restart.

use std::collections::HashMap;

use jiff::Timestamp;

use super::Board;
use crate::health::slot::{Key, Slot};
use crate::health::state::Memory;
use crate::health::{Recovered, Remembered, RememberedCheck};

impl Board {
    /// What outlives a restart.
    #[must_use]
    pub fn remember(&self) -> Remembered {
        let remember = |slot: &Slot| {
            let (endpoint, probe, address) = slot.key();
            slot.health.remember().map(|memory| RememberedCheck { endpoint, probe, address, memory })
        };
        let are_back = self.endpoints().filter(|health| health.recovered != Recovered::default());
        let recovered = are_back.map(|health| (health.name.clone(), health.recovered));
        Remembered { checks: self.slots.values().filter_map(remember).collect(), recovered: recovered.collect() }
    }

    /// Goes on where an earlier process was, for checks that know nothing yet; how many these are. What is of no check is
    /// passed over.
    pub fn recall(&mut self, remembered: Remembered, now: Timestamp) -> usize {
        let Remembered { checks, recovered } = remembered;
        let keyed = checks.into_iter().map(|it| ((it.endpoint, it.probe, it.address), it.memory));
        let mut memories: HashMap<Key, Memory> = keyed.collect();
        let mut recalled = 0;
        for slot in self.slots.values_mut().filter(|slot| slot.is_pending()) {
            if let Some(memory) = memories.remove(&slot.key()) {
                slot.health.recall(memory, now);
                recalled += 1;
            }
        }
        for (index, entry) in self.entries.iter().enumerate() {
            self.soft.turn(index, entry.stand(&self.slots));
        }
        for (index, entry) in self.entries.iter_mut().enumerate() {
            let recovered = recovered.get(&entry.health.name).copied().unwrap_or_default();
            entry.recall(&self.slots, !self.soft.is_unheeded(index), recovered, now);
        }
        self.recount();
        recalled
    }
}
