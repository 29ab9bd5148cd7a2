//! Pass 1 of a batch: plain queries, read in wide steps; and the ends of their replies, written so.
//!
//! What is not plain, or looks wrong in any way, is left to [`respond`](super::respond), which judges it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::octets::{u32_at, u64_at};
use crate::model::first_zero;
use crate::table::{FoldedName, HOT_NAME, fold};
use crate::wire::{
    ADVERTISED_UDP_SIZE, HEADER_LENGTH, LONGEST, OPTION_CLIENT_SUBNET, OPTION_COOKIE, OPTION_NSID, SLOT,
};

/// Octets of an OPT record without options.
pub(super) const OPT_LENGTH: usize = 11;
/// QTYPE and QCLASS.
pub(super) const QUESTION_TAIL: usize = 4;
/// RDLENGTH, OPTION-CODE, OPTION-LENGTH and FAMILY of an OPT record whose one option is a client subnet
/// without an address; and what each octet of one adds.
const LONE_V4: u64 = 8 << 48 | (OPTION_CLIENT_SUBNET as u64) << 32 | 4 << 16 | 1;
const LONE_V6: u64 = LONE_V4 + 1;
const LONE_OCTET: u64 = 1 << 48 | 1 << 16;

/// Octets of the longest client subnet option, its head included.
const SUBNET_LENGTH: usize = 24;
/// What the first eight octets of a reply's OPT record are but for DO.
const OPT_HEAD: [u8; 8] = {
    let size = ADVERTISED_UDP_SIZE.to_be_bytes();
    [0, 0, 41, size[0], size[1], 0, 0, 0]
};

/// A plain query.
pub(super) struct Plain {
    pub(super) name: FoldedName,
    /// 0: it is not plain, and nothing else here says anything.
    pub(super) name_length: u8,
    pub(super) rtype: u16,
    /// The address to locate by, IPv4 in the low 32 bits.
    pub(super) address: u128,
    pub(super) is_v6: bool,
    /// How many of its bits are known.
    pub(super) source: u8,
    /// It has an OPT record.
    pub(super) has_opt: bool,
    /// That record's octet with DO.
    pub(super) flags: u8,
    /// Where the client subnet option lies, and its octets; 0: none.
    pub(super) subnet_at: u16,
    pub(super) subnet_length: u8,
    /// Where the cookie option's data lies, which has a length that cookies have (RFC 7873 §4); 0: none.
    pub(super) cookie_at: u16,
}

impl Plain {
    /// Reads what the client sent. Octets of the slot behind `length` are left over from others.
    #[inline(always)]
    pub(super) fn read(slot: &[u8; SLOT], length: usize, client: &SocketAddr) -> Self {
        let mut read = Self {
            name: [0; HOT_NAME / 8],
            name_length: 0,
            rtype: 0,
            address: 0,
            is_v6: false,
            source: 0,
            has_opt: false,
            flags: 0,
            subnet_at: 0,
            subnet_length: 0,
            cookie_at: 0,
        };
        let window: &[u8; HOT_NAME] = slot[HEADER_LENGTH..].first_chunk().expect("a slot is longer");
        let name_length = 1 + first_zero(window);
        if read.read_rest(slot, name_length, length, client).is_some() {
            read.name_length = name_length as u8;
            read.name = fold(window, name_length);
        }
        read
    }

    /// All but the name; none: it is not plain.
    #[inline(always)]
    fn read_rest(&mut self, slot: &[u8; SLOT], name_length: usize, length: usize, client: &SocketAddr) -> Option<()> {
        let counts = u64_at(slot, 4);
        // Not a response, QUERY; one question; at most one additional record and no other.
        if slot[2] & 0xf8 != 0 || counts & !1 != 1 << 48 || name_length > HOT_NAME {
            return None;
        }
        let end = HEADER_LENGTH + name_length + QUESTION_TAIL;
        let tail = u32_at(slot, end - QUESTION_TAIL);
        if tail as u16 != 1 {
            return None;
        }
        self.rtype = (tail >> 16) as u16;
        if counts & 1 == 0 {
            return if end == length { self.take_client(client) } else { None };
        }
        self.has_opt = true;
        self.read_opt(slot, end, length, client)
    }

    /// The OPT record at `at`, which ends with the message.
    #[inline(always)]
    fn read_opt(&mut self, slot: &[u8; SLOT], at: usize, length: usize, client: &SocketAddr) -> Option<()> {
        let fixed = u64_at(slot, at);
        // The root's, OPT, of any size and response code, version 0, of any flags.
        if fixed & 0xffff_ff00_0000_ff00 != 41 << 40 {
            return None;
        }
        self.flags = fixed as u8 & 0x80;
        let options = at + OPT_LENGTH;
        // What nearly all have that come from a resolver with client subnet: that option alone.
        let octets = length.wrapping_sub(options + 8);
        let lone = u64_at(slot, options - 2).wrapping_sub((octets as u64).wrapping_mul(LONE_OCTET));
        if lone == LONE_V4 && octets <= 4 {
            return self.read_subnet(slot, options, octets, false);
        }
        if lone == LONE_V6 && octets <= 16 {
            return self.read_subnet(slot, options, octets, true);
        }
        self.read_options(slot, options, length, client)
    }

