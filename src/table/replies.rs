//! What the orders of one family come to now: thousands of orders, dozens of replies.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::endpoint::EndpointEntry;
use super::fold::FoldHasher;
use super::image::Image;
use super::indices::Indices;
use super::ranking::Ranking;
use super::ready::Ready;
use crate::model::{Endpoint, Family, Member, OrderId, Plan, State};
use crate::steer::{Choice, Settled, Settler, Split};

/// What to answer for an order, now.
#[derive(Clone, Debug)]
pub enum Reply {
    /// All of it.
    Whole(Arc<Image>),
    /// One of these by client key, in the order of the split's shares. The split is that of this index:
    /// [`PlanTable::split`](super::PlanTable::split).
    Split(u32, Box<[Arc<Image>]>),
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
    pub(super) fn new(plan: &Plan, ranking: &Ranking, endpoints: &[Endpoint], states: &[Option<State>]) -> Self {
        let settler = Settler::new(plan, states);
        let mut known = Known { single: [None; 256], others: HashMap::default() };
        let orders = ranking.orders();
        let (mut by_order, mut distinct, mut exhausted) = (Vec::with_capacity(orders.len()), Vec::new(), false);
        for order in orders {
            exhausted = exhausted || settler.is_exhausted(order);
            let choice = settler.settle(order);
            by_order.push(*known.place(choice).get_or_insert_with(|| {
                distinct.push(Settled::of(choice, plan, endpoints));
                distinct.len() as u32 - 1
            }));
        }
        Self { by_order: Indices::from(&*by_order), distinct, exhausted }
    }
}

/// Choices that have come up, each with its index; most are of one member.
struct Known {
    single: [Option<u32>; 256],
    others: HashMap<Choice, Option<u32>, FoldHasher>,
}

impl Known {
    #[inline]
    fn place(&mut self, choice: Choice) -> &mut Option<u32> {
        match &choice {
            Choice::Members(few) if few.as_slice().len() == 1 => &mut self.single[few.as_slice()[0].index()],
            _ => self.others.entry(choice).or_default(),
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
    pub(super) exhausted: bool,
}

impl Replies {
    pub(super) fn new<'a>(
        settling: &Settling,
        family: Family,
        entry: impl Fn(Member) -> &'a EndpointEntry + Copy,
    ) -> Self {
        let count = settling.distinct.len();
        let (mut ready, mut shares) = (Vec::with_capacity(count), Vec::new());
        let (mut splits, mut distinct) = (Vec::new(), Vec::with_capacity(count));
        for settled in &settling.distinct {
            let (reply, line) = match settled {
                Settled::Split(split) => match split.shares() {
                    [only] => whole(family, entry(only.member)),
                    several => {
                        let image = |entry: &EndpointEntry| entry.images[family as usize].clone();
                        let images: Option<Box<[_]>> = several.iter().map(|share| image(entry(share.member))).collect();
                        match images {
                            Some(images) => {
                                let index = splits.len();
                                splits.push((*split, (count + shares.len()) as u32));
                                shares.extend(several.iter().map(|share| entry(share.member).ready[family as usize]));
                                (Reply::Split(index as u32, images), Ready::split(index))
                            }
                            None => (Reply::Servfail, Ready::SLOW),
                        }
                    }
                },
                Settled::Set(members) => match &**members {
                    [only] => whole(family, entry(*only)),
                    several => (Reply::Whole(set_image(family, several, entry)), Ready::SLOW),
                },
                Settled::Nodata => (Reply::Nodata, Ready::SLOW),
                Settled::Servfail => (Reply::Servfail, Ready::SLOW),
            };
            distinct.push(reply);
            ready.push(line);
        }
        ready.append(&mut shares);
        Self {
            by_order: settling.by_order.clone(),
            ready: ready.into(),
            splits: splits.into(),
            distinct: distinct.into(),
            exhausted: settling.exhausted,
        }
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
