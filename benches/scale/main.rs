//! What a large configuration costs: 100,000 steered names over 1,000 plans of 10 endpoints out of
//! 10,000 with the city database, and a million static records in 100,000 zones; each beside a tenth
//! of it, so that what grows faster than its input shows.
//!
//! The set of files is made up from a fixed seed in a temporary folder. Start, memory and reload are
//! those of the real program, pinned to one core; what a verdict and a look-up cost is measured in
//! this process.

#![allow(missing_docs)]

mod far;
mod figures;
mod generate;
mod inside;
mod probing;
mod server;

use std::process::ExitCode;

use figures::{Figure, Size, Table};
use generate::{Static, Steered};

const HELP: &str = "\
What a large configuration costs to start, hold, change and ask.

cargo bench --bench scale -- [steered] [static] [config] [probing] [--tenth] [--full]

  steered   100,000 names over 1,000 plans of 10 endpoints out of 10,000
  static    1,000,000 records in 100,000 zones
  config    reading the steered configuration alone, in this process
  probing   10,000 fresh tcp probes a second, over a network (root, two cores) and over loopback; 1,000 fresh
            https; 10,000 http on kept connections
  --tenth   only a tenth of the size        --full   only the full size
  --help    this text

Without words: steered and static, at a tenth and in full. MERIDIAN names another program to measure.
Example: cargo bench --bench scale -- steered --tenth";

/// What to measure.
struct Wanted {
    words: Vec<&'static str>,
    sizes: Vec<Size>,
}

fn main() -> ExitCode {
    let wanted = match read_arguments(std::env::args().skip(1)) {
        Ok(Some(wanted)) => wanted,
        Ok(None) => {
            println!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(word) => {
            eprintln!("scale: unknown word '{word}'\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime starts");
    runtime.block_on(async {
        // An interrupt ends the program under measurement and takes the folder away as well.
        tokio::select! {
            done = tokio::task::spawn_blocking(move || measure(&wanted)) => match done {
                Ok(()) => ExitCode::SUCCESS,
                Err(_) => ExitCode::FAILURE, // its message has been printed
            },
            () = stopped() => {
                server::clean_up();
                std::process::exit(130);
            }
        }
    })
}

async fn stopped() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).expect("the handler of SIGTERM can be installed");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}

fn read_arguments(arguments: impl Iterator<Item = String>) -> Result<Option<Wanted>, String> {
    let (mut words, mut sizes) = (Vec::new(), vec![Size::Tenth, Size::Full]);
    for argument in arguments {
        match argument.as_str() {
            "--help" | "-h" => return Ok(None),
            "--bench" => {} // cargo says so
            "--tenth" => sizes = vec![Size::Tenth],
            "--full" => sizes = vec![Size::Full],
            "steered" => words.push("steered"),
            "static" => words.push("static"),
            "config" => words.push("config"),
            "probing" => words.push("probing"),
            _ => return Err(argument),
        }
    }
    if words.is_empty() {
        words = vec!["steered", "static"];
    }
    Ok(Some(Wanted { words, sizes }))
}

fn measure(wanted: &Wanted) {
    for word in &wanted.words {
        let mut table = Table::new(word);
        for &size in &wanted.sizes {
            let figures = match *word {
                "steered" => steered(size),
                "static" => statics(size),
                "probing" => probing::measure(size),
                _ => inside::config(&Steered::of(size)),
            };
            table.add(size, figures);
        }
        println!("{table}");
    }
}

fn steered(size: Size) -> Vec<Figure> {
    let set = Steered::of(size);
    let folder = server::Folder::new("steered");
    set.write(folder.path());
    let mut figures = server::measure(&folder, &set.question(), |folder| set.edit(folder));
    figures.extend(inside::verdicts(&folder.path().join("config.toml")));
    figures
}

fn statics(size: Size) -> Vec<Figure> {
    let set = Static::of(size);
    let folder = server::Folder::new("static");
    Static::EMPTY.write(folder.path());
    let empty = server::steady_bytes(&folder, &Static::EMPTY.question());
    set.write(folder.path());
    let mut figures = server::measure(&folder, &set.question(), |folder| set.edit(folder));
    figures::per_record(&mut figures, empty, set.records());
    figures.extend(inside::lookups(&folder.path().join("config.toml"), &set));
    figures
}
