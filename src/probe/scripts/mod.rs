//! `script` probes: programs whose exit code says how a target fares.
//!
//! ```text
//! ScriptRunner ─▶ Scripts ─ a line of JSON ─▶ meridian scripts ─▶ the program, in a process group of its own
//!                         ◀─ lines of JSON ──                   ◀─ that it waits; its end, its first line, or the end of
//!                                                                  its time
//! ```
//! The server itself can start no program: seccomp and landlock hold it, and what it starts would be held too. So where
//! the configuration wants scripts, [`Spawner`] starts `meridian scripts` before the sandbox is entered, at the other end of
//! a socket. It starts what it is asked to, as the user of `[process]`, and ends when the server does. Where it is gone it
//! stays so, since nobody is left who could start another.

mod asking;
mod runner;
mod starting;

use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use asking::{Scripts, Spawner};
pub(super) use runner::ScriptRunner;
pub use starting::serve as serve_scripts;

/// Programs at once that work, or may do so.
const AT_ONCE: usize = 16;
/// Programs besides that wait for something: so targets that are silent do not keep the others' scripts from running.
const WAITING: usize = 112;
/// A program waits when of so long it has wanted the processor for [`IDLE_SHARE`] at most, with all that it has started. Once it
/// has, it is taken to wait to its end.
const SPAN: Duration = Duration::from_millis(500);
const IDLE_SHARE: f64 = 0.1;
/// What `meridian scripts` says once it can be asked.
const READY: u8 = b'\n';

/// A program to be started.
#[derive(Debug, Serialize, Deserialize)]
struct Request {
    id: u64,
    /// Its path, then its arguments.
    command: Vec<String>,
    environment: BTreeMap<String, String>,
    /// Then it is killed, with all that it has started.
    limit_ms: u64,
}

/// What comes of it.
#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    id: u64,
    /// None: it waits, and goes on.
    ended: Option<Ended>,
}

#[derive(Debug, PartialEq, Serialize, Deserialize)]
enum Ended {
    /// By itself; the first line of its output, at most 200 characters.
    Exit { code: i32, said: String },
    /// By a signal, and not ours.
    Signal { number: i32, said: String },
    /// It was killed at its limit.
    Late,
    /// It could not be started: the system's error.
    NotStarted { code: Option<i32>, why: String },
}

fn line(message: &impl Serialize) -> io::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(message)?;
    line.push(b'\n');
    Ok(line)
}
