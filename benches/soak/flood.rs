//! Do probes tell the truth while all workers are busy? On the shipped configuration with its stand-ins: a flood that
//! keeps every worker busy changes no verdict, and a death is seen as soon as without it, or nearly.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use meridian::cli::lab::{Lab, StandIn};
use meridian::cli::serve::Running;
use meridian::control::Shared;
use meridian::model::State;
use tokio::runtime::Runtime;

use crate::client::{Target, bind};
use crate::kernel::{Cores, keep_to};
use crate::reply::{query, records};
use crate::soak::answered;
use crate::world::Folder;

/// What has not happened by then does not.
const DEADLINE: Duration = Duration::from_secs(60);
/// A reply that has not come by then is asked for again: the flood may have pushed it out.
const PATIENCE: Duration = Duration::from_millis(20);
/// Deaths each, idle and under the flood.
const DEATHS: usize = 5;
/// A death may take so many times as long to be seen.
const LATER: f64 = 2.0;
const SUBNET: [u8; 3] = [203, 0, 113];

/// Floods for so long; did verdicts stay, and was a death seen in time?
pub(crate) fn run(each: Duration, smoke: bool) -> bool {
    keep_to(Cores::Servers);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (folder, lab) = runtime.block_on(shop());
    let running = runtime.block_on(Running::start(folder.options())).unwrap();
    let (shared, server) = (running.shared(), running.addresses()[0]);
    let name = shared.published.load().parts.config.services[0].name.to_string();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = runtime.spawn(running.run(async { drop(stopped.await) }));
    let world = World { runtime: &runtime, lab, shared, server, name };
    world.wait("every endpoint up", || world.all_up());
    keep_to(Cores::Client);

    let deaths = if smoke { 1 } else { DEATHS };
    let idle: Vec<Duration> = (0..deaths).map(|_| world.death()).collect();
    let over = AtomicBool::new(false);
    let (changes, flooded, asked) = thread::scope(|scope| {
        let flood = scope.spawn(|| world.flood(&over));
        thread::sleep(each / 20); // it is under way
        let before = world.shared.events.latest(1).last().map_or(0, |event| event.id);
        thread::sleep(each);
        let changes = world.shared.events.latest(1).last().map_or(0, |event| event.id) - before;
        let flooded: Vec<Duration> = (0..deaths).map(|_| world.death()).collect();
        over.store(true, Ordering::Relaxed);
        (changes, flooded, flood.join().unwrap())
    });
    drop(stop);
    runtime.block_on(served).unwrap();
    let mean = |times: &[Duration]| times.iter().sum::<Duration>().as_secs_f64() / times.len() as f64;
    let (idle, flooded) = (mean(&idle), mean(&flooded));
    println!("flood: {} s at {asked:.0} answers/s: {changes} changes of verdicts", each.as_secs());
    println!(
        "       a death is seen in the answers after {idle:.2} s without, {flooded:.2} s during the flood, in the mean"
    );
    println!("       of {deaths}: {:.2} times as long (at most {LATER})", flooded / idle);
    changes == 0 && (flooded <= idle * LATER || smoke)
}

/// The shipped set with stand-ins at free ports.
async fn shop() -> (Folder, Arc<Lab>) {
    let folder = Folder::shipped_and_probed();
    let (loaded, _) =
        meridian::control::trial(&mut meridian::control::DiskFiles::default(), &folder.path("config.toml"))
            .expect("the shipped set is good");
    let roster: Vec<StandIn> = loaded.parts.config.endpoints.iter().filter_map(StandIn::of).collect();
    let anywhere = |stand_in: &StandIn| StandIn { address: "127.0.0.1:0".parse().unwrap(), ..stand_in.clone() };
    let lab = Lab::start(roster.iter().map(anywhere).collect()).await.unwrap();
    let moved = roster.iter().zip(lab.roster()).map(|(old, new)| (old.address.to_string(), new.address.to_string()));
    folder.edit(moved.map(|(old, new)| (format!("\"{old}\""), format!("\"{new}\""))));
    (folder, Arc::new(lab))
}

struct World<'r> {
    runtime: &'r Runtime,
    lab: Arc<Lab>,
    shared: Arc<Shared>,
    server: SocketAddr,
    name: String,
}

impl World<'_> {
    fn all_up(&self) -> bool {
        self.shared.board().endpoints().all(|endpoint| endpoint.state == State::Up)
    }

    fn wait(&self, what: &str, mut so: impl FnMut() -> bool) {
        let start = Instant::now();
        while !so() {
            assert!(start.elapsed() < DEADLINE, "never {what}");
            thread::sleep(Duration::from_millis(1));
        }
    }

    /// Keeps every worker busy until it is over; answers a second.
    fn flood(&self, over: &AtomicBool) -> f64 {
        let mut target = Target::new(self.server, vec![query(&self.name, 1), query(&self.name, 28)], &answered);
        let mut rates = Vec::new();
        while !over.load(Ordering::Relaxed) {
            rates.push(target.capacity(Duration::from_millis(500)));
        }
        rates.iter().sum::<f64>() / rates.len() as f64
    }

    /// Kills the endpoint that answers; after how long another one does. Then heals it.
    fn death(&self) -> Duration {
        let socket = bind();
        socket.connect(self.server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut query = query(&self.name, 1);
        let at = query.len() - 3;
        query[at..].copy_from_slice(&SUBNET);
        let before = answer(&socket, &mut query);
        let octets: [u8; 4] = before[0].as_slice().try_into().unwrap();
        let name = {
            let board = self.shared.board();
            let mut endpoints = board.endpoints();
            let holds = |address: std::net::IpAddr| address == std::net::IpAddr::from(octets);
            let found = endpoints.find(|endpoint| endpoint.addresses.iter().any(|known| holds(known.address)));
            found.expect("an address of the configuration").name.clone()
        };
        self.runtime.block_on(self.lab.obey(&format!("kill {name}"))).unwrap();
        let died = Instant::now();
        while answer(&socket, &mut query) == before {
            assert!(died.elapsed() < DEADLINE, "the death is not seen");
        }
        let took = died.elapsed();
        self.runtime.block_on(self.lab.obey(&format!("heal {name}"))).unwrap();
        self.wait("every endpoint up again", || self.all_up());
        took
    }
}

/// The addresses that are answered now.
fn answer(socket: &UdpSocket, query: &mut [u8]) -> Vec<Vec<u8>> {
    let (start, mut octets) = (Instant::now(), [0; 2048]);
    while start.elapsed() < DEADLINE {
        let id = u16::from_be_bytes([query[0], query[1]]).wrapping_add(1);
        query[..2].copy_from_slice(&id.to_be_bytes());
        socket.send(query).unwrap();
        while let Ok(length) = socket.recv(&mut octets) {
            if let Some(found) = (octets[..2] == query[..2]).then(|| records(query, &octets[..length])).flatten() {
                return found.into_iter().map(|(_, data)| data.to_vec()).collect();
            }
        }
    }
    panic!("no answer");
}