    /// Any options.
    #[inline(always)]
    fn read_options(&mut self, slot: &[u8; SLOT], mut at: usize, length: usize, client: &SocketAddr) -> Option<()> {
        let octets = u32_at(slot, at - 4) as u16;
        if at + usize::from(octets) != length || length > LONGEST {
            return None;
        }
        while at < length {
            // Code and length; of a client subnet its family, source and scope, too.
            let head = u64_at(slot, at);
            let octets = usize::from((head >> 32) as u16);
            if at + 4 + octets > length {
                return None;
            }
            match (head >> 48) as u16 {
                OPTION_CLIENT_SUBNET => {
                    let (family, octets) = ((head >> 16) as u16, octets.wrapping_sub(4));
                    let fits = (family == 1 && octets <= 4) || (family == 2 && octets <= 16);
                    if self.subnet_length > 0 || !fits {
                        return None;
                    }
                    self.read_subnet(slot, at, octets, family == 2)?;
                }
                OPTION_COOKIE => {
                    if self.cookie_at > 0 || !matches!(octets, 8 | 16..=40) {
                        return None;
                    }
                    self.cookie_at = at as u16 + 4;
                }
                OPTION_NSID => return None, // the other path knows what to say
                _ => {}
            }
            at += 4 + octets;
        }
        if self.subnet_length == 0 { self.take_client(client) } else { Some(()) }
    }

    /// The client subnet option at `at` with so many octets of an address, at most those of its family (RFC 7871
    /// §6). None: the other path judges it.
    #[inline(always)]
    fn read_subnet(&mut self, slot: &[u8; SLOT], at: usize, octets: usize, is_v6: bool) -> Option<()> {
        // Of source 1 to 8 one octet, and so on. A scope, which stands above it here, makes it too many.
        let source = u16::from_le_bytes([slot[at + 6], slot[at + 7]]);
        if usize::from(source.wrapping_sub(1) >> 3) != octets.wrapping_sub(1) {
            return None;
        }
        // Octets behind those given are cleared; what these hold beyond the source must be zero.
        let (spare, source) = (8 * octets, source as u8);
        let (address, is_clean) = if is_v6 {
            let octets = *slot[at + 8..].first_chunk().expect("a slot goes on behind the longest message");
            let address = u128::from_be_bytes(octets) & u128::MAX << (128 - spare);
            (address, address << (source - 1) << 1 == 0 && !is_mapped(address))
        } else {
            let address = u32_at(slot, at + 8) & u32::MAX << (32 - spare);
            (address.into(), (u64::from(address) << source) as u32 == 0)
        };
        (self.address, self.is_v6, self.source) = (address, is_v6, source);
        (self.subnet_at, self.subnet_length) = (at as u16, 8 + octets as u8);
        is_clean.then_some(())
    }

    /// Where the query came from.
    #[inline(always)]
    fn take_client(&mut self, client: &SocketAddr) -> Option<()> {
        (self.address, self.is_v6, self.source) = match client {
            SocketAddr::V4(v4) => (v4.ip().to_bits().into(), false, 32),
            SocketAddr::V6(v6) => (v6.ip().to_bits(), true, 128),
        };
        (!self.is_v6 || !is_mapped(self.address)).then_some(())
    }

    /// The address to locate by.
    #[inline(always)]
    pub(super) fn ip(&self) -> IpAddr {
        if self.is_v6 { Ipv6Addr::from(self.address).into() } else { Ipv4Addr::from(self.address as u32).into() }
    }

    /// The client subnet option, read before the answer is written over it; anything where there is none.
    #[inline(always)]
    pub(super) fn subnet(&self, slot: &[u8; SLOT]) -> (u128, u64) {
        let from = usize::from(self.subnet_at);
        let octets: &[u8] = &slot[from..from + SUBNET_LENGTH];
        let (first, rest) = octets.split_first_chunk().expect("as long as was just said");
        (u128::from_ne_bytes(*first), u64::from_ne_bytes(*rest.first_chunk().expect("as above")))
    }

    /// The OPT record where the query had one, with its client subnet (RFC 7871 §7.2.1); the length of the whole.
    #[inline(always)]
    pub(super) fn put_opt(&self, slot: &mut [u8; SLOT], at: usize, subnet: (u128, u64), scope: u8) -> usize {
        if !self.has_opt {
            return at;
        }
        let room: &mut [u8; OPT_LENGTH + SUBNET_LENGTH] =
            slot[at..].first_chunk_mut().expect("a slot goes on behind the longest answer");
        room[..8].copy_from_slice(&OPT_HEAD);
        room[7] = self.flags;
        room[8..OPT_LENGTH - 1].fill(0);
        room[OPT_LENGTH - 1] = self.subnet_length;
        room[OPT_LENGTH..OPT_LENGTH + 16].copy_from_slice(&subnet.0.to_ne_bytes());
        room[OPT_LENGTH + 16..].copy_from_slice(&subnet.1.to_ne_bytes());
        room[OPT_LENGTH + 7] = scope; // behind the message's end where there is no subnet
        at + OPT_LENGTH + usize::from(self.subnet_length)
    }
}

/// IPv4-mapped addresses are looked up as IPv4, with lengths of IPv6: on the other path.
#[inline(always)]
fn is_mapped(address: u128) -> bool {
    address >> 32 == 0xffff
}

/// The header of a reply: the id stays, RD, and the counts, which are those of a reply without records.
#[inline(always)]
pub(super) fn head(slot: &mut [u8; SLOT], flags: [u8; 2], answers: u8) {
    slot[2] = flags[0] | slot[2] & 1;
    slot[3] = flags[1];
    slot[7] = answers;
}
