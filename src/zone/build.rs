//! From the build form to the look-up form, with the services put at their names.

use std::collections::HashMap;
use std::path::PathBuf;

use super::data::{Draft, ZoneData};
use super::rrset::RRset;
use super::rtype;
use super::tree::{Found, Node, Standing, ZoneTree};
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
    /// name, a delegation at or above it, addresses at it, or an NS record that points to it.
    pub fn build(data: &ZoneData, steered: &[Steered]) -> Result<Self, Vec<Problem>> {
        let steered: Vec<&Steered> = steered.iter().filter(|at| at.name.is_at_or_below(data.apex())).collect();
        let mut problems: Vec<Problem> = steered.iter().filter_map(|at| clash(data, at)).collect();
        let tree = assemble(data, &steered);
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
    for above in data.upwards(name) {
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
    for (_, draft, target) in data.targets(rtype::NS).filter(|(.., target)| target.is_at_or_below(data.apex())) {
        let Found::Steered { service, .. } = tree.find(target.as_wire(), rtype::A) else { continue };
        let Some(steered) = steered.iter().find(|at| at.service == service) else { continue };
        let message = format!("service '{}' is the target of an NS record", steered.name);
        let fix = format!("{}: point it to a name with fixed addresses", data.say(draft.place));
        let problem = Problem::error("service-is-name-server", &steered.file, message).help(fix);
        problems.push(Problem { spot: steered.spot.clone(), ..problem });
    }
    problems
}

/// The tree of records and services that do not clash.
fn assemble(data: &ZoneData, steered: &[&Steered]) -> ZoneTree {
    let glue = data.name_servers();
    let mut builder = Builder { data, nodes: Vec::new(), index: HashMap::new() };
    for owner in data.owners() {
        let standing = standing(data, &owner.name);
        let drafts = owner.drafts.iter().filter(|draft| is_kept(standing, draft.rtype, glue.contains(&owner.name)));
        let mut rrsets: Vec<RRset> = drafts.map(Draft::freeze).collect();
        rrsets.sort_by_key(|rrset| rrset.rtype);
        if !rrsets.is_empty() {
            let node = builder.reach(&owner.name, standing);
            builder.nodes[node].rrsets = rrsets.into();
        }
    }
    for at in steered {
        let node = builder.reach(&at.name, standing(data, &at.name));
        builder.nodes[node].service = Some(at.service);
    }
    builder.finish()
}

pub(super) fn standing(data: &ZoneData, name: &Name) -> Standing {
    if data.cut_above(name).is_some() {
        return Standing::Occluded;
    }
    match data.cut_at(name.as_wire()) {
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

struct Builder<'a> {
    data: &'a ZoneData,
    nodes: Vec<Node>,
    index: HashMap<Box<[u8]>, u32>,
}

impl Builder<'_> {
    /// The node of a name, made if it is new, with the empty non-terminals above it.
    fn reach(&mut self, name: &Name, standing: Standing) -> usize {
        let mut child: Option<(u32, bool)> = None;
        let mut reached = None;
        for (depth, above) in self.data.upwards(name).enumerate() {
            let standing = if depth == 0 { standing } else { self.standing_of(above) };
            let (node, is_new) = self.node(above, standing);
            reached.get_or_insert(node);
            if let Some((wildcard, true)) = child {
                self.nodes[node as usize].wildcard = Some(wildcard);
            }
            if !is_new && depth > 0 {
                break;
            }
            child = Some((node, above.starts_with(b"\x01*")));
        }
        reached.expect("every name of a zone is at or below its apex") as usize
    }

    /// What stands above a kept name exists; its own visit may come later.
    fn standing_of(&self, wire: &[u8]) -> Standing {
        standing(self.data, &Name::from_wire(wire).expect("a suffix of a name is a name"))
    }

    fn node(&mut self, name: &[u8], standing: Standing) -> (u32, bool) {
        if let Some(&node) = self.index.get(name) {
            return (node, false);
        }
        let node = u32::try_from(self.nodes.len()).expect("fewer names than octets of the files");
        self.nodes.push(Node { rrsets: Box::default(), service: None, wildcard: None, standing });
        self.index.insert(name.into(), node);
        (node, true)
    }

    fn finish(mut self) -> ZoneTree {
        self.nodes.shrink_to_fit();
        self.index.shrink_to_fit();
        let apex = self.data.apex().clone();
        let longest = self.index.keys().map(|name| name.len()).max().unwrap_or(0);
        let soa = self.data.get(apex.as_wire(), rtype::SOA);
        let negative_ttl = soa.and_then(|soa| Some(soa.ttl.min(soa_minimum(soa.rdatas().next()?)?))).unwrap_or(0);
        ZoneTree { apex, nodes: self.nodes, index: self.index, longest, negative_ttl }
    }
}

/// The minimum field: the last four octets of the data (RFC 1035 §3.3.13).
pub(super) fn soa_minimum(rdata: &[u8]) -> Option<u32> {
    rdata.last_chunk().map(|octets| u32::from_be_bytes(*octets))
}
