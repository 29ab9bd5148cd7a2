//! A batch of datagrams, answered where they lie.
//!
//! ```text
//! pass 1  read: header, name (folded), type, OPT, client subnet     fetch the name's line, and where derived locations are
//! pass 2  find: Steered | Static | Unknown                          fetch the service's counter, the root of the plan's trie and a
//!                                                                   derived location's order
//! pass 3  begin the trie's look-up                                  fetch its node
//! pass 4  finish: copy the image behind the question, then OPT; whatever else: `respond`
//! pass 5  where some bear cookies: hash several side by side, put them behind OPT
//! ```
//! Each pass goes over the whole batch, so that what it fetches comes near while the others are worked
//! on: names and addresses are random, and without this a query waits for memory three times.
//!
//! Only plain queries are taken: one question of class IN, at most one OPT of version 0, a name in
//! [`Hot`](crate::table::Hot), an answer that is one image. All others fall to [`respond`],
//! which gives the same answer for these too; tests and a fuzz target hold the two against each other.
//!
//! The functions are compiled twice from one source: for any processor, and with AVX2, BMI and POPCNT,
//! chosen at run time once a batch.

use std::net::SocketAddr;
use std::sync::Arc;

use arrayvec::ArrayVec;

use super::limit::{Limiter, Marks};
use super::plain::{Plain, QUESTION_TAIL, head};
use super::{Asker, Transport, answer, is_proxy};
use crate::config::Cookies;
use crate::geo::{Begun, Merged, Near, Subnets};
use crate::model::{Bearer, Family, Source, Spread};
use crate::steer::{self, Client};
use crate::table::{Cells, HOT_BLOCK, HotLine, PlanTable, Ready, ReadyKind, Replies, Snapshot, Traffic};
use crate::wire::{BATCH, Batch, HEADER_LENGTH, LONGEST, PROXY_SIGNATURE, SLOT};

/// Where a location came from; indexes `Snapshot::location_counter`.
const FROM_ECS: usize = 0;
const FROM_RESOLVER: usize = 1;
const FROM_NOTHING: usize = 2;

/// Queries that one is counted for, or a second's.
const SAMPLE: u32 = 256;

/// Answers batches; one for each worker, which is alone with it.
pub struct Batches {
    reply: Box<[u8]>,
    /// What `spread = "random"` picks by; a new one for each query that takes the other path.
    random: u64,
    /// When the batch was received, in microseconds of Unix time: what cookies are dated and rates measured by.
    pub now: u64,
    limiter: Limiter,
    traffic: Arc<Traffic>,
    /// Chooses whom of a batch to count.
    turn: u64,
    /// Queries since one was counted, and when that was.
    unseen: u32,
    seen: u64,
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
    Static(&'s HotLine),
    Unknown,
}

/// A query for a service.
struct Steered<'s> {
    line: &'s HotLine,
    replies: &'s Replies,
    trie: Option<&'s Merged>,
    begun: Begun,
    /// Where there are derived locations.
    near: Near,
}

