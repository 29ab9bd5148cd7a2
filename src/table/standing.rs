//! How the endpoints stand: what health says, in the form that the compiler reads.

use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::plan::HeldMember;
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

    /// How it may be used now in a plan of that policy; as it was when it was `held`, if it is.
    #[must_use]
    pub fn usage(&self, family: Family, policy: &Policy, held: Option<HeldMember>, now: Timestamp) -> Option<Usage> {
        let draining = match self.hand {
            Hand::Drained { since, over } => Some((age(since, now), over)),
            Hand::Off | Hand::Up | Hand::Down => None,
        };
        let state = self.state(family)?;
        let (state, warming) = match held {
            Some(held) if self.hand != Hand::Up => {
                (held.states[family as usize].unwrap_or(state), held.warming.of(family).map(|since| age(since, now)))
            }
            _ => (state, self.warming_for(family, policy, now)),
        };
        Some(Usage::new(state, Phase { warming, draining }, policy))
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
    fn a_family_that_comes_back_alone_does_so_by_steps_alone() {
        let at = Timestamp::new(1_000_000, 0).unwrap();
        let addresses = ["192.0.2.1", "2001:db8::1"].map(|address| (address.parse().unwrap(), State::Up));
        let standing = Standing { warming: [None, Some(at)].into(), ..Standing::of(addresses.into()) };
        let policy = Policy { warmup: Duration::from_secs(240), ..Policy::nearest() };
        let kept = Family::ALL.map(|family| standing.usage(family, &policy, None, at).unwrap().kept);
        assert_eq!(kept, [256, 26]);
    }

    #[test]
    fn who_is_given_back_goes_on_where_its_drain_was_by_each_policy() {
        let at = |seconds| Timestamp::new(1_000_000 + seconds, 0).unwrap();
        let seconds = Duration::from_secs;
        let policy = |drain, warmup| Policy { drain: seconds(drain), warmup: seconds(warmup), ..Policy::nearest() };
        let kept = |standing: &Standing, policy: &Policy, now| {
            standing.usage(Family::V4, policy, None, at(now)).map(|usage| usage.kept)
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
