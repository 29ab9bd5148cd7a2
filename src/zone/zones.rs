//! The zones that a server is authoritative for.

use super::data::suffixes;
use super::hash::{Tag, slots_for, tag};
use super::tree::ZoneTree;
use crate::model::ZoneId;

/// All zones, found by the name asked for. Trees are shared: a zone that did not change is the same
/// tree in the next set.
#[derive(Clone, Debug, Default)]
pub struct Zones {
    /// Open addressing by the apex's tag; a power of two, or none. Each slot has all that leads into
    /// its zone, so that finding one costs one cache line.
    slots: Box<[Option<Slot>]>,
    /// Where each zone stands, by its id.
    places: Box<[u32]>,
    /// Bit *n* is set where an apex has *n* labels: names of other depths are not probed.
    depths: [u64; 2],
}

#[derive(Clone, Debug)]
struct Slot {
    tree: ZoneTree,
    tag: Tag,
    id: ZoneId,
}

impl Zones {
    /// The set of these zones; `ZoneId` indexes into them. Their apexes differ.
    #[must_use]
    pub fn new(zones: Vec<ZoneTree>) -> Self {
        let mut slots: Box<[Option<Slot>]> = vec![None; slots_for(zones.len())].into();
        let mut places = Vec::with_capacity(zones.len());
        let mut depths = [0; 2];
        for (at, tree) in zones.into_iter().enumerate() {
            let depth = suffixes(tree.apex()).count() - 1;
            depths[depth / 64] |= 1 << (depth % 64);
            let tag = tag(tree.apex());
            let mut place = tag as usize & (slots.len() - 1);
            while slots[place].is_some() {
                place = (place + 1) & (slots.len() - 1);
            }
            slots[place] = Some(Slot { tree, tag, id: ZoneId::at(at) });
            places.push(u32::try_from(place).expect("ids bound the number of zones"));
        }
        Self { slots, places: places.into(), depths }
    }

    /// The zone with the longest apex that `qname` is at or below (RFC 1034 §4.3.2 step 2).
    /// `qname` is in lower-cased, uncompressed wire form.
    #[must_use]
    pub fn find_zone(&self, qname: &[u8]) -> Option<(ZoneId, &ZoneTree)> {
        let mut depth = suffixes(qname).count();
        for suffix in suffixes(qname) {
            depth -= 1;
            // Only octets that are no name have more than 127 labels.
            if self.depths.get(depth / 64).is_none_or(|depths| depths >> (depth % 64) & 1 == 0) {
                continue;
            }
            let (tag, mask) = (tag(suffix), self.slots.len() - 1);
            let mut place = tag as usize & mask;
            while let Some(slot) = &self.slots[place] {
                if slot.tag == tag {
                    slot.tree.prefetch();
                    if slot.tree.apex() == suffix {
                        return Some((slot.id, &slot.tree));
                    }
                }
                place = (place + 1) & mask;
            }
        }
        None
    }

    /// The tree of a zone.
    #[must_use]
    pub fn get(&self, id: ZoneId) -> &ZoneTree {
        self.at(self.places[id.index()])
    }

    /// All trees, in the order of their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &ZoneTree> {
        self.places.iter().map(|&place| self.at(place))
    }

    fn at(&self, place: u32) -> &ZoneTree {
        &self.slots[place as usize].as_ref().expect("a zone's place is taken").tree
    }

    /// How many zones.
    #[must_use]
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }
}
