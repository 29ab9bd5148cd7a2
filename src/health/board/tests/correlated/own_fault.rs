//! When the fault is ours.

use super::*;

#[test]
fn when_our_own_way_out_is_lost_verdicts_are_taken_back_and_held() {
    let mut world = world(4);
    assert_eq!(world.all(0..7, at(10), &refused()).len(), 7, "published at once");
    assert_eq!(world.down().len(), 7);
    let anchors = world.anchors.clone();
    world.outcomes(&anchors[..1], at(11), &refused());
    assert!(!world.is_own(), "one of four");
    let verdicts = world.outcomes(&anchors[1..2], at(12), &refused());
    assert_eq!((verdicts.len(), world.down()), (7, vec![]));
    assert_eq!(verdicts[0].change, StateChange { from: State::Down, to: State::Up });
    let found = "3 of 4 sites in 2 clouds and 2 of 4 anchors fail";
    assert_eq!(world.board.own_fault().unwrap().reason, found);
    assert!(verdicts[0].reason.starts_with(&format!("taken back, the fault is ours: {found}")), "{:?}", verdicts[0]);
    assert!(world.told().contains(&told("self", true)));
    assert_eq!(world.board.endpoint(EndpointId(0)).since, at(0), "as if nothing had been");

    // What goes down now is not published; a success counts.
    assert_eq!(world.all(7..8, at(13), &refused()), []);
    assert!(world.board.endpoint(EndpointId(7)).is_held());
    assert!(world.reason(7).contains("connection refused; held as it was: the fault is ours"), "{}", world.reason(7));
    assert_eq!(world.all(6..7, at(14), &success()), []);
    assert!(!world.board.endpoint(EndpointId(6)).is_held() && world.down().is_empty());

    // Anchors answer again: a window later it is over, and who is still down is down.
    world.anchors(at(20), &success());
    assert_eq!(world.board.next_tick(), Some(at(30)));
    world.all(0..5, at(21), &success());
    world.pass(22..=29);
    assert!(world.is_own() && world.down().is_empty());
    let verdicts = world.board.tick(at(30));
    assert!(!world.is_own() && world.told().contains(&told("self", false)));
    assert_eq!((verdicts.len(), world.down()), (2, vec![5, 7]));
    assert!(verdicts[0].reason.starts_with("probe p: 2 failures"), "{:?}", verdicts[0]);
    assert_eq!(world.board.endpoint(EndpointId(7)).since, at(30));
}

#[test]
fn flips_that_were_our_own_fault_are_forgiven() {
    let damping = crate::config::Damping {
        half_life: Duration::from_secs(300),
        hold_at: 1.0,
        free_at: 0.5,
        at_most: Duration::from_secs(600),
    };
    let states = |damps: bool, ours: bool| {
        let mut world = world(4);
        world.config.probes[0].damping = damps.then_some(damping);
        world.board.reconfigure(&world.config, &HostAddresses::new(), at(1));
        world.checks = world.board.checks().map(|(id, _)| id).take(ENDPOINTS).collect();
        world.all(ALL, at(1), &success());
        world.all(0..7, at(8), &refused());
        world.all(0..7, at(9), &success());
        world.all(0..7, at(10), &refused());
        if ours {
            world.anchors(at(12), &refused());
        }
        world.all(7..8, at(13), &refused());
        world.all(ALL, at(14), &success());
        world.board.endpoints().map(|health| health.state).collect::<Vec<_>>()
    };
    assert_eq!(states(false, false), [State::Up; ENDPOINTS]);
    assert_eq!(states(true, false), [State::Damped; ENDPOINTS]);
    assert_eq!(states(true, true), [State::Up; ENDPOINTS], "who flipped before it was found, and who did later");
}

#[test]
fn anchors_that_go_and_come_are_told_of() {
    let mut world = world(3);
    let anchors = world.anchors.clone();
    world.outcomes(&anchors[..1], at(10), &refused());
    world.outcomes(&anchors[..1], at(20), &success());
    let told: Vec<_> =
        world.board.take_notices().into_iter().map(|n| (n.subject.to_string(), n.failing, n.reason)).collect();
    let anchor = "anchor 198.51.100.0:443".to_owned();
    let (gone, back) =
        ("198.51.100.0:443: 2 failures, the last: connection refused", "198.51.100.0:443: 2 successes in a row");
    assert_eq!(told, [(anchor.clone(), true, gone.to_owned()), (anchor, false, back.to_owned())]);
}

#[test]
fn what_went_down_long_before_stays_down() {
    let mut world = world(3);
    world.all(0..1, at(1), &refused());
    world.all(1..8, at(12), &refused());
    world.anchors(at(13), &refused());
    assert_eq!((world.is_own(), world.down()), (true, vec![0]));
}

#[test]
fn without_anchors_downs_stay() {
    let mut world = world(0);
    world.all(ALL, at(10), &refused());
    assert_eq!((world.is_own(), world.down()), (false, everyone()));
}

#[test]
fn a_bad_deploy_is_no_fault_of_ours() {
    let mut fine = world(3);
    fine.all(ALL, at(10), &refused());
    fine.anchors(at(11), &success());
    assert_eq!((fine.is_own(), fine.down()), (false, everyone()));

    // Anchors that have been gone for long say nothing of it.
    let mut gone = world(3);
    gone.anchors(at(10), &refused());
    gone.all(ALL, at(100), &refused());
    assert_eq!((gone.is_own(), gone.down()), (false, everyone()));
}

