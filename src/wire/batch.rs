//! Datagrams that are received together, answered in place and sent together.

use std::net::{Ipv4Addr, SocketAddr};

/// Datagrams of one batch, at most. Fewer cost more each, more gain nothing (measured).
pub const BATCH: usize = 64;
/// Octets of one that are taken in; what is longer is cut and thereby malformed. No client may send
/// more than the 1,232 that replies advertise.
pub const LONGEST: usize = 2048;
/// Octets of a slot: those beyond [`LONGEST`] are room for whoever reads or writes in wide steps. An
/// odd number of cache lines, so that the slots' first lines do not fall on each other in a cache.
pub const SLOT: usize = LONGEST + 64;

/// Up to [`BATCH`] datagrams: queries as they came, then replies in the same places. Made once a
/// worker, 132 KB.
#[derive(Debug)]
pub struct Batch {
    /// The octets of each.
    pub slots: Box<[[u8; SLOT]]>,
    /// How many of them are the query; once answered, the reply. 0: silence, nothing is sent; of a
    /// query, there is nothing to answer.
    pub lengths: [u16; BATCH],
    /// Where each came from and goes to.
    pub clients: [SocketAddr; BATCH],
    /// How many there are; the rest is left over from before.
    pub count: usize,
    /// How many of them, from the first on, whoever answers has begun with: counted before anything is
    /// written to its slot. The slots behind these hold their queries still, so that a panic loses but
    /// the last one begun.
    pub begun: usize,
}

impl Batch {
    /// Answers those that are not begun with, one after the other. `answer` reads a query, writes the
    /// reply into a buffer of [`LONGEST`] octets and returns its length.
    ///
    /// # Panics
    /// Where that length is more than the buffer's.
    pub fn answer_each(&mut self, mut answer: impl FnMut(SocketAddr, &[u8], &mut [u8]) -> usize) {
        let mut reply = [0; LONGEST];
        while self.begun < self.count {
            let index = self.begun;
            self.begun += 1;
            let query = &self.slots[index][..self.lengths[index].into()];
            if query.is_empty() {
                continue;
            }
            let length = answer(self.clients[index], query, &mut reply);
            self.slots[index][..length].copy_from_slice(&reply[..length]);
            self.lengths[index] = length as u16; // bounded by the buffer
        }
    }
}

impl Default for Batch {
    fn default() -> Self {
        let nobody = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
        let slots = vec![[0; SLOT]; BATCH].into_boxed_slice();
        Self { slots, lengths: [0; BATCH], clients: [nobody; BATCH], count: 0, begun: 0 }
    }
}
