//! What an order of the operator would come to, before it is in force (BEHAVIOUR rule 27).

use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::overrides::{Ordered, Overrides};
use crate::health::{Board, EndpointHealth, Recovered};
use crate::latency::{Destination, Origin};
use crate::model::{Endpoint, EndpointId, Family, Location, Member, OrderId, Plan, PlanId, State};
use crate::steer::{Choice, Settler, Usage};
use crate::table::{Hand, Measured, PlanTable, Snapshot, Standing};

/// The most countries told of one plan.
const COUNTRIES: usize = 30;
/// Of a fence's capacity, as much must be left where `panic_below` does not say.
const LEAST: f64 = 0.5;
/// The most services named of one plan.
const SERVICES: usize = 10;

/// What changes, by plan and place.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Impact {
    /// Plans some of whose clients get another answer, or none.
    pub plans: Vec<PlanImpact>,
    /// Endpoints that would be answered from now on although their probes call them down.
    pub blind: Vec<String>,
}

/// What changes for services that share endpoints and policy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlanImpact {
    /// The services; the first of them where they are many.
    pub services: Vec<String>,
    /// Countries with clients that have no endpoint that lives any more.
    pub without: Vec<String>,
    /// Countries with clients that have none now either, and get another that does not live.
    #[serde(default)]
    pub dead: Vec<String>,
    /// The least share of a fence's capacity that is left; none: enough.
    pub scarce: Option<f64>,
    /// Of that fence, the endpoints.
    #[serde(default)]
    pub scarce_of: Vec<String>,
    /// By country, those that move farthest first, be it away or nearer; behind these, prefixes under several fences.
    pub moves: Vec<Move>,
    /// Countries that are not told.
    pub more: usize,
}

/// Where the clients of a country go, by its places: those that the GeoIP database tells apart, whoever lives there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Move {
    /// ISO 3166-1; `??`: not located.
    pub country: String,
    /// Prefixes that lie under several fences, and get what all of these allow.
    #[serde(default)]
    pub mixed: bool,
    /// Who answers most of those that move now.
    pub from: String,
    /// Who will.
    pub to: String,
    /// Their expected round trip now, in ms, in the mean.
    pub from_ms: f32,
    /// And then.
    pub to_ms: f32,
    /// Their part of the country's places that move.
    #[serde(default)]
    pub share: f32,
    /// And the part of the country's places that moves, each address family of a place by itself.
    #[serde(default)]
    pub of_country: f32,
}

impl Impact {
    /// Must it be accepted before it may be?
    #[must_use]
    pub fn is_grave(&self) -> bool {
        !self.blind.is_empty() || self.plans.iter().any(|plan| !plan.without.is_empty() || plan.scarce.is_some())
    }

    /// What becomes of `snapshot` by what is `ordered`, under the orders `now` in force.
    #[must_use]
    pub fn of(snapshot: &Snapshot, ordered: Weighed, now: Timestamp) -> Self {
        let Weighed { drained, standings, released, blind } = ordered;
        let snapshot = &snapshot.with_standings(drained, now);
        let after = snapshot.with_standings(standings, now).released(&released, now);
        let plans = snapshot.plans_changed(&after).into_iter();
        let origins = || snapshot.parts.geo.locations().iter().map(Origin::new).collect::<Vec<_>>();
        let origins = LazyCell::new(origins);
        let impact = |(before, after, services): (&PlanTable, &PlanTable, Vec<&str>)| {
            let impact = PlanImpact::of(snapshot, &origins, before, after, &services);
            (impact != PlanImpact::none(&services)).then_some(impact)
        };
        Self { plans: plans.filter_map(impact).collect(), blind }
    }
}

/// What orders come to once they have had their whole effect.
#[derive(Debug)]
pub struct Weighed {
    /// Endpoints whose clients leave them anyway, as they stand when all have left.
    drained: Vec<(EndpointId, Standing)>,
    /// Endpoints that stand otherwise.
    standings: Vec<(EndpointId, Standing)>,
    /// Plans that are held no more.
    released: Vec<PlanId>,
    /// As of [`Impact`].
    blind: Vec<String>,
}

