//! A batch of datagrams, answered where they lie.
//!
//! ```text
//! pass 1  read: header, name (folded), type, OPT, client subnet     fetch the name's line
//! pass 2  find: Steered | Static | Unknown                          fetch the root of the plan's trie
//! pass 3                                        fetch the trie's node and the service's counter
//! pass 4  finish: copy the image behind the question, then OPT; whatever else: `respond`
//! ```
//! Each pass goes over the whole batch, so that what it fetches comes near while the others are worked
//! on: names and addresses are random, and without this a query waits for memory three times.
//!
//! Only plain queries are taken: one question of class IN, at most one OPT of version 0, a name in
//! [`Hot`](crate::table::Hot), an answer that is one image. All others fall to [`respond`], which gives
//! the same answer for these too; tests and a fuzz target hold the two against each other.
//!
//! The functions are compiled twice from one source: for any processor, and with AVX2, BMI and POPCNT,
//! chosen at run time once a batch.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::{Asker, Transport, respond};
use crate::model::{Family, PlanId, Spread};
use crate::steer::{self, Client};
use crate::table::{Cells, FoldedName, HOT_BLOCK, HOT_NAME, Hit, PlanTable, Ready, ReadyKind, Snapshot, fold};
use crate::wire::{ADVERTISED_UDP_SIZE, BATCH, Batch, HEADER_LENGTH, LONGEST, SLOT};

/// Where a location came from; indexes `Snapshot::location_counter`.
const FROM_ECS: usize = 0;
const FROM_RESOLVER: usize = 1;
const FROM_NOTHING: usize = 2;

/// Octets of an OPT record without options.
const OPT_LENGTH: usize = 11;
/// Octets of the longest client subnet option, its head included.
const SUBNET_LENGTH: usize = 24;
const OPTION_CLIENT_SUBNET: [u8; 2] = [0, 8];
/// QTYPE and QCLASS.
const QUESTION_TAIL: usize = 4;

/// Answers batches; one for each worker, which is alone with it.
pub struct Batches {
    jobs: Box<[Job; BATCH]>,
    other: Other,
}

/// The other path.
struct Other {
    reply: Box<[u8]>,
    /// What `spread = "random"` picks by; a new one for each query.
    random: u64,
}

/// A query between the passes.
#[derive(Clone, Copy)]
struct Job {
    name: FoldedName,
    /// 0: it goes to `respond`.
    name_length: u8,
    rtype: u16,
    /// Its line in the table of names.
    place: u32,
    hit: Hit,
    client: Place,
    opt: Opt,
}

/// The address to locate by, and how much of it is known.
#[derive(Clone, Copy)]
struct Place {
    /// IPv4 in the low 32 bits.
    address: u128,
    is_v6: bool,
    source: u8,
}

/// The query's OPT record, as far as the reply repeats it.
#[derive(Clone, Copy)]
struct Opt {
    is_there: bool,
    /// The octet with DO.
    flags: u8,
    /// Octets of the client subnet option; 0: none.
    subnet_length: u8,
    subnet: [u8; SUBNET_LENGTH],
}

const NO_OPT: Opt = Opt { is_there: false, flags: 0, subnet_length: 0, subnet: [0; SUBNET_LENGTH] };
const NO_JOB: Job = Job {
    name: [0; HOT_NAME / 8],
    name_length: 0,
    rtype: 0,
    place: 0,
    hit: Hit::Unknown,
    client: Place { address: 0, is_v6: false, source: 0 },
    opt: NO_OPT,
};

