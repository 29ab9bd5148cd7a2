//! A made-up world: clients and sites on a plane, a prior that is wrong here and there, and what clients measure.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use jiff::{SignedDuration, Timestamp};

use super::super::*;

pub(super) const NOW: Timestamp = Timestamp::constant(1_796_000_040, 0);

/// What is published changes from so many ms on.
pub(super) const GAIN_MS: f32 = 5.0;

pub(super) fn later(hours: i64) -> Timestamp {
    NOW + SignedDuration::from_hours(hours)
}

/// splitmix64: the same figures from one seed.
pub(super) struct Random(pub(super) u64);

impl Random {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        store::spread(self.0)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// Between 0 and 1.
    pub(super) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Of the normal distribution, by the sum of twelve.
    pub(super) fn normal(&mut self) -> f64 {
        (0..12).map(|_| self.unit()).sum::<f64>() - 6.0
    }

    /// Student's t with four degrees of freedom.
    fn student(&mut self) -> f64 {
        let squares: f64 = (0..4).map(|_| self.normal().powi(2)).sum();
        self.normal() / (squares / 4.0).max(0.01).sqrt()
    }
}

/// Clients are prefixes of 10.0.0.0/8, by number.
#[derive(Clone)]
pub(super) struct Made {
    /// By client and site, ms.
    pub(super) prior: Vec<Vec<f32>>,
    pub(super) truth: Vec<Vec<f32>>,
    pub(super) countries: Vec<Country>,
    pub(super) asns: Vec<u32>,
    /// By site, ms.
    pub(super) biases: Vec<f32>,
    /// Prefixes in several places.
    pub(super) split: Vec<IpAddr>,
    /// Answers tell no network from its country.
    pub(super) unnamed: bool,
}

pub(super) fn client(number: usize) -> IpAddr {
    Ipv4Addr::from((10 << 24) + ((number as u32) << 8) + 7).into()
}

/// Where a client of that number is, a /48 of 2001:db8::/32, which one party holds.
pub(super) fn client_v6(number: usize) -> IpAddr {
    Ipv6Addr::from((0x2001_0db8 << 96) + ((number as u128) << 80) + 7).into()
}

/// Of other prefixes nothing is known.
fn number(client: IpAddr) -> Option<usize> {
    match client {
        IpAddr::V4(client) => (u32::from(client) >> 8).checked_sub(10 << 16).map(|number| number as usize),
        IpAddr::V6(client) => {
            let bits = u128::from(client);
            (bits >> 96 == 0x2001_0db8).then_some((bits >> 80) as usize & 0xffff)
        }
    }
}

impl World for Made {
    fn country(&self, client: IpAddr) -> Option<Country> {
        self.countries.get(number(client)?).copied()
    }

    fn asn(&self, client: IpAddr) -> Option<u32> {
        self.asns.get(number(client)?).copied()
    }

    fn named_asn(&self, client: IpAddr) -> Option<u32> {
        self.asn(client).filter(|_| !self.unnamed)
    }

    fn prior_ms(&self, client: IpAddr, target: TargetId) -> Option<f32> {
        self.prior.get(number(client)?)?.get(target.index()).copied()
    }

    fn is_one_place(&self, client: IpAddr) -> bool {
        !self.split.contains(&client)
    }
}

impl Made {
    /// So many clients, in 16 countries (squares of the plane) with three networks each, and sites. Each fifth client's way to some site is
    /// twice as long as the prior says.
    pub(super) fn new(clients: usize, sites: usize, random: &mut Random) -> Self {
        let point = |random: &mut Random| [random.unit() * 200.0, random.unit() * 200.0];
        let stand: Vec<[f64; 2]> = (0..sites).map(|_| point(random)).collect();
        let mut made = Self {
            prior: Vec::new(),
            truth: Vec::new(),
            countries: Vec::new(),
            asns: Vec::new(),
            biases: (0..sites).map(|_| (random.unit() * 40.0) as f32).collect(),
            split: Vec::new(),
            unnamed: false,
        };
        for _ in 0..clients {
            let at = point(random);
            let to = |site: &[f64; 2]| (2.0 + ((site[0] - at[0]).powi(2) + (site[1] - at[1]).powi(2)).sqrt()) as f32;
            let prior: Vec<f32> = stand.iter().map(to).collect();
            let mut truth: Vec<f32> = prior.iter().map(|ms| ms * (0.15 * random.normal()).exp() as f32).collect();
            if random.below(5) == 0 {
                truth[random.below(sites)] *= 2.0;
            }
            let square = (at[0] / 50.0) as u8 * 4 + (at[1] / 50.0) as u8;
            made.countries.push(String::from_utf8(vec![b'A', b'A' + square]).unwrap().parse().unwrap());
            made.asns.push(64_500 + u32::from(square) * 10 + random.below(3) as u32);
            made.prior.push(prior);
            made.truth.push(truth);
        }
        made
    }

