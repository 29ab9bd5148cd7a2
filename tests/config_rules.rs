//! One rule a row: an edit of the good configuration, and what is then said about which words.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/rules.rs"]
mod rules;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use meridian::config::{ProbeKind, read};
use meridian::model::{Family, FenceUnknown, Member, Spread, WhenNone};
use rules::{GOOD, check, edited, read_text, said};

const DEFAULTS_AT: &str = "[[services]]";
const SERVICE_AT: &str = "ttl = \"20s\"";
const ENDPOINT_AT: &str = "probe = \"shop\"\n[[endpoints]]";
const PROBE_AT: &str = "timeout = \"1s\"";
const FENCE_AT: &str = "fence = [{ where = \"eu\", in = \"eu\" }]";

#[test]
fn the_good_one_is_good() {
    assert_eq!(said(GOOD), []);
}

#[test]
fn settings() {
    let server = |line| format!("[server]\n{line}\n");
    for (line, code, words) in [
        ("workers = 0", "bad-value", "0"),
        ("workers = \"all\"", "bad-value", "\"all\""),
        ("workers = true", "wrong-type", "true"),
        ("receive_buffer = \"63KB\"", "bad-value", "\"63KB\""),
        ("receive_buffer = 4_000_000", "wrong-type", "4_000_000"),
        ("steer_by_cpu = \"yes\"", "wrong-type", "\"yes\""),
        ("tcp_connections = -1", "bad-value", "-1"),
        ("tcp_client_connections = 0", "bad-value", "0"),
        ("tcp_client_queries = 99", "bad-value", "99"),
        ("tcp_client_octets = \"1KB\"", "bad-value", "\"1KB\""),
        ("proxy_from = [\"192.0.2.1\"]", "bad-cidr", "\"192.0.2.1\""),
        ("tcp_idle = \"2 s\"", "bad-value", "\"2 s\""),
        ("tcp_idle = 2.5", "wrong-type", "2.5"),
        ("state = \"\"", "bad-value", "\"\""),
        ("identity = \"\"", "bad-value", "\"\""),
        ("cookies = \"on\"", "bad-value", "\"on\""),
        ("identity = true", "wrong-type", "true"),
        ("version = \"a\\tb\"", "bad-value", "\"a\\tb\""),
        ("port = 53", "unknown-key", "port"),
    ] {
        check(&[("[server]\n", &server(line), code, words)]);
    }
    let udp = |lines| {
        let read = read_text(&edited("[server]\n", &server(lines))).unwrap().config.server;
        (read.receive_buffer, read.steer_by_cpu)
    };
    assert_eq!(udp(""), (4_000_000, false));
    assert_eq!(udp("receive_buffer = \"16MB\"\nsteer_by_cpu = true"), (16_000_000, true));
    let server = |lines| read_text(&edited("[server]\n", &server(lines))).unwrap().config.server;
    let told = "identity = \"ns1\"\nversion = \"9\"\nproxy_from = [\"192.0.2.0/24\"]";
    let (before, told) = (server("identity = \"off\""), server(told));
    assert_eq!((before.proxy_from.len(), told.proxy_from.len()), (0, 1));
    assert_eq!((before.identity.text(), &before.version), (None, &None));
    assert_eq!((told.identity.text(), told.version.as_deref()), (Some("ns1"), Some("9")));
    assert_eq!(server("identity = \"hostname\"").identity.text(), None, "whoever loads it fills it in");
    assert!(!before.needs_restart(&told), "it is told from the next answer on");
    assert!(before.needs_restart(&server("tcp_connections = 7")));
    let listen = "listen = [\"127.0.0.1:5300\"]";
    check(&[
        (listen, "listen = []", "bad-value", "[]"),
        (listen, "listen = [\"127.0.0.1\"]", "bad-value", "\"127.0.0.1\""),
        (listen, "listen = \"127.0.0.1:53\"", "wrong-type", "\"127.0.0.1:53\""),
        (listen, "listen = [\"[::1]:53\", \"[::1]:53\"]", "duplicate-address", "\"[::1]:53\""),
        ("[admin]\n", "[admin]\nlisten = \"localhost\"\n", "bad-value", "\"localhost\""),
        ("\"192.0.2.0/24\"", "\"192.0.2.1\"", "bad-cidr", "\"192.0.2.1\""),
        ("[geoip]", "[load]\nramp = 1\n[geoip]", "not-built-yet", "load"),
        ("[geoip]", "[resolver]\nservers = [\"dns\"]\n[geoip]", "bad-value", "\"dns\""),
        ("[geoip]", "[reload]\nconfirm_over = 0.3\n[geoip]", "not-built-yet", "confirm_over"),
        ("[geoip]", "[health]\nmax_soft_down = 1.5\n[geoip]", "bad-value", "1.5"),
        ("[geoip]", "[helth]\n[geoip]", "unknown-key", "helth"),
        ("\"city.mmdb\"", "\"town.mmdb\"", "missing-file", "\"town.mmdb\""),
        ("databases = [\"city.mmdb\"]", "", "missing-file", ""),
        ("[geoip]", "[geoip]\ngeo_memory = 128", "wrong-type", "128"),
        ("[geoip]", "[geoip]\ngeo_memory = \"128\"", "bad-value", "\"128\""),
        ("[geoip]", "[geoip]\ngeo_memory = \"65GB\"", "bad-value", "\"65GB\""),
    ]);
    let memory = |line: &str| read_text(&edited("[geoip]", &format!("[geoip]{line}"))).unwrap().config.geo_memory;
    assert_eq!((memory(""), memory("\ngeo_memory = \"2_500KB\"")), (128_000_000, 2_500_000));
    let text =
        "[server]\nworkers = 3\nstate = \"/var/m\"\n[admin]\nlisten = \"off\"\n[resolver]\nservers = [\"::1\"]\n";
    let text = edited("[server]\nlisten = [\"127.0.0.1:5300\"]\n[admin]\n", text);
    let config = read_text(&text.replace("allow = [\"192.0.2.0/24\"]", "")).unwrap().config;
    assert_eq!((config.server.workers, config.server.state), (Some(3), PathBuf::from("/var/m")));
    assert_eq!((config.admin.listen, config.server.listen.len()), (None, 2));
    assert_eq!(config.resolver.servers, ["[::1]:53".parse().unwrap()]);
    assert_eq!(config.databases, [PathBuf::from("etc/city.mmdb")]);
}

