//! `meridian explain`: why a client gets the answer that it gets.

use std::fmt::Write as _;
use std::io::{self, Write as _};
use std::process::ExitCode;

use super::arguments;
use super::report::{self, StartError};
use super::server;
use crate::control::{self, Contender, Counted, DiskFiles, Explanation, MeasuredBy, trial};
use crate::geo::Database;
use crate::model::{Family, Files as _};

/// Prints the explanation, as text or JSON.
#[must_use]
pub fn run(arguments: &arguments::Explain) -> ExitCode {
    report::start_log();
    let explained = match (&arguments.live, &arguments.server) {
        (Some(url), _) => live(arguments, url.as_deref()),
        (None, Some(url)) => live(arguments, Some(url)),
        (None, None) => offline(arguments),
    };
    report::finish(explained.and_then(|explanation| {
        let text = if arguments.json {
            serde_json::to_string_pretty(&explanation).map_err(io::Error::from)? + "\n"
        } else {
            in_words(&explanation)
        };
        Ok(io::stdout().write_all(text.as_bytes())?)
    }))
}

/// From the files alone, every endpoint up.
fn offline(arguments: &arguments::Explain) -> Result<Explanation, StartError> {
    let mut files = DiskFiles::default();
    let (loaded, snapshot) = trial(&mut files, &arguments.config.path).map_err(StartError::Problems)?;
    let read = |path: &std::path::PathBuf| Some(Database { path: path.clone(), bytes: files.read(path).ok()? });
    let databases: Vec<Database> = loaded.parts.config.databases.iter().filter_map(read).collect();
    let mut explanation =
        control::explain(&snapshot, &databases, arguments.client, &arguments.name, arguments.family, false);
    if let Some(samples) = control::kept_samples(&loaded.parts.config) {
        explanation.add_counts(&samples.count(arguments.client.addr()));
    }
    Ok(explanation)
}

/// From the running server.
fn live(arguments: &arguments::Explain, url: Option<&str>) -> Result<Explanation, StartError> {
    let base = server::base(&arguments.config, url)?;
    let family = if arguments.family == Family::V4 { "A" } else { "AAAA" };
    let mut url = reqwest::Url::parse(&format!("{base}/api/v1/explain")).map_err(io::Error::other)?;
    // An older server takes no length.
    let address = arguments.client.addr().to_string();
    let is_usual = control::asked_as(&address) == Ok(arguments.client);
    url.query_pairs_mut()
        .append_pair("client", &if is_usual { address } else { arguments.client.to_string() })
        .append_pair("name", &arguments.name.to_string())
        .append_pair("type", family);
    report::block_on(async {
        let text = server::text(&base, server::client()?.get(url)).await?;
        Ok(serde_json::from_str(&text).map_err(io::Error::from)?)
    })
}

