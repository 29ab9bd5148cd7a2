//! From a verdict to the first answer that shows it, on the shipped configuration: one endpoint's on
//! the idle and on the half-loaded server, and all of a cloud's at once.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use meridian::cli::serve::Running;
use meridian::control::Shared;
use meridian::health::{Cause, Check, CheckId, Outcome};
use meridian::model::State;
use meridian::probe::Report;
use tokio::sync::mpsc::Sender;
use tokio::sync::oneshot;

use crate::client::{Target, bind};
use crate::echo::Echo;
use crate::figures::Figures;
use crate::reply::{query, records};
use crate::soak::{answered, half_of_echo};
use crate::world::Folder;

/// What has not shown by then will not.
const DEADLINE: Duration = Duration::from_secs(10);
/// Verdicts come after quiet.
const PAUSE: Duration = Duration::from_millis(7);
/// A client near one of the endpoints; which, the server tells.
const SUBNET: [u8; 3] = [203, 0, 113];

/// Measures; was a cloud's outage published at once?
pub(crate) fn run(smoke: bool) -> bool {
    let echo = Echo::start();
    let rate = half_of_echo(&echo, if smoke { 1 } else { 5 });
    drop(echo);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let folder = Folder::shipped();
    let running = runtime.block_on(Running::start(folder.options())).unwrap();
    let (shared, reporter, server) = (running.shared(), running.reporter(), running.addresses()[0]);
    let name = shared.published.load().parts.config.services[0].name.to_string();
    let (stop, stopped) = oneshot::channel::<()>();
    let served = runtime.spawn(running.run(async { drop(stopped.await) }));
    let flips = if smoke { 10 } else { 300 };

    let mut injector = Injector::new(shared, reporter, server, &name);
    injector.begin();
    println!("freshness: from a verdict at control's channel to the first changed answer, {flips} verdicts each, µs");
    println!("{:24}{:>10}{:>10}{:>10}", "", "p50", "p99", "max");
    injector.one_endpoint("idle", flips);
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| load(server, &name, rate, &over));
        injector.one_endpoint(&format!("at {rate:.0} queries/s"), flips);
        over.store(true, Ordering::Relaxed);
    });
    let at_once = injector.whole_cloud(if smoke { 4 } else { 50 }, smoke);
    drop(stop);
    runtime.block_on(served).unwrap();
    at_once
}

/// Asks for the name until it is over.
fn load(server: SocketAddr, name: &str, rate: f64, over: &AtomicBool) {
    let mut target = Target::new(server, vec![query(name, 1), query(name, 28)], &answered);
    while !over.load(Ordering::Relaxed) {
        target.ask(rate, Duration::from_millis(20));
    }
}

/// Reports outcomes and watches an answer.
struct Injector {
    shared: Arc<Shared>,
    reporter: Sender<Report>,
    socket: UdpSocket,
    query: Vec<u8>,
    checks: Vec<(CheckId, Arc<Check>)>,
}

impl Injector {
    fn new(shared: Arc<Shared>, reporter: Sender<Report>, server: SocketAddr, name: &str) -> Self {
        let socket = bind();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let mut query = query(name, 1);
        let at = query.len() - 3;
        query[at..].copy_from_slice(&SUBNET);
        Self { shared, reporter, socket, query, checks: Vec::new() }
    }

    /// All endpoints up, and no probe due for an hour.
    fn begin(&mut self) {
        wait_for("the first round", || self.shared.journal().ready);
        self.checks = self.shared.board().checks().map(|(id, check)| (id, check.clone())).collect();
        // Enough for any `up_after` of the shipped configuration, whatever the first round saw.
        for _ in 0..4 {
            self.report(|_| true, true);
        }
        wait_for("all endpoints up", || self.shared.board().endpoints().all(|endpoint| endpoint.state == State::Up));
        thread::sleep(PAUSE);
    }

    /// Tells of these checks as often as a verdict takes.
    fn report(&self, which: impl Fn(&Check) -> bool, good: bool) {
        for (id, check) in self.checks.iter().filter(|(_, check)| which(check)) {
            let times = if good { check.probe.up_after } else { check.probe.down_after };
            for _ in 0..times {
                let outcome = match good {
                    true => Outcome::Success { rtt: Duration::from_millis(1) },
                    false => Outcome::Failure { cause: Cause::Refused },
                };
                self.reporter.try_send(Report { check: *id, at: Timestamp::now(), outcome }).unwrap();
            }
        }
    }

