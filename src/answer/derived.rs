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

    /// The derived location that its address lies in.
    #[inline(always)]
    pub(super) fn near(&self, space: &Subnets) -> Near {
        match self.is_v6 {
            false => space.near_v4(self.address as u32),
            true => space.near_v6(self.address),
        }
    }

    /// Begins to fetch what [`Self::derived`] reads, between passes 2 and 3.
    #[inline(always)]
    pub(super) fn fetch_order(&self, snapshot: &Snapshot, space: &Subnets, line: &HotLine) {
        if self.is_v6 {
            space.begin_v6(self.address);
        } else if let Some(subnet) = self.near(space).subnet {
            let location = snapshot.parts.measured.location(subnet);
            snapshot.plan_table(line.plan()).prefetch_order(self.family(), location);
        }
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
