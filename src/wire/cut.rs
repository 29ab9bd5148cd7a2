//! What is left of a reply to a client over its limit: nothing that is worth forging an address for.

use super::edns::{OPTION_CLIENT_SUBNET, OPTION_COOKIE};
use super::numbers::{Rcode, Rtype};
use super::query::{Counts, Cursor, HEADER_LENGTH, Malformed};
use super::writer::OPT_LENGTH;

/// Why a reply is cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// TC: ask again by TCP.
    Truncated,
    /// The client has a cookie, and ours in the reply tells it to come again with that (RFC 7873 §5.2.3).
    BadCookie,
}

/// Drops all records of a reply of ours but its OPT, and of that all options but client subnet and cookie; the length of
/// what is left, 0 where it is no whole message. It is longer than the query by our cookie at most.
#[must_use]
pub fn cut(reply: &mut [u8], why: Cut) -> usize {
    let Ok((question_end, opt)) = parts(reply) else { return 0 };
    let opt_length = opt.map_or(0, |(start, end)| {
        reply.copy_within(start..end, question_end);
        keep_options(&mut reply[question_end..question_end + end - start])
    });
    reply[6..HEADER_LENGTH].fill(0); // ANCOUNT, NSCOUNT, ARCOUNT
    reply[11] = u8::from(opt_length > 0);
    match why {
        Cut::Truncated => reply[2] |= 2,
        Cut::BadCookie if opt_length > 0 => {
            let [extended, low] = [(Rcode::BADCOOKIE.0 >> 4) as u8, Rcode::BADCOOKIE.0 as u8 & 0xf];
            reply[2] &= !4; // not authoritative: nothing is said
            reply[3] = reply[3] & 0xf0 | low;
            reply[question_end + 5] = extended;
        }
        Cut::BadCookie => reply[2] |= 2,
    }
    question_end + opt_length
}

/// Leaves those options of an OPT record that answer the query's own; its new length.
fn keep_options(opt: &mut [u8]) -> usize {
    let (mut from, mut to) = (OPT_LENGTH, OPT_LENGTH);
    while let Some(head) = opt.get(from..from + 4) {
        let code = u16::from_be_bytes([head[0], head[1]]);
        let end = (from + 4 + usize::from(u16::from_be_bytes([head[2], head[3]]))).min(opt.len());
        if code == OPTION_CLIENT_SUBNET || code == OPTION_COOKIE {
            opt.copy_within(from..end, to);
            to += end - from;
        }
        from = end;
    }
    let length = ((to - OPT_LENGTH) as u16).to_be_bytes(); // no longer than it was
    opt[OPT_LENGTH - 2..OPT_LENGTH].copy_from_slice(&length);
    to
}

/// Where the question ends, and where OPT lies.
fn parts(reply: &[u8]) -> Result<(usize, Option<(usize, usize)>), Malformed> {
    let counts = Counts::read(reply.first_chunk().ok_or(Malformed)?);
    let mut cursor = Cursor { packet: reply, at: HEADER_LENGTH };
    for _ in 0..counts.questions {
        cursor.question()?;
    }
    let (question_end, mut opt) = (cursor.at, None);
    for _ in 0..u32::from(counts.answers) + u32::from(counts.authorities) + u32::from(counts.additionals) {
        let start = cursor.at;
        if cursor.record()?.rtype == Rtype::OPT {
            opt = Some((start, cursor.at));
        }
    }
    Ok((question_end, opt))
}
