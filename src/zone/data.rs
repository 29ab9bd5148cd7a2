//! The build form of a zone: its RRsets, each with the place that it was first written at.

use std::collections::HashSet;
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::hash::{self, Index};
use super::rtype;
use crate::model::{Name, Spot};

/// What a zone's master files say, found good; [`ZoneTree::build`](super::ZoneTree::build) makes
/// the look-up form of it.
///
/// Names, data and what links them lie in a few vectors, so that a record costs no allocation.
#[derive(Clone, Debug)]
pub struct ZoneData {
    apex: Name,
    files: Vec<PathBuf>,
    /// Owners' names and records' data, one behind the other.
    octets: Vec<u8>,
    owners: Vec<Owner>,
    drafts: Vec<Draft>,
    records: Vec<Record>,
    /// Names → owners.
    index: Index,
    /// How many drafts cut their zone: DNAME, and NS below the apex.
    cuts: usize,
}

/// So many records and octets of names and data a zone may have: what counts them stays in its
/// integers.
const MOST: usize = 1 << 31;

/// A name that owns records.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    name_at: u32,
    name_length: u8,
    first: u32,
}

/// An RRset while it grows.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) rtype: u16,
    pub(super) ttl: u32,
    /// Of its records with their lengths.
    pub(super) octets: u16,
    first: u32,
    last: u32,
    /// The owner's next RRset; none: [`END`].
    next: u32,
    /// Of its first record.
    pub(super) place: Place,
}

/// A record's data.
#[derive(Clone, Debug)]
struct Record {
    at: u32,
    length: u16,
    /// The RRset's next record; none: [`END`].
    next: u32,
}

/// Ends a list.
const END: u32 = u32::MAX;

/// A place in one of a zone's files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// Index into the zone's files.
    pub(super) file: u32,
    /// From 1.
    pub(super) line: u32,
    /// In characters, from 1.
    pub(super) column: u32,
    /// Octets of the file.
    pub(super) start: u32,
    pub(super) end: u32,
}

/// What came of adding a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It is in.
    Good,
    /// It was there already: left out (RFC 2181 §5).
    Duplicate,
    /// It is in; its TTL was another, the smaller one holds (RFC 2181 §5.2).
    OtherTtl,
    /// Left out: a name has one SOA, CNAME or DNAME at the most.
    Second,
    /// Left out: the RRset would not fit into any message.
    TooLarge,
    /// Left out: the zone has more than [`MOST`] records and octets.
    ZoneTooLarge,
}

impl ZoneData {
    /// A zone without records.
    pub(super) fn new(apex: Name) -> Self {
        Self {
            apex,
            files: Vec::new(),
            octets: Vec::new(),
            owners: Vec::new(),
            drafts: Vec::new(),
            records: Vec::new(),
            index: Index::default(),
            cuts: 0,
        }
    }

    /// The zone's name.
    #[must_use]
    pub fn apex(&self) -> &Name {
        &self.apex
    }

    /// Every file that was read, the zone's own first, then those included, each once.
    #[must_use]
    pub fn files(&self) -> &[PathBuf] {
        &self.files
    }

    /// The index of a file that is being read.
    pub(super) fn add_file(&mut self, path: &Path) -> u32 {
        let index = self.files.iter().position(|known| known == path).unwrap_or_else(|| {
            self.files.push(path.to_owned());
            self.files.len() - 1
        });
        u32::try_from(index).expect("includes are bounded")
    }

    /// Adds a record of a lower-cased name; also tells the place of the first record of its RRset.
    pub(super) fn add(&mut self, name: &[u8], rtype: u16, ttl: u32, rdata: &[u8], place: Place) -> (Added, Place) {
        if self.records.len() + self.octets.len() + name.len() + rdata.len() > MOST {
            return (Added::ZoneTooLarge, place);
        }
        let owner = self.owner(name);
        let mut last = None;
        let mut next = self.owners[owner].first;
        while let Some(draft) = self.drafts.get_mut(next as usize) {
            if draft.rtype == rtype {
                let first = draft.place;
                return (self.add_to(next as usize, ttl, rdata), first);
            }
            last = Some(next);
            next = draft.next;
        }
        let Some(octets) = u16::try_from(rdata.len()).ok().and_then(|length| length.checked_add(2)) else {
            return (Added::TooLarge, place);
        };
        let record = self.push(rdata);
        let draft = small(self.drafts.len());
        self.drafts.push(Draft { rtype, ttl, octets, first: record, last: record, next: END, place });
        match last {
            Some(last) => self.drafts[last as usize].next = draft,
            None => self.owners[owner].first = draft,
        }
        self.cuts += usize::from(rtype == rtype::DNAME || (rtype == rtype::NS && name != self.apex.as_wire()));
        (Added::Good, place)
    }

