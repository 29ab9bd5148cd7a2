//! Layout of the look-up form: nodes and their RRsets, then the arena that they are written to.

use super::build::standing;
use super::data::{Draft, ZoneData, downwards};
use super::hash::{Index, Tag, slots_for, tag};
use super::rrset::{self, RRset};
use super::rtype;
use super::tree::{HAS_SERVICE, HAS_WILDCARD, IS_LONG, SHORT, SLOT, Standing, ZoneTree};
use crate::model::ServiceId;

/// Gathers the nodes of a zone; the apex is the first.
pub(super) struct Builder<'d> {
    data: &'d ZoneData,
    nodes: Vec<Node<'d>>,
    /// The RRsets of all nodes, those of one node together and sorted by type.
    drafts: Vec<&'d Draft>,
    /// Names → nodes.
    index: Index,
}

/// A node to be written.
struct Node<'d> {
    /// Its name without the apex.
    below_apex: &'d [u8],
    tag: Tag,
    standing: Standing,
    service: Option<ServiceId>,
    /// The node of `*` below it.
    wildcard: Option<u32>,
    /// Its RRsets among the drafts.
    first: u32,
    count: u16,
    /// Octets of its RRsets.
    rrsets: usize,
    /// Where in the arena it is to be, and its RRsets if they are long.
    place: u32,
    rrsets_place: u32,
}

impl<'d> Builder<'d> {
    pub(super) fn new(data: &'d ZoneData) -> Self {
        let names = data.owners().len() + 1;
        let mut builder =
            Self { data, nodes: Vec::with_capacity(names), drafts: Vec::new(), index: Index::with_room(names) };
        builder.reach(data.apex().as_wire());
        builder
    }

