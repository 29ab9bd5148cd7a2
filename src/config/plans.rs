//! What services mean: their plans, each held once however many services share it.

use std::collections::{BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use super::endpoints::EndpointSpec;
use super::places::Sets;
use super::report::{At, Report, one_of, quoted};
use super::services::{Narrowed, PolicySpec, ServiceSpec, SpreadWord, WhenNoneSpec};
use super::sites::Regions;
use super::words::{did_you_mean, glob};
use super::zones::Zones;
use crate::model::{
    ALL_PARTS, Addresses, Endpoint, EndpointId, Fence, FenceUnknown, MAX_FENCES, MAX_MEMBERS, Member, Name, Place,
    PlaceSet, Plan, PlanId, Policy, Preference, Service, Spread, WhenNone, Within,
};

/// Defaults of `[defaults]`.
const TTL_SECONDS: u64 = 20;
const TTL_DOUBT: Duration = Duration::from_secs(5);
const TIE_MS: f32 = 3.0;
const MIN_GAIN_MS: f32 = 5.0;
const DEGRADED_SHARE: f64 = 0.5;
const WARMUP: Duration = Duration::from_secs(180);
const DRAIN: Duration = Duration::from_secs(120);
const PANIC_BELOW: f64 = 0.5;
const PANIC_HOLD: Duration = Duration::from_secs(60);

/// What so many patterns match is remembered; others are matched anew each time.
const MAX_PATTERNS: usize = 1000;

/// What a service is resolved against.
pub(super) struct Resolver<'c, 'a> {
    pub(super) report: &'c Report<'c>,
    pub(super) regions: &'c Regions<'a>,
    pub(super) sets: &'c Sets,
    pub(super) zones: &'c Zones,
    /// In the order of the file; none where there were errors.
    pub(super) endpoints: &'c [Option<Endpoint>],
    /// Their names; one is missing only where it has errors.
    pub(super) names: &'c Names<'c>,
    pub(super) place_declared: Vec<bool>,
    pub(super) defaults: &'c PolicySpec<'a>,
    /// What each pattern with `*` matches.
    pub(super) matches: HashMap<String, Rc<[usize]>>,
    pub(super) plans: Plans,
}

/// The names of the endpoints: a service may list ten of ten thousand, and there may be a hundred
/// thousand services.
pub(super) struct Names<'c> {
    /// In the order of the file; empty where one has errors.
    list: Vec<&'c str>,
    /// Of each name its indices: more than one only where that was reported.
    by_name: HashMap<&'c str, Rc<[usize]>>,
}

impl<'c> Names<'c> {
    pub(super) fn new(specs: &'c [EndpointSpec<'c>]) -> Self {
        let list: Vec<&str> = specs.iter().map(|spec| spec.name.as_ref().map_or("", |at| at.value)).collect();
        let mut by_name: HashMap<&str, Vec<usize>> = HashMap::new();
        list.iter().enumerate().for_each(|(index, name)| by_name.entry(name).or_default().push(index));
        Self { list, by_name: by_name.into_iter().map(|(name, indices)| (name, indices.into())).collect() }
    }

    /// Has one of them errors? Then what names no endpoint may mean that one.
    fn are_incomplete(&self) -> bool {
        self.by_name.contains_key("")
    }

    fn at(&self, index: usize) -> &'c str {
        self.list[index]
    }

    /// The endpoints that a name or a pattern with `*` means.
    fn matching(&self, pattern: &str) -> Rc<[usize]> {
        if !pattern.contains('*') {
            return self.by_name.get(pattern).cloned().unwrap_or_default();
        }
        let names = self.list.iter().enumerate();
        names.filter(|(_, name)| glob(pattern, name)).map(|(index, _)| index).collect()
    }
}

/// The plans so far.
#[derive(Default)]
pub(super) struct Plans {
    pub(super) plans: Vec<Plan>,
    pub(super) fence_places: Vec<PlaceSet>,
    by_hash: HashMap<u64, Vec<PlanId>>,
}

