//! How much longer clients wait than need be, by what we expect without measuring; and what that is learnt from.
//!
//! The judge draws sets of regions from a seed, lets every city choose among each set by distance, by the prior
//! (`latency::expected_ms`) and by the table of measured round trips itself, and adds up what each choice costs. All
//! tables are arguments, so that any others can be judged; none of them is part of Meridian.

#![allow(missing_docs)]

mod browser;
mod fenced;
mod fit;
mod geoip;
mod judge;
mod memory;
#[path = "../../tests/support/mmdb.rs"]
#[allow(dead_code, unused_imports, clippy::unwrap_used, reason = "it is the tests', which write databases")]
mod mmdb;
mod process;
mod report;
mod samples;
#[path = "../../tests/support/server.rs"]
#[allow(clippy::unwrap_used, reason = "it is the tests'")]
mod server;
mod tables;
mod wire;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use judge::{Case, Method, Settings};
use meridian::latency::Kind;
use meridian::model::Location;
use tables::{Directions, Measured};

/// As the server has it: `memory` counts what it takes.
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

const HELP: &str = "\
What choosing a region without measuring costs, by tables of measured round trips.

cargo bench --bench regret -- judge --rtt PATH --cities PATH --regions PATH [--leave-out CITY[,CITY]]
                                    [--directions both] [--geoip PATH] [--draws N] [--seed N] [--svg PATH]
                                    [--samples only|too [--noise PERCENT] [--kind absolute]]
cargo bench --bench regret -- wire  --rtt PATH --cities PATH --regions PATH --geoip PATH [--leave-out CITY[,CITY]]
                                    [--directions both] [--draws N] [--seed N] [--noise PERCENT] [--services N] [--tie MS]
cargo bench --bench regret -- fit --aws PATH --azure PATH --sites PATH
cargo bench --bench regret -- memory [--prefixes N] [--sites N]

  judge   sets of 3 to 8 regions of one to three clouds, and all regions of each cloud, asked for by every city
    --rtt        from city, to city, ms; one line of names above, as in all tables
    --directions there: a client's round trips are those from its city; both: the mean of those from and to it
    --cities     city, country, latitude, longitude
    --regions    cloud, region, city that stands for it
    --leave-out  cities of which nobody asks
    --geoip      and again as this database sees one prefix of each city
    --draws      sets, 2000              --seed  of their drawing, 7
    --svg        regret by share of cases, drawn into this file
    --samples    too: and with cities that measure, before and after a region has moved; only: nothing but that
    --noise      of their samples, per cent, 10
    --kind       relative: as browsers measure; absolute: as tables have it, without last mile and servers' time
  wire    the same sets as services of a real server, asked by ECS with a prefix of each city, which brings samples by HTTP
    --draws      sets, 100               --services  of one server, which share its samples, 1
    --tie        `tie` of its configuration, ms, 3
  fit     writes src/latency/data/residual.csv
    --aws --azure  round trips between their regions     --sites  cloud, region, latitude, longitude
  memory  octets and times of a store of samples, --prefixes 1000000 of which each measures --sites 3
  --help  this text";

/// What no constant was fitted on, and what was.
const ORIGIN: &str = "\
the prior: hubs, links and detours from general geography; the residual from AWS's and Azure's round trips between their
regions, believed as far as each of the two predicts the other; nothing is fitted on tables of cities, but the cities of 2018 were in sight
when 200 km were chosen, below which the residual counts less, and how bounded votes on biases are and how far upwards ways err, and had shown
that South America and Africa needed a hub that joins their networks (the largest exchange, 3,000 km around)
a client in a region's own city: 1 ms; one of whose city nothing was measured does not ask
";

/// Options of both commands that draw sets.
const OF_SETS: &[&str] = &["rtt", "directions", "cities", "regions", "leave-out", "geoip", "draws", "seed", "noise"];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let asked = |word: &str| arguments.iter().any(|argument| argument == word);
    if arguments.is_empty() || asked("--help") || asked("-h") {
        println!("{HELP}");
        return ExitCode::SUCCESS;
    }
    let done = match arguments[0].as_str() {
        "judge" => {
            let known = [OF_SETS, &["svg", "samples", "kind"]].concat();
            Options::read(&arguments[1..], &known).and_then(|options| judge(&options))
        }
        "wire" => {
            let known = [OF_SETS, &["services", "tie"]].concat();
            Options::read(&arguments[1..], &known).and_then(|options| over_the_wire(&options))
        }
        "fit" => Options::read(&arguments[1..], &["aws", "azure", "sites"]).and_then(|options| fit(&options)),
        "memory" => Options::read(&arguments[1..], &["prefixes", "sites"]).and_then(|options| {
            memory::run(options.number("prefixes", 1_000_000)? as u32, options.number("sites", 3)? as u16)
        }),
        word => Err(format!("unknown word '{word}'\n\n{HELP}")),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("regret: {message}");
            ExitCode::from(2)
        }
    }
}

/// What stands behind each `--name`.
struct Options(HashMap<String, String>);

impl Options {
    fn read(arguments: &[String], known: &[&str]) -> Result<Self, String> {
        let mut options = HashMap::new();
        for pair in arguments.chunks(2) {
            let name = pair[0].strip_prefix("--").filter(|name| known.contains(name));
            let name = name.ok_or_else(|| format!("unknown word '{}'; see --help", pair[0]))?;
            let value = pair.get(1).ok_or_else(|| format!("--{name} wants a value"))?;
            options.insert(name.to_owned(), value.clone());
        }
        Ok(Self(options))
    }

    fn path(&self, name: &str) -> Result<&Path, String> {
        self.0.get(name).map(Path::new).ok_or_else(|| format!("--{name} PATH is missing; see --help"))
    }

