//! Replies cut short.

use hickory_proto::op::ResponseCode;
use hickory_proto::rr::rdata::opt::EdnsCode;
use proptest::prelude::*;

use super::*;

/// A reply with records in every section, and OPT where the query has one.
fn whole(packet: &[u8]) -> Vec<u8> {
    let (query, mut out) = (parse(packet).unwrap(), vec![0; 1232]);
    let mut writer = Writer::reply(&query, &mut out, 1232);
    for section in [Section::Answer, Section::Answer, Section::Authority, Section::Additional] {
        writer.record(section, query.question.name, Rtype::A, Class::IN, 60, &[192, 0, 2, 1]).unwrap();
    }
    let cookie = query.edns.and_then(|edns| edns.cookie).map(|_| [7; 16]);
    let extended_error = Some(ExtendedError { code: 0, text: "a text that makes replies longer" });
    let ending =
        Ending { authoritative: true, scope: 20, cookie, extended_error, nsid: Some("a name"), ..Ending::default() };
    let length = writer.finish(ending);
    out.truncate(length);
    out
}

#[test]
fn only_question_and_opt_are_left() {
    let cookie = option(10, &[1; 8]);
    let with_edns = with_options(&[&option(8, SUBNET), &cookie, &option(3, &[])]);
    let without = packet([1, 0, 0, 0], &[QUESTION]);
    for (query, why, rcode, truncated) in [
        (&with_edns, Cut::Truncated, ResponseCode::NoError, true),
        (&with_edns, Cut::BadCookie, ResponseCode::BADCOOKIE, false),
        (&without, Cut::Truncated, ResponseCode::NoError, true),
        (&without, Cut::BadCookie, ResponseCode::NoError, true), // whoever has no EDNS has no cookie
    ] {
        let mut reply = whole(query);
        let before = decode(&reply);
        let length = cut(&mut reply, why);
        let after = decode(&reply[..length]);
        assert_eq!((after.metadata.response_code, after.metadata.truncation), (rcode, truncated), "{why:?}");
        assert_eq!(after.metadata.authoritative, truncated);
        assert!(after.answers.is_empty() && after.authorities.is_empty() && after.additionals.is_empty());
        assert_eq!((&after.queries, &after.metadata.id), (&before.queries, &before.metadata.id));
        let known = [EdnsCode::Subnet, EdnsCode::Cookie];
        let options =
            |message: &Message| known.map(|code| message.edns.as_ref().and_then(|edns| edns.option(code).cloned()));
        assert_eq!(options(&after), options(&before), "scope and cookies stay");
        assert!(length <= query.len() + 16, "longer by our cookie at most");
    }
}

proptest! {
    #[test]
    fn any_octets_become_a_message_no_longer_or_nothing(mut octets in prop::collection::vec(any::<u8>(), 0..300), at in 0_usize..400) {
        let mut damaged = whole(&with_options(&[&option(8, SUBNET)]));
        for (place, octet) in octets.iter().enumerate().take(3) {
            let place = (at + 31 * place) % damaged.len();
            damaged[place] = *octet;
        }
        for reply in [&mut octets, &mut damaged] {
            let before = reply.len();
            let length = cut(reply, Cut::Truncated);
            prop_assert!(length == 0 || (HEADER_LENGTH..=before).contains(&length));
        }
    }
}
