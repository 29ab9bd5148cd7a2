//! The rules of `[probes]` that belong to a kind, as in config_rules.rs.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/rules.rs"]
mod rules;

use std::path::Path;
use std::time::Duration;

use meridian::config::{Aim, Calculated, ProbeKind, Slow};
use rules::{check, edited, read_text};

#[test]
fn metric_probes() {
    let metric = |lines: &str| format!("type = \"metric\"\nurl = \"http://m.example/\"\n{lines}");
    for (lines, code, words) in [
        ("sample = \"a\"", "missing-key", "[probes.shop]"),
        ("down_over = 1", "missing-key", "[probes.shop]"),
        ("down_over = 1\nsample = \"a b\"", "bad-value", "\"a b\""),
        ("down_over = 1\npointer = \"a\"", "bad-value", "\"a\""),
        ("down_over = 1\nsample = \"a\"\npointer = \"/a\"", "bad-value", "\"/a\""),
        ("down_over = 1\nsample = \"a\"\ndegraded_over = 2", "bad-value", "2"),
        ("down_under = 2\nsample = \"a\"\ndegraded_under = 1", "bad-value", "1"),
        ("down_over = inf\nsample = \"a\"", "bad-value", "inf"),
        ("down_over = 1\nsample = \"a\"\nmissing = \"down\"", "bad-value", "\"down\""),
        ("down_over = 1\nsample = \"a\"\nport = 80", "unknown-key", "port"),
        ("down_over = 1\nsample = \"a\"\nca = \"ca.pem\"", "unknown-key", "ca"),
    ] {
        check(&[("type = \"http\"\npath = \"/healthz\"", &metric(lines), code, words)]);
    }
    let text = edited("type = \"http\"\npath = \"/healthz\"", &metric("pointer = \"/a~1b/0\"\ndown_under = -2"));
    let ProbeKind::Metric(metric) = read_text(&text).unwrap().config.probes[0].kind.clone() else { panic!() };
    assert_eq!((metric.aim, metric.limits.down_under), (Aim::Pointer(vec!["a/b".into(), "0".into()]), Some(-2.0)));
}

#[test]
fn other_probes() {
    let at = "type = \"http\"\npath = \"/healthz\"";
    for (lines, code, words) in [
        ("type = \"dns\"", "missing-key", "[probes.shop]"),
        ("type = \"dns\"\nname = \"a..b\"", "bad-value", "\"a..b\""),
        ("type = \"dns\"\nname = \"a.b\"\nrecord = \"ANY\"", "bad-value", "\"ANY\""),
        ("type = \"dns\"\nname = \"a.b\"\nrecord = \"B\"", "bad-value", "\"B\""),
        ("type = \"dns\"\nname = \"a.b\"\nexpect = []", "bad-value", "[]"),
        ("type = \"grpc\"", "missing-key", "[probes.shop]"),
        ("type = \"grpc\"\nport = 1\nca = \"ca.pem\"", "unknown-key", "ca"),
        ("type = \"grpc\"\nport = 1\nservice = \"a\\n\"", "bad-value", "\"a\\n\""),
        ("type = \"file\"", "missing-key", "[probes.shop]"),
        ("type = \"file\"\npath = \"{endpoint}/x\"", "bad-value", "\"{endpoint}/x\""),
        ("type = \"file\"\npath = \"x\"\nmax_age = \"0s\"", "bad-value", "\"0s\""),
        ("type = \"icmp\"\nport = 1", "unknown-key", "port"),
        ("type = \"file\"\npath = \"x\"\nslow = {}", "unknown-key", "slow"),
        ("type = \"script\"\ncommand = \"/bin/true\"", "wrong-type", "\"/bin/true\""),
        ("type = \"script\"\ncommand = []", "bad-value", "[]"),
        ("type = \"script\"\ncommand = [\"true\"]", "bad-value", "[\"true\"]"),
        ("type = \"script\"\ncommand = [\"/a\\u0000\"]", "bad-value", "[\"/a\\u0000\"]"),
    ] {
        check(&[(at, lines, code, words)]);
    }
    let kind = |lines: &str| read_text(&edited(at, lines)).unwrap().config.probes[0].kind.clone();
    let ProbeKind::File(file) = kind("type = \"file\"\npath = \"h/{endpoint}\"") else { panic!() };
    assert_eq!(file.folder(), Path::new("etc/h"));
    assert_eq!(kind("type = \"icmp\""), ProbeKind::Icmp);
    let slow =
        |lines: &str| read_text(&edited(at, &format!("type = \"icmp\"\n{lines}"))).unwrap().config.probes[0].slow;
    let default = Slow { over: 2.0, at_least: Duration::from_millis(100), samples: 30 };
    assert_eq!((slow(""), slow("slow = \"off\""), slow("slow = {}")), (None, None, Some(default)));
    assert_eq!(slow("slow = { samples = 5 }"), Some(Slow { samples: 5, ..default }));
    let text = edited(at, "type = \"script\"\ncommand = [\"/bin/true\", \"--fast\"]");
    let config = read_text(&text).unwrap().config;
    let ProbeKind::Script(script) = &config.probes[0].kind else { panic!() };
    assert_eq!((&*script.command, config.probes[0].port), (&["/bin/true".into(), "--fast".into()][..], 443));
    assert!(config.wants_scripts() && !read_text(&edited(at, "type = \"icmp\"")).unwrap().config.wants_scripts());
}

#[test]
fn calculated_probes() {
    let at = "type = \"http\"\npath = \"/healthz\"";
    let others =
        "\n[probes.c]\ntype = \"calculated\"\nany = [\"p\"]\n[probes.p]\ntype = \"icmp\"\n[probes.q]\ntype = \"icmp\"";
    let calculated = |lines: &str| format!("type = \"calculated\"\n{lines}{others}");
    for (lines, code, words) in [
        ("", "bad-value", "[probes.shop]"),
        ("all = [\"p\"]\nany = [\"q\"]", "bad-value", "[probes.shop]"),
        ("at_least = 1", "bad-value", "[probes.shop]"),
        ("at_least = 3\nof = [\"p\", \"q\"]", "bad-value", "3"),
        ("all = []", "bad-value", "[]"),
        ("all = [\"p\", \"p\"]", "bad-value", "\"p\""),
        ("all = [\"p\", \"qq\"]", "unknown-probe", "\"qq\""),
        ("all = [\"p\", \"c\"]", "bad-value", "\"c\""),
        ("all = [\"shop\"]", "bad-value", "\"shop\""),
        ("all = [\"p\"]\ninterval = \"1s\"", "unknown-key", "interval"),
    ] {
        check(&[(at, &calculated(lines), code, words)]);
    }
    let ProbeKind::Calculated(Calculated { at_least, of }) =
        read_text(&edited(at, &calculated("all = [\"p\", \"q\"]")))
            .unwrap()
            .config
            .probes
            .iter()
            .find(|it| &*it.name == "shop")
            .unwrap()
            .kind
            .clone()
    else {
        panic!()
    };
    assert_eq!((at_least, of), (2, vec!["p".into(), "q".into()]));
}
