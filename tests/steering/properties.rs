//! Properties over random prefixes and failures.

use std::net::IpAddr;
use std::sync::LazyLock;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use meridian::latency;
use meridian::model::{EndpointId, Family, LocationId, State};
use meridian::steer::{self, Settled};
use meridian::table::{Reply as TableReply, Standing};
use proptest::prelude::*;

use crate::dns::{Ask, World};
use crate::shipped::{LEAVES, SERVICES, SHIPPED, may_get};
use crate::small::{www, www_with};

/// A prefix of `length` around an address of this leaf, or of its neighbourhood where `spread` bits differ.
pub(crate) fn prefix_near(leaf: IpNet, entropy: u128, length: u8) -> IpNet {
    match leaf {
        IpNet::V4(leaf) => {
            let host = u32::MAX.checked_shr(leaf.prefix_len().into()).unwrap_or(0);
            let address = u32::from(leaf.network()) | entropy as u32 & host;
            Ipv4Net::new_assert(address.into(), length.min(32)).trunc().into()
        }
        IpNet::V6(leaf) => {
            let host = u128::MAX.checked_shr(leaf.prefix_len().into()).unwrap_or(0);
            let address = u128::from(leaf.network()) | entropy & host;
            Ipv6Net::new_assert(address.into(), length.min(128)).trunc().into()
        }
    }
}

/// The same with the last `bits` of the bits that matter (32 of IPv4, 64 of IPv6) changed.
pub(crate) fn moved(prefix: IpNet, by: u64, bits: u8) -> IpNet {
    let change = by & ((1 << bits) - 1);
    match prefix {
        IpNet::V4(net) => {
            Ipv4Net::new_assert((u32::from(net.addr()) ^ change as u32).into(), net.prefix_len()).trunc().into()
        }
        IpNet::V6(net) => {
            let change = u128::from(change) << 64;
            Ipv6Net::new_assert((u128::from(net.addr()) ^ change).into(), net.prefix_len()).trunc().into()
        }
    }
}

pub(crate) fn states() -> impl Strategy<Value = Vec<State>> {
    let state = prop_oneof![3 => Just(State::Up), 1 => Just(State::Degraded), 1 => Just(State::Unknown), 3 => Just(State::Down)];
    prop::collection::vec(state, 15)
}

/// `world` where each address of each endpoint stands so; those of one endpoint may differ.
pub(crate) fn under(world: &World, states: &[State]) -> World {
    let endpoints = world.snapshot.parts.config.endpoints.iter().enumerate();
    let standing = |(index, endpoint): (usize, &meridian::model::Endpoint)| {
        let mut standing = Standing::all(endpoint, State::Up);
        for (at, (_, state)) in standing.addresses.iter_mut().enumerate() {
            *state = states[(index + at * index % 3) % states.len()];
        }
        (EndpointId::at(index), standing)
    };
    world.with_snapshot(world.snapshot.with_standings(endpoints.map(standing).collect(), jiff::Timestamp::UNIX_EPOCH))
}

pub(crate) fn leaf() -> impl Strategy<Value = IpNet> {
    any::<prop::sample::Index>().prop_map(|index| LEAVES[index.index(LEAVES.len())])
}

/// A leaf's depth, shallower and deeper.
fn sources() -> impl Strategy<Value = (i8, i8)> {
    (-12i8..=16, -12i8..=16)
}

