//! TCP: who is let in.
//!
//! ```text
//! listener ─ accept ┐                  ┌ Connection (connection.rs), a task each
//! listener ─ accept ┴→ Gate (the limit)┴ Connection …
//! ```

use std::collections::HashMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{sleep, timeout};

use super::connection::{Connection, LastQuery, Responders};
use super::{Faults, Respond, TcpSettings};

/// After an error in accepting that may stay (no file descriptors left).
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(100);
/// What connections may take to end when all shall stop.
const DRAIN: Duration = Duration::from_secs(4);

/// Keeps the connections and their limit.
pub(super) struct Gate<R> {
    settings: TcpSettings,
    responders: Arc<Responders<R>>,
    stop: watch::Receiver<()>,
    tasks: JoinSet<()>,
    open: HashMap<Id, Open>,
    /// Connections so far.
    count: usize,
}

/// A connection as the gate sees it.
struct Open {
    task: AbortHandle,
    last_query: LastQuery,
}

impl<R: Respond> Gate<R> {
    pub(super) fn new(settings: TcpSettings, responders: Responders<R>, stop: watch::Receiver<()>) -> Self {
        let (tasks, open) = (JoinSet::new(), HashMap::new());
        Self { settings, responders: Arc::new(responders), stop, tasks, open, count: 0 }
    }

    /// Serves until all shall stop, then waits for the connections, but not for ever.
    pub(super) async fn run(mut self, listeners: Vec<TcpListener>) {
        let (accepted, mut arrivals) = mpsc::channel(1);
        for listener in listeners {
            let faults = Arc::clone(self.responders.faults());
            tokio::spawn(accept(listener, accepted.clone(), faults, self.stop.clone()));
        }
        drop(accepted);
        loop {
            // The acceptors end when all shall stop, and with them the arrivals.
            tokio::select! {
                arrival = arrivals.recv() => match arrival {
                    Some((stream, client)) => self.admit(stream, client),
                    None => break,
                },
                Some(ended) = self.tasks.join_next_with_id() => self.forget(ended),
            }
        }
        let all_ended = async { while self.tasks.join_next().await.is_some() {} };
        let _ = timeout(DRAIN, all_ended).await;
        self.tasks.abort_all();
    }

    fn admit(&mut self, stream: TcpStream, client: SocketAddr) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.forget(ended);
        }
        if self.open.len() >= self.settings.connections.max(1) {
            self.evict_longest_idle();
        }
        self.count += 1;
        let responders = Arc::clone(&self.responders);
        let connection = Connection::new(client, self.count, responders, self.settings.idle, self.stop.clone());
        let last_query = connection.last_query();
        let _ = stream.set_nodelay(true); // slower without, not wrong
        let task = self.tasks.spawn(async move { drop(connection.run(stream).await) });
        self.open.insert(task.id(), Open { task, last_query });
    }

    fn evict_longest_idle(&mut self) {
        let longest = self.open.iter().min_by_key(|(_, open)| open.last_query.at());
        if let Some((&id, open)) = longest {
            open.task.abort();
            self.open.remove(&id);
            self.responders.faults().count_eviction();
        }
    }

    fn forget(&mut self, ended: Result<(Id, ()), tokio::task::JoinError>) {
        let id = ended.map_or_else(|error| error.id(), |(id, ())| id);
        self.open.remove(&id);
    }
}

/// Accepts until all shall stop.
async fn accept(
    listener: TcpListener,
    accepted: mpsc::Sender<(TcpStream, SocketAddr)>,
    faults: Arc<Faults>,
    mut stop: watch::Receiver<()>,
) {
    loop {
        let arrival = tokio::select! {
            arrival = listener.accept() => arrival,
            _ = stop.changed() => return,
        };
        match arrival {
            Ok(arrival) => {
                if accepted.send(arrival).await.is_err() {
                    return;
                }
            }
            // The client has gone already.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(error) => {
                faults.count_socket_error("accepting by TCP", &error);
                sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}
