//! A DNS query in an HTTP request (RFC 8484 §4.1), without the HTTP: what a client typed, judged. Needs std and base64
//! alone, and is fuzzed so.

use base64::engine::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// Octets of the longest query: any DNS message fits.
pub(super) const LONGEST_QUERY: usize = u16::MAX as usize;
/// The media type of queries and replies.
pub(super) const MEDIA_TYPE: &str = "application/dns-message";

/// A request that gets no DNS reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The HTTP status.
    pub(super) status: u16,
    /// A line for people.
    pub(super) why: &'static str,
}

/// The query in a URL's query string, as GET has it: `dns=` and base64url without padding.
///
/// # Errors
/// 400: there is no such parameter, it stands twice, or is no base64url. 414: it holds more than any DNS message.
pub(super) fn query_in_url(query_string: Option<&str>) -> Result<Vec<u8>, Refusal> {
    let refuse = |why| Err(Refusal { status: 400, why });
    let mut given = query_string.unwrap_or_default().split('&').filter_map(|pair| pair.strip_prefix("dns="));
    let (Some(text), None) = (given.next(), given.next()) else {
        return refuse("GET takes one parameter `dns`, the query in base64url (RFC 8484 section 4.1)");
    };
    if text.len() > LONGEST_QUERY.div_ceil(3) * 4 {
        return Err(Refusal { status: 414, why: "a DNS message has 65,535 octets at most" });
    }
    if text.contains('=') || text.ends_with("%3D") || text.ends_with("%3d") {
        return refuse("`dns` is base64url without padding: leave out the `=` at its end (RFC 8484 section 6)");
    }
    match URL_SAFE_NO_PAD.decode(text) {
        Ok(query) if query.len() <= LONGEST_QUERY => Ok(query),
        Ok(_) => Err(Refusal { status: 414, why: "a DNS message has 65,535 octets at most" }),
        Err(_) => refuse("`dns` is no base64url: letters, digits, `-` and `_` (RFC 4648 section 5)"),
    }
}

/// May a body of this media type be a query, as POST has it? Parameters of the type are passed over.
///
/// # Errors
/// 415: it is another type, or none is told.
pub(super) fn check_media_type(content_type: Option<&str>) -> Result<(), Refusal> {
    let kind = content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if kind.eq_ignore_ascii_case(MEDIA_TYPE) {
        return Ok(());
    }
    Err(Refusal { status: 415, why: "POST takes a body of type application/dns-message" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_urls_of_the_rfc() {
        // RFC 8484 §4.1.1: www.example.com A, and a name of 62 + 24 octets.
        let query = query_in_url(Some("dns=AAABAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB")).unwrap();
        assert_eq!(query, b"\0\0\x01\0\0\x01\0\0\0\0\0\0\x03www\x07example\x03com\0\0\x01\0\x01");
        let long = "AAABAAABAAAAAAAAAWE-NjJjaGFyYWN0ZXJsYWJlbC1tYWtlcy1iYXNlNjR1cmwtZGlzdGluY3QtZnJvbS1zdGFuZGFyZC1iYXNlNj\
                    QHZXhhbXBsZQNjb20AAAEAAQ";
        let query = query_in_url(Some(&format!("ct=x&dns={long}&y"))).unwrap();
        assert_eq!(query.len(), 94);
        assert!(query.windows(4).any(|part| part == b"\x01a\x3e6"));
    }

    #[test]
    fn urls_that_are_refused() {
        let status = |text: Option<&str>| query_in_url(text).map_err(|refusal| refusal.status);
        for text in [
            "",
            "dns",
            "DNS=AAAB",
            "dns=AAAB&dns=AAAB",
            "dns=AA+B",
            "dns=AA/B",
            "dns=AAA%3D",
            "dns=AA==",
            "dns=A",
            "dns=A B",
        ] {
            assert_eq!(status(Some(text)), Err(400), "{text}");
        }
        assert_eq!(status(None), Err(400));
        assert!(query_in_url(Some("dns=AAA=")).unwrap_err().why.contains("padding"));
        // Bits that no octet has.
        assert_eq!(status(Some("dns=AAB")), Err(400));
        assert_eq!(status(Some("dns=")), Ok(Vec::new()));
        let of = |octets: usize| format!("dns={}", URL_SAFE_NO_PAD.encode(vec![7; octets]));
        assert_eq!(status(Some(&of(65_535))), Ok(vec![7; 65_535]));
        assert_eq!(status(Some(&of(65_536))), Err(414));
        assert_eq!(status(Some(&of(100_000))), Err(414));
    }

    #[test]
    fn media_types() {
        for good in ["application/dns-message", "Application/DNS-Message", "application/dns-message ; charset=utf-8"] {
            assert_eq!(check_media_type(Some(good)), Ok(()), "{good}");
        }
        for bad in ["", "application/dns-json", "application/dns-messages", "text/plain; application/dns-message"] {
            assert_eq!(check_media_type(Some(bad)).unwrap_err().status, 415, "{bad}");
        }
        assert_eq!(check_media_type(None).unwrap_err().status, 415);
    }
}
