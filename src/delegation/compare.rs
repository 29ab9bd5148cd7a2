//! What is wrong between a zone, its delegation and its servers: figures in, problems out.

use std::net::{IpAddr, SocketAddr};

use hickory_proto::op::{Message, ResponseCode};
use hickory_proto::rr::{RData, Record, RecordType};

use super::ask::Silence;
use super::lookup::model_name;
use super::{Ours, Server};
use crate::model::{Name, Problem};

/// What a server of the parent says of a zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// These servers have it.
    Delegated(Delegation),
    /// It is not delegated.
    NotDelegated(SocketAddr),
}

/// A delegation as the parent has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Delegation {
    /// Who said so.
    pub(super) by: SocketAddr,
    /// The servers that it names, with their glue.
    pub(super) servers: Vec<Server>,
    /// It says that the zone is signed.
    pub(super) has_ds: bool,
    /// Who said so serves the zone as well: these are its own NS records, without glue.
    pub(super) is_the_zones_own: bool,
}

impl Said {
    /// Reads the reply to a question for the zone's NS records.
    ///
    /// # Errors
    /// It says neither that the zone is delegated nor that it is not.
    pub(super) fn read(apex: &Name, by: SocketAddr, reply: &Message) -> Result<Self, String> {
        let is_ours = |record: &&Record| {
            record.record_type() == RecordType::NS && model_name(&record.name).as_ref() == Some(apex)
        };
        let own: Vec<&Record> = reply.answers.iter().filter(is_ours).collect();
        let referral: Vec<&Record> = reply.authorities.iter().filter(is_ours).collect();
        let is_the_zones_own = !own.is_empty();
        let names = own.into_iter().chain(referral).filter_map(|record| match &record.data {
            RData::NS(target) => model_name(&target.0),
            _ => None,
        });
        let mut servers: Vec<Server> = Vec::new();
        for name in names {
            if !servers.iter().any(|known| known.name == name) {
                let glue = reply.additionals.iter().filter(|record| model_name(&record.name).as_ref() == Some(&name));
                let addresses = glue.filter_map(|record| record.data.ip_addr()).collect();
                servers.push(Server { name, addresses });
            }
        }
        let code = reply.metadata.response_code;
        match code {
            ResponseCode::NoError if !servers.is_empty() => {
                Ok(Self::Delegated(Delegation { by, servers, has_ds: false, is_the_zones_own }))
            }
            ResponseCode::NoError | ResponseCode::NXDomain if reply.metadata.authoritative => {
                Ok(Self::NotDelegated(by))
            }
            ResponseCode::NoError => Err("it refers to other servers: it does not serve the parent zone".to_owned()),
            code => Err(format!("it says {code}")),
        }
    }
}

/// The zone's NS records, addresses and signing against the delegation's.
pub(super) fn compare(zone: &Ours, delegation: &Delegation, problems: &mut Vec<Problem>) {
    let Ours { apex, .. } = zone;
    let by = delegation.by;
    if delegation.has_ds {
        let message =
            format!("the parent has a DS for '{apex}', which is served unsigned: validating resolvers refuse it");
        problems.push(error(zone, "ds-at-parent", message, "remove the DS at the parent first, and wait its TTL"));
    }
    for server in &zone.servers {
        match delegation.servers.iter().find(|there| there.name == server.name) {
            Some(there) if !delegation.is_the_zones_own => compare_glue(zone, server, there, problems),
            Some(_) => {}
            None => {
                let message = format!("'{}' is a name server of '{apex}', but not at the parent ({by})", server.name);
                let help = "have the parent add it, or remove its NS record";
                problems.push(Problem::warning("ns-not-at-parent", &zone.file, message).help(help));
            }
        }
    }
    for there in &delegation.servers {
        if !zone.servers.iter().any(|server| server.name == there.name) {
            let message = format!("the parent ({by}) names '{}' for '{apex}', which has no such NS record", there.name);
            problems.push(error(zone, "ns-only-at-parent", message, "have the parent remove it, or add the NS record"));
        }
    }
}

/// The addresses that the zone has of a server of its own, against the glue.
fn compare_glue(zone: &Ours, server: &Server, there: &Server, problems: &mut Vec<Problem>) {
    if !server.name.is_at_or_below(&zone.apex) {
        return; // its addresses are another zone's
    }
    let name = &server.name;
    let listed = |addresses: &[IpAddr]| addresses.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    let less = |these: &[IpAddr], those: &[IpAddr]| these.iter().copied().filter(|one| !those.contains(one)).collect();
    let (only_here, only_there): (Vec<IpAddr>, Vec<IpAddr>) =
        (less(&server.addresses, &there.addresses), less(&there.addresses, &server.addresses));
    if there.addresses.is_empty() {
        let message = format!("the parent has no address (glue) of '{name}': resolvers cannot get there");
        let help = format!("have it add {}", listed(&only_here));
        problems.push(error(zone, "glue-missing", message, &help));
        return;
    }
    if !only_there.is_empty() {
        let message = format!("the parent has {} as glue of '{name}', the zone does not", listed(&only_there));
        let help = format!("have the parent put {} in its place", listed(&server.addresses));
        problems.push(error(zone, "glue-differs", message, &help));
    }
    if !only_here.is_empty() {
        let message = format!("the parent lacks {} among the glue of '{name}'", listed(&only_here));
        problems.push(Problem::warning("glue-incomplete", &zone.file, message).help("have the parent add it"));
    }
}