impl Resolver<'_, '_> {
    /// What a service means. Where it has errors, reported by now, its name alone if that is good.
    pub(super) fn resolve(&mut self, spec: &ServiceSpec<'_>) -> Result<Service, Option<Name>> {
        let zone = spec.name.as_ref().and_then(|name| self.zones.of_service(name, self.report));
        let plan = self.plan(spec);
        let ttl = spec.policy.ttl.as_ref().or(self.defaults.ttl.as_ref()).map(|at| at.value);
        let name = spec.name.as_ref().map(|at| at.value.clone());
        let (Some(name), Some(zone), Some(plan)) = (&name, zone, plan) else { return Err(name) };
        Ok(Service {
            name: name.clone(),
            label: spec.label.into(),
            zone,
            plan: self.plans.intern(plan),
            ttl: ttl.unwrap_or(Duration::from_secs(TTL_SECONDS)),
        })
    }

    fn plan(&mut self, spec: &ServiceSpec<'_>) -> Option<Plan> {
        let spread = self.spread(&spec.policy);
        let members = self.members(spec)?;
        let when_none = self.when_none(spec, &members);
        let fence_unknown = self.fence_unknown(spec, &members);
        let fences = self.fences(spec, &members);
        let preferences = self.preferences(spec, &members);
        let (own, defaults) = (&spec.policy, self.defaults);
        let leaving = typed(&own.degraded_share, &defaults.degraded_share, DEGRADED_SHARE);
        let policy = Policy {
            fences: fences?,
            fence_unknown: fence_unknown?,
            preferences: preferences?,
            cost_budget_ms: spec.cost_budget_ms,
            tie_ms: typed(&own.tie_ms, &defaults.tie_ms, TIE_MS),
            min_gain_ms: typed(&own.min_gain_ms, &defaults.min_gain_ms, MIN_GAIN_MS),
            spread: spread?,
            when_none: when_none?,
            degraded_kept: ((1.0 - leaving) * f64::from(ALL_PARTS)).round() as u16,
            warmup: typed(&own.warmup, &defaults.warmup, WARMUP),
            drain: typed(&own.drain, &defaults.drain, DRAIN),
            panic_below: typed(&own.panic_below, &defaults.panic_below, PANIC_BELOW) as f32,
            ttl_doubt: typed(&own.ttl_doubt, &defaults.ttl_doubt, TTL_DOUBT),
            panic_hold: typed(&own.panic_hold, &defaults.panic_hold, PANIC_HOLD),
        };
        Some(Plan { members: members.into_iter().map(EndpointId::at).collect(), policy })
    }

    /// Indices of the endpoints, ascending.
    fn members(&mut self, spec: &ServiceSpec<'_>) -> Option<Vec<usize>> {
        let (mut members, mut good) = (Vec::new(), true);
        for pattern in spec.endpoints.as_ref()? {
            let found = self.matching(pattern);
            good &= !found.is_empty();
            members.extend_from_slice(&found);
        }
        members.sort_unstable();
        members.dedup();
        if members.len() > MAX_MEMBERS {
            let span = &spec.endpoints.as_ref()?[0].span;
            let message = format!("a service has at most {MAX_MEMBERS} endpoints; these are {}", members.len());
            self.report.error("too-many-endpoints", span, message);
            return None;
        }
        good.then_some(members)
    }

    /// The endpoints that a name or a pattern with `*` means; reports one that means none.
    fn matching(&mut self, pattern: &At<&str>) -> Rc<[usize]> {
        if let Some(found) = self.matches.get(pattern.value) {
            return found.clone();
        }
        let found = self.names.matching(pattern.value);
        if found.is_empty() && !self.names.are_incomplete() {
            self.report_unmatched(pattern, &self.names.list);
        }
        if pattern.value.contains('*') && !found.is_empty() && self.matches.len() < MAX_PATTERNS {
            self.matches.insert(pattern.value.to_owned(), found.clone());
        }
        found
    }

    fn report_unmatched(&self, pattern: &At<&str>, names: &[&str]) {
        let typed = quoted(pattern.value);
        let names = names.iter().copied();
        let all = || Some(format!("endpoints are {}", one_of(names.clone())));
        if pattern.value.contains('*') {
            // The patterns that would match: the names up to their first hyphen.
            let groups = names.clone().filter_map(|name| name.split_once('-')).map(|(cloud, _)| format!("{cloud}-*"));
            let groups: BTreeSet<String> = groups.collect();
            let help = did_you_mean(pattern.value, groups.iter().map(String::as_str)).or_else(all);
            self.report.error_help("no-match", &pattern.span, format!("{typed} matches no endpoint"), help);
        } else {
            let help = did_you_mean(pattern.value, names.clone()).or_else(all);
            self.report.error_help("unknown-endpoint", &pattern.span, format!("there is no endpoint {typed}"), help);
        }
    }

