//! What is taken to be as it was, until it is known; and who limits our probes meanwhile.

use super::*;

fn reason(board: &Board, index: usize) -> String {
    board.endpoint(EndpointId::at(index)).reason.clone()
}

#[test]
fn an_address_of_use_stays_so_until_its_new_probe_knows() {
    let probes = [probe("p"), probe("q")];
    let ends = |probes: &[&str]| [endpoint("a", fixed(&[V4]), probes), endpoint("b", fixed(&["192.0.2.2"]), probes)];
    let with_both = config(&probes, &ends(&["p", "q"]));
    let mut board = board(&probes, &ends(&["p"]));
    let (a, b) = (id(&board, "p", "203.0.113.20:443"), id(&board, "p", "192.0.2.2:443"));
    board.observe(a, at(1), success());
    (0..3).for_each(|_| drop(board.observe(b, at(1), refused())));
    board.reconfigure(&with_both, &HostAddresses::new(), at(5));
    assert_eq!([state(&board, 0), state(&board, 1)], [State::Up, State::Down]);
    assert_eq!(reason(&board, 0), "probe q: no outcome yet; taken to be up until there is one");
    // A second edit meanwhile takes nothing from it, and the probe that it had still counts.
    board.reconfigure(&with_both, &HostAddresses::new(), at(6));
    assert_eq!((state(&board, 0), board.endpoint(EndpointId(0)).since), (State::Up, at(1)));
    (0..3).for_each(|_| drop(board.observe(a, at(7), refused())));
    assert_eq!(state(&board, 0), State::Down);
    (0..2).for_each(|_| drop(board.observe(a, at(8), success())));
    assert_eq!(state(&board, 0), State::Unknown, "it is not as it was");
    // What tells nothing has no vote from then on.
    board.observe(id(&board, "q", "203.0.113.20:443"), at(9), Outcome::Missing { why: "gone".to_owned() });
    assert_eq!(state(&board, 0), State::Up);
}

/// Who limits our probes is not known to be down, nor unknown (BEHAVIOUR rule 15).
#[test]
fn a_new_probe_that_is_limited_takes_nobody_down() {
    let (probes, end) = ([probe("p"), probe("q")], |probes: &[&str]| [endpoint("a", fixed(&[V4]), probes)]);
    let mut board = board(&probes, &end(&["p"]));
    board.observe(id(&board, "p", "203.0.113.20:443"), at(1), success());
    board.reconfigure(&config(&probes, &end(&["p", "q"])), &HostAddresses::new(), at(5));
    let q = id(&board, "q", "203.0.113.20:443");
    let verdict = board.observe(q, at(6), Outcome::Limited { status: 403 }).unwrap();
    assert!(verdict.is_doubt() && state(&board, 0) == State::Up, "{verdict:?}");
    board.observe(q, at(7), refused());
    assert_eq!(state(&board, 0), State::Down, "the first outcome that says something decides");
}

#[test]
fn no_time_is_in_the_future_where_a_clock_is_set_back() {
    let mut board = board(&[probe("p")], &[endpoint("a", fixed(&[V4]), &["p"])]);
    let check = id(&board, "p", "203.0.113.20:443");
    board.observe(check, at(7200), success());
    (0..3).for_each(|_| drop(board.observe(check, at(7210), refused())));
    board.observe(check, at(3600), refused());
    let address = &board.endpoint(EndpointId(0)).addresses[0];
    assert_eq!((address.state, address.since, board.slots[&check].health.since()), (State::Down, at(3600), at(3600)));
}

#[test]
fn a_probe_that_takes_anothers_place_and_tells_nothing_leaves_it_unknown() {
    let (probes, end) = ([probe("p"), probe("q")], |probe: &str| [endpoint("a", fixed(&[V4]), &[probe])]);
    let mut board = board(&probes, &end("p"));
    board.observe(id(&board, "p", "203.0.113.20:443"), at(1), success());
    board.reconfigure(&config(&probes, &end("q")), &HostAddresses::new(), at(5));
    assert_eq!(state(&board, 0), State::Up);
    board.observe(id(&board, "q", "203.0.113.20:443"), at(6), Outcome::Missing { why: "gone".to_owned() });
    assert_eq!(state(&board, 0), State::Unknown);
}

#[test]
fn a_hostname_of_use_stays_so_where_all_of_its_addresses_change() {
    let host = Addresses::Hostname("lb.cloud.example".parse().unwrap());
    let ends = [endpoint("a", host, &["p"]), endpoint("b", fixed(&["192.0.2.2"]), &["p"])];
    let resolve = |addresses: &[&str]| {
        HostAddresses::from([("a".into(), addresses.iter().map(|text| ip(text)).collect::<Vec<_>>())])
    };
    let mut board = Board::new();
    board.reconfigure(&config(&[probe("p")], &ends), &resolve(&["192.0.2.1"]), at(0));
    assert_eq!(state(&board, 0), State::Unknown, "it never was of use");
    board.observe(id(&board, "p", "192.0.2.1:443"), at(1), success());
    board.reconfigure(&config(&[probe("p")], &ends), &resolve(&["192.0.2.8", "192.0.2.9", V6]), at(5));
    let health = board.endpoint(EndpointId(0));
    let states: Vec<State> = health.addresses.iter().map(|address| address.state).collect();
    assert_eq!((health.state, states), (State::Up, vec![State::Up, State::Up, State::Unknown]));
    board.observe(id(&board, "p", "192.0.2.8:443"), at(6), refused());
    board.observe(id(&board, "p", "192.0.2.9:443"), at(6), refused());
    assert_eq!(board.endpoint(EndpointId(0)).families[0], Some(State::Down), "the first outcome decides");
    // Whoever edits an address means another machine.
    let other = [ends[0].clone(), endpoint("b", fixed(&["192.0.2.3"]), &["p"])];
    board.observe(id(&board, "p", "192.0.2.2:443"), at(7), success());
    board.reconfigure(&config(&[probe("p")], &other), &resolve(&["192.0.2.8"]), at(8));
    assert_eq!(state(&board, 1), State::Unknown);
}

#[test]
fn who_limits_our_probes_is_told_of_whatever_was_known() {
    let limited = || Outcome::Limited { status: 403 };
    let mut board = board(&[probe("p")], &[endpoint("a", fixed(&[V4]), &["p"])]);
    let check = id(&board, "p", "203.0.113.20:443");
    // From the first on.
    let verdict = board.observe(check, at(1), limited()).unwrap();
    assert!(verdict.is_doubt() && verdict.change.to == State::Unknown, "{verdict:?}");
    assert_eq!(reason(&board, 0), "probe p: no outcome yet; but status 403: it limits our probes");
    assert_eq!((board.observe(check, at(2), limited()), board.take_paces()), (None, vec![]), "once");
    // Behind silence, which is doubt already.
    board.observe(check, at(3), success());
    assert!(board.observe(check, at(4), Outcome::Silent).is_some());
    assert!(board.observe(check, at(5), limited()).is_some());
    // After an edit of the probe, whose state is its predecessor's.
    board.observe(check, at(6), success());
    let edited = Probe { timeout: Duration::from_millis(700), ..probe("p") };
    board.reconfigure(&config(&[edited], &[endpoint("a", fixed(&[V4]), &["p"])]), &HostAddresses::new(), at(7));
    let check = id(&board, "p", "203.0.113.20:443");
    let verdict = board.observe(check, at(8), limited()).unwrap();
    assert!(verdict.doubt && board.endpoint(EndpointId(0)).in_doubt);
    assert!(reason(&board, 0).ends_with("; but status 403: it limits our probes"), "{}", reason(&board, 0));
}
