//! Orders that differ only in what no set of failures can show are one.
//!
//! Members that tie with one another and with the same others share their clients whichever of them is
//! faster. So two neighbours in an order may change places if every budget reaches equally far from both,
//! none ends between them, and whenever both can answer both do. In each run of such neighbours the
//! members come in their own order: locations that lie nearer to the one or to the other of two clouds in
//! one city then have one order, and addresses around them one leaf.

use super::order::{OrderBuf, Shape, Writer};
use super::settle::room;
use crate::model::{Plan, Spread};

/// Makes the order in `octets` one that settles alike and that is the same for all that do so by the rule
/// above. In a multivalue answer the order shows: there it stays.
pub(super) fn merge(plan: &Plan, shape: Shape, octets: &mut [u8]) {
    if matches!(plan.policy.spread, Spread::Multivalue(_)) {
        return;
    }
    let mut order = Writer::of(shape, octets);
    if order.tie().iter().enumerate().all(|(rank, last)| usize::from(*last) == rank) {
        return;
    }
    let mut fixed = [false; 256];
    mark(order.tie(), &mut fixed);
    for (rank, &last) in order.tie().iter().enumerate() {
        // Who has less than `room` before it in the tie answers, wherever it stands among those.
        let (from, last) = (rank + room(plan) - 1, usize::from(last));
        fixed[from.min(last)..last].fill(true);
    }
    if shape.by_cost() {
        mark(order.budget(), &mut fixed);
    }
    for index in 0..order.preferences() {
        mark(order.reach(index), &mut fixed);
    }
    let count = order.ranks().len();
    let mut start = 0;
    for end in 1..=count {
        if end == count || fixed[end - 1] {
            order.sort(start..end);
            start = end;
        }
    }
}

/// Fixes the ranks that may not change places with the next one, as far as this budget goes.
fn mark(reach: &[u8], fixed: &mut [bool; 256]) {
    for (rank, pair) in reach.windows(2).enumerate() {
        fixed[rank] |= pair[0] != pair[1];
        fixed[usize::from(pair[0])] = true;
    }
}

impl OrderBuf {
    /// The order that the compiler keeps for all that settle alike.
    #[must_use]
    pub fn merged(&self, plan: &Plan) -> Self {
        let mut merged = self.clone();
        merge(plan, merged.shape, &mut merged.octets);
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Policy;

    fn plan(spread: Spread) -> Plan {
        Plan { members: Vec::new(), policy: Policy { spread, ..Policy::nearest() } }
    }

    /// The ranks of the order with these ranks and ties, once merged.
    fn merged<const N: usize>(spread: Spread, ranks: [u8; N], tie: [u8; N]) -> [u8; N] {
        let shape = Shape::new(N, false, 0);
        let mut octets = vec![0; shape.stride()];
        let mut order = Writer::new(shape, N, &mut octets);
        order.ranks().copy_from_slice(&ranks);
        order.tie().copy_from_slice(&tie);
        merge(&plan(spread), shape, &mut octets);
        Writer::of(shape, &mut octets).ranks().try_into().unwrap()
    }

    #[test]
    fn neighbours_change_places_where_nothing_shows_it() {
        let sticky = |ranks, tie| merged(Spread::Sticky, ranks, tie);
        assert_eq!(sticky([3, 2, 1, 0], [0, 1, 2, 3]), [3, 2, 1, 0], "none ties");
        assert_eq!(sticky([3, 2, 1, 0], [1, 1, 3, 3]), [2, 3, 0, 1]);
        assert_eq!(sticky([3, 2, 1, 0], [3, 3, 3, 3]), [0, 1, 2, 3]);
        assert_eq!(sticky([3, 2, 1, 0], [2, 3, 3, 3]), [3, 1, 2, 0], "0 does not tie with 3, 1 and 2 with both");
        assert_eq!(sticky([3, 2, 1, 0], [1, 2, 3, 3]), [3, 2, 1, 0], "each ties with others");
        assert_eq!(merged(Spread::Sticky, [4, 3, 2, 1, 0], [4; 5]), [1, 2, 3, 4, 0], "four of five answer");
        assert_eq!(merged(Spread::Multivalue(2), [3, 2, 1, 0], [3, 3, 3, 3]), [3, 2, 1, 0], "the answer shows it");
    }
}
