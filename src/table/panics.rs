//! Panic of a plan: by each set of members that some fence leaves.

use jiff::Timestamp;

use super::ranking::MemberSet;
use crate::model::{Endpoint, Plan, Policy, State};
use crate::steer::{Panic, Usage};

/// By set of a ranking.
pub(super) type Panics = Box<[Panic]>;

/// What each member can carry; where that is not said, the mean of the others.
pub(super) struct Capacities(Vec<f64>);

impl Capacities {
    pub(super) fn of(plan: &Plan, endpoints: &[Endpoint]) -> Self {
        let typed = || plan.members.iter().map(|id| endpoints[id.index()].capacity.map(|capacity| capacity.max));
        let (sum, count) = typed().flatten().fold((0.0, 0u32), |(sum, count), capacity| (sum + capacity, count + 1));
        let mean = if count == 0 { 1.0 } else { sum / f64::from(count) };
        Self(typed().map(|capacity| capacity.unwrap_or(mean)).collect())
    }
}

/// What becomes of panic by the members' present usages.
pub(super) fn after(
    before: Option<&Panics>,
    sets: &[MemberSet],
    usages: &[Option<Usage>],
    capacities: &Capacities,
    policy: &Policy,
    now: Timestamp,
) -> Panics {
    let panic = |(index, set): (usize, &MemberSet)| {
        let before = before.map_or(Panic::default(), |before| before[index]);
        before.after(living(set, usages, capacities), policy, now)
    };
    sets.iter().enumerate().map(panic).collect()
}

/// How much of a set's capacity is not down, of what the operator's hand leaves.
fn living(set: &MemberSet, usages: &[Option<Usage>], capacities: &Capacities) -> f32 {
    let (mut living, mut all) = (0.0, 0.0);
    for (member, usage) in usages.iter().enumerate() {
        let Some(usage) = usage.filter(|usage| set[member / 64] & 1 << (member % 64) != 0 && !usage.is_drained())
        else {
            continue;
        };
        all += capacities.0[member];
        if usage.state != State::Down {
            living += capacities.0[member];
        }
    }
    if all > 0.0 { (living / all) as f32 } else { 1.0 }
}
