//! What is asked: the same figures in each run.

/// A kind of load.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Set {
    /// One steered name, random client subnets.
    Geo,
    /// Random names of 100,000 steered ones, random client subnets.
    Names,
    /// Random names of 500 static ones, no client subnet.
    Static,
    /// 70 % of `Geo`, 20 % of `Static`, 5 % names that do not exist, 5 % the apex.
    Mix,
}

pub const ZONE: &str = "shop.example";
pub const NAMES: u64 = 100_000;
pub const STATIC: u64 = 500;

impl Set {
    pub fn parse(word: &str) -> Option<Self> {
        let all = [("geo", Self::Geo), ("names", Self::Names), ("static", Self::Static), ("mix", Self::Mix)];
        all.into_iter().find(|(name, _)| *name == word).map(|(_, set)| set)
    }
}

/// xorshift64*
pub struct Draw(pub u64);

impl Draw {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        (self.next() >> 32) * bound >> 32
    }
}

/// One query; its id is filled in when it is sent.
pub fn query(set: Set, draw: &mut Draw) -> Vec<u8> {
    let kind = match set {
        Set::Mix => match draw.below(100) {
            0..70 => 0,
            70..90 => 2,
            90..95 => 3,
            _ => 4,
        },
        Set::Geo => 0,
        Set::Names => 1,
        Set::Static => 2,
    };
    match kind {
        0 => packet(&format!("www.{ZONE}"), 1, Some(subnet(draw))),
        1 => packet(&format!("n{}.{ZONE}", draw.below(NAMES)), 1, Some(subnet(draw))),
        2 => packet(&format!("s{}.{ZONE}", draw.below(STATIC)), 1, None),
        3 => packet(&format!("x{}.{ZONE}", draw.below(1_000_000)), 1, None),
        _ => packet(ZONE, if draw.below(2) == 0 { 6 } else { 2 }, None),
    }
}

fn subnet(draw: &mut Draw) -> [u8; 3] {
    // Of the unicast space.
    let address = 0x0100_0000 + draw.below(0xdf00_0000);
    let [a, b, c, _] = (address as u32).to_be_bytes();
    [a, b, c]
}

/// A query with EDNS of 1232 octets, and a client subnet /24 if there is one.
pub fn packet(name: &str, rtype: u8, subnet: Option<[u8; 3]>) -> Vec<u8> {
    let mut packet = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    packet.extend(name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()));
    packet.extend([0, 0, rtype, 0, 1, 0, 0, 41, 4, 208, 0, 0, 0, 0, 0, if subnet.is_some() { 11 } else { 0 }]);
    if let Some([a, b, c]) = subnet {
        packet.extend([0, 8, 0, 7, 0, 1, 24, 0, a, b, c]);
    }
    packet
}
