//! What the orders of one family come to now: thousands of orders, dozens of replies.

use std::net::IpAddr;
use std::sync::Arc;

use super::endpoint::EndpointEntry;
use super::image::Image;
use super::indices::Indices;
use super::ranking::Ranking;
use super::ready::Ready;
use crate::model::{Endpoint, Family, Member, OrderId, Plan, Policy};
use crate::steer::{Choice, Panic, Settled, Settler, Share, Split};

/// What to answer for an order, now.
#[derive(Clone, Debug)]
pub enum Reply {
    /// All of it.
    Whole(Arc<Image>),
    /// One of several by client key: the split of that index ([`Replies::split`]).
    Split(u32),
    /// No data.
    Nodata,
    /// Nothing may be answered.
    Servfail,
}

/// What orders come to under the states of the members, whoever they are.
#[derive(Debug)]
pub(super) struct Settling {
    /// Index into `distinct`, by `OrderId`.
    by_order: Indices,
    distinct: Vec<Settled>,
    /// Some order has no member that is better than down: `when_none` acts.
    exhausted: bool,
}

impl Settling {
    /// `panics` are by set of the ranking.
    pub(super) fn new(
        plan: &Plan,
        endpoints: &[Endpoint],
        ranking: &Ranking,
        settler: &Settler<'_>,
        panics: &[Panic],
    ) -> Self {
        let (mut known, mut exhausted) = (Known::new(), false);
        let orders = ranking.orders();
        let count = orders.len();
        // Nearly always so, and thousands of look-ups are saved.
        let is_calm = panics.iter().all(|panic| panic.kept == 0);
        let kept = |id: usize| if is_calm { 0 } else { panics[ranking.set_of(OrderId(id as u32))].kept };
        let settle = |(id, order)| {
            let outcome = settler.settle(order, kept(id));
            exhausted |= outcome.exhausted;
            known.index(outcome.choice)
        };
        let by_order = Indices::new(orders.enumerate().map(settle), count);
        let distinct = known.list.into_iter().map(|choice| Settled::of(choice, plan, endpoints)).collect();
        Self { by_order, distinct, exhausted }
    }
}

/// Choices that have come up: dozens, asked for thousands of times.
struct Known {
    /// By member: the index of its choice alone + 1.
    single: [u32; 256],
    /// Indices + 1, by hash; 0 is free. A power of two, at most half full.
    slots: Vec<u32>,
    list: Vec<Choice>,
}

impl Known {
    fn new() -> Self {
        Self { single: [0; 256], slots: vec![0; 64], list: Vec::with_capacity(64) }
    }

    #[inline]
    fn index(&mut self, choice: Choice) -> u32 {
        if let Choice::One(member) = choice {
            let known = self.single[member.index()];
            if known != 0 {
                return known - 1;
            }
            self.single[member.index()] = self.list.len() as u32 + 1;
            self.list.push(choice);
            return self.list.len() as u32 - 1;
        }
        let slot = self.slot(choice);
        if self.slots[slot] == 0 {
            self.list.push(choice);
            self.slots[slot] = self.list.len() as u32;
            if self.list.len() * 2 > self.slots.len() {
                self.grow();
            }
            return self.list.len() as u32 - 1;
        }
        self.slots[slot] - 1
    }

