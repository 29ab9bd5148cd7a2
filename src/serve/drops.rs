//! Queries that never reached us, as the kernel counts them.

use std::net::UdpSocket;
use std::sync::{Mutex, PoisonError, Weak};

use super::socket;

/// What the kernel dropped at our UDP sockets: mostly for want of room in a receive buffer. It is asked
/// when somebody wants to know; nothing is done for it per query.
#[derive(Debug, Default)]
pub(super) struct Drops(Mutex<Vec<Watched>>);

/// Its worker keeps the socket alive; this does not.
#[derive(Debug)]
struct Watched {
    socket: Weak<UdpSocket>,
    count: Count,
}

impl Drops {
    pub(super) fn watch(&self, socket: Weak<UdpSocket>) {
        let watched = Watched { socket, count: Count::default() };
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(watched);
    }

    /// Of all sockets since the start.
    pub(super) fn total(&self) -> u64 {
        let mut sockets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.iter_mut().map(Watched::total).sum()
    }
}

impl Watched {
    fn total(&mut self) -> u64 {
        if let Some(now) = self.socket.upgrade().and_then(|socket| socket::drops(&socket).ok()) {
            self.count.observe(now);
        }
        self.count.total
    }
}

/// The kernel's counter has 32 bits and begins anew at their end.
#[derive(Debug, Default)]
struct Count {
    seen: u32,
    total: u64,
}

impl Count {
    fn observe(&mut self, now: u32) {
        self.total += u64::from(now.wrapping_sub(self.seen));
        self.seen = now;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_counter_that_begins_anew_goes_on() {
        let mut count = Count::default();
        for (now, total) in [(5, 5), (5, 5), (u32::MAX, u64::from(u32::MAX)), (2, u64::from(u32::MAX) + 3)] {
            count.observe(now);
            assert_eq!(count.total, total);
        }
    }

    #[test]
    fn what_finds_no_room_is_counted_and_stays_so() {
        let socket = Arc::new(UdpSocket::bind("127.0.0.1:0").unwrap());
        socket::set_receive_buffer(&socket, 4096).unwrap();
        let drops = Drops::default();
        drops.watch(Arc::downgrade(&socket));
        assert_eq!(drops.total(), 0);
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        client.connect(socket.local_addr().unwrap()).unwrap();
        for _ in 0..200 {
            client.send(&[0; 500]).unwrap();
        }
        socket.set_nonblocking(true).unwrap();
        let arrived = std::iter::from_fn(|| socket.recv(&mut [0; 500]).ok()).count() as u64;
        assert!(arrived < 200, "the buffer holds them all");
        assert_eq!(drops.total(), 200 - arrived);
        drop(socket);
        assert_eq!(drops.total(), 200 - arrived, "its socket is closed");
    }
}
