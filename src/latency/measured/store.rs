//! The store of samples: a record a prefix.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use jiff::Timestamp;

use super::record::{
    self, FAIR_WORDS, LAST_MINUTE, MAX_TARGETS, insert, minute, pack, sessions, time_of, trimmed, within,
};
use super::{Session, Settings, TargetId};

/// Prefixes that are kept.
pub(super) const MAX_PREFIXES: usize = 1_000_000;
/// Octets of a site's name.
pub(super) const MAX_NAME: usize = 255;
/// Of all together: what each may have if all have as much, and a little more.
const MAX_WORDS: usize = MAX_PREFIXES / 32 * 33 * FAIR_WORDS;
/// Of a minute that has yet to come by so many, a clock was wrong. So a clock that was ahead leaves nothing that stays new for
/// ever.
const AHEAD: u32 = 60;
/// At the bound, of so many prefixes the one that says least, or has most, makes room.
const LOOKED_AT: u64 = 16;

/// A /24 or /48 as a number; those of IPv6 have the highest bit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(pub(super) u64);

const V6: u64 = 1 << 63;
const V4_BITS: u32 = 24;
const V6_BITS: u32 = 48;

impl Key {
    /// Of an address; one of IPv4 mapped into IPv6 is of IPv4.
    pub(super) fn of(client: IpAddr) -> Self {
        match client.to_canonical() {
            IpAddr::V4(v4) => Self(u64::from(u32::from(v4) >> (32 - V4_BITS))),
            IpAddr::V6(v6) => Self(V6 | (u128::from(v6) >> (128 - V6_BITS)) as u64),
        }
    }

    /// Is there such a prefix?
    pub(super) fn is_sound(self) -> bool {
        let bits = if self.0 & V6 == 0 { V4_BITS } else { V6_BITS };
        self.0 & !V6 < 1 << bits
    }

    /// What somebody gets as a whole, and may have as many prefixes of as they like: an IPv6 /32; of IPv4, the /24.
    pub(super) fn holding(self) -> u64 {
        if self.0 & V6 == 0 { self.0 } else { self.0 >> (V6_BITS - 32) }
    }

    pub(super) fn prefix(self) -> IpNet {
        let number = self.0 & !V6;
        match self.0 & V6 {
            0 => {
                let network = Ipv4Addr::from((number as u32) << (32 - V4_BITS));
                Ipv4Net::new_assert(network, V4_BITS as u8).into()
            }
            _ => {
                let network = Ipv6Addr::from(u128::from(number) << (128 - V6_BITS));
                Ipv6Net::new_assert(network, V6_BITS as u8).into()
            }
        }
    }
}

/// One prefix and its sessions.
pub(super) struct Record {
    pub(super) key: Key,
    pub(super) words: Box<[u32]>,
}

/// Samples of one site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counted {
    /// How many, whatever they weigh.
    pub samples: u32,
    /// When the first of them came, to the minute.
    pub oldest: Timestamp,
    /// And the last.
    pub newest: Timestamp,
}

/// Round trips that clients measured, by prefix.
///
/// At most 1,000,000 prefixes, of which each has 512 octets of sessions, as long as all together have room (132 MB): then those go
/// back to 128 that have most of sixteen. A prefix more than that takes the place of one of
/// sixteen: of one with the fewest sessions, and of these the longest silent. So a flood of prefixes that come once replaces itself and
/// not those who come often.
pub struct Samples {
    pub(super) settings: Settings,
    pub(super) targets: Vec<Arc<str>>,
    by_name: BTreeMap<Arc<str>, TargetId>,
    pub(super) records: Vec<Record>,
    /// Where each stands.
    pub(super) slots: BTreeMap<Key, u32>,
    /// Of all records.
    words: usize,
    most: usize,
    most_words: usize,
}

impl Samples {
    /// None yet.
    #[must_use]
    pub fn new(settings: Settings) -> Self {
        Self {
            settings,
            targets: Vec::new(),
            by_name: BTreeMap::new(),
            records: Vec::new(),
            slots: BTreeMap::new(),
            words: 0,
            most: MAX_PREFIXES,
            most_words: MAX_WORDS,
        }
    }

    /// Goes by other settings from now on.
    pub fn set(&mut self, settings: Settings) {
        self.settings = settings;
    }

    /// The same with room for so many prefixes only.
    #[cfg(test)]
    pub(super) fn bounded(settings: Settings, most: usize) -> Self {
        Self { most, most_words: most * (FAIR_WORDS + 1), ..Self::new(settings) }
    }

    /// The site of this name, 'cloud/region', which is kept from now on. At most 4,096, of up to 255 octets; none at the bound.
    pub fn target(&mut self, site: &str) -> Option<TargetId> {
        if let Some(known) = self.by_name.get(site) {
            return Some(*known);
        }
        if self.targets.len() >= MAX_TARGETS || site.len() > MAX_NAME {
            return None;
        }
        let (id, name) = (TargetId(self.targets.len() as u16), Arc::<str>::from(site));
        self.targets.push(name.clone());
        self.by_name.insert(name, id);
        Some(id)
    }

    /// The sites' names, by [`TargetId`].
    #[must_use]
    pub fn targets(&self) -> &[Arc<str>] {
        &self.targets
    }

