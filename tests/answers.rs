//! What is answered from zones: scripted exchanges that read like the RFCs' own examples, through the
//! bytes of whole messages.
#![allow(clippy::unwrap_used, missing_docs)]

#[path = "support/dns.rs"]
mod dns;

use std::sync::LazyLock;

use dns::{Ask, World, files, lines};
use hickory_proto::rr::DNSClass;
use meridian::table::CounterKey;

const CONFIG: &str = r#"
    [geoip]
    databases = []

    [[endpoints]]
    name = "one"
    cloud = "aws"
    region = "us-east-1"
    addresses = ["198.51.100.1", "2001:db8::1"]

    [[endpoints]]
    name = "four"
    cloud = "aws"
    region = "us-east-1"
    addresses = ["198.51.100.4"]

    [[zones]]
    name = "shop.example"
    file = "shop.zone"

    [[zones]]
    name = "sister.example"
    file = "sister.zone"

    [[services]]
    name = "www.shop.example"
    endpoints = ["one"]

    [[services]]
    name = "*.store.shop.example"
    endpoints = ["one"]
    ttl = "20m"

    [[services]]
    name = "v4.shop.example"
    endpoints = ["four"]
"#;

const SHOP: &str = r#"
$TTL 3600
@           SOA     ns1 hostmaster 7 7200 900 1209600 300
            NS      ns1
            NS      ns2.dns.test.
            MX      10 mx1
            MX      20 www
            TXT     "v=spf1 mx -all" "and more"
            CAA     0 issue "ca.test"
ns1         A       192.0.2.53
            AAAA    2001:db8::53
mx1         A       192.0.2.25
_https._tcp SRV     0 5 443 www
www         TXT     "steered"
static      A       192.0.2.80
            TYPE65280 \# 3 0a0b0c

alias       CNAME   static
out         CNAME   www.elsewhere.test.
chain       CNAME   link
link        CNAME   alias
loop        CNAME   pool
pool        CNAME   loop
dangling    CNAME   nowhere
sister      CNAME   host.sister.example.
lost        CNAME   nobody.sister.example.
towww       CNAME   WWW
tostore     CNAME   acme.store
tochild     CNAME   host.child
*.cwild     CNAME   www

c0 CNAME c1
c1 CNAME c2
c2 CNAME c3
c3 CNAME c4
c4 CNAME c5
c5 CNAME c6
c6 CNAME c7
c7 CNAME c8
c8 CNAME c9
c9 CNAME static

old         DNAME   new
host.new    A       192.0.2.90
steer.new   CNAME   www
away        DNAME   elsewhere.test.
mirror      DNAME   rorrim
rorrim      DNAME   mirror
twice       DNAME   shop.example.
long        DNAME   aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb.ccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc

*.wild      A       192.0.2.81
            MX      10 mx1
docs.wild   TXT     "not covered"
deep.in.ent A       192.0.2.82

child       NS      ns1.child
            NS      ns.dns.test.
            DS      12345 13 2 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
ns1.child   A       192.0.2.54
            AAAA    2001:db8::54
"#;

/// Its SOA's own TTL is below the minimum field.
const SISTER: &str = "
$TTL 3600
@    60     SOA ns1 hostmaster 7 7200 900 1209600 300
@           NS  ns1
ns1         A   192.0.2.53
host        A   192.0.2.99
";

static WORLD: LazyLock<World> = LazyLock::new(|| {
    // RRsets too long for 512 and for 1232 octets: each record has some 200.
    let record = |name: &str, n: usize| format!("{name} TXT \"{n}{}\"\n", "0123456789".repeat(19));
    let big = (0..3).map(|n| record("big", n)).chain((0..7).map(|n| record("huge", n))).collect::<String>();
    let shop = format!("{SHOP}{big}");
    World::new(files([
        ("config.toml", CONFIG.as_bytes()),
        ("shop.zone", shop.as_bytes()),
        ("sister.zone", SISTER.as_bytes()),
    ]))
});

const SOA: &str = "shop.example. 300 IN SOA ns1.shop.example. hostmaster.shop.example. 7 7200 900 1209600 300";

fn check(ask: &Ask, expected: &str) {
    let reply = WORLD.ask(ask).to_string();
    assert_eq!(reply, lines(&expected.replace("{SOA}", SOA)), "to {}", ask.message.queries[0]);
}

/// `NAME TYPE` without EDNS.
fn exchange(question: &str, expected: &str) {
    let (name, rtype) = question.split_once(' ').unwrap();
    check(&Ask::new(name, rtype), expected);
}

