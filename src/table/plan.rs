//! A plan's tables: location → order → reply.

use std::net::IpAddr;
use std::sync::Arc;

use super::chunks::Chunks;
use super::endpoint::EndpointEntry;
use super::ranking::Rankings;
use super::replies::{Replies, Settling};
use crate::geo::{Geo, Merged};
use crate::model::{Endpoint, Family, LocationId, Member, OrderId, Plan};
use crate::steer::{Order, Settler};

/// One plan, compiled.
#[derive(Debug)]
#[repr(C, align(64))] // apart from the count of its owners, which each publication writes
pub struct PlanTable {
    /// By family, for the busiest plans: the space merged by order.
    tries: [Option<Arc<Merged>>; 2],
    /// By family: what each order comes to now.
    replies: [Replies; 2],
    /// By family: what does not depend on health. One and the same where all endpoints have both.
    rankings: Rankings,
    /// What it was compiled from.
    pub plan: Arc<Plan>,
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
    /// Settles every order under the present standing of the endpoints.
    pub(super) fn new(
        plan: Arc<Plan>,
        rankings: Rankings,
        tries: [Option<Arc<Merged>>; 2],
        endpoints: &[Endpoint],
        entries: &Chunks<EndpointEntry>,
    ) -> Self {
        let entry = |member: Member| &entries[plan.members[member.index()].index()];
        let settler = |family: Family| {
            let members = (0..plan.members.len()).map(Member::at);
            Settler::new(&plan, members.map(|member| entry(member).states[family as usize]))
        };
        let settlers = Family::ALL.map(settler);
        let settle =
            |family: Family| Settling::new(&plan, endpoints, &rankings[family as usize], &settlers[family as usize]);
        let v4 = settle(Family::V4);
        let alike = Arc::ptr_eq(&rankings[0], &rankings[1]) && settlers[0].is_like(&settlers[1]);
        let v6 = (!alike).then(|| settle(Family::V6));
        let v6 = v6.as_ref().unwrap_or(&v4);
        let members = (0..plan.members.len()).map(|member| entry(Member::at(member)));
        let replies = [Replies::new(&v4, Family::V4, members.clone()), Replies::new(v6, Family::V6, members)];
        Self { tries, replies, rankings, plan }
    }

    /// The same orders, settled under another standing of the endpoints.
    pub(super) fn settled(&self, endpoints: &[Endpoint], entries: &Chunks<EndpointEntry>) -> Self {
        Self::new(self.plan.clone(), self.rankings.clone(), self.tries.clone(), endpoints, entries)
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
        let source = source.min(if address.is_ipv4() { 32 } else { 128 });
        let leaf = self.trie(family).map(|trie| trie.get(first(address, source)));
        if let Some((value, length)) = leaf.filter(|(_, length)| *length <= source) {
            let (order, located) = Self::decode(value);
            return Placed { order, length, located };
        }
        let place = geo.locate_prefix(address, source);
        Placed {
            order: self.rankings[family as usize].at(place.location),
            length: leaf.map_or(place.length, |(_, length)| length),
            located: geo.location(place.location).is_located(),
        }
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

    /// What a trie says of such a place.
    #[inline]
    #[must_use]
    pub fn encode(order: OrderId, located: bool) -> u32 {
        order.0 << 1 | u32::from(located)
    }

    /// What the orders of a family come to now.
    #[inline]
    #[must_use]
    pub fn replies(&self, family: Family) -> &Replies {
        &self.replies[family as usize]
    }

    /// The order of a location.
    #[inline]
    #[must_use]
    pub fn order(&self, family: Family, location: LocationId) -> OrderId {
        self.rankings[family as usize].at(location)
    }

    /// What ranking left of an order, for tests.
    #[must_use]
    pub fn ranked(&self, family: Family, order: OrderId) -> Order<'_> {
        self.rankings[family as usize].order(order)
    }

    pub(super) fn rankings(&self) -> &Rankings {
        &self.rankings
    }

    pub(super) fn tries(&self) -> &[Option<Arc<Merged>>; 2] {
        &self.tries
    }
}

/// The first address of a prefix.
fn first(address: IpAddr, source: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            (v4.to_bits() & u32::MAX.checked_shl(32 - u32::from(source)).unwrap_or(0)).to_be_bytes().into()
        }
        IpAddr::V6(v6) => {
            (v6.to_bits() & u128::MAX.checked_shl(128 - u32::from(source)).unwrap_or(0)).to_be_bytes().into()
        }
    }
}
