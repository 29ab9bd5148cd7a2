//! The command: server and stand-ins in one process.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

use super::console::{Lab, run_console, typed_lines};
use super::guide::{Guide, colour_wanted};
use super::http::serve_http;
use super::stand_in::{StandIn, listen};
use crate::cli::arguments;
use crate::cli::report::{self, StartError};
use crate::cli::serve::{Running, terminated};
use crate::config;
use crate::control::{DiskFiles, Options};

/// The endpoint to kill in the guide, if the configuration has it: the shipped one's nearest to Sydney.
const SHOWN: &str = "gcp-sydney";

/// Runs until `quit`, SIGTERM or SIGINT.
#[must_use]
pub fn run(arguments: &arguments::Lab) -> ExitCode {
    report::start_log();
    report::finish_server(report::block_on(lab(arguments)))
}

async fn lab(arguments: &arguments::Lab) -> Result<(), StartError> {
    let terminated = terminated();
    let path = arguments.config.path.clone();
    let read = config::read(&mut DiskFiles::default(), &path).map_err(StartError::Problems)?;
    let wanted: Vec<StandIn> = read.config.endpoints.iter().filter_map(StandIn::of).collect();
    if wanted.is_empty() {
        let what = format!("no endpoint of {} has a `probe_target` to stand in for", path.display());
        return Err(io::Error::other(what).into());
    }
    // The stand-ins first: the first round of probes is to find them.
    let lab = Arc::new(Lab::start(wanted).await?);
    let commands = listen(arguments.listen, "the lab's commands").await?;
    let lab_address = commands.local_addr()?;
    let server = Running::start(Options { config: path, strict: false }).await?;
    let config = server.config();
    let shown = lab.roster().iter().find(|stand_in| &*stand_in.endpoint == SHOWN).unwrap_or(&lab.roster()[0]);
    let program = std::env::args().next().unwrap_or_else(|| env!("CARGO_PKG_NAME").to_owned());
    let guide = Guide {
        dns: server.addresses()[0],
        admin: server.admin_address(),
        lab: lab_address,
        service: config.services.first().map_or("", |service| &service.label),
        endpoint: &shown.endpoint,
        program: &program,
    };
    let _ = io::stdout().write_all(guide.text(colour_wanted()).as_bytes()); // nobody reads: nothing to do
    let commands = tokio::spawn(serve_http(commands, lab.clone()));
    let (lines, terminal) = typed_lines();
    let console = async {
        let mut out = io::stdout();
        tokio::select! {
            () = run_console(&lab, lines, &mut out, terminal) => {}
            () = terminated => {}
        }
    };
    server.run(console).await;
    commands.abort();
    Ok(())
}
