//! Zones that read like the RFCs' own examples: master file in, what is found out.
#![allow(clippy::unwrap_used, missing_docs)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use meridian::model::{Name, ServiceId, Spot};
use meridian::zone::{Found, Steered, ZoneData, ZoneTree, Zones, read};

const A: u16 = 1;
const NS: u16 = 2;
const CNAME: u16 = 5;
const SOA: u16 = 6;
const MX: u16 = 15;
const TXT: u16 = 16;
const AAAA: u16 = 28;
const SRV: u16 = 33;
const DNAME: u16 = 39;
const DS: u16 = 43;
const ANY: u16 = 255;

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn read_zone(apex: &str, text: &str) -> ZoneData {
    let mut files: BTreeMap<PathBuf, Arc<[u8]>> = BTreeMap::from([("zone".into(), text.as_bytes().into())]);
    let (data, warnings) = read(&mut files, Path::new("zone"), &name(apex)).unwrap();
    assert_eq!(warnings, [], "warnings");
    data
}

fn tree(apex: &str, text: &str) -> ZoneTree {
    ZoneTree::build(&read_zone(apex, text), &[]).unwrap()
}

fn service(at: &str, id: u32) -> Steered {
    let spot = Some(Spot { line: 7, column: 8, span: 90..92 });
    Steered { name: name(at), service: ServiceId(id), file: "config.toml".into(), spot }
}

/// What is found, in words: `answer`, `*answer` where a wildcard made it, and so on. Data is shown
/// as hexadecimal octets, names in it as text.
fn ask(tree: &ZoneTree, qname: &str, qtype: u16) -> String {
    let qname = name(qname);
    let star = |wildcard| if wildcard { "*" } else { "" };
    let owner = |wire: &[u8]| Name::from_wire(wire).unwrap().to_string();
    match tree.find(qname.as_wire(), qtype) {
        Found::Answer { rrset, wildcard } => format!("{}answer {:?}", star(wildcard), rrset),
        Found::Steered { service, wildcard } => format!("{}steered {}", star(wildcard), service.0),
        Found::Cname { rrset, wildcard } => {
            format!("{}cname {}", star(wildcard), owner(rrset.rdatas().next().unwrap()))
        }
        Found::Dname { owner: at, rrset } => {
            format!("dname {} {}", owner(at), owner(rrset.rdatas().next().unwrap()))
        }
        Found::Referral { owner: at, ns } => format!("referral {} {}", owner(at), ns.len()),
        Found::NoData { service } => service.map_or("nodata".to_owned(), |service| format!("nodata {}", service.0)),
        Found::NxDomain => "nxdomain".to_owned(),
    }
}

#[track_caller]
fn asked(tree: &ZoneTree, cases: &[(&str, u16, &str)]) {
    for (qname, qtype, expected) in cases {
        assert_eq!(ask(tree, qname, *qtype), *expected, "{qname} {qtype}");
    }
}

/// The zone of RFC 1034 §6.1, without WKS and with an origin, cut down to what §6.2 asks of it.
#[test]
fn rfc_1034_section_6_2() {
    let root = tree(
        ".",
        ". 86400 IN SOA SRI-NIC.ARPA. HOSTMASTER.SRI-NIC.ARPA. 870611 1800 300 604800 86400
.        NS A.ISI.EDU.
         NS C.ISI.EDU.
         NS SRI-NIC.ARPA.
MIL.     NS SRI-NIC.ARPA.
         NS A.ISI.EDU.
EDU.     NS SRI-NIC.ARPA.
         NS C.ISI.EDU.
SRI-NIC.ARPA. A 26.0.0.73
         A 10.0.0.51
         MX 0 SRI-NIC.ARPA.
ACC.ARPA. A 26.6.0.65
USC-ISIC.ARPA. CNAME C.ISI.EDU.
73.0.0.26.IN-ADDR.ARPA. PTR SRI-NIC.ARPA.
A.ISI.EDU. A 26.3.0.103
C.ISI.EDU. A 10.0.0.52
",
    );
    asked(
        &root,
        &[
            ("sri-nic.arpa", A, "answer 86400 A \\x1a\\x00\\x00I \\n\\x00\\x003"),
            ("sri-nic.arpa", MX, "answer 86400 MX \\x00\\x00\\x07SRI-NIC\\x04ARPA\\x00"),
            ("sri-nic.arpa", NS, "nodata"),
            ("sir-nic.arpa", A, "nxdomain"),
            ("brl.mil", A, "referral mil 2"),
            ("usc-isic.arpa", A, "cname c.isi.edu"),
            ("usc-isic.arpa", CNAME, "answer 86400 CNAME \\x01C\\x03ISI\\x03EDU\\x00"),
            // RFC 8020 and RFC 4592 §2.2.2: an empty non-terminal exists.
            ("in-addr.arpa", A, "nodata"),
            ("isi.edu", A, "referral edu 2"),
            ("c.isi.edu", A, "referral edu 2"),
        ],
    );
    assert_eq!(root.addresses(name("c.isi.edu").as_wire()).count(), 1);
    assert!(matches!(root.find(name("sri-nic.arpa").as_wire(), ANY), Found::Answer { .. }));
}

