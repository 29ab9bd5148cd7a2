mod assumed;
mod correlated;
mod soft;

use std::time::Duration;

use super::*;
use crate::config::{
    Access, Admin, Beacons, Cookies, Ecs, Health, Identity, ProbeKind, Process, RateLimit, Resolver, Server, Transports,
};
use crate::health::{Cause, Recovered};
use crate::model::{Cost, Family, FenceMask, Plan, PlanId, Policy, Service, Site, Target, ZoneId, find_region};

const V4: &str = "203.0.113.20";
const V6: &str = "2001:db8::20";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn who_flaps_is_held_back_until_its_time_comes() {
    let damping = crate::config::Damping {
        half_life: Duration::from_secs(300),
        hold_at: 2.0,
        free_at: 1.0,
        at_most: Duration::from_secs(60),
    };
    let flaps = Probe { down_after: 1, up_after: 1, damping: Some(damping), ..probe("p") };
    let mut board = board(&[flaps], &[endpoint("a", fixed(&[V4]), &["p"])]);
    let check = id(&board, "p", "203.0.113.20:443");
    for outcome in [success(), refused(), success(), refused(), success()] {
        board.observe(check, at(1), outcome);
    }
    assert_eq!((state(&board, 0), board.next_tick()), (State::Damped, Some(at(61))));
    assert_eq!(board.tick(at(60)), []);
    let verdicts = board.tick(at(61));
    assert_eq!(verdicts[0].change, StateChange { from: State::Damped, to: State::Up });
    assert_eq!((verdicts.len(), board.next_tick()), (1, None));
}

#[test]
fn a_restart_goes_on_with_who_came_back() {
    let flaps = crate::config::Damping {
        half_life: Duration::from_secs(300),
        hold_at: 1.0,
        free_at: 0.5,
        at_most: Duration::from_secs(60),
    };
    let probes = [probe("p"), Probe { damping: Some(flaps), ..probe("q") }];
    let endpoints = [
        endpoint("back", fixed(&["192.0.2.1"]), &["p"]),
        endpoint("ever", fixed(&["192.0.2.2"]), &["p"]),
        endpoint("flaps", fixed(&["192.0.2.3"]), &["q"]),
    ];
    let mut before = board(&probes, &endpoints);
    let targets = [("p", "192.0.2.1:443"), ("p", "192.0.2.2:443"), ("q", "192.0.2.3:443")];
    let checks = targets.map(|(probe, target)| id(&before, probe, target));
    let tell = |board: &mut Board, index: usize, second: i64, outcome: &Outcome| {
        (0..2).for_each(|_| drop(board.observe(checks[index], at(second), outcome.clone())));
    };
    for index in 0..3 {
        tell(&mut before, index, 1, &success());
    }
    for index in [0, 2] {
        tell(&mut before, index, 5, &refused());
        tell(&mut before, index, 9, &success());
    }
    let recovered = |board: &Board| board.endpoints().map(|health| health.recovered.of(Family::V4)).collect::<Vec<_>>();
    assert_eq!(recovered(&before), [Some(at(9)), None, None]);
    assert_eq!(state(&before, 2), State::Damped);

    let mut after = board(&probes, &endpoints);
    after.recall(before.remember(), at(20));
    assert_eq!(recovered(&after), [Some(at(9)), None, None]);
    // An edit does not make it forget that it was away.
    after.reconfigure(&config(&probes, &endpoints), &HostAddresses::new(), at(30));
    after.tick(at(69));
    assert_eq!((state(&after, 2), recovered(&after)), (State::Up, vec![Some(at(9)), None, Some(at(69))]));
}

