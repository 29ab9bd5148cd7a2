//! Floor 4: what the world is told of our zones, beside what they say themselves (`check --live`).
//!
//! ```text
//! zone ─▶ servers of the parent (lookup, or as given) ─▶ NS, glue, DS there (ask) ─┐
//!    └──▶ each server that either names (ask): AA? our serial? ────────────────────┴▶ compare ─▶ problems
//! ```
//! Nothing here recurses by itself: names are looked up through `[resolver]`, the rest is asked of the servers
//! concerned. Each question has its bound in time, each list in length, and so many zones are under way at once.

mod ask;
mod compare;
mod lookup;

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use tokio::task::JoinSet;

use crate::config;
use crate::model::{Name, Problem};
use crate::zone::ZoneTree;
use ask::ask;
use compare::{Delegation, Said, compare, judge};
use lookup::Lookup;

/// Zones under way at once.
const AT_ONCE: usize = 16;
/// Servers of a parent zone that are tried until one answers.
const PARENTS_TRIED: usize = 6;
/// Addresses of one name server that are asked.
const ADDRESSES_ASKED: usize = 8;

/// How to find and ask the others.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where names are looked up.
    pub resolver: config::Resolver,
    /// Whom to ask for delegations; empty: the servers that the parent zone's NS records name.
    pub parents: Vec<SocketAddr>,
    /// Where name servers listen: 53.
    pub port: u16,
}

/// What we say of a zone.
#[derive(Clone, Debug)]
pub struct Ours {
    /// Its name.
    pub apex: Name,
    /// Its master file, for problems.
    pub file: PathBuf,
    /// Its NS records.
    pub servers: Vec<Server>,
    /// Of its SOA.
    pub serial: u32,
}

/// A name server of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Its name.
    pub name: Name,
    /// Its addresses, as far as they stand beside it: in the zone, or as glue at the parent.
    pub addresses: Vec<IpAddr>,
}

impl Ours {
    /// Of a zone that is to be served.
    #[must_use]
    pub fn of(zone: &ZoneTree, file: &Path) -> Self {
        let name = |wire: &[u8]| Name::from_wire(wire).expect("zones hold whole names");
        let server = |target: &[u8]| {
            let name = name(target);
            let rdatas = zone.addresses(name.as_wire()).flat_map(|rrset| rrset.rdatas());
            Server { addresses: rdatas.filter_map(address).collect(), name }
        };
        let servers = zone.ns().rdatas().map(server).collect();
        Self { apex: name(zone.apex()), file: file.to_owned(), servers, serial: zone.serial() }
    }
}

/// The address in the data of an A or AAAA record.
fn address(rdata: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(rdata).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(rdata).map(IpAddr::from)).ok()
}

/// Compares each zone with its delegation, and asks each of its name servers whether it serves it. The root has no
/// parent and is passed over.
///
/// # Errors
/// There is nobody to look names up: [`Settings::resolver`] names no server, and the system none either.
pub async fn check(zones: Vec<Ours>, settings: Settings) -> Result<Vec<Problem>, Box<Problem>> {
    let lookup = Arc::new(Lookup::new(settings)?);
    let mut waiting = zones.into_iter().filter(|zone| !zone.apex.is_root()).enumerate();
    let (mut running, mut found) = (JoinSet::new(), Vec::new());
    loop {
        while running.len() < AT_ONCE
            && let Some((index, zone)) = waiting.next()
        {
            let lookup = lookup.clone();
            running.spawn(async move { (index, check_zone(&zone, &lookup).await) });
        }
        match running.join_next().await {
            Some(checked) => found.push(checked.expect("checking a zone does not panic")),
            None => break,
        }
    }
    found.sort_by_key(|(index, _)| *index);
    Ok(found.into_iter().flat_map(|(_, problems)| problems).collect())
}

async fn check_zone(zone: &Ours, lookup: &Lookup) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut servers = zone.servers.clone();
    match said_by_parent(zone, lookup).await {
        Ok(Said::Delegated(delegation)) => {
            compare(zone, &delegation, &mut problems);
            let only_there =
                delegation.servers.into_iter().filter(|there| !servers.iter().any(|s| s.name == there.name));
            servers.extend(only_there.collect::<Vec<_>>());
        }
        Ok(said) => compare::not_delegated(zone, &said, &mut problems),
        Err(why) => compare::parent_silent(zone, &why, &mut problems),
    }
    for server in &servers {
        check_server(zone, server, lookup, &mut problems).await;
    }
    problems
}

/// What the first server of the parent that answers says of the zone; or why none does.
async fn said_by_parent(zone: &Ours, lookup: &Lookup) -> Result<Said, String> {
    let parents = lookup.parents(&zone.apex).await?;
    let mut why = "it has no name server with an address".to_owned();
    let mut of_the_zone = None;
    for parent in parents.into_iter().take(PARENTS_TRIED) {
        match asked(parent, zone).await {
            // It serves the zone as well, so that the delegation does not show. Another may not.
            Ok(Said::Delegated(delegation)) if delegation.is_the_zones_own => of_the_zone = Some(delegation),
            Ok(said) => return Ok(said),
            Err(error) => why = format!("{parent}: {error}"),
        }
    }
    of_the_zone.map(Said::Delegated).ok_or(why)
}

/// What that server says of the zone.
async fn asked(parent: SocketAddr, zone: &Ours) -> Result<Said, String> {
    let ask = async |rtype| ask(parent, &zone.apex, rtype).await.map_err(|silence| silence.why);
    let said = Said::read(&zone.apex, parent, &ask(RecordType::NS).await?)?;
    let Said::Delegated(delegation) = said else { return Ok(said) };
    let reply = ask(RecordType::DS).await?;
    if reply.metadata.response_code != ResponseCode::NoError {
        return Err(format!("it answers the DS question by {}", reply.metadata.response_code));
    }
    let has_ds = reply.answers.iter().any(|record| record.record_type() == RecordType::DS);
    Ok(Said::Delegated(Delegation { has_ds, ..delegation }))
}

/// Asks a name server at each of its addresses for the zone's SOA.
async fn check_server(zone: &Ours, server: &Server, lookup: &Lookup, problems: &mut Vec<Problem>) {
    let found = if server.addresses.is_empty() { lookup.addresses(&server.name).await } else { Ok(Vec::new()) };
    let addresses = match found {
        Ok(found) => found.into_iter().chain(server.addresses.iter().copied()),
        Err(why) => return problems.push(compare::without_address(zone, &server.name, &why)),
    };
    for address in addresses.take(ADDRESSES_ASKED) {
        let at = SocketAddr::new(address, lookup.port());
        let reply = ask(at, &zone.apex, RecordType::SOA).await;
        problems.extend(judge(zone, &server.name, address, reply));
    }
}
