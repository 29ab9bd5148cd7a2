//! Floor 5: what a command of `meridian` does, built from the floors below.

pub mod arguments;
pub mod check;
pub mod explain;
pub mod lab;
mod render;
mod report;
pub mod scripts;
pub mod serve;

use std::process::ExitCode;

use arguments::{Arguments, Command};

pub use render::render;
pub use report::StartError;

/// Carries out what was typed.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    match &arguments.command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Lab(arguments) => lab::run(arguments),
        Command::Scripts(arguments) => scripts::run(arguments),
    }
}