#[test]
fn probes() {
    let probe = |line: &str| format!("timeout = \"1s\"\n{line}");
    for (line, code, words) in [
        ("down_after = 0", "bad-value", "0"),
        ("up_after = 1.5", "wrong-type", "1.5"),
        ("jitter = 0.6", "bad-value", "0.6"),
        ("jitter = nan", "bad-value", "nan"),
        ("fast_interval = \"1ms\"", "bad-value", "\"1ms\""),
        ("slow_after = \"soon\"", "bad-value", "\"soon\""),
        ("damping = \"on\"", "bad-value", "\"on\""),
        ("damping = { free_at = 4 }", "bad-value", "{ free_at = 4 }"),
        ("damping = { half_live = \"5m\" }", "unknown-key", "half_live"),
        ("reuse = 1", "wrong-type", "1"),
        ("http2 = true", "unknown-key", "http2"),
        ("expect = [200, \"399-200\"]", "bad-value", "\"399-200\""),
        ("expect = [99]", "bad-value", "99"),
        ("expect = []", "bad-value", "[]"),
        ("port = 0", "bad-value", "0"),
        ("method = \"POST\"", "bad-value", "\"POST\""),
        ("host = \"https://shop\"", "bad-value", "\"https://shop\""),
        ("method = \"HEAD\"\nbody = \"ok\"", "bad-value", "\"ok\""),
        ("ca = \"ca.pem\"", "unknown-key", "ca"),
        ("slow = 1", "wrong-type", "1"),
        ("slow = { over = 1.0 }", "bad-value", "1.0"),
        ("slow = { sample = 5 }", "unknown-key", "sample"),
    ] {
        check(&[(PROBE_AT, &probe(line), code, words)]);
    }
    check(&[
        (PROBE_AT, "timeout = \"21s\"", "bad-value", "\"21s\""),
        (PROBE_AT, "timeout = \"2m\"", "bad-value", "\"2m\""),
        ("path = \"/healthz\"", "path = \"healthz\"", "bad-value", "\"healthz\""),
        ("type = \"http\"\npath = \"/healthz\"", "type = \"script\"", "missing-key", "[probes.shop]"),
        (
            "type = \"http\"\npath = \"/healthz\"",
            "type = \"metric\"\nsample = \"a\"\ndown_over = 1",
            "missing-key",
            "[probes.shop]",
        ),
        ("type = \"http\"", "type = \"https\"\nclient_key = \"k\"", "missing-key", "[probes.shop]"),
        ("type = \"http\"", "type = \"https\"\nhttp2 = true\nhost = \"a:1\"", "bad-value", "\"a:1\""),
        ("type = \"http\"", "type = \"https\"\nexpires_within = \"2y\"", "bad-value", "\"2y\""),
        ("type = \"http\"\npath = \"/healthz\"", "type = \"tcp\"\nport = 1\nsend = \"\"", "bad-value", "\"\""),
        ("type = \"http\"\npath = \"/healthz\"", "type = \"tls\"\nsend = \"x\"", "unknown-key", "send"),
        ("type = \"http\"", "type = \"htp\"", "bad-value", "\"htp\""),
        ("type = \"http\"", "", "missing-key", "[probes.shop]"),
        ("type = \"http\"\npath = \"/healthz\"", "type = \"tcp\"", "missing-key", "[probes.shop]"),
        ("type = \"http\"\n", "type = \"https\"\nca = \"ca.pem\"\n", "missing-file", "\"ca.pem\""),
        ("[sets]", "[probes]\nx = 1\n[sets]", "wrong-type", "1"),
        ("[sets]", "[probes.shop]\n[sets]", "syntax", "shop"),
    ]);
    let text =
        edited("type = \"http\"", "type = \"https\"\nserver_name = \"a.b\"\nexpect = [200, \"300-310\", \"404\"]");
    let config = read_text(&text).unwrap().config;
    let ProbeKind::Http(http) = &config.probes[0].kind else { panic!() };
    assert_eq!(http.expect, [(200, 200), (300, 310), (404, 404)]);
    assert_eq!(http.tls.as_ref().unwrap().server_name.as_deref(), Some("a.b"));
    assert_eq!((config.probes[0].port, config.probes[0].down_after, config.probes[0].up_after), (443, 3, 2));
}

