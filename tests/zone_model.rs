//! The look-up form against a model of a zone that is as plain as can be: a map of names, each
//! question answered by the words of RFC 1034 §4.3.2, RFC 4592 and RFC 6672.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meridian::model::{Name, ServiceId};
use meridian::zone::{Found, Steered, ZoneTree, Zones, read};
use proptest::prelude::*;

const A: u16 = 1;
const NS: u16 = 2;
const CNAME: u16 = 5;
const MX: u16 = 15;
const TXT: u16 = 16;
const DNAME: u16 = 39;
const DS: u16 = 43;
const ANY: u16 = 255;

/// Names by their labels, the topmost first: `["test", "a"]` is `a.test`.
type Labels = Vec<String>;

/// Types and data of each name, as they are in the file, and the services.
#[derive(Clone, Debug, Default)]
struct Model {
    records: BTreeMap<Labels, BTreeMap<u16, BTreeSet<String>>>,
    services: BTreeMap<Labels, u32>,
}

/// What the model finds: in words, so that it compares.
#[derive(Debug, PartialEq)]
enum Outcome {
    Answer { records: usize, wildcard: bool },
    Steered { service: u32, wildcard: bool },
    Cname { wildcard: bool },
    Dname { owner: usize },
    Referral { owner: usize, servers: usize },
    NoData { service: Option<u32> },
    NxDomain,
}

impl Model {
    fn has(&self, name: &[String], rtype: u16) -> bool {
        self.records.get(name).is_some_and(|types| types.contains_key(&rtype))
    }

    /// How many labels the topmost cut at or above a name has, and whether that is a DNAME.
    fn cut(&self, name: &[String]) -> Option<(usize, bool)> {
        (1..=name.len()).find_map(|depth| {
            let above = &name[..depth];
            let is_dname = self.has(above, DNAME);
            let cuts = (is_dname && depth < name.len()) || (depth > 1 && self.has(above, NS));
            cuts.then_some((depth, is_dname))
        })
    }

    /// Does the name exist, for itself or because of something below it?
    fn exists(&self, name: &[String]) -> bool {
        self.records.keys().chain(self.services.keys()).any(|owner| owner.starts_with(name))
    }

    fn find(&self, name: &[String], qtype: u16) -> Outcome {
        match self.cut(name) {
            Some((owner, true)) => return Outcome::Dname { owner },
            Some((owner, false)) if owner < name.len() || qtype != DS => {
                return Outcome::Referral { owner, servers: self.records[&name[..owner]][&NS].len() };
            }
            _ => {}
        }
        if self.exists(name) {
            return self.at(name, qtype, false);
        }
        let encloser = (1..name.len()).rev().find(|&depth| self.exists(&name[..depth])).expect("the apex exists");
        let source = [&name[..encloser], &["*".to_owned()]].concat();
        if self.exists(&source) { self.at(&source, qtype, true) } else { Outcome::NxDomain }
    }

    fn at(&self, name: &[String], qtype: u16, wildcard: bool) -> Outcome {
        let service = self.services.get(name).copied();
        if let Some(service) = service.filter(|_| matches!(qtype, A | ANY)) {
            return Outcome::Steered { service, wildcard };
        }
        let none = BTreeMap::new();
        let types = self.records.get(name).unwrap_or(&none);
        let found = if qtype == ANY { types.values().next() } else { types.get(&qtype) };
        match found {
            // Which one ANY gets is a matter of octets, which are not modelled.
            Some(records) => Outcome::Answer { records: if qtype == ANY { 0 } else { records.len() }, wildcard },
            None if types.contains_key(&CNAME) => Outcome::Cname { wildcard },
            None => Outcome::NoData { service },
        }
    }

    /// The master file.
    fn text(&self) -> String {
        let mut text = "$TTL 60\n@ SOA ns.x. host.x. 1 2 3 4 5\n".to_owned();
        for (name, types) in &self.records {
            for data in types.iter().filter(|(rtype, _)| **rtype != 6).flat_map(|(_, data)| data) {
                text += &format!("{}. {data}\n", dotted(name));
            }
        }
        text
    }
}

fn dotted(name: &[String]) -> String {
    name.iter().rev().map(String::as_str).collect::<Vec<_>>().join(".")
}

