//! A stream of queries (RFC 7766): messages behind their length in two octets.
//!
//! ```text
//! read → answer each whole query, in order → write ─┐   ends: idle, slow to take its answers,
//!   └───────────────────────────────────────────────┘         length below a header's, silence,
//!                                                              end of input, stop, evicted
//! ```
//! Answers leave in the order of their queries. RFC 7766 §6.2.1.1 allows another, for servers where a query may wait
//! for something; here none does, so that none delays those behind it by more than microseconds.
//!
//! It holds at most one query that is not whole, and writes from 64 KiB of answers on: 200 KiB at
//! most, mostly 4.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::{Semaphore, watch};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};

use super::allowance::Allowance;
use super::{Faults, Respond, Transport, respond};
use crate::wire::HEADER_LENGTH;

/// A connection that shall end waits so long for what is on its way to be read.
const LAST_READ: Duration = Duration::from_millis(100);
/// What a connection may take to bring its first whole query: who connects has something to ask.
const FIRST_QUERY: Duration = Duration::from_secs(3);
/// A client that has not taken its answers in this time is closed.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// Answers are written when they have this many octets.
const WRITE_AT: usize = 1 << 16;
/// Requests of a connection that are read or, by QUIC, written at once, where they come beside each other.
const TURNS: usize = 4;
/// Octets that are read at once at least, and buffers that are kept.
const READ_ROOM: usize = 2048;

/// Who asks, and by what.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    pub(super) client: SocketAddr,
    pub(super) transport: Transport,
}

/// One client's connection.
pub(super) struct Connection<R> {
    peer: Peer,
    /// Which responder is its, over and over.
    worker: usize,
    responders: Arc<Responders<R>>,
    idle: Duration,
    /// Closed when all shall stop; carries nothing.
    stop: watch::Receiver<()>,
    last_query: LastQuery,
    /// None: it is under no limit of one client.
    allowance: Option<Arc<Allowance>>,
    received: Vec<u8>,
    answers: Vec<u8>,
}

/// When a connection last brought a whole query, or began.
#[derive(Clone)]
pub(super) struct LastQuery(Arc<Mutex<Asked>>);

/// What is less is the first to make room: no query yet, then the longest time without.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Asked {
    /// Has it brought any?
    any: bool,
    at: Instant,
}

impl LastQuery {
    fn none_yet() -> Self {
        Self(Arc::new(Mutex::new(Asked { any: false, at: Instant::now() })))
    }

    pub(super) fn get(&self) -> Asked {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn is_now(&self, any: bool) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Asked { any, at: Instant::now() };
    }

    /// When the connection is closed for want of a whole query, if it may be idle so long between two.
    fn close_at(&self, idle: Duration) -> Instant {
        let Asked { any, at } = self.get();
        at + if any { idle } else { idle.min(FIRST_QUERY) }
    }

    /// Resolves when the connection shall be closed for want of a whole query.
    pub(super) async fn idle_for(&self, idle: Duration) {
        loop {
            let close_at = self.close_at(idle);
            if close_at <= Instant::now() {
                return;
            }
            sleep_until(close_at).await;
        }
    }
}

/// A connection as its requests see it, where they come beside each other.
#[derive(Clone)]
pub(super) struct Asker {
    pub(super) peer: Peer,
    /// Which responder is its, over and over.
    pub(super) worker: usize,
    pub(super) last_query: LastQuery,
    /// None: it is under no limit of one client.
    pub(super) allowance: Option<Arc<Allowance>>,
    /// So that a client's requests do not all fill memory with long queries.
    pub(super) turns: Arc<Semaphore>,
}

impl Asker {
    pub(super) fn new(peer: Peer, worker: usize) -> Self {
        let (last_query, turns) = (LastQuery::none_yet(), Arc::new(Semaphore::new(TURNS)));
        Self { peer, worker, last_query, allowance: None, turns }
    }

    /// Takes that much of its client's allowance, and waits where it was too much.
    pub(super) async fn take(&self, queries: u32, octets: usize) {
        if let Some(allowance) = &self.allowance {
            allowance.take(queries, octets).await;
        }
    }
}

impl<R: Respond> Connection<R> {
    pub(super) fn new(
        peer: Peer,
        worker: usize,
        responders: Arc<Responders<R>>,
        idle: Duration,
        stop: watch::Receiver<()>,
    ) -> Self {
        let last_query = LastQuery::none_yet();
        let (received, answers) = (Vec::new(), Vec::new());
        Self { peer, worker, responders, idle, stop, last_query, allowance: None, received, answers }
    }

    /// The same for whom a proxy brings it.
    pub(super) fn of(mut self, client: SocketAddr) -> Self {
        self.peer.client = client;
        self
    }

    /// The same under a limit of its client.
    pub(super) fn within(mut self, allowance: Option<Arc<Allowance>>) -> Self {
        self.allowance = allowance;
        self
    }

    pub(super) fn last_query(&self) -> LastQuery {
        self.last_query.clone()
    }

    /// As those see it who bring its queries one by one.
    pub(super) fn asker(self) -> Asker {
        Asker { last_query: self.last_query, allowance: self.allowance, ..Asker::new(self.peer, self.worker) }
    }

