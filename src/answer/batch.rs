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

use std::net::SocketAddr;

use arrayvec::ArrayVec;

use super::plain::{OPT_LENGTH, Place, Plain, QUESTION_TAIL};
use super::{Asker, Transport, respond};
use crate::geo::{Begun, Merged};
use crate::model::{Family, OrderId, Spread};
use crate::steer::{self, Client};
use crate::table::{Cells, HOT_BLOCK, Hit, HotLine, HotService, PlanTable, Ready, ReadyKind, Replies, Snapshot};
use crate::wire::{ADVERTISED_UDP_SIZE, BATCH, Batch, HEADER_LENGTH, LONGEST, SLOT};

/// Where a location came from; indexes `Snapshot::location_counter`.
const FROM_ECS: usize = 0;
const FROM_RESOLVER: usize = 1;
const FROM_NOTHING: usize = 2;

/// Octets of the longest client subnet option, its head included.
const SUBNET_LENGTH: usize = 24;
/// What the first eight octets of a reply's OPT record are but for DO.
const OPT_HEAD: [u8; 8] = {
    let size = ADVERTISED_UDP_SIZE.to_be_bytes();
    [0, 0, 41, size[0], size[1], 0, 0, 0]
};

/// Answers batches; one for each worker, which is alone with it.
pub struct Batches {
    reply: Box<[u8]>,
    /// What `spread = "random"` picks by; a new one for each query that takes the other path.
    random: u64,
}

/// A query and its place.
struct Job<'b> {
    slot: &'b mut [u8; SLOT],
    query: Plain,
    /// The name's line in the table of names.
    place: usize,
    found: Found<'b>,
}

/// What a query asks for, found.
enum Found<'s> {
    Steered(Steered<'s>),
    Static(u32),
    Unknown,
}

/// A query for a service.
#[derive(Clone, Copy)]
struct Steered<'s> {
    line: &'s HotLine,
    service: &'s HotService,
    replies: &'s Replies,
    trie: Option<&'s Merged>,
    begun: Begun,
}

