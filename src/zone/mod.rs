//! Floor 2: master-file text → [`ZoneTree`], and what a zone has for a question.
//!
//! [`read`] takes a zone's master files (RFC 1035 §5, `$TTL` of RFC 2308, RFC 3597) and gives
//! [`ZoneData`], the build form, in which every RRset knows the line that it came from; or every
//! problem of the files at once. [`ZoneTree::build`] puts the services at their names and freezes it
//! into the look-up form, which knows no lines any more. [`ZoneTree::find`] is the look-up of RFC
//! 1034 §4.3.2 with wildcards (RFC 4592), DNAME (RFC 6672) and empty non-terminals (RFC 8020): one
//! name in one zone; following aliases and asking services is the answer's work. [`Zones`] finds the
//! zone.
//!
//! Usual records are read straight away (`quick`), so that a million take a second; all others, and
//! whatever seems wrong, by crate `domain`, one entry a time: its reader cannot go on after an error,
//! and we want all of them, with the place of each token. The look-up form of a zone is one piece of
//! memory ([`ZoneTree`] draws it, `freeze` writes it).

mod build;
mod check;
mod data;
mod entry;
mod freeze;
mod hash;
mod problems;
mod quick;
mod rdata;
mod read;
mod rrset;
mod rtype;
mod serial;
mod tokens;
mod tree;
mod zones;

pub use build::Steered;
pub use check::targets_without_address;
pub use data::{ZoneData, is_at_or_below};
pub use read::read;
pub use rrset::{RRset, Rdatas};
pub use serial::{SERIAL_NOT_RAISED, serial_not_raised};
pub use tree::{Found, Node, RRsets, ZoneTree};
pub use zones::Zones;
