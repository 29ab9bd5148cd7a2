//! `[sets]`, and the words behind `where`, `in` and `fence_unknown`.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::report::{At, Report, one_of, quoted};
use super::scalar::prefix;
use super::settings::bad_prefix;
use super::table::{Table, Value};
use super::words::did_you_mean;
use crate::model::{Continent, Country, Place, PlaceSet, Subdivision};

/// The most sets, and the most places in one.
const MAX_SETS: usize = 1000;
const MAX_PLACES: usize = 10_000;

/// The kinds of single places.
const KINDS: [&str; 5] = ["country:", "continent:", "subdivision:", "asn:", "cidr:"];

/// `[sets]` as typed.
pub(super) type SetSpecs<'a> = Vec<(At<&'a str>, Vec<At<&'a str>>)>;

/// Reads `[sets]`.
pub(super) fn read<'a>(root: &mut Table<'a>) -> SetSpecs<'a> {
    let Some(table) = root.value("sets").and_then(|value| value.table("[sets]", &[])) else { return Vec::new() };
    let report = table.report;
    let mut entries = table.into_entries();
    if let Some((name, _)) = entries.get(MAX_SETS) {
        report.error("too-many-sets", &name.span, format!("there are over {MAX_SETS} sets"));
        entries.truncate(MAX_SETS);
    }
    let set = |(name, value): (At<&'a str>, Value<'a>)| {
        check_name(report, &name);
        let mut members = value.filled_list(Value::text).unwrap_or_default();
        let mut seen = HashSet::new();
        members.retain(|member| seen.insert(member.value));
        (name, members)
    };
    entries.into_iter().map(set).collect()
}

fn check_name(report: &Report<'_>, name: &At<&str>) {
    let plain = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
    if PlaceSet::built_in(name.value).is_some() || name.value == "default" || name.value == "strictest" {
        let message = format!("`{}` is a word of Meridian's own; a set needs another name", name.value);
        report.error_help("reserved-name", &name.span, message, Some(format!("such as `my-{}`", name.value)));
    } else if name.value.is_empty() || !name.value.bytes().all(plain) {
        let message = format!("{} is no name for a set", quoted(name.value));
        report.error_help("bad-value", &name.span, message, Some("letters, digits, `-` and `_`".to_owned()));
    }
}

/// The sets of a configuration, nested ones resolved.
pub(super) struct Sets {
    /// By name; none: it has errors, reported already.
    sets: BTreeMap<String, Option<PlaceSet>>,
}

impl Sets {
    /// Resolves `specs`; reports cycles and what is no place.
    pub(super) fn new(specs: &SetSpecs<'_>, report: &Report<'_>) -> Self {
        let index = specs.iter().enumerate().map(|(index, (name, _))| (name.value, index)).collect();
        let mut resolver = Resolver { specs, index, report, done: BTreeMap::new(), open: Vec::new() };
        specs.iter().enumerate().for_each(|(index, _)| resolver.resolve(index));
        Self { sets: resolver.done }
    }

    /// The set or single place that `typed` names; reports what it is not.
    pub(super) fn find(&self, typed: &At<&str>, report: &Report<'_>) -> Option<PlaceSet> {
        if let Some(set) = PlaceSet::built_in(typed.value) {
            return Some(set);
        }
        if let Some(set) = self.sets.get(typed.value) {
            return set.clone();
        }
        let place = place(typed, self.sets.keys().map(String::as_str), report)?;
        Some(PlaceSet { label: typed.value.to_owned(), places: vec![place] })
    }
}

struct Resolver<'s, 'a> {
    specs: &'s SetSpecs<'a>,
    index: HashMap<&'a str, usize>,
    report: &'s Report<'s>,
    done: BTreeMap<String, Option<PlaceSet>>,
    /// The sets being resolved, outermost first.
    open: Vec<usize>,
}

