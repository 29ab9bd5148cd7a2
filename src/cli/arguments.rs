//! The command line: what can be typed, and what it means. Reads nothing but its arguments.
//!
//! Exit codes are 0 good, 1 found wrong, 2 used wrong; the last is clap's own.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Parser, Subcommand};
use ipnet::IpNet;
use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::Offset;

use crate::config::Sandboxing;
use crate::control::asked_as;
use crate::model::{Family, Name};

const EXIT_CODES: &str = "Exit codes: 0 good, 1 found wrong, 2 used wrong.";

/// Geo-aware authoritative DNS server and traffic router
#[derive(Debug, PartialEq, Parser)]
#[command(name = "meridian", version, after_help = EXIT_CODES)]
pub struct Arguments {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands of `meridian`.
#[derive(Debug, PartialEq, Subcommand)]
pub enum Command {
    /// Answer DNS as the configuration says, and follow its edits
    #[command(after_help = "Example: meridian serve --config /etc/meridian/config.toml")]
    Serve(Serve),
    /// Read the configuration with all its files and tell every error, with its place
    #[command(after_help = "Examples: meridian check --config config.toml && systemctl reload meridian\n          \
                            meridian check --live\n          \
                            meridian check --live --parent 192.0.2.53 --parent [2001:db8::53]:5353")]
    Check(Check),
    /// Tell why a client gets the answer that it gets
    #[command(after_help = "Examples: meridian explain --client 103.86.96.1 www.shop.example\n          \
                            meridian explain --client 2001:db8::1 www.shop.example AAAA --json --live")]
    Explain(Explain),
    /// Tell how the running server and its endpoints are
    #[command(after_help = "Examples: meridian status\n          meridian status --watch")]
    Status(Status),
    /// Take an endpoint, region or cloud out of service: its clients leave it by steps
    #[command(after_help = "Examples: meridian drain azure-frankfurt --reason maintenance --for 2h\n          \
                            meridian drain azure/germanywestcentral --over 10m --dry-run")]
    Drain(Drain),
    /// Give what was drained back to its clients, by steps as after an outage
    #[command(after_help = "Example: meridian undrain azure-frankfurt")]
    Undrain(Order),
    /// Let an endpoint, region or cloud count as up or down, whatever probes say
    #[command(subcommand, after_help = "Example: meridian force down azure --reason outage --for 1h")]
    Force(Force),
    /// Let verdicts move nothing for a while; they are still seen and logged
    #[command(after_help = "Examples: meridian hold all --for 30m --reason firewall\n          \
                            meridian hold gcp --for 10m")]
    Hold(Hold),
    /// Take back what was forced or held
    #[command(after_help = "Example: meridian release azure")]
    Release(Order),
    /// Bring measured round trips to the running server
    #[command(subcommand, after_help = "Example: meridian latency import round-trips.csv")]
    Latency(Latency),
    /// Serve with stand-in storefronts on loopback that can be broken and healed on command
    #[command(after_help = "Example: meridian lab, and when it is up: kill gcp-singapore")]
    Lab(Lab),
    /// Start scripts for a server, which starts this by itself
    #[command(hide = true, after_help = "Example: meridian scripts --user=nobody, with a socket as standard input")]
    Scripts(Scripts),
}

/// `meridian serve`
#[derive(Debug, PartialEq, Args)]
pub struct Serve {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Refuse to start where the files do not pass, instead of serving the last good set
    #[arg(long)]
    pub strict: bool,
}

/// `meridian check`
#[derive(Debug, PartialEq, Args)]
pub struct Check {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Compare each zone with its delegation at the parent, too, and ask each of its name servers whether it serves it
    #[arg(long)]
    pub live: bool,
    /// Ask this server of the parent zone, instead of those that are looked up; may be given several times
    #[arg(long = "parent", value_name = "ADDRESS", requires = "live", value_parser = server)]
    pub parents: Vec<SocketAddr>,
}

/// `meridian explain`
#[derive(Debug, PartialEq, Args)]
pub struct Explain {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigFile,
    /// The client's address; with a length, as `103.86.0.0/16`, how much of it its resolver tells [default: 24 of IPv4, 56 of IPv6]
    #[arg(long, value_name = "IP[/LENGTH]", value_parser = asked_as)]
    pub client: IpNet,
    /// The name asked for
    pub name: Name,
    /// The type asked for: A or AAAA
    #[arg(value_name = "TYPE", default_value = "A", value_parser = family)]
    pub family: Family,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Ask the running server, at the configuration's admin address or at URL, instead of the files alone
    #[arg(long, value_name = "URL", num_args = 0..=1, require_equals = true, value_parser = url)]
    pub live: Option<Option<String>>,
    /// The same as --live=URL
    #[arg(long, value_name = "URL", conflicts_with = "live", value_parser = url)]
    pub server: Option<String>,
}

/// `meridian status`
#[derive(Debug, PartialEq, Args)]
pub struct Status {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Look again each second
    #[arg(long)]
    pub watch: bool,
    /// List all endpoints, also where there are many that are simply up
    #[arg(long)]
    pub all: bool,
    /// The running server, if not at the configuration's admin address
    #[arg(long, value_name = "URL", value_parser = url)]
    pub server: Option<String>,
}

/// `meridian force`
#[derive(Debug, PartialEq, Subcommand)]
pub enum Force {
    /// It counts as up
    #[command(after_help = "Example: meridian force up gcp-tokyo --for 15m")]
    Up(Lasting),
    /// It is never answered, in any mode
    #[command(after_help = "Example: meridian force down gcp-tokyo --reason prices")]
    Down(Lasting),
}

/// `meridian drain`
#[derive(Debug, PartialEq, Args)]
pub struct Drain {
    /// Of what.
    #[command(flatten)]
    pub order: Lasting,
    /// How long that takes, from 1s; without it, as long as each service says
    #[arg(long, value_name = "TIME", value_parser = span)]
    pub over: Option<String>,
}

/// An order with an end.
#[derive(Debug, PartialEq, Args)]
pub struct Lasting {
    /// Of what.
    #[command(flatten)]
    pub order: Order,
    /// For how long, such as 30m or 2h; without it, until it is taken back
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    pub lasting: Option<String>,
}

/// `meridian hold`
#[derive(Debug, PartialEq, Args)]
pub struct Hold {
    /// Of what.
    #[command(flatten)]
    pub order: Order,
    /// For how long, such as 30m or 2h
    #[arg(long = "for", value_name = "TIME", value_parser = span)]
    pub lasting: String,
}

/// An order to the running server.
#[derive(Debug, PartialEq, Args)]
pub struct Order {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigFile,
    /// An endpoint, a cloud, a region, or CLOUD/REGION; `hold` and `release` take a service or `all`, too
    pub target: String,
    /// Why, for those who look later
    #[arg(long, value_name = "TEXT", default_value = "")]
    pub reason: String,
    /// Who orders it; without it, who is logged in
    #[arg(long, value_name = "NAME")]
    pub author: Option<String>,
    /// Do it although clients lose their last endpoint, or get one that is down, or too little capacity is left
    #[arg(long)]
    pub accept_impact: bool,
    /// Tell what it would come to, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// The running server, if not at the configuration's admin address
    #[arg(long, value_name = "URL", value_parser = url)]
    pub server: Option<String>,
}

/// `meridian latency`
#[derive(Debug, PartialEq, Subcommand)]
pub enum Latency {
    /// Bring a table of round trips: lines of PREFIX,CLOUD/REGION,MS
    #[command(
        after_help = "Example: meridian latency import round-trips.csv, where that file has lines such as\n           \
                            203.0.113.0/24,aws/eu-central-1,23.5\n\n\
                            A round trip counts for the /24 (IPv4) or /48 (IPv6) around its prefix, as one sample\n\
                            as old as --measured-on says, or new; lines that begin with #, and a first one of names, are\n\
                            passed over. The more samples a prefix has, and the more alike they are, the less is left of\n\
                            what is expected without them."
    )]
    Import(Import),
    /// Write the table of estimates that the running server goes by
    #[command(
        after_help = "Example: meridian latency save estimates --server http://10.0.0.5:8053, and on another server\n         \
                            meridian latency load estimates\n\n\
                            So the two decide alike, and a server that is new need not learn anew. To keep them alike, take\n\
                            beacons at one of them, and do this every minute."
    )]
    Save(Table),
    /// Have the running server go by a table that `save` wrote
    #[command(after_help = "Example: meridian latency load estimates\n\n\
                            It is in force once the command ends, and outlasts a restart. Samples that the server takes itself correct it\n\
                            from then on. Orders of endpoints change by it, fences never.")]
    Load(Table),
}

