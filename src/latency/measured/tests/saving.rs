//! What is written is read again, and nothing else is.

use proptest::prelude::*;

use super::super::*;
use super::made::{Made, NOW, Random, later, take};
use crate::model::Digest;

fn filled() -> (Made, Samples) {
    let mut random = Random(1);
    let made = Made::new(40, 6, &mut random);
    let mut samples = made.store();
    for hours in 0..3 {
        made.measure_all(&mut samples, 1, later(hours), &mut random);
    }
    let client = "2001:db8:7:8::9".parse().unwrap();
    samples.take(&Session { client, kind: Kind::Absolute, samples: &[(TargetId(3), 12.5)] }, NOW);
    (made, samples)
}

fn read(octets: &[u8]) -> Result<Samples, String> {
    Samples::decode(octets, Settings::default())
}

/// The same content under a checksum that fits.
fn sealed(octets: &[u8]) -> Vec<u8> {
    let content = &octets[..octets.len() - 32];
    [content, &Digest::of(content).0].concat()
}

#[test]
fn what_is_written_is_read() {
    let (made, samples) = filled();
    let octets = samples.encode();
    let mut again = read(&octets).unwrap();
    assert_eq!(again.encode(), octets);
    assert_eq!(again.targets(), samples.targets());
    assert_eq!(made.estimates(&again, later(5)), made.estimates(&samples, later(5)));
    assert!(take(&mut again, 3, &made.measure(3, &mut Random(3)), later(5)));
    assert_eq!(again.target("cloud/region-03"), Some(TargetId(3)));
    assert_eq!(read(&Samples::new(Settings::default()).encode()).unwrap().prefixes(), 0);
    let published = Published::default().next(&made.estimates(&samples, later(5)), &made, 5.0).unwrap();
    assert!(!published.is_empty());
    assert_eq!(Published::decode(&published.encode()), Ok(published));
    assert_eq!(Published::decode(&Published::default().encode()), Ok(Published::default()));
}

/// Version 1 had no biases.
#[test]
fn an_older_version_is_read() {
    let (made, samples) = filled();
    let published = Published::default().next(&made.estimates(&samples, NOW), &made, 5.0).unwrap();
    assert!(!published.biases.is_empty());
    let without = Published { biases: Default::default(), ..published };
    let octets = without.encode();
    let content = octets.strip_prefix(b"meridian estimates 2\n\0\0\0\0").unwrap();
    assert_eq!(Published::decode(&sealed(&[b"meridian estimates 1\n", content].concat())), Ok(without));
    let newer = sealed(&[b"meridian estimates 3\n", content].concat());
    assert!(Published::decode(&newer).is_err_and(|error| error.contains("another version")));
}

#[test]
fn damage_is_seen() {
    let (made, samples) = filled();
    let octets = samples.encode();
    let published = Published::default().next(&made.estimates(&samples, NOW), &made, 5.0).unwrap().encode();
    for length in 0..octets.len() {
        assert!(read(&octets[..length]).is_err(), "{length}");
    }
    for length in 0..published.len() {
        assert!(Published::decode(&published[..length]).is_err(), "{length}");
    }
    for at in 0..octets.len() {
        let mut damaged = octets.clone();
        damaged[at] ^= 1 << (at % 8);
        assert!(read(&damaged).is_err(), "{at}");
    }
    assert!(read(&published).is_err_and(|error| error.contains("another kind")));
    assert!(Published::decode(&octets).is_err_and(|error| error.contains("another kind")));
    assert!(read(&[octets, vec![0]].concat()).is_err());
}

#[test]
fn at_their_bounds_sites_are_refused() {
    let mut samples = Samples::new(Settings::default());
    assert_eq!(samples.target(&"x".repeat(256)), None);
    for number in 0..4_096 {
        assert_eq!(samples.target(&format!("cloud/{number}")), Some(TargetId(number)));
    }
    assert_eq!((samples.target("cloud/4096"), samples.target("cloud/77")), (None, Some(TargetId(77))));
    let client = "192.0.2.1".parse().unwrap();
    assert!(samples.take(&Session { client, kind: Kind::Absolute, samples: &[(TargetId(4_095), 7.0)] }, NOW));
    assert_eq!(read(&samples.encode()).unwrap().encode(), samples.encode());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// What fits its checksum but was never written by us is an error, or a store that can be written and asked.
    #[test]
    fn made_up_content_does_no_harm(changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let (made, samples) = filled();
        let mut octets = samples.encode();
        for (at, octet) in &changes {
            let at = at.index(octets.len() - 32);
            octets[at] = *octet;
        }
        if let Ok(samples) = read(&sealed(&octets)) {
            prop_assert_eq!(read(&samples.encode()).map(|again| again.encode()), Ok(samples.encode()));
            let _ = made.estimates(&samples, NOW);
        }
        let mut published = Published::default().next(&made.estimates(&samples, NOW), &made, 5.0).unwrap_or_default().encode();
        for (at, octet) in &changes {
            let at = at.index(published.len() - 32);
            published[at] = *octet;
        }
        if let Ok(published) = Published::decode(&sealed(&published)) {
            prop_assert_eq!(Published::decode(&published.encode()), Ok(published));
        }
    }
}
