//! What must hold of a zone as a whole.

use std::collections::HashSet;
use std::path::Path;

use super::build::{glue, is_kept, standing};
use super::data::{Draft, Owner, ZoneData};
use super::problems::Problems;
use super::rtype;
use super::tree::{Found, Standing, ZoneTree};
use crate::model::{Name, Problem};

/// Finds every breach. Where records could not be read, what seems to lack is not spoken of: it may
/// be among them.
pub(super) fn check(data: &ZoneData, path: &Path, problems: &mut Problems) {
    if !problems.has_errors() {
        check_apex(data, path, problems);
    }
    let glue = glue(data);
    for owner in data.owners() {
        check_owner(data, owner, problems);
        if !data.is_uncut() {
            check_standing(data, owner, &glue, problems);
        }
    }
    if !problems.has_errors() {
        check_targets(data, problems);
    }
}

fn check_apex(data: &ZoneData, path: &Path, problems: &mut Problems) {
    let apex = data.apex();
    for (rtype, code, help) in [
        (rtype::SOA, "no-soa", "@ SOA ns1 hostmaster 1 7200 900 1209600 300"),
        (rtype::NS, "no-ns", "@ NS ns1 (and an address for it if it lies in the zone)"),
    ] {
        if data.get(apex.as_wire(), rtype).is_none() {
            let message = format!("zone '{apex}' has no {} at '{apex}'", rtype::name_of(rtype));
            problems.push(Problem::error(code, path, message).help(help));
        }
    }
}

/// What may stand beside what.
fn check_owner(data: &ZoneData, owner: &Owner, problems: &mut Problems) {
    let is_apex = data.name(owner) == data.apex().as_wire();
    for draft in data.drafts(owner) {
        let other = || data.drafts(owner).find(|other| other.rtype != draft.rtype);
        let has_ns = || data.drafts(owner).any(|draft| draft.rtype == rtype::NS);
        let found = match draft.rtype {
            rtype::SOA if !is_apex => Some(Breach::SoaBelow),
            rtype::CNAME if is_apex => Some(Breach::CnameAtApex),
            rtype::CNAME => other().map(Breach::CnameAndOther),
            rtype::DNAME if !is_apex && has_ns() => Some(Breach::DnameAndNs),
            rtype::NS | rtype::DNAME if data.name(owner).starts_with(b"\x01*") => Some(Breach::WildcardCut),
            rtype::DS if is_apex => Some(Breach::DsAtApex),
            _ => None,
        };
        if let Some(breach) = found {
            let (code, message, help) = breach.say(data, &data.shown(owner), draft);
            problems.error(data, code, draft.place, message, help);
        }
    }
}

/// What a record breaks by what stands beside it.
enum Breach<'d> {
    SoaBelow,
    CnameAtApex,
    CnameAndOther(&'d Draft),
    DnameAndNs,
    WildcardCut,
    DsAtApex,
}

impl Breach<'_> {
    /// Code, message and help.
    fn say(self, data: &ZoneData, name: &Name, draft: &Draft) -> (&'static str, String, String) {
        match self {
            Self::SoaBelow => {
                let help = format!("the zone's name is '{}'; remove this SOA", data.apex());
                ("soa-not-at-apex", format!("'{name}' has a SOA, but is not the zone"), help)
            }
            Self::CnameAtApex => {
                let help = "make the apex a service, or give it addresses".to_owned();
                ("cname-at-apex", format!("the zone '{name}' itself cannot be a CNAME (RFC 1034 §3.6.2)"), help)
            }
            Self::CnameAndOther(other) => {
                let help =
                    format!("keep one of them; the {} is in {}", rtype::name_of(other.rtype), data.say(other.place));
                ("cname-and-other", format!("'{name}' has a CNAME beside other records (RFC 1034 §3.6.2)"), help)
            }
            Self::DnameAndNs => {
                let help = "keep one of them: both hand on what lies below".to_owned();
                ("dname-and-ns", format!("'{name}' has a DNAME beside NS (RFC 6672 §2.3)"), help)
            }
            Self::WildcardCut => {
                let (say, help) = (rtype::name_of(draft.rtype), "name each delegation or redirection".to_owned());
                let message = format!("'{name}' has {say}: undefined for a wildcard (RFC 4592 §4.2, §4.4)");
                ("wildcard-cut", message, help)
            }
            Self::DsAtApex => {
                let help = "remove it: DS belongs to the zone above".to_owned();
                ("ds-at-apex", format!("the zone '{name}' has a DS at its apex (RFC 4035 §2.4)"), help)
            }
        }
    }
}

