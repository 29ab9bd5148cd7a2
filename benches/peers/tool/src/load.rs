//! The client, and what it measures.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use crate::figures::{Costs, level, quantile, ratio, sorted};
use crate::queries::{Draw, Set, query};
use crate::sys::{BATCH, Messages, pin, sleep_ns, urgent};

/// One server's turn.
const SLICE: Duration = Duration::from_millis(60);
/// Queries of `cores` that wait for their answers.
const IN_FLIGHT: usize = 200;
/// Queries drawn before the clock starts.
const DRAWN: usize = 1 << 16;
/// Without an answer for so long, the rest of a burst is lost.
const PATIENCE: Duration = Duration::from_millis(50);

pub struct Options {
    pub set: Set,
    pub seconds: f64,
    pub core: usize,
    pub raw: Option<PathBuf>,
    pub rate: u64,
    pub queries: usize,
    pub targets: Vec<Target>,
}

pub struct Target {
    name: String,
    pid: u32,
    address: SocketAddr,
}

impl Target {
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' is no NAME=PID@ADDRESS");
        let (name, rest) = text.split_once('=').ok_or_else(wrong)?;
        let (pid, address) = rest.split_once('@').ok_or_else(wrong)?;
        let (pid, address) = (pid.parse().map_err(|_| wrong())?, address.parse().map_err(|_| wrong())?);
        Ok(Self { name: name.into(), pid, address })
    }

    fn tasks(&self) -> Vec<i32> {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.pid)).into_iter().flatten().flatten();
        tasks.filter_map(|task| task.file_name().to_str()?.parse().ok()).collect()
    }

    fn pin(&self, core: usize) {
        self.tasks().into_iter().for_each(|task| drop(pin(task, core)));
    }

    /// Nanoseconds on a processor so far, over all tasks.
    fn used_ns(&self) -> u64 {
        let used = |task: &i32| {
            let text = fs::read_to_string(format!("/proc/{}/task/{task}/schedstat", self.pid)).ok()?;
            text.split_whitespace().next()?.parse::<u64>().ok()
        };
        self.tasks().iter().filter_map(used).sum()
    }

    fn rss_kib(&self) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(0)
    }

    fn socket(&self) -> Result<UdpSocket, String> {
        let socket = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.connect(self.address).map(|()| socket));
        socket.map_err(|error| format!("{}: {error}", self.name))
    }
}

/// A connection to one server, and what was seen of it.
struct Seen<'t> {
    target: &'t Target,
    socket: UdpSocket,
    costs: Costs,
    sent: u64,
    answered: u64,
    /// How long a burst takes, as far as known.
    pause_ns: u64,
}

struct Client {
    drawn: Vec<Vec<u8>>,
    next: usize,
    messages: Messages,
}

impl Client {
    fn new(set: Set) -> Self {
        let mut draw = Draw(7);
        Self { drawn: (0..DRAWN).map(|_| query(set, &mut draw)).collect(), next: 0, messages: Messages::new() }
    }

    /// Sends the next `count` queries.
    fn send(&mut self, socket: &UdpSocket, count: usize) -> usize {
        for at in 0..count {
            let index = (self.next + at) % DRAWN;
            let query = &self.drawn[index];
            self.messages.slots[at][..query.len()].copy_from_slice(query);
            self.messages.slots[at][..2].copy_from_slice(&(index as u16).to_be_bytes());
            self.messages.lengths[at] = query.len();
        }
        let sent = self.messages.send(socket, count, true).unwrap_or(0);
        self.next += sent;
        sent
    }

    /// Takes what is there.
    fn drain(&mut self, socket: &UdpSocket) -> usize {
        let mut all = 0;
        while let Ok(count) = self.messages.receive(socket, libc::MSG_DONTWAIT) {
            all += count;
            if count < BATCH {
                break;
            }
        }
        all
    }

    /// One burst: send, let the server run, drain.
    fn burst(&mut self, seen: &mut Seen<'_>) {
        let sent = self.send(&seen.socket, BATCH);
        let start = Instant::now();
        let mut got = 0;
        sleep_ns(seen.pause_ns);
        loop {
            got += self.drain(&seen.socket);
            if got >= sent || start.elapsed() > PATIENCE {
                break;
            }
            // Next time it gets the whole time at once: waking up in between disturbs it.
            seen.pause_ns += 20_000;
            sleep_ns(100_000);
        }
        (seen.sent, seen.answered) = (seen.sent + sent as u64, seen.answered + got as u64);
    }