#[test]
fn sets_and_places() {
    let sets = |line: &str| format!("[sets]\n{line}\n");
    for (line, code, words) in [
        ("x = []", "bad-value", "[]"),
        ("x = \"eu\"", "wrong-type", "\"eu\""),
        ("eu = [\"country:DE\"]", "reserved-name", "eu"),
        ("x = [\"gulff\"]", "unknown-set", "\"gulff\""),
        ("x = [\"country:XX\"]", "unknown-place", "\"country:XX\""),
        ("x = [\"continent:EUR\"]", "unknown-place", "\"continent:EUR\""),
        ("x = [\"subdivision:CA\"]", "unknown-place", "\"subdivision:CA\""),
        ("x = [\"asn:0\"]", "unknown-place", "\"asn:0\""),
        ("x = [\"city:Rome\"]", "unknown-place", "\"city:Rome\""),
        ("x = [\"cidr:198.51.100.1/24\"]", "bad-cidr", "\"cidr:198.51.100.1/24\""),
        ("x = [\"y\"]\ny = [\"x\"]", "set-cycle", "\"x\""),
        ("x = [\"x\"]", "set-cycle", "\"x\""),
    ] {
        check(&[("[sets]\n", &sets(line), code, words)]);
    }
    let nested =
        edited("[sets]\n", "[sets]\nx = [\"eea\", \"y\"]\ny = [\"country:CH\", \"asn:64496\", \"cidr:10.0.0.0/8\"]\n");
    let config = read_text(&nested.replacen("where = \"eu\"", "where = \"x\"", 1)).unwrap().config;
    assert_eq!((config.fence_places[0].label.as_str(), config.fence_places[0].places.len()), ("x", 40));
    assert_eq!((config.labels, config.asns), (vec!["10.0.0.0/8".parse().unwrap()], vec![64496]));
}

