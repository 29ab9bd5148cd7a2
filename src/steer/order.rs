//! What ranking leaves: an order, flat, so that a plan's thousands of them lie in one piece of memory.

use std::fmt;
use std::ops::Range;

use crate::model::Member;

/// How large the orders of one plan and family are: all of one plan are of one size.
///
/// ```text
/// octets: count │ ranked × members │ tie × members │ budget, cost × members each, where cost plays a part
///         │ count of preferences, (index, reach × members) × preferences, where the plan has any
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Shape {
    members: u8,
    by_cost: bool,
    preferences: u8,
}

impl Shape {
    /// Of at most so many ranks and preferences.
    pub(super) fn new(members: usize, by_cost: bool, preferences: usize) -> Self {
        let octet = |count: usize| u8::try_from(count).expect("the configuration bounds members and preferences");
        Self { members: octet(members), by_cost, preferences: octet(preferences) }
    }

    /// Does cost play a part?
    pub(super) fn by_cost(self) -> bool {
        self.by_cost
    }

    /// Octets an order.
    #[must_use]
    pub fn stride(self) -> usize {
        self.preferences_at() + if self.preferences == 0 { 0 } else { 1 + usize::from(self.preferences) * self.entry() }
    }

    fn entry(self) -> usize {
        1 + usize::from(self.members)
    }

    /// Where the `index`-th list by rank begins: ranked, tie, budget, cost.
    fn list_at(self, index: usize) -> usize {
        1 + index * usize::from(self.members)
    }

    /// Where the `place`-th preference begins: its index, then its reaches.
    fn preference_at(self, place: usize) -> usize {
        self.preferences_at() + 1 + place * self.entry()
    }

    fn preferences_at(self) -> usize {
        self.list_at(if self.by_cost { 4 } else { 2 })
    }
}

/// Members that a location may use, best first, with everything that the choice among any usable
/// subset of them needs. Holds no figures: locations whose figures compare alike share an order.
#[derive(Clone, Copy)]
pub struct Order<'a> {
    shape: Shape,
    octets: &'a [u8],
}

impl<'a> Order<'a> {
    /// Reads the order at the start of `octets`.
    #[inline]
    #[must_use]
    pub fn new(shape: Shape, octets: &'a [u8]) -> Self {
        Self { shape, octets: &octets[..shape.stride()] }
    }

    /// It in octets: equal of equal orders of one shape, and of those alone.
    #[must_use]
    pub fn octets(self) -> &'a [u8] {
        self.octets
    }

    /// The members by expected latency, bias included; ties by member. As octets: [`Member`]s.
    #[inline]
    pub(super) fn ranks(self) -> &'a [u8] {
        self.list(0)
    }

    /// The last rank within `tie` of each rank.
    #[inline]
    pub(super) fn tie(self) -> &'a [u8] {
        self.list(1)
    }

    /// The last rank within `cost_budget` of each rank, and each rank's place among the distinct costs,
    /// cheapest 0; none where cost plays no part.
    #[inline]
    pub(super) fn costs(self) -> Option<(&'a [u8], &'a [u8])> {
        self.shape.by_cost.then(|| (self.list(2), self.list(3)))
    }

    /// The preferences that hold the location, in order: index into `Policy::preferences`, and the last
    /// rank within its budget of each rank.
    #[inline]
    pub(super) fn preferences(self) -> impl Iterator<Item = (usize, &'a [u8])> {
        let list = match self.shape.preferences {
            0 => [].as_slice(),
            _ => {
                let (count, list) = self.octets[self.shape.preferences_at()..].split_first().expect("a count");
                &list[..usize::from(*count) * self.shape.entry()]
            }
        };
        let count = self.len();
        list.chunks_exact(self.shape.entry()).map(move |entry| (usize::from(entry[0]), &entry[1..=count]))
    }

    /// Do latency and tie alone decide?
    #[inline]
    pub(super) fn is_plain(self) -> bool {
        !self.shape.by_cost && (self.shape.preferences == 0 || self.octets[self.shape.preferences_at()] == 0)
    }

    /// The members, best first.
    pub fn members(self) -> impl ExactSizeIterator<Item = Member> + 'a {
        self.ranks().iter().map(|&member| Member(member))
    }

    /// How many members.
    #[inline]
    #[must_use]
    pub fn len(self) -> usize {
        usize::from(self.octets[0])
    }

    /// May the location use none?
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    #[inline]
    fn list(self, index: usize) -> &'a [u8] {
        let start = self.shape.list_at(index);
        &self.octets[start..start + self.len()]
    }
}

