//! The look-up form of a zone, and the look-up (RFC 1034 §4.3.2 step 3, RFC 4592, RFC 6672).

use std::fmt;
use std::sync::Arc;

use super::data::downwards;
use super::hash::{Tag, tag};
use super::rrset::{RRset, take};
use super::rtype;
use crate::model::{Name, ServiceId, prefetch};

/// A zone, immutable, with its services at their names; a clone is the same zone.
///
/// Every name that exists is a node, empty non-terminals too (RFC 4592 §2.2.2), found by its
/// lower-cased wire form. What lies below a delegation or DNAME is there only as glue and marked as
/// occluded. A name that is not there is answered by its closest encloser, which is found on the way
/// down from the apex: a step for each label until a name does not exist.
///
/// All of it lies in one piece of memory, so that a zone costs one allocation and a look-up few cache
/// lines. What is long lies behind what is short: names are close to each other. Integers are
/// big-endian, places are octets of the arena:
///
/// ```text
/// arena: slot… apex node… rrsets…     the first node is the apex's
/// slot:  tag 4, place 4        of a node; 0: empty; open addressing
/// apex:  length 1, name
/// node:  length 1, name without the apex, mark 1, [service 4], [place of its wildcard 4], rrsets or their place 4
/// rrsets: how many 2, RRset…   sorted by type
/// RRset: type 2, records 2, TTL 4, length 2, (RDLENGTH 2, RDATA)…
/// ```
#[derive(Clone)]
pub struct ZoneTree {
    pub(super) arena: Arc<[u8]>,
    /// A power of two, less than full.
    pub(super) slots: u32,
    pub(super) negative_ttl: u32,
}

/// Octets of a slot.
pub(super) const SLOT: usize = 8;
/// In a node's mark, beside its standing.
pub(super) const HAS_SERVICE: u8 = 4;
pub(super) const HAS_WILDCARD: u8 = 8;
pub(super) const IS_LONG: u8 = 16;
/// Octets of the RRsets of a node that stand in it.
pub(super) const SHORT: usize = 64;
/// Of a zone with so many slots a look-up is likely to touch the first octets only.
const FEW_SLOTS: u32 = 32;
const FIRST: usize = 320;

/// A name that exists: a view of its zone.
#[derive(Clone, Copy)]
pub struct Node<'z> {
    mark: u8,
    /// What stands behind the mark.
    rest: &'z [u8],
    arena: &'z [u8],
}

/// The RRsets of a node, sorted by type.
#[derive(Clone, Copy)]
pub struct RRsets<'z> {
    left: u16,
    rest: &'z [u8],
}

/// How a node stands to the zone's cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Authoritative.
    Plain = 0,
    /// A delegation: NS not at the apex.
    Cut = 1,
    /// Owns a DNAME: itself authoritative, nothing below it.
    Dname = 2,
    /// Below a cut: glue.
    Occluded = 3,
}

/// What a zone has for a question. `wildcard` tells that the records are a wildcard's: their owner
/// in the answer is the name asked for (RFC 4592 §3.3.1); so it is where `wildcard` is false.
#[derive(Clone, Copy, Debug)]
pub enum Found<'z, 'n> {
    /// The RRset asked for; for ANY the smallest of those there (RFC 8482 §4.1).
    Answer {
        /// Not of type CNAME unless that was asked for.
        rrset: RRset<'z>,
        /// Made from a wildcard.
        wildcard: bool,
    },
    /// A, AAAA or ANY at a steered name: its service answers.
    Steered {
        /// The service put at the name, or at the wildcard that covers it.
        service: ServiceId,
        /// Made from a wildcard.
        wildcard: bool,
    },
    /// The name is an alias: answer with it, then go on with its target.
    Cname {
        /// One CNAME.
        rrset: RRset<'z>,
        /// Made from a wildcard.
        wildcard: bool,
    },
    /// The name lies below a DNAME: answer with it and the CNAME made from it (RFC 6672 §3.1).
    Dname {
        /// Its owner: a suffix of the name asked for.
        owner: &'n [u8],
        /// One DNAME.
        rrset: RRset<'z>,
    },
    /// The name lies at or below a delegation.
    Referral {
        /// The cut: a suffix of the name asked for.
        owner: &'n [u8],
        /// The NS RRset of the child, for AUTHORITY.
        ns: RRset<'z>,
    },
    /// The name exists, the type does not (RFC 2308 §2.2).
    NoData {
        /// The service at the name, whose TTL bounds the negative one.
        service: Option<ServiceId>,
    },
    /// The name does not exist, nor anything below it (RFC 8020).
    NxDomain,
}

