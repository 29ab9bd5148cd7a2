//! `meridian check`: reads and compiles everything, serves nothing.

use std::io::{self, Write as _};
use std::process::ExitCode;

use super::arguments;
use super::report;
use crate::control::{DiskFiles, check_pair, trial};

/// Tells every problem; exit code 1 where one is an error.
#[must_use]
pub fn run(arguments: &arguments::Check) -> ExitCode {
    let mut files = DiskFiles::default();
    let checked = trial(&mut files, &arguments.config.path).and_then(|(mut loaded, _)| {
        loaded.warnings.extend(check_pair(&mut files, &loaded.parts.config)?);
        Ok(loaded)
    });
    match checked {
        Ok(loaded) => {
            report::show(&loaded.warnings);
            let config = &loaded.parts.config;
            let (zones, services, plans) = (config.zones.len(), config.services.len(), config.plans.len());
            let (endpoints, locations) = (config.endpoints.len(), loaded.parts.geo.locations().len());
            let text = format!(
                "{} is good: zones {zones}, services {services}, plans {plans}, endpoints {endpoints}, locations {locations}, warnings {}\n",
                arguments.config.path.display(),
                loaded.warnings.len()
            );
            let _ = io::stdout().write_all(text.as_bytes());
            ExitCode::SUCCESS
        }
        Err(problems) => {
            report::show(&problems);
            let errors = problems.iter().filter(|problem| problem.severity == crate::model::Severity::Error).count();
            let noun = if errors == 1 { "error" } else { "errors" };
            let _ = writeln!(io::stderr(), "{}: {errors} {noun}", arguments.config.path.display());
            ExitCode::FAILURE
        }
    }
}
