//! Prefixes that are measured, as many as are asked for.

use std::net::IpAddr;

use ipnet::IpNet;
use jiff::Timestamp;
use meridian::latency::{Kind, Published, Samples, Session, Settings, TargetId, World};
use meridian::model::{Country, LocationId};
use meridian::table::Parts;

/// Every site is as far from everybody.
pub(crate) struct Flat;

const PRIOR_MS: f32 = 50.0;

impl World for Flat {
    fn country(&self, _: IpAddr) -> Option<Country> {
        None
    }

    fn asn(&self, _: IpAddr) -> Option<u32> {
        None
    }

    fn prior_ms(&self, _: IpAddr, _: TargetId) -> Option<f32> {
        Some(PRIOR_MS)
    }

    fn is_one_place(&self, _: IpAddr) -> bool {
        true
    }
}

/// Of /24s in leaves of their own, each of which found one of three sites twice as far as the others; and what is published of them.
pub(crate) fn samples(parts: &Parts, prefixes: usize) -> (Samples, Published) {
    let fits =
        |(network, _): (IpNet, LocationId)| (network.addr().is_ipv4() && network.prefix_len() <= 24).then_some(network);
    let networks: Vec<IpNet> = parts.geo.leaves().filter_map(fits).collect();
    let mut samples = Samples::new(Settings::default());
    let endpoints = &parts.config.endpoints;
    for (index, network) in networks.iter().step_by(networks.len() / prefixes).take(prefixes).enumerate() {
        let first = (index * 2_654_435_761) >> 7; // Knuth's multiplier: neighbours begin anywhere
        let mut sample = |at: usize, factor: f32| {
            let site = endpoints[(first + at) % endpoints.len()].site.name();
            (samples.target(&site).expect("there is room"), factor * PRIOR_MS)
        };
        let measured = [sample(0, 2.0), sample(1, 1.0), sample(2, 1.0)];
        let session = Session { client: network.addr(), kind: Kind::Absolute, samples: &measured };
        for _ in 0..3 {
            samples.take(&session, Timestamp::UNIX_EPOCH);
        }
    }
    let before = Published::default();
    let estimates = samples.estimate(&before, &Flat, 5.0, Timestamp::UNIX_EPOCH);
    let published = before.next(&estimates, &Flat, 5.0).expect("there is news");
    (samples, published)
}
