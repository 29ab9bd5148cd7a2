//! What can be wrong with a plan as a whole, though each of its words is good.

use std::collections::HashSet;
use std::sync::Arc;

use super::report::{At, Report};
use super::services::{PolicySpec, ServiceSpec, Services, Steered};
use super::zones::Zones;
use crate::model::{
    Endpoint, Family, FenceMask, FenceUnknown, Member, Name, PlaceSet, Plan, PlanId, Severity, WhenNone,
};

/// Something wrong with a plan, to be said at each service that has it.
struct Fault {
    severity: Severity,
    code: &'static str,
    place: FaultPlace,
    message: String,
    help: String,
}

/// Which words of the service it is about.
#[derive(Clone, Copy)]
enum FaultPlace {
    Name,
    Fence(usize),
    /// The same, but nothing is said where the fence has `clouds` or `endpoints`: that was chosen by hand.
    BroadFence(usize),
    WhenNone,
}

/// What plans are checked against.
pub(super) struct Checker<'c> {
    pub(super) report: &'c Report<'c>,
    pub(super) endpoints: &'c [Endpoint],
    pub(super) fence_places: &'c [PlaceSet],
    pub(super) combinations: &'c [FenceMask],
    pub(super) defaults: &'c PolicySpec<'c>,
    /// Probes that are soft signals, or may give one.
    pub(super) soft_probes: &'c HashSet<Arc<str>>,
    pub(super) max_soft_down: f64,
}