    /// Where such a choice is, or belongs.
    #[inline]
    fn slot(&self, choice: Choice) -> usize {
        let mask = self.slots.len() - 1;
        let mut slot = choice.hash() as usize & mask;
        while self.slots[slot] != 0 && self.list[self.slots[slot] as usize - 1] != choice {
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        self.slots = vec![0; old.len() * 2];
        for index in old.into_iter().filter(|&index| index != 0) {
            let slot = self.slot(self.list[index as usize - 1]);
            self.slots[slot] = index;
        }
    }
}

/// Replies, and the same as lines to copy.
#[derive(Debug)]
#[repr(C)] // what an answer reads comes first and together
pub struct Replies {
    /// Index into `distinct`, and into `ready`; by `OrderId`.
    by_order: Indices,
    /// One for each of `distinct`; then, where there are splits, one for each member.
    ready: Box<[Ready]>,
    splits: Box<[Split]>,
    distinct: Box<[Reply]>,
    /// By member, where there are splits.
    images: Box<[Option<Arc<Image>>]>,
    pub(super) exhausted: bool,
}

impl Replies {
    /// `entries` are those of the plan's members, in their order.
    pub(super) fn new<'a>(
        settling: &Settling,
        family: Family,
        policy: &Policy,
        entries: impl ExactSizeIterator<Item = &'a EndpointEntry> + Clone,
    ) -> Self {
        let entries: Vec<&EndpointEntry> = entries.collect();
        let is_split = |settled: &&Settled| matches!(settled, Settled::Split(split) if split.shares().len() > 1);
        let splits = settling.distinct.iter().filter(is_split).count();
        let members = if splits == 0 { &[][..] } else { &entries };
        let members: Vec<_> = members.iter().map(|entry| entry.in_plan(family, policy)).collect();
        let mut ready = Vec::with_capacity(settling.distinct.len() + members.len());
        let mut building = Building { entries: &entries, family, policy, splits: Vec::with_capacity(splits) };
        let reply = |settled: &Settled| {
            let (reply, line) = building.reply(settled);
            ready.push(line);
            reply
        };
        let distinct = settling.distinct.iter().map(reply).collect();
        ready.extend(members.iter().map(|line| line.as_ref().map_or(Ready::SLOW, |(_, ready)| *ready)));
        Self {
            by_order: settling.by_order.clone(),
            splits: building.splits.into(),
            ready: ready.into(),
            distinct,
            images: members.into_iter().map(|line| line.map(|(image, _)| image)).collect(),
            exhausted: settling.exhausted,
        }
    }

    /// What an order comes to now.
    #[inline]
    #[must_use]
    pub fn reply(&self, order: OrderId) -> &Reply {
        &self.distinct[self.by_order.get(order.index()) as usize]
    }

    /// The same, ready to be copied.
    #[inline]
    #[must_use]
    pub fn ready(&self, order: OrderId) -> &Ready {
        &self.ready[self.by_order.get(order.index()) as usize]
    }

    /// The split that a reply or a line names.
    #[inline]
    #[must_use]
    pub fn split(&self, index: u32) -> &Split {
        &self.splits[index as usize]
    }

    /// What a member of a split answers, ready to be copied.
    ///
    /// # Panics
    /// Where there is no split.
    #[inline]
    #[must_use]
    pub fn ready_of(&self, member: Member) -> &Ready {
        &self.ready[self.distinct.len() + member.index()]
    }

    /// What a member of a split answers.
    ///
    /// # Panics
    /// Where the member is in no split.
    #[must_use]
    pub fn image_of(&self, member: Member) -> &Arc<Image> {
        self.images[member.index()].as_ref().expect("members without an address are in no split")
    }
}

struct Building<'a> {
    /// By member.
    entries: &'a [&'a EndpointEntry],
    family: Family,
    policy: &'a Policy,
    splits: Vec<Split>,
}

impl Building<'_> {
    fn reply(&mut self, settled: &Settled) -> (Reply, Ready) {
        match settled {
            Settled::Split(split) => match split.shares() {
                [only] => self.whole(only.member),
                shares => {
                    let image = |share: &Share| &self.entries[share.member.index()].images[self.family as usize];
                    if shares.iter().any(|share| image(share).is_none()) {
                        return (Reply::Servfail, Ready::SLOW);
                    }
                    let index = self.splits.len() as u32;
                    self.splits.push(*split);
                    (Reply::Split(index), Ready::split(index))
                }
            },
            Settled::Set(members) => (Reply::Whole(self.set_image(members)), Ready::SLOW),
            Settled::Nodata => (Reply::Nodata, Ready::SLOW),
            Settled::Servfail => (Reply::Servfail, Ready::SLOW),
        }
    }

    /// One endpoint answers.
    fn whole(&self, member: Member) -> (Reply, Ready) {
        match self.entries[member.index()].in_plan(self.family, self.policy) {
            Some((image, ready)) => (Reply::Whole(image), ready),
            None => (Reply::Servfail, Ready::SLOW),
        }
    }

    /// One image of all the members' addresses.
    fn set_image(&self, members: &[Member]) -> Arc<Image> {
        let entries: Vec<&EndpointEntry> = members.iter().map(|member| self.entries[member.index()]).collect();
        let mut addresses: Vec<IpAddr> = Vec::new();
        for address in entries.iter().flat_map(|entry| entry.standing.answerable(self.family)) {
            // An RRset holds no record twice (RFC 2181 §5).
            if !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        let ttl = entries.iter().map(|entry| entry.standing.ttl(self.policy)).min().unwrap_or(u32::MAX);
        Arc::new(Image::new(self.family, &addresses, ttl, entries.iter().map(|entry| entry.counter).collect()))
    }
}
