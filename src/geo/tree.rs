//! The search tree of an mmdb file, walked without trusting it.
//!
//! `maxminddb` walks trees too, but not as this needs it: its `networks` and `verify` pass over empty
//! and aliased subtrees without counting, so that 31 nodes folded onto themselves keep it busy for
//! 2³¹ steps; they take every record that equals the one at :: for an alias of IPv4 space; and
//! `verify` refuses files without a description, as ip-location-db's are. Here every step counts, and
//! space whose records would be cut is not entered.

use maxminddb::Metadata;

use super::partition::Address;

/// Leaves, empty ones too, that a tree may have for each of its nodes. One without shared parts has
/// at most two, the shipped one 2.34: it keeps equal subtrees once.
const LEAVES_PER_NODE: usize = 4;

/// Octets between tree and data; records that point into them are corrupt.
const SEPARATOR: usize = 16;

/// The nodes of one file.
pub(super) struct Tree<'a> {
    bytes: &'a [u8],
    node_count: usize,
    record_bits: usize,
}

/// What a record of a node means.
enum Slot {
    Node(usize),
    Empty,
    /// Octets into the data section.
    Data(usize),
}

impl<'a> Tree<'a> {
    /// The tree of a file; none if it is longer than the file, in which case no reader opens it.
    pub(super) fn new(bytes: &'a [u8], metadata: &Metadata) -> Option<Self> {
        let (node_count, record_bits) = (metadata.node_count as usize, usize::from(metadata.record_size));
        let size = node_count.checked_mul(record_bits / 4)?;
        Some(Self { bytes: bytes.get(..size)?, node_count, record_bits })
    }

    /// The root of a family, as a record: IPv4 lies below 96 zero bits in a tree of both.
    pub(super) fn root<A: Address>(&self, ip_version: u16) -> usize {
        let skipped = if ip_version == 6 { 128 - A::WIDTH } else { 0 };
        (0..skipped).fold(0, |record, _| match self.slot(record) {
            Slot::Node(node) => self.record(node, 0),
            Slot::Empty | Slot::Data(_) => record,
        })
    }

    /// Visits the networks that have data, in the order of addresses: first address, length, and the
    /// offset of the data. Space that `skip` names is left out.
    ///
    /// # Errors
    /// What is wrong with the tree, or what `visit` says.
    pub(super) fn walk<A: Address>(
        &self,
        root: usize,
        skip: impl Fn(A, u8) -> bool,
        mut visit: impl FnMut(A, u8, usize) -> Result<(), String>,
    ) -> Result<(), String> {
        let mut leaves = 0;
        let mut stack = vec![(root, A::ZERO, 0)];
        while let Some((record, start, length)) = stack.pop() {
            match self.slot(record) {
                _ if skip(start, length) => {}
                Slot::Node(_) if length == A::WIDTH => {
                    return Err("the search tree is deeper than an address has bits".to_owned());
                }
                Slot::Node(node) => {
                    stack.push((self.record(node, 1), start.midpoint(length), length + 1));
                    stack.push((self.record(node, 0), start, length + 1));
                    continue;
                }
                Slot::Empty => {}
                Slot::Data(offset) => visit(start, length, offset)?,
            }
            leaves += 1;
            if leaves > LEAVES_PER_NODE * self.node_count {
                return Err(format!("the search tree has more than {LEAVES_PER_NODE} leaves a node"));
            }
        }
        Ok(())
    }

    fn slot(&self, record: usize) -> Slot {
        match record.checked_sub(self.node_count) {
            None => Slot::Node(record),
            Some(0) => Slot::Empty,
            // The reader refuses pointers into the separator when it is asked for the record.
            Some(beyond) => Slot::Data(beyond.wrapping_sub(SEPARATOR)),
        }
    }

    /// Records of 28 bits share the octet between them: high half for the left, low half for the right.
    fn record(&self, node: usize, side: usize) -> usize {
        let size = self.record_bits / 4;
        let node = &self.bytes[node * size..][..size];
        let number = |octets: &[u8]| octets.iter().fold(0, |number, &octet| number << 8 | usize::from(octet));
        match (self.record_bits, side) {
            (28, 0) => usize::from(node[3] >> 4) << 24 | number(&node[..3]),
            (28, _) => usize::from(node[3] & 0xf) << 24 | number(&node[4..]),
            (_, 0) => number(&node[..size / 2]),
            (_, _) => number(&node[size / 2..]),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_every_size() {
        let records = |record_bits, bytes: &[u8]| {
            let tree = Tree { bytes, node_count: 1, record_bits };
            (tree.record(0, 0), tree.record(0, 1))
        };
        assert_eq!(records(24, &[1, 2, 3, 4, 5, 6]), (0x01_0203, 0x04_0506));
        assert_eq!(records(28, &[1, 2, 3, 0x4f, 5, 6, 7]), (0x401_0203, 0xf05_0607));
        assert_eq!(records(32, &[1, 2, 3, 4, 5, 6, 7, 8]), (0x0102_0304, 0x0506_0708));
    }

    #[test]
    fn trees_that_lead_back_are_refused() {
        // One node, both of whose records are itself.
        let tree = Tree { bytes: &[0; 6], node_count: 1, record_bits: 24 };
        let error = tree.walk(0, |_: u32, _| false, |_, _, _| Ok(())).unwrap_err();
        assert_eq!(error, "the search tree is deeper than an address has bits");
    }
}
