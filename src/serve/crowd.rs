//! Connections in progress, and the limit of them.

use std::collections::HashMap;
use std::future::{Future, pending};
use std::time::Duration;

use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::timeout;

use super::Faults;
use super::connection::LastQuery;

/// What connections may take to end when all shall stop.
const DRAIN: Duration = Duration::from_secs(4);

/// A task for each connection. Dropping it ends them all.
pub(super) struct Crowd {
    limit: usize,
    tasks: JoinSet<()>,
    open: HashMap<Id, Open>,
}

struct Open {
    task: AbortHandle,
    last_query: LastQuery,
}

impl Crowd {
    /// At least one may come in.
    pub(super) fn new(limit: usize) -> Self {
        Self { limit: limit.max(1), tasks: JoinSet::new(), open: HashMap::new() }
    }

    /// Is half the room taken, or more?
    pub(super) fn is_half_full(&self) -> bool {
        self.open.len() >= self.limit.div_ceil(2)
    }

    /// Takes one in. At the limit it takes the place of the one that has been without a query for the longest time.
    pub(super) fn admit<F>(&mut self, last_query: LastQuery, faults: &Faults, connection: F)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.forget(ended);
        }
        if self.open.len() >= self.limit {
            self.evict_longest_idle(faults);
        }
        let task = self.tasks.spawn(connection);
        self.open.insert(task.id(), Open { task, last_query });
    }

    fn evict_longest_idle(&mut self, faults: &Faults) {
        let longest = self.open.iter().min_by_key(|(_, open)| open.last_query.at());
        if let Some((&id, open)) = longest {
            open.task.abort();
            self.open.remove(&id);
            faults.count_eviction();
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
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        self.open.remove(&id);
    }

    /// Waits for all to end, but not for ever.
    pub(super) async fn drain(mut self) {
        let all_ended = async { while self.tasks.join_next().await.is_some() {} };
        let _ = timeout(DRAIN, all_ended).await;
    }
}
