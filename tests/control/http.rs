//! What operators ask by HTTP.

use hickory_proto::rr::RecordType;
use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::server::{DEADLINE, SYDNEY, Shop, ask, get, http, query};

/// Every family of the list, with what its samples must hold.
const FAMILIES: [(&str, &str, &str); 14] = [
    ("meridian_queries_total", "counter", "zone=\"shop.example\",rcode=\"NOERROR\""),
    ("meridian_answers_total", "counter", "endpoint=\"aws-sydney\""),
    ("meridian_locations_total", "counter", "source=\"ecs\""),
    ("meridian_service_queries_total", "counter", "service=\"www.shop.example\""),
    ("meridian_probe_seconds", "histogram", "probe=\"shop\""),
    ("meridian_probe_outcomes_total", "counter", "outcome=\"success\""),
    ("meridian_verdicts_total", "counter", "to=\"up\""),
    ("meridian_endpoint_up", "gauge", "endpoint=\"gcp-singapore\""),
    ("meridian_generation", "gauge", ""),
    ("meridian_reloads_total", "counter", "result=\"ok\""),
    ("meridian_config_stale", "gauge", ""),
    ("meridian_config_warnings", "gauge", ""),
    ("meridian_ready", "gauge", ""),
    ("meridian_build_info", "gauge", "version=\""),
];

/// Reads Prometheus text strictly: a family's type before its samples, nothing twice, figures only.
fn read_prometheus(text: &str) -> Vec<(String, String, f64)> {
    let (mut types, mut seen, mut samples) = (std::collections::BTreeMap::new(), vec![], vec![]);
    for line in text.lines().filter(|line| !line.is_empty()) {
        if let Some(declared) = line.strip_prefix("# TYPE ") {
            let (name, kind) = declared.split_once(' ').unwrap();
            assert!(types.insert(name.to_owned(), kind.to_owned()).is_none(), "{name} twice");
        } else if !line.starts_with("# HELP ") {
            let (series, value) = line.rsplit_once(' ').unwrap();
            let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
            assert!(name.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'_'), "{line}");
            let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|ending| name.strip_suffix(ending));
            let family = histogram.filter(|family| types.contains_key(*family)).unwrap_or(name);
            assert!(types.contains_key(family), "no type before {line}");
            assert!(labels.ends_with('}') && !seen.contains(&series.to_owned()), "{line}");
            seen.push(series.to_owned());
            samples.push((family.to_owned(), labels.to_owned(), value.parse().unwrap()));
        }
    }
    samples
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_have_every_family_and_read_as_prometheus_text() {
    let (shop, _lab) = Shop::with_lab().await;
    let server = shop.start_ready().await;
    server.www(SYDNEY).await;
    ask(server.dns, &query("none.shop.example.", RecordType::A, None)).await;
    ask(server.dns, &query("elsewhere.example.", RecordType::A, None)).await;
    let text = server.metrics().await;
    let samples = read_prometheus(&text);
    for (family, kind, labels) in FAMILIES {
        assert!(text.contains(&format!("# TYPE {family} {kind}\n")), "{family}: {text}");
        let held = samples.iter().any(|(name, held, figure)| {
            name == family && held.contains(labels) && (*figure > 0.0 || family.starts_with("meridian_config_"))
        });
        assert!(held, "{family} with {labels}: {text}");
    }
    let figure = |labels: &str| {
        let series = |(name, held, _): &&(String, String, f64)| name == "meridian_queries_total" && held == labels;
        samples.iter().find(series).map(|(.., figure)| *figure)
    };
    assert_eq!(figure("zone=\"shop.example\",rcode=\"NOERROR\"}"), Some(1.0));
    assert_eq!(figure("zone=\"shop.example\",rcode=\"NXDOMAIN\"}"), Some(1.0));
    assert_eq!(figure("zone=\"\",rcode=\"REFUSED\"}"), Some(1.0));
    let names: std::collections::BTreeSet<_> = samples.iter().map(|(name, ..)| name.as_str()).collect();
    assert!(names.iter().all(|name| name.starts_with("meridian_")), "{names:?}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_of_loopback_may_ask_admin() {
    let (shop, _lab) = Shop::with_lab().await;
    let server = shop.start_ready().await;
    assert_eq!(http(server.admin, "127.0.0.2", "GET", "/readyz", "").await.0, 200);
    let (code, text) = http(server.admin, "127.0.0.1", "GET", "/status?service=www.shop.example&limit=1", "").await;
    let status: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &status["services"][0]["name"]), (200, &"www.shop.example".into()));
    let none: Value = serde_json::from_str(&get(server.admin, "/status?limit=0").await.1).unwrap();
    assert_eq!((&none["services"], &none["services_total"]), (&Value::Array(vec![]), &1.into()));
    assert_eq!(get(server.admin, "/status?limit=x").await.0, 400);
    let (code, text) = get(server.admin, "/status?service=ww.shop.example").await;
    assert_eq!((code, text.contains("'ww.shop.example'")), (404, true), "{text}");
    let explained = get(server.admin, "/api/v1/explain?client=103.86.96.1&name=www.shop.example").await;
    let explained: Value = serde_json::from_str(&explained.1).unwrap();
    assert_eq!(explained["choice"]["endpoints"][0]["name"], "aws-sydney", "{explained:#}");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_that_waits_for_a_restart_is_told() {
    let (shop, _lab) = Shop::with_lab().await;
    let server = shop.start_ready().await;
    let pending = async || server.status().await["reload"]["restart_pending"].clone();
    assert_eq!(pending().await, false);
    assert_eq!(server.reading("an edit that waits", || shop.edit("workers = 1", "workers = 2")).await, "ok");
    assert_eq!(pending().await, true);
    assert_eq!(server.reading("it is taken back", || shop.edit("workers = 2", "workers = 1")).await, "ok");
    assert_eq!(pending().await, false);
    server.stop().await;
}

