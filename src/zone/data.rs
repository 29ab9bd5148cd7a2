//! The build form of a zone: its RRsets, each with the place that it was first written at.

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::path::{Path, PathBuf};

use super::rrset::{RRset, Rdatas};
use super::rtype;
use crate::model::{Name, Spot};

/// What a zone's master files say, found good; [`ZoneTree::build`](super::ZoneTree::build) makes
/// the look-up form of it.
#[derive(Clone, Debug)]
pub struct ZoneData {
    apex: Name,
    files: Vec<PathBuf>,
    owners: Vec<Owner>,
    index: HashMap<Box<[u8]>, usize>,
}

/// A name that owns records.
#[derive(Clone, Debug)]
pub(super) struct Owner {
    pub(super) name: Name,
    pub(super) drafts: Vec<Draft>,
}

/// An RRset while it grows.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) rtype: u16,
    pub(super) ttl: u32,
    octets: Vec<u8>,
    /// Of its first record.
    pub(super) place: Place,
}

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
}

impl ZoneData {
    pub(super) fn new(apex: Name) -> Self {
        Self { apex, files: Vec::new(), owners: Vec::new(), index: HashMap::new() }
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

    /// Adds a record; also tells the place of the first record of its RRset.
    pub(super) fn add(&mut self, name: &Name, rtype: u16, ttl: u32, rdata: &[u8], place: Place) -> (Added, Place) {
        let index = *self.index.entry(name.as_wire().into()).or_insert_with(|| {
            self.owners.push(Owner { name: name.clone(), drafts: Vec::new() });
            self.owners.len() - 1
        });
        let drafts = &mut self.owners[index].drafts;
        match drafts.iter_mut().find(|draft| draft.rtype == rtype) {
            Some(draft) => (draft.add(ttl, rdata), draft.place),
            None => {
                let mut draft = Draft { rtype, ttl, octets: Vec::new(), place };
                let added = draft.push(rdata);
                drafts.push(draft);
                (added, place)
            }
        }
    }

    /// Every owner, in the order that the files name them.
    pub(super) fn owners(&self) -> &[Owner] {
        &self.owners
    }

    /// The RRset of a lower-cased name and a type.
    pub(super) fn get(&self, name: &[u8], rtype: u16) -> Option<&Draft> {
        let owner = &self.owners[*self.index.get(name)?];
        owner.drafts.iter().find(|draft| draft.rtype == rtype)
    }

    /// The records that point to other names with that type: owner, RRset, lower-cased target.
    pub(super) fn targets(&self, rtype: u16) -> impl Iterator<Item = (&Name, &Draft, Name)> {
        let drafts = self.owners.iter().flat_map(|owner| owner.drafts.iter().map(|draft| (&owner.name, draft)));
        drafts.filter(move |(_, draft)| draft.rtype == rtype).flat_map(move |(name, draft)| {
            draft.rdatas().filter_map(move |rdata| {
                let target = Name::from_wire(rtype::target(rtype, rdata)?).ok()?;
                Some((name, draft, target))
            })
        })
    }

    /// Every target of an NS record.
    pub(super) fn name_servers(&self) -> HashSet<Name> {
        self.targets(rtype::NS).map(|(.., target)| target).collect()
    }

    /// The name itself and those above it, up to the apex, longest first, as lower-cased wire names.
    pub(super) fn upwards<'a>(&self, name: &'a Name) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let apex_length = self.apex.as_wire().len();
        suffixes(name.as_wire()).take_while(move |suffix| suffix.len() >= apex_length)
    }

    /// The nearest name **above** `name` that cuts it off: the owner of a DNAME, or of NS below the
    /// apex (RFC 2181 §6, RFC 6672 §2.4).
    pub(super) fn cut_above(&self, name: &Name) -> Option<&Draft> {
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

impl Draft {
    pub(super) fn rdatas(&self) -> Rdatas<'_> {
        Rdatas::over(&self.octets)
    }

    pub(super) fn freeze(&self) -> RRset {
        RRset::new(self.rtype, self.ttl, &self.octets)
    }

    fn add(&mut self, ttl: u32, rdata: &[u8]) -> Added {
        if self.rdatas().any(|known| rtype::same(self.rtype, known, rdata)) {
            return Added::Duplicate;
        }
        if matches!(self.rtype, rtype::SOA | rtype::CNAME | rtype::DNAME) {
            return Added::Second;
        }
        let other_ttl = ttl != self.ttl;
        self.ttl = self.ttl.min(ttl);
        match self.push(rdata) {
            Added::Good if other_ttl => Added::OtherTtl,
            added => added,
        }
    }

    fn push(&mut self, rdata: &[u8]) -> Added {
        let Ok(length) = u16::try_from(rdata.len()) else { return Added::TooLarge };
        if self.octets.len() + 2 + rdata.len() > u16::MAX.into() {
            return Added::TooLarge;
        }
        self.octets.extend(length.to_be_bytes());
        self.octets.extend(rdata);
        Added::Good
    }
}

impl Place {
    /// The place of `span` in `text`, searched from a line before it and that line's first octet.
    pub(super) fn of(file: u32, text: &[u8], (mut line, mut line_start): (u32, usize), span: Range<usize>) -> Self {
        while let Some(length) = text[line_start..span.start].iter().position(|&octet| octet == b'\n') {
            line_start += length + 1;
            line += 1;
        }
        let column = 1 + String::from_utf8_lossy(&text[line_start..span.start]).chars().count();
        // Files of 4 GiB do not get this far.
        let small = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
        Self { file, line, column: small(column), start: small(span.start), end: small(span.end) }
    }

    pub(super) fn spot(self) -> Spot {
        let span: Range<usize> = self.start as usize..self.end as usize;
        Spot { line: self.line as usize, column: self.column as usize, span }
    }
}

/// The name and all names above it, longest first, the root last. Anything that is no wire name ends
/// the walk early.
pub(super) fn suffixes(name: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::successors((!name.is_empty()).then_some(name), |name| {
        let length = usize::from(*name.first()?);
        name.get(length + 1..).filter(|rest| length != 0 && !rest.is_empty())
    })
}
