//! A simulated world: the board, the tables and a schedule of probes under a clock of their own. Hours pass in
//! milliseconds. What a probe finds is what the script says of its endpoint at that time.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use meridian::config::Probe;
use meridian::control::load;
use meridian::health::{Board, Cause, CheckId, HostAddresses, Outcome};
use meridian::model::{EndpointId, Family, LocationId, PlanId, State};
use meridian::table::{Counters, Parts, Reply, Snapshot, Standing};

/// What a target does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Answers after so many ms.
    Well(u64),
    /// Answers, and says of itself that all is not well.
    Badly,
    /// Nothing listens.
    Refuses,
    /// Says nothing.
    Silent,
    /// What tells of it does not: a metric's exporter.
    Untold,
}

/// What is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Probe(CheckId),
    Slow(CheckId, u64),
    Report(CheckId, u64),
}

/// What happened, in the order in which it did.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Told {
    /// Seconds since the start.
    pub(crate) at: f64,
    pub(crate) endpoint: String,
    pub(crate) from: State,
    pub(crate) to: State,
    pub(crate) reason: String,
}

pub(crate) struct World {
    pub(crate) board: Board,
    pub(crate) snapshot: Snapshot,
    pub(crate) told: Vec<Told>,
    /// When each endpoint was seen to succeed.
    pub(crate) succeeded: BTreeMap<String, Vec<f64>>,
    /// What sites, clouds and we ourselves came to, in words.
    pub(crate) notices: Vec<String>,
    now: Timestamp,
    /// In the order of time; the number keeps those of one time apart.
    coming: BTreeSet<(Timestamp, u64, Event)>,
    number: u64,
    /// When each check is due, and whether it is probed fast.
    due: BTreeMap<CheckId, (Timestamp, u64, bool, Timestamp)>,
    outcomes: BTreeMap<u64, Outcome>,
    fates: BTreeMap<String, Fate>,
}

/// What such a configuration comes to.
fn parts(config: &str) -> Parts {
    let text = format!(
        "[geoip]\ndatabases = []\n[[zones]]\nname = \"shop.example\"\nfile = \"zone\"\n{}",
        config.lines().map(|line| line.trim().to_owned() + "\n").collect::<String>()
    );
    let zone = "@ 60 SOA ns1 a 1 1 1 1 1\n@ 60 NS ns1\nns1 60 A 192.0.2.53\n";
    let files = [("config.toml", text.as_str()), ("zone", zone)];
    let mut files: BTreeMap<PathBuf, Arc<[u8]>> =
        files.map(|(path, text)| (path.into(), text.as_bytes().into())).into();
    load(&mut files, Path::new("config.toml"), None).unwrap_or_else(|problems| panic!("{problems:#?}")).parts
}

const SILENCE: Duration = Duration::from_millis(100);

impl World {
    /// Of a configuration whose only zone is `shop.example`.
    pub(crate) fn new(config: &str) -> Self {
        let parts = parts(config);
        let (now, config) = (Timestamp::from_second(1_800_000_000).unwrap(), parts.config.clone());
        let mut board = Board::new();
        board.reconfigure(&config, &HostAddresses::new(), now);
        let standings = config.endpoints.iter().map(|endpoint| Standing::all(endpoint, State::Unknown)).collect();
        let snapshot = Snapshot::compile(parts, standings, &mut Counters::default(), None, now).unwrap();
        let names = config.endpoints.iter().map(|endpoint| endpoint.name.to_string()).chain(["anchor".to_owned()]);
        let fates = names.map(|name| (name, Fate::Well(20))).collect();
        let mut world = Self {
            board,
            snapshot,
            told: Vec::new(),
            succeeded: BTreeMap::new(),
            notices: Vec::new(),
            now,
            coming: BTreeSet::new(),
            number: 0,
            due: BTreeMap::new(),
            outcomes: BTreeMap::new(),
            fates,
        };
        let checks: Vec<CheckId> = world.board.checks().map(|(id, _)| id).collect();
        for (index, check) in checks.into_iter().enumerate() {
            world.schedule(check, now + Duration::from_millis(37 * index as u64 % 1000), now, false);
        }
        world
    }

    /// The board and the clock go on in another process, with what the one before kept.
    pub(crate) fn restart(&mut self) {
        let (config, kept) = (self.snapshot.parts.config.clone(), self.board.remember());
        self.board = Board::new();
        self.board.reconfigure(&config, &HostAddresses::new(), self.now);
        self.board.recall(kept, self.now);
        self.probe_anew();
    }

