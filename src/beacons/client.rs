//! Whose request it is: who holds the connection's other end, or who a proxy of ours says it is.
//!
//! A proxy adds the address that it was reached from at the right, in `X-Forwarded-For` or in `Forwarded` (RFC 7239);
//! what stands to the left of it, the client may have written itself. So the client is the right-most that is no proxy of
//! ours. A proxy adds to one of the two headers and passes the other on as the client wrote it: where both are there, they
//! have to agree. Whatever cannot be read is refused and not passed over, since what is left of it is anybody's.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::http::{HeaderMap, header};

use super::refusal::Refusal;
use crate::model::Prefixes;

const X_FORWARDED_FOR: &str = "x-forwarded-for";

/// A client's network, which is all of its address that is ever kept: /24 of IPv4, /48 of IPv6. Never zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Prefix(u64);

/// In bits that no prefix takes.
const V4: u64 = 1 << 48;
const V6: u64 = 2 << 48;

impl Prefix {
    /// Of an address; one of IPv4 mapped into IPv6 is of IPv4.
    pub(super) fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self(V4 | u64::from(u32::from(v4) >> 8)),
            IpAddr::V6(v6) => Self(V6 | (u128::from(v6) >> 80) as u64),
        }
    }

    /// Its first address.
    pub(super) fn address(self) -> IpAddr {
        let prefix = self.0 & (V4 - 1);
        match self.0 & V4 != 0 {
            true => Ipv4Addr::from((prefix as u32) << 8).into(),
            false => Ipv6Addr::from(u128::from(prefix) << 80).into(),
        }
    }

    /// The /32 that a /48 lies in: who has one, which is what a provider is given, has 65,536 of these. None: of IPv4.
    pub(super) fn allocation(self) -> Option<Self> {
        const V6_32: u64 = 3 << 48;
        (self.0 & V4 == 0).then_some(Self(V6_32 | (self.0 >> 16 & 0xffff_ffff)))
    }

    /// As a number that is not zero.
    pub(super) fn number(self) -> u64 {
        self.0
    }
}

/// The client of a request that came from `peer`.
///
/// # Errors
/// [`Refusal::NoClient`]: a proxy of ours brought it and does not say whose it is.
pub(super) fn client_of(peer: IpAddr, headers: &HeaderMap, proxies: &Prefixes) -> Result<IpAddr, Refusal> {
    let peer = peer.to_canonical();
    if !proxies.contains(peer) {
        return Ok(peer);
    }
    let listed = hops_of(headers, X_FORWARDED_FOR, |line| line.split(',').map(hop).collect());
    let forwarded = hops_of(headers, header::FORWARDED.as_str(), forwarded_hops);
    let named = [listed, forwarded].map(|hops| hops.map(|hops| nearest(&hops, proxies)));
    let client = match named {
        [Some(one), Some(other)] if one != other => None,
        [one, other] => one.or(other).flatten(),
    };
    client.ok_or(Refusal::NoClient)
}

/// All hops of a header's lines, the nearest last; none: it is not there. A line that cannot be read is one that nobody knows.
fn hops_of(headers: &HeaderMap, name: &str, read: impl Fn(&str) -> Vec<Option<IpAddr>>) -> Option<Vec<Option<IpAddr>>> {
    let lines = headers.get_all(name).iter();
    let hops: Vec<_> = lines.flat_map(|line| line.to_str().map_or(vec![None], &read)).collect();
    (!hops.is_empty()).then_some(hops)
}

/// The right-most that is no proxy of ours; none: there is none, or it cannot be told.
fn nearest(hops: &[Option<IpAddr>], proxies: &Prefixes) -> Option<IpAddr> {
    let nearest = hops.iter().rev().find(|hop| !hop.is_some_and(|hop| proxies.contains(hop)));
    nearest.copied().flatten()
}

/// An address, with a port or without.
fn hop(text: &str) -> Option<IpAddr> {
    let text = text.trim();
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse().or_else(|_| text.parse().map(|address: SocketAddr| address.ip()));
    address.ok().map(|address| address.to_canonical())
}

