//! UDP: a thread with its own socket, one packet after the other.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::{Faults, Respond, Transport, respond};

/// An idle worker looks this often whether it shall stop.
const WAKE: Duration = Duration::from_millis(100);
/// After an unexpected error of the socket, so that one that stays makes no busy loop.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(1);
/// What a worker that shall stop answers still, at most.
const LAST_PACKETS: usize = 4096;
/// Octets of the longest reply by UDP.
const REPLY_LENGTH: usize = 4096;

/// One thread's socket, responder and buffers.
pub(super) struct Worker<R> {
    socket: UdpSocket,
    responder: R,
    faults: Arc<Faults>,
    stop: watch::Receiver<()>,
    query: Box<[u8]>,
    reply: Box<[u8]>,
}

impl<R: Respond> Worker<R> {
    pub(super) fn new(
        socket: UdpSocket,
        responder: R,
        faults: Arc<Faults>,
        stop: watch::Receiver<()>,
    ) -> io::Result<Self> {
        socket.set_read_timeout(Some(WAKE))?;
        socket.set_write_timeout(Some(WAKE))?;
        let (query, reply) = (vec![0; usize::from(u16::MAX)].into(), vec![0; REPLY_LENGTH].into());
        Ok(Self { socket, responder, faults, stop, query, reply })
    }

    pub(super) fn run(mut self) {
        // The channel carries nothing; it is closed when all shall stop.
        while self.stop.has_changed().is_ok() {
            if let Some((length, client)) = self.receive() {
                self.answer(length, client);
            }
        }
        if self.socket.set_nonblocking(true).is_ok() {
            for _ in 0..LAST_PACKETS {
                let Some((length, client)) = self.receive() else { break };
                self.answer(length, client);
            }
        }
    }

    /// The next packet; none where none has come for a while.
    fn receive(&mut self) -> Option<(usize, SocketAddr)> {
        match self.socket.recv_from(&mut self.query) {
            Ok(received) => Some(received),
            Err(error)
                if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) =>
            {
                None
            }
            Err(error) => {
                self.faults.count_socket_error("receiving by UDP", &error);
                std::thread::sleep(PAUSE_AFTER_ERROR);
                None
            }
        }
    }

    fn answer(&mut self, length: usize, client: SocketAddr) {
        // Nobody listens on port 0; such a packet was forged.
        if client.port() == 0 {
            return;
        }
        let Self { responder, query, reply, faults, .. } = self;
        let length = respond(responder, client, Transport::Udp, &query[..length], reply, faults);
        if length > 0
            && let Err(error) = self.socket.send_to(&self.reply[..length], client)
        {
            self.faults.count_socket_error("sending by UDP", &error);
        }
    }
}
