//! The usual forms of names, types and data, read without detours: a short cut past
//! [`rdata`](super::rdata) and `domain`, for zones of a million records.
//!
//! Whatever is not quite usual (escapes, units, generic data, anything wrong) is none here and left to
//! the long way, which also knows what to say of it. What is read here, the long way reads alike.

use std::net::{Ipv4Addr, Ipv6Addr};

use domain::base::iana::Rtype;

use super::entry::read_ttl;
use super::tokens::Token;

/// The types of nearly all records.
const USUAL: [(&str, Rtype); 10] = [
    ("A", Rtype::A),
    ("AAAA", Rtype::AAAA),
    ("NS", Rtype::NS),
    ("MX", Rtype::MX),
    ("TXT", Rtype::TXT),
    ("CNAME", Rtype::CNAME),
    ("SOA", Rtype::SOA),
    ("SRV", Rtype::SRV),
    ("PTR", Rtype::PTR),
    ("DNAME", Rtype::DNAME),
];

/// The type, if it is a usual one.
pub(super) fn rtype(token: &Token<'_>) -> Option<Rtype> {
    USUAL.iter().find(|(mnemonic, _)| token.is(mnemonic)).map(|&(_, rtype)| rtype)
}

/// Appends a name in wire form, in the case that it is written in; `origin` is one too.
pub(super) fn name(token: &Token<'_>, origin: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let begin = out.len();
    match token.raw {
        _ if token.quoted => return None,
        b"@" => out.extend(origin),
        b"." => out.push(0),
        raw => {
            let mut length_at = begin;
            out.push(0);
            for &octet in raw {
                match octet {
                    b'.' => {
                        close_label(out, length_at)?;
                        length_at = out.len();
                        out.push(0);
                    }
                    b'\\' => return None,
                    0x21..=0x7e => out.push(octet),
                    _ => return None,
                }
            }
            // Behind a dot at the end stands the root's zero already.
            if length_at + 1 < out.len() {
                close_label(out, length_at)?;
                out.extend(origin);
            }
        }
    }
    (out.len() - begin <= 255).then_some(())
}

/// Writes the length of the label that ends here.
fn close_label(out: &mut [u8], length_at: usize) -> Option<()> {
    let length = u8::try_from(out.len() - length_at - 1).ok().filter(|length| (1..=63).contains(length))?;
    out[length_at] = length;
    Some(())
}

/// Appends the data of a record of that type.
pub(super) fn rdata(rtype: Rtype, tokens: &[Token<'_>], origin: &[u8], out: &mut Vec<u8>) -> Option<()> {
    if tokens.iter().skip(1).any(|token| !token.apart) {
        return None;
    }
    match (rtype, tokens) {
        (Rtype::A, [address]) => out.extend(word(address)?.parse::<Ipv4Addr>().ok()?.octets()),
        (Rtype::AAAA, [address]) => out.extend(word(address)?.parse::<Ipv6Addr>().ok()?.octets()),
        (Rtype::NS | Rtype::CNAME | Rtype::PTR | Rtype::DNAME, [target]) => name(target, origin, out)?,
        (Rtype::MX, [preference, target]) => {
            out.extend(number::<u16>(preference)?.to_be_bytes());
            name(target, origin, out)?;
        }
        (Rtype::SRV, [priority, weight, port, target]) => {
            for field in [priority, weight, port] {
                out.extend(number::<u16>(field)?.to_be_bytes());
            }
            name(target, origin, out)?;
        }
        (Rtype::SOA, [server, mailbox, serial, times @ ..]) if times.len() == 4 => {
            name(server, origin, out)?;
            name(mailbox, origin, out)?;
            out.extend(number::<u32>(serial)?.to_be_bytes());
            for time in times {
                out.extend(read_ttl(time).ok()?.to_be_bytes());
            }
        }
        (Rtype::TXT, [_, ..]) => {
            for string in tokens {
                let usual = |&octet: &u8| octet != b'\\' && (octet == b' ' || octet.is_ascii_graphic());
                let length = u8::try_from(string.raw.len()).ok().filter(|_| string.raw.iter().all(usual))?;
                out.push(length);
                out.extend(string.raw);
            }
        }
        _ => return None,
    }
    (out.len() <= usize::from(u16::MAX)).then_some(())
}

/// A word without quotes, escapes and strange characters.
fn word<'a>(token: &Token<'a>) -> Option<&'a str> {
    let text = str::from_utf8(token.raw).ok()?;
    (!token.quoted && !text.contains('\\')).then_some(text)
}

