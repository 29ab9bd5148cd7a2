//! The prior against tables that are not shipped: the built-in residual is what the fit makes of its sources, and
//! choosing by it costs clients as little as was promised, by round trips that no constant was fitted on (a few
//! were chosen with them in sight: `src/latency/data/README.md` says which).
//!
//! The tables are looked for in `$MERIDIAN_SHARED`, else `../shared`. `cargo bench --bench regret` says more.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../benches/regret/fit.rs"]
mod fit;
#[path = "../benches/regret/judge.rs"]
#[allow(dead_code, reason = "the bench shows more of it")]
mod judge;
#[path = "../benches/regret/process.rs"]
mod process;
#[path = "../benches/regret/tables.rs"]
#[allow(dead_code, reason = "the bench shows more of it")]
mod tables;

use std::path::{Path, PathBuf};

use judge::{Method, Score, Settings};
use meridian::model::Location;
use tables::{Directions, Measured};

/// The shared folder's data, if it has this file.
fn shared(file: &str) -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared");
    let data = std::env::var_os("MERIDIAN_SHARED").map_or_else(beside, PathBuf::from).join("data");
    let found = data.join(file).is_file();
    if !found {
        println!("SKIPPED: no {} here; set MERIDIAN_SHARED", data.join(file).display());
    }
    found.then_some(data)
}

#[test]
fn the_residual_is_what_its_sources_say() {
    let Some(data) = shared("latency/azure_region_rtt.csv") else { return };
    let (aws, azure) = (data.join("latency/aws_region_rtt.csv"), data.join("latency/azure_region_rtt.csv"));
    let sites = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/regret/sites.csv");
    let made = fit::residual(&aws, &azure, &sites).unwrap();
    assert!(made == include_str!("../src/latency/data/residual.csv"), "fit anew: cargo bench --bench regret -- fit");
}

#[test]
fn the_prior_beats_distance_on_every_continent() {
    let Some(data) = shared("latency/city_rtt_2018.csv") else { return };
    let file = |name: &str| data.join("latency").join(name);
    let (cities, rtt, regions) = (file("cities.csv"), file("city_rtt_2018.csv"), file("region_metro.csv"));
    let measured = Measured::read(&cities, &rtt, &regions, Directions::There).unwrap();
    let locations: Vec<Location> = measured.cities.iter().map(judge::true_location).collect();
    let settings = Settings { seed: 7, draws: 1_000, left_out: vec!["Palermo".to_owned()] };
    let cases = judge::cases(&measured, &locations, &settings);
    let mut compared = 0;
    for (group, members) in judge::groups(&locations) {
        let score = |method| Score::of(&cases, method, &members);
        let (Some(distance), Some(prior)) = (score(Method::Distance), score(Method::Prior)) else { continue };
        assert!(prior.mean < distance.mean && prior.p95 <= distance.p95, "{group}: {prior:?} {distance:?}");
        if group == "all" {
            assert!(prior.mean <= 4.9 && prior.p95 <= 26.0 && prior.best >= 0.81, "{prior:?}");
        }
        compared += 1;
    }
    assert_eq!(compared, 8, "all, six continents, APAC");
}
