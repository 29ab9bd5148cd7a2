//! The zones that a server is authoritative for.

use super::data::suffixes;
use super::hash::{Index, tag};
use super::tree::ZoneTree;
use crate::model::ZoneId;

/// All zones, found by the name asked for. Trees are shared: a zone that did not change is the same
/// tree in the next set.
#[derive(Clone, Debug, Default)]
pub struct Zones {
    zones: Box<[ZoneTree]>,
    index: Index,
    /// Bit *n* is set where an apex has *n* labels: names of other depths are not probed.
    depths: u128,
}

impl Zones {
    /// The set of these zones; `ZoneId` indexes into them. Their apexes differ.
    #[must_use]
    pub fn new(zones: Vec<ZoneTree>) -> Self {
        let mut index = Index::with_room(zones.len());
        let mut depths = 0;
        for (at, zone) in zones.iter().enumerate() {
            index.add(tag(zone.apex()), ZoneId::at(at).0);
            depths |= 1 << (suffixes(zone.apex()).count() - 1);
        }
        Self { zones: zones.into(), index, depths }
    }

    /// The zone with the longest apex that `qname` is at or below (RFC 1034 §4.3.2 step 2).
    /// `qname` is in lower-cased, uncompressed wire form.
    #[must_use]
    pub fn find_zone(&self, qname: &[u8]) -> Option<(ZoneId, &ZoneTree)> {
        let mut depth = suffixes(qname).count();
        suffixes(qname).find_map(|suffix| {
            depth -= 1;
            // Only octets that are no name have more than 127 labels.
            if self.depths.checked_shr(u32::try_from(depth).ok()?)? & 1 == 0 {
                return None;
            }
            let id = self.index.find(tag(suffix), |id| self.zones[id as usize].apex() == suffix)?;
            Some((ZoneId(id), &self.zones[id as usize]))
        })
    }

    /// The tree of a zone.
    #[must_use]
    pub fn get(&self, id: ZoneId) -> &ZoneTree {
        &self.zones[id.index()]
    }

    /// All trees, in the order of their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &ZoneTree> {
        self.zones.iter()
    }

    /// How many zones.
    #[must_use]
    pub fn len(&self) -> usize {
        self.zones.len()
    }

    /// Is there none?
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.zones.is_empty()
    }
}