    /// Serves it to its end. An error is the client's or the network's.
    pub(super) async fn run<S: AsyncRead + AsyncWrite + Unpin>(mut self, mut stream: S) -> io::Result<()> {
        self.last_query.is_now(false); // a handshake's time is its own
        loop {
            // Octets that make no whole query do not put off the end.
            let more = timeout_at(self.last_query.close_at(self.idle), self.read(&mut stream)).await??;
            if !more || !self.answer_all(&mut stream).await? {
                return timeout(WRITE_TIMEOUT, stream.shutdown()).await?;
            }
        }
    }

    /// False where no more will come: the client has ended its side, or all shall stop and nothing
    /// waits to be read.
    async fn read<S: AsyncRead + Unpin>(&mut self, stream: &mut S) -> io::Result<bool> {
        self.received.reserve(missing(&self.received).max(READ_ROOM));
        tokio::select! {
            biased;
            length = stream.read_buf(&mut self.received) => return Ok(length? > 0),
            _ = self.stop.changed() => {}
        }
        // What has arrived may be news to the runtime yet: it hears of it by events, as of the stop.
        let last = timeout(LAST_READ, stream.read_buf(&mut self.received)).await;
        last.map_or(Ok(false), |length| Ok(length? > 0))
    }

    /// Answers every whole query received. False where the connection shall end.
    async fn answer_all<S: AsyncWrite + Unpin>(&mut self, stream: &mut S) -> io::Result<bool> {
        let mut received = std::mem::take(&mut self.received);
        let (mut answered, mut queries, mut written) = (0, 0, 0);
        let mut go_on = true;
        while let Some(query) = first_query(&received[answered..]).filter(|_| go_on) {
            answered += 2 + query.len();
            queries += 1;
            go_on = query.len() >= HEADER_LENGTH
                && self.responders.answer(self.worker, self.peer, query, &mut self.answers);
            self.last_query.is_now(true);
            if self.answers.len() >= WRITE_AT {
                written += self.write(stream).await?;
            }
        }
        written += self.write(stream).await?;
        received.drain(..answered);
        received.shrink_to(READ_ROOM);
        self.received = received;
        Ok(self.take(queries, answered + written).await && go_on)
    }

    /// Takes that much of the client's allowance, and waits where it was too much. False where all shall stop.
    async fn take(&mut self, queries: u32, octets: usize) -> bool {
        let Some(allowance) = self.allowance.as_ref().filter(|_| queries > 0) else { return true };
        tokio::select! {
            biased;
            () = allowance.take(queries, octets) => {}
            _ = self.stop.changed() => return false,
        }
        self.last_query.is_now(true); // the wait is not the client's idleness
        true
    }

    /// Octets that it wrote.
    async fn write<S: AsyncWrite + Unpin>(&mut self, stream: &mut S) -> io::Result<usize> {
        let write = async {
            stream.write_all(&self.answers).await?;
            stream.flush().await // TLS holds some back
        };
        timeout(WRITE_TIMEOUT, write).await??;
        let written = self.answers.len();
        self.answers.clear();
        self.answers.shrink_to(READ_ROOM);
        Ok(written)
    }
}

/// The first query in `received`, if it is whole.
fn first_query(received: &[u8]) -> Option<&[u8]> {
    let (length, rest) = received.split_first_chunk()?;
    rest.get(..u16::from_be_bytes(*length).into())
}

/// Octets that the first query lacks, as far as is known.
fn missing(received: &[u8]) -> usize {
    let length = received.first_chunk().map_or(0, |length| usize::from(u16::from_be_bytes(*length)));
    (2 + length).saturating_sub(received.len())
}

/// The responders that connections share. A call is short and never awaits.
pub(super) struct Responders<R> {
    workers: Vec<Mutex<Worker<R>>>,
    faults: Arc<Faults>,
}

struct Worker<R> {
    responder: R,
    reply: Box<[u8]>,
}

impl<R: Respond> Responders<R> {
    /// At least one.
    pub(super) fn new(responders: Vec<R>, faults: Arc<Faults>) -> Self {
        let worker = |responder| Mutex::new(Worker { responder, reply: vec![0; usize::from(u16::MAX)].into() });
        Self { workers: responders.into_iter().map(worker).collect(), faults }
    }

    pub(super) fn faults(&self) -> &Arc<Faults> {
        &self.faults
    }

    pub(super) fn is_proxy(&self, source: IpAddr) -> bool {
        self.workers[0].lock().unwrap_or_else(PoisonError::into_inner).responder.is_proxy(source)
    }

    /// Appends the answer behind its length; false: there is none.
    pub(super) fn answer(&self, worker: usize, peer: Peer, query: &[u8], answers: &mut Vec<u8>) -> bool {
        let append = |reply: &[u8]| {
            answers.extend((reply.len() as u16).to_be_bytes()); // a reply has 65,535 octets at most
            answers.extend(reply);
        };
        self.with_reply(worker, peer, query, append).is_some()
    }

    /// The answer; none: there is none.
    pub(super) fn reply(&self, worker: usize, peer: Peer, query: &[u8]) -> Option<Vec<u8>> {
        self.with_reply(worker, peer, query, <[u8]>::to_vec)
    }

    fn with_reply<T>(&self, worker: usize, peer: Peer, query: &[u8], take: impl FnOnce(&[u8]) -> T) -> Option<T> {
        let worker = &self.workers[worker % self.workers.len()];
        let mut worker = worker.lock().unwrap_or_else(PoisonError::into_inner);
        let Worker { responder, reply } = &mut *worker;
        let length = respond(responder, peer.client, peer.transport, query, reply, &self.faults);
        (length > 0).then(|| take(&reply[..length]))
    }
}
