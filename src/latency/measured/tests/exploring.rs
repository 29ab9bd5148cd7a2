//! What is measured next.

use super::super::*;
use super::made::{Made, NOW, Random, client, later, take};

fn all(made: &Made) -> Vec<TargetId> {
    (0..made.biases.len() as u16).map(TargetId).collect()
}

#[test]
fn the_best_first_and_then_the_uncertain() {
    let mut random = Random(1);
    let mut made = Made::new(1, 5, &mut random);
    made.prior[0] = vec![20.0, 24.0, 30.0, 33.0, 200.0];
    let samples = made.store();
    let candidates = |samples: &Samples, seed, now| {
        let estimates = made.estimates(samples, now);
        samples.candidates(&estimates, &made, client(0), &all(&made), 4, seed, now)
    };
    let of = |sites: &[u16]| sites.iter().copied().map(TargetId).collect::<Vec<_>>();
    let usual = (0..).find(|seed| !store::spread(*seed).is_multiple_of(16)).unwrap();
    let rare = (0..).find(|seed| store::spread(*seed).is_multiple_of(16)).unwrap();
    assert_eq!(candidates(&samples, usual, NOW)[0], TargetId(0));
    assert!(!candidates(&samples, usual, NOW).contains(&TargetId(4)), "it cannot be best");
    assert!((0..4_000).any(|seed| candidates(&samples, seed, NOW).contains(&TargetId(4))), "but it gets its turn");
    assert_eq!(candidates(&samples, rare, NOW)[0], TargetId(0));
    // Once all is measured well, only the next best are left to compare with; with time, doubt comes back.
    let mut samples = samples;
    for _ in 0..8 {
        let session = [(0, 20.0), (1, 60.0), (2, 75.0), (3, 82.0)].map(|(site, ms)| (TargetId(site), ms + 10.0));
        take(&mut samples, 0, &session, NOW);
    }
    assert_eq!(candidates(&samples, usual, NOW), of(&[0, 1, 2]));
    assert!(candidates(&samples, usual, later(24 * 31)).len() > 3);
}

#[test]
fn only_what_is_allowed_and_stands() {
    let mut made = Made::new(1, 6, &mut Random(2));
    made.prior[0] = vec![10.0, 20.0, 30.0, 40.0, 50.0, f32::NAN];
    let samples = made.store();
    let estimates = made.estimates(&samples, NOW);
    let candidates = |allowed: &[u16], count, seed| {
        let allowed: Vec<TargetId> = allowed.iter().copied().map(TargetId).collect();
        samples.candidates(&estimates, &made, client(0), &allowed, count, seed, NOW)
    };
    for seed in 0..500 {
        for count in 0..5 {
            let found = candidates(&[2, 1, 4, 5, 1], count, seed);
            assert!(found.len() <= count && found.iter().all(|site| [1, 2, 4].contains(&site.0)), "{found:?}");
            assert!(found.is_empty() || found[0] == TargetId(1));
            let mut once = found.clone();
            once.sort();
            once.dedup();
            assert_eq!(once.len(), found.len(), "{found:?}");
        }
        assert_eq!(candidates(&[], 3, seed), []);
        assert_eq!(candidates(&[3], 3, seed), [TargetId(3)]);
    }
}

/// Measuring where it is worth while finds what the prior's three nearest do not hold.
#[test]
fn exploring_finds_more_than_the_nearest() {
    let mut random = Random(3);
    let mut made = Made::new(200, 8, &mut random);
    for number in 0..made.clients() {
        let nearest = made.nearest(number);
        nearest.iter().for_each(|site| made.truth[number][site.index()] *= 1.8);
    }
    let (mut fixed, mut explored) = (made.store(), made.store());
    for round in 0..5 {
        let estimates = made.estimates(&explored, NOW);
        for number in 0..made.clients() {
            take(&mut fixed, number, &made.measure(number, &mut random), NOW);
            let seed = random.next();
            let sites = explored.candidates(&estimates, &made, client(number), &all(&made), 3, seed, later(round));
            let session = made.measure_sites(number, &sites, &mut random);
            take(&mut explored, number, &session, later(round));
        }
    }
    let [fixed, explored] = [fixed, explored].map(|samples| made.regret_of(&made.estimates(&samples, later(5))));
    assert!(explored < fixed, "{explored} {fixed}");
}