impl PartialEq for Order<'_> {
    /// Shapes with room for more hold the same.
    fn eq(&self, other: &Self) -> bool {
        self.ranks() == other.ranks()
            && self.tie() == other.tie()
            && self.costs() == other.costs()
            && self.preferences().eq(other.preferences())
    }
}

impl fmt::Debug for Order<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let preferences: Vec<_> = self.preferences().collect();
        f.debug_struct("Order")
            .field("ranked", &self.ranks())
            .field("tie", &self.tie())
            .field("costs", &self.costs())
            .field("preferences", &preferences)
            .finish()
    }
}

/// An order being written.
pub(super) struct Writer<'a> {
    shape: Shape,
    count: usize,
    octets: &'a mut [u8],
}

impl<'a> Writer<'a> {
    /// Of so many members; `octets` have the shape's stride.
    pub(super) fn new(shape: Shape, count: usize, octets: &'a mut [u8]) -> Self {
        octets.fill(0);
        octets[0] = u8::try_from(count).expect("a plan has at most 255 members");
        Self { shape, count, octets }
    }

    /// The order in `octets`, to be changed.
    pub(super) fn of(shape: Shape, octets: &'a mut [u8]) -> Self {
        Self { shape, count: octets[0].into(), octets }
    }

    /// Puts these ranks into the order of members.
    pub(super) fn sort(&mut self, range: Range<usize>) {
        for rank in range.clone() {
            let mut at = rank;
            while at > range.start && self.ranks()[at - 1] > self.ranks()[at] {
                self.ranks().swap(at - 1, at);
                if self.shape.by_cost {
                    self.cost().swap(at - 1, at);
                }
                at -= 1;
            }
        }
    }

    pub(super) fn ranks(&mut self) -> &mut [u8] {
        self.list(0)
    }

    pub(super) fn tie(&mut self) -> &mut [u8] {
        self.list(1)
    }

    pub(super) fn budget(&mut self) -> &mut [u8] {
        self.list(2)
    }

    pub(super) fn cost(&mut self) -> &mut [u8] {
        self.list(3)
    }

    /// Adds a preference: the list of its reaches.
    pub(super) fn preference(&mut self, index: usize) -> &mut [u8] {
        let at = self.shape.preferences_at();
        let place = self.preferences();
        self.octets[at] += 1;
        self.octets[self.shape.preference_at(place)] =
            u8::try_from(index).expect("the configuration bounds preferences");
        self.reach(place)
    }

    /// How many preferences it has.
    pub(super) fn preferences(&self) -> usize {
        if self.shape.preferences == 0 { 0 } else { self.octets[self.shape.preferences_at()].into() }
    }

    /// The reaches of the `place`-th of them.
    pub(super) fn reach(&mut self, place: usize) -> &mut [u8] {
        let start = self.shape.preference_at(place) + 1;
        &mut self.octets[start..start + self.count]
    }

    fn list(&mut self, index: usize) -> &mut [u8] {
        let start = self.shape.list_at(index);
        &mut self.octets[start..start + self.count]
    }
}

/// An order of its own.
#[derive(Clone)]
pub struct OrderBuf {
    pub(super) shape: Shape,
    pub(super) octets: Box<[u8]>,
}

impl OrderBuf {
    /// It.
    #[must_use]
    pub fn view(&self) -> Order<'_> {
        Order::new(self.shape, &self.octets)
    }
}

impl From<Order<'_>> for OrderBuf {
    fn from(order: Order<'_>) -> Self {
        Self { shape: order.shape, octets: order.octets.into() }
    }
}

impl PartialEq for OrderBuf {
    fn eq(&self, other: &Self) -> bool {
        self.view() == other.view()
    }
}

impl fmt::Debug for OrderBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.view().fmt(f)
    }
}
