//! What a full store takes: a million prefixes with three sites and eight sessions each, or fewer with more, as where services
//! have other sites each.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use meridian::latency::{Kind, Published, Samples, Session, Settings, TargetId, World};
use meridian::model::Country;

use crate::judge::Random;

const SITES: u16 = 48;
const MEASURED: u16 = 3;
/// Of a prefix that measures the same sites …
const SESSIONS: i64 = 8;
/// … and of one that does not.
const MOST_SESSIONS: i64 = 32;
const BEGIN: Timestamp = Timestamp::constant(1_796_000_040, 0);

/// Places and priors by the prefix's number, so that they take no memory.
struct Numbers;

fn number(client: IpAddr) -> u64 {
    match client {
        IpAddr::V4(client) => u64::from(u32::from(client) >> 8),
        IpAddr::V6(_) => 0,
    }
}

impl World for Numbers {
    fn country(&self, client: IpAddr) -> Option<Country> {
        let of_26 = |number: u64| char::from(b'A' + (number % 26) as u8);
        [of_26(number(client) >> 14), of_26(number(client) >> 12)].iter().collect::<String>().parse().ok()
    }

    fn asn(&self, client: IpAddr) -> Option<u32> {
        Some((number(client) >> 6) as u32)
    }

    fn prior_ms(&self, client: IpAddr, target: TargetId) -> Option<f32> {
        let scattered = Random(number(client) ^ (u64::from(target.0) << 40)).unit();
        Some((5.0 + 195.0 * scattered) as f32)
    }

    fn is_one_place(&self, _: IpAddr) -> bool {
        true
    }
}

/// The process's resident memory in octets, as the kernel has it; none where it does not say.
fn resident() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    text.split_whitespace().nth(1)?.parse::<u64>().ok().map(|pages| pages * 4096)
}

fn report(what: &str, begun: Instant, before: Option<u64>) {
    let seconds = begun.elapsed().as_secs_f64();
    let grown = resident().zip(before).map_or(0.0, |(now, before)| (now as f64 - before as f64) / 1e6);
    println!("{what:<44} {seconds:>8.2} s {grown:>+9.1} MB resident");
}

/// Prints octets and times.
pub(crate) fn run(prefixes: u32, sites: u16) -> Result<(), String> {
    let sessions = if sites > MEASURED { MOST_SESSIONS } else { SESSIONS };
    let start = resident();
    let mut random = Random(7);
    let mut samples = Samples::new(Settings::default());
    for site in 0..SITES {
        samples.target(&format!("cloud/region-{site}")).ok_or("too many sites")?;
    }
    let (begun, before) = (Instant::now(), resident());
    for hour in 0..sessions {
        for number in 0..prefixes {
            let client = IpAddr::from(Ipv4Addr::from((1 << 24) + (number << 8) + 9));
            let last_mile = 30.0 * random.unit() as f32;
            let first = hour as u16 * MEASURED % sites;
            let sample = |site: u16| {
                let target = TargetId((number as u16).wrapping_mul(5).wrapping_add(first + site) % SITES);
                let prior_ms = Numbers.prior_ms(client, target).unwrap_or(1.0);
                (target, prior_ms * (1.0 + 0.3 * random.unit() as f32) + last_mile)
            };
            let measured: Vec<(TargetId, f32)> = (0..MEASURED).map(sample).collect();
            let session = Session { client, kind: Kind::Relative, samples: &measured };
            samples.take(&session, BEGIN + SignedDuration::from_hours(hour));
        }
    }
    let all = f64::from(prefixes) * sessions as f64;
    report(&format!("take, {all} sessions of {MEASURED} of {sites} sites"), begun, before);
    let now = BEGIN + SignedDuration::from_hours(sessions);
    println!(
        "{} prefixes: {:.1} octets each by their count, {:.1} by the kernel's",
        samples.prefixes(),
        samples.octets() as f64 / samples.prefixes() as f64,
        resident().zip(start).map_or(0.0, |(now, start)| (now as f64 - start as f64) / samples.prefixes() as f64)
    );
    let (begun, before) = (Instant::now(), resident());
    let estimates = samples.estimate(&Published::default(), &Numbers, 5.0, now);
    report(&format!("estimate: {} prefixes differ", estimates.prefixes.len()), begun, before);
    let (begun, before) = (Instant::now(), resident());
    let published = Published::default().next(&estimates, &Numbers, 5.0).unwrap_or_default();
    report(&format!("publish: {} prefixes", published.prefixes().count()), begun, before);
    let (begun, before) = (Instant::now(), resident());
    let octets = samples.encode();
    report(&format!("encode: {:.1} MB", octets.len() as f64 / 1e6), begun, before);
    let (begun, before) = (Instant::now(), resident());
    let again = Samples::decode(&octets, Settings::default())?;
    report("decode", begun, before);
    let (begun, before) = (Instant::now(), resident());
    samples.forget(now + SignedDuration::from_hours(31 * 24));
    report("forget all", begun, before);
    black_box(again.prefixes());
    Ok(())
}
