//! What is published moves when it is worth it, and only then.

use std::sync::Arc;

use jiff::SignedDuration;

use super::super::published::Factors;
use super::super::*;
use super::made::{GAIN_MS, Made, NOW, Random, client, take};
use crate::latency::sphere::ln;

/// One client, to whom two sites are 50 and 60 ms away by the prior.
fn world() -> Made {
    let mut made = Made::new(0, 2, &mut Random(1));
    (made.prior, made.truth) = (vec![vec![50.0, 60.0]], vec![vec![50.0, 60.0]]);
    (made.countries, made.asns) = (vec!["FR".parse().unwrap()], vec![64_496]);
    made
}

fn shifts(ms: [f32; 2]) -> Vec<Shift> {
    let shift = |(at, prior_ms): (usize, f32)| Shift {
        target: TargetId(at as u16),
        ln: ln(f64::from(ms[at] / prior_ms)) as f32,
        spread: 0.1,
        samples: 3.0,
        newest: NOW,
        prior_ms,
    };
    [50.0, 60.0].into_iter().enumerate().map(shift).collect()
}

fn estimates(prefix: Option<[f32; 2]>, country: Option<[f32; 2]>) -> Estimates {
    let targets: Vec<Arc<str>> = vec!["cloud/b".into(), "cloud/a".into()];
    let prefixes = prefix.map(|ms| (store::Key::of(client(0)).prefix(), shifts(ms))).into_iter().collect();
    let countries = country.map(|ms| ("FR".parse().unwrap(), shifts(ms))).into_iter().collect();
    let (fr, own) = ("FR".parse().unwrap(), store::Key::of(client(0)));
    let heard = estimate::Heard {
        countries: [(fr, vec![TargetId(0), TargetId(1)])].into(),
        networks: [((fr, 64_496), vec![TargetId(0), TargetId(1)])].into(),
        prefixes: vec![own],
        oldest: NOW,
        newest: NOW,
    };
    Estimates { targets, countries, prefixes, heard, ..Estimates::default() }
}

/// The round trips that answers go by.
fn served(published: &Published) -> [f32; 2] {
    let own = published.prefix(&store::Key::of(client(0)).prefix()).unwrap_or_default();
    let ms = |site: &str, prior_ms: f32| {
        let own = own.iter().find(|own| &*own.site == site).map(|own| own.factor);
        prior_ms * own.unwrap_or_else(|| published.factor("FR".parse().ok(), Some(64_496), site))
    };
    [ms("cloud/b", 50.0), ms("cloud/a", 60.0)]
}

fn is_near(found: [f32; 2], expected: [f32; 2]) -> bool {
    found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 0.01)
}

#[test]
fn from_a_threshold_on() {
    let (made, none) = (world(), Published::default());
    let next = |ms| none.next(&estimates(Some(ms), None), &made, GAIN_MS);
    // 5 ms and 10 %, on one site or the other.
    for ms in [[50.0, 60.0], [54.9, 60.0], [45.1, 60.0], [50.0, 65.9], [50.0, 54.1], [53.0, 57.0]] {
        assert_eq!(next(ms), None, "{ms:?}");
    }
    for ms in [[55.1, 60.0], [44.9, 60.0], [50.0, 66.1], [50.0, 53.9], [52.0, 66.1]] {
        assert!(is_near(served(&next(ms).unwrap()), ms), "{ms:?}: {:?}", next(ms));
    }
}

#[test]
fn or_where_who_is_better_turns() {
    let made = world();
    let step = |published: &Published, ms| published.next(&estimates(Some(ms), None), &made, GAIN_MS);
    let published = step(&Published::default(), [57.0, 60.0]).unwrap();
    // Neither moves by 10 %, but between the two it is that.
    assert_eq!(step(&published, [61.0, 56.0]), None);
    assert!(is_near(served(&step(&published, [62.0, 55.0]).unwrap()), [62.0, 55.0]));
}

#[test]
fn it_stays_until_it_has_moved_as_far_again() {
    let made = world();
    let step = |published: &Published, ms| published.next(&estimates(Some(ms), None), &made, GAIN_MS);
    let published = step(&Published::default(), [70.0, 60.0]).unwrap();
    for ms in [[70.0, 60.0], [76.9, 60.0], [63.1, 60.0], [70.0, 65.9], [66.0, 56.0]] {
        assert_eq!(step(&published, ms), None, "{ms:?}");
    }
    let moved = step(&published, [62.9, 60.0]).unwrap();
    assert!(is_near(served(&moved), [62.9, 60.0]));
    // Back to nothing only where hardly anything is left.
    assert_eq!(step(&moved, [57.0, 60.0]), None);
    assert_eq!(step(&moved, [52.6, 60.0]).unwrap().prefixes().count(), 1, "over half a change");
    assert_eq!(step(&moved, [52.4, 60.0]), Some(Published::default()));
    assert_eq!(moved.next(&estimates(None, None), &made, GAIN_MS), Some(Published::default()));
}

