//! Ids of sessions: what was offered to whom and when, signed, so that nothing has to be kept for them.
//!
//! ```text
//! base64url( version 1 | made 4 | number 8 | prefix 8 | sites, a line each | HMAC-SHA256 of all that 32 )
//! ```
//! The key is drawn at the start, so `made` counts seconds from there, by a clock that nobody sets; and the number is
//! the session's own, so that two ids are never one.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use base64::engine::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::error::Unspecified;
use ring::hmac;
use ring::rand::SystemRandom;

use super::client::Prefix;
use super::refusal::Refusal;

/// Seconds that an id may be used for.
pub(super) const VALID: u32 = 600;
/// Octets of the names of all sites that an id offers.
pub(super) const LONGEST_SITES: usize = 1024;

const VERSION: u8 = 1;
const HEAD: usize = 1 + 4 + 8 + 8;
const TAG: usize = 32;
/// Characters of the longest id.
const LONGEST: usize = (HEAD + LONGEST_SITES + TAG).div_ceil(3) * 4;

/// What an id says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Id {
    /// Seconds from the start of the process.
    pub(super) made: u32,
    /// No other id of this process has it.
    pub(super) number: u64,
    /// Of the sites offered.
    sites: String,
}

impl Id {
    /// The site of this name, if it is offered.
    pub(super) fn offers(&self, site: &str) -> Option<Arc<str>> {
        self.sites.split('\n').find(|offered| *offered == site).map(Arc::from)
    }
}

/// Makes ids and knows them again.
pub(super) struct Signer {
    key: hmac::Key,
    next: AtomicU64,
}

impl Signer {
    /// With a key that nobody else has.
    ///
    /// # Errors
    /// The system gives no random octets.
    pub(super) fn random() -> Result<Self, Unspecified> {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new())?;
        Ok(Self { key, next: AtomicU64::new(0) })
    }

    /// An id of its own, made at `now` (in seconds from the start) for clients of `prefix`. The names of `sites` come to
    /// [`LONGEST_SITES`] with a line's end each, at most, and hold none themselves.
    pub(super) fn sign<'s>(&self, prefix: Prefix, now: u32, sites: impl Iterator<Item = &'s str>) -> String {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let sites = sites.collect::<Vec<_>>().join("\n");
        let mut octets = Vec::with_capacity(HEAD + sites.len() + TAG);
        octets.push(VERSION);
        octets.extend(now.to_be_bytes());
        octets.extend(number.to_be_bytes());
        octets.extend(prefix.number().to_be_bytes());
        octets.extend(sites.as_bytes());
        let tag = hmac::sign(&self.key, &octets);
        octets.extend(tag.as_ref());
        URL_SAFE_NO_PAD.encode(octets)
    }

    /// What an id says that a client of `prefix` brings at `now`. Whether it has been used is not known here.
    ///
    /// # Errors
    /// [`Refusal::Forged`], [`Refusal::Elsewhere`], [`Refusal::Expired`].
    pub(super) fn read(&self, text: &str, prefix: Prefix, now: u32) -> Result<Id, Refusal> {
        let octets = if text.len() <= LONGEST { URL_SAFE_NO_PAD.decode(text).ok() } else { None };
        let octets = octets.ok_or(Refusal::Forged)?;
        let (signed, tag) = octets.split_last_chunk::<TAG>().ok_or(Refusal::Forged)?;
        hmac::verify(&self.key, signed, tag).map_err(|Unspecified| Refusal::Forged)?;
        let (made, number, made_for, sites) = parts(signed).ok_or(Refusal::Forged)?;
        if made_for != prefix.number() {
            return Err(Refusal::Elsewhere);
        }
        if now.saturating_sub(made) > VALID {
            return Err(Refusal::Expired);
        }
        Ok(Id { made, number, sites })
    }
}

/// Of what was signed: when, number, prefix, sites.
fn parts(signed: &[u8]) -> Option<(u32, u64, u64, String)> {
    let (version, rest) = signed.split_first()?;
    let (made, rest) = rest.split_first_chunk()?;
    let (number, rest) = rest.split_first_chunk()?;
    let (prefix, sites) = rest.split_first_chunk()?;
    let sites = std::str::from_utf8(sites).ok()?.to_owned();
    let parts = (u32::from_be_bytes(*made), u64::from_be_bytes(*number), u64::from_be_bytes(*prefix), sites);
    (*version == VERSION).then_some(parts)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SITES: [&str; 2] = ["aws/us-east-1", "gcp/europe-west1"];

    fn prefix(text: &str) -> Prefix {
        Prefix::of(text.parse().unwrap())
    }

    #[test]
    fn an_id_says_what_was_offered_to_whom() {
        let (signer, here) = (Signer::random().unwrap(), prefix("192.0.2.1"));
        let text = signer.sign(here, 1000, SITES.into_iter());
        let id = signer.read(&text, prefix("192.0.2.200"), 1000 + VALID).unwrap();
        assert_eq!((id.made, id.number), (1000, 0));
        assert_eq!(id.offers("gcp/europe-west1").as_deref(), Some("gcp/europe-west1"));
        for other in ["gcp/europe-west", "", "\n", "aws/us-east-1\ngcp/europe-west1", "azure/westeurope"] {
            assert_eq!(id.offers(other), None, "{other:?}");
        }
        assert_eq!(signer.read(&text, prefix("192.0.3.1"), 1000), Err(Refusal::Elsewhere));
        assert_eq!(signer.read(&text, prefix("2001:db8::"), 1000), Err(Refusal::Elsewhere));
        assert_eq!(signer.read(&text, here, 1001 + VALID), Err(Refusal::Expired));
        assert_eq!(Signer::random().unwrap().read(&text, here, 1000), Err(Refusal::Forged), "another key");
        let next = signer.read(&signer.sign(here, 1000, SITES.into_iter()), here, 1000).unwrap();
        assert_eq!(next.number, 1);
    }

    #[test]
    fn the_longest_is_read() {
        let (signer, here) = (Signer::random().unwrap(), prefix("2001:db8::1"));
        let site = "x".repeat(LONGEST_SITES);
        let text = signer.sign(here, 0, [&*site].into_iter());
        assert!(text.len() <= LONGEST);
        assert!(signer.read(&text, here, 0).unwrap().offers(&site).is_some());
        assert_eq!(signer.read(&"A".repeat(LONGEST + 1), here, 0), Err(Refusal::Forged));
    }

    #[test]
    fn no_bit_can_be_changed() {
        let (signer, here) = (Signer::random().unwrap(), prefix("192.0.2.1"));
        let octets = URL_SAFE_NO_PAD.decode(signer.sign(here, 7, SITES.into_iter())).unwrap();
        for bit in 0..octets.len() * 8 {
            let mut changed = octets.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(signer.read(&URL_SAFE_NO_PAD.encode(changed), here, 7), Err(Refusal::Forged), "bit {bit}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_taken_and_none_makes_it_panic(text in "[A-Za-z0-9_-]{0,200}|\\PC{0,80}") {
            let signer = Signer::random().unwrap();
            prop_assert_eq!(signer.read(&text, prefix("192.0.2.1"), 0), Err(Refusal::Forged));
        }
    }
}
