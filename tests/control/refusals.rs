//! Bad edits change nothing, and are named.

use std::fs;
use std::path::{Path, PathBuf};

use hickory_proto::rr::RecordType;
use serde_json::Value;

use crate::server::{STATIC, SYDNEY, Server, Shop, ZONE, addresses, ask, database, query};

/// What must not change by a bad edit.
async fn served(server: &Server) -> (u64, (Vec<std::net::IpAddr>, u32), (Vec<std::net::IpAddr>, u32)) {
    let fixed = addresses(&ask(server.dns, &query(STATIC, RecordType::A, None)).await);
    let generation = server.status().await["generation"].as_u64().unwrap();
    (generation, server.www(SYDNEY).await, fixed)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_edit_changes_nothing_and_is_named_everywhere() {
    let (shop, _lab) = Shop::with_lab().await;
    let server = shop.start_ready().await;
    let before = served(&server).await;
    let good = shop.read("config.toml");

    let bad = good.replace("endpoints = [\"*\"]", "endpoints = [\"oracle-*\"]").replace("down_after", "down_aftr");
    assert_eq!(server.reading("two errors", || shop.replace("config.toml", &bad)).await, "failed");
    let status = server.status().await;
    assert_eq!((&status["reload"]["result"], &status["reload"]["stale"]), (&"failed".into(), &true.into()));
    let errors = status["reload"]["errors"].as_array().unwrap();
    let line = |text: &str| bad.lines().position(|line| line.contains(text)).unwrap() + 1;
    for (text, column, said) in [("down_aftr", 1, "down_aftr"), ("oracle-*", 14, "oracle-*")] {
        let error = errors.iter().find(|error| error["message"].as_str().unwrap().contains(said));
        let error = error.unwrap_or_else(|| panic!("{said} in {status:#}"));
        assert_eq!((&error["line"], &error["column"]), (&line(text).into(), &column.into()), "{error}");
        assert!(error["file"].as_str().unwrap().ends_with("config.toml") && error["help"].is_string(), "{error}");
    }
    let metrics = server.metrics().await;
    let place = format!("line=\"{}\",column=\"1\"", line("down_aftr"));
    let named = |line: &&str| line.starts_with("meridian_config_error{file=\"") && line.contains(&place);
    let metric = metrics.lines().find(named).unwrap_or_else(|| panic!("{metrics}"));
    assert!(metric.contains("cause=\"") && metric.ends_with(" 1"), "{metric}");
    assert!(metrics.contains("\nmeridian_config_stale 1\n"), "{metrics}");
    assert_eq!(served(&server).await, before);

    assert_eq!(server.reading("the fix", || shop.write("config.toml", &good)).await, "ok");
    let status = server.status().await;
    assert_eq!((&status["reload"]["stale"], &status["reload"]["errors"]), (&false.into(), &Value::Array(vec![])));
    let metrics = server.metrics().await;
    assert!(
        !metrics.contains("meridian_config_error{") && metrics.contains("\nmeridian_config_stale 0\n"),
        "{metrics}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_zone_or_a_missing_one_changes_nothing() {
    let (shop, _lab) = Shop::with_lab().await;
    let server = shop.start_ready().await;
    let before = served(&server).await;
    let error = async |server: &Server| server.status().await["reload"]["errors"][0].clone();

    let bad = ZONE.replace("static  A     203.0.113.80", "static  A     203.0.113.800\nx       MX    ten mail");
    assert_eq!(server.reading("a bad zone", || shop.write("shop.example.zone", bad)).await, "failed");
    let errors = server.status().await["reload"]["errors"].clone();
    let lines: Vec<_> = errors.as_array().unwrap().iter().map(|error| error["line"].as_u64().unwrap()).collect();
    assert_eq!(lines, [5, 6], "all errors of the zone: {errors:#}");
    assert!(errors[0]["file"].as_str().unwrap().ends_with("shop.example.zone"), "{errors:#}");
    assert_eq!(served(&server).await, before);

    let remove = || fs::remove_file(shop.path("shop.example.zone")).unwrap();
    assert_eq!(server.reading("a zone that is gone", remove).await, "failed");
    let missing = error(&server).await;
    assert!(missing["message"].as_str().unwrap().contains("shop.example.zone"), "{missing}");
    assert_eq!(served(&server).await, before);
    assert_eq!(server.reading("its return", || shop.write("shop.example.zone", ZONE)).await, "ok");

    let remove = || fs::remove_file(shop.path("config.toml")).unwrap();
    let good = shop.read("config.toml");
    assert_eq!(server.reading("no configuration", remove).await, "failed");
    assert_eq!(served(&server).await.1, before.1);
    assert_eq!(server.reading("its return", || shop.write("config.toml", good)).await, "ok");
    server.stop().await;
}

/// Every corrupt database of the shared folder, if it is there.
fn corrupt_databases() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let shared = std::env::var_os("MERIDIAN_SHARED").map_or(root.join("../shared"), PathBuf::from);
    let folder = shared.join("data/maxmind/bad-data");
    let Ok(groups) = fs::read_dir(&folder) else {
        println!("SKIPPED: no {} here; set MERIDIAN_SHARED", folder.display());
        return Vec::new();
    };
    let groups = groups.map(|entry| entry.unwrap().path()).filter(|path| path.is_dir());
    let files = groups.flat_map(|group| fs::read_dir(group).unwrap()).map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = files.filter(|path| path.extension().is_some_and(|ending| ending == "mmdb")).collect();
    files.sort();
    assert!(files.len() >= 20, "{files:?}");
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn corrupt_databases_are_refused_with_their_file_and_cause() {
    let (shop, _lab) = Shop::with_lab().await;
    let server = shop.start_ready().await;
    let before = served(&server).await;
    let good = database();
    let mut bad: Vec<(String, Vec<u8>)> = corrupt_databases()
        .into_iter()
        .map(|path| (path.file_name().unwrap().to_string_lossy().into_owned(), fs::read(path).unwrap()))
        .collect();
    bad.push(("cut in half".to_owned(), good[..good.len() / 2].into()));
    bad.push(("without its last octets".to_owned(), good[..good.len() - 3].into()));
    bad.push(("no database".to_owned(), b"<html>404</html>".into()));
    bad.push(("empty".to_owned(), Vec::new()));
    for (what, content) in bad {
        assert_eq!(server.reading(&what, || shop.replace("city.mmdb", content)).await, "failed", "{what}");
        let error = server.status().await["reload"]["errors"][0].clone();
        assert!(error["file"].as_str().unwrap().ends_with("city.mmdb"), "{what}: {error}");
        assert_ne!(error["code"], "our-bug", "{what}: {error}");
        assert!(!error["message"].as_str().unwrap().is_empty(), "{what}");
    }
    assert_eq!(served(&server).await, before);
    assert_eq!(server.reading("a good one", || shop.replace("city.mmdb", good)).await, "ok");
    server.stop().await;
}
