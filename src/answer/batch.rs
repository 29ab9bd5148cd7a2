//! A batch of datagrams, answered where they lie.
//!
//! ```text
//! pass 1  read: header, name (folded), type, OPT, client subnet     fetch the name's line
//! pass 2  find: Steered | Static | Unknown                          fetch the root of the plan's trie
//! pass 3  begin the trie's look-up                                  fetch its node and the service's counter
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

use arrayvec::ArrayVec;

use super::octets::{first_zero, u32_at, u64_at};
use super::{Asker, Transport, respond};
use crate::geo::{Begun, Merged};
use crate::model::{Family, OrderId, Spread};
use crate::steer::{self, Client};
use crate::table::{
    Cells, FoldedName, HOT_BLOCK, HOT_NAME, Hit, HotService, PlanTable, Ready, ReadyKind, Replies, Snapshot, fold,
};
use crate::wire::{ADVERTISED_UDP_SIZE, BATCH, Batch, HEADER_LENGTH, LONGEST, SLOT};

/// Where a location came from; indexes `Snapshot::location_counter`.
const FROM_ECS: usize = 0;
const FROM_RESOLVER: usize = 1;
const FROM_NOTHING: usize = 2;

/// Octets of an OPT record without options.
const OPT_LENGTH: usize = 11;
/// Octets of the longest client subnet option, its head included.
const SUBNET_LENGTH: usize = 24;
const OPTION_CLIENT_SUBNET: u64 = 8;
/// The second half of a client subnet's head, its source left out.
const V4_SCOPE_0: u32 = 1 << 16;
const V6_SCOPE_0: u32 = 2 << 16;
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

/// A query, read.
#[derive(Clone, Copy)]
struct Job {
    name: FoldedName,
    /// 0: it goes to `respond`.
    name_length: u8,
    rtype: u16,
    /// Its line in the table of names.
    place: usize,
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

/// What a query asks for, found.
enum Found<'s> {
    Steered(Steered<'s>),
    Static(u32),
    Unknown,
}

/// A query for a service.
struct Steered<'s> {
    service: &'s HotService,
    plan: &'s PlanTable,
    replies: &'s Replies,
    trie: Option<&'s Merged>,
    begun: Begun,
    ttl: u32,
    family: Family,
}