    fn spread(&self, policy: &PolicySpec<'_>) -> Option<Spread> {
        let word = policy.spread.as_ref().or(self.defaults.spread.as_ref());
        if policy.spread_lost || (word.is_none() && self.defaults.spread_lost) {
            return None; // reported by now, and what `multivalue` is to it nobody knows
        }
        let number = policy.multivalue.as_ref().or(self.defaults.multivalue.as_ref()).map_or(1, |at| at.value);
        let typed = policy.multivalue.as_ref().filter(|at| at.value > 1);
        match (word.map_or(SpreadWord::Sticky, |at| at.value), word, typed) {
            (SpreadWord::Multivalue, Some(word), _) if number < 2 => {
                let help = Some("add `multivalue = 2`, or as many endpoints as an answer is to hold".to_owned());
                let message = "`spread = \"multivalue\"` needs `multivalue`, from 2";
                self.report.error_help("bad-value", &word.span, message, help);
                None
            }
            (SpreadWord::Multivalue, ..) => Some(Spread::Multivalue(number)),
            (_, _, Some(typed)) => {
                let help = Some("add `spread = \"multivalue\"`, or leave it out".to_owned());
                let message = "`multivalue` acts only with `spread = \"multivalue\"`";
                self.report.error_help("bad-value", &typed.span, message, help);
                None
            }
            (SpreadWord::Random, ..) => Some(Spread::Random),
            (SpreadWord::Sticky, ..) => Some(Spread::Sticky),
        }
    }

    fn when_none(&self, spec: &ServiceSpec<'_>, members: &[usize]) -> Option<WhenNone> {
        let Some(typed) = spec.policy.when_none.as_ref().or(self.defaults.when_none.as_ref()) else {
            return Some(WhenNone::IgnoreHealth);
        };
        match typed.value {
            WhenNoneSpec::IgnoreHealth => Some(WhenNone::IgnoreHealth),
            WhenNoneSpec::Servfail => Some(WhenNone::Servfail),
            WhenNoneSpec::Nodata => Some(WhenNone::Nodata),
            WhenNoneSpec::Endpoint(name) => {
                let member = members.iter().position(|&index| self.names.at(index) == name);
                if member.is_none() && !self.names.are_incomplete() {
                    let message =
                        format!("`when_none` names {}, which is no endpoint of `{}`", quoted(name), spec.label);
                    let help = did_you_mean(name, members.iter().map(|&index| self.names.at(index)));
                    let help = help.or_else(|| Some("add it to the service's `endpoints`".to_owned()));
                    self.report.error_help("unknown-endpoint", &typed.span, message, help);
                }
                member.map(|member| WhenNone::Endpoint(Member::at(member)))
            }
        }
    }

    fn fence_unknown(&self, spec: &ServiceSpec<'_>, members: &[usize]) -> Option<FenceUnknown> {
        let Some(typed) = &spec.fence_unknown else { return Some(FenceUnknown::Strictest) };
        let place = self.sets.find(typed, self.report).filter(|place| self.is_place_of_sites(place, typed))?;
        let allowed = self.standing_in(&place, members)?;
        if allowed.is_empty() {
            let message = format!("no endpoint of `{}` stands in {}", spec.label, quoted(typed.value));
            self.report.error_help("fence-leaves-none", &typed.span, message, Some(self.where_they_stand(members)));
            return None;
        }
        Some(FenceUnknown::Set(allowed))
    }