/// `meridian latency save` and `load`
#[derive(Debug, PartialEq, Args)]
pub struct Table {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigFile,
    /// The table; - for standard output or input
    pub file: PathBuf,
    /// The running server, if not at the configuration's admin address
    #[arg(long, value_name = "URL", value_parser = url)]
    pub server: Option<String>,
}

/// `meridian latency import`
#[derive(Debug, PartialEq, Args)]
pub struct Import {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigFile,
    /// The table; - for standard input
    pub file: PathBuf,
    /// When it was measured, as 2026-11-24 or 2026-11-24T10:00:00Z, if not just now: old samples weigh less
    #[arg(long, value_name = "DATE", value_parser = past)]
    pub measured_on: Option<Timestamp>,
    /// The running server, if not at the configuration's admin address
    #[arg(long, value_name = "URL", value_parser = url)]
    pub server: Option<String>,
}

/// `meridian lab`
#[derive(Debug, PartialEq, Args)]
pub struct Lab {
    /// Which configuration.
    #[command(flatten)]
    pub config: ConfigFile,
    /// Take commands by HTTP at this loopback address, besides typed ones
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8054", value_parser = loopback)]
    pub listen: SocketAddr,
}

/// `meridian scripts`
#[derive(Debug, PartialEq, Args)]
pub struct Scripts {
    /// Become this user
    #[arg(long)]
    pub user: Option<String>,
    /// In this group
    #[arg(long)]
    pub group: Option<String>,
    /// Give up capabilities, as `process.sandbox` has it
    #[arg(
        long,
        default_value = "on",
        value_parser = PossibleValuesParser::new(["on", "off", "require"]).map(|word| sandboxing(&word))
    )]
    pub sandbox: Sandboxing,
}

