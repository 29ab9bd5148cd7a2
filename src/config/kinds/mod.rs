//! The words of `[probes.NAME]` that belong to its `type`.

mod calculated;
mod meaning;
mod metric;
mod others;
mod sample;
mod web;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use meaning::{
    Aim, Calculated, Dns, Exchange, Grpc, Http, HttpMethod, Limits, Metric, ProbeKind, Script, StateFile, Tls,
};
pub(super) use metric::url;
pub use sample::Sample;

use super::meaning::CertificateFiles;
use super::report::{At, quoted};
use super::settings::path;
use super::table::{Table, Value};
use crate::model::Name;

/// Longest text to be said or looked for.
const MAX_TEXT: usize = 4096;
const DAY: Duration = Duration::from_secs(86_400);

/// The types.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Tcp,
    Tls,
    Http,
    Https,
    Metric,
    Dns,
    Grpc,
    File,
    Icmp,
    Script,
    Calculated,
}

pub(super) const KINDS: [(&str, Kind); 11] = [
    ("http", Kind::Http),
    ("https", Kind::Https),
    ("tcp", Kind::Tcp),
    ("tls", Kind::Tls),
    ("metric", Kind::Metric),
    ("dns", Kind::Dns),
    ("grpc", Kind::Grpc),
    ("file", Kind::File),
    ("icmp", Kind::Icmp),
    ("script", Kind::Script),
    ("calculated", Kind::Calculated),
];

/// Where a type finds its port.
pub(super) enum Port {
    Default(u16),
    /// It has to be said.
    Said,
    /// It has none.
    None,
}

impl Kind {
    pub(super) fn port(self) -> Port {
        match self {
            Self::Http => Port::Default(80),
            Self::Https | Self::Tls | Self::Script => Port::Default(443),
            Self::Dns => Port::Default(53),
            Self::Tcp | Self::Grpc => Port::Said,
            Self::Metric | Self::File | Self::Icmp | Self::Calculated => Port::None,
        }
    }
}

/// What a type's words are read with.
pub(super) struct Reader<'f> {
    /// Relative paths start there.
    pub(super) folder: &'f Path,
    /// Files with certificates, which must be there.
    pub(super) certificates: &'f mut Vec<At<PathBuf>>,
    /// Probes that a calculated one counts, which must be there.
    pub(super) counted: &'f mut Vec<At<Arc<str>>>,
}

impl Reader<'_> {
    /// None: it has errors, reported already.
    pub(super) fn read(&mut self, table: &mut Table<'_>, kind: Kind) -> Option<ProbeKind> {
        Some(match kind {
            Kind::Tcp => read_tcp(table),
            Kind::Tls => ProbeKind::Tls(self.tls(table, true)),
            Kind::Http => ProbeKind::Http(web::read(table, None)),
            Kind::Https => {
                let tls = self.tls(table, true);
                ProbeKind::Http(web::read(table, Some(tls)))
            }
            Kind::Metric => ProbeKind::Metric(self.metric(table)?),
            Kind::Dns => ProbeKind::Dns(others::dns(table)?),
            Kind::Grpc => ProbeKind::Grpc(self.grpc(table)),
            Kind::File => ProbeKind::File(self.file(table)?),
            Kind::Script => ProbeKind::Script(others::script(table)?),
            Kind::Icmp => ProbeKind::Icmp,
            Kind::Calculated => ProbeKind::Calculated(calculated::read(table, self.counted)?),
        })
    }

    /// `named`: the server's name may be another than that of the connection.
    fn tls(&mut self, table: &mut Table<'_>, named: bool) -> Tls {
        let file = |value: &Value<'_>| path(value, self.folder);
        let ca = table.optional("ca", file);
        let (certificate, key) = (table.optional("client_certificate", file), table.optional("client_key", file));
        let pair = [
            ("client_certificate", "\"probe.pem\"", "client_key"),
            ("client_key", "\"probe.key\"", "client_certificate"),
        ];
        for (word, example, other) in pair {
            if table.has(other) && !table.has(word) {
                table.missing(word, example);
            }
        }
        let files = ca.iter().chain(&certificate);
        self.certificates.extend(files.map(|at| At { value: at.value.clone(), span: at.span.clone() }));
        let server_name = if named { table.optional("server_name", host_name) } else { None };
        Tls {
            ca: ca.map(|at| at.value),
            server_name: server_name.map(|at| at.value),
            client: certificate.zip(key).map(|(chain, key)| CertificateFiles { chain: chain.value, key: key.value }),
            expires_within: table.or("expires_within", 14 * DAY, |value| value.duration(Duration::ZERO..=366 * DAY)),
        }
    }
}

fn read_tcp(table: &mut Table<'_>) -> ProbeKind {
    let send = table.optional("send", text).map(|at| at.value);
    let expect = table.optional("expect", text).map(|at| at.value);
    if send.is_none() && expect.is_none() { ProbeKind::Tcp } else { ProbeKind::Exchange(Exchange { send, expect }) }
}

/// Text that may hold control characters, as protocols need.
fn text(value: &Value<'_>) -> Option<String> {
    let text = value.text()?;
    if text.is_empty() || text.len() > MAX_TEXT {
        return value.bad(format!("it has {} octets; it must have 1 to {MAX_TEXT}", text.len()), None);
    }
    Some(text.to_owned())
}

/// A name that a certificate can bear, or an address.
fn host_name(value: &Value<'_>) -> Option<String> {
    let text = value.word()?;
    if is_host(text) {
        return Some(text.to_owned());
    }
    value.bad(format!("{} is no host name", quoted(text)), "letters, digits, hyphens and dots".to_owned())
}

fn is_host(text: &str) -> bool {
    let letters = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'_' | b'.');
    text.parse::<std::net::IpAddr>().is_ok() || (text.bytes().all(letters) && text.parse::<Name>().is_ok())
}
