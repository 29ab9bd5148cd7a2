//! How a prefix's sessions are kept: packed into 32-bit words.
//!
//! ```text
//! session   minutes since 1970: 26 bits, absolute: 1, samples: 5
//! sample    site: 12 bits, round trip: 20, in 1/64 ms             (ascending by site)
//! …
//! ```
//!
//! Sessions are sorted by time, those of one minute by their content, so that it does not matter in which order they came; and by
//! a hash of it, so that what stays of a busy minute is drawn by lot: by the figures themselves it would be the slowest.
//!
//! Of a site the newest [`AMPLE`] sessions are enough, so a prefix whose clients measure the same three sites has eight. Where
//! services have other sites each, or exploring goes round, they are more, up to [`MAX_WORDS`] (32 sessions of three sites) and
//! [`MAX_SITES`]; or [`FAIR_WORDS`], eight of these, once the store is full. What goes then, [`trimmed`] says.

use std::cmp::Ordering;
use std::ops::RangeInclusive;

use arrayvec::ArrayVec;
use jiff::Timestamp;

use super::store::spread;
use super::{Kind, TargetId};

/// Of a prefix, while the store has room.
pub(super) const MAX_WORDS: usize = 128;
/// What each prefix may have where all have as much.
pub(super) const FAIR_WORDS: usize = 32;
/// Of a session.
const MAX_SAMPLES: usize = 8;
/// Sessions of a full record have two words or more; and one that comes.
const MAX_SESSIONS: usize = MAX_WORDS / 2 + 1;
/// Bits of a round trip.
const MS_BITS: u32 = 20;
/// Of so many to a ms.
const UNITS: f32 = 64.0;
/// Longer ones are none.
const LONGEST_MS: f32 = 10_000.0;
const COUNT_BITS: u32 = 5;
const ABSOLUTE: u32 = 1 << COUNT_BITS;
const MINUTE_SHIFT: u32 = COUNT_BITS + 1;
/// As many sites as have numbers in a sample.
pub(super) const MAX_TARGETS: usize = 1 << (32 - MS_BITS);
/// Sites of a prefix: what is worked out of them takes time by their third power.
const MAX_SITES: usize = 32;
/// A session all of whose sites so many newer ones hold, too, says nothing more …
const AMPLE: usize = 8;
/// … and with so many, where there is no room, says least.
const ENOUGH: usize = 3;

type Sessions<'a> = ArrayVec<Seen<'a>, MAX_SESSIONS>;
/// The words of one session.
pub(super) type Packed = ArrayVec<u32, { MAX_SAMPLES + 1 }>;

/// The last minute that a record can keep, in 2097.
pub(super) const LAST_MINUTE: u32 = u32::MAX >> MINUTE_SHIFT;

/// A time as the record keeps it: minutes since 1970.
pub(super) fn minute(at: Timestamp) -> u32 {
    (at.as_second() / 60).clamp(0, i64::from(LAST_MINUTE)) as u32
}

/// The time of such a minute.
pub(super) fn time_of(minute: u32) -> Timestamp {
    Timestamp::from_second(i64::from(minute) * 60).unwrap_or_default()
}

/// A session as it is kept; in the order of the record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen<'a>(&'a [u32]);

impl<'a> Seen<'a> {
    /// When, as of [`minute`].
    pub(super) fn minute(self) -> u32 {
        self.0[0] >> MINUTE_SHIFT
    }

    pub(super) fn is_absolute(self) -> bool {
        self.0[0] & ABSOLUTE != 0
    }

    /// Round trips in ms, ascending by site, of which each has one.
    pub(super) fn samples(self) -> impl Iterator<Item = (TargetId, f64)> + Clone + 'a {
        let ms = |word: u32| f64::from(word & ((1 << MS_BITS) - 1)) / f64::from(UNITS);
        self.0[1..].iter().map(move |&word| (TargetId((word >> MS_BITS) as u16), ms(word)))
    }

    fn holds(self, target: TargetId) -> bool {
        self.samples().any(|(other, _)| other == target)
    }

    fn lot(self) -> u64 {
        self.0.iter().fold(0, |lot, &word| spread(lot ^ u64::from(word)))
    }
}

