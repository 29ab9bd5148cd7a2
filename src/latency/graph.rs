//! The world's networks as a graph: hubs where they exchange traffic, joined over land and by sea cable.

use std::sync::LazyLock;

use super::rows;
use super::sphere::Point;
use crate::model::Coordinates;

/// Cables over land follow roads and borders: so many times the great circle.
const LAND: f64 = 1.25;
/// Ships lay them straighter.
const SEA: f64 = 1.12;
/// What equipment at a link's ends comes to, in km.
const JOINT_KM: f64 = 40.0;
/// From a place to an exchange.
const ACCESS: f64 = 1.35;
/// A place is joined to so many of its nearest exchanges.
const EXCHANGES: usize = 3;

/// A hub of tier 3 joins the networks of places so far around it.
const REGION_KM: f64 = 3_000.0;

/// Nearer than this, a way that no hub lies on may be shorter, in km.
const NEAR_KM: f32 = 600.0;
/// Such a way, in great circles.
const NEARBY: f32 = 1.3;

/// Hubs, and the shortest ways between all of them.
pub(super) struct Graph {
    /// Hubs of all tiers but 0, which cables pass.
    exchanges: Vec<(usize, Point)>,
    /// Hubs of tier 1, where all networks meet, and of tier 3, where those of a part of the world do; and how far around they join places.
    backbone: Vec<(usize, Point, f64)>,
    hubs: usize,
    /// From each hub to each, in km.
    km: Box<[f32]>,
}

/// The built-in graph (`src/latency/data/hubs.csv`, `links.csv`).
pub(super) static GRAPH: LazyLock<Graph> = LazyLock::new(|| {
    Graph::new(include_str!("data/hubs.csv"), include_str!("data/links.csv"))
        .unwrap_or_else(|row| panic!("built-in hubs and links: {row}"))
});

/// How a place hangs on the graph.
#[derive(Debug)]
pub(super) struct Access {
    /// Its nearest exchanges, with the km to them.
    exchanges: [(usize, f32); EXCHANGES],
    /// By backbone hub: the shortest way there, in km; infinite where it does not join this place with others.
    backbone: Box<[f32]>,
}

impl Graph {
    /// # Errors
    /// The first row that is none.
    fn new<'a>(hubs: &'a str, links: &'a str) -> Result<Self, &'a str> {
        let hubs: Vec<(&str, Point, u8)> = rows(hubs).map(|row| hub(row).ok_or(row)).collect::<Result<_, _>>()?;
        let count = hubs.len();
        let mut km = vec![f64::INFINITY; count * count];
        (0..count).for_each(|hub| km[hub * count + hub] = 0.0);
        for row in rows(links) {
            let (a, b, stretch) = link(row, &hubs).ok_or(row)?;
            let length = hubs[a].1.distance_km(hubs[b].1) * stretch + JOINT_KM;
            for at in [a * count + b, b * count + a] {
                km[at] = length.min(km[at]);
            }
        }
        shorten(&mut km, count);
        let of_tiers = |tiers: &'static [u8]| {
            hubs.iter().enumerate().filter(move |(_, hub)| tiers.contains(&hub.2)).map(|(index, hub)| (index, hub.1))
        };
        let everywhere = of_tiers(&[1]).map(|(index, at)| (index, at, f64::INFINITY));
        let around = of_tiers(&[3]).map(|(index, at)| (index, at, REGION_KM));
        Ok(Self {
            exchanges: of_tiers(&[1, 2, 3]).collect(),
            backbone: everywhere.chain(around).collect(),
            hubs: count,
            km: km.into_iter().map(|km| km as f32).collect(),
        })
    }

    /// The km from a hub to every other.
    fn row(&self, hub: usize) -> &[f32] {
        &self.km[hub * self.hubs..][..self.hubs]
    }

    /// How a place hangs on it.
    pub(super) fn access(&self, at: Point) -> Access {
        let mut nearest = [(f64::INFINITY, 0); EXCHANGES];
        for &(hub, exchange) in &self.exchanges {
            let chord = at.chord_squared(exchange);
            let rank = nearest.iter().position(|(farther, _)| chord < *farther);
            if let Some(rank) = rank {
                nearest[rank..].rotate_right(1);
                nearest[rank] = (chord, hub);
            }
        }
        let km = |(chord, hub): (f64, usize)| (hub, (ACCESS * Point::chord_km(chord)) as f32);
        let exchanges = nearest.map(km);
        let way = |&(to, hub, reach_km): &(usize, Point, f64)| match at.distance_km(hub) <= reach_km {
            true => shortest(exchanges.iter().map(|&(hub, km)| km + self.row(hub)[to])),
            false => f32::INFINITY,
        };
        Access { exchanges, backbone: self.backbone.iter().map(way).collect() }
    }

    /// From such a place to every hub, in km.
    pub(super) fn ways(&self, access: &Access) -> Box<[f32]> {
        let to = |to| shortest(access.exchanges.iter().map(|&(hub, km)| km + self.row(hub)[to]));
        (0..self.hubs).map(to).collect()
    }
}

