//! How far an endpoint's ramp has come, for `/status`.

use jiff::Timestamp;
use serde::Serialize;

use crate::config::MAX_RAMP;
use crate::model::{ALL_PARTS, EndpointId, Family};
use crate::steer::{Step, age};
use crate::table::{Hand, Snapshot};

/// A ramp: clients come back or leave by steps.
#[derive(Clone, Debug, Serialize)]
pub struct RampStatus {
    /// `warming` or `draining`
    pub phase: &'static str,
    /// The part of its clients that it has, 0..=1, by the service and address family that are furthest behind.
    pub share: f64,
    /// When the last step is taken, by the slowest of its services.
    pub ends: Timestamp,
}

impl RampStatus {
    pub(super) fn of(snapshot: &Snapshot, endpoint: EndpointId) -> Option<Self> {
        let standing = snapshot.standing(endpoint);
        let (now, plans) = (Timestamp::now(), &snapshot.parts.config.plans);
        let returned = standing.returned.iter().map(|returned| returned.at).max();
        let begun = match standing.hand {
            Hand::Drained { since, .. } => since,
            // Who is down has no clients to come back.
            _ if !standing.lives() => return None,
            _ => standing.warming.last().max(returned)?,
        };
        if age(begun, now) > MAX_RAMP {
            return None; // without a look at all plans
        }
        let policies = plans.iter().filter(|plan| plan.members.contains(&endpoint)).map(|plan| &plan.policy);
        let (mut kept, mut ends) = (ALL_PARTS, None);
        for policy in policies {
            let (step, since, over) = match standing.hand {
                Hand::Drained { since, over } => {
                    let over = over.unwrap_or(policy.drain);
                    (Step::falling(age(since, now), over), age(since, now), over)
                }
                _ => {
                    let families = Family::ALL.into_iter().filter(|family| standing.state(*family).is_some());
                    let ages = families.filter_map(|family| standing.warming_for(family, policy, now));
                    let Some(since) = ages.min() else { continue };
                    (Step::rising(since, policy.warmup), since, policy.warmup)
                }
            };
            kept = kept.min(step.kept);
            ends = ends.max(over.checked_sub(since).filter(|left| !left.is_zero()));
        }
        let phase = if matches!(standing.hand, Hand::Drained { .. }) { "draining" } else { "warming" };
        let ends = now.checked_add(ends?).ok()?;
        Some(Self { phase, share: f64::from(kept) / f64::from(ALL_PARTS), ends })
    }
}
