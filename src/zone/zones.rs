//! The zones that a server is authoritative for.

use std::collections::HashMap;
use std::sync::Arc;

use super::data::suffixes;
use super::tree::ZoneTree;
use crate::model::ZoneId;

/// All zones, found by the name asked for. Trees are shared: a zone that did not change is the same
/// tree in the next set.
#[derive(Clone, Debug, Default)]
pub struct Zones {
    zones: Vec<Arc<ZoneTree>>,
    index: HashMap<Box<[u8]>, ZoneId>,
    /// Octets of the longest apex: longer suffixes are not probed.
    longest: usize,
}

impl Zones {
    /// The set of these zones; `ZoneId` indexes into them. Their apexes differ.
    #[must_use]
    pub fn new(zones: Vec<Arc<ZoneTree>>) -> Self {
        let index: HashMap<Box<[u8]>, ZoneId> =
            zones.iter().enumerate().map(|(at, zone)| (zone.apex().as_wire().into(), ZoneId::at(at))).collect();
        let longest = index.keys().map(|apex| apex.len()).max().unwrap_or(0);
        Self { zones, index, longest }
    }

    /// The zone with the longest apex that `qname` is at or below (RFC 1034 §4.3.2 step 2).
    /// `qname` is in lower-cased, uncompressed wire form.
    #[must_use]
    pub fn find_zone(&self, qname: &[u8]) -> Option<(ZoneId, &ZoneTree)> {
        let mut candidates = suffixes(qname).skip_while(|suffix| suffix.len() > self.longest);
        candidates.find_map(|suffix| self.index.get(suffix).map(|&id| (id, &*self.zones[id.index()])))
    }

    /// The tree of a zone.
    #[must_use]
    pub fn get(&self, id: ZoneId) -> &Arc<ZoneTree> {
        &self.zones[id.index()]
    }

    /// All trees, in the order of their ids.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Arc<ZoneTree>> {
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