impl Weighed {
    /// From the orders in force, to those that would be. Does little; [`Impact::of`] does the rest without the board. None:
    /// the board does not know the endpoints yet.
    #[must_use]
    pub fn new(snapshot: &Snapshot, board: &Board, before: &Overrides, after: &Overrides) -> Option<Self> {
        let config = &snapshot.parts.config;
        if board.endpoints().len() != config.endpoints.len() {
            return None;
        }
        let mut weighed = Self { drained: Vec::new(), standings: Vec::new(), released: Vec::new(), blind: Vec::new() };
        for (id, endpoint) in (0..).map(EndpointId).zip(&config.endpoints) {
            let (was, will, health) = (before.of(endpoint), after.of(endpoint), board.endpoint(id));
            if will.hand == Hand::Up && was.hand != Hand::Up && health.state == State::Down {
                weighed.blind.push(endpoint.name.to_string());
            }
            let mut standing = snapshot.standing(id).clone();
            if was.hand == will.hand && matches!(was.hand, Hand::Drained { .. }) {
                standing.hand = DRAINED;
                weighed.drained.push((id, standing.clone()));
            }
            let then = finally(&standing, was, will, health);
            if then != standing {
                weighed.standings.push((id, then));
            }
        }
        let plan = |label: &std::sync::Arc<str>| {
            config.services.iter().find(|service| service.label == *label).map(|service| service.plan)
        };
        let held: Vec<PlanId> = after.held_services().filter_map(plan).collect();
        weighed.released = before.held_services().filter_map(plan).filter(|plan| !held.contains(plan)).collect();
        Some(weighed)
    }
}

/// All of its clients have left it.
const DRAINED: Hand = Hand::Drained { since: Timestamp::MIN, over: None };

/// How an endpoint stands once a drain is over, or all of its clients are back by what was taken back.
fn finally(before: &Standing, was: Ordered, will: Ordered, health: &EndpointHealth) -> Standing {
    let hand = match will.hand {
        Hand::Drained { .. } => DRAINED,
        hand => hand,
    };
    let is_given_back = matches!(was.hand, Hand::Drained { .. } | Hand::Down) && hand == Hand::Off;
    let returned = if is_given_back { Vec::new() } else { before.returned.clone() };
    let mut standing = Standing { hand, held: will.held, returned: returned.clone(), ..before.clone() };
    // What a hold that goes on has kept of one that was forced up is not known here: it may be what probes say.
    if was.held && !will.held || was.hand == Hand::Up && hand != Hand::Up {
        standing =
            Standing { hand, held: will.held, returned, ..Standing::of_health(health, before.ttl, before.in_doubt) };
    }
    if hand == Hand::Up {
        (standing.warming, standing.returned) = (Recovered::default(), Vec::new());
        standing.addresses.iter_mut().for_each(|(_, state)| *state = State::Up);
    }
    standing
}

impl PlanImpact {
    fn none(services: &[&str]) -> Self {
        let services = services.iter().take(SERVICES).map(|&service| service.to_owned()).collect();
        Self { services, without: vec![], dead: vec![], scarce: None, scarce_of: vec![], moves: vec![], more: 0 }
    }

    fn of(snapshot: &Snapshot, origins: &[Origin], before: &PlanTable, after: &PlanTable, services: &[&str]) -> Self {
        let endpoints = &snapshot.parts.config.endpoints;
        let members = Members::of(&before.plan, endpoints, &snapshot.parts.measured);
        let mut impact = Self::none(services);
        let (mut without, mut dead, mut moves) = (BTreeSet::new(), BTreeSet::new(), BTreeMap::<Country, Moves>::new());
        let mut places = BTreeMap::<Country, u32>::new();
        for family in Family::ALL {
            let (then, now) = (Answers::of(after, endpoints, family), Answers::of(before, endpoints, family));
            for (index, location) in snapshot.parts.geo.locations().iter().enumerate() {
                let order = before.order(family, crate::model::LocationId::at(index));
                let country = location.country.map_or("??".to_owned(), |country| country.to_string());
                // Of services with addresses of one family, each place is one.
                let is_asked = !then.members(order).is_empty() || !now.members(order).is_empty();
                let of = (country.clone(), location.mixed);
                *places.entry(of.clone()).or_default() += u32::from(is_asked);
                let is_lost = then.is_exhausted(order) && !now.is_exhausted(order);
                let is_silent = then.members(order).is_empty() && !now.members(order).is_empty();
                if is_lost || is_silent {
                    without.insert(country);
                } else if let Some(from) = now.leaving(order, &then)
                    && let Some(to) = now.coming(order, &then)
                {
                    let ms = [from, to].map(|member| members.ms(&origins[index], location, member));
                    if then.is_exhausted(order) {
                        dead.insert(country);
                    }
                    moves.entry(of).or_default().add((from, to), ms);
                }
            }
        }
        // Where panic is off, half of it is as little as ever.
        let least = match after.plan.policy.panic_below {
            below if below > 0.0 => f64::from(below),
            _ => LEAST,
        };
        let left = before.left(endpoints).into_iter().zip(after.left(endpoints));
        let scarcer = left.filter(|((_, before), (_, after))| after < before && *after < least).map(|(_, after)| after);
        if let Some((of, left)) = scarcer.min_by(|a, b| a.1.total_cmp(&b.1)) {
            impact.scarce = Some(left);
            impact.scarce_of = of.iter().map(|id| endpoints[id.index()].name.to_string()).collect();
        }
        (impact.without, impact.dead) = (without.into_iter().collect(), dead.into_iter().collect());
        let name = |member: Member| members.list[member.index()].0.name.to_string();
        let told = |(country, moves): (Country, Moves)| {
            let of = places[&country];
            moves.told(country, of, name)
        };
        let mut moves: Vec<_> = moves.into_iter().filter_map(told).collect();
        moves.sort_by(|a, b| a.0.mixed.cmp(&b.0.mixed).then(b.1.abs().total_cmp(&a.1.abs())));
        impact.more = moves.len().saturating_sub(COUNTRIES);
        impact.moves = moves.into_iter().take(COUNTRIES).map(|(moved, _)| moved).collect();
        impact
    }
}

