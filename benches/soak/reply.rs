//! Queries with a client subnet, and what a reply to one says.

/// The types that are asked for, and how many records each has.
pub(crate) const TYPES: [(u16, usize); 3] = [(1, 2), (28, 2), (16, 1)];

/// A query for a name with a client subnet /24 as its last three octets; the id are the first two.
pub(crate) fn query(name: &str, rtype: u16) -> Vec<u8> {
    let mut packet = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    let labels = name.trim_end_matches('.').split('.');
    packet.extend(labels.flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()));
    packet.push(0);
    packet.extend(rtype.to_be_bytes());
    packet.extend([0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 11, 0, 8, 0, 7, 0, 1, 24, 0, 0, 0, 0]);
    packet
}

/// Is it a reply without an error to this query?
pub(crate) fn is_good(query: &[u8], reply: &[u8]) -> bool {
    reply.len() >= 12 && reply[..2] == query[..2] && reply[2] & 0x80 != 0 && reply[3] & 0x0f == 0
}

/// Type and data of each answer record; none where the reply makes no sense.
pub(crate) fn records<'r>(query: &[u8], reply: &'r [u8]) -> Option<Vec<(u16, &'r [u8])>> {
    if !is_good(query, reply) {
        return None;
    }
    // Behind the question: OPT and a subnet follow it in the query.
    let mut at = query.len() - 22;
    let count = u16::from_be_bytes([reply[6], reply[7]]);
    let mut records = Vec::with_capacity(count.into());
    for _ in 0..count {
        at = behind_name(reply, at)?;
        let head = reply.get(at..at + 10)?;
        let length: usize = u16::from_be_bytes([head[8], head[9]]).into();
        let data = reply.get(at + 10..at + 10 + length)?;
        records.push((u16::from_be_bytes([head[0], head[1]]), data));
        at += 10 + length;
    }
    Some(records)
}

fn behind_name(reply: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *reply.get(at)? {
            0 => return Some(at + 1),
            length if length >= 0xc0 => return Some(at + 2),
            length => at += 1 + usize::from(length),
        }
    }
}

/// The generation that a record writes (see `swaps`).
fn generation((rtype, data): (u16, &[u8])) -> Option<u64> {
    match (rtype, data) {
        (1, [10 | 11, rest @ ..]) if rest.len() == 3 => {
            Some(rest.iter().fold(0, |all, one| all << 8 | u64::from(*one)))
        }
        (28, [0x20, 0x01, 0x0d, 0xb8, .., a, b, c, d]) => Some(u32::from_be_bytes([*a, *b, *c, *d]).into()),
        (16, [_, text @ ..]) => std::str::from_utf8(text).ok()?.parse().ok(),
        _ => None,
    }
}

/// The one generation that all records of a reply write, of which there are as many as there should be.
pub(crate) fn only_generation(query: &[u8], reply: &[u8], expected: usize) -> Option<u64> {
    let records = records(query, reply)?;
    let mut generations = records.iter().map(|record| generation(*record));
    let first = generations.next()??;
    (records.len() == expected && generations.all(|other| other == Some(first))).then_some(first)
}
