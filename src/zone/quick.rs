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
