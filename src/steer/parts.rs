//! Members that share their clients by unequal parts.

use arrayvec::ArrayVec;

use super::settle::Choice;
use super::spread::{MAX_SHARES, apportion};
use crate::model::Member;

/// Two to [`MAX_SHARES`] members with parts of 256 that add up; by member.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts {
    members: [u8; MAX_SHARES],
    parts: [u8; MAX_SHARES],
    count: u8,
}

const _: () = assert!(MAX_SHARES == 4, "members and parts fit into a word");

impl Parts {
    /// Them.
    pub fn shares(self) -> impl Iterator<Item = (Member, u16)> {
        let shares = self.members.into_iter().zip(self.parts).take(self.count.into());
        shares.map(|(member, parts)| (Member(member), parts.into()))
    }

    /// All of it in a number.
    pub(super) fn word(self) -> u64 {
        u64::from(u32::from_le_bytes(self.members)) << 32 | u64::from(u32::from_le_bytes(self.parts))
    }
}

/// Adds up what clients of different thresholds choose.
pub(super) struct Tally<'a> {
    /// By member.
    weights: &'a [u32; 256],
    /// The only choice so far; none: there were several.
    only: Option<Choice>,
    /// Members with their parts in 1/65536 of a 256th. Beyond so many they get none.
    sums: ArrayVec<(u8, u64), 16>,
}

impl<'a> Tally<'a> {
    pub(super) fn new(weights: &'a [u32; 256]) -> Self {
        Self { weights, only: None, sums: ArrayVec::new() }
    }

    /// So many 256ths of the clients choose that.
    pub(super) fn add(&mut self, choice: Choice, width: u16) {
        self.only = if self.sums.is_empty() { Some(choice) } else { self.only.filter(|only| *only == choice) };
        let whole = u64::from(width) << 16;
        match choice {
            Choice::One(member) => self.add_member(member, whole),
            Choice::Several(few) => {
                let weight = |member: Member| u64::from(self.weights[member.index()]);
                let total: u64 = few.members().map(weight).sum();
                few.members().for_each(|member| self.add_member(member, whole * weight(member) / total));
            }
            Choice::Parts(_) | Choice::Nodata | Choice::Servfail => {}
        }
    }

    fn add_member(&mut self, member: Member, part: u64) {
        match self.sums.iter_mut().find(|(known, _)| *known == member.0) {
            Some((_, sum)) => *sum += part,
            None => drop(self.sums.try_push((member.0, part))),
        }
    }

    /// What it comes to: the largest parts, where there are too many.
    pub(super) fn finish(mut self) -> Choice {
        if let Some(only) = self.only {
            return only;
        }
        self.sums.sort_unstable_by_key(|&(member, sum)| (std::cmp::Reverse(sum), member));
        self.sums.truncate(MAX_SHARES);
        self.sums.sort_unstable_by_key(|&(member, _)| member);
        let mut weights = [0; MAX_SHARES];
        weights.iter_mut().zip(&self.sums).for_each(|(weight, &(_, sum))| *weight = sum as u32); // at most 2^24
        let apportioned = apportion(&weights[..self.sums.len()]);
        let mut all = Parts { members: [0; MAX_SHARES], parts: [0; MAX_SHARES], count: self.sums.len() as u8 };
        for (index, (member, _)) in self.sums.iter().enumerate() {
            (all.members[index], all.parts[index]) = (*member, apportioned[index] as u8); // two have at most 255 each
        }
        if all.count == 1 { Choice::One(Member(all.members[0])) } else { Choice::Parts(all) }
    }
}