impl Batches {
    /// `seed` is where its random figures begin; nobody outside should know it.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let (limiter, traffic) = (Limiter::new(seed), Arc::default());
        Self { reply: vec![0; LONGEST].into(), random: seed, now: 0, limiter, traffic, turn: seed, unseen: 0, seen: 0 }
    }

    /// Who asks it.
    #[must_use]
    pub fn traffic(&self) -> Arc<Traffic> {
        self.traffic.clone()
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
        self.unseen += batch.count as u32;
        if self.unseen >= SAMPLE || self.now.wrapping_sub(self.seen) >= 1_000_000 {
            self.see_one(batch);
        }
        if !snapshot.parts.config.access.is_open() {
            turn_away(snapshot, batch);
        }
        let asked = batch.lengths;
        let mut marks = Marks::default();
        self.answer_all(snapshot, cells, &mut marks, batch);
        // Over 64 lanes, those left over from before among them: they are as they were.
        let mut least = i16::MAX;
        for (asked, length) in asked.iter().zip(&batch.lengths) {
            least = least.min((3 * asked).wrapping_sub(2 * length) as i16); // a slot has 2,112 octets
        }
        if least < 0 || marks.limitable != 0 {
            let Self { limiter, traffic, now, .. } = self;
            limiter.hold_back(snapshot, cells, &traffic.limited, batch, &asked, &marks, *now);
        }
    }

    /// Counts one query of the batch for all since the last one that was counted.
    #[cold]
    #[inline(never)]
    fn see_one(&mut self, batch: &Batch) {
        let count = batch.count.min(BATCH);
        if count == 0 {
            return;
        }
        self.turn = self.turn.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f); // Knuth's MMIX
        let one = (((self.turn >> 32) * count as u64) >> 32) as usize;
        self.traffic.asking.count(Source::of(batch.clients[one].ip()), self.unseen.into(), self.seconds());
        (self.unseen, self.seen) = (0, self.now);
    }

    /// In seconds of Unix time.
    fn seconds(&self) -> u32 {
        (self.now / 1_000_000) as u32
    }

    /// The passes.
    #[inline(always)]
    fn answer_all(&mut self, snapshot: &Snapshot, cells: &Cells, marks: &mut Marks, batch: &mut Batch) {
        let Batch { slots, lengths, clients, begun, count, .. } = batch;
        let count = (*count).min(BATCH);
        let (slots, lengths, clients) = (&mut slots[..count], &mut lengths[..count], &clients[..count]);
        let mut jobs = ArrayVec::<Job<'_>, BATCH>::new();
        let derived = snapshot.parts.measured.space();
        let mut some_cookie = 0;
        // Loops and no `for_each`: a closure would be compiled apart, without the processor's features.
        for ((slot, &length), client) in slots.iter_mut().zip(lengths.iter()).zip(clients) {
            let query = Plain::read(slot, length.into(), client);
            some_cookie |= query.cookie_at;
            let place = snapshot.hot.place(&query.name);
            snapshot.hot.prefetch(place);
            if let Some(space) = derived {
                query.prefetch_near(space);
            }
            jobs.push(Job { slot, query, place, found: Found::Unknown });
        }
        if !snapshot.parts.config.ecs.allow.is_empty() {
            leave_subnets(snapshot, &mut jobs, clients);
        }
        for job in &mut jobs {
            job.found = job.find(snapshot, cells);
        }
        if let Some(space) = derived {
            begin_near(snapshot, space, &mut jobs);
        }
        for job in &mut jobs {
            if let Found::Steered(steered) = &mut job.found {
                steered.begin(&job.query);
            }
        }
        let mut bearers = ArrayVec::<Bearer, BATCH>::new();
        if some_cookie != 0 {
            for (index, (job, client)) in jobs.iter().zip(clients).enumerate() {
                bearers.extend(job.query.bearer(job.slot, index, client));
            }
        }
        let mut limitable = 0;
        for ((job, length), client) in jobs.iter_mut().zip(lengths.iter_mut()).zip(clients) {
            *begun += 1;
            let Job { slot, query, found, .. } = job;
            let answered = match found {
                Found::Steered(steered) => query.steered(snapshot, cells, steered, derived, slot),
                Found::Static(line) => {
                    let length = query.fixed(snapshot, cells, line, slot);
                    limitable |= u64::from(slot[7] == 0) << (*begun - 1); // ANCOUNT
                    length
                }
                Found::Unknown => None,
            };
            let answered = match answered {
                Some(answered) => answered,
                None => self.other(snapshot, cells, marks, (*begun - 1, client), slot, query, (*length).into()),
            };
            *length = answered as u16; // a slot is shorter than 65,536 octets
        }
        marks.limitable |= limitable;
        if let Cookies::Secrets(secrets) = &snapshot.parts.config.server.cookies
            && some_cookie != 0
        {
            secrets.reply_all(&mut bearers, (self.now / 1_000_000) as u32);
            let apart = marks.apart;
            for bearer in bearers.iter().filter(|bearer| apart >> bearer.index & 1 == 0) {
                let (Job { slot, query, .. }, length) = (&mut jobs[bearer.index], &mut lengths[bearer.index]);
                *length = query.put_cookies(slot, (*length).into(), bearer) as u16;
                marks.vouch(bearer);
            }
        }
    }

    /// Answers one query in its place, and marks what is known of it.
    #[cold]
    #[inline(never)]
    #[expect(clippy::too_many_arguments, reason = "one call, from the middle of a batch")]
    fn other(
        &mut self,
        snapshot: &Snapshot,
        cells: &Cells,
        marks: &mut Marks,
        (index, client): (usize, &SocketAddr),
        slot: &mut [u8; SLOT],
        query: &Plain,
        length: usize,
    ) -> usize {
        if query.name_length > 0
            && let Some(length) = query.negative(snapshot, cells, slot)
        {
            marks.limitable |= 1 << index;
            return length;
        }
        self.random = steer::client_key(self.random, Client::Resolver(client.ip())).0;
        let (address, transport) = (client.ip(), Transport::Datagram);
        let asker = Asker { address, transport, random: self.random, now: self.seconds() };
        let answered = answer(snapshot, cells, asker, &slot[..length.min(LONGEST)], &mut self.reply);
        slot[..answered.length].copy_from_slice(&self.reply[..answered.length]);
        marks.add(index, answered)
    }
}