/// `--config`, which every command has.
#[derive(Debug, PartialEq, Args)]
pub struct ConfigFile {
    /// The configuration file
    #[arg(long = "config", value_name = "FILE", default_value = "config.toml")]
    pub path: PathBuf,
}

fn span(text: &str) -> Result<String, String> {
    let is_one = crate::config::duration(text).is_some();
    is_one
        .then(|| text.to_owned())
        .ok_or_else(|| "write a whole number with its unit, such as 90s, 30m or 2h".to_owned())
}

fn family(name: &str) -> Result<Family, String> {
    match name.to_ascii_uppercase().as_str() {
        "A" => Ok(Family::V4),
        "AAAA" => Ok(Family::V6),
        _ if name.starts_with("http") => Err(format!("it is A or AAAA; a server is named by --live={name}")),
        _ => Err("it is A or AAAA: addresses alone are steered".to_owned()),
    }
}

fn sandboxing(word: &str) -> Sandboxing {
    let others = [Sandboxing::Off, Sandboxing::Require];
    others.into_iter().find(|known| known.as_str() == word).unwrap_or_default()
}

fn url(text: &str) -> Result<String, String> {
    match text.strip_prefix("http://") {
        Some(rest) if !rest.is_empty() => Ok(text.trim_end_matches('/').to_owned()),
        _ => Err("write http:// and an address, such as http://127.0.0.1:8053".to_owned()),
    }
}

/// A day, at its noon, or a time.
fn past(text: &str) -> Result<Timestamp, String> {
    let now = Timestamp::now();
    let noon = |day: Date| -> Option<Timestamp> {
        let noon = Offset::UTC.to_timestamp(day.at(12, 0, 0, 0)).ok()?;
        Some(if Offset::UTC.to_datetime(now).date() == day { now.min(noon) } else { noon })
    };
    // A longer one would be a time, of which the zone is not known.
    let day = || Some(text).filter(|text| text.len() == "2026-11-24".len())?.parse().ok();
    let at = text.parse().ok().or_else(|| noon(day()?));
    match at {
        Some(at) if at <= now => Ok(at),
        Some(_) => Err("that lies ahead".to_owned()),
        None => Err("write a day or a time, such as 2026-11-24 or 2026-11-24T10:00:00Z".to_owned()),
    }
}

/// A DNS server; port 53 where none is said.
fn server(text: &str) -> Result<SocketAddr, String> {
    let alone = || text.parse().ok().map(|address| SocketAddr::new(address, 53));
    let server = text.parse().ok().or_else(alone);
    server
        .ok_or_else(|| "write an address, with a port or without, such as 192.0.2.53 or [2001:db8::53]:5353".to_owned())
}

