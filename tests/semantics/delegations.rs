//! Where a zone ends.

use crate::dns::{Ask, World};
use crate::{script, world};

const PARENT: &str = "
    kid       NS   ns1.kid
    kid       NS   ns.sib
    kid       NS   ns.elsewhere.test.
    kid       DS   12345 13 2 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
    ns1.kid   A    192.0.2.1
    ns1.kid   AAAA 2001:db8::1
    sib       NS   ns.sib
    ns.sib    60 A 192.0.2.2
    only      NS   ns.elsewhere.test.
    www       CNAME host.kid
    deep.cut  NS   ns.kid6
    kid6      NS   ns.kid6
    ns.kid6   AAAA 2001:db8::6
    own       NS   ns.plain
    ns.plain  A    192.0.2.9
";

#[test]
fn delegations_with_glue() {
    let kid = "NS kid.p.test. 3600 IN NS ns1.kid.p.test.
        NS kid.p.test. 3600 IN NS ns.sib.p.test.
        NS kid.p.test. 3600 IN NS ns.elsewhere.test.
        AD ns1.kid.p.test. 3600 IN A 192.0.2.1
        AD ns1.kid.p.test. 3600 IN AAAA 2001:db8::1
        AD ns.sib.p.test. 60 IN A 192.0.2.2";
    let text = "
        > kid.p.test A
        NOERROR
        {kid}
        > kid.p.test NS
        NOERROR
        {kid}
        > kid.p.test ANY
        NOERROR
        {kid}
        > a.b.kid.p.test TXT
        NOERROR
        {kid}
        > ns1.kid.p.test A
        NOERROR
        {kid}
        > ns1.kid.p.test DS
        NOERROR
        {kid}
        > www.p.test A
        NOERROR aa
        AN www.p.test. 3600 IN CNAME host.kid.p.test.
        {kid}
        > kid.p.test DS
        NOERROR aa
        AN kid.p.test. 3600 IN DS \\# 36 30390d02e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
        > sib.p.test DS
        NOERROR aa
        NS p.test. {SOA}
        > only.p.test A
        NOERROR
        NS only.p.test. 3600 IN NS ns.elsewhere.test.
        > x.deep.cut.p.test A
        NOERROR
        NS deep.cut.p.test. 3600 IN NS ns.kid6.p.test.
        AD ns.kid6.p.test. 3600 IN AAAA 2001:db8::6
        > cut.p.test NS
        NOERROR aa
        NS p.test. {SOA}
        > own.p.test A
        NOERROR
        NS own.p.test. 3600 IN NS ns.plain.p.test.
        AD ns.plain.p.test. 3600 IN A 192.0.2.9
        > ns.plain.p.test A
        NOERROR aa
        AN ns.plain.p.test. 3600 IN A 192.0.2.9";
    script(&world(&[("p.test", PARENT)]), &text.replace("{kid}", kid));
}

/// Each zone answers for its names, and the parent's for DS at the cut (RFC 4035 §3.1.4.1).
#[test]
fn parent_and_child_on_one_server() {
    let child = "@ NS ns1\nns1 A 192.0.2.1\nhost A 192.0.2.7\n";
    let zones = world(&[
        ("p.test", PARENT),
        ("kid.p.test", child),
        ("sib.p.test", "@ NS ns\nns A 192.0.2.2"),
        ("lost.p.test", "@ TXT \"the parent does not delegate it\""),
        ("sub.only.p.test", "@ TXT \"its parent is elsewhere\""),
    ]);
    script(
        &zones,
        "
        > kid.p.test NS
        NOERROR aa
        AN kid.p.test. 3600 IN NS ns.test.
        AN kid.p.test. 3600 IN NS ns1.kid.p.test.
        AD ns1.kid.p.test. 3600 IN A 192.0.2.1
        > www.p.test A
        NOERROR aa
        AN www.p.test. 3600 IN CNAME host.kid.p.test.
        AN host.kid.p.test. 3600 IN A 192.0.2.7
        > kid.p.test DS
        NOERROR aa
        AN kid.p.test. 3600 IN DS \\# 36 30390d02e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855
        > sib.p.test DS
        NOERROR aa
        NS p.test. {SOA}
        > host.kid.p.test DS
        NOERROR aa
        NS kid.p.test. {SOA}
        > p.test DS
        NOERROR aa
        NS p.test. {SOA}
        > lost.p.test DS
        NOERROR aa
        NS lost.p.test. {SOA}
        > sub.only.p.test DS
        NOERROR aa
        NS sub.only.p.test. {SOA}",
    );
}

/// RFC 9471: addresses of servers below the cut are there, or the reply says that it is cut short; those of
/// siblings are there as far as there is room.
#[test]
fn glue_fits_or_is_truncated() {
    let name = |n: usize| format!("server-of-a-rather-long-name-{n}");
    let servers = |under: &str| (0..8).map(|n| format!("kid NS {}.{under}\n", name(n))).collect::<String>();
    let addresses = |under: &str| {
        (0..8)
            .map(|n| format!("{0}.{under} A 192.0.2.{n}\n{0}.{under} AAAA 2001:db8::{n}\n", name(n)))
            .collect::<String>()
    };
    let below = world(&[("p.test", &format!("{}{}", servers("kid"), addresses("kid")))]);
    let beside = format!("{}kid NS ns.kid\nns.kid A 192.0.2.99\n{}sib NS ns.sib\n", servers("sib"), addresses("sib"));
    let beside = world(&[("p.test", &format!("{beside}ns.sib A 192.0.2.9\n"))]);
    let sections = |world: &World, ask: Ask| {
        let reply = world.ask(&ask);
        let message = &reply.message;
        (message.authorities.len(), message.additionals.len(), message.metadata.truncation)
    };
    let kid = || Ask::new("www.kid.p.test", "A");
    assert_eq!(sections(&below, kid().tcp()), (8, 16, false));
    assert_eq!(sections(&below, kid().edns(1232)), (8, 16, false));
    let (servers, glue, truncated) = sections(&below, kid());
    assert!(servers == 8 && glue < 16 && truncated, "{glue}");
    assert_eq!(sections(&beside, kid().tcp()), (9, 17, false));
    let (servers, glue, truncated) = sections(&beside, kid());
    assert!(servers == 9 && (1..17).contains(&glue) && !truncated, "{glue}");
    let first = &beside.ask(&kid()).message.additionals[0];
    assert_eq!(first.to_string(), "ns.kid.p.test. 3600 IN A 192.0.2.99", "below the cut comes first");
    // The zone's own servers are asked for: their addresses are a courtesy.
    let own = |n: usize| format!("@ NS {0}\n{0} A 192.0.2.{n}\n{0} AAAA 2001:db8::{n}\n", name(n));
    let own = world(&[("p.test", &(0..9).map(own).collect::<String>())]);
    let reply = own.ask(&Ask::new("p.test", "NS"));
    assert_eq!((reply.message.answers.len(), reply.message.metadata.truncation), (10, false));
    assert!((1..18).contains(&reply.message.additionals.len()));
}