#[test]
fn nothing_swings_at_the_threshold() {
    let made = world();
    let (mut published, mut changes) = (Published::default(), 0);
    for round in 0..200 {
        let ms = if round % 2 == 0 { 54.8 } else { 55.2 };
        if let Some(next) = published.next(&estimates(Some([ms, 60.0]), None), &made, GAIN_MS) {
            (published, changes) = (next, changes + 1);
        }
    }
    assert_eq!(changes, 1, "taken up once, and kept");
}

#[test]
fn a_prefix_is_held_against_its_country() {
    let made = world();
    let both = |prefix, country| estimates(Some(prefix), Some(country));
    let published = Published::default().next(&both([75.0, 60.0], [75.5, 60.0]), &made, GAIN_MS).unwrap();
    assert_eq!(published.prefixes().count(), 0, "its country says it");
    assert!(is_near(served(&published), [75.5, 60.0]));
    let published = published.next(&both([50.0, 60.0], [75.5, 60.0]), &made, GAIN_MS).unwrap();
    assert!(is_near(served(&published), [50.0, 60.0]), "unlike its country");
    assert!((published.factor("FR".parse().ok(), None, "cloud/b") - 75.5 / 50.0).abs() < 1e-5);
    let (prefix, factors, weight) = published.prefixes().next().unwrap();
    assert_eq!((prefix.to_string().as_str(), factors.len(), weight), ("10.0.0.0/24", 2, 3.0));
    assert_eq!(published.factor("FR".parse().ok(), None, "cloud/none"), 1.0);
}

/// What servers are taken to take stays, too, until votes are off by enough; and where nobody votes.
#[test]
fn biases_stay_until_they_are_off() {
    let mut made = Made::new(600, 6, &mut Random(2));
    made.biases = vec![10.0; 6];
    let measured = |made: &Made| {
        let mut samples = made.store();
        made.measure_all(&mut samples, 2, NOW, &mut Random(9));
        samples
    };
    let next = |published: &Published, samples: &Samples, made: &Made| {
        let estimates = samples.estimate(published, made, GAIN_MS, NOW);
        published.next(&estimates, made, GAIN_MS).unwrap_or_else(|| published.clone())
    };
    let first = next(&Published::default(), &measured(&made), &made);
    assert_eq!(first.biases.len(), 6);
    made.biases[3] += 3.0;
    assert_eq!(next(&first, &measured(&made), &made).biases, first.biases);
    made.biases[3] += 22.0;
    let second = next(&first, &measured(&made), &made);
    let [before, after] = [&first, &second].map(|published| published.bias_ms("cloud/region-03").unwrap());
    assert!(after > before + 5.0, "{before} {after}");
    let lost = next(&second, &made.store(), &made);
    assert_eq!(lost.biases, second.biases);
}

/// Where its parts lie in several places, these are answered by them.
#[test]
fn what_lies_in_several_places_is_not_published() {
    let mut made = world();
    let said = estimates(Some([80.0, 60.0]), None);
    let published = Published::default().next(&said, &made, GAIN_MS).unwrap();
    made.split.push(store::Key::of(client(0)).prefix().network());
    assert_eq!(Published::default().next(&said, &made, GAIN_MS), None);
    assert!(published.next(&said, &made, GAIN_MS).unwrap().is_empty(), "the database has other leaves now");
}

/// Samples may be on another node, or lost; then what is published stays until they would be too old.
#[test]
fn what_nobody_samples_stays_for_a_while() {
    let made = world();
    let said = estimates(Some([80.0, 60.0]), Some([70.0, 60.0]));
    let published = Published::default().next(&said, &made, GAIN_MS).unwrap();
    let (before, after) = (super::made::later(-1), super::made::later(1));
    let unheard = |oldest, newest| {
        let heard = estimate::Heard { oldest, newest, ..Default::default() };
        published.next(&Estimates { heard, ..Estimates::default() }, &made, GAIN_MS)
    };
    assert_eq!(unheard(NOW, NOW), None);
    assert!(unheard(after, after).unwrap().is_empty());
    assert!(unheard(before, before).unwrap().is_empty(), "a clock was ahead when they came");
}

