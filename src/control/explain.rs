//! Why a client gets the answer that it gets.
//!
//! Nothing is reckoned anew here: the location comes from the look-up that answers use, the ranking
//! from [`steer::decide`], the records from the bytes that [`answer::respond`] writes.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption};
use hickory_proto::rr::{self, RecordType};
use ipnet::IpNet;

use super::explanation::{Answered, Choice, Contender, DatabaseSays, Explanation, MeasuredBy, Placed};
use crate::answer::{self, Asker, Transport};
use crate::geo::{self, Database, Match};
use crate::latency;
use crate::model::{
    Family, FenceUnknown, Location, LocationId, Member, Name, Plan, ServiceId, Spread, State, WhenNone,
};
use crate::steer::{self, Candidate, Decision, Settled, Usage};
use crate::table::{Cells, Hand, RCODE_SLOTS, ServiceEntry, Snapshot, rcode_slot};
use crate::zone::Found;

/// Prefix lengths that resolvers send (RFC 7871 §11.1).
const SOURCE_V4: u8 = 24;
const SOURCE_V6: u8 = 56;
/// Aliases followed to a service.
const MAX_ALIASES: usize = 8;

/// A client, and how much of its address its resolver tells: that of `203.0.113.7/16`; without a length, what resolvers tell.
///
/// # Errors
/// What is wrong with the text, and how to write one.
pub fn asked_as(text: &str) -> Result<IpNet, String> {
    let (address, length) = text.split_once('/').map_or((text, None), |(address, length)| (address, Some(length)));
    let wrong = || "write an address such as 103.86.96.1, or a prefix such as 103.86.96.0/24".to_owned();
    let address = address.parse::<IpAddr>().map_err(|_| wrong())?.to_canonical();
    let length = match length {
        None if address.is_ipv4() => SOURCE_V4,
        None => SOURCE_V6,
        Some(length) => length.parse().map_err(|_| wrong())?,
    };
    if length == 0 {
        return Err("/0 tells nothing of a client: give the resolver's own address instead".to_owned());
    }
    IpNet::new(address, length).map_err(|_| format!("/{length} is too long for {address}"))
}

/// Explains the answer to `name` for `client` as [`asked_as`] has it. `databases` are for telling which file says what.
#[must_use]
pub fn explain(
    snapshot: &Snapshot,
    databases: &[Database],
    client: IpNet,
    name: &Name,
    family: Family,
    live: bool,
) -> Explanation {
    let (client, source) = (client.addr(), client.prefix_len());
    let place = snapshot.parts.measured.locate_prefix(&snapshot.parts.geo, client, source);
    let location = snapshot.parts.location(place.location);
    let mut choice = find_service(snapshot, name, family).map(|service| {
        let service = &snapshot.services[service.index()];
        choose(snapshot, service, place.location, family)
    });
    if let Some(choice) = choice.as_mut().filter(|_| live && !snapshot.steering) {
        choice
            .outcome
            .insert_str(0, "no reply yet: the first round of probes is under way; after it, as things stand: ");
    }
    Explanation {
        name: name.to_string(),
        r#type: if family == Family::V4 { "A" } else { "AAAA" }.to_owned(),
        client: format!("{client} (asked as {})", prefix(client, source)),
        generation: if live { snapshot.generation } else { 0 },
        live,
        location: placed(databases, client, place, location),
        choice,
        answer: ask(snapshot, client, source, name, family),
    }
}

/// The service behind `name`, behind aliases in our zones too.
pub(super) fn find_service(snapshot: &Snapshot, name: &Name, family: Family) -> Option<ServiceId> {
    let rtype = if family == Family::V4 { 1 } else { 28 };
    let mut name = name.clone();
    for _ in 0..=MAX_ALIASES {
        let (_, zone) = snapshot.parts.zones.find_zone(name.as_wire())?;
        name = match zone.find(name.as_wire(), rtype) {
            Found::Steered { service, .. } => return Some(service),
            Found::Cname { rrset, .. } => Name::from_wire(rrset.rdatas().next()?).ok()?,
            Found::Dname { owner, rrset } => {
                let kept = &name.as_wire()[..name.as_wire().len() - owner.len()];
                Name::from_wire(&[kept, rrset.rdatas().next()?].concat()).ok()?
            }
            _ => return None,
        };
    }
    None
}

