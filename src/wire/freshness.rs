//! How long an HTTP cache may keep a reply of ours (RFC 8484 §5.1).

use super::numbers::{Rcode, Rtype};
use super::query::{Counts, Cursor, HEADER_LENGTH, Malformed};

/// TC, in the third octet of the header.
const TRUNCATED: u8 = 0x02;

/// Seconds that `reply` holds good: the smallest TTL in ANSWER; where AUTHORITY has the zone's SOA, which says that
/// there is no such name or type, at most that one's TTL and MINIMUM (RFC 2308 §5). None: it is not to be kept, being an
/// error, a referral, or no whole message.
#[must_use]
pub fn freshness(reply: &[u8]) -> Option<u32> {
    let header = reply.first_chunk::<HEADER_LENGTH>()?;
    let rcode = Rcode(u16::from(header[3] & 0xf));
    if ![Rcode::NOERROR, Rcode::NXDOMAIN].contains(&rcode) || header[2] & TRUNCATED != 0 {
        return None;
    }
    seconds(reply, &Counts::read(header)).ok().flatten()
}

fn seconds(reply: &[u8], counts: &Counts) -> Result<Option<u32>, Malformed> {
    let mut cursor = Cursor::behind_header(reply);
    for _ in 0..counts.questions {
        cursor.question()?;
    }
    let mut least: Option<u32> = None;
    let mut observe = |seconds| least = Some(least.map_or(seconds, |least| least.min(seconds)));
    for _ in 0..counts.answers {
        observe(cursor.record()?.ttl);
    }
    for _ in 0..counts.authorities {
        let record = cursor.record()?;
        if record.rtype == Rtype::SOA {
            let minimum = record.rdata.last_chunk().ok_or(Malformed)?;
            observe(record.ttl.min(u32::from_be_bytes(*minimum)));
        }
    }
    Ok(least)
}
