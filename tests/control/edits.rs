//! Good edits swap in, however they come.

use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::time::Duration;

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::RecordType;
use meridian::cli::serve::Running;
use serde_json::Value;

use crate::server::{
    DEADLINE, ENDPOINTS, STATIC, SYDNEY, Server, Shop, WWW, ZONE, addresses, ask, endpoint, ip, query, reply,
};
use crate::{mmdb, of};

/// Asks without a pause until stopped; each query has its answer, and a right one. How many.
struct Load {
    stop: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<usize>,
}

impl Load {
    fn start(server: SocketAddr, right: impl Fn(&[std::net::IpAddr], u32) -> bool + Send + 'static) -> Self {
        let (stop, stopped) = mpsc::channel();
        let ask_all = move || {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(DEADLINE)).unwrap();
            socket.connect(server).unwrap();
            let queries = [query(WWW, RecordType::A, Some(SYDNEY)), query(STATIC, RecordType::A, None)];
            let mut count = 0;
            // A millisecond between two pairs leaves the other core's worth to the server.
            while let Err(mpsc::RecvTimeoutError::Timeout) = stopped.recv_timeout(Duration::from_millis(1)) {
                for query in &queries {
                    socket.send(&query.to_vec().unwrap()).unwrap();
                    let mut octets = [0; 4096];
                    let length = socket.recv(&mut octets).expect("no query is lost");
                    let answer = reply(query, &octets[..length]);
                    let (addresses, ttl) = addresses(&answer);
                    assert!(answer.metadata.response_code == ResponseCode::NoError, "{answer}");
                    assert!(right(&addresses, ttl), "{addresses:?} {ttl}");
                    count += 1;
                }
            }
            count
        };
        Self { stop, thread: std::thread::spawn(ask_all) }
    }

    fn stop(self) -> usize {
        drop(self.stop);
        self.thread.join().unwrap()
    }
}

/// Since when each of [`ENDPOINTS`] has been up.
async fn up_since(server: &Server) -> Vec<Value> {
    let status = server.status().await;
    let since = |(name, ..): (&str, _, _, _)| {
        assert_eq!(of(&status, name)["verdict"], "up");
        of(&status, name)["since"].clone()
    };
    ENDPOINTS.map(since).into()
}

