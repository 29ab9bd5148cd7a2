//! What soft signals take out, and how that is bounded (BEHAVIOUR rule 15).

use super::*;
use crate::config::{Aim, Limits, Metric, Slow};
use crate::health::Subject;
use crate::model::{Capacity, Fence, FenceUnknown, Member};

/// A board of endpoints that are up by a probe `p` and by a figure `lag`.
struct World {
    board: Board,
    config: Config,
    second: i64,
}

fn lag() -> Probe {
    let (url, aim) = ("http://198.51.100.1/{endpoint}".to_owned(), Aim::Pointer(vec!["lag".to_owned()]));
    let metric = Metric { url, tls: None, aim, limits: Limits::default(), missing_degrades: false };
    Probe { kind: ProbeKind::Metric(metric), ..probe("lag") }
}

fn address(index: usize) -> String {
    format!("192.0.2.{}", index + 1)
}

fn world(endpoints: usize, edit: impl FnOnce(&mut Config)) -> World {
    let one = |index| endpoint(&format!("e{index}"), fixed(&[&address(index)]), &["p", "lag"]);
    let endpoints: Vec<Endpoint> = (0..endpoints).map(one).collect();
    let mut config = config(&[probe("p"), lag()], &endpoints);
    edit(&mut config);
    let mut board = Board::new();
    board.reconfigure(&config, &HostAddresses::new(), at(0));
    let mut world = World { board, config, second: 0 };
    (0..endpoints.len()).for_each(|index| world.tell("p", index, &success()));
    (0..endpoints.len()).for_each(|index| world.tell("lag", index, &success()));
    world
}

impl World {
    /// Twice the same outcome, which decides.
    fn tell(&mut self, probe: &str, index: usize, outcome: &Outcome) {
        let check = id(&self.board, probe, &format!("{}:443", address(index)));
        self.second += 1;
        for _ in 0..2 {
            self.board.observe(check, at(self.second), outcome.clone());
            self.board.correlate(at(self.second));
        }
    }

    /// The same of several, in one batch.
    fn together(&mut self, told: &[(&str, usize, Outcome)]) {
        self.second += 1;
        for (probe, index, outcome) in told {
            let check = id(&self.board, probe, &format!("{}:443", address(*index)));
            (0..2).for_each(|_| drop(self.board.observe(check, at(self.second), outcome.clone())));
        }
        self.board.correlate(at(self.second));
    }

    /// So many seconds pass.
    fn pass(&mut self, seconds: i64) {
        self.second += seconds;
        self.board.tick(at(self.second));
    }

    /// Who is down.
    fn down(&self) -> Vec<usize> {
        (0..self.config.endpoints.len()).filter(|&index| state(&self.board, index as u32) == State::Down).collect()
    }

    fn notices(&mut self) -> Vec<(String, bool, String)> {
        let notices = self.board.take_notices().into_iter();
        let soft = notices.filter(|notice| matches!(notice.subject, Subject::Fence(_)));
        soft.map(|notice| (notice.subject.to_string(), notice.failing, notice.reason)).collect()
    }
}

#[test]
fn figures_take_out_a_third_and_more_of_the_same_counts_for_nobody() {
    let mut world = world(6, |_| {});
    world.tell("lag", 0, &refused());
    world.tell("lag", 1, &refused());
    assert_eq!((world.down(), world.notices()), (vec![0, 1], vec![]));
    world.tell("lag", 2, &refused());
    assert_eq!(world.down(), [0; 0]);
    let why = "soft signals speak against 3 of 6 endpoints, 50 % of the capacity that lives (e0, e1, e2); over max_soft_down, \
               34 %, it is load or the instrument, and counts for none of them";
    assert_eq!(world.notices(), [("a fence of www".to_owned(), true, why.to_owned())]);
    assert_eq!(world.board.unheeded().map(|notice| notice.reason).collect::<Vec<_>>(), [why]);
    let reason = world.board.reason(EndpointId(2));
    assert!(reason.contains("against too many: probe lag: 2 failures"), "{reason}");

    // Who dies of it makes them no truer: two of the five that live.
    world.tell("p", 0, &refused());
    world.pass(60);
    assert_eq!((world.down(), world.notices()), (vec![0], vec![]));
    // Once they speak against few enough, and for a window.
    world.tell("lag", 2, &success());
    assert_eq!((world.down(), world.notices()), (vec![0], vec![]));
    world.pass(9);
    assert_eq!(world.down(), [0]);
    world.pass(1);
    let again = "soft signals count again for e0, e1, e2, e3, e4 and 1 more";
    assert_eq!(
        (world.down(), world.notices()),
        (vec![0, 1], vec![("a fence of www".to_owned(), false, again.to_owned())])
    );
}

