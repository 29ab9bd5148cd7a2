//! `meridian serve`: control plane, workers and admin in one process.

use std::future::Future;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tracing::{debug, info, warn};

use super::arguments;
use super::report::{self, StartError};
use crate::admin;
use crate::answer::{self, Asker, Batches};
use crate::beacons;
use crate::config::{Config, ProbeKind, Process, Sandboxing, Server, Transports};
use crate::control::{Control, First, Options, Shared};
use crate::probe::Report;
use crate::sandbox;
use crate::serve::{Bound, Certificates, Respond, Serving, TcpSettings, Transport, UdpSettings};
use crate::steer::{self, Client};
use crate::table::Cells;
use crate::wire::Batch;

/// Runs until SIGTERM or SIGINT, then drains.
#[must_use]
pub fn run(arguments: &arguments::Serve) -> ExitCode {
    report::start_log();
    let options = Options { config: arguments.config.path.clone(), strict: arguments.strict };
    report::finish_server(prepare(options).and_then(|prepared| {
        report::block_on(async {
            let terminated = terminated();
            let server = prepared.start()?;
            server.run(terminated).await;
            Ok(())
        })
    }))
}

/// All that takes privileges or the whole disk, on the main thread alone.
fn prepare(options: Options) -> Result<Prepared, StartError> {
    let mut prepared = Prepared::new(options)?;
    prepared.enter_sandbox()?;
    Ok(prepared)
}

/// A server that has read its files and holds its sockets. No thread was started yet.
pub struct Prepared {
    first: First,
    bound: Bound,
    admin: Option<TcpListener>,
    beacons: Vec<TcpListener>,
}

impl Prepared {
    /// Loads, compiles and binds.
    ///
    /// # Errors
    /// The problems of the files, or the socket that cannot be had.
    pub fn new(options: Options) -> Result<Self, StartError> {
        // Each probe in flight and each TCP connection takes a file descriptor.
        if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
            warn!(%error, "the limit on open files could not be raised");
        }
        let first = First::read(options).map_err(StartError::Problems)?;
        let bound = bind(first.config(), first.certificates())?;
        let admin = admin::Admin::bind(&first.config().admin)?;
        let beacons = beacons::bind(&first.config().beacons)?;
        Ok(Self { first, bound, admin, beacons })
    }

    /// Gives up privileges, files and system calls as `[process]` says. It holds the calling thread and
    /// those that it starts, so it comes before any other.
    ///
    /// # Errors
    /// The user cannot be had, or what is required is lacking.
    pub fn enter_sandbox(&mut self) -> Result<(), StartError> {
        let wanted = self.first.config().process.clone();
        self.start_spawner(&wanted)?;
        let mut paths = self.first.paths();
        let files = self.first.config().probes.iter().filter_map(|probe| match &probe.kind {
            ProbeKind::File(file) => Some(file.folder().to_owned()),
            _ => None,
        });
        paths.read.extend(files);
        let entered = sandbox::enter(&wanted, &paths)?;
        for lacking in &entered.lacking {
            warn!(lacking, "the sandbox is not whole");
        }
        let word = |held| if held { "on" } else { "off" };
        let (user, seccomp) = (entered.user.as_deref().unwrap_or("unchanged"), word(entered.seccomp));
        let capabilities = if entered.capabilities_dropped { "net_bind_service at most" } else { "unchanged" };
        let landlock = entered.landlock.map_or("off".to_owned(), |version| format!("ABI {version}"));
        let what = if wanted.sandbox == Sandboxing::Off { "sandbox switched off" } else { "sandbox in force" };
        info!(user, capabilities, landlock, seccomp, "{what}");
        self.first.enter(entered);
        if let Some((file, error, files)) = self.first.unreadable() {
            let file = file.display();
            warn!(%file, %error, files, "what was read at the start cannot be read any more: edits will be refused");
        }
        Ok(())
    }

    /// Scripts are started by another process, which is not held as this one.
    fn start_spawner(&mut self, wanted: &Process) -> io::Result<()> {
        if self.first.config().wants_scripts() {
            self.first.start_spawner(&std::env::current_exe()?, wanted)?;
        }
        Ok(())
    }

    /// Starts to serve; in a tokio runtime. Static names are answered from here on, steered ones from
    /// the first round of probes on.
    ///
    /// # Errors
    /// What the system or the resolver's settings refuse.
    pub fn start(self) -> Result<Running, StartError> {
        let control = Control::start(self.first).map_err(StartError::Problems)?;
        let (config, shared) = (control.config(), control.shared());
        let admin = |listener| admin::Admin::new(listener, &config.admin, shared.clone());
        let admin = self.admin.map(admin).transpose()?;
        let beacon_addresses = self.beacons.iter().map(TcpListener::local_addr).collect::<io::Result<Vec<_>>>()?;
        let settings = TcpSettings {
            connections: config.server.tcp_connections,
            client_connections: config.server.tcp_client_connections,
            client_queries: config.server.tcp_client_queries,
            client_octets: config.server.tcp_client_octets,
            idle: config.server.tcp_idle,
        };
        let serving = self.bound.serve(settings, |index| Worker::new(&shared, index))?;
        shared.set_faults(serving.faults().clone());
        for address in serving.addresses() {
            info!(%address, "answering by UDP and TCP");
        }
        for (transport, address) in serving.encrypted_addresses() {
            info!(%address, "answering by {transport}");
        }
        if let Some(admin) = &admin {
            info!(address = %admin.address(), "admin by HTTP");
        }
        for address in &beacon_addresses {
            info!(%address, "beacons by HTTP");
        }
        let beacons = match beacon_addresses.is_empty() {
            true => None,
            false => Some(beacons::start(self.beacons, &config.beacons, shared)?),
        };
        Ok(Running { control, serving, admin, _beacons: beacons, beacon_addresses })
    }
}