    /// Takes in what a client measured. False: nothing of it can be used.
    pub fn take(&mut self, session: &Session<'_>, now: Timestamp) -> bool {
        let Some(packed) = pack(session.kind, session.samples, self.targets.len(), now) else { return false };
        let key = Key::of(session.client);
        match self.slots.get(&key) {
            Some(&slot) => {
                let words = insert(&self.records[slot as usize].words, &packed);
                self.put(slot as usize, words);
            }
            None => {
                self.make_room(key);
                self.add(Record { key, words: packed.as_slice().into() });
            }
        }
        self.share_out(key);
        true
    }

    /// Another record of a prefix.
    fn put(&mut self, slot: usize, words: Box<[u32]>) {
        self.words += words.len();
        self.words -= std::mem::replace(&mut self.records[slot].words, words).len();
    }

    /// Have all together too much?
    pub(super) fn is_full(&self) -> bool {
        self.words > self.most_words
    }

    /// Then one of those that have most gives some back: more than a session brings.
    fn share_out(&mut self, key: Key) {
        if self.is_full() {
            let lot = Key(key.0 ^ self.words as u64); // another one each time
            let longest = self.drawn(lot).max_by_key(|&slot| (self.records[slot].words.len(), self.records[slot].key));
            if let Some(slot) = longest {
                self.put(slot, trimmed(&self.records[slot].words));
            }
        }
    }

    /// Some records by lot.
    fn drawn(&self, key: Key) -> impl Iterator<Item = usize> + use<> {
        let count = self.records.len() as u64;
        (0..LOOKED_AT).map(move |draw| (spread(key.0 ^ spread(draw)) % count) as usize)
    }

    /// Puts a record of a new prefix in.
    pub(super) fn add(&mut self, record: Record) {
        self.words += record.words.len();
        self.slots.insert(record.key, self.records.len() as u32);
        self.records.push(record);
    }

    fn make_room(&mut self, key: Key) {
        while self.records.len() >= self.most {
            let says = |slot: &usize| {
                let record = &self.records[*slot];
                let newest = sessions(&record.words).last().map(record::Seen::minute);
                (sessions(&record.words).count(), newest, record.key)
            };
            match self.drawn(key).min_by_key(says) {
                Some(slot) => self.remove(slot),
                None => return,
            }
        }
    }

    fn remove(&mut self, slot: usize) {
        let gone = self.records.swap_remove(slot);
        self.words -= gone.words.len();
        self.slots.remove(&gone.key);
        if let Some(moved) = self.records.get(slot) {
            self.slots.insert(moved.key, slot as u32);
        }
    }

    /// Deletes what is older than `keep_for`, by the clock as it is: a clock that has jumped ahead by more than that deletes all, as
    /// does a month without power, which looks alike from here; and what was promised to be deleted must not be kept by a
    /// guess. Measuring begins anew then, and what is published goes with the samples. What came over an hour from now on goes, too.
    pub fn forget(&mut self, now: Timestamp) {
        let minutes = self.oldest(now)..=self.newest(now);
        for slot in (0..self.records.len()).rev() {
            let words = &self.records[slot].words;
            let kept = within(words, minutes.clone());
            if kept.is_empty() {
                self.remove(slot);
            } else if kept.len() < words.len() {
                self.put(slot, kept.into());
            }
        }
    }

    /// The oldest minute that is kept.
    pub(super) fn oldest(&self, now: Timestamp) -> u32 {
        let minutes = u32::try_from(self.settings.keep_for.as_secs() / 60).unwrap_or(u32::MAX);
        minute(now).saturating_sub(minutes)
    }

    /// The newest minute that is believed. Where most prefixes, or all that is known, have newer samples, it is our own clock that is
    /// behind, and nothing is lost for that.
    pub(super) fn newest(&self, now: Timestamp) -> u32 {
        let newest = minute(now) + AHEAD;
        let last = |record: &Record| sessions(&record.words).last().map_or(0, record::Seen::minute);
        let ahead = self.records.iter().filter(|record| last(record) > newest).count();
        if ahead * 2 >= self.records.len() { LAST_MINUTE } else { newest }
    }

    /// How many prefixes have samples.
    #[must_use]
    pub fn prefixes(&self) -> usize {
        self.records.len()
    }

    /// By site, how many samples the client's own prefix has.
    #[must_use]
    pub fn count(&self, client: IpAddr) -> BTreeMap<Arc<str>, Counted> {
        let mut counts = BTreeMap::<Arc<str>, Counted>::new();
        for session in sessions(self.words(Key::of(client))) {
            let at = time_of(session.minute());
            for (target, _) in session.samples() {
                let new = || Counted { samples: 0, oldest: at, newest: at };
                let counted = counts.entry(self.targets[target.index()].clone()).or_insert_with(new);
                *counted = Counted { samples: counted.samples + 1, newest: at, ..*counted };
            }
        }
        counts
    }

    /// The memory of the samples in octets, without what the allocator adds.
    #[must_use]
    pub fn octets(&self) -> usize {
        /// Of an ordered map's entry: its nodes are filled to two thirds or so.
        const ENTRY: usize = 3 * size_of::<(Key, u32)>() / 2;
        let words = self.words * size_of::<u32>();
        let names: usize = self.targets.iter().map(|name| name.len() + 4 * size_of::<Arc<str>>()).sum();
        words + names + self.records.capacity() * size_of::<Record>() + self.slots.len() * ENTRY
    }

    /// The samples of a prefix.
    pub(super) fn words(&self, key: Key) -> &[u32] {
        self.slots.get(&key).map_or(&[], |&slot| &self.records[slot as usize].words)
    }
}

/// Scatters numbers (splitmix64).
pub(super) fn spread(number: u64) -> u64 {
    let mut bits = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}
