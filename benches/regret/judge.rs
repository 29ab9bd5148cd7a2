//! Sets of regions, drawn at random, and what each way of choosing among them costs clients.

use meridian::latency::{Destination, Origin};
use meridian::model::{Continent, Location, PlaceSet};

use crate::tables::{City, Measured};

/// What says which region is nearest.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Method {
    /// Great circle.
    Distance,
    /// `latency::expected_ms`.
    Prior,
    /// The judging table itself: what cannot be beaten.
    Oracle,
}

impl Method {
    pub(crate) const ALL: [Self; 3] = [Self::Distance, Self::Prior, Self::Oracle];

    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Distance => "distance",
            Self::Prior => "prior",
            Self::Oracle => "oracle",
        }
    }
}

/// Which sets are drawn, and who asks.
pub(crate) struct Settings {
    pub(crate) seed: u64,
    /// Sets of 3 to 8 regions of one to three clouds.
    pub(crate) draws: usize,
    /// Cities of which nobody asks, since their figures are wrong.
    pub(crate) left_out: Vec<String>,
}

/// One client and one set.
pub(crate) struct Case {
    pub(crate) city: usize,
    /// By method: the region that it chooses, and the round trip to it, in ms.
    pub(crate) hosts: [usize; 3],
    pub(crate) ms: [f32; 3],
}

impl Case {
    /// How much longer than need be.
    pub(crate) fn regret(&self, method: Method) -> f32 {
        self.ms[method as usize] - self.ms[Method::Oracle as usize]
    }
}

/// Every client with each of many sets of regions. `locations`: what is known of each city's clients.
pub(crate) fn cases(measured: &Measured, locations: &[Location], settings: &Settings) -> Vec<Case> {
    cases_of(measured, locations, &settings.left_out, &sets(measured, settings))
}

/// Sets of 3 to 8 regions of one to three clouds, as indices of hosts.
pub(crate) fn sets(measured: &Measured, settings: &Settings) -> Vec<Vec<usize>> {
    let mut random = Random(settings.seed);
    (0..settings.draws).map(|_| draw(measured, &mut random)).collect()
}

/// The same with all regions of one cloud at a time.
pub(crate) fn whole_clouds(measured: &Measured, locations: &[Location], settings: &Settings) -> Vec<Case> {
    let of = |cloud: &String| of_clouds(measured, std::slice::from_ref(cloud));
    let sets: Vec<Vec<usize>> = clouds(measured).iter().map(of).collect();
    cases_of(measured, locations, &settings.left_out, &sets)
}

fn cases_of(measured: &Measured, locations: &[Location], left_out: &[String], sets: &[Vec<usize>]) -> Vec<Case> {
    let destinations: Vec<Destination> = measured.hosts.iter().map(|host| Destination::new(&host.site)).collect();
    let mut cases = Vec::new();
    for (city, location) in locations.iter().enumerate() {
        if left_out.contains(&measured.cities[city].name) {
            continue;
        }
        let origin = Origin::new(location);
        let expected: Vec<f32> = destinations.iter().map(|to| origin.expected_ms(to)).collect();
        let km =
            |host: usize| location.coordinates.map_or(0.0, |at| at.distance_km(measured.hosts[host].site.coordinates));
        let km: Vec<f32> = (0..measured.hosts.len()).map(|host| km(host) as f32).collect();
        for set in sets {
            let measured: Vec<(usize, f32)> =
                set.iter().filter_map(|&host| Some((host, measured.ms(city, host)?))).collect();
            if measured.len() > 1 {
                let least = |figure: &dyn Fn(&(usize, f32)) -> f32| {
                    measured.iter().copied().min_by(|a, b| figure(a).total_cmp(&figure(b))).unwrap_or_default()
                };
                let chosen = [least(&|case| km[case.0]), least(&|case| expected[case.0]), least(&|case| case.1)];
                cases.push(Case { city, hosts: chosen.map(|(host, _)| host), ms: chosen.map(|(_, ms)| ms) });
            }
        }
    }
    cases
}

/// The clouds, each once.
fn clouds(measured: &Measured) -> Vec<String> {
    let mut clouds: Vec<String> = measured.hosts.iter().map(|host| host.cloud.clone()).collect();
    clouds.sort();
    clouds.dedup();
    clouds
}

fn of_clouds(measured: &Measured, clouds: &[String]) -> Vec<usize> {
    (0..measured.hosts.len()).filter(|&host| clouds.contains(&measured.hosts[host].cloud)).collect()
}