/// Does a name server serve the zone as we do? A problem where not.
pub(super) fn judge(zone: &Ours, name: &Name, address: IpAddr, reply: Result<Message, Silence>) -> Option<Problem> {
    let Ours { apex, serial, .. } = zone;
    let reply = match reply {
        Ok(reply) => reply,
        Err(Silence { why, is_ours: true }) => {
            let message = format!("name server '{name}' ({address}) cannot be asked from here: {why}");
            let help = "check from a machine with a way there";
            return Some(Problem::warning("name-server-not-asked", &zone.file, message).help(help));
        }
        Err(Silence { why, .. }) => {
            let message = format!("name server '{name}' ({address}) does not answer for '{apex}': {why}");
            return Some(error(zone, "name-server-silent", message, "start it, open port 53 to it, or remove it"));
        }
    };
    let soa = reply.answers.iter().find_map(|record| match &record.data {
        RData::SOA(soa) if model_name(&record.name).as_ref() == Some(apex) => Some(soa.serial),
        _ => None,
    });
    match soa.filter(|_| reply.metadata.authoritative) {
        None => {
            let how = match reply.metadata.response_code {
                ResponseCode::NoError => "without authority".to_owned(),
                code => format!("with {code}"),
            };
            let message = format!("name server '{name}' ({address}) answers for '{apex}' {how}: it is lame");
            Some(error(zone, "lame-delegation", message, "have it serve the zone, or remove it here and at the parent"))
        }
        Some(theirs) if theirs != *serial => {
            let message =
                format!("name server '{name}' ({address}) has serial {theirs} of '{apex}', this file {serial}");
            let help = "it serves another version: deploy this one there, or wait for it";
            Some(Problem::warning("serial-differs", &zone.file, message).help(help))
        }
        Some(_) => None,
    }
}

/// The parent does not know the zone.
pub(super) fn not_delegated(zone: &Ours, said: &Said, problems: &mut Vec<Problem>) {
    let Said::NotDelegated(by) = said else { return };
    let names: Vec<String> = zone.servers.iter().map(|server| server.name.to_string()).collect();
    let message = format!("'{}' is not delegated: the parent ({by}) has no NS records for it", zone.apex);
    problems.push(error(zone, "not-delegated", message, &format!("have the parent add NS {}", names.join(", "))));
}

/// The delegation could not be seen.
pub(super) fn parent_silent(zone: &Ours, why: &str, problems: &mut Vec<Problem>) {
    let message = format!("no server of the zone above '{}' could be asked: {why}", zone.apex);
    let help = "name one with --parent ADDRESS, or other servers in [resolver] servers";
    problems.push(error(zone, "parent-silent", message, help));
}

/// A name server that nobody finds.
pub(super) fn without_address(zone: &Ours, name: &Name, why: &str) -> Problem {
    let message = format!("name server '{name}' of '{}' has no address that can be found: {why}", zone.apex);
    error(zone, "name-server-unresolved", message, "mend its A or AAAA records, or remove it here and at the parent")
}

fn error(zone: &Ours, code: &'static str, message: String, help: &str) -> Problem {
    Problem::error(code, &zone.file, message).help(help)
}

#[cfg(test)]
mod tests {
    use hickory_proto::op::{MessageType, OpCode};

    use super::*;

    fn reply(code: ResponseCode, authoritative: bool) -> Message {
        let mut reply = Message::new(1, MessageType::Response, OpCode::Query);
        (reply.metadata.response_code, reply.metadata.authoritative) = (code, authoritative);
        reply
    }

    #[test]
    fn what_a_parent_may_say_without_a_delegation() {
        let (apex, by) = ("shop.example".parse().unwrap(), "192.0.2.1:53".parse().unwrap());
        let said = |code, authoritative| Said::read(&apex, by, &reply(code, authoritative));
        assert_eq!(said(ResponseCode::NXDomain, true), Ok(Said::NotDelegated(by)));
        assert_eq!(said(ResponseCode::NoError, true), Ok(Said::NotDelegated(by)));
        assert!(said(ResponseCode::NoError, false).unwrap_err().contains("refers"));
        assert!(said(ResponseCode::Refused, false).is_err() && said(ResponseCode::NXDomain, false).is_err());
    }

    #[test]
    fn what_a_name_server_may_say() {
        let name: Name = "shop.example".parse().unwrap();
        let zone = Ours { apex: name.clone(), file: "zone".into(), servers: Vec::new(), serial: 7 };
        let judged = |reply| judge(&zone, &name, [192, 0, 2, 1].into(), reply).map(|problem| problem.code);
        let silence = |is_ours| Err(Silence { why: "no route".to_owned(), is_ours });
        assert_eq!(judged(silence(true)), Some("name-server-not-asked"));
        assert_eq!(judged(silence(false)), Some("name-server-silent"));
        assert_eq!(judged(Ok(reply(ResponseCode::Refused, false))), Some("lame-delegation"));
        assert_eq!(judged(Ok(reply(ResponseCode::NoError, true))), Some("lame-delegation"), "no SOA");
    }
}
