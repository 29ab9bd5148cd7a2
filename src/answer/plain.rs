//! Pass 1 of a batch: plain queries, read in wide steps.
//!
//! What is not plain, or looks wrong in any way, is left to [`respond`](super::respond), which judges it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::octets::{u32_at, u64_at};
use crate::model::first_zero;
use crate::table::{FoldedName, HOT_NAME, fold};
use crate::wire::{HEADER_LENGTH, LONGEST, SLOT};

/// Octets of an OPT record without options.
pub(super) const OPT_LENGTH: usize = 11;
/// QTYPE and QCLASS.
pub(super) const QUESTION_TAIL: usize = 4;
const OPTION_CLIENT_SUBNET: u64 = 8;
/// RDLENGTH, OPTION-CODE, OPTION-LENGTH and FAMILY of an OPT record whose one option is a client subnet
/// without an address; and what each octet of one adds.
const LONE_V4: u64 = 8 << 48 | OPTION_CLIENT_SUBNET << 32 | 4 << 16 | 1;
const LONE_V6: u64 = LONE_V4 + 1;
const LONE_OCTET: u64 = 1 << 48 | 1 << 16;

/// A plain query.
#[derive(Clone, Copy)]
pub(super) struct Plain {
    pub(super) name: FoldedName,
    /// 0: it is not plain, and nothing else here says anything.
    pub(super) name_length: u8,
    pub(super) rtype: u16,
    pub(super) client: Place,
    pub(super) opt: Opt,
}

/// The address to locate by, and how much of it is known.
#[derive(Clone, Copy)]
pub(super) struct Place {
    /// IPv4 in the low 32 bits.
    pub(super) address: u128,
    pub(super) is_v6: bool,
    pub(super) source: u8,
}

/// The query's OPT record, as far as the reply repeats it.
#[derive(Clone, Copy)]
pub(super) struct Opt {
    pub(super) is_there: bool,
    /// The octet with DO.
    pub(super) flags: u8,
    /// Where the client subnet option lies, and its octets; 0: none.
    pub(super) subnet_at: u16,
    pub(super) subnet_length: u8,
}

const NO_OPT: Opt = Opt { is_there: false, flags: 0, subnet_at: 0, subnet_length: 0 };

/// All but the name.
struct Rest {
    name_length: usize,
    rtype: u16,
    client: Place,
    opt: Opt,
}

impl Plain {
    /// Reads what the client sent. Octets of the slot behind `length` are left over from others.
    #[inline(always)]
    pub(super) fn read(slot: &[u8; SLOT], length: usize, client: &SocketAddr) -> Self {
        let window: &[u8; HOT_NAME] = slot[HEADER_LENGTH..].first_chunk().expect("a slot is longer");
        let none =
            Rest { name_length: 0, rtype: 0, client: Place { address: 0, is_v6: false, source: 0 }, opt: NO_OPT };
        let Rest { name_length, rtype, client, opt } = Rest::read(slot, window, length, client).unwrap_or(none);
        Self { name: fold(window, name_length), name_length: name_length as u8, rtype, client, opt }
    }
}

impl Rest {
    /// None: it is not plain.
    #[inline(always)]
    fn read(slot: &[u8; SLOT], window: &[u8; HOT_NAME], length: usize, client: &SocketAddr) -> Option<Self> {
        let name_length = 1 + first_zero(window);
        let counts = u64_at(slot, 4);
        // Not a response, QUERY; one question; at most one additional record and no other.
        let is_plain = slot[2] & 0xf8 == 0 && counts & !1 == 1 << 48 && name_length <= HOT_NAME;
        let end = HEADER_LENGTH + name_length + QUESTION_TAIL;
        if !is_plain {
            return None;
        }
        let tail = u32_at(slot, end - QUESTION_TAIL);
        if tail as u16 != 1 {
            return None;
        }
        let (opt, subnet) = match counts & 1 {
            0 if end == length => (NO_OPT, None),
            0 => return None,
            _ => Opt::read(slot, end, length)?,
        };
        let client = match subnet {
            Some(subnet) => subnet,
            None => Place::of(client)?,
        };
        Some(Self { name_length, rtype: (tail >> 16) as u16, client, opt })
    }
}

