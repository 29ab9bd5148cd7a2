//! Names and types that do not exist, answered at once: what a flood of random names asks for.
//!
//! The zone is asked as ever whether the name is there; what is ready is the answer, one for each zone.

use super::hot::render;
use super::plain::{Plain, QUESTION_TAIL, head};
use crate::model::ZoneId;
use crate::table::{Cells, HOT_NAME, NEGATIVE, Negative, Snapshot, rcode_slot};
use crate::wire::{HEADER_LENGTH, Rcode, SLOT, name_length};
use crate::zone::{Found, ZoneTree};

/// Of the first zones, at most: half a megabyte.
const MAX_ZONES: usize = 4096;
/// For private use (RFC 6895 §3.1), so that hardly any zone has one of them at its apex.
const PRIVATE: std::ops::Range<u16> = 0xff00..0xff08;
/// Types from here to 255 are no data (RFC 6895 §3.1), and DS stands on the parent's side of a cut.
const FIRST_META: u16 = 128;
const DS: u16 = 43;

/// Those of the first zones, by `ZoneId`.
pub(super) fn negatives(snapshot: &Snapshot, uncounted: &Cells) -> Vec<Option<Negative>> {
    let zones = snapshot.parts.zones.iter().take(MAX_ZONES).enumerate();
    zones.map(|(index, zone)| negative(snapshot, uncounted, ZoneId::at(index), zone)).collect()
}

/// None where it would not be the same for all names, as far as one can see.
fn negative(snapshot: &Snapshot, uncounted: &Cells, id: ZoneId, zone: &ZoneTree) -> Option<Negative> {
    if !snapshot.parts.config.zones[id.index()].ecs {
        return None;
    }
    let apex = zone.apex();
    let missing = PRIVATE.into_iter().find(|&rtype| zone.node(apex).is_some_and(|node| node.rrset(rtype).is_none()))?;
    let soa = zone.soa().rdatas().next()?;
    let primary = &soa[..name_length(soa)?];
    let mailbox = &soa[primary.len()..][..name_length(&soa[primary.len()..])?];
    let record = |name: &[u8]| {
        let is_here = snapshot.parts.zones.find_zone(name).is_some_and(|(found, _)| found == id);
        let (_, counts, octets) = render(snapshot, uncounted, name, missing).filter(|_| is_here)?;
        (counts == [0, 1, 0]).then_some(octets)
    };
    let negative = Negative::new(&record(apex)?, apex, [primary, mailbox])?;
    // A name that is hardly there says whether the rule holds.
    let below = [b"\x02\x01\x02", apex].concat();
    let mut out = [0; NEGATIVE];
    let length = negative.write(&mut out, &below, apex, zone.negative_ttl())?;
    (record(&below)? == out[..length]).then_some(negative)
}

impl Plain {
    /// The answer where the name, or the type there, does not exist; none: the other path answers.
    #[inline(never)]
    pub(super) fn negative(&self, snapshot: &Snapshot, cells: &Cells, slot: &mut [u8; SLOT]) -> Option<usize> {
        if self.rtype == DS || (FIRST_META..256).contains(&self.rtype) {
            return None;
        }
        let folded: [u8; HOT_NAME] = zerocopy::transmute!(self.name.map(u64::to_le));
        let name = &folded[..self.name_length.into()];
        if name_length(name) != Some(name.len()) {
            return None;
        }
        let (id, zone) = snapshot.parts.zones.find_zone(name)?;
        let negative = snapshot.hot.negative(id)?;
        let (rcode, ttl) = match zone.find(name, self.rtype) {
            Found::NxDomain => (Rcode::NXDOMAIN, u32::MAX),
            Found::NoData { service: None } => (Rcode::NOERROR, u32::MAX),
            Found::NoData { service: Some(service) } => (Rcode::NOERROR, snapshot.services[service.index()].ttl),
            _ => return None,
        };
        let apex = zone.apex();
        // What is compressed keeps its case.
        if !slot[HEADER_LENGTH..HEADER_LENGTH + name.len()].ends_with(apex) {
            return None;
        }
        let (subnet, at) = (self.subnet(slot), HEADER_LENGTH + name.len() + QUESTION_TAIL);
        let room = slot[at..].first_chunk_mut().expect("a slot goes on behind the longest question");
        let length = negative.write(room, name, apex, zone.negative_ttl().min(ttl))?;
        head(slot, [0x84, rcode.0 as u8], 0);
        slot[9] = 1;
        cells.count(snapshot.query_counters(Some(id))[usize::from(rcode_slot(rcode.0))]);
        Some(self.put_opt(slot, at + length, subnet, 0))
    }
}