    fn fences(&mut self, spec: &ServiceSpec<'_>, members: &[usize]) -> Option<Vec<Fence>> {
        let mut fences = Vec::new();
        for fence in spec.fences.as_ref()? {
            let place = self.sets.find(&fence.place, self.report);
            let inside = self.sets.find(&fence.inside, self.report);
            let inside = inside.filter(|inside| self.is_place_of_sites(inside, &fence.inside));
            let narrowed = self.narrow(&fence.narrowed, members);
            let standing = inside.and_then(|inside| self.standing_in(&inside, members));
            let (Some(place), Some(standing), Some(narrowed)) = (place, standing, narrowed) else { continue };
            let allowed: Vec<Member> = standing.into_iter().filter(|member| narrowed.contains(member)).collect();
            if allowed.is_empty() {
                let narrow = if fence.narrowed.is_empty() { "" } else { " and is of its `clouds` and `endpoints`" };
                let inside = quoted(fence.inside.value);
                let message =
                    format!("this fence leaves `{}` no endpoint: none stands in {inside}{narrow}", spec.label);
                let help = Some(self.where_they_stand(members));
                self.report.error_help("fence-leaves-none", &fence.inside.span, message, help);
                continue;
            }
            self.check_declared(members, &allowed, &fence.inside);
            let place = self.plans.intern_place(place, &fence.place, self.report)?;
            fences.push(Fence { place, members: allowed });
        }
        (fences.len() == spec.fences.as_ref()?.len()).then_some(fences)
    }

    /// `in` speaks of regions, which have a country and nothing finer.
    fn is_place_of_sites(&self, inside: &PlaceSet, typed: &At<&str>) -> bool {
        let of_clients = |place: &&Place| !matches!(place, Place::Country(_) | Place::Continent(_));
        let found = inside.places.iter().find(of_clients);
        if found.is_some() {
            let message = format!("{} speaks of clients, but here it is about regions of clouds", quoted(typed.value));
            let help = "a region has a country and a continent; no subdivision, autonomous system or prefix";
            self.report.error_help("place-of-clients", &typed.span, message, Some(help.to_owned()));
        }
        found.is_none()
    }

    /// None where some endpoint has errors, so that it cannot be said.
    fn standing_in(&self, place: &PlaceSet, members: &[usize]) -> Option<Vec<Member>> {
        let stands = |index: &usize| Some(place.holds_site(&self.endpoints[*index].as_ref()?.site));
        let stand: Vec<bool> = members.iter().map(stands).collect::<Option<_>>()?;
        Some((0..members.len()).filter(|&member| stand[member]).map(Member::at).collect())
    }

    /// The members of the clouds and endpoints named, or all where none is named.
    fn narrow(&mut self, narrowed: &Narrowed<'_>, members: &[usize]) -> Option<BTreeSet<Member>> {
        let mut good = true;
        for cloud in &narrowed.clouds {
            good &= self.regions.check_cloud(cloud, self.report);
        }
        let mut named = BTreeSet::new();
        for pattern in &narrowed.endpoints {
            let found = self.matching(pattern);
            let meant = found.iter().any(|index| members.contains(index));
            good &= meant;
            if !meant && !found.is_empty() {
                let message = format!("{} matches no endpoint of this service", quoted(pattern.value));
                let help = Some(format!("it has {}", one_of(members.iter().map(|&index| self.names.at(index)))));
                self.report.error_help("no-match", &pattern.span, message, help);
            }
            named.extend(found.iter().copied());
        }
        let mut allowed = BTreeSet::new();
        for (member, index) in members.iter().enumerate() {
            let cloud = self.endpoints[*index].as_ref()?.site.cloud.as_str();
            let of_cloud = narrowed.clouds.is_empty() || narrowed.clouds.iter().any(|at| at.value == cloud);
            if of_cloud && (narrowed.endpoints.is_empty() || named.contains(index)) {
                allowed.insert(Member::at(member));
            }
        }
        good.then_some(allowed)
    }

    fn preferences(&mut self, spec: &ServiceSpec<'_>, members: &[usize]) -> Option<Vec<Preference>> {
        let mut preferences = Vec::new();
        for preference in spec.preferences.as_ref()? {
            let place = self.sets.find(&preference.place, self.report);
            let narrowed = self.narrow(&preference.narrowed, members);
            let (Some(place), Some(narrowed)) = (place, narrowed) else { continue };
            if narrowed.is_empty() {
                let message = format!("this preference leaves `{}` no endpoint", spec.label);
                let help = Some(self.where_they_stand(members));
                self.report.error_help("preference-leaves-none", &preference.narrowed.span(), message, help);
                continue;
            }
            let within = preference.within;
            preferences.push(Preference { place, members: narrowed.into_iter().collect(), within });
        }
        (preferences.len() == spec.preferences.as_ref()?.len()).then_some(preferences)
    }