/// RFC 4592 §2.2.1: the zone and every question of the text.
#[test]
fn rfc_4592_section_2_2_1() {
    let zone = tree(
        "example",
        "$TTL 3600
$ORIGIN example.
example. SOA ns.example.com. hostmaster 1 2 3 4 5
example. NS ns.example.com.
example. NS ns.example.net.
*.example. TXT \"this is a wildcard\"
*.example. MX 10 host1.example.
sub.*.example. TXT \"this is not a wildcard\"
host1.example. A 192.0.2.1
_ssh._tcp.host1.example. SRV 0 0 22 host1
_ssh._tcp.host2.example. SRV 0 0 22 host2
subdel.example. NS ns.example.com.
subdel.example. NS ns.example.net.
",
    );
    let wildcard_mx = "*answer 3600 MX \\x00\\n\\x05host1\\x07example\\x00";
    asked(
        &zone,
        &[
            ("host3.example", MX, wildcard_mx),
            ("host3.example", A, "nodata"),
            ("foo.bar.example", TXT, "*answer 3600 TXT \\x12this is a wildcard"),
            ("host1.example", MX, "nodata"),
            ("sub.*.example", MX, "nodata"),
            ("_telnet._tcp.host1.example", SRV, "nxdomain"),
            ("host.subdel.example", A, "referral subdel.example 2"),
            ("ghost.*.example", MX, "nxdomain"),
            // Asked for literally, `*` is a label as any other.
            ("*.example", MX, "answer 3600 MX \\x00\\n\\x05host1\\x07example\\x00"),
            ("*.example", A, "nodata"),
            // Empty non-terminals stop the wildcard.
            ("_tcp.host1.example", MX, "nodata"),
            ("host2.example", MX, "nodata"),
            ("x.host2.example", MX, "nxdomain"),
            ("subdel.example", MX, "referral subdel.example 2"),
            ("subdel.example", DS, "nodata"),
        ],
    );
    assert_eq!(zone.negative_ttl(), 5);
}

#[test]
fn rfc_4592_section_4_4_a_wildcard_cname() {
    let zone = tree("example", "$TTL 9\n@ SOA a b 1 2 3 4 5\n@ NS ns.test.\n*.x CNAME target\ntarget A 192.0.2.1\n");
    asked(
        &zone,
        &[
            ("a.b.x.example", A, "*cname target.example"),
            ("a.x.example", CNAME, "*answer 9 CNAME \\x06target\\x07example\\x00"),
            ("x.example", A, "nodata"),
        ],
    );
}

