//! The lab's command language: a verb, whom it concerns, and for some verbs how.

use std::fmt::Write;
use std::time::Duration;

use axum::http::StatusCode;

use super::{Behaviour, StandIn};
use crate::config::{closest, glob};

/// The longest delay; beyond it a stand-in is a black hole, which has its own verb.
const LONGEST_DELAY: Duration = Duration::from_secs(60);

/// What a line asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Make these stand-ins (indices, ascending, at least one) behave so.
    Behave(Vec<usize>, Behaviour),
    /// Show what each stand-in does.
    Status,
    /// Show the commands.
    Help,
    /// End the lab.
    Quit,
}

/// The commands, as `help` prints them.
pub(super) const HELP: &str = "\
kill WHO            refuse connections: the port is closed
delay WHO TIME      answer late: 800ms, 2s, at most 1m
error WHO [CODE]    answer with an HTTP error, 503 if none is named
reset WHO           accept, then reset the connection
blackhole WHO       accept, and never answer
heal WHO            answer again
status              what each stand-in does
help                this
quit                end the lab (so does Ctrl-C)

WHO is one or more of: an endpoint (gcp-singapore), a cloud (azure), a region (aws/us-east-1),
a glob of these (gcp-*, */eu-*), or all.
";

const VERBS: [&str; 10] = ["kill", "delay", "error", "reset", "blackhole", "heal", "status", "help", "quit", "exit"];

/// Reads one line, for the stand-ins whose indices the command will hold. Has no effect by itself.
///
/// # Errors
/// What is wrong with the line, what is allowed, and what was probably meant.
pub fn parse(line: &str, stand_ins: &[StandIn]) -> Result<Command, String> {
    let mut words = line.split_whitespace();
    let Some(verb) = words.next() else {
        return Err("no command; `help` lists them".to_owned());
    };
    let words: Vec<&str> = words.collect();
    let behave = |who: &[&str], behaviour| Ok(Command::Behave(select(verb, who, stand_ins)?, behaviour));
    match verb.to_ascii_lowercase().as_str() {
        "kill" => behave(&words, Behaviour::Refuses),
        "reset" => behave(&words, Behaviour::Resets),
        "blackhole" => behave(&words, Behaviour::Swallows),
        "heal" => behave(&words, Behaviour::Answers),
        "delay" => {
            let (time, who) = words.split_last().ok_or(DELAY_USAGE)?;
            behave(who, Behaviour::Delays(parse_delay(time)?))
        }
        "error" => match words.split_last() {
            Some((code, who)) if code.bytes().all(|octet| octet.is_ascii_digit()) => {
                behave(who, Behaviour::Errs(parse_status(code)?))
            }
            _ => behave(&words, Behaviour::Errs(StatusCode::SERVICE_UNAVAILABLE)),
        },
        "status" => alone(verb, &words, Command::Status),
        "help" => alone(verb, &words, Command::Help),
        "quit" | "exit" => alone(verb, &words, Command::Quit),
        other => Err(unknown("command", verb, closest(other, VERBS), "`help` lists them")),
    }
}

const DELAY_USAGE: &str = "delay wants whom and how long: `delay azure 800ms`";

fn alone(verb: &str, words: &[&str], command: Command) -> Result<Command, String> {
    match words {
        [] => Ok(command),
        [word, ..] => Err(format!("{verb} stands alone, without {word:?}")),
    }
}

fn parse_delay(text: &str) -> Result<Duration, String> {
    let (number, unit) = text.split_at(text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len()));
    let seconds = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => return Err(format!("{text:?} is no time: write a number with ms, s or m; {DELAY_USAGE}")),
    };
    let number: f64 = number.parse().map_err(|_| format!("{text:?} is no time; {DELAY_USAGE}"))?;
    let delay = Duration::try_from_secs_f64(number * seconds).ok().filter(|delay| *delay <= LONGEST_DELAY);
    delay.ok_or_else(|| format!("{text:?} is out of range: 0ms to {LONGEST_DELAY:?}"))
}

