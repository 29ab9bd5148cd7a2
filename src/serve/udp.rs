//! UDP: a thread with its own socket, one batch after the other.
//!
//! ```text
//! receive → Respond::respond_batch → send
//!              └ panic: the one begun last is lost, those behind it are answered one by one
//! ```

use std::io::{self, ErrorKind};
use std::net::UdpSocket;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tracing::warn;

use super::socket::{self, BatchSocket};
use super::{Faults, Respond, Transport, respond};
use crate::wire::{BATCH, Batch};

/// An idle worker looks this often whether it shall stop.
const WAKE: Duration = Duration::from_millis(100);
/// After an unexpected error of the socket, so that one that stays makes no busy loop.
const PAUSE_AFTER_ERROR: Duration = Duration::from_millis(1);
/// What a worker that shall stop answers still, at most.
const LAST_BATCHES: usize = 4096 / BATCH;

/// One thread's socket, responder and batch.
pub(super) struct Worker<R> {
    socket: BatchSocket,
    responder: R,
    faults: Arc<Faults>,
    stop: watch::Receiver<()>,
    batch: Batch,
}

impl<R: Respond> Worker<R> {
    pub(super) fn new(
        socket: Arc<UdpSocket>,
        responder: R,
        faults: Arc<Faults>,
        stop: watch::Receiver<()>,
    ) -> io::Result<Self> {
        socket.set_read_timeout(Some(WAKE))?;
        socket.set_write_timeout(Some(WAKE))?;
        Ok(Self { socket: BatchSocket::new(socket)?, responder, faults, stop, batch: Batch::default() })
    }

    /// Serves until all shall stop; on these processors alone, where there are any.
    pub(super) fn run(mut self, cpus: &[usize]) {
        if !cpus.is_empty()
            && let Err(error) = socket::run_on(cpus)
        {
            warn!(%error, ?cpus, "a UDP worker could not be bound to its processors; it runs on any");
        }
        // The channel carries nothing; it is closed when all shall stop.
        while self.stop.has_changed().is_ok() {
            self.serve_batch();
        }
        if self.socket.set_nonblocking().is_ok() {
            for _ in 0..LAST_BATCHES {
                if !self.serve_batch() {
                    break;
                }
            }
        }
    }

    /// False where nothing has come for a while.
    fn serve_batch(&mut self) -> bool {
        match self.socket.receive(&mut self.batch) {
            Ok(()) => {}
            Err(error) => {
                if !matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted) {
                    self.faults.count_socket_error("receiving by UDP", &error);
                    std::thread::sleep(PAUSE_AFTER_ERROR);
                }
                return false;
            }
        }
        self.answer();
        let Self { socket, batch, faults, .. } = self;
        socket.send(batch, |error| faults.count_socket_error("sending by UDP", &error));
        true
    }

    /// After a panic the slots tell what is left to do: those that the responder has not begun with
    /// hold their queries still.
    fn answer(&mut self) {
        let Self { responder, batch, faults, .. } = self;
        if catch_unwind(AssertUnwindSafe(|| responder.respond_batch(batch))).is_ok() {
            return;
        }
        let begun = batch.begun.min(batch.count);
        match begun.checked_sub(1) {
            Some(lost) => {
                batch.lengths[lost] = 0;
                faults.count_panic(batch.clients[lost]);
            }
            None => faults.count_batch_panic(),
        }
        batch.answer_each(|client, query, out| respond(responder, client, Transport::Udp, query, out, faults));
    }
}
