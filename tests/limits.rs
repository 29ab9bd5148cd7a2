//! Who is answered, and how often: `[access]` and `[rate_limit]`, through the batched path with a clock of the test's.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/dns.rs"]
mod dns;

use std::net::{IpAddr, SocketAddr};

use dns::{Ask, World, files};
use hickory_proto::op::{Message, ResponseCode};
use meridian::answer::Batches;
use meridian::table::{Cells, CounterKey};
use meridian::wire::{BATCH, Batch};

const ZONE: &str = "\
@ 60 SOA ns1 host 1 2 3 4 5
@ 60 NS ns1
ns1 60 A 192.0.2.53
big 60 TXT \"a text that is a good deal longer than the query that asks for it, and then some more of it\"
cut 60 NS ns.elsewhere.example.
";

const CONFIG: &str = r#"
geoip.databases = []
[[zones]]
name = "shop.example"
file = "zone"
[[endpoints]]
name = "one"
cloud = "aws"
region = "us-east-1"
addresses = ["192.0.2.1", "2001:db8::1"]
[[services]]
name = "www.shop.example"
endpoints = ["*"]
"#;

/// Microseconds.
const SECOND: u64 = 1_000_000;
const START: u64 = 1_800_000_000 * SECOND;

/// A worker with its clock.
struct Worker {
    world: World,
    batches: Batches,
    cells: Cells,
    batch: Batch,
}

/// What came of queries.
#[derive(Debug, Default, PartialEq, Eq)]
struct Outcome {
    answered: usize,
    truncated: usize,
    bad_cookie: usize,
    silence: usize,
}

impl Worker {
    fn new(tables: &str) -> Self {
        let config = format!("{tables}\n{CONFIG}");
        let world = World::new(files([("config.toml", config.as_bytes()), ("zone", ZONE.as_bytes())]));
        let batches = Batches::new(0x5eed_0123_4567_89ab);
        Self { world, batches, cells: Cells::default(), batch: Batch::default() }
    }

    /// Asks `count` times over the time, by batches.
    fn ask(&mut self, query: &[u8], from: &str, count: usize, time: std::ops::Range<u64>) -> Outcome {
        let mut outcome = Outcome::default();
        let client = SocketAddr::new(from.parse::<IpAddr>().unwrap(), 4242);
        let batches = count.div_ceil(BATCH);
        for round in 0..batches {
            let Self { world, batches: worker, cells, batch } = self;
            (batch.count, batch.begun) = ((count - round * BATCH).min(BATCH), 0);
            for index in 0..batch.count {
                batch.slots[index][..query.len()].copy_from_slice(query);
                batch.lengths[index] = query.len() as u16;
                batch.clients[index] = client;
            }
            worker.now = time.start + (time.end - time.start) * round as u64 / batches as u64;
            worker.respond(&world.snapshot, cells, batch);
            for index in 0..batch.count {
                let reply = &batch.slots[index][..usize::from(batch.lengths[index])];
                match reply {
                    [] => outcome.silence += 1,
                    _ => {
                        let message = Message::from_vec(reply).unwrap();
                        match message.metadata.response_code {
                            ResponseCode::BADCOOKIE => outcome.bad_cookie += 1,
                            _ if message.metadata.truncation => outcome.truncated += 1,
                            _ => outcome.answered += 1,
                        }
                        let is_short = reply.len() <= query.len() + 28 + 11;
                        assert!(is_short || !message.metadata.truncation, "what is cut short is short");
                    }
                }
            }
        }
        outcome
    }

    fn limited(&self, kind: &'static str, action: &'static str) -> u64 {
        let key = CounterKey::Limited(kind, action);
        self.world.read(&self.cells, &key)
    }
}

fn second() -> std::ops::Range<u64> {
    START..START + SECOND
}

#[test]
fn a_resolver_asks_one_steered_name_as_often_as_it_likes() {
    let mut worker = Worker::new("");
    let query = Ask::new("www.shop.example", "A").subnet("198.51.100.0/24").octets();
    let outcome = worker.ask(&query, "192.0.2.1", 100_000, second());
    assert_eq!(outcome, Outcome { answered: 100_000, ..Outcome::default() });
}

