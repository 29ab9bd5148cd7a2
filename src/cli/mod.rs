//! Floor 5: what a command of `meridian` does, built from the floors below.

pub mod arguments;
pub mod check;
mod estimates;
pub mod explain;
pub mod lab;
mod latency;
pub mod orders;
mod render;
mod report;
pub mod scripts;
pub mod serve;
mod server;
pub mod status;

use std::process::ExitCode;

use arguments::{Arguments, Command, Drain, Force, Hold, Lasting, Latency};

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
        Command::Status(arguments) => status::run(arguments),
        Command::Drain(Drain { order: Lasting { order, lasting }, over }) => {
            orders::run(Verb::Drain, order, lasting.as_deref(), over.as_deref())
        }
        Command::Undrain(order) => orders::run(Verb::Undrain, order, None, None),
        Command::Force(Force::Up(Lasting { order, lasting })) => orders::run(Verb::Up, order, lasting.as_deref(), None),
        Command::Force(Force::Down(Lasting { order, lasting })) => {
            orders::run(Verb::Down, order, lasting.as_deref(), None)
        }
        Command::Hold(Hold { order, lasting }) => orders::run(Verb::Hold, order, Some(lasting), None),
        Command::Release(order) => orders::run(Verb::Release, order, None, None),
        Command::Latency(Latency::Import(arguments)) => latency::run(arguments),
        Command::Latency(Latency::Save(arguments)) => estimates::save(arguments),
        Command::Latency(Latency::Load(arguments)) => estimates::load(arguments),
        Command::Lab(arguments) => lab::run(arguments),
        Command::Scripts(arguments) => scripts::run(arguments),
    }
}
