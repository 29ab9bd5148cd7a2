//! Any OPT record: what `wire` makes of its fixed part and options is what a plain second reader makes
//! of them. The first six octets are its class and TTL, the rest its data.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use meridian::wire::{Edns, Rcode, Rejection, parse};

/// Reads it behind a question.
pub(crate) fn run(input: &[u8]) {
    let Some((fixed, rdata)) = input.split_first_chunk::<6>().filter(|(_, rdata)| rdata.len() < 2000) else { return };
    let length = (rdata.len() as u16).to_be_bytes();
    let mut packet = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1, 1, b'a', 0, 0, 1, 0, 1, 0, 0, 41];
    packet.extend([&fixed[..], &length, rdata].concat());
    let version = fixed[3];
    match (parse(&packet), options(rdata)) {
        (Err(Rejection::Reply(rejected)), _) if version > 0 => assert_eq!(rejected.rcode, Rcode::BADVERS),
        (Err(Rejection::Reply(rejected)), None) => assert_eq!(rejected.rcode, Rcode::FORMERR),
        (Ok(query), Some(options)) if version == 0 => same(&query.edns.expect("it has one"), fixed, &options),
        (parsed, options) => panic!("{parsed:?} of {options:?}"),
    }
}

/// What counts among the options.
#[derive(Debug, Default)]
struct Options {
    /// Family, address, source.
    subnet: Option<(u16, IpAddr, u8)>,
    /// The client's part and a whole part of ours.
    cookie: Option<(Vec<u8>, Option<Vec<u8>>)>,
    nsid: bool,
    keepalive: bool,
}

/// Read a field at a time; none: it is malformed.
fn options(rdata: &[u8]) -> Option<Options> {
    let (mut options, mut at) = (Options::default(), 0);
    let number = |at: usize| Some(u16::from_be_bytes([*rdata.get(at)?, *rdata.get(at + 1)?]));
    while at < rdata.len() {
        let (code, length) = (number(at)?, usize::from(number(at + 2)?));
        at += 4;
        let data = rdata.get(at..at + length)?;
        at += length;
        match code {
            3 => options.nsid = true,
            8 if options.subnet.is_some() => return None,
            8 => options.subnet = Some(subnet(data)?),
            10 if options.cookie.is_none() => {
                let ours = data.get(8..)?;
                if !(ours.is_empty() || (8..=32).contains(&ours.len())) {
                    return None;
                }
                options.cookie = Some((data[..8].to_vec(), Some(ours.to_vec()).filter(|ours| ours.len() == 16)));
            }
            11 => options.keepalive = true,
            _ => {}
        }
    }
    Some(options)
}

fn subnet(data: &[u8]) -> Option<(u16, IpAddr, u8)> {
    let [high, family, source, scope, address @ ..] = data else { return None };
    let family = u16::from(*high) << 8 | u16::from(*family);
    let widest = [0, 32, 128].get(usize::from(family))?;
    let bits = address.iter().flat_map(|octet| (0..8).rev().map(move |bit| octet >> bit & 1));
    let beyond = bits.skip(usize::from(*source)).any(|bit| bit == 1);
    if source > widest || *scope != 0 || address.len() != usize::from(source.div_ceil(8)) || beyond {
        return None;
    }
    let whole: Vec<u8> = address.iter().copied().chain([0; 16]).take(16).collect();
    let v6: [u8; 16] = whole.try_into().ok()?;
    let v4 = Ipv4Addr::new(v6[0], v6[1], v6[2], v6[3]);
    Some((family, if family == 2 { Ipv6Addr::from(v6).into() } else { v4.into() }, *source))
}

fn same(edns: &Edns, fixed: &[u8; 6], options: &Options) {
    assert_eq!(edns.udp_size, u16::from_be_bytes([fixed[0], fixed[1]]).max(512));
    assert_eq!((edns.version, edns.dnssec_ok), (0, fixed[4] & 0x80 != 0));
    assert_eq!((edns.wants_nsid, edns.wants_keepalive), (options.nsid, options.keepalive));
    assert_eq!(edns.client_subnet.map(|subnet| (subnet.family, subnet.address, subnet.source)), options.subnet);
    let cookie = edns.cookie.map(|cookie| (cookie.client.to_vec(), cookie.server.map(|server| server.to_vec())));
    assert_eq!(cookie, options.cookie);
}
