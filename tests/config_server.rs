//! The tables of the server itself: one rule a row, as in `config_rules`.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/rules.rs"]
mod rules;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use meridian::config::{Sandboxing, admin_address};
use rules::{check, edited, read_text};

#[test]
fn the_process() {
    let process =
        |lines| read_text(&edited("[geoip]", &format!("[process]\n{lines}\n[geoip]"))).unwrap().config.process;
    let kept = process("");
    assert_eq!((&kept.user, &kept.group, kept.sandbox), (&None, &None, Sandboxing::On));
    let told = process("user = \"meridian\"\ngroup = 53\nsandbox = \"require\"");
    assert_eq!((told.user.as_deref(), told.group.as_deref()), (Some("meridian"), Some("53")));
    assert_eq!((told.sandbox, process("sandbox = \"off\"").sandbox), (Sandboxing::Require, Sandboxing::Off));
    check(&[
        ("[geoip]", "[process]\nuser = \"\"\n[geoip]", "bad-value", "\"\""),
        ("[geoip]", "[process]\nuser = 4294967295\n[geoip]", "bad-value", "4294967295"),
        ("[geoip]", "[process]\ngroup = \"dns\"\n[geoip]", "missing-key", "\"dns\""),
        ("[geoip]", "[process]\nsandbox = true\n[geoip]", "wrong-type", "true"),
    ]);
}

#[test]
fn the_webhook() {
    let events = |lines: &str| format!("[events]\n{lines}\n[geoip]");
    let good = "webhook = \"https://h.example/\"\nwebhook_secret = \"key\"";
    let plain = good.replace("https", "http");
    for (lines, code, words) in [
        ("webhook = \"https://h.example/\"", "missing-key", "[events]"),
        ("webhook_secret = \"key\"", "missing-key", "[events]"),
        (&*good.replace("https", "ftp"), "bad-value", "\"ftp://h.example/\""),
        (&format!("{good}\nwebhook_timeout = \"2m\""), "bad-value", "\"2m\""),
        (&format!("{good}\nwebhook_ca = \"ca.pem\""), "missing-file", "\"ca.pem\""),
        (&format!("{plain}\nwebhook_ca = \"ca.pem\""), "unknown-key", "webhook_ca"),
    ] {
        check(&[("[geoip]", &events(lines), code, words)]);
    }
    let read = |lines: &str| read_text(&edited("[geoip]", &events(lines))).unwrap().config.webhook.unwrap();
    let webhook = read(good);
    assert_eq!((&*webhook.url, webhook.secret.to_str()), ("https://h.example/", Some("etc/key")));
    assert_eq!((webhook.timeout, webhook.allow_private), (Duration::from_secs(5), false));
    assert!(webhook.tls.is_some() && read(&plain).tls.is_none());
}

#[test]
fn encrypted_transports() {
    let tls = |lines: &str| format!("[tls]\n{lines}\n[geoip]");
    let pair = "certificate = \"chain.pem\"\nkey = \"key.pem\"";
    for (lines, code, words) in [
        ("listen = [\"[::1]:853\"]\nkey = \"key.pem\"", "missing-key", "[tls]"),
        ("certificate = \"chain.pem\"", "missing-key", "[tls]"),
        (&*format!("{pair}\nlisten = [\"[::1]\"]"), "bad-value", "\"[::1]\""),
        (&format!("{pair}\nquic = [\"127.0.0.1:5300\"]"), "duplicate-address", "\"127.0.0.1:5300\""),
        (&format!("{pair}\nlisten = [\"127.0.0.1:5300\"]"), "duplicate-address", "\"127.0.0.1:5300\""),
        (&format!("{pair}\nlisten = [\"127.0.0.1:8053\"]"), "duplicate-address", "\"127.0.0.1:8053\""),
        (&format!("{pair}\nhttps = [\"[::1]:1\", \"[::1]:1\"]"), "duplicate-address", "\"[::1]:1\""),
        ("https_path = \"dns\"", "bad-value", "\"dns\""),
        ("https_path = \"/dns?x\"", "bad-value", "\"/dns?x\""),
        ("port = 853", "unknown-key", "port"),
    ] {
        check(&[("[geoip]", &tls(lines), code, words)]);
    }
    let read = |lines: &str| read_text(&edited("[geoip]", &tls(lines))).unwrap().config.tls;
    let none = read("");
    assert_eq!((none.certificate, none.listen.len(), &*none.https_path), (None, 0, "/dns-query"));
    // TCP and UDP are apart, and the system finds a port for each 0.
    let all = "listen = [\"[::1]:853\", \"[::1]:0\", \"[::1]:0\"]\nquic = [\"[::1]:853\"]\nhttps = [\"[::1]:443\"]\n";
    let all = read(&format!("{pair}\n{all}https3 = [\"[::1]:443\"]"));
    assert_eq!((all.listen.len(), all.quic.len(), all.https3), (3, 1, all.https.clone()));
    let files = all.certificate.clone().unwrap();
    assert_eq!((files.chain, files.key), ("etc/chain.pem".into(), "etc/key.pem".into()));
    let renamed = read(&format!("{pair}\nlisten = [\"[::1]:853\"]"));
    let named = read("certificate = \"other.pem\"\nkey = \"key.pem\"\nlisten = [\"[::1]:853\"]");
    assert!(!renamed.needs_restart(&named), "certificates are taken in at once");
    assert!(renamed.needs_restart(&read(pair)));
}