impl Batches {
    /// `seed` is where its random figures begin.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { jobs: Box::new([NO_JOB; BATCH]), other: Other { reply: vec![0; LONGEST].into(), random: seed } }
    }

    /// Answers every query of the batch, none of which is begun with, from one snapshot. Allocates,
    /// locks and logs nothing.
    pub fn respond(&mut self, snapshot: &Snapshot, cells: &Cells, batch: &mut Batch) {
        #[cfg(target_arch = "x86_64")]
        if is_x86_feature_detected!("avx2")
            && is_x86_feature_detected!("bmi1")
            && is_x86_feature_detected!("bmi2")
            && is_x86_feature_detected!("popcnt")
            && is_x86_feature_detected!("lzcnt")
        {
            #[expect(unsafe_code, reason = "measured: it halves what an answer costs beside the kernel")]
            // SAFETY: the processor has every feature that the function is compiled with, as was just asked.
            return unsafe { self.respond_avx2(snapshot, cells, batch) };
        }
        self.passes(snapshot, cells, batch);
    }

    /// The same for any processor; public for the tests and benches that hold the two together.
    pub fn respond_plain(&mut self, snapshot: &Snapshot, cells: &Cells, batch: &mut Batch) {
        self.passes(snapshot, cells, batch);
    }

    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2,bmi1,bmi2,popcnt,lzcnt")]
    fn respond_avx2(&mut self, snapshot: &Snapshot, cells: &Cells, batch: &mut Batch) {
        self.passes(snapshot, cells, batch);
    }

    #[inline(always)]
    fn passes(&mut self, snapshot: &Snapshot, cells: &Cells, batch: &mut Batch) {
        let count = batch.count.min(BATCH);
        let Self { jobs, other } = self;
        let jobs = &mut jobs[..count];
        let Batch { slots, lengths, clients, begun, .. } = batch;
        let (slots, lengths, clients) = (&mut slots[..count], &mut lengths[..count], &clients[..count]);
        for (((job, slot), &length), client) in jobs.iter_mut().zip(slots.iter()).zip(lengths.iter()).zip(clients) {
            job.read(slot, length.into(), client);
            let place = snapshot.hot.place(&job.name);
            job.place = place as u32;
            snapshot.hot.prefetch(place);
        }
        // Loops and no `for_each`: a closure would be compiled apart, without the processor's features.
        for job in jobs.iter_mut() {
            job.find(snapshot);
        }
        for job in jobs.iter() {
            job.prefetch_node(snapshot, cells);
        }
        for (((job, slot), length), client) in jobs.iter().zip(slots).zip(lengths).zip(clients) {
            *begun += 1;
            let answered = match job.hit {
                Hit::Steered(service, plan, ttl) => job.steered(snapshot, cells, (service, plan, ttl), slot),
                Hit::Static(answer) => job.fixed(snapshot, cells, answer, slot),
                Hit::Unknown => None,
            };
            let answered = answered.unwrap_or_else(|| other.respond(snapshot, cells, client, slot, (*length).into()));
            *length = answered as u16; // a slot is shorter than 65,536 octets
        }
    }
}

impl Other {
    /// Answers one query in its place.
    #[cold]
    #[inline(never)]
    fn respond(
        &mut self,
        snapshot: &Snapshot,
        cells: &Cells,
        client: &SocketAddr,
        slot: &mut [u8; SLOT],
        length: usize,
    ) -> usize {
        self.random = steer::client_key(self.random, Client::Resolver(client.ip())).0;
        let asker = Asker { address: client.ip(), transport: Transport::Datagram, random: self.random };
        let length = respond(snapshot, cells, asker, &slot[..length.min(LONGEST)], &mut self.reply);
        slot[..length].copy_from_slice(&self.reply[..length]);
        length
    }
}

