//! From the build form to the look-up form, with the services put at their names.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use super::data::{Draft, ZoneData};
use super::freeze::Builder;
use super::rtype;
use super::tree::{Found, Standing, ZoneTree};
use crate::model::{Name, Problem, ServiceId, Spot};

/// A service that is to be put at its name.
#[derive(Clone, Debug)]
pub struct Steered {
    /// Its name; may be a wildcard.
    pub name: Name,
    /// Which service.
    pub service: ServiceId,
    /// The configuration's file, for problems.
    pub file: PathBuf,
    /// Where in it the service is named.
    pub spot: Option<Spot>,
}

impl ZoneTree {
    /// The tree of a zone, with those services that lie in it; the others are left to their zones.
    ///
    /// # Errors
    /// Every service that clashes with the zone's records: with a CNAME or DNAME at or above its
    /// name, a delegation at or above it, addresses at it, or an NS record that points to it. Or that
    /// the zone is too large.
    pub fn build(data: &ZoneData, steered: &[Steered]) -> Result<Self, Vec<Problem>> {
        let steered: Vec<&Steered> = steered.iter().filter(|at| at.name.is_at_or_below(data.apex())).collect();
        let mut problems: Vec<Problem> = steered.iter().filter_map(|at| clash(data, at)).collect();
        let Some(tree) = assemble(data, &steered) else {
            let file = data.files().first().map_or(Path::new(""), |file| file);
            let message = format!("zone '{}' takes more than 4 GiB of memory", data.apex());
            problems.push(Problem::error("zone-too-large", file, message).help("delegate parts of it"));
            return Err(problems);
        };
        problems.extend(steered_name_servers(data, &tree, &steered));
        if problems.is_empty() { Ok(tree) } else { Err(problems) }
    }
}

/// Why a service cannot be where it is.
fn clash(data: &ZoneData, steered: &Steered) -> Option<Problem> {
    let name = &steered.name;
    let error = |code, message: String, draft: &Draft, fix: &str| {
        let problem = Problem::error(code, &steered.file, message);
        let problem = problem.help(format!("{}: {fix}", data.say(draft.place)));
        Some(Problem { spot: steered.spot.clone(), ..problem })
    };
    for above in data.upwards(name.as_wire()) {
        if let Some(draft) = data.get(above, rtype::CNAME) {
            let message = format!("service '{name}' lies at or below a CNAME");
            return error(
                "service-below-cname",
                message,
                draft,
                "remove the CNAME, or steer the name that it points to",
            );
        }
        if let Some(draft) = data.cut_at(above) {
            let what = if draft.rtype == rtype::DNAME { "DNAME" } else { "delegation" };
            let code = if draft.rtype == rtype::DNAME { "service-below-dname" } else { "service-below-delegation" };
            let message = format!("service '{name}' lies at or below a {what}");
            return error(code, message, draft, "remove it there, or name the service elsewhere");
        }
    }
    let addresses = [rtype::A, rtype::AAAA].into_iter().find_map(|rtype| data.get(name.as_wire(), rtype));
    addresses.and_then(|draft| {
        let message = format!("service '{name}' has addresses in its zone too");
        error("service-has-addresses", message, draft, "remove these records: the service answers A and AAAA")
    })
}

/// NS records that point to services: what a delegation leads to must not depend on who asks.
fn steered_name_servers(data: &ZoneData, tree: &ZoneTree, steered: &[&Steered]) -> Vec<Problem> {
    let mut problems = Vec::new();
    let targets = (!steered.is_empty()).then(|| data.targets(rtype::NS));
    for (_, draft, target) in targets.into_iter().flatten() {
        let Found::Steered { service, .. } = tree.find(target.as_wire(), rtype::A) else { continue };
        let Some(steered) = steered.iter().find(|at| at.service == service) else { continue };
        let message = format!("service '{}' is the target of an NS record", steered.name);
        let fix = format!("{}: point it to a name with fixed addresses", data.say(draft.place));
        let problem = Problem::error("service-is-name-server", &steered.file, message).help(fix);
        problems.push(Problem { spot: steered.spot.clone(), ..problem });
    }
    problems
}

/// The tree of records and services that do not clash; none if it is too large.
fn assemble(data: &ZoneData, steered: &[&Steered]) -> Option<ZoneTree> {
    let glue = glue(data);
    let mut builder = Builder::new(data);
    let mut kept = Vec::new();
    for owner in data.owners() {
        let name = data.name(owner);
        let (standing, glue) = (standing(data, name), glue.contains(name));
        kept.clear();
        kept.extend(data.drafts(owner).filter(|draft| is_kept(standing, draft.rtype, glue)));
        builder.add_records(name, &mut kept);
    }
    for at in steered {
        builder.add_service(at.name.as_wire(), at.service);
    }
    builder.finish()
}

/// The names that may be glue, where it matters what is.
pub(super) fn glue(data: &ZoneData) -> HashSet<Box<[u8]>> {
    if data.is_uncut() { HashSet::new() } else { data.name_servers() }
}

pub(super) fn standing(data: &ZoneData, name: &[u8]) -> Standing {
    if data.is_uncut() {
        return Standing::Plain;
    }
    if data.cut_above(name).is_some() {
        return Standing::Occluded;
    }
    match data.cut_at(name) {
        Some(draft) if draft.rtype == rtype::DNAME => Standing::Dname,
        Some(_) => Standing::Cut,
        None => Standing::Plain,
    }
}

/// At a cut the parent's side has NS and DS only, at and below it addresses of name servers.
pub(super) fn is_kept(standing: Standing, rtype: u16, glue: bool) -> bool {
    let is_glue = glue && rtype::is_address(rtype);
    match standing {
        Standing::Plain | Standing::Dname => true,
        Standing::Cut => matches!(rtype, rtype::NS | rtype::DS) || is_glue,
        Standing::Occluded => is_glue,
    }
}
