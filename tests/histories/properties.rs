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

fn fates() -> impl Strategy<Value = Vec<(Fate, f64)>> {
    let fate = prop_oneof![
        Just(Fate::Well(20)),
        Just(Fate::Well(500)),
        Just(Fate::Badly),
        Just(Fate::Refuses),
        Just(Fate::Silent),
        Just(Fate::Untold)
    ];
    prop::collection::vec((fate, 0.1f64..60.0), 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn up_takes_a_success_damping_ends_and_somebody_always_answers(history in fates()) {
        let mut world = World::new(CONFIG);
        let mut succeeded = false;
        for (fate, seconds) in history {
            world.fare("a", fate);
            succeeded |= matches!(fate, Fate::Well(_));
            world.pass(seconds);
            prop_assert!(succeeded || world.state("a") != State::Up);
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