fn found(tree: &ZoneTree, name: &str, qtype: u16) -> Outcome {
    let name: Name = name.parse().unwrap();
    let labels = |owner: &[u8]| Name::from_wire(owner).unwrap().labels().count();
    match tree.find(name.as_wire(), qtype) {
        Found::Answer { rrset, wildcard } => {
            assert_eq!(rrset.len(), rrset.rdatas().count());
            Outcome::Answer { records: if qtype == ANY { 0 } else { rrset.len() }, wildcard }
        }
        Found::Steered { service, wildcard } => Outcome::Steered { service: service.0, wildcard },
        Found::Cname { wildcard, .. } => Outcome::Cname { wildcard },
        Found::Dname { owner, .. } => Outcome::Dname { owner: labels(owner) },
        Found::Referral { owner, ns } => Outcome::Referral { owner: labels(owner), servers: ns.len() },
        Found::NoData { service } => Outcome::NoData { service: service.map(|service| service.0) },
        Found::NxDomain => Outcome::NxDomain,
    }
}

/// Few labels, so that names meet: below each other, beside wildcards, below cuts.
fn name() -> impl Strategy<Value = Labels> {
    let label = prop::sample::select(vec!["a", "b", "c", "*", "a-label-that-is-longer-than-others", "w"]);
    prop::collection::vec(label, 0..5)
        .prop_map(|labels| std::iter::once("test").chain(labels).map(str::to_owned).collect())
}

fn model() -> impl Strategy<Value = Model> {
    let data = prop::sample::select(vec![
        (A, "A 192.0.2.1".to_owned()),
        (A, "A 192.0.2.2".to_owned()),
        (TXT, "TXT x".to_owned()),
        (TXT, format!("TXT {}", "y".repeat(200))),
        (MX, "MX 1 mail.x.".to_owned()),
        (CNAME, "CNAME www.x.".to_owned()),
        (NS, "NS ns1.x.".to_owned()),
        (NS, "NS ns2.x.".to_owned()),
        (DNAME, "DNAME other.x.".to_owned()),
        (DS, "DS 1 13 2 00".to_owned()),
    ]);
    let records = prop::collection::vec((name(), data), 0..30);
    (records, prop::collection::vec(name(), 0..4)).prop_map(|(records, services)| {
        let mut model = Model::default();
        let apex = vec!["test".to_owned()];
        let types = model.records.entry(apex.clone()).or_default();
        types.insert(6, BTreeSet::from(["SOA".to_owned()]));
        types.insert(NS, BTreeSet::from(["NS ns.x.".to_owned()]));
        for (name, (rtype, data)) in records {
            let mut with = model.clone();
            with.records.entry(name.clone()).or_default().entry(rtype).or_default().insert(data);
            if is_allowed(&with, &name, rtype) {
                model = with;
            }
        }
        for (name, id) in services.into_iter().zip(0..) {
            let clashes = (1..=name.len()).any(|depth| {
                let above = &name[..depth];
                model.has(above, CNAME) || model.has(above, DNAME) || (depth > 1 && model.has(above, NS))
            });
            if !clashes && !model.has(&name, A) {
                model.services.entry(name).or_insert(id);
            }
        }
        model
    })
}

/// Leaves out what is an error in a zone, and what a delegation would hide with a warning.
fn is_allowed(model: &Model, name: &[String], rtype: u16) -> bool {
    let types = &model.records[name];
    let alone = |alone| !types.contains_key(&alone) || types.len() == 1;
    let at_apex = name.len() == 1;
    let hidden = model.records.keys().any(|owner| {
        let cut = model.cut(owner).map(|(depth, _)| depth);
        let own = [NS, DS].iter().filter(|own| model.has(owner, **own)).count();
        cut.is_some_and(|depth| depth < owner.len() || own < model.records[owner].len())
    });
    let single = [CNAME, DNAME].iter().all(|single| types.get(single).is_none_or(|data| data.len() == 1));
    alone(CNAME)
        && single
        && !hidden
        && !(at_apex && matches!(rtype, CNAME | DS))
        && !(!at_apex && types.contains_key(&DNAME) && types.contains_key(&NS))
        && !(name.last().is_some_and(|label| label == "*") && matches!(rtype, NS | DNAME))
}

fn tree(model: &Model) -> ZoneTree {
    let mut files: BTreeMap<PathBuf, Arc<[u8]>> = BTreeMap::from([("zone".into(), model.text().into_bytes().into())]);
    let (data, _) = read(&mut files, Path::new("zone"), &"test".parse().unwrap()).unwrap();
    let steered: Vec<Steered> = model.services.iter().map(|(name, &service)| steered(&dotted(name), service)).collect();
    ZoneTree::build(&data, &steered).unwrap()
}