impl Resolver<'_, '_> {
    /// Recursion is as deep as sets nest, at most [`MAX_SETS`].
    fn resolve(&mut self, index: usize) {
        let (name, members) = &self.specs[index];
        if self.done.contains_key(name.value) {
            return;
        }
        self.open.push(index);
        let (mut places, mut seen, mut good) = (Vec::new(), HashSet::new(), !members.is_empty());
        for member in members {
            match self.member(member) {
                Some(found) => places.extend(found.into_iter().filter(|place| seen.insert(*place))),
                None => good = false,
            }
        }
        self.open.pop();
        if places.len() > MAX_PLACES {
            let message = format!("the set `{}` holds over {MAX_PLACES} places", name.value);
            self.report.error("too-many-places", &name.span, message);
            good = false;
        }
        let set = PlaceSet { label: name.value.to_owned(), places };
        self.done.insert(name.value.to_owned(), good.then_some(set));
    }

    fn member(&mut self, member: &At<&str>) -> Option<Vec<Place>> {
        if let Some(set) = PlaceSet::built_in(member.value) {
            return Some(set.places);
        }
        let Some(&inner) = self.index.get(member.value) else {
            let names = self.specs.iter().map(|(name, _)| name.value);
            return place(member, names, self.report).map(|place| vec![place]);
        };
        if let Some(start) = self.open.iter().position(|&open| open == inner) {
            let ring = self.open[start..].iter().map(|&open| self.specs[open].0.value);
            let ring = ring.chain([member.value]).collect::<Vec<_>>().join(" → ");
            self.report.error("set-cycle", &member.span, format!("a set cannot hold itself: {ring}"));
            return None;
        }
        self.resolve(inner);
        self.done.get(member.value)?.as_ref().map(|set| set.places.clone())
    }
}

/// The single place that `typed` names; `sets` are the operator's own, for a proposal.
fn place<'s>(typed: &At<&str>, sets: impl Iterator<Item = &'s str>, report: &Report<'_>) -> Option<Place> {
    let Some((kind, code)) = typed.value.split_once(':') else {
        let names: Vec<&str> = PlaceSet::BUILT_IN.into_iter().chain(sets).collect();
        let as_country = country(typed.value).map(|_| format!("did you mean `country:{}`?", typed.value));
        let near = did_you_mean(typed.value, names.iter().copied()).or(as_country);
        let help = near.unwrap_or_else(|| format!("sets are {}; single places are {}", one_of(names), one_of(KINDS)));
        report.error_help("unknown-set", &typed.span, format!("{} is no set", quoted(typed.value)), Some(help));
        return None;
    };
    let found = match kind {
        "country" => country(code).map(Place::Country),
        "continent" => code.parse().ok().map(Place::Continent),
        "subdivision" => subdivision(code).map(Place::Subdivision),
        "asn" => code.trim_start_matches("AS").parse().ok().filter(|asn| *asn != 0).map(Place::Asn),
        "cidr" => match prefix(code) {
            Ok(net) => Some(Place::Cidr(net)),
            Err(error) => {
                bad_prefix(report, &typed.span, code, &error);
                return None;
            }
        },
        _ => None,
    };
    if found.is_none() {
        let help = Some(help_for(kind, code));
        report.error_help("unknown-place", &typed.span, format!("{} is no place", quoted(typed.value)), help);
    }
    found
}

/// A country of ISO 3166-1, or XK (Kosovo), which databases use.
fn country(code: &str) -> Option<Country> {
    code.parse::<Country>().ok().filter(|country| country.facts().is_some() || country.as_str() == "XK")
}

fn subdivision(code: &str) -> Option<Subdivision> {
    code.parse::<Subdivision>().ok().filter(|found| country(found.country().as_str()).is_some())
}

fn help_for(kind: &str, code: &str) -> String {
    match kind {
        "country" if code.eq_ignore_ascii_case("UK") => "the United Kingdom is `country:GB`".to_owned(),
        "country" if code.eq_ignore_ascii_case("EU") => "did you mean the set `eu`?".to_owned(),
        "country" => "two letters of ISO 3166-1, as in `country:DE`".to_owned(),
        "continent" => format!("continents are {}", one_of(Continent::ALL.iter().map(|continent| continent.code()))),
        "subdivision" => "a code of ISO 3166-2, as in `subdivision:US-CA`".to_owned(),
        "asn" => "a number, as in `asn:64496`".to_owned(),
        _ => {
            let near = did_you_mean(&format!("{kind}:"), KINDS);
            near.unwrap_or_else(|| format!("single places are {}", one_of(KINDS)))
        }
    }
}
