//! From a question to what the zones say of it: one function per DNS outcome.

use std::hash::{DefaultHasher, Hasher as _};

use super::Asker;
use crate::config::Config;
use crate::model::ZoneId;
use crate::table::{Cells, Snapshot};
use crate::wire::{Class, Ending, ExtendedError, Full, Query, Rcode, Rtype, Section, Writer, name_length};
use crate::zone::{Found, RRset, ZoneTree, is_at_or_below};

/// Aliases followed in one answer. Beyond, the answer ends with the last alias and the client asks on.
const MAX_ALIASES: usize = 8;
/// Octets of the longest name.
const MAX_NAME: usize = 255;
/// Octets of the longest string in a TXT record.
const MAX_TEXT: usize = 255;

/// Extended errors (RFC 8914 §4).
const NOT_AUTHORITATIVE: u16 = 20;
const NOT_SUPPORTED: u16 = 21;

/// One answer being made.
pub(super) struct Resolution<'s, 'q, 'b> {
    pub(super) snapshot: &'s Snapshot,
    pub(super) cells: &'s Cells,
    pub(super) asker: Asker,
    pub(super) query: &'q Query<'q>,
    pub(super) writer: Writer<'b>,
    pub(super) ending: Ending<'s>,
    /// The zone of the question.
    zone: Option<ZoneId>,
    silent: bool,
}

/// A name as it is asked for: as it stands in the question or an alias, and lower-cased.
#[derive(Clone)]
struct Asked {
    sent: [u8; MAX_NAME],
    folded: [u8; MAX_NAME],
    length: usize,
}

impl Asked {
    fn new(name: &[u8]) -> Self {
        let mut asked = Self { sent: [0; MAX_NAME], folded: [0; MAX_NAME], length: name.len() };
        asked.sent[..name.len()].copy_from_slice(name);
        asked.folded[..name.len()].copy_from_slice(name);
        asked.folded.make_ascii_lowercase(); // length octets are below 'A'
        asked
    }

    fn sent(&self) -> &[u8] {
        &self.sent[..self.length]
    }

    /// Its last octets, a name above it, as they were sent: so it is compressed with what is there.
    fn end(&self, length: usize) -> &[u8] {
        &self.sent[self.length - length..self.length]
    }

    fn folded(&self) -> &[u8] {
        &self.folded[..self.length]
    }

    /// Tells it from the other names of an answer; where it does not, the answer ends early and the client asks on.
    fn hash(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write(self.folded());
        hasher.finish()
    }
}

/// Is the client subnet of a query for this name heeded?
pub(super) fn heeds_subnet(snapshot: &Snapshot, asker: Asker, name: &[u8]) -> bool {
    let Config { ecs, zones, .. } = &*snapshot.parts.config;
    let zone = || snapshot.parts.zones.find_zone(Asked::new(name).folded()).map(|(id, _)| id);
    ecs.heeds(asker.address) && (ecs.everywhere || zone().is_none_or(|id| zones[id.index()].ecs))
}

impl<'s, 'q, 'b> Resolution<'s, 'q, 'b> {
    pub(super) fn new(
        snapshot: &'s Snapshot,
        cells: &'s Cells,
        asker: Asker,
        query: &'q Query<'q>,
        writer: Writer<'b>,
    ) -> Self {
        Self { snapshot, cells, asker, query, writer, ending: Ending::default(), zone: None, silent: false }
    }

    /// The zone, the message and how to end it; none: silence.
    pub(super) fn finish(self) -> Option<(Option<ZoneId>, Writer<'b>, Ending<'s>)> {
        (!self.silent).then_some((self.zone, self.writer, self.ending))
    }

