//! `meridian latency import`: a table of round trips → the running server.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, IsTerminal as _, Write as _};
use std::net::IpAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use reqwest::{Client, StatusCode};
use tokio::time::sleep;

use super::arguments::Import;
use super::report::{self, StartError, count};
use super::server;
use crate::admin::Taken;
use crate::config::closest;
use crate::control::Reported;
use crate::model::{Region, built_in_regions, find_region};

/// Sessions of one request.
const AT_ONCE: usize = 2_000;
/// Sites of one prefix in a session; what follows is another one.
const SITES: usize = 8;
/// The longest line, in octets.
const LONGEST: u64 = 1_024;
/// Wrong lines that are told, and sites that are named.
const TOLD: usize = 20;
/// How often, and how long apart, a full server is asked again.
const TRIES: usize = 120;
const PAUSE: Duration = Duration::from_millis(500);

/// Reads the whole table before any of it is sent: a table with a wrong line changes nothing.
#[must_use]
pub(super) fn run(arguments: &Import) -> ExitCode {
    report::start_log();
    report::finish(import(arguments).and_then(|text| Ok(io::stdout().write_all(text.as_bytes())?)))
}

fn import(arguments: &Import) -> Result<String, StartError> {
    let base = server::base(&arguments.config, arguments.server.as_deref())?;
    let name = arguments.file.display().to_string();
    let unread = |error: io::Error| io::Error::other(format!("{name}: {error}"));
    let mut sessions = if arguments.file == Path::new("-") {
        read(&mut io::stdin().lock(), "standard input")?
    } else {
        read(&mut BufReader::new(File::open(&arguments.file).map_err(unread)?), &name)?
    };
    if sessions.is_empty() {
        return Err(io::Error::other(format!(
            "{name} has no round trips: lines such as 203.0.113.0/24,aws/eu-central-1,23.5"
        ))
        .into());
    }
    sessions.iter_mut().for_each(|session| session.at = arguments.measured_on);
    let unknown = report::block_on(send(&base, &sessions))?;
    let text = taken_in(&sessions, &unknown);
    let strange: Vec<String> =
        unknown.iter().filter(|site| !is_region(site)).take(TOLD).map(|site| meant(site)).collect();
    if strange.is_empty() {
        return Ok(text);
    }
    io::stdout().write_all(text.as_bytes())?;
    let strange = strange.join(", ");
    Err(io::Error::other(format!(
        "{name}: no endpoint stands in a region of that name, and no cloud has one: {strange}"
    ))
    .into())
}

/// What became of them, in words.
fn taken_in(sessions: &[Reported], unknown: &BTreeSet<String>) -> String {
    let (mut prefixes, mut taken, mut left_out) = (BTreeSet::new(), 0, 0);
    for session in sessions {
        let known = session.samples.iter().filter(|(site, _)| !unknown.contains(&**site)).count();
        (taken, left_out) = (taken + known, left_out + session.samples.len() - known);
        prefixes.extend((known > 0).then_some(session.client));
    }
    let mut text = format!("{} of {} taken in", count(taken, "round trip"), count(prefixes.len(), "prefix"));
    text += if taken > 0 {
        "; the estimates are looked at now, and `meridian explain --live` shows what becomes of one\n"
    } else {
        "\n"
    };
    if left_out > 0 {
        let named: Vec<&str> = unknown.iter().take(TOLD).map(String::as_str).collect();
        let more = if unknown.len() > TOLD { ", …" } else { "" };
        let (left_out, sites) = (count(left_out, "round trip"), count(unknown.len(), "site"));
        text += &format!("{left_out} left out, to {sites} where no endpoint stands: {}{more}\n", named.join(", "));
    }
    text
}

/// The site, and which one that there is may be meant.
fn meant(site: &str) -> String {
    let regions = || built_in_regions().iter();
    let of_city = site.split_once('/').and_then(|(cloud, city)| {
        let is_city =
            |region: &&Region| region.cloud.eq_ignore_ascii_case(cloud) && region.city.eq_ignore_ascii_case(city);
        regions().find(is_city)
    });
    let names: Vec<String> = regions().map(|region| format!("{}/{}", region.cloud, region.name)).collect();
    let of_city = of_city.map(|region| format!("{}/{}", region.cloud, region.name));
    match of_city.as_deref().or_else(|| closest(site, names.iter().map(String::as_str))) {
        Some(near) => format!("{site} (did you mean {near}?)"),
        None => site.to_owned(),
    }
}

/// Is it one of those that are built in?
fn is_region(site: &str) -> bool {
    site.split_once('/').is_some_and(|(cloud, region)| find_region(cloud, region).is_some())
}