/// What comes in one batch counts as it is at its end.
#[test]
fn the_order_within_a_batch_does_not_matter() {
    let mut three = world(3, |_| {});
    three.tell("lag", 0, &refused());
    assert_eq!(three.down(), [0]);
    three.together(&[("lag", 1, refused()), ("lag", 0, success())]);
    assert_eq!((three.down(), three.notices()), (vec![1], vec![]), "one at a time");
    let mut three = world(3, |_| {});
    three.tell("lag", 0, &refused());
    three.together(&[("p", 2, refused()), ("p", 0, refused())]);
    assert_eq!((three.down(), three.notices()), (vec![0, 2], vec![]), "who is gone altogether is no soft signal");
}

#[test]
fn the_window_goes_on_over_edits_and_ends_where_a_clock_is_set_back() {
    let mut six = world(6, |_| {});
    (0..3).for_each(|index| six.tell("lag", index, &refused()));
    six.tell("lag", 2, &success());
    six.pass(5);
    let config = six.config.clone();
    six.board.reconfigure(&config, &HostAddresses::new(), at(six.second));
    six.pass(4);
    assert_eq!(six.down(), [0; 0]);
    six.pass(1);
    assert_eq!(six.down(), [0, 1]);

    let mut six = world(6, |_| {});
    six.pass(7200);
    (0..3).for_each(|index| six.tell("lag", index, &refused()));
    six.tell("lag", 2, &success());
    six.second -= 3600;
    six.pass(0);
    assert_eq!(six.board.next_tick(), Some(at(six.second + 10)));
    six.pass(10);
    assert_eq!(six.down(), [0, 1]);
}

#[test]
fn the_last_that_lives_is_taken_out_by_none() {
    let mut world = world(3, |_| {});
    world.tell("p", 0, &refused());
    world.tell("p", 1, &refused());
    world.tell("lag", 2, &refused());
    assert_eq!((world.down(), world.notices().len()), (vec![0, 1], 1));
}

#[test]
fn an_edit_and_a_restart_tell_of_it_no_more_than_once() {
    let mut world = world(6, |_| {});
    (0..3).for_each(|index| world.tell("lag", index, &refused()));
    assert_eq!(world.notices().len(), 1);
    let config = world.config.clone();
    world.board.reconfigure(&config, &HostAddresses::new(), at(50));
    world.board.correlate(at(50));
    assert_eq!((world.down(), world.notices()), (vec![], vec![]));

    let kept = world.board.remember();
    world.board = Board::new();
    world.board.reconfigure(&config, &HostAddresses::new(), at(60));
    world.board.recall(kept, at(60));
    assert_eq!(world.down(), [0; 0]);
    world.board.correlate(at(60));
    assert_eq!((world.down(), world.notices().len()), (vec![], 1), "the process is another");
    let mut other = config.clone();
    other.health.max_soft_down = 0.5;
    world.board.reconfigure(&other, &HostAddresses::new(), at(61));
    (world.second, _) = (61, world.board.correlate(at(61)));
    world.pass(10);
    assert_eq!((world.down(), world.notices().len()), (vec![0, 1, 2], 1));

    world.board.reconfigure(&config, &HostAddresses::new(), at(80));
    world.board.correlate(at(80));
    assert_eq!((world.down(), world.notices().len()), (vec![], 1));
    (other.services, other.plans) = (Vec::new(), Vec::new());
    world.board.reconfigure(&other, &HostAddresses::new(), at(81));
    world.board.correlate(at(81));
    let notices = world.notices();
    assert!(world.down() == [0, 1, 2] && notices.len() == 1 && !notices[0].1, "a fence that is no more: {notices:?}");
}

#[test]
fn it_goes_by_capacity_and_by_fence() {
    // The first carries half of all.
    let large = |config: &mut Config| {
        for (endpoint, max) in config.endpoints.iter_mut().zip([500.0, 100.0, 100.0, 100.0, 100.0, 100.0]) {
            endpoint.capacity = Some(Capacity { now: max, max });
        }
    };
    let mut heavy = world(6, large);
    heavy.tell("lag", 0, &refused());
    assert_eq!((heavy.down(), heavy.notices().len()), (vec![], 1));
    heavy.tell("lag", 0, &success());
    heavy.pass(10);
    (1..4).for_each(|index| heavy.tell("lag", index, &refused()));
    assert_eq!(heavy.down(), [1, 2, 3], "30 %");

    // One of six, but half of what a fence leaves.
    let fenced = |config: &mut Config| {
        config.plans[0].policy.fences = vec![Fence { place: 0, members: vec![Member(4), Member(5)] }];
        config.fence_combinations.push(FenceMask::default().with(0));
    };
    let mut fenced = world(6, fenced);
    fenced.tell("lag", 0, &refused());
    assert_eq!(fenced.down(), [0]);
    fenced.tell("lag", 4, &refused());
    assert_eq!((fenced.down(), fenced.notices().len()), (vec![0], 1));
}

