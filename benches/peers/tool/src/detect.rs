//! How long after a death the first answer without the dead one comes.
//!
//! All servers probe the same two doors by HTTP, 127.0.0.1 and 127.0.0.2 at one port, prefer the first, and answer with
//! its address. The first one is closed at a random time, and every server is asked each millisecond until its answer
//! has changed; then the door is opened again, until all answer as before.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::check::Asker;
use crate::draw::Draw;
use crate::query::A;
use crate::server::Server;
use crate::stats::percentile;

/// The door that dies, and the other.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const SECOND: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
/// No server may take longer, either way.
const PATIENCE: Duration = Duration::from_secs(120);
/// Deaths come at a random time within this long after all is well.
const SPREAD_MS: u64 = 10_000;

/// How a door dies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Death {
    /// Connections are refused.
    Refused,
    /// They are accepted by the kernel, and nobody says anything.
    Silent,
}

const OPEN: u8 = 0;
const REFUSING: u8 = 1;
const SILENT: u8 = 2;

/// Measures so many deaths; prints a line a server.
pub fn run(servers: &[Server], port: u16, rounds: usize, death: Death) -> Result<(), String> {
    let state = Arc::new(AtomicU8::new(OPEN));
    open(FIRST, port, state.clone())?;
    open(SECOND, port, Arc::new(AtomicU8::new(OPEN)))?;
    let mut askers = servers.iter().map(Asker::new).collect::<Result<Vec<_>, _>>()?;
    let (mut draw, mut times) = (Draw::new(7), vec![Vec::new(); servers.len()]);
    for round in 0..rounds {
        for (asker, server) in askers.iter_mut().zip(servers) {
            until(asker, FIRST, server)?;
        }
        thread::sleep(Duration::from_millis(draw.below(SPREAD_MS)));
        state.store(if death == Death::Refused { REFUSING } else { SILENT }, Ordering::SeqCst);
        let died = Instant::now();
        let mut left: Vec<usize> = (0..servers.len()).collect();
        while !left.is_empty() {
            left.retain(|&index| {
                let changed = answers(&mut askers[index]) == Some(SECOND);
                if changed {
                    times[index].push(died.elapsed().as_secs_f64());
                }
                !changed
            });
            if died.elapsed() > PATIENCE {
                return Err(format!("{} does not see the death", servers[left[0]].name));
            }
            thread::sleep(Duration::from_millis(1));
        }
        eprintln!("death {} of {rounds} is seen by all", round + 1);
        state.store(OPEN, Ordering::SeqCst);
    }
    let word = if death == Death::Refused { "refused" } else { "silent" };
    println!("{word:<10} {:>10} {:>10} {:>10}", "p50, s", "p99, s", "longest, s");
    for (server, times) in servers.iter().zip(&mut times) {
        times.sort_by(f64::total_cmp);
        let of = |share| percentile(times, share);
        println!("{:<10} {:>10.2} {:>10.2} {:>10.2}", server.name, of(0.5), of(0.99), of(1.0));
    }
    Ok(())
}

fn answers(asker: &mut Asker) -> Option<Ipv4Addr> {
    let reply = asker.ask_parsed(b"www", A, None)?;
    reply.addresses.first().map(|&octets| octets.into())
}

fn until(asker: &mut Asker, address: Ipv4Addr, server: &Server) -> Result<(), String> {
    let begun = Instant::now();
    while answers(asker) != Some(address) {
        if begun.elapsed() > PATIENCE {
            return Err(format!("{} does not come back to {address}", server.name));
        }
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

/// A door, as long as the process lives.
fn open(address: Ipv4Addr, port: u16, state: Arc<AtomicU8>) -> Result<(), String> {
    let at = SocketAddrV4::new(address, port);
    let bind = move || TcpListener::bind(at).map_err(|error| format!("{at}: {error}"));
    let mut listener = Some(bind()?);
    thread::spawn(move || {
        let mut kept = Vec::new();
        loop {
            match (state.load(Ordering::SeqCst), &listener) {
                (REFUSING, _) => listener = None,
                (_, None) => listener = bind().ok(),
                (now, Some(listener)) => {
                    listener.set_nonblocking(true).expect("it can be told");
                    while let Ok((stream, _)) = listener.accept() {
                        if now == OPEN {
                            thread::spawn(move || answer(stream));
                        } else {
                            kept.push(stream);
                        }
                    }
                    if now == OPEN {
                        kept.clear();
                    }
                }
            }
            thread::sleep(Duration::from_micros(500));
        }
    });
    Ok(())
}

fn answer(mut stream: TcpStream) {
    let mut octets = [0; 2048];
    let _ = stream.set_nonblocking(false);
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    if stream.read(&mut octets).is_ok_and(|length| length > 0) {
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"); // it may have gone
    }
}