impl Ord for Seen<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_lot = || self.lot().cmp(&other.lot()).then_with(|| self.0.cmp(other.0));
        self.minute().cmp(&other.minute()).then_with(by_lot)
    }
}

impl PartialOrd for Seen<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// What is kept of a session; none: nothing, since its samples are none, or too few to compare.
pub(super) fn pack(kind: Kind, samples: &[(TargetId, f32)], targets: usize, now: Timestamp) -> Option<Packed> {
    let mut nearest = ArrayVec::<(u32, TargetId), MAX_SAMPLES>::new();
    for &(target, ms) in samples {
        if target.index() >= targets || !(ms > 0.0 && ms <= LONGEST_MS) {
            continue;
        }
        let sample = (((ms * UNITS).round() as u32).max(1), target);
        if let Some(known) = nearest.iter_mut().find(|(_, known)| *known == target) {
            *known = sample.min(*known);
        } else if !nearest.is_full() {
            nearest.push(sample);
        } else if let Some(farthest) = nearest.iter_mut().max() {
            *farthest = sample.min(*farthest);
        }
    }
    let (least, flag) = match kind {
        Kind::Relative => (2, 0),
        Kind::Absolute => (1, ABSOLUTE),
    };
    if nearest.len() < least {
        return None;
    }
    nearest.sort_unstable_by_key(|(_, target)| *target);
    let mut packed = Packed::new();
    packed.push(minute(now) << MINUTE_SHIFT | flag | nearest.len() as u32);
    packed.extend(nearest.iter().map(|&(units, target)| u32::from(target.0) << MS_BITS | units));
    Some(packed)
}

/// A record's sessions, oldest first.
pub(super) fn sessions(words: &[u32]) -> impl Iterator<Item = Seen<'_>> {
    let mut rest = words;
    std::iter::from_fn(move || {
        let count = rest.first()? & ((1 << COUNT_BITS) - 1);
        let (session, others) = rest.split_at_checked(count as usize + 1)?;
        rest = others;
        Some(Seen(session))
    })
}

/// Is this a record as [`insert`] makes them, of so many sites, be it in order or not?
pub(super) fn is_whole(words: &[u32], targets: usize) -> bool {
    let covered: usize = sessions(words).map(|session| session.0.len()).sum();
    let is_sound = |session: Seen<'_>| {
        let count = session.samples().count();
        let ascending = session.samples().zip(session.samples().skip(1)).all(|(a, b)| a.0 < b.0);
        let known = session.samples().all(|(target, ms)| target.index() < targets && ms > 0.0);
        let least = if session.is_absolute() { 1 } else { 2 };
        (least..=MAX_SAMPLES).contains(&count) && ascending && known
    };
    !words.is_empty() && words.len() <= MAX_WORDS && covered == words.len() && sessions(words).all(is_sound)
}

/// A whole record with its sessions in order: an earlier version had another one within a minute.
pub(super) fn in_order(words: &[u32]) -> Box<[u32]> {
    let mut all: Vec<Seen<'_>> = sessions(words).collect();
    all.sort_unstable();
    all.iter().flat_map(|session| session.0).copied().collect()
}

/// The record with one session more, without what that makes needless.
pub(super) fn insert(words: &[u32], session: &Packed) -> Box<[u32]> {
    let mut all: Sessions<'_> = sessions(words).collect();
    let at = all.partition_point(|other| *other <= Seen(session));
    all.insert(at, Seen(session));
    while let Some(needless) = covered(&all, AMPLE) {
        all.remove(needless);
    }
    trim(all, MAX_WORDS)
}

