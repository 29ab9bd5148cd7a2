//! The certificate that all encrypted listeners show, and the key that belongs to it.
//!
//! ```text
//! two PEM files ─ Pair::read ─▶ Pair ─ Certificates::replace ─▶ what the next handshake shows
//! ```
//! The two are read together and swapped in together. Neither the key nor a piece of its file is ever said.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{ClientHello, NoServerSessionStorage, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{Error, InconsistentKeys, ServerConfig};

use crate::config::CertificateFiles;
use crate::model::Problem;

/// A certificate that ends sooner is warned of. Those of Let's Encrypt are renewed 30 days ahead.
const ENDS_SOON: SignedDuration = SignedDuration::from_hours(14 * 24);
/// The DER tags of the two kinds of time (RFC 5280 §4.1.2.5).
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// A certificate with those that lead to its authority, and its key.
pub struct Pair {
    key: Arc<CertifiedKey>,
    files: CertificateFiles,
    /// notAfter of the certificate; none: it could not be read.
    ends: Option<Timestamp>,
}

impl fmt::Debug for Pair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pair").field("files", &self.files).field("ends", &self.ends).finish_non_exhaustive()
    }
}

impl Pair {
    /// Makes it from the files, which `read` reads.
    ///
    /// # Errors
    /// What is wrong with either file, or with the two together.
    pub fn read(
        files: &CertificateFiles,
        mut read: impl FnMut(&Path) -> io::Result<Arc<[u8]>>,
    ) -> Result<Self, Vec<Problem>> {
        let (chain, key) = (chain(&files.chain, &mut read), key(&files.key, &mut read));
        let (chain, key) = match (chain, key) {
            (Ok(chain), Ok(key)) => (chain, key),
            (chain, key) => return Err(chain.err().into_iter().chain(key.err()).collect()),
        };
        let ends = chain.first().and_then(|own| ends(own));
        match CertifiedKey::from_der(chain, key, &ring::default_provider()) {
            Ok(key) => Ok(Self { key: Arc::new(key), files: files.clone(), ends }),
            Err(error) => Err(vec![unfit(files, &error)]),
        }
    }

    /// When the certificate ends; none: it could not be read.
    #[must_use]
    pub fn ends(&self) -> Option<Timestamp> {
        self.ends
    }

    /// That it has ended, or does so soon.
    #[must_use]
    pub fn warning(&self, now: Timestamp) -> Option<Problem> {
        let ends = self.ends?;
        let (code, verb) = match ends.duration_since(now) {
            left if left.is_negative() => ("certificate-expired", "ended"),
            left if left < ENDS_SOON => ("certificate-ends-soon", "ends"),
            _ => return None,
        };
        let problem = Problem::warning(code, &self.files.chain, format!("the certificate {verb} at {ends}"));
        Some(problem.help("renew it; the new files are taken in when both have lain still"))
    }
}

type Read<'r> = &'r mut dyn FnMut(&Path) -> io::Result<Arc<[u8]>>;

fn chain(file: &Path, read: Read<'_>) -> Result<Vec<CertificateDer<'static>>, Problem> {
    let help = "`certificate` of [tls] is a PEM file with the server's own certificate, then those that lead to its \
                authority: often fullchain.pem";
    let problem = |code, why: String| Problem::error(code, file, why).help(help);
    let pem = read(file)
        .map_err(|error| problem("certificate-unreadable", format!("cannot read the certificate: {error}")))?;
    let mut chain = Vec::new();
    for (index, certificate) in CertificateDer::pem_slice_iter(&pem).enumerate() {
        // What a PEM error cites may be a piece of a key, if the files were confused.
        let bad = |_| problem("certificate-bad", format!("section {} is no good PEM", index + 1));
        chain.push(certificate.map_err(bad)?);
    }
    if chain.is_empty() {
        return Err(problem("certificate-bad", "it holds no CERTIFICATE section".to_owned()));
    }
    Ok(chain)
}

fn key(file: &Path, read: Read<'_>) -> Result<PrivateKeyDer<'static>, Problem> {
    let help = "`key` of [tls] is a PEM file with a PRIVATE KEY section: often privkey.pem";
    let problem = |code, why: String| Problem::error(code, file, why).help(help);
    let pem = read(file).map_err(|error| {
        let unreadable = problem("key-unreadable", format!("cannot read the key: {error}"));
        if error.kind() == io::ErrorKind::PermissionDenied {
            unreadable.help("let the user that the server runs as read it, and no other")
        } else {
            unreadable
        }
    })?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| {
        if pem.windows(9).any(|word| word == b"ENCRYPTED") {
            let encrypted = problem("key-bad", "the key is encrypted, and nobody is there to be asked".to_owned());
            return encrypted.help("write it without a passphrase: `openssl pkey -in KEY -out NEW`");
        }
        problem("key-bad", "it holds no PRIVATE KEY section".to_owned())
    })
}

/// Why the two do not go together.
fn unfit(files: &CertificateFiles, error: &Error) -> Problem {
    match error {
        Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            let why = format!("the key belongs to another certificate than that in {}", files.chain.display());
            Problem::error("key-mismatch", &files.key, why).help("give the two files of one issue")
        }
        Error::InvalidCertificate(why) => {
            let why = format!("the first certificate is not good: {why:?}");
            Problem::error("certificate-bad", &files.chain, why).help("put the server's own certificate first")
        }
        _ => Problem::error("key-bad", &files.key, "the key is of no kind that can be used")
            .help("RSA of 2,048 to 8,192 bits, ECDSA on P-256 or P-384, or Ed25519"),
    }
}

