//! PROXY protocol, version 2: what a proxy puts in front of a client's octets, so that it is known who asks.
//! (<https://www.haproxy.org/download/3.2/doc/proxy-protocol.txt>)
//!
//! ```text
//! | signature 12 | version, command | family, protocol | length 2 | addresses, TLVs: length octets | the client's …
//! ```

use std::net::{IpAddr, SocketAddr};

/// What a header begins with. As the beginning of a DNS message it has opcode 1, IQUERY, so that no query of
/// today can be mistaken for it.
pub const PROXY_SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// Octets of the part that every header has.
pub const PROXY_FIXED: usize = 16;
/// Octets that may follow the fixed part; a header that says more is none.
pub const PROXY_LONGEST: usize = 4096;

const LOCAL: u8 = 0x20;
const PROXY: u8 = 0x21;
const INET: u8 = 1;
const INET6: u8 = 2;

/// A header at the beginning of some octets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProxyHeader {
    /// It is whole.
    Whole {
        /// Whose octets follow; none: the proxy's own.
        client: Option<SocketAddr>,
        /// Octets of the header.
        length: usize,
    },
    /// It has so many octets, which are more than there are.
    Cut(usize),
}

impl ProxyHeader {
    /// Reads one; type-length-values behind the addresses are passed over. None: the octets begin with no header, or
    /// with one of another version, of an unknown command, longer than [`PROXY_LONGEST`], of a family that is not IP,
    /// or too short for its addresses.
    #[must_use]
    pub fn read(octets: &[u8]) -> Option<Self> {
        let seen = octets.len().min(PROXY_SIGNATURE.len());
        if octets[..seen] != PROXY_SIGNATURE[..seen] {
            return None;
        }
        let Some(fixed) = octets.first_chunk::<PROXY_FIXED>() else { return Some(Self::Cut(PROXY_FIXED)) };
        let [version_command, family_protocol, high, low] = *fixed.last_chunk()?;
        let rest = usize::from(u16::from_be_bytes([high, low]));
        if !matches!(version_command, LOCAL | PROXY) || rest > PROXY_LONGEST {
            return None;
        }
        let length = PROXY_FIXED + rest;
        let Some(addresses) = octets.get(PROXY_FIXED..length) else { return Some(Self::Cut(length)) };
        let client = match family_protocol >> 4 {
            _ if version_command == LOCAL => None,
            0 => None, // the proxy does not know
            INET => Some(source::<4>(addresses, IpAddr::from)?),
            INET6 => Some(source::<16>(addresses, IpAddr::from)?),
            _ => return None,
        };
        Some(Self::Whole { client, length })
    }
}

/// The first of: source address, destination address, source port, destination port.
fn source<const N: usize>(octets: &[u8], address: impl Fn([u8; N]) -> IpAddr) -> Option<SocketAddr> {
    let (source, rest) = octets.split_first_chunk::<N>()?;
    let (_, ports) = rest.split_first_chunk::<N>()?;
    let ports = ports.first_chunk::<4>()?;
    // A proxy with one socket for both families writes IPv4 as IPv6.
    Some(SocketAddr::new(address(*source).to_canonical(), u16::from_be_bytes([ports[0], ports[1]])))
}
