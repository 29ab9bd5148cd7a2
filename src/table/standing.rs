//! How the endpoints stand: what health says, in the form that the compiler reads.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::health::{EndpointHealth, Recovered};
use crate::model::{Addresses, Endpoint, Family, Policy, State};
use crate::steer::{Phase, Step, Usage, age};

/// One endpoint's addresses and what health says of each; and what the operator's hand does to it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Fixed or resolved, in the order of the configuration or the resolver.
    pub addresses: Vec<(IpAddr, State)>,
    /// Upper bound on the TTL of answers with these addresses, in seconds; `u32::MAX` where fixed.
    pub ttl: u32,
    /// It may turn soon: answers with it have each service's `ttl_doubt` at most.
    pub in_doubt: bool,
    /// It came back then, and has its clients by steps.
    pub warming: Recovered,
    /// The operator gave it back, so that it has them by steps, too; the ramp that is least far counts.
    pub returned: Vec<Returned>,
    /// Its clients leave it, or it must not be answered.
    pub hand: Hand,
    /// Verdicts move it not.
    pub held: bool,
}

/// An order that took an endpoint out has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Returned {
    /// Then.
    pub at: Timestamp,
    /// Of a drain: when it began, and how many seconds it was to take, as of [`Hand::Drained`]. Clients that had not left do
    /// not come back: the ramp begins where the drain was.
    pub drained: Option<(Timestamp, Option<u64>)>,
}

impl Returned {
    /// How far its ramp is, in a plan of that policy.
    fn age(self, policy: &Policy, now: Timestamp) -> Duration {
        let left = self.drained.map_or(0.0, |(since, over)| {
            Step::left(age(since, self.at), over.map_or(policy.drain, Duration::from_secs))
        });
        age(self.at, now).saturating_add(policy.warmup.mul_f64(left))
    }
}

/// How an endpoint was when it was held, or when a service that has it was.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldAs {
    /// Its addresses.
    #[serde(default)] // files of versions 1 and 2 know none for services
    pub addresses: Vec<(IpAddr, State)>,
    /// It has its clients by steps since then.
    pub warming: Recovered,
}

/// What the operator's hand does to an endpoint (BEHAVIOUR rules 19 and 27).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Hand {
    /// Nothing.
    #[default]
    Off,
    /// Its clients leave it by steps.
    Drained {
        /// From then on.
        since: Timestamp,
        /// As long as that takes; none: as long as each service says.
        over: Option<Duration>,
    },
    /// It counts as up; held services heed that, too.
    Up,
    /// It is never answered, in any mode.
    Down,
}

impl Standing {
    /// Addresses whose states are known and fixed, without anything besides.
    #[must_use]
    pub fn of(addresses: Vec<(IpAddr, State)>) -> Self {
        Self {
            addresses,
            ttl: u32::MAX,
            in_doubt: false,
            warming: Recovered::default(),
            returned: Vec::new(),
            hand: Hand::Off,
            held: false,
        }
    }

    /// An endpoint with fixed addresses, all in one state; without addresses for a hostname.
    #[must_use]
    pub fn all(endpoint: &Endpoint, state: State) -> Self {
        let addresses = match &endpoint.addresses {
            Addresses::Fixed(addresses) => addresses.iter().map(|&address| (address, state)).collect(),
            Addresses::Hostname(_) => Vec::new(),
        };
        Self::of(addresses)
    }

    /// As health has an endpoint, whose answers may be kept for `ttl` seconds, and less while it is in doubt unless there is
    /// a [storm](crate::health::Board::is_storm).
    #[must_use]
    pub fn of_health(health: &EndpointHealth, ttl: u32, heeds_doubt: bool) -> Self {
        let addresses = health.addresses.iter().map(|address| (address.address, address.state)).collect();
        Self { ttl, in_doubt: health.in_doubt && heeds_doubt, warming: health.recovered, ..Self::of(addresses) }
    }

