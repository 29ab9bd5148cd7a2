//! What the hot path copies: one cache line an answer.

use super::image::Image;
use crate::model::CounterId;

/// The most octets of records that stand ready: three A records or one AAAA record.
const ROOM: usize = 48;

/// How the hot path answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum ReadyKind {
    /// With these octets.
    Whole,
    /// By `steer::pick` from the split of that `index`; each share has a `Ready` of its own.
    Split,
    /// Not at all: the slow path does.
    Slow,
}

/// One cache line: an answer that can be copied at once, or where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Ready {
    /// Up to three A records or one AAAA record: the owner a pointer to octet 12, the TTL 0. Zero behind them.
    pub octets: [u8; ROOM],
    /// How many octets the records have.
    pub length: u8,
    /// How many records.
    pub records: u8,
    /// What to do with it.
    pub kind: ReadyKind,
    /// Bound on the TTL, in seconds.
    pub ttl: u32,
    /// The endpoint's; of `Whole` only.
    pub counter: CounterId,
    /// Of `Split` only: which, as [`Replies::split`](super::Replies::split) takes it.
    pub index: u32,
}

impl Ready {
    /// Leaves it to the slow path.
    pub(super) const SLOW: Self = Self {
        octets: [0; ROOM],
        length: 0,
        records: 0,
        kind: ReadyKind::Slow,
        ttl: 0,
        counter: CounterId(0),
        index: 0,
    };

    /// The image, where it fits and is of one endpoint.
    pub(super) fn of(image: &Image) -> Self {
        let ([counter], ..=ROOM) = (&*image.counters, image.bytes.len()) else { return Self::SLOW };
        let mut ready = Self { kind: ReadyKind::Whole, ttl: image.ttl, counter: *counter, ..Self::SLOW };
        ready.octets[..image.bytes.len()].copy_from_slice(&image.bytes);
        ready.length = image.bytes.len() as u8;
        ready.records = image.starts.len() as u8;
        ready
    }

    /// The split of that index.
    pub(super) fn split(index: u32) -> Self {
        Self { kind: ReadyKind::Split, index, ..Self::SLOW }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Family;

    #[test]
    fn a_line_holds_three_addresses_of_one_endpoint() {
        assert_eq!((size_of::<Ready>(), align_of::<Ready>()), (64, 64));
        let v4 = |count: u8, counters: &[CounterId]| {
            let addresses: Vec<_> = (0..count).map(|n| [192, 0, 2, n].into()).collect();
            Ready::of(&Image::new(Family::V4, &addresses, 60, counters.into()))
        };
        let ready = v4(3, &[CounterId(7)]);
        assert_eq!((ready.kind, ready.length, ready.records, ready.ttl), (ReadyKind::Whole, 48, 3, 60));
        assert_eq!(
            (ready.counter, &ready.octets[32..]),
            (CounterId(7), b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\xc0\0\x02\x02".as_slice())
        );
        assert_eq!(v4(4, &[CounterId(7)]), Ready::SLOW, "too long");
        assert_eq!(v4(1, &[CounterId(7), CounterId(8)]), Ready::SLOW, "two endpoints");
        let v6 = Image::new(Family::V6, &["2001:db8::1".parse().unwrap()], 60, Box::new([CounterId(7)]));
        assert_eq!((Ready::of(&v6).length, Ready::of(&v6).records), (28, 1));
    }
}