/// The record cut to [`FAIR_WORDS`]: the oldest sessions go of which each site has [`ENOUGH`] newer samples; else the oldest.
pub(super) fn trimmed(words: &[u32]) -> Box<[u32]> {
    trim(sessions(words).collect(), FAIR_WORDS)
}

fn trim(mut all: Sessions<'_>, most: usize) -> Box<[u32]> {
    let mut length: usize = all.iter().map(|session| session.0.len()).sum();
    while length > most || sites(&all) > MAX_SITES {
        let gone = all.remove(covered(&all, ENOUGH).unwrap_or(0));
        length -= gone.0.len();
    }
    let mut words = Vec::with_capacity(length);
    all.iter().for_each(|session| words.extend_from_slice(session.0));
    words.into()
}

fn sites(sessions: &[Seen<'_>]) -> usize {
    let mut sites: ArrayVec<TargetId, { MAX_WORDS + MAX_SAMPLES }> =
        sessions.iter().flat_map(|session| session.samples()).map(|(target, _)| target).collect();
    sites.sort_unstable();
    sites.chunk_by(|a, b| a == b).count()
}

/// The oldest session of whose sites each has so many newer samples. Of differences there may be as many as you like: they are no
/// round trips.
fn covered(sessions: &[Seen<'_>], enough: usize) -> Option<usize> {
    let is_covered = |at: usize| {
        let tells = |session: &&Seen<'_>| session.is_absolute() || !sessions[at].is_absolute();
        let newer = |target| sessions[at + 1..].iter().filter(tells).filter(|session| session.holds(target)).count();
        sessions[at].samples().all(|(target, _)| newer(target) >= enough)
    };
    (0..sessions.len().saturating_sub(enough)).find(|&at| is_covered(at))
}

/// What of a record is of these minutes.
pub(super) fn within(words: &[u32], minutes: RangeInclusive<u32>) -> &[u32] {
    let length = |is_out: &dyn Fn(u32) -> bool| -> usize {
        let before = sessions(words).take_while(|session| is_out(session.minute()));
        before.map(|session| session.0.len()).sum()
    };
    let (from, to) = (length(&|minute| minute < *minutes.start()), length(&|minute| minute <= *minutes.end()));
    words.get(from..to).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_796_000_000, 0);

    fn packed(kind: Kind, samples: &[(u16, f32)]) -> Option<Packed> {
        let samples: Vec<_> = samples.iter().map(|&(target, ms)| (TargetId(target), ms)).collect();
        pack(kind, &samples, 100, NOW)
    }

    fn samples(packed: &Packed) -> Vec<(u16, f64)> {
        Seen(packed).samples().map(|(target, ms)| (target.0, ms)).collect()
    }

    #[test]
    fn what_is_kept_of_a_session() {
        let session = packed(Kind::Relative, &[(7, 20.0), (3, 10.5), (7, 15.0), (100, 9.0), (8, f32::NAN)]).unwrap();
        assert_eq!(samples(&session), [(3, 10.5), (7, 15.0)]);
        assert_eq!((Seen(&session).minute(), Seen(&session).is_absolute()), (minute(NOW), false));
        assert_eq!(time_of(minute(NOW)).as_second() / 60, NOW.as_second() / 60);
        let nothing = [0.0, -1.0, f32::INFINITY, 10_000.1, f32::NAN];
        assert!(nothing.into_iter().all(|ms| packed(Kind::Absolute, &[(1, ms)]).is_none()));
        assert!(packed(Kind::Relative, &[(1, 5.0), (1, 6.0)]).is_none(), "nothing to compare with");
        assert_eq!(samples(&packed(Kind::Absolute, &[(1, 0.001)]).unwrap()), [(1, 1.0 / 64.0)]);
    }

    #[test]
    fn of_many_sites_the_nearest() {
        let many: Vec<(u16, f32)> = (0..40).map(|target| (target, 200.0 - f32::from(target))).collect();
        let kept = samples(&packed(Kind::Relative, &many).unwrap());
        assert_eq!(kept.iter().map(|sample| sample.0).collect::<Vec<_>>(), (32..40).collect::<Vec<_>>());
    }

    #[test]
    fn what_others_say_goes_first() {
        let at = |minutes: i64, samples: &[(u16, f32)]| {
            let samples: Vec<_> = samples.iter().map(|&(target, ms)| (TargetId(target), ms)).collect();
            pack(Kind::Relative, &samples, 100, time_of(minute(NOW) + minutes as u32)).unwrap()
        };
        let mut words: Box<[u32]> = insert(&[], &at(0, &[(1, 10.0), (2, 20.0), (9, 90.0)]));
        for minutes in 1..20 {
            words = insert(&words, &at(minutes, &[(1, 10.0), (2, 20.0), (3, 30.0)]));
            assert!(is_whole(&words, 100) && in_order(&words) == words);
        }
        let minutes: Vec<u32> = sessions(&words).map(|session| session.minute() - minute(NOW)).collect();
        assert_eq!(minutes, [0, 12, 13, 14, 15, 16, 17, 18, 19], "eight, and what tells of site 9");
        let now = minute(NOW);
        let lengths = [now + 19..=u32::MAX, now..=now + 19, 0..=now, u32::MAX..=u32::MAX, 0..=now - 1];
        assert_eq!(lengths.map(|minutes| within(&words, minutes).len()), [4, words.len(), 4, 0, 0]);
        let minutes = |words: &[u32]| -> Vec<u32> { sessions(words).map(|session| session.minute() - now).collect() };
        assert_eq!(minutes(&trimmed(&words)), [0, 13, 14, 15, 16, 17, 18, 19]);
        // Services that have other sites each.
        let mut words = Box::default();
        for minutes in 0..400 {
            let first = (minutes % 10 * 3) as u16;
            words = insert(&words, &at(minutes, &[0, 1, 2].map(|site| (first + site, 10.0))));
        }
        assert_eq!(minutes(&words), (368..400).collect::<Vec<_>>(), "as many as there is room for");
        assert_eq!(minutes(&trimmed(&words)), (392..400).collect::<Vec<_>>());
        for minutes in 400..500 {
            let first = (minutes % 50) as u16;
            words = insert(&words, &at(minutes, &[0, 50].map(|site| (first + site, 10.0))));
        }
        assert_eq!(minutes(&words), (484..500).collect::<Vec<_>>(), "thirty-two sites");
        let absolute = pack(Kind::Absolute, &[(TargetId(0), 9.0)], 100, NOW).unwrap();
        let mut words = insert(&[], &absolute);
        for minutes in 1..20 {
            words = insert(&words, &at(minutes, &[(0, 10.0), (1, 10.0)]));
        }
        assert_eq!(sessions(&words).filter(|session| session.is_absolute()).count(), 1, "it tells more");
    }

    #[test]
    fn what_stays_of_a_busy_minute_is_no_choice_of_the_slowest() {
        let sessions: Vec<Packed> = (0..400_u16)
            .map(|at| packed(Kind::Relative, &[(1, f32::from(at) + 1.0), (2, 20.0), (3, 30.0)]).unwrap())
            .collect();
        let kept = |sessions: &mut dyn Iterator<Item = &Packed>| {
            sessions.fold(Box::<[u32]>::default(), |words, session| insert(&words, session))
        };
        let words = kept(&mut sessions.iter());
        assert!(is_whole(&words, 100) && words == kept(&mut sessions.iter().rev()));
        let ms = super::sessions(&words).map(|session| session.samples().next().unwrap().1);
        let slow = ms.filter(|ms| *ms > 200.0).count();
        assert!((1..=7).contains(&slow), "{slow} of 8 from the slower half");
    }
}