    /// Another configuration with the same endpoints.
    pub(crate) fn edit(&mut self, config: &str) {
        let parts = parts(config);
        self.board.reconfigure(&parts.config, &HostAddresses::new(), self.now);
        let standings = (0..parts.config.endpoints.len()).map(|id| self.standing(EndpointId::at(id))).collect();
        self.snapshot = Snapshot::compile(parts, standings, &mut Counters::default(), None, self.now).unwrap();
        self.probe_anew();
    }

    /// All checks begin with their first round.
    fn probe_anew(&mut self) {
        (self.coming, self.due) = Default::default();
        let checks: Vec<CheckId> = self.board.checks().map(|(id, _)| id).collect();
        for (index, check) in checks.into_iter().enumerate() {
            self.schedule(check, self.now + Duration::from_millis(37 * index as u64 % 1000), self.now, false);
        }
        self.publish();
    }

    /// From now on these endpoints, by the beginning of their names, fare so.
    pub(crate) fn fare(&mut self, names: &str, fate: Fate) {
        self.fates.iter_mut().filter(|(name, _)| name.starts_with(names)).for_each(|(_, old)| *old = fate);
    }

    /// Lets so many seconds pass.
    pub(crate) fn pass(&mut self, seconds: f64) {
        let end = self.now + Duration::from_secs_f64(seconds);
        loop {
            let next = self.coming.first().map(|(at, ..)| *at);
            let ticks = [self.board.next_tick(), self.snapshot.due()].into_iter().flatten().min();
            match next.into_iter().chain(ticks).min().filter(|at| *at <= end) {
                None => break,
                Some(at) => self.now = self.now.max(at),
            }
            if next.is_some_and(|at| at <= self.now) {
                let (_, _, event) = self.coming.pop_first().unwrap();
                self.happen(event);
            } else {
                self.tick();
            }
        }
        self.now = end;
    }

    fn tick(&mut self) {
        let verdicts = self.board.tick(self.now);
        self.tell(verdicts);
        self.hurry();
        self.publish();
    }