impl Checker<'_> {
    /// Reports the faults of each service's plan: errors at each service, warnings at the first.
    pub(super) fn check(&self, typed: &Services<'_>, services: &[Steered], plans: &[Plan]) {
        let faults: Vec<Vec<Fault>> = plans.iter().map(|plan| self.faults(plan)).collect();
        let mut warned: HashSet<PlanId> = HashSet::new();
        for (index, service) in services.iter().enumerate() {
            let Ok(service) = &service.meaning else { continue };
            let (first, faults) = (warned.insert(service.plan), &faults[service.plan.index()]);
            let severe = |fault: &Fault| first || fault.severity == Severity::Error;
            if faults.iter().any(severe) {
                typed.one(index, self.report, |spec| faults.iter().for_each(|fault| self.say(fault, spec, first)));
            }
        }
    }

    fn say(&self, fault: &Fault, spec: &ServiceSpec<'_>, first: bool) {
        let fence = |index: usize| spec.fences.as_ref()?.get(index);
        let span = match fault.place {
            FaultPlace::Name => spec.name.as_ref().map(|at| &at.span),
            FaultPlace::Fence(index) => fence(index).map(|fence| &fence.inside.span),
            FaultPlace::BroadFence(index) => {
                fence(index).filter(|fence| fence.narrowed.is_empty()).map(|fence| &fence.inside.span)
            }
            FaultPlace::WhenNone => {
                spec.policy.when_none.as_ref().or(self.defaults.when_none.as_ref()).map(|at| &at.span)
            }
        };
        let Some(span) = span else { return };
        let message = format!("`{}`: {}", spec.label, fault.message);
        match fault.severity {
            Severity::Error => self.report.error_help(fault.code, span, message, Some(fault.help.clone())),
            Severity::Warning if first => self.report.warning(fault.code, span, message, fault.help.clone()),
            Severity::Warning => {}
        }
    }

    fn faults(&self, plan: &Plan) -> Vec<Fault> {
        let empty = self.empty_groups(plan);
        if !empty.is_empty() {
            return empty; // the rest would say the same in other words
        }
        let mut faults = self.family_faults(plan);
        faults.extend(self.when_none_faults(plan));
        faults.extend((0..plan.policy.fences.len()).filter_map(|index| self.one_cloud(plan, index)));
        faults.extend(self.deaf_to_soft(plan));
        faults
    }

    /// Clients that would have no endpoint at all: under several fences at once, or of unknown place.
    fn empty_groups(&self, plan: &Plan) -> Vec<Fault> {
        let mut faults = Vec::new();
        if plan.allowed_unknown().is_empty() {
            faults.push(Fault {
                severity: Severity::Error,
                code: "fence-unknown-empty",
                place: FaultPlace::Name,
                message: "no endpoint is inside all fences, so clients of unknown place would have none".to_owned(),
                help: "say where they go: `fence_unknown = \"SET\"`, a set that holds some endpoint".to_owned(),
            });
        }
        let mut seen = HashSet::new();
        for mask in self.combinations {
            let applying = self.applying(plan, *mask);
            if applying.len() > 1 && plan.allowed(*mask).next().is_none() && seen.insert(applying.clone()) {
                let names: Vec<&str> = applying.iter().map(|&index| self.label(plan, index)).collect();
                faults.push(Fault {
                    severity: Severity::Error,
                    code: "fence-leaves-none",
                    place: FaultPlace::Fence(applying[applying.len() - 1]),
                    message: format!("clients that are in {} at once have no endpoint", names.join(" and ")),
                    help: "all fences that apply to a client hold at once: let them share an endpoint".to_owned(),
                });
            }
        }
        faults
    }

    /// The fences that apply under `mask`, by index.
    fn applying(&self, plan: &Plan, mask: FenceMask) -> Vec<usize> {
        let fences = plan.policy.fences.iter().enumerate();
        fences.filter(|(_, fence)| mask.contains(fence.place)).map(|(index, _)| index).collect()
    }

    fn label(&self, plan: &Plan, fence: usize) -> &str {
        &self.fence_places[plan.policy.fences[fence].place].label
    }

    fn family_faults(&self, plan: &Plan) -> Vec<Fault> {
        let complete = Family::ALL.map(|family| plan.has_family(family, self.endpoints, self.combinations));
        let none = !complete.contains(&true);
        let mut faults = Vec::new();
        for family in Family::ALL {
            let some = (0..plan.members.len()).any(|member| self.counts_for(plan, Member::at(member), family));
            if complete[family as usize] || !some {
                continue;
            }
            let (word, record) = if family == Family::V4 { ("IPv4", "A") } else { ("IPv6", "AAAA") };
            let (place, who) = self.without(plan, family);
            faults.push(Fault {
                severity: if none { Severity::Error } else { Severity::Warning },
                code: if none { "no-family" } else { "family-incomplete" },
                place,
                message: format!("{who} keep no endpoint with an {word} address, so nobody gets {record} records"),
                help: format!("give an endpoint there an {word} address"),
            });
        }
        faults
    }

    /// Clients that have no endpoint of `family`.
    fn without(&self, plan: &Plan, family: Family) -> (FaultPlace, String) {
        let lacks = |mask: &&FenceMask| !plan.allowed(**mask).any(|member| self.counts_for(plan, member, family));
        let applying = self.combinations.iter().find(lacks).map(|mask| self.applying(plan, *mask));
        match applying.as_deref() {
            Some([.., last]) => {
                let labels = applying.iter().flatten().map(|&index| self.label(plan, index));
                let labels = labels.collect::<Vec<_>>().join(" and ");
                (FaultPlace::Fence(*last), format!("clients in {labels}"))
            }
            _ => (FaultPlace::Name, "clients of unknown place".to_owned()),
        }
    }

    fn counts_for(&self, plan: &Plan, member: Member, family: Family) -> bool {
        self.endpoint(plan, member).counts_for(family)
    }

    fn endpoint(&self, plan: &Plan, member: Member) -> &Endpoint {
        &self.endpoints[plan.members[member.index()].index()]
    }

    fn when_none_faults(&self, plan: &Plan) -> Vec<Fault> {
        let fault = |severity, code, message: String, help: &str| Fault {
            severity,
            code,
            place: FaultPlace::WhenNone,
            message,
            help: help.to_owned(),
        };
        match plan.policy.when_none {
            WhenNone::IgnoreHealth => Vec::new(),
            WhenNone::Endpoint(member) => self.refuge_faults(plan, member, fault),
            WhenNone::Servfail | WhenNone::Nodata if plan.policy.fences.is_empty() => Vec::new(),
            WhenNone::Servfail | WhenNone::Nodata => {
                let message =
                    "an outage inside one fence alone leaves its clients no answer, which caches then give to others";
                let help = "`ignore_health` keeps answering inside the fence";
                vec![fault(Severity::Warning, "when-none-in-fences", message.to_owned(), help)]
            }
        }
    }

    /// The endpoint of `when_none` serves everyone: it is inside every fence and has every family.
    fn refuge_faults(
        &self,
        plan: &Plan,
        member: Member,
        fault: impl Fn(Severity, &'static str, String, &str) -> Fault,
    ) -> Vec<Fault> {
        let name = &self.endpoint(plan, member).name;
        let mut faults = Vec::new();
        for (index, fence) in plan.policy.fences.iter().enumerate() {
            if !fence.members.contains(&member) {
                let message = format!("`when_none` names `{name}`, outside the fence of {}", self.label(plan, index));
                let help = "name an endpoint inside every fence, or use `ignore_health`";
                faults.push(fault(Severity::Error, "when-none-outside-fence", message, help));
            }
        }
        if matches!(&plan.policy.fence_unknown, FenceUnknown::Set(allowed) if !allowed.contains(&member)) {
            let message = format!("`when_none` names `{name}`, outside `fence_unknown`");
            let help = "name an endpoint inside it, or use `ignore_health`";
            faults.push(fault(Severity::Error, "when-none-outside-fence", message, help));
        }
        for family in Family::ALL {
            let has = plan.has_family(family, self.endpoints, self.combinations);
            if has && !self.counts_for(plan, member, family) {
                let word = if family == Family::V4 { "IPv4" } else { "IPv6" };
                let message = format!("`when_none` names `{name}`, which has no {word} address");
                let help = "the others have one, and which types exist must not depend on health";
                faults.push(fault(Severity::Error, "when-none-lacks-family", message, help));
            }
        }
        faults
    }

    /// So few endpoints that each is more than soft signals may take out, so that they count for none of them, in any service
    /// (rule 15).
    fn deaf_to_soft(&self, plan: &Plan) -> Option<Fault> {
        let capacities = plan.capacities(self.endpoints);
        let is_soft = |member: &&Member| {
            self.endpoint(plan, **member).probes.iter().any(|probe| self.soft_probes.contains(probe))
        };
        let least = |members: Vec<Member>| {
            let all: f64 = members.iter().map(|member| capacities[member.index()]).sum();
            let of_soft = members.iter().filter(is_soft).map(|member| capacities[member.index()] / all);
            let least = of_soft.min_by(f64::total_cmp).filter(|least| *least > self.max_soft_down + 1e-9)?; // decimals
            Some((members, least))
        };
        let sets = plan.fenced_sets(self.combinations).into_iter().filter(|set| set.len() > 1);
        let (members, least) = sets.filter_map(least).next()?;
        let names: Vec<&str> = members.iter().map(|member| &*self.endpoint(plan, *member).name).collect();
        let (percent, max) = ((least * 100.0).round(), self.max_soft_down);
        Some(Fault {
            severity: Severity::Warning,
            code: "soft-never-counts",
            place: FaultPlace::Name,
            message: format!(
                "some of its clients have {} alone, of which each is {percent} % of the capacity or more: with `max_soft_down` \
                 {max}, `metric` probes and `slow` never count for these, in any service",
                names.join(" and ")
            ),
            help: format!(
                "add endpoints there, or raise `max_soft_down` in [health] to {}",
                (least * 100.0).ceil() / 100.0
            ),
        })
    }

    /// A fence whose endpoints are all of one cloud (rule 4).
    fn one_cloud(&self, plan: &Plan, index: usize) -> Option<Fault> {
        let members = &plan.policy.fences[index].members;
        let cloud = &self.endpoint(plan, members[0]).site.cloud;
        let same = members.iter().all(|member| self.endpoint(plan, *member).site.cloud == *cloud);
        let place = self.label(plan, index);
        same.then(|| Fault {
            severity: Severity::Warning,
            code: "fence-on-one-cloud",
            place: FaultPlace::BroadFence(index),
            message: format!(
                "the fence of {place} rests on {cloud} alone: when {cloud} fails there, its clients have nothing"
            ),
            help: format!("add an endpoint of another cloud there, or say that you mean it: `clouds = [\"{cloud}\"]`"),
        })
    }
}

/// Reports hostnames that would lead back to us, or nowhere (rule 26).
pub(super) fn check_hostname(hostname: &At<Name>, is_service: bool, zones: &Zones, report: &Report<'_>) {
    let name = &hostname.value;
    let localhost: Name = "localhost".parse().expect("a name");
    let (why, help) = if is_service {
        ("is a service of ours", "name the cloud's host, not the steered name")
    } else if zones.holding(name).is_some() {
        ("lies in a zone of ours", "write its `addresses` instead")
    } else if name.is_at_or_below(&localhost) {
        ("is loopback (RFC 6761 §6.3)", "name a host that clients can reach")
    } else {
        return;
    };
    report.error_help("own-hostname", &hostname.span, format!("`hostname` `{name}` {why}"), Some(help.to_owned()));
}