#[test]
fn endpoints() {
    let endpoint = |line: &str| format!("probe = \"shop\"\n{line}\n[[endpoints]]");
    for (line, code, words) in [
        ("capacity = 0", "bad-value", "0"),
        ("beacon = \"rum.shop.example/pixel\"", "bad-value", "\"rum.shop.example/pixel\""),
        ("beacon = \"https://a:b@rum.shop.example/\"", "bad-value", "\"https://a:b@rum.shop.example/\""),
        ("beacon = \"https://rum.shop.example:x/\"", "bad-value", "\"https://rum.shop.example:x/\""),
        ("beacon = \"https://rum.shop.example/\"", "unused-beacon", "\"https://rum.shop.example/\""),
        ("capacity = { now = 10, max = 5 }", "bad-value", "5"),
        ("capacity = { max = 5 }", "missing-key", "{ max = 5 }"),
        ("capacity = { now = 10, scale_time = \"3m\" }", "not-built-yet", "scale_time"),
        ("weight = 0", "bad-value", "0"),
        ("bias = \"-11s\"", "bad-value", "\"-11s\""),
        ("bias = 5", "wrong-type", "5"),
        ("cost = -0.1", "bad-value", "-0.1"),
        ("cost = { gulff = 1 }", "unknown-set", "gulff"),
        ("cost = { gulf = inf }", "bad-value", "inf"),
        ("probe_target = \"192.0.2.1\"", "bad-value", "\"192.0.2.1\""),
        ("probe_target = \"127.0.0.1:18001\"", "private-target", "\"127.0.0.1:18001\""),
        ("probe_target = \"[fe80::1]:18001\"", "private-target", "\"[fe80::1]:18001\""),
        ("hostname = \"lb.example.net\"", "bad-value", "[[endpoints]]"),
    ] {
        check(&[(ENDPOINT_AT, &endpoint(line), code, words)]);
    }
    let addresses = "addresses = [\"192.0.2.1\", \"2001:db8::1\"]";
    check(&[
        (addresses, "", "missing-key", "[[endpoints]]"),
        (
            addresses,
            "addresses = [\"192.0.2.1\", \"2001:db8::1\", \"192.0.2.1\"]",
            "duplicate-address",
            "\"192.0.2.1\"",
        ),
        (addresses, "addresses = [\"192.0.2.1:80\"]", "bad-value", "\"192.0.2.1:80\""),
        (addresses, "addresses = [\"::ffff:192.0.2.1\"]", "bad-value", "\"::ffff:192.0.2.1\""),
        (addresses, "addresses = [\"192.0.2.9\", \"2001:db8::3\"]", "shared-address", "\"2001:db8::3\""),
        (addresses, "hostname = \"192.0.2.1\"", "bad-value", "\"192.0.2.1\""),
        (addresses, "hostname = \"a..b\"", "bad-value", "\"a..b\""),
        (addresses, "hostname = \"localhost\"", "own-hostname", "\"localhost\""),
        (addresses, "hostname = \"www.shop.example\"", "own-hostname", "\"www.shop.example\""),
        (addresses, "hostname = \"lb.shop.example\"", "own-hostname", "\"lb.shop.example\""),
        ("name = \"aws-virginia\"", "name = \"aws virginia\"", "bad-value", "\"aws virginia\""),
        ("cloud = \"azure\"", "cloud = \"azur\"", "unknown-cloud", "\"azur\""),
        ("region = \"us-east-1\"", "region = \"me-west-1\"", "announced-region", "\"me-west-1\""),
        ("probe = \"shop\"", "probe = [\"shop\", \"db\"]", "unknown-probe", "\"db\""),
        (
            "probe = \"shop\"\n[[endpoints]]",
            "probe_target = \"192.0.2.1:1\"\n[[endpoints]]",
            "unused-target",
            "\"192.0.2.1:1\"",
        ),
    ]);
    let private = edited(addresses, "addresses = [\"10.0.0.1\", \"2001:db8::1\"]");
    let both = [("private-address", "\"10.0.0.1\"".to_owned()), ("private-target", "\"10.0.0.1\"".to_owned())];
    assert_eq!(said(&private), both);
    assert_eq!(said(&private.replacen(PROBE_AT, "allow_private = true", 1)), both[..1]);
    let lines = "bias = \"-5ms\"\ncost = { gulf = 2, \"country:DE\" = 1.5, default = 1 }";
    let endpoint = &read_text(&edited(ENDPOINT_AT, &endpoint(lines))).unwrap().config.endpoints[0];
    assert_eq!((endpoint.bias_ms, endpoint.weight, endpoint.cost.default), (-5.0, 100, 1.0));
    let labels: Vec<_> = endpoint.cost.by_place.iter().map(|(set, cost)| (set.label.as_str(), *cost)).collect();
    assert_eq!(labels, [("gulf", 2.0), ("country:DE", 1.5)], "in the order of the file");
}

