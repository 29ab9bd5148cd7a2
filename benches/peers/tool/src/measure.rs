//! Measuring: slices in A B B A blocks, and seconds at fixed rates. Raw figures go to a CSV file,
//! which `table` reads.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::client::{Client, Tally};
use crate::load::{Load, steadily};
use crate::query::Set;
use crate::server::Server;
use crate::stats::percentile;
use crate::sys;

/// One server's turn.
const SLICE: Duration = Duration::from_millis(60);
/// Asked before each slice without being counted: the caches are the last server's.
const WARM: Duration = Duration::from_millis(2);
const FIRST_WARM: Duration = Duration::from_millis(20);
/// What an answer is taken to cost before anything is known.
const ANSWER_NS: f64 = 20_000.0;
/// On a machine that is busy with other things a server may not run at all during a slice.
const TRIES: usize = 5;
const RATE_WARM: Duration = Duration::from_millis(100);

/// Where raw figures go.
pub struct Raw(File);

impl Raw {
    /// Appends; a new file begins with the names of its columns.
    pub fn open(path: &Path) -> Result<Self, String> {
        let fault = |error| format!("{}: {error}", path.display());
        let mut file = OpenOptions::new().create(true).append(true).open(path).map_err(fault)?;
        if file.metadata().map_err(fault)?.len() == 0 {
            writeln!(file, "kind,mode,set,pair,server,answers,lost,odd,values").map_err(fault)?;
        }
        Ok(Self(file))
    }

    fn line(&mut self, head: [&str; 5], tally: Tally, values: &str) -> Result<(), String> {
        let Tally { answers, lost, odd } = tally;
        let line = format!("{},{answers},{lost},{odd},{values}\n", head.join(","));
        self.0.write_all(line.as_bytes()).map_err(|error| format!("writing raw figures: {error}"))
    }

    /// Resident memory of each.
    pub fn memory(&mut self, servers: &[Server]) -> Result<(), String> {
        servers.iter().try_for_each(|server| {
            let kib = server.resident_kib().to_string();
            self.line(["memory", "", "", "", &server.name], Tally::default(), &kib)
        })
    }
}

/// A client with what is known of its server's speed.
struct Subject {
    client: Client,
    answer_ns: f64,
}

impl Subject {
    fn new(server: &Server, set: Set, load: Load) -> Result<Self, String> {
        let mut subject = Self { client: Client::new(server, set)?, answer_ns: ANSWER_NS };
        for _ in 0..3 {
            subject.answer_ns = subject.slice(load, FIRST_WARM)?.0;
        }
        Ok(subject)
    }

    /// Nanoseconds an answer, and what became of the queries.
    fn slice(&mut self, load: Load, time: Duration) -> Result<(f64, Tally), String> {
        let Self { client, answer_ns } = self;
        let mut lost = 0;
        for _ in 0..TRIES {
            load.ask(client, WARM.min(time), *answer_ns)?;
            client.tally = Tally { lost, ..Tally::default() };
            let before = client.server.cost_ns()?;
            load.ask(client, time, *answer_ns)?;
            let cost = client.server.cost_ns()? - before;
            let tally = client.tally;
            if tally.answers > 0 {
                return Ok((cost as f64 / tally.answers as f64, tally));
            }
            lost = tally.lost;
        }
        Err(format!("{} does not answer", client.server.name))
    }
}

/// Two servers that are compared, by their place in the list, and their slices so far.
struct Pair {
    members: [usize; 2],
    slices: [Vec<f64>; 2],
    tallies: [Tally; 2],
}

