//! Prefixes that are measured have locations of their own, inside the fences of the leaf around them.

use std::net::IpAddr;
use std::sync::{Arc, LazyLock};

use ipnet::IpNet;
use jiff::Timestamp;
use meridian::answer::with_hot;
use meridian::latency::{self, Kind, Published, Samples, Session, Settings, TargetId};
use meridian::model::{Country, EndpointId, Family, LocationId, Site};
use meridian::table::{Before, Counters, Parts, Snapshot};
use proptest::prelude::*;

use crate::dns::{Ask, World};
use crate::properties::{agree, disjoint_or_alike, moved, prefix_near, states, under};
use crate::shipped::{LEAVES, SERVICES, SHIPPED, may_get};
use crate::small::{BRITAIN, GERMANY, GERMANY_V6, HALF_GERMAN, VIRGINIA, who, www};

/// Where clients are by the snapshot, and its endpoints' sites by name.
struct Here<'a> {
    parts: &'a Parts,
    sites: Vec<Option<&'a Site>>,
}

impl<'a> Here<'a> {
    fn new(parts: &'a Parts, samples: &Samples) -> Self {
        let site = |name: &str| parts.config.endpoints.iter().map(|one| &one.site).find(|site| site.name() == name);
        Self { parts, sites: samples.targets().iter().map(|name| site(name)).collect() }
    }

    fn location(&self, client: IpAddr) -> &meridian::model::Location {
        let source = if client.is_ipv4() { 24 } else { 48 };
        self.parts.geo.location(self.parts.geo.locate_prefix(client, source).location)
    }
}

impl latency::World for Here<'_> {
    fn country(&self, client: IpAddr) -> Option<Country> {
        self.location(client).country
    }

    fn asn(&self, client: IpAddr) -> Option<u32> {
        self.location(client).asn
    }

    fn prior_ms(&self, client: IpAddr, target: TargetId) -> Option<f32> {
        self.sites[target.index()].map(|site| latency::expected_ms(self.location(client), site))
    }

    fn is_one_place(&self, _: IpAddr) -> bool {
        true
    }
}

/// What is published where clients of these prefixes measured such round trips, often.
fn published(parts: &Parts, measured: &[(IpNet, Vec<(String, f32)>)], before: &Published) -> Published {
    let (mut samples, now) = (Samples::new(Settings::default()), Timestamp::UNIX_EPOCH);
    for (prefix, round_trips) in measured {
        let target = |(site, ms): &(String, f32)| (samples.target(site).unwrap(), *ms);
        let round_trips: Vec<_> = round_trips.iter().map(target).collect();
        for _ in 0..8 {
            samples.take(&Session { client: prefix.addr(), kind: Kind::Absolute, samples: &round_trips }, now);
        }
    }
    let world = Here::new(parts, &samples);
    before.next(&samples.estimate(before, &world, 5.0, now), &world, 5.0).unwrap_or_else(|| before.clone())
}

/// The same world, going by that.
fn going_by(world: &World, published: Published) -> World {
    let before = &world.snapshot;
    let parts = before.parts.with_measured(Arc::new(published));
    let standings = (0..parts.config.endpoints.len()).map(|id| before.standing(EndpointId::at(id)).clone()).collect();
    let mut counters = Counters::default();
    let before = Before { snapshot: before, count: &|_| 0 };
    let next = Snapshot::compile(parts, standings, &mut counters, Some(before), Timestamp::UNIX_EPOCH).unwrap();
    world.with_snapshot(with_hot(next.steering()))
}

fn measured(world: &World, measured: &[(&str, &[(&str, f32)])]) -> World {
    let owned = |(prefix, round_trips): &(&str, &[(&str, f32)])| {
        let round_trips = round_trips.iter().map(|(site, ms)| ((*site).to_owned(), *ms)).collect();
        (prefix.parse().unwrap(), round_trips)
    };
    let measured: Vec<_> = measured.iter().map(owned).collect();
    going_by(world, published(&world.snapshot.parts, &measured, &Published::default()))
}