#[test]
fn records_of_the_zone() {
    exchange(
        "shop.example SOA",
        "NOERROR aa
        AN shop.example. 3600 IN SOA ns1.shop.example. hostmaster.shop.example. 7 7200 900 1209600 300",
    );
    exchange(
        "shop.example NS",
        "NOERROR aa
        AN shop.example. 3600 IN NS ns1.shop.example.
        AN shop.example. 3600 IN NS ns2.dns.test.
        AD ns1.shop.example. 3600 IN A 192.0.2.53
        AD ns1.shop.example. 3600 IN AAAA 2001:db8::53",
    );
    // No additional addresses: one of the targets is steered (BEHAVIOUR rule 9), and answers are minimal.
    exchange(
        "shop.example MX",
        "NOERROR aa
        AN shop.example. 3600 IN MX 10 mx1.shop.example.
        AN shop.example. 3600 IN MX 20 www.shop.example.",
    );
    exchange("shop.example TXT", "NOERROR aa\nAN shop.example. 3600 IN TXT \"v=spf1 mx -all\" \"and more\"");
    exchange("shop.example CAA", "NOERROR aa\nAN shop.example. 3600 IN CAA 0 issue \"ca.test\"");
    exchange(
        "_https._tcp.shop.example SRV",
        "NOERROR aa\nAN _https._tcp.shop.example. 3600 IN SRV 0 5 443 www.shop.example.",
    );
    exchange(
        "static.shop.example TYPE65280",
        "NOERROR aa
        AN static.shop.example. 3600 IN TYPE65280 \\# 3 0a0b0c",
    );
}

#[test]
fn negative_answers_bear_the_soa() {
    for nodata in ["static.shop.example AAAA", "ns1.shop.example TYPE65281", "shop.example A", "ent.shop.example A"] {
        exchange(nodata, "NOERROR aa\nNS {SOA}");
    }
    exchange("in.ent.shop.example TXT", "NOERROR aa\nNS {SOA}"); // an empty non-terminal (RFC 8020)
    exchange("nowhere.shop.example A", "NXDOMAIN aa\nNS {SOA}");
    exchange("below.static.shop.example A", "NXDOMAIN aa\nNS {SOA}");
    // RFC 2308 §3: the smaller of the minimum field and the SOA's TTL.
    exchange(
        "nobody.sister.example A",
        "NXDOMAIN aa
        NS sister.example. 60 IN SOA ns1.sister.example. hostmaster.sister.example. 7 7200 900 1209600 300",
    );
}

#[test]
fn negative_answers_at_steered_names_last_no_longer_than_the_service() {
    let short =
        "NOERROR aa\nNS shop.example. 20 IN SOA ns1.shop.example. hostmaster.shop.example. 7 7200 900 1209600 300";
    exchange("www.shop.example MX", short);
    exchange("v4.shop.example AAAA", short);
    exchange("v4.shop.example HTTPS", short);
    // A service's TTL above the minimum changes nothing.
    exchange("acme.store.shop.example MX", "NOERROR aa\nNS {SOA}");
    exchange("store.shop.example A", "NOERROR aa\nNS {SOA}");
}

#[test]
fn aliases() {
    exchange(
        "alias.shop.example A",
        "NOERROR aa
        AN alias.shop.example. 3600 IN CNAME static.shop.example.
        AN static.shop.example. 3600 IN A 192.0.2.80",
    );
    exchange("alias.shop.example CNAME", "NOERROR aa\nAN alias.shop.example. 3600 IN CNAME static.shop.example.");
    exchange("out.shop.example A", "NOERROR aa\nAN out.shop.example. 3600 IN CNAME www.elsewhere.test.");
    exchange(
        "chain.shop.example A",
        "NOERROR aa
        AN chain.shop.example. 3600 IN CNAME link.shop.example.
        AN link.shop.example. 3600 IN CNAME alias.shop.example.
        AN alias.shop.example. 3600 IN CNAME static.shop.example.
        AN static.shop.example. 3600 IN A 192.0.2.80",
    );
    exchange(
        "sister.shop.example A",
        "NOERROR aa
        AN sister.shop.example. 3600 IN CNAME host.sister.example.
        AN host.sister.example. 3600 IN A 192.0.2.99",
    );
}

