//! What choices cost that a whole server makes: services in a configuration, asked by UDP with one real prefix a city as client
//! subnet, so that the GeoIP database's own error is in it, and sessions that come in by HTTP.
//!
//! ```text
//! start ─prior─ 1 session ─k = 1─ 4 more ─k = 5─ 15 more ─k = 20─ stop
//!       a half-life later, one region of each set farther for a quarter of the clients
//! start ─rehomed─ 5 sessions ─rehomed + 5─ stop
//! ```
//!
//! A server cannot be told another time than the clock's. So between the two starts the samples on disk are written anew, the
//! same ones a half-life older; what is published stays as the server left it.

mod outcome;
mod served;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use meridian::control::Reported;
use meridian::latency::{Destination, Kind, Origin, Samples, Session, Settings as Keeping, TargetId};
use meridian::model::PlaceSet;

use crate::browser::{bias_ms, farther_ms, nearest, session};
use crate::geoip::{Found, locate};
use crate::judge::{Random, Settings, sets};
use crate::tables::Measured;
pub(crate) use outcome::{Outcome, Stage};
use served::{Question, Shop};

/// How it is done, beside what is drawn.
pub(crate) struct Wish<'a> {
    /// What the server reads, and prefixes are looked for in.
    pub(crate) database: &'a Path,
    /// Services of one server, a set each. They share its samples.
    pub(crate) services: usize,
    /// How far off samples are, in parts of the round trip.
    pub(crate) noise: f64,
    /// `tie` of the configuration.
    pub(crate) tie_ms: u64,
}

/// Whoever asks, and all that is known of them.
struct World<'a> {
    measured: &'a Measured,
    clients: Vec<Client>,
    noise: f64,
}

/// A city of which the database has a prefix.
struct Client {
    city: usize,
    found: Found,
    /// By host, ms.
    prior_ms: Vec<f32>,
    /// Is it in the European Union?
    is_eu: bool,
}

/// Lets all sets be served, so many at a time.
pub(crate) async fn run(measured: &Measured, settings: &Settings, wish: &Wish<'_>) -> Result<Outcome, String> {
    let destinations: Vec<Destination> = measured.hosts.iter().map(|host| Destination::new(&host.site)).collect();
    let eu = PlaceSet::built_in("eu").expect("it is built in");
    let mut outcome = Outcome::default();
    let mut clients = Vec::new();
    for (city, found) in locate(wish.database, &measured.cities)?.into_iter().enumerate() {
        let name = &measured.cities[city].name;
        let asks = (0..measured.hosts.len()).any(|host| measured.ms(city, host).is_some_and(|ms| ms > 1.0));
        if settings.left_out.contains(name) || !asks {
            continue;
        }
        let Some(found) = found else {
            outcome.unknown.push(name.clone());
            continue;
        };
        let origin = Origin::new(&found.location);
        let prior_ms = destinations.iter().map(|to| origin.expected_ms(to)).collect();
        let is_eu = eu.holds(&found.location);
        clients.push(Client { city, found, prior_ms, is_eu });
    }
    outcome.locations = clients.iter().map(|client| client.found.location.clone()).collect();
    let world = World { measured, clients, noise: wish.noise };
    for (number, sets) in sets(measured, settings).chunks(wish.services.max(1)).enumerate() {
        let random = Random(settings.seed ^ ((number as u64 + 1) << 32));
        let shop = Shop::new(measured, sets, wish)?;
        Life::new(&world, sets, shop, random).live(&mut outcome).await;
    }
    Ok(outcome)
}

/// One server's services, and the ways to their regions.
struct Life<'a> {
    world: &'a World<'a>,
    sets: &'a [Vec<usize>],
    shop: Shop,
    /// By client and host, ms; not a number where nobody measured.
    truth: Vec<Vec<f32>>,
    /// By host, ms.
    biases: Vec<f64>,
    /// Who asks for what: by service and client, all of whose ways are known.
    cases: Vec<(usize, usize)>,
    random: Random,
    /// What was offered.
    sessions: Vec<Vec<Reported>>,
}

impl<'a> Life<'a> {
    fn new(world: &'a World<'a>, sets: &'a [Vec<usize>], shop: Shop, mut random: Random) -> Self {
        let hosts = 0..world.measured.hosts.len();
        let ms = |client: &Client, host| world.measured.ms(client.city, host).unwrap_or(f32::NAN);
        let truth: Vec<Vec<f32>> =
            world.clients.iter().map(|client| hosts.clone().map(|host| ms(client, host)).collect()).collect();
        let biases = hosts.map(|_| bias_ms(&mut random)).collect();
        let all = (0..sets.len()).flat_map(|service| (0..world.clients.len()).map(move |client| (service, client)));
        let known = |case: &(usize, usize)| sets[case.0].iter().all(|&host| !truth[case.1][host].is_nan());
        let cases = all.filter(known).collect();
        Self { world, sets, shop, truth, biases, cases, random, sessions: Vec::new() }
    }