/// RFC 6672 §2.2's table, as far as it is look-up, and §5.1's rule on where DNAME holds.
#[test]
fn rfc_6672_dname() {
    let zone = tree(
        "example.com",
        "$TTL 60\n@ SOA a b 1 2 3 4 5\n@ NS ns.test.\nsub DNAME example.net.\nsub TXT \"beside\"\nx.y DNAME .\n",
    );
    asked(
        &zone,
        &[
            ("com.example.com", A, "nxdomain"),
            ("a.sub.example.com", A, "dname sub.example.com example.net"),
            ("a.b.sub.example.com", DNAME, "dname sub.example.com example.net"),
            // The owner itself is not redirected.
            ("sub.example.com", A, "nodata"),
            ("sub.example.com", TXT, "answer 60 TXT \\x06beside"),
            ("sub.example.com", DNAME, "answer 60 DNAME \\x07example\\x03net\\x00"),
            ("asub.example.com", A, "nxdomain"),
            ("shortloop.x.y.example.com", A, "dname x.y.example.com ."),
        ],
    );
    let apex = tree("example.com", "$TTL 60\n@ SOA a b 1 2 3 4 5\n@ NS ns.test.\n@ DNAME example.net.\n");
    asked(&apex, &[("a.example.com", A, "dname example.com example.net"), ("example.com", A, "nodata")]);
    let soa = apex.soa().rdatas().next().unwrap();
    assert!(soa.starts_with(b"\x01a\x07example\x03com\0\x01b\x07example\x03com\0\0\0\0\x01"));
    assert!(ask(&apex, "example.com", SOA).starts_with("answer 60 SOA"));
}

#[test]
fn delegations() {
    let zone = tree(
        "test",
        "$TTL 60\n@ SOA a b 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n*.sub A 192.0.2.9
sub.kid NS ns.deep.sub.kid\nns.deep.sub.kid A 192.0.2.2\nns.deep.sub.kid AAAA 2001:db8::2
sub.kid DS 1 13 2 0000000000000000000000000000000000000000000000000000000000000000\n",
    );
    asked(
        &zone,
        &[
            ("sub.kid.test", A, "referral sub.kid.test 1"),
            ("sub.kid.test", NS, "referral sub.kid.test 1"),
            ("sub.kid.test", ANY, "referral sub.kid.test 1"),
            ("ns.deep.sub.kid.test", A, "referral sub.kid.test 1"),
            ("a.ns.deep.sub.kid.test", DS, "referral sub.kid.test 1"),
            ("deep.sub.kid.test", A, "referral sub.kid.test 1"),
            ("kid.test", A, "nodata"),
            ("test", NS, "answer 60 NS \\x02ns\\x04test\\x00"),
            ("test", DS, "nodata"),
        ],
    );
    assert!(ask(&zone, "sub.kid.test", DS).starts_with("answer 60 DS"));
    assert_eq!(zone.addresses(name("ns.deep.sub.kid.test").as_wire()).count(), 2);
    assert!(zone.nodes().any(|(wire, _)| *wire == *name("ns.deep.sub.kid.test").as_wire()));
}

#[test]
fn services_at_their_names() {
    let data = read_zone(
        "test",
        "$TTL 60\n@ SOA a b 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\nwww TXT \"x\"\nalias CNAME www\n*.y A 192.0.2.3\n",
    );
    let services =
        [service("www.test", 0), service("*.store.test", 1), service("www.elsewhere", 2), service("test", 3)];
    let zone = ZoneTree::build(&data, &services).unwrap();
    asked(
        &zone,
        &[
            ("www.test", A, "steered 0"),
            ("www.test", AAAA, "steered 0"),
            ("www.test", ANY, "steered 0"),
            ("www.test", TXT, "answer 60 TXT \\x01x"),
            ("www.test", MX, "nodata 0"),
            ("a.b.store.test", A, "*steered 1"),
            ("*.store.test", A, "steered 1"),
            ("a.store.test", TXT, "nodata 1"),
            ("store.test", A, "nodata"),
            ("alias.test", A, "cname www.test"),
            ("test", A, "steered 3"),
            ("z.y.test", A, "*answer 60 A \\xc0\\x00\\x02\\x03"),
        ],
    );
    assert_eq!(zone.addresses(name("www.test").as_wire()).count(), 0);
    assert_eq!(zone.node(name("www.test").as_wire()).unwrap().service(), Some(ServiceId(0)));
}