#[test]
fn aliases_that_lead_nowhere() {
    exchange(
        "alias.shop.example AAAA",
        "NOERROR aa
        AN alias.shop.example. 3600 IN CNAME static.shop.example.
        NS {SOA}",
    );
    // RFC 6604 §2: the last name's response code.
    exchange(
        "dangling.shop.example A",
        "NXDOMAIN aa
        AN dangling.shop.example. 3600 IN CNAME nowhere.shop.example.
        NS {SOA}",
    );
    exchange(
        "lost.shop.example A",
        "NXDOMAIN aa
        AN lost.shop.example. 3600 IN CNAME nobody.sister.example.
        NS sister.example. 60 IN SOA ns1.sister.example. hostmaster.sister.example. 7 7200 900 1209600 300",
    );
    exchange(
        "loop.shop.example A",
        "NOERROR aa
        AN loop.shop.example. 3600 IN CNAME pool.shop.example.
        AN pool.shop.example. 3600 IN CNAME loop.shop.example.",
    );
    // Eight are followed; the client asks on from the ninth's target.
    let long = WORLD.ask(&Ask::new("c0.shop.example", "A")).to_string();
    let last = "AN c8.shop.example. 3600 IN CNAME c9.shop.example.";
    assert!(long.lines().count() == 1 + 9 && long.ends_with(last), "{long}");
}

#[test]
fn names_below_a_dname() {
    exchange(
        "host.old.shop.example A",
        "NOERROR aa
        AN old.shop.example. 3600 IN DNAME new.shop.example.
        AN host.old.shop.example. 3600 IN CNAME host.new.shop.example.
        AN host.new.shop.example. 3600 IN A 192.0.2.90",
    );
    exchange("old.shop.example DNAME", "NOERROR aa\nAN old.shop.example. 3600 IN DNAME new.shop.example.");
    exchange("old.shop.example A", "NOERROR aa\nNS {SOA}");
    exchange(
        "a.b.away.shop.example A",
        "NOERROR aa
        AN away.shop.example. 3600 IN DNAME elsewhere.test.
        AN a.b.away.shop.example. 3600 IN CNAME a.b.elsewhere.test.",
    );
    exchange(
        "none.old.shop.example A",
        "NXDOMAIN aa
        AN old.shop.example. 3600 IN DNAME new.shop.example.
        AN none.old.shop.example. 3600 IN CNAME none.new.shop.example.
        NS {SOA}",
    );
    // RFC 6672 §2.2: the name that comes out is too long.
    let label = "d".repeat(60);
    let reply = WORLD.ask(&Ask::new(&format!("{label}.long.shop.example"), "A"));
    assert_eq!((reply.rcode(), reply.message.answers.len()), ("YXDOMAIN", 1));
    exchange(
        "x.twice.twice.shop.example A",
        "NXDOMAIN aa
        AN twice.shop.example. 3600 IN DNAME shop.example.
        AN x.twice.twice.shop.example. 3600 IN CNAME x.twice.shop.example.
        AN x.twice.shop.example. 3600 IN CNAME x.shop.example.
        NS {SOA}",
    );
    exchange(
        "x.mirror.shop.example A",
        "NOERROR aa
        AN mirror.shop.example. 3600 IN DNAME rorrim.shop.example.
        AN x.mirror.shop.example. 3600 IN CNAME x.rorrim.shop.example.
        AN rorrim.shop.example. 3600 IN DNAME mirror.shop.example.
        AN x.rorrim.shop.example. 3600 IN CNAME x.mirror.shop.example.",
    );
}

#[test]
fn wildcards() {
    exchange("any.wild.shop.example A", "NOERROR aa\nAN any.wild.shop.example. 3600 IN A 192.0.2.81");
    exchange("a.b.wild.shop.example A", "NOERROR aa\nAN a.b.wild.shop.example. 3600 IN A 192.0.2.81");
    exchange("any.wild.shop.example TXT", "NOERROR aa\nNS {SOA}");
    // RFC 4592 §2.2.1: it covers no name that exists, nor what is below one.
    exchange("docs.wild.shop.example A", "NOERROR aa\nNS {SOA}");
    exchange("x.docs.wild.shop.example A", "NXDOMAIN aa\nNS {SOA}");
    exchange("*.wild.shop.example A", "NOERROR aa\nAN *.wild.shop.example. 3600 IN A 192.0.2.81");
    exchange(
        "x.cwild.shop.example A",
        "NOERROR aa
        AN x.cwild.shop.example. 3600 IN CNAME www.shop.example.
        AN www.shop.example. 20 IN A 198.51.100.1",
    );
}

