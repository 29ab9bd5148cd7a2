//! How often a network may ask and report.
//!
//! A table of fixed size, in sets of four. An entry holds the time at which all that its network has had would be paid
//! for at the rate (GCRA); it may lie a minute ahead. Where a set is full, the entry whose time lies furthest back makes
//! room: mostly one that owes nothing.

use std::hash::{BuildHasher as _, RandomState};

use super::client::Prefix;

const MINUTE_MS: u64 = 60_000;
/// Between two of a network that has sixty in a minute, and as many at once.
const NETWORK_MS: u64 = MINUTE_MS / 60;
/// The same of all networks of an IPv6 /32 together, which have a thousand.
const ALLOCATION_MS: u64 = MINUTE_MS / 1000;
const WAYS: usize = 4;
/// 16,384 networks, 256 KiB.
const SETS: usize = 1 << 12;

#[derive(Clone, Copy, Default)]
struct Entry {
    /// 0: free.
    prefix: u64,
    due_ms: u64,
}

/// What networks have had.
pub(super) struct Limiter {
    sets: Box<[[Entry; WAYS]]>,
    /// Nobody outside knows it, so nobody chooses whose entries meet in a set.
    random: RandomState,
}

impl Default for Limiter {
    fn default() -> Self {
        Self { sets: vec![[Entry::default(); WAYS]; SETS].into(), random: RandomState::new() }
    }
}

impl Limiter {
    /// May the network have one more at `now_ms`, a time that never goes back? If so, it has had it.
    pub(super) fn take(&mut self, prefix: Prefix, now_ms: u64) -> bool {
        let allocation = prefix.allocation().map(|allocation| (allocation, ALLOCATION_MS));
        let limits = || [(prefix, NETWORK_MS)].into_iter().chain(allocation);
        let due_ms = |entry: &Entry, interval_ms| entry.due_ms.max(now_ms) + interval_ms;
        let has_room =
            limits().all(|(prefix, interval_ms)| due_ms(self.entry(prefix), interval_ms) <= now_ms + MINUTE_MS);
        for (prefix, interval_ms) in limits().filter(|_| has_room) {
            let entry = self.entry(prefix);
            entry.due_ms = due_ms(entry, interval_ms);
        }
        has_room
    }

    /// The one of this prefix; where there is none, in place of another.
    fn entry(&mut self, prefix: Prefix) -> &mut Entry {
        let (prefix, set) = (prefix.number(), self.random.hash_one(prefix.number()) as usize % SETS);
        let set = &mut self.sets[set];
        let known = set.iter().position(|entry| entry.prefix == prefix);
        let way = known.unwrap_or_else(|| {
            let oldest = (0..WAYS).min_by_key(|&way| set[way].due_ms).expect("a set has entries");
            set[oldest] = Entry { prefix, due_ms: 0 };
            oldest
        });
        &mut set[way]
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn prefix(text: &str) -> Prefix {
        Prefix::of(text.parse().unwrap())
    }

    #[test]
    fn sixty_at_once_and_then_one_a_second() {
        let (mut limiter, here) = (Limiter::default(), prefix("192.0.2.1"));
        let mut take = |from: Prefix, at_ms: u64, times: u64| (0..times).filter(|_| limiter.take(from, at_ms)).count();
        assert_eq!(take(here, 5, 100), 60);
        assert_eq!(take(prefix("192.0.2.99"), 900, 10), 0, "the same network");
        assert_eq!(take(prefix("192.0.3.1"), 900, 10), 10, "another");
        assert_eq!(take(here, 1005, 10), 1);
        assert_eq!(take(here, 11_005, 20), 10, "what was refused is not owed");
        assert_eq!(take(here, 10_000_000, 100), 60);
    }

    #[test]
    fn who_has_a_whole_allocation_has_no_more_for_each_part_of_it() {
        let mut limiter = Limiter::default();
        let of_part = |part: u16| prefix(&format!("2001:db8:{part:x}::1"));
        let taken = (0..2000).filter(|&part| limiter.take(of_part(part), 0)).count();
        assert_eq!(taken, 1000);
        assert!(limiter.take(prefix("2001:db9::"), 0), "another allocation");
        assert_eq!((0..100).filter(|_| limiter.take(prefix("2001:dba::"), 0)).count(), 60, "one network");
    }

    #[test]
    fn a_flood_from_everywhere_is_bounded_and_lifts_no_limit_in_use() {
        let (mut limiter, here) = (Limiter::default(), prefix("192.0.2.1"));
        let mut taken = 0;
        for n in 0..200_000_u64 {
            taken += u64::from(limiter.take(here, n / 20)); // ten seconds in all
            let other = IpAddr::V4(((n as u32).wrapping_mul(0x9e37_79b1) & 0xffff_ff00).into());
            limiter.take(Prefix::of(other), n / 20);
        }
        assert!((69..=70).contains(&taken), "{taken}");
        assert_eq!(limiter.sets.len(), SETS);
    }
}
