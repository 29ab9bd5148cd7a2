//! A start where the files do not pass (BEHAVIOUR rule 24).

use std::fs;

use hickory_proto::rr::RecordType;
use meridian::cli::StartError;
use meridian::cli::serve::Running;
use meridian::control::Options;
use meridian::model::Problem;

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
