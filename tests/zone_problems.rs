//! Every kind of problem in a zone's files, by its code and place; includes; and files that are no
//! zone at all, which never panic.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meridian::model::{Name, Problem, ServiceId, Severity};
use meridian::zone::{Found, Steered, ZoneData, ZoneTree, read, targets_without_address};
use proptest::prelude::*;

type Read = Result<(ZoneData, Vec<Problem>), Vec<Problem>>;

fn read_files(files: &[(&str, &str)]) -> Read {
    let files = files.iter().map(|(path, text)| (PathBuf::from(path), text.as_bytes().into()));
    let mut files: BTreeMap<PathBuf, Arc<[u8]>> = files.collect();
    read(&mut files, Path::new("z/zone"), &"test".parse::<Name>().unwrap())
}

/// `CODE LINE:COLUMN`, warnings with `?`, places in other files with the file's name.
fn say(problem: &Problem) -> String {
    let mark = if problem.severity == Severity::Warning { "?" } else { "" };
    let file = if problem.file == Path::new("z/zone") { String::new() } else { format!("{} ", problem.file.display()) };
    let spot = problem.spot.as_ref().map_or("-".to_owned(), |spot| format!("{}:{}", spot.line, spot.column));
    assert!(problem.help.is_some() || problem.code == "more-problems", "{problem} has no help");
    format!("{file}{}{mark} {spot}", problem.code)
}

fn problems(read: Read) -> Vec<String> {
    match read {
        Ok((_, warnings)) => warnings.iter().map(say).collect(),
        Err(problems) => {
            assert!(problems.iter().any(|problem| problem.severity == Severity::Error), "no error in {problems:?}");
            problems.iter().map(say).collect()
        }
    }
}

/// Lines 1 to 4 of a good zone.
const HEAD: &str = "$TTL 60\n@ SOA ns host 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n";

#[track_caller]
fn after_head(text: &str, expected: &[&str]) {
    assert_eq!(problems(read_files(&[("z/zone", &format!("{HEAD}{text}"))])), expected, "{text}");
}

#[track_caller]
fn whole(text: &str, expected: &[&str]) {
    assert_eq!(problems(read_files(&[("z/zone", text)])), expected, "{text}");
}

#[test]
fn records_that_do_not_read() {
    after_head("a AA 192.0.2.1\n", &["unknown-type 5:3"]);
    after_head("a\n", &["unknown-type 5:2"]);
    after_head("a 60 IN\n", &["unknown-type 5:8"]);
    after_head("a ANY \\# 0\n", &["unknown-type 5:3"]);
    after_head("a A 192.0.2.256\nb A\nc A 192.0.2.1 x\n", &["bad-data 5:5", "bad-data 6:3", "bad-data 7:15"]);
    after_head("a AAAA 2001:db8::g\n", &["bad-data 5:8"]);
    after_head("a MX mail 10\na MX 10\na MX 70000 mail\n", &["bad-data 5:6", "bad-data 6:6", "bad-data 7:6"]);
    after_head("a MX 10 b..c\na CNAME b..c\n", &["bad-data 5:3", "bad-data 6:3"]);
    after_head("a SRV 0 0\n", &["bad-data 5:9"]);
    after_head(&format!("a TXT \"{}\"\n", "x".repeat(256)), &["bad-data 5:7"]);
    after_head("a CAA 0 is$ue \"x\"\n", &["bad-data 5:9"]);
    after_head(
        "a A \\# 3 c00002\na A \\# 4 c00002\nb NS \\# 2 c000\n",
        &["bad-data 5:3", "bad-data 6:10", "bad-data 7:3"],
    );
    after_head("a LOC 1 2 3\na URI 10 1 \"x\"\n", &["rfc3597-form 5:3", "rfc3597-form 6:3"]);
    after_head("a..b A 192.0.2.1\n", &["bad-name 5:1"]);
    after_head(&format!("{} A 192.0.2.1\n", "a".repeat(64)), &["bad-name 5:1"]);
    after_head("a CNAME münchen\nmünchen A 192.0.2.1\n", &["non-ascii 5:9", "bad-name 6:1"]);
    after_head("a CH A 192.0.2.1\n", &["class-not-in 5:3"]);
    after_head("a 2147483648 A 192.0.2.1\n$TTL 99w1d\n$TTL 9999w\n", &["ttl-too-large 5:3", "ttl-too-large 7:6"]);
    after_head("a 5x A 192.0.2.1\n$TTL x\n", &["bad-ttl 5:3", "bad-ttl 6:6"]);
    after_head(
        "$GENERATE 1-2 a A 192.0.2.1\n$ORIGIN\n$ORIGIN a..b.\n",
        &["bad-directive 5:1", "bad-directive 6:1", "bad-name 7:9"],
    );
    after_head(
        "a A ( 192.0.2.1\n  ) )\nb TXT \"x\nc A x\n",
        &["unopened-paren 6:5", "unclosed-quote 7:7", "bad-data 8:5"],
    );
    after_head("a A ( 192.0.2.1\nb A x\n", &["unclosed-paren 5:5", "bad-data 6:5"]);
    after_head("a A 192.0.2.\x07\n", &["control-character 5:13"]);
    for rtype in ["DNSKEY", "RRSIG", "NSEC", "NSEC3", "NSEC3PARAM"] {
        after_head(&format!("a {rtype} x\n"), &["signed-record 5:3"]);
    }
    whole(" A 192.0.2.1\n", &["missing-ttl 1:2"]);
    whole(" 60 A 192.0.2.1\n", &["no-owner 1:5"]);
}

