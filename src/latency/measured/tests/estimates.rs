//! What is worked out of samples: that it is right, and what does not change it.

use super::super::*;
use super::made::{Made, NOW, Random, client, later, take};

fn ln(estimates: &Estimates, number: usize, site: u16) -> Option<f32> {
    let prefix = store::Key::of(client(number)).prefix();
    let at = estimates.prefixes.binary_search_by_key(&prefix, |place| place.0).ok()?;
    let shift = estimates.prefixes[at].1.iter().find(|shift| shift.target == TargetId(site))?;
    Some(shift.ln)
}

/// The largest difference between what two estimates say of any prefix.
fn farthest(a: &Estimates, b: &Estimates, made: &Made) -> f64 {
    let mut farthest = 0.0_f64;
    for number in 0..made.clients() {
        for site in 0..made.biases.len() {
            let [a, b] = [a, b].map(|estimates| made.estimated_ms(estimates, number, site));
            farthest = farthest.max((a - b).abs());
        }
    }
    farthest
}

#[test]
fn samples_find_what_the_prior_misses() {
    let mut regrets = [0.0; 3];
    for seed in 0..8 {
        let mut random = Random(seed);
        let made = Made::new(400, 8, &mut random);
        for (regret, times) in regrets.iter_mut().zip([0, 1, 4]) {
            let mut samples = made.store();
            made.measure_all(&mut samples, times, NOW, &mut random);
            *regret += made.regret_of(&made.estimates(&samples, NOW)) / 8.0;
        }
    }
    let [without, once, often] = regrets;
    assert!(once < 0.75 * without && often < 0.4 * without, "{regrets:?}");
}

#[test]
fn the_last_mile_cancels() {
    let mut random = Random(1);
    let made = Made::new(150, 6, &mut random);
    let (mut near, mut far) = (made.store(), made.store());
    for number in 0..made.clients() {
        for _ in 0..3 {
            let session = made.measure(number, &mut random);
            let mile = (random.unit() * 300.0) as f32;
            let farther: Vec<_> = session.iter().map(|&(target, ms)| (target, ms + 40.0 + mile)).collect();
            let nearer: Vec<_> = session.iter().map(|&(target, ms)| (target, ms + 40.0)).collect();
            take(&mut near, number, &nearer, NOW);
            take(&mut far, number, &farther, NOW);
        }
    }
    let off_ms = farthest(&made.estimates(&near, NOW), &made.estimates(&far, NOW), &made);
    assert!(off_ms < 0.5, "{off_ms}");
}

#[test]
fn what_servers_take_cancels() {
    let mut random = Random(2);
    let mut made = Made::new(600, 6, &mut random);
    let mut samples = made.store();
    made.measure_all(&mut samples, 3, NOW, &mut Random(9));
    let estimates = made.estimates(&samples, NOW);
    let found: Vec<f64> = (0..6).map(|site| estimates.bias_ms(TargetId(site))).collect();
    let mean = |figures: &mut dyn Iterator<Item = f64>| figures.sum::<f64>() / 6.0;
    let (found_mean, true_mean) =
        (mean(&mut found.iter().copied()), mean(&mut made.biases.iter().map(|ms| f64::from(*ms))));
    for (found, bias) in found.iter().zip(&made.biases) {
        let off_ms = (found - found_mean) - (f64::from(*bias) - true_mean);
        assert!(off_ms.abs() < 5.0, "{found} {bias}: {off_ms} off");
    }
    let with = made.regret_of(&estimates);
    made.biases = vec![0.0; 6];
    let mut samples = made.store();
    made.measure_all(&mut samples, 3, NOW, &mut Random(9));
    let without = made.regret_of(&made.estimates(&samples, NOW));
    assert!(with < without + 0.3, "{with} with, {without} without");
}

