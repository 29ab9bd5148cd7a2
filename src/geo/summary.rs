//! What stands for a prefix that holds several leaves: a resolver that sends fewer bits than a leaf
//! has asks for all of them at once (RFC 7871 §7.1.1 lets it).
//!
//! The answer is for the location with most weight inside, so for most of the clients that will get
//! it. But a fence must hold for all of them: the fences of all leaves inside apply, and where these
//! differ the prefix is *mixed* (BEHAVIOUR rule 3). Leaves that nothing is known of have no clients:
//! they weigh nothing and mix nothing. Clients that lie in a named prefix or autonomous system but
//! in no country do count, and do mix with those that have one: they may be anywhere, so every fence
//! applies to such a mix.

use std::cmp::Reverse;
use std::collections::HashMap;

use super::hash::IntMap;
use super::partition::{Address, Partition};
use crate::model::{FenceMask, Location, LocationId};

/// So many locations are kept apart while weights are summed up the tree; the lightest are dropped.
const KEPT: usize = 16;

/// So many pairs of heaviest location and fences get a mixed location of their own: those that most
/// inner nodes have. The shipped database has 2,431 with one fence on the EU and 6,228 with three
/// disjoint fences. Nodes of the rest share one by country, to which every fence applies: stricter than
/// need be, never laxer.
const MAX_MIXED: usize = 1 << 13;

/// Stands for the location of an inner node that is that of its first leaf: half of them all.
pub(super) const AS_ITS_FIRST_LEAF: LocationId = LocationId(u32::MAX);

/// Where clients may be anywhere.
const EVERY_FENCE: FenceMask = FenceMask(u64::MAX);