/// One session after the other; lines of one prefix that follow each other are one.
///
/// # Errors
/// Every wrong line, the first of them told.
fn read(table: &mut impl BufRead, name: &str) -> Result<Vec<Reported>, StartError> {
    let (mut sessions, mut wrong, mut is_first) = (Vec::<Reported>::new(), Vec::new(), true);
    let mut line = String::new();
    for number in 1.. {
        line.clear();
        let read = io::Read::take(&mut *table, LONGEST + 1).read_line(&mut line);
        if read.map_err(|error| io::Error::other(format!("{name}:{number}: {error}")))? == 0 {
            break;
        }
        if line.len() as u64 > LONGEST {
            return Err(io::Error::other(format!("{name}:{number}: the line is longer than {LONGEST} octets")).into());
        }
        let row = line.trim_start_matches('\u{feff}').trim();
        if row.is_empty() || row.starts_with('#') || std::mem::take(&mut is_first) && is_head(row) {
            continue;
        }
        match parse(row) {
            Ok((client, site, ms)) => match sessions.last_mut() {
                Some(last)
                    if last.client == client
                        && last.samples.len() < SITES
                        && last.samples.iter().all(|(known, _)| *known != site) =>
                {
                    last.samples.push((site, ms));
                }
                _ => sessions.push(Reported { client, samples: vec![(site, ms)], absolute: true, at: None }),
            },
            Err(why) => wrong.push(format!("{name}:{number}: {why}")),
        }
    }
    if wrong.is_empty() {
        return Ok(sessions);
    }
    let count = wrong.len();
    wrong.truncate(TOLD);
    let told = wrong.join("\n");
    Err(io::Error::other(format!("{told}\n{}: nothing was sent", report::count(count, "wrong line"))).into())
}

/// Is it one of the columns' names? A round trip that is damaged is not.
fn is_head(row: &str) -> bool {
    let is_number = |field: &str| field.trim().parse::<f32>().is_ok();
    !row.split(',').next().is_some_and(|first| first.contains(['.', ':', '/']))
        && !row.rsplit(',').next().is_some_and(is_number)
}

/// A row: the first address of the prefix, the site, and the round trip in ms.
fn parse(row: &str) -> Result<(IpAddr, Arc<str>, f32), String> {
    let mut fields = row.split(',').map(str::trim);
    let (Some(prefix), Some(site), Some(ms), None) = (fields.next(), fields.next(), fields.next(), fields.next())
    else {
        return Err("a line is PREFIX,CLOUD/REGION,MS".to_owned());
    };
    let (address, length) = match (prefix.parse::<IpNet>(), prefix.parse::<IpAddr>()) {
        (Ok(prefix), _) => (prefix.network(), prefix.prefix_len()),
        (_, Ok(address)) => (address, if address.is_ipv4() { 32 } else { 128 }),
        _ => return Err(format!("'{prefix}' is neither a prefix nor an address")),
    };
    let (address, length) = match address.to_canonical() {
        v4 if address.is_ipv6() && v4.is_ipv4() => (v4, length.saturating_sub(96)),
        other => (other, length),
    };
    let cut = if address.is_ipv4() { 24 } else { 48 };
    if length < cut {
        return Err(format!(
            "{prefix} is wider than /{cut}, and a round trip to one part of it says little of the others"
        ));
    }
    let client = IpNet::new(address, cut).map_err(|error| error.to_string())?.network();
    if !site.split_once('/').is_some_and(|(cloud, region)| !cloud.is_empty() && !region.is_empty()) {
        return Err(format!("'{site}' is no site: CLOUD/REGION, such as aws/eu-central-1"));
    }
    match ms.parse::<f32>() {
        Ok(ms) if (0.05..=10_000.0).contains(&ms) => Ok((client, site.into(), ms)),
        _ => Err(format!("'{ms}' is no round trip: 0.05 to 10000 ms")),
    }
}

/// The sites at which no endpoint stands.
async fn send(base: &str, sessions: &[Reported]) -> Result<BTreeSet<String>, StartError> {
    let client = server::client()?;
    let progress = io::stderr().is_terminal();
    let (mut unknown, mut sent) = (BTreeSet::new(), 0);
    while sent < sessions.len() {
        let end = sessions.len().min(sent + AT_ONCE);
        let taken = send_some(&client, base, &sessions[sent..end], end == sessions.len(), &mut unknown).await;
        sent += taken.map_err(|error| io::Error::other(format!("{error}{}", so_far(&sessions[..sent]))))?;
        if progress {
            eprint!("\r{} %", 100 * sent / sessions.len());
        }
    }
    if progress {
        eprintln!();
    }
    Ok(unknown)
}

/// A word on what was taken before the failure; bringing it again would count it twice.
fn so_far(taken: &[Reported]) -> String {
    let Some(last) = taken.last() else { return String::new() };
    let round_trips: usize = taken.iter().map(|session| session.samples.len()).sum();
    format!("; {} were taken before, to those of {}", count(round_trips, "round trip"), last.client)
}

