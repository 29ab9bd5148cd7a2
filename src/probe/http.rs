//! `http` and `https` probes: one request to the target's address, on a fresh connection unless a kept one
//! is wished for; no proxy, and no redirects but those that stay with the target.

use std::net::{IpAddr, SocketAddr};

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{CONNECTION, HOST, HeaderValue};
use reqwest::redirect::Policy;
use reqwest::tls::TlsInfo;
use reqwest::{Method, Request, Response, Url};

use super::attempt::{Attempt, Failed, Found, Unfit, classify};
use super::expiry::Expiry;
use super::trust::Trust;
use crate::config::{Http, HttpMethod};
use crate::health::{Cause, Check};

/// Text is looked for in so many octets at the body's beginning; the rest is never read.
const MAX_BODY: usize = 64 * 1024;

/// Sends one request.
pub(super) struct HttpClient {
    client: reqwest::Client,
    method: Method,
    url: Url,
    /// None by HTTP/2, where the URL has it.
    host: Option<HeaderValue>,
    reuse: bool,
    expect: Vec<(u16, u16)>,
    body: String,
    expiry: Option<Expiry>,
}

impl HttpClient {
    /// # Errors
    /// Why the settings make no request.
    pub(super) fn new(check: &Check, http: &Http, trust: &Trust) -> Result<Self, Unfit> {
        let target = check.target;
        let url = url_of(target, http).map_err(Unfit::Settings)?;
        let host = http.host.clone().unwrap_or_else(|| authority(target, http.tls.is_some()));
        let header =
            HeaderValue::from_str(&host).map_err(|_| Unfit::Settings(format!("host {host:?} cannot be sent")))?;
        let tls = trust.client_config(http.tls.as_ref(), &[if http.http2 { "h2" } else { "http/1.1" }])?;
        let mut client = client(tls).dns_resolver(Fixed(target)).tls_info(true).redirect(redirects(target, &url, http));
        if http.http2 {
            client = client.http2_prior_knowledge();
        }
        let client = client.pool_max_idle_per_host(usize::from(http.reuse)).build();
        Ok(Self {
            client: client.map_err(|error| Unfit::Settings(format!("no client: {error}")))?,
            method: match http.method {
                HttpMethod::Get => Method::GET,
                HttpMethod::Head => Method::HEAD,
            },
            url,
            host: (!http.http2).then_some(header),
            reuse: http.reuse,
            expect: http.expect.clone(),
            body: http.body.clone().unwrap_or_default(),
            expiry: http.tls.as_ref().map(|tls| Expiry::new(check, tls)),
        })
    }

    fn request(&self) -> Request {
        let mut request = Request::new(self.method.clone(), self.url.clone());
        if let Some(host) = &self.host {
            request.headers_mut().insert(HOST, host.clone());
            if !self.reuse {
                request.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        request
    }
}

/// What all clients have: no redirects, no proxy, no second try.
pub(super) fn client(tls: rustls::ClientConfig) -> reqwest::ClientBuilder {
    reqwest::Client::builder()
        .user_agent(concat!("meridian/", env!("CARGO_PKG_VERSION")))
        .tls_backend_preconfigured(tls)
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .no_proxy()
}

impl Attempt for HttpClient {
    async fn attempt(&self) -> Result<Found, Failed> {
        let response = self.client.execute(self.request()).await.map_err(|error| classify(&error))?;
        let shown = response.extensions().get::<TlsInfo>().and_then(TlsInfo::peer_certificate);
        if let Some((expiry, certificate)) = self.expiry.as_ref().zip(shown) {
            expiry.observe(certificate);
        }
        let status = response.status().as_u16();
        if !self.expect.iter().any(|&(from, to)| (from..=to).contains(&status)) {
            return match status {
                403 | 429 => Ok(Found::Limited(status)),
                _ => Err(Failed::There(Cause::Status(status))),
            };
        }
        look_into(response, self.body.as_bytes(), self.reuse).await
    }
}

/// Reads until the text has come, the body ends or its bound is reached; `to_end`, so that the connection can
/// be kept, further than the text.
async fn look_into(mut response: Response, text: &[u8], to_end: bool) -> Result<Found, Failed> {
    let mut search = Search { text, body: Vec::new() };
    let mut found = text.is_empty();
    while search.body.len() < MAX_BODY && (to_end || !found) {
        let chunk = response.chunk().await.map_err(|error| classify(&error))?;
        let Some(chunk) = chunk else { break };
        found |= search.finds_in(&chunk);
    }
    if found { Ok(Found::Good) } else { Err(Failed::There(Cause::Body)) }
}

/// A search in a body that comes in pieces.
struct Search<'a> {
    text: &'a [u8],
    body: Vec<u8>,
}

impl Search<'_> {
    /// Has the text come with this piece?
    fn finds_in(&mut self, chunk: &[u8]) -> bool {
        // A match may begin in what came before, but it ends in what is new.
        let from = self.body.len().saturating_sub(self.text.len());
        self.body.extend_from_slice(&chunk[..chunk.len().min(MAX_BODY - self.body.len())]);
        self.text.is_empty() || self.body[from..].windows(self.text.len()).any(|window| window == self.text)
    }
}

