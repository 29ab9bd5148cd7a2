//! Questions of other kinds than a name and one of its types.

use hickory_proto::op::{OpCode, Query};
use hickory_proto::rr::{Name, RecordType};
use hickory_proto::serialize::binary::BinDecodable;

use crate::dns::Ask;
use crate::{script, world};

/// RFC 8482 §4.1: the smallest RRset, by whatever it is asked.
#[test]
fn any() {
    let zone = world(&[(
        "a.test",
        "@ TXT \"rather long, and not what is wanted by anybody who asks for all\"
        @ CAA 0 issue \"c\"
        @ NS ns
        ns A 192.0.2.1
        ns AAAA 2001:db8::1
        *.w TXT x
        *.w A 192.0.2.1
        alias CNAME ns
        kid NS ns.test.",
    )]);
    for how in ["", " tcp", " edns=4096"] {
        let opt = if how.contains("edns") { "\nOPT 1232" } else { "" };
        script(
            &zone,
            &"
            > a.test ANY{how}
            NOERROR aa
            AN a.test. 3600 IN CAA 0 issue \"c\"{opt}
            > ns.a.test ANY{how}
            NOERROR aa
            AN ns.a.test. 3600 IN A 192.0.2.1{opt}
            > x.w.a.test ANY{how}
            NOERROR aa
            AN x.w.a.test. 3600 IN TXT \"x\"{opt}
            > alias.a.test ANY{how}
            NOERROR aa
            AN alias.a.test. 3600 IN CNAME ns.a.test.{opt}
            > w.a.test ANY{how}
            NOERROR aa
            NS a.test. {SOA}{opt}
            > x.kid.a.test ANY{how}
            NOERROR
            NS kid.a.test. 3600 IN NS ns.test.{opt}
            > none.a.test ANY{how}
            NXDOMAIN aa
            NS a.test. {SOA}{opt}"
                .replace("{how}", how)
                .replace("{opt}", opt),
        );
    }
}

/// Names of any octets, of the largest length and of the most labels.
#[test]
fn names() {
    let labels = "a.".repeat(120); // 240 octets, and 7 + 1 of 'x.test' and the root
    let longest = format!("{0}.{0}.{0}.{1}", "l".repeat(62), "m".repeat(56)); // 246 octets, and 8 more
    let zone = world(&[(
        "x.test",
        &format!(
            "a\\.b A 192.0.2.1
            \\000\\255 A 192.0.2.2
            a\\032b A 192.0.2.3
            \\042 A 192.0.2.4
            {labels}x.test. A 192.0.2.5
            {longest}.x.test. A 192.0.2.6
            \\*.s A 192.0.2.7"
        ),
    )]);
    let asked = |name: &str| {
        // hickory-proto takes `\\DDD` for octal digits.
        let name: meridian::model::Name = format!("{name}.x.test").parse().unwrap();
        let mut ask = Ask::new("x.test", "A");
        ask.message.queries[0].set_name(Name::from_bytes(name.as_wire()).unwrap());
        let reply = zone.ask(&ask);
        (reply.rcode(), reply.addresses().first().map(ToString::to_string).unwrap_or_default())
    };
    for (name, last) in [
        ("a\\.b", 1),
        ("\\097\\.b", 1),
        ("\\000\\255", 2),
        ("a\\032b", 3),
        ("any\\.thing", 4),
        (&longest, 6),
        ("t.s", 7),
    ] {
        assert_eq!(asked(name), ("NOERROR", format!("192.0.2.{last}")), "{name}");
    }
    assert_eq!(asked(labels.trim_end_matches('.')), ("NOERROR", "192.0.2.5".to_owned()));
    assert_eq!(asked("b.s.a.b.c.d"), ("NOERROR", "192.0.2.4".to_owned()), "the wildcard of the apex");
}

/// What is asked of more than names and types.
#[test]
fn what_is_not_offered() {
    let zone = world(&[("n.test", "@ TXT x")]);
    for name in ["n.test", "elsewhere.test"] {
        for how in ["", " tcp"] {
            for transfer in ["AXFR", "IXFR"] {
                script(&zone, &format!("> {name} {transfer}{how} edns=1232\nREFUSED\nOPT 1232 error=21"));
                script(&zone, &format!("> {name} {transfer}{how}\nREFUSED"));
            }
        }
    }
    // RFC 1995 §3: the SOA that the client has.
    let mut changes = Ask::new("n.test", "IXFR").edns(1232).message;
    let soa = zone.ask(&Ask::new("n.test", "SOA")).message.answers[0].clone();
    changes.authorities.push(soa.clone());
    let ask =
        |message: &hickory_proto::op::Message| zone.ask(&Ask { message: message.clone(), ..Ask::new("n.test", "A") });
    assert_eq!(ask(&changes).to_string(), "REFUSED\nOPT 1232 error=21");
    changes.authorities.push(soa.clone());
    assert_eq!(ask(&changes).rcode(), "FORMERR");
    let mut other = Ask::new("n.test", "SOA").message;
    other.authorities.push(soa);
    assert_eq!(ask(&other).rcode(), "FORMERR");

    for opcode in [OpCode::Notify, OpCode::Update, OpCode::Status, OpCode::Unknown(1), OpCode::Unknown(15)] {
        let mut message = Ask::new("n.test", "SOA").edns(1232).message;
        message.metadata.op_code = opcode;
        let reply = ask(&message);
        assert_eq!((reply.to_string().as_str(), reply.message.metadata.op_code), ("NOTIMP\nOPT 1232", opcode));
    }
    let mut two = Ask::new("n.test", "TXT").message;
    two.add_query(Query::query(Name::from_ascii("n.test.").unwrap(), RecordType::SOA));
    let octets = zone.octets(Ask::new("n.test", "A").asker, &two.to_vec().unwrap()).unwrap();
    assert_eq!((octets.len(), octets[3] & 0xf, &octets[4..6]), (12, 1, &[0, 0][..]), "many questions: FORMERR");

    script(
        &zone,
        "
        > n.test TXT class=ANY
        REFUSED
        > n.test TXT class=NONE
        REFUSED
        > version.bind TXT class=CH edns=1232
        REFUSED
        OPT 1232 error=21
        > n.test DNSKEY
        NOERROR aa
        NS n.test. {SOA}
        > n.test RRSIG
        NOERROR aa
        NS n.test. {SOA}",
    );
}