#[test]
fn it_takes_two_clouds_and_most_sites() {
    let aws = [("aws", "us-east-1"), ("aws", "eu-west-1"), ("aws", "us-west-2"), ("aws", "ap-south-1")];
    let mut one = world_of(aws, 3);
    one.all(ALL, at(10), &refused());
    one.anchors(at(11), &refused());
    assert_eq!((one.is_own(), one.down()), (false, everyone()));

    let mut half = world(3);
    half.all(AWS, at(10), &refused());
    half.anchors(at(11), &refused());
    assert!(!half.is_own(), "two of four sites, in one cloud");
    half.all(4..5, at(12), &refused());
    assert!(!half.is_own(), "one of two endpoints is not 0.6 of them");
    half.all(5..6, at(13), &refused());
    assert_eq!((half.is_own(), half.down()), (true, vec![]));
}

#[test]
fn it_is_held_no_longer_than_hold_for_and_not_found_again_meanwhile() {
    let mut world = world(3);
    world.all(ALL, at(10), &refused());
    world.anchors(at(12), &refused());
    world.pass(13..=131);
    assert_eq!((world.is_own(), world.down()), (true, vec![]));
    assert_eq!((world.board.next_tick(), world.board.tick(at(132)).len()), (Some(at(132)), ENDPOINTS));
    assert_eq!((world.is_own(), world.down()), (false, everyone()));
    world.all(0..1, at(140), &success());
    world.all(0..1, at(141), &refused());
    world.pass(142..=300);
    assert_eq!((world.is_own(), world.down()), (false, everyone()), "it is the same fault");

    world.anchors(at(301), &success());
    world.all(0..6, at(310), &success());
    world.all(0..6, at(320), &refused());
    world.anchors(at(321), &refused());
    assert_eq!((world.is_own(), world.down()), (true, vec![6, 7]), "another one");
}

#[test]
fn it_withdraws_only_where_it_is_told_to_and_while_it_lasts() {
    let mut world = world(3);
    let withdrawn = |world: &World| world.board.withdrawn().map(|fault| fault.since);
    world.all(ALL, at(10), &refused());
    world.anchors(at(12), &refused());
    world.pass(13..=20);
    assert_eq!(withdrawn(&world), None, "never, by default");
    world.config.health.withdraw_after = Some(Duration::from_secs(180));
    world.board.reconfigure(&world.config, &HostAddresses::new(), at(20));
    world.pass(21..=191);
    assert_eq!((world.is_own(), withdrawn(&world), world.board.next_tick()), (false, None, Some(at(192))));
    let told_of = |world: &mut World| {
        let notices = world.told().into_iter().filter(|(subject, _)| subject == "withdrawal");
        notices.map(|(_, failing)| failing).collect::<Vec<_>>()
    };
    assert_eq!(told_of(&mut world), [false; 0]);
    world.pass(192..=192);
    assert_eq!((withdrawn(&world), told_of(&mut world)), (Some(at(12)), vec![true]));
    // For some seconds it seems to be over.
    world.anchors(at(200), &success());
    world.pass(201..=205);
    world.anchors(at(206), &refused());
    world.pass(207..=250);
    assert_eq!((withdrawn(&world), told_of(&mut world)), (Some(at(12)), vec![]));
    world.anchors(at(251), &success());
    world.pass(252..=261);
    assert_eq!((withdrawn(&world), told_of(&mut world)), (None, vec![false]));
}

#[test]
fn an_endpoint_that_is_new_meanwhile_is_not_known_to_be_down() {
    let mut world = world(3);
    world.all(ALL, at(10), &refused());
    world.anchors(at(12), &refused());
    world.config.endpoints.push(placed(9, SITES[0]));
    world.board.reconfigure(&world.config, &HostAddresses::new(), at(13));
    assert_eq!((world.is_own(), world.down()), (true, vec![]), "an edit ends nothing");
    world.board.observe(id(&world.board, "p", "203.0.113.9:443"), at(14), refused());
    assert_eq!(state(&world.board, 8), State::Unknown);
}

#[test]
fn timers_of_ours_that_are_late_find_it() {
    let mut world = world(0);
    world.all(0..2, at(10), &refused());
    world.all(2..4, at(11), &Outcome::Late);
    assert!(!world.is_own(), "four late, of eight");
    let verdicts = world.all(2..3, at(16), &Outcome::Late);
    assert_eq!((world.is_own(), world.down(), verdicts.len()), (true, vec![], 2));
    assert_eq!(world.board.own_fault().unwrap().reason, "our own timers fired late for 6 of 10 probes within 10s");
    assert_eq!(world.board.endpoint(EndpointId(2)).last.as_ref().unwrap().outcome, success(), "it is no outcome");

    // Runs that are in time outweigh them, and a window later it is over.
    world.all(2..8, at(17), &success());
    world.pass(18..=26);
    assert_eq!((world.is_own(), world.board.next_tick()), (true, Some(at(27))));
    world.board.tick(at(27));
    assert_eq!((world.is_own(), world.down()), (false, vec![0, 1]));
}

#[test]
fn a_pause_that_is_over_is_no_fault_and_late_timers_are_forgotten() {
    let mut world = world(0);
    world.all(ALL, at(100), &Outcome::Late);
    assert!(!world.is_own(), "a machine that slept");
    world.all(0..2, at(105), &Outcome::Late);
    assert!(world.is_own(), "one that is slow");
    let times: Vec<_> = (0..3).map(|_| world.board.next_tick().inspect(|&at| drop(world.board.tick(at)))).collect();
    assert_eq!(times, [Some(at(110)), Some(at(115)), Some(at(125))]);
    assert_eq!((world.is_own(), world.board.next_tick()), (false, None));
    assert_eq!(world.told(), [told("self", true), told("self", false)]);
}
