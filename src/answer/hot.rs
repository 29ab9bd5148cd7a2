//! Filling the table of names that are answered at once.
//!
//! Ready answers are written by [`respond`](super::respond) itself, so the batched path copies what the other path
//! says and cannot differ from it.

use std::net::{IpAddr, Ipv4Addr};

use super::negative::negatives;
use super::{Asker, Transport, answer_admitted};
use crate::model::{CounterId, Family, ZoneId};
use crate::table::{Cells, HOT_ANSWER, HOT_NAME, HotAnswer, HotBuilder, HotService, Snapshot, rcode_slot};
use crate::wire::Rtype;
use crate::zone::{Found, ZoneTree};

/// Static answers kept ready, at most: 8 MB of lines. Of more, those of the first zones are.
const MAX_FIXED: usize = 65_536;
/// HTTPS (RFC 9460): browsers ask for it wherever they ask for addresses.
const HTTPS: u16 = 65;
/// TC, in octet 2 of the header.
const TRUNCATED: u8 = 2;
/// Types that are asked for at every name, whether it has them or not.
const ASKED_EVERYWHERE: [u16; 3] = [Rtype::A.0, Rtype::AAAA.0, HTTPS];

/// The same snapshot, with its table of hot names filled.
#[must_use]
pub fn with_hot(snapshot: Snapshot) -> Snapshot {
    let fixed = fixed_answers(&snapshot.steering());
    let mut builder = HotBuilder::with_room(snapshot.services.len() + fixed.len());
    for entry in &*snapshot.services {
        let service = snapshot.service(entry);
        let hot = HotService {
            salt: entry.salt,
            counter: entry.counter,
            zone_counter: snapshot.query_counters(Some(service.zone))[0],
        };
        // Where no client subnet is heeded, the other path leaves it out.
        if !service.name.is_wildcard() && snapshot.parts.config.zones[service.zone.index()].ecs {
            builder.steered(service.name.as_wire(), entry.offers, service.plan, entry.ttl, hot);
        }
    }
    for Fixed { name, rtype, answer, octets } in fixed {
        builder.fixed(&name, rtype, answer, &octets);
    }
    builder.negatives(negatives(&snapshot, &Cells::default()));
    snapshot.with_hot(builder.finish())
}

struct Fixed {
    name: Box<[u8]>,
    rtype: u16,
    answer: HotAnswer,
    octets: Vec<u8>,
}

/// What does not depend on who asks, as far as there is room.
fn fixed_answers(snapshot: &Snapshot) -> Vec<Fixed> {
    let (mut fixed, uncounted) = (Vec::new(), Cells::default());
    for (index, zone) in snapshot.parts.zones.iter().enumerate() {
        if !snapshot.parts.config.zones[index].ecs {
            continue;
        }
        let mut names: Vec<_> = zone.nodes().map(|(name, _)| name).filter(|name| name.len() <= HOT_NAME).collect();
        names.sort_unstable(); // so that all nodes keep the same ones
        for name in &names {
            if fixed.len() >= MAX_FIXED {
                return fixed;
            }
            let Some(node) = zone.node(name) else { continue };
            let mut types: Vec<u16> = node.rrsets().map(|rrset| rrset.rtype).chain(ASKED_EVERYWHERE).collect();
            types.sort_unstable();
            types.dedup();
            fixed.extend(
                types.into_iter().filter_map(|rtype| fix(snapshot, &uncounted, (ZoneId::at(index), zone), name, rtype)),
            );
        }
    }
    fixed
}

/// The answer to one question, if it is the same for everybody and short.
fn fix(
    snapshot: &Snapshot,
    uncounted: &Cells,
    (id, zone): (ZoneId, &ZoneTree),
    name: &[u8],
    rtype: u16,
) -> Option<Fixed> {
    // A zone below this one may hold the name.
    if snapshot.parts.zones.find_zone(name)?.0 != id {
        return None;
    }
    let asked_service = match zone.find(name, rtype) {
        Found::Answer { .. } | Found::NoData { .. } => None,
        // A family that the service lacks for everybody.
        Found::Steered { service, .. } => Some(&snapshot.services[service.index()]),
        Found::Cname { .. } | Found::Dname { .. } | Found::Referral { .. } | Found::NxDomain => return None,
    };
    let family = if rtype == Rtype::A.0 { Family::V4 } else { Family::V6 };
    if asked_service.is_some_and(|service| service.offers[family as usize]) {
        return None;
    }
    let (flags, counts, octets) = render(snapshot, uncounted, name, rtype)?;
    let in_upper_case = render(snapshot, uncounted, &name.to_ascii_uppercase(), rtype)?;
    let zone_counter = snapshot.query_counters(Some(id))[usize::from(rcode_slot(u16::from(flags[1] & 0xf)))];
    let service_counter: Option<CounterId> = asked_service.map(|service| service.counter);
    let lower_case_only = in_upper_case.2 != octets;
    let answer = HotAnswer::new(flags, counts, lower_case_only, [Some(zone_counter), service_counter]);
    Some(Fixed { name: name.into(), rtype, answer, octets })
}

/// Octets 2 and 3 of the header, the counts, and what stands behind the question; none where it is
/// longer than every client takes.
pub(super) fn render(
    snapshot: &Snapshot,
    uncounted: &Cells,
    name: &[u8],
    rtype: u16,
) -> Option<([u8; 2], [u16; 3], Vec<u8>)> {
    let mut query = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    query.extend_from_slice(name);
    query.extend(rtype.to_be_bytes());
    query.extend([0, 1]); // class IN
    let nobody = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    let asker = Asker { address: nobody, transport: Transport::Stream, random: 0, now: 0 };
    let mut out = [0; 4096];
    let length = answer_admitted(snapshot, uncounted, asker, &query, &mut out).length;
    let octets = out[..length].get(query.len()..)?.to_vec();
    let count = |at: usize| u16::from_be_bytes([out[at], out[at + 1]]);
    let is_whole = out[2] & TRUNCATED == 0;
    (is_whole && octets.len() <= HOT_ANSWER).then(|| ([out[2], out[3]], [count(6), count(8), count(10)], octets))
}
