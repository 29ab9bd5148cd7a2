//! Why a client gets the answer that it gets.
//!
//! Nothing is reckoned anew here: the location comes from the look-up that answers use, the ranking
//! from [`steer::decide`], the records from the bytes that [`answer::respond`] writes.

use std::net::IpAddr;

use hickory_proto::op::{Edns, Message, Query, ResponseCode};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsCode, EdnsOption};
use hickory_proto::rr::{self, RecordType};
use serde::{Deserialize, Serialize};

use crate::answer::{self, Asker, Transport};
use crate::geo::{self, Database, Match, Record};
use crate::latency;
use crate::model::{EndpointId, Family, FenceUnknown, Location, Name, Plan, ServiceId, State};
use crate::steer::{self, Candidate, Decision, Settled};
use crate::table::{Cells, RCODE_SLOTS, ServiceEntry, Snapshot, rcode_slot};
use crate::zone::Found;

/// Prefix lengths that resolvers send (RFC 7871 §11.1).
const SOURCE_V4: u8 = 24;
const SOURCE_V6: u8 = 56;
/// Aliases followed to a service.
const MAX_ALIASES: usize = 8;

/// An answer with its reasons. JSON of `meridian explain --json` and `/api/v1/explain`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Explanation {
    /// The name asked for.
    pub name: String,
    /// `A` or `AAAA`.
    pub r#type: String,
    /// The client, and the prefix of it that was asked with.
    pub client: String,
    /// The generation that answered; 0 offline.
    pub generation: u64,
    /// Are the verdicts those of a running server? Offline, every endpoint is taken to be up.
    pub live: bool,
    /// Where the client is.
    pub location: Placed,
    /// How a service chose; none: no service stands behind the name.
    pub choice: Option<Choice>,
    /// What the client gets.
    pub answer: Answered,
}

/// Where a client is, and how that is known.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Placed {
    /// ISO 3166-1; none: not located.
    pub country: Option<String>,
    /// Continent code.
    pub continent: Option<String>,
    /// ISO 3166-2
    pub subdivision: Option<String>,
    /// Degrees north and east.
    pub coordinates: Option<[f32; 2]>,
    /// Where the configuration names it.
    pub asn: Option<u32>,
    /// The prefix that the configuration names.
    pub label: Option<String>,
    /// The prefix that shares this location.
    pub prefix: String,
    /// The prefix asked with spans leaves under different fences.
    pub mixed: bool,
    /// What each database says by itself.
    pub databases: Vec<DatabaseSays>,
}

/// What one database says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DatabaseSays {
    /// Which.
    pub file: String,
    /// The network that matched; none: no such address family.
    pub network: Option<String>,
    /// In words; empty: nothing.
    pub says: String,
}

/// How a service chose.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Choice {
    /// The service.
    pub service: String,
    /// The fences that apply, by their `where`; `unknown` where `fence_unknown` does.
    pub fences: Vec<String>,
    /// Every endpoint of the service, best first, then those that may not answer.
    pub endpoints: Vec<Contender>,
    /// What the choice came to, in words.
    pub outcome: String,
}

/// One endpoint of a service, as the decision saw it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Contender {
    /// Its name.
    pub name: String,
    /// Its cloud.
    pub cloud: String,
    /// Its region.
    pub region: String,
    /// Great-circle distance from the client; none where either has no coordinates.
    pub distance_km: Option<f64>,
    /// Expected round trip, without bias.
    pub estimate_ms: f32,
    /// Added to it.
    pub bias_ms: f32,
    /// Cost at this client's place.
    pub cost: f64,
    /// Do the fences allow it?
    pub in_fence: bool,
    /// `up`, `degraded`, `unknown`, `down`; `no address` where the family lacks one.
    pub verdict: String,
    /// Its place in the order, from 1.
    pub rank: Option<usize>,
    /// The preference that names it: its `where`.
    pub preferred: Option<String>,
    /// Its share of such clients, 0..=1.
    pub share: f64,
    /// Why it answers or not, in words.
    pub why: String,
}