#[tokio::test(flavor = "multi_thread")]
async fn good_edits_swap_in_while_every_query_is_answered() {
    let (shop, _lab) = Shop::with_lab().await;
    let server = shop.start_ready().await;
    let load = Load::start(server.dns, |addresses, ttl| match addresses {
        [address] if *address == ip("192.0.2.1") => [20, 30].contains(&ttl),
        [address] => [ip("203.0.113.80"), ip("203.0.113.81")].contains(address) && ttl == 60,
        _ => false,
    });
    let since = up_since(&server).await;
    let hash = server.status().await["decision_hash"].clone();

    assert_eq!(server.reading("a TTL in place", || shop.edit("ttl = \"20s\"", "ttl = \"30s\"")).await, "ok");
    assert_eq!(server.www(SYDNEY).await, (vec![ip("192.0.2.1")], 30));
    assert_ne!(server.status().await["decision_hash"], hash);

    let zone = ZONE.replace("203.0.113.80", "203.0.113.81");
    assert_eq!(server.reading("a zone by rename", || shop.replace("shop.example.zone", zone)).await, "ok");
    let fixed = ask(server.dns, &query(STATIC, RecordType::A, None)).await;
    assert_eq!(addresses(&fixed).0, [ip("203.0.113.81")]);

    let virginia = endpoint(("aws-virginia", "aws", "us-east-1", "192.0.2.4"), "");
    assert_eq!(server.reading("a new endpoint", || shop.append(&virginia)).await, "ok");
    assert_eq!(of(&server.status().await, "aws-virginia")["verdict"], "up");

    let other = query("ns1.other.example.", RecordType::A, None);
    assert_eq!(ask(server.dns, &other).await.metadata.response_code, ResponseCode::Refused);
    shop.write("other.zone", ZONE);
    let zone = "[[zones]]\nname = \"other.example\"\nfile = \"other.zone\"\n";
    assert_eq!(server.reading("a new zone", || shop.append(zone)).await, "ok");
    assert_eq!(addresses(&ask(server.dns, &other).await).0, [ip("203.0.113.53")]);

    let database = mmdb::Writer::new("GeoLite2-City", true).put("0.0.0.0/1", &mmdb::city("AU", -33.87, 151.21));
    assert_eq!(server.reading("a database", || shop.replace("city.mmdb", database.finish())).await, "ok");
    let networks = &server.status().await["geo"][0]["networks"];
    assert_eq!(networks, 1);

    assert_eq!(up_since(&server).await, since, "probes that did not change keep their state");
    assert_eq!(server.reading("a probe", || shop.edit("up_after = 2", "up_after = 3")).await, "ok");
    assert_eq!(up_since(&server).await, since, "those that did show it until their own first outcome");
    let asked = load.stop();
    assert!(asked > 10, "{asked} queries");
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edit_between_reading_and_watching_is_noticed() {
    let (shop, _lab) = Shop::with_lab().await;
    let running = Running::start(shop.options()).await.unwrap();
    shop.edit("ttl = \"20s\"", "ttl = \"30s\"");
    let server = Server::run(running);
    server.until("ready", async || server.shared.journal().ready.then_some(())).await;
    server.until("the edit", async || (server.www(SYDNEY).await.1 == 30).then_some(())).await;
    server.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn edits_are_noticed_however_files_and_folders_are_replaced() {
    let (shop, _lab) = Shop::with_lab().await;
    let zone = |last: u8| ZONE.replace("203.0.113.80", &format!("203.0.113.{last}"));
    // As an orchestrator mounts it: config.toml → ..data/config.toml, ..data → a folder for each version.
    for version in ["1", "2"] {
        fs::create_dir(shop.path(version)).unwrap();
        let ttl = format!("ttl = \"{version}1s\"");
        shop.write(&format!("{version}/config.toml"), shop.read("config.toml").replace("ttl = \"20s\"", &ttl));
    }
    fs::remove_file(shop.path("config.toml")).unwrap();
    std::os::unix::fs::symlink("..data/config.toml", shop.path("config.toml")).unwrap();
    std::os::unix::fs::symlink("1", shop.path("..data")).unwrap();
    for folder in ["zones", "zones.new"] {
        fs::create_dir(shop.path(folder)).unwrap();
        shop.write(&format!("{folder}/shop.example.zone"), zone(80));
    }
    fs::remove_file(shop.path("shop.example.zone")).unwrap();
    for version in ["1", "2"] {
        let config = format!("{version}/config.toml");
        let text = shop.read(&config).replace("file = \"shop.example.zone\"", "file = \"zones/shop.example.zone\"");
        shop.write(&config, text);
    }
    let server = shop.start_ready().await;
    assert_eq!(server.www(SYDNEY).await.1, 11);

    let swap = || {
        std::os::unix::fs::symlink("2", shop.path("..new")).unwrap();
        fs::rename(shop.path("..new"), shop.path("..data")).unwrap();
    };
    assert_eq!(server.reading("a link to another version", swap).await, "ok");
    assert_eq!(server.www(SYDNEY).await.1, 21);
    let text = shop.read("2/config.toml").replace("21s", "22s");
    assert_eq!(server.reading("a file where a link leads", || shop.write("2/config.toml", text)).await, "ok");
    assert_eq!(server.www(SYDNEY).await.1, 22);

    let swap = || {
        shop.write("zones.new/shop.example.zone", zone(81));
        fs::rename(shop.path("zones"), shop.path("zones.old")).unwrap();
        fs::rename(shop.path("zones.new"), shop.path("zones")).unwrap();
    };
    // Between the two renames there is no zone: read then or not, the end is good.
    swap();
    let address = async || addresses(&ask(server.dns, &query(STATIC, RecordType::A, None)).await).0;
    server.until("the new folder's zone", async || (address().await == [ip("203.0.113.81")]).then_some(())).await;
    let edit = || shop.write("zones/shop.example.zone", zone(82));
    assert_eq!(server.reading("a file in the new folder", edit).await, "ok");
    assert_eq!(address().await, [ip("203.0.113.82")]);
    server.stop().await;
}
