//! Names that are answered at once: what the batched path looks up, in one cache line a name.
//!
//! Open addressing over the folded name, half full at most, services first: they are found in one
//! line nearly always. Who asks cannot choose what lies in the table, only the operator can, so the
//! hash needs no seed; an entry that would lie [`FARTHEST`] lines from its place or farther is left
//! out, and its name is answered the slow way. So is every name that is not here: the table is a copy
//! of what the zones say, never a source.

use super::counters::NAMELESS;
use super::negative::Negative;
use crate::model::{CounterId, Large, PlanId, ZoneId};

/// Octets of the longest name here, the root's zero included.
pub const HOT_NAME: usize = 48;
/// Octets of the longest static answer here, behind the question: with the longest name and OPT it
/// fits into the 512 octets that every client takes.
pub const HOT_ANSWER: usize = 384;
/// Answers are copied by blocks of so many octets.
pub const HOT_BLOCK: usize = 64;
/// Lines from its place that an entry may lie.
const FARTHEST: usize = 64;

/// A name, lower-cased, padded with zeros, in little-endian words.
pub type FoldedName = [u64; HOT_NAME / 8];

/// The table. Immutable once made.
#[derive(Debug)]
pub struct Hot {
    lines: Large<HotLine>,
    /// What the spread of a service is seeded by, by its counter.
    salts: Large<u64>,
    answers: Large<HotAnswer>,
    octets: Large<u8>,
    negatives: Box<[Option<Negative>]>,
}

/// What the answer of a service counts and is spread by.
#[derive(Clone, Copy, Debug)]
pub struct HotService {
    /// Seeds its spread.
    pub salt: u64,
    /// Counts its queries.
    pub counter: CounterId,
    /// Counts its zone's NOERROR answers.
    pub zone_counter: CounterId,
}

/// An answer that depends on the question alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct HotAnswer {
    /// Octets 2 and 3 of the header, RD left out.
    pub flags: [u8; 2],
    /// ANCOUNT.
    pub answers: u8,
    /// NSCOUNT.
    pub authority: u8,
    /// ARCOUNT, the query's OPT not counted.
    pub additional: u8,
    /// It has pointers into the question's name, so it fits only a query in lower case (what is
    /// compressed keeps its case).
    pub lower_case_only: bool,
    /// What it counts; at most two.
    pub counters: [Option<CounterId>; 2],
    /// Its octets.
    pub length: u16,
}

/// A name and what it holds.
#[repr(align(64))]
#[derive(Clone, Copy, Debug)]
pub struct HotLine {
    name: FoldedName,
    /// Of a steered name the bits of the types that it answers, A and AAAA, and between them its zone's counter; else
    /// `STATIC` or `FREE`.
    types: u32,
    /// Of a steered name its counter, of a static one its answer.
    index: u32,
    /// Of a steered name its plan, of a static one the type.
    plan_or_type: u32,
    /// Of a steered name the TTL, of a static one where the octets of its answer lie.
    ttl_or_start: u32,
}

const FREE: u32 = 0;
/// No type below it has this bit.
const STATIC: u32 = 1 << 31;
/// Those of A and AAAA.
const STEERED: u32 = 1 << 1 | 1 << 28;
/// Where the zone's counter lies, and how large it may be.
const ZONE_SHIFT: u32 = 2;
const MAX_ZONE_COUNTER: u32 = (1 << (28 - ZONE_SHIFT)) - 1;
const FREE_LINE: HotLine = HotLine { name: [0; HOT_NAME / 8], types: FREE, index: 0, plan_or_type: 0, ttl_or_start: 0 };

impl HotLine {
    /// The plan of a steered name.
    #[inline(always)]
    #[must_use]
    pub fn plan(&self) -> PlanId {
        PlanId(self.plan_or_type)
    }

    /// The TTL of a steered name, in seconds.
    #[inline(always)]
    #[must_use]
    pub fn ttl(&self) -> u32 {
        self.ttl_or_start
    }

    /// Is it of a static name, and has an [answer](Hot::answer)?
    #[inline(always)]
    #[must_use]
    pub fn is_static(&self) -> bool {
        self.types == STATIC
    }

    /// Counts the queries of a steered name.
    #[inline(always)]
    #[must_use]
    pub fn counter(&self) -> CounterId {
        CounterId(self.index)
    }

    /// Counts the NOERROR answers of a steered name's zone.
    #[inline(always)]
    #[must_use]
    pub fn zone_counter(&self) -> CounterId {
        CounterId((self.types & !STEERED) >> ZONE_SHIFT)
    }