/// notAfter of a certificate in DER (RFC 5280 §4.1); none: it could not be read.
#[must_use]
pub fn ends(certificate: &[u8]) -> Option<Timestamp> {
    let (_, certificate, _) = element(certificate)?;
    let (_, mut signed, _) = element(certificate)?;
    let (tag, _, rest) = element(signed)?;
    if tag == 0xa0 {
        signed = rest; // behind the version, which is optional
    }
    // Serial number, signature, issuer.
    for _ in 0..3 {
        (_, _, signed) = element(signed)?;
    }
    let (_, validity, _) = element(signed)?;
    let (_, _, not_after) = element(validity)?;
    let (tag, text, _) = element(not_after)?;
    time(tag, str::from_utf8(text).ok()?)
}

/// `YYMMDDHHMMSSZ`, or the same with a year of four digits.
fn time(tag: u8, text: &str) -> Option<Timestamp> {
    let (year, rest) = text.split_at_checked(if tag == GENERALIZED_TIME { 4 } else { 2 })?;
    let year: i16 = year.parse().ok()?;
    let year = match tag {
        GENERALIZED_TIME => year,
        UTC_TIME if year < 50 => 2000 + year,
        UTC_TIME => 1900 + year,
        _ => return None,
    };
    let part = |index: usize| rest.get(2 * index..2 * index + 2)?.parse::<i8>().ok();
    let time = DateTime::new(year, part(0)?, part(1)?, part(2)?, part(3)?, part(4)?, 0).ok()?;
    TimeZone::UTC.to_timestamp(time).ok()
}

/// A DER element: tag, content, and what follows.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[tag, first], rest) = der.split_first_chunk()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        0x81..=0x83 => {
            let (octets, rest) = rest.split_at_checked(usize::from(first - 0x80))?;
            (octets.iter().fold(0, |length, &octet| length << 8 | usize::from(octet)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

/// What handshakes show now. All encrypted listeners share it.
#[derive(Debug, Default)]
pub struct Certificates(ArcSwapOption<Pair>);

impl Certificates {
    /// The next handshake shows this.
    pub fn replace(&self, pair: Pair) {
        self.0.store(Some(Arc::new(pair)));
    }

    /// When what is shown ends; none: nothing is shown, or its end could not be read.
    #[must_use]
    pub fn ends(&self) -> Option<Timestamp> {
        self.0.load().as_ref()?.ends
    }

    /// TLS 1.2 and 1.3, sessions resumed by tickets whose keys the process draws and renews, for these protocols
    /// (ALPN). No client certificates, no early data: a repeated query would be answered.
    ///
    /// # Errors
    /// The system gives no random octets.
    pub fn server_config(self: &Arc<Self>, protocols: &[&str]) -> Result<ServerConfig, Error> {
        let builder = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()));
        let builder = builder.with_protocol_versions(&[&TLS13, &TLS12])?.with_no_client_auth();
        let mut config = builder.with_cert_resolver(Arc::<Self>::clone(self));
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        config.ticketer = ring::Ticketer::new()?;
        config.session_storage = Arc::new(NoServerSessionStorage {});
        Ok(config)
    }
}

impl ResolvesServerCert for Certificates {
    /// The one that there is, whatever name the client asks for.
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(Arc::clone(&self.0.load().as_ref()?.key))
    }
}