    fn hurry(&mut self) {
        for (check, fast) in self.board.take_paces() {
            let Some(&(due, _, _, started)) = self.due.get(&check) else { continue };
            let interval = self.board.check(check).unwrap().probe.fast_interval;
            let at = if fast { due.min((started + interval).max(self.now)) } else { due };
            self.schedule(check, at, started, fast);
        }
        let words = |notice: meridian::health::Notice| format!("{notice:?}");
        self.notices.extend(self.board.take_notices().into_iter().map(words));
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Probe(check) => self.probe(check),
            Event::Slow(check, _) => self.observe(check, Outcome::Silent),
            Event::Report(check, number) => {
                let outcome = self.outcomes.remove(&number).unwrap();
                self.coming.retain(|(_, _, event)| *event != Event::Slow(check, number));
                self.observe(check, outcome);
            }
        }
    }

    fn probe(&mut self, check: CheckId) {
        let Some(of) = self.board.check(check).cloned() else { return };
        let Probe { interval, fast_interval, timeout, .. } = *of.probe;
        let fast = self.due[&check].2;
        let gap = if fast { fast_interval } else { interval };
        self.schedule(check, self.now + gap, self.now, fast);
        let rtt = Duration::from_millis;
        let (after, outcome) = match self.fates[&*of.endpoint] {
            Fate::Well(ms) => (rtt(ms), Outcome::Success { rtt: rtt(ms) }),
            Fate::Badly => (rtt(20), Outcome::Degraded { rtt: rtt(20), why: "it says so".to_owned() }),
            Fate::Refuses => (rtt(1), Outcome::Failure { cause: Cause::Refused }),
            Fate::Untold => (rtt(20), Outcome::Missing { why: "no such sample".to_owned() }),
            Fate::Silent => (timeout, Outcome::Failure { cause: Cause::Timeout(timeout) }),
        };
        self.number += 1;
        let number = self.number;
        self.outcomes.insert(number, outcome);
        self.coming.insert((self.now + after, number, Event::Report(check, number)));
        if after > SILENCE {
            self.coming.insert((self.now + SILENCE, number, Event::Slow(check, number)));
        }
    }

    fn schedule(&mut self, check: CheckId, at: Timestamp, started: Timestamp, fast: bool) {
        if let Some((old, number, ..)) = self.due.get(&check) {
            self.coming.remove(&(*old, *number, Event::Probe(check)));
        }
        self.number += 1;
        self.coming.insert((at, self.number, Event::Probe(check)));
        self.due.insert(check, (at, self.number, fast, started));
    }

    fn observe(&mut self, check: CheckId, outcome: Outcome) {
        if outcome.is_success() {
            let (endpoint, at) = (self.board.check(check).map(|check| check.endpoint.to_string()), self.seconds());
            self.succeeded.entry(endpoint.unwrap_or_default()).or_default().push(at);
        }
        let verdict = self.board.observe(check, self.now, outcome);
        let correlated = self.board.correlate(self.now);
        self.hurry();
        self.tell(verdict.into_iter().chain(correlated));
        self.publish();
    }

    fn tell(&mut self, verdicts: impl IntoIterator<Item = meridian::health::Verdict>) {
        for verdict in verdicts {
            let (from, to) = (verdict.change.from, verdict.change.to);
            if from != to {
                let endpoint = self.board.endpoint(verdict.endpoint).name.to_string();
                let at = self.seconds();
                self.told.push(Told { at, endpoint, from, to, reason: verdict.reason });
            }
        }
    }

    fn standing(&self, id: EndpointId) -> Standing {
        Standing::of_health(self.board.endpoint(id), u32::MAX, !self.board.is_storm())
    }

    fn publish(&mut self) {
        let config = self.snapshot.parts.config.clone();
        let ids = (0..config.endpoints.len()).map(EndpointId::at);
        let standing = |id| (id, self.standing(id));
        let changed: Vec<_> =
            ids.map(standing).filter(|(id, standing)| self.snapshot.standing(*id) != standing).collect();
        if !changed.is_empty() || self.snapshot.due().is_some_and(|due| due <= self.now) {
            self.snapshot = self.snapshot.with_standings(changed, self.now);
        }
    }

    /// Since the start.
    pub(crate) fn seconds(&self) -> f64 {
        self.now.duration_since(Timestamp::from_second(1_800_000_000).unwrap()).as_secs_f64()
    }

    pub(crate) fn state(&self, endpoint: &str) -> State {
        self.board.endpoints().find(|health| *health.name == *endpoint).unwrap().state
    }

    pub(crate) fn reason(&self, endpoint: &str) -> String {
        self.board.endpoints().find(|health| *health.name == *endpoint).unwrap().reason.clone()
    }

    /// Who answers clients of no known place, with the part of them in 1/256; and the bound on the TTL.
    pub(crate) fn answers(&self) -> (Vec<(String, u16)>, u32) {
        let table = self.snapshot.plan_table(PlanId::at(0));
        let replies = table.replies(Family::V4);
        let order = table.order(Family::V4, LocationId::at(0));
        let name = |member: meridian::model::Member| {
            self.snapshot.parts.config.endpoints[table.plan.members[member.index()].index()].name.to_string()
        };
        match replies.reply(order) {
            Reply::Whole(image) => {
                let octets: [u8; 4] = image.rdatas().next().unwrap().try_into().unwrap();
                let endpoints = &self.snapshot.parts.config.endpoints;
                let holds = |endpoint: &&meridian::model::Endpoint| match &endpoint.addresses {
                    meridian::model::Addresses::Fixed(addresses) => addresses.contains(&octets.into()),
                    meridian::model::Addresses::Hostname(_) => false,
                };
                (vec![(endpoints.iter().find(holds).unwrap().name.to_string(), 256)], image.ttl)
            }
            Reply::Split(index) => {
                let shares = replies.split(*index).shares();
                let ttl = shares.iter().map(|share| replies.image_of(share.member).ttl).min().unwrap();
                (shares.iter().map(|share| (name(share.member), share.parts)).collect(), ttl)
            }
            Reply::Nodata | Reply::Servfail => (Vec::new(), 0),
        }
    }

    /// The part of the clients that an endpoint has, in 1/256.
    pub(crate) fn part(&self, endpoint: &str) -> u16 {
        self.answers().0.iter().find(|(name, _)| name == endpoint).map_or(0, |(_, part)| *part)
    }

    /// The verdicts told of an endpoint: seconds and the state that it took.
    pub(crate) fn history(&self, endpoint: &str) -> Vec<(f64, State)> {
        self.told.iter().filter(|told| told.endpoint == endpoint).map(|told| (told.at, told.to)).collect()
    }
}
