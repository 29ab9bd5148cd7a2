//! Plan tries: the busiest plans look addresses up in a trie of their own, whose leaves are their orders.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;

use super::ranking::{Ranking, Rankings};
use crate::geo::{Geo, Merged};

/// How much a plan is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Demand {
    /// Queries so far.
    pub(super) queries: u64,
    /// Services that share it.
    pub(super) services: usize,
}

/// Tries by the ranking that they were made from.
#[derive(Debug, Default)]
pub(super) struct Tries {
    by_ranking: HashMap<*const Ranking, Arc<Merged>>,
}

impl Tries {
    /// Those that a plan has.
    pub(super) fn add(&mut self, rankings: &Rankings, tries: &[Option<Arc<Merged>>; 2]) {
        for (ranking, trie) in rankings.iter().zip(tries) {
            if let Some(trie) = trie {
                self.by_ranking.insert(Arc::as_ptr(ranking), trie.clone());
            }
        }
    }

    /// The trie of a ranking.
    pub(super) fn of(&self, ranking: &Arc<Ranking>) -> Option<Arc<Merged>> {
        self.by_ranking.get(&Arc::as_ptr(ranking)).cloned()
    }

    /// Tries for the plans that are asked for most, then those of most services, until the next one does not
    /// fit into `memory` octets. Those of `before` are used again; both hold the rankings that their keys
    /// point to.
    pub(super) fn build(
        geo: &Geo,
        memory: u64,
        plans: impl Iterator<Item = (Demand, Rankings)>,
        before: &Self,
    ) -> Self {
        let mut plans: Vec<_> = plans.collect();
        plans.sort_by_key(|(demand, _)| Reverse(*demand)); // stable, so of equal ones the first
        let (mut tries, mut left) = (Self::default(), memory);
        // Where less is left than the smallest took so far, none is made only to be thrown away.
        let mut least = None;
        for ranking in plans.iter().flat_map(|(_, rankings)| rankings) {
            if tries.of(ranking).is_some() {
                continue;
            }
            if left < least.unwrap_or(1) {
                break;
            }
            let trie = before.of(ranking).unwrap_or_else(|| Arc::new(geo.merged(&ranking.values(geo))));
            let octets = trie.octets() as u64;
            let Some(rest) = left.checked_sub(octets) else { break };
            least = Some(least.map_or(octets, |least: u64| least.min(octets)));
            left = rest;
            tries.by_ranking.insert(Arc::as_ptr(ranking), trie);
        }
        tries
    }
}
