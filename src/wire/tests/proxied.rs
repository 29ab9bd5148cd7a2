//! PROXY protocol, version 2.

use std::net::SocketAddr;

use proptest::prelude::*;

use super::*;

/// A header with this version and command, family and protocol, and what follows the fixed part.
fn header(version_command: u8, family_protocol: u8, rest: &[u8]) -> Vec<u8> {
    let length = (rest.len() as u16).to_be_bytes();
    [&PROXY_SIGNATURE[..], &[version_command, family_protocol], &length, rest].concat()
}

/// 192.0.2.7:4242 asks 198.51.100.1:53.
const V4: [u8; 12] = [192, 0, 2, 7, 198, 51, 100, 1, 0x10, 0x92, 0, 53];

fn whole(octets: &[u8]) -> (Option<SocketAddr>, usize) {
    match ProxyHeader::read(octets) {
        Some(ProxyHeader::Whole { client, length }) => (client, length),
        other => panic!("{other:?}"),
    }
}

#[test]
fn clients_are_read() {
    let v4 = "192.0.2.7:4242".parse().ok();
    // By TCP and by UDP, with a TLV behind, with a query behind that.
    assert_eq!(whole(&header(0x21, 0x11, &V4)), (v4, 28));
    assert_eq!(whole(&header(0x21, 0x12, &V4)), (v4, 28));
    let with_tlv = header(0x21, 0x11, &[&V4[..], &[4, 0, 2, 0, 0]].concat());
    assert_eq!(whole(&[&with_tlv[..], b"query"].concat()), (v4, 33));
    let client = "2001:db8::7".parse::<std::net::Ipv6Addr>().unwrap();
    let v6 = [&client.octets()[..], &[0; 16], &[0, 99, 0, 53]].concat();
    assert_eq!(whole(&header(0x21, 0x21, &v6)), (Some(SocketAddr::new(client.into(), 99)), 52));
    let mapped = "::ffff:192.0.2.7".parse::<std::net::Ipv6Addr>().unwrap();
    let v4_in_v6 = [&mapped.octets()[..], &[0; 16], &[0x10, 0x92, 0, 53]].concat();
    assert_eq!(whole(&header(0x21, 0x21, &v4_in_v6)), (v4, 52));
    // The proxy asks for itself, or does not know who does.
    for own in [header(0x20, 0, &[]), header(0x20, 0x11, &V4), header(0x21, 0, &[]), header(0x20, 0x31, &[0; 216])] {
        assert_eq!(whole(&own), (None, own.len()));
    }
}

#[test]
fn what_is_none_is_none() {
    let mut other = header(0x21, 0x11, &V4);
    other[11] = b'\r';
    let too_long = [&PROXY_SIGNATURE[..], &[0x21, 0x11], &(PROXY_LONGEST as u16 + 1).to_be_bytes()].concat();
    for bad in [
        other,
        too_long,
        header(0x11, 0x11, &V4),
        header(0x22, 0x11, &V4),
        header(0x21, 0x31, &[0; 216]),
        header(0x21, 0x11, &V4[..11]),
        header(0x21, 0x21, &V4),
        b"PROXY TCP4 192.0.2.7 198.51.100.1 4242 53\r\n".to_vec(),
    ] {
        assert_eq!(ProxyHeader::read(&bad), None, "{bad:?}");
    }
}

#[test]
fn what_is_cut_says_how_much_it_needs() {
    let whole = header(0x21, 0x11, &V4);
    for length in 0..whole.len() {
        let needed = if length < PROXY_FIXED { PROXY_FIXED } else { 28 };
        assert_eq!(ProxyHeader::read(&whole[..length]), Some(ProxyHeader::Cut(needed)));
    }
}

#[test]
fn a_message_that_begins_so_is_no_query() {
    let mut packet = packet([1, 0, 0, 0], &[QUESTION]);
    packet[..12].copy_from_slice(&PROXY_SIGNATURE);
    let Err(Rejection::Reply(rejected)) = parse(&packet) else { panic!("{:?}", parse(&packet)) };
    assert_eq!(rejected.rcode, Rcode::NOTIMP);
}

proptest! {
    /// Whatever follows the signature: none, more than there is, or no more than there is.
    #[test]
    fn any_octets(head in prop_oneof![Just(PROXY_SIGNATURE.to_vec()), Just(header(0x21, 0x11, &[])[..14].to_vec())],
        rest in prop::collection::vec(any::<u8>(), 0..80)) {
        let octets = [head, rest].concat();
        match ProxyHeader::read(&octets) {
            Some(ProxyHeader::Whole { length, .. }) => prop_assert!((PROXY_FIXED..=octets.len()).contains(&length)),
            Some(ProxyHeader::Cut(needed)) => {
                prop_assert!(needed > octets.len() && needed <= PROXY_FIXED + PROXY_LONGEST);
            }
            None => prop_assert!(octets.len() >= PROXY_FIXED),
        }
    }
}