/// A multi-line record names the line of the token, not of its beginning.
#[test]
fn places_within_a_record() {
    whole("@ 60 SOA ns host (\n 1 ; serial\n 2\n x ; retry\n 4 5 )\n@ NS ns.x.\n", &["bad-ttl 4:2"]);
    whole("@ 60 SOA ns host (\n x ; serial\n 2 3 4 5 )\n", &["bad-data 2:2"]);
    after_head("ä TXT \"ä\" \"x\" ) ; ä\n", &["unopened-paren 5:15"]);
}

/// What a bad owner owns is still read, but not said to be elsewhere.
#[test]
fn a_bad_owner_costs_its_records_only() {
    after_head("a..b A 192.0.2.1\n A x\n A 192.0.2.2\nc CNAME d\n", &["bad-name 5:1", "bad-data 6:4"]);
}

#[test]
fn zones_that_do_not_hold_together() {
    whole("; nothing\n", &["no-soa -", "no-ns -"]);
    whole("$TTL 60\n@ NS ns.x.\n", &["no-soa -"]);
    whole("@ 60 SOA ns host 1 2 3 4 5\n", &["no-ns -"]);
    after_head("@ SOA ns host 2 2 3 4 5\n", &["second-record 5:3"]);
    after_head("a SOA ns host 2 2 3 4 5\n", &["soa-not-at-apex 5:3"]);
    after_head(
        "a.test.test A 192.0.2.1\ntes. A 192.0.2.1\nxtest. A 192.0.2.1\n",
        &["outside-zone 6:6", "outside-zone 7:8"],
    );
    after_head("a CNAME b\na CNAME c\n", &["second-record 6:3"]);
    after_head("a TXT x\na CNAME b\na A 192.0.2.1\n", &["cname-and-other 6:3"]);
    after_head("@ CNAME b\n", &["cname-at-apex 5:3"]);
    after_head("a DNAME b\na DNAME c\n", &["second-record 6:3"]);
    after_head("a DNAME b\na CNAME c\n", &["cname-and-other 6:3"]);
    after_head("a DNAME b\na NS ns.x.\n", &["dname-and-ns 5:3"]);
    after_head("a DNAME b\nc.a A 192.0.2.1\n", &["below-dname 6:5"]);
    after_head("*.a NS ns.x.\n*.b DNAME x.\n", &["wildcard-cut 5:5", "wildcard-cut 6:5"]);
    after_head("@ DS 1 13 2 00\n", &["ds-at-apex 5:3"]);
    whole("$TTL 60\n@ SOA ns host 1 2 3 4 5\n@ NS ns\nns TXT x\n", &["ns-without-address 3:3"]);
    whole(
        "$TTL 60\n@ SOA ns host 1 2 3 4 5\n@ NS ns.kid\nkid NS ns.kid\n",
        &["ns-without-address 3:3", "missing-glue? 4:5"],
    );
    let many = (0..800).map(|n| format!("big TXT \"{n} {}\"\n", "x".repeat(90))).collect::<String>();
    assert!(problems(read_files(&[("z/zone", &format!("{HEAD}{many}"))]))[0].starts_with("rrset-too-large 6"));
}

