//! DNS cookies (RFC 7873), made as all servers make them (RFC 9018): who bears a valid one has received an answer of
//! ours, so its address is not forged.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::sip;

/// Octets of a client's cookie.
pub const CLIENT_COOKIE: usize = 8;
/// Octets of ours.
pub const SERVER_COOKIE: usize = 16;

/// RFC 9018 §4.2: version 1, three octets reserved.
const HEAD: [u8; 4] = [1, 0, 0, 0];
/// Cookies made side by side.
const LANES: usize = 4;
/// Seconds: how old a cookie may be, how far ahead its maker's clock, and from when on a new one is given (§4.3).
const OLDEST: i32 = 3600;
const AHEAD: i32 = 300;
const RENEWED: i32 = 1800;

/// What a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cookie {
    /// Its own.
    pub client: [u8; CLIENT_COOKIE],
    /// Ours that it bears; none too where its length says that it is not of our making.
    pub server: Option<[u8; SERVER_COOKIE]>,
    /// It bears a server's, be it of ours or not.
    pub bears_server: bool,
}

impl Cookie {
    /// The data of a COOKIE option; none: it is malformed (RFC 7873 §5.2.2).
    #[must_use]
    pub fn read(data: &[u8]) -> Option<Self> {
        let (client, server) = data.split_first_chunk()?;
        let is_well_formed = matches!(server.len(), 0 | 8..=32);
        let bears_server = !server.is_empty();
        is_well_formed.then(|| Self { client: *client, server: server.try_into().ok(), bears_server })
    }
}

/// Who bears a cookie, and what we reply.
pub struct Bearer {
    /// Its place among those that are asked together.
    pub index: usize,
    /// What it sent.
    pub cookie: Cookie,
    /// Where from.
    pub address: IpAddr,
    /// Its cookie is a valid one of ours.
    pub is_valid: bool,
    /// Ours, in reply.
    pub ours: [u8; SERVER_COOKIE],
}

impl Bearer {
    /// One who has no reply yet.
    #[must_use]
    #[inline(always)]
    pub fn new(index: usize, cookie: Cookie, address: IpAddr) -> Self {
        Self { index, cookie, address, is_valid: false, ours: [0; SERVER_COOKIE] }
    }

    #[inline(always)]
    fn take(&mut self, (is_valid, ours): (bool, [u8; SERVER_COOKIE])) {
        (self.is_valid, self.ours) = (is_valid, ours);
    }
}

/// What server cookies are made with: the first of several secrets. Those made with any are valid, so that nodes
/// which share them can be given new ones in turn (RFC 9018 §5).
#[derive(Clone, PartialEq, Eq)]
pub struct CookieSecrets(Box<[[u8; 16]]>);

impl CookieSecrets {
    /// Of octets that nobody can guess.
    ///
    /// # Panics
    /// Where there is none.
    #[must_use]
    pub fn new(secrets: impl Into<Box<[[u8; 16]]>>) -> Self {
        let secrets = secrets.into();
        assert!(!secrets.is_empty(), "cookies are made with a secret");
        Self(secrets)
    }

    /// Is the one that the client at `address` bears valid at `now`, in seconds of Unix time? And what it is given in
    /// reply: its own one while that is valid and young, else a new one.
    #[must_use]
    pub fn reply(&self, cookie: Cookie, address: IpAddr, now: u32) -> (bool, [u8; SERVER_COOKIE]) {
        let new = || make(&self.0[0], cookie.client, address, fresh(now));
        let Some(server) = cookie.server else { return (false, new()) };
        let head = *server.first_chunk().expect("it is longer");
        let is_current = head[0] == HEAD[0] && (-AHEAD..=OLDEST).contains(&age(server, now));
        let mut secrets = self.0.iter().take(if is_current { self.0.len() } else { 0 });
        match secrets.position(|secret| make(secret, cookie.client, address, head) == server) {
            Some(0) if is_young(server, now) => (true, server),
            found => (found.is_some(), new()),
        }
    }

