//! The real binary: exit codes, what it prints, signals, the lab.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code, reason = "no test binary uses all of it")]
#[path = "support/mmdb.rs"]
mod mmdb;
#[path = "support/server.rs"]
mod server;

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use hickory_proto::rr::RecordType;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use server::{
    DEADLINE, Program, STATIC, SYDNEY, Shop, WWW, addresses, ask, endpoint, eventually, framed, get, http, ip,
    meridian, query, reply,
};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

async fn www(dns: SocketAddr) -> (Vec<std::net::IpAddr>, u32) {
    addresses(&ask(dns, &query(WWW, RecordType::A, Some(SYDNEY))).await)
}

/// Waits until `www` is answered so in Sydney.
async fn until_answer(dns: SocketAddr, address: &str) {
    eventually(address, async || (www(dns).await.0 == [ip(address)]).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn check_says_what_it_finds_by_exit_code_and_with_a_caret() {
    let shop = Shop::probed_at(&[]);
    shop.append("[[endpoints]]\nname = \"a\"\ncloud = \"aws\"\nregion = \"us-east-1\"\naddresses = [\"192.0.2.1\"]\n");
    let (code, out, error) = meridian(shop.folder(), &["check"]).await;
    assert_eq!((code, error.as_str()), (Some(0), ""), "{out}");
    assert!(out.starts_with("config.toml is good: zones 1, services 1, plans 1, endpoints 1, locations "), "{out}");
    let (code, out, error) = meridian(root(), &["check", "--config", "config.toml"]).await;
    assert_eq!((code, error.as_str()), (Some(0), ""), "the shipped configuration: {out}");

    for name in ["service-below-cname.toml", "cname.zone"] {
        fs::copy(root().join("tests/broken").join(name), shop.path(name)).unwrap();
    }
    let (code, out, error) = meridian(shop.folder(), &["check", "--config", "service-below-cname.toml"]).await;
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(error.contains("--> service-below-cname.toml:42:8\n") && error.contains("^^^^^"), "{error}");
    assert!(error.contains("= help: ") && error.ends_with("service-below-cname.toml: 1 error\n"), "{error}");

    shop.edit("down_after = 2", "down_aftr = 2\ntimeuot = \"1s\"");
    let (code, _, error) = meridian(shop.folder(), &["check"]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("down_aftr = 2\n") && error.contains("timeuot"), "both are told: {error}");
    assert!(error.ends_with("config.toml: 2 errors\n"), "{error}");
    let (code, _, error) = meridian(shop.folder(), &["check", "--config", "none.toml"]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("none.toml") && error.contains("--config FILE"), "{error}");

    for wrong in [&["check", "config.toml"][..], &["chekc"], &[], &["explain", "--client", "x", "y"]] {
        let (code, _, error) = meridian(shop.folder(), wrong).await;
        assert_eq!(code, Some(2), "{wrong:?}");
        assert!(error.contains("--help"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_help_shows_an_example() {
    let (code, help, _) = meridian(root(), &["--help"]).await;
    assert_eq!(code, Some(0));
    for command in ["serve", "check", "explain", "status", "lab"] {
        assert!(help.contains(&format!("\n  {command} ")), "{help}");
        let (code, help, _) = meridian(root(), &[command, "--help"]).await;
        let example = help.split_once("Example").map(|(_, example)| example.contains(&format!("meridian {command}")));
        assert_eq!((code, example), (Some(0), Some(true)), "{help}");
    }
    assert_eq!(meridian(root(), &["--version"]).await.1, concat!("meridian ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_tells_from_the_shipped_files() {
    // Without what a server that ran there has kept.
    let folder = tempfile::tempdir().unwrap();
    for name in ["config.toml", "zones", "geoip"] {
        std::os::unix::fs::symlink(root().join(name), folder.path().join(name)).unwrap();
    }
    let root = folder.path();
    let (code, text, error) = meridian(root, &["explain", "--client", "103.86.96.1", "www.shop.example"]).await;
    assert_eq!((code, error.as_str()), (Some(0), ""));
    for part in ["AU", "geoip/city.mmdb", "gcp-sydney", "none applies", "NOERROR, TTL 20 s, scope /", "198.51.100.140"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    let dutch = ["explain", "--client", "185.107.56.1", "www.shop.example", "aaaa", "--json"];
    let (code, text, error) = meridian(root, &dutch).await;
    assert_eq!((code, error.as_str()), (Some(0), ""));
    let told: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&told["location"]["country"], &told["live"]), (&"NL".into(), &false.into()), "{text}");
    let endpoints = told["choice"]["endpoints"].as_array().unwrap();
    assert_eq!(endpoints.len(), 15, "every endpoint is told");
    assert_eq!((&endpoints[0]["name"], &endpoints[0]["rank"]), (&"azure-westeurope".into(), &1.into()));
    let outside = endpoints.iter().find(|endpoint| endpoint["name"] == "aws-london").unwrap();
    assert!(outside["rank"].is_null() && outside["why"].as_str().unwrap().contains("fence"), "{outside}");
    let record = told["answer"]["records"][0].as_str().unwrap();
    assert!(record.contains("AAAA 2001:db8:c::40"), "{record}");
}

#[tokio::test(flavor = "multi_thread")]
async fn explain_asks_the_running_server() {
    let (shop, lab) = Shop::with_lab().await;
    lab.obey("kill aws-sydney").await.unwrap();
    let mut serve = Program::start(shop.folder(), &["serve"]);
    let [_, admin] = serve.addresses().await;
    serve.line("ready").await;
    let live = format!("--live=http://{admin}");
    let arguments = ["explain", "--client", "103.86.96.1", "www.shop.example", &live];
    let (code, text, _) = meridian(root(), &arguments).await;
    assert_eq!(code, Some(0));
    assert!(text.contains("running server, generation") && text.contains("down"), "{text}");
    let (_, text, _) = meridian(root(), &[&arguments[..], &["--json"]].concat()).await;
    let told: Value = serde_json::from_str(&text).unwrap();
    let endpoint = |name: &str| {
        let endpoint = told["choice"]["endpoints"].as_array().unwrap().iter().find(|endpoint| endpoint["name"] == name);
        endpoint.map(|endpoint| (endpoint["verdict"].as_str().unwrap(), endpoint["share"].as_f64().unwrap())).unwrap()
    };
    assert_eq!((endpoint("aws-sydney"), endpoint("gcp-singapore")), (("down", 0.0), ("up", 1.0)), "{text}");
    assert_eq!(
        (&told["live"], &told["answer"]["records"][0]),
        (&true.into(), &"www.shop.example. 20 IN A 192.0.2.2".into())
    );

    serve.signal("TERM").await;
    serve.ended().await;
    let (code, _, error) = meridian(root(), &arguments).await;
    assert_eq!(code, Some(1));
    assert!(error.contains(&format!("http://{admin} does not answer")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn serve_drains_at_sigterm_and_sigint() {
    let (shop, _lab) = Shop::with_lab().await;
    for signal in ["TERM", "INT"] {
        let mut serve = Program::start(shop.folder(), &["serve", "--config", "config.toml"]);
        let [dns, _] = serve.addresses().await;
        let query = query(STATIC, RecordType::A, None);
        let mut stream = TcpStream::connect(dns).await.unwrap();
        let answered = async |stream: &mut TcpStream| {
            let length = timeout(DEADLINE, stream.read_u16()).await.expect("an answer").unwrap();
            let mut octets = vec![0; length.into()];
            stream.read_exact(&mut octets).await.unwrap();
            assert_eq!(addresses(&reply(&query, &octets)).0, [ip("203.0.113.80")]);
        };
        // It holds the connection; then come a hundred queries at once, and the signal on their heels.
        stream.write_all(&framed(&query)).await.unwrap();
        answered(&mut stream).await;
        stream.write_all(&framed(&query).repeat(100)).await.unwrap();
        serve.signal(signal).await;
        for _ in 0..100 {
            answered(&mut stream).await;
        }
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0);
        let (code, said) = serve.ended().await;
        assert_eq!(code, Some(0), "{said}");
        assert!(said.contains("stopping") && said.contains("stopped"), "{said}");
        assert!(TcpStream::connect(dns).await.is_err(), "nobody listens any more");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sighup_reads_the_files_again() {
    let (shop, _lab) = Shop::with_lab().await;
    // By itself it would wait for a minute.
    shop.edit("settle = \"50ms\"", "settle = \"1m\"");
    let mut serve = Program::start(shop.folder(), &["serve"]);
    let [dns, admin] = serve.addresses().await;
    serve.line("ready").await;
    serve.signal("HUP").await;
    serve.line("configuration reloaded").await;
    shop.edit("ttl = \"20s\"", "ttl = \"30s\"");
    serve.signal("HUP").await;
    serve.line("configuration reloaded").await;
    assert_eq!(www(dns).await, (vec![ip("192.0.2.1")], 30));
    shop.edit("ttl = \"30s\"", "ttl = \"30\"");
    serve.signal("HUP").await;
    let line = serve.line("configuration refused").await;
    assert!(line.contains("config.toml:30:7: error: "), "{line}");
    serve.line("nothing has changed").await;
    assert_eq!(www(dns).await.1, 30);
    assert_eq!(get(admin, "/readyz").await.0, 200);
    serve.signal("TERM").await;
    assert_eq!(serve.ended().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_in_use_is_told_with_what_to_do() {
    let (shop, _lab) = Shop::with_lab().await;
    let good = shop.read("config.toml");
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    for (table, listen, taken) in [
        ("[server]", "listen = [\"127.0.0.1:0\"]", udp.local_addr().unwrap()),
        ("[server]", "listen = [\"127.0.0.1:0\"]", tcp.local_addr().unwrap()),
        ("[admin]", "listen = \"127.0.0.1:0\"", tcp.local_addr().unwrap()),
    ] {
        shop.write("config.toml", good.replace(listen, &listen.replace("127.0.0.1:0", &taken.to_string())));
        let (code, _, error) = meridian(shop.folder(), &["serve"]).await;
        assert_eq!(code, Some(1), "{error}");
        assert!(error.contains(&taken.to_string()) && error.contains(table) && error.contains("listen"), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn after_kill_9_and_a_broken_edit_the_same_answers_come_loudly() {
    let (shop, _lab) = Shop::with_lab().await;
    let mut serve = Program::start(shop.folder(), &["serve"]);
    let [dns, _] = serve.addresses().await;
    serve.line("ready").await;
    shop.edit("ttl = \"20s\"", "ttl = \"30s\"");
    serve.line("configuration reloaded").await;
    let before = www(dns).await;
    let kept = shop.path("state/last-good/00000002.set");
    eventually("kept", async || kept.exists().then_some(())).await;
    serve.signal("KILL").await;
    assert_eq!(serve.ended().await.0, None);

    shop.edit("[admin]", "[admin");
    let (code, _, error) = meridian(shop.folder(), &["serve", "--strict"]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("config.toml:5:7"), "{error}");
    assert_eq!(error.lines().last(), Some("meridian: not started: 1 problem in config.toml"));
    let mut serve = Program::start(shop.folder(), &["serve"]);
    let line = serve.line("configuration refused").await;
    assert!(line.contains("ERROR") && line.contains("config.toml:5:7"), "{line}");
    serve.line("serving the last good set").await;
    let [dns, admin] = serve.addresses().await;
    serve.line("ready").await;
    assert_eq!(www(dns).await, before);
    let status: Value = serde_json::from_str(&get(admin, "/status").await.1).unwrap();
    assert_eq!((&status["reload"]["result"], &status["reload"]["stale"]), (&"failed".into(), &true.into()));
    serve.signal("TERM").await;
    assert_eq!(serve.ended().await.0, Some(0));
}

/// Free loopback addresses. A test program has an address of 127/8 to itself, so that nobody else
/// takes a port between here and the lab.
fn free_addresses() -> Vec<SocketAddr> {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    let own = std::net::Ipv4Addr::new(127, 84, high, low);
    let held: Vec<_> = (0..3).map(|_| std::net::TcpListener::bind((own, 0)).unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clouds_death_is_one_warning_that_says_whom_it_touches() {
    let (shop, lab) = Shop::with_lab().await;
    let target = shop.read("config.toml").split("probe_target = ").nth(1).unwrap().lines().next().unwrap().to_owned();
    let probe = format!("probe = \"shop\"\nprobe_target = {target}");
    for (name, address) in [("aws-b", "192.0.2.4"), ("aws-c", "192.0.2.5"), ("aws-d", "192.0.2.6")] {
        shop.append(&endpoint((name, "aws", "eu-central-1", address), &probe));
    }
    let mut serve = Program::start(shop.folder(), &["serve"]);
    serve.line("ready").await;
    lab.obey("kill aws").await.unwrap();
    let line = serve.line("a cloud fails as a whole").await;
    assert!(line.contains(" WARN ") && line.contains("of 4 endpoints of aws are down, the first since 20"), "{line}");
    assert!(line.contains("services=\"1 of 1: www.shop.example\""), "{line}");
    // What comes behind it, the one that made it as many at least, is no warning.
    let line = serve.line(" verdict ").await;
    assert!(line.contains(" INFO ") && line.contains("to=\"down\""), "{line}");
    lab.obey("heal aws").await.unwrap();
    let line = serve.line("a cloud fails as a whole no more").await;
    assert!(line.contains(" INFO ") && line.contains("; it failed since 20"), "{line}");
    assert!(line.contains(", with 4 down at the worst") || line.contains(", with 3 down at the worst"), "{line}");
    serve.signal("TERM").await;
    assert_eq!(serve.ended().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn check_warns_of_a_user_that_this_machine_has_not() {
    let shop = Shop::probed_at(&free_addresses());
    shop.append("[process]\nuser = \"nobody-of-that-name\"\n");
    let (code, text, error) = meridian(shop.folder(), &["check"]).await;
    assert_eq!(code, Some(0), "{error}");
    assert!(error.contains("warning[unknown-account]: [process] user: there is no user called nobody-of"), "{error}");
    assert!(text.contains("config.toml is good") && text.contains("warnings 1"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lab_breaks_and_heals_on_command() {
    let shop = Shop::probed_at(&free_addresses());
    let mut lab = Program::start(shop.folder(), &["lab", "--listen", "127.0.0.1:0"]);
    let [dns, admin] = lab.addresses().await;
    let dig = format!("dig @127.0.0.1 -p {} www.shop.example +short +subnet=103.86.96.0/24", dns.port());
    lab.ready_with(&[&dig, "kill ", "heal all", &format!("curl http://{admin}/status")]).await;
    let told = lab.said("curl http://", "/lab");
    let commands: SocketAddr = told.parse().unwrap();
    until_answer(dns, "192.0.2.1").await;

    lab.type_line("kill aws-sydney").await;
    lab.line("aws-sydney  now refuses connections").await;
    until_answer(dns, "192.0.2.2").await;
    lab.type_line("heal al").await;
    lab.line("did you mean all?").await;
    lab.type_line("heal all").await;
    until_answer(dns, "192.0.2.1").await;

    let (code, told) = http(commands, "127.0.0.1", "POST", "/lab", "kill aws gcp").await;
    assert_eq!((code, told.lines().count()), (200, 2), "{told}");
    until_answer(dns, "192.0.2.3").await;
    assert_eq!(http(commands, "127.0.0.1", "POST", "/lab", "kill nobody").await.0, 400);
    assert_eq!(get(commands, "/lab").await.1.matches("refuses connections").count(), 2);
    lab.type_line("quit").await;
    let (code, said) = lab.ended().await;
    assert_eq!(code, Some(0), "{said}");
    assert!(said.contains("stopped"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lab_outlives_its_input_and_ends_by_http() {
    let shop = Shop::probed_at(&free_addresses());
    let mut lab = Program::start(shop.folder(), &["lab", "--listen", "127.0.0.1:0"]);
    drop(lab.stdin.take());
    let [dns, _] = lab.addresses().await;
    lab.ready_with(&["/lab"]).await;
    let commands: SocketAddr = lab.said("curl http://", "/lab").parse().unwrap();
    assert_eq!(http(commands, "127.0.0.1", "POST", "/lab", "kill aws").await.0, 200);
    until_answer(dns, "192.0.2.2").await;
    assert_eq!(http(commands, "127.0.0.1", "POST", "/lab", "quit").await.0, 200);
    assert_eq!(lab.ended().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lab_without_anyone_to_stand_in_for_says_so() {
    let shop = Shop::probed_at(&[]);
    shop.append("[[endpoints]]\nname = \"a\"\ncloud = \"aws\"\nregion = \"us-east-1\"\naddresses = [\"192.0.2.1\"]\n");
    let (code, _, error) = meridian(shop.folder(), &["lab", "--listen", "127.0.0.1:0"]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("no endpoint of config.toml has a `probe_target`"), "{error}");
}
