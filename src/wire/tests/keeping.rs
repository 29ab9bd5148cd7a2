//! How long a reply may be kept, beside what hickory-proto reads in it.

use hickory_proto::rr::RData;
use proptest::prelude::*;

use super::*;

/// `shop.example`, in the middle of the question's name.
const APEX: &[u8] = b"\x04shop\x07example\0";
const A: (Rtype, &[u8]) = (Rtype::A, &[192, 0, 2, 1]);

fn soa(minimum: u32) -> Vec<u8> {
    [APEX, APEX, &[0; 16], &minimum.to_be_bytes()].concat()
}

/// A reply with these records: section, type, TTL and data.
fn reply_of(ending: Ending<'_>, records: &[(Section, Rtype, u32, &[u8])]) -> Vec<u8> {
    let packet = packet([1, 0, 0, 1], &[QUESTION, &opt(0, &[])]);
    let mut out = [0; 4096];
    let mut writer = Writer::reply(&parse(&packet).unwrap(), &mut out, 4096);
    for &(section, rtype, ttl, rdata) in records {
        writer.record(section, APEX, rtype, Class::IN, ttl, rdata).unwrap();
    }
    let length = writer.finish(ending);
    out[..length].to_vec()
}

fn kept(rcode: Rcode, records: &[(Section, Rtype, u32, &[u8])]) -> Option<u32> {
    freshness(&reply_of(Ending { rcode, ..Ending::default() }, records))
}

#[test]
fn the_smallest_ttl_of_an_answer_counts_and_of_a_denial_that_of_the_soa() {
    use Section::{Additional, Answer, Authority};
    let (a, address) = A;
    let ns = (Authority, Rtype::NS, 5, APEX);
    let answers = [(Answer, a, 300, address), (Answer, a, 20, address), (Answer, a, 60, address)];
    assert_eq!(kept(Rcode::NOERROR, &answers), Some(20));
    assert_eq!(kept(Rcode::NOERROR, &[answers[0], ns, (Additional, a, 1, address)]), Some(300));
    assert_eq!(kept(Rcode::NOERROR, &[(Answer, a, 0, address)]), Some(0));
    let (long, short) = (soa(3600), soa(90));
    let (long, short) = (long.as_slice(), short.as_slice());
    let denial = |ttl: u32, soa| [(Authority, Rtype::SOA, ttl, soa)];
    assert_eq!(kept(Rcode::NXDOMAIN, &denial(300, short)), Some(90), "MINIMUM is smaller");
    assert_eq!(kept(Rcode::NOERROR, &denial(300, long)), Some(300), "its TTL is smaller");
    // An alias, and that its target does not exist.
    assert_eq!(kept(Rcode::NXDOMAIN, &[(Answer, Rtype::CNAME, 60, APEX), denial(300, short)[0]]), Some(60));
    assert_eq!(kept(Rcode::NXDOMAIN, &[(Answer, Rtype::CNAME, 600, APEX), denial(300, short)[0]]), Some(90));
}

#[test]
fn errors_referrals_and_pieces_are_not_kept() {
    let (a, address) = A;
    let answer = [(Section::Answer, a, 300, address)];
    for rcode in [Rcode::SERVFAIL, Rcode::REFUSED, Rcode::FORMERR, Rcode::YXDOMAIN] {
        assert_eq!(kept(rcode, &answer), None, "{rcode:?}");
    }
    assert_eq!(kept(Rcode::BADVERS, &[]), None);
    assert_eq!(kept(Rcode::NOERROR, &[(Section::Authority, Rtype::NS, 300, APEX)]), None, "a referral");
    assert_eq!(freshness(&reply_of(Ending { truncated: true, ..Ending::default() }, &answer)), None);
    let whole = reply_of(Ending::default(), &answer);
    let records = whole.len() - 11; // OPT is not looked at
    for length in 0..records {
        assert_eq!(freshness(&whole[..length]), None, "{length}");
    }
    assert_eq!(freshness(&reply_of(Ending::default(), &[(Section::Authority, Rtype::SOA, 300, &[0; 3])])), None);
}

/// What the RFC says, of what hickory-proto reads.
fn as_hickory_reads(message: &Message) -> Option<u32> {
    let soa = message.authorities.iter().filter_map(|record| match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    });
    message.answers.iter().map(|record| record.ttl).chain(soa).min()
}

proptest! {
    #[test]
    fn as_another_reader_has_it(
        records in prop::collection::vec((0..2_usize, 0..3_usize, 0..0x8000_0000_u32, 0..0x8000_0000_u32), 0..8),
    ) {
        let mut records: Vec<_> = records;
        records.sort_by_key(|record| record.0);
        let data: Vec<Vec<u8>> = records.iter().map(|record| soa(record.3)).collect();
        let typed: Vec<_> = records.iter().zip(&data).map(|(&(section, rtype, ttl, _), soa)| {
            let section = [Section::Answer, Section::Authority][section];
            match rtype {
                0 => (section, A.0, ttl, A.1),
                1 => (section, Rtype::NS, ttl, APEX),
                _ => (section, Rtype::SOA, ttl, soa.as_slice()),
            }
        }).collect();
        let reply = reply_of(Ending::default(), &typed);
        prop_assert_eq!(freshness(&reply), as_hickory_reads(&decode(&reply)));
    }

    #[test]
    fn no_bytes_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = freshness(&bytes);
    }
}