impl ZoneTree {
    /// The zone's name in lower-cased wire form.
    #[inline]
    #[must_use]
    pub fn apex(&self) -> &[u8] {
        self.name_at(self.slots as usize * SLOT)
    }

    /// The SOA RRset: one record.
    #[must_use]
    pub fn soa(&self) -> RRset<'_> {
        self.apex_node().rrset(rtype::SOA).expect("reading asked for a SOA")
    }

    /// The NS RRset of the apex.
    #[must_use]
    pub fn ns(&self) -> RRset<'_> {
        self.apex_node().rrset(rtype::NS).expect("reading asked for NS")
    }

    /// Seconds that a negative answer may be kept, and the TTL of the SOA in it: the smaller of the
    /// SOA's own TTL and its minimum field (RFC 2308 §3).
    #[must_use]
    pub fn negative_ttl(&self) -> u32 {
        self.negative_ttl
    }

    /// What the zone has for `qname`, which is at or below the apex: lower-cased, uncompressed wire
    /// form, the root's zero included.
    #[must_use]
    pub fn find<'z, 'n>(&'z self, qname: &'n [u8], qtype: u16) -> Found<'z, 'n> {
        match self.node(qname) {
            Some(node) if node.standing() != Standing::Occluded => node.answer(qname, qtype, false),
            _ => self.find_above(qname, qtype),
        }
    }

    /// The A and AAAA RRsets that the zone holds at a lower-cased wire name, glue below cuts
    /// included, for ADDITIONAL. A steered name has none.
    pub fn addresses<'z>(&'z self, name: &[u8]) -> impl Iterator<Item = RRset<'z>> + use<'z> {
        let rrsets = self.node(name).map_or(RRsets { left: 0, rest: &[] }, |node| node.rrsets());
        rrsets.filter(|rrset| rtype::is_address(rrset.rtype))
    }

    /// Every node with its lower-cased wire name, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = (Box<[u8]>, Node<'_>)> {
        let places = (0..self.slots).map(|slot| self.slot(slot).1 as usize).filter(|&place| place != 0);
        places.map(|place| ([self.name_at(place), self.apex()].concat().into(), self.node_at(place)))
    }

    /// The node of exactly that lower-cased wire name.
    #[inline]
    #[must_use]
    pub fn node(&self, name: &[u8]) -> Option<Node<'_>> {
        let (tag, mask) = (tag(name), self.slots - 1);
        let below_apex = name.strip_suffix(self.apex())?;
        let mut slot = tag & mask;
        loop {
            match self.slot(slot) {
                (_, 0) => return None,
                (other, place) if other == tag && self.name_at(place as usize) == below_apex => {
                    return Some(self.node_at(place as usize));
                }
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    /// For a name that is not there, or is occluded: what its closest encloser says, or the cut above.
    fn find_above<'z, 'n>(&'z self, qname: &'n [u8], qtype: u16) -> Found<'z, 'n> {
        let mut encloser = None::<Node<'_>>;
        for owner in downwards(qname, self.apex().len()).filter(|owner| owner.len() < qname.len()) {
            let Some(node) = self.node(owner) else { break };
            match node.standing() {
                Standing::Cut => return Found::Referral { owner, ns: node.expect(rtype::NS) },
                Standing::Dname => return Found::Dname { owner, rrset: node.expect(rtype::DNAME) },
                Standing::Plain | Standing::Occluded => encloser = Some(node),
            }
        }
        // The source of synthesis is `*` at the closest encloser and no other (RFC 4592 §3.3.1).
        let wildcard = encloser.and_then(Node::wildcard);
        wildcard.map_or(Found::NxDomain, |place| self.node_at(place as usize).answer(qname, qtype, true))
    }

    /// Begins to bring near what a look-up will touch: with many zones it is far away, and all of it
    /// comes in the time of one part.
    #[inline]
    pub(super) fn prefetch(&self) {
        if let Some(first) = self.arena.first_chunk::<FIRST>().filter(|_| self.slots <= FEW_SLOTS) {
            first.iter().step_by(64).for_each(prefetch);
        }
    }

    #[inline]
    fn slot(&self, slot: u32) -> (Tag, u32) {
        let mut slot = &self.arena[slot as usize * SLOT..][..SLOT];
        (Tag::from_be_bytes(take(&mut slot)), u32::from_be_bytes(take(&mut slot)))
    }

    fn apex_node(&self) -> Node<'_> {
        self.node_at(self.slots as usize * SLOT + 1 + self.apex().len())
    }

    #[inline]
    fn name_at(&self, place: usize) -> &[u8] {
        &self.arena[place + 1..][..usize::from(self.arena[place])]
    }

    #[inline]
    fn node_at(&self, place: usize) -> Node<'_> {
        let [mark, rest @ ..] = &self.arena[place + 1 + usize::from(self.arena[place])..] else {
            unreachable!("a mark stands behind each name");
        };
        Node { mark: *mark, rest, arena: &self.arena }
    }
}

