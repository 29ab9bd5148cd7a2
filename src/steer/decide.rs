//! The decision function, with its trace.

use super::order::OrderBuf;
use super::rank::{Facts, Ranker, allowed};
use super::settle::{Settled, Settler};
use super::usage::Usage;
use crate::model::{Endpoint, Family, Location, Member, Plan};

/// What a decision came to and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Decision {
    /// The members that the location may use, best first.
    pub order: OrderBuf,
    /// Who answers now.
    pub settled: Settled,
    /// The preference that decided it, as an index into `Policy::preferences`.
    pub preference: Option<usize>,
    /// The trace: every member of the plan, in the plan's order.
    pub candidates: Vec<Candidate>,
}

/// What a decision saw of one member.
#[derive(Clone, Debug, PartialEq)]
pub struct Candidate {
    /// Who.
    pub member: Member,
    /// Expected latency in ms, without bias.
    pub estimate_ms: f32,
    /// Added to it.
    pub bias_ms: f32,
    /// Cost for clients at this location.
    pub cost: f64,
    /// Do the fences let this location use it?
    pub in_fence: bool,
    /// Does it have an address of the family?
    pub has_family: bool,
    /// How it may be used in the family; none: no address of it is known, or it is forced down.
    pub usage: Option<Usage>,
    /// Its place in the order, from 0; none where fence or family bar it.
    pub rank: Option<usize>,
    /// The first preference holding the location that names it.
    pub preference: Option<usize>,
    /// Its part of the clients in 1/256; 256 for each member of a multivalue answer.
    pub parts: u16,
}

/// Decides for clients at `location` that ask for `family` addresses of `plan`.
///
/// `estimate_ms` and `usages` have an entry a member; `usages` are of the family's addresses. `down_kept` is what panic
/// leaves those that are down of their clients, in 1/256 (see [`Panic`](super::Panic)).
/// Pure: the same input gives the same decision, on every node.
#[must_use]
pub fn decide(
    plan: &Plan,
    endpoints: &[Endpoint],
    family: Family,
    location: &Location,
    estimate_ms: &[f32],
    usages: &[Option<Usage>],
    down_kept: u16,
) -> Decision {
    let facts = Here { plan, endpoints, location, estimate_ms };
    let mut ranker = Ranker::new(plan, endpoints, family, plan.policy.preferences.len());
    let order = ranker.rank(location, &facts);
    let outcome = Settler::new(plan, endpoints, usages.iter().copied()).settle(order, down_kept);
    let settled = Settled::of(outcome.choice, plan, endpoints);
    let fenced = allowed(plan, endpoints, family, location);
    let candidate = |member: Member| {
        let endpoint = &endpoints[plan.members[member.index()].index()];
        let names = |preference: &usize| plan.policy.preferences[*preference].members.binary_search(&member).is_ok();
        Candidate {
            member,
            estimate_ms: estimate_ms[member.index()],
            bias_ms: endpoint.bias_ms,
            cost: facts.cost(member),
            in_fence: fenced.binary_search(&member).is_ok(),
            has_family: endpoint.may_have(family),
            usage: usages[member.index()],
            rank: order.members().position(|ranked| ranked == member),
            preference: order.preferences().map(|(preference, _)| preference).find(names),
            parts: parts(&settled, member),
        }
    };
    let candidates = (0..plan.members.len()).map(Member::at).map(candidate).collect();
    let preference = outcome.preference.map(usize::from);
    Decision { order: order.into(), settled, preference, candidates }
}

/// What one location's facts come to.
struct Here<'a> {
    plan: &'a Plan,
    endpoints: &'a [Endpoint],
    location: &'a Location,
    estimate_ms: &'a [f32],
}

impl Facts for Here<'_> {
    fn estimate_ms(&self, member: Member) -> f32 {
        self.estimate_ms[member.index()]
    }

    fn cost(&self, member: Member) -> f64 {
        self.endpoints[self.plan.members[member.index()].index()].cost.at(self.location)
    }

    fn prefers(&self, preference: usize) -> bool {
        self.plan.policy.preferences[preference].place.holds(self.location)
    }
}

