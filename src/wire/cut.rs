//! What is left of a reply to a client over its limit: nothing that is worth forging an address for.

use super::numbers::{Rcode, Rtype};
use super::query::{Counts, Cursor, HEADER_LENGTH, Malformed};

/// Why a reply is cut short.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// TC: ask again by TCP.
    Truncated,
    /// The client has a cookie, and ours in the reply tells it to come again with that (RFC 7873 §5.2.3).
    BadCookie,
}

/// Drops all records of a reply of ours but its OPT; the length of what is left, 0 where it is no whole message.
/// Nothing of it says more than the question did, but for OPT.
#[must_use]
pub fn cut(reply: &mut [u8], why: Cut) -> usize {
    let Ok((question_end, opt)) = parts(reply) else { return 0 };
    let opt_length = opt.map_or(0, |(start, end)| {
        reply.copy_within(start..end, question_end);
        end - start
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

/// Where the question ends, and where OPT lies.
#[allow(clippy::type_complexity)]
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