fn parse_status(text: &str) -> Result<StatusCode, String> {
    let status = StatusCode::from_bytes(text.as_bytes()).ok();
    status
        .filter(|status| status.is_client_error() || status.is_server_error())
        .ok_or_else(|| format!("{text} is no HTTP error: 400 to 599"))
}

/// The stand-ins that the words name, ascending and each once.
fn select(verb: &str, words: &[&str], stand_ins: &[StandIn]) -> Result<Vec<usize>, String> {
    if words.is_empty() {
        return Err(format!("{verb} whom? An endpoint, a cloud, a cloud/region, a glob such as gcp-*, or all"));
    }
    let mut selected = Vec::new();
    for word in words {
        let pattern = if word.eq_ignore_ascii_case("all") { "*" } else { word };
        let found: Vec<usize> = named(pattern, stand_ins);
        if found.is_empty() {
            let names: Vec<String> = stand_ins.iter().flat_map(known_as).chain(["all".to_owned()]).collect();
            let meant = closest(word, names.iter().map(String::as_str));
            return Err(unknown("endpoint, cloud or region", word, meant, "`status` lists them"));
        }
        selected.extend(found);
    }
    selected.sort_unstable();
    selected.dedup();
    Ok(selected)
}

/// An endpoint of exactly that name, else all that the pattern fits under one of their names.
fn named(pattern: &str, stand_ins: &[StandIn]) -> Vec<usize> {
    if let Some(index) = stand_ins.iter().position(|stand_in| &*stand_in.endpoint == pattern) {
        return vec![index];
    }
    let pattern = pattern.to_ascii_lowercase();
    let fits = |stand_in: &StandIn| known_as(stand_in).iter().any(|name| glob(&pattern, name));
    (0..stand_ins.len()).filter(|&index| fits(&stand_ins[index])).collect()
}

/// What a stand-in can be called, in lower case.
fn known_as(stand_in: &StandIn) -> [String; 4] {
    let StandIn { endpoint, cloud, region, address: _ } = stand_in;
    let names = [endpoint.to_string(), cloud.to_string(), format!("{cloud}/{region}"), region.to_string()];
    names.map(|name| name.to_ascii_lowercase())
}