    /// As it was when it was held: nothing of it turns. An address that was not known then, and is not down, is as the best
    /// of its family was; so are all where none that lived then is left.
    pub fn hold(&mut self, held: &HeldAs) {
        (self.warming, self.in_doubt) = (held.warming, false);
        for family in Family::ALL {
            let was = |address: &IpAddr| held.addresses.iter().find(|(known, _)| known == address).map(|(_, was)| *was);
            let best = held.addresses.iter().filter(|(known, _)| family.holds(known)).map(|(_, was)| *was).min();
            let lives = |(address, _): &(IpAddr, State)| was(address).is_some_and(|was| was < State::Down);
            let stays = best == Some(State::Down) || self.in_family(family).any(|present| lives(&present));
            for (address, state) in self.addresses.iter_mut().filter(|(address, _)| family.holds(address)) {
                *state = match was(address).filter(|_| stays) {
                    Some(was) => was,
                    None if *state < State::Down => best.unwrap_or(*state),
                    None => State::Down,
                };
            }
        }
    }

    /// How long an answer with it may be kept, in a plan of that policy.
    pub(super) fn ttl(&self, policy: &Policy) -> u32 {
        let doubt = u32::try_from(policy.ttl_doubt.as_secs()).unwrap_or(u32::MAX);
        if self.in_doubt { self.ttl.min(doubt) } else { self.ttl }
    }

    /// Is any address of it not down?
    #[must_use]
    pub fn lives(&self) -> bool {
        self.addresses.iter().any(|(_, state)| *state != State::Down)
    }

    /// The best state among the addresses of `family`; none where it must not be answered: it has no such address, or
    /// is forced down.
    #[must_use]
    pub fn state(&self, family: Family) -> Option<State> {
        self.in_family(family).map(|(_, state)| state).min()
    }

    /// How it may be used now in a plan of that policy.
    #[must_use]
    pub fn usage(&self, family: Family, policy: &Policy, now: Timestamp) -> Option<Usage> {
        let draining = match self.hand {
            Hand::Drained { since, over } => Some((age(since, now), over)),
            Hand::Off | Hand::Up | Hand::Down => None,
        };
        let warming = self.warming_for(family, policy, now);
        Some(Usage::new(self.state(family)?, Phase { warming, draining }, policy))
    }

    /// How long it has been coming back to clients of a family, in a plan of that policy; none: it does not.
    #[must_use]
    pub fn warming_for(&self, family: Family, policy: &Policy, now: Timestamp) -> Option<Duration> {
        let returned = self.returned.iter().map(|returned| returned.age(policy, now));
        self.warming.of(family).map(|since| age(since, now)).into_iter().chain(returned).min()
    }

    /// The addresses of `family` to answer with: those that are not down, or all where all are
    /// (BEHAVIOUR rule 17).
    #[must_use]
    pub fn answerable(&self, family: Family) -> Vec<IpAddr> {
        let living: Vec<IpAddr> =
            self.in_family(family).filter(|&(_, state)| state != State::Down).map(|(address, _)| address).collect();
        if living.is_empty() { self.in_family(family).map(|(address, _)| address).collect() } else { living }
    }