    /// From nothing to regions that moved and are found again.
    async fn live(&mut self, outcome: &mut Outcome) {
        outcome.servers += 1;
        outcome.left_out += self.sets.len() * self.world.clients.len() - self.cases.len();
        self.score_unasked(outcome);
        let server = self.shop.start().await;
        self.score(outcome, Stage::Prior, &server).await;
        for (stage, times) in [(Stage::One, 1), (Stage::Five, 4), (Stage::Twenty, 15)] {
            self.measure(times, &server).await;
            self.score(outcome, stage, &server).await;
        }
        server.stop().await;
        self.rehome();
        self.shop.write_samples(&self.older());
        let server = self.shop.start().await;
        self.score(outcome, Stage::Rehomed, &server).await;
        self.measure(5, &server).await;
        self.score(outcome, Stage::Found, &server).await;
        server.stop().await;
    }

    /// What needs no server.
    fn score_unasked(&self, outcome: &mut Outcome) {
        for &(service, client) in &self.cases {
            let Client { found, .. } = &self.world.clients[client];
            let km = |host: usize| {
                let site = &self.world.measured.hosts[host].site;
                found.location.coordinates.map_or(0.0, |at| at.distance_km(site.coordinates))
            };
            let nearest = self.sets[service].iter().copied().min_by(|a, b| km(*a).total_cmp(&km(*b)));
            let truth = &self.truth[client];
            let best = self.sets[service].iter().copied().min_by(|a, b| truth[*a].total_cmp(&truth[*b]));
            for (stage, host) in [(Stage::Distance, nearest), (Stage::Oracle, best)] {
                self.score_case(outcome, stage, (service, client), host.expect("a set is not empty"));
            }
        }
    }

    fn score_case(&self, outcome: &mut Outcome, stage: Stage, (service, client): (usize, usize), host: usize) {
        let truth = &self.truth[client];
        let least = self.sets[service].iter().map(|&host| truth[host]).fold(f32::INFINITY, f32::min);
        outcome.add(stage, client, truth[host], truth[host] - least);
    }

    /// Asks for every service by each client's prefix, and, for clients in the EU, for its twin under a fence.
    async fn score(&self, outcome: &mut Outcome, stage: Stage, server: &crate::server::Server) {
        let question = |&(service, client): &(usize, usize)| Question {
            service,
            prefix: self.world.clients[client].found.prefix,
            is_fenced: false,
        };
        let answers = served::ask_all(server.dns, self.cases.iter().map(question)).await;
        for (case, answer) in self.cases.iter().zip(answers) {
            let host = answer.filter(|host| self.sets[case.0].contains(host)).expect("an answer of the service's");
            self.score_case(outcome, stage, *case, host);
        }
        let eu = PlaceSet::built_in("eu").expect("it is built in");
        let is_inside = |host: usize| eu.holds_site(&self.world.measured.hosts[host].site);
        let is_fenced = |case: &&(usize, usize)| {
            self.world.clients[case.1].is_eu && self.sets[case.0].iter().copied().any(is_inside)
        };
        let fenced = self.cases.iter().filter(is_fenced).map(question).map(Question::fenced);
        let answers = served::ask_all(server.dns, fenced).await;
        let outside = answers.iter().filter(|answer| !answer.is_some_and(is_inside)).count();
        outcome.add_fenced(stage, answers.len(), outside);
    }

    /// Every client measures so often, for each service that it asks for, the regions that the prior has for its nearest.
    async fn measure(&mut self, times: usize, server: &crate::server::Server) {
        let mut offered = Vec::new();
        for _ in 0..times {
            let mut sessions = Vec::with_capacity(self.cases.len());
            for &(service, client) in &self.cases {
                let Client { found, prior_ms, .. } = &self.world.clients[client];
                let hosts = nearest(self.sets[service].clone(), |host| prior_ms[host]);
                let ways: Vec<(f32, f64)> =
                    hosts.iter().map(|&host| (self.truth[client][host], self.biases[host])).collect();
                let measured = session(&ways, self.world.noise, &mut self.random);
                let sites = hosts.iter().map(|&host| served::site(&self.world.measured.hosts[host]));
                let samples = sites.zip(measured).collect();
                sessions.push(Reported { client: found.prefix.addr(), samples, absolute: false, at: None });
            }
            offered.extend_from_slice(&sessions);
            self.sessions.push(sessions);
        }
        served::take_in(server, &offered).await;
    }

    /// One region of each set is farther for a quarter of the clients.
    fn rehome(&mut self) {
        let random = &mut self.random;
        let moved: BTreeSet<usize> = self.sets.iter().map(|set| set[random.below(set.len())]).collect();
        for host in moved {
            for truth in &mut self.truth {
                truth[host] += farther_ms(random).unwrap_or(0.0);
            }
        }
    }

    /// What was offered, the first a half-life ago and then one an hour.
    fn older(&self) -> Samples {
        let keeping = Keeping::default();
        let begin = Timestamp::now() - SignedDuration::from_secs(keeping.half_life.as_secs() as i64);
        let mut samples = Samples::new(keeping);
        for (hour, sessions) in (0..).zip(&self.sessions) {
            for Reported { client, samples: measured, .. } in sessions {
                let target = |(site, ms): &(Arc<str>, f32)| Some((samples.target(site)?, *ms));
                let measured: Vec<(TargetId, f32)> = measured.iter().filter_map(target).collect();
                let session = Session { client: *client, kind: Kind::Relative, samples: &measured };
                samples.take(&session, begin + SignedDuration::from_hours(hour));
            }
        }
        samples
    }
}
