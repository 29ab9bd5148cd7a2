//! What abuse costs those who do no harm, on the shipped configuration:
//!
//! ```text
//! flood   a resolver without cookies asks one steered name 10,000 times a second with random subnets; meanwhile a
//!         prefix asks for long answers and for names that do not exist, ten times as fast as the limit allows
//! slow    a thousand TCP clients send an octet a second each, and who is closed connects anew, evenly: the latency by UDP
//!         with them and without, in turns, so that what else the machine does falls into some turns of both; medians of turns
//! ```

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use meridian::cli::serve::Running;
use socket2::{Domain, Socket, Type};

use crate::client::{Target, bind_to};
use crate::kernel::{Cores, keep_to};
use crate::reply::query;
use crate::soak::answered;
use crate::world::Folder;

/// Sources of the one and the other, each a /24 of its own.
const RESOLVER: Ipv4Addr = Ipv4Addr::new(127, 1, 0, 1);
const FLOODER: Ipv4Addr = Ipv4Addr::new(127, 2, 0, 1);
/// Queries a second of the resolver, and of the flood: ten times what `[rate_limit] answers` is.
const RESOLVER_RATE: f64 = 10_000.0;
const FLOOD_RATE: f64 = 50_000.0;
/// The limit, and how much more the share of answered queries may lack.
const ANSWERED: f64 = 0.999;
const SLOW_CLIENTS: u16 = 1000;
/// Turns with them, and as many without.
const SLOW_TURNS: u32 = 15;
const SLOWER: f64 = 1.5;

/// Measures both; does the one get its answers, the other no more than the limit, and UDP wait for no TCP client?
pub(crate) fn run(each: Duration, smoke: bool) -> bool {
    keep_to(Cores::Servers);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let folder = Folder::shipped();
    let running = runtime.block_on(Running::start(folder.options())).unwrap();
    let (shared, server) = (running.shared(), running.addresses()[0]);
    let name = shared.published.load().parts.config.services[0].name.to_string();
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let served = runtime.spawn(running.run(async { drop(stopped.await) }));
    while !shared.journal().ready {
        thread::sleep(Duration::from_millis(5));
    }
    keep_to(Cores::Client);
    let flood = flood(server, &name, each);
    let slow = slow(server, &name, if smoke { 2 } else { SLOW_TURNS }, each);
    drop(stop);
    runtime.block_on(served).unwrap();
    // A smoke run says nothing of what the machine can bear.
    flood.is_bounded && ((flood.is_answered && slow) || smoke)
}

/// What came of a flood.
struct Flood {
    /// The resolver got its answers.
    is_answered: bool,
    /// The flood got some, no more than its limits, and took no memory.
    is_bounded: bool,
}

fn flood(server: SocketAddr, name: &str, each: Duration) -> Flood {
    let mut resolver = Target::from(RESOLVER, server, vec![query(name, 1)], &answered);
    let (over, asked, octets) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    resolver.ask(RESOLVER_RATE, each / 10); // what is touched first
    let before = resident();
    thread::scope(|scope| {
        scope.spawn(|| flood_from(FLOODER, server, &over, &asked, &octets));
        resolver.ask(RESOLVER_RATE, each);
        over.store(true, Ordering::Relaxed);
    });
    resolver.finish();
    let after = resident();
    let (asked, octets) = (asked.load(Ordering::Relaxed), octets.load(Ordering::Relaxed));
    let share = resolver.latencies.count() as f64 / resolver.sent as f64;
    let (seconds, limit) = (each.as_secs_f64(), 5_000.0);
    // Of two kinds each its limit, a second's burst, and what is cut short: half of the rest, as long as the query.
    let bound = 2.0 * limit * (seconds + 1.0) * LONGEST_REPLY + asked as f64 / 2.0 * LONGEST_CUT;
    println!("flood: {seconds:.0} s; the resolver {} asked, {:.4} % answered;", resolver.sent, 100.0 * share);
    println!(
        "       the flood {asked} asked, {:.2} octets answered for one asked (bound by the limits {:.2})",
        octets as f64 / (asked as f64 * QUERY_OCTETS),
        bound / (asked as f64 * QUERY_OCTETS)
    );
    println!("       resident {} MB before, {} MB after", before / 1_000_000, after / 1_000_000);
    let is_bounded = octets > 0 && (octets as f64) < bound && after < before + before / 20;
    Flood { is_answered: share >= ANSWERED, is_bounded }
}

/// Octets of the flood's queries in the mean, and of its longest replies.
const QUERY_OCTETS: f64 = 35.0;
const LONGEST_REPLY: f64 = 200.0;
const LONGEST_CUT: f64 = 45.0;

/// Asks without EDNS for long answers and random names; counts the octets that come back.
fn flood_from(from: Ipv4Addr, server: SocketAddr, over: &AtomicBool, asked: &AtomicU64, octets: &AtomicU64) {
    let socket = bind_to(from);
    socket.connect(server).unwrap();
    socket.set_nonblocking(true).unwrap();
    let (start, mut sent, mut sent_on) = (Instant::now(), 0_u64, 0_u64);
    while !over.load(Ordering::Relaxed) {
        let due = (start.elapsed().as_secs_f64() * FLOOD_RATE) as u64;
        while sent < due {
            sent += 1;
            let long = sent.is_multiple_of(2);
            let name = if long { "shop.example".to_owned() } else { format!("x{:07}.shop.example", sent % 10_000_000) };
            let mut query = query(&name, if long { 2 } else { 1 });
            query.truncate(query.len() - 22);
            query[11] = 0; // without OPT
            sent_on += u64::from(socket.send(&query).is_ok());
        }
        receive(&socket, octets);
        thread::sleep(Duration::from_micros(200));
    }
    thread::sleep(Duration::from_millis(100));
    receive(&socket, octets);
    asked.store(sent_on, Ordering::Relaxed);
}

