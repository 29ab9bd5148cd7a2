//! What fails together (BEHAVIOUR rules 13, 14 and 16).

mod own_fault;

use std::cell::Cell;

use proptest::prelude::*;
use proptest::test_runner::TestRunner;

use super::*;
use crate::health::{Complaint, Notice};

const SITES: [(&str, &str); 4] =
    [("aws", "us-east-1"), ("aws", "eu-west-1"), ("azure", "westeurope"), ("gcp", "us-west1")];
/// Two at each site.
const ENDPOINTS: usize = 2 * SITES.len();
const AWS: std::ops::Range<usize> = 0..4;
const ALL: std::ops::Range<usize> = 0..ENDPOINTS;

/// A board of endpoints that are all up at second 0, and of anchors that answer.
struct World {
    board: Board,
    config: Config,
    /// Of the endpoints, in their order.
    checks: Vec<CheckId>,
    anchors: Vec<CheckId>,
}

fn placed(index: usize, (cloud, region): (&str, &str)) -> Endpoint {
    let address = format!("203.0.113.{index}");
    let site = Site::from(find_region(cloud, region).unwrap());
    Endpoint { site, ..endpoint(&format!("{cloud}-{region}-{index}"), fixed(&[&address]), &["p"]) }
}

fn world_of(sites: [(&str, &str); 4], anchors: usize) -> World {
    let endpoints: Vec<_> = ALL.map(|index| placed(index, sites[index / 2])).collect();
    let mut config = config(&[probe("p")], &endpoints);
    let addresses = (0..anchors).map(|index| format!("198.51.100.{index}:443"));
    config.health.anchors = addresses.map(|address| address.parse().unwrap()).collect();
    let mut board = Board::new();
    board.reconfigure(&config, &HostAddresses::new(), at(0));
    let mut checks: Vec<CheckId> = board.checks().map(|(id, _)| id).collect();
    let anchors = checks.split_off(ENDPOINTS);
    let mut world = World { board, config, checks, anchors };
    world.all(ALL, at(0), &success());
    world.anchors(at(0), &success());
    assert_eq!(world.down(), [0; 0]);
    world
}

fn world(anchors: usize) -> World {
    world_of(SITES, anchors)
}

impl World {
    /// Twice the same outcome of each of these checks, which decides; what answers hold by it.
    fn outcomes(&mut self, checks: &[CheckId], now: Timestamp, outcome: &Outcome) -> Vec<Verdict> {
        let twice = checks.iter().flat_map(|check| [check; 2]);
        let mut verdicts: Vec<_> = twice.filter_map(|check| self.board.observe(*check, now, outcome.clone())).collect();
        verdicts.extend(self.board.correlate(now));
        verdicts.retain(|verdict| verdict.change.from != verdict.change.to);
        verdicts
    }

    fn all(&mut self, which: std::ops::Range<usize>, now: Timestamp, outcome: &Outcome) -> Vec<Verdict> {
        let checks = self.checks[which].to_vec();
        self.outcomes(&checks, now, outcome)
    }

    fn anchors(&mut self, now: Timestamp, outcome: &Outcome) -> Vec<Verdict> {
        self.outcomes(&self.anchors.clone(), now, outcome)
    }

    /// The endpoints that are down.
    fn down(&self) -> Vec<usize> {
        let states = self.board.endpoints().enumerate();
        states.filter(|(_, endpoint)| endpoint.state == State::Down).map(|(index, _)| index).collect()
    }

    fn is_own(&self) -> bool {
        self.board.own_fault().is_some()
    }

    fn reason(&self, index: usize) -> String {
        self.board.reason(EndpointId::at(index))
    }

    /// Lets time pass, by the second.
    fn pass(&mut self, seconds: std::ops::RangeInclusive<i64>) {
        for second in seconds {
            self.board.tick(at(second));
        }
    }