#[test]
fn referrals() {
    let referral = "NS child.shop.example. 3600 IN NS ns1.child.shop.example.
        NS child.shop.example. 3600 IN NS ns.dns.test.
        AD ns1.child.shop.example. 3600 IN A 192.0.2.54
        AD ns1.child.shop.example. 3600 IN AAAA 2001:db8::54";
    for question in
        ["child.shop.example A", "child.shop.example NS", "ns1.child.shop.example A", "a.b.child.shop.example MX"]
    {
        exchange(question, &format!("NOERROR\n{referral}"));
    }
    // AA speaks of the question's name, which is ours (RFC 1034 §4.3.2 step 3a).
    exchange(
        "tochild.shop.example A",
        &format!("NOERROR aa\nAN tochild.shop.example. 3600 IN CNAME host.child.shop.example.\n{referral}"),
    );
    // DS is the parent's (RFC 4035 §3.1.4.1).
    let ds = WORLD.ask(&Ask::new("child.shop.example", "DS"));
    assert!(ds.message.metadata.authoritative && ds.message.answers.len() == 1 && ds.message.authorities.is_empty());
}

#[test]
fn services_in_the_zone() {
    exchange("www.shop.example A", "NOERROR aa\nAN www.shop.example. 20 IN A 198.51.100.1");
    exchange("www.shop.example AAAA", "NOERROR aa\nAN www.shop.example. 20 IN AAAA 2001:db8::1");
    exchange("www.shop.example TXT", "NOERROR aa\nAN www.shop.example. 3600 IN TXT \"steered\"");
    exchange("acme.store.shop.example A", "NOERROR aa\nAN acme.store.shop.example. 1200 IN A 198.51.100.1");
    exchange("v4.shop.example A", "NOERROR aa\nAN v4.shop.example. 20 IN A 198.51.100.4");
    exchange(
        "tostore.shop.example AAAA",
        "NOERROR aa
        AN tostore.shop.example. 3600 IN CNAME acme.store.shop.example.
        AN acme.store.shop.example. 1200 IN AAAA 2001:db8::1",
    );
    exchange(
        "steer.old.shop.example A",
        "NOERROR aa
        AN old.shop.example. 3600 IN DNAME new.shop.example.
        AN steer.old.shop.example. 3600 IN CNAME steer.new.shop.example.
        AN steer.new.shop.example. 3600 IN CNAME www.shop.example.
        AN www.shop.example. 20 IN A 198.51.100.1",
    );
}

#[test]
fn any_gets_one_rrset() {
    // RFC 8482 §4.1: the smallest.
    exchange("static.shop.example ANY", "NOERROR aa\nAN static.shop.example. 3600 IN TYPE65280 \\# 3 0a0b0c");
    exchange("alias.shop.example ANY", "NOERROR aa\nAN alias.shop.example. 3600 IN CNAME static.shop.example.");
    exchange("www.shop.example ANY", "NOERROR aa\nAN www.shop.example. 20 IN A 198.51.100.1");
    exchange("ent.shop.example ANY", "NOERROR aa\nNS {SOA}");
    exchange("nowhere.shop.example ANY", "NXDOMAIN aa\nNS {SOA}");
}

#[test]
fn what_is_not_ours_is_refused() {
    for name in ["elsewhere.test", "example", ".", "notshop.example"] {
        exchange(&format!("{name} A"), "REFUSED");
        check(&Ask::new(name, "A").edns(4096), "REFUSED\nOPT 1232 error=20");
    }
    check(&Ask::new("shop.example", "TXT").class(DNSClass::CH).edns(4096), "REFUSED\nOPT 1232 error=21");
    check(&Ask::new("shop.example", "TXT").class(DNSClass::ANY), "REFUSED");
    for transfer in ["AXFR", "IXFR"] {
        check(&Ask::new("shop.example", transfer).tcp().edns(1232), "REFUSED\nOPT 1232 error=21");
    }
}

#[test]
fn what_is_too_long_for_a_datagram_is_truncated_whole() {
    let big = |ask: Ask| WORLD.ask(&ask);
    let first = "NOERROR aa tc";
    // RFC 1035 §4.2.1: 512 without EDNS; an RRset is never cut in two (RFC 2181 §9).
    let reply = big(Ask::new("big.shop.example", "TXT"));
    assert_eq!((reply.to_string().as_str(), reply.length <= 512), (first, true));
    assert_eq!(big(Ask::new("big.shop.example", "TXT").edns(1232)).message.answers.len(), 3);
    // A size below 512 counts as 512 (RFC 6891 §6.2.3), one above 1232 as 1232.
    assert_eq!(big(Ask::new("big.shop.example", "TXT").edns(100)).to_string(), format!("{first}\nOPT 1232"));
    assert_eq!(big(Ask::new("huge.shop.example", "TXT").edns(4096)).to_string(), format!("{first}\nOPT 1232"));
    let whole = big(Ask::new("huge.shop.example", "TXT").tcp());
    assert_eq!((whole.message.answers.len(), whole.message.metadata.truncation), (7, false));
    assert!(whole.length > 1232);
}