    #[inline(always)]
    fn is_of(&self, name: &FoldedName, rtype: u16) -> bool {
        self.name == *name
            && ((rtype < 31 && (self.types & STEERED) >> rtype & 1 != 0)
                || (self.types == STATIC && self.plan_or_type == u32::from(rtype)))
    }
}

impl Default for Hot {
    fn default() -> Self {
        HotBuilder::with_room(0).finish()
    }
}

impl Hot {
    /// The place of a name: its line, from which entries lie onward.
    #[inline(always)]
    #[must_use]
    pub fn place(&self, name: &FoldedName) -> usize {
        place(name, self.lines.len())
    }

    /// Begins to fetch the line at a place.
    #[inline(always)]
    pub fn prefetch(&self, place: usize) {
        crate::model::prefetch_in(&self.lines, place);
    }

    /// The line of a folded name, at its place, and a type. None: ask the zones.
    #[inline(always)]
    #[must_use]
    pub fn find(&self, place: usize, name: &FoldedName, rtype: u16) -> Option<&HotLine> {
        let first = &self.lines[place];
        if first.is_of(name, rtype) { Some(first) } else { self.find_behind(place, name, rtype) }
    }

    /// Apart, so that the first line, which is nearly always the right one, costs no loop.
    #[inline(never)]
    fn find_behind(&self, place: usize, name: &FoldedName, rtype: u16) -> Option<&HotLine> {
        let mut used = self.lines[place..].iter().take(FARTHEST).take_while(|line| line.types != FREE);
        // Most differ in their first octets: that is seen without a call.
        used.find(|line| line.name[0] == name[0] && line.is_of(name, rtype))
    }

    /// What the spread of a steered name is seeded by.
    #[must_use]
    pub fn salt(&self, line: &HotLine) -> u64 {
        self.salts[line.counter().index()]
    }

    /// Begins to fetch the answer of a static name.
    #[inline(always)]
    pub fn prefetch_answer(&self, line: &HotLine) {
        crate::model::prefetch_in(&self.answers, line.index as usize);
        crate::model::prefetch_in(&self.octets, line.ttl_or_start as usize);
    }

    /// The answer of a static name, with its octets behind the question, OPT left out, padded to whole blocks.
    #[inline(always)]
    #[must_use]
    pub fn answer(&self, line: &HotLine) -> (&HotAnswer, &[u8]) {
        let answer = &self.answers[line.index as usize];
        let length = usize::from(answer.length).next_multiple_of(HOT_BLOCK);
        (answer, &self.octets[line.ttl_or_start as usize..][..length])
    }

    /// What the names that a zone does not have are answered with; none: ask the other path.
    #[inline(always)]
    #[must_use]
    pub fn negative(&self, zone: ZoneId) -> Option<&Negative> {
        self.negatives.get(zone.index())?.as_ref()
    }

    /// Lines, free ones too.
    #[must_use]
    pub fn lines(&self) -> usize {
        self.lines.len()
    }
}

/// Takes entries; [`finish`](Self::finish) freezes them.
#[derive(Debug)]
pub struct HotBuilder {
    lines: Vec<HotLine>,
    salts: Vec<u64>,
    answers: Vec<HotAnswer>,
    octets: Vec<u8>,
    negatives: Vec<Option<Negative>>,
    known: std::collections::HashMap<Box<[u8]>, u32>,
}

impl HotBuilder {
    /// Room for so many entries.
    #[must_use]
    pub fn with_room(entries: usize) -> Self {
        let lines = vec![FREE_LINE; entries * 2 + FARTHEST];
        let known = std::collections::HashMap::new();
        Self { lines, salts: Vec::new(), answers: Vec::new(), octets: Vec::new(), negatives: Vec::new(), known }
    }

    /// A service at a lower-cased wire name, for the families that it `offers` (A, AAAA).
    pub fn steered(&mut self, name: &[u8], offers: [bool; 2], plan: PlanId, ttl: u32, service: HotService) {
        let types = u32::from(offers[0]) << 1 | u32::from(offers[1]) << 28;
        let HotService { salt, counter, zone_counter } = service;
        assert!(zone_counter.0 <= MAX_ZONE_COUNTER, "counters are bounded");
        // Several services may have the counter of those that have none: the other path tells their salts apart.
        if types != FREE && counter != NAMELESS {
            let types = types | zone_counter.0 << ZONE_SHIFT;
            self.salts.resize(self.salts.len().max(counter.index() + 1), 0);
            self.salts[counter.index()] = salt;
            self.put(name, HotLine { types, index: counter.0, plan_or_type: plan.0, ttl_or_start: ttl, ..FREE_LINE });
        }
    }

