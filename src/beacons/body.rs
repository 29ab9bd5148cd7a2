//! What a POST says: one report, or a list of them.
//!
//! ```json
//! { "id": "…", "samples": [ { "site": "aws/us-east-1", "rtt_ms": 12.3 }, { "site": "gcp/us-west1", "rtt_ms": null } ] }
//! ```
//! Of agents the id may be missing, and `"kind": "absolute"` may be there. Nothing else is taken: no other key, no site twice,
//! no figure out of range. JSON has no NaN; what is too large for a number is an error, and so is what is nested deeply.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use serde::{Deserialize, Deserializer};

use super::refusal::Refusal;

/// Octets of the longest body.
pub(super) const LONGEST: usize = 16 << 10;
/// Reports of one body, and samples of one report.
pub(super) const MOST_REPORTS: usize = 16;
pub(super) const MOST_SAMPLES: usize = 16;
/// Octets of the longest name of a site: those of a cloud and of a region may have 255 each.
const LONGEST_SITE: usize = 511;
/// Round trips that are believed, in ms.
const RTT_MS: RangeInclusive<f64> = 0.05..=10_000.0;

/// One session's report, as it was sent.
#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(super) struct Report {
    pub(super) id: Option<String>,
    #[serde(default)]
    pub(super) kind: Kind,
    pub(super) samples: Vec<Sample>,
}

/// What its round trips say.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
pub(super) enum Kind {
    /// Which of these sites is nearer.
    #[default]
    Compared,
    /// How far each is.
    Absolute,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
pub(super) struct Sample {
    pub(super) site: String,
    /// None: it did not answer.
    #[serde(deserialize_with = "number_or_null")]
    pub(super) rtt_ms: Option<f64>,
}

/// As is, but the key must be there: what is forgotten is no failure.
fn number_or_null<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
    Option::deserialize(deserializer)
}

/// The reports of a body.
///
/// # Errors
/// [`Refusal::Malformed`], which says what is wrong.
pub(super) fn read(body: &[u8]) -> Result<Vec<Report>, Refusal> {
    let is_list = body.trim_ascii_start().starts_with(b"[");
    let read = if is_list { serde_json::from_slice(body) } else { serde_json::from_slice(body).map(|one| vec![one]) };
    let reports: Vec<Report> = read.map_err(|error| malformed(format!("the body is no report: {error}")))?;
    if reports.is_empty() || reports.len() > MOST_REPORTS {
        return Err(malformed(format!("a body has 1 to {MOST_REPORTS} reports, and this one {}", reports.len())));
    }
    reports.iter().try_for_each(check)?;
    Ok(reports)
}

fn check(report: &Report) -> Result<(), Refusal> {
    let count = report.samples.len();
    if count == 0 || count > MOST_SAMPLES {
        return Err(malformed(format!("a report has 1 to {MOST_SAMPLES} samples, and this one {count}")));
    }
    let mut seen = HashSet::new();
    for Sample { site, rtt_ms } in &report.samples {
        if site.len() > LONGEST_SITE || !site.contains('/') || site.chars().any(char::is_control) {
            return Err(malformed("a `site` is a cloud and a region, as in \"aws/us-east-1\"".to_owned()));
        }
        if !seen.insert(&**site) {
            return Err(malformed(format!("a report tells of each site once, and this one of '{site}' twice")));
        }
        if rtt_ms.is_some_and(|rtt_ms| !RTT_MS.contains(&rtt_ms)) {
            let (least, most) = (RTT_MS.start(), RTT_MS.end());
            return Err(malformed(format!("`rtt_ms` is null or a number from {least} to {most}")));
        }
    }
    Ok(())
}