impl Opt {
    /// The record at `at`, which ends with the message, and the client subnet in it; none: it is not plain.
    #[inline(always)]
    fn read(slot: &[u8; SLOT], at: usize, length: usize) -> Option<(Self, Option<Place>)> {
        let fixed = u64_at(slot, at);
        // The root's, OPT, of any size and response code, version 0, of any flags.
        if fixed & 0xffff_ff00_0000_ff00 != 41 << 40 {
            return None;
        }
        let (options, flags) = (at + OPT_LENGTH, fixed as u8 & 0x80);
        // What nearly all have that come from a resolver with client subnet: that option alone.
        let octets = length.wrapping_sub(options + 8);
        let lone = u64_at(slot, options - 2).wrapping_sub((octets as u64).wrapping_mul(LONE_OCTET));
        let is_v6 = lone == LONE_V6;
        if (lone == LONE_V4 && octets <= 4) || (is_v6 && octets <= 16) {
            let place = Place::of_subnet(slot, options, octets, is_v6)?;
            let opt = Self { is_there: true, flags, subnet_at: options as u16, subnet_length: 8 + octets as u8 };
            return Some((opt, Some(place)));
        }
        Self { is_there: true, flags, ..NO_OPT }.read_options(slot, options, length)
    }

    /// Any options.
    #[inline(always)]
    fn read_options(mut self, slot: &[u8; SLOT], mut at: usize, length: usize) -> Option<(Self, Option<Place>)> {
        let octets = u32_at(slot, at - 4) as u16;
        if at + usize::from(octets) != length || length > LONGEST {
            return None;
        }
        let mut place = None;
        while at < length {
            // Code and length; of a client subnet its family, source and scope, too.
            let head = u64_at(slot, at);
            let octets = usize::from((head >> 32) as u16);
            if at + 4 + octets > length {
                return None;
            }
            if head >> 48 == OPTION_CLIENT_SUBNET {
                let (family, octets) = ((head >> 16) as u16, octets.wrapping_sub(4));
                let is_plain =
                    self.subnet_length == 0 && ((family == 1 && octets <= 4) || (family == 2 && octets <= 16));
                if !is_plain {
                    return None;
                }
                place = Some(Place::of_subnet(slot, at, octets, family == 2)?);
                (self.subnet_at, self.subnet_length) = (at as u16, 8 + octets as u8);
            }
            at += 4 + octets;
        }
        Some((self, place))
    }
}

impl Place {
    /// Where a query came from. None: IPv4-mapped addresses are looked up as IPv4, with lengths of IPv6.
    #[inline(always)]
    fn of(client: &SocketAddr) -> Option<Self> {
        match client {
            SocketAddr::V4(v4) => Some(Self { address: v4.ip().to_bits().into(), is_v6: false, source: 32 }),
            SocketAddr::V6(v6) => Self { address: v6.ip().to_bits(), is_v6: true, source: 128 }.unless_mapped(),
        }
    }

    /// The client subnet option at `at` with so many octets of an address, up to those of its family (RFC 7871
    /// §6). None: the other path judges it.
    #[inline(always)]
    fn of_subnet(slot: &[u8; SLOT], at: usize, octets: usize, is_v6: bool) -> Option<Self> {
        // Of source 1 to 8 one octet, and so on. A scope, which stands above it here, makes it too many.
        let source = u16::from_le_bytes([slot[at + 6], slot[at + 7]]);
        if usize::from(source.wrapping_sub(1) >> 3) != octets.wrapping_sub(1) {
            return None;
        }
        // The octets given are read from their end, with zeros behind them; those before them are shifted out.
        // What they hold beyond the source must be zero.
        let (end, spare, source) = (at + 8 + octets, 8 * octets, source as u8);
        if is_v6 {
            let octets = slot[end - 16..].first_chunk().expect("an option stands behind the header");
            let address = u128::from_be_bytes(*octets) << (128 - spare);
            let is_clean = address << (source - 1) << 1 == 0;
            Self { address, is_v6, source }.unless_mapped().filter(|_| is_clean)
        } else {
            let address = u32_at(slot, end - 4) << (32 - spare);
            let is_clean = (u64::from(address) << source) as u32 == 0;
            is_clean.then_some(Self { address: address.into(), is_v6, source })
        }
    }

    #[inline(always)]
    fn unless_mapped(self) -> Option<Self> {
        (self.address >> 32 != 0xffff).then_some(self)
    }

    #[inline(always)]
    pub(super) fn ip(&self) -> IpAddr {
        if self.is_v6 { Ipv6Addr::from(self.address).into() } else { Ipv4Addr::from(self.address as u32).into() }
    }
}
