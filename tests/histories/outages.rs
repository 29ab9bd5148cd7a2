//! What happens, and what is to come of it.

use std::fmt::Write as _;

use meridian::model::State;

use crate::world::{Fate, World};

/// Endpoints of three clouds with two regions each, a check each by the defaults; the first is everybody's favourite.
fn shop(more: &str) -> World {
    let mut config = format!("{more}\n[probes.p]\ntype = \"tcp\"\nport = 443\n");
    for (number, (cloud, region)) in SITES.iter().enumerate() {
        for instance in ["a", "b"] {
            let name = format!("{cloud}-{region}-{instance}");
            let bias = (number * 10 + usize::from(instance == "b")) * 100;
            let _ = writeln!(
                config,
                "[[endpoints]]\nname = \"{name}\"\ncloud = \"{cloud}\"\nregion = \"{region}\"\nprobe = \"p\"\n\
                 addresses = [\"203.0.113.{}\"]\nbias = \"{bias}ms\"\n",
                number * 2 + 1 + usize::from(instance == "b")
            );
        }
    }
    config.push_str("[[services]]\nname = \"www.shop.example\"\nendpoints = [\"*\"]\ntie = \"0ms\"\n");
    let mut world = World::new(&config);
    world.pass(30.0);
    assert!(world.told.iter().all(|told| told.to == State::Up), "{:#?}", world.told);
    world.told.clear();
    world
}

const SITES: [(&str, &str); 6] = [
    ("aws", "eu-west-1"),
    ("aws", "us-east-1"),
    ("azure", "westeurope"),
    ("azure", "eastus"),
    ("gcp", "europe-west1"),
    ("gcp", "us-east4"),
];

const FIRST: &str = "aws-eu-west-1-a";
const SECOND: &str = "aws-eu-west-1-b";

#[test]
fn a_death_is_seen_in_time_its_clients_move_once_and_come_back_by_steps() {
    let mut world = shop("");
    assert_eq!(world.answers(), (vec![(FIRST.to_owned(), 256)], u32::MAX));
    world.fare(FIRST, Fate::Silent);
    let died = world.seconds();
    world.pass(2.3);
    assert_eq!(world.answers().1, 5, "in doubt: its answers are short-lived");
    world.pass(2.0);
    assert_eq!(world.answers(), (vec![(SECOND.to_owned(), 256)], u32::MAX));
    let (at, state) = world.history(FIRST)[0];
    assert!(state == State::Down && at - died <= 3.9, "{at} {died}");
    world.pass(600.0);
    assert_eq!(world.told.len(), 1, "{:#?}", world.told);
    world.fare(FIRST, Fate::Well(20));
    world.pass(5.0);
    let mut parts = vec![world.part(FIRST)];
    for _ in 0..20 {
        world.pass(10.0);
        parts.push(world.part(FIRST));
    }
    parts.dedup();
    assert_eq!(parts, [26, 64, 128, 192, 256]);
    assert_eq!(world.history(FIRST).len(), 2);
}

#[test]
fn a_slow_death_is_doubt_at_first_and_flaps_are_held_back_for_a_bounded_time() {
    let mut world = shop("");
    // It fails every third time: that adds up.
    for _ in 0..10 {
        world.fare(FIRST, Fate::Refuses);
        world.pass(0.25);
        world.fare(FIRST, Fate::Well(20));
        world.pass(0.25);
    }
    world.fare(FIRST, Fate::Well(20));
    world.pass(60.0);
    // It dies and comes back, ten times in half an hour.
    for _ in 0..10 {
        world.fare(FIRST, Fate::Refuses);
        world.pass(30.0);
        world.fare(FIRST, Fate::Well(20));
        world.pass(30.0);
    }
    assert_eq!(world.state(FIRST), State::Damped);
    assert_eq!(world.part(FIRST), 0, "others are up");
    let mut seen = Vec::new();
    for _ in 0..120 {
        world.pass(10.0);
        seen.push(world.part(FIRST));
    }
    seen.dedup();
    assert_eq!(seen, [0, 26, 64, 128, 192, 256], "it is freed, and then has its clients by steps");
    assert_eq!(world.state(FIRST), State::Up, "{}", world.reason(FIRST));
    let downs = world.history(FIRST).iter().filter(|(_, state)| *state == State::Down).count();
    assert!(downs <= 11, "{:#?}", world.told);
}

