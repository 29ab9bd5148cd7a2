//! Socket addresses and control messages as the kernel lays them out: octets, read and changed without
//! a pointer.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

/// Octets of the longest socket address, `sockaddr_in6`.
const NAME: usize = size_of::<libc::sockaddr_in6>();
/// Octets in front of a control message's data: its length, level and type.
const HEAD: usize = size_of::<libc::cmsghdr>();
/// Octets of the longer of the two control messages read here, `in6_pktinfo`: address, interface.
const PACKET_INFO_V6: usize = 20;
/// `in_pktinfo`: interface, address asked, address in the header.
const PACKET_INFO_V4: usize = 12;

/// A `sockaddr_in` or `sockaddr_in6`.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct Name([u8; NAME]);

impl Name {
    pub(super) const LENGTH: usize = NAME;

    /// None: of another family.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        let port = u16::from_be_bytes(part(&self.0, 2));
        match i32::from(u16::from_ne_bytes(part(&self.0, 0))) {
            libc::AF_INET => Some(SocketAddr::new(Ipv4Addr::from(part::<4>(&self.0, 4)).into(), port)),
            libc::AF_INET6 => {
                let flow = u32::from_ne_bytes(part(&self.0, 4));
                let scope = u32::from_ne_bytes(part(&self.0, 24));
                Some(SocketAddrV6::new(Ipv6Addr::from(part::<16>(&self.0, 8)), port, flow, scope).into())
            }
            _ => None,
        }
    }
}

impl From<[u8; NAME]> for Name {
    fn from(octets: [u8; NAME]) -> Self {
        Self(octets)
    }
}

/// Room for one `IP_PKTINFO` or `IPV6_PKTINFO`: which address a datagram was sent to. With a reply,
/// which it comes from.
#[repr(C, align(8))]
#[derive(Clone, Copy)]
pub(super) struct Control([u8; Self::LENGTH]);

impl Control {
    pub(super) const LENGTH: usize = HEAD + PACKET_INFO_V6.next_multiple_of(size_of::<usize>());

    /// The address asked. None: the `length` octets that the kernel wrote do not say.
    pub(super) fn asked(&self, length: usize) -> Option<IpAddr> {
        let (kind, data) = self.kind(length)?;
        Some(match kind {
            Kind::V4 => Ipv4Addr::from(part::<4>(data, 4)).into(),
            Kind::V6 => Ipv6Addr::from(part::<16>(data, 0)).into(),
        })
    }

    /// Makes of the control message of a query that of its reply: from the address asked, by whatever
    /// interface the route has. A link-local address is one only together with its interface.
    pub(super) fn turn_round(&mut self, length: usize) {
        let interface = match (self.kind(length).map(|(kind, _)| kind), self.asked(length)) {
            (Some(Kind::V4), _) => HEAD,
            (Some(Kind::V6), Some(IpAddr::V6(asked))) if !asked.is_unicast_link_local() => HEAD + 16,
            _ => return,
        };
        self.0[interface..][..4].fill(0);
    }

    fn kind(&self, length: usize) -> Option<(Kind, &[u8])> {
        let said = usize::from_ne_bytes(part(&self.0, 0));
        let level = i32::from_ne_bytes(part(&self.0, HEAD - 8));
        let of_type = i32::from_ne_bytes(part(&self.0, HEAD - 4));
        let data = self.0.get(HEAD..said.min(length))?;
        match (level, of_type) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) if data.len() >= PACKET_INFO_V4 => Some((Kind::V4, data)),
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) if data.len() >= PACKET_INFO_V6 => Some((Kind::V6, data)),
            _ => None,
        }
    }
}

#[derive(Clone, Copy)]
enum Kind {
    V4,
    V6,
}