fn unknown(kind: &str, typed: &str, meant: Option<&str>, help: &str) -> String {
    let mut message = format!("no {kind} is called {typed:?}");
    if let Some(meant) = meant {
        let _infallible = write!(message, ": did you mean {meant}?");
    }
    message + "; " + help
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::Cloud;

    fn stand_ins() -> Vec<StandIn> {
        let rows = [
            ("aws-virginia", "aws", "us-east-1"),
            ("aws-ireland", "aws", "eu-west-1"),
            ("azure-westeurope", "azure", "westeurope"),
            ("gcp-singapore", "gcp", "asia-southeast1"),
            ("gcp-Belgium", "gcp", "europe-west1"),
        ];
        let at = "127.0.0.1:1".parse().unwrap();
        let row = |(name, cloud, region): (&str, &str, &str)| StandIn {
            endpoint: name.into(),
            cloud: Cloud::new(cloud),
            region: region.into(),
            address: at,
        };
        rows.map(row).into()
    }

    fn read(line: &str) -> Result<Command, String> {
        parse(line, &stand_ins())
    }

    fn who(line: &str) -> Vec<usize> {
        match read(line) {
            Ok(Command::Behave(who, _)) => who,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn verbs() {
        let behaves = |line: &str| match read(line) {
            Ok(Command::Behave(_, behaviour)) => behaviour,
            other => panic!("{line}: {other:?}"),
        };
        assert_eq!(behaves("kill gcp-singapore"), Behaviour::Refuses);
        assert_eq!(behaves("  KILL\taws "), Behaviour::Refuses);
        assert_eq!(behaves("delay azure 800ms"), Behaviour::Delays(Duration::from_millis(800)));
        assert_eq!(behaves("delay azure aws 1.5s"), Behaviour::Delays(Duration::from_millis(1500)));
        assert_eq!(behaves("delay azure 1m"), Behaviour::Delays(LONGEST_DELAY));
        assert_eq!(behaves("error aws/us-east-1"), Behaviour::Errs(StatusCode::SERVICE_UNAVAILABLE));
        assert_eq!(behaves("error aws 429"), Behaviour::Errs(StatusCode::TOO_MANY_REQUESTS));
        assert_eq!(behaves("reset all"), Behaviour::Resets);
        assert_eq!(behaves("blackhole all"), Behaviour::Swallows);
        assert_eq!(behaves("heal all"), Behaviour::Answers);
        assert_eq!(read("status"), Ok(Command::Status));
        assert_eq!(read("help"), Ok(Command::Help));
        assert_eq!(read("quit"), Ok(Command::Quit));
        assert_eq!(read("exit"), Ok(Command::Quit));
    }

    #[test]
    fn selectors() {
        assert_eq!(who("kill gcp-singapore"), [3]);
        assert_eq!(who("kill GCP-belgium"), [4]);
        assert_eq!(who("kill aws"), [0, 1]);
        assert_eq!(who("kill aws/us-east-1"), [0]);
        assert_eq!(who("kill us-east-1"), [0]);
        assert_eq!(who("kill */eu*"), [1, 4]);
        assert_eq!(who("kill gcp-*"), [3, 4]);
        assert_eq!(who("kill all"), [0, 1, 2, 3, 4]);
        assert_eq!(who("kill gcp aws-virginia gcp-singapore"), [0, 3, 4]);
    }

    #[test]
    fn an_endpoint_named_like_a_cloud_is_the_endpoint() {
        let mut stand_ins = stand_ins();
        stand_ins[2].endpoint = "aws".into();
        assert_eq!(parse("kill aws", &stand_ins), Ok(Command::Behave(vec![2], Behaviour::Refuses)));
    }

    #[test]
    fn mistakes_are_told_with_what_is_allowed() {
        let told = |line: &str| read(line).unwrap_err();
        assert_eq!(told(""), "no command; `help` lists them");
        assert_eq!(told("kil aws"), "no command is called \"kil\": did you mean kill?; `help` lists them");
        assert_eq!(told("frobnicate"), "no command is called \"frobnicate\"; `help` lists them");
        assert_eq!(
            told("kill gcp-singapor"),
            "no endpoint, cloud or region is called \"gcp-singapor\": did you mean gcp-singapore?; `status` lists them"
        );
        assert!(told("kill").starts_with("kill whom? An endpoint, a cloud"));
        assert!(told("error 503").starts_with("error whom?"));
        assert!(told("delay 800ms").starts_with("delay whom?"));
        assert_eq!(told("delay"), DELAY_USAGE);
        assert_eq!(told("delay azure"), format!("\"azure\" is no time: write a number with ms, s or m; {DELAY_USAGE}"));
        assert!(told("delay azure 800").contains("is no time"));
        assert!(told("delay azure .ms").contains("is no time"));
        assert_eq!(told("delay azure 2m"), "\"2m\" is out of range: 0ms to 60s");
        assert_eq!(told("delay azure -1s"), "\"-1s\" is out of range: 0ms to 60s");
        assert_eq!(told("error aws 200"), "200 is no HTTP error: 400 to 599");
        assert_eq!(told("status aws"), "status stands alone, without \"aws\"");
    }

    proptest! {
        #[test]
        fn any_line_is_read_without_panic(line in ".*") {
            let _either = read(&line);
        }

        #[test]
        fn any_argument_is_read_without_panic(
            verb in prop::sample::select(&VERBS),
            who in "[-a-z*?/ \\PC]{0,40}",
            how in "[-+.0-9a-zé]{0,12}",
        ) {
            if let Ok(Command::Behave(who, _)) = read(&format!("{verb} {who} {how}")) {
                prop_assert!(!who.is_empty() && who.is_sorted() && who.iter().all(|&index| index < 5));
            }
        }
    }
}