fn loopback(text: &str) -> Result<SocketAddr, String> {
    let address: SocketAddr =
        text.parse().map_err(|_| "write an address and a port, such as 127.0.0.1:8054".to_owned())?;
    let harmless = address.ip().is_loopback();
    harmless.then_some(address).ok_or_else(|| "whoever can send commands can break the lab: only loopback".to_owned())
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;
    use clap::error::ErrorKind;

    use super::*;

    fn parse(line: &str) -> Result<Command, clap::Error> {
        let words = ["meridian"].into_iter().chain(line.split_whitespace());
        Arguments::try_parse_from(words).map(|arguments| arguments.command)
    }

    fn config(path: &str) -> ConfigFile {
        ConfigFile { path: path.into() }
    }

    fn explain(line: &str) -> Explain {
        match parse(line) {
            Ok(Command::Explain(explain)) => explain,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn the_definition_is_sound() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn every_command_has_defaults() {
        let serve = |path, strict| Command::Serve(Serve { config: config(path), strict });
        assert_eq!(parse("serve").unwrap(), serve("config.toml", false));
        assert_eq!(parse("serve --strict --config b.toml").unwrap(), serve("b.toml", true));
        let check = |live, parents| Command::Check(Check { config: config("config.toml"), live, parents });
        assert_eq!(parse("check").unwrap(), check(false, vec![]));
        let parents = ["192.0.2.53:53", "[2001:db8::53]:53", "[::1]:5353"].map(|server| server.parse().unwrap());
        let line = "check --live --parent 192.0.2.53 --parent 2001:db8::53 --parent [::1]:5353";
        assert_eq!(parse(line).unwrap(), check(true, parents.into()));
        let listen = "127.0.0.1:8054".parse().unwrap();
        assert_eq!(parse("lab").unwrap(), Command::Lab(Lab { config: config("config.toml"), listen }));
        let (user, sandbox) = (Some("nobody".to_owned()), Sandboxing::Require);
        let scripts = Command::Scripts(Scripts { user, group: None, sandbox });
        assert_eq!(parse("scripts --user=nobody --sandbox require").unwrap(), scripts);
    }

    #[test]
    fn times_are_past() {
        assert_eq!(past("2026-11-24").unwrap().to_string(), "2026-11-24T12:00:00Z");
        assert_eq!(past("2026-11-24T10:00:00+01:00").unwrap().to_string(), "2026-11-24T09:00:00Z");
        let today = Offset::UTC.to_datetime(Timestamp::now()).date().to_string();
        assert!(past(&today).unwrap() <= Timestamp::now());
        assert!(past("9000-01-01").unwrap_err().contains("ahead"));
        assert!(
            ["24.11.2026", "2026-11-24T10:00:00", "yesterday", ""]
                .iter()
                .all(|text| past(text).unwrap_err().contains("such as"))
        );
    }

    #[test]
    fn explain_reads_names_types_and_where_to_ask() {
        let plain = explain("explain --client 103.86.96.1 www.shop.example");
        let expected = Explain {
            config: config("config.toml"),
            client: "103.86.96.1/24".parse().unwrap(),
            name: "www.shop.example".parse().unwrap(),
            family: Family::V4,
            json: false,
            live: None,
            server: None,
        };
        assert_eq!(plain, expected);
        let full = explain("explain --live --client 2001:db8::1 www.shop.example aaaa --json");
        assert_eq!((full.family, full.json, full.live), (Family::V6, true, Some(None)));
        let at = explain("explain --live=http://[::1]:8053/ --client 192.0.2.1 www.shop.example");
        assert_eq!(at.live, Some(Some("http://[::1]:8053".to_owned())));
    }

    #[test]
    fn wrong_use_exits_2_and_says_what_is_right() {
        for (line, hint) in [
            ("", "Usage: meridian <COMMAND>"),
            ("serv", "serve"),
            ("serve --stric", "--strict"),
            ("check --parent 192.0.2.53", "--live"),
            ("check --live --parent ns1", "write an address"),
            ("explain www.shop.example", "--client <IP[/LENGTH]>"),
            ("explain --client 192.0.2 www.shop.example", "write an address such as"),
            ("explain --client 192.0.2.1/64 www.shop.example", "/64 is too long for 192.0.2.1"),
            ("explain --client ::ffff:192.0.2.1/0 www.shop.example", "/0 tells nothing"),
            ("explain --client 192.0.2.1 www..example", "www..example"),
            ("explain --client 192.0.2.1 www.shop.example MX", "it is A or AAAA"),
            ("explain --client 192.0.2.1 www.shop.example --live http://[::1]:8053", "--live=http://[::1]:8053"),
            ("hold gcp", "--for <TIME>"),
            ("explain --live=8053 --client 192.0.2.1 www.shop.example", "write http://"),
            ("drain", "<TARGET>"),
            ("force a", "unrecognized subcommand"),
            ("drain a --server 127.0.0.1:8053", "write http://"),
            ("lab --listen 0.0.0.0:8054", "only loopback"),
            ("lab --listen 8054", "an address and a port"),
        ] {
            let error = parse(line).unwrap_err();
            assert_eq!(error.exit_code(), 2, "{line}");
            assert!(error.to_string().contains(hint), "{line}: {error}");
        }
    }

    #[test]
    fn every_help_has_an_example_that_parses_and_exits_0() {
        for command in Arguments::command().get_subcommands() {
            let error = parse(&format!("{} --help", command.get_name())).unwrap_err();
            assert_eq!((error.kind(), error.exit_code()), (ErrorKind::DisplayHelp, 0));
            let help = error.to_string();
            let (_, examples) = help.split_once("Example").unwrap_or_else(|| panic!("{help}"));
            let examples: Vec<&str> = examples.split(" meridian ").skip(1).collect();
            assert!(!examples.is_empty(), "{help}");
            for example in examples {
                let typed = example.split([',', '&', '\n']).next().unwrap();
                assert!(parse(typed).is_ok(), "{typed}");
            }
        }
    }
}
