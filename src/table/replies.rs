//! What the orders of one family come to now: thousands of orders, dozens of replies.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::endpoint::EndpointEntry;
use super::image::Image;
use super::ready::{Ready, ReadyKind};
use crate::model::{Endpoint, Family, Member, OrderId, Plan, State};
use crate::steer::{self, Choice, Order, Settled, Split};

/// What to answer for an order, now.
#[derive(Clone, Debug)]
pub enum Reply {
    /// One of these by client key; the images stand beside the split's shares.
    Split(Split, Box<[Arc<Image>]>),
    /// All of it.
    Set(Arc<Image>),
    /// No data.
    Nodata,
    /// Nothing may be answered.
    Servfail,
}

/// Replies, and the same as lines to copy.
#[derive(Debug, Default)]
pub(super) struct Replies {
    /// Index into `distinct`, and into `ready`; by `OrderId`.
    by_order: Vec<u32>,
    distinct: Vec<Reply>,
    /// One for each of `distinct`, then those of the shares of splits.
    ready: Vec<Ready>,
    /// Splits of several members, with the index of their first share's line.
    splits: Vec<(Split, u32)>,
    /// Some order has no member that is better than down: `when_none` acts.
    pub(super) exhausted: bool,
}

impl Replies {
    pub(super) fn settle(
        plan: &Plan,
        orders: &[Order],
        family: Family,
        endpoints: &[Endpoint],
        entries: &[EndpointEntry],
    ) -> Self {
        let entry = |member: Member| &entries[plan.members[member.index()].index()];
        let members = (0..plan.members.len()).map(Member::at);
        let states: Vec<Option<State>> = members.map(|member| entry(member).standing.state(family)).collect();
        let reply = |choice: Choice| match Settled::of(choice, plan, endpoints) {
            Settled::Split(split) => split_reply(split, |member| entry(member).images[family as usize].clone()),
            Settled::Set(members) => Reply::Set(set_image(family, &members, entry)),
            Settled::Nodata => Reply::Nodata,
            Settled::Servfail => Reply::Servfail,
        };
        let (mut replies, mut indices) = (Self::default(), HashMap::<Choice, u32>::new());
        for order in orders {
            let best = order.ranked.iter().filter_map(|member| states[member.index()]).min();
            replies.exhausted |= best.is_none_or(|best| best == State::Down) && !order.ranked.is_empty();
            let choice = steer::settle(plan, order, &states);
            let index = indices.entry(choice).or_insert_with(|| {
                replies.distinct.push(reply(choice));
                replies.distinct.len() as u32 - 1
            });
            replies.by_order.push(*index);
        }
        replies.make_ready();
        replies
    }

    fn make_ready(&mut self) {
        let mut shares = Vec::new();
        for reply in &self.distinct {
            self.ready.push(match reply {
                Reply::Split(_, images) if images.len() == 1 => Ready::of(&images[0]),
                Reply::Split(split, images) => {
                    let first = self.distinct.len() + shares.len();
                    self.splits.push((split.clone(), first as u32));
                    shares.extend(images.iter().map(|image| Ready::of(image)));
                    Ready::split(self.splits.len() - 1)
                }
                Reply::Set(image) => Ready::of(image),
                Reply::Nodata | Reply::Servfail => Ready::SLOW,
            });
        }
        debug_assert!(shares.iter().all(|ready| ready.kind != ReadyKind::Split));
        self.ready.append(&mut shares);
    }

    #[inline]
    pub(super) fn reply(&self, order: OrderId) -> &Reply {
        &self.distinct[self.by_order[order.index()] as usize]
    }

    #[inline]
    pub(super) fn ready(&self, order: OrderId) -> &Ready {
        &self.ready[self.by_order[order.index()] as usize]
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

fn split_reply(split: Split, image: impl Fn(Member) -> Option<Arc<Image>>) -> Reply {
    let images: Option<Box<[Arc<Image>]>> = split.shares().iter().map(|share| image(share.member)).collect();
    images.map_or(Reply::Servfail, |images| Reply::Split(split, images))
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