impl Job {
    /// Pass 1. What is not plain has a name of no octets from here on.
    #[inline(always)]
    fn read(&mut self, slot: &[u8; SLOT], length: usize, client: &SocketAddr) {
        self.name_length = 0;
        self.hit = Hit::Unknown;
        let window: &[u8; HOT_NAME] = slot[HEADER_LENGTH..].first_chunk().expect("a slot is longer");
        let name_length = 1 + first_zero(window);
        let end = HEADER_LENGTH + name_length + QUESTION_TAIL;
        // Not a response, QUERY; one question; at most one additional record and no other.
        let is_plain = slot[2] & 0xf8 == 0 && slot[4..11] == [0, 1, 0, 0, 0, 0, 0] && slot[11] <= 1;
        if !is_plain || name_length > HOT_NAME || length < end {
            return;
        }
        let tail: &[u8; QUESTION_TAIL] = slot[end - QUESTION_TAIL..].first_chunk().expect("it ends inside");
        if tail[2..] != [0, 1] {
            return;
        }
        self.client = Place::of(client);
        self.opt.is_there = slot[11] == 1;
        let is_read = if self.opt.is_there { self.read_opt(slot, end, length) } else { end == length };
        // IPv4-mapped addresses are looked up as IPv4, with lengths of IPv6.
        if !is_read || self.client.is_mapped() {
            return;
        }
        self.rtype = u16::from_be_bytes([tail[0], tail[1]]);
        self.name = fold(window, name_length);
        self.name_length = name_length as u8;
    }

    /// The record at `at`, which ends with the message; false: it is not plain.
    #[inline(always)]
    fn read_opt(&mut self, slot: &[u8; SLOT], at: usize, length: usize) -> bool {
        let Some(fixed) = slot[at..].first_chunk::<OPT_LENGTH>() else { return false };
        let options = usize::from(u16::from_be_bytes([fixed[9], fixed[10]]));
        // The root's, OPT, version 0.
        if fixed[..3] != [0, 0, 41] || fixed[6] != 0 || at + OPT_LENGTH + options != length || length > LONGEST {
            return false;
        }
        self.opt.flags = fixed[7] & 0x80;
        self.opt.subnet_length = 0;
        let mut at = at + OPT_LENGTH;
        while at < length {
            let head: &[u8; 4] = slot[at..].first_chunk().expect("a slot goes on behind the longest message");
            let end = at + 4 + usize::from(u16::from_be_bytes([head[2], head[3]]));
            if end > length {
                return false;
            }
            if head[..2] == OPTION_CLIENT_SUBNET && !self.read_subnet(slot, at, end) {
                return false;
            }
            at = end;
        }
        true
    }

    /// The client subnet option from `at` to `end` (RFC 7871 §6); false: the other path judges it.
    #[inline(always)]
    fn read_subnet(&mut self, slot: &[u8; SLOT], at: usize, end: usize) -> bool {
        let option: &[u8; SUBNET_LENGTH] = slot[at..].first_chunk().expect("a slot goes on behind the longest message");
        let (family, source) = (u16::from_be_bytes([option[4], option[5]]), option[6]);
        let octets = source.div_ceil(8);
        let is_plain = option[7] == 0 && end - at == 8 + usize::from(octets) && self.opt.subnet_length == 0;
        self.opt.subnet = *option;
        self.opt.subnet_length = (end - at) as u8;
        // What the octets given hold, and the part of it within the source, must be the same.
        let (address, is_clean) = match family {
            1 if (1..=32).contains(&source) => {
                let given = u32::from_be_bytes(*option[8..].first_chunk().expect("sixteen octets"));
                let known = given & u32::MAX << (32 - source);
                (known.into(), given & u32::MAX << (32 - 8 * octets) == known)
            }
            2 if (1..=128).contains(&source) => {
                let given = u128::from_be_bytes(*option[8..].first_chunk().expect("sixteen octets"));
                let known = given & u128::MAX << (128 - u32::from(source));
                (known, given & u128::MAX << (128 - 8 * u32::from(octets)) == known)
            }
            _ => return false,
        };
        self.client = Place { address, is_v6: family == 2, source };
        is_plain && is_clean
    }

    /// Pass 2.
    #[inline(always)]
    fn find(&mut self, snapshot: &Snapshot) {
        if self.name_length == 0 {
            return;
        }
        self.hit = snapshot.hot.find(self.place as usize, &self.name, self.name_length.into(), self.rtype);
        if let Hit::Steered(service, plan, _) = self.hit {
            crate::model::prefetch(snapshot.hot.service(service));
            if let Some(trie) = snapshot.plan_table(plan).trie(self.family()) {
                match self.client.is_v6 {
                    false => trie.prefetch_root_v4(self.client.address as u32),
                    true => trie.prefetch_root_v6(self.client.address),
                }
            }
        }
    }

