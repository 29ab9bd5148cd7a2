//! What names are: there or not, covered by a wildcard, redirected.

use crate::dns::Ask;
use crate::{script, world};

/// RFC 1034 §6.2: its zone, its questions, and the answers of today: NODATA and NXDOMAIN bear the SOA (RFC
/// 2308 §2), ANY gets one RRset (RFC 8482), MX no addresses.
#[test]
fn rfc_1034_section_6_2() {
    let root = world(&[(
        ".",
        "$TTL 86400
        . SOA SRI-NIC.ARPA. HOSTMASTER.SRI-NIC.ARPA. 870611 1800 300 604800 86400
        . NS A.ISI.EDU.
        . NS C.ISI.EDU.
        . NS SRI-NIC.ARPA.
        MIL. NS SRI-NIC.ARPA.
        MIL. NS A.ISI.EDU.
        EDU. NS SRI-NIC.ARPA.
        EDU. NS C.ISI.EDU.
        SRI-NIC.ARPA. A 26.0.0.73
        SRI-NIC.ARPA. A 10.0.0.51
        SRI-NIC.ARPA. MX 0 SRI-NIC.ARPA.
        SRI-NIC.ARPA. HINFO DEC-2060 TOPS20
        USC-ISIC.ARPA. CNAME C.ISI.EDU.
        73.0.0.26.IN-ADDR.ARPA. PTR SRI-NIC.ARPA.
        A.ISI.EDU. A 26.3.0.103
        C.ISI.EDU. A 10.0.0.52",
    )]);
    let soa = "86400 IN SOA SRI-NIC.ARPA. HOSTMASTER.SRI-NIC.ARPA. 870611 1800 300 604800 86400";
    script(
        &root,
        &"
        > SRI-NIC.ARPA A
        NOERROR aa
        AN SRI-NIC.ARPA. 86400 IN A 26.0.0.73
        AN SRI-NIC.ARPA. 86400 IN A 10.0.0.51
        > SRI-NIC.ARPA ANY
        NOERROR aa
        AN SRI-NIC.ARPA. 86400 IN HINFO DEC-2060 TOPS20
        > SRI-NIC.ARPA MX
        NOERROR aa
        AN SRI-NIC.ARPA. 86400 IN MX 0 SRI-NIC.ARPA.
        > SRI-NIC.ARPA NS
        NOERROR aa
        NS . {soa}
        > SIR-NIC.ARPA A
        NXDOMAIN aa
        NS . {soa}
        > BRL.MIL A
        NOERROR
        NS MIL. 86400 IN NS SRI-NIC.ARPA.
        NS MIL. 86400 IN NS A.ISI.EDU.
        AD SRI-NIC.ARPA. 86400 IN A 26.0.0.73
        AD SRI-NIC.ARPA. 86400 IN A 10.0.0.51
        AD A.ISI.EDU. 86400 IN A 26.3.0.103
        > USC-ISIC.ARPA A
        NOERROR aa
        AN USC-ISIC.ARPA. 86400 IN CNAME C.ISI.EDU.
        NS EDU. 86400 IN NS SRI-NIC.ARPA.
        NS EDU. 86400 IN NS C.ISI.EDU.
        AD C.ISI.EDU. 86400 IN A 10.0.0.52
        AD SRI-NIC.ARPA. 86400 IN A 26.0.0.73
        AD SRI-NIC.ARPA. 86400 IN A 10.0.0.51
        > USC-ISIC.ARPA CNAME
        NOERROR aa
        AN USC-ISIC.ARPA. 86400 IN CNAME C.ISI.EDU.
        > . DS
        NOERROR aa
        NS . {soa}"
            .replace("{soa}", soa),
    );
}

