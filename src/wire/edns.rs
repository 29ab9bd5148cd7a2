//! EDNS (RFC 6891) and its options: client subnet (RFC 7871), cookie (RFC 7873), NSID (RFC 5001), TCP keepalive (RFC
//! 7828), padding (RFC 7830) and extended errors (RFC 8914).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::query::Malformed;
use crate::model::Cookie;

/// The UDP payload size that replies advertise: what passes any path unfragmented.
pub const ADVERTISED_UDP_SIZE: u16 = 1232;

/// NSID (RFC 5001).
pub const OPTION_NSID: u16 = 3;
/// The client subnet (RFC 7871).
pub const OPTION_CLIENT_SUBNET: u16 = 8;
/// The cookie (RFC 7873).
pub const OPTION_COOKIE: u16 = 10;
pub(super) const OPTION_KEEPALIVE: u16 = 11;
pub(super) const OPTION_PADDING: u16 = 12;
pub(super) const OPTION_EXTENDED_ERROR: u16 = 15;
/// The DO bit among the flags of an OPT record (RFC 3225).
pub(super) const FLAG_DNSSEC_OK: u16 = 0x8000;

/// What a query's OPT record says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Edns {
    /// The largest UDP message that the client takes, in octets; at least 512 (RFC 6891 §6.2.3).
    pub udp_size: u16,
    /// 0 in every query that is answered.
    pub version: u8,
    /// The DO bit.
    pub dnssec_ok: bool,
    /// The client subnet option.
    pub client_subnet: Option<ClientSubnet>,
    /// The first cookie option.
    pub cookie: Option<Cookie>,
    /// The client asks which server this is.
    pub wants_nsid: bool,
    /// The client asks how long a connection may be idle.
    pub wants_keepalive: bool,
    /// The client has padded its query, and wants as much of the reply.
    pub wants_padding: bool,
}

/// A client subnet option in a query (RFC 7871 §6).
///
/// It must be well-formed, else the query is FORMERR (§7.2.1): no shorter than 4 octets;
/// source at most 32 or 128; scope 0; as many address octets as source needs; no bit set beyond
/// source; a known family. Family 0 is taken with source 0, as `dig +subnet=0` sends it. Two options
/// in one query are FORMERR as well: a reply could be truthful to one of them only.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientSubnet {
    /// FAMILY: 1 IPv4, 2 IPv6; 0 only with source 0.
    pub family: u16,
    /// The prefix's address, bits beyond `source` zero; `0.0.0.0` for family 0.
    pub address: IpAddr,
    /// SOURCE PREFIX-LENGTH: bits of `address` that the client gave away. 0: locate by the resolver.
    pub source: u8,
}

/// An extended error (RFC 8914).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExtendedError<'a> {
    /// INFO-CODE
    pub code: u16,
    /// EXTRA-TEXT, for people; may be empty.
    pub text: &'a str,
}

impl Edns {
    /// The fixed part of an OPT record: its class is the payload size, its TTL the rest.
    pub(super) fn from_fixed(class: u16, ttl: u32) -> Self {
        let [_extended_rcode, version, flags @ ..] = ttl.to_be_bytes();
        let dnssec_ok = u16::from_be_bytes(flags) & FLAG_DNSSEC_OK != 0;
        Self {
            udp_size: class.max(512),
            version,
            dnssec_ok,
            client_subnet: None,
            cookie: None,
            wants_nsid: false,
            wants_keepalive: false,
            wants_padding: false,
        }
    }

    /// The options of an OPT record of version 0; unknown ones are passed over.
    pub(super) fn read_options(&mut self, mut rdata: &[u8]) -> Result<(), Malformed> {
        let mut client_subnet = None;
        while !rdata.is_empty() {
            let (head, rest) = rdata.split_first_chunk::<4>().ok_or(Malformed)?;
            let code = u16::from_be_bytes([head[0], head[1]]);
            let length = u16::from_be_bytes([head[2], head[3]]);
            let (data, rest) = rest.split_at_checked(length.into()).ok_or(Malformed)?;
            rdata = rest;
            match code {
                OPTION_CLIENT_SUBNET if client_subnet.replace(ClientSubnet::read(data)?).is_some() => {
                    return Err(Malformed);
                }
                OPTION_COOKIE if self.cookie.is_none() => self.cookie = Some(Cookie::read(data).ok_or(Malformed)?),
                OPTION_NSID => self.wants_nsid = true,
                OPTION_KEEPALIVE => self.wants_keepalive = true,
                OPTION_PADDING => self.wants_padding = true,
                _ => {}
            }
        }
        self.client_subnet = client_subnet;
        Ok(())
    }
}

impl ClientSubnet {
    fn read(data: &[u8]) -> Result<Self, Malformed> {
        let (head, given) = data.split_first_chunk::<4>().ok_or(Malformed)?;
        let family = u16::from_be_bytes([head[0], head[1]]);
        let [source, scope] = [head[2], head[3]];
        let width = match family {
            0 => 0,
            1 => 32,
            2 => 128,
            _ => return Err(Malformed),
        };
        let right_length = given.len() == usize::from(source.div_ceil(8));
        let spare_bits = (8 - source % 8) % 8;
        let set_beyond_source = given.last().is_some_and(|last| last & ((1 << spare_bits) - 1) != 0);
        if source > width || scope != 0 || !right_length || set_beyond_source {
            return Err(Malformed);
        }
        let mut octets = [0; 16];
        octets[..given.len()].copy_from_slice(given);
        let [a, b, c, d, ..] = octets;
        let address = if family == 2 { Ipv6Addr::from(octets).into() } else { Ipv4Addr::new(a, b, c, d).into() };
        Ok(Self { family, address, source })
    }

    /// Octets of ADDRESS on the wire.
    pub(super) fn address_octets(&self) -> usize {
        usize::from(self.source.div_ceil(8))
    }
}