    fn number(&self, name: &str, default: u64) -> Result<u64, String> {
        let Some(value) = self.0.get(name) else { return Ok(default) };
        value.parse().map_err(|_| format!("--{name}: '{value}' is no number"))
    }
}

fn fit(options: &Options) -> Result<(), String> {
    let table = fit::residual(options.path("aws")?, options.path("azure")?, options.path("sites")?)?;
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src/latency/data/residual.csv"));
    std::fs::write(&path, table).map_err(|error| format!("{}: {error}", path.display()))?;
    println!("written: src/latency/data/residual.csv");
    Ok(())
}

/// The tables, and what is drawn from them, of which the head of what is printed tells.
fn given(options: &Options, draws: u64) -> Result<(Measured, Settings, String), String> {
    let rtt = options.path("rtt")?;
    let directions = match options.0.get("directions").map_or("there", String::as_str) {
        "there" => Directions::There,
        "both" => Directions::Both,
        word => return Err(format!("--directions: 'there' or 'both', not '{word}'")),
    };
    let measured = Measured::read(options.path("cities")?, rtt, options.path("regions")?, directions)?;
    let left_out = options.0.get("leave-out").map_or(Vec::new(), |names| names.split(',').map(str::to_owned).collect());
    if let Some(name) = left_out.iter().find(|name| measured.cities.iter().all(|city| city.name != **name)) {
        return Err(format!("--leave-out: there is no city '{name}'"));
    }
    let draws = options.number("draws", draws)? as usize;
    let settings = Settings { seed: options.number("seed", 7)?, draws, left_out };
    let name = rtt.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    print!(
        "{name}: {} cities less {}, {} regions; {} round trips of cities of unknown place; {draws} sets, seed {}\n{ORIGIN}",
        measured.cities.len(),
        settings.left_out.len(),
        measured.hosts.len(),
        measured.unplaced,
        settings.seed,
    );
    Ok((measured, settings, name))
}

fn over_the_wire(options: &Options) -> Result<(), String> {
    let (measured, settings, _) = given(options, 100)?;
    let wish = wire::Wish {
        database: options.path("geoip")?,
        services: options.number("services", 1)? as usize,
        noise: options.number("noise", 10)? as f64 / 100.0,
        tie_ms: options.number("tie", 3)?,
    };
    let runtime = tokio::runtime::Runtime::new().map_err(|error| error.to_string())?;
    println!("{}", runtime.block_on(wire::run(&measured, &settings, &wish))?.table());
    Ok(())
}

fn judge(options: &Options) -> Result<(), String> {
    let (measured, settings, name) = given(options, 2_000)?;
    println!("{}", report::legend());
    let true_locations: Vec<Location> = measured.cities.iter().map(judge::true_location).collect();
    let noise = options.number("noise", 10)? as f64 / 100.0;
    let kind = match options.0.get("kind").map(String::as_str) {
        None | Some("relative") => Kind::Relative,
        Some("absolute") => Kind::Absolute,
        Some(word) => return Err(format!("--kind: 'relative' or 'absolute', not '{word}'")),
    };
    let measuring = || {
        let what = match kind {
            Kind::Relative => "as browsers measure: with a last mile, and servers that take their time",
            Kind::Absolute => "as tables have them: without last mile and servers' time",
        };
        println!("samples {what}; noise: {} % as the scale of Student's t, 4 degrees of freedom", noise * 100.0);
        println!("{}", samples::run(&measured, &true_locations, &settings, noise, kind).table());
    };
    match options.0.get("samples").map(String::as_str) {
        None => {}
        Some("too") => measuring(),
        Some("only") => {
            measuring();
            return Ok(());
        }
        Some(word) => return Err(format!("--samples: 'too' or 'only', not '{word}'")),
    }
    let cases = show(&measured, &true_locations, &settings, "from the cities' own places");
    if let Some(database) = options.0.get("geoip") {
        let found = geoip::locate(Path::new(database), &measured.cities)?;
        let mut km: Vec<f32> = found.iter().flatten().map(|found| found.km as f32).collect();
        km.sort_by(f32::total_cmp);
        let far = |share| judge::quantile(&km, share).unwrap_or(0.0);
        println!(
            "one prefix a city, as the database sees it: {} of {} found, {:.0} km off in the median, {:.0} at most\n",
            km.len(),
            found.len(),
            far(0.5),
            far(1.0)
        );
        let locations = found.into_iter().map(|found| found.map_or_else(Location::default, |found| found.location));
        show(&measured, &locations.collect::<Vec<_>>(), &settings, "by the GeoIP database");
    }
    if let Some(path) = options.0.get("svg") {
        let title = format!("{name}: regret of choosing a region, by share of cases");
        std::fs::write(path, report::picture(&title, &cases)).map_err(|error| format!("{path}: {error}"))?;
    }
    Ok(())
}

/// Prints the tables of one way to see clients.
fn show(measured: &Measured, locations: &[Location], settings: &Settings, how: &str) -> Vec<Case> {
    let groups = judge::groups(locations);
    let cases = judge::cases(measured, locations, settings);
    println!("{}", report::table(&format!("sets of 3 to 8 regions of one to three clouds, {how}"), &cases, &groups));
    println!("{}", report::where_it_sits(&cases, &measured.cities, Method::Prior));
    println!("{}", report::dearest_choices(&cases, measured, Method::Prior));
    let whole = judge::whole_clouds(measured, locations, settings);
    println!("{}", report::table(&format!("all regions of one cloud, {how}"), &whole, &groups));
    println!("{}", report::dearest_choices(&whole, measured, Method::Prior));
    cases
}
