//! Finds servers by their names.

use std::net::{IpAddr, SocketAddr};

use hickory_proto::rr::{self, RData, RecordType};
use hickory_proto::serialize::binary::BinDecodable as _;
use hickory_resolver::TokioResolver;
use hickory_resolver::net::{DnsError, NetError};

use super::Settings;
use crate::model::{Name, Problem};
use crate::probe::resolver_client;

/// Name servers of a parent zone whose addresses are looked up.
const PARENTS_LOOKED_UP: usize = 4;

/// Looks names up through the configured resolvers.
pub(super) struct Lookup {
    client: TokioResolver,
    settings: Settings,
}

impl Lookup {
    pub(super) fn new(settings: Settings) -> Result<Self, Box<Problem>> {
        Ok(Self { client: resolver_client(&settings.resolver)?, settings })
    }

    /// Where name servers listen.
    pub(super) fn port(&self) -> u16 {
        self.settings.port
    }

    /// Whom to ask for the delegation of `apex`: the servers of the nearest zone above it.
    pub(super) async fn parents(&self, apex: &Name) -> Result<Vec<SocketAddr>, String> {
        if !self.settings.parents.is_empty() {
            return Ok(self.settings.parents.clone());
        }
        let mut servers = Vec::new();
        let mut above = apex.parent();
        while let Some(name) = above {
            servers = self.name_servers(&name).await?;
            if !servers.is_empty() {
                break;
            }
            above = name.parent();
        }
        let mut addresses = Vec::new();
        let mut why = "no zone above it was found".to_owned();
        for server in servers.iter().take(PARENTS_LOOKED_UP) {
            match self.addresses(server).await {
                Ok(found) => addresses.extend(found.into_iter().map(|address| SocketAddr::new(address, self.port()))),
                Err(error) => why = format!("{server}: {error}"),
            }
        }
        if addresses.is_empty() { Err(why) } else { Ok(addresses) }
    }

    /// The targets of a name's own NS records; empty where it is no zone.
    async fn name_servers(&self, name: &Name) -> Result<Vec<Name>, String> {
        let zone = proto_name(name)?;
        let records = self.lookup(&zone, RecordType::NS).await?;
        let own = records.iter().filter(|record| record.name == zone);
        let target = |record: &rr::Record| match &record.data {
            RData::NS(target) => model_name(&target.0),
            _ => None,
        };
        Ok(own.filter_map(target).collect())
    }

    /// The addresses of a name, IPv4 first; there is at least one.
    pub(super) async fn addresses(&self, name: &Name) -> Result<Vec<IpAddr>, String> {
        let name = proto_name(name)?;
        let mut addresses = Vec::new();
        for rtype in [RecordType::A, RecordType::AAAA] {
            addresses.extend(self.lookup(&name, rtype).await?.iter().filter_map(|record| record.data.ip_addr()));
        }
        if addresses.is_empty() { Err("it has neither A nor AAAA records".to_owned()) } else { Ok(addresses) }
    }

    /// The answer's records; none where there are none.
    async fn lookup(&self, name: &rr::Name, rtype: RecordType) -> Result<Vec<rr::Record>, String> {
        match self.client.lookup(name.clone(), rtype).await {
            Ok(lookup) => Ok(lookup.answers().to_vec()),
            Err(NetError::Dns(DnsError::NoRecordsFound(_))) => Ok(Vec::new()),
            Err(error) => Err(format!("{name} {rtype} cannot be looked up: {error}")),
        }
    }
}

fn proto_name(name: &Name) -> Result<rr::Name, String> {
    rr::Name::from_bytes(name.as_wire()).map_err(|error| error.to_string())
}

/// None: a name that is longer than names are.
pub(super) fn model_name(name: &rr::Name) -> Option<Name> {
    let labels = name.iter().flat_map(|label| [&[label.len() as u8], label].concat());
    Name::from_wire(&labels.chain([0]).collect::<Vec<u8>>()).ok()
}
