//! Response-rate limiting: a forged source address shall not make us flood its owner.
//!
//! ```text
//! reply by UDP ─ free? ─▶ sent                       positive, at most 1.5 times the query; allowed source; valid cookie
//!      └ (source, kind) ─▶ table ─ within the rate ─▶ sent
//!                                 └ over it ─▶ not sent; every `slip`th cut short: TC, or BADCOOKIE to who has a cookie
//! ```
//! The source is the transport's, /24 or /56, never the client subnet, which costs nothing to vary. The table is a
//! worker's own: nothing is shared, so one source that reaches all workers gets the rate from each of them.
//!
//! Each entry holds the time at which all that was sent would have been sent at the rate (as GCRA has it, the
//! virtual scheduling of ITU-T I.371); it may lie a second ahead, which is the burst. What is not sent is not
//! charged, so a source over the limit gets the rate, not nothing. Where a set of four is full, the entry whose time
//! lies furthest back makes room: mostly one that has all its burst again, so nothing is forgotten with it.

use std::net::IpAddr;

use arrayvec::ArrayVec;

use super::{Answered, Vouched};
use crate::config::RateLimit;
use crate::model::Source;
use crate::table::{Cells, LIMITED_ACTIONS, LIMITED_KINDS, Snapshot, Talkers};
use crate::wire::{BATCH, Batch, Cut, cut};

/// Entries of a set, which is a cache line.
const WAYS: usize = 4;
/// A worker's sets: 65,536 entries, 1 MB.
const SETS: usize = 1 << 14;
/// Parts of a microsecond, in which times are kept, so that 100,000 a second lie a whole number of them apart.
const PARTS: u64 = 16;
const SECOND: u64 = 1_000_000 * PARTS;
/// Bits of a state behind its time: how many were held back since one was let slip.
const HELD_BITS: u32 = 8;

/// What kind of reply this is; indexes [`LIMITED_KINDS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It has answers, and is longer than they are free for.
    Answer,
    /// The type does not exist.
    NoData,
    /// The name does not exist.
    NxDomain,
    /// Others have it.
    Referral,
    /// It says what is wrong.
    Error,
}

const _: () = assert!(LIMITED_KINDS.len() == Kind::Error as usize + 1);

impl Kind {
    /// Of a reply of ours to a query of this length; none: it is not limited.
    fn of(query_length: usize, reply: &[u8]) -> Option<Self> {
        let &[_, _, flags, codes, _, _, a, b, c, d, ..] = reply else { return None };
        let (answers, authorities) = (a | b, c | d);
        match codes & 0xf {
            3 => Some(Self::NxDomain),
            0 if answers > 0 && 2 * reply.len() <= 3 * query_length => None,
            // Truncated is what would have been longer still.
            0 if answers > 0 || flags & 2 != 0 => Some(Self::Answer),
            0 if authorities > 0 && flags & 4 == 0 => Some(Self::Referral),
            0 if authorities > 0 => Some(Self::NoData),
            // Empty: BADVERS, whose lower bits are 0, among them.
            _ => Some(Self::Error),
        }
    }
}

/// What is done with a reply over its limit; indexes [`LIMITED_ACTIONS`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    /// It is not sent.
    Dropped,
    /// Its records are not sent, with TC.
    Truncated,
    /// The same with BADCOOKIE.
    BadCookie,
    /// It is sent.
    Logged,
}

const _: () = assert!(LIMITED_ACTIONS.len() == Action::Logged as usize + 1);

/// What becomes of a reply over its limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Excess {
    /// It is not sent.
    Hold,
    /// It is cut short.
    Slip,
}

/// What is known of a batch's answers, where it says so a bit for each.
#[derive(Default)]
pub(super) struct Marks {
    /// It may be over a limit however long it is.
    pub(super) limitable: u64,
    /// [`Vouched::Asks`]
    pub(super) asks: u64,
    /// [`Vouched::Yes`]
    pub(super) vouched: u64,
    /// It was answered by the other path, to its cookie too.
    pub(super) apart: u64,
    /// Those that came by a proxy, and whose they are.
    pub(super) proxied: ArrayVec<(usize, IpAddr), BATCH>,
}

