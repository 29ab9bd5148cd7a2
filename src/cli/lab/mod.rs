//! `meridian lab`: stand-in storefronts on loopback, to be broken and healed on command.
//!
//! Each endpoint of the configuration with a `probe_target` gets a [`StandIn`]: a small HTTP server
//! at that address whose [`Behaviour`] can be switched. The real probes of the real server see it,
//! so what happens next is what would happen in production. Commands come as typed lines
//! ([`run_console`]) or by HTTP ([`router`]); both go to [`Lab::obey`], where a line is first parsed
//! without effect ([`parse`]) and then carried out.

mod command;
mod console;
mod guide;
mod http;
mod run;
mod stand_in;

pub use command::{Command, parse};
pub use console::{Lab, run_console, typed_lines};
pub use guide::{Guide, colour_wanted};
pub use http::{router, serve_http};
pub use run::run;
pub use stand_in::{Behaviour, StandIn, StandIns, listen};
