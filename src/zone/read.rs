//! A zone's master files, includes and all → its records.

use std::ops::Range;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::check::check;
use super::data::{Added, Place, ZoneData, is_at_or_below};
use super::entry::{Directive, Origin, Record, read_directive, read_owner, read_record};
use super::freeze::soa_minimum;
use super::problems::Problems;
use super::rtype;
use super::tokens::{Entries, Entry, Fault};
use crate::model::{Files, Name, Problem};

/// Files within files: the zone's own is the first.
const DEEPEST: usize = 8;
/// `$INCLUDE`s in all, so that few small files cannot stand for a huge zone.
const MOST_INCLUDES: usize = 1000;
/// Octets of one file, so that a place in it fits its integers.
const LARGEST_FILE: usize = 1 << 30;

/// Reads the zone `apex` from its master file and those that it includes.
///
/// `$INCLUDE` paths are relative to the folder of the file that has them. A relative name is below
/// the origin, which is `apex` at first. A record without a TTL takes `$TTL`, else the last stated
/// one (RFC 1035 §5.1), else the SOA's minimum.
///
/// # Errors
/// All problems of all files, the first hundred errors and warnings with their places. A zone
/// without errors comes with its warnings.
pub fn read(files: &mut dyn Files, path: &Path, apex: &Name) -> Result<(ZoneData, Vec<Problem>), Vec<Problem>> {
    let mut reader = Reader {
        files,
        data: ZoneData::new(apex.clone()),
        problems: Problems::default(),
        open: Vec::new(),
        includes: 0,
        default_ttl: None,
        last_ttl: None,
        rdata: Vec::new(),
    };
    let origin = Origin::from_octets(Bytes::copy_from_slice(apex.as_wire())).expect("a name is a name");
    match reader.files.read(path) {
        Ok(text) => reader.read_text(path, &text, origin),
        Err(error) => {
            let problem = Problem::error("unreadable-zone", path, format!("the zone's file cannot be read: {error}"));
            reader.problems.push(problem.help("make it, or correct 'file' of the zone"));
        }
    }
    let Reader { data, mut problems, .. } = reader;
    check(&data, path, &mut problems);
    let failed = problems.has_errors();
    let problems = problems.finish(&data);
    if failed { Err(problems) } else { Ok((data, problems)) }
}

/// What goes on from file to file.
struct Reader<'a> {
    files: &'a mut dyn Files,
    data: ZoneData,
    problems: Problems,
    /// The file being read, behind those that include it.
    open: Vec<PathBuf>,
    includes: usize,
    /// `$TTL`
    default_ttl: Option<u32>,
    /// Of the last record that stated one.
    last_ttl: Option<u32>,
    /// The data of the record being read.
    rdata: Vec<u8>,
}

/// A file being read.
struct File<'a> {
    text: &'a [u8],
    index: u32,
    /// The line of the entry being read, and that line's first octet.
    begun: (u32, usize),
    origin: Origin,
    owner: Owner,
    /// The owner's lower-cased wire name.
    owner_name: Vec<u8>,
}

/// The last owner, which an indented record shares.
#[derive(Clone, Copy)]
enum Owner {
    /// None so far.
    None,
    /// It could not be read: what it owns is checked and left out.
    Lost,
    /// It is in the zone, or not.
    Inside,
    Outside,
}