#[test]
fn own_regions() {
    let region = "[[regions]]\ncloud = \"own\"\nname = \"fra\"\ncity = \"Frankfurt\"\ncountry = \"DE\"\nlatitude = 50.1\nlongitude = 8.7\n";
    let moved = edited("cloud = \"aws\"\nregion = \"eu-central-1\"", "cloud = \"own\"\nregion = \"fra\"");
    let with = |region: &str| moved.replacen("[[endpoints]]", &format!("{region}[[endpoints]]"), 1);
    let site = &read_text(&with(region)).unwrap().config.endpoints[1].site;
    assert_eq!((site.cloud.as_str(), site.country.as_str(), site.coordinates.latitude), ("own", "DE", 50.1));
    for (from, to, code, words) in [
        ("50.1", "150.1", "bad-value", "150.1"),
        ("\"DE\"", "\"Germany\"", "bad-value", "\"Germany\""),
        ("longitude = 8.7\n", "", "missing-key", "[[regions]]"),
    ] {
        assert_eq!(said(&with(&region.replace(from, to))), [(code, words.to_owned())]);
    }
    assert_eq!(said(&with(&region.repeat(2))), [("duplicate-name", "\"fra\"".to_owned())]);
    let built_in = region.replace("\"own\"", "\"gcp\"").replace("\"fra\"", "\"europe-west3\"");
    assert_eq!(said(&edited("[[zones]]", &format!("{built_in}[[zones]]")))[0].0, "duplicate-name");
}

#[test]
fn zones() {
    let zone = "[[zones]]\nname = \"shop.example\"\nfile = \"shop.example.zone\"\n";
    let nested = "[[zones]]\nname = \"a.shop.example\"\nfile = \"shop.example.zone\"\n[[services]]";
    check(&[
        ("[[services]]", nested, "nested-zones", "\"a.shop.example\""),
        ("name = \"shop.example\"", "name = \"*.shop.example\"", "bad-value", "\"*.shop.example\""),
        (zone, "[zones]\ndirectory = \"none\"\n", "no-zones", "\"none\""),
        (zone, "[zones]\nname = \"shop.example\"\n", "wrong-type", "[zones]"),
        (zone, "", "no-zones", ""),
        ("www.shop.example", "shop.example.org", "outside-zones", "\"shop.example.org\""),
    ]);
    let directory = edited(zone, "[zones]\ndirectory = \"z\"\n").replace("www.shop.example", "www.b.example");
    let config = read_text(&directory).unwrap().config;
    let zones: Vec<_> = config.zones.iter().map(|zone| (zone.name.to_string(), zone.file.to_str().unwrap())).collect();
    let expected = [("a.example", "etc/z/a.example.zone"), ("b.example", "etc/z/b.example.zone")];
    assert_eq!(zones, expected.map(|(name, file)| (name.to_owned(), file)));
    assert_eq!(config.services[0].zone.index(), 1);
}