    /// A ready answer at a lower-cased wire name. Equal octets are kept once.
    pub fn fixed(&mut self, name: &[u8], rtype: u16, answer: HotAnswer, octets: &[u8]) {
        let start = *self.known.entry(octets.into()).or_insert_with(|| {
            let start = self.octets.len();
            self.octets.extend_from_slice(octets);
            self.octets.resize(self.octets.len().next_multiple_of(HOT_BLOCK), 0);
            u32::try_from(start).expect("entries are bounded, and so are answers")
        });
        let length = u16::try_from(octets.len()).expect("longer answers are not put here");
        let index = u32::try_from(self.answers.len()).expect("entries are bounded");
        let line = HotLine { types: STATIC, index, plan_or_type: rtype.into(), ttl_or_start: start, ..FREE_LINE };
        if self.put(name, line) {
            self.answers.push(HotAnswer { length, ..answer });
        }
    }

    /// Puts it at the first free line from its place on; false where there is none near. Names with a zero
    /// within are left out: the others differ from each other, padded with zeros, too.
    fn put(&mut self, name: &[u8], line: HotLine) -> bool {
        if name.len() > HOT_NAME || name[..name.len() - 1].contains(&0) {
            return false;
        }
        let mut octets = [0; HOT_NAME];
        octets[..name.len()].copy_from_slice(name);
        let folded = fold(&octets, name.len());
        let place = place(&folded, self.lines.len());
        let free = self.lines[place..place + FARTHEST].iter_mut().find(|line| line.types == FREE);
        free.is_some_and(|free| {
            *free = HotLine { name: folded, ..line };
            true
        })
    }

    /// The negative answers of the first zones, by `ZoneId`.
    pub fn negatives(&mut self, negatives: Vec<Option<Negative>>) {
        self.negatives = negatives;
    }

    /// The table.
    #[must_use]
    pub fn finish(self) -> Hot {
        let Self { lines, salts, answers, octets, negatives, .. } = self;
        Hot {
            lines: lines.into(),
            salts: salts.into(),
            answers: answers.into(),
            octets: octets.into(),
            negatives: negatives.into(),
        }
    }
}

impl HotAnswer {
    /// One whose octets are yet to be put. `counts` are those of its sections, the query's OPT left out.
    #[must_use]
    pub fn new(flags: [u8; 2], counts: [u16; 3], lower_case_only: bool, counters: [Option<CounterId>; 2]) -> Self {
        let [answers, authority, additional] =
            counts.map(|count| u8::try_from(count).expect("few records fit into a short answer"));
        Self { flags, answers, authority, additional, lower_case_only, counters, length: 0 }
    }
}

/// The first `length` octets, lower-cased, zeros behind. Written so that compilers make vectors of it.
#[inline(always)]
#[must_use]
pub fn fold(octets: &[u8; HOT_NAME], length: usize) -> FoldedName {
    let mask = &MASKS[length % MASKS.len()];
    let mut lower = *octets;
    // A loop and no `map`: a closure would be compiled apart, without the processor's features.
    for octet in &mut lower {
        // 'A' to 'Z', moved to the least signed octets. Length octets are below 'A'.
        let is_upper = (octet.wrapping_add(0x80 - b'A') as i8) < i8::MIN + 26;
        *octet |= u8::from(is_upper) << 5;
    }
    std::array::from_fn(|at| u64::from_le_bytes(*lower[at * 8..].first_chunk().expect("six words")) & mask[at])
}

/// For each length the octets within it; a power of two of them, so that an index is cut without a branch.
static MASKS: [FoldedName; 64] = {
    let mut masks = [[0; HOT_NAME / 8]; 64];
    let mut length = 1;
    while length <= HOT_NAME {
        masks[length] = masks[length - 1];
        masks[length][(length - 1) / 8] |= 0xff << ((length - 1) % 8 * 8);
        length += 1;
    }
    masks
};