    pub(super) fn clients(&self) -> usize {
        self.prior.len()
    }

    pub(super) fn store(&self) -> Samples {
        let mut samples = Samples::new(Settings::default());
        for site in 0..self.biases.len() {
            samples.target(&format!("cloud/region-{site:02}")).unwrap();
        }
        samples
    }

    /// The three sites that the prior has for the nearest.
    pub(super) fn nearest(&self, client: usize) -> Vec<TargetId> {
        let mut sites: Vec<usize> = (0..self.biases.len()).collect();
        sites.sort_by(|a, b| self.prior[client][*a].total_cmp(&self.prior[client][*b]));
        sites.into_iter().take(3).map(|site| TargetId(site as u16)).collect()
    }

    /// What this client measures: noise, here and there an outlier, the servers' biases, and its own last mile.
    pub(super) fn measure(&self, client: usize, random: &mut Random) -> Vec<(TargetId, f32)> {
        self.measure_sites(client, &self.nearest(client), random)
    }

    /// The same of such sites.
    pub(super) fn measure_sites(&self, client: usize, sites: &[TargetId], random: &mut Random) -> Vec<(TargetId, f32)> {
        let last_mile = 15.0 * (0.6 * random.normal()).exp();
        let measured = |&target: &TargetId| {
            let ms = f64::from(self.truth[client][target.index()]);
            let noise = (1.0 + 0.1 * random.student()).max(0.5);
            let outlier = if random.below(50) == 0 { 2.0 + 4.0 * random.unit() } else { 1.0 };
            let ms = ms * noise * outlier + last_mile + f64::from(self.biases[target.index()]);
            (target, ms as f32)
        };
        sites.iter().map(measured).collect()
    }

    /// Each client measures so often.
    pub(super) fn measure_all(&self, samples: &mut Samples, times: usize, now: Timestamp, random: &mut Random) {
        for client in 0..self.clients() {
            for _ in 0..times {
                take(samples, client, &self.measure(client, random), now);
            }
        }
    }

    /// The site that is chosen for a client by these estimates.
    pub(super) fn choice(&self, estimates: &Estimates, client: usize) -> usize {
        let least = (0..self.biases.len()).map(|site| (self.estimated_ms(estimates, client, site), site));
        least.min_by(|a, b| a.0.total_cmp(&b.0)).unwrap().1
    }

    /// What is expected of a client's way to a site.
    pub(super) fn estimated_ms(&self, estimates: &Estimates, number: usize, site: usize) -> f64 {
        let (target, prior_ms) = (TargetId(site as u16), f64::from(self.prior[number][site]));
        let prefix = store::Key::of(client(number)).prefix();
        let own = estimates.prefixes.binary_search_by_key(&prefix, |place| place.0).ok();
        let own = own.and_then(|at| estimates.prefixes[at].1.iter().find(|shift| shift.target == target));
        let (country, asn) = (self.country(client(number)), self.asn(client(number)));
        let parents = || estimates.expected(country, asn, target, prior_ms).ms();
        own.map_or_else(parents, |shift| prior_ms * f64::from(shift.ln).exp())
    }

    /// How much longer than need be clients wait in the mean, if sites are chosen so.
    pub(super) fn regret(&self, choose: impl Fn(usize) -> usize) -> f64 {
        let regret = |client: usize| {
            let truth = &self.truth[client];
            truth[choose(client)] - truth.iter().copied().fold(f32::INFINITY, f32::min)
        };
        (0..self.clients()).map(|client| f64::from(regret(client))).sum::<f64>() / self.clients() as f64
    }

    /// What samples say where nothing is published yet.
    pub(super) fn estimates(&self, samples: &Samples, now: Timestamp) -> Estimates {
        samples.estimate(&Published::default(), self, GAIN_MS, now)
    }

    pub(super) fn regret_of(&self, estimates: &Estimates) -> f64 {
        self.regret(|client| self.choice(estimates, client))
    }
}

pub(super) fn take(samples: &mut Samples, number: usize, measured: &[(TargetId, f32)], now: Timestamp) -> bool {
    samples.take(&Session { client: client(number), kind: Kind::Relative, samples: measured }, now)
}