/// RFC 4592 §2.2.1: the zone and the questions of its text.
#[test]
fn rfc_4592_section_2_2_1() {
    let zone = world(&[(
        "example",
        "*       TXT \"this is a wildcard\"
        *        MX 10 host1
        sub.*    TXT \"this is not a wildcard\"
        host1    A 192.0.2.1
        _ssh._tcp.host1 SRV 0 0 22 host1
        _ssh._tcp.host2 SRV 0 0 22 host2
        subdel   NS ns.example.com.
        subdel   NS ns.example.net.",
    )]);
    script(
        &zone,
        "
        > host3.example MX
        NOERROR aa
        AN host3.example. 3600 IN MX 10 host1.example.
        > host3.example A
        NOERROR aa
        NS example. {SOA}
        > foo.bar.example TXT
        NOERROR aa
        AN foo.bar.example. 3600 IN TXT \"this is a wildcard\"
        > host1.example MX
        NOERROR aa
        NS example. {SOA}
        > sub.*.example MX
        NOERROR aa
        NS example. {SOA}
        > _telnet._tcp.host1.example SRV
        NXDOMAIN aa
        NS example. {SOA}
        > host.subdel.example A
        NOERROR
        NS subdel.example. 3600 IN NS ns.example.com.
        NS subdel.example. 3600 IN NS ns.example.net.
        > ghost.*.example MX
        NXDOMAIN aa
        NS example. {SOA}
        > *.example MX
        NOERROR aa
        AN *.example. 3600 IN MX 10 host1.example.",
    );
}

/// Below empty non-terminals, with `*` in the middle, as an alias, and beside what exists.
#[test]
fn wildcards() {
    let zone = world(&[(
        "w.test",
        "*.ent.deep  A 192.0.2.1
        a.*.mid      A 192.0.2.2
        *.alias      CNAME x.ent.deep
        *.out        CNAME www.elsewhere.test.
        *.chain      CNAME y.alias
        *.self       CNAME z.self
        *.both       A 192.0.2.3
        b.both       TXT exists
        *.*.two      A 192.0.2.4",
    )]);
    script(
        &zone,
        "
        > deep.w.test A
        NOERROR aa
        NS w.test. {SOA}
        > x.deep.w.test A
        NXDOMAIN aa
        NS w.test. {SOA}
        > x.y.ent.deep.w.test A
        NOERROR aa
        AN x.y.ent.deep.w.test. 3600 IN A 192.0.2.1
        > a.*.mid.w.test A
        NOERROR aa
        AN a.*.mid.w.test. 3600 IN A 192.0.2.2
        > a.b.mid.w.test A
        NOERROR aa
        NS w.test. {SOA}
        > q.mid.w.test A
        NOERROR aa
        NS w.test. {SOA}
        > n.alias.w.test A
        NOERROR aa
        AN n.alias.w.test. 3600 IN CNAME x.ent.deep.w.test.
        AN x.ent.deep.w.test. 3600 IN A 192.0.2.1
        > n.alias.w.test CNAME
        NOERROR aa
        AN n.alias.w.test. 3600 IN CNAME x.ent.deep.w.test.
        > n.out.w.test AAAA
        NOERROR aa
        AN n.out.w.test. 3600 IN CNAME www.elsewhere.test.
        > n.chain.w.test A
        NOERROR aa
        AN n.chain.w.test. 3600 IN CNAME y.alias.w.test.
        AN y.alias.w.test. 3600 IN CNAME x.ent.deep.w.test.
        AN x.ent.deep.w.test. 3600 IN A 192.0.2.1
        > n.self.w.test A
        NOERROR aa
        AN n.self.w.test. 3600 IN CNAME z.self.w.test.
        AN z.self.w.test. 3600 IN CNAME z.self.w.test.
        > b.both.w.test A
        NOERROR aa
        NS w.test. {SOA}
        > c.b.both.w.test A
        NXDOMAIN aa
        NS w.test. {SOA}
        > x.*.two.w.test A
        NOERROR aa
        AN x.*.two.w.test. 3600 IN A 192.0.2.4
        > x.y.two.w.test A
        NOERROR aa
        NS w.test. {SOA}",
    );
}

