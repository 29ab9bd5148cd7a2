//! What probes see decides what is answered.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use hickory_proto::rr::RecordType;
use jiff::Timestamp;
use serde_json::Value;

use crate::server::{
    DEADLINE, ENDPOINTS, NETHERLANDS, STATIC, SYDNEY, Shop, WWW, addresses, endpoint, get, ip, query, reply,
};
use crate::{of, time};

/// Is `www` met with silence? The reply to a second query on the same socket tells.
async fn steered_names_are_silent(server: SocketAddr) -> bool {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (steered, fixed) = (query(WWW, RecordType::A, Some(SYDNEY)), query(STATIC, RecordType::A, None));
    for query in [&steered, &fixed] {
        socket.send_to(&query.to_vec().unwrap(), server).await.unwrap();
    }
    let mut octets = [0; 4096];
    let length = tokio::time::timeout(DEADLINE, socket.recv(&mut octets)).await.unwrap().unwrap();
    if octets[..2] != fixed.metadata.id.to_be_bytes() {
        return false;
    }
    assert_eq!(addresses(&reply(&fixed, &octets[..length])), (vec![ip("203.0.113.80")], 60));
    true
}

#[tokio::test(flavor = "multi_thread")]
async fn steered_names_wait_for_the_first_round_and_static_ones_do_not() {
    let (shop, lab) = Shop::with_lab().await;
    shop.edit("interval = \"100ms\"\ntimeout = \"500ms\"", "interval = \"1s\"\ntimeout = \"10s\"");
    // The window of the first round is a quarter of it, one interval at most.
    shop.edit("first_round = \"20s\"", "first_round = \"10m\"");
    lab.obey("blackhole azure").await.unwrap();
    let server = shop.start().await;
    server.until_verdict("aws-sydney", "up").await;
    assert!(steered_names_are_silent(server.dns).await);
    assert_eq!(get(server.admin, "/readyz").await.0, 503);
    assert_eq!(get(server.admin, "/healthz").await, (200, "ok\n".to_owned()));
    let status = server.status().await;
    assert_eq!((&status["ready"], &of(&status, "azure-westeurope")["last"]), (&false.into(), &Value::Null));

    // The black hole lets go of the probe, which is the last first outcome.
    lab.obey("heal azure").await.unwrap();
    server.until("ready", async || server.shared.journal().ready.then_some(())).await;
    assert_eq!(server.www(SYDNEY).await.0, [ip("192.0.2.1")]);
    assert_eq!(get(server.admin, "/readyz").await.0, 200);
    assert_eq!(server.status().await["ready"], true);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_wait_for_the_first_round_is_bounded() {
    let (shop, lab) = Shop::with_lab().await;
    shop.edit("first_round = \"20s\"", "first_round = \"400ms\"");
    shop.edit("interval = \"100ms\"\ntimeout = \"500ms\"", "interval = \"2s\"\ntimeout = \"20s\"");
    lab.obey("blackhole aws").await.unwrap();
    let server = shop.start_ready().await;
    assert_eq!(of(&server.status().await, "aws-sydney")["verdict"], "unknown");
    // What is up comes before what is unknown (BEHAVIOUR rule 7).
    server.until_answer(SYDNEY, "192.0.2.2").await;
    server.stop().await;
}

/// The one bound in time: half a second and a whole timeout, which a closed port does not use, are
/// left to the machine. Prober's own tests show the same in virtual time.
#[tokio::test(flavor = "multi_thread")]
async fn a_death_changes_the_answer_within_its_bound_and_healing_brings_it_back() {
    let (shop, lab) = Shop::with_lab().await;
    shop.edit("interval = \"100ms\"\ntimeout = \"500ms\"", "interval = \"300ms\"\ntimeout = \"2s\"\njitter = 0.1");
    let server = shop.start_ready().await;
    assert_eq!(server.www(SYDNEY).await, (vec![ip("192.0.2.1")], 20));
    assert_eq!(server.www(NETHERLANDS).await, (vec![ip("192.0.2.3")], 20));
    let generation = server.status().await["generation"].as_u64().unwrap();

    let (killed_at, killed) = (Timestamp::now(), Instant::now());
    lab.obey("kill aws-sydney").await.unwrap();
    server.until_answer(SYDNEY, "192.0.2.2").await;
    let (took, bound) = (killed.elapsed(), Duration::from_millis(2 * 330 + 2000 + 500));
    assert!(took <= bound, "{took:?} of {bound:?}");
    assert_eq!(server.www(NETHERLANDS).await.0, [ip("192.0.2.3")]);
    let status = server.status().await;
    let dead = of(&status, "aws-sydney");
    assert_eq!(dead["verdict"], "down");
    assert!(dead["reason"].as_str().unwrap().contains("refused"), "{dead}");
    assert!((killed_at..=Timestamp::now()).contains(&time(&dead["since"])), "{dead} after {killed_at}");
    assert!(time(&dead["last"]["at"]) >= time(&dead["since"]) && dead["last"]["rtt_ms"].is_null(), "{dead}");
    assert!(status["generation"].as_u64().unwrap() > generation);
    assert!(server.metrics().await.contains("meridian_endpoint_up{endpoint=\"aws-sydney\"} 0\n"));

    let healed_at = Timestamp::now();
    lab.obey("heal aws-sydney").await.unwrap();
    server.until_answer(SYDNEY, "192.0.2.1").await;
    let status = server.status().await;
    let back = of(&status, "aws-sydney");
    assert_eq!(back["verdict"], "up");
    assert!(time(&back["since"]) >= healed_at && back["last"]["rtt_ms"].as_f64().unwrap() > 0.0, "{back}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_way_to_fail_is_seen_and_named() {
    let (shop, lab) = Shop::with_lab().await;
    shop.append(&endpoint(("unprobed", "aws", "us-east-1", "192.0.2.9"), ""));
    let server = shop.start_ready().await;
    for command in ["reset aws-sydney", "error gcp-singapore 500", "blackhole azure-westeurope"] {
        lab.obey(command).await.unwrap();
    }
    for (name, why) in [("aws-sydney", "reset"), ("gcp-singapore", "500"), ("azure-westeurope", "500ms")] {
        let reason = server.until_verdict(name, "down").await;
        assert!(reason.contains("probe shop") && reason.contains(why), "{name}: {reason}");
    }
    assert_eq!(of(&server.status().await, "unprobed")["verdict"], "up", "without a probe it counts as up");
    server.until_answer(SYDNEY, "192.0.2.9").await;
    lab.obey("heal all").await.unwrap();
    for (name, ..) in ENDPOINTS {
        server.until_verdict(name, "up").await;
    }
    lab.obey("delay aws-sydney 5s").await.unwrap();
    let reason = server.until_verdict("aws-sydney", "down").await;
    assert!(reason.contains("500ms"), "{reason}");
    server.until_answer(SYDNEY, "192.0.2.2").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tcp_probes_ask_for_an_open_door_and_no_more() {
    let (shop, lab) = Shop::with_lab().await;
    shop.edit("type = \"http\"\npath = \"/healthz\"", "type = \"tcp\"\nport = 1");
    lab.obey("blackhole aws").await.unwrap();
    lab.obey("error gcp").await.unwrap();
    lab.obey("kill azure").await.unwrap();
    let server = shop.start_ready().await;
    server.until_verdict("aws-sydney", "up").await;
    server.until_verdict("gcp-singapore", "up").await;
    server.until_verdict("azure-westeurope", "down").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_that_an_edit_brings_wait_for_a_restart() {
    let (shop, _lab) = Shop::with_lab().await;
    let server = shop.start_ready().await;
    let script = "type = \"script\"\ncommand = [\"/bin/true\"]";
    let edit = || shop.edit("type = \"http\"\npath = \"/healthz\"", script);
    assert_eq!(server.reading("a script", edit).await, "ok");
    assert_eq!(server.status().await["reload"]["restart_pending"], true);
    let reason = server.until_verdict("aws-sydney", "unknown").await;
    assert!(reason.contains("restart needed"), "{reason}");
    server.stop().await;
}

/// Listens at one port of several loopback addresses.
pub(crate) async fn one_port(addresses: [&str; 2]) -> ([tokio::net::TcpListener; 2], u16) {
    for _ in 0..100 {
        let first = tokio::net::TcpListener::bind((addresses[0], 0)).await.unwrap();
        let port = first.local_addr().unwrap().port();
        if let Ok(second) = tokio::net::TcpListener::bind((addresses[1], port)).await {
            return ([first, second], port);
        }
    }
    panic!("no port is free on both");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_that_fails_alone_leaves_the_answer() {
    let ([first, second], port) = one_port(["127.0.0.1", "127.0.0.2"]).await;
    let shop = Shop::probed_at(&[]);
    shop.edit("type = \"http\"\npath = \"/healthz\"", &format!("type = \"tcp\"\nport = {port}"));
    shop.append(&endpoint(("both", "aws", "ap-southeast-2", "127.0.0.1\", \"127.0.0.2"), "probe = \"shop\""));
    let server = shop.start_ready().await;
    let answer = async |expected: &[&str]| {
        let expected: Vec<_> = expected.iter().map(|text| ip(text)).collect();
        let sorted = |mut addresses: Vec<_>| {
            addresses.sort();
            addresses
        };
        let what = format!("{expected:?}");
        server.until(&what, async || (sorted(server.www(SYDNEY).await.0) == expected).then_some(())).await;
    };
    answer(&["127.0.0.1", "127.0.0.2"]).await;
    drop(first);
    answer(&["127.0.0.2"]).await;
    let status = server.status().await;
    assert_eq!(of(&status, "both")["verdict"], "up");
    assert_eq!(of(&status, "both")["addresses"][0]["verdict"], "down");
    drop(second);
    server.until_verdict("both", "down").await;
    answer(&["127.0.0.1", "127.0.0.2"]).await; // `when_none`: as if all were up
    server.stop().await;
}