impl Marks {
    /// Takes in what the other path says of a query; the length of the reply.
    #[inline(always)]
    pub(super) fn add(&mut self, index: usize, answered: Answered) -> usize {
        let Answered { length, vouched, proxied } = answered;
        self.limitable |= 1 << index;
        self.apart |= 1 << index;
        self.asks |= u64::from(vouched == Vouched::Asks) << index;
        self.vouched |= u64::from(vouched == Vouched::Yes) << index;
        if let Some(client) = proxied {
            self.proxied.push((index, client));
        }
        length
    }
}

/// A worker's table.
pub(super) struct Limiter {
    sets: Box<[Set]>,
    /// Odd; nobody outside knows it, so nobody chooses whose entries meet in a set.
    seed: u64,
}

#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Set {
    /// Source and kind; 0: free.
    keys: [u64; WAYS],
    /// Time, and what was held back.
    states: [u64; WAYS],
}

impl Limiter {
    pub(super) fn new(seed: u64) -> Self {
        Self { sets: vec![Set::default(); SETS].into(), seed: seed | 1 }
    }

    /// Holds back or cuts short the replies of an answered batch that are over a limit at `now`, in microseconds of
    /// Unix time. `asked` are the lengths of the queries.
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "one call, from the end of a batch")]
    pub(super) fn hold_back(
        &mut self,
        snapshot: &Snapshot,
        cells: &Cells,
        limited: &Talkers,
        batch: &mut Batch,
        asked: &[u16; BATCH],
        marks: &Marks,
        now: u64,
    ) {
        let limit = &snapshot.parts.config.rate_limit;
        let intervals = Intervals::of(limit);
        let mut due = marks.limitable;
        for (index, (asked, length)) in asked.iter().zip(&batch.lengths).enumerate().take(batch.count) {
            due |= u64::from(3 * asked < 2 * length) << index;
        }
        due &= !marks.vouched;
        while due != 0 {
            let index = due.trailing_zeros() as usize;
            due &= due - 1;
            let length = &mut batch.lengths[index];
            let proxied = marks.proxied.iter().find(|(other, _)| *other == index);
            let client = proxied.map_or(batch.clients[index].ip(), |(_, client)| *client);
            let reply = &mut batch.slots[index][..usize::from(*length)];
            let Some(kind) = Kind::of(asked[index].into(), reply) else { continue };
            let Some(excess) = self.take(limit, &intervals, client, kind, now) else { continue };
            let action = match excess {
                _ if limit.log_only => Action::Logged,
                Excess::Hold => Action::Dropped,
                Excess::Slip if marks.asks >> index & 1 != 0 => Action::BadCookie,
                Excess::Slip => Action::Truncated,
            };
            match action {
                Action::Logged => {}
                Action::Dropped => *length = 0,
                Action::BadCookie => *length = cut(reply, Cut::BadCookie) as u16,
                Action::Truncated => *length = cut(reply, Cut::Truncated) as u16,
            }
            cells.count(snapshot.limited_counters[kind as usize][action as usize]);
            limited.count(Source::of(client), 1, (now / 1_000_000) as u32);
        }
    }

    /// Takes one reply of this kind from what `client` has left at `now`, in microseconds of Unix time; none: it is
    /// within the limit.
    fn take(
        &mut self,
        limit: &RateLimit,
        intervals: &Intervals,
        client: IpAddr,
        kind: Kind,
        now: u64,
    ) -> Option<Excess> {
        let interval = if kind == Kind::Error { intervals.errors } else { intervals.answers }?;
        let key = Source::of(client).number() << 3 | kind as u64;
        let now = now.saturating_mul(PARTS);
        let excess = self.state(key, now).take(interval, now, limit.slip)?;
        // Asked last: nearly nobody is over a limit.
        (!limit.allow.contains(client)).then_some(excess)
    }

    fn state(&mut self, key: u64, now: u64) -> State<'_> {
        let index = (key.wrapping_mul(self.seed) >> (u64::BITS - SETS.trailing_zeros())) as usize;
        let Set { keys, states } = &mut self.sets[index];
        let found = keys.iter().position(|&known| known == key).unwrap_or_else(|| {
            // A time that lies further ahead than any burst is from before the clock was set back.
            let time = |way: usize| Some(states[way] >> HELD_BITS).filter(|time| *time <= now + SECOND);
            let oldest = (0..WAYS).min_by_key(|&way| (keys[way] != 0, time(way))).expect("a set has entries");
            (keys[oldest], states[oldest]) = (key, 0);
            oldest
        });
        State(&mut states[found])
    }
}

