//! The numbers that IANA keeps for DNS: types, classes, response codes.

use std::fmt;
use std::str::FromStr;

/// A record or question type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rtype(pub u16);

/// A record or question class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class(pub u16);

/// A response code: 4 bits in the header, 12 with EDNS (RFC 6891 §6.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rcode(pub u16);

/// Constants of one number space, and their mnemonics as a table.
macro_rules! numbers {
    ($space:ident: $($name:ident = $value:literal,)*) => {
        impl $space {
            $(#[doc = stringify!($name)] pub const $name: Self = Self($value);)*

            const MNEMONICS: &[(Self, &str)] = &[$((Self::$name, stringify!($name)),)*];

            /// Its mnemonic, where it has one here.
            #[must_use]
            pub fn mnemonic(self) -> Option<&'static str> {
                Self::MNEMONICS.iter().find(|(number, _)| *number == self).map(|(_, text)| *text)
            }
        }
    };
}

numbers! { Rtype:
    A = 1, NS = 2, CNAME = 5, SOA = 6, PTR = 12, HINFO = 13, MX = 15, TXT = 16, RP = 17, AFSDB = 18,
    AAAA = 28, LOC = 29, SRV = 33, NAPTR = 35, CERT = 37, DNAME = 39, OPT = 41, DS = 43, SSHFP = 44,
    RRSIG = 46, NSEC = 47, DNSKEY = 48, NSEC3 = 50, NSEC3PARAM = 51, TLSA = 52, SMIMEA = 53, CDS = 59,
    CDNSKEY = 60, OPENPGPKEY = 61, CSYNC = 62, ZONEMD = 63, SVCB = 64, HTTPS = 65, TSIG = 250,
    IXFR = 251, AXFR = 252, ANY = 255, URI = 256, CAA = 257,
}

numbers! { Class: IN = 1, CH = 3, HS = 4, NONE = 254, ANY = 255, }

numbers! { Rcode:
    NOERROR = 0, FORMERR = 1, SERVFAIL = 2, NXDOMAIN = 3, NOTIMP = 4, REFUSED = 5, NOTAUTH = 9, BADVERS = 16,
}

impl fmt::Display for Rtype {
    /// The mnemonic, or `TYPE` and the number (RFC 3597 §5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mnemonic() {
            Some(text) => f.write_str(text),
            None => write!(f, "TYPE{}", self.0),
        }
    }
}

impl fmt::Display for Class {
    /// The mnemonic, or `CLASS` and the number (RFC 3597 §5).
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mnemonic() {
            Some(text) => f.write_str(text),
            None => write!(f, "CLASS{}", self.0),
        }
    }
}

impl fmt::Display for Rcode {
    /// The mnemonic, or `RCODE` and the number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.mnemonic() {
            Some(text) => f.write_str(text),
            None => write!(f, "RCODE{}", self.0),
        }
    }
}

/// The text names no record type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnknownRtype;

impl fmt::Display for UnknownRtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("it is no record type known here; any type can be written as TYPE and its number")
    }
}

impl std::error::Error for UnknownRtype {}

impl FromStr for Rtype {
    type Err = UnknownRtype;

    /// Reads a mnemonic or `TYPE` and a number, in any case.
    fn from_str(text: &str) -> Result<Self, UnknownRtype> {
        let known = Self::MNEMONICS.iter().find(|(_, mnemonic)| mnemonic.eq_ignore_ascii_case(text));
        if let Some((rtype, _)) = known {
            return Ok(*rtype);
        }
        let upper = text.to_ascii_uppercase();
        let digits = upper.strip_prefix("TYPE").filter(|digits| digits.bytes().all(|octet| octet.is_ascii_digit()));
        digits.and_then(|digits| digits.parse().ok()).map(Self).ok_or(UnknownRtype)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_as_text() {
        for (text, number) in [("A", 1), ("aaaa", 28), ("https", 65), ("TYPE65280", 65280), ("type1", 1)] {
            assert_eq!(text.parse(), Ok(Rtype(number)), "{text}");
        }
        for text in ["", "TYPE", "TYPE65536", "TYPE+1", "AAAAA"] {
            assert_eq!(text.parse::<Rtype>(), Err(UnknownRtype), "{text}");
        }
        assert_eq!(Rtype::CAA.to_string(), "CAA");
        assert_eq!(Rtype(65280).to_string(), "TYPE65280");
        assert_eq!(Class(7).to_string(), "CLASS7");
        assert_eq!(Rcode::NXDOMAIN.to_string(), "NXDOMAIN");
        assert_eq!(Rcode(23).to_string(), "RCODE23");
    }
}