#[test]
fn services_that_clash() {
    let data = read_zone(
        "test",
        "$TTL 60\n@ SOA a b 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\nalias CNAME ns\nd DNAME other.test.\nkid NS ns.w
www AAAA 2001:db8::1\n*.w A 192.0.2.4\n",
    );
    let clash = |at: &str| {
        let problems = ZoneTree::build(&data, &[service(at, 5)]).unwrap_err();
        let lines: Vec<_> = problems
            .iter()
            .map(|problem| {
                assert_eq!((&*problem.file, problem.spot.as_ref().unwrap().line), (Path::new("config.toml"), 7));
                let help = problem.help.as_ref().unwrap();
                format!("{} {}", problem.code, help.split(':').next().unwrap())
            })
            .collect();
        lines.join(", ")
    };
    assert_eq!(clash("alias.test"), "service-below-cname zone line 5");
    assert_eq!(clash("x.alias.test"), "service-below-cname zone line 5");
    assert_eq!(clash("d.test"), "service-below-dname zone line 6");
    assert_eq!(clash("x.y.d.test"), "service-below-dname zone line 6");
    assert_eq!(clash("kid.test"), "service-below-delegation zone line 7");
    assert_eq!(clash("*.kid.test"), "service-below-delegation zone line 7");
    assert_eq!(clash("www.test"), "service-has-addresses zone line 8");
    assert_eq!(clash("ns.test"), "service-has-addresses zone line 4, service-is-name-server zone line 3");
    assert_eq!(clash("ns.w.test"), "service-is-name-server zone line 7");
    let both = ZoneTree::build(&data, &[service("alias.test", 0), service("www.test", 1)]).unwrap_err();
    assert_eq!(both.len(), 2);
}

#[test]
fn the_zone_of_a_name() {
    let zone = |apex: &str| tree(apex, &format!("$ORIGIN {apex}.\n$TTL 60\n@ SOA a b 1 2 3 4 5\n@ NS ns.elsewhere.\n"));
    let zones = Zones::new(vec![zone("example"), zone("shop.example"), zone("op.example")]);
    let find = |qname: &str| {
        let (id, zone) = zones.find_zone(name(qname).as_wire())?;
        Some((id.0, Name::from_wire(zone.apex()).unwrap().to_string()))
    };
    assert_eq!(find("www.shop.example"), Some((1, "shop.example".to_owned())));
    assert_eq!(find("shop.example"), Some((1, "shop.example".to_owned())));
    assert_eq!(find("www.hop.example"), Some((0, "example".to_owned())));
    assert_eq!(find("com"), None);
    assert_eq!(find("."), None);
    assert!(zones.find_zone(b"\x3fbroken").is_none() && zones.find_zone(b"").is_none());
}

#[test]
fn the_shipped_zone_is_good() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("zones");
    let mut files: BTreeMap<PathBuf, Arc<[u8]>> = BTreeMap::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        files.insert(path.clone(), std::fs::read(&path).unwrap().into());
    }
    let (data, warnings) = read(&mut files, &folder.join("shop.example.zone"), &name("shop.example")).unwrap();
    assert_eq!(warnings, []);
    assert_eq!(data.files().len(), 2);
    let names = ["www.shop.example", "api.shop.example", "eu.shop.example", "*.store.shop.example"];
    let services: Vec<_> = names.iter().zip(0..).map(|(name, id)| service(name, id)).collect();
    let zone = ZoneTree::build(&data, &services).unwrap();
    assert_eq!((zone.negative_ttl(), zone.soa().ttl, zone.ns().len()), (300, 3600, 2));
    asked(
        &zone,
        &[
            ("shop.shop.example", A, "cname www.shop.example"),
            ("milan.store.shop.example", AAAA, "*steered 3"),
            ("crm.warehouse.shop.example", A, "referral warehouse.shop.example 2"),
            ("a.preview.shop.example", A, "*answer 3600 A \\xcb\\x00qQ"),
            ("shop.example", A, "nodata"),
            ("none.shop.example", A, "nxdomain"),
        ],
    );
    assert!(ask(&zone, "shop.example", MX).starts_with("answer 3600 MX"));
}