/// What is measured on, and stays the same, is as young as its samples, to an eighth of the time that these are kept for; a site
/// that a prefix measures no more goes when it is too old.
#[test]
fn what_is_measured_on_stays_young_and_a_site_that_is_not_goes() {
    let made = world();
    let at = |day: i64| super::made::later(24 * day);
    for of_prefix in [true, false] {
        let said = |ms| if of_prefix { estimates(Some(ms), None) } else { estimates(None, Some(ms)) };
        let mut published = Published::default().next(&said([80.0, 72.0]), &made, GAIN_MS).unwrap();
        let (mut sites, mut changes) = (Vec::new(), 0);
        for day in 1..=60 {
            let mut said = said([80.0, 72.0]);
            (said.heard.oldest, said.heard.newest) = (at(day - 32), at(day));
            let countries = said.countries.iter_mut().map(|(_, shifts)| shifts);
            for shifts in countries.chain(said.prefixes.iter_mut().map(|(_, shifts)| shifts)) {
                shifts.retain(|shift| shift.target == TargetId(1) || !of_prefix);
                shifts.iter_mut().for_each(|shift| shift.newest = at(day));
            }
            if let Some(next) = published.next(&said, &made, GAIN_MS) {
                (published, changes) = (next, changes + 1);
            }
            sites.push(served(&published).map(|ms| ms != 50.0 && ms != 60.0));
        }
        assert_eq!((sites[30], sites[33]), ([true, true], [!of_prefix, true]), "{of_prefix}");
        let newest = published.newest().unwrap();
        assert!(newest > at(55) && (14..=16).contains(&changes), "{of_prefix}: {newest}, {changes} changes");
    }
}

/// Who are too few, by what they weigh, to bring a country's factor take none away, either: there may be a table of elsewhere, or samples
/// that were lost.
#[test]
fn who_are_too_few_to_say_something_take_nothing_away() {
    let mut random = Random(3);
    let mut made = Made::new(600, 6, &mut random);
    let (fr, site, sites) = ("FR".parse().unwrap(), "cloud/region-02", [0, 1, 2, 3, 4, 5].map(TargetId));
    for number in 0..60 {
        (made.countries[number], made.asns[number]) = (fr, 64_496 + number as u32);
        made.truth[number] = made.prior[number].clone();
        made.truth[number][2] = 2.0 * made.prior[number][2] + 30.0;
    }
    // Of the first, so many measure, and of the others all.
    let measured_of = |made: &Made, sites: &[TargetId], clients: usize, times: usize, random: &mut Random| {
        let mut samples = made.store();
        for number in (0..clients).chain(60..made.clients()) {
            for _ in 0..times {
                take(&mut samples, number, &made.measure_sites(number, sites, random), NOW);
            }
        }
        samples
    };
    let measured = |made: &Made, clients: usize, times: usize, random: &mut Random| {
        measured_of(made, &sites, clients, times, random)
    };
    let next = |published: &Published, samples: &Samples, made: &Made| {
        let estimates = samples.estimate(published, made, GAIN_MS, NOW);
        published.next(&estimates, made, GAIN_MS).unwrap_or_else(|| published.clone())
    };
    let first = next(&Published::default(), &measured(&made, 60, 24, &mut random), &made);
    assert!(first.factor(Some(fr), None, site) > 1.6, "{:?}", first.countries.get(&fr));
    for clients in [5, 21, 24] {
        let few = measured(&made, clients, 1, &mut random);
        assert!(!next(&Published::default(), &few, &made).countries.contains_key(&fr), "{clients} say nothing");
        assert_eq!(next(&first, &few, &made).countries.get(&fr), first.countries.get(&fr), "{clients}");
    }
    // Of what nobody measures, what is published stays, although others are measured and have moved.
    for number in 0..60 {
        made.truth[number][3] = 2.5 * made.prior[number][3] + 40.0;
    }
    let others = next(&first, &measured_of(&made, &[0, 1, 3, 4, 5].map(TargetId), 60, 24, &mut random), &made);
    assert!(others.factor(Some(fr), None, "cloud/region-03") > 2.0, "{:?}", others.countries.get(&fr));
    assert_eq!(others.factor(Some(fr), None, site), first.factor(Some(fr), None, site));
    // All of them do.
    made.truth[..60].clone_from_slice(&made.prior[..60]);
    let over = next(&first, &measured(&made, 60, 24, &mut random), &made);
    assert!((over.factor(Some(fr), None, site) - 1.0).abs() < 0.1, "{:?}", over.countries.get(&fr));
}