    /// Keeps [`IN_FLIGHT`] queries on their way for a slice.
    fn stream(&mut self, seen: &mut Seen<'_>) {
        let (start, mut last) = (Instant::now(), Instant::now());
        let mut waiting = 0;
        while start.elapsed() < SLICE || waiting > 0 {
            while start.elapsed() < SLICE && waiting + BATCH <= IN_FLIGHT + BATCH / 2 {
                let sent = self.send(&seen.socket, BATCH.min(IN_FLIGHT.saturating_sub(waiting)).max(1));
                (waiting, seen.sent) = (waiting + sent, seen.sent + sent as u64);
            }
            let got = self.drain(&seen.socket).min(waiting);
            if got > 0 {
                last = Instant::now();
            } else if last.elapsed() > PATIENCE {
                break; // the rest is lost
            }
            (waiting, seen.answered) = (waiting - got, seen.answered + got as u64);
        }
    }
}

/// Client and servers on one core.
pub fn burst(options: &Options) -> Result<(), String> {
    pin(0, options.core).map_err(|error| format!("cannot take core {}: {error}", options.core))?;
    urgent().map_err(|error| format!("cannot take precedence (root only): {error}"))?;
    slices(options, |client, seen| {
        let start = Instant::now();
        while start.elapsed() < SLICE {
            client.burst(seen);
        }
    })
}

/// Servers on one core, the client on the next.
pub fn cores(options: &Options) -> Result<(), String> {
    pin(0, options.core + 1).map_err(|error| format!("cannot take core {}: {error}", options.core + 1))?;
    slices(options, Client::stream)
}

