//! The answer of a service: where is the client, who answers there.

use super::resolve::Resolution;
use crate::model::{Family, ServiceId, Spread};
use crate::steer::{self, Client, ClientKey};
use crate::table::{Image, Placed, PlanTable, Reply, ServiceEntry};
use crate::wire::{Class, Full, HEADER_LENGTH, Rtype, Section};
use crate::zone::ZoneTree;

/// No reachable endpoint may be answered (RFC 8914 §4.1: 'Other').
const OTHER: u16 = 0;

/// Where a location came from; indexes `Snapshot::location_counter`.
const FROM_ECS: usize = 0;
const FROM_RESOLVER: usize = 1;
const FROM_NOTHING: usize = 2;

impl Resolution<'_, '_, '_> {
    /// Answers with the endpoint that `service` chooses for this client. `owner` is the name at
    /// which it was found, behind an alias where `aliased`.
    pub(super) fn steered(&mut self, zone: &ZoneTree, owner: &[u8], service: ServiceId, aliased: bool) {
        if !self.snapshot.steering {
            return self.stay_silent();
        }
        let service = &self.snapshot.services[service.index()];
        self.cells.count(service.counter);
        let Some(family) = self.family(service) else { return self.nodata(zone, service.ttl) };
        let plan = self.snapshot.plan(service);
        let place = self.place(plan, family);
        let replies = plan.replies(family);
        let image = match replies.reply(place.order) {
            Reply::Split(index) => {
                let split = replies.split(*index);
                let key = self.client_key(service, plan.plan.policy.spread, place);
                replies.image_of(steer::pick(split, key))
            }
            Reply::Whole(image) => {
                self.scope(place.length);
                image
            }
            Reply::Nodata => return self.nodata(zone, service.ttl),
            Reply::Servfail => return self.fail(OTHER, "no endpoint of this service may be answered now"),
        };
        self.put_image(owner, image, service.ttl.min(image.ttl), aliased);
    }

    /// The address family asked for, if the service has it; for ANY the first that it has (RFC 8482).
    fn family(&self, service: &ServiceEntry) -> Option<Family> {
        let asked = |family: Family| match self.query.question.rtype {
            Rtype::A => family == Family::V4,
            Rtype::AAAA => family == Family::V6,
            _ => true,
        };
        Family::ALL.into_iter().find(|&family| service.offers[family as usize] && asked(family))
    }

    /// By client subnet where the query has one with a source, else by the resolver (RFC 7871 §7.2.1).
    fn place(&self, plan: &PlanTable, family: Family) -> Placed {
        let parts = &self.snapshot.parts;
        let subnet = self.query.edns.and_then(|edns| edns.client_subnet).filter(|subnet| subnet.source > 0);
        let (place, source) = match subnet {
            Some(subnet) => (plan.place(parts, family, subnet.address, subnet.source), FROM_ECS),
            // The answer does not depend on the subnet, so its scope is 0.
            None => (Placed { length: 0, ..plan.place(parts, family, self.asker.address, u8::MAX) }, FROM_RESOLVER),
        };
        let source = if place.located { source } else { FROM_NOTHING };
        self.cells.count(self.snapshot.location_counter(source));
        place
    }

    /// The key to pick by; sets the scope: that of the place, or of the key where it decides.
    fn client_key(&mut self, service: &ServiceEntry, spread: Spread, place: Placed) -> ClientKey {
        let subnet = self.query.edns.and_then(|edns| edns.client_subnet).filter(|subnet| subnet.source > 0);
        if spread == Spread::Random {
            self.scope(place.length);
            return ClientKey(self.asker.random);
        }
        // A scope that is always the whole key's length, whatever the source's: scopes of one answer
        // never overlap.
        let key_length = subnet.map_or(0, |subnet| if subnet.address.is_ipv4() { 24 } else { 48 });
        self.scope(place.length.max(key_length));
        let client = subnet.map_or(Client::Resolver(self.asker.address), |subnet| Client::Subnet(subnet.address));
        steer::client_key(service.salt, client)
    }

    fn scope(&mut self, length: u8) {
        self.ending.scope = length;
    }

    fn put_image(&mut self, owner: &[u8], image: &Image, ttl: u32, aliased: bool) {
        let at = if aliased { self.writer.offset_of(owner) } else { Some(HEADER_LENGTH as u16) };
        let written = match at {
            Some(at) => self.writer.image(Section::Answer, &image.bytes, &image.starts, at, ttl),
            None => self.put_records(owner, image, ttl),
        };
        match written {
            Ok(()) => image.counters.iter().for_each(|&counter| self.cells.count(counter)),
            Err(Full) => self.ending.truncated = true,
        }
    }

    /// The slow way, for an owner that no pointer reaches.
    fn put_records(&mut self, owner: &[u8], image: &Image, ttl: u32) -> Result<(), Full> {
        let before = self.writer.mark();
        for rdata in image.rdatas() {
            let rtype = if rdata.len() == 4 { Rtype::A } else { Rtype::AAAA };
            if let Err(full) = self.writer.record(Section::Answer, owner, rtype, Class::IN, ttl, rdata) {
                self.writer.rewind(before);
                return Err(full);
            }
        }
        Ok(())
    }
}
