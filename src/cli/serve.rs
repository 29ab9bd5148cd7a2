//! `meridian serve`: control plane, workers and admin in one process.

use std::future::Future;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use super::arguments;
use super::render;
use crate::admin;
use crate::answer::{self, Asker};
use crate::config::{Config, Server};
use crate::control::{Control, Options, Shared};
use crate::model::Problem;
use crate::serve::{self, Respond, TcpSettings, Transport};
use crate::table::Cells;

/// Runs until SIGTERM or SIGINT, then drains.
#[must_use]
pub fn run(arguments: &arguments::Serve) -> ExitCode {
    start_log();
    let options = Options { config: arguments.config.path.clone(), strict: arguments.strict };
    finish(block_on(async {
        let server = Running::start(options).await?;
        server.run(terminated()).await;
        Ok(())
    }))
}

/// A server that has bound its sockets and answers.
pub struct Running {
    control: Control,
    serving: serve::Serving,
    admin: Option<admin::Admin>,
}

/// Why a server did not start.
#[derive(Debug)]
pub enum StartError {
    /// The files do not pass.
    Problems(Vec<Problem>),
    /// A socket or the system refuses.
    Io(io::Error),
}

impl From<io::Error> for StartError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl Running {
    /// Loads, compiles and binds. Static names are answered from here on, steered ones from the
    /// first round of probes on.
    ///
    /// # Errors
    /// The problems of the files, or the socket that cannot be had.
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let control = Control::open(options).map_err(StartError::Problems)?;
        let (config, shared) = (control.config(), control.shared());
        let bound = serve::bind(&config.server.listen, workers(&config.server)).await?;
        let admin = admin::Admin::bind(&config.admin, shared.clone()).await?;
        let settings = TcpSettings { connections: config.server.tcp_connections, idle: config.server.tcp_idle };
        let serving = bound.serve(settings, |index| Worker::new(&shared, index))?;
        for address in serving.addresses() {
            info!(%address, "answering by UDP and TCP");
        }
        Ok(Self { control, serving, admin })
    }

    /// The DNS addresses bound.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        self.serving.addresses()
    }

    /// The admin address bound.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(admin::Admin::address)
    }

    /// What is published, and what happened.
    #[must_use]
    pub fn shared(&self) -> Arc<Shared> {
        self.control.shared()
    }

    /// The configuration that it started with.
    #[must_use]
    pub fn config(&self) -> Arc<Config> {
        self.control.config()
    }

    /// Serves until `shutdown` resolves, then answers what has arrived and stops.
    pub async fn run(self, shutdown: impl Future<Output = ()>) {
        let admin = self.admin.map(|admin| tokio::spawn(admin.run()));
        self.control.run(shutdown).await;
        info!("stopping: answering what has arrived");
        self.serving.stop().await;
        if let Some(admin) = admin {
            admin.abort();
        }
        info!("stopped");
    }
}

/// UDP threads: one per core but one, which probes and control keep.
fn workers(server: &Server) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    server.workers.unwrap_or(cores - 1).max(1)
}

/// One UDP thread's, or all TCP connections', way to the answers.
struct Worker {
    shared: Arc<Shared>,
    cells: Arc<Cells>,
    random: u64,
}

impl Worker {
    fn new(shared: &Arc<Shared>, index: usize) -> Self {
        let cells = Arc::new(Cells::single_writer());
        shared.add_cells(cells.clone());
        Self { shared: shared.clone(), cells, random: index as u64 }
    }
}

impl Respond for Worker {
    fn respond(&mut self, client: SocketAddr, transport: Transport, query: &[u8], out: &mut [u8]) -> usize {
        self.random = crate::steer::client_key(self.random, client.ip()).0;
        let transport = match transport {
            Transport::Udp => answer::Transport::Datagram,
            Transport::Tcp => answer::Transport::Stream,
        };
        let asker = Asker { address: client.ip(), transport, random: self.random };
        answer::respond(&self.shared.published.load(), &self.cells, asker, query, out)
    }
}

/// Resolves at SIGTERM or SIGINT.
pub async fn terminated() {
    let mut terminate = signal(SignalKind::terminate()).expect("the handler of SIGTERM can be installed");
    let mut interrupt = signal(SignalKind::interrupt()).expect("the handler of SIGINT can be installed");
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}

/// Log lines on standard error, `RUST_LOG` deciding which; colour only on a terminal.
pub fn start_log() {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info,hickory_resolver=error,hickory_net=error"));
    let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_target(false);
    let _ = log.with_writer(io::stderr).try_init(); // a second start in one process keeps the first log
}

/// Runs a server's future on a runtime of its own.
pub fn block_on<T>(future: impl Future<Output = Result<T, StartError>>) -> Result<T, StartError> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(future)
}

/// Tells why there was no start; the exit code.
#[must_use]
pub fn finish(result: Result<(), StartError>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(StartError::Problems(problems)) => {
            let colour = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
            let _ = io::stderr().write_all(render::problems_from_disk(&problems, colour).as_bytes());
            ExitCode::FAILURE
        }
        Err(StartError::Io(error)) => {
            error!("{error}");
            ExitCode::FAILURE
        }
    }
}
