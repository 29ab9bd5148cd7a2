//! The real binary gives up what it does not need, and serves on: which user it is, what its threads
//! may do, which files it reaches.
#![allow(clippy::unwrap_used, missing_docs)]

#[allow(dead_code, reason = "no test binary uses all of it")]
#[path = "support/mmdb.rs"]
mod mmdb;
#[path = "support/server.rs"]
mod server;

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use hickory_proto::rr::RecordType;
use serde_json::Value;

use server::{Program, STATIC, Shop, ZONE, addresses, ask, eventually, get, ip, meridian, query};

/// A user that every system has and nothing belongs to.
const NOBODY: &str = "nobody";

/// A shop that nobody probes.
fn shop() -> Shop {
    let shop = Shop::probed_at(&[]);
    shop.append("[[endpoints]]\nname = \"a\"\ncloud = \"aws\"\nregion = \"us-east-1\"\naddresses = [\"192.0.2.1\"]\n");
    shop
}

/// `shop.example.zone`, and a database, in a folder outside all others.
fn elsewhere() -> tempfile::TempDir {
    let elsewhere = tempfile::tempdir().unwrap();
    fs::write(elsewhere.path().join("shop.example.zone"), ZONE).unwrap();
    fs::write(elsewhere.path().join("city.mmdb"), server::database()).unwrap();
    open(elsewhere.path());
    elsewhere
}

/// Everybody may read a folder that is made for one user.
fn open(folder: &Path) {
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
}

fn is_root() -> bool {
    fs::metadata("/proc/self").unwrap().uid() == 0
}

/// What the kernel says of each thread, but for those that end meanwhile.
fn threads(program: &Program) -> Vec<BTreeMap<String, String>> {
    let tasks = fs::read_dir(format!("/proc/{}/task", program.id())).unwrap();
    let status = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("status")).ok());
    let fields = |text: String| {
        let field = |line: &str| line.split_once(':').map(|(key, value)| (key.to_owned(), value.trim().to_owned()));
        text.lines().filter_map(field).collect()
    };
    let threads: Vec<_> = status.map(fields).collect();
    assert!(threads.len() > 2, "there are threads");
    threads
}

async fn status(admin: SocketAddr) -> Value {
    serde_json::from_str(&get(admin, "/status").await.1).unwrap()
}

/// What the sandbox of a running server has; none, with a line, where the kernel has nothing for it.
async fn sandbox(admin: SocketAddr) -> Option<Value> {
    let sandbox = status(admin).await["sandbox"].clone();
    let whole = sandbox["landlock"].is_number() && sandbox["seccomp"] == true;
    if !whole {
        println!("skipped: this kernel lacks a part: {sandbox}");
    }
    whole.then_some(sandbox)
}

async fn static_address(dns: SocketAddr) -> std::net::IpAddr {
    addresses(&ask(dns, &query(STATIC, RecordType::A, None)).await).0[0]
}

