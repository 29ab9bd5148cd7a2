//! The data of one record: tokens → wire form, through `domain`'s reader.
//!
//! It gets one record on one line, so that an error stays within the entry and its column leads
//! back to a token. What it lacks is made good before and after: `@` for the origin, times with units
//! in SOA, octets above 127 in quoted strings; empty labels, which it lets pass, and RFC 3597 data of
//! types that it knows, which it does not look into.

use domain::base::ParsedName;
use domain::base::iana::{Class, Rtype};
use domain::base::rdata::{ComposeRecordData, ParseRecordData};
use domain::dep::octseq::Parser;
use domain::rdata::ZoneRecordData;
use domain::zonefile::inplace::{Entry, Zonefile};

use super::entry::{Origin, read_ttl};
use super::rtype;
use super::tokens::{Fault, Token};

/// Types whose data has no name in it, so that `@` is text there.
const WITHOUT_NAMES: [Rtype; 5] = [Rtype::TXT, Rtype::HINFO, Rtype::CAA, Rtype::SPF, Rtype::OPENPGPKEY];

/// Reads the data of a record of `rtype`, which `type_token` names.
pub(super) fn read_rdata(
    rtype: Rtype,
    type_token: &Token<'_>,
    tokens: &[Token<'_>],
    origin: &Origin,
) -> Result<Vec<u8>, Fault> {
    let (line, starts) = one_line(rtype, tokens, origin)?;
    let mut reader = Zonefile::from(&line[..]);
    reader.set_origin(origin.clone());
    reader.set_default_class(Class::IN);
    match reader.next_entry() {
        Ok(Some(Entry::Record(record))) => {
            let rdata = compose(record.data());
            let whole = rdata.filter(|rdata| is_whole(rtype, rdata));
            let broken = || Fault::new("bad-data", type_token.span.clone(), broken_message(rtype), help(rtype));
            whole.ok_or_else(broken)
        }
        Ok(_) => Err(Fault::new("bad-data", type_token.span.clone(), broken_message(rtype), help(rtype))),
        Err(error) => {
            let (column, message) = split_error(&error.to_string());
            let culprit = culprit(&line, &starts, column, message == "trailing tokens");
            let culprit = culprit.map_or(type_token, |index| &tokens[index]);
            Err(fault(rtype, culprit, &message))
        }
    }
}

/// The record on one line with the root as owner, and where in it the content of each token starts.
fn one_line(rtype: Rtype, tokens: &[Token<'_>], origin: &Origin) -> Result<(Vec<u8>, Vec<usize>), Fault> {
    let mut line = format!(". 0 IN TYPE{}", rtype.to_int()).into_bytes();
    let mut starts = Vec::with_capacity(tokens.len());
    for (index, token) in tokens.iter().enumerate() {
        if token.apart || index == 0 {
            line.push(b' ');
        }
        starts.push(line.len() + usize::from(token.quoted));
        if token.is("@") && !WITHOUT_NAMES.contains(&rtype) {
            line.extend(absolute(origin).bytes());
        } else if rtype == Rtype::SOA && index > 2 && !tokens[0].is("\\#") {
            line.extend(read_ttl(token)?.to_string().bytes());
        } else if token.quoted {
            line.push(b'"');
            token.raw.iter().for_each(|&octet| push_octet(&mut line, octet));
            line.push(b'"');
        } else if token.raw.is_ascii() {
            line.extend(token.raw);
        } else {
            let message = format!("{} has characters outside ASCII", token.say());
            let help = "write names as A-labels (xn--…), other octets as \\DDD or in quotes";
            return Err(Fault::new("non-ascii", token.span.clone(), message, help));
        }
    }
    line.push(b'\n');
    Ok((line, starts))
}

/// Octets above 127 and tabs in quotes are meant as they are; `domain` wants them escaped.
fn push_octet(line: &mut Vec<u8>, octet: u8) {
    if octet.is_ascii() && octet != b'\t' {
        line.push(octet);
    } else {
        line.extend(format!("\\{octet:03}").bytes());
    }
}

/// The origin as an absolute name, in its own case.
fn absolute(origin: &Origin) -> String {
    let mut text = String::new();
    for label in origin.iter().filter(|label| !label.is_root()) {
        for &octet in label.as_slice() {
            let plain = octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_');
            if plain { text.push(octet.into()) } else { text += &format!("\\{octet:03}") }
        }
        text.push('.');
    }
    if text.is_empty() { ".".to_owned() } else { text }
}

/// Does the wire form read back as data of its type, with nothing left over? It does not where a
/// name has an empty label, or where RFC 3597 data of a known type is wrong or compressed.
fn is_whole(rtype: Rtype, rdata: &[u8]) -> bool {
    let mut parser = Parser::from_ref(rdata);
    let parsed = ZoneRecordData::<&[u8], ParsedName<&[u8]>>::parse_rdata(rtype, &mut parser);
    let Ok(Some(parsed)) = parsed else { return false };
    parser.remaining() == 0 && compose(&parsed).is_some_and(|again| again == rdata)
}

fn compose(data: &impl ComposeRecordData) -> Option<Vec<u8>> {
    let mut rdata = Vec::new();
    data.compose_rdata(&mut rdata).ok().map(|()| rdata)
}

/// `LINE:COLUMN: MESSAGE` → the column, beyond everything if the line was passed, and the message.
fn split_error(text: &str) -> (usize, String) {
    let mut parts = text.splitn(3, ':');
    let (line, column, message) = (parts.next(), parts.next(), parts.next());
    let column = column.and_then(|column| column.parse().ok()).filter(|_| line == Some("1"));
    (column.unwrap_or(usize::MAX), message.unwrap_or(text).trim().to_owned())
}

/// Which token an error in that column (from 1) is about. Reading stands in or just behind the
/// token that it could not take, or at the start of the first that is too many.
fn culprit(line: &[u8], starts: &[usize], column: usize, too_many: bool) -> Option<usize> {
    let at = column.saturating_sub(1).min(line.len());
    starts.iter().rposition(|&start| start < at || (too_many && start == at))
}

fn fault(rtype: Rtype, culprit: &Token<'_>, message: &str) -> Fault {
    let name = rtype::name_of(rtype.to_int());
    if message.starts_with("unknown record type with concrete data") {
        let message = format!("the data of type {name} can be read in its generic form only");
        let help = r"write it as \# LENGTH HEX (RFC 3597 §5)";
        return Fault::new("rfc3597-form", culprit.span.clone(), message, help);
    }
    let message = match message {
        "unexpected end of entry" | "short buffer" => format!("the data of {name} ends too early"),
        "trailing tokens" => format!("{} is too much for {name}", culprit.say()),
        _ => format!("{} does not fit in {name}: {message}", culprit.say()),
    };
    Fault::new("bad-data", culprit.span.clone(), message, help(rtype))
}

fn broken_message(rtype: Rtype) -> String {
    format!("the data of {} is not whole: an empty label, or generic data that does not fit", {
        rtype::name_of(rtype.to_int())
    })
}

/// What the data of the type looks like.
fn help(rtype: Rtype) -> &'static str {
    match rtype {
        Rtype::A => "an IPv4 address: A 192.0.2.1",
        Rtype::AAAA => "an IPv6 address: AAAA 2001:db8::1",
        Rtype::NS | Rtype::CNAME | Rtype::DNAME | Rtype::PTR => rtype::NAME_HELP,
        Rtype::MX => "preference and name: MX 10 mail",
        Rtype::SOA => "SOA MNAME RNAME SERIAL REFRESH RETRY EXPIRE MINIMUM",
        Rtype::TXT => "quoted strings of at most 255 octets each: TXT \"v=spf1 -all\"",
        Rtype::SRV => "priority, weight, port and name: SRV 0 5 443 www",
        Rtype::CAA => "flags, tag and value: CAA 0 issue \"ca.example\"",
        Rtype::SVCB | Rtype::HTTPS => "priority, name and parameters: HTTPS 1 . alpn=h2,h3",
        _ => "the form that the type's RFC gives, or \\# LENGTH HEX (RFC 3597 §5)",
    }
}