#[test]
fn a_brown_out_leaves_it_half_of_its_clients() {
    let mut world = shop("");
    world.fare(FIRST, Fate::Badly);
    world.pass(10.0);
    assert_eq!(world.state(FIRST), State::Degraded);
    assert_eq!(world.answers().0, [(FIRST.to_owned(), 128), (SECOND.to_owned(), 128)]);
    // Everything browns out: that is load, and moves nobody.
    world.fare("", Fate::Badly);
    world.pass(10.0);
    assert_eq!(world.answers().0, [(FIRST.to_owned(), 256)]);
    world.fare("", Fate::Well(20));
    world.pass(20.0);
    assert_eq!((world.state(FIRST), world.part(FIRST)), (State::Up, 256), "it never was down: no ramp");
}

#[test]
fn a_cloud_is_lost_and_comes_back() {
    let mut world = shop("");
    world.fare("aws", Fate::Silent);
    world.pass(10.0);
    assert_eq!(world.told.len(), 4, "{:#?}", world.told);
    assert!(
        world.board.reason(meridian::model::EndpointId::at(0)).contains("4 of 4 endpoints of aws"),
        "{:?}",
        world.notices
    );
    assert_eq!(world.answers().0[0].0, "azure-westeurope-a");
    assert!(!world.snapshot.plan_table(meridian::model::PlanId::at(0)).is_panicking(), "two thirds live");
    world.pass(3600.0);
    world.fare("aws", Fate::Well(20));
    world.pass(300.0);
    assert_eq!(world.answers().0, [(FIRST.to_owned(), 256)]);
    assert_eq!(world.told.len(), 8);
}

#[test]
fn a_bad_deploy_everywhere_ignores_health_and_two_clouds_less_is_panic() {
    let mut world = shop("");
    world.fare("", Fate::Refuses);
    world.pass(10.0);
    assert_eq!(world.answers().0, [(FIRST.to_owned(), 256)], "as if all were up");
    // One cloud is rolled back: a third of the capacity is up. Who lives has no less than who does not, from the first.
    world.fare("gcp", Fate::Well(20));
    world.pass(4.0);
    assert!(world.part("gcp-europe-west1-a") >= 128, "{:?}", world.answers());
    world.pass(396.0);
    assert_eq!(world.answers().0, [(FIRST.to_owned(), 128), ("gcp-europe-west1-a".to_owned(), 128)]);
    world.fare("", Fate::Well(20));
    world.pass(1000.0);
    assert_eq!(world.answers().0, [(FIRST.to_owned(), 256)]);
}

#[test]
fn a_sole_survivor_answers_even_where_it_flaps() {
    let mut world = shop("[defaults]\npanic_below = 0.0");
    world.fare("", Fate::Refuses);
    for _ in 0..8 {
        world.fare(FIRST, Fate::Well(20));
        world.pass(20.0);
        world.fare(FIRST, Fate::Refuses);
        world.pass(20.0);
    }
    world.fare(FIRST, Fate::Well(20));
    world.pass(20.0);
    assert_eq!((world.state(FIRST), world.part(FIRST)), (State::Damped, 256), "there is no other");
}

#[test]
fn a_dead_exporter_is_no_dead_shop() {
    let mut world = shop("");
    world.fare(FIRST, Fate::Untold);
    world.pass(600.0);
    assert_ne!(world.state(FIRST), State::Down);
    assert!(world.told.iter().all(|told| told.to != State::Down), "{:#?}", world.told);
}

#[test]
fn a_restart_in_the_middle_of_an_outage_begins_with_it() {
    let mut world = shop("");
    world.fare("aws", Fate::Refuses);
    world.pass(60.0);
    let before = world.answers();
    world.restart();
    assert_eq!(world.answers().0, before.0, "from the first moment on");
    world.told.clear();
    world.pass(60.0);
    assert_eq!(world.told, [], "nothing new has happened");
}