/// An edit that names a place outside is refused with its line, and the one that takes it back is taken.
async fn refuses_what_lies_outside(shop: &Shop, program: &mut Program, elsewhere: &Path) {
    for (key, file) in [("file = \"shop.example.zone\"", "shop.example.zone"), ("\"city.mmdb\"", "city.mmdb")] {
        let good = shop.read("config.toml");
        let line = 1 + good.lines().position(|line| line.contains(key)).unwrap();
        let path = elsewhere.join(file);
        shop.replace("config.toml", good.replace(key, &key.replace(file, path.to_str().unwrap())));
        let told = program.line("restart needed").await;
        assert!(told.contains(&format!("config.toml:{line}:")) && told.contains(path.to_str().unwrap()), "{told}");
        shop.replace("config.toml", good);
        program.line("configuration reloaded").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_thread_is_held_and_edits_go_on() {
    let (shop, elsewhere) = (shop(), elsewhere());
    let mut program = Program::start(shop.folder(), &["serve"]);
    let [dns, admin] = program.addresses().await;
    program.line("ready").await;
    let Some(sandbox) = sandbox(admin).await else { return };
    assert_eq!((&sandbox["user"], &sandbox["lacking"]), (&Value::Null, &Value::Array(Vec::new())), "{sandbox}");
    let threads = threads(&program);
    assert!(threads.len() > 3, "{threads:?}");
    for thread in &threads {
        let held = ["NoNewPrivs", "Seccomp"].map(|field| thread[field].as_str());
        assert_eq!(held, ["1", "2"], "{thread:?}");
        let capabilities = u64::from_str_radix(&thread["CapEff"], 16).unwrap();
        assert_eq!(capabilities & !(1 << 10), 0, "CAP_NET_BIND_SERVICE at most: {thread:?}");
    }
    shop.replace("shop.example.zone", ZONE.replace("203.0.113.80", "203.0.113.81"));
    eventually("edited", async || (static_address(dns).await == ip("203.0.113.81")).then_some(())).await;
    let kept = shop.path("state/last-good/00000002.set");
    eventually("kept", async || kept.exists().then_some(())).await;
    refuses_what_lies_outside(&shop, &mut program, elsewhere.path()).await;
    let (code, text) = get(admin, "/api/v1/explain?client=103.86.96.1&name=www.shop.example&type=A").await;
    assert!(code == 200 && text.contains("AU"), "the databases are read anew for it: {text}");
    program.signal("TERM").await;
    assert_eq!(program.ended().await.0, Some(0));
}

#[tokio::test(flavor = "multi_thread")]
async fn root_becomes_the_user_and_keeps_one_capability() {
    if !is_root() {
        println!("skipped: only root can become another");
        return;
    }
    let (shop, elsewhere) = (shop(), elsewhere());
    open(shop.folder());
    shop.append(&format!("[process]\nuser = \"{NOBODY}\"\n"));
    let mut program = Program::start(shop.folder(), &["serve"]);
    let [_, admin] = program.addresses().await;
    program.line("ready").await;
    let whole = sandbox(admin).await;
    let nobody = fs::metadata(shop.path("state")).unwrap();
    assert_ne!(nobody.uid(), 0, "the state folder was made for it");
    let (uid, gid) = (nobody.uid().to_string(), nobody.gid().to_string());
    for thread in threads(&program) {
        for (field, id) in [("Uid", &uid), ("Gid", &gid)] {
            assert!(thread[field].split_whitespace().all(|one| one == *id), "{thread:?}");
        }
        assert_eq!(thread["Groups"], gid, "{thread:?}");
        for set in ["CapEff", "CapPrm", "CapBnd"] {
            let capabilities = u64::from_str_radix(&thread[set], 16).unwrap();
            assert_eq!(capabilities, 1 << 10, "CAP_NET_BIND_SERVICE: {thread:?}");
        }
        assert_eq!((thread["CapInh"].as_str(), thread["CapAmb"].trim_matches('0')), ("0000000000000000", ""));
    }
    eventually("kept", async || shop.path("state/last-good/00000001.set").exists().then_some(())).await;
    if whole.is_some() {
        refuses_what_lies_outside(&shop, &mut program, elsewhere.path()).await;
    }
    program.signal("TERM").await;
    assert_eq!(program.ended().await.0, Some(0));
}

/// A shop whose endpoint is probed by a script. It says who has started it, as whom it runs, what it may do and whether it
/// can come by more.
fn scripted() -> Shop {
    let shop = shop();
    let text = "echo $PPID $(id -u) $(grep -e CapEff -e NoNewPrivs /proc/self/status | cut -f2); exit 1";
    let script = format!("type = \"script\"\ncommand = [\"/bin/sh\", \"-c\", \"{text}\"]");
    shop.edit("type = \"http\"\npath = \"/healthz\"", &script);
    shop.edit("interval = \"100ms\"\ntimeout = \"500ms\"", "interval = \"1s\"\ntimeout = \"10s\"");
    shop.edit("name = \"a\"", "name = \"a\"\nprobe = \"shop\"");
    shop
}

/// What the script has said: process, user, capabilities, and whether new ones are out of reach.
async fn script_says(admin: SocketAddr) -> (u32, u32, u64, u32) {
    let reason = eventually("degraded", async || {
        let endpoint = status(admin).await["endpoints"][0].clone();
        (endpoint["verdict"] == "degraded").then(|| endpoint["reason"].as_str().unwrap().to_owned())
    });
    let reason = reason.await;
    let words: Vec<&str> = reason.rsplit(": ").next().unwrap().split(' ').collect();
    let [process, user, capabilities, held] = words[..] else { panic!("{reason}") };
    let capabilities = u64::from_str_radix(capabilities, 16).unwrap();
    (process.parse().unwrap(), user.parse().unwrap(), capabilities, held.parse().unwrap())
}

/// Is it there, and more than a number that nobody has asked for yet?
fn is_alive(process: u32) -> bool {
    fs::read_to_string(format!("/proc/{process}/stat")).is_ok_and(|stat| !stat.contains(") Z "))
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_are_started_from_within_the_sandbox_and_end_with_the_server() {
    let shop = scripted();
    let mut program = Program::start(shop.folder(), &["serve"]);
    let [_, admin] = program.addresses().await;
    let (process, user, capabilities, held) = script_says(admin).await;
    assert_eq!((user, held), (fs::metadata("/proc/self").unwrap().uid(), 1));
    assert_eq!(capabilities & !(1 << 10), 0, "CAP_NET_BIND_SERVICE at most");
    assert!(process != program.id() && is_alive(process), "another process has started it");
    program.signal("KILL").await;
    eventually("ended", async || (!is_alive(process)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn scripts_run_as_the_user() {
    if !is_root() {
        println!("skipped: only root can become another");
        return;
    }
    let shop = scripted();
    open(shop.folder());
    shop.append(&format!("[process]\nuser = \"{NOBODY}\"\n"));
    let mut program = Program::start(shop.folder(), &["serve"]);
    let [_, admin] = program.addresses().await;
    let (process, user, capabilities, held) = script_says(admin).await;
    let nobody = fs::metadata(shop.path("state")).unwrap().uid();
    assert_eq!((user, capabilities, held), (nobody, 0, 1));
    assert_eq!(fs::metadata(format!("/proc/{process}")).unwrap().uid(), nobody, "nor is who starts it root");
    program.signal("TERM").await;
    assert_eq!(program.ended().await.0, Some(0));
    eventually("ended", async || (!is_alive(process)).then_some(())).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_user_cannot_read_is_told_at_the_start() {
    if !is_root() {
        println!("skipped: only root can become another");
        return;
    }
    let shop = shop();
    open(shop.folder());
    shop.append(&format!("[process]\nuser = \"{NOBODY}\"\nsandbox = \"off\"\n"));
    fs::set_permissions(shop.path("shop.example.zone"), fs::Permissions::from_mode(0o600)).unwrap();
    let mut program = Program::start(shop.folder(), &["serve"]);
    let told = program.line("cannot be read any more").await;
    assert!(told.contains("shop.example.zone") && told.contains("files=1"), "{told}");
    let [_, admin] = program.addresses().await;
    let sandbox = status(admin).await["sandbox"].clone();
    assert_eq!((&sandbox["landlock"], &sandbox["seccomp"]), (&Value::Null, &false.into()), "{sandbox}");
    assert!(threads(&program).iter().all(|thread| thread["CapEff"].trim_matches('0').is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_that_is_not_there_is_told() {
    let shop = shop();
    shop.append("[process]\nuser = \"no-such-user\"\n");
    let (code, _, error) = meridian(shop.folder(), &["serve"]).await;
    assert_eq!(code, Some(1));
    assert!(error.contains("no user called no-such-user"), "{error}");
}
