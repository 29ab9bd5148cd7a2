//! The queries: what is asked, in which shares, and what a good reply looks like.

use crate::draw::Draw;

/// The zone that every server has, as labels.
pub const ZONE: [&str; 2] = ["bench", "example"];
/// Steered names n00000 to n99999, where a server has them.
pub const STEERED_NAMES: u64 = 100_000;
/// Names s000 to s999 with one fixed address each.
pub const STATIC_NAMES: u64 = 1_000;

pub const A: u16 = 1;
pub const NS: u16 = 2;
pub const SOA: u16 = 6;

/// What is asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Set {
    mixture: Mixture,
    /// Of a hundred queries so many bear a client's DNS cookie (RFC 7873), each a new one.
    cookies: u64,
}

/// A mixture of queries.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mixture {
    /// One steered name, each time with another random IPv4 /24 as client subnet.
    Geo,
    /// The same over 100,000 steered names.
    Names,
    /// 1,000 fixed names, EDNS without client subnet.
    Static,
    /// 70 % steered, 20 % fixed, 5 % no such name, 5 % SOA or NS of the apex, all with client subnet.
    Mix,
}

impl Mixture {
    const ALL: [(&str, Self); 4] =
        [("geo", Self::Geo), ("names", Self::Names), ("static", Self::Static), ("mix", Self::Mix)];

    fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, mixture)| *mixture == self).map_or("", |(name, _)| name)
    }
}

impl Set {
    /// A mixture's name, then perhaps `+` and how many of a hundred queries bear a cookie.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no set: geo, names, static or mix, with cookies in 30 % of them geo+30");
        let (name, cookies) = text.split_once('+').unwrap_or((text, "0"));
        let (_, mixture) = Mixture::ALL.into_iter().find(|(known, _)| *known == name).ok_or_else(wrong)?;
        let cookies = cookies.parse().ok().filter(|cookies| *cookies <= 100).ok_or_else(wrong)?;
        Ok(Self { mixture, cookies })
    }

    pub fn name(self) -> String {
        match self.cookies {
            0 => self.mixture.name().to_owned(),
            cookies => format!("{}+{cookies}", self.mixture.name()),
        }
    }
}

/// What the reply to a query must be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Positive,
    NoSuchName,
}

impl Kind {
    /// Is it that by its header? Headers are all that is looked at while the clock runs.
    pub fn is_met_by(self, reply: &[u8]) -> bool {
        let [_, _, flags, rcode, _, _, answers_high, answers_low, ..] = *reply else { return false };
        let answers = u16::from_be_bytes([answers_high, answers_low]);
        flags & 0x80 != 0
            && match self {
                Self::Positive => rcode & 15 == 0 && answers > 0,
                Self::NoSuchName => rcode & 15 == 3 && answers == 0,
            }
    }
}

/// An endless stream of queries, the same one for the same seed.
pub struct Queries {
    set: Set,
    draw: Draw,
}

impl Queries {
    pub fn new(set: Set, seed: u64) -> Self {
        Self { set, draw: Draw::new(seed) }
    }

    /// Writes the next one and returns its length and what to expect.
    pub fn write(&mut self, id: u16, slot: &mut [u8]) -> (usize, Kind) {
        let (length, kind) = self.write_plain(id, slot);
        let has_cookie = self.set.cookies > 0 && self.draw.below(100) < self.set.cookies;
        if !has_cookie {
            return (length, kind);
        }
        let cookie = self.draw.below(u64::MAX).to_be_bytes();
        (add_cookie(slot, length, cookie), kind)
    }

    fn write_plain(&mut self, id: u16, slot: &mut [u8]) -> (usize, Kind) {
        let draw = &mut self.draw;
        let subnet = draw.subnet();
        match self.set.mixture {
            Mixture::Geo => (write_query(slot, id, b"www", A, Some(subnet)), Kind::Positive),
            Mixture::Names => {
                let name = numbered::<6>(b'n', draw.below(STEERED_NAMES));
                (write_query(slot, id, &name, A, Some(subnet)), Kind::Positive)
            }
            Mixture::Static => {
                let name = numbered::<4>(b's', draw.below(STATIC_NAMES));
                (write_query(slot, id, &name, A, None), Kind::Positive)
            }
            Mixture::Mix => match draw.below(100) {
                0..70 => (write_query(slot, id, b"www", A, Some(subnet)), Kind::Positive),
                70..90 => {
                    let name = numbered::<4>(b's', draw.below(STATIC_NAMES));
                    (write_query(slot, id, &name, A, Some(subnet)), Kind::Positive)
                }
                90..95 => {
                    let name = numbered::<9>(b'x', draw.below(100_000_000));
                    (write_query(slot, id, &name, A, Some(subnet)), Kind::NoSuchName)
                }
                share => {
                    let qtype = if share % 2 == 0 { NS } else { SOA };
                    (write_query(slot, id, b"", qtype, Some(subnet)), Kind::Positive)
                }
            },
        }
    }
}