/// Its code, and whether they are the places of prefixes under several fences.
type Country = (String, bool);

/// A plan's, ready to tell how far they are.
struct Members<'a> {
    list: Vec<(&'a Endpoint, Destination)>,
    measured: &'a Measured,
}

impl<'a> Members<'a> {
    fn of(plan: &Plan, endpoints: &'a [Endpoint], measured: &'a Measured) -> Self {
        let endpoint = |id: &EndpointId| &endpoints[id.index()];
        let list = plan.members.iter().map(endpoint).map(|one| (one, Destination::new(&one.site))).collect();
        Self { list, measured }
    }

    fn ms(&self, origin: &Origin, at: &Location, member: Member) -> f32 {
        let (endpoint, destination) = &self.list[member.index()];
        origin.expected_ms(destination) * self.measured.factor(at, &endpoint.site)
    }
}

/// Where a country's places go.
#[derive(Default)]
struct Moves {
    /// How many, from whom to whom; and their sums of ms now and then.
    of: BTreeMap<(Member, Member), (u32, [f32; 2])>,
}

impl Moves {
    fn add(&mut self, between: (Member, Member), ms: [f32; 2]) {
        let (count, sums) = self.of.entry(between).or_default();
        *count += 1;
        sums.iter_mut().zip(ms).for_each(|(sum, ms)| *sum += ms);
    }

    /// What most do, and how much farther all that move have it in the mean. (A few networks stand in odd places of the
    /// database: who goes farthest tells little.)
    fn told(self, (country, mixed): Country, places: u32, name: impl Fn(Member) -> String) -> Option<(Move, f32)> {
        let (mut all, mut farther) = (0, 0.0);
        for (count, [now, then]) in self.of.values() {
            (all, farther) = (all + count, farther + then - now);
        }
        let ((from, to), (count, sums)) = self.of.into_iter().max_by_key(|(_, (count, _))| *count)?;
        let [from_ms, to_ms] = sums.map(|sum| sum / count as f32);
        let (share, of_country) = (count as f32 / all as f32, all as f32 / places as f32);
        let (from, to) = (name(from), name(to));
        Some((Move { country, mixed, from, to, from_ms, to_ms, share, of_country }, farther / all as f32))
    }
}

/// Who answers, by order.
struct Answers {
    /// The members, that with the largest part first, and whether none lives.
    by_order: Vec<(Vec<Member>, bool)>,
}

impl Answers {
    fn of(table: &PlanTable, endpoints: &[Endpoint], family: Family) -> Self {
        let usages: &[Option<Usage>] = table.usages(family);
        let settler = Settler::new(&table.plan, endpoints, usages.iter().copied());
        let answers = |member: &Member| usages[member.index()].is_some();
        let orders = table.orders(family).map(|(order, id)| {
            let outcome = settler.settle(order, table.down_kept(family, id));
            let members = match outcome.choice {
                Choice::One(member) => vec![member],
                Choice::Several(few) => few.members().collect(),
                Choice::Parts(parts) => {
                    let mut shares: Vec<_> = parts.shares().collect();
                    shares.sort_by_key(|(_, parts)| std::cmp::Reverse(*parts));
                    shares.into_iter().map(|(member, _)| member).collect()
                }
                Choice::Nodata | Choice::Servfail => Vec::new(),
            };
            (members.into_iter().filter(answers).collect(), outcome.exhausted)
        });
        Self { by_order: orders.collect() }
    }

    fn members(&self, order: OrderId) -> &[Member] {
        &self.by_order[order.index()].0
    }

    fn is_exhausted(&self, order: OrderId) -> bool {
        self.by_order[order.index()].1
    }

    /// The first member that answers, and `then` does no more.
    fn leaving(&self, order: OrderId, then: &Self) -> Option<Member> {
        self.members(order).iter().find(|member| !then.members(order).contains(member)).copied()
    }

    /// The first member that answers `then`, and does not now; where there is none, the first.
    fn coming(&self, order: OrderId, then: &Self) -> Option<Member> {
        let new = then.members(order).iter().find(|member| !self.members(order).contains(member));
        new.or(then.members(order).first()).copied()
    }
}
