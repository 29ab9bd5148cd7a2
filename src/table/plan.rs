//! A plan's tables: location → order → reply.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use super::endpoint::EndpointEntry;
use super::image::Image;
use crate::latency;
use crate::model::{
    Endpoint, EndpointId, Family, FenceUnknown, Location, LocationId, Member, OrderId, Plan, Problem, State,
};
use crate::steer::{self, Choice, Order, Settled, Split};

/// One plan, compiled.
#[derive(Clone, Debug)]
pub struct PlanTable {
    /// What it was compiled from.
    pub plan: Arc<Plan>,
    /// By family: what does not depend on health. One and the same where all endpoints have both.
    rankings: [Arc<Ranking>; 2],
    /// By family: what each order comes to now.
    replies: [Arc<Replies>; 2],
}

/// Orders of one family.
#[derive(Debug, Default)]
struct Ranking {
    /// Interned.
    orders: Vec<Order>,
    /// Index: `LocationId`.
    by_location: Vec<OrderId>,
}

/// What the orders of one family come to: thousands of orders, dozens of replies.
#[derive(Debug, Default)]
struct Replies {
    distinct: Vec<Reply>,
    /// Index into `distinct`, by `OrderId`.
    by_order: Vec<u32>,
    /// Some order has no member that is better than down: `when_none` acts.
    exhausted: bool,
}

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

impl PlanTable {
    /// Ranks `plan` for every location and settles every order.
    ///
    /// # Errors
    /// A fence that leaves some location no endpoint; an order that crosses a fence (a bug of ours,
    /// refused before it can do harm).
    pub(super) fn compile(
        plan: &Plan,
        endpoints: &[Endpoint],
        locations: &[Location],
        entries: &[EndpointEntry],
        file: &Path,
    ) -> Result<Self, Problem> {
        let has = |id: &EndpointId, family| endpoints[id.index()].counts_for(family);
        let alike = plan.members.iter().all(|id| has(id, Family::V4) == has(id, Family::V6));
        let families = if alike { &Family::ALL[..1] } else { &Family::ALL[..] };
        let mut builders = [RankingBuilder::default(), RankingBuilder::default()];
        for location in locations {
            let member_ms = |id: &EndpointId| latency::expected_ms(location, &endpoints[id.index()].site);
            let estimate_ms: Vec<f32> = plan.members.iter().map(member_ms).collect();
            for &family in families {
                if steer::allowed(plan, endpoints, family, location).is_empty() {
                    return Err(fence_leaves_none(plan, endpoints, location, file));
                }
                let order = steer::rank(plan, endpoints, family, location, &estimate_ms);
                if let Some(member) = outside_fences(plan, location, &order) {
                    return Err(fence_crossed(plan, endpoints, location, member, file));
                }
                builders[family as usize].push(order);
            }
        }
        let [v4, v6] = builders.map(|builder| Arc::new(builder.finish()));
        let rankings = if alike { [v4.clone(), v4] } else { [v4, v6] };
        let table = Self { plan: Arc::new(plan.clone()), rankings, replies: [Arc::default(), Arc::default()] };
        Ok(table.settled(endpoints, entries))
    }

    /// The same orders, settled under the present standing of the endpoints.
    pub(super) fn settled(&self, endpoints: &[Endpoint], entries: &[EndpointEntry]) -> Self {
        let settle = |family| Arc::new(self.settle_family(family, endpoints, entries));
        Self { replies: Family::ALL.map(settle), ..self.clone() }
    }

