//! What is measured: brought in by hand, published like an edit, there again after a restart.

use std::fs;

use hickory_proto::rr::RecordType;
use jiff::{SignedDuration, Timestamp};
use meridian::latency::Published;
use serde_json::{Value, json};

use crate::server::{NETHERLANDS, SYDNEY, Server, Shop, WWW, ask, get, http, ip, meridian, query};

const PATH: &str = "/api/v1/measurements?last=true";

/// Sydney's endpoint is 80 ms away, Singapore's 60.
fn detour() -> Value {
    let session = json!({
        "client": "103.86.96.7",
        "samples": [["aws/ap-southeast-2", 80.0], ["gcp/asia-southeast1", 60.0]],
        "absolute": true,
    });
    Value::Array(vec![session; 8])
}

async fn post(server: &Server, body: &Value) -> (u16, Value) {
    let (status, text) = http(server.admin, "127.0.0.1", "POST", PATH, &body.to_string()).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

#[tokio::test(flavor = "multi_thread")]
async fn measured_round_trips_move_their_prefix_and_outlast_a_restart() {
    let (shop, _lab) = Shop::with_lab().await;
    let server = shop.start_ready().await;
    assert_eq!(server.www(SYDNEY).await.0, [ip("192.0.2.1")]);
    let hash = server.status().await["decision_hash"].clone();
    assert_eq!(post(&server, &detour()).await, (200, json!({"taken": 8, "unknown_sites": []})));
    server.until_answer(SYDNEY, "192.0.2.2").await;
    assert_eq!(server.www(NETHERLANDS).await.0, [ip("192.0.2.3")]);
    let reply = ask(server.dns, &query(WWW, RecordType::A, Some(SYDNEY))).await;
    assert_eq!(crate::server::addresses(&reply).0, [ip("192.0.2.2")]);
    let status = server.status().await;
    assert_ne!(status["decision_hash"], hash, "nodes that measured otherwise decide otherwise");
    assert_eq!((&status["measured"]["prefixes"], &status["measured"]["derived_locations"]), (&1.into(), &1.into()));

    // Both ways of explaining tell by what.
    let path = "/api/v1/explain?client=103.86.96.1&name=www.shop.example&type=A";
    let told: Value = serde_json::from_str(&get(server.admin, path).await.1).unwrap();
    let first = &told["choice"]["endpoints"][0];
    assert_eq!((&first["name"], &first["measured"]["of"]), (&"gcp-singapore".into(), &"prefix 103.86.96.0/24".into()));
    assert!(first["estimate_ms"].as_f64().unwrap() < first["prior_ms"].as_f64().unwrap(), "{first:#}");
    assert_eq!(first["sampled"]["of"], first["measured"]["of"], "what samples say now");
    let moved = server.status().await["decision_hash"].clone();
    server.stop().await;
    let (code, text, error) =
        meridian(shop.folder(), &["explain", "--client", "103.86.96.1", "www.shop.example"]).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(text.contains("measured   gcp-singapore by prefix 103.86.96.0/24: "), "{text}");

    // It answers so from the first, not when samples are looked at again.
    let server = shop.start_ready().await;
    assert_eq!(server.www(SYDNEY).await.0, [ip("192.0.2.2")]);
    assert_eq!(server.status().await["decision_hash"], moved);
    // An edit keeps it.
    assert_eq!(server.reading("another ttl", || shop.edit("ttl = \"20s\"", "ttl = \"30s\"")).await, "ok");
    assert_eq!(server.www(SYDNEY).await, (vec![ip("192.0.2.2")], 30));
    // The samples are there, too: those of today are with those of before.
    let known = async || (server.status().await["measured"]["prefixes"] == 1).then_some(());
    server.until("the samples of before", known).await;
    server.stop().await;

    // Without them, as on a node that got the estimates alone, these stay.
    fs::remove_file(shop.path("state/samples")).unwrap();
    let server = shop.start_ready().await;
    let looked = async || server.status().await["measured"]["at"].as_str().map(str::to_owned);
    server.until("a look at no samples", looked).await;
    assert_eq!(server.www(SYDNEY).await.0, [ip("192.0.2.2")]);
    assert_eq!(server.status().await["measured"]["derived_locations"], 1);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn damaged_files_are_not_trusted() {
    let (shop, _lab) = Shop::with_lab().await;
    let server = shop.start_ready().await;
    post(&server, &detour()).await;
    server.until_answer(SYDNEY, "192.0.2.2").await;
    server.stop().await;
    for name in ["state/estimates", "state/samples"] {
        let mut octets = fs::read(shop.path(name)).unwrap();
        let middle = octets.len() / 2;
        octets[middle] ^= 1;
        fs::write(shop.path(name), octets).unwrap();
    }
    let server = shop.start_ready().await;
    assert_eq!(server.www(SYDNEY).await.0, [ip("192.0.2.1")], "by the prior");
    let aside = async || shop.path("state/samples.damaged").exists().then_some(());
    server.until("the damaged samples", aside).await;
    post(&server, &detour()).await;
    server.until_answer(SYDNEY, "192.0.2.2").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_is_imported_whole_or_not_at_all() {
    let (shop, _lab) = Shop::with_lab().await;
    let server = shop.start_ready().await;
    let url = format!("http://{}", server.admin);
    let import = async |table: &str| {
        shop.write("table.csv", table);
        meridian(shop.folder(), &["latency", "import", "table.csv", "--server", &url]).await
    };
    let rows = "103.86.96.7,aws/ap-southeast-2,80\n103.86.96.0/24,gcp/asia-southeast1,60\n".repeat(8);
    let (code, _, error) = import(&format!("{rows}103.86.96.0/24,sydney,1\n")).await;
    assert_eq!(code, Some(1), "{error}");
    assert!(error.contains("table.csv:17: 'sydney' is no site"), "{error}");
    assert_eq!(server.status().await["measured"]["prefixes"], 0);
    // A table may have more regions than endpoints stand in; a region that is none is a slip.
    for (site, is_slip) in [("aws/eu-north-1", false), ("aws/nowhere-1", true)] {
        let (code, text, error) = import(&format!("{rows}103.86.96.0/24,{site},9\n")).await;
        assert_eq!((code, error.contains(site)), (Some(i32::from(is_slip)), is_slip), "{error}");
        let left_out = format!("1 round trip left out, to 1 site where no endpoint stands: {site}\n");
        assert!(text.contains("16 round trips of 1 prefix taken in; ") && text.contains(&left_out), "{text}");
    }
    server.until_answer(SYDNEY, "192.0.2.2").await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_session_is_refused() {
    let (shop, _lab) = Shop::with_lab().await;
    let server = shop.start().await;
    for body in ["", "{}", "[{}]", "[{\"client\": \"nobody\", \"samples\": [], \"absolute\": true}]"] {
        let (status, text) = http(server.admin, "127.0.0.1", "POST", PATH, body).await;
        assert!(status == 400 && text.contains("no list of sessions"), "{status} {text}");
    }
    let samples = vec![json!(["aws/ap-southeast-2", 80.0]); 17];
    let long = json!([{"client": "192.0.2.1", "samples": samples, "absolute": true}]).to_string();
    let (status, text) = http(server.admin, "127.0.0.1", "POST", PATH, &long).await;
    assert!(status == 400 && text.contains("16 samples at most, and one of these 17"), "{status} {text}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_server_goes_by_the_table_of_the_first() {
    let (shop, _lab) = Shop::with_lab().await;
    let first = shop.start_ready().await;
    post(&first, &detour()).await;
    first.until_answer(SYDNEY, "192.0.2.2").await;
    let latency = async |server: &Server, what: &str, file: &str| {
        let url = format!("http://{}", server.admin);
        let (code, text, error) = meridian(shop.folder(), &["latency", what, file, "--server", &url]).await;
        (code, text + &error)
    };
    let (code, told) = latency(&first, "save", "table").await;
    assert_eq!((code, &*told), (Some(0), "table: estimates of 0 countries and networks, 1 prefixes\n"));
    let hash = first.status().await["decision_hash"].clone();
    first.stop().await;
    assert_eq!(fs::read(shop.path("table")).unwrap(), fs::read(shop.path("state/estimates")).unwrap());

    // The same files, and nothing that it measured.
    fs::remove_dir_all(shop.path("state")).unwrap();
    let second = shop.start_ready().await;
    assert_eq!(second.www(SYDNEY).await.0, [ip("192.0.2.1")]);
    assert_ne!(second.status().await["decision_hash"], hash);
    for content in [&b"table"[..], &fs::read(shop.path("table")).unwrap()[1..]] {
        shop.write("damaged", content);
        let (code, told) = latency(&second, "load", "damaged").await;
        assert!(code == Some(1) && told.contains("damaged: it is no table"), "{told}");
        let (status, _) = http(second.admin, "127.0.0.1", "POST", "/api/v1/estimates", "table").await;
        assert_eq!(status, 400);
    }
    // Once more changes nothing, and is in force, too.
    for _ in 0..2 {
        let (code, told) = latency(&second, "load", "table").await;
        assert_eq!(code, Some(0), "{told}");
        assert!(told.contains("1 prefixes;") && told.contains(hash.as_str().unwrap()), "{told}");
        assert_eq!(second.www(SYDNEY).await.0, [ip("192.0.2.2")]);
        assert_eq!(second.status().await["decision_hash"], hash);
    }
    second.stop().await;
    let second = shop.start_ready().await;
    assert_eq!(second.www(SYDNEY).await.0, [ip("192.0.2.2")], "a restart keeps it");

    // With an edit at the same time, both are in force in the end, whichever comes first.
    shop.write("none", Published::default().encode());
    for (ttl, table, answer) in [(20, "none", "192.0.2.1"), (21, "table", "192.0.2.2")].repeat(3) {
        let edit =
            || shop.edit(&format!("ttl = \"{ttl}s\""), &format!("ttl = \"{}s\"", if ttl == 20 { 21 } else { 20 }));
        let ((code, told), read) = tokio::join!(latency(&second, "load", table), second.reading("an edit", edit));
        assert_eq!((code, read), (Some(0), "ok"), "{told}");
        second.until_answer(SYDNEY, answer).await;
        assert_eq!(second.www(SYDNEY).await, (vec![ip(answer)], if ttl == 20 { 21 } else { 20 }));
    }
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_of_old_samples_is_refused() {
    let (shop, _lab) = Shop::with_lab().await;
    let server = shop.start_ready().await;
    let mut sessions = detour();
    for session in sessions.as_array_mut().unwrap() {
        session["at"] = (Timestamp::now() - SignedDuration::from_hours(48)).to_string().into();
    }
    assert_eq!(post(&server, &sessions).await.0, 200);
    server.until_answer(SYDNEY, "192.0.2.2").await;
    let url = format!("http://{}", server.admin);
    let (code, ..) = meridian(shop.folder(), &["latency", "save", "table", "--server", &url]).await;
    assert_eq!(code, Some(0));
    let shorter = || shop.append("[beacons]\nkeep_for = \"24h\"\n");
    assert_eq!(server.reading("a shorter time", shorter).await, "ok");
    let (code, _, error) = meridian(shop.folder(), &["latency", "load", "table", "--server", &url]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("is longer ago than `keep_for` of [beacons], 24 hours"), "{error}");
    server.stop().await;
}
