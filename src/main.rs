//! `meridian`: arguments → command.

use std::process::ExitCode;

use clap::Parser as _;
use meridian::cli::{self, arguments::Arguments};

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    cli::run(&Arguments::parse())
}