/// `letter` and then `number` in decimal, as long as the label shall be.
pub fn numbered<const LENGTH: usize>(letter: u8, mut number: u64) -> [u8; LENGTH] {
    let mut label = [letter; LENGTH];
    for digit in label[1..].iter_mut().rev() {
        *digit = b'0' + (number % 10) as u8;
        number /= 10;
    }
    label
}

/// Writes a query for `label` in the zone (empty: its apex), with EDNS and perhaps a client subnet /24.
pub fn write_query(slot: &mut [u8], id: u16, label: &[u8], qtype: u16, subnet: Option<[u8; 3]>) -> usize {
    let mut at = 0;
    let mut put = |bytes: &[u8]| {
        slot[at..at + bytes.len()].copy_from_slice(bytes);
        at += bytes.len();
    };
    put(&id.to_be_bytes());
    put(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    let labels = [label, ZONE[0].as_bytes(), ZONE[1].as_bytes()];
    for label in labels.into_iter().filter(|label| !label.is_empty()) {
        put(&[label.len() as u8]);
        put(label);
    }
    put(&[0, 0, qtype as u8, 0, 1]);
    match subnet {
        Some([first, second, third]) => {
            put(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 11, 0, 8, 0, 7, 0, 1, 24, 0, first, second, third]);
        }
        None => put(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]),
    }
    at
}

/// Adds a client's cookie to a query's OPT, which ends it; the new length.
fn add_cookie(slot: &mut [u8], length: usize, cookie: [u8; 8]) -> usize {
    let options =
        length - slot[..length].windows(5).rposition(|octets| octets == [0, 0, 41, 4, 208]).expect("an OPT") - 11;
    slot[length - options - 1] += 12; // RDLENGTH stays below 256
    slot[length..length + 4].copy_from_slice(&[0, 10, 0, 8]);
    slot[length + 4..length + 12].copy_from_slice(&cookie);
    length + 12
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_dns() {
        let mut slot = [0; 128];
        let length = write_query(&mut slot, 7, &numbered::<4>(b's', 12), A, Some([192, 0, 2]));
        let name = b"\x04s012\x05bench\x07example\0";
        assert_eq!(&slot[..12], &[0, 7, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
        assert_eq!(&slot[12..12 + name.len()], name);
        assert_eq!(&slot[length - 4..length], &[0, 192, 0, 2]);
        assert_eq!(length, 12 + name.len() + 4 + 11 + 11);
    }

    #[test]
    fn the_mix_has_its_shares() {
        let (mut queries, mut slot) = (Queries::new(Set::parse("mix").unwrap(), 1), [0; 128]);
        let missing = (0..10_000).filter(|_| queries.write(0, &mut slot).1 == Kind::NoSuchName).count();
        assert!((400..600).contains(&missing), "{missing}");
    }

    #[test]
    fn some_bear_a_cookie() {
        let (mut queries, mut slot) = (Queries::new(Set::parse("mix+30").unwrap(), 1), [0; 128]);
        let mut cookies = 0;
        for _ in 0..10_000 {
            let (length, _) = queries.write(0, &mut slot);
            let opt = slot[..length].windows(5).rposition(|octets| octets == [0, 0, 41, 4, 208]).unwrap();
            assert_eq!(length, opt + 11 + usize::from(slot[opt + 10]), "RDLENGTH is that of the options");
            cookies += usize::from(slot[length - 12..length - 8] == [0, 10, 0, 8]);
        }
        assert!((2_800..3_200).contains(&cookies), "{cookies}");
        assert_eq!(Set::parse("mix+30").unwrap().name(), "mix+30");
        assert!(Set::parse("mix+101").is_err() && Set::parse("mix+").is_err() && Set::parse("no").is_err());
    }

    #[test]
    fn a_reply_is_judged_by_its_header() {
        let positive = [0, 7, 0x84, 0, 0, 1, 0, 1, 0, 0, 0, 1];
        let mut refused = positive;
        refused[3] = 5;
        assert!(Kind::Positive.is_met_by(&positive));
        assert!(!Kind::Positive.is_met_by(&refused));
        assert!(!Kind::NoSuchName.is_met_by(&positive));
        assert!(!Kind::Positive.is_met_by(&positive[..6]));
    }
}
