//! Plans of a configuration → their tables: ranked, given tries, settled.

use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;

use super::chunks::Chunks;
use super::endpoint::EndpointEntry;
use super::plan::{Now, PlanTable};
use super::ranking::{Ranking, Rankings, bases};
use super::reuse::{InConfig, Ranked};
use super::snapshot::{Before, Parts, ServiceEntry};
use super::survey::Survey;
use super::tries::{Demand, Tries};
use crate::config::Config;
use crate::model::{Endpoint, Family, Plan, Problem};

/// The tables of all plans (index: `PlanId`).
///
/// # Errors
/// Every fence that leaves some location no endpoint.
pub(super) fn compile_plans(
    parts: &Parts,
    entries: &Chunks<EndpointEntry>,
    services: &[ServiceEntry],
    before: Option<Before<'_>>,
    at: Timestamp,
) -> Result<Box<[Arc<PlanTable>]>, Vec<Problem>> {
    let config = &parts.config;
    let demands = demands(config, services, before);
    // Orders, and tries even more so, are of the locations that they were made over.
    let before = before.filter(|before| is_over_the_same(&before.snapshot.parts, parts));
    let rankings = rank_all(parts, before)?;
    let mut old = Tries::default();
    for table in before.iter().flat_map(|before| &before.snapshot.plans) {
        old.add(&bases(table.rankings()), table.tries());
    }
    let plans = demands.into_iter().zip(rankings.iter().map(bases));
    let tries = Tries::build(&parts.geo, config.geo_memory, plans, &old);
    let table = |(plan, rankings): (&Plan, Rankings)| {
        let tries = rankings.each_ref().map(|ranking| tries.of(ranking.base()));
        let now = Now { endpoints: &config.endpoints, entries, at };
        Arc::new(PlanTable::new(Arc::new(plan.clone()), rankings, tries, now, None, None))
    };
    Ok(config.plans.iter().zip(rankings).map(table).collect())
}

fn is_over_the_same(before: &Parts, now: &Parts) -> bool {
    Arc::ptr_eq(&before.geo, &now.geo)
        && before.config.fence_places == now.config.fence_places
        && before.measured.published.has_groups_of(&now.measured.published, |network| now.geo.tells_apart(network))
}

fn rank_all(parts: &Parts, before: Option<Before<'_>>) -> Result<Vec<Rankings>, Vec<Problem>> {
    let config = &parts.config;
    let mut ranked = Ranked::default();
    // Of what was measured otherwise, only what goes by the database.
    let mut bases_before = Ranked::default();
    for table in before.iter().flat_map(|before| &before.snapshot.plans) {
        let Parts { config, measured, .. } = &before.expect("it has plans").snapshot.parts;
        let known = InConfig { plan: &table.plan, endpoints: &config.endpoints };
        if Arc::ptr_eq(measured, &parts.measured) {
            ranked.add(known, table.rankings().clone());
        } else {
            bases_before.add(known, bases(table.rankings()));
        }
    }
    let mut survey = Survey::new(parts.geo.locations(), &config.endpoints, &parts.measured);
    let (mut rankings, mut problems) = (Vec::with_capacity(config.plans.len()), Vec::new());
    for plan in &config.plans {
        let known = InConfig { plan, endpoints: &config.endpoints };
        let found = match ranked.find(known) {
            Some(found) => Ok(found),
            None => rank(plan, &config.endpoints, &mut survey, bases_before.find(known), &parts.file),
        };
        match found {
            Ok(found) => {
                ranked.add(known, found.clone());
                rankings.push(found);
            }
            Err(problem) => problems.push(problem),
        }
    }
    if problems.is_empty() { Ok(rankings) } else { Err(problems) }
}

/// The orders of a plan: those of the database's locations, unless they are known, and behind them those of derived ones.
fn rank<'a>(
    plan: &'a Plan,
    endpoints: &[Endpoint],
    survey: &mut Survey<'a>,
    base: Option<Rankings>,
    file: &Path,
) -> Result<Rankings, Problem> {
    if base.is_none() || !survey.derived().is_empty() {
        survey.prepare(plan);
    }
    let survey = &*survey;
    let base = match base {
        Some(base) => base,
        None => {
            let alike = has_alike_families(plan, endpoints);
            by_family(alike, |family| Ranking::new(plan, endpoints, family, survey, file))?
        }
    };
    if survey.derived().is_empty() {
        return Ok(base);
    }
    let alike = Arc::ptr_eq(&base[0], &base[1]);
    by_family(alike, |family| Ranking::with_derived(&base[family as usize], plan, endpoints, family, survey, file))
}

/// One ranking for both families where these are `alike`.
fn by_family(alike: bool, of: impl Fn(Family) -> Result<Ranking, Problem>) -> Result<Rankings, Problem> {
    let v4 = Arc::new(of(Family::V4)?);
    let v6 = if alike { v4.clone() } else { Arc::new(of(Family::V6)?) };
    Ok([v4, v6])
}

/// Have all its endpoints both families, or all the same?
fn has_alike_families(plan: &Plan, endpoints: &[Endpoint]) -> bool {
    let mut members = plan.members.iter().map(|id| &endpoints[id.index()]);
    members.all(|endpoint| {
        endpoint.counts_for(Family::V4) == endpoint.counts_for(Family::V6)
            && endpoint.may_have(Family::V4) == endpoint.may_have(Family::V6)
    })
}

/// How much each plan is asked for.
fn demands(config: &Config, services: &[ServiceEntry], before: Option<Before<'_>>) -> Vec<Demand> {
    let mut demands = vec![Demand::default(); config.plans.len()];
    for (service, entry) in config.services.iter().zip(services) {
        let demand = &mut demands[service.plan.index()];
        demand.services += 1;
        demand.queries += before.map_or(0, |before| (before.count)(entry.counter));
    }
    demands
}