/// How many of them were taken. Waits while the server is full.
async fn send_some(
    client: &Client,
    base: &str,
    sessions: &[Reported],
    last: bool,
    unknown: &mut BTreeSet<String>,
) -> Result<usize, StartError> {
    let body = serde_json::to_vec(sessions).map_err(io::Error::from)?;
    for _ in 0..TRIES {
        let request = client.post(format!("{base}/api/v1/measurements?last={last}"));
        let request = request.header("content-type", "application/json").body(body.clone());
        let (status, text) = server::reply(base, request).await?;
        if status != StatusCode::OK && status != StatusCode::SERVICE_UNAVAILABLE {
            return Err(server::refused(base, status, &text));
        }
        let taken: Taken = serde_json::from_str(&text).map_err(io::Error::from)?;
        unknown.extend(taken.unknown_sites);
        if taken.taken > 0 {
            return Ok(taken.taken);
        }
        sleep(PAUSE).await;
    }
    Err(io::Error::other(format!("{base} takes no more: it is too busy to look at what it has")).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_one_prefix_are_one_session() {
        let table = "\u{feff}ip4,site,rtt_p50\n# a remark\n203.0.113.7,aws/eu-central-1,23.5\n203.0.113.0/24, azure/westeurope ,31\n\n\
                     ::ffff:203.0.113.9,aws/eu-central-1,24\n2001:db8::1,aws/eu-central-1,9.5\n";
        let sessions = read(&mut table.as_bytes(), "t").unwrap();
        let counts: Vec<_> =
            sessions.iter().map(|session| (session.client.to_string(), session.samples.len())).collect();
        assert_eq!(counts, [("203.0.113.0".into(), 2), ("203.0.113.0".into(), 1), ("2001:db8::".into(), 1)]);
        assert!(sessions.iter().all(|session| session.absolute));
    }

    #[test]
    fn names_of_columns_are_passed_over_and_damaged_lines_are_not() {
        for head in ["ip4,site,rtt_p50\n", "# of 2026\nprefix,site,ms\n", "\nprefix, site, round trip (ms)\n"] {
            let sessions = read(&mut format!("{head}203.0.113.7,aws/eu-central-1,23.5\n").as_bytes(), "t").unwrap();
            assert_eq!(sessions.len(), 1, "{head}");
        }
        for row in ["203.0.113.0/24,aws/eu-central-1", "203.0.113.0/24,aws/eu-central-1,timeout", "2001:db8::,a/b,NaN"]
        {
            let told = read(&mut format!("{row}\n203.0.113.7,aws/eu-central-1,23.5\n").as_bytes(), "t").unwrap_err();
            assert!(
                told.to_string().contains("t:1: ") && told.to_string().contains("\n1 wrong line: nothing"),
                "{told}"
            );
        }
        assert!(read(&mut "a,b,c\na,b,c\n".as_bytes(), "t").unwrap_err().to_string().contains("t:2: "));
    }

    #[test]
    fn what_was_left_out_was_not_taken_in() {
        let session = |sites: &[&str]| {
            let samples = sites.iter().map(|&site| (site.into(), 20.0)).collect();
            Reported { client: "203.0.113.0".parse().unwrap(), samples, absolute: true, at: None }
        };
        let unknown = |sites: &[&str]| sites.iter().map(|&site| site.to_owned()).collect();
        let both = taken_in(&[session(&["aws/a", "gcp/b"]), session(&["aws/a"])], &unknown(&["gcp/b"]));
        assert!(both.starts_with("2 round trips of 1 prefix taken in; "), "{both}");
        assert!(both.ends_with("\n1 round trip left out, to 1 site where no endpoint stands: gcp/b\n"), "{both}");
        let none = taken_in(&[session(&["aws/a"])], &unknown(&["aws/a"]));
        assert!(none.starts_with("0 round trips of 0 prefixes taken in\n1 round trip left out"), "{none}");
        for (site, near) in [
            ("gcp/sydney", "gcp/australia-southeast1"),
            ("GCP/australia-southeast1", "gcp/australia-southeast1"),
            ("aws/eu-centrall-1", "aws/eu-central-1"),
        ] {
            assert_eq!(meant(site), format!("{site} (did you mean {near}?)"));
        }
        assert_eq!(meant("mars/olympus"), "mars/olympus");
    }

    #[test]
    fn every_wrong_line_is_told_with_its_number() {
        for (row, why) in [
            ("203.0.113.0/24,aws/eu-central-1", "PREFIX,CLOUD/REGION,MS"),
            ("203.0.113.0/24,aws/eu-central-1,1,2", "PREFIX,CLOUD/REGION,MS"),
            ("nobody,aws/eu-central-1,1", "neither"),
            ("203.0.0.0/16,aws/eu-central-1,1", "wider"),
            ("203.0.113.0/24,frankfurt,1", "no site"),
            ("203.0.113.0/24,aws/,1", "no site"),
            ("203.0.113.0/24,aws/eu-central-1,NaN", "no round trip"),
            ("203.0.113.0/24,aws/eu-central-1,-1", "no round trip"),
            ("203.0.113.0/24,aws/eu-central-1,1e9", "no round trip"),
        ] {
            let table = format!("#\n{row}\n");
            let told = read(&mut table.as_bytes(), "t.csv").unwrap_err().to_string();
            assert!(told.contains("t.csv:2: ") && told.contains(why), "{row}: {told}");
        }
        assert!(read(&mut vec![b'1'; 2_000].as_slice(), "t").is_err());
        assert!(read(&mut &[0xff, b'\n'][..], "t").is_err());
    }
}
