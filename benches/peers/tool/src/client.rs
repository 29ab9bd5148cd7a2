//! The load's side of one server: a socket, a stream of queries, and what became of them.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::query::{Kind, Queries, Set};
use crate::server::Server;
use crate::sys::{self, BATCH, Batch};

/// Octets of the receive buffer: no reply may be lost on this side.
const RECEIVE_BUFFER: i32 = 8 << 20;

/// What became of the queries.
#[derive(Clone, Copy, Default)]
pub struct Tally {
    pub answers: u64,
    /// Without a reply.
    pub lost: u64,
    /// With a reply that is not what was asked for.
    pub odd: u64,
}

pub struct Client {
    pub server: Server,
    pub tally: Tally,
    /// Queries without a reply yet.
    pub in_flight: usize,
    /// Of every reply, where it is asked for.
    pub latencies: Option<Vec<Duration>>,
    socket: UdpSocket,
    outgoing: Batch,
    incoming: Batch,
    queries: Queries,
    next_id: u16,
    /// By id: what is expected, and since when.
    pending: Box<[Option<(Kind, Instant)>]>,
}

impl Client {
    pub fn new(server: &Server, set: Set) -> Result<Self, String> {
        let socket = UdpSocket::bind("127.0.0.1:0").map_err(|error| format!("binding a socket: {error}"))?;
        sys::set_receive_buffer(&socket, RECEIVE_BUFFER);
        Ok(Self {
            server: server.clone(),
            tally: Tally::default(),
            in_flight: 0,
            latencies: None,
            socket,
            outgoing: Batch::new(Some(server.address)),
            incoming: Batch::new(None),
            queries: Queries::new(set, 1),
            next_id: 0,
            pending: vec![None; 1 << 16].into(),
        })
    }

    /// Sends the next `count` queries, at most a batch.
    pub fn send(&mut self, count: usize) -> Result<(), String> {
        let (count, now) = (count.min(BATCH), Instant::now());
        for index in 0..count {
            let id = self.next_id;
            self.next_id = id.wrapping_add(1);
            let (length, kind) = self.queries.write(id, &mut self.outgoing.slots[index]);
            self.outgoing.set_length(index, length);
            let earlier = self.pending[usize::from(id)].replace((kind, now));
            match earlier {
                Some(_) => self.tally.lost += 1,
                None => self.in_flight += 1,
            }
        }
        self.outgoing.send(&self.socket, count).map_err(|error| format!("sending to {}: {error}", self.server.name))
    }

    /// Takes the replies that are there, at most a batch; how many that were.
    pub fn take(&mut self) -> Result<usize, String> {
        let received = self.incoming.poll(&self.socket);
        let received = received.map_err(|error| format!("receiving from {}: {error}", self.server.name))?;
        if received == 0 {
            return Ok(0);
        }
        let now = Instant::now();
        for index in 0..received {
            let reply = &self.incoming.slots[index][..self.incoming.length(index)];
            let [high, low, flags, ..] = *reply else { continue };
            let id = u16::from_be_bytes([high, low]);
            let Some((kind, since)) = self.pending[usize::from(id)].take() else { continue };
            let good = if self.server.is_echo() { flags & 0x80 != 0 } else { kind.is_met_by(reply) };
            self.in_flight -= 1;
            self.tally.answers += 1;
            self.tally.odd += u64::from(!good);
            if let Some(latencies) = &mut self.latencies {
                latencies.push(now - since);
            }
        }
        Ok(received)
    }

    /// Gives up on what has no reply yet.
    pub fn forget(&mut self) {
        if self.in_flight > 0 {
            self.pending.fill(None);
            self.tally.lost += self.in_flight as u64;
            self.in_flight = 0;
        }
    }
}
