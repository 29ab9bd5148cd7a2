//! A plan's tables: location → order → reply.

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use super::chunks::Chunks;
use super::endpoint::EndpointEntry;
use super::panics::{self, Capacities, Panics};
use super::ranking::{MemberSet, Rankings, holds};
use super::replies::{Replies, Settling};
use super::snapshot::Parts;
use super::standing::HeldAs;
use crate::geo::{Geo, Merged};
use crate::model::{Endpoint, EndpointId, Family, LocationId, Member, OrderId, Plan, State};
use crate::steer::{Order, Panic, Settler, Usage};

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
    /// By family and member.
    usages: [Box<[Option<Usage>]>; 2],
    /// By family.
    panics: [Panics; 2],
    /// How the operator holds its members; none: verdicts move them.
    held: Option<Held>,
    /// When it is to be settled anew, since ramps go on; none: nothing changes by time.
    pub(super) due: Option<Timestamp>,
}

/// A plan's members as they are held, by member.
pub type Held = Arc<[HeldAs]>;

/// What a plan is settled under.
#[derive(Clone, Copy)]
pub(super) struct Now<'a> {
    pub(super) endpoints: &'a [Endpoint],
    pub(super) entries: &'a Chunks<EndpointEntry>,
    pub(super) at: Timestamp,
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
    /// Settles every order under the present standing of the endpoints. Panic goes on from the one `before`.
    pub(super) fn new(
        plan: Arc<Plan>,
        rankings: Rankings,
        tries: [Option<Arc<Merged>>; 2],
        now: Now<'_>,
        before: Option<&[Panics; 2]>,
        held: Option<Held>,
    ) -> Self {
        let Now { endpoints, entries, at } = now;
        let as_held = |held: &Held| {
            let members = plan.members.iter().zip(held.iter());
            members.map(|(id, held)| entries[id.index()].held(held)).collect::<Vec<_>>()
        };
        let as_held = held.as_ref().map(as_held);
        let entry = |member: Member| match &as_held {
            Some(entries) => &entries[member.index()],
            None => &entries[plan.members[member.index()].index()],
        };
        let members = || (0..plan.members.len()).map(Member::at);
        let usages = Family::ALL.map(|family| {
            let usage = |member| entry(member).standing.usage(family, &plan.policy, at);
            members().map(usage).collect::<Box<[_]>>()
        });
        let capacities = Capacities::of(&plan, endpoints);
        let panics = Family::ALL.map(|family| {
            let (index, sets) = (family as usize, rankings[family as usize].sets());
            let before = before.map(|before| &before[index]);
            panics::after(before, sets, &usages[index], &capacities, &plan.policy, at)
        });
        let settlers = usages.each_ref().map(|usages| Settler::new(&plan, endpoints, usages.iter().copied()));
        let settle = |family: Family| {
            let family = family as usize;
            Settling::new(&plan, endpoints, &rankings[family], &settlers[family], &panics[family])
        };
        let v4 = settle(Family::V4);
        let alike =
            Arc::ptr_eq(&rankings[0], &rankings[1]) && settlers[0].is_like(&settlers[1]) && panics[0] == panics[1];
        let v6 = (!alike).then(|| settle(Family::V6));
        let v6 = v6.as_ref().unwrap_or(&v4);
        let stood = members().map(entry);
        let replies = [(&v4, Family::V4), (v6, Family::V6)]
            .map(|(settling, family)| Replies::new(settling, family, &plan.policy, stood.clone()));
        let lasting = usages.iter().flatten().flatten().filter_map(|usage| at.checked_add(usage.lasts?).ok());
        let calming = panics.iter().flatten().filter_map(|panic| panic.next(&plan.policy, at));
        // By the full second, so that what came back within one goes on in one publication.
        let due = lasting.chain(calming).min().map(full_second);
        Self { tries, replies, rankings, plan, usages, panics, held, due }
    }

    /// The same orders, settled under another standing of the endpoints, or later.
    pub(super) fn settled(&self, now: Now<'_>) -> Self {
        self.settled_as(now, self.held.clone())
    }

    /// The same, panic going on from another.
    pub(super) fn settled_after(&self, now: Now<'_>, panics: Option<&[Panics; 2]>) -> Self {
        Self::new(self.plan.clone(), self.rankings.clone(), self.tries.clone(), now, panics, self.held.clone())
    }

    /// The same, held so or no more.
    pub(super) fn settled_as(&self, now: Now<'_>, held: Option<Held>) -> Self {
        Self::new(self.plan.clone(), self.rankings.clone(), self.tries.clone(), now, Some(&self.panics), held)
    }

    /// How its members are held.
    #[must_use]
    pub fn held(&self) -> Option<&Held> {
        self.held.as_ref()
    }

    /// How its members may be used, as of when it was settled.
    #[must_use]
    pub fn usages(&self, family: Family) -> &[Option<Usage>] {
        &self.usages[family as usize]
    }

    /// What those of an order's members that are down keep of their clients by panic, in 1/256.
    #[must_use]
    pub fn down_kept(&self, family: Family, order: OrderId) -> u16 {
        self.panics[family as usize][self.rankings[family as usize].set_of(order)].kept
    }

    /// All orders of a family, with their ids.
    pub fn orders(&self, family: Family) -> impl ExactSizeIterator<Item = (Order<'_>, OrderId)> {
        self.rankings[family as usize].orders().enumerate().map(|(id, order)| (order, OrderId(id as u32)))
    }

    /// What each fence leaves, and the share of its capacity that lives and may be used.
    #[must_use]
    pub fn left(&self, endpoints: &[Endpoint]) -> Vec<(Vec<EndpointId>, f64)> {
        let capacities = Capacities::of(&self.plan, endpoints);
        let of = |family: Family| {
            let usages = &self.usages[family as usize];
            let left = |set: &MemberSet| {
                let members = self.plan.members.iter().enumerate().filter(|(member, _)| holds(set, *member));
                (members.map(|(_, id)| *id).collect(), capacities.left(set, usages).unwrap_or(1.0))
            };
            self.rankings[family as usize].sets().iter().map(left).collect::<Vec<_>>()
        };
        Family::ALL.into_iter().flat_map(of).collect()
    }

    /// What goes on in a set of members; none: no fence leaves just these.
    pub(super) fn panic_of(&self, family: Family, set: &MemberSet) -> Option<Panic> {
        let at = self.rankings[family as usize].sets().iter().position(|known| known == set)?;
        Some(self.panics[family as usize][at])
    }

    /// Panic, by family and set; none: there is none.
    pub(super) fn panics(&self) -> Option<&[Panics; 2]> {
        self.panics.iter().flatten().any(|panic| *panic != Panic::default()).then_some(&self.panics)
    }

    /// Of what fences leave that panic, the least share of capacity that lives, of what the operator's hand leaves.
    #[must_use]
    pub fn living_in_panic(&self, endpoints: &[Endpoint]) -> f64 {
        let capacities = Capacities::of(&self.plan, endpoints);
        let of = |family: usize| {
            let sets = self.rankings[family].sets().iter().zip(&self.panics[family]);
            let panicking = sets.filter(|(_, panic)| panic.kept > 0).map(|(set, _)| set);
            panicking.map(|set| panics::living(set, &self.usages[family], &capacities)).fold(1.0, f32::min)
        };
        f64::from(of(0).min(of(1)))
    }

    /// Does panic send some clients to endpoints that are down?
    #[must_use]
    pub fn is_panicking(&self) -> bool {
        let is_down = |family: usize, member: usize| {
            self.usages[family][member].is_some_and(|usage| usage.state == State::Down && !usage.is_drained())
        };
        (0..2).any(|family| {
            let sets = self.rankings[family].sets().iter().zip(&self.panics[family]);
            let mut panicking = sets.filter(|(_, panic)| panic.kept > 0).map(|(set, _)| set);
            panicking
                .any(|set| (0..self.plan.members.len()).any(|member| holds(set, member) && is_down(family, member)))
        })
    }

    /// Do some clients have no endpoint that is better than down, so that `when_none` acts for them?
    #[must_use]
    pub fn is_exhausted(&self) -> bool {
        self.replies.iter().any(|replies| replies.exhausted)
    }

    /// Where the `source` leading bits of an address are, for answers of `family`: in a derived location, else by the plan's
    /// own trie where it has one, else by the locations'. `length` is that of the leaf around them, or above `source`
    /// where they hold several, as [`Geo::locate_prefix`] has it.
    #[must_use]
    pub fn place(&self, parts: &Parts, family: Family, address: IpAddr, source: u8) -> Placed {
        let source = source.min(if address.is_ipv4() { 32 } else { 128 });
        let first = first(address, source);
        let (derived, length) = parts.measured.find(first);
        if let Some(location) = derived.filter(|_| length <= source) {
            let located = parts.location(location).is_located();
            return Placed { order: self.order(family, location), length, located };
        }
        let placed = self.place_in_database(&parts.geo, family, address, source, first);
        Placed { length: placed.length.max(length), ..placed }
    }

    /// The same without derived locations.
    fn place_in_database(&self, geo: &Geo, family: Family, address: IpAddr, source: u8, first: IpAddr) -> Placed {
        let leaf = self.trie(family).map(|trie| trie.get(first));
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

    /// Begins to fetch what [`Self::order`] reads.
    #[inline]
    pub fn prefetch_order(&self, family: Family, location: LocationId) {
        self.rankings[family as usize].prefetch(location);
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

fn full_second(at: Timestamp) -> Timestamp {
    let whole = at.as_second() + i64::from(at.subsec_nanosecond() > 0);
    Timestamp::from_second(whole).unwrap_or(Timestamp::MAX)
}

/// The first address of a prefix.
pub(super) fn first(address: IpAddr, source: u8) -> IpAddr {
    match address {
        IpAddr::V4(v4) => {
            (v4.to_bits() & u32::MAX.checked_shl(32 - u32::from(source)).unwrap_or(0)).to_be_bytes().into()
        }
        IpAddr::V6(v6) => {
            (v6.to_bits() & u128::MAX.checked_shl(128 - u32::from(source)).unwrap_or(0)).to_be_bytes().into()
        }
    }
}
