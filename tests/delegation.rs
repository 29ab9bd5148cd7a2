//! `check --live`: zones against their delegations and name servers, all of them on loopback, each at an address of
//! its own: a resolver, the parent's server, and the zones'.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/dns.rs"]
mod dns;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use dns::{World, files};
use meridian::answer::{Asker, Transport};
use meridian::config::Resolver;
use meridian::delegation::{Ours, Settings, check};
use meridian::model::{Problem, Severity};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

/// Apex and records, SOA included.
type Zone<'z> = (&'z str, &'z str);

fn world(zones: &[Zone<'_>]) -> World {
    let mut config = "[geoip]\ndatabases = []\n".to_owned();
    let mut all = Vec::new();
    for (apex, records) in zones {
        config += &format!("[[zones]]\nname = \"{apex}\"\nfile = \"{apex}\"\n");
        let soa = if records.contains("SOA") { "" } else { "@ SOA ns.parent.test. h.parent.test. 7 2 3 4 5\n" };
        all.push(((*apex).to_owned(), format!("$TTL 60\n{soa}{records}\n")));
    }
    all.push(("config.toml".to_owned(), config));
    World::new(files(all.iter().map(|(path, text)| (&**path, text.as_bytes()))))
}

/// Loopback addresses that this process has to itself.
fn address(n: u8) -> Ipv4Addr {
    let [_, _, high, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 100 + n, high, low)
}

/// Serves these zones by UDP and TCP at that address until the test ends.
async fn serve(world: World, at: SocketAddr) -> SocketAddr {
    let world = Arc::new(world);
    let tcp = TcpListener::bind(at).await.unwrap();
    let at = tcp.local_addr().unwrap();
    let udp = UdpSocket::bind(at).await.unwrap();
    let answer = |world: &World, transport, from: SocketAddr, query: &[u8]| {
        world.octets(Asker { address: from.ip(), transport, random: 0, now: 0 }, query).unwrap_or_default()
    };
    let worlds = world.clone();
    tokio::spawn(async move {
        let mut query = [0; 2048];
        loop {
            let (length, from) = udp.recv_from(&mut query).await.unwrap();
            // First what is no reply to it: it is passed over.
            udp.send_to(b"\0\0noise", from).await.unwrap();
            udp.send_to(&answer(&worlds, Transport::Datagram, from, &query[..length]), from).await.unwrap();
        }
    });
    tokio::spawn(async move {
        loop {
            let (mut stream, from) = tcp.accept().await.unwrap();
            let mut query = vec![0; stream.read_u16().await.unwrap().into()];
            stream.read_exact(&mut query).await.unwrap();
            let reply = answer(&world, Transport::Stream, from, &query);
            stream.write_u16(reply.len() as u16).await.unwrap();
            stream.write_all(&reply).await.unwrap();
        }
    });
    at
}

/// A resolver that knows the zone `example` and where its servers are, and names that the tests need.
async fn resolver(parent: Ipv4Addr, more: &str) -> Resolver {
    let names = format!("@ NS ns\nns A {parent}\n{more}");
    let known = world(&[("example", "@ NS ns.parent.test."), ("parent.test", &names)]);
    let at = serve(known, SocketAddr::new(address(0).into(), 0)).await;
    Resolver { servers: vec![at], keep_for: Duration::from_secs(1), allow_private: true }
}

fn ours(world: &World) -> Vec<Ours> {
    let parts = &world.snapshot.parts;
    parts.zones.iter().zip(&parts.config.zones).map(|(zone, typed)| Ours::of(zone, &typed.file)).collect()
}

/// `ZONE CODE`, warnings with `?`.
fn said(problems: &[Problem]) -> Vec<String> {
    let say = |problem: &Problem| {
        assert!(problem.help.is_some(), "{problem}");
        let mark = if problem.severity == Severity::Warning { "?" } else { "" };
        format!("{} {}{mark}", problem.file.display(), problem.code)
    };
    problems.iter().map(say).collect()
}

/// The zone above those of [`every_kind_of_problem`], with its delegations.
fn parent_of(at: Ipv4Addr, nobody: Ipv4Addr) -> String {
    let delegated = |name: &str| format!("{name} NS ns.{name}\nns.{name} A {at}\n");
    let plain = ["good", "a.b.deep", "there", "here", "ds", "lame", "serial", "long"].map(delegated).concat();
    let long = (0..40).map(|n| format!("long NS server-number-{n}.long\nserver-number-{n}.long A {at}\n"));
    let parent = format!(
        "@ NS ns.parent.test.
        {plain}{long}there NS ns.parent.test.
        glue NS ns.glue\nns.glue A {at}\nns.glue A 127.99.99.99
        bare NS ns.bare\nds DS 1 13 2 {digest}
        silent NS ns.silent\nns.silent A {nobody}
        lost NS ns.parent.test.\nlost NS nowhere.parent.test.",
        long = long.collect::<String>(),
        digest = "00".repeat(32),
    );
    dns::lines(&parent)
}

/// Whatever can be wrong, each in a zone of its own, and what is right between them.
#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_problem() {
    let (at, nobody) = (address(2), address(3));
    let ns = format!("@ NS ns\nns A {at}\n");
    let zone = |apex| (apex, &*ns);
    let two = format!("{ns}@ NS ns.parent.test.\n");
    let glue = format!("{ns}ns A {nobody}\n");
    let silent = format!("@ NS ns\nns A {nobody}\n");
    let lost = "@ NS ns.parent.test.\n@ NS nowhere.parent.test.\n";
    let zones = [
        zone("good.example"),
        zone("a.b.deep.example"),
        zone("undelegated.example"),
        zone("there.example"),
        ("here.example", &*two),
        ("glue.example", &*glue),
        zone("bare.example"),
        zone("ds.example"),
        zone("lame.example"),
        ("silent.example", &*silent),
        zone("serial.example"),
        ("lost.example", lost),
        ("long.example", &*ns),
    ];
    let parent = parent_of(at, nobody);
    let (parent_at, children_at) = (address(1), SocketAddr::new(at.into(), 0));
    let old = format!("@ SOA ns.parent.test. h.parent.test. 6 2 3 4 5\n{ns}");
    let served = zones.iter().filter(|(apex, _)| !["lame.example", "serial.example"].contains(apex)).copied();
    let port = serve(world(&served.chain([("serial.example", &*old)]).collect::<Vec<_>>()), children_at).await.port();
    serve(
        world(&[("example", &parent), ("lost.example", lost), ("here.example", &two)]),
        SocketAddr::new(parent_at.into(), port),
    )
    .await;
    let resolver = resolver(parent_at, "nowhere TXT \"no address\"").await;
    let settings = Settings { resolver, parents: Vec::new(), port };
    let problems = check(ours(&world(&zones)), settings).await.unwrap();
    let mut expected = vec![
        "undelegated.example not-delegated",
        "there.example ns-only-at-parent",
        "there.example lame-delegation",
        "glue.example glue-differs",
        "glue.example glue-incomplete?",
        "glue.example name-server-silent",
        "bare.example glue-missing",
        "ds.example ds-at-parent",
        "lame.example lame-delegation",
        "silent.example name-server-silent",
        "serial.example serial-differs?",
        "lost.example name-server-unresolved",
    ];
    expected.extend(["long.example ns-only-at-parent"; 40]);
    let text = problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n");
    assert_eq!(said(&problems), expected, "{text}");
    assert!(text.contains("the parent has 127.99.99.99 as glue of 'ns.glue.example', the zone does not"), "{text}");
    assert!(text.contains("remove the DS at the parent first"), "{text}");
    assert!(
        text.contains(&format!("'ns.serial.example' ({at}) has serial 6 of 'serial.example', this file 7")),
        "{text}"
    );
}

