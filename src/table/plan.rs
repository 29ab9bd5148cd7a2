//! A plan's tables: location → order → reply.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use super::endpoint::EndpointEntry;
use super::ready::Ready;
use super::replies::{Replies, Reply};
use crate::geo::{Geo, Merged};
use crate::latency;
use crate::model::{Endpoint, EndpointId, Family, FenceUnknown, Location, LocationId, Member, OrderId, Plan, Problem};
use crate::steer::{self, Order, Split};

/// One plan, compiled.
#[derive(Clone, Debug)]
pub struct PlanTable {
    /// What it was compiled from.
    pub plan: Arc<Plan>,
    /// By family: what does not depend on health. One and the same where all endpoints have both.
    rankings: [Arc<Ranking>; 2],
    /// By family, for the busiest plans: the space merged by order.
    tries: [Option<Arc<Merged>>; 2],
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

/// Where a client is, as a plan sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Placed {
    /// What it comes to.
    pub order: OrderId,
    /// Length of the leaf that holds it, in the family of the address: the ECS scope.
    pub length: u8,
    /// Is its place known?
    pub located: bool,
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
        let replies = [Arc::default(), Arc::default()];
        let table = Self { plan: Arc::new(plan.clone()), rankings, tries: [None, None], replies };
        Ok(table.settled(endpoints, entries))
    }

    /// The same orders, settled under the present standing of the endpoints.
    pub(super) fn settled(&self, endpoints: &[Endpoint], entries: &[EndpointEntry]) -> Self {
        let settle = |family: Family| {
            let orders = &self.rankings[family as usize].orders;
            Arc::new(Replies::settle(&self.plan, orders, family, endpoints, entries))
        };
        Self { replies: Family::ALL.map(settle), ..self.clone() }
    }

    /// Do some clients have no endpoint that is better than down, so that `when_none` acts for them?
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.replies.iter().any(|replies| replies.exhausted)
    }

    /// Where the `source` leading bits of an address are, for answers of `family`: by the plan's own trie
    /// where it has one, else by the locations'. `length` is that of the leaf around them, or above `source`
    /// where they hold several, as [`Geo::locate_prefix`] has it.
    #[must_use]
    pub fn place(&self, geo: &Geo, family: Family, address: IpAddr, source: u8) -> Placed {
        let place = geo.locate_prefix(address, source);
        let order = self.rankings[family as usize].by_location[place.location.index()];
        Placed { order, length: place.length, located: geo.location(place.location).is_located() }
    }

    /// The plan's own trie, if it is one of the busiest plans. Its values are read by [`Self::decode`].
    #[inline]
    #[must_use]
    pub fn trie(&self, family: Family) -> Option<&Merged> {
        self.tries[family as usize].as_deref()
    }

    /// A value of [`Self::trie`]: the order, and whether the place is known.
    #[inline]
    #[must_use]
    pub fn decode(value: u32) -> (OrderId, bool) {
        (OrderId(value >> 1), value & 1 != 0)
    }

    /// What an order comes to now.
    #[inline]
    #[must_use]
    pub fn reply(&self, family: Family, order: OrderId) -> &Reply {
        self.replies[family as usize].reply(order)
    }

    /// The same, ready to be copied.
    #[inline]
    #[must_use]
    pub fn ready(&self, family: Family, order: OrderId) -> &Ready {
        self.replies[family as usize].ready(order)
    }

    /// The line of that index: of a share of a split.
    #[inline]
    #[must_use]
    pub fn ready_at(&self, family: Family, index: u32) -> &Ready {
        self.replies[family as usize].ready_at(index)
    }

    /// The split that a line names, and the index of its first share's line; the others follow in the order
    /// of [`Split::shares`].
    #[inline]
    #[must_use]
    pub fn split(&self, family: Family, index: u32) -> (&Split, u32) {
        self.replies[family as usize].split(index)
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