#[test]
fn edns() {
    // RFC 6891 §6.1.3: the version that we speak, and nothing else.
    let versed = Ask::new("www.shop.example", "A").edns(1232).edns_version(1);
    check(&versed, "BADVERS\nOPT 1232");
    assert_eq!(WORLD.ask(&versed).message.edns.unwrap().version(), 0);
    // DO is copied (RFC 3225 §3).
    let mut secure = Ask::new("static.shop.example", "A").edns(1232);
    secure.message.edns.as_mut().unwrap().set_dnssec_ok(true);
    assert!(WORLD.ask(&secure).message.edns.unwrap().flags().dnssec_ok);
    // Cookies and the like are passed over.
    let mut cookie = Ask::new("static.shop.example", "A").edns(1232);
    let option = hickory_proto::rr::rdata::opt::EdnsOption::Unknown(10, vec![1; 8]);
    cookie.message.edns.as_mut().unwrap().options_mut().insert(option);
    check(&cookie, "NOERROR aa\nAN static.shop.example. 3600 IN A 192.0.2.80\nOPT 1232");
}

#[test]
fn case_is_kept() {
    // draft-vixie-dnsext-dns0x20: the question's, in the owner too; records keep the zone's.
    exchange("WwW.sHoP.eXaMpLe A", "NOERROR aa\nAN WwW.sHoP.eXaMpLe. 20 IN A 198.51.100.1");
    exchange("Any.wiLd.shop.example A", "NOERROR aa\nAN Any.wiLd.shop.example. 3600 IN A 192.0.2.81");
    // Names take the case of what they are compressed with, and mean the same.
    let alias = WORLD.ask(&Ask::new("TOwww.SHOP.example", "A"));
    assert_eq!(WORLD.who(&alias), ["one"]);
    let owner = &alias.message.answers[1].name;
    assert_eq!(owner.to_ascii().to_ascii_lowercase(), "www.shop.example.");
}

#[test]
fn a_client_subnet_is_echoed_with_scope_0_where_it_decides_nothing() {
    // RFC 7871 §7.2.1, §7.4: unsteered names, negative answers, referrals, refusals.
    for (name, rtype) in [
        ("static.shop.example", "A"),
        ("www.shop.example", "TXT"),
        ("www.shop.example", "MX"),
        ("v4.shop.example", "AAAA"),
        ("nowhere.shop.example", "A"),
        ("dangling.shop.example", "A"),
        ("child.shop.example", "A"),
        ("elsewhere.test", "A"),
    ] {
        let reply = WORLD.ask(&Ask::new(name, rtype).subnet("203.0.113.0/24"));
        assert!(reply.to_string().contains(" subnet=203.0.113.0/24/0"), "{name} {rtype}: {reply}");
        let reply = WORLD.ask(&Ask::new(name, rtype).subnet("2001:db8:1:200::/56"));
        assert!(reply.to_string().contains(" subnet=2001:db8:1:200::/56/0"), "{name} {rtype}: {reply}");
    }
}

#[test]
fn every_answer_is_counted_by_zone_and_code() {
    let world = WORLD.with_snapshot(WORLD.snapshot.clone());
    for (name, rtype) in [
        ("www.shop.example", "A"),
        ("static.shop.example", "A"),
        ("nowhere.shop.example", "A"),
        ("host.sister.example", "A"),
        ("elsewhere.test", "A"),
    ] {
        world.ask(&Ask::new(name, rtype));
    }
    let count = |zone: &str, slot| world.count(&CounterKey::Queries(zone.into(), slot));
    assert_eq!(
        [count("shop.example", 0), count("shop.example", 3), count("sister.example", 0), count("", 5)],
        [2, 1, 1, 1]
    );
    assert_eq!(world.count(&CounterKey::Endpoint("one".into())), 1);
    assert_eq!(world.count(&CounterKey::Service("www.shop.example".into())), 1);
    assert_eq!(world.count(&CounterKey::Location("default")), 1);
}

#[test]
fn steered_names_stay_silent_until_probes_have_been_round() {
    let mut snapshot = WORLD.snapshot.clone();
    snapshot.steering = false;
    let world = WORLD.with_snapshot(snapshot);
    let silent = |name: &str, rtype: &str| {
        let ask = Ask::new(name, rtype);
        world.octets(ask.asker, &ask.octets()).is_none()
    };
    assert!(silent("www.shop.example", "A") && silent("towww.shop.example", "AAAA"));
    // Static names never wait (BEHAVIOUR rule 11).
    assert!(!silent("static.shop.example", "A") && !silent("www.shop.example", "TXT"));
}