pub(crate) fn source(leaf: IpNet, by: i8) -> u8 {
    let shortest = if leaf.addr().is_ipv4() { 6 } else { 16 };
    leaf.prefix_len().saturating_add_signed(by).clamp(shortest, leaf.max_prefix_len())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(512) })]

    #[test]
    fn scopes_that_overlap_have_one_answer(
        leaf in leaf(),
        entropy: u128,
        (one, other) in sources(),
        by: u64,
        bits in 0u8..24,
        states in states(),
        service in 0usize..4,
    ) {
        let first = prefix_near(leaf, entropy, source(leaf, one));
        let second = moved(prefix_near(leaf, entropy, source(leaf, other)), by, bits);
        disjoint_or_alike(&under(&SHIPPED, &states), SERVICES[service], [first, second])?;
    }

    #[test]
    fn scopes_that_overlap_have_one_answer_where_clients_are_shared(
        at: prop::sample::Index,
        entropy: u128,
        (one, other) in sources(),
        by: u64,
        bits in 0u8..20,
        states in states(),
        which in 0..6usize,
    ) {
        let world = under(&POLICIES[which], &states);
        let leaves: Vec<IpNet> = world.snapshot.parts.geo.leaves().map(|(leaf, _)| leaf).collect();
        let leaf = leaves[at.index(leaves.len())];
        let first = prefix_near(leaf, entropy, source(leaf, one));
        let second = moved(prefix_near(leaf, entropy, source(leaf, other)), by, bits);
        disjoint_or_alike(&world, "www.shop.example", [first, second])?;
    }

    #[test]
    fn everyone_inside_a_scope_gets_the_same(leaf in leaf(), entropy: u128, inside: u128, by in 0i8..16, states in states(), service in 0usize..4) {
        let world = under(&SHIPPED, &states);
        let prefix = prefix_near(leaf, entropy, source(leaf, by));
        let ask = |prefix: IpNet| {
            let reply = world.ask(&Ask::new(SERVICES[service], "AAAA").net(prefix));
            (reply.scope().unwrap(), reply.addresses())
        };
        let (scope, addresses) = ask(prefix);
        // The plan's leaf's, or where a split decides by /24 or /48, the key's.
        let plan = world.snapshot.plan(&world.snapshot.services[service]);
        let place = plan.place(&world.snapshot.parts, Family::V6, prefix.addr(), prefix.prefix_len());
        prop_assert!(place.length <= leaf.prefix_len(), "leaves are merged");
        let keyed = place.length.max(if prefix.addr().is_ipv4() { 24 } else { 48 });
        prop_assert!(scope == place.length || scope == keyed, "{}", scope);
        if scope > prefix.prefix_len() {
            prop_assert_eq!(scope, keyed, "a shorter source is told so");
            return Ok(());
        }
        let around = IpNet::new(prefix.addr(), scope).unwrap().trunc();
        let one = prefix_near(around, inside, around.max_prefix_len());
        prop_assert_eq!(ask(one), (scope, addresses), "{} in {}", one, around);
    }

    #[test]
    fn no_location_type_and_set_of_failures_crosses_a_fence(
        leaf in leaf(),
        entropy: u128,
        by in -6i8..=8,
        states in states(),
        service in 0usize..4,
        v6: bool,
    ) {
        let world = under(&SHIPPED, &states);
        let prefix = prefix_near(leaf, entropy, source(leaf, by));
        let reply = world.ask(&Ask::new(SERVICES[service], if v6 { "AAAA" } else { "A" }).net(prefix));
        // What types there are depends on nothing (DESIGN invariant 4).
        prop_assert_eq!(reply.rcode(), "NOERROR");
        prop_assert!(!reply.addresses().is_empty());
        for address in reply.addresses() {
            prop_assert_eq!(address.is_ipv6(), v6);
            prop_assert!(may_get(SERVICES[service], prefix, address), "{} {}", prefix, address);
        }
        let none = world.ask(&Ask::new(SERVICES[service], "HTTPS").net(prefix));
        prop_assert_eq!((none.rcode(), none.scope()), ("NOERROR", Some(0)));
        prop_assert_eq!(none.message.authorities.len(), 1);
    }

    #[test]
    fn the_compiler_and_the_decision_agree_on_the_shipped_configuration(states in states(), at: prop::sample::Index) {
        let world = under(&SHIPPED, &states);
        let locations = world.snapshot.parts.geo.locations().len();
        for step in 0..16 {
            agree(&world, LocationId::at((at.index(locations) + step * 997) % locations))?;
        }
    }

    #[test]
    fn the_compiler_and_the_decision_agree_on_policies_of_every_kind(states in states(), which in 0..6usize) {
        let world = under(&POLICIES[which], &states);
        for location in 0..world.snapshot.parts.geo.locations().len() {
            agree(&world, LocationId::at(location))?;
        }
    }
}

/// Scopes that clients of these prefixes get do not overlap, or are one with one answer (RFC 7871 §7.2.1).
pub(crate) fn disjoint_or_alike(world: &World, service: &str, prefixes: [IpNet; 2]) -> Result<(), TestCaseError> {
    let asked = prefixes.map(|prefix| {
        let reply = world.ask(&Ask::new(service, "A").net(prefix));
        let scope = reply.scope().unwrap();
        // A source shorter than the scope speaks for its own length only (§7.3.1); failures have scope 0.
        let holds = scope <= prefix.prefix_len() && !reply.addresses().is_empty();
        holds.then(|| (IpNet::new(prefix.addr(), scope).unwrap().trunc(), reply.addresses()))
    });
    if let [Some((net, answer)), Some((other_net, other_answer))] = asked
        && (net.contains(&other_net) || other_net.contains(&net))
    {
        prop_assert_eq!(net, other_net);
        prop_assert_eq!(answer, other_answer);
    }
    Ok(())
}