fn choose(snapshot: &Snapshot, service: &ServiceEntry, place: LocationId, family: Family) -> Choice {
    let (parts, table) = (&snapshot.parts, snapshot.plan(service));
    let config = &parts.config;
    let (plan, order) = (&table.plan, table.order(family, place));
    let location = parts.location(place);
    let site = |member: Member| &config.endpoints[plan.members[member.index()].index()].site;
    let prior_ms = |member: Member| latency::expected_ms(location, site(member));
    let found = |member: Member| parts.measured.found_at(&parts.geo, place, site(member));
    let estimate_ms = |member| prior_ms(member) * found(member).map_or(1.0, |(_, factor)| factor.factor);
    let estimates: Vec<f32> = (0..plan.members.len()).map(Member::at).map(estimate_ms).collect();
    let (usages, down_kept) = (table.usages(family), table.down_kept(family, order));
    let decision = steer::decide(plan, &config.endpoints, family, location, &estimates, usages, down_kept);
    let mut candidates: Vec<&Candidate> = decision.candidates.iter().collect();
    candidates.sort_by_key(|candidate| (candidate.rank.unwrap_or(usize::MAX), candidate.member));
    let offered = service.offers[family as usize];
    let contender = |candidate: &&Candidate| {
        let endpoint = &config.endpoints[plan.members[candidate.member.index()].index()];
        Contender {
            name: endpoint.name.to_string(),
            cloud: endpoint.site.cloud.to_string(),
            region: endpoint.site.region.to_string(),
            distance_km: location.coordinates.map(|at| at.distance_km(endpoint.site.coordinates).round()),
            estimate_ms: candidate.estimate_ms,
            prior_ms: prior_ms(candidate.member),
            measured: found(candidate.member)
                .map(|(place, factor)| MeasuredBy::new(&place, factor, candidate.estimate_ms)),
            sampled: None,
            counted: None,
            bias_ms: candidate.bias_ms,
            cost: candidate.cost,
            in_fence: candidate.in_fence,
            verdict: candidate.usage.map_or("no address", |usage| usage.state.as_str()).to_owned(),
            rank: candidate.rank.map(|rank| rank + 1),
            preferred: candidate.preference.map(|index| plan.policy.preferences[index].place.label.clone()),
            share: if offered { f64::from(candidate.parts) / 256.0 } else { 0.0 },
            why: {
                let standing = snapshot.standing(plan.members[candidate.member.index()]);
                let held = standing.held || table.held().is_some() && standing.hand != Hand::Down;
                let why = match standing.hand {
                    _ if !offered => "nobody gets this type".to_owned(),
                    Hand::Down => "forced down by hand: never answered".to_owned(),
                    Hand::Up => format!("{}; forced up by hand", why(plan, &decision, candidate)),
                    Hand::Off | Hand::Drained { .. } => why(plan, &decision, candidate),
                };
                if held { why + "; held by hand, whatever probes say" } else { why }
            },
        }
    };
    Choice {
        service: snapshot.service(service).label.to_string(),
        fences: fences(snapshot, plan, location),
        endpoints: candidates.iter().map(contender).collect(),
        outcome: outcome(offered, plan.policy.spread, &decision),
    }
}

fn fences(snapshot: &Snapshot, plan: &Plan, location: &Location) -> Vec<String> {
    let places = &snapshot.parts.config.fence_places;
    let applying = plan.policy.fences.iter().filter(|fence| location.fences.contains(fence.place));
    let mut fences: Vec<String> = applying.map(|fence| places[fence.place].label.clone()).collect();
    if !plan.policy.fences.is_empty() && (location.mixed || !location.is_located()) {
        let how = match plan.policy.fence_unknown {
            FenceUnknown::Strictest => "unknown place: every fence",
            FenceUnknown::Set(_) => "unknown place: the set that fence_unknown names",
        };
        fences.push(how.to_owned());
    }
    fences
}

fn outcome(offered: bool, spread: Spread, decision: &Decision) -> String {
    if !offered {
        return "the service lacks this type for everyone: some fence keeps no endpoint with such an address"
            .to_owned();
    }
    let by = if spread == Spread::Random { "query by query" } else { "each by its prefix" };
    match &decision.settled {
        Settled::Split(split) if split.shares().len() == 1 => "one endpoint answers all such clients".to_owned(),
        Settled::Split(split) => format!("{} endpoints share such clients, {by}", split.shares().len()),
        Settled::Set(members) => format!("{} endpoints in one answer", members.len()),
        Settled::Nodata => "no endpoint is usable: no data (when_none)".to_owned(),
        Settled::Servfail => "no endpoint may be answered: SERVFAIL".to_owned(),
    }
}