/// The `for` of each element of a line of `Forwarded`; a line that is not written as RFC 7239 §4 has it is one hop that
/// nobody knows.
fn forwarded_hops(line: &str) -> Vec<Option<IpAddr>> {
    elements(line).unwrap_or_else(|| vec![None])
}

fn elements(line: &str) -> Option<Vec<Option<IpAddr>>> {
    let (mut hops, mut rest) = (Vec::new(), line);
    loop {
        let mut told = None;
        let (end, behind) = loop {
            let (name, value, behind) = pair(rest)?;
            if name.eq_ignore_ascii_case("for") && told.replace(value).is_some() {
                return None; // twice
            }
            match behind.chars().next() {
                Some(';') => rest = &behind[1..],
                end => break (end, behind),
            }
        };
        hops.push(told.and_then(hop));
        match end {
            None => return Some(hops),
            Some(',') => rest = &behind[1..],
            Some(_) => return None,
        }
    }
}

/// `name=value`, or the value in quotes without any escaped; and what comes behind.
fn pair(text: &str) -> Option<(&str, &str, &str)> {
    let (name, value) = text.trim_start().split_once('=')?;
    let of_token = |octet: u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet);
    if name.is_empty() || !name.bytes().all(of_token) {
        return None;
    }
    let (value, behind) = match value.strip_prefix('"') {
        Some(quoted) => quoted.split_once('"').filter(|(value, _)| !value.contains('\\'))?,
        None => {
            let (value, behind) = value.split_at(value.find([',', ';', ' ', '\t']).unwrap_or(value.len()));
            // Many write addresses of IPv6 and ports without the quotes that they should have.
            let plain = value.bytes().all(|octet| of_token(octet) || b":[]".contains(&octet));
            (!value.is_empty() && plain).then_some((value, behind))?
        }
    };
    Some((name, value, behind.trim_start()))
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderName, HeaderValue};
    use proptest::prelude::*;

    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn proxies() -> Prefixes {
        ["10.0.0.0/8", "2001:db8:ffff::/48"].iter().map(|net| net.parse().unwrap()).collect()
    }

    /// Who is found behind `peer` with these lines of headers.
    fn found(peer: &str, lines: &[(&str, &str)]) -> Option<IpAddr> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            let name: HeaderName = name.parse().unwrap();
            headers.append(name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        client_of(ip(peer), &headers, &proxies()).ok()
    }

    #[test]
    fn networks() {
        for (address, first) in [
            ("192.0.2.77", "192.0.2.0"),
            ("::ffff:192.0.2.77", "192.0.2.0"),
            ("0.0.0.0", "0.0.0.0"),
            ("255.255.255.255", "255.255.255.0"),
            ("2001:db8:1:2345::1", "2001:db8:1::"),
            ("::", "::"),
            ("ffff:ffff:ffff:ffff::", "ffff:ffff:ffff::"),
        ] {
            let prefix = Prefix::of(ip(address));
            assert_eq!(prefix.address(), ip(first), "{address}");
            assert_eq!(Prefix::of(prefix.address()), prefix);
            assert_ne!(prefix.number(), 0);
            assert_eq!(prefix.allocation().is_some(), ip(first).is_ipv6());
        }
    }

    #[test]
    fn allocations() {
        let of = |address| Prefix::of(ip(address)).allocation();
        assert_eq!(of("2001:db8:1::"), of("2001:db8:ffff:1::1"));
        assert_ne!(of("2001:db8::"), of("2001:db9::"));
        assert!(["::", "2001:db8::", "ffff::"].iter().all(|address| of(address) != Some(Prefix::of(ip(address)))));
    }

    #[test]
    fn who_is_no_proxy_speaks_for_itself_alone() {
        let lines = [("x-forwarded-for", "198.51.100.1"), ("forwarded", "for=198.51.100.1")];
        assert_eq!(found("192.0.2.1", &lines), Some(ip("192.0.2.1")));
        assert_eq!(found("::ffff:192.0.2.1", &lines), Some(ip("192.0.2.1")));
    }

    #[test]
    fn the_right_most_that_is_no_proxy() {
        for (value, client) in [
            ("192.0.2.1", Some("192.0.2.1")),
            ("203.0.113.9, 192.0.2.1", Some("192.0.2.1")),
            ("203.0.113.9,192.0.2.1 , 10.1.2.3", Some("192.0.2.1")),
            ("192.0.2.1:4711", Some("192.0.2.1")),
            ("[2001:db8::1]:80", Some("2001:db8::1")),
            ("2001:db8::1", Some("2001:db8::1")),
            ("::ffff:192.0.2.1", Some("192.0.2.1")),
            ("nonsense, 192.0.2.1", Some("192.0.2.1")),
            ("192.0.2.1, unknown", None),
            ("192.0.2.1, ", None),
            ("10.1.1.1, 10.1.1.2", None),
            ("", None),
            ("192.0.2.1 198.51.100.1", None),
        ] {
            assert_eq!(found(PROXY, &[("x-forwarded-for", value)]), client.map(ip), "{value}");
        }
        let lines = [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "192.0.2.1")];
        assert_eq!(found("2001:db8:ffff::9", &lines), Some(ip("192.0.2.1")), "lines are one list");
        assert_eq!(found(PROXY, &[]), None);
        assert_eq!(found(PROXY, &[("x-forwarded-for", "192.0.2.1"), ("x-forwarded-for", "é")]), None);
    }

    #[test]
    fn what_forwarded_says() {
        for (value, client) in [
            ("for=192.0.2.1", Some("192.0.2.1")),
            ("For=\"192.0.2.1:80\";proto=https;by=203.0.113.43", Some("192.0.2.1")),
            ("proto=http;for=\"[2001:db8:cafe::17]:4711\"", Some("2001:db8:cafe::17")),
            ("for=[2001:db8:cafe::17]:4711", Some("2001:db8:cafe::17")),
            ("for=203.0.113.9, for=192.0.2.1, for=10.0.0.7;by=10.0.0.8", Some("192.0.2.1")),
            ("for=192.0.2.1, by=10.0.0.8", None),
            ("for=192.0.2.1, for=_hidden", None),
            ("for=192.0.2.1;for=203.0.113.9", None),
            ("for=192.0.2.1,", None),
            ("for =192.0.2.1", None),
            ("", None),
            // What a client writes so that the proxy's own words fall inside its quotes.
            ("for=203.0.113.9;x=\"a, for=192.0.2.1", None),
            ("for=203.0.113.9;x=\"a, for=\"[2001:db8::1]\"", None),
            ("for=203.0.113.9;x=\"a\\\", for=\"192.0.2.1\"", None),
        ] {
            assert_eq!(found(PROXY, &[("forwarded", value)]), client.map(ip), "{value}");
        }
    }

    #[test]
    fn a_header_that_the_proxy_only_passes_on_names_nobody() {
        let both = |one: &str, other: &str| found(PROXY, &[("x-forwarded-for", one), ("forwarded", other)]);
        assert_eq!(both("192.0.2.1", "for=203.0.113.9"), None);
        assert_eq!(both("192.0.2.1", "for=unknown"), None);
        assert_eq!(both("203.0.113.9, 192.0.2.1", "for=192.0.2.1"), Some(ip("192.0.2.1")));
    }

    proptest! {
        #[test]
        fn no_line_makes_it_panic(line in "[-a-z0-9=;,.:\"\\\\\\[\\] ]{0,60}|\\PC{0,40}") {
            let _ = (forwarded_hops(&line), hop(&line));
        }

        #[test]
        fn what_a_client_writes_never_hides_what_the_proxy_adds(line in "[ -~]{0,40}") {
            let found = found(PROXY, &[("forwarded", &format!("{line}, for=192.0.2.1"))]);
            prop_assert!(found.is_none_or(|found| found == ip("192.0.2.1")), "{line}: {found:?}");
        }
    }
}
