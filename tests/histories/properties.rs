//! What no history may come to.

use jiff::Timestamp;
use meridian::model::State;
use proptest::prelude::*;

use crate::world::{Fate, World};

const CONFIG: &str = "
    [probes.p]
    type = \"tcp\"
    port = 443
    [[endpoints]]
    name = \"a\"
    cloud = \"aws\"
    region = \"eu-west-1\"
    addresses = [\"203.0.113.1\"]
    probe = \"p\"
    [[endpoints]]
    name = \"b\"
    cloud = \"gcp\"
    region = \"europe-west1\"
    addresses = [\"203.0.113.2\"]
    probe = \"p\"
    [[services]]
    name = \"www.shop.example\"
    endpoints = [\"*\"]
";

/// What happens to `a`, or to us.
#[derive(Clone, Copy, Debug)]
enum Turn {
    Fares(Fate),
    Restart,
    /// One that gives the endpoints a second probe, or takes it away.
    Edit(bool),
}

fn history() -> impl Strategy<Value = Vec<(Turn, f64)>> {
    let turn = prop_oneof![
        Just(Turn::Fares(Fate::Well(20))),
        Just(Turn::Fares(Fate::Well(500))),
        Just(Turn::Fares(Fate::Badly)),
        Just(Turn::Fares(Fate::Refuses)),
        Just(Turn::Fares(Fate::Silent)),
        Just(Turn::Fares(Fate::Untold)),
        Just(Turn::Restart),
        any::<bool>().prop_map(Turn::Edit),
    ];
    prop::collection::vec((turn, 0.1f64..60.0), 1..40)
}

/// The same with two probes.
fn edited() -> String {
    let second = "[probes.q]\ntype = \"tcp\"\nport = 444\n[probes.p]";
    CONFIG.replace("[probes.p]", second).replace("probe = \"p\"", "probe = [\"p\", \"q\"]")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn up_takes_a_success_damping_ends_and_somebody_always_answers(history in history()) {
        let mut world = World::new(CONFIG);
        // Since when it is unknown, so that what it succeeded in before counts for nothing.
        let (mut unknown, mut told) = (Some(0.0), 0);
        for (turn, seconds) in history {
            match turn {
                Turn::Fares(fate) => world.fare("a", fate),
                Turn::Restart => world.restart(),
                Turn::Edit(false) => world.edit(CONFIG),
                Turn::Edit(true) => world.edit(&edited()),
            }
            if !matches!(turn, Turn::Fares(_)) {
                unknown = (world.state("a") == State::Unknown).then(|| unknown.unwrap_or(world.seconds()));
            }
            world.pass(seconds);
            for change in world.told[told..].iter().filter(|change| change.endpoint == "a") {
                if let Some(since) = unknown.filter(|_| change.to == State::Up) {
                    let mut successes = world.succeeded.get("a").into_iter().flatten();
                    prop_assert!(successes.any(|at| (since..=change.at).contains(at)), "{change:?}, unknown since {since}");
                }
                unknown = (change.to == State::Unknown).then_some(change.at);
            }
            told = world.told.len();
            let (answers, _) = world.answers();
            prop_assert_eq!(answers.iter().map(|(_, part)| *part).sum::<u16>(), 256);
        }
        world.fare("a", Fate::Well(20));
        // At most `at_most` of damping, and the ramp after it.
        world.pass(20.0 * 60.0);
        prop_assert_eq!(world.state("a"), State::Up);
        prop_assert_eq!(world.board.next_tick(), None::<Timestamp>);
        prop_assert_eq!(world.snapshot.due(), None::<Timestamp>);
    }
}
