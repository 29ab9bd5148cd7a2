use std::time::Duration;

use jiff::SignedDuration;
use proptest::prelude::*;

use super::*;
use crate::health::Cause;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;
const DAMPING: Damping =
    Damping { half_life: Duration::from_secs(300), hold_at: 3.0, free_at: 1.0, at_most: Duration::from_secs(900) };

fn success() -> Outcome {
    Outcome::Success { rtt: Duration::from_millis(3) }
}

fn refused() -> Outcome {
    Outcome::Failure { cause: Cause::Refused }
}

fn outcome(sign: char) -> Outcome {
    match sign {
        '+' => success(),
        '-' => refused(),
        'o' => Outcome::Overtaken { cause: Cause::Timeout(Duration::from_secs(1)) },
        'd' => Outcome::Degraded { rtt: Duration::ZERO, why: "lag is 42, over 30".to_owned() },
        'm' => Outcome::Missing { why: "no such sample".to_owned() },
        'l' => Outcome::Limited { status: 429 },
        's' => Outcome::Silent,
        other => panic!("{other}"),
    }
}

fn letter(state: State) -> char {
    match state {
        State::Up => 'U',
        State::Degraded => 'G',
        State::Damped => 'H',
        State::Unknown => '?',
        State::Down => 'D',
    }
}

