//! A start where the files do not pass (BEHAVIOUR rule 24).

use std::fs;

use hickory_proto::rr::RecordType;
use meridian::cli::StartError;
use meridian::cli::serve::Running;
use meridian::control::Options;
use meridian::model::Problem;

use crate::of;
use crate::server::{STATIC, SYDNEY, Shop, addresses, ask, ip, query};

async fn refused(options: Options) -> Vec<Problem> {
    match Running::start(options).await {
        Err(StartError::Problems(problems)) => problems,
        Err(StartError::Io(error)) => panic!("{error}"),
        Ok(_) => panic!("it starts"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_restart_the_last_good_set_serves_where_the_files_do_not_pass() {
    let (shop, _lab) = Shop::with_lab().await;
    shop.edit("workers = 1", "workers = 1\nstate = \"var/meridian\"");
    let server = shop.start_ready().await;
    assert_eq!(server.reading("a second set", || shop.edit("ttl = \"20s\"", "ttl = \"30s\"")).await, "ok");
    server.stop().await;
    let good = shop.read("config.toml");

    // A syntax error; the state folder is where the rest of the text says.
    shop.append("[[zones\n");
    let server = shop.start_ready().await;
    assert_eq!(server.www(SYDNEY).await, (vec![ip("192.0.2.1")], 30));
    let fixed = ask(server.dns, &query(STATIC, RecordType::A, None)).await;
    assert_eq!(addresses(&fixed).0, [ip("203.0.113.80")]);
    let status = server.status().await;
    assert_eq!((&status["reload"]["result"], &status["reload"]["stale"]), (&"failed".into(), &true.into()));
    assert_eq!(status["reload"]["errors"][0]["line"], good.lines().count() + 1, "{status:#}");
    assert!(server.metrics().await.contains("\nmeridian_config_stale 1\n"));
    // Mended while it serves, it is taken.
    assert_eq!(server.reading("the fix", || shop.write("config.toml", &good)).await, "ok");
    assert_eq!(server.status().await["reload"]["stale"], false);
    server.stop().await;

    fs::remove_file(shop.path("shop.example.zone")).unwrap();
    let strict = refused(Options { strict: true, ..shop.options() }).await;
    assert!(strict[0].message.contains("shop.example.zone"), "{strict:?}");
    let server = shop.start_ready().await;
    assert_eq!(server.www(SYDNEY).await, (vec![ip("192.0.2.1")], 30));
    assert_eq!(server.status().await["reload"]["stale"], true);
    server.stop().await;

    // The newest set is damaged: the one before serves.
    let kept = shop.path("var/meridian/last-good");
    let mut sets: Vec<_> = fs::read_dir(&kept).unwrap().map(|entry| entry.unwrap().path()).collect();
    sets.retain(|path| path.extension().is_some_and(|ending| ending == "set"));
    sets.sort();
    assert_eq!(sets.len(), 2, "{sets:?}");
    fs::write(&sets[1], "{").unwrap();
    let server = shop.start_ready().await;
    assert_eq!(server.www(SYDNEY).await.1, 20);
    server.stop().await;

    fs::remove_dir_all(kept).unwrap();
    let problems = refused(shop.options()).await;
    assert!(problems[0].message.contains("shop.example.zone"), "{problems:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_in_an_outage_begins_with_what_was_known() {
    let (shop, lab) = Shop::with_lab().await;
    shop.edit("workers = 1", "workers = 1\nstate = \"var\"");
    let server = shop.start_ready().await;
    lab.obey("kill aws-sydney").await.unwrap();
    server.until_verdict("aws-sydney", "down").await;
    let answer = server.www(SYDNEY).await;
    let since = of(&server.status().await, "aws-sydney")["since"].clone();
    server.stop().await;

    // From here on no probe ends: what is known was known before.
    for cloud in ["aws", "azure", "gcp"] {
        lab.obey(&format!("blackhole {cloud}")).await.unwrap();
    }
    shop.edit("interval = \"100ms\"\ntimeout = \"500ms\"", "interval = \"6s\"\ntimeout = \"60s\"");
    shop.edit("first_round = \"20s\"", "first_round = \"10m\"");
    let server = shop.start_ready().await;
    assert_eq!(server.www(SYDNEY).await, answer);
    let status = server.status().await;
    let (dead, living) = (of(&status, "aws-sydney"), of(&status, "gcp-singapore"));
    assert_eq!((&dead["verdict"], &dead["since"], &dead["last"]), (&"down".into(), &since, &serde_json::Value::Null));
    assert_eq!((&living["verdict"], &living["last"]), (&"up".into(), &serde_json::Value::Null));
    server.stop().await;

    // Too old, or damaged: nothing is known.
    let verdict = async || {
        let server = shop.start_ready().await;
        let verdict = of(&server.status().await, "gcp-singapore")["verdict"].clone();
        server.stop().await;
        verdict
    };
    shop.edit("first_round = \"10m\"", "first_round = \"100ms\"\nstale_after = \"0s\"");
    assert_eq!(verdict().await, "unknown");
    shop.edit("stale_after = \"0s\"", "stale_after = \"1h\"");
    fs::write(shop.path("var/verdicts.json"), "{\"version\":1").unwrap();
    assert_eq!(verdict().await, "unknown");
    assert_eq!(fs::read_to_string(shop.path("var/verdicts.damaged")).unwrap(), "{\"version\":1");
}