    /// [`reply`](Self::reply) for each, several side by side.
    #[inline(always)]
    pub fn reply_all(&self, bearers: &mut [Bearer], now: u32) {
        for bearers in bearers.chunks_mut(LANES) {
            let Some(made) = self.make_as_claimed(bearers, now) else {
                bearers.iter_mut().for_each(|bearer| bearer.take(self.reply(bearer.cookie, bearer.address, now)));
                continue;
            };
            for (bearer, made) in bearers.iter_mut().zip(made) {
                let replied = match bearer.cookie.server {
                    None => (false, made),
                    Some(server) if server == made && is_young(made, now) => (true, made),
                    Some(_) => self.reply(bearer.cookie, bearer.address, now),
                };
                bearer.take(replied);
            }
        }
    }

    /// Cookies of the time that each bears one of, else of now; none where some addresses are of IPv4, some of IPv6.
    #[inline(always)]
    fn make_as_claimed(&self, bearers: &[Bearer], now: u32) -> Option<[[u8; SERVER_COOKIE]; LANES]> {
        let mut heads = [fresh(now); LANES];
        let mut messages = [[0; LANES]; 5];
        let mut v4 = 0;
        for (lane, Bearer { cookie, address, .. }) in bearers.iter().enumerate() {
            if let Some(server) = cookie.server {
                heads[lane] = *server.first_chunk().expect("it is longer");
            }
            (messages[0][lane], messages[1][lane]) =
                (u64::from_le_bytes(cookie.client), u64::from_le_bytes(heads[lane]));
            match address {
                IpAddr::V4(address) => (messages[2][lane], v4) = (last_v4(*address), v4 + 1),
                IpAddr::V6(address) => {
                    [messages[2][lane], messages[3][lane], messages[4][lane]] = last_v6(*address);
                }
            }
        }
        let [client, head, address, ..] = messages;
        let hashes = match v4 {
            0 => sip::hash_four(&self.0[0], &messages),
            _ if v4 == bearers.len() => sip::hash_four(&self.0[0], &[client, head, address]),
            _ => return None,
        };
        let mut made = [[0; SERVER_COOKIE]; LANES];
        for ((made, head), hash) in made.iter_mut().zip(heads).zip(hashes) {
            *made = join(head, hash);
        }
        Some(made)
    }
}

/// What a cookie of `now` begins with.
#[inline(always)]
fn fresh(now: u32) -> [u8; 8] {
    (u64::from(u32::from_be_bytes(HEAD)) << 32 | u64::from(now)).to_be_bytes()
}

/// Seconds since this one says that it was made; negative where another server's clock is ahead.
#[inline(always)]
fn age(server: [u8; SERVER_COOKIE], now: u32) -> i32 {
    let [_, _, _, _, a, b, c, d, ..] = server;
    now.wrapping_sub(u32::from_be_bytes([a, b, c, d])) as i32 // in serial arithmetic
}

/// Is one that was made with the first secret given back as it is?
#[inline(always)]
fn is_young(server: [u8; SERVER_COOKIE], now: u32) -> bool {
    server[0] == HEAD[0] && (-AHEAD..=RENEWED).contains(&age(server, now))
}

/// The blocks of a message behind cookie and head (§4.4).
#[inline(always)]
fn last_v4(address: Ipv4Addr) -> u64 {
    u64::from(u32::from_le_bytes(address.octets())) | 20 << 56
}

/// As [`last_v4`].
#[inline(always)]
fn last_v6(address: Ipv6Addr) -> [u64; 3] {
    let address = u128::from_le_bytes(address.octets());
    [address as u64, (address >> 64) as u64, 32 << 56]
}

#[inline(always)]
fn join(head: [u8; 8], hash: u64) -> [u8; SERVER_COOKIE] {
    (u128::from(hash) << 64 | u128::from(u64::from_le_bytes(head))).to_le_bytes()
}