const LONDON: &str = "aws/eu-west-2";
const VIRGINIA_SITE: &str = "aws/us-east-1";
const AMSTERDAM: &str = "azure/westeurope";
const FRANKFURT: &str = "gcp/europe-west3";

#[test]
fn a_measured_prefix_has_an_order_of_its_own_and_its_neighbours_stay() {
    let before = www("");
    let far: &[(&str, f32)] = &[(LONDON, 15.0), (AMSTERDAM, 7.0)];
    let after = measured(&before, &[("30.3.7.0/24", far), ("2a00:1:7::/48", &[(FRANKFURT, 90.0), (AMSTERDAM, 10.0)])]);
    assert_eq!(after.snapshot.parts.measured.derived().len(), 2);
    for (prefix, then, now) in [
        ("30.3.7.0/24", "lon", "ams"),
        ("30.3.7.99/32", "lon", "ams"),
        ("30.3.6.0/24", "lon", "lon"),
        ("30.3.0.0/16", "lon", "lon"),
        (BRITAIN, "lon", "lon"),
        (VIRGINIA, "iad", "iad"),
        (GERMANY, "fra", "fra"),
        ("2a00:1:7::/48", "fra", "ams"),
        ("2a00:1:7:1::/64", "fra", "ams"),
        ("2a00:1:8::/48", "fra", "fra"),
        (GERMANY_V6, "fra", "fra"),
    ] {
        assert_eq!((who(&before, prefix), who(&after, prefix)), (vec![then.into()], vec![now.into()]), "{prefix}");
    }
    // Scopes (RFC 7871 §7.2.1): its own; around it such as leave it out; a source that holds it is told to say more.
    for (prefix, scope) in [
        ("30.3.7.0/24", 24),
        ("30.3.7.128/25", 24),
        ("30.3.6.0/24", 24),
        ("30.3.5.0/24", 23),
        ("30.3.128.0/24", 17),
        ("30.3.0.0/21", 24),
        ("2a00:1:7::/48", 48),
        ("2a00:1:8000::/48", 33),
    ] {
        let reply = after.ask(&Ask::new("www.shop.example", "A").subnet(prefix));
        let length: u8 = prefix.split_once('/').unwrap().1.parse().unwrap();
        match reply.scope() {
            Some(found) if scope <= length => assert_eq!(found, scope, "{prefix}"),
            found => assert!(found > Some(length), "{prefix}: {found:?}"),
        }
    }
}

#[test]
fn a_fence_holds_whatever_is_measured() {
    let before = www("fence = [{ where = \"eu\", in = \"eu\" }]");
    let near: &[(&str, f32)] = &[(FRANKFURT, 14.0), (AMSTERDAM, 7.0), (LONDON, 3.0), (VIRGINIA_SITE, 20.0)];
    let after = measured(&before, &[("30.1.7.0/24", near), (HALF_GERMAN, near)]);
    assert_eq!(who(&after, "30.1.7.0/24"), ["ams"], "the best inside");
    assert_eq!(who(&measured(&www(""), &[("30.1.7.0/24", near)]), "30.1.7.0/24"), ["lon"], "the best of all");
    // A prefix in which there are several leaves is left to these.
    assert_eq!(after.snapshot.parts.measured.derived().len(), 1);
    assert_eq!(who(&after, HALF_GERMAN), who(&before, HALF_GERMAN));
    assert_eq!(
        who(&after.without(&["ams", "fra", "dub"]), "30.1.7.0/24"),
        ["ams"],
        "when all are down, as if all were up"
    );
}

#[test]
fn what_is_measured_no_more_leaves_no_trace() {
    let before = www("");
    let after = measured(&before, &[("30.3.7.0/24", &[(LONDON, 15.0), (AMSTERDAM, 7.0)])]);
    let again = going_by(&after, Published::default());
    let scope = |world: &World| world.ask(&Ask::new("www.shop.example", "A").subnet("30.3.7.0/24")).scope();
    assert_eq!((who(&again, "30.3.7.0/24"), scope(&again)), (who(&before, "30.3.7.0/24"), scope(&before)));
    // What goes by the database was not ranked anew, either time.
    let table =
        |world: &World| world.snapshot.plan(&world.snapshot.services[0]).trie(Family::V4).map(std::ptr::from_ref);
    assert!(table(&before).is_some());
    assert_eq!([table(&after), table(&again)], [table(&before); 2]);
}

