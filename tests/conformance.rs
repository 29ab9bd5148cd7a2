//! What the field's name servers agree on: the Ferret cases (dns-groot/FerretDataset, MIT), each a zone, a
//! query, and what BIND, NSD, Knot and PowerDNS answered. Right is what any group of two or more answered:
//! rcode, flags, answer and authority. Two things are left out, in which they differ by design or by setting:
//! ADDITIONAL; and the zone's own NS records beside a positive answer, which nobody needs and we do not send
//! (what BIND, NSD and Knot call minimal responses).
//!
//! The cases are not shipped: they are looked for in `$MERIDIAN_SHARED`, else `../shared`. A table of what came
//! out and every miss with its reason is printed: `cargo test --test conformance -- --nocapture`.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::read::GzDecoder;
use hickory_proto::op::{Message, MessageType, OpCode, Query};
use hickory_proto::rr::{Name, RData, Record, RecordType};
use hickory_proto::serialize::binary::BinDecodable as _;
use meridian::answer::{Asker, Transport, respond};
use meridian::control::trial;
use meridian::table::Cells;
use serde_json::Value;

/// What is compared of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Said {
    rcode: String,
    flags: String,
    answer: BTreeSet<String>,
    authority: BTreeSet<String>,
}

impl Said {
    /// From the dataset's lines.
    fn of_lines(lines: &Value) -> Option<Self> {
        let lines: Vec<&str> = lines.as_array()?.iter().filter_map(Value::as_str).collect();
        let after = |word: &str| lines.iter().find_map(|line| line.strip_prefix(word)).map(str::trim);
        let section = |head: &str| {
            let rest = lines.iter().skip_while(|line| **line != head).skip(1);
            rest.take_while(|line| !line.starts_with(';')).map(|line| plain(line)).collect()
        };
        Some(Self {
            rcode: after("rcode ")?.to_owned(),
            flags: after("flags ")?.to_owned(),
            answer: section(";ANSWER"),
            authority: section(";AUTHORITY"),
        })
    }

    /// The same as a server says it that leaves out what nobody needs.
    fn minimal(mut self, apex: &str) -> Self {
        if !self.answer.is_empty() {
            self.authority.retain(|record| !record.starts_with(&format!("{apex} ")) || !record.contains(" in ns "));
        }
        self
    }

    fn of_reply(octets: &[u8]) -> Self {
        let message = Message::from_bytes(octets).expect("our own answers can be read");
        let flags = [("QR", true), ("AA", message.metadata.authoritative), ("TC", message.metadata.truncation)];
        let flags: Vec<&str> = flags.into_iter().filter(|(_, set)| *set).map(|(name, _)| name).collect();
        let section = |records: &[Record]| records.iter().map(|record| plain(&text(record))).collect();
        Self {
            rcode: rcode(message.metadata.response_code.into()).to_owned(),
            flags: flags.join(" "),
            answer: section(&message.answers),
            authority: section(&message.authorities),
        }
    }
}

fn rcode(code: u16) -> &'static str {
    ["NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN"].get(usize::from(code)).unwrap()
}

/// A record in one form of the many: lower case, single blanks, no quotes, addresses as short as they get.
fn plain(record: &str) -> String {
    let short = |word: &str| word.parse().map_or(word.to_owned(), |address: std::net::IpAddr| address.to_string());
    let text = record.to_ascii_lowercase().replace('"', "");
    text.split_whitespace().map(short).collect::<Vec<_>>().join(" ")
}

/// The owner of the zone's SOA.
fn apex(zone: &str) -> String {
    let soa = zone.lines().find(|line| line.contains("SOA")).expect("a zone has a SOA");
    soa.split_whitespace().next().expect("and an owner").to_ascii_lowercase()
}