    fn in_family(&self, family: Family) -> impl Iterator<Item = (IpAddr, State)> {
        let addresses = if self.hand == Hand::Down { &[][..] } else { &self.addresses };
        addresses.iter().copied().filter(move |(address, _)| family.holds(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_fails_alone_leaves_the_answer() {
        let (a, b): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let standing = |states: [State; 2]| Standing::of(vec![(a, states[0]), (b, states[1])]);
        let one = standing([State::Down, State::Up]);
        assert_eq!((one.state(Family::V4), one.answerable(Family::V4)), (Some(State::Up), vec![b]));
        let none = standing([State::Down, State::Down]);
        assert_eq!((none.state(Family::V4), none.answerable(Family::V4)), (Some(State::Down), vec![a, b]));
        assert_eq!((none.state(Family::V6), none.answerable(Family::V6)), (None, vec![]));
    }

    #[test]
    fn who_is_held_answers_with_the_addresses_that_it_had() {
        let addresses = ["192.0.2.1", "192.0.2.2", "192.0.2.3", "2001:db8::1"].map(|text| text.parse().unwrap());
        let [a, b, new, six]: [IpAddr; 4] = addresses;
        let held = HeldAs { addresses: vec![(a, State::Up), (b, State::Down)], warming: Recovered::default() };
        let stands = |found: &[(IpAddr, State)], held: &HeldAs| {
            let mut standing = Standing { in_doubt: true, ..Standing::of(found.to_vec()) };
            standing.hold(held);
            assert!(!standing.in_doubt);
            (standing.answerable(Family::V4), standing.state(Family::V4), standing.state(Family::V6))
        };
        let turned = [(a, State::Down), (b, State::Up), (new, State::Unknown), (six, State::Down)];
        assert_eq!(Standing::of(turned.to_vec()).answerable(Family::V4), [b, new]);
        let (up, down) = (Some(State::Up), Some(State::Down));
        assert_eq!(stands(&turned, &held), (vec![a, new], up, down), "of the other family it had none: as found");
        assert_eq!(stands(&[(a, State::Down), (new, State::Down)], &held), (vec![a], up, None), "a dead new one");
        assert_eq!(stands(&[(b, State::Up)], &held), (vec![b], up, None), "none that lived is left");
        assert_eq!(stands(&[(new, State::Down)], &held), (vec![new], down, None), "there is nothing else");
        let dead = HeldAs { addresses: vec![(a, State::Down)], ..held };
        assert_eq!(stands(&[(a, State::Up)], &dead), (vec![a], down, None), "nor does it come back");
    }

    #[test]
    fn a_family_that_comes_back_alone_does_so_by_steps_alone() {
        let at = Timestamp::new(1_000_000, 0).unwrap();
        let addresses = ["192.0.2.1", "2001:db8::1"].map(|address| (address.parse().unwrap(), State::Up));
        let standing = Standing { warming: [None, Some(at)].into(), ..Standing::of(addresses.into()) };
        let policy = Policy { warmup: Duration::from_secs(240), ..Policy::nearest() };
        let kept = Family::ALL.map(|family| standing.usage(family, &policy, at).unwrap().kept);
        assert_eq!(kept, [256, 26]);
    }

    #[test]
    fn who_is_given_back_goes_on_where_its_drain_was_by_each_policy() {
        let at = |seconds| Timestamp::new(1_000_000 + seconds, 0).unwrap();
        let seconds = Duration::from_secs;
        let policy = |drain, warmup| Policy { drain: seconds(drain), warmup: seconds(warmup), ..Policy::nearest() };
        let kept = |standing: &Standing, policy: &Policy, now| {
            standing.usage(Family::V4, policy, at(now)).map(|usage| usage.kept)
        };
        let one = Standing::of(vec![("192.0.2.1".parse().unwrap(), State::Up)]);
        let back =
            |drained: Option<i64>, then| Returned { at: at(then), drained: drained.map(|since| (at(since), None)) };
        // 75, 50, 25, 10 % by the minute, and of the slower plan by ten minutes.
        let (quick, slow) = (policy(240, 240), policy(2400, 2400));
        let undrained = Standing { returned: vec![back(Some(0), 130)], ..one.clone() };
        assert_eq!((kept(&undrained, &quick, 130), kept(&undrained, &quick, 190)), (Some(64), Some(128)));
        assert_eq!(kept(&undrained, &slow, 130), Some(192), "three quarters have not left it");
        let forced = Standing { returned: vec![back(None, 130)], ..one.clone() };
        assert_eq!(kept(&forced, &quick, 130), Some(26));
        // Drained altogether, back, and at once drained and given back again.
        let twice = Standing { returned: vec![back(Some(0), 500), back(Some(505), 510)], ..one };
        assert_eq!((kept(&twice, &quick, 510), kept(&twice, &quick, 560)), (Some(26), Some(64)));
    }
}