fn steered(name: &str, service: u32) -> Steered {
    Steered { name: name.parse().unwrap(), service: ServiceId(service), file: "config.toml".into(), spot: None }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn finds_what_the_words_say(model in model(), asked in prop::collection::vec(name(), 1..20)) {
        let tree = tree(&model);
        for name in asked.iter().chain(model.records.keys()).chain(model.services.keys()) {
            for qtype in [A, NS, CNAME, MX, TXT, DNAME, DS, ANY] {
                let name = name.as_slice();
                prop_assert_eq!(found(&tree, &dotted(name), qtype), model.find(name, qtype), "{:?} {}", name, qtype);
            }
        }
    }

    /// Each name that exists is a node once, with the types that the model has.
    #[test]
    fn nodes_are_the_names_that_exist(model in model()) {
        let tree = tree(&model);
        let mut seen = BTreeMap::new();
        for (wire, node) in tree.nodes() {
            let name = Name::from_wire(&wire).unwrap();
            let types: Vec<u16> = node.rrsets().map(|rrset| rrset.rtype).collect();
            prop_assert_eq!(types.len(), node.rrsets().len());
            let labels: Labels = name.to_string().split('.').rev().map(str::to_owned).collect();
            prop_assert!(seen.insert(labels, types).is_none(), "{} twice", name);
        }
        let owners = model.records.keys().chain(model.services.keys());
        let exist: BTreeSet<&[String]> = owners.flat_map(|name| (1..=name.len()).map(|depth| &name[..depth])).collect();
        prop_assert_eq!(seen.keys().map(Vec::as_slice).collect::<BTreeSet<_>>(), exist);
        for (name, types) in &model.records {
            prop_assert_eq!(&seen[name], &types.keys().copied().collect::<Vec<_>>());
        }
    }

    /// The zone is the one with the longest apex, whatever else lies above, below and beside it.
    #[test]
    fn zones_are_found_by_the_longest_apex(
        apexes in prop::collection::btree_set(name().prop_filter("no wildcard", |name| name.last().unwrap() != "*"), 0..12),
        asked in prop::collection::vec(name(), 1..20),
    ) {
        let trees = apexes.iter().map(|apex| {
            let text = b"@ 60 SOA ns.x. host.x. 1 2 3 4 5\n@ 60 NS ns.x.\n";
            let mut files: BTreeMap<PathBuf, Arc<[u8]>> = BTreeMap::from([("zone".into(), text[..].into())]);
            let (data, _) = read(&mut files, Path::new("zone"), &dotted(apex).parse().unwrap()).unwrap();
            ZoneTree::build(&data, &[]).unwrap()
        });
        let zones = Zones::new(trees.collect());
        prop_assert_eq!(zones.len(), zones.iter().count());
        for name in &asked {
            let expected = apexes.iter().enumerate().filter(|(_, apex)| name.starts_with(apex));
            let expected = expected.max_by_key(|(_, apex)| apex.len()).map(|(at, _)| at);
            let wire: Name = dotted(name).parse().unwrap();
            prop_assert_eq!(zones.find_zone(wire.as_wire()).map(|(id, _)| id.index()), expected);
        }
        for (at, apex) in apexes.iter().enumerate() {
            let apex: Name = dotted(apex).parse().unwrap();
            prop_assert_eq!(zones.get(meridian::model::ZoneId::at(at)).apex(), apex.as_wire());
        }
    }

    /// Octets that are no name find nothing, and nothing breaks.
    #[test]
    fn octets_that_are_no_name(model in model(), octets in prop::collection::vec(any::<u8>(), 0..300)) {
        let zone = tree(&model);
        let found_nothing = matches!(zone.find(&octets, A), Found::NxDomain);
        prop_assert!(found_nothing || Name::from_wire(&octets).is_ok());
        let zones = Zones::new(vec![zone]);
        prop_assert!(zones.find_zone(&octets).is_none());
    }
}

/// A zone far larger than any index that fits a few lines: a name each from all of it.
#[test]
fn a_large_zone() {
    let mut text = "$TTL 60\n@ SOA ns.x. host.x. 1 2 3 4 5\n@ NS ns.x.\n".to_owned();
    (0..30_000).for_each(|host| text += &format!("host-{host} A 192.0.{}.{}\n", host >> 8, host & 255));
    let mut files: BTreeMap<PathBuf, Arc<[u8]>> = BTreeMap::from([("zone".into(), text.into_bytes().into())]);
    let (data, _) = read(&mut files, Path::new("zone"), &"test".parse().unwrap()).unwrap();
    let tree = ZoneTree::build(&data, &[]).unwrap();
    for host in 0..30_000_u32 {
        let name: Name = format!("host-{host}.test").parse().unwrap();
        let Found::Answer { rrset, .. } = tree.find(name.as_wire(), A) else { panic!("{name} is not found") };
        assert_eq!(rrset.octets(), [0, 4, 192, 0, (host >> 8) as u8, host as u8]);
    }
    assert_eq!(found(&tree, "host-30000.test", A), Outcome::NxDomain);
    assert_eq!(tree.nodes().count(), 30_001);
}