    /// Pass 3.
    #[inline(always)]
    fn prefetch_node(&self, snapshot: &Snapshot, cells: &Cells) {
        let Hit::Steered(service, plan, _) = self.hit else { return };
        cells.prefetch(snapshot.hot.service(service).counter);
        if let Some(trie) = snapshot.plan_table(plan).trie(self.family()) {
            match self.client.is_v6 {
                false => trie.prefetch_node_v4(self.client.address as u32),
                true => trie.prefetch_node_v6(self.client.address),
            }
        }
    }

    #[inline(always)]
    fn family(&self) -> Family {
        if self.rtype == 1 { Family::V4 } else { Family::V6 }
    }

    /// Pass 4, a service's answer; none: the other path gives it.
    #[inline(always)]
    fn steered(
        &self,
        snapshot: &Snapshot,
        cells: &Cells,
        (service, plan, ttl): (u32, PlanId, u32),
        slot: &mut [u8; SLOT],
    ) -> Option<usize> {
        if !snapshot.steering {
            return None;
        }
        let plan = snapshot.plan_table(plan);
        let (family, by_subnet) = (self.family(), self.opt.subnet_length > 0);
        let (order, mut scope, located) = self.locate(snapshot, plan, family);
        if scope > self.client.source {
            return None; // a prefix that several leaves share
        }
        let service = snapshot.hot.service(service);
        let mut ready = plan.ready(family, order);
        if ready.kind == ReadyKind::Split {
            ready = self.pick(plan, family, ready, service.salt)?;
            scope = scope.max(if self.client.is_v6 { 48 } else { 24 });
        }
        if ready.kind != ReadyKind::Whole {
            return None;
        }
        let at = HEADER_LENGTH + usize::from(self.name_length) + QUESTION_TAIL;
        slot[at..at + ready.octets.len()].copy_from_slice(&ready.octets);
        let ttl = ttl.min(ready.ttl).to_be_bytes();
        let (mut record, size) = (at, if family == Family::V4 { 16 } else { 28 });
        for _ in 0..ready.records {
            slot[record + 6..record + 10].copy_from_slice(&ttl);
            record += size;
        }
        self.head(slot, [0x84, 0], [ready.records.into(), 0, 0]);
        let source = match (located, by_subnet) {
            (false, _) => FROM_NOTHING,
            (true, true) => FROM_ECS,
            (true, false) => FROM_RESOLVER,
        };
        for counter in [service.counter, snapshot.location_counter(source), ready.counter, service.zone_counter] {
            cells.count(counter);
        }
        Some(self.put_opt(slot, at + usize::from(ready.length), scope))
    }

    /// The order, the length of its leaf, and whether the place is known.
    #[inline(always)]
    fn locate(&self, snapshot: &Snapshot, plan: &PlanTable, family: Family) -> (crate::model::OrderId, u8, bool) {
        match plan.trie(family) {
            Some(trie) => {
                let (value, length) = match self.client.is_v6 {
                    false => trie.get_v4(self.client.address as u32),
                    true => trie.get_v6(self.client.address),
                };
                let (order, located) = PlanTable::decode(value);
                (order, length, located)
            }
            None => {
                let placed = plan.place(&snapshot.parts.geo, family, self.client.ip(), self.client.source);
                (placed.order, placed.length, placed.located)
            }
        }
    }