    /// Puts the RRsets of a name into the zone, in any order, each name once. Without any, the name
    /// does not exist.
    pub(super) fn add_records(&mut self, name: &'d [u8], drafts: &mut [&'d Draft]) {
        if drafts.is_empty() {
            return;
        }
        drafts.sort_unstable_by_key(|draft| draft.rtype);
        let node = self.reach(name);
        self.nodes[node].first = u32::try_from(self.drafts.len()).expect("a zone's records are bounded");
        self.nodes[node].count = u16::try_from(drafts.len()).expect("a name has each type once");
        self.drafts.extend_from_slice(drafts);
    }

    /// Puts a service at a name.
    pub(super) fn add_service(&mut self, name: &'d [u8], service: ServiceId) {
        let node = self.reach(name);
        self.nodes[node].service = Some(service);
    }

    /// The node of a name, made if it is new, with the empty non-terminals above it.
    fn reach(&mut self, name: &'d [u8]) -> usize {
        let mut above = None;
        for name in downwards(name, self.data.apex().as_wire().len()) {
            let (node, is_new) = self.node(name);
            if let Some(above) = above.filter(|_| is_new && name.starts_with(b"\x01*")) {
                self.nodes[above as usize].wildcard = Some(node);
            }
            above = Some(node);
        }
        above.expect("every name of a zone is at or below its apex") as usize
    }

    fn node(&mut self, name: &'d [u8]) -> (u32, bool) {
        let tag = tag(name);
        let below_apex = &name[..name.len() - self.data.apex().as_wire().len()];
        if let Some(node) = self.index.find(tag, |node| self.nodes[node as usize].below_apex == below_apex) {
            return (node, false);
        }
        let node = u32::try_from(self.nodes.len()).expect("memory ends before");
        let standing = standing(self.data, name);
        let (service, wildcard) = (None, None);
        let (first, count, rrsets, place, rrsets_place) = (0, 0, 0, 0, 0);
        self.nodes.push(Node {
            below_apex,
            tag,
            standing,
            service,
            wildcard,
            first,
            count,
            rrsets,
            place,
            rrsets_place,
        });
        self.index.add(tag, node);
        (node, true)
    }

    /// The zone; none where places in it would not fit their integers.
    pub(super) fn finish(mut self) -> Option<ZoneTree> {
        let slots = slots_for(self.nodes.len());
        let apex = self.data.apex().as_wire();
        let end = self.lay_out(slots * SLOT + 1 + apex.len())?;
        let mut arena = Vec::with_capacity(end);
        self.write_slots(&mut arena, slots);
        write_name(&mut arena, apex);
        for node in &self.nodes {
            self.write_node(&mut arena, node);
        }
        for node in self.nodes.iter().filter(|node| node.is_long()) {
            self.write_rrsets(&mut arena, node);
        }
        debug_assert_eq!(arena.len(), end, "the layout is what is written");
        let slots = u32::try_from(slots).ok()?;
        Some(ZoneTree { arena: arena.into(), slots, negative_ttl: negative_ttl(self.data) })
    }

    /// Gives nodes and long RRsets their places from `end` on; where they end.
    fn lay_out(&mut self, mut end: usize) -> Option<usize> {
        for at in 0..self.nodes.len() {
            let drafts = self.drafts_of(&self.nodes[at]).iter();
            let rrsets = 2 + drafts.map(|draft| rrset::HEAD + usize::from(draft.octets)).sum::<usize>();
            let node = &mut self.nodes[at];
            (node.place, node.rrsets) = (u32::try_from(end).ok()?, rrsets);
            end += node.octets();
        }
        for node in self.nodes.iter_mut().filter(|node| node.is_long()) {
            node.rrsets_place = u32::try_from(end).ok()?;
            end += node.rrsets;
        }
        Some(end)
    }

    fn drafts_of(&self, node: &Node<'d>) -> &[&'d Draft] {
        &self.drafts[node.first as usize..][..node.count.into()]
    }

    fn write_slots(&self, arena: &mut Vec<u8>, slots: usize) {
        arena.resize(slots * SLOT, 0);
        for node in &self.nodes {
            let mut slot = node.tag as usize & (slots - 1);
            while arena[slot * SLOT + 4..][..4] != [0; 4] {
                slot = (slot + 1) & (slots - 1);
            }
            arena[slot * SLOT..][..4].copy_from_slice(&node.tag.to_be_bytes());
            arena[slot * SLOT + 4..][..4].copy_from_slice(&node.place.to_be_bytes());
        }
    }

    fn write_node(&self, arena: &mut Vec<u8>, node: &Node<'d>) {
        write_name(arena, node.below_apex);
        let service = if node.service.is_some() { HAS_SERVICE } else { 0 };
        let wildcard = if node.wildcard.is_some() { HAS_WILDCARD } else { 0 };
        let long = if node.is_long() { IS_LONG } else { 0 };
        arena.push(node.standing as u8 | service | wildcard | long);
        arena.extend(node.service.iter().flat_map(|service| service.0.to_be_bytes()));
        arena.extend(node.wildcard.iter().flat_map(|&below| self.nodes[below as usize].place.to_be_bytes()));
        if node.is_long() {
            arena.extend(node.rrsets_place.to_be_bytes());
        } else {
            self.write_rrsets(arena, node);
        }
    }

    fn write_rrsets(&self, arena: &mut Vec<u8>, node: &Node<'d>) {
        arena.extend(node.count.to_be_bytes());
        for draft in self.drafts_of(node) {
            RRset::put(arena, draft.rtype, draft.ttl, self.data.rdatas(draft));
        }
    }
}

impl Node<'_> {
    /// Octets of the node: length, name, mark, service, wildcard, RRsets.
    fn octets(&self) -> usize {
        let optional = usize::from(self.service.is_some()) + usize::from(self.wildcard.is_some());
        1 + self.below_apex.len() + 1 + 4 * optional + if self.is_long() { 4 } else { self.rrsets }
    }

    /// Do its RRsets stand behind all nodes?
    fn is_long(&self) -> bool {
        self.rrsets > SHORT
    }
}

fn write_name(arena: &mut Vec<u8>, name: &[u8]) {
    arena.push(u8::try_from(name.len()).expect("a name has 255 octets at the most"));
    arena.extend(name);
}

fn negative_ttl(data: &ZoneData) -> u32 {
    let soa = data.get(data.apex().as_wire(), rtype::SOA);
    soa.and_then(|soa| Some(soa.ttl.min(soa_minimum(data.rdatas(soa).next()?)?))).unwrap_or(0)
}

/// The minimum field: the last four octets of the data (RFC 1035 §3.3.13).
pub(super) fn soa_minimum(rdata: &[u8]) -> Option<u32> {
    rdata.last_chunk().map(|octets| u32::from_be_bytes(*octets))
}