impl Reader<'_> {
    fn read_text(&mut self, path: &Path, text: &[u8], origin: Origin) {
        let index = self.data.add_file(path);
        if text.len() > LARGEST_FILE {
            self.problems.push(Problem::error("unreadable-zone", path, "the file is over 1 GiB").help("split it"));
            return;
        }
        self.open.push(path.to_owned());
        let mut file = File { text, index, begun: (1, 0), origin, owner: Owner::None, owner_name: Vec::new() };
        let (mut entries, mut tokens) = (Entries::new(text), Vec::new());
        while let Some(entry) = entries.next(&mut tokens) {
            file.begun = entries.begun();
            match entry {
                Ok(entry) => self.read_entry(&mut file, &entry),
                Err(fault) => self.report(&file, fault),
            }
        }
        self.open.pop();
    }

    fn report(&mut self, file: &File<'_>, fault: Fault) {
        let place = file.place(fault.span);
        self.problems.error(&self.data, fault.code, place, fault.message, fault.help);
    }

    fn read_entry(&mut self, file: &mut File<'_>, entry: &Entry<'_, '_>) {
        match read_directive(entry, &file.origin) {
            Some(Ok(Directive::Origin(origin))) => file.origin = origin,
            Some(Ok(Directive::Ttl(ttl))) => self.default_ttl = Some(ttl),
            Some(Ok(Directive::Include { path, origin, span })) => {
                let origin = origin.unwrap_or_else(|| file.origin.clone());
                if let Err((code, message, help)) = self.include(&path, origin) {
                    self.report(file, Fault::new(code, span, message, help));
                }
            }
            Some(Err(fault)) => self.report(file, fault),
            None => self.read_record(file, entry),
        }
    }

    /// A record whose owner does not read is still read, so that both problems are told.
    fn read_record(&mut self, file: &mut File<'_>, entry: &Entry<'_, '_>) {
        match read_owner(entry, &file.origin, &mut file.owner_name) {
            Some(Ok(())) => {
                let inside = is_at_or_below(&file.owner_name, self.data.apex().as_wire());
                file.owner = if inside { Owner::Inside } else { Owner::Outside };
            }
            Some(Err(fault)) => {
                self.report(file, fault);
                file.owner = Owner::Lost;
            }
            None => {}
        }
        let record = read_record(entry, &file.origin, &mut self.rdata);
        if let Err(fault) = record.and_then(|record| self.add(file, record)) {
            self.report(file, fault);
        }
    }

    /// Reads a file at this place. Its origin, owner and includes end with it; `$TTL` stays.
    fn include(&mut self, path: &str, origin: Origin) -> Result<(), (&'static str, String, &'static str)> {
        let including = self.open.last().expect("an include stands in a file");
        let path = including.parent().unwrap_or(Path::new("")).join(path);
        if self.open.contains(&path) {
            let message = format!("{} would include itself", path.display());
            return Err(("include-cycle", message, "remove one of the two $INCLUDEs"));
        }
        self.includes += 1;
        if self.open.len() >= DEEPEST || self.includes > MOST_INCLUDES {
            let message = format!("includes go deeper than {DEEPEST} files, or there are over {MOST_INCLUDES}");
            return Err(("too-many-includes", message, "put the records into fewer files"));
        }
        let text = self.files.read(&path).map_err(|error| {
            let message = format!("{} cannot be read: {error}", path.display());
            ("unreadable-include", message, "the path is relative to the folder of the file that includes it")
        })?;
        self.read_text(&path, &text, origin);
        Ok(())
    }

    /// Adds the record whose data was read last to the zone.
    fn add(&mut self, file: &File<'_>, record: Record) -> Result<(), Fault> {
        let ttl = self.ttl(&record)?;
        match file.owner {
            Owner::Inside => {}
            Owner::Lost => return Ok(()),
            Owner::None => {
                let message = format!("no name owns this {}", rtype::name_of(record.rtype));
                return Err(Fault::new("no-owner", record.span, message, "begin the line with a name"));
            }
            Owner::Outside => {
                let message = format!("'{}' is outside of zone '{}'", file.owner(), self.data.apex());
                let help = "a name without a dot at its end is below the origin, one with a dot is not; see $ORIGIN";
                return Err(Fault::new("outside-zone", record.span, message, help));
            }
        }
        let place = file.place(record.span.clone());
        match self.data.add(&file.owner_name, record.rtype, ttl, &self.rdata, place) {
            (Added::Good, _) => Ok(()),
            (added, first) => self.complain(file, record, added, place, first),
        }
    }

    /// A record that is not in as it stands: a warning at `place`, or the fault.
    fn complain(
        &mut self,
        file: &File<'_>,
        record: Record,
        added: Added,
        place: Place,
        first: Place,
    ) -> Result<(), Fault> {
        let (owner, say, first) = (file.owner(), rtype::name_of(record.rtype), self.data.say(first));
        let fault = |code, message: String, help: &str| Err(Fault::new(code, record.span.clone(), message, help));
        match added {
            Added::Good => Ok(()),
            Added::Duplicate => {
                let message = format!("'{owner}' has this {say} already; it counts once");
                self.problems.warn(&self.data, "duplicate-record", place, message, format!("remove it; see {first}"));
                Ok(())
            }
            Added::OtherTtl => {
                let message = format!("'{owner}' has {say} of different TTLs; the smallest holds (RFC 2181 §5.2)");
                self.problems.warn(&self.data, "ttl-differs", place, message, format!("state the TTL of {first}"));
                Ok(())
            }
            Added::Second => {
                let message = format!("'{owner}' has a second {say}");
                fault("second-record", message, &format!("keep one; the first is in {first}"))
            }
            Added::TooLarge => {
                let message = format!("the {say} of '{owner}' are too many for any message (65,535 octets)");
                fault("rrset-too-large", message, "spread them over several names")
            }
            Added::ZoneTooLarge => {
                let message = format!("zone '{}' has more than 2 GiB of names and data", self.data.apex());
                fault("zone-too-large", message, "delegate parts of it")
            }
        }
    }

    /// The record's TTL: stated, or one that goes on from before. It is missed once, and not where an
    /// earlier record that stated it could not be read.
    fn ttl(&mut self, record: &Record) -> Result<u32, Fault> {
        if record.ttl.is_some() {
            self.last_ttl = record.ttl;
        } else if self.default_ttl.is_none() && self.last_ttl.is_none() && record.rtype == rtype::SOA {
            self.last_ttl = soa_minimum(&self.rdata);
        }
        let lost = self.problems.has_errors().then_some(0);
        record.ttl.or(self.default_ttl).or(self.last_ttl).or(lost).ok_or_else(|| {
            let message = "no TTL is stated here or before";
            Fault::new("missing-ttl", record.span.clone(), message, "begin the file with $TTL 3600")
        })
    }
}

impl File<'_> {
    /// The owner, for messages.
    fn owner(&self) -> Name {
        Name::from_wire(&self.owner_name).expect("an owner that was read is a whole name")
    }

    fn place(&self, span: Range<usize>) -> Place {
        Place::of(self.index, self.text, self.begun, span)
    }
}