impl Batches {
    /// `seed` is where its random figures begin.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { reply: vec![0; LONGEST].into(), random: seed }
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
        let Batch { slots, lengths, clients, begun, count, .. } = batch;
        let count = (*count).min(BATCH);
        let (slots, lengths, clients) = (&mut slots[..count], &mut lengths[..count], &clients[..count]);
        let mut jobs = ArrayVec::<Job<'_>, BATCH>::new();
        // Loops and no `for_each`: a closure would be compiled apart, without the processor's features.
        for ((slot, &length), client) in slots.iter_mut().zip(lengths.iter()).zip(clients) {
            let query = Plain::read(slot, length.into(), client);
            let place = snapshot.hot.place(&query.name);
            snapshot.hot.prefetch(place);
            jobs.push(Job { slot, query, place, found: Found::Unknown });
        }
        for job in &mut jobs {
            job.found = job.find(snapshot);
        }
        for job in &mut jobs {
            if let Found::Steered(steered) = &mut job.found {
                steered.begin(&job.query.client, cells);
            }
        }
        for ((job, length), client) in jobs.iter_mut().zip(lengths).zip(clients) {
            *begun += 1;
            let answered = match job.found {
                Found::Steered(steered) => job.steered(snapshot, cells, &steered),
                Found::Static(answer) => job.fixed(snapshot, cells, answer),
                Found::Unknown => None,
            };
            let answered = answered.unwrap_or_else(|| self.other(snapshot, cells, client, job.slot, (*length).into()));
            *length = answered as u16; // a slot is shorter than 65,536 octets
        }
    }

    /// Answers one query in its place, by the other path.
    #[cold]
    #[inline(never)]
    fn other(
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

impl Job<'_> {
    /// Pass 2.
    #[inline(always)]
    fn find<'s>(&self, snapshot: &'s Snapshot) -> Found<'s> {
        let query = &self.query;
        if query.name_length == 0 {
            return Found::Unknown;
        }
        match snapshot.hot.find(self.place, &query.name, query.rtype) {
            Hit::Steered(line) if snapshot.steering => {
                let (service, plan) = (snapshot.hot.service(line), snapshot.plan_table(line.plan()));
                let family = self.family();
                let (trie, replies) = (plan.trie(family), plan.replies(family));
                crate::model::prefetch(service);
                if let Some(trie) = trie {
                    match query.client.is_v6 {
                        false => trie.prefetch_v4(query.client.address as u32),
                        true => trie.prefetch_v6(query.client.address),
                    }
                }
                Found::Steered(Steered { line, service, replies, trie, begun: Begun::default() })
            }
            Hit::Static(answer) => Found::Static(answer),
            Hit::Steered(_) | Hit::Unknown => Found::Unknown,
        }
    }

    /// Of a query for a service.
    #[inline(always)]
    fn family(&self) -> Family {
        if self.query.rtype == 1 { Family::V4 } else { Family::V6 }
    }

    /// Pass 4, a service's answer; none: the other path gives it.
    #[inline(always)]
    fn steered(&mut self, snapshot: &Snapshot, cells: &Cells, steered: &Steered<'_>) -> Option<usize> {
        let &Steered { line, service, replies, .. } = steered;
        let query = self.query;
        let (order, mut scope, located) = match steered.trie {
            Some(trie) => steered.locate(trie, &query.client),
            None => self.locate_by_location(snapshot, line),
        };
        if scope > query.client.source {
            return None; // a prefix that several leaves share
        }
        let mut ready = replies.ready(order);
        if ready.kind != ReadyKind::Whole {
            ready = self.pick(snapshot, steered, ready)?;
            scope = scope.max(if query.client.is_v6 { 48 } else { 24 });
        }
        let subnet = self.subnet();
        let at = HEADER_LENGTH + usize::from(query.name_length) + QUESTION_TAIL;
        let image = self.slot[at..].first_chunk_mut().expect("a slot goes on behind the longest question");
        *image = ready.octets;
        // Three records of IPv4 have room there, or one of IPv6. Where there are fewer, the TTLs of the others lie
        // behind the image, and OPT or the end of the message covers them.
        let ttl = line.ttl().min(ready.ttl).to_be_bytes();
        image[6..10].copy_from_slice(&ttl);
        if query.rtype == 1 {
            image[22..26].copy_from_slice(&ttl);
            image[38..42].copy_from_slice(&ttl);
        }
        self.head([0x84, 0], ready.records);
        let source = match (located, query.opt.subnet_length > 0) {
            (false, _) => FROM_NOTHING,
            (true, true) => FROM_ECS,
            (true, false) => FROM_RESOLVER,
        };
        for counter in [service.counter, snapshot.location_counter(source), ready.counter, service.zone_counter] {
            cells.count(counter);
        }
        Some(self.put_opt(at + usize::from(ready.length), &subnet, scope))
    }

    /// As [`Steered::locate`], of a plan that has no trie of its own. Apart, so that the other way keeps its
    /// registers.
    #[inline(never)]
    fn locate_by_location(&self, snapshot: &Snapshot, line: &HotLine) -> (OrderId, u8, bool) {
        let client = &self.query.client;
        let plan = snapshot.plan_table(line.plan());
        let placed = plan.place(&snapshot.parts.geo, self.family(), client.ip(), client.source);
        (placed.order, placed.length, placed.located)
    }

    /// Whom of those that share this client gets. Apart, as above.
    #[inline(never)]
    fn pick<'s>(&self, snapshot: &Snapshot, steered: &Steered<'s>, ready: &Ready) -> Option<&'s Ready> {
        let &Steered { line, service, replies, .. } = steered;
        let plan = snapshot.plan_table(line.plan());
        if ready.kind != ReadyKind::Split || plan.plan.policy.spread == Spread::Random {
            return None;
        }
        let split = replies.split(ready.index);
        let client = if self.query.opt.subnet_length > 0 { Client::Subnet } else { Client::Resolver };
        let member = steer::pick(split, steer::client_key(service.salt, client(self.query.client.ip())));
        Some(replies.ready_of(member)).filter(|ready| ready.kind == ReadyKind::Whole)
    }

    /// Pass 4, an answer that depends on the question alone.
    #[inline(always)]
    fn fixed(&mut self, snapshot: &Snapshot, cells: &Cells, answer: u32) -> Option<usize> {
        let (answer, octets) = snapshot.hot.answer(answer);
        let name = HEADER_LENGTH..HEADER_LENGTH + usize::from(self.query.name_length);
        if answer.lower_case_only && self.slot[name.clone()].iter().any(u8::is_ascii_uppercase) {
            return None;
        }
        let (subnet, at) = (self.subnet(), name.end + QUESTION_TAIL);
        for (to, from) in self.slot[at..].chunks_exact_mut(HOT_BLOCK).zip(octets.chunks_exact(HOT_BLOCK)) {
            to.copy_from_slice(from);
        }
        self.head(answer.flags, answer.answers);
        self.slot[9] = answer.authority;
        self.slot[11] += answer.additional;
        answer.counters.iter().flatten().for_each(|&counter| cells.count(counter));
        Some(self.put_opt(at + usize::from(answer.length), &subnet, 0))
    }

    /// The header: its id stays, RD, and the counts, which are those of a reply without records.
    #[inline(always)]
    fn head(&mut self, flags: [u8; 2], answers: u8) {
        self.slot[2] = flags[0] | self.slot[2] & 1;
        self.slot[3] = flags[1];
        self.slot[7] = answers;
    }

    /// The client subnet option, read before the answer is written over it; anything where there is none.
    #[inline(always)]
    fn subnet(&self) -> [u8; SUBNET_LENGTH] {
        let from = usize::from(self.query.opt.subnet_at);
        *self.slot[from..].first_chunk().expect("a slot goes on behind the longest message")
    }

    /// The OPT record where the query had one, with its client subnet (RFC 7871 §7.2.1); the length of the whole.
    #[inline(always)]
    fn put_opt(&mut self, at: usize, subnet: &[u8; SUBNET_LENGTH], scope: u8) -> usize {
        let opt = &self.query.opt;
        if !opt.is_there {
            return at;
        }
        let room: &mut [u8; OPT_LENGTH + SUBNET_LENGTH] =
            self.slot[at..].first_chunk_mut().expect("a slot goes on behind the longest answer");
        room[..8].copy_from_slice(&OPT_HEAD);
        room[7] = opt.flags;
        room[8..OPT_LENGTH].copy_from_slice(&[0, 0, opt.subnet_length]);
        room[OPT_LENGTH..].copy_from_slice(subnet);
        room[OPT_LENGTH + 7] = scope; // behind the message's end where there is no subnet
        at + OPT_LENGTH + usize::from(opt.subnet_length)
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
    fn locate(&self, trie: &Merged, client: &Place) -> (OrderId, u8, bool) {
        let (value, length) = match client.is_v6 {
            false => trie.finish_v4(self.begun, client.address as u32),
            true => trie.finish_v6(self.begun, client.address),
        };
        let (order, located) = PlanTable::decode(value);
        (order, length, located)
    }
}
