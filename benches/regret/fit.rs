//! Learns the residual (`src/latency/residual.rs`) from round trips that the clouds measured between their regions.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::path::Path;

use meridian::latency::{ALONE, BASE_MS, MS_PER_KM, UNIT_MS, nearness, rise, way_km};
use meridian::model::Coordinates;

use crate::process::{Gaussian, median};
use crate::tables::{Rows, point};

/// Regions whose figures are not to be used: closed to most, or without measurements to most others.
const LEFT_OUT: [&str; 4] = ["australiacentral2", "uaecentral", "westindia", "jioindiawest"];
/// Variance of what no neighbour shares, in units squared, on long ways.
const NOISE: f64 = 0.15;
/// No two regions are nearer than this.
const LEAST_KM: f32 = 20.0;
/// A figure that its neighbours miss by more than so many standard deviations counts less.
const OUTLIER: f64 = 2.5;
/// So often is that drawn anew.
const ROUNDS: usize = 3;
/// So much of what was learnt is believed of other networks: with this, learnt from either cloud alone, the other's
/// regions are chosen best (0.6 to 1 were tried).
const BELIEVED: f64 = 0.8;

/// A pair of regions.
struct Pair {
    /// Indices of anchors.
    ends: [usize; 2],
    /// What the graph misses, in units.
    missing: f64,
    noise: f64,
}

/// The table that is built in, made from AWS's and Azure's round trips and the places of their regions.
pub(crate) fn residual(aws: &Path, azure: &Path, sites: &Path) -> Result<String, String> {
    let site = |columns: &[&str]| {
        let [cloud, region, latitude, longitude] = columns else { return None };
        Some(((*cloud).to_owned(), (*region).to_owned(), point(latitude, longitude)?))
    };
    let sites = Rows::read(sites)?.each(site)?;
    let mut anchors: Vec<Coordinates> = Vec::new();
    let mut places = HashMap::new();
    for (cloud, region, at) in sites {
        if !LEFT_OUT.contains(&&*region) {
            let known = anchors.iter().position(|anchor| *anchor == at);
            let anchor = known.unwrap_or_else(|| {
                anchors.push(at);
                anchors.len() - 1
            });
            places.insert((cloud, region), anchor);
        }
    }
    let mut pairs = Vec::new();
    for (cloud, file) in [("aws", aws), ("azure", azure)] {
        pairs.extend(read_pairs(cloud, file, &places, &anchors)?);
    }
    let near = |a, b| nearness(anchors[a], anchors[b]).expect("anchors are places");
    let near: Vec<Vec<f64>> = (0..anchors.len()).map(|a| (0..anchors.len()).map(|b| near(a, b)).collect()).collect();
    Ok(written(&anchors, &pairs, &learn(&pairs, &near)))
}

/// The pairs of one cloud, each once, whose round trip is the mean of its two directions.
fn read_pairs(
    cloud: &str,
    file: &Path,
    places: &HashMap<(String, String), usize>,
    anchors: &[Coordinates],
) -> Result<Vec<Pair>, String> {
    let rows = Rows::read(file)?;
    let anchor = |name: &str| places.get(&(cloud.to_owned(), name.to_lowercase().replace(' ', ""))).copied();
    let columns: Vec<Option<usize>> = rows.names().into_iter().skip(1).map(anchor).collect();
    let read = |row: &[&str]| {
        let (from, figures) = row.split_first()?;
        let Some(from) = anchor(from) else { return Some(Vec::new()) };
        let given = figures.iter().zip(&columns).filter(|(figure, _)| !figure.is_empty());
        let figure = |(figure, to): (&&str, &Option<usize>)| Some((from, *to, figure.parse::<f64>().ok()?));
        given.map(figure).collect()
    };
    let mut both_ways: Vec<([usize; 2], f64, f64)> = Vec::new();
    for (from, to, ms) in rows.each(read)?.into_iter().flatten() {
        let Some(to) = to.filter(|to| *to != from) else { continue };
        let ends = [from.min(to), from.max(to)];
        match both_ways.iter_mut().find(|known| known.0 == ends) {
            Some((_, sum, count)) => (*sum, *count) = (*sum + ms, *count + 1.0),
            None => both_ways.push((ends, ms, 1.0)),
        }
    }
    let pair = |(ends, sum, count): ([usize; 2], f64, f64)| {
        let way_km = way_km(anchors[ends[0]], anchors[ends[1]]).expect("anchors are places");
        let missing_ms = sum / count - f64::from(BASE_MS) - f64::from(MS_PER_KM * way_km);
        let rise = f64::from(rise(way_km.max(LEAST_KM)));
        Pair { ends, missing: missing_ms / UNIT_MS / rise, noise: NOISE / (rise * rise) }
    };
    Ok(both_ways.into_iter().map(pair).collect())
}

/// What each pair weighs in the process's mean.
fn learn(pairs: &[Pair], near: &[Vec<f64>]) -> Vec<f64> {
    let covariance = |i: usize, j: usize| {
        let ([a, b], [c, d]) = (pairs[i].ends, pairs[j].ends);
        let alone = near[a][c] + near[a][d] + near[b][c] + near[b][d] + 1.0;
        near[a][c] * near[b][d] + near[a][d] * near[b][c] + ALONE * alone
    };
    let missing: Vec<f64> = pairs.iter().map(|pair| pair.missing).collect();
    let mut noise: Vec<f64> = pairs.iter().map(|pair| pair.noise).collect();
    for _ in 0..ROUNDS {
        let without: Vec<f64> = Gaussian::new(covariance, &noise).left_out(&missing);
        let usual = OUTLIER * 1.48 * median(without.iter().map(|missed| missed.abs()).collect());
        for ((noise, pair), missed) in noise.iter_mut().zip(pairs).zip(&without) {
            let over = (missed.abs() / usual).max(1.0);
            *noise = pair.noise * over * over;
        }
    }
    Gaussian::new(covariance, &noise).weights(&missing)
}

/// As `src/latency/residual.rs` reads it.
fn written(anchors: &[Coordinates], pairs: &[Pair], weights: &[f64]) -> String {
    let mut table = vec![vec![0.0; anchors.len()]; anchors.len()];
    for (pair, weight) in pairs.iter().zip(weights) {
        let [a, b] = pair.ends;
        table[a][b] += BELIEVED * weight;
        table[b][a] += BELIEVED * weight;
    }
    let mut text = format!(
        "# What round trips between cloud regions add to the graph of hubs and cables: one row a place that has regions,\n\
         # with its figure for each place above it (src/latency/residual.rs).\n\
         # Learnt from {} pairs of regions: AWS's (libp2p/jvm-libp2p, Apache-2.0 or MIT) and Azure's (az-scout-plugin-\n\
         # latency-stats, MIT); from nothing else. Written by `cargo bench --bench regret -- fit`: do not edit.\n\
         latitude,longitude,pairs\n",
        pairs.len()
    );
    for (at, (row, anchor)) in table.iter().zip(anchors).enumerate() {
        let _ = write!(text, "{},{}", anchor.latitude, anchor.longitude);
        for figure in &row[..at] {
            let _ = write!(text, ",{}", shortest(*figure));
        }
        text.push('\n');
    }
    text
}

/// Four digits behind the point, of which zeros are left out: errors of a few hundredths of a ms.
fn shortest(figure: f64) -> String {
    let digits = format!("{figure:.4}");
    match digits.trim_end_matches('0').trim_end_matches('.') {
        "-0" => "0".to_owned(),
        digits => digits.to_owned(),
    }
}