const NO_OPT: Opt = Opt { is_there: false, flags: 0, subnet_length: 0, subnet: [0; SUBNET_LENGTH] };
const NO_JOB: Job = Job {
    name: [0; HOT_NAME / 8],
    name_length: 0,
    rtype: 0,
    place: 0,
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
        let mut found = ArrayVec::<Found<'_>, BATCH>::new();
        let Batch { slots, lengths, clients, begun, .. } = batch;
        let (slots, lengths, clients) = (&mut slots[..count], &mut lengths[..count], &clients[..count]);
        // Loops and no `for_each`: a closure would be compiled apart, without the processor's features.
        for (((job, slot), &length), client) in jobs.iter_mut().zip(slots.iter()).zip(lengths.iter()).zip(clients) {
            if !job.read(slot, length.into(), client) {
                job.name_length = 0;
            }
            job.place = snapshot.hot.place(&job.name);
            snapshot.hot.prefetch(job.place);
        }
        for job in jobs.iter() {
            found.push(job.find(snapshot));
        }
        for (job, found) in jobs.iter().zip(&mut found) {
            if let Found::Steered(steered) = found {
                steered.begin(&job.client, cells);
            }
        }
        for ((((job, found), slot), length), client) in jobs.iter().zip(&found).zip(slots).zip(lengths).zip(clients) {
            *begun += 1;
            let answered = match found {
                Found::Steered(steered) => job.steered(snapshot, cells, steered, slot),
                Found::Static(answer) => job.fixed(snapshot, cells, *answer, slot),
                Found::Unknown => None,
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
    /// Pass 1; false: it is not plain.
    #[inline(always)]
    fn read(&mut self, slot: &[u8; SLOT], length: usize, client: &SocketAddr) -> bool {
        let window: &[u8; HOT_NAME] = slot[HEADER_LENGTH..].first_chunk().expect("a slot is longer");
        let name_length = 1 + first_zero(window);
        let end = HEADER_LENGTH + name_length + QUESTION_TAIL;
        // Not a response, QUERY; one question; at most one additional record and no other.
        let is_plain = slot[2] & 0xf8 == 0 && u64_at(slot, 4) & !1 == 1 << 48;
        if !is_plain || name_length > HOT_NAME || length < end {
            return false;
        }
        let tail = u32_at(slot, end - QUESTION_TAIL);
        if tail as u16 != 1 {
            return false;
        }
        self.client = Place::of(client);
        self.opt.is_there = slot[HEADER_LENGTH - 1] == 1;
        self.opt.subnet_length = 0;
        let is_read = if self.opt.is_there { self.read_opt(slot, end, length) } else { end == length };
        // IPv4-mapped addresses are looked up as IPv4, with lengths of IPv6.
        if !is_read || self.client.is_mapped() {
            return false;
        }
        self.rtype = (tail >> 16) as u16;
        self.name = fold(window, name_length);
        self.name_length = name_length as u8;
        true
    }

    /// The record at `at`, which ends with the message; false: it is not plain.
    #[inline(always)]
    fn read_opt(&mut self, slot: &[u8; SLOT], at: usize, length: usize) -> bool {
        let (mut at, fixed) = (at + OPT_LENGTH, u64_at(slot, at));
        let options = u32_at(slot, at - 4) as u16;
        // The root's, OPT, of any size and response code, version 0, of any flags.
        let is_plain = fixed & 0xffff_ff00_0000_ff00 == 41 << 40;
        if !is_plain || at + usize::from(options) != length || length > LONGEST {
            return false;
        }
        self.opt.flags = fixed as u8 & 0x80;
        while at < length {
            // Code and length; of a client subnet its family, source and scope, too.
            let head = u64_at(slot, at);
            let end = at + 4 + usize::from((head >> 32) as u16);
            if end > length {
                return false;
            }
            if head >> 48 == OPTION_CLIENT_SUBNET && !self.read_subnet(slot, head, at, end) {
                return false;
            }
            at = end;
        }
        true
    }

    /// The client subnet option from `at` to `end` (RFC 7871 §6); false: the other path judges it.
    #[inline(always)]
    fn read_subnet(&mut self, slot: &[u8; SLOT], head: u64, at: usize, end: usize) -> bool {
        let source = (head >> 8) as u8;
        let octets = usize::from(source.div_ceil(8));
        if self.opt.subnet_length != 0 || end - at != 8 + octets {
            return false;
        }
        // The octets given, read from their end, zeros behind them; those before them are shifted out. What
        // they hold beyond the source must be zero.
        let is_clean = match head as u32 & 0xffff_00ff {
            V4_SCOPE_0 if (1..=32).contains(&source) => {
                let address = u32_at(slot, end - 4) << (32 - 8 * octets);
                self.client = Place { address: address.into(), is_v6: false, source };
                (u64::from(address) << source) as u32 == 0
            }
            V6_SCOPE_0 if (1..=128).contains(&source) => {
                let octets_before = slot[end - 16..].first_chunk().expect("an option stands behind the header");
                let address = u128::from_be_bytes(*octets_before) << (128 - 8 * octets);
                self.client = Place { address, is_v6: true, source };
                address << (source - 1) << 1 == 0
            }
            _ => return false,
        };
        self.opt.subnet = *slot[at..].first_chunk().expect("a slot goes on behind the longest message");
        self.opt.subnet_length = (end - at) as u8;
        is_clean
    }

    /// Pass 2.
    #[inline(always)]
    fn find<'s>(&self, snapshot: &'s Snapshot) -> Found<'s> {
        if self.name_length == 0 {
            return Found::Unknown;
        }
        match snapshot.hot.find(self.place, &self.name, self.name_length.into(), self.rtype) {
            Hit::Steered(service, plan, ttl) if snapshot.steering => {
                let (service, plan) = (snapshot.hot.service(service), snapshot.plan_table(plan));
                let family = if self.rtype == 1 { Family::V4 } else { Family::V6 };
                let trie = plan.trie(family);
                crate::model::prefetch(service);
                if let Some(trie) = trie {
                    match self.client.is_v6 {
                        false => trie.prefetch_v4(self.client.address as u32),
                        true => trie.prefetch_v6(self.client.address),
                    }
                }
                let replies = plan.replies(family);
                Found::Steered(Steered { service, plan, replies, trie, begun: Begun::default(), ttl, family })
            }
            Hit::Static(answer) => Found::Static(answer),
            Hit::Steered(..) | Hit::Unknown => Found::Unknown,
        }
    }

    /// Pass 4, a service's answer; none: the other path gives it.
    #[inline(always)]
    fn steered(
        &self,
        snapshot: &Snapshot,
        cells: &Cells,
        steered: &Steered<'_>,
        slot: &mut [u8; SLOT],
    ) -> Option<usize> {
        let &Steered { service, replies, family, .. } = steered;
        let by_subnet = self.opt.subnet_length > 0;
        let (order, mut scope, located) = steered.locate(snapshot, &self.client);
        if scope > self.client.source {
            return None; // a prefix that several leaves share
        }
        let mut ready = replies.ready(order);
        if ready.kind != ReadyKind::Whole {
            ready = self.pick(steered, ready)?;
            scope = scope.max(if self.client.is_v6 { 48 } else { 24 });
        }
        let at = HEADER_LENGTH + usize::from(self.name_length) + QUESTION_TAIL;
        let image = slot[at..].first_chunk_mut().expect("a slot goes on behind the longest question");
        *image = ready.octets;
        // Three records of IPv4 have room there, or one of IPv6. Where there are fewer, the TTLs of the others lie
        // behind the image, and OPT or the end of the message covers them.
        let ttl = steered.ttl.min(ready.ttl).to_be_bytes();
        image[6..10].copy_from_slice(&ttl);
        if family == Family::V4 {
            image[22..26].copy_from_slice(&ttl);
            image[38..42].copy_from_slice(&ttl);
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

    /// Whom of those that share this client gets. Apart, as above.
    #[inline(never)]
    fn pick<'s>(&self, steered: &Steered<'s>, ready: &Ready) -> Option<&'s Ready> {
        let &Steered { service, plan, replies, .. } = steered;
        if ready.kind != ReadyKind::Split || plan.plan.policy.spread == Spread::Random {
            return None;
        }
        let split = replies.split(ready.index);
        let client = if self.opt.subnet_length > 0 { Client::Subnet } else { Client::Resolver };
        let member = steer::pick(split, steer::client_key(service.salt, client(self.client.ip())));
        Some(replies.ready_of(member)).filter(|ready| ready.kind == ReadyKind::Whole)
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
        let flags = u16::from_be_bytes(flags) | u16::from(slot[2] & 1) << 8;
        slot[2..4].copy_from_slice(&flags.to_be_bytes());
        let [answers, authority, additional] = counts.map(u64::from);
        let counts = 1 << 48 | answers << 32 | authority << 16 | (additional + u64::from(self.opt.is_there));
        slot[4..HEADER_LENGTH].copy_from_slice(&counts.to_be_bytes());
    }

    /// The OPT record where the query had one, with its client subnet (RFC 7871 §7.2.1); the length of the whole.
    #[inline(always)]
    fn put_opt(&self, slot: &mut [u8; SLOT], at: usize, scope: u8) -> usize {
        if !self.opt.is_there {
            return at;
        }
        let fixed = 41 << 40 | u64::from(ADVERTISED_UDP_SIZE) << 24 | u64::from(self.opt.flags);
        slot[at..at + 8].copy_from_slice(&fixed.to_be_bytes());
        let at = at + OPT_LENGTH;
        slot[at - 3..at].copy_from_slice(&[0, 0, self.opt.subnet_length]);
        slot[at..at + SUBNET_LENGTH].copy_from_slice(&self.opt.subnet);
        slot[at + 7] = scope; // behind the message's end where there is no subnet
        at + usize::from(self.opt.subnet_length)
    }
}

