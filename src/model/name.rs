//! Domain names (RFC 1035 §3.1, RFC 9499 §2): owned, in wire form, lower-cased.

use std::fmt;
use std::str::FromStr;

/// A fully qualified domain name in uncompressed wire form, ASCII letters lower-cased
/// (RFC 4343): labels with their length octets, then the root's zero. 1 to 255 octets.
///
/// Names that arrive keep their case in the packet; this form is the key that they are found by.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Name(Box<[u8]>);

/// Why text or octets are no domain name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameError {
    /// A label between two dots has nothing in it.
    EmptyLabel,
    /// A label is longer than 63 octets.
    LongLabel,
    /// The name is longer than 255 octets in wire form.
    LongName,
    /// A backslash is followed by neither a character nor three digits up to 255.
    BadEscape,
    /// The octets are no uncompressed name.
    BadWire,
}

impl fmt::Display for NameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EmptyLabel => "it has an empty label",
            Self::LongLabel => "a label is longer than 63 octets",
            Self::LongName => "it is longer than 255 octets",
            Self::BadEscape => "a backslash needs a character or three digits up to 255 behind it",
            Self::BadWire => "it is no domain name in wire form",
        })
    }
}

impl std::error::Error for NameError {}

impl Name {
    /// The root.
    #[must_use]
    pub fn root() -> Self {
        Self(Box::new([0]))
    }

    /// The name in `wire`: uncompressed, ending with the root's zero; case is folded.
    ///
    /// # Errors
    /// [`NameError`] where it is not one whole uncompressed name.
    pub fn from_wire(wire: &[u8]) -> Result<Self, NameError> {
        if wire.len() > 255 {
            return Err(NameError::LongName);
        }
        let mut at = 0;
        loop {
            let length = *wire.get(at).ok_or(NameError::BadWire)? as usize;
            at += 1 + length;
            match length {
                0 if at == wire.len() => break,
                1..=63 => {}
                _ => return Err(NameError::BadWire),
            }
        }
        // Length octets are below 'A', so folding the whole leaves them alone.
        Ok(Self(wire.to_ascii_lowercase().into()))
    }

    /// The octets in wire form.
    #[must_use]
    pub fn as_wire(&self) -> &[u8] {
        &self.0
    }

    /// The labels from left to right, without the root's.
    pub fn labels(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (&length, after) = rest.split_first()?;
            let (label, next) = after.split_at(length as usize);
            rest = next;
            (length != 0).then_some(label)
        })
    }

    /// Is this the root?
    #[must_use]
    pub fn is_root(&self) -> bool {
        self.0.len() == 1
    }

    /// Is the leftmost label `*` (RFC 4592)?
    #[must_use]
    pub fn is_wildcard(&self) -> bool {
        self.0.starts_with(b"\x01*")
    }

    /// The name without its leftmost label; none for the root.
    #[must_use]
    pub fn parent(&self) -> Option<Self> {
        let length = self.0[0] as usize;
        (length != 0).then(|| Self(self.0[length + 1..].into()))
    }

    /// Is this `other` or below it?
    #[must_use]
    pub fn is_at_or_below(&self, other: &Self) -> bool {
        let Some(start) = self.0.len().checked_sub(other.0.len()) else { return false };
        let mut at = 0;
        while at < start {
            at += 1 + self.0[at] as usize;
        }
        at == start && self.0[start..] == other.0[..]
    }
}

impl FromStr for Name {
    type Err = NameError;