    /// The owner of that name, made if it is new.
    fn owner(&mut self, name: &[u8]) -> usize {
        let tag = hash::tag(name);
        let found = self.index.find(tag, |owner| self.name(&self.owners[owner as usize]) == name);
        let owner = found.unwrap_or_else(|| {
            let owner = small(self.owners.len());
            let name_length = u8::try_from(name.len()).expect("a name has 255 octets at the most");
            self.owners.push(Owner { name_at: small(self.octets.len()), name_length, first: END });
            self.octets.extend(name);
            self.index.add(tag, owner);
            owner
        });
        owner as usize
    }

    /// Adds a record to an RRset that has some.
    fn add_to(&mut self, draft: usize, ttl: u32, rdata: &[u8]) -> Added {
        let known = &self.drafts[draft];
        if self.rdatas(known).any(|other| rtype::same(known.rtype, other, rdata)) {
            return Added::Duplicate;
        }
        if matches!(known.rtype, rtype::SOA | rtype::CNAME | rtype::DNAME) {
            return Added::Second;
        }
        let octets = u16::try_from(usize::from(known.octets) + 2 + rdata.len());
        let other_ttl = ttl != known.ttl;
        let record = octets.is_ok().then(|| self.push(rdata));
        let draft = &mut self.drafts[draft];
        draft.ttl = draft.ttl.min(ttl);
        let (Ok(octets), Some(record)) = (octets, record) else { return Added::TooLarge };
        draft.octets = octets;
        let last = std::mem::replace(&mut draft.last, record);
        self.records[last as usize].next = record;
        if other_ttl { Added::OtherTtl } else { Added::Good }
    }

    fn push(&mut self, rdata: &[u8]) -> u32 {
        let record = small(self.records.len());
        let length = u16::try_from(rdata.len()).expect("longer data is refused before");
        self.records.push(Record { at: small(self.octets.len()), length, next: END });
        self.octets.extend(rdata);
        record
    }

    /// Every owner, in the order that the files name them.
    pub(super) fn owners(&self) -> &[Owner] {
        &self.owners
    }

    /// The lower-cased wire name of an owner.
    pub(super) fn name(&self, owner: &Owner) -> &[u8] {
        &self.octets[owner.name_at as usize..][..owner.name_length.into()]
    }

    /// The name of an owner, for messages.
    pub(super) fn shown(&self, owner: &Owner) -> Name {
        Name::from_wire(self.name(owner)).expect("an owner is a whole name")
    }

    /// The RRsets of an owner, in the order that the files begin them.
    pub(super) fn drafts(&self, owner: &Owner) -> impl Iterator<Item = &Draft> {
        let first = self.drafts.get(owner.first as usize);
        std::iter::successors(first, |draft| self.drafts.get(draft.next as usize))
    }

    /// The data of each record of an RRset.
    pub(super) fn rdatas(&self, draft: &Draft) -> impl Iterator<Item = &[u8]> {
        let first = self.records.get(draft.first as usize);
        let records = std::iter::successors(first, |record| self.records.get(record.next as usize));
        records.map(|record| &self.octets[record.at as usize..][..record.length.into()])
    }

    /// The RRset of a lower-cased name and a type.
    pub(super) fn get(&self, name: &[u8], rtype: u16) -> Option<&Draft> {
        let owner = self.index.find(hash::tag(name), |owner| self.name(&self.owners[owner as usize]) == name)?;
        self.drafts(&self.owners[owner as usize]).find(|draft| draft.rtype == rtype)
    }

    /// The records of that type that point to other names in the zone: owner, RRset, lower-cased target.
    pub(super) fn targets(&self, rtype: u16) -> impl Iterator<Item = (&Owner, &Draft, Name)> {
        let drafts = self.owners.iter().flat_map(|owner| self.drafts(owner).map(move |draft| (owner, draft)));
        drafts.filter(move |(_, draft)| draft.rtype == rtype).flat_map(move |(owner, draft)| {
            self.rdatas(draft).filter_map(move |rdata| {
                let target =
                    rtype::target(rtype, rdata).filter(|target| is_at_or_below(target, self.apex.as_wire()))?;
                Some((owner, draft, Name::from_wire(target).ok()?))
            })
        })
    }