    /// Answers the question (RFC 1034 §4.3.2, with steered names).
    pub(super) fn resolve(&mut self) {
        let question = self.query.question;
        if matches!(question.rtype, Rtype::AXFR | Rtype::IXFR) {
            return self.refuse(NOT_SUPPORTED, "zone transfers are not offered");
        }
        match question.class {
            Class::IN => {}
            Class::CH => return self.chaos(),
            _ => return self.refuse(NOT_SUPPORTED, "class IN only"),
        }
        let mut asked = Asked::new(question.name);
        let mut names = [0; MAX_ALIASES + 1];
        let mut dnames: [Option<RRset<'s>>; MAX_ALIASES + 1] = [None; MAX_ALIASES + 1];
        let snapshot = self.snapshot;
        for hop in 0..=MAX_ALIASES {
            let Some((id, zone)) = self.zone_of(asked.folded()) else {
                if hop == 0 {
                    self.refuse(NOT_AUTHORITATIVE, "no zone of this server holds the name");
                }
                return; // an alias that leads out of our zones: the client asks on
            };
            if hop == 0 {
                self.zone = Some(id);
                self.ending.authoritative = true;
            }
            let found = zone.find(asked.folded(), question.rtype.0);
            let next = match found {
                Found::Answer { rrset, .. } => return self.answer(zone, asked.sent(), rrset),
                Found::Steered { service, .. } => return self.steered(zone, asked.sent(), service, hop > 0),
                Found::Referral { owner, ns } => return self.referral(zone, asked.end(owner.len()), ns, hop == 0),
                Found::NoData { service } => {
                    let ttl = service.map_or(u32::MAX, |service| snapshot.services[service.index()].ttl);
                    return self.nodata(zone, ttl);
                }
                Found::NxDomain => return self.nxdomain(zone),
                Found::Cname { rrset, .. } => self.alias(asked.sent(), rrset),
                Found::Dname { owner, rrset } => {
                    let same = |earlier: &RRset<'_>| std::ptr::eq(earlier.octets(), rrset.octets());
                    let is_there = dnames.iter().flatten().any(same);
                    dnames[hop] = Some(rrset);
                    self.dname(asked.sent(), asked.end(owner.len()), rrset, is_there)
                }
            };
            // An alias that leads back ends the answer (RFC 1034 §3.6.2).
            names[hop] = asked.hash();
            let Some(next) = next.filter(|next| !names[..=hop].contains(&next.hash())) else { return };
            asked = next;
        }
    }

    /// The zone that answers for a name: the innermost one; but for DS at its apex the one above, where that
    /// is ours too and delegates it (RFC 4035 §3.1.4.1).
    fn zone_of(&self, name: &[u8]) -> Option<(ZoneId, &'s ZoneTree)> {
        let snapshot: &'s Snapshot = self.snapshot;
        let found = snapshot.parts.zones.find_zone(name)?;
        if self.query.question.rtype != Rtype::DS || found.1.apex() != name || name == [0] {
            return Some(found);
        }
        let above = snapshot.parts.zones.find_zone(&name[1 + usize::from(name[0])..]);
        let delegates =
            |zone: &ZoneTree| matches!(zone.find(name, Rtype::DS.0), Found::Answer { .. } | Found::NoData { .. });
        above.filter(|(_, zone)| delegates(zone)).or(Some(found))
    }

    /// What the server says of itself, where the operator has it do so (RFC 4892).
    fn chaos(&mut self) {
        let question = self.query.question;
        let server = &self.snapshot.parts.config.server;
        let text = match Asked::new(question.name).folded() {
            b"\x07version\x04bind\0" | b"\x07version\x06server\0" => server.version.as_deref(),
            b"\x02id\x06server\0" | b"\x08hostname\x04bind\0" => server.identity.text(),
            _ => None,
        };
        let Some(text) = text.filter(|_| [Rtype::TXT, Rtype::ANY].contains(&question.rtype)) else {
            return self.refuse(NOT_SUPPORTED, "of class CH no more than the operator wants told");
        };
        let mut rdata = [0; 1 + MAX_TEXT];
        let length = text.len().min(MAX_TEXT);
        rdata[0] = length as u8;
        rdata[1..=length].copy_from_slice(&text.as_bytes()[..length]);
        self.ending.authoritative = true;
        let rdata = &rdata[..=length];
        if self.writer.record(Section::Answer, question.name, Rtype::TXT, Class::CH, 0, rdata).is_err() {
            self.ending.truncated = true;
        }
    }

    /// An RRset of the zone.
    fn answer(&mut self, zone: &ZoneTree, owner: &[u8], rrset: RRset<'_>) {
        if self.put(Section::Answer, owner, rrset, rrset.ttl).is_err() {
            self.ending.truncated = true;
            return;
        }
        // The addresses of the zone's own servers are courtesy; other answers are minimal, ANY's above all.
        if self.query.question.rtype == Rtype::NS {
            for target in rrset.rdatas() {
                if self.addresses(zone, target).is_err() {
                    return;
                }
            }
        }
    }

    /// Adds a CNAME; its target, unless the answer is full.
    fn alias(&mut self, owner: &[u8], rrset: RRset<'_>) -> Option<Asked> {
        if self.put(Section::Answer, owner, rrset, rrset.ttl).is_err() {
            self.ending.truncated = true;
            return None;
        }
        rrset.rdatas().next().map(Asked::new)
    }

    /// Adds a DNAME, unless it is there already, and the CNAME made from it (RFC 6672 §3.1): the name with its
    /// last octets, which are `owner`, replaced by the target. None: the answer ends here.
    fn dname(&mut self, sent: &[u8], owner: &[u8], rrset: RRset<'_>, is_there: bool) -> Option<Asked> {
        let prefix = sent.len() - owner.len();
        if !is_there && self.put(Section::Answer, owner, rrset, rrset.ttl).is_err() {
            self.ending.truncated = true;
            return None;
        }
        let target = rrset.rdatas().next()?;
        if prefix + target.len() > MAX_NAME {
            self.ending.rcode = Rcode::YXDOMAIN; // §2.2
            return None;
        }
        let mut made = [0; MAX_NAME];
        made[..prefix].copy_from_slice(&sent[..prefix]);
        made[prefix..prefix + target.len()].copy_from_slice(target);
        let made = &made[..prefix + target.len()];
        if self.writer.record(Section::Answer, sent, Rtype::CNAME, Class::IN, rrset.ttl, made).is_err() {
            self.ending.truncated = true;
            return None;
        }
        Some(Asked::new(made))
    }

    /// Leads the client to the servers of a zone below (RFC 1034 §4.2.1).
    fn referral(&mut self, zone: &ZoneTree, cut: &[u8], ns: RRset<'_>, first: bool) {
        // AA speaks of the question's name: behind an alias of ours it stays.
        self.ending.authoritative = !first;
        if self.put(Section::Authority, cut, ns, ns.ttl).is_err() {
            self.ending.truncated = true;
            return;
        }
        // Without the addresses of servers below the cut there is no way there: they come first and are whole
        // (RFC 9471 §3.1). Those of others are there as far as there is room (§3.2).
        let within = |target: &&[u8]| is_at_or_below(target, cut);
        if ns.rdatas().filter(within).any(|target| self.addresses(zone, target).is_err()) {
            self.ending.truncated = true;
            return;
        }
        for target in ns.rdatas().filter(|target| !within(target)) {
            if self.addresses(zone, target).is_err() {
                return;
            }
        }
    }

    /// The name exists, the type does not (RFC 2308 §2.2).
    pub(super) fn nodata(&mut self, zone: &ZoneTree, at_most: u32) {
        let ttl = zone.negative_ttl().min(at_most);
        if self.put(Section::Authority, zone.apex(), zone.soa(), ttl).is_err() {
            self.ending.truncated = true;
        }
    }

    /// The name does not exist; behind an alias it is the last name that does not (RFC 6604 §2).
    fn nxdomain(&mut self, zone: &ZoneTree) {
        self.ending.rcode = Rcode::NXDOMAIN;
        self.nodata(zone, u32::MAX);
    }

    /// We do not serve that.
    fn refuse(&mut self, code: u16, text: &'static str) {
        self.ending.rcode = Rcode::REFUSED;
        self.ending.extended_error = Some(ExtendedError { code, text });
    }

    /// Our zone says that there is an answer, and there is none that may be given.
    pub(super) fn fail(&mut self, code: u16, text: &'static str) {
        self.ending.rcode = Rcode::SERVFAIL;
        self.ending.extended_error = Some(ExtendedError { code, text });
    }

    /// No reply: the client asks another server.
    pub(super) fn stay_silent(&mut self) {
        self.silent = true;
    }

    /// Adds a whole RRset or nothing of it.
    fn put(&mut self, section: Section, owner: &[u8], rrset: RRset<'_>, ttl: u32) -> Result<(), Full> {
        let before = self.writer.mark();
        for rdata in rrset.rdatas() {
            let written = self.writer.record(section, owner, Rtype(rrset.rtype), Class::IN, ttl, rdata);
            if let Err(full) = written {
                self.writer.rewind(before);
                return Err(full);
            }
        }
        Ok(())
    }

    /// Adds the addresses that the zone itself holds of a server.
    fn addresses(&mut self, zone: &ZoneTree, target: &[u8]) -> Result<(), Full> {
        debug_assert_eq!(name_length(target), Some(target.len()), "zones hold whole names");
        let folded = Asked::new(target);
        zone.addresses(folded.folded()).try_for_each(|rrset| self.put(Section::Additional, target, rrset, rrset.ttl))
    }
}