impl Job<'_> {
    /// Pass 2.
    #[inline(always)]
    fn find<'s>(&self, snapshot: &'s Snapshot, cells: &Cells) -> Found<'s> {
        let query = &self.query;
        if query.name_length == 0 {
            return Found::Unknown;
        }
        let Some(line) = snapshot.hot.find(self.place, &query.name, query.rtype) else { return Found::Unknown };
        if line.is_static() {
            snapshot.hot.prefetch_answer(line);
            return Found::Static(line);
        }
        if !snapshot.steering {
            return Found::Unknown;
        }
        let (plan, family) = (snapshot.plan_table(line.plan()), query.family());
        let (trie, replies) = (plan.trie(family), plan.replies(family));
        cells.prefetch(line.counter());
        if let Some(trie) = trie {
            query.prefetch(trie);
        }
        Found::Steered(Steered { line, replies, trie, begun: Begun::default(), near: Near::default() })
    }
}

impl Steered<'_> {
    /// Pass 3.
    #[inline(always)]
    fn begin(&mut self, query: &Plain) {
        if let Some(trie) = self.trie {
            self.begun = query.begin(trie);
        }
    }
}

/// Behind pass 2.
#[inline(always)]
fn begin_near(snapshot: &Snapshot, space: &Subnets, jobs: &mut [Job<'_>]) {
    for Job { query, found, .. } in jobs {
        if let Found::Steered(steered) = found {
            steered.near = query.begin_near(snapshot, space, steered.line);
        }
    }
}

/// Marks queries of who is not admitted as responses: these are not plain, and the other path counts and drops them.
#[inline(never)]
fn turn_away(snapshot: &Snapshot, batch: &mut Batch) {
    let access = &snapshot.parts.config.access;
    for (slot, client) in batch.slots.iter_mut().zip(&batch.clients).take(batch.count) {
        let is_proxied = slot.starts_with(&PROXY_SIGNATURE) && is_proxy(snapshot, client.ip());
        if !is_proxied && !access.admits(client.ip()) {
            slot[2] |= 0x80;
        }
    }
}

/// Leaves queries whose client subnet is not heeded to the other path.
#[inline(never)]
fn leave_subnets(snapshot: &Snapshot, jobs: &mut [Job<'_>], clients: &[SocketAddr]) {
    for (job, client) in jobs.iter_mut().zip(clients) {
        if job.query.subnet_length > 0 && !snapshot.parts.config.ecs.heeds(client.ip()) {
            job.query.name_length = 0;
        }
    }
}

/// Pass 4.
impl Plain {
    /// Of a query for a service.
    #[inline(always)]
    pub(super) fn family(&self) -> Family {
        if self.rtype == 1 { Family::V4 } else { Family::V6 }
    }

    /// A service's answer; none: the other path gives it.
    #[inline(always)]
    fn steered(
        &self,
        snapshot: &Snapshot,
        cells: &Cells,
        steered: &Steered<'_>,
        derived: Option<&Subnets>,
        slot: &mut [u8; SLOT],
    ) -> Option<usize> {
        let &Steered { line, replies, trie, begun, near } = steered;
        // As a trie has it: the order, whether the place is known, and the length of its leaf.
        let (mut value, mut scope) = match trie {
            Some(trie) => self.finish(trie, begun),
            None => self.locate(snapshot, line),
        };
        if let Some(space) = derived {
            let Near { subnet, length } = self.finish_near(space, near);
            match subnet.filter(|_| length <= self.source) {
                Some(subnet) => (value, scope) = (self.derived(snapshot, line, subnet), length),
                None => scope = scope.max(length), // one that leaves derived locations out
            }
        }
        if scope > self.source {
            return None; // a prefix that several leaves share
        }
        let (order, located) = PlanTable::decode(value);
        let mut ready = replies.ready(order);
        if ready.kind != ReadyKind::Whole {
            ready = self.pick(snapshot, steered, ready)?;
            scope = scope.max(if self.is_v6 { 48 } else { 24 });
        }
        let (subnet, at) = (self.subnet(slot), HEADER_LENGTH + usize::from(self.name_length) + QUESTION_TAIL);
        let image = slot[at..].first_chunk_mut().expect("a slot goes on behind the longest question");
        *image = ready.octets;
        // Three records of IPv4 have room there, or one of IPv6. Where there are fewer, the TTLs of the others lie
        // behind the image, and OPT or the end of the message covers them.
        let ttl = line.ttl().min(ready.ttl).to_be_bytes();
        image[6..10].copy_from_slice(&ttl);
        if self.rtype == 1 {
            image[22..26].copy_from_slice(&ttl);
            image[38..42].copy_from_slice(&ttl);
        }
        head(slot, [0x84, 0], ready.records);
        let source = match (located, self.subnet_length > 0) {
            (false, _) => FROM_NOTHING,
            (true, true) => FROM_ECS,
            (true, false) => FROM_RESOLVER,
        };
        for counter in [line.counter(), snapshot.location_counter(source), ready.counter, line.zone_counter()] {
            cells.count(counter);
        }
        Some(self.put_opt(slot, at + usize::from(ready.length), subnet, scope))
    }

    /// The steps of looking its address up: that of pass 2, …
    #[inline(always)]
    fn prefetch(&self, space: &Merged) {
        match self.is_v6 {
            false => space.prefetch_v4(self.address as u32),
            true => space.prefetch_v6(self.address),
        }
    }

    /// … of pass 3 …
    #[inline(always)]
    fn begin(&self, space: &Merged) -> Begun {
        match self.is_v6 {
            false => space.begin_v4(self.address as u32),
            true => space.begin_v6(self.address),
        }
    }

    /// … and of pass 4.
    #[inline(always)]
    fn finish(&self, space: &Merged, begun: Begun) -> (u32, u8) {
        match self.is_v6 {
            false => space.finish_v4(begun, self.address as u32),
            true => space.finish_v6(begun, self.address),
        }
    }

    /// As a trie says it, of a plan that has none. Apart, so that the other way keeps its registers.
    #[inline(never)]
    fn locate(&self, snapshot: &Snapshot, line: &HotLine) -> (u32, u8) {
        let plan = snapshot.plan_table(line.plan());
        let placed = plan.place(&snapshot.parts, self.family(), self.ip(), self.source);
        (PlanTable::encode(placed.order, placed.located), placed.length)
    }

    /// Whom of those that share this client gets. Apart, as above.
    #[inline(never)]
    fn pick<'s>(&self, snapshot: &Snapshot, steered: &Steered<'s>, ready: &Ready) -> Option<&'s Ready> {
        let &Steered { line, replies, .. } = steered;
        let plan = snapshot.plan_table(line.plan());
        if ready.kind != ReadyKind::Split || plan.plan.policy.spread == Spread::Random {
            return None;
        }
        let split = replies.split(ready.index);
        let address = self.ip();
        let client = if self.subnet_length > 0 { Client::Subnet(address) } else { Client::Resolver(address) };
        let member = steer::pick(split, steer::client_key(snapshot.hot.salt(line), client));
        Some(replies.ready_of(member)).filter(|ready| ready.kind == ReadyKind::Whole)
    }

    /// An answer that depends on the question alone.
    #[inline(always)]
    fn fixed(&self, snapshot: &Snapshot, cells: &Cells, line: &HotLine, slot: &mut [u8; SLOT]) -> Option<usize> {
        let (answer, octets) = snapshot.hot.answer(line);
        let name = HEADER_LENGTH..HEADER_LENGTH + usize::from(self.name_length);
        if answer.lower_case_only && slot[name.clone()].iter().any(u8::is_ascii_uppercase) {
            return None;
        }
        let (subnet, at) = (self.subnet(slot), name.end + QUESTION_TAIL);
        for (to, from) in slot[at..].chunks_exact_mut(HOT_BLOCK).zip(octets.chunks_exact(HOT_BLOCK)) {
            to.copy_from_slice(from);
        }
        head(slot, answer.flags, answer.answers);
        slot[9] = answer.authority;
        slot[11] += answer.additional;
        answer.counters.iter().flatten().for_each(|&counter| cells.count(counter));
        Some(self.put_opt(slot, at + usize::from(answer.length), subnet, 0))
    }
}