/// RFC 6672 §2.2's table, as far as it is one zone's.
#[test]
fn rfc_6672_section_2_2() {
    let zone = world(&[(
        "example.com",
        "sub     DNAME example.net.
        sub      TXT beside
        to.apex  DNAME example.com.
        x.y      DNAME .
        c        CNAME a.sub
        self     DNAME self
        short    60 DNAME d.test.",
    )]);
    script(
        &zone,
        "
        > com.example.com A
        NXDOMAIN aa
        NS example.com. {SOA}
        > a.sub.example.com A
        NOERROR aa
        AN sub.example.com. 3600 IN DNAME example.net.
        AN a.sub.example.com. 3600 IN CNAME a.example.net.
        > a.b.sub.example.com DNAME
        NOERROR aa
        AN sub.example.com. 3600 IN DNAME example.net.
        AN a.b.sub.example.com. 3600 IN CNAME a.b.example.net.
        > sub.example.com TXT
        NOERROR aa
        AN sub.example.com. 3600 IN TXT \"beside\"
        > sub.example.com DNAME
        NOERROR aa
        AN sub.example.com. 3600 IN DNAME example.net.
        > asub.example.com A
        NXDOMAIN aa
        NS example.com. {SOA}
        > c.example.com A
        NOERROR aa
        AN c.example.com. 3600 IN CNAME a.sub.example.com.
        AN sub.example.com. 3600 IN DNAME example.net.
        AN a.sub.example.com. 3600 IN CNAME a.example.net.
        > none.to.apex.example.com A
        NXDOMAIN aa
        AN to.apex.example.com. 3600 IN DNAME example.com.
        AN none.to.apex.example.com. 3600 IN CNAME none.example.com.
        NS example.com. {SOA}
        > shortloop.x.y.example.com A
        NOERROR aa
        AN x.y.example.com. 3600 IN DNAME .
        AN shortloop.x.y.example.com. 3600 IN CNAME shortloop.
        > a.self.example.com A
        NOERROR aa
        AN self.example.com. 3600 IN DNAME self.example.com.
        AN a.self.example.com. 3600 IN CNAME a.self.example.com.
        > a.short.example.com A
        NOERROR aa
        AN short.example.com. 60 IN DNAME d.test.
        AN a.short.example.com. 60 IN CNAME a.d.test.",
    );
}

#[test]
fn a_dname_at_the_apex() {
    let apex = world(&[("d.test", "@ DNAME e.test.\n@ MX 10 mail.e.test.")]);
    script(
        &apex,
        "
        > d.test MX
        NOERROR aa
        AN d.test. 3600 IN MX 10 mail.e.test.
        > d.test A
        NOERROR aa
        NS d.test. {SOA}
        > a.b.d.test A
        NOERROR aa
        AN d.test. 3600 IN DNAME e.test.
        AN a.b.d.test. 3600 IN CNAME a.b.e.test.",
    );
}

/// RFC 6672 §2.2: what does not fit into 255 octets is YXDOMAIN; one octet less fits.
#[test]
fn a_dname_that_makes_a_name_too_long() {
    // 'd.test' to a name of 192 + 2 octets: 'x.d.test' is 'x' and that.
    let target = format!("{0}.{0}.{0}.t.", "l".repeat(62));
    let zone = world(&[("d.test", &format!("a DNAME {target}"))]);
    let long = |label: usize| zone.ask(&Ask::new(&format!("{}.a.d.test", "x".repeat(label)), "A").edns(1232));
    // 3 × 63 + 2 + 1 = 192 octets of target, so that 62 of the label are one short of 255.
    assert_eq!((long(62).rcode(), long(62).message.answers.len()), ("NOERROR", 2));
    assert_eq!((long(63).rcode(), long(63).message.answers.len()), ("YXDOMAIN", 1));
}
