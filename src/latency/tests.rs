//! What the prior says of places that everybody knows, and of places that there are not.

use super::*;
use crate::model::{Coordinates, built_in_regions, find_region};

fn client(country: &str, latitude: f32, longitude: f32) -> Location {
    let coordinates = Coordinates::new(latitude, longitude);
    Location { country: country.parse().ok(), coordinates, ..Location::default() }
}

fn site(cloud: &str, region: &str) -> Site {
    Site::from(find_region(cloud, region).unwrap())
}

/// Light in glass, there and back.
fn light_ms(a: Coordinates, b: Coordinates) -> f64 {
    2.0 * a.distance_km(b) / 204.19
}

#[test]
fn known_pairs_are_in_their_range() {
    for (from, (cloud, region), ms) in [
        (client("GB", 51.51, -0.13), ("aws", "eu-west-2"), 1.0..4.0),
        (client("IL", 32.08, 34.78), ("aws", "il-central-1"), 1.0..12.0),
        (client("SG", 1.35, 103.82), ("aws", "ap-southeast-2"), 85.0..125.0),
        (client("NG", 6.45, 3.4), ("aws", "eu-west-2"), 75.0..135.0),
        (client("NG", 6.45, 3.4), ("aws", "af-south-1"), 90.0..280.0), // by Europe, for the most part
        (client("US", 40.71, -74.0), ("azure", "uksouth"), 65.0..85.0),
        (client("AU", -31.95, 115.9), ("gcp", "asia-southeast1"), 44.0..85.0),
        (client("BR", -23.55, -46.63), ("aws", "us-east-1"), 105.0..135.0),
        (client("IN", 19.08, 72.88), ("aws", "eu-central-1"), 100.0..150.0),
        (client("JP", 35.68, 139.69), ("aws", "us-west-2"), 85.0..115.0),
        (client("PL", 52.23, 21.0), ("gcp", "europe-west3"), 14.0..30.0),
        (client("EG", 30.05, 31.2), ("azure", "southafricanorth"), 110.0..240.0),
        (client("UY", -34.9, -56.2), ("aws", "sa-east-1"), 20.0..70.0), // not by Miami
        (client("TZ", -6.8, 39.3), ("azure", "southafricanorth"), 35.0..90.0), // not by Europe
        (client("NG", 6.45, 3.4), ("azure", "southafricanorth"), 90.0..280.0),
    ] {
        let found = expected_ms(&from, &site(cloud, region));
        assert!(ms.contains(&found), "{:?} to {region}: {found} ms", from.country);
    }
}

#[test]
fn nothing_outruns_light_or_takes_for_ever() {
    for latitude in (-90..=90).step_by(15) {
        for longitude in (-180..=180).step_by(15) {
            let from = client("BR", latitude as f32, longitude as f32);
            let origin = Origin::new(&from);
            for region in built_in_regions() {
                let to = Site::from(region);
                let found = f64::from(origin.expected_ms(&Destination::new(&to)));
                let least = light_ms(from.coordinates.unwrap(), to.coordinates);
                assert!(found >= least && found < 700.0, "{latitude} {longitude} {}: {found}", region.name);
            }
        }
    }
}

#[test]
fn the_halves_say_what_the_whole_says() {
    let from = client("KE", -1.3, 36.8);
    let origin = Origin::new(&from);
    for to in built_in_regions().iter().map(Site::from) {
        let ms = expected_ms(&from, &to);
        assert_eq!(origin.expected_ms(&Destination::new(&to)).to_bits(), ms.to_bits());
    }
}

#[test]
fn there_and_back_take_alike() {
    let sites: Vec<Site> = built_in_regions().iter().map(Site::from).collect();
    let as_client = |site: &Site| Location {
        country: Some(site.country),
        coordinates: Some(site.coordinates),
        ..Location::default()
    };
    for a in sites.iter().step_by(7) {
        for b in sites.iter().step_by(5) {
            let (there, back) = (expected_ms(&as_client(a), b), expected_ms(&as_client(b), a));
            assert!((there - back).abs() < 0.05, "{} {}: {there} {back}", a.region, b.region);
        }
    }
}

#[test]
fn who_is_nowhere_ties() {
    let sites = [site("aws", "eu-west-2"), site("aws", "ap-southeast-2")];
    let odd = [(f32::NAN, 0.0), (0.0, f32::INFINITY), (95.0, 0.0)];
    let odd = odd.map(|(latitude, longitude)| Some(Coordinates { latitude, longitude }));
    for coordinates in [None].into_iter().chain(odd) {
        for country in [None, "GB".parse().ok()] {
            let nowhere = Location { country, coordinates, ..Location::default() };
            assert_eq!(sites.each_ref().map(|site| expected_ms(&nowhere, site)), [BASE_MS; 2]);
        }
    }
    // A country that nobody knows is one like most.
    let somewhere = Location { country: None, ..client("", 6.45, 3.4) };
    assert!(expected_ms(&somewhere, &sites[0]) < expected_ms(&somewhere, &sites[1]));
}

#[test]
fn the_edges_of_maps_are_no_edges() {
    let to = site("aws", "ap-northeast-1");
    let [west, east] = [-180.0, 180.0].map(|longitude| expected_ms(&client("FJ", -17.0, longitude), &to));
    assert!((west - east).abs() < 0.01, "{west} {east}");
    let [a, b] = [-90.0, 120.0].map(|longitude| expected_ms(&client("AQ", -90.0, longitude), &to));
    assert!((a - b).abs() < 0.01, "{a} {b}");
}

/// Nodes agree to the bit, on every machine. Written anew with the data: what the failure says.
#[test]
fn figures_are_the_same_everywhere() {
    let sum = built_in_regions().iter().map(Site::from).map(|to| {
        let froms = [client("NG", 6.45, 3.4), client("NZ", -36.85, 174.77), client("US", 47.61, -122.33)];
        froms.iter().map(|from| u64::from(expected_ms(from, &to).to_bits())).sum::<u64>()
    });
    let folded = sum.fold(0_u64, |folded, bits| folded.rotate_left(7) ^ bits);
    assert_eq!(folded, 0xd5c6_2b2b_a18b_3753, "{folded:#x}");
}
