//! The yardstick of benches/peers: a bare UDP echo, a load client, and a meter of what a server's
//! processor time an answer is. See benches/peers/README.md.

mod figures;
mod load;
mod queries;
mod sys;

use std::net::UdpSocket;
use std::process::ExitCode;

use load::{Options, Target};
use queries::Set;
use sys::Messages;

const HELP: &str = "\
measure: what does an answer cost?

  measure echo ADDRESS                         answer every datagram with itself, as a response
  measure burst [OPTIONS] TARGET TARGET…       client and server on one core, bursts of 64
  measure cores [OPTIONS] TARGET TARGET…       client and server on two cores, 200 in flight
  measure rate --rate N [OPTIONS] TARGET…      a fixed rate: lost, latency, cost
  measure agree --queries N A B                how often two servers give the same addresses

TARGET is NAME=PID@ADDRESS; the first is what the others are compared with.
  --set geo|names|static|mix   what is asked (geo)
  --seconds N                  for all targets together (30)
  --core N                     the servers' core (0); the client's is the next but for burst
  --raw FILE                   every slice as a line: target,answers,nanoseconds

Example: measure burst --seconds 30 echo=4711@127.0.0.1:5401 gdnsd=4712@127.0.0.1:5402
burst needs root: the client takes precedence over the server that it shares the core with.";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("measure: {problem}\n`measure --help` shows how it is used");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[String]) -> Result<(), String> {
    let Some((verb, rest)) = arguments.split_first() else { return Err("what shall I do?".into()) };
    match verb.as_str() {
        "--help" | "-h" | "help" => {
            println!("{HELP}");
            Ok(())
        }
        "echo" => echo(rest.first().ok_or("echo needs an ADDRESS")?),
        "burst" => load::burst(&options(rest)?),
        "cores" => load::cores(&options(rest)?),
        "rate" => load::rate(&options(rest)?),
        "agree" => load::agree(&options(rest)?),
        other => Err(format!("there is no verb '{other}'")),
    }
}

fn options(arguments: &[String]) -> Result<Options, String> {
    let mut options = Options { set: Set::Geo, seconds: 30.0, core: 0, raw: None, rate: 0, queries: 2000, targets: vec![] };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        if !argument.starts_with("--") {
            options.targets.push(Target::parse(argument)?);
            continue;
        }
        let value = arguments.next().ok_or(format!("{argument} needs a value"))?;
        let number = || value.parse::<f64>().map_err(|_| format!("{argument} needs a number, not '{value}'"));
        match argument.as_str() {
            "--set" => options.set = Set::parse(value).ok_or(format!("there is no set '{value}'"))?,
            "--seconds" => options.seconds = number()?,
            "--core" => options.core = number()? as usize,
            "--rate" => options.rate = number()? as u64,
            "--queries" => options.queries = number()? as usize,
            "--raw" => options.raw = Some(value.into()),
            other => return Err(format!("there is no option {other}")),
        }
    }
    if options.targets.is_empty() { Err("name a TARGET".into()) } else { Ok(options) }
}

/// Never ends by itself; whoever started it stops it.
fn echo(address: &str) -> Result<(), String> {
    let socket = UdpSocket::bind(address).map_err(|error| format!("{address}: {error}"))?;
    let mut messages = Messages::new();
    loop {
        let count = match messages.receive(&socket, 0) {
            Ok(count) => count,
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.to_string()),
        };
        messages.slots[..count].iter_mut().for_each(|slot| slot[2] |= 0x80);
        let _ = messages.send(&socket, count, false); // a client that is gone
    }
}
