//! The operator's hand (BEHAVIOUR rules 19 and 27).

use std::fs;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use serde_json::{Value, json};

use crate::of;
use crate::server::{NETHERLANDS, SYDNEY, Server, Shop, WWW, ask, get, http, ip, meridian, query};

const PATH: &str = "/api/v1/overrides";

/// Status and reply of an order.
async fn order(server: &Server, body: Value) -> (u16, Value) {
    let (status, text) = http(server.admin, "127.0.0.1", "POST", PATH, &body.to_string()).await;
    (status, serde_json::from_str(&text).unwrap_or(Value::String(text)))
}

async fn done(server: &Server, action: &str, target: &str) -> Value {
    let mut body = json!({"action": action, "target": target, "author": "anna", "reason": "patching"});
    if action == "hold" {
        body["for"] = "30m".into();
    }
    let (status, reply) = order(server, body).await;
    assert_eq!(status, 200, "{reply:#}");
    reply
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_tells_where_clients_go_and_is_taken_back() {
    let (shop, _lab) = Shop::with_lab().await;
    shop.edit("warmup = \"0s\"", "warmup = \"0s\"\ndrain = \"0s\"");
    let server = shop.start_ready().await;
    assert_eq!(server.www(NETHERLANDS).await.0, [ip("192.0.2.3")]);
    let hash = server.status().await["decision_hash"].clone();

    let trial = json!({"action": "drain", "target": "azure", "author": "anna", "dry_run": true});
    let (status, told) = order(&server, trial).await;
    let moved = &told["impact"]["plans"][0]["moves"][0];
    assert_eq!(
        (status, &moved["country"], &moved["from"]),
        (200, &"NL".into(), &"azure-westeurope".into()),
        "{told:#}"
    );
    assert!(moved["to_ms"].as_f64() > moved["from_ms"].as_f64(), "{moved}");
    assert_eq!(server.www(NETHERLANDS).await.0, [ip("192.0.2.3")], "nothing was done");

    let drained = done(&server, "drain", "azure").await;
    assert_eq!(drained["done"]["put"][0]["scope"], json!({"kind": "cloud", "name": "azure"}));
    assert_ne!(server.www(NETHERLANDS).await.0, [ip("192.0.2.3")]);
    let status = server.status().await;
    let endpoint = of(&status, "azure-westeurope");
    assert!(endpoint["override"].as_str().unwrap().starts_with("drained by anna since "), "{endpoint:#}");
    assert_eq!((&endpoint["verdict"], status["overrides"].as_array().unwrap().len()), (&"up".into(), 1));
    assert_ne!(status["decision_hash"], hash, "nodes with other orders decide otherwise");

    let url = format!("http://{}", server.admin);
    let (code, text, error) = meridian(shop.folder(), &["status", "--server", &url]).await;
    let line =
        text.lines().find(|line| line.starts_with("azure-westeurope")).unwrap_or_else(|| panic!("{text}{error}"));
    assert!(code == Some(0) && line.contains("up") && line.contains("drained by anna since "), "{text}");
    assert!(text.contains("orders by hand in force: 1\n") && text.contains("azure: drained by anna"), "{text}");

    done(&server, "undrain", "azure").await;
    assert_eq!(server.www(NETHERLANDS).await.0, [ip("192.0.2.3")]);
    assert_eq!(server.status().await["decision_hash"], hash);
    assert_eq!(get(server.admin, PATH).await, (200, "[]\n".to_owned()));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_drain_goes_by_steps() {
    let (shop, _lab) = Shop::with_lab().await;
    let server = shop.start_ready().await;
    let mut body = json!({"action": "drain", "target": "azure-westeurope", "author": "anna", "over": "1h"});
    assert_eq!(order(&server, body.clone()).await.0, 200);
    let ramp = &of(&server.status().await, "azure-westeurope")["ramp"].clone();
    assert_eq!((&ramp["phase"], &ramp["share"]), (&"draining".into(), &0.75.into()));
    // Its clients have hardly left: back at once.
    done(&server, "undrain", "azure-westeurope").await;
    assert_eq!(of(&server.status().await, "azure-westeurope")["ramp"], Value::Null);
    body["for"] = "1s".into();
    assert_eq!(order(&server, body).await.0, 200);
    let none = async || (server.status().await["overrides"] == json!([])).then_some(());
    server.until("the end of the order", none).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_leaves_clients_nothing_wants_to_be_accepted() {
    let (shop, _lab) = Shop::with_lab().await;
    shop.edit("warmup = \"0s\"", "warmup = \"0s\"\ndrain = \"0s\"");
    shop.edit("panic_below = 0.0", "panic_below = 0.5");
    let server = shop.start_ready().await;
    done(&server, "drain", "azure").await;
    let mut body = json!({"action": "down", "target": "gcp", "author": "anna"});
    let (status, refused) = order(&server, body.clone()).await;
    assert_eq!(status, 409);
    assert!(refused["impact"]["plans"][0]["scarce"].as_f64().unwrap() < 0.34, "{refused:#}");
    assert_eq!(server.status().await["overrides"].as_array().unwrap().len(), 1, "nothing has changed");
    body["accept_impact"] = true.into();
    assert_eq!(order(&server, body.clone()).await.0, 200);
    body["target"] = "aws".into();
    assert_eq!(order(&server, body.clone()).await.0, 200);
    // What is drained lives: it is better than nothing.
    assert_eq!(server.www(SYDNEY).await.0, [ip("192.0.2.3")]);
    body["target"] = "azure".into();
    body["accept_impact"] = false.into();
    let (status, refused) = order(&server, body.clone()).await;
    assert_eq!((status, &refused["impact"]["plans"][0]["without"]), (409, &json!(["??", "AU", "NL"])), "{refused:#}");
    body["accept_impact"] = true.into();
    assert_eq!(order(&server, body).await.0, 200);
    // Forced down, never answered in any mode: SERVFAIL.
    let reply = ask(server.dns, &query(WWW, RecordType::A, Some(SYDNEY))).await;
    assert_eq!((reply.metadata.response_code, reply.answers.len()), (ResponseCode::ServFail, 0));
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_order_would_come_to_is_what_it_changes() {
    let (shop, lab) = Shop::with_lab().await;
    shop.edit("warmup = \"0s\"", "warmup = \"10m\"");
    let server = shop.start_ready().await;
    let would = async |action: &str, target: &str| {
        let body = json!({"action": action, "target": target, "author": "anna", "dry_run": true});
        order(&server, body).await.1["impact"].clone()
    };
    // Those that come back by steps do so held or not.
    done(&server, "down", "gcp-singapore").await;
    done(&server, "release", "gcp-singapore").await;
    done(&server, "hold", "all").await;
    assert_eq!(would("release", "all").await, json!({"plans": [], "blind": []}));
    done(&server, "release", "all").await;
    // Who is given back has all of its clients in the end.
    done(&server, "down", "azure-westeurope").await;
    let moves = would("release", "azure-westeurope").await["plans"][0]["moves"].clone();
    let of = |country: &str| moves.as_array().unwrap().iter().find(|moved| moved["country"] == country).cloned();
    let all = (&"azure-westeurope".into(), &1.0.into());
    assert_eq!((&of("NL").unwrap()["to"], &of("NL").unwrap()["of_country"]), all, "{moves:#}");
    // A drain that goes on is none of another order's.
    let body =
        json!({"action": "drain", "target": "gcp-singapore", "author": "anna", "over": "1h", "accept_impact": true});
    assert_eq!(order(&server, body).await.0, 200);
    let still = would("release", "azure-westeurope").await["plans"][0]["moves"].clone();
    assert!(still.as_array().unwrap().iter().all(|moved| moved["to"] == "azure-westeurope"), "{still:#}");
    done(&server, "undrain", "gcp-singapore").await;
    done(&server, "release", "azure-westeurope").await;
    let body = json!({"action": "drain", "target": "azure-westeurope", "author": "anna", "over": "1s"});
    assert_eq!(order(&server, body).await.0, 200);
    let back = would("undrain", "azure-westeurope").await["plans"][0]["moves"].clone();
    assert!(back.as_array().unwrap().iter().any(|moved| moved["to"] == "azure-westeurope"), "{back:#}");
    done(&server, "undrain", "azure-westeurope").await;
    for (cloud, endpoint) in [("aws", "aws-sydney"), ("azure", "azure-westeurope"), ("gcp", "gcp-singapore")] {
        lab.obey(&format!("kill {cloud}")).await.unwrap();
        server.until_verdict(endpoint, "down").await;
    }
    let dead = would("down", "azure-westeurope").await["plans"][0].clone();
    assert_eq!(
        (&dead["without"], dead["dead"].as_array().unwrap().contains(&"NL".into())),
        (&json!([]), true),
        "{dead:#}"
    );
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_are_above_verdicts() {
    let (shop, lab) = Shop::with_lab().await;
    let server = shop.start_ready().await;
    assert_eq!(done(&server, "hold", "all").await["done"]["replaced"], json!([]));
    lab.obey("kill aws").await.unwrap();
    server.until_verdict("aws-sydney", "down").await;
    assert_eq!(server.www(SYDNEY).await.0, [ip("192.0.2.1")], "seen, and nothing moves");
    // Another one takes its place, which is told; what is held stays as it was.
    let again = json!({"action": "hold", "target": "all", "author": "ben", "for": "1h"});
    let (status, again) = order(&server, again).await;
    assert_eq!((status, &again["done"]["replaced"][0]["author"]), (200, &"anna".into()), "{again:#}");
    assert_eq!(server.www(SYDNEY).await.0, [ip("192.0.2.1")]);
    let events = server.status().await["events"].clone();
    let told = events.as_array().unwrap().iter().rfind(|event| event["of"] == "order").unwrap();
    let reason = told["reason"].as_str().unwrap();
    assert!(reason.starts_with("held by ben") && reason.contains("; in place of: held by anna since"), "{reason}");
    done(&server, "release", "all").await;
    assert_ne!(server.www(SYDNEY).await.0, [ip("192.0.2.1")]);
    done(&server, "hold", "www.shop.example").await;
    lab.obey("heal aws").await.unwrap();
    server.until_verdict("aws-sydney", "up").await;
    assert_ne!(server.www(SYDNEY).await.0, [ip("192.0.2.1")], "the service stays where it is");
    let reload = server.reading("an edit", || shop.edit("ttl = \"20s\"", "ttl = \"30s\"")).await;
    assert_eq!((reload, server.www(SYDNEY).await.1), ("ok", 30));
    assert_ne!(server.www(SYDNEY).await.0, [ip("192.0.2.1")], "over an edit, too");
    done(&server, "release", "www.shop.example").await;
    assert_eq!(server.www(SYDNEY).await.0, [ip("192.0.2.1")]);
    lab.obey("kill aws").await.unwrap();
    server.until_verdict("aws-sydney", "down").await;
    let mut up = json!({"action": "up", "target": "aws", "author": "anna"});
    let (status, refused) = order(&server, up.clone()).await;
    assert_eq!((status, &refused["impact"]["blind"]), (409, &json!(["aws-sydney"])), "{refused:#}");
    up["accept_impact"] = true.into();
    assert_eq!(order(&server, up).await.0, 200);
    assert_eq!(server.www(SYDNEY).await.0, [ip("192.0.2.1")]);
    done(&server, "down", "aws").await;
    assert_ne!(server.www(SYDNEY).await.0, [ip("192.0.2.1")]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_release_is_weighed_by_what_has_happened_meanwhile_and_orders_are_events() {
    let (shop, lab) = Shop::with_lab().await;
    let server = shop.start_ready().await;
    done(&server, "hold", "all").await;
    for (cloud, endpoint) in [("aws", "aws-sydney"), ("azure", "azure-westeurope"), ("gcp", "gcp-singapore")] {
        lab.obey(&format!("kill {cloud}")).await.unwrap();
        server.until_verdict(endpoint, "down").await;
    }
    let (status, refused) = order(&server, json!({"action": "release", "target": "all", "author": "anna"})).await;
    assert_eq!((status, &refused["impact"]["plans"][0]["without"]), (409, &json!(["??", "AU", "NL"])), "{refused:#}");
    assert_eq!(server.www(SYDNEY).await.0, [ip("192.0.2.1")], "held as before");
    for (cloud, endpoint) in [("aws", "aws-sydney"), ("azure", "azure-westeurope")] {
        lab.obey(&format!("heal {cloud}")).await.unwrap();
        server.until_verdict(endpoint, "up").await;
    }
    assert_eq!(order(&server, json!({"action": "release", "target": "all", "author": "anna"})).await.0, 200);
    let status = server.status().await;
    let events = status["events"].as_array().unwrap();
    let orders: Vec<_> = events.iter().filter(|event| event["of"] == "order").collect();
    assert_eq!(
        (&orders[0]["to"], &orders[1]["from"], orders.len()),
        (&"held".into(), &"held".into(), 2),
        "{orders:#?}"
    );
    assert_eq!(orders[1]["reason"], "taken back by anna");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn orders_outlive_a_restart_and_damaged_ones_are_set_aside() {
    let (shop, _lab) = Shop::with_lab().await;
    let server = shop.start_ready().await;
    let reply = done(&server, "down", "aws-sydney").await;
    assert_eq!(reply["done"]["not_kept"], Value::Null);
    server.stop().await;
    let server = shop.start_ready().await;
    assert_ne!(server.www(SYDNEY).await.0, [ip("192.0.2.1")], "from the first answer on");
    server.stop().await;
    let path = shop.path("state/overrides.json");
    fs::write(&path, &fs::read(&path).unwrap()[..40]).unwrap();
    let server = shop.start_ready().await;
    assert_eq!(server.www(SYDNEY).await.0, [ip("192.0.2.1")]);
    let files =
        fs::read_dir(shop.path("state")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    assert!(files.into_iter().any(|name| name.starts_with("overrides.damaged-")) && !path.exists());
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_order_and_what() {
    let (shop, _lab) = Shop::with_lab().await;
    let server = shop.start_ready().await;
    for (body, why) in [
        (
            json!({"action": "drain", "target": "nobody", "author": "a"}),
            "no endpoint, service, cloud or region is called 'nobody'",
        ),
        (json!({"action": "drane", "target": "aws", "author": "a"}), "unknown variant `drane`"),
        (json!({"action": "drain", "target": "aws"}), "missing field `author`"),
        (json!({"action": "drain", "target": "aws", "author": "a", "by": 1}), "unknown field `by`"),
        (json!({"action": "hold", "target": "all", "author": "a"}), "a hold needs an end"),
    ] {
        let (status, reply) = order(&server, body).await;
        assert_eq!(status, 400);
        assert!(reply.as_str().unwrap().contains(why), "{reply}");
    }
    let long = "x".repeat(5000);
    assert_eq!(http(server.admin, "127.0.0.1", "POST", PATH, &long).await.0, 413);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_held_has_no_warm_up_and_is_held_over_a_restart() {
    let (shop, lab) = Shop::with_lab().await;
    shop.edit("warmup = \"0s\"", "warmup = \"1h\"");
    let server = shop.start_ready().await;
    done(&server, "hold", "all").await;
    lab.obey("kill aws").await.unwrap();
    server.until_verdict("aws-sydney", "down").await;
    lab.obey("heal aws").await.unwrap();
    server.until_verdict("aws-sydney", "up").await;
    assert_eq!(of(&server.status().await, "aws-sydney")["ramp"], Value::Null);
    assert_eq!(server.www(SYDNEY).await.0, [ip("192.0.2.1")]);
    lab.obey("kill aws").await.unwrap();
    server.until_verdict("aws-sydney", "down").await;
    server.stop().await;
    let server = shop.start_ready().await;
    assert_eq!(server.www(SYDNEY).await.0, [ip("192.0.2.1")], "as it was when it was held");
    server.stop().await;
}

/// Of two services that share their plan.
#[tokio::test(flavor = "multi_thread")]
async fn who_holds_what_is_held_holds_what_is_served() {
    let (shop, lab) = Shop::with_lab().await;
    shop.edit(
        "[[services]]",
        "[[services]]\nname = \"api.shop.example\"\nendpoints = [\"*\"]\nttl = \"20s\"\n[[services]]",
    );
    let server = shop.start_ready().await;
    done(&server, "hold", "www.shop.example").await;
    lab.obey("kill aws").await.unwrap();
    server.until_verdict("aws-sydney", "down").await;
    // The other one holds what is served, not what probes say by now.
    done(&server, "hold", "api.shop.example").await;
    done(&server, "release", "www.shop.example").await;
    assert_eq!(server.www(SYDNEY).await.0, [ip("192.0.2.1")]);
    done(&server, "release", "api.shop.example").await;
    assert_ne!(server.www(SYDNEY).await.0, [ip("192.0.2.1")]);
    server.stop().await;
}

/// What it would be used for when that ends nobody knows.
#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_held_of_who_is_forced_down_and_it_is_not_live() {
    let (shop, lab) = Shop::with_lab().await;
    let server = shop.start_ready().await;
    done(&server, "down", "aws-sydney").await;
    let endpoint = of(&server.status().await, "aws-sydney").clone();
    assert_eq!((&endpoint["verdict"], &endpoint["live"]), (&"up".into(), &false.into()), "{endpoint:#}");
    done(&server, "hold", "www.shop.example").await;
    lab.obey("kill aws").await.unwrap();
    server.until_verdict("aws-sydney", "down").await;
    done(&server, "release", "aws-sydney").await;
    assert_ne!(server.www(SYDNEY).await.0, [ip("192.0.2.1")], "it is down");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_answers_although_all_are_down_is_not_taken_away_unasked() {
    let (shop, lab) = Shop::with_lab().await;
    let server = shop.start_ready().await;
    for cloud in ["aws", "gcp", "azure"] {
        lab.obey(&format!("kill {cloud}")).await.unwrap();
    }
    for name in ["aws-sydney", "gcp-singapore", "azure-westeurope"] {
        server.until_verdict(name, "down").await;
    }
    let events = async || {
        let events = server.status().await["events"].as_array().unwrap().clone();
        events.iter().any(|event| event["of"] == "service").then_some(events)
    };
    let events = server.until("an event of the service", events).await;
    let at = |of: &str| events.iter().rposition(|event| event["of"] == of).unwrap();
    let told = &events[at("service")];
    assert_eq!((&told["to"], &told["service"]), (&"exhausted".into(), &"www.shop.example".into()), "{told:#}");
    assert!(at("endpoint") < at("service"), "behind what it comes from: {events:#?}");
    for target in ["aws", "gcp"] {
        let body = json!({"action": "down", "target": target, "author": "anna", "accept_impact": true});
        assert_eq!(order(&server, body).await.0, 200);
    }
    let (status, refused) = order(&server, json!({"action": "down", "target": "azure", "author": "anna"})).await;
    assert_eq!((status, &refused["impact"]["plans"][0]["without"][1]), (409, &"AU".into()), "{refused:#}");
    server.stop().await;
}