/// Digits alone.
fn number<N: std::str::FromStr>(token: &Token<'_>) -> Option<N> {
    word(token).filter(|text| text.bytes().all(|octet| octet.is_ascii_digit()))?.parse().ok()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::super::entry::{Origin, read_name};
    use super::super::rdata::read_rdata;
    use super::super::tokens::Entries;
    use super::*;

    /// What data is made of: good, odd and bad.
    fn word() -> impl Strategy<Value = String> {
        let usual = prop::sample::select(vec![
            "192.0.2.1",
            "192.0.2.01",
            "2001:db8::1",
            "::ffff:192.0.2.1",
            "@",
            ".",
            "a",
            "www.",
            "a.b",
            "a..b",
            ".a",
            "*.x",
            "_tcp",
            "0",
            "10",
            "007",
            "65535",
            "65536",
            "4294967295",
            "4294967296",
            "1h",
            "2w3d",
            "+1",
            "-1",
            "x",
            "\"x y\"",
            "\"\"",
            "\"a;(b)\"",
            "\"@\"",
            "a\\.b",
            "\\065",
            "\\#",
            "1x",
            "TYPE1",
            "$ORIGIN",
            "#",
            "=",
        ]);
        let long = (1..70_usize).prop_map(|length| "l".repeat(length));
        let longer = (50..140_usize).prop_map(|labels| "m.".repeat(labels));
        let longest = (250..260_usize).prop_map(|length| format!("\"{}\"", "s".repeat(length)));
        prop_oneof![
            12 => usual.prop_map(str::to_owned),
            2 => "[!#-'*+./0-:<-\\[\\]-~]{1,8}",
            2 => "\"[ -!#-\\[\\]-~é\t]{0,8}\"",
            1 => long,
            1 => longer,
            1 => longest,
        ]
    }

    fn data() -> impl Strategy<Value = Vec<String>> {
        let soa = (word(), word(), word(), prop::collection::vec(word(), 3..5));
        let soa = soa.prop_map(|(server, mailbox, serial, times)| [vec![server, mailbox, serial], times].concat());
        prop_oneof![4 => prop::collection::vec(word(), 0..5), 1 => soa]
    }

    fn origin() -> Origin {
        Origin::from_octets(Bytes::from_static(b"\x04ShOp\x07example\0")).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(3000))]

        /// What is read the quick way is read alike the long way.
        #[test]
        fn the_long_way_reads_alike(data in data(), glued in prop::bool::weighted(0.1)) {
            let text = data.join(if glued { "" } else { " " });
            let mut tokens = Vec::new();
            let Some(Ok(_)) = Entries::new(text.as_bytes()).next(&mut tokens) else { return Ok(()) };
            for (mnemonic, rtype) in USUAL {
                let mut quick = Vec::new();
                if rdata(rtype, &tokens, origin().as_slice(), &mut quick).is_some() {
                    let long = read_rdata(rtype, &tokens[0], &tokens, &origin());
                    prop_assert_eq!(long, Ok(quick), "{} {}", mnemonic, text);
                }
            }
            for token in &tokens {
                let mut quick = Vec::new();
                if name(token, origin().as_slice(), &mut quick).is_some() {
                    let long = read_name(token, &origin()).map(|name| name.as_slice().to_vec());
                    prop_assert_eq!(long, Ok(quick), "{}", text);
                }
            }
        }
    }

    /// The usual forms go the quick way.
    #[test]
    fn usual_forms_are_quick() {
        for (mnemonic, data) in [
            ("A", "192.0.2.1"),
            ("AAAA", "2001:db8::1"),
            ("NS", "ns1"),
            ("CNAME", "www.example.org."),
            ("PTR", "@"),
            ("DNAME", "."),
            ("MX", "10 mail"),
            ("SRV", "0 5 443 www"),
            ("SOA", "ns1 hostmaster 1 2h 900 2w 300"),
            ("TXT", "\"v=spf1 -all\" x"),
        ] {
            let text = format!("{mnemonic} {data}");
            let mut tokens = Vec::new();
            assert!(Entries::new(text.as_bytes()).next(&mut tokens).unwrap().is_ok());
            let rtype = rtype(&tokens[0]).unwrap();
            let mut quick = Vec::new();
            assert!(rdata(rtype, &tokens[1..], origin().as_slice(), &mut quick).is_some(), "{text}");
            assert_eq!(read_rdata(rtype, &tokens[0], &tokens[1..], &origin()), Ok(quick), "{text}");
        }
    }
}