/// Gives each server its slices, A B C C B A, and prints what an answer costs.
fn slices(options: &Options, mut slice: impl FnMut(&mut Client, &mut Seen<'_>)) -> Result<(), String> {
    let mut client = Client::new(options.set);
    let mut all = Vec::new();
    for target in &options.targets {
        target.pin(options.core);
        let socket = target.socket()?;
        all.push(Seen { target, socket, costs: Vec::new(), sent: 0, answered: 0, pause_ns: 300_000 });
    }
    for seen in &mut all {
        // Warm, and how long a burst takes is known.
        (0..3).for_each(|_| slice(&mut client, seen));
        if seen.answered == 0 {
            return Err(format!("{} does not answer", seen.target.name));
        }
        (seen.sent, seen.answered) = (0, 0);
    }
    let (start, whole) = (Instant::now(), Duration::from_secs_f64(options.seconds));
    while start.elapsed() < whole {
        let order: Vec<usize> = (0..all.len()).chain((0..all.len()).rev()).collect();
        for index in order {
            let seen = &mut all[index];
            let (used, answered) = (seen.target.used_ns(), seen.answered);
            slice(&mut client, seen);
            let (used, answered) = (seen.target.used_ns() - used, seen.answered - answered);
            if answered > 0 {
                seen.costs.push(used as f64 / answered as f64);
            }
        }
    }
    print(options, &all)
}

fn print(options: &Options, all: &[Seen<'_>]) -> Result<(), String> {
    println!("{:<16} {:>9} {:>7} {:>17} {:>7} {:>10} {:>8}", "", "µs/answer", "ratio", "95 % interval", "slices", "answers", "lost");
    for seen in all {
        let (ratio, low, high) = ratio(&seen.costs, &all[0].costs);
        let interval = format!("[{low:.3}, {high:.3}]");
        let (name, slices) = (&seen.target.name, seen.costs.len());
        let lost = seen.sent - seen.answered.min(seen.sent);
        println!("{name:<16} {:>9.3} {ratio:>7.3} {interval:>17} {slices:>7} {:>10} {lost:>8}", level(&seen.costs) / 1e3, seen.answered);
    }
    let Some(path) = &options.raw else { return Ok(()) };
    let mut lines = String::from("target,nanoseconds an answer\n");
    for seen in all {
        seen.costs.iter().for_each(|cost| lines += &format!("{},{cost:.1}\n", seen.target.name));
    }
    fs::write(path, lines).map_err(|error| format!("{}: {error}", path.display()))
}

/// A fixed rate for each target in turn: what is lost, how long answers take, what they cost.
pub fn rate(options: &Options) -> Result<(), String> {
    pin(0, options.core + 1).map_err(|error| format!("cannot take core {}: {error}", options.core + 1))?;
    println!("{:<16} {:>8} {:>9} {:>6} {:>8} {:>8} {:>8} {:>9} {:>8}", "", "rate/s", "sent", "lost", "p50 µs", "p99 µs", "p99.9 µs", "µs/answer", "RSS MiB");
    let mut client = Client::new(options.set);
    let each = Duration::from_secs_f64(options.seconds / options.targets.len() as f64);
    for target in &options.targets {
        target.pin(options.core);
        let socket = target.socket()?;
        let used = target.used_ns();
        let Paced { sent, waits_us } = pace(&mut client, &socket, options.rate, each);
        let cost = (target.used_ns() - used) as f64 / waits_us.len().max(1) as f64 / 1e3;
        let waits = sorted(&waits_us);
        let [p50, p99, p999] = [0.5, 0.99, 0.999].map(|at| quantile(&waits, at));
        let (name, lost, rss) = (&target.name, sent - waits.len() as u64, target.rss_kib() / 1024);
        println!("{name:<16} {:>8} {sent:>9} {lost:>6} {p50:>8.1} {p99:>8.1} {p999:>8.1} {cost:>9.2} {rss:>8}", options.rate);
        let _ = std::io::stdout().flush();
    }
    Ok(())
}

struct Paced {
    sent: u64,
    waits_us: Vec<f64>,
}

/// Sends at a steady rate; every answer is told to its query by its id.
fn pace(client: &mut Client, socket: &UdpSocket, rate: u64, whole: Duration) -> Paced {
    let mut sent_at = vec![None; DRAWN];
    let mut paced = Paced { sent: 0, waits_us: Vec::new() };
    let (start, mut last) = (Instant::now(), Instant::now());
    loop {
        let elapsed = start.elapsed();
        let due = (elapsed.min(whole).as_nanos() * u128::from(rate) / 1_000_000_000) as u64;
        let count = (due - paced.sent).min(BATCH as u64) as usize;
        if count > 0 {
            let first = client.next;
            let sent = client.send(socket, count);
            let now = Instant::now();
            (first..first + sent).for_each(|index| sent_at[index % DRAWN] = Some(now));
            paced.sent += sent as u64;
        }
        if let Ok(count) = client.messages.receive(socket, libc::MSG_DONTWAIT) {
            last = Instant::now();
            for slot in &client.messages.slots[..count] {
                let id = usize::from(u16::from_be_bytes([slot[0], slot[1]]));
                if let Some(at) = sent_at[id].take() {
                    paced.waits_us.push((last - at).as_nanos() as f64 / 1e3);
                }
            }
        }
        let all_in = paced.waits_us.len() as u64 == paced.sent;
        if elapsed >= whole && (all_in || last.elapsed() > Duration::from_secs(1)) {
            return paced;
        }
    }
}

/// Asks two servers the same and says how often their addresses are the same.
pub fn agree(options: &Options) -> Result<(), String> {
    let [first, second] = &options.targets[..] else { return Err("agree needs two targets".into()) };
    let mut draw = Draw(11);
    let (mut same, mut failed) = (0, 0);
    for id in 0..options.queries {
        let mut packet = query(options.set, &mut draw);
        packet[..2].copy_from_slice(&(id as u16).to_be_bytes());
        let answers = [first, second].map(|target| ask(target, &packet));
        match answers {
            [Ok(a), Ok(b)] => same += usize::from(a == b),
            _ => failed += 1,
        }
    }
    let share = 100.0 * same as f64 / options.queries as f64;
    println!("{} and {}: {same} of {} answers alike ({share:.1} %), {failed} without an answer", first.name, second.name, options.queries);
    if failed > 0 { Err("some queries had no answer".into()) } else { Ok(()) }
}

/// The addresses of an answer, as a set.
fn ask(target: &Target, packet: &[u8]) -> Result<BTreeSet<Vec<u8>>, String> {
    let socket = target.socket()?;
    let _ = socket.set_read_timeout(Some(Duration::from_secs(1)));
    let mut reply = [0; 4096];
    let received = socket.send(packet).and_then(|_| socket.recv(&mut reply)).map_err(|error| error.to_string())?;
    let reply = &reply[..received];
    let mut at = 12 + packet[12..].iter().position(|&octet| octet == 0).unwrap_or(0) + 5;
    let mut addresses = BTreeSet::new();
    for _ in 0..u16::from_be_bytes([reply[6], reply[7]]) {
        // An owner, a pointer or spelt out.
        while reply[at] != 0 && reply[at] < 0xc0 {
            at += 1 + usize::from(reply[at]);
        }
        at += if reply[at] == 0 { 1 } else { 2 };
        let length = usize::from(u16::from_be_bytes([reply[at + 8], reply[at + 9]]));
        addresses.insert(reply[at + 10..at + 10 + length].to_vec());
        at += 10 + length;
    }
    Ok(addresses)
}
