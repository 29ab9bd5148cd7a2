//! Four questions that only a running server answers, asked over real sockets on loopback.
//!
//! `soak`: is anything lost or wrong while the published snapshot is swapped a hundred times a second
//! and the files are reloaded? A plain echo server in the same process, asked at the same rate before
//! and after, is the yardstick of latency. `freshness`: how long from a verdict to the first changed
//! answer? `abuse`: what do a flood and slow clients cost the others? `flood`: do probes tell the truth meanwhile? `--help` says more.

#![allow(missing_docs, clippy::unwrap_used, reason = "a bench ends where its machine refuses")]

mod abuse;
mod client;
mod echo;
mod figures;
mod flood;
mod freshness;
mod kernel;
mod reply;
mod soak;
mod swaps;
mod world;

use std::process::ExitCode;
use std::time::Duration;

const HELP: &str = "\
usage: cargo bench --bench soak -- [soak] [freshness] [abuse] [flood] [--seconds N] [--smoke]

  soak         swaps and reloads under load, at half of an echo server's capacity: lost and wrong answers,
               latency beside the echo's before and after, and beside the echo's under the same swaps
  freshness    from a verdict to the first changed answer, idle and half loaded; a cloud's at once
  abuse        a flood beside a resolver that asks much, and a thousand slow TCP clients
  flood        every worker kept busy: no verdict changes, and a death is seen as soon as without, or nearly
  --seconds N  how long the flood and each part of abuse take, and soak asks Meridian and, in two halves, the echo (30); longer, but at most twice as
               long, where reloads take longer
  --smoke      two seconds at an eighth of the echo's capacity and few verdicts: does the bench itself work?

Without soak, freshness, abuse or flood, all. Exit code 1: something was lost or wrong, a reload was not published, or
probes told what was not so.";

/// What is to be done.
struct Arguments {
    soak: bool,
    freshness: bool,
    abuse: bool,
    flood: bool,
    seconds: u32,
    smoke: bool,
}

impl Arguments {
    /// # Errors
    /// What is to be said instead: the help, or what is wrong.
    fn read(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut read = Self { soak: false, freshness: false, abuse: false, flood: false, seconds: 30, smoke: false };
        while let Some(word) = words.next() {
            match word.as_str() {
                "soak" => read.soak = true,
                "freshness" => read.freshness = true,
                "abuse" => read.abuse = true,
                "flood" => read.flood = true,
                "--smoke" => (read.smoke, read.seconds) = (true, 2),
                "--seconds" => {
                    let seconds = words.next().and_then(|seconds| seconds.parse().ok()).filter(|seconds| *seconds > 0);
                    read.seconds = seconds.ok_or("--seconds takes a whole number from 1")?;
                }
                "--bench" => {} // cargo's own
                "--help" | "-h" => return Err(HELP.to_owned()),
                other => return Err(format!("{other}: unknown\n{HELP}")),
            }
        }
        if !read.soak && !read.freshness && !read.abuse && !read.flood {
            (read.soak, read.freshness, read.abuse, read.flood) = (true, true, true, true);
        }
        Ok(read)
    }
}

fn main() -> ExitCode {
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(text) => {
            println!("{text}");
            return if text == HELP { ExitCode::SUCCESS } else { ExitCode::from(2) };
        }
    };
    let mut good = true;
    if arguments.soak {
        // In a thread of its own, since it keeps to some of the cores.
        let soak = move || soak::run(Duration::from_secs(arguments.seconds.into()), arguments.smoke);
        good &= std::thread::spawn(soak).join().unwrap();
    }
    if arguments.freshness {
        good &= freshness::run(arguments.smoke);
    }
    if arguments.abuse {
        let abuse = move || abuse::run(Duration::from_secs(arguments.seconds.into()), arguments.smoke);
        good &= std::thread::spawn(abuse).join().unwrap();
    }
    if arguments.flood {
        let flood = move || flood::run(Duration::from_secs(arguments.seconds.into()), arguments.smoke);
        good &= std::thread::spawn(flood).join().unwrap();
    }
    if good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