#[test]
fn services() {
    let service = |line: &str| format!("ttl = \"20s\"\n{line}");
    for (line, code, words) in [
        ("fence_unknown = \"gulf\"", "fence-leaves-none", "\"gulf\""),
        ("fence_unknown = \"asn:1\"", "place-of-clients", "\"asn:1\""),
        ("cost_budget = \"1m\"", "bad-value", "\"1m\""),
        ("multivalue = 2", "bad-value", "2"),
        ("spread = \"multivalue\"", "bad-value", "\"multivalue\""),
        ("spread = \"stikcy\"", "bad-value", "\"stikcy\""),
        ("spread = \"multivalu\"\nmultivalue = 2", "bad-value", "\"multivalu\""),
        ("sprad = \"multivalue\"\nmultivalue = 2", "unknown-key", "sprad"),
        ("when_none = \"endpoint:gcp\"", "unknown-endpoint", "\"endpoint:gcp\""),
        ("when_none = \"endpoint:aws-virginia\"", "when-none-outside-fence", "\"endpoint:aws-virginia\""),
        ("when_none = \"refuse\"", "bad-value", "\"refuse\""),
        ("answer_as = \"cname\"", "not-built-yet", "answer_as"),
        ("when_full = \"share\"", "not-built-yet", "when_full"),
        ("warmup = \"2d\"", "bad-value", "\"2d\""),
        ("degraded_share = 1.5", "bad-value", "1.5"),
        ("panic_below = \"half\"", "wrong-type", "\"half\""),
    ] {
        check(&[(SERVICE_AT, &service(line), code, words)]);
    }
    check(&[
        (SERVICE_AT, "ttl = 20", "wrong-type", "20"),
        (SERVICE_AT, "ttl = \"2147483648s\"", "bad-value", "\"2147483648s\""),
        ("\"aws-*\", \"azure-westeurope\"", "\"aws-virginai\"", "unknown-endpoint", "\"aws-virginai\""),
        ("clouds = [\"azure\"]", "clouds = [\"azura\"]", "unknown-cloud", "\"azura\""),
        ("clouds = [\"azure\"]", "clouds = [\"gcp\"]", "preference-leaves-none", "\"gcp\""),
        ("clouds = [\"azure\"], ", "", "missing-key", "{ where = \"gulf\", within = \"30ms\" }"),
        ("within = \"30ms\"", "within = \"30\"", "bad-value", "\"30\""),
        (DEFAULTS_AT, "[defaults]\nwhen_full = \"share\"\n[[services]]", "not-built-yet", "when_full"),
        (DEFAULTS_AT, "[defaults]\nttl = \"0.5s\"\n[[services]]", "bad-value", "\"0.5s\""),
    ]);
    let twice = edited("[[services]]", "[[services]]\nname = \"WWW.shop.example\"\nendpoints = [\"*\"]\n[[services]]");
    assert_eq!(said(&twice), [("duplicate-name", "\"www.shop.example\"".to_owned())]);
    let text = edited("[[services]]", "[defaults]\nttl = \"30s\"\nmultivalue = 3\n[[services]]");
    let config = read_text(&text.replacen(SERVICE_AT, "spread = \"multivalue\"", 1)).unwrap().config;
    assert_eq!(config.services[0].ttl, Duration::from_secs(30));
    assert_eq!(config.plans[0].policy.spread, Spread::Multivalue(3));
}

