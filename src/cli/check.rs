//! `meridian check`: reads and compiles everything, serves nothing; `--live`: and compares it with the world.

use std::io::{self, Write as _};
use std::process::ExitCode;

use super::arguments;
use super::report::{self, StartError};
use crate::control::{DiskFiles, Loaded, check_secrets, trial};
use crate::delegation::{self, Ours};
use crate::model::{Problem, Severity};
use crate::sandbox;

/// Tells every problem; exit code 1 where one is an error.
#[must_use]
pub fn run(arguments: &arguments::Check) -> ExitCode {
    let mut files = DiskFiles::default();
    let checked = trial(&mut files, &arguments.config.path).and_then(|(mut loaded, _)| {
        loaded.warnings.extend(check_secrets(&mut files, &loaded)?);
        loaded.warnings.extend(unknown_account(&loaded));
        Ok(loaded)
    });
    let loaded = match checked {
        Ok(loaded) => loaded,
        Err(problems) => return failed(arguments, &problems),
    };
    report::show(&loaded.warnings);
    let config = &loaded.parts.config;
    let (zones, services, plans) = (config.zones.len(), config.services.len(), config.plans.len());
    let (endpoints, locations) = (config.endpoints.len(), loaded.parts.geo.locations().len());
    // The last line tells of the delegations.
    let good = if arguments.live { "is good in itself" } else { "is good" };
    say(&format!(
        "{} {good}: zones {zones}, services {services}, plans {plans}, endpoints {endpoints}, locations {locations}, warnings {}",
        arguments.config.path.display(),
        loaded.warnings.len()
    ));
    if !arguments.live {
        return ExitCode::SUCCESS;
    }
    match report::block_on(live(arguments, &loaded)) {
        Ok(problems) if problems.iter().all(|problem| problem.severity == Severity::Warning) => {
            report::show(&problems);
            say(&format!("its delegations are good: zones {zones}, warnings {}", problems.len()));
            ExitCode::SUCCESS
        }
        Ok(problems) | Err(StartError::Problems(problems)) => failed(arguments, &problems),
        Err(error) => report::finish(Err(error)),
    }
}

/// What is wrong between the zones and the world.
async fn live(arguments: &arguments::Check, loaded: &Loaded) -> Result<Vec<Problem>, StartError> {
    let config = &loaded.parts.config;
    let zones = loaded.parts.zones.iter().zip(&config.zones);
    let zones = zones.map(|(zone, typed)| Ours::of(zone, &typed.file)).collect();
    let settings =
        delegation::Settings { resolver: config.resolver.clone(), parents: arguments.parents.clone(), port: 53 };
    delegation::check(zones, settings).await.map_err(|problem| StartError::Problems(vec![*problem]))
}

/// The machine that checks need not be the one that serves, so it is no error.
fn unknown_account(loaded: &Loaded) -> Option<Problem> {
    let why = sandbox::check_accounts(&loaded.parts.config.process).err()?;
    let help = "`serve` does not start on a machine without them; create them where it runs";
    Some(Problem::warning("unknown-account", &loaded.parts.file, why.to_string()).help(help))
}

fn failed(arguments: &arguments::Check, problems: &[Problem]) -> ExitCode {
    report::show(problems);
    let of = |severity| problems.iter().filter(|problem| problem.severity == severity).count();
    let mut told = report::count(of(Severity::Error), "error");
    if of(Severity::Warning) > 0 {
        told += &format!(", {}", report::count(of(Severity::Warning), "warning"));
    }
    let _ = writeln!(io::stderr(), "{}: {told}", arguments.config.path.display());
    ExitCode::FAILURE
}

fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}"); // nobody reads: nothing to do
}
