//! Orders of one plan and family: ranked for every location, and kept once each.

use std::path::Path;
use std::sync::Arc;

use super::fold::fold;
use super::indices::Indices;
use super::survey::{At, AtDerived, Survey, Surveyed};
use crate::geo::Geo;
use crate::model::{Endpoint, Family, FenceUnknown, Location, LocationId, Member, OrderId, Plan, Problem};
use crate::steer::{self, Facts, FenceClass, Order, Ranker, Shape};

/// Orders, and which of them each location has.
#[derive(Debug)]
pub(super) struct Ranking {
    shape: Shape,
    /// One after the other, as their shape has it.
    arena: Box<[u8]>,
    /// Index: `LocationId`.
    by_location: Indices,
    /// The members that some fence leaves, a bit each: every order has those of one such set.
    sets: Vec<MemberSet>,
    /// Index: `OrderId`; an index into `sets`.
    set_of: Indices,
    /// That of the database's locations alone, whose orders come first; none: this is it.
    base: Option<Arc<Ranking>>,
}

/// A bit a member.
pub(super) type MemberSet = [u64; 4];

pub(super) fn holds(set: &MemberSet, member: usize) -> bool {
    set[member / 64] & 1 << (member % 64) != 0
}

/// By family; one and the same where all endpoints have both.
pub(super) type Rankings = [Arc<Ranking>; 2];

/// Those of the database's locations alone.
pub(super) fn bases(rankings: &Rankings) -> Rankings {
    rankings.each_ref().map(|ranking| ranking.base().clone())
}

impl Ranking {
    /// Ranks a plan that the survey is prepared for.
    ///
    /// # Errors
    /// A fence that leaves some location no endpoint; an order that crosses a fence (a bug of ours,
    /// refused before it can do harm).
    pub(super) fn new<'a>(
        plan: &'a Plan,
        endpoints: &[Endpoint],
        family: Family,
        survey: &Survey<'a>,
        file: &Path,
    ) -> Result<Self, Problem> {
        let facts = survey.of(plan);
        let mut making = Making::new(plan, endpoints, family, (&facts, survey), file);
        let mut builder = Builder::new(making.ranker.shape());
        for (index, location) in survey.locations.iter().enumerate() {
            // IPv4-mapped space, the other location that nothing is known of, is answered as IPv4: it must
            // never merge with what lies around it.
            let apart = index > 0 && *location == Location::default();
            builder.push(making.rank(location, &At(&facts, index))?, apart);
        }
        Ok(builder.finish())
    }

    /// Ranks a plan, that the survey is prepared for, at derived locations, too; their orders behind those of `base`.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub(super) fn with_derived<'a>(
        base: &Arc<Self>,
        plan: &'a Plan,
        endpoints: &[Endpoint],
        family: Family,
        survey: &Survey<'a>,
        file: &Path,
    ) -> Result<Self, Problem> {
        let facts = survey.of(plan);
        let mut making = Making::new(plan, endpoints, family, (&facts, survey), file);
        let mut builder = Builder::behind(base);
        for (index, (_, leaf)) in survey.derived().iter().enumerate() {
            let location = &survey.locations[leaf.index()];
            builder.push(making.rank(location, &AtDerived(&facts, index, leaf.index()))?, false);
        }
        Ok(Self { base: Some(base.clone()), ..builder.finish() })
    }

    /// That of the database's locations alone.
    pub(super) fn base(self: &Arc<Self>) -> &Arc<Self> {
        self.base.as_ref().unwrap_or(self)
    }

    #[inline]
    pub(super) fn at(&self, location: LocationId) -> OrderId {
        OrderId(self.by_location.get(location.index()))
    }

    /// Begins to fetch what [`Self::at`] reads.
    #[inline]
    pub(super) fn prefetch(&self, location: LocationId) {
        self.by_location.prefetch(location.index());
    }

    pub(super) fn order(&self, id: OrderId) -> Order<'_> {
        Order::new(self.shape, &self.arena[id.index() * self.shape.stride()..])
    }

    /// All, by `OrderId`.
    pub(super) fn orders(&self) -> impl ExactSizeIterator<Item = Order<'_>> {
        self.arena.chunks_exact(self.shape.stride()).map(|octets| Order::new(self.shape, octets))
    }

    /// The members of each set.
    pub(super) fn sets(&self) -> &[MemberSet] {
        &self.sets
    }

    /// The set of an order.
    pub(super) fn set_of(&self, order: OrderId) -> usize {
        self.set_of.get(order.index()) as usize
    }

    /// The values of a plan trie (index: `LocationId`): the order's id, and whether the place is known.
    pub(super) fn values(&self, geo: &Geo) -> Vec<u32> {
        let known = geo.locations().iter().map(Location::is_located);
        self.by_location.iter().zip(known).map(|(order, known)| order << 1 | u32::from(known)).collect()
    }
}

/// Gathers orders in the order of locations; equal ones once.
struct Builder {
    shape: Shape,
    arena: Vec<u8>,
    by_location: Vec<u32>,
    /// Order ids + 1, by hash; 0 is free. A power of two, at most half full.
    slots: Vec<u32>,
    count: u32,
    sets: Vec<MemberSet>,
    set_of: Vec<u32>,
}

impl Builder {
    fn new(shape: Shape) -> Self {
        let (arena, by_location, sets, set_of) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { shape, arena, by_location, slots: vec![0; 256], count: 0, sets, set_of }
    }