#[test]
fn without_a_service_nothing_bounds_it_and_who_is_known_by_figures_alone_is_never_up_by_none() {
    let mut alone = world(2, |config| (config.services, config.plans) = (Vec::new(), Vec::new()));
    (0..2).for_each(|index| alone.tell("lag", index, &refused()));
    assert_eq!(alone.down(), [0, 1]);

    let only =
        |config: &mut Config| config.endpoints.iter_mut().for_each(|endpoint| endpoint.probes = vec!["lag".into()]);
    let mut config = config(&[lag()], &[endpoint("e0", fixed(&[&address(0)]), &["lag"])]);
    only(&mut config);
    let mut board = Board::new();
    board.reconfigure(&config, &HostAddresses::new(), at(0));
    let check = id(&board, "lag", "192.0.2.1:443");
    board.observe(check, at(1), Outcome::Missing { why: "no figure".to_owned() });
    assert_eq!(state(&board, 0), State::Unknown);
    board.observe(check, at(2), refused());
    assert_eq!(state(&board, 0), State::Down, "nobody could be sent elsewhere, and nobody is");
}

/// Where one way to each of many endpoints is slow, it is the way.
#[test]
fn addresses_are_bounded_as_endpoints_are() {
    let one = |index| {
        let (v4, v6) = (address(index), format!("2001:db8::{index}"));
        endpoint(&format!("e{index}"), fixed(&[&v4, &v6]), &["lag"])
    };
    let mut config = config(&[lag()], &[0, 1, 2].map(one));
    let mut board = Board::new();
    board.reconfigure(&config, &HostAddresses::new(), at(0));
    let tell = |board: &mut Board, second: i64, target: &str, outcome: &Outcome| {
        let check = id(board, "lag", target);
        (0..2).for_each(|_| drop(board.observe(check, at(second), outcome.clone())));
        board.correlate(at(second));
    };
    for index in 0..3 {
        tell(&mut board, 1, &format!("{}:443", address(index)), &success());
        tell(&mut board, 1, &format!("[2001:db8::{index}]:443"), &success());
    }
    let down = |board: &Board| {
        board.endpoints().flat_map(|health| &health.addresses).filter(|address| address.state == State::Down).count()
    };
    tell(&mut board, 2, "[2001:db8::0]:443", &refused());
    assert_eq!(down(&board), 1);
    tell(&mut board, 3, "[2001:db8::1]:443", &refused());
    assert_eq!((down(&board), board.unheeded().count()), (0, 1));
    // A set of clients of no known place counts as any.
    config.plans[0].policy.fence_unknown = FenceUnknown::Set(vec![Member(1), Member(2)]);
    board.reconfigure(&config, &HostAddresses::new(), at(4));
    board.correlate(at(4));
    assert_eq!(board.unheeded().count(), 2);
}

#[test]
fn who_is_slow_beside_others_is_degraded_for_as_long() {
    let slow = Slow { over: 2.0, at_least: Duration::from_millis(100), samples: 5 };
    let slow = Probe { slow: Some(slow), ..probe("p") };
    let addresses = [0, 1, 2, 3, 4].map(address);
    let mut board = board(&[slow], &addresses.each_ref().map(|address| endpoint(address, fixed(&[address]), &["p"])));
    let checks = addresses.map(|address| id(&board, "p", &format!("{address}:443")));
    let mut second = 0;
    let mut rounds = |board: &mut Board, count: i64, times: [u64; 5]| {
        let mut verdicts = Vec::new();
        for _ in 0..count {
            second += 2;
            for (check, ms) in checks.into_iter().zip(times) {
                let rtt = Duration::from_millis(ms);
                verdicts.extend(board.observe(check, at(second), Outcome::Success { rtt }));
            }
            verdicts.extend(board.correlate(at(second)));
        }
        verdicts.into_iter().map(|verdict| (verdict.endpoint.0, verdict.change.to, verdict.reason)).collect::<Vec<_>>()
    };
    rounds(&mut board, 20, [20, 30, 40, 50, 60]);
    let why = "probe p at 192.0.2.2:443: slow: its answers take 300ms, before 30ms, its peers' 50ms".to_owned();
    assert_eq!(rounds(&mut board, 5, [20, 300, 40, 50, 60]), [(1, State::Degraded, why)]);
    let health = board.endpoint(EndpointId(1));
    assert_eq!((health.state, health.in_doubt, health.reason.contains("slow")), (State::Degraded, false, true));
    // What two of five show is no fault of theirs.
    let verdicts = rounds(&mut board, 5, [300, 300, 40, 50, 60]);
    let [(1, State::Up, why)] = &verdicts[..] else { panic!("{verdicts:?}") };
    assert!(why.contains("against too many: probe p: slow"), "{why}");
    rounds(&mut board, 10, [20, 300, 40, 50, 60]);
    assert_eq!(state(&board, 1), State::Degraded);
    rounds(&mut board, 5, [20, 30, 40, 50, 60]);
    assert_eq!((state(&board, 1), board.unheeded().count()), (State::Up, 0));
}