#[test]
fn each_family_comes_back_for_itself() {
    let (probes, endpoints) =
        ([probe("p")], [endpoint("a", fixed(&["192.0.2.1", "192.0.2.2", "2001:db8::1"]), &["p"])]);
    let mut before = board(&probes, &endpoints);
    let targets = ["192.0.2.1:443", "192.0.2.2:443", "[2001:db8::1]:443"];
    let checks = targets.map(|target| id(&before, "p", target));
    let recovered = |board: &Board| board.endpoint(EndpointId(0)).recovered;
    let tell = |board: &mut Board, index: usize, second: i64, outcome: &Outcome| {
        (0..2).for_each(|_| drop(board.observe(checks[index], at(second), outcome.clone())));
    };
    (0..3).for_each(|index| tell(&mut before, index, 1, &success()));
    for index in [1, 2] {
        tell(&mut before, index, 5, &refused());
        tell(&mut before, index, 9, &success());
    }
    // Of IPv4 another address lived.
    assert_eq!((state(&before, 0), recovered(&before)), (State::Up, [None, Some(at(9))].into()));
    before.reconfigure(&config(&probes, &endpoints), &HostAddresses::new(), at(10));
    assert_eq!(recovered(&before), [None, Some(at(9))].into());
    let mut after = board(&probes, &endpoints);
    after.recall(before.remember(), at(20));
    assert_eq!(recovered(&after), [None, Some(at(9))].into());
    tell(&mut after, 2, 30, &refused());
    assert_eq!((state(&after, 0), recovered(&after)), (State::Up, Recovered::default()));
    // Some seconds apart, it is one ramp, so that a client is sent to one place by both; later it is not.
    for (first, second, came) in [(100, 109, [100, 100]), (200, 211, [200, 211])] {
        (0..3).for_each(|index| tell(&mut after, index, first - 9, &refused()));
        (0..2).for_each(|index| tell(&mut after, index, first, &success()));
        tell(&mut after, 2, second, &success());
        assert_eq!(recovered(&after), came.map(|second| Some(at(second))).into());
    }
}

/// What a probe saw just before time freed it, and told just after, holds nobody back again.
#[test]
fn late_reports_do_not_turn_time_back() {
    let flaps = crate::config::Damping {
        half_life: Duration::from_secs(300),
        hold_at: 1.0,
        free_at: 0.5,
        at_most: Duration::from_secs(60),
    };
    let mut board = board(&[Probe { damping: Some(flaps), ..probe("p") }], &[endpoint("a", fixed(&[V4]), &["p"])]);
    let check = id(&board, "p", "203.0.113.20:443");
    for outcome in [success(), refused(), refused(), success(), success()] {
        board.observe(check, at(1), outcome);
    }
    assert_eq!((state(&board, 0), board.next_tick()), (State::Damped, Some(at(61))));
    assert_eq!(board.tick(at(61)).len(), 1);
    let before = at(61) - Duration::from_millis(10);
    assert_eq!((board.observe(check, before, success()), state(&board, 0)), (None, State::Up));
    assert_eq!(board.endpoint(EndpointId(0)).recovered, [Some(at(61)), None].into());
    // A clock that is set back is another matter.
    board.observe(check, at(2), success());
    assert_eq!(board.endpoint(EndpointId(0)).last.as_ref().unwrap().at, at(2));
}

fn probe(name: &str) -> Probe {
    Probe {
        name: name.into(),
        kind: ProbeKind::Tcp,
        port: 443,
        interval: Duration::from_secs(2),
        jitter: 0.1,
        timeout: Duration::from_secs(1),
        fast_interval: Duration::from_millis(250),
        slow_after: None,
        slow: None,
        down_after: 2,
        up_after: 2,
        damping: None,
        allow_private: false,
    }
}

fn endpoint(name: &str, addresses: Addresses, probes: &[&str]) -> Endpoint {
    let region = find_region("aws", "us-east-1").unwrap();
    Endpoint {
        name: name.into(),
        site: Site::from(region),
        addresses,
        bias_ms: 0.0,
        weight: 100,
        cost: Cost::default(),
        probes: probes.iter().map(|&name| name.into()).collect(),
        probe_target: None,
        capacity: None,
        beacon: None,
    }
}

fn fixed(addresses: &[&str]) -> Addresses {
    Addresses::Fixed(addresses.iter().map(|text| ip(text)).collect())
}

/// Its one service has all endpoints.
fn config(probes: &[Probe], endpoints: &[Endpoint]) -> Config {
    let members = (0..endpoints.len()).map(EndpointId::at).collect();
    let plan = Plan { members, policy: Policy::nearest() };
    let (name, ttl) = ("www.shop.example".parse().unwrap(), Duration::from_secs(20));
    let service = Service { name, label: "www".into(), zone: ZoneId::at(0), plan: PlanId::at(0), ttl };
    Config {
        server: Server {
            listen: Vec::new(),
            state: "state".into(),
            workers: None,
            receive_buffer: 0,
            steer_by_cpu: false,
            tcp_connections: 1,
            tcp_client_connections: 1,
            tcp_client_queries: 1,
            tcp_client_octets: 1,
            tcp_idle: Duration::ZERO,
            proxy_from: Vec::new(),
            identity: Identity::Off,
            version: None,
            cookies: Cookies::Off,
        },
        access: Access::default(),
        rate_limit: RateLimit::default(),
        ecs: Ecs::default(),
        tls: Transports::default(),
        beacons: Beacons::default(),
        process: Process::default(),
        webhook: None,
        admin: Admin { listen: None, allow: Vec::new(), operators: Vec::new() },
        databases: Vec::new(),
        geo_memory: 0,
        settle: Duration::ZERO,
        resolver: Resolver { servers: Vec::new(), keep_for: Duration::ZERO, allow_private: false },
        health: Health::default(),
        first_round: Duration::ZERO,
        stale_after: Duration::ZERO,
        probes: probes.to_vec(),
        endpoints: endpoints.to_vec(),
        zones: Vec::new(),
        services: vec![service],
        plans: vec![plan],
        fence_places: Vec::new(),
        fence_combinations: vec![FenceMask::default()],
        labels: Vec::new(),
        asns: Vec::new(),
    }
}