/// Why a member answers or not.
fn why(plan: &Plan, decision: &Decision, candidate: &Candidate) -> String {
    if !candidate.in_fence {
        return "outside the fence".to_owned();
    }
    if !candidate.has_family {
        return "it has no address of this type".to_owned();
    }
    let Some(usage) = candidate.usage else {
        return "no address of this type is known of its hostname".to_owned();
    };
    let answering = || decision.candidates.iter().filter(|other| other.parts > 0);
    let best = answering().filter_map(|other| Some((other.usage?, other)));
    let best =
        best.reduce(|a, b| if (a.0.is_behind(&b.0), a.1.rank) > (b.0.is_behind(&a.0), b.1.rank) { b } else { a });
    match best {
        None => format!("{}; no endpoint answers", usage.as_str()),
        Some((best, _)) if candidate.parts > 0 && usage.is_behind(&best) => {
            format!("{}: it keeps a part of its clients, others are {}", usage.as_str(), best.as_str())
        }
        Some(_) if candidate.parts > 0 => why_chosen(decision, candidate, answering().count()).to_owned(),
        Some((best, chosen)) => why_not(plan, decision, (&usage, candidate), (&best, chosen)),
    }
}

fn why_chosen(decision: &Decision, candidate: &Candidate, answering: usize) -> &'static str {
    let state = |candidate: &Candidate| candidate.usage.map(|usage| usage.state);
    let passed_over = |other: &Candidate| {
        other.parts == 0
            && state(other) == state(candidate)
            && other.rank.is_some_and(|rank| Some(rank) < candidate.rank)
    };
    match state(candidate) {
        Some(State::Down) => "down, but so is all else inside the fence (when_none)",
        _ if decision.candidates.iter().any(|other| other.parts > 0 && state(other) > state(candidate)) => {
            "answers: others keep a part of their clients, and this has the rest"
        }
        _ if decision.preference.is_some() => "answers: preferred, within its budget of the fastest",
        _ if decision.candidates.iter().any(passed_over) => "answers: the cheapest within the cost budget",
        _ if answering > 1 => "answers: ties with the best",
        _ => "answers: the best",
    }
}

/// `chosen` is the fastest of the best of those that answer.
fn why_not(
    plan: &Plan,
    decision: &Decision,
    (usage, candidate): (&Usage, &Candidate),
    (best, chosen): (&Usage, &Candidate),
) -> String {
    if usage.is_behind(best) {
        return format!("{}, and others are {}", usage.as_str(), best.as_str());
    }
    if best.state == State::Down && matches!(plan.policy.when_none, WhenNone::Endpoint(_)) {
        return "down, and when_none names another".to_owned();
    }
    let preferred = decision.preference.map(|index| &plan.policy.preferences[index].members);
    if preferred.is_some_and(|members| members.binary_search(&candidate.member).is_err()) {
        return "others are preferred, within their budget".to_owned();
    }
    if candidate.rank < chosen.rank {
        return "dearer than the one chosen, which is within the cost budget".to_owned();
    }
    let behind = candidate.estimate_ms + candidate.bias_ms - chosen.estimate_ms - chosen.bias_ms;
    if candidate.preference.is_some() && candidate.preference != decision.preference {
        return format!("preferred, but beyond its budget: {behind:.1} ms behind");
    }
    format!("{behind:.1} ms behind")
}

fn placed(databases: &[Database], client: IpAddr, place: Match, location: &Location) -> Placed {
    let says = |step: geo::TraceStep| DatabaseSays {
        file: step.file.display().to_string(),
        network: step.network.map(|network| network.to_string()),
        says: step.record.map(|record| record.to_string()).unwrap_or_default(),
    };
    Placed {
        country: location.country.map(|country| country.to_string()),
        continent: location.continent.map(|continent| continent.to_string()),
        subdivision: location.subdivision.map(|subdivision| subdivision.to_string()),
        coordinates: location.coordinates.map(|at| [at.latitude, at.longitude]),
        asn: location.asn,
        label: location.label.map(|label| label.to_string()),
        prefix: prefix(client, place.length),
        mixed: location.mixed,
        databases: geo::trace(databases, client).into_iter().map(says).collect(),
    }
}

fn prefix(address: IpAddr, length: u8) -> String {
    IpNet::new(address, length).map_or_else(|_| address.to_string(), |net| net.trunc().to_string())
}

/// Asks with the bytes that a resolver would send, and reads the reply's.
fn ask(snapshot: &Snapshot, client: IpAddr, source: u8, name: &Name, family: Family) -> Answered {
    let failed = |rcode: &str| Answered { rcode: rcode.to_owned(), records: Vec::new(), ttl: None, scope: None };
    let Some(packet) = query(client, source, name, family) else { return failed("FORMERR") };
    let mut out = vec![0; usize::from(u16::MAX)];
    let asker = Asker { address: client, transport: Transport::Stream, random: 0, now: 0 };
    // Offline and before the first round too: what would be answered is what is asked.
    let length = answer::respond(&snapshot.steering(), &Cells::default(), asker, &packet, &mut out);
    let Ok(reply) = Message::from_vec(&out[..length]) else { return failed("no reply") };
    let scope = reply.edns.as_ref().and_then(|edns| match edns.option(EdnsCode::Subnet) {
        Some(EdnsOption::Subnet(subnet)) => Some(subnet.scope_prefix()),
        _ => None,
    });
    Answered {
        rcode: mnemonic(reply.metadata.response_code),
        records: reply.answers.iter().map(ToString::to_string).collect(),
        ttl: reply.answers.last().map(|record| record.ttl),
        scope,
    }
}