    fn settle_family(&self, family: Family, endpoints: &[Endpoint], entries: &[EndpointEntry]) -> Replies {
        let entry = |member: Member| &entries[self.plan.members[member.index()].index()];
        let members = (0..self.plan.members.len()).map(Member::at);
        let states: Vec<Option<State>> = members.map(|member| entry(member).standing.state(family)).collect();
        let reply = |choice: Choice| match Settled::of(choice, &self.plan, endpoints) {
            Settled::Split(split) => split_reply(split, |member| entry(member).images[family as usize].clone()),
            Settled::Set(members) => Reply::Set(set_image(family, &members, entry)),
            Settled::Nodata => Reply::Nodata,
            Settled::Servfail => Reply::Servfail,
        };
        let (mut replies, mut indices) = (Replies::default(), HashMap::<Choice, u32>::new());
        for order in &self.rankings[family as usize].orders {
            let best = order.ranked.iter().filter_map(|member| states[member.index()]).min();
            replies.exhausted |= best.is_none_or(|best| best == State::Down) && !order.ranked.is_empty();
            let choice = steer::settle(&self.plan, order, &states);
            let index = indices.entry(choice).or_insert_with(|| {
                replies.distinct.push(reply(choice));
                replies.distinct.len() as u32 - 1
            });
            replies.by_order.push(*index);
        }
        replies
    }

    /// Do some clients have no endpoint that is better than down, so that `when_none` acts for them?
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.replies.iter().any(|replies| replies.exhausted)
    }

    /// What to answer clients at `location` that ask for `family`.
    #[must_use]
    pub fn reply(&self, family: Family, location: LocationId) -> &Reply {
        let order = self.rankings[family as usize].by_location[location.index()];
        let replies = &self.replies[family as usize];
        &replies.distinct[replies.by_order[order.index()] as usize]
    }

    /// The order of a location, for `explain` and tests.
    #[must_use]
    pub fn order(&self, family: Family, location: LocationId) -> (OrderId, &Order) {
        let id = self.rankings[family as usize].by_location[location.index()];
        (id, &self.rankings[family as usize].orders[id.index()])
    }
}

#[derive(Default)]
struct RankingBuilder {
    ids: HashMap<Order, OrderId>,
    by_location: Vec<OrderId>,
}

impl RankingBuilder {
    fn push(&mut self, order: Order) {
        let next = OrderId::at(self.ids.len());
        self.by_location.push(*self.ids.entry(order).or_insert(next));
    }

    fn finish(self) -> Ranking {
        let mut orders = vec![Order::default(); self.ids.len()];
        for (order, id) in self.ids {
            orders[id.index()] = order;
        }
        Ranking { orders, by_location: self.by_location }
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

/// A member of `order` that a fence of `location` bars, reckoned apart from the ranking.
fn outside_fences(plan: &Plan, location: &Location, order: &Order) -> Option<Member> {
    let unknown = location.mixed || !location.is_located();
    if let (true, FenceUnknown::Set(named)) = (unknown, &plan.policy.fence_unknown) {
        let both = |member: &&Member| !named.contains(member) && !plan.policy.fences.is_empty();
        return order.ranked.iter().find(both).copied();
    }
    let barred = |member: &&Member| {
        let applying = |place: usize| location.fences.contains(place) || !location.is_located();
        plan.policy.fences.iter().any(|fence| applying(fence.place) && !fence.members.contains(member))
    };
    order.ranked.iter().find(barred).copied()
}

fn describe(location: &Location) -> String {
    match (location.country, location.mixed) {
        (None, _) => "clients whose country is not known".to_owned(),
        (Some(country), true) => format!("prefixes that lie partly in {country}, under several fences"),
        (Some(country), false) => format!("clients in {country}"),
    }
}

fn names(plan: &Plan, endpoints: &[Endpoint]) -> String {
    let names: Vec<&str> = plan.members.iter().map(|id| &*endpoints[id.index()].name).take(4).collect();
    format!("{}{}", names.join(", "), if plan.members.len() > 4 { ", …" } else { "" })
}

fn fence_leaves_none(plan: &Plan, endpoints: &[Endpoint], location: &Location, file: &Path) -> Problem {
    let message =
        format!("the fences of the services over {} leave {} no endpoint", names(plan, endpoints), describe(location));
    Problem::error("fence-leaves-none", file, message)
        .help("widen a fence, add an endpoint inside it, or name a set for `fence_unknown`")
}

fn fence_crossed(plan: &Plan, endpoints: &[Endpoint], location: &Location, member: Member, file: &Path) -> Problem {
    let name = &endpoints[plan.members[member.index()].index()].name;
    let message =
        format!("our bug: the order for {} holds `{name}`, outside its fence; not published", describe(location));
    Problem::error("fence-crossed", file, message).help("please report it with this configuration")
}