    /// That goes on behind a ranking.
    fn behind(base: &Ranking) -> Self {
        let mut builder = Self {
            shape: base.shape,
            arena: base.arena.to_vec(),
            by_location: base.by_location.iter().collect(),
            slots: vec![0; (2 * base.orders().len()).next_power_of_two().max(256)],
            count: base.orders().len() as u32, // as many as its ids count
            sets: base.sets.clone(),
            set_of: base.set_of.iter().collect(),
        };
        for (id, order) in (0..).zip(base.orders()) {
            let slot = builder.slot(order.octets());
            // Of equal ones, one of which is kept apart, the first that is not; which that is shows in nothing.
            if builder.slots[slot] == 0 {
                builder.slots[slot] = id + 1;
            }
        }
        builder
    }

    fn push(&mut self, order: Order<'_>, apart: bool) {
        let octets = order.octets();
        let id = if apart { self.add(octets) } else { self.intern(octets) };
        self.by_location.push(id);
    }

    fn intern(&mut self, octets: &[u8]) -> u32 {
        let slot = self.slot(octets);
        if self.slots[slot] != 0 {
            return self.slots[slot] - 1;
        }
        let id = self.add(octets);
        self.slots[slot] = id + 1;
        if self.count as usize * 2 > self.slots.len() {
            self.grow();
        }
        id
    }

    fn add(&mut self, octets: &[u8]) -> u32 {
        self.arena.extend_from_slice(octets);
        let mut set = MemberSet::default();
        let members = Order::new(self.shape, octets).members();
        members.for_each(|member| set[member.index() / 64] |= 1 << (member.index() % 64));
        let known = self.sets.iter().position(|known| *known == set).unwrap_or_else(|| {
            self.sets.push(set);
            self.sets.len() - 1
        });
        self.set_of.push(known as u32); // no more than there are orders
        self.count += 1;
        self.count - 1
    }

    /// Where such an order is, or belongs.
    fn slot(&self, octets: &[u8]) -> usize {
        let (mask, stride) = (self.slots.len() - 1, self.shape.stride());
        let mut slot = fold(octets) as usize & mask;
        while let Some(id) = self.slots[slot].checked_sub(1) {
            if self.arena[id as usize * stride..][..stride] == *octets {
                break;
            }
            slot = (slot + 1) & mask;
        }
        slot
    }

    fn grow(&mut self) {
        let old = std::mem::take(&mut self.slots);
        self.slots = vec![0; old.len() * 2];
        let stride = self.shape.stride();
        for id in old.into_iter().filter(|id| *id != 0) {
            let slot = self.slot(&self.arena[(id as usize - 1) * stride..][..stride]);
            self.slots[slot] = id;
        }
    }

    fn finish(self) -> Ranking {
        Ranking {
            shape: self.shape,
            arena: self.arena.into(),
            by_location: Indices::new(self.by_location.into_iter(), self.count as usize),
            set_of: Indices::new(self.set_of.into_iter(), self.sets.len()),
            sets: self.sets,
            base: None,
        }
    }
}

/// Ranks one location after the other, and holds each order against the fences.
struct Making<'a> {
    ranker: Ranker<'a>,
    fences: Fences<'a>,
}

impl<'a> Making<'a> {
    fn new(
        plan: &'a Plan,
        endpoints: &'a [Endpoint],
        family: Family,
        (facts, survey): (&Surveyed<'_>, &Survey<'_>),
        file: &'a Path,
    ) -> Self {
        let ranker = Ranker::new(plan, endpoints, family, facts.most_preferences(survey.locations.len()));
        Self { ranker, fences: Fences { plan, endpoints, family, file, checked: Vec::new() } }
    }

    fn rank(&mut self, location: &Location, facts: &impl Facts) -> Result<Order<'_>, Problem> {
        let Self { ranker, fences } = self;
        let barred = fences.barred(location)?;
        let order = ranker.rank_merged(location, facts);
        match order.members().find(|member| barred[member.index()]) {
            Some(member) => Err(fence_crossed(fences.plan, fences.endpoints, location, member, fences.file)),
            None => Ok(order),
        }
    }
}

/// What a plan's fences bar, reckoned apart from the ranking.
struct Fences<'a> {
    plan: &'a Plan,
    endpoints: &'a [Endpoint],
    family: Family,
    file: &'a Path,
    checked: Vec<(FenceClass, [bool; 256])>,
}

impl Fences<'_> {
    /// Who is barred at `location`; by member.
    ///
    /// # Errors
    /// Everyone is.
    fn barred(&mut self, location: &Location) -> Result<&[bool; 256], Problem> {
        let class = FenceClass::of(self.plan, location);
        let known = self.checked.iter().position(|(known, _)| *known == class);
        let index = match known {
            Some(index) => index,
            None => {
                if steer::allowed(self.plan, self.endpoints, self.family, location).is_empty() {
                    return Err(fence_leaves_none(self.plan, self.endpoints, location, self.file));
                }
                let barred = std::array::from_fn(|member| is_barred(self.plan, location, member));
                self.checked.push((class, barred));
                self.checked.len() - 1
            }
        };
        Ok(&self.checked[index].1)
    }
}

/// Does a fence of `location` bar the member?
fn is_barred(plan: &Plan, location: &Location, member: usize) -> bool {
    let holds = |members: &[Member]| members.iter().any(|other| other.index() == member);
    let unknown = location.mixed || !location.is_located();
    if let (true, FenceUnknown::Set(named)) = (unknown, &plan.policy.fence_unknown) {
        return !holds(named) && !plan.policy.fences.is_empty();
    }
    let applying = |place: usize| location.fences.contains(place) || !location.is_located();
    plan.policy.fences.iter().any(|fence| applying(fence.place) && !holds(&fence.members))
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