static POLICIES: LazyLock<Vec<World>> = LazyLock::new(|| {
    let fence = "fence = [{ where = \"eu\", in = \"eu\" }]";
    let prefer = "prefer = [
      { where = \"country:DE\", clouds = [\"azure\"], within = \"15ms\" },
      { where = \"continent:EU\", clouds = [\"aws\"], within = \"any\" },
      { where = \"subdivision:US-WA\", endpoints = [\"iad\"], within = \"80ms\" },
    ]";
    let costs = [
        ("fra", "cost = 0.2"),
        ("ams", "cost = { \"country:DE\" = 0.1, default = 0.3 }"),
        ("sea", "cost = 0.2\nweight = 7"),
    ];
    let multivalue = "spread = \"multivalue\"\nmultivalue = 3";
    let lacking = [
        ("dub", "addresses = [\"198.51.100.3\"]"),
        ("fra", "addresses = [\"198.51.100.2\", \"198.51.100.22\", \"2001:db8::2\"]"),
    ];
    vec![
        www(&format!("{fence}\n{prefer}\ntie = \"40ms\"")),
        www(&format!("{fence}\n{prefer}\n{multivalue}\ntie = \"40ms\"\nwhen_none = \"servfail\"")),
        www_with(&format!("{fence}\ncost_budget = \"30ms\"\nwhen_none = \"nodata\""), &costs),
        www_with(&format!("{prefer}\ncost_budget = \"30ms\"\ntie = \"100ms\"\nwhen_none = \"endpoint:dub\""), &costs),
        www_with(&format!("{fence}\n{multivalue}\ntie = \"100ms\"\nfence_unknown = \"country:GB\""), &lacking),
        www_with("endpoints = [\"fra\", \"ams\"]\ntie = \"10ms\"", &[("fra", "hostname = \"lb.elsewhere.test\"")]),
    ]
});

/// What the table replies to this location is what the decision function decides for it.
pub(crate) fn agree(world: &World, at: LocationId) -> Result<(), TestCaseError> {
    let (snapshot, parts) = (&world.snapshot, &world.snapshot.parts);
    let (config, location) = (&parts.config, parts.location(at));
    for service in &*snapshot.services {
        let table = snapshot.plan(service);
        let plan = &config.plans[snapshot.service(service).plan.index()];
        let site_ms = |id: &EndpointId| {
            let site = &config.endpoints[id.index()].site;
            let factor = parts.measured.found_at(&parts.geo, at, site).map_or(1.0, |(_, found)| found.factor);
            latency::expected_ms(location, site) * factor
        };
        let estimates: Vec<f32> = plan.members.iter().map(site_ms).collect();
        for family in Family::ALL {
            let order = table.order(family, at);
            let usage =
                |&id: &EndpointId| snapshot.standing(id).usage(family, &plan.policy, jiff::Timestamp::UNIX_EPOCH);
            let (usages, kept) = (plan.members.iter().map(usage).collect::<Vec<_>>(), table.down_kept(family, order));
            let decision = steer::decide(plan, &config.endpoints, family, location, &estimates, &usages, kept);
            let merged = decision.order.merged(plan);
            prop_assert_eq!(table.ranked(family, order), merged.view());
            let addresses = |shares: &[steer::Share]| -> Vec<Vec<IpAddr>> {
                let member = |share: &steer::Share| plan.members[share.member.index()];
                shares.iter().map(|share| snapshot.standing(member(share)).answerable(family)).collect()
            };
            let replies = table.replies(family);
            match (replies.reply(order), &decision.settled) {
                (TableReply::Whole(image), Settled::Split(decided)) => {
                    prop_assert_eq!(decided.shares().len(), 1);
                    let held = image.rdatas().map(address).collect::<Vec<_>>();
                    prop_assert_eq!(&held, &addresses(decided.shares())[0]);
                }
                (TableReply::Split(index), Settled::Split(decided)) => {
                    prop_assert_eq!(replies.split(*index), decided);
                    let images = decided.shares().iter().map(|share| replies.image_of(share.member));
                    let held: Vec<_> = images.map(|image| image.rdatas().map(address).collect::<Vec<_>>()).collect();
                    prop_assert_eq!(held, addresses(decided.shares()));
                }
                (TableReply::Whole(image), Settled::Set(members)) => {
                    let of = |member: &meridian::model::Member| {
                        snapshot.standing(plan.members[member.index()]).answerable(family)
                    };
                    let expected: Vec<IpAddr> = members.iter().flat_map(of).collect();
                    prop_assert_eq!(image.rdatas().map(address).collect::<Vec<_>>(), expected);
                }
                (TableReply::Nodata, Settled::Nodata) | (TableReply::Servfail, Settled::Servfail) => {}
                (reply, decided) => prop_assert!(false, "{:?} is not {:?}", reply, decided),
            }
        }
    }
    Ok(())
}

fn address(octets: &[u8]) -> IpAddr {
    match <[u8; 4]>::try_from(octets) {
        Ok(octets) => octets.into(),
        Err(_) => <[u8; 16]>::try_from(octets).unwrap().into(),
    }
}