/// The mnemonic of a response code.
fn mnemonic(rcode: ResponseCode) -> String {
    let code = u16::from(rcode);
    match RCODE_SLOTS[usize::from(rcode_slot(code))] {
        "OTHER" => format!("RCODE{code}"),
        known => known.to_owned(),
    }
}

fn query(client: IpAddr, source: u8, name: &Name, family: Family) -> Option<Vec<u8>> {
    let labels: Vec<&[u8]> = name.labels().collect();
    let mut name = rr::Name::from_labels(labels).ok()?;
    name.set_fqdn(true);
    let mut message = Message::query();
    let rtype = if family == Family::V4 { RecordType::A } else { RecordType::AAAA };
    message.add_query(Query::query(name, rtype));
    let prefix = IpNet::new(client, source).ok()?.trunc().addr();
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    edns.options_mut().insert(EdnsOption::Subnet(ClientSubnet::new(prefix, source, 0)));
    message.set_edns(edns);
    message.to_vec().ok()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::{Path, PathBuf};
    use std::sync::Arc;

    use super::*;

    /// Two endpoints, equally far since there is no database, and 20 ms of bias between them; with more
    /// words for the service, and more endpoints.
    fn explained(service: &str, endpoints: &str, family: Family) -> Choice {
        let config = format!(
            "geoip.databases = []\n\
             [[zones]]\nname = \"shop.example\"\nfile = \"zone\"\n\
             [[endpoints]]\nname = \"near\"\ncloud = \"azure\"\nregion = \"westeurope\"\ncost = 9\naddresses = [\"192.0.2.1\"]\n\
             [[endpoints]]\nname = \"far\"\ncloud = \"aws\"\nregion = \"us-east-1\"\nbias = \"20ms\"\ncost = 1\naddresses = [\"192.0.2.2\"]\n\
             {endpoints}\n[[services]]\nname = \"www.shop.example\"\nendpoints = [\"*\"]\n{service}\n"
        );
        let zone = "@ 60 SOA ns h 1 2 3 4 5\n@ 60 NS ns\nns 60 A 192.0.2.9\n";
        let files = [("config.toml", config.as_str()), ("zone", zone)];
        let mut files: BTreeMap<PathBuf, Arc<[u8]>> =
            files.map(|(path, text)| (path.into(), text.as_bytes().into())).into();
        let (_, snapshot) = super::super::trial(&mut files, Path::new("config.toml")).unwrap();
        let client = asked_as("198.51.100.1").unwrap();
        explain(&snapshot, &[], client, &"www.shop.example".parse().unwrap(), family, false).choice.unwrap()
    }

    fn whys(choice: &Choice) -> Vec<(&str, &str)> {
        choice.endpoints.iter().map(|endpoint| (&*endpoint.name, &*endpoint.why)).collect()
    }

    #[test]
    fn what_decided_is_what_is_named() {
        let why = |service: &str| {
            let choice = explained(service, "", Family::V4);
            whys(&choice).iter().map(|(name, why)| format!("{name}: {why}")).collect::<Vec<_>>()
        };
        assert_eq!(why("tie = \"1ms\""), ["near: answers: the best", "far: 20.0 ms behind"]);
        // Dearer, but too far behind for that to matter.
        assert_eq!(why("cost_budget = \"5ms\""), ["near: answers: the best", "far: 20.0 ms behind"]);
        assert_eq!(
            why("cost_budget = \"30ms\""),
            [
                "near: dearer than the one chosen, which is within the cost budget",
                "far: answers: the cheapest within the cost budget"
            ]
        );
    }

    #[test]
    fn who_gets_nothing_has_no_share() {
        let host =
            "[[endpoints]]\nname = \"host\"\ncloud = \"aws\"\nregion = \"eu-west-1\"\nhostname = \"lb.example.net\"";
        let choice = explained("tie = \"0ms\"", host, Family::V4);
        assert!(whys(&choice).contains(&("host", "no address of this type is known of its hostname")), "{choice:?}");
        let choice = explained("", host, Family::V6);
        assert!(choice.endpoints.iter().all(|endpoint| endpoint.share == 0.0), "{choice:?}");
        let choice = explained("tie = \"50ms\"\nspread = \"random\"", "", Family::V4);
        assert_eq!(choice.outcome, "2 endpoints share such clients, query by query");
    }
}
