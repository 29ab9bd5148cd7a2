//! Resolves hostname endpoints (BEHAVIOUR rule 26).
//!
//! One task per hostname asks for A and AAAA whenever the answers' TTL ends, and again soon while
//! that fails. The client is made anew each time: it costs little beside the queries, keeps no
//! cache between us and the servers, and follows `/etc/resolv.conf` when that changes.
//! [`Memory`] decides, without a clock, what is known of the hostname.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ServerOrderingStrategy,
};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::rr::{self, RData, RecordType};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::memory::{Answer, MAX_TTL, Memory, RETRY};
use crate::config::{self, is_private};
use crate::model::{Addresses, Endpoint, Family, Name, Problem};

/// What a hostname endpoint's hostname resolves to from now on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// The endpoint's name.
    pub endpoint: Arc<str>,
    /// Its addresses, sorted, IPv4 first; empty: it does not resolve, and `keep_for` is over.
    pub addresses: Vec<IpAddr>,
    /// Answers that hold these addresses may not be kept longer than this.
    pub ttl: Duration,
    /// Why it does not resolve now, so that there are no addresses or some are of earlier; none: it does.
    pub problem: Option<String>,
}

/// Resolves hostname endpoints and sends a [`Resolved`] for each when it is first known and when it
/// changes. Dropping it stops all of it.
pub struct Resolver {
    changes: mpsc::Sender<Resolved>,
    settings: watch::Sender<Arc<config::Resolver>>,
    tasks: BTreeMap<Arc<str>, Running>,
}

/// A task, stopped when dropped.
struct Running {
    hostname: Name,
    task: JoinHandle<()>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Resolver {
    /// Without endpoints. While `changes` is full, the hostnames that changed wait; when it is
    /// closed they are resolved no more.
    #[must_use]
    pub fn new(settings: &config::Resolver, changes: mpsc::Sender<Resolved>) -> Self {
        Self { changes, settings: watch::Sender::new(Arc::new(settings.clone())), tasks: BTreeMap::new() }
    }

    /// Resolves the hostnames of exactly these endpoints from now on. What is known of those that
    /// stay is kept, also when the settings change; they are then asked for again at once.
    ///
    /// # Errors
    /// There are hostnames to resolve, `servers` is empty and `/etc/resolv.conf` names none. Nothing
    /// has changed then.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub fn reconfigure(&mut self, settings: &config::Resolver, endpoints: &[Endpoint]) -> Result<(), Box<Problem>> {
        let hostnames: Vec<_> = endpoints.iter().filter_map(hostname_of).collect();
        if !hostnames.is_empty() {
            resolver_client(settings)?;
        }
        self.settings.send_if_modified(|old| {
            let differ = **old != *settings;
            if differ {
                *old = Arc::new(settings.clone());
            }
            differ
        });
        let mut old = std::mem::take(&mut self.tasks);
        for (endpoint, hostname) in hostnames {
            let kept = old.remove(endpoint).filter(|running| running.hostname == *hostname);
            let running = kept.unwrap_or_else(|| self.start(endpoint.clone(), hostname.clone()));
            self.tasks.insert(endpoint.clone(), running);
        }
        Ok(())
    }

    fn start(&self, endpoint: Arc<str>, hostname: Name) -> Running {
        let task = run(endpoint, hostname.clone(), self.settings.subscribe(), self.changes.clone());
        Running { hostname, task: tokio::spawn(task) }
    }
}

fn hostname_of(endpoint: &Endpoint) -> Option<(&Arc<str>, &Name)> {
    match &endpoint.addresses {
        Addresses::Hostname(hostname) => Some((&endpoint.name, hostname)),
        Addresses::Fixed(_) => None,
    }
}

/// What asks the servers of `[resolver]`, or those of the system. It caches nothing.
///
/// # Errors
/// `servers` is empty and `/etc/resolv.conf` names none.
pub fn resolver_client(settings: &config::Resolver) -> Result<TokioResolver, Box<Problem>> {
    client(settings).map_err(|error| {
        let text = format!("there is nobody to resolve hostnames: {error}");
        let problem = Problem::error("no-resolver", Path::new("/etc/resolv.conf"), text);
        Box::new(problem.help("name recursive servers in [resolver] servers"))
    })
}

