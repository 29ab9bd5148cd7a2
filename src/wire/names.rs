//! Names in messages: their length, and where they stand for compression (RFC 1035 §4.1.4).

/// Octets of the uncompressed name at the start of `wire`, the root's zero included: 1 to 255; none
/// where there is no such name.
#[must_use]
pub fn name_length(wire: &[u8]) -> Option<usize> {
    let mut at = 0;
    loop {
        let length = usize::from(*wire.get(at)?);
        at += 1 + length;
        match length {
            0 => return (at <= 255).then_some(at),
            1..=63 if at < 255 => {}
            _ => return None,
        }
    }
}

/// Names that a message holds already, every suffix of them, as far as a pointer reaches.
///
/// At most 64 suffixes: a table that is full learns no more, and later names are longer for it.
pub(super) struct Names {
    places: [Place; 64],
    used: usize,
}

#[derive(Clone, Copy)]
struct Place {
    at: u16,
    /// Octets of the name when it is not compressed.
    length: u8,
}

/// Offsets from here on do not fit into a pointer's 14 bits.
const POINTER_REACH: usize = 0x4000;

impl Names {
    pub(super) fn new() -> Self {
        Self { places: [Place { at: 0, length: 0 }; 64], used: 0 }
    }

    /// How many suffixes it knows, to go back to with [`forget_from`](Self::forget_from).
    pub(super) fn used(&self) -> usize {
        self.used
    }

    pub(super) fn forget_from(&mut self, used: usize) {
        self.used = used;
    }

    /// A name of `length` octets uncompressed begins at `at`.
    pub(super) fn learn(&mut self, at: usize, length: usize) {
        if let (Some(place), true) = (self.places.get_mut(self.used), at < POINTER_REACH) {
            *place = Place { at: at as u16, length: length as u8 };
            self.used += 1;
        }
    }

    /// Where `name`, in the same case, stands in `message`.
    pub(super) fn find(&self, message: &[u8], name: &[u8]) -> Option<u16> {
        let known = self.places[..self.used].iter();
        let mut as_long = known.filter(|place| usize::from(place.length) == name.len());
        as_long.find(|place| is_at(message, place.at.into(), name)).map(|place| place.at)
    }
}

/// Does `name` stand at `at`? The message is our own: its pointers lead backwards to whole names.
fn is_at(message: &[u8], mut at: usize, mut name: &[u8]) -> bool {
    loop {
        let length = usize::from(message[at]);
        if length >= 0xc0 {
            at = (length & 0x3f) << 8 | usize::from(message[at + 1]);
            continue;
        }
        let label = 1 + length;
        if !name.starts_with(&message[at..at + label]) {
            return false;
        }
        if length == 0 {
            return true;
        }
        at += label;
        name = &name[label..];
    }
}
