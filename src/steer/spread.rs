//! Splits: how clients are divided over members that share them.

use std::net::IpAddr;

use crate::model::{Endpoint, Member, Plan};

/// The most members that share clients; the first by rank where more tie.
pub const MAX_SHARES: usize = 4;

/// One member's part of a split.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// Who.
    pub member: Member,
    /// In 1/256 of the clients, 1..=256; rounded where all weights are equal, which share evenly.
    pub parts: u16,
    /// From the endpoint's name: the same on all nodes and after every edit.
    salt: u64,
}

/// Up to [`MAX_SHARES`] members with parts that add up to 256; never empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Split {
    /// Those behind `count` are zero.
    shares: [Share; MAX_SHARES],
    count: u8,
    /// All have the same weight.
    even: bool,
}

impl Split {
    /// Divides clients over `members` (1..=[`MAX_SHARES`]) by their endpoints' weights, whichever is first.
    ///
    /// # Panics
    /// When there are none, or too many: the caller has chosen them.
    #[must_use]
    pub fn new(plan: &Plan, endpoints: &[Endpoint], members: impl ExactSizeIterator<Item = Member>) -> Self {
        let count = members.len();
        assert!((1..=MAX_SHARES).contains(&count), "a split has one to four members");
        let mut list = [Member(0); MAX_SHARES];
        list.iter_mut().zip(members).for_each(|(place, member)| *place = member);
        let list = &mut list[..count];
        list.sort_unstable();
        let endpoint = |member: Member| &endpoints[plan.members[member.index()].index()];
        let mut weights = [0; MAX_SHARES];
        weights.iter_mut().zip(&*list).for_each(|(weight, &member)| *weight = endpoint(member).weight);
        let parts = apportion(&weights[..count]);
        let share = |(&member, parts)| Share { member, parts, salt: salt(&endpoint(member).name) };
        let even = weights[..count].iter().all(|&weight| weight == weights[0]);
        Self::of(list.iter().zip(parts).map(share), even)
    }

    /// Divides clients by parts of 256, which come by member and add up.
    #[must_use]
    pub(super) fn with_parts(plan: &Plan, endpoints: &[Endpoint], shares: impl Iterator<Item = (Member, u16)>) -> Self {
        let name = |member: Member| &endpoints[plan.members[member.index()].index()].name;
        Self::of(shares.map(|(member, parts)| Share { member, parts, salt: salt(name(member)) }), false)
    }

    /// Of shares by member.
    fn of(list: impl Iterator<Item = Share>, even: bool) -> Self {
        let mut split = Self { shares: [Share { member: Member(0), parts: 0, salt: 0 }; MAX_SHARES], count: 0, even };
        for (place, share) in split.shares.iter_mut().zip(list) {
            *place = share;
            split.count += 1;
        }
        split
    }

    /// Its shares, by member.
    #[inline]
    #[must_use]
    pub fn shares(&self) -> &[Share] {
        &self.shares[..usize::from(self.count)]
    }
}

/// 256 parts by weight, the remainder to the largest fractions; each gets at least one.
pub(super) fn apportion(weights: &[u32]) -> [u16; MAX_SHARES] {
    let total: u64 = weights.iter().map(|&weight| u64::from(weight)).sum();
    let exact = |weight: u32| u64::from(weight) * 256;
    let mut all = [0; MAX_SHARES];
    let parts = &mut all[..weights.len()];
    for (part, &weight) in parts.iter_mut().zip(weights) {
        *part = (exact(weight) / total).max(1) as u16; // at most 256
    }
    // The floor left some parts over: one each to whoever is furthest below its due.
    while parts.iter().sum::<u16>() < 256 {
        let excess = |index: usize| i128::from(parts[index]) * i128::from(total) - i128::from(exact(weights[index]));
        let neediest = (0..parts.len()).min_by_key(|&index| excess(index)).expect("a split is not empty");
        parts[neediest] += 1;
    }
    // Or the least part of one took too many: back from the largest.
    while parts.iter().sum::<u16>() > 256 {
        *parts.iter_mut().max().expect("a split is not empty") -= 1;
    }
    all
}

/// Who is asking (BEHAVIOUR rule 8).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Client {
    /// By the address of a client subnet option.
    Subnet(IpAddr),
    /// By the address that the query came from.
    Resolver(IpAddr),
}

/// What a split picks by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientKey(pub u64);

/// The key of a client of the service salted `service`. A client subnet is cut to /24 or /48 first;
/// where there is none, the whole address of the resolver tells clients apart.
#[must_use]
pub fn client_key(service: u64, client: Client) -> ClientKey {
    let folded = match client {
        Client::Subnet(IpAddr::V4(v4)) => u64::from(v4.to_bits() >> 8),
        Client::Subnet(IpAddr::V6(v6)) => (v6.to_bits() >> 80) as u64 | 1 << 63,
        Client::Resolver(IpAddr::V4(v4)) => u64::from(v4.to_bits()) | 1 << 62,
        Client::Resolver(IpAddr::V6(v6)) => mix((v6.to_bits() >> 64) as u64) ^ v6.to_bits() as u64,
    };
    ClientKey(mix(service ^ mix(folded)))
}

