//! Floor 3: what the process may still do once its sockets are bound and its files are read.
//!
//! ```text
//! user and groups ─▶ capabilities ─▶ landlock: which files ─▶ seccomp: which system calls
//! ```
//! All of it is given up for good, and by threads: a thread has what the one that started it had. So
//! [`enter`] is for the main thread, before any other is started; the allocator's own is stopped
//! meanwhile and started anew. What the kernel lacks is left out and told ([`Sandbox::lacking`]),
//! unless the configuration requires it.

mod accounts;
mod calls;
mod paths;

use std::collections::BTreeSet;
use std::fmt::Display;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use nix::sys::prctl;
use tikv_jemalloc_ctl::background_thread;

use crate::config::{Process, Sandboxing};
use accounts::Account;
use paths::Fence;

/// What the process needs of the disk from now on.
#[derive(Clone, Debug)]
pub struct Paths {
    /// Folders to read, with all beneath. Those that are not there are left out.
    pub read: BTreeSet<PathBuf>,
    /// Folders to read and write, with all beneath.
    pub write: BTreeSet<PathBuf>,
    /// The folder for what outlives a restart, to read and write; made if it is not there.
    pub state: PathBuf,
}

/// What holds the process.
#[derive(Debug)]
pub struct Sandbox {
    /// The user that it became; none: it stayed who it was.
    pub user: Option<String>,
    /// Of capabilities it has at most the one to bind ports below 1024.
    pub capabilities_dropped: bool,
    /// The version of landlock's interface that holds its files.
    pub landlock: Option<i32>,
    /// Only listed system calls get through.
    pub seccomp: bool,
    /// What the configuration asked for and the kernel did not give, in words.
    pub lacking: Vec<String>,
    fence: Option<Fence>,
}

impl Sandbox {
    /// The error that came of reading or listing `path`; where it came from the sandbox it says so,
    /// and what helps.
    #[must_use]
    pub fn explain(&self, path: &Path, error: io::Error) -> io::Error {
        let outside = self.fence.as_ref().is_some_and(|fence| !fence.holds(path));
        if error.kind() == io::ErrorKind::PermissionDenied && outside {
            let why = "it lies outside the folders that the sandbox was given at the start: restart needed";
            return io::Error::new(io::ErrorKind::PermissionDenied, why);
        }
        error
    }
}

/// Does this machine have the user and the group that the configuration names?
///
/// # Errors
/// Which it has not.
pub fn check_accounts(wanted: &Process) -> io::Result<()> {
    Account::look_up(wanted).map(drop)
}

/// Gives up what the configuration says. To be called once, while no other thread runs.
///
/// # Errors
/// There is no such user or group, or it may not be taken; something is lacking that is required.
pub fn enter(wanted: &Process, paths: &Paths) -> io::Result<Sandbox> {
    let account = Account::find(wanted)?;
    if wanted.user.is_none() && accounts::is_root() {
        tracing::warn!("this is root: name a [process] user, which the server becomes once its sockets are bound");
    }
    if let Err(error) = make_state(&paths.state, account.as_ref()) {
        tracing::warn!(folder = %paths.state.display(), %error, "the state folder cannot be made");
    }
    alone(|| enter_alone(wanted, paths, account))
}

/// Gives up what starts scripts for the server: it becomes the same user, and neither it nor what it starts has more than
/// the one capability, or comes by more. Which files they reach and what they do is the user's matter. To be called once,
/// while no other thread runs.
///
/// # Errors
/// As of [`enter`].
pub fn enter_for_scripts(wanted: &Process) -> io::Result<()> {
    let account = Account::find(wanted)?;
    alone(|| {
        if wanted.sandbox == Sandboxing::Off {
            return account.map_or(Ok(()), |account| account.take(false));
        }
        let mut lacking = Vec::new();
        lacks(&mut lacking, "the bounding set of capabilities", accounts::bound_capabilities());
        account.map_or(Ok(()), |account| account.take(true))?;
        lacks(&mut lacking, "capabilities", accounts::drop_capabilities());
        lacks(&mut lacking, "no_new_privs", prctl::set_no_new_privs());
        lacking.iter().for_each(|lacking| tracing::warn!(lacking, "scripts are not held as they should be"));
        require(wanted, &lacking)
    })
}

/// Does it while the allocator has no thread of its own.
fn alone<T>(act: impl FnOnce() -> T) -> T {
    let background = background_thread::read().unwrap_or(false) && background_thread::write(false).is_ok();
    let done = act();
    if background && let Err(error) = background_thread::write(true) {
        tracing::warn!(%error, "the allocator's thread cannot be started: serving threads return memory themselves");
    }
    done
}

fn enter_alone(wanted: &Process, paths: &Paths, account: Option<Account>) -> io::Result<Sandbox> {
    let mut sandbox = Sandbox {
        user: None,
        capabilities_dropped: false,
        landlock: None,
        seccomp: false,
        lacking: Vec::new(),
        fence: None,
    };
    let boxed = wanted.sandbox != Sandboxing::Off;
    if boxed {
        let others = other_threads();
        if others > 0 {
            sandbox.lacking.push(format!("{others} threads were there before it, which only seccomp holds"));
        }
        lacks(&mut sandbox.lacking, "the bounding set of capabilities", accounts::bound_capabilities());
    }
    if let Some(account) = account {
        account.take(boxed)?;
        sandbox.user = Some(account.name);
    }
    if boxed {
        let dropped = lacks(&mut sandbox.lacking, "capabilities", accounts::drop_capabilities());
        sandbox.capabilities_dropped = dropped.is_some();
        if let Some((fence, version)) = lacks(&mut sandbox.lacking, "landlock", paths::restrict(paths)) {
            (sandbox.fence, sandbox.landlock) = (Some(fence), Some(version));
            for (since, what) in [(3, "truncation (Linux 6.2)"), (6, "signals (Linux 6.12)")] {
                if version < since {
                    sandbox.lacking.push(format!("landlock holds no {what}"));
                }
            }
        }
        sandbox.seccomp = lacks(&mut sandbox.lacking, "seccomp", calls::restrict()).is_some();
    }
    require(wanted, &sandbox.lacking)?;
    Ok(sandbox)
}

/// Nothing may be lacking where all is required.
fn require(wanted: &Process, lacking: &[String]) -> io::Result<()> {
    if wanted.sandbox != Sandboxing::Require || lacking.is_empty() {
        return Ok(());
    }
    let lacking = lacking.join("; ");
    Err(io::Error::other(format!("[process] sandbox = \"require\", and this is lacking: {lacking}")))
}

/// The value; where there is none, what is lacking and why.
fn lacks<T, E: Display>(lacking: &mut Vec<String>, what: &str, result: Result<T, E>) -> Option<T> {
    result.map_err(|error| lacking.push(format!("{what}: {error}"))).ok()
}

/// Makes the folder where it is not there, for the user that will write to it.
fn make_state(state: &Path, account: Option<&Account>) -> io::Result<()> {
    if state.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(state)?;
    account.map_or(Ok(()), |account| account.own(state))
}

/// Threads of this process beside the calling one. Where `/proc` is not mounted, none are seen.
fn other_threads() -> usize {
    fs::read_dir("/proc/self/task").map_or(0, |threads| threads.count().saturating_sub(1))
}
