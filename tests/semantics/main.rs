//! Zones that read like the RFCs' examples, and what is said to questions about them: whole messages, read by
//! an independent reader. A script has a question a line, `> NAME TYPE [tcp] [edns=SIZE] [class=CLASS]`, and
//! under it the reply: response code and flags, then the records of its sections.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "../support/dns.rs"]
mod dns;

mod delegations;
mod names;
mod questions;

use dns::{Ask, World, files, lines};

/// A server of these zones, each an apex and its records; SOA and NS are put before them where they are left out.
fn world(zones: &[(&str, &str)]) -> World {
    let mut config = "[geoip]\ndatabases = []\n".to_owned();
    let mut all = Vec::new();
    for (index, (apex, records)) in zones.iter().enumerate() {
        config += &format!("[[zones]]\nname = \"{apex}\"\nfile = \"{index}.zone\"\n");
        let head = "$TTL 3600\n@ SOA ns.test. host.test. 1 2 3 4 300\n@ NS ns.test.\n";
        let head = if records.contains("SOA") { "" } else { head };
        all.push((format!("{index}.zone"), format!("{head}{}", lines(records))));
    }
    all.push(("config.toml".to_owned(), config));
    World::new(files(all.iter().map(|(path, text)| (&**path, text.as_bytes()))))
}

/// The reply to each question is the one below it.
#[track_caller]
fn script(world: &World, script: &str) {
    for exchange in lines(script).split("> ").skip(1) {
        let (question, expected) = exchange.trim().split_once('\n').unwrap_or((exchange.trim(), ""));
        let mut words = question.split(' ');
        let mut ask = Ask::new(words.next().unwrap(), words.next().unwrap());
        for word in words {
            ask = match word.split_once('=') {
                None if word == "tcp" => ask.tcp(),
                Some(("edns", size)) => ask.edns(size.parse().unwrap()),
                Some(("class", class)) => ask.class(class.parse().unwrap()),
                _ => panic!("{word}"),
            };
        }
        let expected = expected.replace("{SOA}", "300 IN SOA ns.test. host.test. 1 2 3 4 300");
        assert_eq!(world.ask(&ask).to_string(), expected, "to {question}");
    }
}