impl Access {
    /// The km that packets go from here to a place that is `direct_km` away, and whose ways to all hubs are `ways`.
    pub(super) fn way_km(&self, ways: &[f32], direct_km: f32) -> f32 {
        let by_hubs = shortest(self.exchanges.iter().map(|&(hub, km)| km + ways[hub]));
        if direct_km < NEAR_KM { by_hubs.min(NEARBY * direct_km) } else { by_hubs.max(direct_km) }
    }

    /// The km between two places by way of a backbone hub.
    pub(super) fn backbone_km(&self, other: &Self) -> f32 {
        shortest(self.backbone.iter().zip(&other.backbone).map(|(here, there)| here + there))
    }
}

/// The km that packets go between two places by the built-in graph; none where one is no place.
///
/// This, at 0.0122 ms a km, is what the residual is learnt over.
#[must_use]
pub fn way_km(a: Coordinates, b: Coordinates) -> Option<f32> {
    let (a, b) = (Point::new(a)?, Point::new(b)?);
    let ways = GRAPH.ways(&GRAPH.access(b));
    Some(GRAPH.access(a).way_km(&ways, a.distance_km(b) as f32))
}

fn shortest(ways: impl Iterator<Item = f32>) -> f32 {
    ways.fold(f32::INFINITY, f32::min)
}

fn hub(row: &str) -> Option<(&str, Point, u8)> {
    let mut columns = row.split(',');
    let mut next = || columns.next();
    let name = next()?;
    let at = Coordinates::new(next()?.parse().ok()?, next()?.parse().ok()?)?;
    Some((name, Point::new(at)?, next()?.parse().ok().filter(|tier| *tier <= 3)?))
}

/// Two hubs and the stretch of the cable between them.
fn link(row: &str, hubs: &[(&str, Point, u8)]) -> Option<(usize, usize, f64)> {
    let mut columns = row.split(',');
    let mut hub = || columns.next().and_then(|name| hubs.iter().position(|hub| hub.0 == name));
    let (a, b) = (hub()?, hub()?);
    let stretch = match columns.next()? {
        "land" => LAND,
        "sea" => SEA,
        _ => return None,
    };
    Some((a, b, stretch))
}

/// Links → shortest ways (Floyd and Warshall).
fn shorten(km: &mut [f64], count: usize) {
    for by in 0..count {
        let onward = km[by * count..][..count].to_vec();
        for from in 0..count {
            let to_it = km[from * count + by];
            for (way, onward) in km[from * count..][..count].iter_mut().zip(&onward) {
                *way = way.min(to_it + onward);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graph_is_whole() {
        assert_eq!((GRAPH.hubs, GRAPH.exchanges.len(), GRAPH.backbone.len()), (182, 154, 20));
        for from in 0..GRAPH.hubs {
            for to in 0..GRAPH.hubs {
                let km = GRAPH.row(from)[to];
                assert!(km.is_finite() && km == GRAPH.row(to)[from], "{from} {to}: {km}");
            }
        }
    }

    #[test]
    fn rows_that_are_none_are_named() {
        let hubs = "hub,latitude,longitude,tier\nA,1,1,1\nB,2,2,2\n";
        let error = |hubs, links| Graph::new(hubs, links).err();
        assert_eq!(error(hubs, "a,b,kind\nA,B,sea\n"), None);
        assert_eq!(error(hubs, "a,b,kind\nA,C,sea\n"), Some("A,C,sea"));
        assert_eq!(error(hubs, "a,b,kind\nA,B,air\n"), Some("A,B,air"));
        assert_eq!(error("hub,latitude,longitude,tier\nA,91,1,1\n", ""), Some("A,91,1,1"));
    }

    #[test]
    fn ways_are_those_of_cables() {
        let at = |latitude, longitude| Coordinates::new(latitude, longitude).unwrap();
        let (london, new_york) = (at(51.51, -0.13), at(40.71, -74.0));
        let (singapore, mumbai, tel_aviv, riyadh) = (at(1.35, 103.8), at(19.1, 72.9), at(32.1, 34.8), at(24.7, 46.7));
        for (a, b, km) in [
            (london, new_york, 6_200.0..7_000.0),
            (singapore, mumbai, 4_000.0..5_200.0),
            (tel_aviv, riyadh, 1_350.0..3_500.0),
        ] {
            let found = way_km(a, b).unwrap();
            assert!(km.contains(&found), "{a:?} {b:?}: {found} km");
        }
        // Near places need no hub; nobody is nearer than in a straight line.
        assert!(way_km(london, at(51.75, -1.26)).unwrap() < 110.0);
        assert_eq!(way_km(london, london), Some(0.0));
        assert_eq!(way_km(london, Coordinates { latitude: f32::NAN, longitude: 0.0 }), None);
    }
}
