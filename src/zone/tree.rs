//! The look-up form of a zone, and the look-up (RFC 1034 §4.3.2 step 3, RFC 4592, RFC 6672).

use std::collections::HashMap;
use std::fmt;

use super::data::suffixes;
use super::rrset::RRset;
use super::rtype;
use crate::model::{Name, ServiceId};

/// A zone, immutable, with its services at their names.
///
/// Every name that exists is a node, empty non-terminals too (RFC 4592 §2.2.2), found by its
/// lower-cased wire form in a table with a seed of its own. What lies below a delegation or DNAME is
/// there only as glue and marked as occluded. A name that is not there is answered by its closest
/// encloser, which is found by probing its suffixes, longest first: never more probes than the
/// zone's deepest name has labels.
pub struct ZoneTree {
    pub(super) apex: Name,
    pub(super) nodes: Vec<Node>,
    pub(super) index: HashMap<Box<[u8]>, u32>,
    /// Octets of the longest name of a node: longer suffixes are not probed.
    pub(super) longest: usize,
    pub(super) negative_ttl: u32,
}

/// A name that exists.
#[derive(Debug)]
pub struct Node {
    /// Sorted by type.
    pub(super) rrsets: Box<[RRset]>,
    pub(super) service: Option<ServiceId>,
    /// The node of `*` below this name.
    pub(super) wildcard: Option<u32>,
    pub(super) standing: Standing,
}

/// How a node stands to the zone's cuts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// Authoritative.
    Plain,
    /// A delegation: NS not at the apex.
    Cut,
    /// Owns a DNAME: itself authoritative, nothing below it.
    Dname,
    /// Below a cut: glue.
    Occluded,
}

/// What a zone has for a question. `wildcard` tells that the records are a wildcard's: their owner
/// in the answer is the name asked for (RFC 4592 §3.3.1); so it is where `wildcard` is false.
#[derive(Clone, Copy, Debug)]
pub enum Found<'z, 'n> {
    /// The RRset asked for; for ANY one of those there (RFC 8482 §4.1).
    Answer {
        /// Not of type CNAME unless that was asked for.
        rrset: &'z RRset,
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
        rrset: &'z RRset,
        /// Made from a wildcard.
        wildcard: bool,
    },
    /// The name lies below a DNAME: answer with it and the CNAME made from it (RFC 6672 §3.1).
    Dname {
        /// Its owner: a suffix of the name asked for.
        owner: &'n [u8],
        /// One DNAME.
        rrset: &'z RRset,
    },
    /// The name lies at or below a delegation.
    Referral {
        /// The cut: a suffix of the name asked for.
        owner: &'n [u8],
        /// The NS RRset of the child, for AUTHORITY.
        ns: &'z RRset,
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
    /// The zone's name.
    #[must_use]
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// The SOA RRset: one record.
    #[must_use]
    pub fn soa(&self) -> &RRset {
        self.node(self.apex.as_wire()).and_then(|node| node.rrset(rtype::SOA)).expect("reading asked for a SOA")
    }

    /// The NS RRset of the apex.
    #[must_use]
    pub fn ns(&self) -> &RRset {
        self.node(self.apex.as_wire()).and_then(|node| node.rrset(rtype::NS)).expect("reading asked for NS")
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
            Some(node) if node.standing != Standing::Occluded => node.answer(qname, qtype, false),
            _ => self.find_above(qname, qtype),
        }
    }

    /// The A and AAAA RRsets that the zone holds at a lower-cased wire name, glue below cuts
    /// included, for ADDITIONAL. A steered name has none.
    pub fn addresses(&self, name: &[u8]) -> impl Iterator<Item = &RRset> {
        let rrsets = self.node(name).map_or(&[][..], |node| &node.rrsets);
        rrsets.iter().filter(|rrset| rtype::is_address(rrset.rtype))
    }

    /// Every node with its lower-cased wire name, in no order.
    pub fn nodes(&self) -> impl Iterator<Item = (&[u8], &Node)> {
        self.index.iter().map(|(name, &node)| (&**name, &self.nodes[node as usize]))
    }

    /// The node of exactly that lower-cased wire name.
    #[must_use]
    pub fn node(&self, name: &[u8]) -> Option<&Node> {
        self.index.get(name).map(|&node| &self.nodes[node as usize])
    }

    /// For a name that is not there, or is occluded: what its closest encloser says.
    fn find_above<'z, 'n>(&'z self, qname: &'n [u8], qtype: u16) -> Found<'z, 'n> {
        let above = suffixes(qname).skip(1).skip_while(|suffix| suffix.len() > self.longest);
        for owner in above {
            let Some(node) = self.node(owner) else { continue };
            match node.standing {
                Standing::Occluded => {}
                Standing::Cut => return Found::Referral { owner, ns: node.expect(rtype::NS) },
                Standing::Dname => return Found::Dname { owner, rrset: node.expect(rtype::DNAME) },
                Standing::Plain => return self.synthesise(node, qname, qtype),
            }
        }
        Found::NxDomain
    }

    /// The source of synthesis is `*` at the closest encloser and no other (RFC 4592 §3.3.1).
    fn synthesise<'z, 'n>(&'z self, encloser: &Node, qname: &'n [u8], qtype: u16) -> Found<'z, 'n> {
        let wildcard = encloser.wildcard.map(|node| &self.nodes[node as usize]);
        wildcard.map_or(Found::NxDomain, |node| node.answer(qname, qtype, true))
    }
}

impl Node {
    /// Its RRsets, sorted by type. Addresses of services are not among them.
    #[must_use]
    pub fn rrsets(&self) -> &[RRset] {
        &self.rrsets
    }

    /// Its RRset of that type.
    #[must_use]
    pub fn rrset(&self, rtype: u16) -> Option<&RRset> {
        self.rrsets.iter().find(|rrset| rrset.rtype == rtype)
    }

    /// The service at this name.
    #[must_use]
    pub fn service(&self) -> Option<ServiceId> {
        self.service
    }

    fn expect(&self, rtype: u16) -> &RRset {
        self.rrset(rtype).expect("a cut's standing comes from this RRset")
    }

    /// What this node, not occluded, has for a question that it answers.
    fn answer<'z, 'n>(&'z self, qname: &'n [u8], qtype: u16, wildcard: bool) -> Found<'z, 'n> {
        // The parent's side of a cut answers for DS (RFC 4035 §3.1.4.1).
        if self.standing == Standing::Cut && qtype != rtype::DS {
            return Found::Referral { owner: qname, ns: self.expect(rtype::NS) };
        }
        if let Some(service) = self.service.filter(|_| rtype::is_address(qtype) || qtype == rtype::ANY) {
            return Found::Steered { service, wildcard };
        }
        let found = if qtype == rtype::ANY { self.rrsets.first() } else { self.rrset(qtype) };
        if let Some(rrset) = found {
            return Found::Answer { rrset, wildcard };
        }
        match self.rrset(rtype::CNAME) {
            Some(rrset) => Found::Cname { rrset, wildcard },
            None => Found::NoData { service: self.service },
        }
    }
}

impl fmt::Debug for ZoneTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ZoneTree({}, {} nodes)", self.apex, self.nodes.len())
    }
}