    fn told(&mut self) -> Vec<(String, bool)> {
        let notices = self.board.take_notices().into_iter();
        notices.map(|Notice { subject, failing, .. }| (subject.to_string(), failing)).collect()
    }
}

fn told(words: &str, failing: bool) -> (String, bool) {
    (words.to_owned(), failing)
}

/// What is down where all are.
fn everyone() -> Vec<usize> {
    ALL.collect()
}

#[test]
fn a_cloud_that_dies_is_named_and_its_living_are_looked_at_for_a_window() {
    let mut world = world(0);
    let verdicts = world.all(0..3, at(10), &refused());
    let deaths = verdicts.iter().map(|verdict| verdict.endpoint.index());
    assert_eq!(deaths.collect::<Vec<_>>(), [0, 1, 2]);
    let (site, cloud) = ("; 2 of 2 endpoints of aws us-east-1 are down", "; 3 of 4 endpoints of aws are down");
    assert!(verdicts[2].reason.ends_with(&format!("connection refused{cloud}")), "{}", verdicts[2].reason);
    assert!(world.reason(0).ends_with(&format!("{site}{cloud}")), "{}", world.reason(0));
    assert_eq!(world.reason(3), format!("probe p: the first outcome is a success{cloud}"));
    assert_eq!(world.reason(4), "probe p: the first outcome is a success");
    assert_eq!(world.told(), [told("aws us-east-1", true), told("aws", true)]);

    // The living one is probed fast and in doubt, which makes no storm; those that died are not.
    let living = world.checks[3];
    let fast = |world: &mut World| world.board.take_paces().into_iter().collect::<BTreeMap<_, _>>();
    let paces = fast(&mut world);
    assert_eq!(world.checks[..4].iter().map(|check| paces[check]).collect::<Vec<_>>(), [false, false, false, true]);
    let doubts = |world: &World| world.board.endpoints().map(|endpoint| endpoint.in_doubt).collect::<Vec<_>>();
    assert_eq!(doubts(&world), [false, false, false, true, false, false, false, false]);
    assert_eq!((world.board.in_doubt(), world.board.next_tick()), (0, Some(at(20))));
    world.all(3..4, at(12), &success());
    assert!(doubts(&world)[3] && fast(&mut world).is_empty());
    world.all(3..4, at(13), &Outcome::Limited { status: 429 });
    assert_eq!(fast(&mut world), [(living, false)].into(), "more probes are no way to learn more");
    world.all(3..4, at(14), &success());
    assert_eq!(fast(&mut world), [(living, true)].into());

    assert_eq!(world.board.tick(at(19)), []);
    let verdicts = world.board.tick(at(20));
    assert!(verdicts.len() == 1 && verdicts[0].doubt && !doubts(&world)[3]);
    assert_eq!((fast(&mut world), world.board.next_tick()), ([(living, false)].into(), None));
    assert!(world.reason(3).ends_with(cloud), "it still fails");
    assert_eq!(world.told(), []);
    world.all(0..1, at(30), &success());
    assert_eq!(world.told(), [told("aws us-east-1", false), told("aws", false)]);
    assert_eq!(world.reason(1), "probe p: 2 failures, the last: connection refused");
}

fn complaint(site: &str) -> Complaint {
    Complaint { site: site.into(), failed: 6, of: 20 }
}