/// A board with its configuration taken over at second 0.
fn board(probes: &[Probe], endpoints: &[Endpoint]) -> Board {
    let mut board = Board::new();
    board.reconfigure(&config(probes, endpoints), &HostAddresses::new(), at(0));
    board
}

fn id(board: &Board, probe: &str, target: &str) -> CheckId {
    let is_it = |check: &Check| &*check.probe.name == probe && check.target == target.parse().unwrap();
    board.checks().find(|(_, check)| is_it(check)).unwrap().0
}

fn success() -> Outcome {
    Outcome::Success { rtt: Duration::from_millis(3) }
}

fn refused() -> Outcome {
    Outcome::Failure { cause: Cause::Refused }
}

fn state(board: &Board, index: u32) -> State {
    board.endpoint(EndpointId(index)).state
}

#[test]
fn without_a_probe_it_is_up_and_the_first_round_is_over() {
    let board = board(&[], &[endpoint("a", fixed(&[V4]), &[])]);
    let health = board.endpoint(EndpointId(0));
    assert_eq!((health.state, &*health.reason, health.addresses[0].state), (State::Up, "it has no probe", State::Up));
    assert!(board.first_round_complete());
    assert_eq!(board.checks().count(), 0);
}

#[test]
fn an_address_that_fails_alone_leaves_and_down_is_when_none_answers() {
    let mut board = board(&[probe("p")], &[endpoint("a", fixed(&[V4, V6, V4]), &["p"])]);
    let (v4, v6) = (id(&board, "p", "203.0.113.20:443"), id(&board, "p", "[2001:db8::20]:443"));
    assert_eq!((board.checks().count(), state(&board, 0)), (2, State::Unknown));

    let verdict = board.observe(v4, at(1), refused()).unwrap();
    assert_eq!(verdict.change, StateChange { from: State::Unknown, to: State::Unknown });
    assert_eq!(verdict.addresses, [(ip(V4), StateChange { from: State::Unknown, to: State::Down })]);
    assert!(!board.first_round_complete());

    let verdict = board.observe(v6, at(2), success()).unwrap();
    assert_eq!(verdict.change, StateChange { from: State::Unknown, to: State::Up });
    assert!(board.first_round_complete());
    let health = board.endpoint(EndpointId(0));
    assert_eq!(
        health.reason,
        "1 of 2 addresses up; 203.0.113.20: probe p: the first outcome is a failure: connection refused"
    );
    assert_eq!((health.since, health.last.as_ref().unwrap().at), (at(2), at(2)));

    let verdict = board.observe(v6, at(3), refused()).unwrap();
    assert!(verdict.doubt && verdict.change.from == verdict.change.to && verdict.addresses.is_empty());
    assert_eq!((board.in_doubt(), board.take_paces()), (1, vec![(v6, true)]));
    assert_eq!(board.endpoint(EndpointId(0)).last, Some(Last { at: at(3), outcome: refused() }));
    let verdict = board.observe(v6, at(4), refused()).unwrap();
    assert_eq!(verdict.change, StateChange { from: State::Up, to: State::Down });
    assert_eq!((board.in_doubt(), board.take_paces()), (0, vec![(v6, false)]));
    assert_eq!(verdict.reason, "probe p at [2001:db8::20]:443: 2 failures, the last: connection refused");
    assert!(board.first_round_complete(), "once complete, always complete");
}

#[test]
fn all_probes_of_an_address_must_be_up() {
    let mut board = board(&[probe("p"), probe("q")], &[endpoint("a", fixed(&[V4]), &["p", "q"])]);
    let (p, q) = (id(&board, "p", "203.0.113.20:443"), id(&board, "q", "203.0.113.20:443"));
    assert_eq!(board.observe(p, at(1), success()), None);
    assert_eq!(state(&board, 0), State::Unknown);
    board.observe(q, at(1), success()).unwrap();
    assert_eq!(state(&board, 0), State::Up);
    board.observe(q, at(2), refused());
    board.observe(q, at(3), refused()).unwrap();
    assert_eq!(state(&board, 0), State::Down);
    board.observe(p, at(4), refused());
    assert_eq!(board.observe(p, at(5), refused()), None, "nothing that answers hold has changed");
}