/// With `--parent` nobody need know the parent's servers; of several the first that answers for it counts.
#[tokio::test(flavor = "multi_thread")]
async fn the_parent_may_be_told() {
    let at = address(12);
    let child = format!("@ NS ns\n@ NS ns2\nns A {at}\nns2 A {at}\n");
    let child = world(&[("shop.example", &child)]);
    let zones = ours(&child);
    let served = serve(child, SocketAddr::new(at.into(), 0)).await;
    let parent = world(&[("example", &format!("@ NS ns.parent.test.\nshop NS ns.shop\nns.shop A {at}\n"))]);
    let parent = serve(parent, SocketAddr::new(address(11).into(), 0)).await;
    let silent = SocketAddr::new(IpAddr::V4(address(13)), 1);
    let told = async |parents: &[SocketAddr]| {
        let resolver = Resolver { servers: vec![silent], keep_for: Duration::from_secs(1), allow_private: true };
        let settings = Settings { resolver, parents: parents.to_vec(), port: served.port() };
        said(&check(zones.clone(), settings).await.unwrap())
    };
    assert_eq!(told(&[parent]).await, ["shop.example ns-not-at-parent?"]);
    assert_eq!(told(&[silent, parent]).await, ["shop.example ns-not-at-parent?"]);
    assert_eq!(told(&[silent]).await, ["shop.example parent-silent"]);
    // It serves the zone alone, so what it says of it is the zone's own word.
    assert_eq!(told(&[served]).await, [""; 0]);
    assert_eq!(told(&[served, parent]).await, ["shop.example ns-not-at-parent?"]);
}

/// The command: exit codes and what it prints. Nobody listens on port 53 of the address.
#[tokio::test(flavor = "multi_thread")]
async fn the_command() {
    let at = address(22);
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| std::fs::write(folder.path().join(path), text).unwrap();
    let parent = world(&[("example", &format!("@ NS ns.parent.test.\nshop NS ns.shop\nns.shop A {at}\n"))]);
    let parent = serve(parent, SocketAddr::new(address(21).into(), 0)).await;
    let resolver = resolver(address(21), "").await.servers[0];
    let run = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_meridian"));
        command.args(arguments).current_dir(folder.path()).stdin(Stdio::null()).kill_on_drop(true);
        let output = command.output().await.unwrap();
        let text = |octets: Vec<u8>| String::from_utf8(octets).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let config = |zone: &str| {
        format!(
            "geoip.databases = []\nresolver.servers = [\"{resolver}\"]\n[[zones]]\nname = \"{zone}\"\nfile = \"zone\"\n"
        )
    };
    write("config.toml", &config("shop.example"));
    write("zone", &format!("@ 60 SOA ns h 1 2 3 4 5\n@ 60 NS ns\nns 60 A {at}\n"));
    let parent = parent.to_string();
    let (code, out, error) = run(&["check", "--live", "--parent", &parent]).await;
    assert_eq!(code, Some(1), "{error}");
    assert!(out.starts_with("config.toml is good in itself: zones 1,"), "{out}");
    assert!(error.contains("error[name-server-silent]: name server 'ns.shop.example'"), "{error}");
    assert!(error.ends_with("config.toml: 1 error\n"), "{error}");
    assert_eq!(run(&["check"]).await.0, Some(0), "the files alone");
    // The root has no parent.
    write("config.toml", &config("."));
    let (code, out, error) = run(&["check", "--live"]).await;
    assert_eq!((code, &*error), (Some(0), ""), "{out}");
    assert!(out.ends_with("its delegations are good: zones 1, warnings 0\n"), "{out}");
    let (code, _, error) = run(&["check", "--parent", &parent]).await;
    assert_eq!(code, Some(2));
    assert!(error.contains("--live"), "{error}");
}
