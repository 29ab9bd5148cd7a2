//! Counters of the hot path: a cell each per worker, which that worker alone writes.
//!
//! [`Counters`] names them: it hands out ids that stay the same over reloads, so that a total never
//! goes back. [`Cells`] holds one worker's figures. Both are bounded: names beyond a bound count
//! together, whatever reloads bring.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::{CounterId, Large};

/// What a counter counts.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum CounterKey {
    /// Answers by zone and response code slot ([`rcode_slot`]); the empty name is 'no zone of ours',
    /// [`OTHER_ZONES`] are the zones that have no counter of their own.
    Queries(Arc<str>, u8),
    /// Answers that named the endpoint.
    Endpoint(Arc<str>),
    /// Queries for the service.
    Service(Arc<str>),
    /// Steered answers by where the location came from: `ecs`, `resolver` or `default`.
    Location(&'static str),
    /// Replies over a limit by their kind and what was done: [`LIMITED_KINDS`], [`LIMITED_ACTIONS`].
    Limited(&'static str, &'static str),
    /// Queries of clients that `[access]` does not admit.
    Denied,
}

/// Kinds of replies that are limited apart.
pub const LIMITED_KINDS: [&str; 5] = ["answer", "nodata", "nxdomain", "referral", "error"];
/// What is done with a reply over the limit.
pub const LIMITED_ACTIONS: [&str; 4] = ["dropped", "truncated", "badcookie", "logged"];

/// The first so many zones have counters of their own. A hundred thousand of them would be a million
/// series, which nobody reads.
const MAX_ZONES: usize = 1000;
/// The name of all others together.
pub const OTHER_ZONES: &str = "other";

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

/// Counters at most.
const CELLS: usize = 1 << 20;
/// From so many on, a worker's are in large pages.
const MANY: usize = 1 << 14;
/// Counts for all names that come when the others are taken; nobody reads it.
pub(super) const NAMELESS: CounterId = CounterId(CELLS as u32 - 1);

/// The names of all counters there have been. Grows over reloads, up to its bounds.
#[derive(Clone, Debug, Default)]
pub struct Counters {
    /// All but those of zones.
    ids: HashMap<CounterKey, CounterId>,
    /// The first of a zone's, which follow each other.
    zones: HashMap<Arc<str>, CounterId>,
    next: u32,
}

impl Counters {
    /// The id of `key`, a new one where it has none. At the bound (a million) new keys are not kept,
    /// and what they count is not shown.
    pub fn id(&mut self, key: CounterKey) -> CounterId {
        if let CounterKey::Queries(zone, slot) = key {
            return self.queries(&zone)[usize::from(slot)];
        }
        if let Some(&id) = self.ids.get(&key) {
            return id;
        }
        let id = self.take(1).unwrap_or(NAMELESS);
        if id != NAMELESS {
            self.ids.insert(key, id);
        }
        id
    }

    /// Ids of a zone's answers by response code slot. A zone that comes when a thousand have been
    /// named shares those of [`OTHER_ZONES`].
    pub fn queries(&mut self, zone: &str) -> [CounterId; RCODE_SLOTS.len()] {
        let zone = if self.zones.len() >= MAX_ZONES && !self.zones.contains_key(zone) { OTHER_ZONES } else { zone };
        let first = self.zones.get(zone).copied().or_else(|| {
            let first = self.take(RCODE_SLOTS.len())?;
            self.zones.insert(zone.into(), first);
            Some(first)
        });
        std::array::from_fn(|slot| first.map_or(NAMELESS, |first| CounterId::at(first.index() + slot)))
    }

    /// The first of so many new ones.
    fn take(&mut self, count: usize) -> Option<CounterId> {
        let first = CounterId(self.next);
        (first.index() + count <= NAMELESS.index()).then(|| {
            self.next += count as u32;
            first
        })
    }

    /// Ids in use: those below it.
    #[must_use]
    pub fn end(&self) -> usize {
        self.next as usize
    }

    /// All names with their ids.
    pub fn iter(&self) -> impl Iterator<Item = (CounterKey, CounterId)> {
        let of_zone = |(zone, first): (&Arc<str>, &CounterId)| {
            let (zone, first) = (zone.clone(), first.index());
            (0..RCODE_SLOTS.len())
                .map(move |slot| (CounterKey::Queries(zone.clone(), slot as u8), CounterId::at(first + slot)))
        };
        self.ids.iter().map(|(key, &id)| (key.clone(), id)).chain(self.zones.iter().flat_map(of_zone))
    }
}

/// One writer's figures: whoever holds them exclusively, or a lock around them, counts.
#[derive(Debug)]
pub struct Cells(Large<AtomicU64>);

impl Default for Cells {
    /// Zeros that come from the system untouched, so that only pages with counters in use take memory.
    fn default() -> Self {
        Self(Large::zeroed(CELLS))
    }
}

impl Cells {
    /// Counts one. A load and a store, no addition in one step: there is one writer.
    #[inline(always)]
    pub fn count(&self, id: CounterId) {
        let cell = &self.0[id.index()]; // ids are below CELLS
        cell.store(cell.load(Ordering::Relaxed) + 1, Ordering::Relaxed);
    }

    /// Begins to fetch what [`count`](Self::count) will write.
    #[inline(always)]
    pub fn prefetch(&self, id: CounterId) {
        crate::model::prefetch_in(&self.0, id.index());
    }

    /// Makes room for so many counters: of many, in large pages.
    pub fn make_room(&self, counters: usize) {
        if counters >= MANY {
            self.0.ask_for_pages(counters);
        }
    }

    /// The figure so far.
    #[must_use]
    pub fn read(&self, id: CounterId) -> u64 {
        self.0[id.index()].load(Ordering::Relaxed)
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
        assert_eq!(cells.read(NAMELESS), 0);
    }

    #[test]
    fn zones_beyond_the_bound_count_together() {
        let mut counters = Counters::default();
        let none = counters.queries("");
        let zones: Vec<_> = (1..MAX_ZONES + 2).map(|n| counters.queries(&format!("zone{n}.example"))).collect();
        assert_ne!(zones[MAX_ZONES - 2], zones[MAX_ZONES - 1]);
        assert_eq!(zones[MAX_ZONES - 1], zones[MAX_ZONES]);
        let other = CounterKey::Queries(OTHER_ZONES.into(), 3);
        assert_eq!(counters.iter().find(|(key, _)| *key == other), Some((other, zones[MAX_ZONES][3])));
        let names = counters.iter().count();
        assert_eq!((counters.queries(""), counters.queries("zone7.example")), (none, zones[6]));
        assert_eq!((counters.queries("new.example"), counters.iter().count()), (zones[MAX_ZONES], names));
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