impl Steered<'_> {
    /// Pass 3.
    #[inline(always)]
    fn begin(&mut self, client: &Place, cells: &Cells) {
        cells.prefetch(self.service.counter);
        if let Some(trie) = self.trie {
            self.begun = match client.is_v6 {
                false => trie.begin_v4(client.address as u32),
                true => trie.begin_v6(client.address),
            };
        }
    }

    /// The order, the length of its leaf, and whether the place is known.
    #[inline(always)]
    fn locate(&self, snapshot: &Snapshot, client: &Place) -> (OrderId, u8, bool) {
        match self.trie {
            Some(trie) => {
                let (value, length) = match client.is_v6 {
                    false => trie.finish_v4(self.begun, client.address as u32),
                    true => trie.finish_v6(self.begun, client.address),
                };
                let (order, located) = PlanTable::decode(value);
                (order, length, located)
            }
            None => self.locate_by_location(snapshot, client),
        }
    }

    /// Of a plan that has no trie of its own. Apart, so that the other way keeps its registers.
    #[inline(never)]
    fn locate_by_location(&self, snapshot: &Snapshot, client: &Place) -> (OrderId, u8, bool) {
        let placed = self.plan.place(&snapshot.parts.geo, self.family, client.ip(), client.source);
        (placed.order, placed.length, placed.located)
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
