//! The three ways to ask: bursts on the server's own core, a window across cores, a fixed rate.

use std::thread::sleep;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::sys::BATCH;

/// Queries in flight across cores, and how many are sent together.
const WINDOW: usize = 200;
const GROUP: usize = 32;
/// No reply for this long: what is in flight is lost.
const PATIENCE: Duration = Duration::from_millis(500);
/// A client that looks again after this long or more has not run meanwhile: a look takes it some 100 µs at most.
const HELD_UP: Duration = Duration::from_millis(1);
/// Time for a server to go back to sleep, so that the kernel has booked all its time.
const SETTLE: Duration = Duration::from_micros(300);

/// How queries come to a server while its cost is taken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Load {
    /// Batches of 64, each sent while the server cannot run, on the server's own core.
    Burst,
    /// From another core, 200 in flight.
    Cores,
}

impl Load {
    pub fn name(self) -> &'static str {
        match self {
            Self::Burst => "burst",
            Self::Cores => "cores",
        }
    }

    /// Asks for at least `time` and until all is answered or lost.
    pub fn ask(self, client: &mut Client, time: Duration, answer_ns: f64) -> Result<(), String> {
        let end = Instant::now() + time;
        match self {
            Self::Burst => {
                while Instant::now() < end {
                    burst(client, answer_ns)?;
                }
            }
            Self::Cores => {
                window(client, end)?;
                drain(client)?;
            }
        }
        client.forget();
        sleep(SETTLE);
        Ok(())
    }
}

/// One full batch: sent, left to the server, drained. The pause is what the server needs and some
/// more: one that is too short would cut the server's batch of replies in two.
fn burst(client: &mut Client, answer_ns: f64) -> Result<(), String> {
    client.send(BATCH)?;
    let pause = Duration::from_nanos((answer_ns * BATCH as f64 * 1.25) as u64) + Duration::from_micros(100);
    let mut last_reply = Instant::now();
    while client.in_flight > 0 && last_reply.elapsed() < PATIENCE {
        sleep(pause);
        while client.take()? > 0 {
            last_reply = Instant::now();
        }
    }
    client.forget();
    Ok(())
}

fn window(client: &mut Client, end: Instant) -> Result<(), String> {
    let mut last_reply = Instant::now();
    loop {
        let now = Instant::now();
        if now >= end {
            return Ok(());
        }
        if client.take()? > 0 {
            last_reply = now;
        } else if now - last_reply > PATIENCE {
            client.forget();
            last_reply = now;
        }
        while client.in_flight + GROUP <= WINDOW {
            client.send(GROUP)?;
        }
    }
}

fn drain(client: &mut Client) -> Result<(), String> {
    let mut last_reply = Instant::now();
    while client.in_flight > 0 && last_reply.elapsed() < PATIENCE {
        if client.take()? > 0 {
            last_reply = Instant::now();
        }
    }
    Ok(())
}

/// `rate` queries a second, evenly, for `time`, whatever comes back; how long the client itself did not
/// run meanwhile. What was due then is never sent: all at once it would be a flood that nobody asked for,
/// and its losses the client's doing.
pub fn steadily(client: &mut Client, rate: u64, time: Duration) -> Result<Duration, String> {
    let (start, mut sent, mut held_up) = (Instant::now(), 0, Duration::ZERO);
    let mut last = Duration::ZERO;
    loop {
        let elapsed = start.elapsed();
        if elapsed >= time {
            break;
        }
        if elapsed - last > HELD_UP {
            held_up += elapsed - last;
        }
        last = elapsed;
        let due = ((elapsed - held_up).as_secs_f64() * rate as f64) as u64;
        if due > sent {
            let count = (due - sent).min(BATCH as u64);
            client.send(count as usize)?;
            sent += count;
        }
        client.take()?;
    }
    drain(client)?;
    client.forget();
    sleep(SETTLE);
    Ok(held_up)
}
