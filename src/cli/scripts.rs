//! `meridian scripts`: starts scripts for the server at the other end of its standard input.

use std::io;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use super::arguments;
use super::report::{self, StartError};
use crate::config::Process;
use crate::probe::serve_scripts;
use crate::sandbox;

/// Runs until the server ends.
#[must_use]
pub fn run(arguments: &arguments::Scripts) -> ExitCode {
    report::start_log();
    report::finish(serve(arguments).map_err(StartError::from))
}

fn serve(arguments: &arguments::Scripts) -> io::Result<()> {
    let boxed = |name: &Option<String>| name.as_deref().map(Into::into);
    let (user, group) = (boxed(&arguments.user), boxed(&arguments.group));
    sandbox::enter_for_scripts(&Process { user, group, sandbox: arguments.sandbox, scripts: true })?;
    let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(serve_scripts(socket))
}
