//! One entry of a master file → a record or directive.
//!
//! Owner, TTL, class and type are read here, the data in [`rdata`](super::rdata).

use std::ops::Range;
use std::str::FromStr;

use bytes::Bytes;
use domain::base::Name as CasedName;
use domain::base::iana::{Class, Rtype};
use domain::base::name::{ToName, UncertainName};

use super::quick;
use super::rdata::read_rdata;
use super::rtype;
use super::tokens::{Entry, Fault, Token};

/// The largest TTL (RFC 2181 §8).
const MAX_TTL: u32 = i32::MAX as u32;
/// Types that a record cannot have, or that answers make themselves.
const META: [Rtype; 9] = [
    Rtype::OPT,
    Rtype::NXNAME,
    Rtype::TKEY,
    Rtype::TSIG,
    Rtype::IXFR,
    Rtype::AXFR,
    Rtype::MAILB,
    Rtype::MAILA,
    Rtype::ANY,
];
/// Types of a signed zone.
const SIGNED: [Rtype; 7] =
    [Rtype::RRSIG, Rtype::SIG, Rtype::DNSKEY, Rtype::NSEC, Rtype::NXT, Rtype::NSEC3, Rtype::NSEC3PARAM];
/// Mnemonics that a mistyped one may have meant.
const COMMON: [&str; 14] =
    ["A", "AAAA", "CAA", "CNAME", "DNAME", "HTTPS", "MX", "NS", "PTR", "SOA", "SRV", "SVCB", "TXT", "TLSA"];
const SHAPE: &str = "a record is: OWNER [TTL] [CLASS] TYPE DATA";

/// An origin: absolute, in the case that it was written in, as names in data keep theirs.
pub(super) type Origin = CasedName<Bytes>;

/// An entry that is no record.
pub(super) enum Directive {
    /// `$ORIGIN`
    Origin(Origin),
    /// `$TTL`, seconds
    Ttl(u32),
    /// `$INCLUDE`
    Include { path: String, origin: Option<Origin>, span: Range<usize> },
}

/// A record without its owner and data.
pub(super) struct Record {
    pub(super) rtype: u16,
    /// Seconds, if the record states it.
    pub(super) ttl: Option<u32>,
    /// Of its type: what messages point to.
    pub(super) span: Range<usize>,
}

/// Reads a directive, if the entry is one.
pub(super) fn read_directive(entry: &Entry<'_, '_>, origin: &Origin) -> Option<Result<Directive, Fault>> {
    let first = &entry.tokens[0];
    if entry.indented || first.quoted || !first.raw.starts_with(b"$") {
        return None;
    }
    Some(directive(first, &entry.tokens[1..], origin))
}

fn directive(first: &Token<'_>, arguments: &[Token<'_>], origin: &Origin) -> Result<Directive, Fault> {
    match arguments {
        [name] if first.is("$ORIGIN") => Ok(Directive::Origin(read_name(name, origin)?)),
        [ttl] if first.is("$TTL") => Ok(Directive::Ttl(read_ttl(ttl)?)),
        [path, rest @ ..] if first.is("$INCLUDE") && rest.len() < 2 => {
            let origin = rest.first().map(|name| read_name(name, origin)).transpose()?;
            let path_text = String::from_utf8_lossy(path.raw).into_owned();
            Ok(Directive::Include { path: path_text, origin, span: path.span.clone() })
        }
        _ if first.is("$GENERATE") => {
            let message = "$GENERATE is BIND's own and is not read";
            Err(Fault::new("bad-directive", first.span.clone(), message, "write its records out"))
        }
        _ => {
            let message = format!("directive {} is not known, or not with so many values", first.say());
            let help = "allowed are '$ORIGIN NAME', '$TTL SECONDS' and '$INCLUDE FILE [ORIGIN]'";
            Err(Fault::new("bad-directive", first.span.clone(), message, help))
        }
    }
}

/// Reads the owner of a record, lower-cased, into `name`; none if the entry leaves it out.
pub(super) fn read_owner(entry: &Entry<'_, '_>, origin: &Origin, name: &mut Vec<u8>) -> Option<Result<(), Fault>> {
    let first = entry.tokens.first().filter(|_| !entry.indented)?;
    name.clear();
    if quick::name(first, origin.as_slice(), name).is_none() {
        name.clear();
        match read_name(first, origin) {
            Ok(read) => name.extend(read.as_slice()),
            Err(fault) => return Some(Err(fault)),
        }
    }
    name.make_ascii_lowercase(); // length octets are below 'A'
    Some(Ok(()))
}

/// Reads a record's TTL, class and type in their two orders (RFC 1035 §5.1), then its data, in
/// uncompressed wire form, into `rdata`.
pub(super) fn read_record(entry: &Entry<'_, '_>, origin: &Origin, rdata: &mut Vec<u8>) -> Result<Record, Fault> {
    let end = entry.tokens.last().map_or(0, |token| token.span.end);
    let mut tokens = &entry.tokens[usize::from(!entry.indented)..];
    let (mut ttl, mut class) = (None, None);
    loop {
        let Some((token, rest)) = tokens.split_first() else {
            return Err(Fault::new("unknown-type", end..end, "the record ends before its type", SHAPE));
        };
        tokens = rest;
        if ttl.is_none() && token.raw.first().is_some_and(u8::is_ascii_digit) {
            ttl = Some(read_ttl(token)?);
            continue;
        }
        let usual = quick::rtype(token);
        if usual.is_none() && class.is_none() && read_class(token)? {
            class = Some(Class::IN);
            continue;
        }
        let rtype = usual.map_or_else(|| read_type(token), Ok)?;
        rdata.clear();
        if quick::rdata(rtype, tokens, origin.as_slice(), rdata).is_none() {
            *rdata = read_rdata(rtype, token, tokens, origin)?;
        }
        return Ok(Record { rtype: rtype.to_int(), ttl, span: token.span.clone() });
    }
}

