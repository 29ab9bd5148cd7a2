//! The steps of a batched answer from a derived location.

use super::plain::Plain;
use crate::geo::{Near, Subnets};
use crate::table::{HotLine, PlanTable, Snapshot};

impl Plain {
    /// Begins to fetch what [`Self::near`] reads: in pass 1.
    #[inline(always)]
    pub(super) fn prefetch_near(&self, space: &Subnets) {
        match self.is_v6 {
            false => space.prefetch_v4(self.address as u32),
            true => space.prefetch_v6(self.address),
        }
    }

    /// What its address lies in, found before pass 3 where it is of IPv4; begins to fetch what [`Self::derived`] reads.
    #[inline(always)]
    pub(super) fn begin_near(&self, snapshot: &Snapshot, space: &Subnets, line: &HotLine) -> Near {
        if self.is_v6 {
            space.begin_v6(self.address);
            return Near::default();
        }
        let near = space.near_v4(self.address as u32);
        if let Some(subnet) = near.subnet {
            let location = snapshot.parts.measured.location(subnet);
            snapshot.plan_table(line.plan()).prefetch_order(self.family(), location);
        }
        near
    }

    /// The same in pass 4.
    #[inline(always)]
    pub(super) fn finish_near(&self, space: &Subnets, begun: Near) -> Near {
        if self.is_v6 { space.near_v6(self.address) } else { begun }
    }

    /// The order of a derived location, and whether it is located, as a trie says it. Apart, so that answers from others keep
    /// their registers.
    #[inline(never)]
    pub(super) fn derived(&self, snapshot: &Snapshot, line: &HotLine, subnet: u32) -> u32 {
        let measured = &snapshot.parts.measured;
        let order = snapshot.plan_table(line.plan()).order(self.family(), measured.location(subnet));
        PlanTable::encode(order, measured.is_located(subnet))
    }
}
