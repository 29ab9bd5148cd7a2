//! Any octets as a database: it is refused, or all that it holds can be looked up.

use std::net::IpAddr;

use meridian::geo::{Database, Distinctions, compile};

/// The largest that is tried; what is made of a database is bounded by its size.
const LONGEST: usize = 1 << 16;

/// Compiles it.
pub(crate) fn run(input: &[u8]) {
    if input.len() > LONGEST {
        return;
    }
    let database = Database { path: "city.mmdb".into(), bytes: input.into() };
    let labels = ["192.0.2.0/24", "2001:db8::/32"].map(|net| net.parse().expect("a prefix"));
    let networks = [("DE".parse().expect("a country"), 64497)];
    let wanted = Distinctions { labels: &labels, asns: &[64496], networks: &networks, fence_places: &[] };
    let Ok(geo) = compile(std::slice::from_ref(&database), &wanted) else { return };
    let mut ends = Vec::new();
    for (net, id) in geo.leaves() {
        assert!(id.index() < geo.locations().len());
        ends.push(net.addr());
    }
    let some: [IpAddr; 4] =
        ["192.0.2.1", "103.86.96.1", "2001:db8::1", "::ffff:192.0.2.1"].map(|ip| ip.parse().expect("one"));
    for address in ends.into_iter().take(1000).chain(some) {
        let found = geo.locate(address);
        assert!(found.location.index() < geo.locations().len());
        let widest = if address.is_ipv4() { 32 } else { 128 };
        assert!(found.length <= widest);
        let around = geo.locate_prefix(address, found.length / 2);
        assert!(around.location.index() < geo.locations().len() && around.length <= widest);
    }
}
