//! Random figures that are the same in each run.

/// xorshift64*.
pub struct Draw(u64);

impl Draw {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// Below `bound`.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next()) * u128::from(bound)) >> 64) as u64
    }

    /// A /24 out of the addresses that hosts may have.
    pub fn subnet(&mut self) -> [u8; 3] {
        loop {
            let [first, second, third, ..] = self.next().to_be_bytes();
            if (1..224).contains(&first) && ![10, 127].contains(&first) {
                return [first, second, third];
            }
        }
    }
}