    /// Whom of those that share this client gets.
    #[inline(always)]
    fn pick<'s>(&self, plan: &'s PlanTable, family: Family, ready: &Ready, salt: u64) -> Option<&'s Ready> {
        if plan.plan.policy.spread == Spread::Random {
            return None;
        }
        let (split, first) = plan.split(family, ready.index);
        let client = if self.opt.subnet_length > 0 { Client::Subnet } else { Client::Resolver };
        let member = steer::pick(split, steer::client_key(salt, client(self.client.ip())));
        let share = split.shares().iter().position(|share| share.member == member)?;
        Some(plan.ready_at(family, first + share as u32))
    }

    /// Pass 4, an answer that depends on the question alone.
    #[inline(always)]
    fn fixed(&self, snapshot: &Snapshot, cells: &Cells, answer: u32, slot: &mut [u8; SLOT]) -> Option<usize> {
        let (answer, octets) = snapshot.hot.answer(answer);
        let name = HEADER_LENGTH..HEADER_LENGTH + usize::from(self.name_length);
        if answer.lower_case_only && slot[name.clone()].iter().any(u8::is_ascii_uppercase) {
            return None;
        }
        let at = name.end + QUESTION_TAIL;
        for (to, from) in slot[at..].chunks_exact_mut(HOT_BLOCK).zip(octets.chunks_exact(HOT_BLOCK)) {
            to.copy_from_slice(from);
        }
        self.head(slot, answer.flags, answer.counts);
        answer.counters.iter().flatten().for_each(|&counter| cells.count(counter));
        Some(self.put_opt(slot, at + usize::from(answer.length), 0))
    }

    /// The header: the id stays, RD too.
    #[inline(always)]
    fn head(&self, slot: &mut [u8; SLOT], flags: [u8; 2], counts: [u16; 3]) {
        slot[2] = flags[0] | slot[2] & 1;
        slot[3] = flags[1];
        let additional = counts[2] + u16::from(self.opt.is_there);
        for (at, count) in [(6, counts[0]), (8, counts[1]), (10, additional)] {
            slot[at..at + 2].copy_from_slice(&count.to_be_bytes());
        }
    }

    /// The OPT record where the query had one, with its client subnet (RFC 7871 §7.2.1); the length of the whole.
    #[inline(always)]
    fn put_opt(&self, slot: &mut [u8; SLOT], at: usize, scope: u8) -> usize {
        if !self.opt.is_there {
            return at;
        }
        let [high, low] = ADVERTISED_UDP_SIZE.to_be_bytes();
        let fixed = [0, 0, 41, high, low, 0, 0, self.opt.flags, 0, 0, self.opt.subnet_length];
        slot[at..at + OPT_LENGTH].copy_from_slice(&fixed);
        let at = at + OPT_LENGTH;
        let mut subnet = self.opt.subnet;
        subnet[7] = scope;
        slot[at..at + SUBNET_LENGTH].copy_from_slice(&subnet);
        at + usize::from(self.opt.subnet_length)
    }
}

impl Place {
    #[inline(always)]
    fn of(client: &SocketAddr) -> Self {
        match client {
            SocketAddr::V4(v4) => Self { address: v4.ip().to_bits().into(), is_v6: false, source: 32 },
            SocketAddr::V6(v6) => Self { address: v6.ip().to_bits(), is_v6: true, source: 128 },
        }
    }

    #[inline(always)]
    fn is_mapped(&self) -> bool {
        self.is_v6 && self.address >> 32 == 0xffff
    }

    #[inline(always)]
    fn ip(&self) -> IpAddr {
        if self.is_v6 { Ipv6Addr::from(self.address).into() } else { Ipv4Addr::from(self.address as u32).into() }
    }
}

/// Where the first zero octet lies; the length where there is none.
#[inline(always)]
fn first_zero(window: &[u8; HOT_NAME]) -> usize {
    const ONES: u64 = u64::MAX / 0xff;
    for (at, word) in window.chunks_exact(8).enumerate() {
        let word = u64::from_le_bytes(*word.first_chunk().expect("eight octets"));
        // The lowest bit set is that of the first zero; those above it may be wrong.
        let zeros = word.wrapping_sub(ONES) & !word & (ONES << 7);
        if zeros != 0 {
            return at * 8 + zeros.trailing_zeros() as usize / 8;
        }
    }
    HOT_NAME
}
