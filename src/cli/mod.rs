//! Floor 5: what a command of `meridian` does, built from the floors below.

pub mod arguments;
pub mod check;
pub mod explain;
pub mod lab;
pub mod orders;
mod render;
mod report;
pub mod scripts;
pub mod serve;
mod server;

use std::process::ExitCode;

use arguments::{Arguments, Command, Force};

use crate::control::Verb;

pub use render::render;
pub use report::StartError;

/// Carries out what was typed.
#[must_use]
pub fn run(arguments: &Arguments) -> ExitCode {
    match &arguments.command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Check(arguments) => check::run(arguments),
        Command::Explain(arguments) => explain::run(arguments),
        Command::Drain(order) => orders::run(Verb::Drain, order),
        Command::Undrain(order) => orders::run(Verb::Undrain, order),
        Command::Force(Force::Up(order)) => orders::run(Verb::Up, order),
        Command::Force(Force::Down(order)) => orders::run(Verb::Down, order),
        Command::Hold(order) => orders::run(Verb::Hold, order),
        Command::Release(order) => orders::run(Verb::Release, order),
        Command::Lab(arguments) => lab::run(arguments),
        Command::Scripts(arguments) => scripts::run(arguments),
    }
}