impl<'z> Node<'z> {
    /// Its RRsets, sorted by type. Addresses of services are not among them.
    #[inline]
    #[must_use]
    pub fn rrsets(&self) -> RRsets<'z> {
        let optional = (self.mark & (HAS_SERVICE | HAS_WILDCARD)).count_ones() as usize;
        let mut rest = &self.rest[4 * optional..];
        if self.mark & IS_LONG != 0 {
            rest = &self.arena[u32::from_be_bytes(take(&mut rest)) as usize..];
        }
        RRsets { left: u16::from_be_bytes(take(&mut rest)), rest }
    }

    /// Its RRset of that type.
    #[inline]
    #[must_use]
    pub fn rrset(&self, rtype: u16) -> Option<RRset<'z>> {
        self.rrsets().find(|rrset| rrset.rtype == rtype)
    }

    /// The service at this name.
    #[inline]
    #[must_use]
    pub fn service(&self) -> Option<ServiceId> {
        (self.mark & HAS_SERVICE != 0).then(|| ServiceId(u32::from_be_bytes(take(&mut &*self.rest))))
    }

    /// The place of `*` below this name.
    fn wildcard(self) -> Option<u32> {
        let mut rest = &self.rest[if self.mark & HAS_SERVICE == 0 { 0 } else { 4 }..];
        (self.mark & HAS_WILDCARD != 0).then(|| u32::from_be_bytes(take(&mut rest)))
    }

    #[inline]
    fn standing(self) -> Standing {
        match self.mark & 3 {
            0 => Standing::Plain,
            1 => Standing::Cut,
            2 => Standing::Dname,
            _ => Standing::Occluded,
        }
    }

    fn expect(&self, rtype: u16) -> RRset<'z> {
        self.rrset(rtype).expect("a cut's standing comes from this RRset")
    }

    /// What ANY gets (RFC 8482 §4.1): of each record count owner, type, class, TTL and length too.
    fn smallest(&self) -> Option<RRset<'z>> {
        self.rrsets().min_by_key(|rrset| rrset.octets().len() + 10 * rrset.len())
    }

    /// What this node, not occluded, has for a question that it answers.
    fn answer<'n>(&self, qname: &'n [u8], qtype: u16, wildcard: bool) -> Found<'z, 'n> {
        // The parent's side of a cut answers for DS (RFC 4035 §3.1.4.1).
        if self.standing() == Standing::Cut && qtype != rtype::DS {
            return Found::Referral { owner: qname, ns: self.expect(rtype::NS) };
        }
        if let Some(service) = self.service().filter(|_| rtype::is_address(qtype) || qtype == rtype::ANY) {
            return Found::Steered { service, wildcard };
        }
        let found = if qtype == rtype::ANY { self.smallest() } else { self.rrset(qtype) };
        if let Some(rrset) = found {
            return Found::Answer { rrset, wildcard };
        }
        match self.rrset(rtype::CNAME) {
            Some(rrset) => Found::Cname { rrset, wildcard },
            None => Found::NoData { service: self.service() },
        }
    }
}

impl<'z> Iterator for RRsets<'z> {
    type Item = RRset<'z>;

    #[inline]
    fn next(&mut self) -> Option<RRset<'z>> {
        self.left = self.left.checked_sub(1)?;
        Some(RRset::take(&mut self.rest))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left.into(), Some(self.left.into()))
    }
}

impl ExactSizeIterator for RRsets<'_> {}

impl fmt::Debug for Node<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} {:?}", self.standing(), self.service(), self.rrsets())
    }
}

impl fmt::Debug for RRsets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(*self).finish()
    }
}

impl fmt::Debug for ZoneTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let apex = Name::from_wire(self.apex()).expect("an apex is a whole name");
        write!(f, "ZoneTree({apex}, {} nodes)", self.nodes().count())
    }
}
