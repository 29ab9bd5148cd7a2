//! What samples are worth: each city measures as a browser would, or as a table has it, and then chooses.
//!
//! For each set of regions a store of its own, since a service knows its own clients alone. `browser` says what samples hold.

use std::net::{IpAddr, Ipv4Addr};

use jiff::{SignedDuration, Timestamp};
use meridian::latency::{
    Destination, Estimates, Kind, Origin, Published, Samples, Session, Settings as Keeping, TargetId, World,
};
use meridian::model::{Country, Location};

use crate::browser::{CANDIDATES, bias_ms, farther_ms, nearest, session, table};
use crate::fenced;
use crate::judge::{NOISE_MS, Random, Settings, quantile, sets};
use crate::tables::Measured;

/// When the first samples come.
const BEGIN: Timestamp = Timestamp::constant(1_796_000_040, 0);
/// What is published changes from so many ms on.
const MIN_GAIN_MS: f32 = 5.0;

/// When somebody chooses.
pub(crate) const STAGES: [&str; 9] =
    ["prior", "k = 1", "k = 5", "k = 20", "5, explored", "rehomed", "rehomed + 5", "5, unhedged", "3 nearest"];
const PRIOR: usize = 0;
const ONE: usize = 1;
const FIVE: usize = 2;
const TWENTY: usize = 3;
const EXPLORED: usize = 4;
const MOVED: usize = 5;
const FOUND: usize = 6;
/// After five samples, by the estimates themselves: published from 0 ms on.
const ESTIMATED: usize = 7;
/// The best by the table of those that are measured: what samples of these cannot beat.
const KNOWN: usize = 8;

/// What came out.
#[derive(Default)]
pub(crate) struct Outcome {
    /// By stage: regrets, ms.
    regrets: [Vec<f32>; STAGES.len()],
    /// By stage: of each set, the busiest region's clients beside an even share.
    busiest: [Vec<f32>; STAGES.len()],
    /// By stage: answers to clients in the EU under its fence, those outside it, and those for which no region is left.
    pub(crate) fenced: [[usize; 3]; STAGES.len()],
}

/// One set of regions, and all that ask.
pub(crate) struct Service<'a> {
    pub(crate) measured: &'a Measured,
    pub(crate) locations: &'a [Location],
    /// Indices of hosts.
    pub(crate) set: &'a [usize],
    /// By city and region of the set: the prior, ms.
    prior: Vec<Vec<f32>>,
    /// By city and region of the set, ms; not a number where nobody measured.
    truth: Vec<Vec<f32>>,
    /// By region of the set: what its server takes, ms.
    biases: Vec<f64>,
    /// Cities that have something to choose.
    clients: Vec<usize>,
    /// How far off samples are, in parts of the round trip.
    noise: f64,
    /// What they hold.
    kind: Kind,
}

impl World for Service<'_> {
    fn country(&self, client: IpAddr) -> Option<Country> {
        self.locations[city(client)].country
    }

    fn asn(&self, _: IpAddr) -> Option<u32> {
        None
    }

    fn prior_ms(&self, client: IpAddr, target: TargetId) -> Option<f32> {
        self.prior[city(client)].get(target.index()).copied()
    }

    fn is_one_place(&self, _: IpAddr) -> bool {
        true
    }
}

/// A /24 for each city.
fn address(city: usize) -> IpAddr {
    Ipv4Addr::from((10 << 24) | ((city as u32) << 8) | 1).into()
}

fn city(client: IpAddr) -> usize {
    let IpAddr::V4(client) = client else { unreachable!("addresses here are of IPv4") };
    (u32::from(client) >> 8 & 0xffff) as usize
}

/// All sets, each on its own.
pub(crate) fn run(measured: &Measured, locations: &[Location], settings: &Settings, noise: f64, kind: Kind) -> Outcome {
    let destinations: Vec<Destination> = measured.hosts.iter().map(|host| Destination::new(&host.site)).collect();
    let origins: Vec<Origin> = locations.iter().map(Origin::new).collect();
    let mut outcome = Outcome::default();
    for (number, set) in sets(measured, settings).iter().enumerate() {
        let mut random = Random(settings.seed ^ ((number as u64 + 1) << 32));
        let of_set = |figure: &dyn Fn(usize) -> f32| -> Vec<f32> { set.iter().map(|&host| figure(host)).collect() };
        let cities = 0..locations.len();
        let prior = cities.clone().map(|city| of_set(&|host| origins[city].expected_ms(&destinations[host])));
        let truth = cities.clone().map(|city| of_set(&|host| measured.ms(city, host).unwrap_or(f32::NAN)));
        let (prior, truth): (Vec<_>, Vec<_>) = (prior.collect(), truth.collect());
        let asks = |city: &usize| {
            let choices = truth[*city].iter().filter(|ms| !ms.is_nan()).count();
            choices > 1 && !settings.left_out.contains(&measured.cities[*city].name)
        };
        let clients: Vec<usize> = cities.filter(asks).collect();
        let biases = set.iter().map(|_| bias_ms(&mut random)).collect();
        let mut service = Service { measured, locations, set, prior, truth, biases, clients, noise, kind };
        service.live(&mut outcome, &mut random);
    }
    outcome
}

