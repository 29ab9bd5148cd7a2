//! What stands for a prefix that holds several leaves: a resolver that sends fewer bits than a leaf
//! has asks for all of them at once (RFC 7871 §7.1.1 lets it).
//!
//! The answer is for the location with most weight inside, so for most of the clients that will get
//! it. But a fence must hold for all of them: the fences of all leaves inside apply, and where these
//! differ the prefix is *mixed* (BEHAVIOUR rule 3). Leaves that nothing is known of have no clients:
//! they weigh nothing and mix nothing. Clients that lie in a named prefix or autonomous system but
//! in no country do count, and do mix with those that have one.

use std::collections::HashMap;

use super::partition::{Address, Partition};
use crate::model::{FenceMask, Location, LocationId};

/// So many locations are kept apart while weights are summed up the tree; the lightest are dropped.
const KEPT: usize = 16;

/// Mixed locations are made until there are so many; prefixes beyond that share one that lies in all
/// fences of the whole database and nowhere on the globe. They are those of high addresses.
const MAX_MIXED: usize = 1 << 15;

/// Makes locations for prefixes, over both families.
#[derive(Debug)]
pub(super) struct Summaries<'a> {
    locations: &'a mut Vec<Location>,
    mixed: HashMap<(LocationId, FenceMask), LocationId>,
    overflow: Option<LocationId>,
}

impl<'a> Summaries<'a> {
    pub(super) fn new(locations: &'a mut Vec<Location>) -> Self {
        Self { locations, mixed: HashMap::new(), overflow: None }
    }

    /// One location for each leaf but the first: that of the inner node whose midpoint the leaf
    /// begins at. The first entry is only a filler. `partition` has location ids as values.
    pub(super) fn of<A: Address>(&mut self, partition: &Partition<A>) -> Vec<LocationId> {
        let mut inner = vec![super::UNLOCATED; partition.len()];
        // Finished subtrees from left to right, each longer than the one before it: at most one a bit.
        let mut stack: Vec<(u8, usize, Inside)> = Vec::with_capacity(usize::from(A::WIDTH) + 2);
        for (index, (length, value)) in partition.iter().enumerate() {
            let id = LocationId(value);
            let leaf = Inside::leaf(id, &self.locations[id.index()], A::weight(length));
            stack.push((length, index, leaf));
            // Two finished subtrees of one length are siblings: an upper half is joined at once.
            while let [.., (lower, _, _), (upper, _, _)] = stack[..]
                && lower == upper
            {
                let (_, at, right) = stack.pop().expect("two");
                let (length, _, left) = stack.last_mut().expect("two");
                left.absorb(&right);
                *length -= 1;
                inner[at] = self.location(left);
            }
        }
        inner
    }

    fn location(&mut self, inside: &Inside) -> LocationId {
        let Some(heaviest) = inside.heaviest() else { return super::UNLOCATED };
        if !inside.mixed {
            return heaviest;
        }
        if let Some(&id) = self.mixed.get(&(heaviest, inside.fences)) {
            return id;
        }
        if self.mixed.len() >= MAX_MIXED {
            return *self.overflow.get_or_insert_with(|| {
                let all = self.locations.iter().fold(0, |all, location| all | location.fences.0);
                push(self.locations, Location { fences: FenceMask(all), mixed: true, ..Location::default() })
            });
        }
        let location = Location { fences: inside.fences, mixed: true, ..self.locations[heaviest.index()].clone() };
        let id = push(self.locations, location);
        self.mixed.insert((heaviest, inside.fences), id);
        id
    }
}

fn push(locations: &mut Vec<Location>, location: Location) -> LocationId {
    locations.push(location);
    LocationId::at(locations.len() - 1)
}

/// What lies inside a prefix.
#[derive(Clone, Debug)]
struct Inside {
    weights: [(LocationId, u64); KEPT],
    len: usize,
    fences: FenceMask,
    located: bool,
    mixed: bool,
}

impl Inside {
    fn leaf(id: LocationId, location: &Location, weight: u64) -> Self {
        let len = usize::from(*location != Location::default());
        let weights = [(id, weight); KEPT];
        Self { weights, len, fences: location.fences, located: location.is_located(), mixed: false }
    }

    fn absorb(&mut self, other: &Self) {
        if other.len == 0 {
            return;
        }
        if self.len == 0 {
            *self = other.clone();
            return;
        }
        self.mixed |= other.mixed || self.fences != other.fences || self.located != other.located;
        self.fences.0 |= other.fences.0;
        self.add_weights(&other.weights[..other.len]);
    }

    fn add_weights(&mut self, others: &[(LocationId, u64)]) {
        let mut all = [(LocationId(0), 0); 2 * KEPT];
        all[..self.len].copy_from_slice(&self.weights[..self.len]);
        let mut len = self.len;
        for &(id, weight) in others {
            match all[..self.len].iter_mut().find(|entry| entry.0 == id) {
                Some(entry) => entry.1 += weight,
                None => {
                    all[len] = (id, weight);
                    len += 1;
                }
            }
        }
        if len > KEPT {
            all[..len].sort_unstable_by_key(|&(id, weight)| (std::cmp::Reverse(weight), id));
            len = KEPT;
        }
        self.weights[..len].copy_from_slice(&all[..len]);
        self.len = len;
    }

    /// Of equally heavy ones the first id, so that equal input gives equal output.
    fn heaviest(&self) -> Option<LocationId> {
        self.weights[..self.len].iter().max_by_key(|&&(id, weight)| (weight, std::cmp::Reverse(id))).map(|entry| entry.0)
    }
}
