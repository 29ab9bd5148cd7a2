//! `meridian latency save`, `load`: the table of estimates that a running server goes by ↔ a file.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use super::arguments::Table;
use super::report::{self, StartError};
use super::server;
use crate::control::InForce;
use crate::latency::Published;

/// A server that is busy takes a table in when it has time for it, and moves one at a time.
const PATIENCE: Duration = Duration::from_secs(600);
const PATH: &str = "/api/v1/estimates";

/// The file that was there stays until the new one is whole.
#[must_use]
pub(super) fn save(arguments: &Table) -> ExitCode {
    report::start_log();
    report::finish(try_to_save(arguments))
}

/// Reads the whole table before any of it is sent.
#[must_use]
pub(super) fn load(arguments: &Table) -> ExitCode {
    report::start_log();
    report::finish(try_to_load(arguments))
}

fn try_to_save(arguments: &Table) -> Result<(), StartError> {
    let base = server::base(&arguments.config, arguments.server.as_deref())?;
    let octets = report::block_on(async {
        server::octets(&base, server::client()?.get(format!("{base}{PATH}")).timeout(PATIENCE)).await
    })?;
    let published = Published::decode(&octets)
        .map_err(|why| io::Error::other(format!("what {base} sends is no table of estimates: {why}")))?;
    if arguments.file == Path::new("-") {
        let mut stdout = io::stdout();
        return Ok(stdout.write_all(&octets).and_then(|()| stdout.flush())?);
    }
    let beside = arguments.file.with_added_extension("new");
    fs::write(&beside, &octets)
        .and_then(|()| fs::rename(&beside, &arguments.file))
        .map_err(|error| io::Error::other(format!("{}: {error}", arguments.file.display())))?;
    let (groups, prefixes) = (published.groups(), published.prefixes().count());
    println!("{}: estimates of {groups} countries and networks, {prefixes} prefixes", arguments.file.display());
    Ok(())
}

fn try_to_load(arguments: &Table) -> Result<(), StartError> {
    let base = server::base(&arguments.config, arguments.server.as_deref())?;
    let (mut octets, file) = (Vec::new(), &arguments.file);
    let (name, read) = match file == Path::new("-") {
        true => ("standard input".to_owned(), io::stdin().lock().read_to_end(&mut octets).map(drop)),
        false => (file.display().to_string(), fs::read(file).map(|read| octets = read)),
    };
    read.map_err(|error| io::Error::other(format!("{name}: {error}")))?;
    Published::decode(&octets)
        .map_err(|why| io::Error::other(format!("{name}: it is no table that `meridian latency save` wrote: {why}")))?;
    let text = report::block_on(async {
        server::text(&base, server::client()?.post(format!("{base}{PATH}")).timeout(PATIENCE).body(octets)).await
    })?;
    let InForce { generation, groups, derived_locations, decision_hash, not_kept } =
        serde_json::from_str(&text).map_err(io::Error::from)?;
    println!(
        "in force: estimates of {groups} countries and networks, {derived_locations} prefixes; generation {generation}, \
         decision_hash {decision_hash}"
    );
    match not_kept {
        None => Ok(()),
        Some(why) => {
            Err(io::Error::other(format!("it is not on disk, so a restart would begin without it: {why}")).into())
        }
    }
}