/// The only way from a split to a member: weighted rendezvous hashing. When shares change, only the
/// clients that must move do: a member that gains takes from those that lose and from no one else.
#[inline]
#[must_use]
pub fn pick(split: &Split, key: ClientKey) -> Member {
    match split.shares() {
        [only] => only.member,
        // The logarithm keeps the order of hashes, and all are divided alike: the least cost is that of the
        // largest hash.
        shares if split.even => {
            let hash = |share: &Share| mix(key.0 ^ share.salt) >> 11;
            let (mut best, mut most) = (shares[0].member, hash(&shares[0]));
            for share in &shares[1..] {
                let hash = hash(share);
                if hash > most {
                    (best, most) = (share.member, hash);
                }
            }
            best
        }
        shares => least_cost(shares, key),
    }
}

fn least_cost(shares: &[Share], key: ClientKey) -> Member {
    let cost = |share: &Share| -unit(mix(key.0 ^ share.salt)).ln() / f64::from(share.parts);
    let least = shares.iter().map(|share| (cost(share), share.member)).min_by(|(a, _), (b, _)| a.total_cmp(b));
    least.expect("a split is not empty").1
}

/// A name's salt: FNV-1a, then mixed. Seeds a service's spread and tells endpoints apart, alike on
/// every node and in every version.
#[must_use]
pub fn salt(name: &str) -> u64 {
    let fold = |hash: u64, octet: u8| (hash ^ u64::from(octet)).wrapping_mul(0x0100_0000_01b3);
    mix(name.bytes().fold(0xcbf2_9ce4_8422_2325, fold))
}

/// The finaliser of SplitMix64: every input bit moves every output bit.
fn mix(value: u64) -> u64 {
    let value = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

/// 53 bits of a hash as a figure in 0 < x ≤ 1.
fn unit(hash: u64) -> f64 {
    ((hash >> 11) + 1) as f64 / (1u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(parts: &[u16]) -> Split {
        let share = |(index, &parts): (usize, &u16)| Share {
            member: Member::at(index),
            parts,
            salt: salt(&format!("endpoint-{index}")),
        };
        Split::of(parts.iter().enumerate().map(share), parts.iter().all(|&part| part == parts[0]))
    }

    fn clients() -> impl Iterator<Item = ClientKey> {
        (0..100_000u32).map(|n| client_key(salt("www"), Client::Subnet(IpAddr::from((n << 8).to_be_bytes()))))
    }

    #[test]
    fn parts_add_up() {
        assert_eq!(apportion(&[100]), [256, 0, 0, 0]);
        assert_eq!(apportion(&[100, 100, 100]), [86, 85, 85, 0]);
        assert_eq!(apportion(&[1, 1_000_000]), [1, 255, 0, 0]);
        assert_eq!(apportion(&[1, 1, 1, u32::MAX]), [1, 1, 1, 253]);
        assert_eq!(apportion(&[300, 100]), [192, 64, 0, 0]);
    }

    #[test]
    fn picks_are_weighted() {
        let split = split(&[192, 64]);
        let second = clients().filter(|&key| pick(&split, key) == Member(1)).count();
        assert!((24_000..26_000).contains(&second), "{second}");
    }

    #[test]
    fn a_step_moves_only_the_clients_that_it_must() {
        let (before, after) = (split(&[128, 128]), split(&[192, 64]));
        let mut moved = 0;
        for key in clients() {
            let (from, to) = (pick(&before, key), pick(&after, key));
            assert!(from == to || to == Member(0), "the one that loses gains no client");
            moved += usize::from(from != to);
        }
        assert!((23_500..26_500).contains(&moved), "a quarter of the clients: {moved}");
    }

    /// Equal weights of three come to 86, 85 and 85 parts, which the picking does not go by.
    #[test]
    fn equal_weights_share_evenly_and_step_like_others() {
        let even = Split { even: true, ..split(&[86, 85, 85]) };
        let mut counts = [0; 3];
        clients().for_each(|key| counts[pick(&even, key).index()] += 1);
        assert!(counts.iter().all(|count| (32_800..33_900).contains(count)), "{counts:?}");
        let heavier = split(&[128, 64, 64]);
        assert!(!heavier.even);
        for key in clients() {
            let (from, to) = (pick(&even, key), pick(&heavier, key));
            assert!(from == to || to == Member(0), "the ones that lose gain no client");
        }
    }

    #[test]
    fn even_shares_pick_as_costs_do() {
        for split in [split(&[128, 128]), split(&[64, 64, 64, 64])] {
            assert!(split.even);
            assert!(clients().all(|key| pick(&split, key) == least_cost(split.shares(), key)));
        }
    }

    #[test]
    fn keys_are_prefixes_and_seeded_by_the_service() {
        let key = |service, client: &str| client_key(salt(service), Client::Subnet(client.parse().unwrap()));
        let resolver = |client: &str| client_key(salt("www"), Client::Resolver(client.parse().unwrap()));
        assert_eq!(key("www", "192.0.2.1"), key("www", "192.0.2.200"));
        assert_ne!(key("www", "192.0.2.1"), key("www", "192.0.3.1"));
        assert_ne!(key("www", "192.0.2.1"), key("api", "192.0.2.1"));
        assert_eq!(key("www", "2001:db8:1:2::1"), key("www", "2001:db8:1:ffff::1"));
        assert_ne!(resolver("192.0.2.1"), resolver("192.0.2.2"), "a resolver is told by its whole address");
        assert_ne!(resolver("2001:db8::1"), resolver("2001:db8::2"));
        // The figure itself is a promise between nodes and versions.
        assert_eq!(key("www", "192.0.2.1"), ClientKey(9_208_724_047_751_170_504));
    }
}
