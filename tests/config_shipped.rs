//! The shipped config.toml: it reads without a word, means what its comments say, and no damage to it
//! makes the reader panic.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use meridian::config::{Loaded, ProbeKind, read};
use meridian::control::load;
use meridian::model::{Continent, Family, MAX_MEMBERS, Member, Problem, Severity, Spread, WhenNone, Within};
use proptest::prelude::*;

const TEXT: &str = include_str!("../config.toml");

/// Reads `text` with stand-ins for the files that the shipped one names.
fn read_text(text: &[u8]) -> Result<Loaded, Vec<Problem>> {
    let mut files: BTreeMap<PathBuf, Arc<[u8]>> = BTreeMap::new();
    for (name, content) in [("config.toml", text), ("geoip/city.mmdb", b""), ("zones/shop.example.zone", b"")] {
        files.insert(name.into(), content.into());
    }
    read(&mut files, Path::new("config.toml"))
}

#[test]
fn it_reads_without_a_word() {
    let loaded = read_text(TEXT.as_bytes()).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(loaded.warnings, []);
    let config = &loaded.config;
    assert_eq!((config.endpoints.len(), config.services.len()), (15, 4));
    assert_eq!(config.plans.len(), 3, "*.store shares www's plan");
    assert_eq!(config.services[0].plan, config.services[1].plan);
    assert_eq!(config.databases, [PathBuf::from("geoip/city.mmdb")]);
    assert_eq!((config.services[0].ttl, config.services[3].ttl), (Duration::from_secs(20), Duration::from_secs(10)));
    let probe = config.probe("storefront").unwrap();
    let ProbeKind::Http(http) = &probe.kind else { panic!("{probe:?}") };
    assert_eq!((http.path.as_str(), http.expect.as_slice(), probe.port), ("/healthz", &[(200, 299)][..], 80));
}

/// What the README has one begin with, as it stands there.
#[test]
fn the_first_configuration_of_the_readme_is_good() {
    let readme = include_str!("../README.md");
    let block = |kind: &str| readme.split_once(&format!("```{kind}\n")).unwrap().1.split_once("```").unwrap().0;
    let database = include_bytes!("../geoip/city.mmdb");
    let content = [
        ("config.toml", block("toml").as_bytes()),
        ("shop.example.zone", block("zone").as_bytes()),
        ("city.mmdb", database),
    ];
    let mut files: BTreeMap<PathBuf, Arc<[u8]>> =
        content.map(|(name, content)| (PathBuf::from(name), Arc::from(content))).into();
    let loaded = load(&mut files, Path::new("config.toml"), None).unwrap_or_else(|problems| panic!("{problems:#?}"));
    assert_eq!(loaded.warnings, []);
    assert_eq!((loaded.parts.config.endpoints.len(), loaded.parts.config.services.len()), (2, 1));
}

#[test]
fn endpoints_are_spread_as_the_lab_needs() {
    let config = read_text(TEXT.as_bytes()).unwrap().config;
    let clouds: std::collections::BTreeSet<&str> = config.endpoints.iter().map(|e| e.site.cloud.as_str()).collect();
    let sites: std::collections::BTreeSet<_> =
        config.endpoints.iter().map(|e| (e.site.cloud.as_str(), &*e.site.region)).collect();
    let continents: std::collections::BTreeSet<Continent> =
        config.endpoints.iter().filter_map(|e| Some(e.site.country.facts()?.continent)).collect();
    assert_eq!((clouds.len(), sites.len(), continents.len()), (3, 15, 6));
    let mut targets: Vec<_> = config.endpoints.iter().filter_map(|e| e.probe_target).collect();
    targets.dedup();
    assert_eq!(targets.len(), 15);
    for endpoint in &config.endpoints {
        assert!(Family::ALL.into_iter().all(|family| endpoint.counts_for(family)), "{}", endpoint.name);
    }
}

#[test]
fn policies_mean_what_was_typed() {
    let config = read_text(TEXT.as_bytes()).unwrap().config;
    let names = |plan: usize, members: &[Member]| -> Vec<&str> {
        let id = |member: &Member| config.plans[plan].members[member.index()];
        members.iter().map(|member| &*config.endpoints[id(member).index()].name).collect()
    };
    let www = &config.plans[0].policy;
    let in_eu = ["azure-westeurope", "azure-frankfurt", "gcp-belgium", "aws-dublin"];
    assert_eq!(names(0, &www.fences[0].members), in_eu);
    assert_eq!(names(0, &config.plans[0].allowed_unknown()), in_eu);
    assert_eq!(config.fence_places.len(), 1);
    assert_eq!(www.preferences[1].within, Within::Ms(30.0));
    assert!(names(0, &www.preferences[1].members).iter().all(|name| !name.starts_with("aws")));
    assert_eq!((www.tie_ms, www.cost_budget_ms, www.when_none), (3.0, 0.0, WhenNone::IgnoreHealth));
    assert_eq!(config.plans[1].policy.spread, Spread::Multivalue(2));
    assert_eq!(names(2, &config.plans[2].policy.fences[0].members), ["azure-westeurope", "azure-frankfurt"]);
    for plan in &config.plans {
        for family in Family::ALL {
            assert!(plan.has_family(family, &config.endpoints, &config.fence_combinations));
        }
    }
}

