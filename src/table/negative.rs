//! The SOA record of a zone's negative answers (RFC 2308 §2), ready to be copied behind any question in the zone.

/// Octets of the longest one that is kept ready, in whole cache lines.
pub const NEGATIVE: usize = 128;
/// The record is the owner's pointer, type, class, TTL, …
const TTL: usize = 6;

/// A zone's SOA record as it stands in a message, behind a question for the apex.
///
/// Behind a longer name it is the same, but that its pointers lead as much further as the name is longer. Not so where
/// the label above the apex is one that the SOA's own names have there: more would be compressed.
#[derive(Clone, Debug)]
pub struct Negative {
    octets: [u8; NEGATIVE],
    length: u8,
    /// Where its pointers stand: the owner's at 0, and those of the two names in the data, 0 where there is none.
    pointers: [u8; 3],
    /// Labels, with their lengths, lower-cased, above which nothing is said.
    above: [Box<[u8]>; 2],
}

impl Negative {
    /// Of the record as it was written behind a question for the apex, and the uncompressed names in its data. None
    /// where it is too long, or not such a record.
    #[must_use]
    pub fn new(record: &[u8], apex: &[u8], names: [&[u8]; 2]) -> Option<Self> {
        let mut octets = [0; NEGATIVE];
        octets.get_mut(..record.len())?.copy_from_slice(record);
        let first = 12;
        let (first_pointer, second) = end_of_name(record, first)?;
        let (second_pointer, end) = end_of_name(record, second)?;
        let whole = end + 20 == record.len() && record[0] >= 0xc0;
        let above = names.map(|name| label_above(&name.to_ascii_lowercase(), apex).unwrap_or_default().into());
        let pointers = [0, first_pointer, second_pointer];
        whole.then_some(Self { octets, length: record.len() as u8, pointers, above })
    }

    /// Writes it behind a question for `name`, in lower case, which is below `apex`; its length. None: not ready for
    /// this name.
    #[inline]
    #[must_use]
    pub fn write(&self, out: &mut [u8; NEGATIVE], name: &[u8], apex: &[u8], ttl: u32) -> Option<usize> {
        let label = label_above(name, apex).unwrap_or_default();
        if self.above.iter().any(|above| !label.is_empty() && **above == *label) {
            return None;
        }
        *out = self.octets;
        out[TTL..TTL + 4].copy_from_slice(&ttl.to_be_bytes());
        let longer = (name.len() - apex.len()) as u16; // 255 at most, and no pointer leads near their end
        for (nth, &at) in self.pointers.iter().enumerate() {
            if nth == 0 || at > 0 {
                let pointer = &mut out[usize::from(at)..][..2];
                let to = u16::from_be_bytes([pointer[0], pointer[1]]) + longer;
                pointer.copy_from_slice(&to.to_be_bytes());
            }
        }
        Some(self.length.into())
    }
}

/// Where the pointer that ends a name stands, 0 where a root's zero does, and where the name ends.
fn end_of_name(octets: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        match *octets.get(at)? {
            0 => return Some((0, at + 1)),
            length @ 1..=63 => at += 1 + usize::from(length),
            0xc0.. => return Some((u8::try_from(at).ok()?, at + 2)),
            _ => return None,
        }
    }
}

/// The label of `name` that stands before `apex`; none: it is not below it.
fn label_above<'n>(name: &'n [u8], apex: &[u8]) -> Option<&'n [u8]> {
    let above = name.strip_suffix(apex)?;
    let mut rest = above;
    while !rest.is_empty() {
        let label = rest.get(..1 + usize::from(rest[0]))?;
        rest = &rest[label.len()..];
        if rest.is_empty() {
            return Some(label);
        }
    }
    None
}
