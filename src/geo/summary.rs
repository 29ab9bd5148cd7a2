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

/// So many pairs of heaviest location and fences get a mixed location of their own: those that most
/// inner nodes have. The shipped database has 2,431 with one fence on the EU and 6,228 with three
/// disjoint fences. Nodes of the rest share one by country, to which all fences of all leaves apply:
/// stricter than need be, never laxer.
const MAX_MIXED: usize = 1 << 13;

/// Gathers what prefixes over several leaves hold, over both families.
#[derive(Debug)]
pub(super) struct Summaries<'a> {
    locations: &'a [Location],
    pairs: Vec<Pair>,
    ids: HashMap<(LocationId, FenceMask), usize>,
}

#[derive(Clone, Copy, Debug)]
struct Pair {
    heaviest: LocationId,
    fences: FenceMask,
    nodes: usize,
}

/// The locations of inner nodes, as summed up: those of leaves, or one of a mixed pair.
#[derive(Debug)]
pub(super) struct Inner(Vec<LocationId>);

impl<'a> Summaries<'a> {
    pub(super) fn new(locations: &'a [Location]) -> Self {
        Self { locations, pairs: Vec::new(), ids: HashMap::new() }
    }

    /// One entry for each leaf but the first: that of the inner node whose midpoint the leaf begins
    /// at. The first is only a filler. `partition` has location ids as values.
    pub(super) fn of<A: Address>(&mut self, partition: &Partition<A>) -> Inner {
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
        Inner(inner)
    }

    /// For a mixed pair an id past those of `locations`, by its index.
    fn location(&mut self, inside: &Inside) -> LocationId {
        let Some(heaviest) = inside.heaviest() else { return super::UNLOCATED };
        if !inside.mixed {
            return heaviest;
        }
        let fences = inside.fences;
        let index = *self.ids.entry((heaviest, fences)).or_insert_with(|| {
            self.pairs.push(Pair { heaviest, fences, nodes: 0 });
            self.pairs.len() - 1
        });
        self.pairs[index].nodes += 1;
        LocationId::at(self.locations.len() + index)
    }

    /// The mixed locations, to be put behind those of leaves.
    pub(super) fn finish(self) -> Mixed {
        let mut ranked: Vec<usize> = (0..self.pairs.len()).collect();
        ranked.sort_by_key(|&index| std::cmp::Reverse(self.pairs[index].nodes));
        let all = FenceMask(self.locations.iter().fold(0, |all, location| all | location.fences.0));
        let mut by_country = HashMap::new();
        let leaves = self.locations.len();
        let mut mixed = Mixed { leaves, ids: vec![super::UNLOCATED; ranked.len()], locations: Vec::new() };
        for (rank, index) in ranked.into_iter().enumerate() {
            let Pair { heaviest, fences, .. } = self.pairs[index];
            let heaviest = &self.locations[heaviest.index()];
            mixed.ids[index] = if rank < MAX_MIXED {
                mixed.push(heaviest, fences)
            } else {
                *by_country.entry(heaviest.country).or_insert_with(|| mixed.push(heaviest, all))
            };
        }
        mixed
    }
}

/// Locations that stand for prefixes over leaves of different fences.
#[derive(Debug)]
pub(super) struct Mixed {
    leaves: usize,
    ids: Vec<LocationId>, // by pair
    pub(super) locations: Vec<Location>,
}

impl Mixed {
    /// The final ids of inner nodes.
    pub(super) fn resolve(&self, inner: Inner) -> Vec<LocationId> {
        let resolve = |id: LocationId| id.index().checked_sub(self.leaves).map_or(id, |pair| self.ids[pair]);
        inner.0.into_iter().map(resolve).collect()
    }

    fn push(&mut self, heaviest: &Location, fences: FenceMask) -> LocationId {
        self.locations.push(Location { fences, mixed: true, ..heaviest.clone() });
        LocationId::at(self.leaves + self.locations.len() - 1)
    }
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
        self.weights[..self.len]
            .iter()
            .max_by_key(|&&(id, weight)| (weight, std::cmp::Reverse(id)))
            .map(|entry| entry.0)
    }
}
