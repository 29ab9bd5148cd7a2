//! The numbers that IANA keeps for DNS, those that this server speaks of.

/// A record or question type.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rtype(pub u16);

/// A record or question class.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Class(pub u16);

/// A response code: 4 bits in the header, 12 with EDNS (RFC 6891 §6.1.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Rcode(pub u16);

/// Constants of one number space.
macro_rules! numbers {
    ($space:ident: $($name:ident = $value:literal,)*) => {
        impl $space {
            $(#[doc = stringify!($name)] pub const $name: Self = Self($value);)*
        }
    };
}

numbers! { Rtype:
    A = 1, NS = 2, CNAME = 5, SOA = 6, PTR = 12, MX = 15, TXT = 16, AAAA = 28, SRV = 33, OPT = 41, DS = 43, IXFR = 251,
    AXFR = 252, ANY = 255, CAA = 257,
}

numbers! { Class: IN = 1, CH = 3, }

numbers! { Rcode:
    NOERROR = 0, FORMERR = 1, SERVFAIL = 2, NXDOMAIN = 3, NOTIMP = 4, REFUSED = 5, YXDOMAIN = 6, BADVERS = 16, BADCOOKIE = 23,
}