/// Three addresses in other networks.
const ANCHORS: &str = "[health]\nanchors = [\"192.0.2.1:443\", \"198.51.100.1:443\", \"192.0.2.200:443\"]";

#[test]
fn our_own_way_out_is_lost_and_nobody_is_taken_for_dead() {
    let mut world = shop(ANCHORS);
    let before = world.answers();
    world.fare("", Fate::Silent);
    world.pass(20.0);
    assert!(world.board.own_fault().is_some(), "{:#?}", world.notices);
    assert_eq!(world.answers().0, before.0, "downs were taken back");
    assert_eq!(world.state(FIRST), State::Up, "{}", world.reason(FIRST));
    world.pass(40.0);
    assert_eq!(world.answers().0, before.0, "and none is published");
    world.fare("", Fate::Well(20));
    world.pass(60.0);
    assert!(world.board.own_fault().is_none(), "{:#?}", world.notices);
    assert_eq!((world.answers().0, world.part(FIRST)), (before.0, 256), "nobody was away: no ramp");
}

#[test]
fn what_is_held_is_held_for_a_bounded_time() {
    let mut world = shop(ANCHORS);
    world.fare("", Fate::Silent);
    world.pass(20.0 + 120.0 + 20.0);
    assert_eq!(world.state(FIRST), State::Down, "{}", world.reason(FIRST));
    assert_eq!(world.answers().0, [(FIRST.to_owned(), 256)], "as if all were up");
}

#[test]
fn without_anchors_a_lost_way_out_is_a_loss_of_all() {
    let mut world = shop("");
    world.fare("", Fate::Silent);
    world.pass(20.0);
    assert!(world.board.own_fault().is_none());
    assert_eq!(world.state(FIRST), State::Down);
    assert_eq!(world.answers().0, [(FIRST.to_owned(), 256)], "as if all were up");
}

#[test]
fn a_bad_deploy_everywhere_is_no_fault_of_ours_while_anchors_answer() {
    let mut world = shop(ANCHORS);
    for cloud in ["aws", "azure", "gcp"] {
        world.fare(cloud, Fate::Refuses);
    }
    world.pass(20.0);
    assert!(world.board.own_fault().is_none(), "{:#?}", world.notices);
    assert_eq!(world.state(FIRST), State::Down);
}

#[test]
fn an_edit_that_gives_everybody_a_probe_moves_nobody() {
    let config = |probes: &str| {
        let endpoint = |name: &str, cloud: &str, region: &str, address: &str| {
            format!(
                "[[endpoints]]\nname = \"{name}\"\ncloud = \"{cloud}\"\nregion = \"{region}\"\n\
                 addresses = [\"{address}\"]\nprobe = {probes}\n"
            )
        };
        let endpoints = endpoint("a", "aws", "eu-west-1", "203.0.113.1")
            + &endpoint("b", "gcp", "europe-west1", "203.0.113.2")
            + &endpoint("c", "azure", "westeurope", "203.0.113.3");
        format!(
            "[probes.p]\ntype = \"tcp\"\nport = 443\n[probes.q]\ntype = \"tcp\"\nport = 444\n{endpoints}\
             [[services]]\nname = \"www.shop.example\"\nendpoints = [\"*\"]\n"
        )
    };
    let mut world = World::new(&config("[\"p\"]"));
    world.fare("c", Fate::Refuses);
    world.pass(60.0);
    let (before, told) = (world.answers(), world.told.len());
    world.edit(&config("[\"p\", \"q\"]"));
    assert_eq!(world.reason("a"), "probe q: no outcome yet; taken to be up until there is one");
    for _ in 0..100 {
        assert_eq!(world.answers(), before, "{} s", world.seconds());
        world.pass(0.05);
    }
    assert_eq!((world.told.len(), world.state("a"), world.state("c")), (told, State::Up, State::Down));

    // The first outcome of a new probe decides as ever.
    world.edit(&config("[\"p\"]"));
    world.pass(10.0);
    world.fare("a", Fate::Refuses);
    world.edit(&config("[\"p\", \"q\"]"));
    world.pass(1.1);
    assert_eq!(world.state("a"), State::Down);
}