impl Service<'_> {
    /// From nothing to a region that moved and is found again.
    fn live(&mut self, outcome: &mut Outcome, random: &mut Random) {
        let mut published = Published::default();
        self.score(outcome, PRIOR, &published);
        for &city in &self.clients {
            let least =
                |regions: Vec<usize>| regions.into_iter().map(|at| self.truth[city][at]).fold(f32::INFINITY, f32::min);
            outcome.regrets[KNOWN].push(least(self.nearest(city)) - least(self.answering(city)));
        }
        let mut samples = self.store();
        self.measure(&mut samples, 0..1, random);
        self.publish(&mut published, &samples, BEGIN);
        self.score(outcome, ONE, &published);
        self.measure(&mut samples, 1..5, random);
        self.publish(&mut published, &samples, after_hours(4));
        self.score(outcome, FIVE, &published);
        let estimates = samples.estimate(&Published::default(), &*self, 0.0, after_hours(4));
        let all = Published::default().next(&estimates, &*self, 0.0).unwrap_or_default();
        self.score(outcome, ESTIMATED, &all);

        let mut many = self.store();
        self.measure(&mut many, 0..20, random);
        let mut by_many = Published::default();
        self.publish(&mut by_many, &many, after_hours(19));
        self.score(outcome, TWENTY, &by_many);
        let explored = self.explore(5, random);
        self.score(outcome, EXPLORED, &explored);

        self.rehome(random);
        let half_life = Keeping::default().half_life.as_secs() as i64 / 3_600;
        self.publish(&mut published, &samples, after_hours(half_life));
        self.score(outcome, MOVED, &published);
        self.measure(&mut samples, half_life..half_life + 5, random);
        self.publish(&mut published, &samples, after_hours(half_life + 4));
        self.score(outcome, FOUND, &published);
    }

    fn store(&self) -> Samples {
        let mut samples = Samples::new(Keeping::default());
        for region in 0..self.set.len() {
            samples.target(&self.name(region)).expect("a set has few regions");
        }
        samples
    }

    fn name(&self, region: usize) -> String {
        let host = &self.measured.hosts[self.set[region]];
        format!("{}/{}", host.cloud, host.site.region)
    }

    /// Every city measures the regions that the prior has for its nearest, once in each of these hours.
    fn measure(&self, samples: &mut Samples, hours: std::ops::Range<i64>, random: &mut Random) {
        for hour in hours {
            for &city in &self.clients {
                self.take(samples, city, &self.nearest(city), hour, random);
            }
        }
    }

    /// Every city measures what the store asks it to, so often.
    fn explore(&self, times: i64, random: &mut Random) -> Published {
        let (mut samples, mut published) = (self.store(), Published::default());
        let mut estimates = Estimates::default();
        for hour in 0..times {
            for &city in &self.clients {
                let allowed: Vec<TargetId> = self.answering(city).into_iter().map(|at| TargetId(at as u16)).collect();
                let (client, seed) = (address(city), random.next());
                let chosen =
                    samples.candidates(&estimates, self, client, &allowed, CANDIDATES, seed, after_hours(hour));
                let chosen: Vec<usize> = chosen.into_iter().map(TargetId::index).collect();
                self.take(&mut samples, city, &chosen, hour, random);
            }
            estimates = samples.estimate(&published, self, MIN_GAIN_MS, after_hours(hour));
            published = published.next(&estimates, self, MIN_GAIN_MS).unwrap_or(published);
        }
        published
    }

    /// Those of them that the prior has for the nearest.
    fn nearest(&self, city: usize) -> Vec<usize> {
        nearest(self.answering(city), |region| self.prior[city][region])
    }

    /// The regions of the set that the table has a round trip to.
    fn answering(&self, city: usize) -> Vec<usize> {
        (0..self.set.len()).filter(|&region| !self.truth[city][region].is_nan()).collect()
    }

    fn take(&self, samples: &mut Samples, city: usize, regions: &[usize], hour: i64, random: &mut Random) {
        let ways: Vec<(f32, f64)> =
            regions.iter().map(|&region| (self.truth[city][region], self.biases[region])).collect();
        let targets = regions.iter().map(|&region| TargetId(region as u16));
        let found = match self.kind {
            Kind::Relative => session(&ways, self.noise, random),
            Kind::Absolute => table(&ways, self.noise, random),
        };
        let measured: Vec<(TargetId, f32)> = targets.zip(found).collect();
        let session = Session { client: address(city), kind: self.kind, samples: &measured };
        samples.take(&session, after_hours(hour));
    }

    fn publish(&self, published: &mut Published, samples: &Samples, now: Timestamp) {
        let estimates = samples.estimate(published, self, MIN_GAIN_MS, now);
        if let Some(next) = published.next(&estimates, self, MIN_GAIN_MS) {
            *published = next;
        }
    }

    /// One region is farther for a quarter of the clients, by 40 to 150 ms.
    fn rehome(&mut self, random: &mut Random) {
        let region = random.below(self.set.len());
        for &city in &self.clients {
            self.truth[city][region] += farther_ms(random).unwrap_or(0.0);
        }
    }

    /// What a city expects of each region, ms.
    pub(crate) fn expected_ms(&self, published: &Published, city: usize) -> Vec<f32> {
        let prefix = ipnet::IpNet::new(address(city), 24).expect("24 bits").trunc();
        let own = published.prefix(&prefix).unwrap_or_default();
        let factor = |region: usize| {
            let name = self.name(region);
            let own = own.iter().find(|own| *own.site == *name).map(|own| own.factor);
            own.unwrap_or_else(|| published.factor(self.locations[city].country, None, &name))
        };
        (0..self.set.len()).map(|region| self.prior[city][region] * factor(region)).collect()
    }

    fn score(&self, outcome: &mut Outcome, stage: usize, published: &Published) {
        let mut choices = vec![0_usize; self.set.len()];
        for &city in &self.clients {
            let expected_ms = self.expected_ms(published, city);
            let truth = &self.truth[city];
            let answering = self.answering(city);
            let by = |figures: &[f32]| {
                answering.iter().copied().min_by(|a, b| figures[*a].total_cmp(&figures[*b])).unwrap_or(0)
            };
            let (chosen, best) = (by(&expected_ms), by(truth));
            outcome.regrets[stage].push(truth[chosen] - truth[best]);
            choices[chosen] += 1;
            fenced::count(self, city, &expected_ms, &mut outcome.fenced[stage]);
        }
        let even = self.clients.len() as f32 / self.set.len() as f32;
        outcome.busiest[stage].push(choices.into_iter().max().unwrap_or(0) as f32 / even);
    }
}