#[test]
fn spots_point_at_what_was_typed() {
    let loaded = read_text(TEXT.as_bytes()).unwrap();
    let typed = |spot: &meridian::model::Spot| &TEXT[spot.span.clone()];
    assert_eq!(typed(&loaded.spots.services[3]), "\"eu.shop.example\"");
    assert_eq!(typed(&loaded.spots.endpoints[0]), "\"aws-virginia\"");
    assert_eq!(typed(&loaded.spots.zones[0]), "\"zones/shop.example.zone\"");
    assert_eq!(typed(loaded.spots.databases[0].as_ref().unwrap()), "\"geoip/city.mmdb\"");
    let line = TEXT.lines().nth(loaded.spots.services[3].line - 1).unwrap();
    assert_eq!(line, "name = \"eu.shop.example\"");
}

/// Text that tears at the seams of the reader.
fn splinters() -> impl Strategy<Value = String> {
    let pieces =
        ["[", "]", "[[", "\"", "'''", "=", "= ", "{", "}", ",", ".", "*", "\n", "\r", "\0", "é", "-", "0", "#"];
    let words = ["zones = 1\n", "name = [[]]\n", "[zones]\n", "[sets]\neu = []\n", "inf", "nan", "\"\"", "1979-05-27"];
    let piece = proptest::sample::select(pieces.into_iter().chain(words).collect::<Vec<_>>());
    prop_oneof![piece.prop_map(str::to_owned), "\\PC{0,12}"]
}

/// What every later floor relies on.
fn check_sound(loaded: &Loaded) {
    let config = &loaded.config;
    assert_eq!(loaded.spots.services.len(), config.services.len());
    assert_eq!(loaded.spots.endpoints.len(), config.endpoints.len());
    assert_eq!(loaded.spots.zones.len(), config.zones.len());
    for service in &config.services {
        assert!(service.name.is_at_or_below(&config.zones[service.zone.index()].name));
        assert!(service.plan.index() < config.plans.len());
    }
    for plan in &config.plans {
        assert!(!plan.members.is_empty() && plan.members.len() <= MAX_MEMBERS && plan.members.is_sorted());
        let good = |members: &[Member]| {
            !members.is_empty() && members.is_sorted() && members.iter().all(|m| m.index() < plan.members.len())
        };
        let policy = &plan.policy;
        assert!(policy.fences.iter().all(|fence| good(&fence.members) && fence.place < config.fence_places.len()));
        assert!(policy.preferences.iter().all(|preference| good(&preference.members)));
        assert!(good(&plan.allowed_unknown()));
        let has = |family| plan.has_family(family, &config.endpoints, &config.fence_combinations);
        assert!(Family::ALL.into_iter().any(has));
        for mask in &config.fence_combinations {
            assert!(good(&plan.allowed(*mask).collect::<Vec<_>>()), "{mask:?}");
        }
    }
    for name in config.endpoints.iter().flat_map(|endpoint| &endpoint.probes) {
        assert!(config.probe(name).is_some());
    }
}

/// The places of the words in quotes, quotes included.
fn words() -> Vec<std::ops::Range<usize>> {
    let code = TEXT.split_inclusive('\n').scan(0, |at, line| {
        let start = *at;
        *at += line.len();
        Some((start, line.split(" #").next().filter(|_| !line.starts_with('#')).unwrap_or_default()))
    });
    let in_line = |(start, line): (usize, &str)| {
        let quotes: Vec<usize> = line.match_indices('"').map(|(at, _)| start + at).collect();
        quotes.chunks_exact(2).map(|pair| pair[0]..pair[1] + 1).collect::<Vec<_>>()
    };
    code.flat_map(in_line).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn no_damage_makes_it_panic(edits in prop::collection::vec((0..TEXT.len(), 0..40usize, splinters()), 1..6)) {
        let mut octets = TEXT.as_bytes().to_vec();
        for (at, length, splinter) in edits {
            let at = at.min(octets.len());
            octets.splice(at..(at + length).min(octets.len()), splinter.into_bytes());
        }
        match read_text(&octets) {
            Ok(loaded) => check_sound(&loaded),
            Err(problems) => prop_assert!(problems.iter().any(|problem| problem.severity == Severity::Error)),
        }
    }

    #[test]
    fn words_in_each_others_place_are_refused_or_sound(swaps in prop::collection::vec((0..words().len(), 0..words().len()), 1..4)) {
        let words = words();
        let mut text = TEXT.to_owned();
        let mut places: Vec<(usize, &str)> = swaps.iter().map(|(to, from)| (*to, &TEXT[words[*from].clone()])).collect();
        places.sort_by_key(|(to, _)| std::cmp::Reverse(*to));
        places.dedup_by_key(|(to, _)| *to);
        for (to, word) in places {
            text.replace_range(words[to].clone(), word);
        }
        if let Ok(loaded) = read_text(text.as_bytes()) {
            check_sound(&loaded);
        }
    }

    #[test]
    fn no_octets_make_it_panic(octets in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = read_text(&octets);
    }

    #[test]
    fn no_lines_left_out_or_moved_make_it_panic(lines in prop::collection::vec(0..TEXT.lines().count(), 0..300)) {
        let all: Vec<&str> = TEXT.lines().collect();
        let text: Vec<&str> = lines.iter().map(|&line| all[line]).collect();
        let _ = read_text(text.join("\n").as_bytes());
    }
}
