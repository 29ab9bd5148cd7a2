//! `meridian`: arguments → command.

use std::process::ExitCode;

use clap::Parser as _;
use meridian::cli::{self, arguments::Arguments};

fn main() -> ExitCode {
    cli::run(&Arguments::parse())
}