#[test]
fn outliers_count_for_little() {
    let mut random = Random(3);
    let mut made = Made::new(60, 5, &mut random);
    made.biases = vec![0.0; 5];
    let (mut sound, mut hurt) = (made.store(), made.store());
    for number in 0..made.clients() {
        for time in 0..6 {
            let mut session: Vec<_> =
                made.nearest(number).into_iter().map(|site| (site, made.truth[number][site.index()] + 10.0)).collect();
            take(&mut sound, number, &session, NOW);
            if time == 2 {
                session[number % 3].1 *= 6.0;
            }
            take(&mut hurt, number, &session, NOW);
        }
    }
    let [sound, hurt] = [sound, hurt].map(|samples| made.estimates(&samples, NOW));
    for number in 0..made.clients() {
        for site in made.nearest(number) {
            let [sound, hurt] = [&sound, &hurt].map(|by| made.estimated_ms(by, number, site.index()));
            assert!((sound - hurt).abs() < 0.08 * sound + 2.0, "{number} {site:?}: {hurt} instead of {sound}");
        }
    }
}

/// A round trip three times as long as expected may be a way that is so or a lost packet: once, the estimate lies between; said
/// again, it is so.
#[test]
fn what_is_far_off_is_believed_when_it_is_said_again() {
    let mut made = Made::new(1, 3, &mut Random(10));
    (made.prior[0], made.biases) = (vec![30.0, 60.0, 70.0], vec![0.0; 3]);
    let mut samples = made.store();
    let said = [(TargetId(0), 100.0), (TargetId(1), 70.0), (TargetId(2), 80.0)];
    let estimated = |samples: &Samples| {
        let estimates = made.estimates(samples, NOW);
        [0, 1, 2].map(|site| made.estimated_ms(&estimates, 0, site))
    };
    take(&mut samples, 0, &said, NOW);
    let [once, others @ ..] = estimated(&samples);
    assert!(once > 40.0 && once < 80.0, "{once}");
    assert!((others[0] - 60.0).abs() < 6.0 && (others[1] - 70.0).abs() < 7.0, "{others:?}");
    take(&mut samples, 0, &said, NOW);
    let [twice, ..] = estimated(&samples);
    assert!(twice > 80.0, "{twice}");
}

#[test]
fn a_region_that_moved_is_found_again() {
    for seed in 0..4 {
        let mut random = Random(seed);
        let mut made = Made::new(300, 6, &mut random);
        let mut samples = made.store();
        made.measure_all(&mut samples, 5, NOW, &mut random);
        let settled = made.regret_of(&made.estimates(&samples, NOW));
        for number in (0..made.clients()).step_by(4) {
            made.truth[number][2] += 40.0 + (random.unit() * 110.0) as f32;
        }
        let now = later(7 * 24);
        let lost = made.regret_of(&made.estimates(&samples, now));
        made.measure_all(&mut samples, 5, now, &mut random);
        let found = made.regret_of(&made.estimates(&samples, now));
        assert!(lost > settled + 1.0 && found < settled + 0.5, "{settled}, {lost}, {found}");
    }
}

#[test]
fn what_is_old_says_less_and_then_nothing() {
    let mut random = Random(4);
    let made = Made::new(80, 5, &mut random);
    let mut samples = made.store();
    made.measure_all(&mut samples, 1, NOW, &mut random);
    take(&mut samples, 0, &made.measure(0, &mut random), later(2));
    let counts = samples.count(client(0));
    let nearest: Vec<_> = made.nearest(0).iter().map(|site| samples.targets()[site.index()].clone()).collect();
    assert_eq!((counts.len(), samples.count(client(80)).len()), (3, 0));
    assert!(nearest.iter().all(|site| counts[site] == Counted { samples: 2, oldest: NOW, newest: later(2) }));
    let moved = |hours| {
        let estimates = made.estimates(&samples, later(hours));
        estimates.prefixes.iter().flat_map(|place| &place.1).map(|shift| shift.ln.abs()).sum::<f32>()
    };
    let [new, aged, old] = [0, 7 * 24, 31 * 24].map(moved);
    assert!(aged < 0.9 * new && aged > 0.0 && old == 0.0, "{new} {aged} {old}");
    let octets = samples.octets();
    samples.forget(later(29 * 24));
    assert_eq!((samples.prefixes(), samples.octets()), (80, octets));
    // What a clock brought that was ahead goes, and nothing for one that is behind.
    samples.forget(later(-24));
    assert_eq!((samples.prefixes(), samples.octets()), (80, octets));
    take(&mut samples, 0, &made.measure(0, &mut random), later(24 * 365));
    assert!(samples.octets() > octets);
    samples.forget(later(3));
    assert_eq!((samples.prefixes(), samples.octets()), (80, octets));
    samples.forget(later(31 * 24));
    assert_eq!(samples.prefixes(), 0);
    assert_eq!(samples.targets().len(), 5);
}