/// The first of the [`FARTHEST`] lines, of `lines`, that may hold a name: NH (RFC 4418 §5.2.2), which is a sum
/// of products of half words, then a product whose highest bits, that depend on all, are brought into the range.
#[inline(always)]
fn place(name: &FoldedName, lines: usize) -> usize {
    // Words of 2⁶⁴ over the golden ratio and the roots of 2, 3, 5, …: no structure of their own.
    const KEY: FoldedName = [
        0x9e37_79b9_7f4a_7c15,
        0xb504_f333_f9de_6485,
        0x93cd_3a2c_8198_e269,
        0x727c_9716_ffb7_64d5,
        0x60c2_9ad4_0d1b_1b0b,
        0x5eaf_0cb8_61d8_8f2d,
    ];
    let product = |at: usize| {
        let low = (name[at] as u32).wrapping_add(KEY[at] as u32);
        let high = ((name[at] >> 32) as u32).wrapping_add((KEY[at] >> 32) as u32);
        u64::from(low) * u64::from(high)
    };
    let sum = (0..HOT_NAME / 8).fold(0u64, |sum, at| sum.wrapping_add(product(at))).wrapping_mul(KEY[0]);
    let homes = lines - (FARTHEST - 1);
    ((u128::from(sum) * homes as u128) >> 64) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Vec<u8> {
        text.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()).chain([0]).collect()
    }

    fn find<'h>(hot: &'h Hot, wire: &[u8], rtype: u16) -> Option<&'h HotLine> {
        let mut window = [0xff; HOT_NAME];
        window[..wire.len()].copy_from_slice(wire);
        let folded = fold(&window, wire.len());
        hot.find(hot.place(&folded), &folded, rtype)
    }

    #[test]
    fn names_are_found_by_type_and_case_does_not_matter() {
        let mut builder = HotBuilder::with_room(4);
        let service = HotService { salt: 9, counter: CounterId(1), zone_counter: CounterId(2) };
        builder.steered(&name("www.shop.example"), [true, false], PlanId(7), 20, service);
        let answer = HotAnswer::new([0x84, 0], [1, 0, 0], false, [None; 2]);
        builder.fixed(&name("www.shop.example"), 65, answer, b"nodata");
        builder.fixed(&name("ns1.shop.example"), 1, answer, b"address");
        builder.fixed(&[0], 6, answer, b"root");
        let hot = builder.finish();
        let steered = find(&hot, &name("wWw.Shop.EXAMPLE"), 1).unwrap();
        assert_eq!((steered.is_static(), steered.plan(), steered.ttl()), (false, PlanId(7), 20));
        assert_eq!((hot.salt(steered), steered.counter(), steered.zone_counter()), (9, CounterId(1), CounterId(2)));
        let answer = |wire: &[u8], rtype| {
            let line = find(&hot, wire, rtype)?;
            let (answer, octets) = hot.answer(line);
            line.is_static().then(|| str::from_utf8(&octets[..answer.length.into()]).unwrap())
        };
        assert_eq!(answer(&name("www.shop.example"), 28), None);
        assert_eq!(answer(&name("www.shop.example"), 65), Some("nodata"));
        assert_eq!(answer(&name("ns1.shop.example"), 1), Some("address"));
        assert_eq!(answer(&name("ns2.shop.example"), 1), None);
        assert_eq!([6, 0, 1, 31].map(|rtype| answer(&[0], rtype)), [Some("root"), None, None, None]);
        let (_, octets) = hot.answer(find(&hot, &name("ns1.shop.example"), 1).unwrap());
        assert_eq!((octets.len(), octets[7]), (HOT_BLOCK, 0));
        assert!(find(&Hot::default(), &name("www.shop.example"), 1).is_none());
        assert!(find(&Hot::default(), &[0], 0).is_none());
    }

    /// They would look like shorter ones.
    #[test]
    fn a_name_with_a_zero_within_is_left_out() {
        let mut builder = HotBuilder::with_room(4);
        builder.fixed(b"\x03a\0\0\0", 1, HotAnswer::new([0x84, 0], [1, 0, 0], false, [None; 2]), b"zeros");
        let hot = builder.finish();
        assert!(find(&hot, b"\x03a\0", 1).is_none() && find(&hot, b"\x03a\0\0\0", 1).is_none());
    }

    #[test]
    fn a_full_neighbourhood_leaves_names_out_and_searches_end() {
        let mut builder = HotBuilder::with_room(200);
        let answer = HotAnswer::new([0x84, 0], [0; 3], false, [None; 2]);
        for rtype in 1..=200 {
            builder.fixed(&name("many.example"), rtype, answer, &rtype.to_be_bytes());
        }
        let hot = builder.finish();
        let found = (1..=200).filter(|&rtype| find(&hot, &name("many.example"), rtype).is_some()).count();
        assert_eq!(found, FARTHEST);
        assert!(find(&hot, &name("many.example"), 201).is_none());
    }

    #[test]
    fn names_that_differ_in_one_octet_fall_apart() {
        let mut builder = HotBuilder::with_room(100_000);
        let answer = HotAnswer::new([0x84, 0], [0; 3], false, [None; 2]);
        for n in 0..100_000 {
            builder.fixed(&name(&format!("n{n}.shop.example")), 1, answer, b"same");
        }
        let hot = builder.finish();
        let missing = (0..100_000).filter(|n| find(&hot, &name(&format!("n{n}.shop.example")), 1).is_none());
        assert_eq!(missing.count(), 0);
        assert_eq!(hot.octets.len(), HOT_BLOCK);
    }
}
