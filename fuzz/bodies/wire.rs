//! Any bytes: nothing panics, and a reply is within its limit and never answered itself.

use meridian::wire::{
    Class, Ending, ExtendedError, HEADER_LENGTH, ProxyHeader, Query, Rejection, Rtype, Section, Writer, parse,
};

/// Reads it and writes a reply.
pub(crate) fn run(packet: &[u8]) {
    if let Some(ProxyHeader::Whole { length, .. }) = ProxyHeader::read(packet) {
        assert!(length <= packet.len());
    }
    let mut out = [0; 4096];
    let length = match parse(packet) {
        Err(Rejection::Silence) => return,
        Err(Rejection::Reply(rejected)) => rejected.write(true, Some([7; 16]), &mut out),
        Ok(query) => answer(&query, &mut out),
    };
    assert!(length <= 1232);
    assert_eq!(out[..2], packet[..2]);
    assert_eq!(parse(&out[..length]), Err(Rejection::Silence));
}

/// Records whose owners and data are drawn from the packet, until no more fit.
fn answer(query: &Query<'_>, out: &mut [u8]) -> usize {
    let mut writer = Writer::reply(query, out, query.udp_limit(1232));
    let name = query.question.name;
    let parent = name.get(1 + usize::from(name[0])..).filter(|parent| !parent.is_empty()).unwrap_or(name);
    let mut full = false;
    for (index, rtype) in [Rtype::NS, Rtype::SOA, Rtype::MX, query.question.rtype].into_iter().cycle().enumerate() {
        let mark = writer.mark();
        let rdata = &query.packet[(HEADER_LENGTH + index).min(query.packet.len())..];
        full |= writer.record(Section::Answer, parent, rtype, Class::IN, 1, name).is_err();
        full |= writer.record(Section::Answer, name, rtype, Class::IN, 1, rdata).is_err();
        if full {
            writer.rewind(mark);
            break;
        }
    }
    let at = writer.offset_of(parent).unwrap_or(12);
    let _ = writer.image(Section::Answer, &[0, 0, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4], &[0], at, 20);
    let extended_error = Some(ExtendedError { code: 0, text: "fuzz" });
    writer.finish(Ending { truncated: full, scope: 24, extended_error, encrypted: true, ..Ending::default() })
}