#[test]
fn warnings() {
    after_head("a A 192.0.2.1\na 30 A 192.0.2.2\na A 192.0.2.1\n", &["ttl-differs? 6:6", "duplicate-record? 7:3"]);
    after_head("a MX 10 B.test.\na MX 10 b\na MX 16650 b\n", &["duplicate-record? 6:3"]);
    after_head("@ NS alias\nalias CNAME ns\n", &["target-is-cname? 3:3"]);
    after_head(
        "a MX 1 alias\n_x._tcp SRV 0 0 1 alias\nalias CNAME ns\n",
        &["target-is-cname? 5:3", "target-is-cname? 6:9"],
    );
    after_head("kid NS ns.kid\nkid NS ns2\n*.w A 192.0.2.1\nl NS ns.w\n", &["missing-glue? 5:5", "missing-glue? 5:5"]);
    let kid = "kid NS ns.kid\nns.kid A 192.0.2.1\nkid TXT x\nwww.kid A 192.0.2.2\nns.kid TXT x\n";
    after_head(kid, &["occluded? 7:5", "occluded? 8:9", "occluded? 9:8"]);
    let (data, _) = read_files(&[("z/zone", &format!("{HEAD}{kid}a 90 A 192.0.2.1\na 30 A 192.0.2.2\n"))]).unwrap();
    let tree = ZoneTree::build(&data, &[]).unwrap();
    let node = |name: &str| tree.node(name.parse::<Name>().unwrap().as_wire());
    assert!(node("www.kid.test").is_none());
    assert_eq!(node("kid.test").unwrap().rrsets().len(), 1);
    let rrset = node("a.test").unwrap().rrsets().next().unwrap();
    assert_eq!((rrset.ttl, rrset.len()), (30, 2));
}

/// What is at a service, below a cut, elsewhere or an alias is another matter.
#[test]
fn targets_of_mail_and_calls() {
    let zone = format!(
        "{HEAD}@ MX 1 ns\n@ MX 2 gone\n@ MX 3 txt\n_x._tcp SRV 0 0 1 gone.w\ntxt TXT x\n*.w A 192.0.2.1
a MX 1 www\na MX 1 x.kid\na MX 1 y.\na MX 1 alias\n_y._tcp SRV 0 0 1 gone\nkid NS ns.y.\nalias CNAME ns\n"
    );
    let (data, _) = read_files(&[("z/zone", &zone)]).unwrap();
    let www =
        Steered { name: "www.test".parse().unwrap(), service: ServiceId(0), file: "config.toml".into(), spot: None };
    let tree = ZoneTree::build(&data, &[www]).unwrap();
    let warnings: Vec<String> = targets_without_address(&data, &tree).iter().map(say).collect();
    let expected = ["target-without-address? 5:3", "target-without-address? 5:3", "target-without-address? 15:9"];
    assert_eq!(warnings, expected);
}