/// What a network has in common is believed of its prefixes that measured, although the others go by the country.
#[test]
fn a_network_that_answers_do_not_tell_apart_speaks_through_its_prefixes() {
    let mut random = Random(5);
    let mut made = Made::new(2_000, 3, &mut random);
    let network = (made.countries[0], 64_496);
    // Half of its country.
    let inside: Vec<usize> = (0..made.clients()).filter(|at| made.countries[*at] == network.0).step_by(2).collect();
    for &number in &inside {
        let prior = made.prior[number].clone();
        made.asns[number] = network.1;
        made.truth[number] = vec![1.8 * prior[0] + 40.0, prior[1], prior[2]];
    }
    // One of them has a bad way to another site, and has not measured that one.
    let partly = inside[0];
    made.truth[partly][1] = 3.0 * made.prior[partly][1] + 60.0;
    let mut samples = made.store();
    for number in 0..made.clients() {
        let sites: &[u16] = if number == partly { &[1, 2] } else { &[0, 1, 2] };
        let sites: Vec<TargetId> = sites.iter().copied().map(TargetId).collect();
        for _ in 0..3 {
            take(&mut samples, number, &made.measure_sites(number, &sites, &mut random), NOW);
        }
    }
    let site = "cloud/region-00";
    let factors = |unnamed: bool| {
        let made = Made { unnamed, ..made.clone() };
        let none = Published::default();
        let published = none.next(&samples.estimate(&none, &made, GAIN_MS, NOW), &made, GAIN_MS).unwrap();
        let at_large = published.factor(Some(network.0), None, site);
        let own = |number: &usize| {
            let own = published.prefix(&store::Key::of(client(*number)).prefix())?;
            own.iter().find(|factor| &*factor.site == site).map(|factor| factor.factor)
        };
        let own: Vec<Option<f32>> = inside.iter().map(own).collect();
        (published.factor(Some(network.0), Some(network.1), site), at_large, own)
    };
    let (of_network, at_large, named) = factors(false);
    assert!(of_network > 1.5 * at_large, "{of_network} beside {at_large}");
    // Told apart, most prefixes have nothing to add. Else all of them differ from what they would be served.
    let differ = |own: &[Option<f32>]| own.iter().flatten().filter(|factor| **factor > 1.3 * at_large).count();
    let (_, _, unnamed) = factors(true);
    assert_eq!((named[0], unnamed[0]), (None, Some(of_network)), "what its network says stands beside what it says");
    let (few, all) = (named.iter().flatten().count(), differ(&unnamed));
    assert!(few < inside.len() * 3 / 4 && all > inside.len() * 9 / 10, "{few} and {all} of {}", inside.len());
}

/// Who has most prefixes comes first; where as many, the lesser number.
#[test]
fn networks_are_ranked_and_bounded() {
    let country: Country = "FR".parse().unwrap();
    let factor = |samples: f32| Factor { site: "a/b".into(), factor: 2.0, spread: 0.1, samples, newest: NOW };
    let network = |asn: u32| ((country, asn), vec![factor((asn % 600) as f32)].into());
    let published = Published { networks: (0..1_200).map(network).collect(), ..Published::default() };
    let ranked = published.networks();
    assert_eq!(ranked.len(), 1_024);
    let asns: Vec<u32> = ranked.iter().map(|(_, asn)| *asn).collect();
    assert_eq!((&asns[..4], asns[1_023]), (&[599, 1_199, 598, 1_198][..], 688));
}

/// A table that came from elsewhere stays whole, as whoever measures has it, until nothing in it is new any more.
#[test]
fn where_nobody_measures_a_table_stays_whole() {
    let made = world();
    let day = |days: i64| NOW - SignedDuration::from_hours(24 * days);
    let factor =
        |newest| -> Factors { [Factor { site: "a/b".into(), factor: 2.0, spread: 0.1, samples: 9.0, newest }].into() };
    let countries = [("FR", 40), ("DE", 2)].map(|(country, days)| (country.parse().unwrap(), factor(day(days))));
    let table = Published { countries: countries.into(), ..Published::default() };
    let next = |now| table.next(&made.store().estimate(&table, &made, GAIN_MS, now), &made, GAIN_MS);
    assert_eq!(next(NOW), None);
    assert_eq!(next(NOW + SignedDuration::from_hours(24 * 29)), Some(Published::default()));
    let biases = Published { biases: [("a/b".into(), 3.0)].into(), ..Published::default() };
    assert_eq!(biases.next(&made.store().estimate(&biases, &made, GAIN_MS, NOW), &made, GAIN_MS), None);
}