#[test]
fn what_does_not_tell_has_no_vote_beside_others() {
    for order in [[true, false], [false, true]] {
        let mut board = board(&[probe("p"), probe("q")], &[endpoint("a", fixed(&[V4]), &["p", "q"])]);
        let (p, q) = (id(&board, "p", "203.0.113.20:443"), id(&board, "q", "203.0.113.20:443"));
        for is_first in order {
            let (check, outcome) =
                if is_first { (p, success()) } else { (q, Outcome::Missing { why: "no such sample".to_owned() }) };
            board.observe(check, at(1), outcome);
        }
        assert_eq!((state(&board, 0), board.first_round_complete()), (State::Up, true), "{order:?}");
        board.observe(q, at(2), refused()).unwrap();
        assert_eq!(state(&board, 0), State::Down);
    }
}

#[test]
fn who_limits_our_probes_is_doubted_and_makes_no_storm() {
    let mut board = board(&[probe("p")], &[endpoint("a", fixed(&[V4]), &["p"])]);
    let check = id(&board, "p", "203.0.113.20:443");
    board.observe(check, at(1), success());
    let verdict = board.observe(check, at(2), Outcome::Limited { status: 403 }).unwrap();
    assert!(verdict.doubt && board.endpoint(EndpointId(0)).in_doubt);
    assert_eq!(verdict.reason, "probe p at 203.0.113.20:443: status 403: it limits our probes");
    assert_eq!((board.in_doubt(), board.take_paces()), (0, vec![]));
    board.observe(check, at(3), refused());
    assert_eq!((board.in_doubt(), board.take_paces()), (1, vec![(check, true)]));
    board.observe(check, at(4), Outcome::Limited { status: 403 });
    assert_eq!((board.in_doubt(), board.take_paces()), (0, vec![(check, false)]));
}

#[test]
fn a_calculated_probe_is_what_so_many_come_to() {
    let states = |at_least: usize, outcomes: &[Outcome]| {
        let names: Vec<Arc<str>> = ["p", "q", "r"].map(Arc::from).to_vec();
        let kind = ProbeKind::Calculated(Calculated { at_least, of: names });
        let probes = [probe("p"), probe("q"), probe("r"), Probe { kind, ..probe("c") }];
        let mut board = board(&probes, &[endpoint("a", fixed(&[V4]), &["c"])]);
        assert_eq!(board.checks().count(), 3, "it is not run itself");
        for (name, outcome) in ["p", "q", "r"].into_iter().zip(outcomes) {
            board.observe(id(&board, name, "203.0.113.20:443"), at(1), outcome.clone());
        }
        (state(&board, 0), board.endpoint(EndpointId(0)).reason.clone())
    };
    let (up, down, missing) = (success(), refused(), Outcome::Missing { why: "gone".to_owned() });
    for (outcomes, expected) in [
        ([&up, &up, &up], [State::Up; 3]),
        ([&down, &up, &up], [State::Up, State::Up, State::Down]),
        ([&down, &down, &up], [State::Up, State::Down, State::Down]),
        ([&missing, &down, &up], [State::Up, State::Down, State::Down]),
        ([&missing, &missing, &up], [State::Up; 3]),
        ([&missing, &missing, &missing], [State::Unknown; 3]),
    ] {
        let outcomes = outcomes.map(Outcome::clone);
        assert_eq!([1, 2, 3].map(|at_least| states(at_least, &outcomes).0), expected, "{outcomes:?}");
    }
    assert_eq!(
        states(2, &[down.clone(), down, up]).1,
        "probe c, 2 of 3: probe p: the first outcome is a failure: connection refused"
    );
}

#[test]
fn a_calculated_probe_and_its_parts_are_run_once() {
    let kind = ProbeKind::Calculated(Calculated { at_least: 1, of: vec!["p".into(), "q".into()] });
    let probes = [probe("p"), probe("q"), Probe { kind, ..probe("c") }];
    let mut board = board(&probes, &[endpoint("a", fixed(&[V4]), &["c", "p"])]);
    assert_eq!(board.checks().count(), 2);
    let (p, q) = (id(&board, "p", "203.0.113.20:443"), id(&board, "q", "203.0.113.20:443"));
    board.observe(p, at(1), refused());
    board.observe(q, at(1), success());
    assert_eq!(state(&board, 0), State::Down, "p must be up too");
}