/// Between two replies at the rates, in parts of a microsecond.
struct Intervals {
    answers: Option<u64>,
    errors: Option<u64>,
}

impl Intervals {
    fn of(limit: &RateLimit) -> Self {
        let interval = |rate: Option<u32>| rate.map(|rate| SECOND / u64::from(rate));
        Self { answers: interval(limit.answers), errors: interval(limit.errors) }
    }
}

struct State<'a>(&'a mut u64);

impl State<'_> {
    fn take(self, interval: u64, now: u64, slip: u8) -> Option<Excess> {
        let held = *self.0 as u8;
        // No further ahead than the burst, in case the clock was set back.
        let due = (*self.0 >> HELD_BITS).clamp(now, now + SECOND);
        if due + interval <= now + SECOND {
            *self.0 = (due + interval) << HELD_BITS | u64::from(held);
            return None;
        }
        let slips = slip > 0 && held.saturating_add(1) >= slip;
        *self.0 = due << HELD_BITS | if slips { 0 } else { u64::from(held.saturating_add(1)) };
        Some(if slips { Excess::Slip } else { Excess::Hold })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A million microseconds.
    const SECOND_US: u64 = 1_000_000;
    const START: u64 = 1_800_000_000 * SECOND_US;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// Sent, cut short, and not sent of `count` asked in equal steps over the time.
    fn ask(
        limiter: &mut Limiter,
        limit: &RateLimit,
        from: &str,
        kind: Kind,
        count: u64,
        time: std::ops::Range<u64>,
    ) -> [u64; 3] {
        let mut figures = [0; 3];
        for n in 0..count {
            let now = time.start + (time.end - time.start) * n / count;
            figures[match limiter.take(limit, &Intervals::of(limit), ip(from), kind, now) {
                None => 0,
                Some(Excess::Slip) => 1,
                Some(Excess::Hold) => 2,
            }] += 1;
        }
        figures
    }

    #[test]
    fn a_flood_gets_the_rate_and_a_second_s_burst() {
        let (mut limiter, limit) = (Limiter::new(7), RateLimit::default());
        let ten = START..START + 10 * SECOND_US;
        let [sent, slipped, held] = ask(&mut limiter, &limit, "192.0.2.1", Kind::Answer, 500_000, ten.clone());
        assert!(sent.abs_diff(55_000) <= 1, "{sent}");
        assert!(slipped.abs_diff(held) <= 1, "{slipped} of {held}");
        let [sent, ..] = ask(&mut limiter, &limit, "192.0.2.1", Kind::Error, 10_000, ten.clone());
        assert!(sent.abs_diff(2_200) <= 1, "{sent}: kinds have limits of their own");
        let [sent, ..] = ask(&mut limiter, &limit, "192.0.3.1", Kind::Answer, 50_000, ten.clone());
        assert_eq!(sent, 50_000, "another source, at the rate");
        let [sent, ..] = ask(&mut limiter, &limit, "192.0.2.255", Kind::Answer, 10, ten.end..ten.end);
        assert!(sent <= 1, "the same source: {sent}");
        let later = ten.end + SECOND_US;
        let [sent, ..] = ask(&mut limiter, &limit, "192.0.2.1", Kind::Answer, 10_000, later..later);
        assert_eq!(sent, 5_000, "after a second all the burst is there again");
    }

    #[test]
    fn what_slips() {
        for (slip, expected) in [(0, [1, 0, 99]), (1, [1, 99, 0]), (2, [1, 49, 50]), (10, [1, 9, 90])] {
            let limit = RateLimit { answers: Some(1), slip, ..RateLimit::default() };
            let found = ask(&mut Limiter::new(1), &limit, "::1", Kind::NxDomain, 100, START..START);
            assert_eq!(found, expected, "{slip}");
        }
    }

    #[test]
    fn a_limit_that_let_none_slip_can_be_changed() {
        let (mut limiter, none) = (Limiter::new(1), RateLimit { answers: Some(1), slip: 0, ..RateLimit::default() });
        assert_eq!(ask(&mut limiter, &none, "192.0.2.1", Kind::Answer, 1000, START..START), [1, 0, 999]);
        let second = RateLimit { slip: 2, ..none };
        assert_eq!(ask(&mut limiter, &second, "192.0.2.1", Kind::Answer, 101, START..START), [0, 51, 50]);
    }

    #[test]
    fn no_limit_for_whom_it_is_lifted() {
        let limit = RateLimit {
            answers: None,
            errors: Some(1),
            allow: ["10.0.0.0/8".parse().unwrap()].into_iter().collect(),
            ..RateLimit::default()
        };
        for (from, kind, expected) in [
            ("192.0.2.1", Kind::Answer, 100),
            ("192.0.2.1", Kind::Error, 1),
            ("10.1.2.3", Kind::Error, 100),
            ("::ffff:10.1.2.3", Kind::Error, 100),
        ] {
            assert_eq!(ask(&mut Limiter::new(1), &limit, from, kind, 100, START..START)[0], expected, "{from}");
        }
    }

    #[test]
    fn a_clock_set_back_locks_nobody_out() {
        let (mut limiter, limit) = (Limiter::new(1), RateLimit { answers: Some(10), ..RateLimit::default() });
        assert_eq!(ask(&mut limiter, &limit, "192.0.2.1", Kind::Answer, 20, START..START)[0], 10);
        let before = START - 3600 * SECOND_US;
        let [sent, ..] = ask(&mut limiter, &limit, "192.0.2.1", Kind::Answer, 20, before..before + 2 * SECOND_US);
        assert!((19..=20).contains(&sent), "{sent}");
    }

    #[test]
    fn a_flood_from_everywhere_does_not_lift_the_limit_of_one() {
        let (mut limiter, limit) = (Limiter::new(0x1234_5678_9abc_def1), RateLimit::default());
        let (mut sent, mut others) = (0, 0);
        for n in 0..1_000_000_u64 {
            let now = START + n; // a second in all
            sent +=
                u64::from(limiter.take(&limit, &Intervals::of(&limit), ip("192.0.2.1"), Kind::Answer, now).is_none());
            let other = IpAddr::V4((0x0a00_0000 | (n as u32).wrapping_mul(0x9e37_79b1) >> 8 << 8).into());
            others += u64::from(limiter.take(&limit, &Intervals::of(&limit), other, Kind::Answer, now).is_none());
        }
        assert!((9_999..=10_001).contains(&sent), "{sent}");
        assert_eq!(others, 1_000_000);
    }

    #[test]
    fn kinds() {
        let reply = |flags: u8, rcode: u8, answers: u8, authorities: u8, length: usize| {
            let mut reply = vec![0; length];
            (reply[2], reply[3], reply[7], reply[9]) = (0x80 | flags, rcode, answers, authorities);
            reply
        };
        const AA: u8 = 4;
        const TC: u8 = 2;
        for (flags, rcode, answers, authorities, length, expected) in [
            (AA, 0, 1, 0, 60, None),
            (AA, 0, 1, 0, 61, Some(Kind::Answer)),
            (AA | TC, 0, 0, 0, 40, Some(Kind::Answer)),
            (AA, 0, 0, 1, 60, Some(Kind::NoData)),
            (0, 0, 0, 1, 60, Some(Kind::Referral)),
            (AA, 3, 0, 1, 60, Some(Kind::NxDomain)),
            (AA, 3, 1, 1, 60, Some(Kind::NxDomain)),
            (0, 5, 0, 0, 40, Some(Kind::Error)),
            (0, 0, 0, 0, 40, Some(Kind::Error)), // BADVERS
            (AA, 6, 1, 0, 60, Some(Kind::Error)),
        ] {
            let reply = reply(flags, rcode, answers, authorities, length);
            assert_eq!(Kind::of(40, &reply), expected, "{reply:?}");
        }
        assert_eq!(Kind::of(40, &[]), None);
    }
}