/// Reads from a stream of Server-Sent Events until the text is there.
async fn read_until(stream: &mut tokio::net::TcpStream, text: &str) -> String {
    let mut all = String::new();
    let mut octets = [0; 4096];
    while !all.contains(text) {
        let length = tokio::time::timeout(DEADLINE, stream.read(&mut octets)).await.expect(text).unwrap();
        assert!(length > 0, "it ended: {all}");
        all.push_str(std::str::from_utf8(&octets[..length]).unwrap());
    }
    all
}

#[tokio::test(flavor = "multi_thread")]
async fn events_are_kept_and_told_as_they_come() {
    let (shop, lab) = Shop::with_lab().await;
    let server = shop.start_ready().await;
    let listen = async |last: &str| {
        let mut stream = tokio::net::TcpStream::connect(server.admin).await.unwrap();
        let request = format!("GET /api/v1/events HTTP/1.1\r\nHost: x\r\n{last}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream
    };
    let mut live = listen("").await;
    assert!(read_until(&mut live, "\r\n\r\n").await.contains("content-type: text/event-stream"));
    lab.obey("kill aws-sydney").await.unwrap();
    let told = read_until(&mut live, "\"to\":\"down\"").await;
    assert!(told.contains("event: verdict") && told.contains("\"endpoint\":\"aws-sydney\""), "{told}");
    assert!(!told.contains("\"from\":\"unknown\""), "what was before it listened is not told: {told}");

    // Who comes back hears what it missed: all, where it has heard nothing.
    let replayed = read_until(&mut listen("Last-Event-ID: 0\r\n").await, "\"to\":\"down\"").await;
    assert!(replayed.contains("id: 1\n") && replayed.contains("\"from\":\"unknown\",\"to\":\"up\""), "{replayed}");

    let status = server.status().await;
    let events = status["events"].as_array().unwrap();
    let last = events.iter().rfind(|event| event["endpoint"] == "aws-sydney").unwrap();
    assert_eq!((&last["to"], &events[0]["id"]), (&"down".into(), &1.into()));
    assert!(last["reason"].as_str().unwrap().starts_with("probe shop at 127.0.0.1:"), "{last}");
    drop(live);
    server.stop().await;
}