#[test]
fn a_probe_target_stands_for_all_addresses() {
    let target = Target { address: "127.0.0.1:18020".parse().unwrap() };
    let endpoint = Endpoint { probe_target: Some(target), ..endpoint("a", fixed(&[V4, V6]), &["p"]) };
    let mut board = board(&[probe("p")], &[endpoint]);
    let (check, _) = board.checks().next().unwrap();
    let verdict = board.observe(check, at(1), success()).unwrap();
    assert_eq!((board.checks().count(), verdict.addresses.len()), (1, 2));
    assert!(board.first_round_complete());
}

#[test]
fn an_edit_keeps_the_state_of_what_it_leaves_alone() {
    let ends = [endpoint("a", fixed(&[V4]), &["p"]), endpoint("b", fixed(&["203.0.113.21"]), &["q"])];
    let mut board = board(&[probe("p"), probe("q")], &ends);
    let (a, b) = (id(&board, "p", "203.0.113.20:443"), id(&board, "q", "203.0.113.21:443"));
    board.observe(a, at(1), success());
    board.observe(b, at(1), refused());

    // q is edited, the order changes, c is new: a's check is the same one still.
    let edited = Probe { down_after: 7, ..probe("q") };
    let ends = [ends[1].clone(), endpoint("c", fixed(&[V4]), &["p"]), ends[0].clone()];
    board.reconfigure(&config(&[probe("p"), edited], &ends), &HostAddresses::new(), at(9));
    assert_eq!([0, 1, 2].map(|index| state(&board, index)), [State::Down, State::Unknown, State::Up]);
    assert_eq!(board.endpoint(EndpointId(2)).since, at(1));
    assert!(board.check(a).is_some() && board.check(b).is_none());
    assert_eq!(board.observe(b, at(10), success()), None, "an outcome of the old check comes too late");
    assert!(board.first_round_complete(), "new checks do not undo it");
    let b = id(&board, "q", "203.0.113.21:443");
    assert_eq!(board.observe(b, at(11), success()).unwrap().change.to, State::Up, "its first outcome decides");

    board.reconfigure(&config(&[], &[]), &HostAddresses::new(), at(12));
    board.reconfigure(&config(&[probe("p")], &ends[2..]), &HostAddresses::new(), at(13));
    assert_eq!(state(&board, 0), State::Unknown, "what was removed is forgotten");
}

#[test]
fn hostnames_wait_for_their_addresses() {
    let host = Addresses::Hostname("lb.cloud.example".parse().unwrap());
    let config = config(&[probe("p")], &[endpoint("a", host, &["p"])]);
    let mut board = Board::new();
    board.reconfigure(&config, &HostAddresses::new(), at(0));
    assert_eq!(state(&board, 0), State::Unknown);
    assert!(!board.first_round_complete());

    let resolve = |addresses: &[&str]| {
        HostAddresses::from([("a".into(), addresses.iter().map(|text| ip(text)).collect::<Vec<_>>())])
    };
    board.reconfigure(&config, &resolve(&[V4]), at(1));
    assert!(!board.first_round_complete());
    board.observe(id(&board, "p", "203.0.113.20:443"), at(2), success()).unwrap();
    assert!(board.first_round_complete());

    board.reconfigure(&config, &resolve(&[V6, V4]), at(3));
    let health = board.endpoint(EndpointId(0));
    assert_eq!(health.addresses.iter().map(|a| a.state).collect::<Vec<_>>(), [State::Unknown, State::Up]);
    assert_eq!((health.state, health.since), (State::Up, at(2)));

    // An address that goes while it is down, and comes again, comes back by steps.
    (0..2).for_each(|_| drop(board.observe(id(&board, "p", &format!("[{V6}]:443")), at(3), refused())));
    board.reconfigure(&config, &resolve(&[V4]), at(4));
    board.reconfigure(&config, &resolve(&[V6, V4]), at(5));
    board.reconfigure(&config, &resolve(&[V6, V4]), at(6));
    board.observe(id(&board, "p", &format!("[{V6}]:443")), at(7), success());
    assert_eq!(board.endpoint(EndpointId(0)).recovered, [None, Some(at(7))].into());

    board.reconfigure(&config, &resolve(&[]), at(8));
    let health = board.endpoint(EndpointId(0));
    assert_eq!((health.state, &*health.reason), (State::Down, "its hostname does not resolve"));
}
