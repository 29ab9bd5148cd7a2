//! How the endpoints stand: what health says, in the form that the compiler reads.

use std::net::IpAddr;

use crate::model::{Addresses, Endpoint, Family, State};

/// One endpoint's addresses and what health says of each.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Fixed or resolved, in the order of the configuration or the resolver.
    pub addresses: Vec<(IpAddr, State)>,
    /// Upper bound on the TTL of answers with these addresses, in seconds; `u32::MAX` where fixed.
    pub ttl: u32,
}

impl Standing {
    /// An endpoint with fixed addresses, all in one state; without addresses for a hostname.
    #[must_use]
    pub fn all(endpoint: &Endpoint, state: State) -> Self {
        let addresses = match &endpoint.addresses {
            Addresses::Fixed(addresses) => addresses.iter().map(|&address| (address, state)).collect(),
            Addresses::Hostname(_) => Vec::new(),
        };
        Self { addresses, ttl: u32::MAX }
    }

    /// The best state among the addresses of `family`; none without any: it cannot be answered.
    #[must_use]
    pub fn state(&self, family: Family) -> Option<State> {
        self.of(family).map(|(_, state)| state).min()
    }

    /// The addresses of `family` to answer with: those that are not down, or all where all are
    /// (BEHAVIOUR rule 17).
    #[must_use]
    pub fn answerable(&self, family: Family) -> Vec<IpAddr> {
        let living: Vec<IpAddr> =
            self.of(family).filter(|&(_, state)| state != State::Down).map(|(address, _)| address).collect();
        if living.is_empty() { self.of(family).map(|(address, _)| address).collect() } else { living }
    }

    fn of(&self, family: Family) -> impl Iterator<Item = (IpAddr, State)> {
        self.addresses.iter().copied().filter(move |(address, _)| family.holds(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_fails_alone_leaves_the_answer() {
        let (a, b): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "192.0.2.2".parse().unwrap());
        let standing = |states: [State; 2]| Standing { addresses: vec![(a, states[0]), (b, states[1])], ttl: u32::MAX };
        let one = standing([State::Down, State::Up]);
        assert_eq!((one.state(Family::V4), one.answerable(Family::V4)), (Some(State::Up), vec![b]));
        let none = standing([State::Down, State::Down]);
        assert_eq!((none.state(Family::V4), none.answerable(Family::V4)), (Some(State::Down), vec![a, b]));
        assert_eq!((none.state(Family::V6), none.answerable(Family::V6)), (None, vec![]));
    }
}
