//! Connections in progress, and the limits of them.
//!
//! There is a limit of all and one of each client. At either, the one that has brought no query yet or none for the
//! longest time is closed for the new one, of the same client where it is the client's limit. So half-open connections in
//! any number push out each other first; and whoever shares an address with many gets in all the same. A proxy of ours is
//! under the first limit alone: whose its connections are is known only later.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::{Future, pending};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::Arc;
use std::time::Duration;

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::timeout;

use super::allowance::Allowance;
use super::connection::LastQuery;
use super::{Faults, TcpSettings};

/// What connections may take to end when all shall stop.
const DRAIN: Duration = Duration::from_secs(4);

/// Clients that are remembered without a sweep, and those that may owe something.
const FEW: usize = 1024;
const MANY: usize = 65_536;

/// A task for each connection. Dropping it ends them all.
pub(super) struct Crowd {
    settings: TcpSettings,
    tasks: JoinSet<()>,
    open: HashMap<Id, Open>,
    /// Those that have any, and those that have had and not paid yet.
    clients: HashMap<IpAddr, Client>,
    /// When there are so many, those that owe nothing are forgotten.
    sweep_at: usize,
}

struct Client {
    connections: usize,
    allowance: Arc<Allowance>,
}

struct Open {
    client: IpAddr,
    task: AbortHandle,
    last_query: LastQuery,
}

impl Crowd {
    pub(super) fn new(settings: TcpSettings) -> Self {
        Self { settings, tasks: JoinSet::new(), open: HashMap::new(), clients: HashMap::new(), sweep_at: FEW }
    }

    /// Is half of either limit taken, or more?
    pub(super) fn is_half_full(&self, client: IpAddr) -> bool {
        self.open.len() >= self.settings.connections.div_ceil(2)
            || self.connections_of(client_of(client)) >= self.settings.client_connections.div_ceil(2)
    }

    /// Takes one in, and makes room for it where there is none. It gets its client's allowance, if that is limited.
    pub(super) fn admit<F>(
        &mut self,
        client: IpAddr,
        is_proxied: bool,
        last_query: LastQuery,
        faults: &Arc<Faults>,
        connection: impl FnOnce(Option<Arc<Allowance>>) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.forget(ended);
        }
        if self.clients.len() >= self.sweep_at {
            self.sweep();
        }
        let client = client_of(client);
        if !is_proxied && self.connections_of(client) >= self.settings.client_connections.max(1) {
            self.make_room(|open| open.client == client);
            faults.count_client_eviction(client);
        } else if self.open.len() >= self.settings.connections.max(1) {
            self.make_room(|_| true);
            faults.count_eviction();
        }
        let entry = self.clients.entry(client).or_insert_with(|| {
            let allowance = Arc::new(Allowance::new(client, self.settings, faults));
            Client { connections: 0, allowance }
        });
        entry.connections += 1;
        let allowance = (!is_proxied).then(|| Arc::clone(&entry.allowance));
        let task = self.tasks.spawn(connection(allowance));
        self.open.insert(task.id(), Open { client, task, last_query });
    }

    fn connections_of(&self, client: IpAddr) -> usize {
        self.clients.get(&client).map_or(0, |client| client.connections)
    }

    /// Closes the one of these that is the least loss.
    fn make_room(&mut self, among: impl Fn(&Open) -> bool) {
        let least = self.open.iter().filter(|(_, open)| among(open)).min_by_key(|(_, open)| open.last_query.get());
        if let Some((&id, open)) = least {
            open.task.abort();
            self.remove(id);
        }
    }

    /// Resolves when one has ended; never while there is none.
    pub(super) async fn one_ended(&mut self) {
        match self.tasks.join_next_with_id().await {
            Some(ended) => self.forget(ended),
            None => pending().await,
        }
    }

    fn forget(&mut self, ended: Result<(Id, ()), JoinError>) {
        self.remove(ended.map_or_else(|error| error.id(), |(id, ())| id));
    }

    fn remove(&mut self, id: Id) {
        let Some(Open { client, .. }) = self.open.remove(&id) else { return };
        if let Entry::Occupied(mut client) = self.clients.entry(client) {
            client.get_mut().connections -= 1;
            if client.get().connections == 0 && client.get().allowance.is_paid() {
                client.remove();
            }
        }
    }

    /// Forgets those without connections that owe nothing; where too many do, these as well.
    fn sweep(&mut self) {
        self.clients.retain(|_, client| client.connections > 0 || !client.allowance.is_paid());
        if self.clients.len() >= MANY {
            self.clients.retain(|_, client| client.connections > 0);
        }
        self.sweep_at = (2 * self.clients.len()).max(FEW);
    }

    /// Waits for all to end, but not for ever.
    pub(super) async fn drain(mut self) {
        let all_ended = async { while self.tasks.join_next().await.is_some() {} };
        let _ = timeout(DRAIN, all_ended).await;
    }
}

/// Whose connections are counted together: an IPv6 subscriber has a /56 or more (RFC 6177), and any address in it.
fn client_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 72 << 72).into(),
    }
}