#[test]
fn problems_are_bounded_and_errors_come_through() {
    let warnings = "a A 192.0.2.1\n".repeat(150);
    let mut seen = problems(read_files(&[("z/zone", &format!("{HEAD}{warnings}b A x\n"))]));
    assert_eq!(
        (seen.len(), seen.pop().unwrap(), seen.pop().unwrap()),
        (102, "more-problems -".into(), "bad-data 155:5".into())
    );
    let (_, warnings) = read_files(&[("z/zone", &format!("{HEAD}{warnings}"))]).unwrap();
    assert_eq!((warnings.len(), warnings[100].severity), (101, Severity::Warning));
    assert_eq!(warnings[100].message, "49 more problems are not shown");
    assert_eq!(problems(read_files(&[("z/zone", &"\"\n".repeat(300))])).len(), 101);
}

#[test]
fn ttls_go_on_from_before() {
    let ttl = |text: &str, at: &str| {
        let (data, _) = read_files(&[("z/zone", text)]).unwrap();
        let tree = ZoneTree::build(&data, &[]).unwrap();
        let name: Name = at.parse().unwrap();
        tree.node(name.as_wire()).unwrap().rrsets().next().unwrap().ttl
    };
    let soa = "@ SOA ns host 1 2 3 4 500\n@ NS ns\n";
    assert_eq!(ttl(&format!("{soa}ns A 192.0.2.1\n"), "ns.test"), 500);
    assert_eq!(ttl(&format!("{soa}ns A 192.0.2.1\na 30 A 192.0.2.1\nb A 192.0.2.1\n"), "b.test"), 30);
    assert_eq!(ttl(&format!("$TTL 1h\n{soa}ns 30 A 192.0.2.1\na IN 1d A 192.0.2.1\nb A 192.0.2.1\n"), "b.test"), 3600);
    assert_eq!(ttl(&format!("{soa}ns A 192.0.2.1\na IN 1d A 192.0.2.1\n"), "a.test"), 86_400);
}

#[test]
fn includes() {
    let zone = format!("{HEAD}$ORIGIN sub\n$INCLUDE inc/a\nb CNAME @\nc TXT x\n$INCLUDE ../top other.test.\n MX 1 c\n");
    let a = "a A 192.0.2.7\n$ORIGIN deep\n$INCLUDE b\n";
    let read = read_files(&[
        ("z/zone", &zone),
        ("z/inc/a", a),
        ("z/inc/b", "@ A 192.0.2.8\n"),
        ("z/../top", "t A 192.0.2.9\n"),
    ]);
    let (data, warnings) = read.unwrap();
    assert_eq!(warnings, []);
    let paths: Vec<_> = data.files().iter().map(|path| path.to_str().unwrap()).collect();
    assert_eq!(paths, ["z/zone", "z/inc/a", "z/inc/b", "z/../top"]);
    let tree = ZoneTree::build(&data, &[]).unwrap();
    for name in ["a.sub.test", "deep.sub.test", "t.other.test", "b.sub.test", "c.sub.test"] {
        let name: Name = name.parse().unwrap();
        assert!(matches!(tree.find(name.as_wire(), 255), Found::Answer { .. }), "{name}");
    }
    // Owner and origin of an include end with it: the last record is of 'c'.
    assert_eq!(tree.node(b"\x01c\x03sub\x04test\0").unwrap().rrsets().len(), 2);
    let b: Name = "b.sub.test".parse().unwrap();
    let Found::Cname { rrset, .. } = tree.find(b.as_wire(), 1) else { panic!() };
    assert_eq!(rrset.rdatas().collect::<Vec<_>>(), [b"\x03sub\x04test\0"]);
}