/// `N` octets from `at` on, which the callers keep inside.
fn part<const N: usize>(octets: &[u8], at: usize) -> [u8; N] {
    *octets[at..].first_chunk().expect("the layouts above lie inside")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(family: i32, rest: &[u8]) -> Name {
        let mut octets = [0; NAME];
        octets[..2].copy_from_slice(&(family as u16).to_ne_bytes());
        octets[2..2 + rest.len()].copy_from_slice(rest);
        octets.into()
    }

    #[test]
    fn names_are_read() {
        let v4 = name(libc::AF_INET, &[0x14, 0xb4, 192, 0, 2, 7]);
        assert_eq!(v4.address(), Some("192.0.2.7:5300".parse().unwrap()));
        let mut rest = vec![0, 53, 0, 0, 0, 0];
        rest.extend("fe80::1:2".parse::<Ipv6Addr>().unwrap().octets());
        rest.extend(3_u32.to_ne_bytes());
        assert_eq!(name(libc::AF_INET6, &rest).address(), Some("[fe80::1:2%3]:53".parse().unwrap()));
        assert_eq!(name(libc::AF_UNIX, &rest).address(), None);
        assert_eq!(name(libc::AF_UNSPEC, &[]).address(), None);
    }

    /// As the kernel lays one out, and its length.
    fn control(level: i32, of_type: i32, data: &[u8]) -> (Control, usize) {
        let length = HEAD + data.len();
        let head = [&length.to_ne_bytes()[..], &level.to_ne_bytes(), &of_type.to_ne_bytes()].concat();
        let mut control = Control([0xee; Control::LENGTH]);
        control.0[..HEAD].copy_from_slice(&head);
        control.0[HEAD..length].copy_from_slice(data);
        (control, length.next_multiple_of(size_of::<usize>()))
    }

    fn v6(address: &str, interface: u32) -> (Control, usize) {
        let address = address.parse::<Ipv6Addr>().unwrap().octets();
        control(libc::IPPROTO_IPV6, libc::IPV6_PKTINFO, &[&address[..], &interface.to_ne_bytes()].concat())
    }

    const DATA_V4: [u8; 12] = [9, 0, 0, 0, 192, 0, 2, 1, 192, 0, 2, 255];

    #[test]
    fn the_address_asked_is_read() {
        let (v4, length) = control(libc::IPPROTO_IP, libc::IP_PKTINFO, &DATA_V4);
        assert_eq!(v4.asked(length), Some("192.0.2.1".parse().unwrap()), "the local one, not the broadcast address");
        let (v6, length) = v6("2001:db8::7", 3);
        assert_eq!(v6.asked(length), Some("2001:db8::7".parse().unwrap()));
        assert_eq!(v6.asked(HEAD + 19), None, "cut");
        assert_eq!(v6.asked(0), None);
        let (strange, length) = control(libc::SOL_SOCKET, libc::IP_PKTINFO, &DATA_V4);
        assert_eq!(strange.asked(length), None);
        let (mut absurd, length) = control(libc::IPPROTO_IP, libc::IP_PKTINFO, &DATA_V4);
        for said in [0, HEAD - 1, HEAD, usize::MAX] {
            absurd.0[..size_of::<usize>()].copy_from_slice(&said.to_ne_bytes());
            let expected = (said == usize::MAX).then(|| "192.0.2.1".parse().unwrap());
            assert_eq!(absurd.asked(length), expected, "bounded by the length of the whole");
        }
    }

    #[test]
    fn a_reply_keeps_the_address_and_forgets_the_interface() {
        let (mut v4, length) = control(libc::IPPROTO_IP, libc::IP_PKTINFO, &DATA_V4);
        v4.turn_round(length);
        assert_eq!(v4.0[HEAD..HEAD + 8], [0, 0, 0, 0, 192, 0, 2, 1]);
        for (address, interface) in [("2001:db8::7", 0), ("fe80::7", 3)] {
            let (mut turned, length) = v6(address, 3);
            turned.turn_round(length);
            assert_eq!(turned.asked(length), Some(address.parse().unwrap()));
            assert_eq!(u32::from_ne_bytes(part(&turned.0, HEAD + 16)), interface, "{address}");
        }
        let (mut strange, length) = control(libc::SOL_SOCKET, 0, &DATA_V4);
        let before = strange.0;
        strange.turn_round(length);
        assert_eq!(strange.0, before);
    }
}