/// Every 200th leaf as large as a measured prefix, with one: what is best there is slow, and one outside Europe is near.
static MEASURED: LazyLock<World> = LazyLock::new(|| {
    let parts = &SHIPPED.snapshot.parts;
    let round_trips = |prefix: IpNet| {
        let location = parts.geo.location(parts.geo.locate_prefix(prefix.addr(), prefix.prefix_len()).location);
        let site = |name: &str| &parts.config.endpoints[SHIPPED.endpoint(name).index()].site;
        let expected = |site: &Site| (site.name(), latency::expected_ms(location, site));
        let sites = parts.config.endpoints.iter().map(|endpoint| expected(&endpoint.site));
        let (best, ms) = sites.min_by(|a, b| a.1.total_cmp(&b.1)).unwrap();
        vec![(best, ms + 120.0), (site("aws-virginia").name(), 2.0), (site("gcp-tokyo").name(), 6.0)]
    };
    let large = |leaf: &&IpNet| leaf.prefix_len() <= if leaf.addr().is_ipv4() { 24 } else { 48 };
    let prefixes = LEAVES.iter().filter(large).step_by(200).map(|leaf| {
        let length = if leaf.addr().is_ipv4() { 24 } else { 48 };
        prefix_near(*leaf, 0x5555_5555_5555_5555_5555_5555_5555_5555, length)
    });
    let all: Vec<_> = prefixes.map(|prefix| (prefix, round_trips(prefix))).collect();
    going_by(&SHIPPED, published(parts, &all, &Published::default()))
});

fn derived() -> impl Strategy<Value = (IpNet, LocationId)> {
    let all = MEASURED.snapshot.parts.measured.derived();
    assert!(all.len() > 100, "{}", all.len());
    let first = MEASURED.snapshot.parts.geo.locations().len();
    any::<prop::sample::Index>().prop_map(move |index| {
        let index = index.index(all.len());
        (all[index].0, LocationId::at(first + index))
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(256) })]

    #[test]
    fn scopes_that_overlap_have_one_answer_around_measured_prefixes(
        (prefix, _) in derived(),
        entropy: u128,
        (one, other) in (-12i8..=8, -12i8..=8),
        by: u64,
        bits in 0u8..24,
        states in states(),
        service in 0usize..4,
    ) {
        let length = |by: i8| prefix.prefix_len().saturating_add_signed(by);
        let first = prefix_near(prefix, entropy, length(one));
        let second = moved(prefix_near(prefix, entropy, length(other)), by, bits);
        disjoint_or_alike(&under(&MEASURED, &states), SERVICES[service], [first, second])?;
    }

    #[test]
    fn no_measured_prefix_crosses_a_fence(
        (prefix, at) in derived(),
        entropy: u128,
        by in -6i8..=8,
        states in states(),
        service in 0usize..4,
    ) {
        let world = under(&MEASURED, &states);
        let prefix = prefix_near(prefix, entropy, prefix.prefix_len().saturating_add_signed(by));
        for rtype in ["A", "AAAA"] {
            let reply = world.ask(&Ask::new(SERVICES[service], rtype).net(prefix));
            prop_assert!(!reply.addresses().is_empty());
            for address in reply.addresses() {
                prop_assert!(may_get(SERVICES[service], prefix, address), "{} {}", prefix, address);
            }
        }
        agree(&world, at)?;
    }
}

#[test]
fn measured_prefixes_are_answered_otherwise() {
    let moved = MEASURED.snapshot.parts.measured.derived().iter().filter(|(prefix, _)| {
        let ask = Ask::new(SERVICES[0], "A").net(*prefix);
        MEASURED.ask(&ask).addresses() != SHIPPED.ask(&ask).addresses()
    });
    let moved = moved.count();
    assert!(moved > 60, "{moved} of {}", MEASURED.snapshot.parts.measured.derived().len());
}
