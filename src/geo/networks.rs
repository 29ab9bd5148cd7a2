//! Which autonomous system an address belongs to: of all that databases name, where locations have those alone that the
//! configuration names, or that are measured. Estimates ask it, off the path of answers.

use std::net::IpAddr;

use super::hash::IntMap;
use super::partition::{EMPTY, Partition};
use super::trie::{MAX_VALUE, Trie};

/// Their numbers, each once, while databases are read. Index 0 is none.
#[derive(Debug)]
pub(super) struct Asns {
    list: Vec<u32>,
    ids: IntMap<u32, u32>,
}

impl Default for Asns {
    fn default() -> Self {
        Self { list: vec![0], ids: IntMap::default() }
    }
}

impl Asns {
    /// Its index; that of none beyond the largest that fits into a trie, of which there are not half as many numbers in use.
    pub(super) fn intern(&mut self, asn: Option<u32>) -> u32 {
        let Some(asn) = asn.filter(|_| self.list.len() < MAX_VALUE as usize) else { return EMPTY };
        *self.ids.entry(asn).or_insert_with(|| {
            self.list.push(asn);
            self.list.len() as u32 - 1
        })
    }
}

/// Address → autonomous system.
pub(super) struct Networks {
    v4: Trie<u32>,
    v6: Trie<u128>,
    asns: Vec<u32>,
}

impl Networks {
    /// None: the databases name none.
    pub(super) fn new(v4: &Partition<u32>, v6: &Partition<u128>, asns: Asns) -> Option<Self> {
        (asns.list.len() > 1).then(|| Self { v4: Trie::new(v4), v6: Trie::new(v6), asns: asns.list })
    }

    /// None: none is known. An IPv4-mapped address belongs to whom the IPv4 address does.
    pub(super) fn get(&self, address: IpAddr) -> Option<u32> {
        let (id, _) = match address.to_canonical() {
            IpAddr::V4(v4) => self.v4.get(v4.into()),
            IpAddr::V6(v6) => self.v6.get(v6.into()),
        };
        (id != EMPTY).then(|| self.asns[id as usize])
    }

    /// Memory, in octets.
    pub(super) fn octets(&self) -> usize {
        self.v4.octets() + self.v6.octets() + size_of_val(&*self.asns)
    }
}