#[test]
fn the_order_of_arrival_does_not_matter() {
    let mut random = Random(5);
    let made = Made::new(50, 6, &mut random);
    let mut sessions: Vec<_> =
        (0..400).map(|at| (at % 50, made.measure(at % 50, &mut random), later(at as i64 / 200))).collect();
    let mut samples = made.store();
    sessions.iter().for_each(|(number, session, at)| assert!(take(&mut samples, *number, session, *at)));
    for at in (1..sessions.len()).rev() {
        sessions.swap(at, random.below(at + 1));
    }
    let mut shuffled = made.store();
    sessions.iter().for_each(|(number, session, at)| assert!(take(&mut shuffled, *number, session, *at)));
    assert_eq!(samples.encode(), shuffled.encode());
    assert_eq!(made.estimates(&samples, later(9)), made.estimates(&shuffled, later(9)));
}

/// What all of a country's clients find, its other clients are given, too; and a network's within it.
#[test]
fn countries_and_networks_speak_for_their_prefixes() {
    let mut made = Made::new(0, 3, &mut Random(6));
    for number in 0..300 {
        made.prior.push(vec![50.0, 60.0, 70.0]);
        let far_in_network = if number % 3 == 0 { 2.0 } else { 1.0 };
        made.truth.push(vec![50.0 * 1.5, 60.0, 70.0 * far_in_network]);
        made.countries.push("FR".parse().unwrap());
        made.asns.push(64_496 + number % 3);
    }
    made.biases = vec![0.0; 3];
    let mut samples = made.store();
    for number in 0..290 {
        let session: Vec<_> = (0..3).map(|site| (TargetId(site as u16), made.truth[number][site])).collect();
        samples.take(&Session { client: client(number), kind: Kind::Absolute, samples: &session }, NOW);
    }
    let estimates = made.estimates(&samples, NOW);
    let published = Published::default().next(&estimates, &made, 5.0).unwrap();
    let factors = |asn, country: &str| {
        [0, 1, 2].map(|site| published.factor(country.parse().ok(), asn, &format!("cloud/region-{site:02}")))
    };
    // By differences in ms: what all ways have in common is not told.
    let near = |found: [f32; 3], expected: [f32; 3]| {
        let ms = |factors: [f32; 3]| {
            [0, 1, 2].map(|site| factors[site] * made.prior[0][site] - factors[1] * made.prior[0][1])
        };
        ms(found).iter().zip(ms(expected)).all(|(a, b)| (a - b).abs() < 6.0)
    };
    assert!(near(factors(Some(64_497), "FR"), [1.5, 1.0, 1.0]), "{:?}", factors(Some(64_497), "FR"));
    assert!(near(factors(None, "FR"), [1.5, 1.0, 1.0]), "{:?}", factors(None, "FR"));
    assert!(near(factors(Some(64_496), "FR"), [1.5, 1.0, 2.0]), "{:?}", factors(Some(64_496), "FR"));
    assert_eq!(factors(Some(64_496), "DE"), [1.0; 3]);
    assert_eq!(published.factor(None, Some(64_496), "cloud/region-00"), 1.0);
    assert!(ln(&estimates, 295, 0).is_none(), "it has measured nothing");
}

