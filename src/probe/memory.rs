//! What is known of one hostname: the last good addresses of each family, and for how long.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::model::Family;

/// While resolving fails, and at the soonest after a good answer.
pub(super) const RETRY: Duration = Duration::from_secs(5);
/// At the latest after a good answer; longer TTLs are cut to it.
pub(super) const MAX_TTL: Duration = Duration::from_secs(3600);
/// TTL of last good addresses while resolving fails (RFC 8767 §4).
const STALE_TTL: Duration = Duration::from_secs(30);
/// Per family; of more, the lowest are taken, so that a rotating answer changes nothing.
const MAX_ADDRESSES: usize = 16;

/// What the servers said of one family. No addresses: the name has none of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) ttl: Duration,
}

/// What holds for now.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) addresses: Vec<IpAddr>,
    pub(super) ttl: Duration,
    /// When to ask again.
    pub(super) again_in: Duration,
}

/// The last good answers by family, and when they came.
#[derive(Debug, Default)]
pub(super) struct Memory([Option<(Answer, Instant)>; 2]);

impl Memory {
    /// Takes in what came for each family; says what holds.
    ///
    /// Last good addresses of a family are kept for `keep_for` while its answer fails. A name
    /// without any address counts as failing, too: more often it is a slip in somebody's zone than
    /// an end. Probes tell whether the addresses still live.
    pub(super) fn observe(&mut self, now: Instant, answers: [Result<Answer, String>; 2], keep_for: Duration) -> Known {
        let empty = |answer: &Result<Answer, String>| answer.as_ref().is_ok_and(|answer| answer.addresses.is_empty());
        let nothing = answers.iter().all(empty);
        let mut again_in = MAX_TTL;
        let mut ttl = MAX_TTL;
        for (family, answer) in Family::ALL.into_iter().zip(answers) {
            let last_good = &mut self.0[family as usize];
            let fresh = answer.ok().filter(|_| !nothing);
            again_in = again_in.min(fresh.as_ref().map_or(RETRY, |answer| answer.ttl));
            let limit = if fresh.is_some() { MAX_TTL } else { STALE_TTL };
            if let Some(answer) = fresh {
                *last_good = Some((tidy(answer), now));
            }
            if last_good.as_ref().is_some_and(|(_, at)| now.saturating_duration_since(*at) > keep_for) {
                *last_good = None;
            }
            if let Some((answer, _)) = last_good.as_ref().filter(|(answer, _)| !answer.addresses.is_empty()) {
                ttl = ttl.min(answer.ttl).min(limit);
            }
        }
        let addresses: Vec<_> = self.0.iter().flatten().flat_map(|(answer, _)| &answer.addresses).copied().collect();
        let ttl = if addresses.is_empty() { RETRY } else { ttl };
        Known { addresses, ttl, again_in: again_in.max(RETRY) }
    }
}

/// Sorted, each once, and not too many.
fn tidy(mut answer: Answer) -> Answer {
    answer.addresses.sort_unstable();
    answer.addresses.dedup();
    answer.addresses.truncate(MAX_ADDRESSES);
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const KEEP: Duration = Duration::from_secs(600);

    fn good(addresses: &[&str], ttl: u64) -> Result<Answer, String> {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Ok(Answer { addresses, ttl: Duration::from_secs(ttl) })
    }

    fn bad() -> Result<Answer, String> {
        Err("no answer".to_owned())
    }

    fn known(addresses: &[&str], ttl: u64, again_in: u64) -> Known {
        let addresses = addresses.iter().map(|text| text.parse().unwrap()).collect();
        Known { addresses, ttl: Duration::from_secs(ttl), again_in: Duration::from_secs(again_in) }
    }

    const V4: &str = "203.0.113.20";
    const V6: &str = "2001:db8::20";

    #[test]
    fn the_shortest_ttl_rules_within_bounds() {
        let mut memory = Memory::default();
        let now = Instant::now();
        let mut observe = |v4, v6| memory.observe(now, [v4, v6], KEEP);
        assert_eq!(observe(good(&[V4], 60), good(&[V6], 20)), known(&[V4, V6], 20, 20));
        assert_eq!(observe(good(&[V4], 60), good(&[], 20)), known(&[V4], 60, 20));
        assert_eq!(observe(good(&[V4], 1), good(&[V6], 20)), known(&[V4, V6], 1, 5));
        assert_eq!(observe(good(&[V4], 90_000), good(&[V6], 90_000)), known(&[V4, V6], 3600, 3600));
    }

    #[test]
    fn a_rotating_or_long_answer_is_the_same_answer() {
        let mut memory = Memory::default();
        let now = Instant::now();
        let many: Vec<IpAddr> = (0..40).map(|last| IpAddr::from([203, 0, 113, last])).collect();
        let turned: Vec<IpAddr> = many.iter().rev().chain(&many).copied().collect();
        let mut observe = |addresses: Vec<IpAddr>| {
            memory.observe(now, [Ok(Answer { addresses, ttl: SECOND }), good(&[], 1)], KEEP).addresses
        };
        assert_eq!(observe(many.clone()), observe(turned));
        assert_eq!(observe(many.clone()), &many[..MAX_ADDRESSES]);
    }

    #[test]
    fn last_good_addresses_are_kept_family_by_family() {
        let mut memory = Memory::default();
        let start = Instant::now();
        let mut observe = |second: u64, v4, v6| memory.observe(start + Duration::from_secs(second), [v4, v6], KEEP);
        assert_eq!(observe(0, bad(), bad()), known(&[], 5, 5), "nothing was ever known");
        assert_eq!(observe(5, good(&[V4], 60), good(&[V6], 60)), known(&[V4, V6], 60, 60));
        assert_eq!(observe(65, good(&[V4], 60), bad()), known(&[V4, V6], 30, 5), "stale: RFC 8767");
        assert_eq!(observe(605, bad(), bad()), known(&[V4, V6], 30, 5));
        assert_eq!(observe(606, bad(), bad()), known(&[V4], 30, 5), "keep_for is over for IPv6");
        assert_eq!(observe(665, good(&[], 60), good(&[], 60)), known(&[V4], 30, 5), "NXDOMAIN fails, too");
        assert_eq!(observe(666, good(&[], 60), good(&[], 60)), known(&[], 5, 5));
        assert_eq!(observe(671, good(&[], 60), good(&[V6], 60)), known(&[V6], 60, 60), "it is back");
    }
}