/// The task of one hostname, until the channel of changes is closed.
async fn run(
    endpoint: Arc<str>,
    hostname: Name,
    mut settings: watch::Receiver<Arc<config::Resolver>>,
    changes: mpsc::Sender<Resolved>,
) {
    let mut memory = Memory::default();
    let mut sent = None;
    let mut logged = None;
    loop {
        let now_set = settings.borrow_and_update().clone();
        let answers = resolve(&now_set, &hostname).await;
        let problem = problem_of(&answers);
        let now: Vec<IpAddr> = answers.iter().flatten().flat_map(|answer| answer.addresses.clone()).collect();
        let known = memory.observe(Instant::now().into_std(), answers, now_set.keep_for);
        match &problem {
            Some(why) if problem != logged => {
                tracing::warn!(%endpoint, %hostname, kept = ?known.addresses, why, "hostname does not resolve");
            }
            None if logged.is_some() => tracing::info!(%endpoint, %hostname, "hostname resolves again"),
            _ => {}
        }
        logged.clone_from(&problem);
        let is_of_now = !known.addresses.is_empty() && known.addresses.iter().all(|address| now.contains(address));
        let problem = problem.filter(|_| !is_of_now);
        let now = Resolved { endpoint: endpoint.clone(), addresses: known.addresses, ttl: known.ttl, problem };
        if sent.as_ref() != Some(&now) {
            if changes.send(now.clone()).await.is_err() {
                return;
            }
            sent = Some(now);
        }
        tokio::select! {
            () = sleep(known.again_in) => {}
            changed = settings.changed() => if changed.is_err() { return },
        }
    }
}

/// Why this is no good answer.
fn problem_of(answers: &[Result<Answer, String>; 2]) -> Option<String> {
    if answers.iter().all(|answer| answer.as_ref().is_ok_and(|answer| answer.addresses.is_empty())) {
        return Some("it has neither A nor AAAA records".to_owned());
    }
    answers.iter().find_map(|answer| answer.as_ref().err().cloned())
}

/// Asks for both families at once.
async fn resolve(settings: &config::Resolver, hostname: &Name) -> [Result<Answer, String>; 2] {
    let client = match client(settings) {
        Ok(client) => client,
        Err(error) => return Family::ALL.map(|_| Err(error.to_string())),
    };
    let ask = |family| lookup(&client, hostname, family, settings.allow_private);
    let (v4, v6) = tokio::join!(ask(Family::V4), ask(Family::V6));
    [v4, v6]
}

/// One family. A private address spoils its whole answer, unless `private` ones are meant.
async fn lookup(client: &TokioResolver, hostname: &Name, family: Family, private: bool) -> Result<Answer, String> {
    let name = rr::Name::from_labels(hostname.labels()).map_err(|error| error.to_string())?;
    let record_type = if family == Family::V4 { RecordType::A } else { RecordType::AAAA };
    let lookup = match client.lookup(name, record_type).await {
        Ok(lookup) => lookup,
        Err(NetError::Dns(DnsError::NoRecordsFound(none))) => {
            let ttl = none.negative_ttl.map_or(RETRY, |ttl| Duration::from_secs(ttl.into()));
            return Ok(Answer { addresses: Vec::new(), ttl });
        }
        Err(error) => return Err(format!("{record_type}: {error}")),
    };
    // With the CNAMEs that lead to the addresses: no answer may outlive them either.
    let ttl = lookup.answers().iter().map(|record| record.ttl).min().unwrap_or_default();
    let addresses = lookup.answers().iter().filter_map(|record| match record.data {
        RData::A(v4) => Some(IpAddr::V4(v4.0)),
        RData::AAAA(v6) => Some(IpAddr::V6(v6.0)),
        _ => None,
    });
    let (refused, addresses): (Vec<_>, Vec<_>) = addresses.partition(|&address| !private && is_private(address));
    if !refused.is_empty() {
        let refused = listed(&refused);
        return Err(format!("{record_type}: private addresses need [resolver] allow_private = true: {refused}"));
    }
    Ok(Answer { addresses, ttl: Duration::from_secs(ttl.into()).min(MAX_TTL) })
}

fn listed(items: &[impl Display]) -> String {
    items.iter().take(4).map(ToString::to_string).collect::<Vec<_>>().join(", ")
}

fn client(settings: &config::Resolver) -> Result<TokioResolver, NetError> {
    let mut builder = if settings.servers.is_empty() {
        TokioResolver::builder_tokio()?
    } else {
        let mut config = ResolverConfig::default();
        for server in &settings.servers {
            let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()].map(|mut connection| {
                connection.port = server.port();
                connection
            });
            config.add_name_server(NameServerConfig::new(server.ip(), true, connections.to_vec()));
        }
        TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
    };
    let options = builder.options_mut();
    options.cache_size = 0;
    options.use_hosts_file = ResolveHosts::Never;
    options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
    options.timeout = Duration::from_secs(2);
    options.attempts = 2;
    builder.build()
}