#[test]
fn fences() {
    let fence = |inner: &str| format!("fence = [{inner}]");
    for (inner, code, words) in [
        ("{ where = \"eu\", in = \"country:AT\" }", "fence-leaves-none", "\"country:AT\""),
        ("{ where = \"eu\", in = \"eu\", clouds = [\"gcp\"] }", "fence-leaves-none", "\"eu\""),
        ("{ where = \"eu\", in = \"eu\", endpoints = [\"azure-north*\"] }", "no-match", "\"azure-north*\""),
        ("{ where = \"eu\", in = \"subdivision:US-CA\" }", "place-of-clients", "\"subdivision:US-CA\""),
        ("{ where = \"euu\", in = \"eu\" }", "unknown-set", "\"euu\""),
        ("{ where = \"eu\" }", "missing-key", "{ where = \"eu\" }"),
        ("{ where = \"eu\", in = \"eu\", cloud = [] }", "unknown-key", "cloud"),
        ("{ where = \"eu\", in = \"country:DE\" }", "fence-on-one-cloud", "\"country:DE\""),
    ] {
        check(&[(FENCE_AT, &fence(inner), code, words)]);
    }
    assert_eq!(said(&edited(FENCE_AT, &fence("{ where = \"eu\", in = \"country:DE\", clouds = [\"aws\"] }"))), []);
    // Two fences that no client is under at once are fine with a named set for those of unknown place.
    let apart =
        fence("{ where = \"eu\", in = \"eu\" }, { where = \"country:US\", in = \"country:US\", clouds = [\"aws\"] }");
    assert_eq!(said(&edited(FENCE_AT, &apart)), [("fence-unknown-empty", "\"www.shop.example\"".to_owned())]);
    let config = read_text(&edited(FENCE_AT, &format!("{apart}\nfence_unknown = \"eu\""))).unwrap().config;
    assert_eq!(config.plans[0].policy.fence_unknown, FenceUnknown::Set(vec![Member(1), Member(2)]));
    // Two that a client in Germany is under at once need an endpoint in common.
    let nested = fence("{ where = \"eu\", in = \"country:NL\" }, { where = \"country:DE\", in = \"country:DE\" }");
    let said = said(&edited(FENCE_AT, &format!("{nested}\nfence_unknown = \"eu\"")));
    assert_eq!(said, [("fence-leaves-none", "\"country:DE\"".to_owned())]);
}

#[test]
fn fence_places_are_bits_of_a_mask() {
    let fence = |n: usize| format!("{{ where = \"asn:{n}\", in = \"eu\" }}");
    let service = |n: usize| {
        let fences: Vec<String> = (0..8).map(|i| fence(1 + n * 8 + i)).collect();
        format!("[[services]]\nname = \"s{n}.shop.example\"\nendpoints = [\"*\"]\nfence = [{}]\n", fences.join(", "))
    };
    let with = |count| GOOD.replace(FENCE_AT, "") + &(0..count).map(service).collect::<String>();
    let config = read_text(&with(8)).unwrap().config;
    assert_eq!((config.fence_places.len(), config.fence_combinations.len()), (64, 65));
    assert!(said(&with(9)).iter().all(|(code, _)| *code == "too-many-fences"));
    // The same places again take no more bits.
    assert_eq!(read_text(&(with(8) + &service(0).replace("s0.", "again."))).unwrap().config.fence_places.len(), 64);
}

#[test]
fn a_hostname_inside_a_fence_needs_a_word() {
    let addresses = "addresses = [\"192.0.2.2\", \"2001:db8::2\"]";
    let said = |line| said(&edited(addresses, line));
    assert_eq!(said("hostname = \"lb.example.net\""), [("place-not-declared", "\"eu\"".to_owned())]);
    assert_eq!(said("hostname = \"lb.example.net\"\nplace_declared = true"), []);
}

#[test]
fn families_do_not_depend_on_who_asks() {
    // IPv6 in the US alone: incomplete, so nobody has it.
    let text = GOOD.replace(", \"2001:db8::2\"", "").replace(", \"2001:db8::3\"", "");
    assert_eq!(said(&text), [("family-incomplete", "\"eu\"".to_owned())]);
    let config = read_text(&text).unwrap().config;
    let has = |family| config.plans[0].has_family(family, &config.endpoints, &config.fence_combinations);
    assert!(has(Family::V4) && !has(Family::V6));
    // IPv4 in the US alone, IPv6 in the EU alone: nothing is complete.
    let text =
        text.replace("\"192.0.2.1\", ", "").replace("192.0.2.2", "2001:db8::2").replace("203.0.113.1", "2001:db8::3");
    assert_eq!(said(&text), []);
    let text = text.replace("\"2001:db8::1\"", "\"192.0.2.1\"");
    assert_eq!(said(&text).iter().map(|(code, _)| *code).collect::<Vec<_>>(), ["family-incomplete"]);
    let text = text.replace("fence = [{ where = \"eu\", in = \"eu\" }]", "fence = [{ where = \"eu\", in = \"eu\" }, { where = \"country:US\", in = \"country:US\" }]\nfence_unknown = \"eu\"");
    let codes: Vec<_> = said(&text).iter().map(|(code, _)| *code).collect();
    assert!(codes.contains(&"no-family"), "{codes:?}");
}

