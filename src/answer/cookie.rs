//! Cookies of a batch (RFC 7873 §5.2): read before answers are written over them, replied to all at once after.

use std::net::SocketAddr;

use super::limit::Marks;
use super::plain::Plain;
use crate::model::{Bearer, CLIENT_COOKIE, Cookie};
use crate::wire::{COOKIE_LENGTH, OPTION_COOKIE, SLOT};

impl Plain {
    /// Who bears its cookie, if it has one.
    #[inline(always)]
    pub(super) fn bearer(&self, slot: &[u8; SLOT], index: usize, client: &SocketAddr) -> Option<Bearer> {
        (self.cookie_at != 0).then(|| Bearer::new(index, self.cookie(slot), client.ip()))
    }

    /// The query's cookie, which it has.
    #[inline(always)]
    fn cookie(&self, slot: &[u8; SLOT]) -> Cookie {
        let from = usize::from(self.cookie_at);
        let length = usize::from(slot[from - 1]); // its lower octet; a cookie has 40 at most
        Cookie::read(&slot[from..from + length]).expect("its length is one that cookies have")
    }

    /// Both cookies behind a reply of this length, which ends with OPT; the length then.
    #[inline(always)]
    pub(super) fn put_cookies(&self, slot: &mut [u8; SLOT], length: usize, bearer: &Bearer) -> usize {
        let rdlength = length - usize::from(self.subnet_length) - 1; // its lower octet
        slot[rdlength] += COOKIE_LENGTH as u8; // of the client subnet, 24 at most
        let room: &mut [u8; COOKIE_LENGTH] =
            slot[length..].first_chunk_mut().expect("a slot goes on behind the longest answer");
        room[..4].copy_from_slice(&[0, OPTION_COOKIE as u8, 0, (COOKIE_LENGTH - 4) as u8]);
        room[4..4 + CLIENT_COOKIE].copy_from_slice(&bearer.cookie.client);
        room[4 + CLIENT_COOKIE..].copy_from_slice(&bearer.ours);
        length + COOKIE_LENGTH
    }
}

impl Marks {
    /// What a query's cookie shows.
    #[inline(always)]
    pub(super) fn vouch(&mut self, bearer: &Bearer) {
        self.vouched |= u64::from(bearer.is_valid) << bearer.index;
        self.asks |= u64::from(!bearer.is_valid) << bearer.index;
    }
}