#[test]
fn includes_that_go_wrong() {
    let include = |files: &[(&str, &str)]| {
        let zone = format!("{HEAD}$INCLUDE a\n");
        problems(read_files(&[&[("z/zone", &*zone)], files].concat()))
    };
    assert_eq!(include(&[]), ["unreadable-include 5:10"]);
    assert_eq!(include(&[("z/a", "x A 192.0.2.1\ny A x\n")]), ["z/a bad-data 2:5"]);
    assert_eq!(
        include(&[("z/a", "$INCLUDE zone\n$INCLUDE a\n")]),
        ["z/a include-cycle 1:10", "z/a include-cycle 2:10"]
    );
    assert_eq!(include(&[("z/a", " A 192.0.2.1\n")]), ["z/a no-owner 1:2"]);
    let names: Vec<String> = (0..9).map(|depth| format!("z/{}", "a".repeat(depth + 1))).collect();
    let texts: Vec<String> = (0..9).map(|depth| format!("$INCLUDE {}\n", "a".repeat(depth + 2))).collect();
    let chain: Vec<_> = names.iter().zip(&texts).map(|(name, text)| (&**name, &**text)).collect();
    assert_eq!(include(&chain), ["z/aaaaaaa too-many-includes 1:10"]);
    // Each level doubles: bounded by the number of includes, not by depth alone.
    let texts: Vec<String> = (0..9).map(|depth| format!("$INCLUDE {}\n", "a".repeat(depth + 2)).repeat(9)).collect();
    let bomb: Vec<_> = names.iter().zip(&texts).map(|(name, text)| (&**name, &**text)).collect();
    assert_eq!(include(&bomb).len(), 101);
    let mut none: BTreeMap<PathBuf, Arc<[u8]>> = BTreeMap::new();
    assert_eq!(problems(read(&mut none, Path::new("z/zone"), &Name::root())), ["unreadable-zone -"]);
}

#[test]
fn every_type_reads() {
    let data = r#"a HINFO "x" "y"
a MINFO b c
a MB b
a MG b
a MR b
a PTR b
a RP b c
a SSHFP 1 1 0000000000000000000000000000000000000000
a TLSA 3 1 1 0000000000000000000000000000000000000000000000000000000000000000
a NAPTR 1 2 "s" "x" "" b
a CAA 128 issue "ca.example; x=y"
a HTTPS 1 . alpn="h2,h3" ipv4hint=192.0.2.1
a SVCB 0 b
a TXT "Grüße" plain "a;b(c)" ""
a OPENPGPKEY AAAA
a CDS 0 0 0 00
a ZONEMD 1 1 1 000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000
a IPSECKEY 10 1 2 192.0.2.38 AQNR
a TYPE65000 \# 3 0a0b 0c
a LOC \# 1 00
a SPF \# 2 0178
b CLASS1 TYPE1 \# 4 c0000201
"#;
    let (data, warnings) = read_files(&[("z/zone", &format!("{HEAD}{data}"))]).unwrap();
    assert_eq!(warnings, []);
    let tree = ZoneTree::build(&data, &[]).unwrap();
    let rrset = |name: &str, rtype| {
        let name: Name = name.parse().unwrap();
        tree.node(name.as_wire()).unwrap().rrset(rtype).unwrap().rdatas().next().unwrap().to_vec()
    };
    assert_eq!(rrset("b.test", 1), [192, 0, 2, 1]);
    assert_eq!(rrset("a.test", 65000), [10, 11, 12]);
    assert_eq!(rrset("a.test", 16), "\x07Grüße\x05plain\x06a;b(c)\x00".as_bytes());
    assert_eq!(tree.node(b"\x01a\x04test\0").unwrap().rrsets().len(), 21);
}

/// A zone of lines that meet each other: what is good alone may clash.
fn lines() -> impl Strategy<Value = String> {
    let name = prop::sample::select(vec!["@", "a", "b.a", "*", "*.a", "c.b.a", "x.", "test.", " ", "a..b", "\\000.a"]);
    let data = prop::sample::select(vec![
        "SOA a b 1 2 3 4 5",
        "NS a",
        "NS b.a",
        "A 192.0.2.1",
        "AAAA ::1",
        "CNAME a",
        "CNAME c.b.a",
        "DNAME b.a",
        "MX 1 a",
        "TXT \"x\" y",
        "SRV 0 0 1 b.a",
        "DS 1 13 2 00",
        "TYPE9 \\# 1 00",
        "A 1 (",
        "TXT \"",
        ") A",
        "60 IN A 192.0.2.9",
        "HTTPS 1 . alpn=\"h2\"",
        "CAA 0 issue x",
    ]);
    let line = (name, data).prop_map(|(name, data)| format!("{name} {data}\n"));
    prop::collection::vec(line, 0..12).prop_map(|lines| lines.concat())
}