#[test]
fn beacons() {
    let beacons = |lines: &str| format!("[beacons]\n{lines}\n[geoip]");
    let many = format!("{:?}", (0..65).map(|page| format!("https://p{page}.shop.example")).collect::<Vec<_>>());
    for (lines, code, words) in [
        ("listen = \"127.0.0.1:8055\"", "wrong-type", "\"127.0.0.1:8055\""),
        ("listen = [\"127.0.0.1\"]", "bad-value", "\"127.0.0.1\""),
        ("listen = [\"127.0.0.1:8053\"]\nagents = [\"192.0.2.0/24\"]", "duplicate-address", "\"127.0.0.1:8053\""),
        ("listen = [\"127.0.0.1:5300\"]\nagents = [\"192.0.2.0/24\"]", "duplicate-address", "\"127.0.0.1:5300\""),
        ("listen = [\"[::1]:1\"]", "unused-beacon", "[\"[::1]:1\"]"),
        ("listen = [\"[::1]:1\"]\norigins = [\"https://a.example\"]", "unused-beacon", "[\"[::1]:1\"]"),
        ("origins = [\"*\"]", "bad-value", "\"*\""),
        ("origins = [\"www.shop.example\"]", "bad-value", "\"www.shop.example\""),
        ("origins = [\"https://www.shop.example/\"]", "bad-value", "\"https://www.shop.example/\""),
        ("origins = [\"https://WWW.shop.example\"]", "bad-value", "\"https://WWW.shop.example\""),
        ("origins = [\"https://a.example:443\"]", "bad-value", "\"https://a.example:443\""),
        ("origins = [\"https://a@b.example\"]", "bad-value", "\"https://a@b.example\""),
        ("origins = [\"https://a.example:99999\"]", "bad-value", "\"https://a.example:99999\""),
        ("origins = [\"https://[::g]\"]", "bad-value", "\"https://[::g]\""),
        (&*format!("origins = {many}"), "bad-value", &*many),
        ("trusted_proxies = [\"192.0.2.1\"]", "bad-cidr", "\"192.0.2.1\""),
        ("agents = [\"192.0.2.1/24\"]", "bad-cidr", "\"192.0.2.1/24\""),
        ("origins = [\"https://a.example\"]\nagents = [\"127.0.0.0/8\"]", "proxy-as-agent", "[\"127.0.0.0/8\"]"),
        ("origins = [\"https://a.example\"]\nagents = [\"::/0\"]", "proxy-as-agent", "[\"::/0\"]"),
        ("explore = 1001", "bad-value", "1001"),
        ("explore = 0.2", "wrong-type", "0.2"),
        ("max_source_share = 0", "bad-value", "0"),
        ("max_source_share = 1.1", "bad-value", "1.1"),
        ("half_life = \"59m\"", "bad-value", "\"59m\""),
        ("keep_for = \"367d\"", "bad-value", "\"367d\""),
        ("keep_for = 30", "wrong-type", "30"),
        ("path = \"/b\"", "unknown-key", "path"),
    ] {
        check(&[("[geoip]", &beacons(lines), code, words)]);
    }
    let read = |lines: &str| read_text(&edited("[geoip]", &beacons(lines))).unwrap().config.beacons;
    let default = read("");
    assert!(default.listen.is_empty() && default.origins.is_empty());
    assert_eq!((default.explore, default.max_source_share), (2, 0.05));
    let day = Duration::from_secs(86_400);
    assert_eq!((default.half_life, default.keep_for), (7 * day, 30 * day));
    let told =
        "listen = [\"[::1]:1\", \"127.0.0.1:0\"]\nagents = [\"192.0.2.0/24\"]\ntrusted_proxies = [\"10.0.0.0/8\"]\n";
    let told =
        read(&format!("{told}origins = [\"https://a.example\", \"http://[::1]:8000\", \"http://127.0.0.1:443\"]"));
    assert_eq!((told.listen.len(), told.origins.len()), (2, 3));
    assert!(
        told.agents.contains("192.0.2.9".parse().unwrap())
            && told.trusted_proxies.contains("10.9.9.9".parse().unwrap())
    );
    assert!(default.needs_restart(&told) && default.needs_restart(&read("explore = 3")));
    assert!(!default.needs_restart(&read("half_life = \"1d\"\nkeep_for = \"2d\"\nmax_source_share = 0.5")));
}