    /// Every target of an NS record that lies in the zone.
    pub(super) fn name_servers(&self) -> HashSet<Box<[u8]>> {
        self.targets(rtype::NS).map(|(.., target)| target.as_wire().into()).collect()
    }

    /// Does nothing cut the zone? Then every name in it is authoritative.
    pub(super) fn is_uncut(&self) -> bool {
        self.cuts == 0
    }

    /// The name itself and those above it, up to the apex, longest first, as lower-cased wire names.
    pub(super) fn upwards<'a>(&self, name: &'a [u8]) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let apex_length = self.apex.as_wire().len();
        suffixes(name).take_while(move |suffix| suffix.len() >= apex_length)
    }

    /// The nearest name **above** `name` that cuts it off: the owner of a DNAME, or of NS below the
    /// apex (RFC 2181 §6, RFC 6672 §2.4).
    pub(super) fn cut_above(&self, name: &[u8]) -> Option<&Draft> {
        self.upwards(name).skip(1).find_map(|above| self.cut_at(above))
    }

    /// The DNAME at that name, or its NS if it is not the apex.
    pub(super) fn cut_at(&self, name: &[u8]) -> Option<&Draft> {
        let below_apex = name != self.apex.as_wire();
        self.get(name, rtype::DNAME).or_else(|| self.get(name, rtype::NS).filter(|_| below_apex))
    }

    /// `file, line` of a place, for help texts.
    pub(super) fn say(&self, place: Place) -> String {
        format!("{} line {}", self.file(place).display(), place.line)
    }

    /// The file that a place is in.
    pub(super) fn file(&self, place: Place) -> &Path {
        &self.files[place.file as usize]
    }
}

impl Place {
    /// The place of `span` in `text`, searched from a line before it and that line's first octet.
    pub(super) fn of(file: u32, text: &[u8], (mut line, mut line_start): (u32, usize), span: Range<usize>) -> Self {
        while let Some(length) = text[line_start..span.start].iter().position(|&octet| octet == b'\n') {
            line_start += length + 1;
            line += 1;
        }
        let before = &text[line_start..span.start];
        let characters = if before.is_ascii() { before.len() } else { String::from_utf8_lossy(before).chars().count() };
        Self { file, line, column: small(1 + characters), start: small(span.start), end: small(span.end) }
    }

    pub(super) fn spot(self) -> Spot {
        let span: Range<usize> = self.start as usize..self.end as usize;
        Spot { line: self.line as usize, column: self.column as usize, span }
    }
}

/// The bounds on files and zones keep all counts below this.
fn small(number: usize) -> u32 {
    u32::try_from(number).expect("files and zones are bounded")
}

/// Is this wire name that one or below it? Whatever their case (RFC 4343).
#[must_use]
pub fn is_at_or_below(name: &[u8], apex: &[u8]) -> bool {
    let above = suffixes(name).find(|suffix| suffix.len() <= apex.len());
    above.is_some_and(|above| above.eq_ignore_ascii_case(apex))
}

/// The names above that name and itself, beginning with the one of `shortest` octets.
pub(super) fn downwards(name: &[u8], shortest: usize) -> impl Iterator<Item = &[u8]> {
    let mut starts = [0_u8; 128]; // a name has so many labels, the root's included
    let mut count = 0;
    for suffix in suffixes(name).take_while(|suffix| suffix.len() >= shortest) {
        let Some((start, at)) = starts.get_mut(count).zip(u8::try_from(name.len() - suffix.len()).ok()) else { break };
        *start = at;
        count += 1;
    }
    (0..count).rev().map(move |label| &name[starts[label].into()..])
}

/// The name and all names above it, longest first, the root last. Anything that is no wire name ends
/// the walk early.
#[inline]
pub(super) fn suffixes(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = name;
    std::iter::from_fn(move || {
        let (suffix, &length) = (rest, rest.first()?);
        rest = rest.get(usize::from(length) + 1..).filter(|_| length != 0).unwrap_or(&[]);
        Some(suffix)
    })
}