/// 3 to 8 regions of one to three clouds.
fn draw(measured: &Measured, random: &mut Random) -> Vec<usize> {
    let mut clouds = clouds(measured);
    let most = clouds.len().min(3);
    let count = 1 + random.below(most);
    random.choose(&mut clouds, count);
    let mut set = of_clouds(measured, &clouds);
    let size = 3 + random.below(6);
    random.choose(&mut set, size);
    set
}

/// splitmix64: the same sets from one seed.
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        ((u128::from(self.next()) * bound as u128) >> 64) as usize
    }

    /// From 0 to 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Of the normal distribution.
    pub(crate) fn normal(&mut self) -> f64 {
        (-2.0 * (1.0 - self.unit()).ln()).sqrt() * (std::f64::consts::TAU * self.unit()).cos()
    }

    /// Leaves at most so many of a list.
    fn choose<T>(&mut self, list: &mut Vec<T>, count: usize) {
        for at in 0..count.min(list.len()) {
            let other = at + self.below(list.len() - at);
            list.swap(at, other);
        }
        list.truncate(count);
    }
}

/// The client as its city's place tells, without a database between.
pub(crate) fn true_location(city: &City) -> Location {
    Location {
        country: Some(city.country),
        continent: city.country.facts().map(|facts| facts.continent),
        coordinates: Some(city.at),
        ..Location::default()
    }
}

/// Who asks: everybody, a continent's, and all of Asia and the Pacific.
pub(crate) fn groups(locations: &[Location]) -> Vec<(String, Vec<bool>)> {
    let apac = PlaceSet::built_in("apac").expect("it is built in");
    let member = |holds: &dyn Fn(&Location) -> bool| locations.iter().map(holds).collect::<Vec<bool>>();
    let mut groups = vec![("all".to_owned(), vec![true; locations.len()])];
    for continent in Continent::ALL {
        groups.push((continent.to_string(), member(&|location| location.continent == Some(continent))));
    }
    groups.push(("apac".to_owned(), member(&|location| apac.holds(location))));
    groups
}

/// What came out for some clients by one method.
#[derive(Debug)]
pub(crate) struct Score {
    pub(crate) cases: usize,
    /// Chosen as well as can be: the share.
    pub(crate) best: f64,
    /// Regret, ms.
    pub(crate) mean: f64,
    pub(crate) median: f64,
    pub(crate) p95: f64,
    pub(crate) most: f64,
    /// Mean regret where less than [`NOISE_MS`] counts as none.
    pub(crate) beyond_noise: f64,
    /// Mean round trip, ms.
    pub(crate) round_trip: f64,
}

/// Differences between hosts of one city.
pub(crate) const NOISE_MS: f32 = 10.0;

impl Score {
    /// None where nobody asked.
    pub(crate) fn of(cases: &[Case], method: Method, members: &[bool]) -> Option<Self> {
        let cases: Vec<&Case> = cases.iter().filter(|case| members[case.city]).collect();
        let regrets = sorted_regrets(cases.iter().copied(), method);
        let count = cases.len() as f64;
        let mean = |figure: &dyn Fn(f32) -> f32| regrets.iter().map(|&ms| f64::from(figure(ms))).sum::<f64>() / count;
        let beyond = |ms: f32| if ms < NOISE_MS { 0.0 } else { ms };
        Some(Self {
            cases: cases.len(),
            best: regrets.iter().filter(|ms| **ms <= 0.0).count() as f64 / count,
            mean: mean(&|ms| ms),
            median: quantile(&regrets, 0.5)?,
            p95: quantile(&regrets, 0.95)?,
            most: quantile(&regrets, 1.0)?,
            beyond_noise: mean(&beyond),
            round_trip: cases.iter().map(|case| f64::from(case.ms[method as usize])).sum::<f64>() / count,
        })
    }
}

/// Ascending.
pub(crate) fn sorted_regrets<'a>(cases: impl Iterator<Item = &'a Case>, method: Method) -> Vec<f32> {
    let mut regrets: Vec<f32> = cases.map(|case| case.regret(method)).collect();
    regrets.sort_by(f32::total_cmp);
    regrets
}

/// The least figure that such a share of all does not exceed; none of none.
pub(crate) fn quantile(sorted: &[f32], share: f64) -> Option<f64> {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).map(|&ms| f64::from(ms))
}
