//! What is known of a leaf: a record of the databases and a label of the configuration.

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv6Net};

use super::database::Records;
use super::hash::IntMap;
use super::partition::{Address, EMPTY, Partition};
use super::record::Record;

/// The profile of the leaf ::ffff:0:0/96, which is looked up as IPv4. It is one of its own, so that
/// the leaf never merges with a neighbour and no scope reaches over it.
pub(super) const MAPPED: u32 = u32::MAX;
/// Set on the labels of other aliases, whose records are cut.
const CUT: u32 = 1 << 31;

/// IPv6 space whose records are IPv4's: compatible, mapped, Teredo, 6to4. Databases graft the IPv4 tree
/// there; it is cut, else every IPv4 network would be there five times. Mapped addresses are looked up
/// as IPv4. Hosts do not use the others any more (RFC 4291 §2.5.5.1, RFC 7526), and what stands at a
/// Teredo address is the place of its server (RFC 4380): they are unlocated.
pub(super) const ALIASES: [Ipv6Net; 4] = [
    Ipv6Net::new_assert(Ipv6Addr::UNSPECIFIED, 96),
    MAPPED_SPACE,
    Ipv6Net::new_assert(Ipv6Addr::new(0x2001, 0, 0, 0, 0, 0, 0, 0), 32),
    Ipv6Net::new_assert(Ipv6Addr::new(0x2002, 0, 0, 0, 0, 0, 0, 0), 16),
];
const MAPPED_SPACE: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0, 0, 0, 0, 0, 0xffff, 0, 0), 96);

/// What is known of some leaves, and how much address space they have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Profile {
    pub(super) record: Record,
    pub(super) label: Option<IpNet>,
    pub(super) weight: f64,
}

/// Profiles, each once. Index 0 is that of which nothing is known.
pub(super) struct Profiles {
    list: Vec<Profile>,
    ids: IntMap<(u32, u32), u32>,
    labels: Vec<IpNet>,
}

impl Profiles {
    /// `labels` may nest, repeat, and have host bits, which are ignored.
    pub(super) fn new(labels: &[IpNet]) -> Self {
        let mut labels: Vec<IpNet> = labels.iter().map(IpNet::trunc).collect();
        labels.sort_unstable();
        labels.dedup();
        let nothing = Profile { record: Record::default(), label: None, weight: 0.0 };
        Self { list: vec![nothing], ids: IntMap::from_iter([((EMPTY, EMPTY), 0)]), labels }
    }

    /// Records of IPv4 space → profiles.
    pub(super) fn of_v4(&mut self, space: &Partition<u32>, records: &Records) -> Partition<u32> {
        let labels = Partition::of_nested(self.prefixes(|net| match net {
            IpNet::V4(v4) => Some((v4.network().into(), v4.prefix_len())),
            IpNet::V6(v6) if MAPPED_SPACE.contains(v6) => {
                Some((v6.network().to_ipv4_mapped().unwrap_or(Ipv4Addr::UNSPECIFIED).into(), v6.prefix_len() - 96))
            }
            IpNet::V6(_) => None,
        }));
        let space = space.overlay(&labels, |record, label| self.intern(record, label, records));
        self.weigh(&space);
        space
    }

    /// Records of IPv6 space → profiles.
    pub(super) fn of_v6(&mut self, space: &Partition<u128>, records: &Records) -> Partition<u128> {
        let labels = Partition::of_nested(self.prefixes(|net| match net {
            IpNet::V6(v6) if !MAPPED_SPACE.contains(v6) => Some((v6.network().into(), v6.prefix_len())),
            _ => None,
        }));
        let cut =
            |net: Ipv6Net| (net.network().into(), net.prefix_len(), if net == MAPPED_SPACE { MAPPED } else { CUT });
        let aliases = Partition::of_nested(ALIASES.map(cut).to_vec());
        // Labels and aliases are few: laid over each other first, they cost the big space one pass.
        let labels = aliases.overlay(&labels, |alias, label| match alias {
            MAPPED => MAPPED,
            CUT => CUT | label,
            _ => label,
        });
        let space = space.overlay(&labels, |record, label| match label {
            MAPPED => MAPPED,
            _ if label & CUT != 0 => self.intern(EMPTY, label & !CUT, records),
            _ => self.intern(record, label, records),
        });
        self.weigh(&space);
        space
    }

    pub(super) fn list(&self) -> &[Profile] {
        &self.list
    }

    fn prefixes<A>(&self, prefix: impl Fn(&IpNet) -> Option<(A, u8)>) -> Vec<(A, u8, u32)> {
        let labels = (1..).zip(&self.labels);
        labels.filter_map(|(id, net)| prefix(net).map(|(start, length)| (start, length, id))).collect()
    }

    fn intern(&mut self, record: u32, label: u32, records: &Records) -> u32 {
        *self.ids.entry((record, label)).or_insert_with(|| {
            let label = label.checked_sub(1).map(|index| self.labels[index as usize]);
            self.list.push(Profile { record: *records.get(record), label, weight: 0.0 });
            u32::try_from(self.list.len() - 1).expect("no more profiles than leaves")
        })
    }

    fn weigh<A: Address>(&mut self, space: &Partition<A>) {
        for (_, length, profile) in space.iter().filter(|&(_, _, profile)| profile != MAPPED) {
            self.list[profile as usize].weight += A::weight(length) as f64;
        }
    }
}
