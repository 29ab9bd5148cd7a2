//! Which replies have to say what address they come from.
//!
//! On a listener for all addresses the kernel picks a reply's source by the route to the client, and a
//! resolver takes a reply only from the address that it asked. So a reply has to say it, at 4 to 5 % of
//! an echo's cost, wherever the route might pick another. To remember by client what it picks would not
//! pay: finding out takes a `connect` and a `getsockname`, longer than several such replies, and a small
//! table does not hold the world's resolvers. But an address that is the only one of the machine is
//! picked by every route, and that is cheap to know. Who has several and wants those 5 % back lists
//! them in `listen`: a listener on one address neither receives nor says it.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use super::socket;

/// Addresses come and go. Until that is seen, replies may say too much; or, where a new address changed
/// the routes along with it, too little.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// The machine's addresses of one family, as far as it matters here.
pub(super) struct Homes {
    v4: bool,
    only: Option<IpAddr>,
    looked: Instant,
}

impl Homes {
    pub(super) fn new(v4: bool) -> Self {
        let mut homes = Self { v4, only: None, looked: Instant::now() };
        homes.look();
        homes
    }

    /// Looks at the machine's addresses anew if it is time.
    pub(super) fn refresh(&mut self) {
        if self.looked.elapsed() >= LOOK_EVERY {
            self.look();
        }
    }

    fn look(&mut self) {
        // Without the list replies say where they come from: right, if dearer.
        self.only = only(socket::local_addresses().unwrap_or_default(), self.v4);
        self.looked = Instant::now();
    }

    /// Would the route pick `asked` anyway?
    pub(super) fn is_picked(&self, asked: IpAddr, client: IpAddr) -> bool {
        self.only == Some(asked) && !is_narrow(client)
    }
}

/// The address that is the only one of its family beyond loopback and link-local ones, which are
/// picked for clients of their own kind alone.
fn only(addresses: Vec<IpAddr>, v4: bool) -> Option<IpAddr> {
    let mut wide = addresses.into_iter().filter(|address| address.is_ipv4() == v4 && !is_narrow(*address));
    let first = wide.next()?;
    wide.all(|another| another == first).then_some(first)
}

fn is_narrow(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_loopback(),
        IpAddr::V6(v6) => v6.is_loopback() || v6.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn an_only_address_is_picked_and_one_of_several_is_not() {
        let of = |addresses: &[&str], v4| only(addresses.iter().map(|text| ip(text)).collect(), v4);
        let plain = ["127.0.0.1", "192.0.2.2", "::1", "fe80::1", "2001:db8::2"];
        assert_eq!(of(&plain, true), Some(ip("192.0.2.2")));
        assert_eq!(of(&plain, false), Some(ip("2001:db8::2")));
        assert_eq!(of(&["192.0.2.2", "198.51.100.1", "2001:db8::2", "fd00::2"], true), None);
        assert_eq!(of(&["192.0.2.2", "2001:db8::2", "fd00::2"], false), None);
        assert_eq!(of(&["127.0.0.1", "::1", "fe80::1"], true), None);
        assert_eq!(of(&["192.0.2.2", "192.0.2.2"], true), Some(ip("192.0.2.2")), "on two interfaces");
    }

    #[test]
    fn clients_near_by_have_routes_of_their_own() {
        let homes = |only: &str| Homes { v4: true, only: Some(ip(only)), looked: Instant::now() };
        let v4 = homes("192.0.2.2");
        assert!(v4.is_picked(ip("192.0.2.2"), ip("203.0.113.9")));
        assert!(!v4.is_picked(ip("192.0.2.2"), ip("127.0.0.1")), "would be answered from 127.0.0.1");
        assert!(!v4.is_picked(ip("192.0.2.99"), ip("203.0.113.9")), "an address that no interface has");
        assert!(!homes("2001:db8::2").is_picked(ip("2001:db8::2"), ip("fe80::9")));
        let none = Homes { v4: true, only: None, looked: Instant::now() };
        assert!(!none.is_picked(ip("192.0.2.2"), ip("203.0.113.9")));
    }

    #[test]
    fn the_machine_tells_its_addresses() {
        let addresses = socket::local_addresses().unwrap();
        assert!(addresses.contains(&ip("127.0.0.1")), "{addresses:?}");
    }
}