#[test]
fn what_clients_report_has_a_site_probed_fast_and_moves_nothing() {
    let mut world = world(0);
    let standing = world.board.endpoints().cloned().collect::<Vec<_>>();
    let paces = |world: &mut World| world.board.take_paces().into_iter().collect::<BTreeMap<_, _>>();
    let slower = |world: &World| world.checks[2..4].iter().map(|check| (*check, false)).collect::<BTreeMap<_, _>>();
    paces(&mut world);
    world.board.hear(&complaint("aws/eu-west-1"), at(10));
    world.board.hear(&complaint("aws/eu-west-9"), at(10));
    assert_eq!(world.board.correlate(at(10)), []);
    assert_eq!(paces(&mut world), world.checks[2..4].iter().map(|check| (*check, true)).collect());
    assert_eq!(world.told(), [told("clients of aws eu-west-1", true)]);
    let words = "; clients report errors: 6 of 20 networks could not reach it within a minute, and others they could";
    assert!(world.reason(2).ends_with(words) && !world.reason(0).contains("clients"), "{}", world.reason(2));
    assert_eq!(world.board.endpoints().cloned().collect::<Vec<_>>(), standing, "neither states nor doubt");
    assert_eq!((world.board.in_doubt(), world.board.next_tick()), (0, Some(at(40))));

    // It goes on for as long as they say so, and is told once.
    world.board.hear(&complaint("aws/eu-west-1"), at(39));
    assert_eq!((world.board.correlate(at(39)), world.board.next_tick()), (Vec::new(), Some(at(69))));
    assert_eq!((world.board.tick(at(68)), world.told(), paces(&mut world).len()), (Vec::new(), Vec::new(), 0));
    assert_eq!((world.board.tick(at(69)), paces(&mut world)), (Vec::new(), slower(&world)));
    assert_eq!((world.told(), world.board.next_tick()), (vec![told("clients of aws eu-west-1", false)], None));
    assert!(!world.reason(2).contains("clients"));

    // Five minutes at most, and until they have been quiet no more of it.
    for second in (100..420).step_by(5) {
        world.board.hear(&complaint("aws/eu-west-1"), at(second));
        assert_eq!(world.board.correlate(at(second)), []);
        let expected = [100, 400].contains(&second);
        assert_eq!(paces(&mut world).len(), if expected { 2 } else { 0 }, "{second}");
    }
    assert_eq!((world.told(), world.board.next_tick()), (vec![told("clients of aws eu-west-1", true)], Some(at(445))));
    assert_eq!((world.board.tick(at(445)), world.told().len(), world.board.next_tick()), (Vec::new(), 1, None));
}

#[test]
fn what_clients_report_of_all_sites_hurries_one() {
    let mut world = world(0);
    world.board.take_paces();
    for (cloud, region) in SITES {
        world.board.hear(&complaint(&format!("{cloud}/{region}")), at(10));
        world.board.correlate(at(10));
    }
    let fast = |world: &mut World| world.board.take_paces().into_iter().collect::<BTreeMap<_, _>>();
    assert_eq!(fast(&mut world), world.checks[..2].iter().map(|check| (*check, true)).collect());
    assert_eq!(world.told().len(), 4, "each is told");
    assert!(
        !world.reason(0).contains("too many") && world.reason(7).ends_with("with it, too many would be probed fast")
    );
    // Once the first is quiet, another one has room.
    for second in (15..=40).step_by(5) {
        world.board.hear(&complaint("gcp/us-west1"), at(second));
        world.board.correlate(at(second));
    }
    let paces = fast(&mut world);
    let are = |range: std::ops::Range<usize>, is_fast| world.checks[range].iter().all(|check| paces[check] == is_fast);
    assert!(are(0..2, false) && are(6..8, true) && paces.len() == 4, "{paces:?}");
}

#[test]
fn what_clients_report_beside_a_death_leaves_its_doubt() {
    let mut world = world(0);
    world.all(4..6, at(4), &refused());
    world.board.take_notices();
    world.board.hear(&complaint("azure/westeurope"), at(5));
    assert_eq!(world.told(), [], "a dead site is not hurried");
    world.board.hear(&complaint("aws/us-east-1"), at(5));
    world.all(0..3, at(10), &refused());
    assert!(world.board.endpoint(EndpointId::at(3)).in_doubt);
    assert!(world.reason(0).ends_with("others they could; 3 of 4 endpoints of aws are down"), "{}", world.reason(0));
    let fast = world.board.take_paces().into_iter().collect::<BTreeMap<_, _>>();
    assert_eq!(world.checks[..4].iter().map(|check| fast[check]).collect::<Vec<_>>(), [false, false, false, true]);
}

