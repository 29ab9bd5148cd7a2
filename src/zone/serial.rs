//! Does a zone that changed say so?

use super::data::ZoneData;
use super::rtype;
use super::tree::ZoneTree;
use crate::model::Problem;

/// The warning's code.
pub const SERIAL_NOT_RAISED: &str = "serial-not-raised";
/// Octets of SOA behind its serial: refresh, retry, expire, minimum.
const BEHIND_SERIAL: usize = 16;

/// A warning, where the zone's content changed and its serial was not raised (RFC 1982 §3.2): whoever compares
/// serials, people and secondary servers, takes the old one for the new one. `already` tells that `before` was warned
/// of: then it holds until the serial is raised.
#[must_use]
pub fn serial_not_raised(data: &ZoneData, before: &ZoneTree, after: &ZoneTree, already: bool) -> Option<Problem> {
    let [old, new] = [before, after].map(ZoneTree::serial);
    let raised = new.wrapping_sub(old) as i32 > 0;
    let changed = before.arena != after.arena && before.apex() == after.apex();
    if raised || !(changed || already) {
        return None;
    }
    let soa = data.get(after.apex(), rtype::SOA)?;
    let how = if old == new { format!("stayed at {new}") } else { format!("went from {old} to {new}") };
    let message = format!("'{}' changed, but its serial {how}", data.apex());
    let help = format!("raise it above {old}: others see by it that the zone changed");
    Some(Problem::warning(SERIAL_NOT_RAISED, data.file(soa.place), message).at(soa.place.spot()).help(help))
}

impl ZoneTree {
    /// The serial of its SOA.
    #[must_use]
    pub fn serial(&self) -> u32 {
        let soa = self.soa().rdatas().next().expect("a zone has a SOA");
        let end = soa.len() - BEHIND_SERIAL;
        u32::from_be_bytes(*soa[..end].last_chunk().expect("a SOA has five figures"))
    }
}