/// A server that has bound its sockets and answers.
pub struct Running {
    control: Control,
    serving: Serving,
    admin: Option<admin::Admin>,
    /// Ends with it.
    _beacons: Option<beacons::Serving>,
    beacon_addresses: Vec<SocketAddr>,
}

impl Running {
    /// Loads, compiles, binds and serves, in a process that stays as it is.
    ///
    /// # Errors
    /// As [`Prepared::new`] and [`Prepared::start`].
    pub async fn start(options: Options) -> Result<Self, StartError> {
        let mut prepared = Prepared::new(options)?;
        prepared.start_spawner(&Process { sandbox: Sandboxing::Off, ..Process::default() })?;
        prepared.start()
    }

    /// The DNS addresses bound.
    #[must_use]
    pub fn addresses(&self) -> &[SocketAddr] {
        self.serving.addresses()
    }

    /// The addresses of encrypted transports bound.
    #[must_use]
    pub fn encrypted_addresses(&self) -> &[(Transport, SocketAddr)] {
        self.serving.encrypted_addresses()
    }

    /// The admin address bound.
    #[must_use]
    pub fn admin_address(&self) -> Option<SocketAddr> {
        self.admin.as_ref().map(admin::Admin::address)
    }

    /// The addresses bound for beacons.
    #[must_use]
    pub fn beacon_addresses(&self) -> &[SocketAddr] {
        &self.beacon_addresses
    }

    /// What is published, and what happened.
    #[must_use]
    pub fn shared(&self) -> Arc<Shared> {
        self.control.shared()
    }

    /// Where observations of endpoints are told.
    #[must_use]
    pub fn reporter(&self) -> mpsc::Sender<Report> {
        self.control.reporter()
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

fn bind(config: &Config, certificates: &Arc<Certificates>) -> io::Result<Bound> {
    let Config { server, tls, .. } = config;
    let (receive_buffer, steer_by_cpu) = (server.receive_buffer, server.steer_by_cpu);
    let settings = UdpSettings { workers: workers(server), receive_buffer, steer_by_cpu };
    let mut bound = Bound::bind(&server.listen, settings).map_err(io::Error::other)?;
    if tls.certificate.is_some() {
        bound = bind_encrypted(bound, tls, certificates)?;
    }
    for address in bound.absent() {
        warn!(%address, "no interface of this machine has this address: nobody is answered there until one does");
    }
    debug!(fast_open = bound.fast_open(), "TCP fast open needs bit 2 of net.ipv4.tcp_fastopen");
    let granted = bound.receive_buffer()?;
    if granted < receive_buffer {
        warn!(granted, wanted = receive_buffer, "receive buffers are smaller than wanted: raise net.core.rmem_max");
    }
    Ok(bound)
}

fn bind_encrypted(bound: Bound, tls: &Transports, certificates: &Arc<Certificates>) -> io::Result<Bound> {
    let settings = |protocols: &[&str]| certificates.server_config(protocols).map(Arc::new).map_err(io::Error::other);
    let (dot, https, doq, h3) =
        (settings(&["dot"])?, settings(&["h2", "http/1.1"])?, settings(&["doq"])?, settings(&["h3"])?);
    bound
        .with_https_path(&tls.https_path)
        .with_tls(&tls.listen, dot)
        .and_then(|bound| bound.with_https(&tls.https, https))
        .and_then(|bound| bound.with_quic(Transport::Quic, &tls.quic, &doq))
        .and_then(|bound| bound.with_quic(Transport::Https3, &tls.https3, &h3))
        .map_err(io::Error::other)
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
    batches: Batches,
    random: u64,
}

impl Worker {
    fn new(shared: &Arc<Shared>, index: usize) -> Self {
        // Each worker's own, and nobody can guess it.
        let (cells, seed) = (Arc::new(Cells::default()), RandomState::new().hash_one(index));
        let batches = Batches::new(seed);
        shared.add_worker(cells.clone(), batches.traffic());
        Self { shared: shared.clone(), cells, batches, random: seed }
    }
}

impl Respond for Worker {
    fn respond(&mut self, client: SocketAddr, transport: Transport, query: &[u8], out: &mut [u8]) -> usize {
        self.random = steer::client_key(self.random, Client::Resolver(client.ip())).0;
        let transport = match transport {
            Transport::Udp => answer::Transport::Datagram,
            Transport::Tcp => answer::Transport::Stream,
            Transport::Tls => answer::Transport::Tls,
            Transport::Https | Transport::Quic | Transport::Https3 => answer::Transport::Exchange,
        };
        let asker = Asker { address: client.ip(), transport, random: self.random, now: (now() / 1_000_000) as u32 };
        answer::respond(&self.shared.published.load(), &self.cells, asker, query, out)
    }

    fn is_proxy(&mut self, source: IpAddr) -> bool {
        answer::is_proxy(&self.shared.published.load(), source)
    }

    fn respond_batch(&mut self, batch: &mut Batch) {
        // One snapshot a batch, and none while the worker waits for the next.
        self.batches.now = now();
        self.batches.respond(&self.shared.published.load(), &self.cells, batch);
    }
}

/// Microseconds of Unix time.
fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as u64)
}

/// Resolves at SIGTERM or SIGINT; from this call on, these end nothing by themselves.
///
/// # Panics
/// Outside a tokio runtime.
pub fn terminated() -> impl Future<Output = ()> {
    let mut terminate = signal(SignalKind::terminate()).expect("the handler of SIGTERM can be installed");
    let mut interrupt = signal(SignalKind::interrupt()).expect("the handler of SIGINT can be installed");
    async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    }
}