fn malformed(text: String) -> Refusal {
    Refusal::Malformed(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is said against a body; empty: nothing.
    fn said(body: &str) -> String {
        match read(body.as_bytes()) {
            Ok(_) => String::new(),
            Err(Refusal::Malformed(text)) => text,
            Err(other) => panic!("{other:?}"),
        }
    }

    fn samples(count: usize) -> String {
        let one = |index| format!("{{\"site\": \"aws/r{index}\", \"rtt_ms\": 1}}");
        format!("{{\"samples\": [{}]}}", (0..count).map(one).collect::<Vec<_>>().join(","))
    }

    #[test]
    fn one_and_several() {
        let text = r#" {"id": "x", "samples": [{"site": "aws/us-east-1", "rtt_ms": 12.25}, {"site": "gcp/a", "rtt_ms": null}]}"#;
        let [report] = &read(text.as_bytes()).unwrap()[..] else { panic!() };
        assert_eq!((report.id.as_deref(), report.kind), (Some("x"), Kind::Compared));
        assert_eq!((report.samples[0].rtt_ms, report.samples[1].rtt_ms), (Some(12.25), None));
        let agents = r#"[{"kind": "absolute", "samples": [{"site": "a/b", "rtt_ms": 0.05}]}, {"id": null, "kind": "compared", "samples": [{"site": "a/b", "rtt_ms": 10000}]}]"#;
        let reports = read(agents.as_bytes()).unwrap();
        assert_eq!((reports.len(), reports[0].kind, &reports[1].id), (2, Kind::Absolute, &None));
        assert_eq!((said(&samples(16)), said(&format!("[{}]", vec![samples(1); 16].join(",")))), Default::default());
    }

    #[test]
    fn what_is_refused() {
        let with = |sample: &str| format!("{{\"samples\": [{sample}]}}");
        for (body, word) in [
            ("".to_owned(), "EOF"),
            ("null".to_owned(), "invalid type"),
            ("[]".to_owned(), "1 to 16 reports"),
            ("{}".to_owned(), "missing field `samples`"),
            (with(""), "1 to 16 samples"),
            (samples(17), "and this one 17"),
            (format!("[{}]", vec![samples(1); 17].join(",")), "and this one 17"),
            (with(r#"{"site": "a/b"}"#), "missing field `rtt_ms`"),
            (with(r#"{"rtt_ms": 1}"#), "missing field `site`"),
            (with(r#"{"site": "a/b", "rtt_ms": "1"}"#), "invalid type: string"),
            (with(r#"{"site": "a/b", "rtt_ms": NaN}"#), "expected value"),
            (with(r#"{"site": "a/b", "rtt_ms": 1e999}"#), "number out of range"),
            (with(r#"{"site": "a/b", "rtt_ms": -1}"#), "0.05 to 10000"),
            (with(r#"{"site": "a/b", "rtt_ms": 0}"#), "0.05 to 10000"),
            (with(r#"{"site": "a/b", "rtt_ms": 10000.1}"#), "0.05 to 10000"),
            (with(r#"{"site": "ab", "rtt_ms": 1}"#), "`site` is"),
            (with(r#"{"site": "a/b\n", "rtt_ms": 1}"#), "`site` is"),
            (with(&format!(r#"{{"site": "a/{}", "rtt_ms": 1}}"#, "b".repeat(510))), "`site` is"),
            (with(r#"{"site": "a/b", "rtt_ms": 1}, {"site": "a/b", "rtt_ms": 2}"#), "'a/b' twice"),
            (with(r#"{"site": "a/b", "rtt_ms": 1, "prefix": "192.0.2.0/24"}"#), "unknown field `prefix`"),
            (r#"{"client": "192.0.2.1", "samples": []}"#.to_owned(), "unknown field `client`"),
            (r#"{"kind": "relative", "samples": []}"#.to_owned(), "unknown variant"),
            (format!("{} {{}}", samples(1)), "trailing characters"),
            ("[".repeat(16_000), "invalid type"),
            (format!("{{\"samples\": {}", "[".repeat(16_000)), "invalid type"),
        ] {
            assert!(said(&body).contains(word), "{body:.80}: {}", said(&body));
        }
        assert!(read(b"{\"samples\": \xff}").is_err());
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(octets in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = read(&octets);
        }

        #[test]
        fn what_is_taken_is_in_bounds(body in "\\[?\\{(\"(id|kind|samples|site|rtt_ms)\": ?(\"[a-z/]{0,3}\"|-?[0-9e.]{1,4}|null|[\\[\\]{}]),? ?){0,6}[\\]}]{0,4}") {
            for report in read(body.as_bytes()).unwrap_or_default() {
                prop_assert!((1..=MOST_SAMPLES).contains(&report.samples.len()));
                prop_assert!(report.samples.iter().all(|sample| sample.rtt_ms.is_none_or(|rtt| RTT_MS.contains(&rtt))));
            }
        }
    }
}
