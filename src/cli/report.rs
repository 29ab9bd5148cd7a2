//! How commands tell what they find: log, diagnostics, exit codes.

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::io::{self, IsTerminal as _, Write as _};
use std::process::ExitCode;
use std::time::Duration;

use tracing::error;

use super::render::render;
use crate::control::DiskFiles;
use crate::model::{Problem, Severity};

/// What still runs at the end, which is a write that waits for another, has so long.
const LAST_WORK: Duration = Duration::from_secs(30);

/// Why a command did not do its work.
#[derive(Debug)]
pub enum StartError {
    /// The files do not pass.
    Problems(Vec<Problem>),
    /// A socket or the system refuses.
    Io(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Problems(problems) => write!(f, "{} problems with the configuration", problems.len()),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Log lines on standard error, `RUST_LOG` deciding which; colour only on a terminal.
pub(crate) fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,hickory_resolver=error,hickory_net=error"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour_wanted()).with_target(false);
    let _ = log.with_writer(io::stderr).try_init(); // a second start in one process keeps the first log
}

/// Runs a command's future on a runtime of its own.
///
/// # Errors
/// The future's own, or that there is no runtime to be had.
pub(crate) fn block_on<T>(future: impl Future<Output = Result<T, StartError>>) -> Result<T, StartError> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(future);
    runtime.shutdown_timeout(LAST_WORK);
    result
}

/// Tells why a command did not do its work; the exit code.
#[must_use]
pub(crate) fn finish(result: Result<(), StartError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(StartError::Problems(problems)) => {
            show(&problems);
            ExitCode::FAILURE
        }
        Err(StartError::Io(error)) => {
            error!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// The same of a server that has not started: the last line says so, where problems may fill a screen.
#[must_use]
pub(crate) fn finish_server(result: Result<(), StartError>) -> ExitCode {
    let last = result.as_ref().err().map(not_started);
    let code = finish(result);
    if let Some(last) = last {
        let _ = writeln!(io::stderr(), "{last}"); // nobody reads: nothing to do
    }
    code
}

fn not_started(why: &StartError) -> String {
    let StartError::Problems(problems) = why else { return "meridian: not started".to_owned() };
    let errors = problems.iter().filter(|problem| problem.severity == Severity::Error);
    let (count, files) = (errors.clone().count(), errors.map(|problem| &problem.file).collect::<BTreeSet<_>>());
    let problems = self::count(count, "problem");
    match files.first() {
        Some(only) if files.len() == 1 => format!("meridian: not started: {problems} in {}", only.display()),
        _ => format!("meridian: not started: {problems} in {} files", files.len()),
    }
}

/// So many of them.
pub(crate) fn count(number: usize, noun: &str) -> String {
    match number {
        1 => format!("1 {noun}"),
        _ if noun.ends_with('x') => format!("{number} {noun}es"),
        _ => format!("{number} {noun}s"),
    }
}

/// Shows problems on standard error, with the lines that they speak of.
pub(crate) fn show(problems: &[Problem]) {
    let text = render(problems, &mut DiskFiles::default(), colour_wanted());
    let _ = io::stderr().write_all(text.as_bytes()); // nobody reads: nothing to do
}

fn colour_wanted() -> bool {
    io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_last_line_counts_what_keeps_it_from_starting() {
        let error = |file: &str| Problem::error("syntax", Path::new(file), "no good");
        let mut problems = vec![error("config.toml"), Problem::warning("old", Path::new("a.zone"), "old")];
        let said = |problems: &[Problem]| not_started(&StartError::Problems(problems.to_vec()));
        assert_eq!(said(&problems), "meridian: not started: 1 problem in config.toml");
        problems.push(error("config.toml"));
        assert_eq!(said(&problems), "meridian: not started: 2 problems in config.toml");
        problems.push(error("a.zone"));
        assert_eq!(said(&problems), "meridian: not started: 3 problems in 2 files");
        assert_eq!(not_started(&io::Error::other("taken").into()), "meridian: not started");
    }
}
