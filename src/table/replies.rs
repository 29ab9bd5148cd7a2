//! What the orders of one family come to now: thousands of orders, dozens of replies.

use std::net::IpAddr;
use std::sync::Arc;

use super::endpoint::EndpointEntry;
use super::image::Image;
use super::indices::Indices;
use super::ranking::Ranking;
use super::ready::Ready;
use crate::model::{Endpoint, Family, Member, OrderId, Plan};
use crate::steer::{Choice, Settled, Settler, Split};

/// What to answer for an order, now.
#[derive(Clone, Debug)]
pub enum Reply {
    /// All of it.
    Whole(Arc<Image>),
    /// One of several by client key: the split of that index, as [`PlanTable::split`](super::PlanTable::split)
    /// and [`PlanTable::images`](super::PlanTable::images) take it.
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
    pub(super) fn new(plan: &Plan, endpoints: &[Endpoint], ranking: &Ranking, settler: &Settler<'_>) -> Self {
        let (mut known, mut exhausted) = (Known::new(), false);
        let orders = ranking.orders();
        let count = orders.len();
        let settle = |order| {
            let outcome = settler.settle(order);
            exhausted |= outcome.exhausted;
            known.index(outcome.choice)
        };
        let by_order = Indices::new(orders.map(settle), count);
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
pub(super) struct Replies {
    /// Index into `distinct`, and into `ready`; by `OrderId`.
    by_order: Indices,
    /// One for each of `distinct`, then those of the shares of splits.
    ready: Box<[Ready]>,
    /// Each with the index of its first share's line.
    splits: Box<[(Split, u32)]>,
    distinct: Box<[Reply]>,
    /// Of the shares of splits.
    images: Box<[Arc<Image>]>,
    pub(super) exhausted: bool,
}

impl Replies {
    pub(super) fn new<'a>(
        settling: &Settling,
        family: Family,
        entry: impl Fn(Member) -> &'a EndpointEntry + Copy,
    ) -> Self {
        let lines = settling.distinct.iter().map(shares).sum();
        let splits = settling.distinct.iter().filter(|settled| shares(settled) > 0).count();
        let mut building = Building {
            ready: vec![Ready::SLOW; settling.distinct.len()],
            splits: Vec::with_capacity(splits),
            images: Vec::with_capacity(lines),
        };
        building.ready.reserve_exact(lines);
        let reply = |(index, settled): (usize, &Settled)| {
            let (reply, line) = building.reply(settled, family, entry);
            building.ready[index] = line;
            reply
        };
        let distinct = settling.distinct.iter().enumerate().map(reply).collect();
        let Building { ready, splits, images } = building;
        let (by_order, exhausted) = (settling.by_order.clone(), settling.exhausted);
        Self { by_order, ready: ready.into(), splits: splits.into(), distinct, images: images.into(), exhausted }
    }

    #[inline]
    pub(super) fn reply(&self, order: OrderId) -> &Reply {
        &self.distinct[self.by_order.get(order.index()) as usize]
    }

    #[inline]
    pub(super) fn ready(&self, order: OrderId) -> &Ready {
        &self.ready[self.by_order.get(order.index()) as usize]
    }

    #[inline]
    pub(super) fn ready_at(&self, index: u32) -> &Ready {
        &self.ready[index as usize]
    }

    #[inline]
    pub(super) fn split(&self, index: u32) -> (&Split, u32) {
        let (split, first) = &self.splits[index as usize];
        (split, *first)
    }

    /// Those of a split's shares.
    pub(super) fn images(&self, index: u32) -> &[Arc<Image>] {
        let (split, first) = self.split(index);
        let first = first as usize - self.distinct.len();
        &self.images[first..first + split.shares().len()]
    }
}

struct Building {
    ready: Vec<Ready>,
    splits: Vec<(Split, u32)>,
    images: Vec<Arc<Image>>,
}

impl Building {
    fn reply<'a>(
        &mut self,
        settled: &Settled,
        family: Family,
        entry: impl Fn(Member) -> &'a EndpointEntry,
    ) -> (Reply, Ready) {
        match settled {
            Settled::Split(split) => match split.shares() {
                [only] => whole(family, entry(only.member)),
                shares => {
                    let entries = shares.iter().map(|share| entry(share.member));
                    if entries.clone().any(|entry| entry.images[family as usize].is_none()) {
                        return (Reply::Servfail, Ready::SLOW);
                    }
                    let (index, first) = (self.splits.len() as u32, self.ready.len() as u32);
                    self.images.extend(entries.clone().filter_map(|entry| entry.images[family as usize].clone()));
                    self.ready.extend(entries.map(|entry| entry.ready[family as usize]));
                    self.splits.push((*split, first));
                    (Reply::Split(index), Ready::split(index))
                }
            },
            Settled::Set(members) => (Reply::Whole(set_image(family, members, entry)), Ready::SLOW),
            Settled::Nodata => (Reply::Nodata, Ready::SLOW),
            Settled::Servfail => (Reply::Servfail, Ready::SLOW),
        }
    }
}

/// How many members share; one alone has all.
fn shares(settled: &Settled) -> usize {
    match settled {
        Settled::Split(split) if split.shares().len() > 1 => split.shares().len(),
        _ => 0,
    }
}

/// One endpoint answers.
fn whole(family: Family, entry: &EndpointEntry) -> (Reply, Ready) {
    match &entry.images[family as usize] {
        Some(image) => (Reply::Whole(image.clone()), entry.ready[family as usize]),
        None => (Reply::Servfail, Ready::SLOW),
    }
}

/// One image of all the members' addresses.
fn set_image<'a>(family: Family, members: &[Member], entry: impl Fn(Member) -> &'a EndpointEntry) -> Arc<Image> {
    let entries: Vec<&EndpointEntry> = members.iter().map(|&member| entry(member)).collect();
    let mut addresses: Vec<IpAddr> = Vec::new();
    for address in entries.iter().flat_map(|entry| entry.standing.answerable(family)) {
        // An RRset holds no record twice (RFC 2181 §5).
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let ttl = entries.iter().map(|entry| entry.standing.ttl).min().unwrap_or(u32::MAX);
    Arc::new(Image::new(family, &addresses, ttl, entries.iter().map(|entry| entry.counter).collect()))
}