/// What the client gets.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Answered {
    /// The response code's mnemonic.
    pub rcode: String,
    /// Answer records in presentation form.
    pub records: Vec<String>,
    /// TTL of the last of them, in seconds.
    pub ttl: Option<u32>,
    /// Scope prefix length.
    pub scope: Option<u8>,
}

/// Explains the answer to `name` for `client`. `databases` are for telling which file says what.
#[must_use]
pub fn explain(
    snapshot: &Snapshot,
    databases: &[Database],
    client: IpAddr,
    name: &Name,
    family: Family,
    live: bool,
) -> Explanation {
    let client = client.to_canonical();
    let source = if client.is_ipv4() { SOURCE_V4 } else { SOURCE_V6 };
    let place = snapshot.parts.geo.locate_prefix(client, source);
    let location = snapshot.parts.geo.location(place.location);
    let choice = find_service(snapshot, name, family).map(|service| {
        let service = &snapshot.services[service.index()];
        choose(snapshot, service, location, family)
    });
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
fn find_service(snapshot: &Snapshot, name: &Name, family: Family) -> Option<ServiceId> {
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

fn choose(snapshot: &Snapshot, service: &ServiceEntry, location: &Location, family: Family) -> Choice {
    let config = &snapshot.parts.config;
    let plan = &snapshot.plan(service).plan;
    let site_ms = |id: &EndpointId| latency::expected_ms(location, &config.endpoints[id.index()].site);
    let estimates: Vec<f32> = plan.members.iter().map(site_ms).collect();
    let states: Vec<Option<State>> = plan.members.iter().map(|&id| snapshot.standing(id).state(family)).collect();
    let decision = steer::decide(plan, &config.endpoints, family, location, &estimates, &states);
    let mut candidates: Vec<&Candidate> = decision.candidates.iter().collect();
    candidates.sort_by_key(|candidate| (candidate.rank.unwrap_or(usize::MAX), candidate.member));
    let contender = |candidate: &&Candidate| {
        let endpoint = &config.endpoints[plan.members[candidate.member.index()].index()];
        Contender {
            name: endpoint.name.to_string(),
            cloud: endpoint.site.cloud.to_string(),
            region: endpoint.site.region.to_string(),
            distance_km: location.coordinates.map(|at| at.distance_km(endpoint.site.coordinates).round()),
            estimate_ms: candidate.estimate_ms,
            bias_ms: candidate.bias_ms,
            cost: candidate.cost,
            in_fence: candidate.in_fence,
            verdict: candidate.state.map_or("no address", State::as_str).to_owned(),
            rank: candidate.rank.map(|rank| rank + 1),
            preferred: candidate.preference.map(|index| plan.policy.preferences[index].place.label.clone()),
            share: f64::from(candidate.parts) / 256.0,
            why: why(plan, &decision, candidate),
        }
    };
    Choice {
        service: service.service.label.to_string(),
        fences: fences(snapshot, plan, location),
        endpoints: candidates.iter().map(contender).collect(),
        outcome: outcome(service, &decision, family),
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

fn outcome(service: &ServiceEntry, decision: &Decision, family: Family) -> String {
    if !service.offers[family as usize] {
        return "the service lacks this type for everyone: some fence keeps no endpoint with such an address"
            .to_owned();
    }
    match &decision.settled {
        Settled::Split(split) if split.shares().len() == 1 => "one endpoint answers all such clients".to_owned(),
        Settled::Split(split) => format!("{} endpoints share such clients, each by its prefix", split.shares().len()),
        Settled::Set(members) => format!("{} endpoints in one answer", members.len()),
        Settled::Nodata => "no endpoint is usable: no data (when_none)".to_owned(),
        Settled::Servfail => "no endpoint may be answered: SERVFAIL".to_owned(),
    }
}

/// Why a member answers or not.
fn why(plan: &Plan, decision: &Decision, candidate: &Candidate) -> String {
    let answering: Vec<&Candidate> = decision.candidates.iter().filter(|other| other.parts > 0).collect();
    if !candidate.in_fence {
        return "outside the fence".to_owned();
    }
    if !candidate.has_family || candidate.state.is_none() {
        return "it has no address of this type".to_owned();
    }
    let Some(chosen) = answering.iter().min_by_key(|other| other.rank) else {
        return "no endpoint answers".to_owned();
    };
    let label = |index: usize| &plan.policy.preferences[index].place.label;
    if candidate.parts > 0 {
        return match (candidate.state, candidate.preference) {
            (Some(State::Down), _) => "down, but so is all else inside the fence (when_none)".to_owned(),
            (_, Some(index)) => format!("answers: preferred ({}), within its budget of the fastest", label(index)),
            (_, None) if answering.len() > 1 => "answers: ties with the best".to_owned(),
            (_, None) => "answers: the best".to_owned(),
        };
    }
    if let (Some(mine), Some(theirs)) = (candidate.state, chosen.state)
        && mine > theirs
    {
        return format!("{}, and others are {}", mine.as_str(), theirs.as_str());
    }
    let behind = candidate.estimate_ms + candidate.bias_ms - chosen.estimate_ms - chosen.bias_ms;
    match (candidate.preference, chosen.preference) {
        (mine, Some(theirs)) if mine != Some(theirs) => {
            format!("others are preferred ({}), within their budget; {behind:+.1} ms", label(theirs))
        }
        (Some(mine), None) => format!("preferred ({}), but beyond its budget; {behind:+.1} ms", label(mine)),
        // Nothing but its cost keeps a faster one back.
        _ if behind < 0.0 => format!("dearer than the one chosen, which is within the cost budget; {behind:+.1} ms"),
        _ => format!("{behind:+.1} ms"),
    }
}

fn placed(databases: &[Database], client: IpAddr, place: Match, location: &Location) -> Placed {
    let says = |step: geo::TraceStep| DatabaseSays {
        file: step.file.display().to_string(),
        network: step.network.map(|network| network.to_string()),
        says: step.record.map(|record| in_words(&record)).unwrap_or_default(),
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

fn in_words(record: &Record) -> String {
    let parts = [
        record.subdivision.map(|subdivision| subdivision.to_string()),
        record.country.filter(|_| record.subdivision.is_none()).map(|country| country.to_string()),
        record
            .point
            .map(|point| format!("{:.2} {:.2}", f64::from(point.latitude) / 1e4, f64::from(point.longitude) / 1e4)),
        record.asn.map(|asn| format!("AS{asn}")),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(", ")
}

fn prefix(address: IpAddr, length: u8) -> String {
    ipnet::IpNet::new(address, length).map_or_else(|_| address.to_string(), |net| net.trunc().to_string())
}

/// Asks with the bytes that a resolver would send, and reads the reply's.
fn ask(snapshot: &Snapshot, client: IpAddr, source: u8, name: &Name, family: Family) -> Answered {
    let failed = |rcode: &str| Answered { rcode: rcode.to_owned(), records: Vec::new(), ttl: None, scope: None };
    let Some(packet) = query(client, source, name, family) else { return failed("FORMERR") };
    let mut out = vec![0; usize::from(u16::MAX)];
    let asker = Asker { address: client, transport: Transport::Stream, random: 0 };
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
    let prefix = ipnet::IpNet::new(client, source).ok()?.trunc().addr();
    let mut edns = Edns::new();
    edns.set_max_payload(4096);
    edns.options_mut().insert(EdnsOption::Subnet(ClientSubnet::new(prefix, source, 0)));
    message.set_edns(edns);
    message.to_vec().ok()
}