#[test]
fn the_last_resort_serves_everyone() {
    let refuge = |name: &str| edited(SERVICE_AT, &format!("when_none = \"endpoint:{name}\""));
    let config = read_text(&refuge("azure-westeurope")).unwrap().config;
    assert_eq!(config.plans[0].policy.when_none, WhenNone::Endpoint(Member(2)));
    let text = refuge("azure-westeurope").replace(", \"2001:db8::3\"", "");
    assert_eq!(said(&text), [("when-none-lacks-family", "\"endpoint:azure-westeurope\"".to_owned())]);
    let two =
        "fence = [{ where = \"eu\", in = \"eu\" }, { where = \"country:US\", in = \"eu\" }]\nwhen_none = \"nodata\"";
    assert_eq!(said(&edited(FENCE_AT, two)), [("when-none-in-fences", "\"nodata\"".to_owned())]);
}

#[test]
fn an_error_is_said_once_and_hides_no_other() {
    // A bad endpoint is still an endpoint: neither the service nor its fence complains.
    let text = edited("\"eu-central-1\"", "\"eu-centrall-1\"").replace("region = \"westeurope\"", "region = 1");
    assert_eq!(said(&text).iter().map(|(code, _)| *code).collect::<Vec<_>>(), ["unknown-region", "wrong-type"]);
    let text = edited("name = \"aws-virginia\"", "name = 7").replace("[\"aws-*\"", "[\"gcp-*\"");
    assert_eq!(said(&text), [("wrong-type", "7".to_owned())]);
    // What lies in a line that does not parse is not missed.
    let text = edited("name = \"aws-virginia\"", "name = aws-virginia").replace("timeout", "timeuot");
    assert_eq!(said(&text).iter().map(|(code, _)| *code).collect::<Vec<_>>(), ["unknown-key", "syntax"]);
}

#[test]
fn what_is_known_is_listed_once() {
    let help = read_text(&format!("zzz = 1\n{GOOD}")).unwrap_err().remove(0).help.unwrap();
    assert_eq!(help.matches("`zones`").count(), 1, "{help}");
}

#[test]
fn what_is_no_text() {
    let read = |octets: &[u8]| {
        let mut files: BTreeMap<PathBuf, Arc<[u8]>> = BTreeMap::new();
        files.insert("c".into(), octets.into());
        read(&mut files, Path::new("c")).unwrap_err().remove(0)
    };
    let problem = read(b"a = 1\nb = \"\xff\"");
    assert_eq!((problem.code, problem.spot.unwrap().line), ("syntax", 2));
    assert!(read(&vec![b'\n'; (16 << 20) + 1]).message.contains("16 MiB"));
    assert_eq!(read(b"").code, "no-zones");
}

#[test]
fn a_plan_has_at_most_255_endpoints() {
    let endpoint = |n: usize| {
        let address = format!("2001:db8::{n}:0");
        format!(
            "[[endpoints]]\nname = \"x{n}\"\ncloud = \"aws\"\nregion = \"eu-central-1\"\naddresses = [\"{address}\"]\n"
        )
    };
    let many = |count| edited("[[zones]]", &format!("{}[[zones]]", (0..count).map(endpoint).collect::<String>()));
    let with = |count| many(count).replace("[\"aws-*\"", "[\"x*\", \"aws-*\"");
    assert_eq!(said(&with(252)), []);
    assert_eq!(said(&with(253)), [("too-many-endpoints", "\"x*\"".to_owned())]);
}