fn receive(socket: &UdpSocket, octets: &AtomicU64) {
    let mut reply = [0; 2048];
    while let Ok(length) = socket.recv(&mut reply) {
        octets.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// Octets of this process's memory that are resident.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    pages.split(' ').nth(1).unwrap().parse::<u64>().unwrap() * 4096
}

/// Has the server not closed it?
fn is_open(client: &TcpStream) -> bool {
    let mut octet = [0];
    client.set_nonblocking(true).unwrap();
    let seen = client.peek(&mut octet);
    client.set_nonblocking(false).unwrap();
    seen.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
}

fn slow(server: SocketAddr, name: &str, turns: u32, each: Duration) -> bool {
    let turn = each / (2 * turns);
    let (mut alone, mut disturbed) = (Turns::default(), Turns::default());
    let (mut open, mut closed) = (0, 0);
    for _ in 0..turns {
        alone.ask(server, name, turn, || ());
        let mut drip = Drip::new(server);
        while drip.clients.iter().any(Option::is_none) {
            drip.go_on();
            thread::sleep(Duration::from_micros(100));
        }
        disturbed.ask(server, name, turn, || drip.go_on());
        open = drip.clients.iter_mut().flatten().filter(|client| is_open(client)).count();
        closed = drip.closed;
        drop(drip);
        // The server closes a thousand connections: that is no part of the next turn.
        thread::sleep(Duration::from_millis(500));
    }
    println!(
        "slow:  {SLOW_CLIENTS} TCP clients of an octet a second, {open} open at the end, {closed} were closed and came again; by UDP,\n\
         \x20      medians of {turns} turns, µs (half of them within):"
    );
    let ([p50, p99], [with_p50, with_p99]) = (alone.quartiles(), disturbed.quartiles());
    for (what, [low, median, high]) in
        [("p50 without", p50), ("p50 with", with_p50), ("p99 without", p99), ("p99 with", with_p99)]
    {
        println!("       {what:12} {median:7.0} ({low:.0} to {high:.0})");
    }
    println!("       p99 is {:.2} times as long; {} and {} lost", with_p99[1] / p99[1], alone.lost, disturbed.lost);
    with_p99[1] / p99[1] <= SLOWER
}

/// The slow clients.
struct Drip {
    server: SocketAddr,
    clients: Vec<Option<TcpStream>>,
    next: usize,
    due: Instant,
    closed: usize,
}

impl Drip {
    fn new(server: SocketAddr) -> Self {
        let clients = (0..SLOW_CLIENTS).map(|_| None).collect();
        Self { server, clients, next: 0, due: Instant::now(), closed: 0 }
    }

    /// Another client sends its octet, if it is time: evenly, so that each sends one a second.
    fn go_on(&mut self) {
        if Instant::now() < self.due {
            return;
        }
        self.due += Duration::from_secs(1) / u32::from(SLOW_CLIENTS);
        let client = &mut self.clients[self.next];
        // A query of 512 octets is promised, of which one octet comes a second.
        let alive = client.as_mut().map(|client| is_open(client) && client.write(&[0]).is_ok());
        if alive != Some(true) {
            self.closed += usize::from(alive.is_some());
            let stream = connect(self.server, self.next as u16);
            let _ = (&stream).write(&[2]); // who is closed at once is seen so
            *client = Some(stream);
        }
        self.next = (self.next + 1) % self.clients.len();
    }
}

/// A client at an address of its own.
fn connect(server: SocketAddr, number: u16) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let [high, low] = number.to_be_bytes();
    socket.bind(&SocketAddr::from(([127, 3, high, low.max(1)], 0)).into()).unwrap();
    socket.connect(&server.into()).unwrap();
    socket.into()
}

/// Latencies by UDP, turn by turn.
#[derive(Default)]
struct Turns {
    /// p50 and p99 of each, µs.
    latencies: Vec<[f64; 2]>,
    lost: u64,
}

impl Turns {
    fn ask(&mut self, server: SocketAddr, name: &str, turn: Duration, besides: impl FnMut()) {
        let mut target = Target::from(RESOLVER, server, vec![query(name, 1)], &answered).stamped();
        target.ask_beside(RESOLVER_RATE, turn, besides);
        target.finish();
        self.latencies.push(target.latencies.quantiles([0.5, 0.99]));
        self.lost += target.lost;
    }

    /// Of p50 and of p99: the lower quartile, the median and the upper one of all turns.
    fn quartiles(&self) -> [[f64; 3]; 2] {
        [0, 1].map(|which| {
            let mut of_turns: Vec<f64> = self.latencies.iter().map(|turn| turn[which]).collect();
            of_turns.sort_by(f64::total_cmp);
            [1, 2, 3].map(|quarter| of_turns[(of_turns.len() - 1) * quarter / 4])
        })
    }
}