    /// The addresses that are answered now.
    fn answer(&mut self) -> Vec<Vec<u8>> {
        let id = u16::from_be_bytes([self.query[0], self.query[1]]).wrapping_add(1);
        self.query[..2].copy_from_slice(&id.to_be_bytes());
        let mut octets = [0; 2048];
        self.socket.send(&self.query).unwrap();
        let length = self.socket.recv(&mut octets).expect("an answer");
        records(&self.query, &octets[..length])
            .expect("a good one")
            .into_iter()
            .map(|(_, data)| data.to_vec())
            .collect()
    }

    /// From now until the answer is another one.
    fn until_changed(&mut self, before: &[Vec<u8>], start: Instant) -> Duration {
        while self.answer() == before {
            assert!(start.elapsed() < DEADLINE, "the answer does not change");
        }
        start.elapsed()
    }

    /// The endpoint that the client is answered with.
    fn answered_endpoint(&mut self) -> Arc<str> {
        let answer = self.answer();
        let octets: [u8; 4] = answer[0].as_slice().try_into().unwrap();
        let board = self.shared.board();
        let mut endpoints = board.endpoints();
        let holds = |address: &std::net::IpAddr| *address == std::net::IpAddr::from(octets);
        let found = endpoints.find(|endpoint| endpoint.addresses.iter().any(|known| holds(&known.address)));
        found.expect("an address of the configuration").name.clone()
    }

    /// The endpoint that answers the client goes down and comes up, again and again.
    fn one_endpoint(&mut self, when: &str, flips: usize) {
        let name = self.answered_endpoint();
        let mut took = Figures::default();
        for flip in 0..flips {
            thread::sleep(PAUSE);
            let before = self.answer();
            let start = Instant::now();
            self.report(|check| check.endpoint == name, flip % 2 == 1);
            took.add(self.until_changed(&before, start));
        }
        let [p50, p99, max] = took.quantiles([0.5, 0.99, 1.0]);
        println!("{when:24}{p50:>10.0}{p99:>10.0}{max:>10.0}");
    }

    /// Every endpoint of the cloud that answers the client goes down at once, and comes up at once.
    fn whole_cloud(&mut self, flips: usize, smoke: bool) -> bool {
        let name = self.answered_endpoint();
        let config = self.shared.published.load().parts.config.clone();
        let cloud = config.endpoints.iter().find(|endpoint| endpoint.name == name).unwrap().site.cloud.clone();
        let its = config.endpoints.iter().filter(|endpoint| endpoint.site.cloud == cloud);
        let its: Vec<Arc<str>> = its.map(|endpoint| endpoint.name.clone()).collect();
        let (mut took, mut publications) = (Figures::default(), Vec::new());
        for flip in 0..flips {
            thread::sleep(PAUSE);
            let (before, generation) = (self.answer(), self.shared.published.load().generation);
            let start = Instant::now();
            self.report(|check| its.contains(&check.endpoint), flip % 2 == 1);
            took.add(self.until_changed(&before, start));
            let state = if flip % 2 == 1 { State::Up } else { State::Down };
            wait_for("all verdicts", || {
                let board = self.shared.board();
                board
                    .endpoints()
                    .filter(|endpoint| its.contains(&endpoint.name))
                    .all(|endpoint| endpoint.state == state)
            });
            thread::sleep(PAUSE);
            publications.push(self.shared.published.load().generation - generation);
        }
        let [p50, p99, max] = took.quantiles([0.5, 0.99, 1.0]);
        println!("{:24}{p50:>10.0}{p99:>10.0}{max:>10.0}", format!("{} of one cloud", its.len()));
        let once = publications.iter().filter(|count| **count == 1).count();
        println!(
            "published at once: {once} of {flips} times, at most {} publications",
            publications.iter().max().unwrap()
        );
        // This thread may lose its core between two reports: what came before is published at once,
        // and the rest behind it.
        once * 20 >= flips * 19 || smoke && publications.iter().all(|count| *count <= 2)
    }
}

/// Looks until it is so.
fn wait_for(what: &str, mut so: impl FnMut() -> bool) {
    let start = Instant::now();
    while !so() {
        assert!(start.elapsed() < DEADLINE, "never {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