fn check(down_after: u32, up_after: u32, damping: Option<Damping>) -> HealthState {
    HealthState::new(Rules { down_after, up_after, damping }, NOW)
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

/// The states after each outcome.
fn run(health: &mut HealthState, outcomes: &str) -> String {
    let mut observe = |sign| {
        let before = health.state();
        let change = health.observe(NOW, outcome(sign));
        assert_eq!(change.as_ref().map(|c| (c.from, c.to)), {
            let after = health.state();
            (before != after).then_some((before, after))
        });
        letter(health.state())
    };
    outcomes.chars().map(&mut observe).collect()
}

#[test]
fn the_first_outcome_decides() {
    for (outcomes, states) in [("+", "U"), ("-", "D"), ("d", "G"), ("mm-", "??D"), ("ls+", "??U")] {
        assert_eq!(run(&mut check(3, 2, None), outcomes), states, "{outcomes}");
    }
    assert_eq!(check(3, 2, None).state(), State::Unknown);
}

#[test]
fn failures_add_up_until_successes_in_a_row_clear_them() {
    for (outcomes, states) in [
        ("+---", "UUUD"),
        ("+--++--", "UUUUUUU"),         // cleared
        ("+--+-", "UUUUD"),             // not cleared by one
        ("++++o+o+o++", "UUUUUUUUUUU"), // a pause that is over
        ("+ooo-", "UUUUD"),
        ("-+-++", "DDDDU"), // up needs a row
    ] {
        assert_eq!(run(&mut check(3, 2, None), outcomes), states, "{outcomes}");
    }
    assert_eq!(run(&mut check(1, 1, None), "+-+-"), "UDUD");
}

#[test]
fn it_turns_to_the_mildest_of_what_speaks_against_it() {
    for (outcomes, states) in [
        ("+ddd", "UUUG"),
        ("+-d-", "UUUG"), // then three failures more
        ("+ddd---", "UUUGGGD"),
        ("+ddd++", "UUUGGU"),
        ("---dd", "DDDDG"),
        ("---+d", "DDDDG"), // the poorer of two
        ("+mmm++", "UUU??U"),
        ("+lll", "UUUU"),
    ] {
        let outcomes = outcomes.replace(' ', "");
        assert_eq!(run(&mut check(3, 2, None), &outcomes), states.replace(' ', ""), "{outcomes}");
    }
}

#[test]
fn it_is_in_doubt_from_the_first_that_speaks_against_it_until_the_decision() {
    let doubt = |outcomes: &str| {
        let mut health = check(3, 2, None);
        let mut after = |sign| {
            health.observe(NOW, outcome(sign));
            match (health.in_doubt(), health.wants_haste()) {
                (true, true) => '!',
                (true, false) => 'l',
                _ => '.',
            }
        };
        outcomes.chars().map(&mut after).collect::<String>()
    };
    for (outcomes, expected) in
        [("+---+-", ".!!.!."), ("+-++", ".!!."), ("+s+", ".!."), ("+ls+", ".ll."), ("-+s-", ".!!."), ("-ss", "...")]
    {
        assert_eq!(doubt(outcomes), expected, "{outcomes}");
    }
}

#[test]
fn reasons_are_words_and_times_are_those_of_the_change() {
    let mut health = check(2, 2, None);
    health.observe(at(1), success());
    health.observe(at(2), refused());
    assert_eq!(
        (health.state(), health.since(), &*health.reason(at(2))),
        (State::Up, at(1), "the first outcome is a success")
    );
    let change = health.observe(at(3), refused()).unwrap();
    assert_eq!(change.reason, "2 failures, the last: connection refused");
    health.observe(at(4), refused());
    assert_eq!((health.state(), health.since(), health.reason(at(4))), (State::Down, at(3), change.reason));
    assert_eq!(health.last(), Some(&Last { at: at(4), outcome: refused() }));
    let mut metric = check(1, 1, None);
    assert_eq!(metric.observe(at(1), outcome('d')).unwrap().reason, "lag is 42, over 30");
    assert_eq!(metric.observe(at(2), outcome('m')).unwrap().reason, "not known: no such sample");
}

#[test]
fn an_edited_check_shows_its_old_state_until_its_first_outcome() {
    let mut health = check(3, 2, None);
    run(&mut health, "+");
    let mut health = health.carried(Rules { down_after: 5, up_after: 5, damping: None });
    assert_eq!((health.state(), health.last()), (State::Up, None));
    assert_eq!(run(&mut health.clone(), "-"), "D");
    assert_eq!(run(&mut health, "+----"), "UUUUU");
}

#[test]
fn who_flaps_is_held_back_and_time_frees_it() {
    let mut health = check(1, 1, Some(DAMPING));
    assert_eq!(run(&mut health, "+-+-+-"), "UDUDUD");
    let change = health.observe(NOW, success()).unwrap();
    assert_eq!((change.from, change.to), (State::Down, State::Damped));
    assert_eq!(change.reason, "a success; it has flapped: held back until 1970-01-01T00:07:55Z");
    assert_eq!(run(&mut health, "-+"), "DH", "down is down all the same");
    let free = health.next_tick().unwrap();
    assert_eq!(health.tick(free - SignedDuration::from_secs(1)), None);
    let change = health.tick(free).unwrap();
    assert_eq!((change.from, change.to, &*change.reason), (State::Damped, State::Up, "a success"));
    assert_eq!(health.next_tick(), None);
}

proptest! {
    /// Whatever happens: up only by a success, and nothing is held back for longer than `at_most` from its last flip.
    #[test]
    fn up_takes_a_success_and_damping_ends(
        down_after in 1..5_u32,
        up_after in 1..5_u32,
        history in prop::collection::vec((0..60_i64, prop::sample::select(vec!['+', '-', 'o', 'd', 'm', 'l', 's'])), 0..200),
    ) {
        let mut health = check(down_after, up_after, Some(DAMPING));
        let (mut second, mut success) = (0, false);
        for (gap, sign) in history {
            second += gap;
            success |= sign == '+';
            health.tick(at(second));
            let before = health.state();
            health.observe(at(second), outcome(sign));
            prop_assert!(success || health.state() != State::Up);
            if before == State::Down && health.state() == State::Up {
                prop_assert_eq!(sign, '+');
            }
            if let Some(free) = health.next_tick() {
                prop_assert!(free > at(second) && free <= at(second + 900));
            }
        }
        health.tick(at(second + 900));
        prop_assert!(health.state() != State::Damped);
    }
}
