//! A fault of ours takes nobody down.

use std::net::SocketAddr;
use std::sync::Arc;

use meridian::cli::lab::Lab;
use tokio::net::TcpListener;

use crate::of;
use crate::server::{SYDNEY, Server, Shop, eventually, get};

/// Listeners at three loopback addresses; at these ports, if they are said.
async fn listen(ports: [u16; 3]) -> ([SocketAddr; 3], [TcpListener; 3]) {
    let listen = async |host: &str, port| TcpListener::bind((host, port)).await.unwrap();
    let hosts = ["127.0.0.1", "127.0.0.2", "127.0.0.3"];
    let [a, b, c] = ports;
    let anchors = [listen(hosts[0], a).await, listen(hosts[1], b).await, listen(hosts[2], c).await];
    (anchors.each_ref().map(|anchor| anchor.local_addr().unwrap()), anchors)
}

/// A shop that has anchors, its storefronts, and the anchors.
async fn shop() -> (Shop, Arc<Lab>, [SocketAddr; 3], [TcpListener; 3]) {
    let (shop, lab) = Shop::with_lab().await;
    let (addresses, anchors) = listen([0; 3]).await;
    let typed = addresses.map(|address| address.to_string());
    let settings = format!("window = \"5s\"\nallow_private = true\nanchors = {typed:?}");
    shop.edit("first_round = \"20s\"", &format!("first_round = \"20s\"\n{settings}"));
    (shop, lab, addresses, anchors)
}

/// Waits until the fault is ours; why.
async fn until_found(server: &Server) -> String {
    let fault = async || server.shared.board().own_fault().map(|fault| fault.reason.clone());
    server.until("a fault of ours", fault).await
}

/// Storefronts in three clouds and the anchors are gone at once, as when a cable is pulled.
#[tokio::test(flavor = "multi_thread")]
async fn when_our_own_way_out_is_lost_answers_stay() {
    let (shop, lab, addresses, anchors) = shop().await;
    let server = shop.start_ready().await;
    assert!(server.metrics().await.contains("meridian_self_fault 0\n"));
    lab.obey("kill all").await.unwrap();
    drop(anchors);
    let reason = until_found(&server).await;
    assert!(reason.starts_with("3 of 3 sites in 3 clouds and ") && reason.ends_with(" of 3 anchors fail"), "{reason}");
    server.until_answer(SYDNEY, "192.0.2.1").await;
    // It is told right behind being found.
    let told = async || {
        let status = server.status().await;
        let events = status["events"].as_array().unwrap();
        events.iter().any(|event| event["of"] == "self" && event["to"] == "failing").then_some(status.clone())
    };
    let status = server.until("the event", told).await;
    assert_eq!(status["self"]["held"].as_array().unwrap().len(), 3, "{status:#}");
    assert_eq!(of(&status, "aws-sydney")["verdict"], "up");
    assert!(of(&status, "aws-sydney")["reason"].as_str().unwrap().ends_with("held as it was: the fault is ours"));
    assert!(server.metrics().await.contains("meridian_self_fault 1\n"));
    assert_eq!(get(server.admin, "/readyz").await.0, 200);

    // Others may be well. What is told with `withdraw_after` goes for a fault that lasts, too.
    let told = "anchors = [";
    assert_eq!(
        server.reading("withdraw_after", || shop.edit(told, &format!("withdraw_after = \"1s\"\n{told}"))).await,
        "ok"
    );
    let silent = async || Some(get(server.admin, "/readyz").await).filter(|(code, _)| *code == 503);
    let (_, text) = eventually("it is withdrawn", silent).await;
    assert!(text.contains("3 of 3 sites in 3 clouds"), "{text}");

    // The way is there again; one storefront has died meanwhile.
    let (_, _anchors) = listen(addresses.map(|address| address.port())).await;
    lab.obey("heal gcp azure").await.unwrap();
    server.until_verdict("aws-sydney", "down").await;
    server.until_answer(SYDNEY, "192.0.2.2").await;
    assert!(server.status().await["self"].is_null());
    assert_eq!(get(server.admin, "/readyz").await.0, 200);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_known_before_it_outlives_a_restart() {
    let (shop, lab, _, anchors) = shop().await;
    shop.start_ready().await.stop().await;
    let known = shop.read("state/verdicts.json");
    let server = shop.start_ready().await;
    lab.obey("kill all").await.unwrap();
    drop(anchors);
    until_found(&server).await;
    server.stop().await;
    assert_eq!(shop.read("state/verdicts.json"), known);
}
