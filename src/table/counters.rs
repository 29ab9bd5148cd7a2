//! Counters of the hot path: a cell each per worker, which that worker alone writes.
//!
//! [`Counters`] names them: it hands out ids that stay the same over reloads, so that a total never
//! goes back. [`Cells`] holds one worker's figures.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::CounterId;

/// What a counter counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CounterKey {
    /// Answers by zone and response code slot ([`rcode_slot`]); the empty name is 'no zone of ours'.
    Queries(Arc<str>, u8),
    /// Answers that named the endpoint.
    Endpoint(Arc<str>),
    /// Queries for the service.
    Service(Arc<str>),
    /// Steered answers by where the location came from: `ecs`, `resolver` or `default`.
    Location(&'static str),
}

/// Response codes that have a slot of their own; the last stands for all others.
pub const RCODE_SLOTS: [&str; 8] =
    ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "BADVERS", "OTHER"];

/// The slot of a 12-bit response code (RFC 6895 §2.3).
#[must_use]
pub fn rcode_slot(rcode: u16) -> u8 {
    match rcode {
        0..=5 => rcode as u8,
        16 => 6,
        _ => 7,
    }
}

/// Cells a segment; segments are made when first written.
const SEGMENT: usize = 4096;
/// Segments at most: a million counters.
const SEGMENTS: usize = 256;
/// Counts for all names that come when the others are taken; nobody reads it.
const NAMELESS: CounterId = CounterId((SEGMENT * SEGMENTS - 1) as u32);

/// The names of all counters there have been. Grows over reloads, up to its bound.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    ids: HashMap<CounterKey, CounterId>,
}

impl Counters {
    /// The id of `key`, a new one where it has none. At the bound (a million) new keys are not kept,
    /// and what they count is not shown.
    pub fn id(&mut self, key: CounterKey) -> CounterId {
        let next = CounterId::at(self.ids.len());
        if next == NAMELESS {
            return self.ids.get(&key).copied().unwrap_or(NAMELESS);
        }
        *self.ids.entry(key).or_insert(next)
    }

    /// Ids of the zone's answers by response code: the slot's index is added to it.
    pub fn queries(&mut self, zone: &str) -> Box<[CounterId]> {
        let zone: Arc<str> = zone.into();
        let slots = 0..RCODE_SLOTS.len();
        slots.map(|slot| self.id(CounterKey::Queries(zone.clone(), slot as u8))).collect()
    }

    /// All names with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (&CounterKey, CounterId)> {
        self.ids.iter().map(|(key, &id)| (key, id))
    }
}

/// One writer's figures: whoever holds them exclusively, or a lock around them, counts.
#[derive(Debug)]
pub struct Cells {
    segments: Box<[OnceLock<Box<[AtomicU64]>>]>,
}

impl Default for Cells {
    fn default() -> Self {
        Self { segments: (0..SEGMENTS).map(|_| OnceLock::new()).collect() }
    }
}

impl Cells {
    /// Counts one. A load and a store, no addition in one step: there is one writer.
    pub fn count(&self, id: CounterId) {
        let new = || (0..SEGMENT).map(|_| AtomicU64::new(0)).collect();
        let cell = &self.segments[id.index() / SEGMENT].get_or_init(new)[id.index() % SEGMENT];
        cell.store(cell.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// The figure so far.
    #[must_use]
    pub fn read(&self, id: CounterId) -> u64 {
        let segment = self.segments[id.index() / SEGMENT].get();
        segment.map_or(0, |cells| cells[id.index() % SEGMENT].load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_stay_and_cells_count() {
        let mut counters = Counters::default();
        let zone = counters.queries("shop.example");
        let endpoint = counters.id(CounterKey::Endpoint("aws".into()));
        assert_eq!(counters.queries("shop.example"), zone);
        assert_eq!(zone.len(), RCODE_SLOTS.len());
        assert_eq!(counters.id(CounterKey::Endpoint("aws".into())), endpoint);
        let cells = Cells::default();
        cells.count(endpoint);
        cells.count(endpoint);
        assert_eq!((cells.read(endpoint), cells.read(zone[0])), (2, 0));
        assert_eq!(cells.read(CounterId((SEGMENT * SEGMENTS - 1) as u32)), 0);
    }

    #[test]
    fn at_the_bound_no_name_is_added_and_none_shares_another_s_figure() {
        let mut counters = Counters::default();
        for n in 0..NAMELESS.0 + 10 {
            counters.id(CounterKey::Service(n.to_string().into()));
        }
        assert_eq!(counters.iter().count(), NAMELESS.index());
        assert!(counters.iter().all(|(_, id)| id != NAMELESS));
        assert_eq!(counters.id(CounterKey::Service("7".into())), CounterId(7));
        Cells::default().count(counters.id(CounterKey::Service("one more".into())));
    }

    #[test]
    fn response_codes_have_slots() {
        for (rcode, name) in [(0, "NOERROR"), (3, "NXDOMAIN"), (5, "REFUSED"), (16, "BADVERS"), (9, "OTHER")] {
            assert_eq!(RCODE_SLOTS[usize::from(rcode_slot(rcode))], name);
        }
    }
}