/// What we say to a query about a zone; an error where the zone is refused.
fn ask(zone: &str, name: &str, rtype: &str) -> Result<Said, String> {
    let apex = apex(zone);
    let config = format!("[geoip]\ndatabases = []\n[[zones]]\nname = \"{apex}\"\nfile = \"zone\"\n");
    let mut files: BTreeMap<PathBuf, Arc<[u8]>> = BTreeMap::new();
    files.insert("config.toml".into(), config.into_bytes().into());
    files.insert("zone".into(), zone.as_bytes().into());
    let (_, snapshot) = trial(&mut files, Path::new("config.toml"))
        .map_err(|problems| problems.first().map_or_else(String::new, ToString::to_string))?;
    let mut message = Message::new(1, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), rtype.parse().unwrap()));
    let query = message.to_vec().unwrap();
    let asker = Asker { address: Ipv4Addr::LOCALHOST.into(), transport: Transport::Stream, random: 0, now: 0 };
    let mut out = vec![0; 65_535];
    let length = respond(&snapshot.steering(), &Cells::default(), asker, &query, &mut out);
    Ok(Said::of_reply(&out[..length]))
}

/// A record as the dataset writes it. Of DNAME, hickory-proto does not know the data: a name.
fn text(record: &Record) -> String {
    match &record.data {
        RData::Unknown { code: RecordType::DNAME, rdata } => {
            let target = Name::from_bytes(&rdata.anything).expect("our own names can be read");
            format!("{} {} IN DNAME {target}", record.name, record.ttl)
        }
        _ => record.to_string(),
    }
}

#[derive(Default)]
struct Tally {
    right: usize,
    wrong: usize,
}

#[test]
fn answers_are_those_that_the_others_agree_on() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = std::env::var_os("MERIDIAN_SHARED").map_or(root.join("../shared"), PathBuf::from);
    let path = shared.join("data/conformance/ferret-even.jsonl.gz");
    let Ok(file) = std::fs::File::open(&path) else {
        println!("SKIPPED: no {} here; set MERIDIAN_SHARED", path.display());
        return;
    };
    let mut tallies: BTreeMap<String, Tally> = BTreeMap::new();
    for line in BufReader::new(GzDecoder::new(file)).lines() {
        let case: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let zone = case["zone"].as_str().unwrap();
        for asked in case["cases"].as_array().unwrap() {
            judge(&case["id"], zone, asked, &mut tallies);
        }
    }
    let (right, all) =
        tallies.values().fold((0, 0), |(right, all), tally| (right + tally.right, all + tally.right + tally.wrong));
    for (class, Tally { right, wrong }) in &tallies {
        println!("{class:<24} {right:>5} right, {wrong:>4} wrong");
    }
    println!("{right} of {all} right: {:.2} %", 100.0 * right as f64 / all as f64);
    assert_eq!(tallies["all four agree"].wrong, 0, "what all agree on");
    assert!(right * 1000 >= all * 998, "{right} of {all}");
}

fn judge(id: &Value, zone: &str, asked: &Value, tallies: &mut BTreeMap<String, Tally>) {
    let (name, rtype) = (asked["Query"]["Name"].as_str().unwrap(), asked["Query"]["Type"].as_str().unwrap());
    let groups: Vec<(usize, Option<Said>)> = asked["Expected Response"]
        .as_array()
        .unwrap()
        .iter()
        .map(|group| {
            let servers = group["Server/s"].as_str().unwrap().split_whitespace().count();
            (servers, Said::of_lines(&group["Response"]))
        })
        .collect();
    let most = groups.iter().map(|(servers, _)| *servers).max().unwrap();
    let class = match most {
        4 => "all four agree",
        3 => "three agree",
        2 => "two and two",
        _ => "no two agree",
    };
    if most < 2 {
        return; // nothing to be right about
    }
    let expected: Vec<Said> = groups
        .iter()
        .filter(|(servers, _)| *servers >= 2)
        .filter_map(|(_, said)| said.clone())
        .map(|said| said.minimal(&apex(zone)))
        .collect();
    let said = ask(zone, name, rtype);
    let tally = tallies.entry(class.to_owned()).or_default();
    if said.as_ref().is_ok_and(|said| expected.contains(said)) {
        tally.right += 1;
    } else {
        tally.wrong += 1;
        println!("case {id}, {class}: {name} {rtype}\n{zone}  said     {said:?}\n  expected {expected:?}\n");
    }
}
