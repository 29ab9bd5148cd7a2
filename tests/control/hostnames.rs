//! Hostname endpoints (BEHAVIOUR rule 26): answered as addresses, which probes follow.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hickory_server::net::runtime::{Time, TokioRuntimeProvider};
use hickory_server::proto::rr::{Name, RData, Record, rdata};
use hickory_server::server::{Request, RequestHandler, ResponseHandler, ResponseInfo};
use hickory_server::store::in_memory::InMemoryZoneHandler;
use hickory_server::zone_handler::{AxfrPolicy, Catalog, ZoneType};
use tokio::net::UdpSocket;

use crate::of;
use crate::probes::one_port;
use crate::server::{SYDNEY, Shop, get, ip};

/// Answers from one of its versions of the zone.
struct Upstream {
    versions: Vec<Catalog>,
    now: Arc<AtomicUsize>,
}

#[async_trait::async_trait]
impl RequestHandler for Upstream {
    async fn handle_request<R: ResponseHandler, T: Time>(&self, request: &Request, response: R) -> ResponseInfo {
        self.versions[self.now.load(Ordering::SeqCst)].handle_request::<R, T>(request, response).await
    }
}

/// cloud.example, where `lb` has this address and TTL.
fn version(address: [u8; 4], ttl: u32) -> Catalog {
    let origin: Name = "cloud.example.".parse().unwrap();
    let mut zone: InMemoryZoneHandler<TokioRuntimeProvider> =
        InMemoryZoneHandler::empty(origin.clone(), ZoneType::Primary, AxfrPolicy::Deny);
    let soa = rdata::SOA::new(origin.clone(), origin.clone(), 1, 60, 60, 60, 60);
    let lb = Record::from_rdata("lb.cloud.example.".parse().unwrap(), ttl, RData::A(rdata::A(address.into())));
    for record in [Record::from_rdata(origin.clone(), 60, RData::SOA(soa)), lb] {
        assert!(zone.upsert_mut(record, 1));
    }
    let mut catalog = Catalog::new();
    catalog.upsert(origin.into(), vec![Arc::new(zone)]);
    catalog
}

#[tokio::test(flavor = "multi_thread")]
async fn hostnames_are_answered_as_addresses_that_probes_follow() {
    let ([_first, second], port) = one_port(["127.0.0.1", "127.0.0.2"]).await;
    let now = Arc::new(AtomicUsize::new(0));
    let versions = vec![version([127, 0, 0, 1], 7), version([127, 0, 0, 2], 90), Catalog::new()];
    let mut upstream = hickory_server::Server::new(Upstream { versions, now: now.clone() });
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let resolver = socket.local_addr().unwrap();
    upstream.register_socket(socket);

    let shop = Shop::probed_at(&[]);
    shop.edit("type = \"http\"\npath = \"/healthz\"", &format!("type = \"tcp\"\nport = {port}"));
    shop.append(&format!(
        "[[endpoints]]\nname = \"hosted\"\ncloud = \"aws\"\nregion = \"ap-southeast-2\"\n\
         hostname = \"lb.cloud.example\"\nprobe = \"shop\"\n\
         [resolver]\nservers = [\"{resolver}\"]\nallow_private = true\nkeep_for = \"1h\"\n"
    ));
    let server = shop.start_ready().await;
    assert_eq!(server.www(SYDNEY).await, (vec![ip("127.0.0.1")], 7), "no longer than the hostname's own TTL");
    let targets =
        || -> Vec<String> { server.shared.board().checks().map(|(_, check)| check.target.to_string()).collect() };
    assert_eq!(targets(), [format!("127.0.0.1:{port}")]);

    now.store(1, Ordering::SeqCst);
    // Edited settings make it ask at once.
    assert_eq!(server.reading("an edit", || shop.edit("keep_for = \"1h\"", "keep_for = \"2h\"")).await, "ok");
    server.until_answer(SYDNEY, "127.0.0.2").await;
    assert_eq!(server.www(SYDNEY).await.1, 20, "no longer than the service's TTL");
    assert_eq!(targets(), [format!("127.0.0.2:{port}")]);
    server.until_verdict("hosted", "up").await;
    drop(second);
    server.until_verdict("hosted", "down").await;
    let status = server.status().await;
    assert_eq!(of(&status, "hosted")["addresses"][0]["address"], "127.0.0.2");

    // Where it does not resolve, that is told, and it is known as it was.
    now.store(2, Ordering::SeqCst);
    assert_eq!(server.reading("an edit", || shop.edit("keep_for = \"2h\"", "keep_for = \"3h\"")).await, "ok");
    let told = async || of(&server.status().await, "hosted")["unresolved"]["reason"].as_str().map(str::to_owned);
    server.until("that it does not resolve", told).await;
    assert_eq!(of(&server.status().await, "hosted")["addresses"][0]["address"], "127.0.0.2");
    let failing = "meridian_hostname_failing{endpoint=\"hosted\"} 1";
    assert!(get(server.admin, "/metrics").await.1.contains(failing));
    now.store(1, Ordering::SeqCst);
    assert_eq!(server.reading("an edit", || shop.edit("keep_for = \"3h\"", "keep_for = \"4h\"")).await, "ok");
    let resolves = async || of(&server.status().await, "hosted")["unresolved"].is_null().then_some(());
    server.until("that it resolves", resolves).await;
    assert!(!get(server.admin, "/metrics").await.1.contains(failing));
    server.stop().await;
}