/// Is it a class? Only IN is served.
fn read_class(token: &Token<'_>) -> Result<bool, Fault> {
    match str::from_utf8(token.raw).ok().and_then(|text| Class::from_str(text).ok()) {
        Some(Class::IN) => Ok(true),
        Some(class) if class != Class::ANY => {
            let message = format!("class {} is not served", token.say());
            Err(Fault::new("class-not-in", token.span.clone(), message, "only class IN is; remove the record"))
        }
        _ => Ok(false),
    }
}

fn read_type(token: &Token<'_>) -> Result<Rtype, Fault> {
    let text = str::from_utf8(token.raw).unwrap_or_default();
    let Some(rtype) = Rtype::from_str(text).ok().filter(|_| !token.quoted) else {
        let close = COMMON.into_iter().find(|known| strsim::osa_distance(known, &text.to_ascii_uppercase()) == 1);
        let help = close.map_or_else(|| SHAPE.to_owned(), |known| format!("did you mean {known}?"));
        return Err(Fault::new(
            "unknown-type",
            token.span.clone(),
            format!("{} is no record type", token.say()),
            &help,
        ));
    };
    if SIGNED.contains(&rtype) {
        let message = format!("{} belongs to a signed zone; zones are not served signed yet", token.say());
        let help = "remove the DS at the parent first, wait its TTL, then serve the unsigned zone";
        return Err(Fault::new("signed-record", token.span.clone(), message, help));
    }
    if META.contains(&rtype) {
        let message = format!("{} is a type of questions and messages, not of records", token.say());
        return Err(Fault::new("unknown-type", token.span.clone(), message, "remove the record"));
    }
    Ok(rtype)
}

/// Seconds, or numbers with units as BIND writes them: `1h30m`, `2w`.
pub(super) fn read_ttl(token: &Token<'_>) -> Result<u32, Fault> {
    let fault =
        |code, message| Fault::new(code, token.span.clone(), message, "at most 2147483647 seconds; 1h30m is 5400");
    let seconds = read_seconds(token.raw).filter(|_| !token.quoted);
    let seconds = seconds.ok_or_else(|| fault("bad-ttl", format!("{} is no time in seconds", token.say())))?;
    let in_range = u32::try_from(seconds).ok().filter(|&seconds| seconds <= MAX_TTL);
    in_range.ok_or_else(|| fault("ttl-too-large", format!("{} is over 2^31 − 1 seconds (RFC 2181 §8)", token.say())))
}

/// The sum of numbers with units; a number too large for anything saturates.
fn read_seconds(text: &[u8]) -> Option<u64> {
    let (mut sum, mut number) = (0_u64, None::<u64>);
    for octet in text {
        let unit = match octet.to_ascii_lowercase() {
            digit @ b'0'..=b'9' => {
                let before = number.unwrap_or(0);
                number = Some(before.saturating_mul(10).saturating_add(u64::from(digit - b'0')));
                continue;
            }
            b's' => 1,
            b'm' => 60,
            b'h' => 3600,
            b'd' => 86_400,
            b'w' => 604_800,
            _ => return None,
        };
        sum = sum.saturating_add(number.take()?.saturating_mul(unit));
    }
    match number {
        Some(number) => Some(sum.saturating_add(number)),
        None => (!text.is_empty()).then_some(sum),
    }
}

/// Reads a name outside of data: absolute, or relative to the origin; `@` is the origin.
pub(super) fn read_name(token: &Token<'_>, origin: &Origin) -> Result<Origin, Fault> {
    if token.is("@") {
        return Ok(origin.clone());
    }
    if token.is(".") {
        return Ok(Origin::root());
    }
    let name = str::from_utf8(token.raw).ok().filter(|text| text.is_ascii());
    let name = name.and_then(|text| UncertainName::<Bytes>::from_str(text).ok());
    let name = name.and_then(|name| name.chain(origin).ok()).map(|name| name.to_name::<Bytes>());
    name.ok_or_else(|| {
        let message = format!("{} is no domain name", token.say());
        Fault::new("bad-name", token.span.clone(), message, rtype::NAME_HELP)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_with_units() {
        assert_eq!(read_seconds(b"300"), Some(300));
        assert_eq!(read_seconds(b"1h30M"), Some(5400));
        assert_eq!(read_seconds(b"1w1"), Some(604_801));
        assert_eq!(read_seconds(b"99999999999999999999w"), Some(u64::MAX));
        for bad in [&b""[..], b"h", b"1x", b"1hh", b"-1", b"1.5h"] {
            assert_eq!(read_seconds(bad), None, "{bad:?}");
        }
    }
}
