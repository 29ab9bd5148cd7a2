//! `[tls]`: listeners whose queries are encrypted, and the certificate that they share. And, over all tables, that
//! no address is listened on twice.

use std::net::SocketAddr;
use std::path::Path;

use super::meaning::{CertificateFiles, Transports};
use super::report::{At, Report, Span};
use super::settings::{address, path};
use super::table::{Table, Value};

/// What stands for a listener's certificate in a message.
const CERTIFICATE: &str = "\"tls/fullchain.pem\"";
const KEY: &str = "\"tls/key.pem\"";

/// By what a listener is reached: a port of TCP and the same of UDP are two.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum By {
    Tcp,
    Udp,
}

/// Every address of a listener, in the order of the tables.
#[derive(Default)]
pub(super) struct Listeners(Vec<Listener>);

struct Listener {
    /// The table and key, such as ``[tls] `quic` ``.
    word: &'static str,
    by: &'static [By],
    address: SocketAddr,
    /// None: a default, which nobody typed.
    span: Option<Span>,
}

impl Listeners {
    /// Takes in the addresses of a key.
    pub(super) fn add(&mut self, word: &'static str, by: &'static [By], typed: &[At<SocketAddr>]) {
        let one = |at: &At<SocketAddr>| Listener { word, by, address: at.value, span: Some(at.span.clone()) };
        self.0.extend(typed.iter().map(one));
    }

    /// The same of those that hold where nothing was typed.
    pub(super) fn complete(&mut self, word: &'static str, by: &'static [By], addresses: &[SocketAddr]) {
        if self.0.iter().all(|listener| listener.word != word) {
            self.0.extend(addresses.iter().map(|&address| Listener { word, by, address, span: None }));
        }
    }

    /// Reports addresses that two listeners would take, at the later one that was typed.
    pub(super) fn check(&self, report: &Report<'_>) {
        for (index, late) in self.0.iter().enumerate() {
            let same =
                |early: &&Listener| early.address == late.address && late.by.iter().any(|by| early.by.contains(by));
            if late.address.port() == 0 {
                continue; // the system finds a free port for each
            }
            let Some(early) = self.0[..index].iter().find(same) else { continue };
            let (said, other) = if late.span.is_some() { (late, early) } else { (early, late) };
            let Some(span) = &said.span else { continue };
            let message = if said.word == other.word {
                format!("{} names {} twice", said.word, said.address)
            } else {
                format!("{} names {}, and so does {}", said.word, said.address, other.word)
            };
            report.error_help("duplicate-address", span, message, Some("give one of them another port".to_owned()));
        }
    }
}

/// Reads `[tls]`; relative paths start at `folder`.
pub(super) fn read(table: &mut Table<'_>, listeners: &mut Listeners, folder: &Path) -> Transports {
    let file = |value: &Value<'_>| path(value, folder);
    let (certificate, key) = (table.optional("certificate", file), table.optional("key", file));
    let mut addresses = |key: &'static str, word, by| {
        let typed = table.optional(key, |value| value.list(|item| address(item, None, true)));
        let typed = typed.map_or(Vec::new(), |at| at.value);
        listeners.add(word, by, &typed);
        typed.into_iter().map(|at| at.value).collect::<Vec<SocketAddr>>()
    };
    let listen = addresses("listen", "[tls] `listen`", &[By::Tcp]);
    let https = addresses("https", "[tls] `https`", &[By::Tcp]);
    let quic = addresses("quic", "[tls] `quic`", &[By::Udp]);
    let https3 = addresses("https3", "[tls] `https3`", &[By::Udp]);
    let https_path = table.or("https_path", Transports::default().https_path, https_path);
    let needed = ![&listen, &https, &quic, &https3].iter().all(|list| list.is_empty());
    for (word, example, other) in [("certificate", CERTIFICATE, "key"), ("key", KEY, "certificate")] {
        if !table.has(word) && (needed || table.has(other)) {
            table.missing(word, example);
        }
    }
    let certificate = certificate.zip(key).map(|(chain, key)| CertificateFiles { chain: chain.value, key: key.value });
    Transports { certificate, listen, https, https_path, quic, https3 }
}

/// An absolute path of a URL, without query.
fn https_path(value: &Value<'_>) -> Option<Box<str>> {
    let text = value.word()?;
    let good = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
    if !text.starts_with('/') || !text.chars().all(good) {
        let allowed = "it begins with `/` and holds letters, digits, `/`, `-`, `.`, `_` and `~`";
        return value.bad(format!("`{}` is no path of `https_path`; {allowed}", text.escape_debug()), None);
    }
    Some(text.into())
}
