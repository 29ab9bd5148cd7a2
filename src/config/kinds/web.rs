//! `http` and `https`

use super::{Http, HttpMethod, Tls, is_host};
use crate::config::report::quoted;
use crate::config::table::{Table, Value};

/// `tls` of `https`.
pub(super) fn read(table: &mut Table<'_>, tls: Option<Tls>) -> Http {
    let methods = [("GET", HttpMethod::Get), ("HEAD", HttpMethod::Head)];
    let method = table.or("method", HttpMethod::Get, |value| value.choice(&methods));
    let body = table.optional("body", Value::word);
    if let Some(body) = body.as_ref().filter(|_| method == HttpMethod::Head) {
        let help = Some("use `method = \"GET\"`, or leave `body` out".to_owned());
        table.report.error_help("bad-value", &body.span, "a HEAD request gets no body to look into", help);
    }
    let expect = table.optional("expect", |value| value.filled_list(statuses));
    let host = table.optional("host", host_and_port);
    let http2 = tls.is_some() && table.or("http2", false, Value::flag);
    if let Some(host) = host.as_ref().filter(|_| http2) {
        // There `:authority` is what `Host` is elsewhere, and that is the name of the connection.
        let named = tls.as_ref().is_some_and(|tls| tls.server_name.is_some());
        let has_port = host.value.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
        if named || has_port {
            let help = Some("write `host` alone, without a port".to_owned());
            let message = "with `http2`, `host` is the server's name too, and has no port";
            table.report.error_help("bad-value", &host.span, message, help);
        }
    }
    Http {
        tls,
        http2,
        reuse: table.or("reuse", false, Value::flag),
        redirects: table.or("redirects", 0, |value| value.integer(0..=10)) as usize,
        method,
        path: table.or("path", "/".to_owned(), url_path),
        host: host.map(|at| at.value),
        expect: expect.map_or(vec![(200, 399)], |at| at.value.into_iter().map(|at| at.value).collect()),
        body: body.map(|at| at.value.to_owned()),
    }
}

fn url_path(value: &Value<'_>) -> Option<String> {
    let text = value.word()?;
    if !text.starts_with('/') || !text.bytes().all(|octet| octet.is_ascii_graphic() && octet != b'#') {
        let help = "start with `/`; other characters than ASCII's visible ones are written %XX";
        return value.bad(format!("`path` is {}; it must be a path and query", quoted(text)), help.to_owned());
    }
    Some(text.to_owned())
}

/// What `Host` may carry.
fn host_and_port(value: &Value<'_>) -> Option<String> {
    let text = value.word()?;
    let host = text.rsplit_once(':').filter(|(_, port)| port.parse::<u16>().is_ok()).map_or(text, |(host, _)| host);
    if is_host(host.trim_start_matches('[').trim_end_matches(']')) {
        return Some(text.to_owned());
    }
    value.bad(format!("`host` is {}; it must be a host name", quoted(text)), "without `https://` and path".to_owned())
}

/// A status, or a range of them: `200`, `"204"`, `"200-399"`.
fn statuses(value: &Value<'_>) -> Option<(u16, u16)> {
    if !value.is_text() {
        let status = value.integer(100..=599).and_then(|status| u16::try_from(status).ok())?;
        return Some((status, status));
    }
    let text = value.text()?;
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let status = |text: &str| text.trim().parse().ok().filter(|status| (100..=599).contains(status));
    match (status(first), status(last)) {
        (Some(first), Some(last)) if first <= last => Some((first, last)),
        _ => {
            let message = format!("{} is no range of HTTP statuses, which are 100 to 599", quoted(text));
            value.bad(message, "as in 200 or \"200-399\"".to_owned())
        }
    }
}