fn parts(settled: &Settled, member: Member) -> u16 {
    match settled {
        Settled::Split(split) => {
            split.shares().iter().find(|share| share.member == member).map_or(0, |share| share.parts)
        }
        Settled::Set(members) if members.contains(&member) => 256,
        Settled::Set(_) | Settled::Nodata | Settled::Servfail => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::super::usage::{Level, Phase};
    use super::*;
    use crate::model::{
        Addresses, Cost, EndpointId, Fence, FenceMask, FenceUnknown, Place, PlaceSet, Policy, Preference, Site, Spread,
        State, WhenNone, Within, find_region,
    };
    use crate::steer::{Client, Split, client_key, pick};

    fn endpoint(name: &str, cost: f64) -> Endpoint {
        Endpoint {
            name: name.into(),
            site: Site::from(find_region("aws", "us-east-1").unwrap()),
            addresses: Addresses::Fixed(vec!["192.0.2.1".parse().unwrap()]),
            bias_ms: 0.0,
            weight: 100,
            cost: Cost { default: cost, by_place: Vec::new() },
            probes: Vec::new(),
            probe_target: None,
            capacity: None,
            beacon: None,
        }
    }

    fn members(list: &[u8]) -> Vec<Member> {
        list.iter().copied().map(Member).collect()
    }

    fn plan(count: usize, policy: Policy) -> (Plan, Vec<Endpoint>) {
        let endpoints = (0..count).map(|n| endpoint(&format!("e{n}"), n as f64)).collect();
        (Plan { members: (0..count).map(EndpointId::at).collect(), policy }, endpoints)
    }

    fn singapore() -> Location {
        Location { country: Some("SG".parse().unwrap()), ..Location::default() }
    }

    fn prefer(list: &[u8], within: Within) -> Preference {
        let place = PlaceSet { label: "sg".into(), places: vec![Place::Country("SG".parse().unwrap())] };
        Preference { place, members: members(list), within }
    }

    /// The members in these states, and nothing besides.
    fn plainly(plan: &Plan, states: impl IntoIterator<Item = State>) -> Vec<Option<Usage>> {
        states.into_iter().map(|state| Some(Usage::plain(state, &plan.policy))).collect()
    }

    /// Who answers when the members in `down` are down.
    fn chosen(plan: &(Plan, Vec<Endpoint>), ms: &[f32], down: &[u8]) -> Vec<u8> {
        let state = |n| if down.contains(&(n as u8)) { State::Down } else { State::Up };
        let usages = plainly(&plan.0, (0..ms.len()).map(state));
        match decide(&plan.0, &plan.1, Family::V4, &singapore(), ms, &usages, 0).settled {
            Settled::Split(split) => split.shares().iter().map(|share| share.member.0).collect(),
            Settled::Set(set) => set.iter().map(|member| member.0).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_fastest_living_member_answers() {
        let plan = plan(3, Policy::nearest());
        assert_eq!(chosen(&plan, &[30.0, 10.0, 20.0], &[]), [1]);
        assert_eq!(chosen(&plan, &[30.0, 10.0, 20.0], &[1]), [2]);
        assert_eq!(chosen(&plan, &[30.0, 10.0, 20.0], &[1, 2]), [0]);
        // All down: as if all were up.
        assert_eq!(chosen(&plan, &[30.0, 10.0, 20.0], &[0, 1, 2]), [1]);
    }

    #[test]
    fn a_preference_wins_only_within_its_budget_of_the_best_usable() {
        let tiered = |within| plan(3, Policy { preferences: vec![prefer(&[1, 2], within)], ..Policy::nearest() });
        let ms = [10.0, 35.0, 240.0];
        assert_eq!(chosen(&tiered(Within::Ms(30.0)), &ms, &[]), [1]);
        assert_eq!(chosen(&tiered(Within::Ms(30.0)), &ms, &[1]), [0], "240 ms is no preference worth having");
        assert_eq!(chosen(&tiered(Within::Any), &ms, &[1]), [2], "a strict tier");
        assert_eq!(chosen(&tiered(Within::Ms(20.0)), &ms, &[]), [0]);
        let decided = |within| {
            let (plan, endpoints) = tiered(within);
            let up = plainly(&plan, [State::Up; 3]);
            decide(&plan, &endpoints, Family::V4, &singapore(), &ms, &up, 0).preference
        };
        assert_eq!((decided(Within::Ms(30.0)), decided(Within::Ms(20.0))), (Some(0), None));
    }

    #[test]
    fn budgets_are_reckoned_from_who_is_usable_now() {
        // What no fixed list can express: 1 comes within the first preference's reach once 2 is down.
        let preferences = vec![prefer(&[1], Within::Ms(30.0)), prefer(&[0], Within::Ms(30.0))];
        let two = plan(3, Policy { preferences, ..Policy::nearest() });
        let ms = [20.0, 38.0, 5.0];
        assert_eq!(chosen(&two, &ms, &[]), [0]);
        assert_eq!(chosen(&two, &ms, &[2]), [1]);
        // And by cost: 0 is the dearest.
        let (plan, mut endpoints) = plan(3, Policy { cost_budget_ms: 15.0, ..Policy::nearest() });
        for (endpoint, cost) in endpoints.iter_mut().zip([3.0, 2.0, 1.0]) {
            endpoint.cost.default = cost;
        }
        let by_cost = (plan, endpoints);
        assert_eq!(chosen(&by_cost, &[0.0, 10.0, 20.0], &[]), [1]);
        assert_eq!(chosen(&by_cost, &[0.0, 10.0, 20.0], &[0]), [2]);
    }

    #[test]
    fn members_that_tie_share() {
        let tied = plan(6, Policy { tie_ms: 3.0, ..Policy::nearest() });
        assert_eq!(chosen(&tied, &[10.0, 12.0, 13.5, 11.0, 12.5, 12.9], &[]), [0, 1, 3, 4]);
        assert_eq!(chosen(&tied, &[10.0, 12.0, 13.5, 11.0, 12.5, 12.9], &[0]), [1, 3, 4, 5]);
        let many = plan(6, Policy { tie_ms: 3.0, spread: Spread::Multivalue(2), ..Policy::nearest() });
        assert_eq!(chosen(&many, &[10.0, 12.0, 13.5, 11.0, 12.5, 12.9], &[]), [0, 3]);
    }

    #[test]
    fn who_is_faster_of_those_that_tie_does_not_show() {
        let (plan, endpoints) = plan(3, Policy { tie_ms: 3.0, ..Policy::nearest() });
        let up = plainly(&plan, [State::Up; 3]);
        let settled = |ms: [f32; 3]| decide(&plan, &endpoints, Family::V4, &singapore(), &ms, &up, 0).settled;
        assert_eq!(settled([10.0, 11.0, 12.0]), settled([12.0, 10.0, 11.0]), "not even by the 256th part left over");
    }

    #[test]
    fn states_are_used_in_order() {
        let (plan, endpoints) = plan(4, Policy::nearest());
        let ms = [1.0, 2.0, 3.0, 4.0];
        let mut states = [State::Down, State::Unknown, State::Degraded, State::Up];
        for expected in [3, 2, 1] {
            let usages = plainly(&plan, states);
            let settled = decide(&plan, &endpoints, Family::V4, &singapore(), &ms, &usages, 0).settled;
            assert_eq!(settled, Settled::Split(Split::new(&plan, &endpoints, [Member(expected)].into_iter())));
            states[usize::from(expected)] = State::Down;
        }
    }

    /// Who answers what part of the clients.
    fn parts_of(plan: &(Plan, Vec<Endpoint>), ms: &[f32], usages: &[Option<Usage>], down_kept: u16) -> Vec<(u8, u16)> {
        match decide(&plan.0, &plan.1, Family::V4, &singapore(), ms, usages, down_kept).settled {
            Settled::Split(split) => split.shares().iter().map(|share| (share.member.0, share.parts)).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_part_of_the_clients_leaves_who_is_degraded_warming_drained_or_down_in_panic() {
        let policy = Policy {
            degraded_kept: 128,
            warmup: Duration::from_secs(180),
            drain: Duration::from_secs(120),
            ..Policy::nearest()
        };
        let plan = plan(3, policy);
        let ms = [10.0, 20.0, 30.0];
        let usage = |state, warming: Option<u64>, draining: Option<u64>| {
            let (warming, draining) = (warming.map(Duration::from_secs), draining.map(Duration::from_secs));
            Some(Usage::new(state, Phase { warming, draining: draining.map(|age| (age, None)) }, &plan.0.policy))
        };
        let up = usage(State::Up, None, None);
        let (degraded, down) = (usage(State::Degraded, None, None), usage(State::Down, None, None));
        let parts = |usages: [Option<Usage>; 3], down_kept| parts_of(&plan, &ms, &usages, down_kept);
        assert_eq!(parts([degraded, up, up], 0), [(0, 128), (1, 128)]);
        assert_eq!(parts([usage(State::Up, Some(46), None), up, up], 0), [(0, 64), (1, 192)]);
        assert_eq!(parts([usage(State::Up, None, Some(61)), up, up], 0), [(0, 64), (1, 192)]);
        assert_eq!(parts([down, up, up], 0), [(1, 256)]);
        assert_eq!(parts([down, up, up], 100), [(0, 100), (1, 156)], "panic");
        assert_eq!(parts([degraded, usage(State::Up, Some(0), None), up], 0), [(0, 128), (2, 128)], "26 < 128");
        assert_eq!(parts([usage(State::Up, Some(0), None), degraded, up], 0), [(0, 26), (1, 102), (2, 128)]);
        assert_eq!(parts([up, degraded, up], 0), [(0, 256)], "its clients stay, as they were");
        // Nothing else is usable: at once, and all of it.
        assert_eq!(parts([usage(State::Up, Some(0), None), down, down], 0), [(0, 256)]);
        assert_eq!(parts([degraded, down, down], 0), [(0, 256)]);
        let drained = usage(State::Up, None, Some(500));
        assert_eq!(parts([drained, down, down], 0), [(0, 256)], "it lives");
        assert_eq!(parts([drained, usage(State::Unknown, None, None), down], 0), [(1, 256)]);
        let drained_down = usage(State::Down, None, Some(500));
        assert_eq!(parts([drained_down, down, None], 0), [(1, 256)], "as if it were up");
        assert_eq!(parts([drained_down, None, None], 0), [(0, 256)], "only before nothing");
    }

    #[test]
    fn a_set_in_panic_has_places_for_those_that_are_down() {
        let set = |room: u8, ms: &[f32], states: &[State], down_kept| {
            let policy = Policy { tie_ms: 3.0, spread: Spread::Multivalue(room), ..Policy::nearest() };
            let (plan, endpoints) = plan(ms.len(), policy);
            let usages = plainly(&plan, states.iter().copied());
            let decision = decide(&plan, &endpoints, Family::V4, &singapore(), ms, &usages, down_kept);
            answering(&decision.settled).into_iter().map(|member| member.0).collect::<Vec<u8>>()
        };
        let two = |down: &[u8], down_kept| {
            let states = [0, 1, 2, 3, 4].map(|n| if down.contains(&n) { State::Down } else { State::Up });
            set(2, &[10.0, 11.0, 12.0, 12.5, 90.0], &states, down_kept)
        };
        assert_eq!(two(&[0, 2, 3], 0), [1], "without panic: one is left within `tie`");
        assert_eq!([127, 128, 255].map(|kept| two(&[0, 2, 3], kept)), [vec![1], vec![1, 0], vec![1, 0]]);
        assert_eq!(two(&[0, 1, 3], 63), [2], "nearer to none than to half of the answer");
        assert_eq!(two(&[0, 1, 3], 64), [2, 0]);
        assert_eq!(two(&[0, 1, 3], 255), [2, 0], "one of those that live is in it");
        assert_eq!(two(&[0, 1, 2, 3], 64), [4, 0], "further away than `tie`");
        assert_eq!(two(&[2, 3, 4], 255), [0, 1], "who would not answer if it were up does not now");
        // However much room there is, those that are down get no more of the clients than that.
        let states = [State::Down, State::Down, State::Up, State::Down];
        let roomy = |down_kept| set(16, &[10.0; 4], &states, down_kept);
        assert_eq!([64, 128, 192, 255].map(roomy), [vec![2], vec![2, 0], vec![2, 0], vec![2, 0, 1, 3]]);
        // Who lives comes first.
        let states = [State::Down, State::Unknown, State::Up, State::Degraded, State::Damped];
        let mixed = |down_kept| set(5, &[10.0; 5], &states, down_kept);
        assert_eq!([32, 128, 255].map(mixed), [vec![2], vec![2, 3], vec![2, 3, 4, 1, 0]]);
    }

    #[test]
    fn a_step_moves_only_the_clients_that_it_must() {
        let policy = Policy { warmup: Duration::from_secs(180), tie_ms: 5.0, ..Policy::nearest() };
        let plan = plan(4, policy);
        let picks = |age: u64| -> Vec<u8> {
            let warming = Phase { warming: Some(Duration::from_secs(age)), draining: None };
            let mut usages = plainly(&plan.0, [State::Up; 4]);
            usages[0] = Some(Usage::new(State::Up, warming, &plan.0.policy));
            let decision = decide(&plan.0, &plan.1, Family::V4, &singapore(), &[10.0, 12.0, 14.0, 90.0], &usages, 0);
            let Settled::Split(split) = decision.settled else { panic!() };
            let key = |n: u32| client_key(7, Client::Subnet(std::net::Ipv4Addr::from(n << 8).into()));
            (0..4000).map(|n| pick(&split, key(n)).0).collect()
        };
        let mut before = picks(0);
        for age in [50, 100, 150, 200] {
            let now = picks(age);
            let moved = before.iter().zip(&now).filter(|(before, now)| before != now);
            assert!(moved.clone().count() > 50, "{age}");
            // Parts of the others are rounded to a 256th: that moves a few between them.
            let strayed = moved.clone().filter(|(_, now)| **now != 0).count();
            assert!(strayed * 20 < moved.count(), "who moves, moves to the one that comes back: {strayed}");
            before = now;
        }
    }

    #[test]
    fn none_left() {
        let none = |when_none| {
            let (plan, endpoints) = plan(2, Policy { when_none, ..Policy::nearest() });
            let down = plainly(&plan, [State::Down; 2]);
            decide(&plan, &endpoints, Family::V4, &singapore(), &[1.0, 2.0], &down, 0).settled
        };
        assert_eq!(none(WhenNone::Servfail), Settled::Servfail);
        assert_eq!(none(WhenNone::Nodata), Settled::Nodata);
        let Settled::Split(split) = none(WhenNone::Endpoint(Member(1))) else { panic!() };
        assert_eq!(split.shares()[0].member, Member(1));
    }

    fn policies() -> impl Strategy<Value = (Policy, Vec<f32>)> {
        let subset = || prop::collection::btree_set(0u8..8, 1..8).prop_map(|set| set.into_iter().map(Member).collect());
        let fences = prop::collection::vec((0usize..3, subset()), 0..3);
        let within = prop_oneof![(0f32..80.0).prop_map(Within::Ms), Just(Within::Any)];
        let preferences = prop::collection::vec((subset(), within), 0..3);
        let unknown = prop_oneof![Just(FenceUnknown::Strictest), subset().prop_map(FenceUnknown::Set)];
        let spread = prop_oneof![Just(Spread::Sticky), Just(Spread::Random), (2u8..5).prop_map(Spread::Multivalue)];
        let when_none = prop_oneof![Just(WhenNone::IgnoreHealth), Just(WhenNone::Servfail), Just(WhenNone::Nodata)];
        let figures = (0f32..40.0, 0f32..20.0, prop::collection::vec(0f32..300.0, 8), 0u16..=256);
        (fences, preferences, unknown, spread, when_none, figures).prop_map(
            |(fences, preferences, fence_unknown, spread, when_none, (cost_budget_ms, tie_ms, ms, degraded_kept))| {
                let fences = fences.into_iter().map(|(place, members)| Fence { place, members }).collect();
                let preference = |(members, within)| Preference { members, within, ..prefer(&[], Within::Any) };
                let preferences = preferences.into_iter().map(preference).collect();
                let (warmup, drain) = (Duration::from_secs(180), Duration::from_secs(120));
                let policy = Policy {
                    fences,
                    fence_unknown,
                    preferences,
                    cost_budget_ms,
                    tie_ms,
                    spread,
                    when_none,
                    degraded_kept,
                    warmup,
                    drain,
                    ..Policy::nearest()
                };
                (policy, ms)
            },
        )
    }

    fn locations() -> impl Strategy<Value = Location> {
        (any::<bool>(), 0u64..8, any::<bool>()).prop_map(|(located, mask, mixed)| Location {
            country: located.then(|| "SG".parse().unwrap()),
            fences: FenceMask(mask),
            mixed,
            ..Location::default()
        })
    }

    fn phases() -> impl Strategy<Value = Phase> {
        let age = || prop::option::of((0u64..200).prop_map(Duration::from_secs));
        (age(), age()).prop_map(|(warming, draining)| Phase { warming, draining: draining.map(|age| (age, None)) })
    }

    fn states() -> impl Strategy<Value = State> {
        prop_oneof![
            Just(State::Up),
            Just(State::Degraded),
            Just(State::Damped),
            Just(State::Unknown),
            Just(State::Down)
        ]
    }

    fn answering(settled: &Settled) -> Vec<Member> {
        match settled {
            Settled::Split(split) => split.shares().iter().map(|share| share.member).collect(),
            Settled::Set(members) => members.to_vec(),
            Settled::Nodata | Settled::Servfail => Vec::new(),
        }
    }

    proptest! {
        #[test]
        fn no_set_of_failures_crosses_a_fence(
            (policy, ms) in policies(),
            location in locations(),
            states in prop::collection::vec(prop::option::of((states(), phases())), 8),
            down_kept in prop_oneof![Just(0u16), 1u16..256],
            client: u32,
            near in 1f32..20.0,
        ) {
            let (plan, endpoints) = plan(8, policy);
            let ms: Vec<f32> = ms.into_iter().map(|ms| ms / near).collect();
            let usage = |state: &Option<(State, Phase)>| state.map(|(state, phase)| Usage::new(state, phase, &plan.policy));
            let usages: Vec<Option<Usage>> = states.iter().map(usage).collect();
            let decision = decide(&plan, &endpoints, Family::V4, &location, &ms, &usages, down_kept);
            let settler = Settler::new(&plan, &endpoints, usages.iter().copied());
            let merged = settler.settle(decision.order.merged(&plan).view(), down_kept);
            prop_assert_eq!(&Settled::of(merged.choice, &plan, &endpoints), &decision.settled);
            let fenced = allowed(&plan, &endpoints, Family::V4, &location);
            for member in answering(&decision.settled) {
                prop_assert!(fenced.contains(&member));
                prop_assert!(usages[member.index()].is_some(), "what must not be answered never is");
                for fence in plan.policy.fences.iter().filter(|fence| location.fences.contains(fence.place)) {
                    // A named set may stand in only where the place is not known.
                    let named = matches!(plan.policy.fence_unknown, FenceUnknown::Set(_));
                    let unknown = location.mixed || !location.is_located();
                    prop_assert!(fence.members.contains(&member) || named && unknown);
                }
            }
            if let Settled::Split(split) = &decision.settled {
                prop_assert_eq!(split.shares().iter().map(|share| share.parts).sum::<u16>(), 256);
                let member = pick(split, client_key(7, Client::Subnet(client.to_be_bytes().into())));
                prop_assert!(split.shares().iter().any(|share| share.member == member));
            }
            // Someone usable and allowed is never passed over for someone worse that keeps nothing.
            let level = |member: Member| usages[member.index()].map_or(Level::Nowhere, |usage| usage.level);
            let best = fenced.iter().map(|&member| level(member)).min().unwrap_or(Level::Nowhere);
            if best < Level::Down {
                let answering = answering(&decision.settled);
                prop_assert!(!answering.is_empty());
                let keeps = |member: Member| usages[member.index()].is_some_and(|usage| usage.kept > 0);
                let may = |member: Member| level(member) == best || keeps(member) || down_kept > 0 && (level(member) < Level::Drained || level(member) == Level::Down);
                prop_assert!(answering.iter().all(|&member| may(member)));
                if matches!(plan.policy.spread, Spread::Multivalue(_)) {
                    let levels: Vec<_> = answering.iter().map(|&member| level(member)).collect();
                    prop_assert!(levels[0] == best && levels.is_sorted(), "who is worse stands behind: {:?}", levels);
                }
            }
        }
    }
}