#[test]
fn an_edit_leaves_what_is_said_of_a_cloud() {
    let mut world = world(0);
    world.all(0..3, at(10), &refused());
    world.told();
    world.config.endpoints.remove(0);
    (world.config.services, world.config.plans) = (Vec::new(), Vec::new());
    world.board.reconfigure(&world.config, &HostAddresses::new(), at(12));
    assert!(world.board.endpoint(EndpointId(2)).in_doubt);
    assert_eq!(
        (world.board.tick(at(13)), world.told()),
        (Vec::new(), vec![told("aws us-east-1", false)]),
        "one is none"
    );
    assert_eq!(world.board.next_tick(), Some(at(20)), "the cloud fails as before");
    assert!(world.reason(2).ends_with("; 2 of 3 endpoints of aws are down"));
}

#[test]
fn anchors_are_no_endpoints_and_are_probed_fast_while_a_site_fails() {
    let mut world = world(3);
    assert_eq!((world.board.endpoints().len(), world.board.anchors().count()), (ENDPOINTS, 3));
    assert!(world.board.check(world.anchors[0]).is_some() && world.board.first_round_complete());
    world.board.take_paces();
    let paces = |world: &mut World| {
        let paces = world.board.take_paces().into_iter();
        paces.filter(|(check, _)| world.anchors.contains(check)).map(|(_, fast)| fast).collect::<Vec<_>>()
    };
    world.all(0..1, at(10), &refused());
    assert_eq!(paces(&mut world), [false; 0], "one of two");
    world.all(1..2, at(11), &refused());
    assert_eq!(paces(&mut world), [true; 3]);
    world.board.tick(at(21));
    assert_eq!(paces(&mut world), [false; 3]);
    let kept = world.anchors.clone();
    world.config.health.anchors.swap(0, 2);
    world.board.reconfigure(&world.config, &HostAddresses::new(), at(22));
    assert!(kept.iter().all(|anchor| world.board.check(*anchor).is_some()));
}

/// For a while, who fails (a bit for each endpoint, then for each anchor), whether our timers are late, and how long a round
/// of reports takes.
fn weather() -> impl Strategy<Value = Vec<(u16, bool, u64)>> {
    let fails = prop_oneof![Just(0), Just(u16::MAX), any::<u16>()];
    prop::collection::vec((fails, prop::bool::weighted(0.1), 50..3000_u64), 1..20)
}

/// Beside a board that hears of neither anchors nor timers.
#[test]
fn correlation_takes_nobody_down_and_makes_no_storm() {
    let found = Cell::new(0);
    let hold = |weather| {
        let (mut world, mut plain) = (world(3), world(0));
        let mut now = at(0);
        for (fails, is_late, wait) in weather {
            let checks: Vec<CheckId> = world.checks.iter().chain(&world.anchors).copied().collect();
            for (index, check) in checks.iter().enumerate().cycle().take(4 * checks.len()) {
                now = now.checked_add(Duration::from_millis(wait / checks.len() as u64)).unwrap();
                let found = if fails & 1 << index == 0 { success() } else { refused() };
                world.board.observe(*check, now, if is_late { Outcome::Late } else { found.clone() });
                if !is_late && index < ENDPOINTS {
                    plain.board.observe(*check, now, found);
                }
                world.board.tick(now);
                plain.board.tick(now);
            }
            found.set(found.get() + usize::from(world.is_own()));
            for (held, found) in world.board.endpoints().zip(plain.board.endpoints()) {
                if held.is_held() {
                    prop_assert!(world.is_own() && held.state != State::Down && found.state == State::Down);
                } else {
                    prop_assert_eq!(held.state, found.state);
                }
            }
            prop_assert_eq!(world.board.in_doubt(), plain.board.in_doubt());
        }
        Ok(())
    };
    TestRunner::new(ProptestConfig::with_cases(200)).run(&weather(), hold).unwrap();
    assert!(found.get() > 100, "{found:?}");
}