/// Gathers what prefixes over several leaves hold, over both families.
#[derive(Debug)]
pub(super) struct Summaries<'a> {
    locations: &'a [Location],
    /// By location: that of the rest of the place, where it is of a measured network. So there are no more pairs for these.
    plain: &'a [LocationId],
    pairs: Vec<Pair>,
    ids: IntMap<(u32, u64), usize>,
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
    pub(super) fn new(locations: &'a [Location], plain: &'a [LocationId]) -> Self {
        Self { locations, plain, pairs: Vec::new(), ids: IntMap::default() }
    }

    /// One entry for each leaf but the first: that of the inner node whose midpoint the leaf begins
    /// at. The first is only a filler. `partition` has location ids as values.
    pub(super) fn of<A: Address>(&mut self, partition: &Partition<A>) -> Inner {
        let mut inner = vec![AS_ITS_FIRST_LEAF; partition.len()];
        // Finished subtrees from left to right, each longer than the one before it: at most one a bit.
        let mut stack: Vec<(u8, usize, Inside)> = Vec::with_capacity(usize::from(A::WIDTH) + 2);
        let mut weights = Vec::with_capacity(KEPT * stack.capacity());
        for (index, (_, length, value)) in partition.iter().enumerate() {
            let id = LocationId(value);
            let leaf = Inside::leaf(id, &self.locations[id.index()], A::weight(length), &mut weights);
            stack.push((length, index, leaf));
            // Two finished subtrees of one length are siblings: an upper half is joined at once.
            while let [.., (lower, _, _), (upper, _, _)] = stack[..]
                && lower == upper
            {
                let (_, at, right) = stack.pop().expect("two");
                let (length, _, left) = stack.last_mut().expect("two");
                left.absorb(&right, &mut weights);
                *length -= 1;
                let location = self.location(left, &weights);
                inner[at] = if location == left.first { AS_ITS_FIRST_LEAF } else { location };
            }
        }
        Inner(inner)
    }

    /// For a mixed pair an id past those of `locations`, by its index.
    fn location(&mut self, inside: &Inside, weights: &[Weight]) -> LocationId {
        let Some(heaviest) = inside.heaviest(weights) else { return super::UNLOCATED };
        if !inside.mixed {
            return heaviest;
        }
        let (heaviest, fences) = (self.plain[heaviest.index()], inside.fences);
        let index = *self.ids.entry((heaviest.0, fences.0)).or_insert_with(|| {
            self.pairs.push(Pair { heaviest, fences, nodes: 0 });
            self.pairs.len() - 1
        });
        self.pairs[index].nodes += 1;
        LocationId::at(self.locations.len() + index)
    }

    /// The mixed locations, to be put behind those of leaves.
    pub(super) fn finish(self) -> Mixed {
        let mut ranked: Vec<usize> = (0..self.pairs.len()).collect();
        ranked.sort_by_key(|&index| Reverse(self.pairs[index].nodes));
        let mut by_country = HashMap::new();
        let leaves = self.locations.len();
        let mut mixed = Mixed { leaves, ids: vec![super::UNLOCATED; ranked.len()], locations: Vec::new() };
        for (rank, index) in ranked.into_iter().enumerate() {
            let Pair { heaviest, fences, .. } = self.pairs[index];
            let heaviest = &self.locations[heaviest.index()];
            mixed.ids[index] = if rank < MAX_MIXED {
                mixed.push(heaviest, fences)
            } else {
                *by_country.entry(heaviest.country).or_insert_with(|| mixed.push(heaviest, EVERY_FENCE))
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
        let resolve = |id: LocationId| match id.index().checked_sub(self.leaves) {
            Some(pair) if id != AS_ITS_FIRST_LEAF => self.ids[pair],
            _ => id,
        };
        inner.0.into_iter().map(resolve).collect()
    }

    fn push(&mut self, heaviest: &Location, fences: FenceMask) -> LocationId {
        self.locations.push(Location { fences, mixed: true, ..heaviest.clone() });
        LocationId::at(self.leaves + self.locations.len() - 1)
    }
}

type Weight = (LocationId, u64);

/// What lies inside a prefix. Its weights are those from `from` on, in a stack that all share.
#[derive(Clone, Copy, Debug)]
struct Inside {
    from: usize,
    first: LocationId,
    fences: FenceMask,
    located: bool,
    mixed: bool,
    /// There are no clients inside.
    empty: bool,
}

impl Inside {
    fn leaf(id: LocationId, location: &Location, weight: u64, weights: &mut Vec<Weight>) -> Self {
        let (from, empty) = (weights.len(), *location == Location::default());
        if !empty {
            weights.push((id, weight));
        }
        Self { from, first: id, fences: location.fences, located: location.is_located(), mixed: false, empty }
    }

    /// `upper` is what was put on the stack after this.
    fn absorb(&mut self, upper: &Self, weights: &mut Vec<Weight>) {
        if upper.empty || self.empty {
            *self = if upper.empty { *self } else { Self { first: self.first, ..*upper } };
            return;
        }
        self.mixed |= upper.mixed || self.fences != upper.fences || self.located != upper.located;
        self.fences.0 |= upper.fences.0;
        if self.located != upper.located {
            self.fences = EVERY_FENCE;
        }
        let mut end = upper.from;
        for at in upper.from..weights.len() {
            let (id, weight) = weights[at];
            if let Some(own) = weights[self.from..upper.from].iter_mut().find(|own| own.0 == id) {
                own.1 += weight;
            } else {
                weights[end] = (id, weight);
                end += 1;
            }
        }
        weights.truncate(end);
        if end - self.from > KEPT {
            weights[self.from..].sort_unstable_by_key(|&(id, weight)| (Reverse(weight), id));
            weights.truncate(self.from + KEPT);
        }
    }

    /// Of equally heavy ones the first id, so that equal input gives equal output.
    fn heaviest(&self, weights: &[Weight]) -> Option<LocationId> {
        weights[self.from..].iter().max_by_key(|&&(id, weight)| (weight, Reverse(id))).map(|entry| entry.0)
    }
}