/// Compares the servers of each pair (by index) for `seconds` each, the pairs taking turns by blocks.
pub fn compare(
    servers: &[Server],
    pairs: &[[usize; 2]],
    load: Load,
    set: Set,
    seconds: f64,
    raw: &mut Raw,
) -> Result<(), String> {
    let subjects: Result<Vec<_>, _> = servers.iter().map(|server| Subject::new(server, set, load)).collect();
    let mut subjects = subjects?;
    let pair =
        |members: &[usize; 2]| Pair { members: *members, slices: Default::default(), tallies: Default::default() };
    let mut pairs: Vec<_> = pairs.iter().map(pair).collect();
    let end = Instant::now() + Duration::from_secs_f64(seconds * pairs.len() as f64);
    loop {
        for pair in &mut pairs {
            for which in [0, 1, 1, 0] {
                let (cost, tally) = subjects[pair.members[which]].slice(load, SLICE)?;
                pair.slices[which].push(cost);
                pair.tallies[which].add(tally);
            }
        }
        if Instant::now() >= end {
            break;
        }
    }
    for Pair { members, slices, tallies } in &pairs {
        let names = members.map(|index| servers[index].name.as_str());
        for ((name, slices), tally) in names.into_iter().zip(slices).zip(tallies) {
            let values: Vec<_> = slices.iter().map(|cost| format!("{cost:.1}")).collect();
            let head = ["slices", load.name(), &set.name(), &names.join(":"), name];
            raw.line(head, *tally, &values.join(" "))?;
        }
    }
    Ok(())
}

/// What a server's seconds at a fixed rate came to.
#[derive(Clone, Default)]
struct Steady {
    tally: Tally,
    latencies: Vec<Duration>,
    cost_ns: u64,
    /// The server's threads were ready to run, and did not.
    waited_ns: u64,
    /// The client did not run.
    held_up_ns: u64,
    /// The hypervisor kept from all cores.
    stolen_ns: u64,
}

impl Steady {
    fn ask(&mut self, server: &Server, set: Set, rate: u64, time: Duration) -> Result<(), String> {
        let mut client = Client::new(server, set)?;
        steadily(&mut client, rate, RATE_WARM)?;
        client.tally = Tally::default();
        client.latencies = Some(Vec::new());
        let (before, stolen) = (server.scheduled()?, sys::stolen_ns());
        self.held_up_ns += steadily(&mut client, rate, time)?.as_nanos() as u64;
        let after = server.scheduled()?;
        self.stolen_ns += sys::stolen_ns() - stolen;
        self.cost_ns += after.had_ns - before.had_ns;
        self.waited_ns += after.waited_ns - before.waited_ns;
        self.tally.add(client.tally);
        self.latencies.extend(client.latencies.take().unwrap_or_default());
        Ok(())
    }

    /// Nanoseconds an answer; latencies in µs: the median, 99 % and 99.9 % of them, the longest; in ms: the
    /// server waited, the client was held up, the hypervisor stole.
    fn values(&self) -> String {
        let cost = self.cost_ns as f64 / self.tally.answers as f64;
        let mut latencies: Vec<f64> = self.latencies.iter().map(|latency| latency.as_secs_f64() * 1e6).collect();
        latencies.sort_by(f64::total_cmp);
        let latencies = [0.5, 0.99, 0.999, 1.0].map(|share| percentile(&latencies, share));
        let told: Vec<_> = [cost].iter().chain(&latencies).map(|value| format!("{value:.1}")).collect();
        let ms = [self.waited_ns, self.held_up_ns, self.stolen_ns].map(|ns| format!("{:.1}", ns as f64 / 1e6));
        [told, ms.to_vec()].concat().join(" ")
    }
}

/// Asks each server at a fixed rate, once in order and once backwards, `seconds` in all.
pub fn rate(servers: &[Server], set: Set, rate: u64, seconds: f64, raw: &mut Raw) -> Result<(), String> {
    let mut results = vec![Steady::default(); servers.len()];
    let forwards = 0..servers.len();
    for index in forwards.clone().chain(forwards.rev()) {
        results[index].ask(&servers[index], set, rate, Duration::from_secs_f64(seconds / 2.0))?;
    }
    for (server, result) in servers.iter().zip(results) {
        if result.tally.answers == 0 {
            return Err(format!("{} does not answer", server.name));
        }
        let head = ["rate", &rate.to_string(), &set.name(), "", &server.name];
        raw.line(head, result.tally, &result.values())?;
    }
    Ok(())
}

impl Tally {
    fn add(&mut self, other: Self) {
        self.answers += other.answers;
        self.lost += other.lost;
        self.odd += other.odd;
    }
}