    /// Reads presentation form (RFC 1035 §5.1, escapes included). A trailing dot is optional: text
    /// is always taken as fully qualified.
    fn from_str(text: &str) -> Result<Self, NameError> {
        if text == "." {
            return Ok(Self::root());
        }
        let mut wire = vec![0];
        let mut label_at = 0;
        let mut octets = text.bytes();
        let mut ended = false; // by a dot
        while let Some(octet) = octets.next() {
            if ended {
                label_at = wire.len();
                wire.push(0);
                ended = false;
            }
            let octet = match octet {
                b'.' => {
                    if wire[label_at] == 0 {
                        return Err(NameError::EmptyLabel);
                    }
                    ended = true;
                    continue;
                }
                b'\\' => read_escape(&mut octets)?,
                octet => octet,
            };
            if wire[label_at] == 63 {
                return Err(NameError::LongLabel);
            }
            wire.push(octet.to_ascii_lowercase());
            wire[label_at] += 1;
        }
        if wire[label_at] == 0 {
            return Err(NameError::EmptyLabel);
        }
        wire.push(0);
        if wire.len() > 255 {
            return Err(NameError::LongName);
        }
        Ok(Self(wire.into()))
    }
}

/// The octet behind a backslash: itself, or three digits.
fn read_escape(octets: &mut std::str::Bytes<'_>) -> Result<u8, NameError> {
    let first = octets.next().ok_or(NameError::BadEscape)?;
    if !first.is_ascii_digit() {
        return Ok(first);
    }
    let mut value = u32::from(first - b'0');
    for _ in 0..2 {
        let digit = octets.next().filter(u8::is_ascii_digit).ok_or(NameError::BadEscape)?;
        value = value * 10 + u32::from(digit - b'0');
    }
    u8::try_from(value).map_err(|_| NameError::BadEscape)
}

impl fmt::Display for Name {
    /// Presentation form with its trailing dot left off (`.` for the root).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_root() {
            return f.write_str(".");
        }
        for (index, label) in self.labels().enumerate() {
            if index > 0 {
                f.write_str(".")?;
            }
            for &octet in label {
                match octet {
                    b'.' | b'\\' | b'"' | b';' | b'@' | b'$' | b'(' | b')' => write!(f, "\\{}", octet as char)?,
                    0x21..=0x7e => write!(f, "{}", octet as char)?,
                    _ => write!(f, "\\{octet:03}")?,
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> Name {
        text.parse().unwrap()
    }

    #[test]
    fn text_and_wire() {
        assert_eq!(name("WWW.Shop.example.").as_wire(), b"\x03www\x04shop\x07example\0");
        assert_eq!(name("www.shop.example").to_string(), "www.shop.example");
        assert_eq!(name(r"a\.b\032c.d").as_wire(), b"\x05a.b c\x01d\0");
        assert_eq!(name(r"a\.b\032c.d").to_string(), r"a\.b\032c.d");
        assert_eq!(name(".").to_string(), ".");
        assert_eq!(Name::from_wire(b"\x03WWW\0").unwrap(), name("www"));
    }

    #[test]
    fn what_is_no_name() {
        let parse = |text: &str| text.parse::<Name>().unwrap_err();
        assert_eq!(parse(""), NameError::EmptyLabel);
        assert_eq!(parse("a..b"), NameError::EmptyLabel);
        assert_eq!(parse(".a"), NameError::EmptyLabel);
        assert_eq!(parse(&"a".repeat(64)), NameError::LongLabel);
        assert_eq!(parse(&"abcdefg.".repeat(32)), NameError::LongName);
        assert_eq!(parse(r"a\25"), NameError::BadEscape);
        assert_eq!(parse(r"a\256"), NameError::BadEscape);
        for wire in [&b""[..], b"\x03ab\0", b"\x01a", b"\xc0\x0c", b"\0\0", b"\x01a\0\0"] {
            assert_eq!(Name::from_wire(wire).unwrap_err(), NameError::BadWire, "{wire:?}");
        }
    }

    #[test]
    fn the_tree_above() {
        let www = name("*.www.shop.example");
        assert!(www.is_wildcard() && !name("a.*.b").is_wildcard());
        assert!(www.is_at_or_below(&name("shop.example")) && www.is_at_or_below(&www));
        assert!(www.is_at_or_below(&Name::root()) && !name("shop.example").is_at_or_below(&www));
        assert!(!name("xshop.example").is_at_or_below(&name("shop.example")));
        assert_eq!(name("shop.example").parent(), Some(name("example")));
        assert_eq!(Name::root().parent(), None);
    }
}