/// §4.4: SipHash-2-4 over all that it vouches for.
fn make(secret: &[u8; 16], client: [u8; CLIENT_COOKIE], address: IpAddr, head: [u8; 8]) -> [u8; SERVER_COOKIE] {
    let (client, first) = (u64::from_le_bytes(client), u64::from_le_bytes(head));
    let [hash] = match address {
        IpAddr::V4(address) => sip::hash(secret, &[[client], [first], [last_v4(address)]]),
        IpAddr::V6(address) => {
            let [a, b, c] = last_v6(address);
            sip::hash(secret, &[[client], [first], [a], [b], [c]])
        }
    };
    join(head, hash)
}

/// It is never shown.
impl fmt::Debug for CookieSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieSecrets")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
    }

    fn is_valid(secrets: &CookieSecrets, cookie: Cookie, address: IpAddr, now: u32) -> bool {
        secrets.reply(cookie, address, now).0
    }

    fn secret(text: &str) -> CookieSecrets {
        CookieSecrets::new([hex(text).try_into().unwrap()])
    }

    fn bare(client: [u8; 8]) -> Cookie {
        Cookie { client, server: None, bears_server: false }
    }

    fn with(client: [u8; 8], server: [u8; 16]) -> Cookie {
        Cookie { client, server: Some(server), bears_server: true }
    }

    const SECRET: &str = "e5e973e5a6b2a43f48e7dc849e37bfcf";
    const SECRET_V6: &str = "dd3bdf9344b678b185a6f5cb60fca715";

    /// The examples of RFC 9018, appendix A. That of A.3 is an hour and 52 minutes old when its reply is given, which
    /// is more than the hour of §4.3; its reserved octets are not zero.
    #[test]
    fn cookies_are_those_of_other_servers() {
        let (v4, v6) = ("198.51.100.100", "2001:db8:220:1:59de:d0f4:8769:82b8");
        let (first, third) = ("2464c4abcf10c957", "fc93fc62807ddb8601abcdef5cf78f71a314227b6679ebf5");
        let second = "2464c4abcf10c957010000005cf79f111f8130c3eee29480";
        for (key, sent, address, now, valid, given) in [
            (SECRET, first, v4, 1_559_731_985, false, "010000005cf79f111f8130c3eee29480"),
            (SECRET, second, v4, 1_559_734_385, true, "010000005cf7a871d4a564a1442aca77"),
            (SECRET, third, "203.0.113.203", 1_559_734_700, false, "010000005cf7a9acf73a7810aca2381e"),
            (SECRET, third, "203.0.113.203", 1_559_728_585, true, "01abcdef5cf78f71a314227b6679ebf5"),
            (SECRET_V6, "22681ab97d52c298", v6, 1_559_741_817, false, "010000005cf7c57926556bd0934c72f8"),
        ] {
            let (cookie, address) = (Cookie::read(&hex(sent)).unwrap(), address.parse().unwrap());
            let secret = secret(key);
            let (is_valid, ours) = secret.reply(cookie, address, now);
            assert_eq!((is_valid, ours.to_vec()), (valid, hex(given)), "{sent}");
        }
    }

    #[test]
    fn a_cookie_is_good_for_an_hour_from_one_address_and_client() {
        let (secret, address, made) = (secret(SECRET), "192.0.2.1".parse().unwrap(), u32::MAX - 10);
        let client = [7; 8];
        let (_, server) = secret.reply(bare(client), address, made);
        let cookie = with(client, server);
        for (after, valid, kept) in
            [(0, true, true), (1800, true, true), (1801, true, false), (3600, true, false), (3601, false, false)]
        {
            let now = made.wrapping_add(after); // over the end of the counter
            assert_eq!(is_valid(&secret, cookie, address, now), valid, "{after}");
            assert_eq!(secret.reply(cookie, address, now).1 == server, kept, "{after}");
        }
        assert!(is_valid(&secret, cookie, address, made - 300) && !is_valid(&secret, cookie, address, made - 301));
        assert!(!is_valid(&secret, cookie, "192.0.2.2".parse().unwrap(), made));
        assert!(!is_valid(&secret, Cookie { client: [8; 8], ..cookie }, address, made));
        assert!(!is_valid(&CookieSecrets::new([[0; 16]]), cookie, address, made));
        let mut version_2 = server;
        version_2[0] = 2;
        assert!(!is_valid(&secret, with(client, version_2), address, made));
        assert!(!is_valid(&secret, bare(client), address, made));
    }

    /// RFC 9018 §5: all nodes are told of a new secret, then make cookies with it, then forget the old one.
    #[test]
    fn secrets_are_changed_without_a_cookie_lost() {
        let (old, new) = ([1; 16], [2; 16]);
        let steps = [vec![old], vec![old, new], vec![new, old], vec![new]].map(CookieSecrets::new);
        let (address, client, now) = ("192.0.2.1".parse().unwrap(), [7; 8], 1_800_000_000);
        for (one, other) in [(0, 1), (1, 0), (1, 2), (2, 1), (2, 3), (3, 2)] {
            let (_, server) = steps[one].reply(bare(client), address, now);
            let (is_valid, given) = steps[other].reply(with(client, server), address, now);
            assert!(is_valid, "made at step {one}, shown at step {other}");
            let (_, own) = steps[other].reply(bare(client), address, now);
            assert_eq!(given, own, "each gives its own");
        }
        let (_, server) = steps[0].reply(bare(client), address, now);
        assert!(!steps[3].reply(with(client, server), address, now).0);
    }

    #[test]
    fn all_at_once_are_replied_to_as_each_alone() {
        let now = 1_800_000_000;
        let (old, new) = ([1; 16], [2; 16]);
        let (makers, secrets) = ([old, new, [3; 16]].map(|secret| CookieSecrets::new([secret])), [new, old]);
        let secrets = CookieSecrets::new(secrets);
        let (v4, v6): (IpAddr, IpAddr) = ("192.0.2.1".parse().unwrap(), "2001:db8::1".parse().unwrap());
        let mut cases = Vec::new();
        for address in [v4, v6] {
            for (maker, age) in [0, 1, 2].into_iter().flat_map(|maker| [0, 1800, 1801, 3601].map(|age| (maker, age))) {
                let client = [cases.len() as u8; 8];
                let (_, server) = makers[maker].reply(bare(client), address, now - age);
                let mut version_2 = server;
                version_2[0] = 2;
                cases.extend([bare(client), with(client, server), with(client, version_2)].map(|it| (it, address)));
            }
        }
        // Of one family each, then of both in turn; chunks of every length, from every place.
        let half = cases.len() / 2;
        cases.extend((0..half).flat_map(|at| [cases[at], cases[half + at]]).collect::<Vec<_>>());
        let mut valid = 0;
        for count in 1..=9 {
            for cases in cases.windows(count) {
                let mut bearers: Vec<_> = cases.iter().map(|&(it, address)| Bearer::new(0, it, address)).collect();
                secrets.reply_all(&mut bearers, now);
                for Bearer { cookie, address, is_valid, ours, .. } in bearers {
                    assert_eq!((is_valid, ours), secrets.reply(cookie, address, now), "{cookie:?} from {address}");
                    valid += usize::from(is_valid);
                }
            }
        }
        assert!(valid > 0);
    }

    #[test]
    fn lengths() {
        let read = |length: usize| Cookie::read(&vec![1; length]).map(|cookie| cookie.server.is_some());
        let known: Vec<_> = (0..=42).filter(|&length| read(length).is_some()).collect();
        assert_eq!(known, [8].into_iter().chain(16..=40).collect::<Vec<_>>());
        assert_eq!((read(8), read(16), read(24)), (Some(false), Some(false), Some(true)));
        assert_eq!(format!("{:?}", secret(SECRET)), "CookieSecrets");
    }
}