#[test]
fn what_is_longer_or_says_no_is_limited_by_kind() {
    let limits = "rate_limit = { answers = 100, errors = 10 }";
    for (name, rtype, kind, at_once) in [
        ("big.shop.example", "TXT", "answer", 100),
        ("www.shop.example", "TXT", "nodata", 100),
        ("no.shop.example", "A", "nxdomain", 100),
        ("a.cut.shop.example", "A", "referral", 100),
        ("elsewhere.example", "A", "error", 10),
    ] {
        let mut worker = Worker::new(limits);
        let query = Ask::new(name, rtype).octets();
        let outcome = worker.ask(&query, "192.0.2.1", 1_000, START..START);
        let over = 1_000 - at_once;
        let expected = Outcome { answered: at_once, truncated: over / 2, silence: over / 2, bad_cookie: 0 };
        assert_eq!(outcome, expected, "{name}");
        assert_eq!(worker.limited(kind, "dropped") as usize, over / 2, "{kind}");
        assert_eq!(worker.limited(kind, "truncated") as usize, over / 2, "{kind}");
        // Who asks is seen, and whose replies were over the limit.
        let traffic = worker.batches.traffic();
        let now = (START / SECOND) as u32;
        let asking: Vec<_> = traffic.asking.rates(now).collect();
        assert_eq!((asking.len(), asking[0].0.to_string()), (1, "192.0.2.0/24".to_owned()));
        // One is counted for 256, so some wait to be counted.
        assert!((75.0..=100.0).contains(&asking[0].1), "{}", asking[0].1);
        assert_eq!(traffic.limited.rates(now).next().unwrap().1, over as f64 / 10.0);
        // Others are served meanwhile.
        let others = worker.ask(&query, "192.0.3.1", at_once, START..START);
        assert_eq!(others.answered, at_once);
    }
}

#[test]
fn a_valid_cookie_lifts_the_limit_and_none_of_ours_gets_one() {
    let mut worker = Worker::new("rate_limit.answers = 10");
    for name in ["big.shop.example", "no.shop.example"] {
        let rtype = if name.starts_with("big") { "TXT" } else { "A" };
        let first = Ask::new(name, rtype).edns(1232).option(10, &[1; 8]);
        let outcome = worker.ask(&first.octets(), "192.0.2.1", 100, START..START);
        assert_eq!(outcome, Outcome { answered: 10, bad_cookie: 45, silence: 45, truncated: 0 }, "{name}");
        let reply = (0..BATCH).rfind(|&index| worker.batch.lengths[index] > 0 && index < worker.batch.count).unwrap();
        let reply = dns::Reply::read(&first.octets(), &worker.batch.slots[reply][..worker.batch.lengths[reply].into()]);
        let second = Ask::new(name, rtype).edns(1232).option(10, reply.option(10).expect("both cookies"));
        let outcome = worker.ask(&second.octets(), "192.0.2.1", 1_000, START..START);
        assert_eq!(outcome.answered, 1_000, "{name}");
        let outcome = worker.ask(&second.octets(), "192.0.2.2", 100, START..START);
        assert_eq!(outcome.answered, 0, "{name}: of another address it is not valid");
    }
}

#[test]
fn with_log_only_all_is_sent_and_counted() {
    let mut worker = Worker::new("rate_limit = { answers = 10, log_only = true }");
    let query = Ask::new("no.shop.example", "A").octets();
    assert_eq!(worker.ask(&query, "192.0.2.1", 1_000, START..START).answered, 1_000);
    assert_eq!((worker.limited("nxdomain", "logged"), worker.limited("nxdomain", "dropped")), (990, 0));
}

#[test]
fn limits_are_off_where_they_are_said_to_be() {
    let mut worker = Worker::new("rate_limit = { answers = \"off\", errors = \"off\" }");
    for name in ["no.shop.example", "elsewhere.example"] {
        let query = Ask::new(name, "A").octets();
        assert_eq!(worker.ask(&query, "192.0.2.1", 10_000, START..START).answered, 10_000);
    }
}

#[test]
fn only_those_admitted_are_answered() {
    for (tables, inside, outside) in [
        ("access.deny = [\"192.0.2.0/24\", \"2001:db8::/32\"]", "192.0.3.1", "192.0.2.1"),
        ("access.deny = [\"192.0.2.0/24\", \"2001:db8::/32\"]", "2001:db9::1", "2001:db8:7::1"),
        ("access.allow = [\"192.0.2.0/24\"]", "192.0.2.1", "192.0.3.1"),
        ("access = { allow = [\"192.0.2.0/24\"], deny = [\"192.0.2.7/32\"] }", "192.0.2.1", "192.0.2.7"),
    ] {
        let mut worker = Worker::new(tables);
        for name in ["www.shop.example", "ns1.shop.example", "no.shop.example", "elsewhere.example"] {
            let query = Ask::new(name, "A").octets();
            assert_eq!(worker.ask(&query, inside, 10, START..START).answered, 10, "{tables}");
            let denied = worker.world.read(&worker.cells, &CounterKey::Denied);
            assert_eq!(worker.ask(&query, outside, 10, START..START).silence, 10, "{tables}");
            assert_eq!(worker.world.read(&worker.cells, &CounterKey::Denied), denied + 10, "{tables}");
            let ask = Ask::new(name, "A").from(outside);
            assert!(worker.world.octets(ask.clone().tcp().asker, &ask.octets()).is_none(), "{tables}: by TCP");
        }
    }
}