fn never_panics(text: &[u8]) -> Result<(), TestCaseError> {
    let mut files: BTreeMap<PathBuf, Arc<[u8]>> = BTreeMap::from([("z/zone".into(), text.into())]);
    let lines = 1 + text.iter().filter(|&&octet| octet == b'\n').count();
    let problems = match read(&mut files, Path::new("z/zone"), &"test".parse::<Name>().unwrap()) {
        Ok((data, warnings)) => {
            let tree = ZoneTree::build(&data, &[]).map_err(|problems| TestCaseError::fail(format!("{problems:?}")))?;
            for name in ["test", "a.test", "z.a.test", "q.c.b.a.test", "*.test", "other"] {
                for qtype in [1, 2, 5, 43, 255] {
                    let _ = tree.find(name.parse::<Name>().unwrap().as_wire(), qtype);
                }
            }
            prop_assert!(tree.soa().len() == 1 && !tree.ns().octets().is_empty());
            warnings
        }
        Err(problems) => problems,
    };
    for problem in &problems {
        prop_assert!(problem.spot.as_ref().is_none_or(|spot| spot.line <= lines && spot.span.end <= text.len()));
    }
    Ok(())
}

const GOOD: &str = r#"$TTL 1h
@ SOA ns host ( 1 2h
 3 4 5 ) ; c
	NS ns
ns A 192.0.2.1
 AAAA 2001:db8::1
$ORIGIN sub
a TXT "x\034y" z\.
*.b MX 10 @
c HTTPS 1 . alpn="h2,h3" port=443
_x._tcp SRV 0 0 1 a
d CAA 0 issue "x"
e TYPE65000 \# 2 0a 0b
f NAPTR 1 2 "s" "x" "" b
g RP b c
h HINFO a b
i SSHFP 1 1 00
"#;

/// What is mutated below is good.
#[test]
fn the_seed_is_good() {
    whole(GOOD, &[]);
}

/// Where in it, how many octets go, what comes instead.
fn edit() -> impl Strategy<Value = (usize, usize, String)> {
    (0..GOOD.len(), 0..6_usize, "[\\x00-\\x7f]{0,3}|[\"();\\\\@$.=#\n ]{1,4}")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn any_octets(text in prop::collection::vec(any::<u8>(), 0..300)) {
        never_panics(&text)?;
    }

    #[test]
    fn mutated_zones(edits in prop::collection::vec(edit(), 1..6)) {
        let mut text = GOOD.as_bytes().to_vec();
        for (at, length, with) in edits {
            let at = at.min(text.len());
            let end = (at + length).min(text.len());
            text.splice(at..end, with.bytes());
        }
        never_panics(&text)?;
    }

    #[test]
    fn records_that_clash(lines in lines()) {
        never_panics(format!("{HEAD}{lines}").as_bytes())?;
        never_panics(lines.as_bytes())?;
    }

    /// Each record costs its own problem only: good ones around a broken one are found good.
    #[test]
    fn errors_stay_on_their_line(broken in "[a-z0-9 .\"\\\\@#=]{1,30}") {
        let text = format!("{HEAD}{broken}\nlast A x\n");
        let seen = problems(read_files(&[("z/zone", &text)]));
        prop_assert!(seen.iter().any(|problem| problem == "bad-data 6:8"), "{seen:?}");
        prop_assert!(seen.iter().all(|problem| problem.contains(" 5:") || problem == "bad-data 6:8"), "{seen:?}");
    }
}