/// A prefix with a long access finds all sites far, and would find one that it has not measured far, too.
#[test]
fn what_is_common_to_all_ways_speaks_against_no_site_that_was_measured() {
    let mut made = Made::new(0, 3, &mut Random(6));
    made.prior.push(vec![30.0, 60.0, 90.0]);
    made.truth.push(vec![150.0, 180.0, 210.0]);
    made.countries.push("FR".parse().unwrap());
    made.asns.push(64_496);
    made.biases = vec![0.0; 3];
    for measured in [vec![0, 1], vec![1, 0]] {
        for together in [true, false] {
            let mut samples = made.store();
            for hour in 0..4 {
                let all: Vec<_> = measured.iter().map(|&site| (TargetId(site as u16), made.truth[0][site])).collect();
                // As one table has it, or as agents do that measure one site each time.
                for session in all.chunks(if together { 2 } else { 1 }) {
                    samples.take(&Session { client: client(0), kind: Kind::Absolute, samples: session }, later(hour));
                }
            }
            let estimates = made.estimates(&samples, later(4));
            let ms = [0, 1, 2].map(|site| made.estimated_ms(&estimates, 0, site));
            assert!(ms[0] < ms[1] && ms[1] < ms[2] && ms[0] < 45.0, "{ms:?}");
        }
    }
    // An agent tells of one site alone, newer and as often as browsers, which compare it with another.
    let mut samples = made.store();
    for hour in 0..8 {
        let session = |kind, samples| Session { client: client(0), kind, samples };
        let compared = [0, 1].map(|site| (TargetId(site), made.truth[0][usize::from(site)] + 25.0));
        samples.take(&session(Kind::Relative, &compared), later(hour));
        samples.take(&session(Kind::Absolute, &[(TargetId(0), made.truth[0][0])]), later(hour + 1));
    }
    let estimates = made.estimates(&samples, later(9));
    let ms = [0, 1, 2].map(|site| made.estimated_ms(&estimates, 0, site));
    assert!(ms[0] < ms[1] && ms[1] < ms[2], "{ms:?}");
}

#[test]
fn sites_that_are_gone_are_left_out_and_come_back() {
    let mut random = Random(7);
    let made = Made::new(40, 5, &mut random);
    let mut samples = made.store();
    made.measure_all(&mut samples, 4, NOW, &mut random);
    let before = made.estimates(&samples, NOW);
    let mut less = made.clone();
    less.prior.iter_mut().for_each(|prior| prior.truncate(2));
    let without = less.estimates(&samples, NOW);
    assert!(without.prefixes.iter().flat_map(|place| &place.1).all(|shift| shift.target.0 < 2));
    assert_eq!(made.estimates(&samples, NOW), before);
    less.prior.iter_mut().for_each(Vec::clear);
    let nothing = less.estimates(&samples, NOW);
    assert!(nothing.prefixes.is_empty() && nothing.biases_ms.is_empty());
}

#[test]
fn odd_figures_are_none() {
    let mut made = Made::new(3, 3, &mut Random(8));
    let mut samples = made.store();
    for ms in [f32::NAN, f32::INFINITY, -1.0, 0.0, f32::MAX, f32::MIN_POSITIVE] {
        take(&mut samples, 0, &[(TargetId(0), ms), (TargetId(1), 10.0), (TargetId(9), 4.0)], NOW);
        take(&mut samples, 1, &[(TargetId(0), 10_000.0), (TargetId(1), 0.001), (TargetId(2), 5.0)], NOW);
    }
    for ms in [f32::NAN, f32::INFINITY, -1.0, 0.0, f32::MIN_POSITIVE, 1e30] {
        made.prior[1][0] = ms;
        let estimates = made.estimates(&samples, NOW);
        let shifts = || estimates.prefixes.iter().flat_map(|place| &place.1);
        assert!(shifts().all(|shift| shift.ln.abs() <= 4.1 && shift.spread.is_finite()), "{ms}: {estimates:?}");
    }
}
