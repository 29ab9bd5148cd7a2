//! The measuring part of `benches/peers`: a bare echo, the load, the checks, the table. `run` beside
//! this crate starts the servers and calls it; README.md there says what the figures mean.

mod args;
mod check;
mod client;
mod detect;
mod draw;
mod echo;
mod load;
mod measure;
mod query;
mod reply;
mod server;
mod stats;
mod sys;
mod table;

use std::io::Write;
use std::net::{TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use args::Arguments;
use load::Load;
use measure::Raw;
use query::{Queries, Set};
use server::Server;

const HELP: &str = "\
The measuring part of benches/peers. Each command has --help.

  peers echo     a bare UDP echo: what a server cannot cost less than
  peers wait     waits until servers answer for the zone
  peers agree    asks servers the same, prints how far they agree
  peers detect   how long each goes on answering with an endpoint that has died
  peers burst    same-core bursts: processor time an answer, in A B B A blocks
  peers cores    the same from another core, 200 in flight
  peers rate     fixed rates: processor time, losses, latencies
  peers memory   resident memory of each server
  peers queries  writes queries as `dnsperf -B` reads them
  peers table    prints what the raw figures come to
  peers ports    prints so many ports that are free
";

const SERVERS: &str = "  --server NAME=ADDRESS:PORT,PID   a server; again for each. PID and all below it are billed
                                   to it. A name that begins with `echo` is not held to DNS\n";

fn main() -> ExitCode {
    let mut words = std::env::args().skip(1);
    let command = words.next().unwrap_or_default();
    match run(&command, words.collect()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("peers {command}: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &str, words: Vec<String>) -> Result<(), String> {
    match command {
        "echo" => echo(words),
        "wait" => wait(words),
        "agree" => agree(words),
        "detect" => detect(words),
        "burst" => compare(Load::Burst, words),
        "cores" => compare(Load::Cores, words),
        "rate" => rate(words),
        "memory" => memory(words),
        "queries" => queries(words),
        "table" => table(words),
        "ports" => ports(words),
        "" | "help" | "-h" | "--help" => {
            print!("{HELP}");
            Ok(())
        }
        _ => Err(format!("there is no such command\n{HELP}")),
    }
}

fn echo(words: Vec<String>) -> Result<(), String> {
    let help = "peers echo --listen ADDRESS:PORT\nSends packets back with QR set, 64 a system call, one thread.\n";
    let Some(given) = Arguments::read(words, &["listen"], &[], help)? else { return Ok(()) };
    let address = given.one("listen")?;
    let socket = UdpSocket::bind(address).map_err(|error| format!("{address}: {error}"))?;
    echo::serve(&socket)
}

fn wait(words: Vec<String>) -> Result<(), String> {
    let help = format!("peers wait --server … [--seconds 60]\n{SERVERS}");
    let Some(given) = Arguments::read(words, &["server", "seconds"], &[], &help)? else { return Ok(()) };
    check::wait(&servers(&given)?, Duration::from_secs_f64(given.number("seconds", 60.0)?))
}

fn agree(words: Vec<String>) -> Result<(), String> {
    let help = format!(
        "peers agree --server … [--subnets 2000] [--names]\nCompares each with the first; --names asks n00000 and so on, not www.\n{SERVERS}"
    );
    let Some(given) = Arguments::read(words, &["server", "subnets"], &["names"], &help)? else { return Ok(()) };
    check::agree(&servers(&given)?, given.number("subnets", 2_000.0)? as usize, given.flag("names"))
}

fn detect(words: Vec<String>) -> Result<(), String> {
    let help = format!("peers detect --server … --door PORT [--rounds 20] [--death refused|silent]\n{SERVERS}");
    let words = Arguments::read(words, &["server", "door", "rounds", "death"], &[], &help)?;
    let Some(given) = words else { return Ok(()) };
    let death = match given.all("death").last() {
        None | Some("refused") => detect::Death::Refused,
        Some("silent") => detect::Death::Silent,
        Some(other) => return Err(format!("--death {other}: refused or silent")),
    };
    let port = given.one("door")?.parse().map_err(|_| "--door is no port".to_owned())?;
    detect::run(&servers(&given)?, port, given.number("rounds", 20.0)? as usize, death)
}

fn compare(load: Load, words: Vec<String>) -> Result<(), String> {
    let help = format!(
        "peers {} --raw FILE --set SET --core N --server … --pair BASE:OTHER … [--seconds 30] [--ordinary]
  --raw FILE          appends the slices there, as CSV
  --set SET           geo, names, static or mix
  --core N            the core that the client runs on: for `burst` the servers' own, for `cores` another
  --pair BASE:OTHER   two of the servers' names to compare; again for each pair
  --seconds N         for each pair
  --ahead             the client before all other programs across cores too, on a machine that is not quiet
  --ordinary          go on where the real-time class is not to be had (burst needs root for it)\n{SERVERS}",
        load.name()
    );
    let words =
        Arguments::read(words, &["raw", "set", "core", "server", "pair", "seconds"], &["ahead", "ordinary"], &help)?;
    let Some(given) = words else { return Ok(()) };
    let (servers, set) = (servers(&given)?, Set::parse(given.one("set")?)?);
    let pairs: Result<Vec<_>, _> = given.all("pair").map(|pair| find_pair(&servers, pair)).collect();
    take_core(&given)?;
    if (load == Load::Burst || given.flag("ahead"))
        && let Err(error) = sys::become_real_time()
    {
        let why = format!("the real-time class SCHED_FIFO needs root: {error}");
        if !given.flag("ordinary") {
            return Err(why);
        }
        eprintln!("{why}; going on without: figures mean little");
    }
    let mut raw = Raw::open(&PathBuf::from(given.one("raw")?))?;
    measure::compare(&servers, &pairs?, load, set, given.number("seconds", 30.0)?, &mut raw)
}

fn find_pair(servers: &[Server], pair: &str) -> Result<[usize; 2], String> {
    let find = |name: &str| servers.iter().position(|server| server.name == name);
    let found = pair.split_once(':').and_then(|(base, other)| Some([find(base)?, find(other)?]));
    found.ok_or_else(|| format!("--pair {pair}: not two names of servers"))
}

fn rate(words: Vec<String>) -> Result<(), String> {
    let help = format!("peers rate --raw FILE --set SET --core N --server … --rate N … [--seconds 4]\n{SERVERS}");
    let known = ["raw", "set", "core", "server", "rate", "seconds"];
    let Some(given) = Arguments::read(words, &known, &[], &help)? else { return Ok(()) };
    let (servers, set) = (servers(&given)?, Set::parse(given.one("set")?)?);
    let seconds = given.number("seconds", 4.0)?;
    take_core(&given)?;
    let mut raw = Raw::open(&PathBuf::from(given.one("raw")?))?;
    given.all("rate").try_for_each(|text| {
        let rate = text.parse().map_err(|_| format!("--rate {text}: no whole number"))?;
        measure::rate(&servers, set, rate, seconds, &mut raw)
    })
}

fn memory(words: Vec<String>) -> Result<(), String> {
    let help = format!("peers memory --raw FILE --server …\n{SERVERS}");
    let Some(given) = Arguments::read(words, &["raw", "server"], &[], &help)? else { return Ok(()) };
    Raw::open(&PathBuf::from(given.one("raw")?))?.memory(&servers(&given)?)
}

/// Each message behind its length, two octets.
fn queries(words: Vec<String>) -> Result<(), String> {
    let help = "peers queries --set SET --count N > FILE\nFor `dnsperf -B -d FILE`.\n";
    let Some(given) = Arguments::read(words, &["set", "count"], &[], help)? else { return Ok(()) };
    let (mut stream, count) = (Queries::new(Set::parse(given.one("set")?)?, 1), given.number("count", 100_000.0)?);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    let mut slot = [0; sys::SLOT];
    for id in 0..count as u64 {
        let (length, _) = stream.write(id as u16, &mut slot);
        let written = out.write_all(&(length as u16).to_be_bytes()).and_then(|()| out.write_all(&slot[..length]));
        written.map_err(|error| format!("writing: {error}"))?;
    }
    out.flush().map_err(|error| format!("writing: {error}"))
}

fn table(words: Vec<String>) -> Result<(), String> {
    let help = "peers table --raw FILE\nMakes the tables anew from raw figures, those in benches/results too.\n";
    let Some(given) = Arguments::read(words, &["raw"], &[], help)? else { return Ok(()) };
    let path = given.one("raw")?;
    let text = std::fs::read_to_string(path).map_err(|error| format!("{path}: {error}"))?;
    print!("{}", table::render(&text)?);
    Ok(())
}

/// All are held until the last is found, so no two are the same.
fn ports(words: Vec<String>) -> Result<(), String> {
    let help = "peers ports --count N\nOn 127.0.0.1, free for UDP and TCP.\n";
    let Some(given) = Arguments::read(words, &["count"], &[], help)? else { return Ok(()) };
    let (count, mut held) = (given.number("count", 1.0)? as usize, Vec::new());
    for _ in 0..count * 32 {
        let tcp = TcpListener::bind("127.0.0.1:0").map_err(|error| error.to_string())?;
        let address = tcp.local_addr().map_err(|error| error.to_string())?;
        if let Ok(udp) = UdpSocket::bind(address) {
            held.push((tcp, udp, address.port()));
        }
        if held.len() == count {
            held.iter().for_each(|(_, _, port)| println!("{port}"));
            return Ok(());
        }
    }
    Err(format!("not {count} free ports"))
}

fn servers(given: &Arguments) -> Result<Vec<Server>, String> {
    given.all("server").map(Server::parse).collect()
}

fn take_core(given: &Arguments) -> Result<(), String> {
    let core = given.number("core", 0.0)? as usize;
    sys::pin(core).map_err(|error| format!("running on core {core}: {error}"))
}