fn in_words(explanation: &Explanation) -> String {
    let mut text = String::new();
    let state = if explanation.live {
        format!("running server, generation {}", explanation.generation)
    } else {
        "from the files alone: every endpoint is taken to be up, no hostname is resolved".to_owned()
    };
    let _ = writeln!(text, "{} {} for {}\n({state})\n", explanation.name, explanation.r#type, explanation.client);
    location(&mut text, explanation);
    choice(&mut text, explanation);
    answer(&mut text, explanation);
    text
}

fn location(text: &mut String, explanation: &Explanation) {
    let at = &explanation.location;
    let place = at.subdivision.as_ref().or(at.country.as_ref());
    let coordinates = at.coordinates.map(|[north, east]| format!("{north:.2} {east:.2}"));
    let asn = at.asn.map(|asn| format!("AS{asn}"));
    let words: Vec<String> = [place.cloned(), coordinates, asn, at.label.clone()].into_iter().flatten().collect();
    let words = if words.is_empty() { "not located".to_owned() } else { words.join(", ") };
    let mixed = if at.mixed { " (leaves under different fences)" } else { "" };
    let _ = writeln!(text, "location   {words}{mixed}, shared by {}", at.prefix);
    for database in &at.databases {
        let says = if database.says.is_empty() { "nothing" } else { &database.says };
        let network = database.network.as_deref().unwrap_or("no such address family");
        let _ = writeln!(text, "           {} {network}: {says}", database.file);
    }
}

fn choice(text: &mut String, explanation: &Explanation) {
    let Some(choice) = &explanation.choice else {
        let why = if explanation.answer.rcode == "REFUSED" {
            "no zone of ours holds the name"
        } else {
            "the zone alone answers"
        };
        let _ = writeln!(text, "service    none: {why}");
        return;
    };
    let fences = if choice.fences.is_empty() { "none applies".to_owned() } else { choice.fences.join(", ") };
    let _ = writeln!(text, "service    {}\nfences     {fences}\noutcome    {}\n", choice.service, choice.outcome);
    let heading = ["", "endpoint", "km", "ms", "prior", "verdict", "tier", "share", "why"].map(str::to_owned);
    let mut rows = vec![heading];
    rows.extend(choice.endpoints.iter().map(row));
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: [usize; 9] = std::array::from_fn(width);
    for [rank, name, km, ms, prior, verdict, tier, share, why] in &rows {
        let line = format!(
            "{rank:>r$}  {name:n$}  {km:>k$}  {ms:>m$}  {prior:>p$}  {verdict:v$}  {tier:t$}  {share:>s$}  {why}",
            r = widths[0],
            n = widths[1],
            k = widths[2],
            m = widths[3],
            p = widths[4],
            v = widths[5],
            t = widths[6],
            s = widths[7]
        );
        let _ = writeln!(text, "{}", line.trim_end());
    }
    text.push('\n');
    for (heading, of) in [("measured", measured as fn(&Contender) -> Option<&MeasuredBy>), ("samples", sampled)] {
        let found = choice.endpoints.iter().filter_map(|contender| Some((contender, of(contender)?)));
        for (Contender { name, .. }, MeasuredBy { of, estimate_ms, samples, newest, spread_ms }) in found {
            let _ = writeln!(
                text,
                "{heading:10} {name} by {of}: {estimate_ms:.1} ± {spread_ms:.1} ms of weight {samples:.1}, the newest of {newest:.0}"
            );
        }
    }
    for Contender { name, counted, .. } in &choice.endpoints {
        if let Some(Counted { samples, oldest, newest }) = counted {
            let _ = writeln!(text, "counted    {name}: {samples} samples of its prefix, of {oldest:.0} to {newest:.0}");
        }
    }
}

fn measured(contender: &Contender) -> Option<&MeasuredBy> {
    contender.measured.as_ref()
}

fn sampled(contender: &Contender) -> Option<&MeasuredBy> {
    contender.sampled.as_ref()
}

fn row(contender: &Contender) -> [String; 9] {
    let bias = if contender.bias_ms == 0.0 { String::new() } else { format!("{:+.0}", contender.bias_ms) };
    [
        contender.rank.map_or("-".to_owned(), |rank| rank.to_string()),
        contender.name.clone(),
        contender.distance_km.map_or("?".to_owned(), |km| format!("{km:.0}")),
        contender.distance_km.map_or("?".to_owned(), |_| format!("{:.1}{bias}", contender.estimate_ms)),
        contender.measured.as_ref().map_or(String::new(), |_| format!("{:.1}", contender.prior_ms)),
        contender.verdict.clone(),
        contender.preferred.clone().unwrap_or_default(),
        if contender.share > 0.0 { format!("{:.0} %", contender.share * 100.0) } else { String::new() },
        contender.why.clone(),
    ]
}

fn answer(text: &mut String, explanation: &Explanation) {
    let answer = &explanation.answer;
    let scope = answer.scope.map(|scope| format!(", scope /{scope}")).unwrap_or_default();
    let ttl = answer.ttl.map(|ttl| format!(", TTL {ttl} s")).unwrap_or_default();
    let _ = writeln!(text, "answer     {}{ttl}{scope}", answer.rcode);
    for record in &answer.records {
        let _ = writeln!(text, "           {record}");
    }
}
