//! What most prefixes of an autonomous system measured goes for its others, though nobody named it.

use std::fs;

use hickory_proto::rr::RecordType;
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use crate::mmdb::{Writer, asn, city};
use crate::server::{Server, Shop, WWW, ask, http, ip, meridian, query};

const PATH: &str = "/api/v1/measurements?last=true";
/// Of a network in Sydney that goes by Singapore: measured, and not.
const DETOUR: &str = "103.86.0.0/17";
const UNMEASURED: &str = "103.86.100.0/24";
/// Of another, which does not, and is measured as often.
const DIRECT: &str = "103.86.128.0/17";
const DIRECT_UNMEASURED: &str = "103.86.250.0/24";

fn databases(shop: &Shop) {
    let sydney = Writer::new("GeoLite2-City", true).put("103.86.0.0/16", &city("AU", -33.87, 151.21));
    shop.write("city.mmdb", sydney.finish());
    shop.write("asn.mmdb", networks(64_496));
    shop.edit("[\"city.mmdb\"]", "[\"city.mmdb\", \"asn.mmdb\"]");
}

fn networks(detour: u32) -> Vec<u8> {
    Writer::new("GeoLite2-ASN", true).put(DETOUR, &asn(detour)).put(DIRECT, &asn(64_497)).finish()
}

/// A hundred prefixes of each network, so many hours ago; Singapore is so far from the first.
async fn measure(server: &Server, hours: i64, singapore: f64) {
    let at = Timestamp::now() - SignedDuration::from_hours(hours);
    let session = |third: u32, sydney: f64, singapore: f64| {
        let client = format!("103.86.{third}.7");
        let samples = [("aws/ap-southeast-2", sydney), ("gcp/asia-southeast1", singapore)];
        json!({ "client": client, "samples": samples, "absolute": true, "at": at })
    };
    let both = (0..100).flat_map(|index| [session(index, 80.0, singapore), session(128 + index, 4.0, 95.0)]);
    let sessions: Vec<Value> = both.flat_map(|session| vec![session; 8]).collect();
    let (code, text) = http(server.admin, "127.0.0.1", "POST", PATH, &Value::Array(sessions).to_string()).await;
    assert_eq!(code, 200, "{text}");
}

async fn told(server: &Server) -> (Value, Value) {
    let status = server.status().await;
    (status["measured"]["groups"].clone(), status["measured"]["networks"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_goes_by_what_its_prefixes_measured_and_its_neighbour_does_not() {
    let (shop, _lab) = Shop::with_lab().await;
    databases(&shop);
    let server = shop.start_ready().await;
    let scope = async |server: &Server| {
        let reply = ask(server.dns, &query(WWW, RecordType::A, Some(DIRECT_UNMEASURED))).await;
        let option = reply.edns.as_ref().unwrap().option(hickory_proto::rr::rdata::opt::EdnsCode::Subnet);
        format!("{option:?}")
    };
    assert_eq!(server.www(UNMEASURED).await.0, [ip("192.0.2.1")]);
    assert!(scope(&server).await.contains("scope_prefix: 16"), "{}", scope(&server).await);
    measure(&server, 9, 60.0).await;
    server.until_answer(UNMEASURED, "192.0.2.2").await;
    assert_eq!(server.www(DIRECT_UNMEASURED).await.0, [ip("192.0.2.1")]);
    assert!(scope(&server).await.contains("scope_prefix: 17"), "{}", scope(&server).await);
    assert_eq!(told(&server).await, (1.into(), 1.into()));
    // What is published of it changes, and it is told apart as it was.
    measure(&server, 6, 140.0).await;
    server.until_answer(UNMEASURED, "192.0.2.1").await;
    measure(&server, 0, 60.0).await;
    server.until_answer(UNMEASURED, "192.0.2.2").await;
    server.stop().await;

    // It says why, and a restart decides alike from the first answer on.
    let (code, text, error) =
        meridian(shop.folder(), &["explain", "--client", "103.86.100.1", "www.shop.example"]).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(text.contains("measured   gcp-singapore by AS64496 in AU: "), "{text}");
    fs::remove_file(shop.path("state/samples")).unwrap();
    let server = shop.start_ready().await;
    assert_eq!(server.www(UNMEASURED).await.0, [ip("192.0.2.2")]);
    assert_eq!(told(&server).await, (1.into(), 1.into()));

    // Where a database says that they belong to another, they go by the map again.
    assert_eq!(server.reading("a database", || shop.replace("asn.mmdb", networks(64_500))).await, "ok");
    assert_eq!(server.www(UNMEASURED).await.0, [ip("192.0.2.1")]);
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_is_told_apart_once_its_database_can_be_read() {
    let (shop, _lab) = Shop::with_lab().await;
    databases(&shop);
    let server = shop.start_ready().await;
    // What is on disk does not pass, so that what serves is older than the database.
    let bad = || {
        shop.append("nonsense = 1\n");
        shop.write("asn.mmdb", networks(64_498));
    };
    assert_eq!(server.reading("a bad edit", bad).await, "failed");
    measure(&server, 0, 60.0).await;
    let look = async || (told(&server).await == (1.into(), 0.into())).then_some(());
    server.until("a network that is not told apart", look).await;
    assert_eq!(server.www(UNMEASURED).await.0, [ip("192.0.2.1")]);
    assert_eq!(server.www("103.86.7.0/24").await.0, [ip("192.0.2.2")], "what is measured itself does not wait");
    let hash = server.status().await["decision_hash"].clone();

    // It is there again. The next look finds it, although nothing else has changed.
    let put_back = || shop.write("asn.mmdb", networks(64_496));
    assert_eq!(server.reading("the database that was there", put_back).await, "failed");
    measure(&server, 0, 60.0).await;
    server.until_answer(UNMEASURED, "192.0.2.2").await;
    assert_eq!(told(&server).await, (1.into(), 1.into()));
    assert_ne!(server.status().await["decision_hash"], hash, "who tells others apart decides otherwise");
    server.stop().await;
}