    /// A hostname may lead anywhere: inside a fence its place is the operator's word (rule 1).
    fn check_declared(&self, members: &[usize], allowed: &[Member], inside: &At<&str>) {
        for &index in allowed.iter().map(|member| &members[member.index()]) {
            let hostname = self.endpoints[index].as_ref().filter(|e| matches!(e.addresses, Addresses::Hostname(_)));
            if let Some(endpoint) = hostname.filter(|_| !self.place_declared[index]) {
                let name = &endpoint.name;
                let message =
                    format!("`{name}` is a hostname: nothing says that its addresses are in {}", inside.value);
                let help = "if you vouch for it, write `place_declared = true` at the endpoint";
                self.report.error_help("place-not-declared", &inside.span, message, Some(help.to_owned()));
            }
        }
    }

    fn where_they_stand(&self, members: &[usize]) -> String {
        let sites = members.iter().filter_map(|&index| self.endpoints[index].as_ref());
        let sites: Vec<String> = sites.take(12).map(|e| format!("{} ({})", e.name, e.site.country)).collect();
        let more = if members.len() > 12 { ", …" } else { "" };
        format!("its endpoints: {}{more}", sites.join(", "))
    }
}

impl Narrowed<'_> {
    pub(super) fn is_empty(&self) -> bool {
        self.clouds.is_empty() && self.endpoints.is_empty()
    }

    /// From the first word to the last; of a preference, which has some.
    fn span(&self) -> Range<usize> {
        let spans = || self.clouds.iter().chain(&self.endpoints).map(|at| &at.span);
        let start = spans().map(|span| span.start).min().unwrap_or_default();
        start..spans().map(|span| span.end).max().unwrap_or_default()
    }
}

impl Plans {
    /// The id of the plan, the same for equal ones.
    fn intern(&mut self, plan: Plan) -> PlanId {
        let same_hash = self.by_hash.entry(hash(&plan)).or_default();
        if let Some(id) = same_hash.iter().find(|id| self.plans[id.index()] == plan) {
            return *id;
        }
        let id = PlanId::at(self.plans.len());
        same_hash.push(id);
        self.plans.push(plan);
        id
    }

    /// The index of the fence place; none, reported, where there are too many.
    fn intern_place(&mut self, place: PlaceSet, typed: &At<&str>, report: &Report<'_>) -> Option<usize> {
        if let Some(index) = self.fence_places.iter().position(|other| other.places == place.places) {
            return Some(index);
        }
        if self.fence_places.len() == MAX_FENCES {
            let message = format!("all fences together have over {MAX_FENCES} different `where`s");
            report.error("too-many-fences", &typed.span, message);
            return None;
        }
        self.fence_places.push(place);
        Some(self.fence_places.len() - 1)
    }
}

/// What a service says, else the defaults, else that.
fn typed<T: Copy>(own: &Option<At<T>>, defaults: &Option<At<T>>, otherwise: T) -> T {
    own.as_ref().or(defaults.as_ref()).map_or(otherwise, |at| at.value)
}

/// Equal for equal plans; unequal for most others.
fn hash(plan: &Plan) -> u64 {
    let mut hasher = DefaultHasher::new();
    let policy = &plan.policy;
    plan.members.hash(&mut hasher);
    policy.fences.iter().for_each(|fence| (fence.place, &fence.members).hash(&mut hasher));
    for preference in &policy.preferences {
        let within = if let Within::Ms(ms) = preference.within { Some(ms.to_bits()) } else { None };
        (&preference.place.label, &preference.members, within).hash(&mut hasher);
    }
    (policy.cost_budget_ms.to_bits(), policy.tie_ms.to_bits(), policy.spread, policy.when_none).hash(&mut hasher);
    (
        policy.min_gain_ms.to_bits(),
        policy.ttl_doubt,
        policy.degraded_kept,
        policy.warmup,
        policy.drain,
        policy.panic_below.to_bits(),
    )
        .hash(&mut hasher);
    hasher.finish()
}
