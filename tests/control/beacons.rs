//! Beacons through the whole server: a session is offered what its fence allows, what browsers measure moves answers, and what
//! they cannot reach is probed fast.

use std::net::SocketAddr;
use std::sync::Arc;

use meridian::cli::lab::Lab;
use meridian::cli::serve::Running;
use serde_json::{Value, json};

use crate::of;
use crate::server::{NETHERLANDS, SYDNEY, Server, Shop, eventually, http_with, ip};

const CLIENT: &str = "103.86.96.7";
const ORIGIN: &str = "https://www.shop.example";

async fn shop() -> (Shop, Arc<Lab>) {
    let (shop, lab) = Shop::with_lab().await;
    shop.append(&format!(
        "[beacons]\nlisten = [\"127.0.0.1:0\"]\norigins = [\"{ORIGIN}\"]\ntrusted_proxies = [\"127.0.0.0/8\"]\n"
    ));
    for name in ["aws-sydney", "gcp-singapore", "azure-westeurope"] {
        let line = format!("name = \"{name}\"");
        shop.edit(&line, &format!("{line}\nbeacon = \"https://{name}.rum.shop.example/pixel\""));
    }
    (shop, lab)
}

/// A server and where its beacons are.
async fn start(shop: &Shop) -> (Server, SocketAddr) {
    let running = Running::start(shop.options()).await.unwrap();
    let beacons = running.beacon_addresses()[0];
    let server = Server::run(running);
    server.until("ready", async || server.status().await["ready"].as_bool().filter(|ready| *ready)).await;
    (server, beacons)
}

/// As a browser of this client does behind a proxy of ours.
async fn browse(beacons: SocketAddr, client: &str, method: &str, path: &str, body: &str) -> (u16, Value) {
    let headers = format!("Origin: {ORIGIN}\r\nX-Forwarded-For: {client}\r\n");
    let (status, text) = http_with(beacons, "127.0.0.1", method, path, &headers, body).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

/// Asks what to measure, and reports that each site took as long as `took` says; none: it could not be reached.
async fn measure<T: serde::Serialize>(beacons: SocketAddr, client: &str, took: impl Fn(&str) -> T) -> Vec<String> {
    let (status, offer) = browse(beacons, client, "GET", "/v1/beacons/session?service=www.shop.example", "").await;
    assert_eq!(status, 200, "{offer}");
    let candidates = offer["candidates"].as_array().unwrap();
    let sites: Vec<String> = candidates.iter().map(|one| one["site"].as_str().unwrap().to_owned()).collect();
    let samples: Vec<Value> = sites.iter().map(|site| json!({"site": site, "rtt_ms": took(site)})).collect();
    let report = json!({"id": offer["id"], "samples": samples}).to_string();
    assert_eq!(browse(beacons, client, "POST", "/v1/beacons", &report).await.0, 204);
    assert_eq!(browse(beacons, client, "POST", "/v1/beacons", &report).await.0, 403, "once");
    sites
}

#[tokio::test(flavor = "multi_thread")]
async fn what_browsers_measure_moves_their_own_prefix() {
    let (shop, _lab) = shop().await;
    let (server, beacons) = start(&shop).await;
    assert_eq!(server.www(SYDNEY).await.0, [ip("192.0.2.1")]);
    // A last mile of 15 ms or more each time, and Sydney by way of the United States.
    for session in 0..6 {
        let last_mile = 15.0 + f64::from(session) * 3.0;
        let took = |site: &str| match site {
            "aws/ap-southeast-2" => last_mile + 190.0,
            "gcp/asia-southeast1" => last_mile + 95.0,
            _ => last_mile + 240.0,
        };
        let sites = measure(beacons, CLIENT, took).await;
        assert_eq!(sites[0], "aws/ap-southeast-2", "the best as far as is known");
        assert!(sites.len() >= 2, "{sites:?}");
    }
    server.shared.measuring.hurry();
    server.until_answer(SYDNEY, "192.0.2.2").await;
    assert_eq!(server.www(NETHERLANDS).await.0, [ip("192.0.2.3")], "nobody else's");
    // Now that is the best, and is measured first.
    assert_eq!(measure(beacons, CLIENT, |_| 100.0).await[0], "gcp/asia-southeast1");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_offered_what_its_fence_allows() {
    let (shop, _lab) = shop().await;
    shop.edit("ttl = \"20s\"", "ttl = \"20s\"\nfence = [{ where = \"apac\", in = \"apac\" }]");
    let (server, beacons) = start(&shop).await;
    let path = "/v1/beacons/session?service=www.shop.example";
    let (status, offer) = browse(beacons, CLIENT, "GET", path, "").await;
    let sites: Vec<&str> =
        offer["candidates"].as_array().unwrap().iter().map(|one| one["site"].as_str().unwrap()).collect();
    assert_eq!((status, sites), (200, vec!["aws/ap-southeast-2", "gcp/asia-southeast1"]));
    let first = &offer["candidates"][0]["url"];
    assert_eq!(first, "https://aws-sydney.rum.shop.example/pixel");
    assert_eq!(browse(beacons, CLIENT, "GET", "/v1/beacons/session?service=static.shop.example", "").await.0, 404);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_browsers_cannot_reach_is_probed_fast_and_stays_in_the_answers() {
    let (shop, _lab) = shop().await;
    let text = shop.read("config.toml");
    let interval = text.lines().find(|line| line.starts_with("interval = ")).unwrap();
    shop.edit(interval, "interval = \"1h\"");
    let (server, beacons) = start(&shop).await;
    let answer = server.www(SYDNEY).await;
    let seen = |status: &Value, name: &str| of(status, name)["last"]["at"].to_string();
    let before = server.status().await;
    for network in 0..5 {
        let client = format!("103.86.{network}.7");
        measure(beacons, &client, |site| (site != "aws/ap-southeast-2").then_some(20.0)).await;
    }
    // It would be an hour until the next probe.
    let probed = async || {
        let status = server.status().await;
        (seen(&status, "aws-sydney") != seen(&before, "aws-sydney")).then_some(status)
    };
    let status = eventually("a fast probe", probed).await;
    assert_eq!(seen(&status, "gcp-singapore"), seen(&before, "gcp-singapore"));
    let sydney = of(&status, "aws-sydney");
    assert_eq!(sydney["verdict"], "up");
    assert!(sydney["reason"].as_str().unwrap().contains("clients report errors: 5 of 5 networks"), "{sydney}");
    assert_eq!(status["client_errors"][0]["region"], "ap-southeast-2");
    assert_eq!(server.www(SYDNEY).await, answer, "neither the order nor the TTL");
    assert!(server.metrics().await.contains("meridian_client_errors{cloud=\"aws\",region=\"ap-southeast-2\"} 1\n"));
    let events = server.status().await["events"].clone();
    let told = events.as_array().unwrap().iter().filter(|event| event["of"] == "clients");
    let told: Vec<_> = told.map(|event| (&event["cloud"], &event["region"], &event["to"])).collect();
    assert_eq!(told, [(&json!("aws"), &json!("ap-southeast-2"), &json!("failing"))]);
    server.stop().await;
}
