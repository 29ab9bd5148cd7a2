//! The script, as a browser runs it; by node, where there is one.

use std::io::Write as _;
use std::process::{Command, Stdio};

use super::*;

const BROWSER: &str = include_str!("browser.js");

/// What the script fetches in a world; none: there is no node to run it.
fn fetched(script: &str, world: &Value) -> Option<Vec<Value>> {
    let spawned = Command::new("node").args(["-e", BROWSER]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let Ok(mut node) = spawned else {
        eprintln!("there is no `node`: the beacon script is not run");
        return None;
    };
    let input = json!({ "script": script, "world": world }).to_string();
    node.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = node.wait_with_output().unwrap();
    assert!(output.status.success(), "it failed, as said above");
    Some(serde_json::from_slice(&output.stdout).unwrap())
}

/// A page load that measures, where one candidate does not answer; with changes.
fn world(changes: Value) -> Value {
    let url = |host: &str| format!("https://{host}.example/pixel");
    let candidate = |site: &str, host: &str| json!({ "site": site, "url": url(host) });
    let candidates = [candidate("aws/a", "one"), candidate("gcp/b", "broken"), candidate("aws/c", "three")];
    let takes = json!({ "one.example": [300, 12.34, 9.5, 80], "three.example": [40, 0, 0, 0.01] });
    let mut world = json!({
        "random": 0.0069, "saves": false, "dataset": { "service": "a b.example" }, "status": 200, "takes": takes,
        "session": { "id": "the id", "candidates": candidates }, "broken": "broken.example", "hides_at": null,
    });
    for (key, value) in changes.as_object().unwrap() {
        world[key] = value.clone();
    }
    world
}

async fn script() -> String {
    let (status, head, script) = Served::start(settings()).ask("GET /v1/beacon.js", "", "").await;
    assert_eq!(status, 200);
    assert!(head.contains("content-type: text/javascript") && head.contains("cache-control: public"), "{head}");
    assert!(script.contains("const explore = 7;") && script.len() < 4096, "{}", script.len());
    script
}

#[tokio::test]
async fn it_times_each_candidate_and_reports() {
    let script = script().await;
    let Some(fetched) = fetched(&script, &world(json!({}))) else { return };
    assert!(
        fetched.iter().all(|request| request["credentials"] == "omit" && request["referrerPolicy"] == "no-referrer")
    );
    let urls: Vec<&str> = fetched.iter().map(|request| request["url"].as_str().unwrap()).collect();
    let one = ["https://one.example/pixel"; 4];
    let three = ["https://three.example/pixel"; 4];
    assert_eq!(urls[0], "https://beacons.shop.example/v1/beacons/session?service=a%20b.example");
    assert_eq!((&urls[1..5], urls[5], &urls[6..10]), (&one[..], "https://broken.example/pixel", &three[..]));
    assert!(fetched[1..10].iter().all(|request| request["mode"] == "no-cors" && request["cache"] == "no-store"));
    assert_eq!((urls.len(), urls[10]), (11, "https://beacons.shop.example/v1/beacons"));
    let last = &fetched[10];
    assert_eq!((&last["method"], &last["keepalive"], &last["headers"]), (&json!("POST"), &json!(true), &Value::Null));
    let body: Value = serde_json::from_str(last["body"].as_str().unwrap()).unwrap();
    let samples = json!([
        { "site": "aws/a", "rtt_ms": 9.5 }, { "site": "gcp/b", "rtt_ms": null }, { "site": "aws/c", "rtt_ms": 0.1 },
    ]);
    assert_eq!(body, json!({ "id": "the id", "samples": samples }));
    assert_eq!(body::read(last["body"].as_str().unwrap().as_bytes()).unwrap().len(), 1, "the listener reads it");
}

#[tokio::test]
async fn it_leaves_most_pages_alone() {
    let script = script().await;
    for (changes, count) in [
        (json!({ "random": 0.007 }), 0),
        (json!({ "saves": true }), 0),
        (json!({ "status": 204 }), 1),
        (json!({ "session": {} }), 1),
        (json!({ "session": { "candidates": [] } }), 1),
        (json!({ "hides_at": 1 }), 2),
    ] {
        let Some(fetched) = fetched(&script, &world(changes.clone())) else { return };
        assert_eq!(fetched.len(), count, "{changes}: {fetched:?}");
    }
    // One that takes longer than it may has no figure.
    let slow = json!({ "takes": { "one.example": [1, 4000, 4000, 4000] } });
    let Some(slow) = fetched(&script, &world(slow)) else { return };
    let body: Value = serde_json::from_str(slow.last().unwrap()["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["samples"][0], json!({ "site": "aws/a", "rtt_ms": null }));
    // Hidden while it times the third: it reports the two before.
    let Some(fetched) = fetched(&script, &world(json!({ "hides_at": 415 }))) else { return };
    let body: Value = serde_json::from_str(fetched.last().unwrap()["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["samples"].as_array().unwrap().len(), 2, "{fetched:?}");
}