/// The URL names what the certificate must bear; where it connects to is [`Fixed`]'s.
fn url_of(target: SocketAddr, http: &Http) -> Result<Url, String> {
    let scheme = if http.tls.is_some() { "https" } else { "http" };
    let mut url = Url::parse(&format!("{scheme}://{target}{}", http.path))
        .map_err(|error| format!("path {:?} makes no URL: {error}", http.path))?;
    let Some(tls) = &http.tls else { return Ok(url) };
    let Some(name) = tls.server_name.as_deref().or(http.host.as_deref().map(without_port)) else { return Ok(url) };
    url.set_host(Some(name)).map_err(|error| format!("server_name {name:?} is no name: {error}"))?;
    if http.http2 {
        // `:authority` is the name alone; the port is [`Fixed`]'s. An address needs it.
        if url.domain().is_some() {
            url.set_port(None).map_err(|()| "the URL takes no port".to_owned())?;
        }
    }
    // An address in the URL would be connected to.
    let address = url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
    match address {
        Some(address) if address != target.ip() => Err(format!("server_name {name:?} is an address, not a name")),
        _ => Ok(url),
    }
}

/// Follows as many as are allowed, as long as they stay with the target, by its address or its name.
fn redirects(target: SocketAddr, url: &Url, http: &Http) -> Policy {
    let most = http.redirects;
    if most == 0 {
        return Policy::none();
    }
    let (url, host) = (url.clone(), http.host.as_deref().map(|host| without_port(host).to_owned()));
    Policy::custom(move |attempt| {
        let next = attempt.url();
        let to = next.host_str().unwrap_or_default();
        let is_host = match to.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(address) => address == target.ip(), // it would be connected to
            Err(_) => url.host_str() == Some(to) || host.as_ref().is_some_and(|host| host.eq_ignore_ascii_case(to)),
        };
        let is_port = next.port_or_known_default() == url.port_or_known_default() || next.port() == Some(target.port());
        if !(is_host && is_port && url.scheme() == next.scheme()) {
            let elsewhere = format!("it redirects elsewhere, to {}", next.origin().ascii_serialization());
            return attempt.error(elsewhere);
        }
        if attempt.previous().len() > most {
            return attempt.error(format!("it redirects more often than is allowed ({most})"));
        }
        attempt.follow()
    })
}

/// The host of `host`, `host:port`, `[v6]:port`.
fn without_port(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|octet| octet.is_ascii_digit()) => name,
        _ => host,
    }
}

/// `Host` of the target's address: without the scheme's own port (RFC 9110 §7.2).
fn authority(target: SocketAddr, tls: bool) -> String {
    match target {
        _ if target.port() != if tls { 443 } else { 80 } => target.to_string(),
        SocketAddr::V4(v4) => v4.ip().to_string(),
        SocketAddr::V6(v6) => format!("[{}]", v6.ip()),
    }
}

/// Every name is at the target.
#[derive(Clone, Copy)]
struct Fixed(SocketAddr);

impl Resolve for Fixed {
    fn resolve(&self, _: Name) -> Resolving {
        let addresses: Addrs = Box::new(std::iter::once(self.0));
        Box::pin(std::future::ready(Ok(addresses)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_found_wherever_the_body_is_cut() {
        let body = b"hehealthy";
        for first in 0..=body.len() {
            for second in first..=body.len() {
                let mut search = Search { text: b"healthy", body: Vec::new() };
                let pieces = [&body[..first], &body[first..second], &body[second..]];
                assert!(pieces.into_iter().any(|piece| search.finds_in(piece)), "{first} {second}");
                let mut search = Search { text: b"healthy!", body: Vec::new() };
                assert!(!pieces.into_iter().any(|piece| search.finds_in(piece)));
            }
        }
    }

    #[test]
    fn hosts_with_and_without_ports() {
        let hosts = ["www.example", "www.example:8443", "[::1]", "[::1]:80"].map(without_port);
        assert_eq!(hosts, ["www.example", "www.example", "[::1]", "[::1]"]);
        let authority = |target: &str, tls| authority(target.parse().unwrap(), tls);
        assert_eq!(authority("192.0.2.1:443", true), "192.0.2.1");
        assert_eq!(authority("192.0.2.1:443", false), "192.0.2.1:443");
        assert_eq!(authority("[2001:db8::1]:80", false), "[2001:db8::1]");
    }
}