/// A server that runs is asked while an edit of its file has errors.
#[test]
fn where_the_admin_endpoint_is_whatever_else_is_wrong() {
    let address = |text: &str| {
        let mut files: BTreeMap<PathBuf, Arc<[u8]>> = BTreeMap::new();
        files.insert("c".into(), text.as_bytes().into());
        admin_address(&mut files, Path::new("c")).unwrap().map(|address| address.to_string())
    };
    let default = Some("127.0.0.1:8053".to_owned());
    assert_eq!(
        address("[admin]\nlisten = \"[::1]:8080\"\n[server]\nworkers = x\nworkrs = 1").as_deref(),
        Some("[::1]:8080")
    );
    assert_eq!(address("[admin]\nlisten = \"off\"\nb = = 1"), None);
    assert_eq!(address("[admin\nlisten = 1"), default);
    assert_eq!(address("[admin]\nlisten = \"localhost\""), default);
    let mut none: BTreeMap<PathBuf, Arc<[u8]>> = BTreeMap::new();
    assert_eq!(admin_address(&mut none, Path::new("c")).unwrap_err()[0].code, "missing-file");
}

#[test]
fn failures_that_come_together() {
    let health = |lines: &str| format!("[health]\n{lines}\n[geoip]");
    let of = |anchors: &[&str]| health(&format!("anchors = {anchors:?}"));
    let three = ["192.0.2.1:443", "198.51.100.1:443", "[2001:db8::1]:443"];
    let many = format!("{:?}", (0..17).map(|host| format!("192.0.2.{host}:443")).collect::<Vec<_>>());
    for (edit, code, words) in [
        (health("window = \"100ms\""), "bad-value", "\"100ms\""),
        (health("site_down = 0"), "bad-value", "0"),
        (health("cloud_down = 1.1"), "bad-value", "1.1"),
        (health("self_fail = 0.4"), "bad-value", "0.4"),
        (health("hold_for = 120"), "wrong-type", "120"),
        (health("withdraw_after = \"25h\""), "bad-value", "\"25h\""),
        (health("withdraw_after = 300"), "wrong-type", "300"),
        (health("anchors = \"192.0.2.1:443\""), "wrong-type", "\"192.0.2.1:443\""),
        (of(&[three[0], three[1], "192.0.2.9"]), "bad-value", "\"192.0.2.9\""),
        (of(&three[..2]), "bad-value", "[\"192.0.2.1:443\", \"198.51.100.1:443\"]"),
        (health(&format!("anchors = {many}")), "bad-value", &many),
        (of(&[three[0], three[1], three[2], "192.0.2.1:80"]), "duplicate-address", "\"192.0.2.1:80\""),
        (of(&[three[0], three[1], "127.0.0.1:443"]), "private-target", "\"127.0.0.1:443\""),
        (health(&format!("window = \"1s\"\nanchors = {three:?}")), "rare-probe", "shop"),
    ] {
        check(&[("[geoip]", &edit, code, words)]);
    }
    let read = |lines: &str| read_text(&edited("[geoip]", &health(lines))).unwrap().config.health;
    let default = read("");
    assert_eq!((default.window, default.hold_for), (Duration::from_secs(10), Duration::from_secs(120)));
    assert_eq!((default.site_down, default.cloud_down, default.self_fail), (0.6, 0.6, 0.7));
    assert_eq!(read("anchors = []\nwithdraw_after = \"never\""), default);
    assert_eq!(read("withdraw_after = \"5m\"").withdraw_after, Some(Duration::from_secs(300)));
    assert_eq!(read(&format!("anchors = {three:?}")).anchors, three.map(|anchor| anchor.parse().unwrap()));
    assert_eq!(
        read("allow_private = true\nanchors = [\"127.0.0.1:1\", \"127.0.0.2:1\", \"[::1]:1\"]").anchors.len(),
        3
    );
}