/// Records that a delegation or DNAME hides.
fn check_standing(data: &ZoneData, owner: &Owner, glue: &HashSet<Box<[u8]>>, problems: &mut Problems) {
    let (name, shown) = (data.name(owner), data.shown(owner));
    let standing = standing(data, name);
    let above = if standing == Standing::Cut { data.cut_at(name) } else { data.cut_above(name) };
    let Some(cut) = above else { return };
    for draft in data.drafts(owner).filter(|draft| !is_kept(standing, draft.rtype, glue.contains(name))) {
        let say = rtype::name_of(draft.rtype);
        let cut_at = data.say(cut.place);
        if cut.rtype == rtype::DNAME {
            let message = format!("'{shown}' has {say} below a DNAME (RFC 6672 §2.4)");
            problems.error(data, "below-dname", draft.place, message, format!("remove it, or the DNAME in {cut_at}"));
        } else {
            let message = format!("{say} of '{shown}' is left out: it lies at or below a delegation and is no glue");
            let help = format!("it belongs to the zone delegated in {cut_at}");
            problems.warn(data, "occluded", draft.place, message, help);
        }
    }
}

/// Names that records point to, as far as they lie in the zone.
fn check_targets(data: &ZoneData, problems: &mut Problems) {
    let mut tree = None;
    for rtype in [rtype::NS, rtype::MX, rtype::SRV] {
        for (owner, draft, target) in data.targets(rtype) {
            // A name with addresses of its own is no CNAME and has what it needs: nearly all are so.
            if [rtype::A, rtype::AAAA].iter().any(|&rtype| data.get(target.as_wire(), rtype).is_some()) {
                continue;
            }
            let tree = tree.get_or_insert_with(|| ZoneTree::build(data, &[]));
            let Ok(tree) = tree else { return };
            if matches!(tree.find(target.as_wire(), rtype::A), Found::Cname { .. }) {
                let (say, owner) = (rtype::name_of(rtype), data.shown(owner));
                let message = format!("{say} of '{owner}' points to '{target}', which is a CNAME (RFC 2181 §10.3)");
                let help = "point it to the name that has the addresses".to_owned();
                problems.warn(data, "target-is-cname", draft.place, message, help);
            } else if rtype == rtype::NS && !has_address(tree, &target) {
                check_name_server(data, &data.shown(owner), draft, &target, problems);
            }
        }
    }
}

/// Warnings of MX and SRV records that point to names of the zone at which nothing has an address, no service either:
/// what follows them does not get there.
#[must_use]
pub fn targets_without_address(data: &ZoneData, tree: &ZoneTree) -> Vec<Problem> {
    let addresses = [rtype::A, rtype::AAAA];
    let lacks = |target: &Name| {
        let known = addresses.iter().any(|&rtype| data.get(target.as_wire(), rtype).is_some());
        let none = |rtype| matches!(tree.find(target.as_wire(), rtype), Found::NoData { .. } | Found::NxDomain);
        !known && !target.is_root() && addresses.into_iter().all(none)
    };
    let mut problems = Problems::default();
    for rtype in [rtype::MX, rtype::SRV] {
        for (owner, draft, target) in data.targets(rtype).filter(|(.., target)| lacks(target)) {
            let (say, owner) = (rtype::name_of(rtype), data.shown(owner));
            let message = format!("{say} of '{owner}' points to '{target}', which has no address");
            let help = "give it A or AAAA records, or make it a service".to_owned();
            problems.warn(data, "target-without-address", draft.place, message, help);
        }
    }
    problems.finish(data)
}

/// Does a wildcard give it one?
fn has_address(tree: &ZoneTree, target: &Name) -> bool {
    [rtype::A, rtype::AAAA].iter().any(|&rtype| matches!(tree.find(target.as_wire(), rtype), Found::Answer { .. }))
}

/// A name server in the zone without an address. The zone itself must be reachable; a delegation
/// that is not harms the child only, and may be an old one that nobody asks for.
fn check_name_server(data: &ZoneData, owner: &Name, draft: &Draft, target: &Name, problems: &mut Problems) {
    if owner == data.apex() {
        let message = format!("name server '{target}' of the zone has no address");
        let help = "give it A or AAAA records; it cannot be a service".to_owned();
        problems.error(data, "ns-without-address", draft.place, message, help);
    } else {
        let message = format!("name server '{target}' of the delegation '{owner}' has no address (glue)");
        let help = "give it A or AAAA records here: without them resolvers may not get there".to_owned();
        problems.warn(data, "missing-glue", draft.place, message, help);
    }
}