fn after_hours(hours: i64) -> Timestamp {
    BEGIN + SignedDuration::from_hours(hours)
}

impl Outcome {
    /// As a table.
    pub(crate) fn table(&mut self) -> String {
        use std::fmt::Write as _;
        let mut text = format!(
            "each city's session of its {CANDIDATES} nearest by the prior, k times; published from {MIN_GAIN_MS} ms and 10 % on; \
             one region 40 to 150 ms\nfarther for a quarter of the clients, a half-life later; regret of less than \
             {NOISE_MS} ms as none\n{:<13} {:>8} {:>7} {:>7} {:>7} {:>9} {:>10} {:>11} {:>10} {:>9} {:>8}\n",
            "stage",
            "cases",
            "best %",
            "mean",
            "p95",
            "mean, all",
            "p95, all",
            "overload %",
            "busiest x",
            "EU cases",
            "outside"
        );
        for (stage, label) in STAGES.iter().enumerate() {
            let regrets = &mut self.regrets[stage];
            regrets.sort_by(f32::total_cmp);
            let count = regrets.len().max(1) as f64;
            let mean =
                |least: f32| regrets.iter().filter(|ms| **ms >= least).map(|ms| f64::from(*ms)).sum::<f64>() / count;
            let best = regrets.iter().filter(|ms| **ms <= 0.0).count() as f64 / count;
            let p95 = quantile(regrets, 0.95).unwrap_or(0.0);
            let over: Vec<f32> = self.busiest[stage].iter().copied().filter(|busiest| *busiest > 2.0).collect();
            let by = over.iter().fold(0.0, |sum, by| sum + by) / over.len().max(1) as f32;
            let [cases, outside, _] = self.fenced[stage];
            let _ = writeln!(
                text,
                "{label:<13} {:>8} {:>7.1} {:>7.2} {:>7.1} {:>9.2} {p95:>10.1} {:>11.1} {by:>10.2} {cases:>9} {outside:>8}",
                regrets.len(),
                100.0 * best,
                mean(NOISE_MS),
                if p95 < f64::from(NOISE_MS) { 0.0 } else { p95 },
                mean(0.0),
                100.0 * over.len() as f64 / self.busiest[stage].len().max(1) as f64,
            );
        }
        let _ = writeln!(
            text,
            "overload: sets whose busiest region gets more than twice an even share of cities; busiest: how many times that, \
             in the mean of these\nEU: answers by steer::decide under a fence of the EU around EU clients; outside: regions beyond \
             it; {} of the cases have no region within and get none\n\
             5, explored: sites as Samples::candidates says; unhedged: published from 0 ms and 10 % on; 3 nearest: the best of \
             these by the table",
            self.fenced[PRIOR][2]
        );
        text
    }
}
