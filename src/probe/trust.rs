//! What probes with TLS, and the webhook, trust and show, made once per configuration and shared by all of them: reading
//! the system's authorities takes milliseconds and a copy of them takes memory.

use std::collections::BTreeMap;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WantsClientCert;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use rustls_platform_verifier::BuilderVerifierExt;
use sha2::{Digest as _, Sha256};

use crate::config::{Probe, Tls};
use crate::model::{Files, Problem};

/// The certificate authorities of a configuration, and what its probes show of their own.
#[derive(Debug)]
pub struct Trust {
    /// Trusts nobody: for those without TLS.
    nobody: ClientConfig,
    sides: BTreeMap<Key, Side>,
}

/// The `ca` file; none: the system's. And the files of the certificate that is shown, and of its key.
type Key = (Option<PathBuf>, Option<(PathBuf, PathBuf)>);

/// Our side of a handshake.
#[derive(Debug)]
struct Side {
    /// Changes with what it was made of. The key's file stands in it as a digest.
    pem: Arc<[u8]>,
    /// None: this set has no secrets, and this one needs a key.
    tls: Option<ClientConfig>,
}

impl Trust {
    /// Reads the files with certificates and keys of `probes` from `files`, and the system's authorities
    /// if a probe needs them.
    ///
    /// # Errors
    /// One problem for each file that cannot be read, or does not hold what it should; one if the
    /// system's authorities are needed and there are none.
    pub fn load(probes: &[Probe], files: &mut dyn Files) -> Result<Self, Vec<Problem>> {
        Self::of(probes.iter().filter_map(|probe| probe.kind.tls()), files)
    }

    /// The same of these settings, whose ever they are.
    ///
    /// # Errors
    /// As of [`load`](Self::load).
    pub fn of<'t>(settings: impl IntoIterator<Item = &'t Tls>, files: &mut dyn Files) -> Result<Self, Vec<Problem>> {
        let nobody = builder().with_root_certificates(RootCertStore::empty()).with_no_client_auth();
        let mut trust = Self { nobody: finish(nobody), sides: BTreeMap::new() };
        let mut problems = Vec::new();
        for tls in settings {
            let key = key_of(tls);
            if trust.sides.contains_key(&key) {
                continue;
            }
            match Side::load(tls, files) {
                Ok(side) => drop(trust.sides.insert(key, side)),
                Err(problem) if !problems.contains(&*problem) => problems.push(*problem),
                Err(_) => {}
            }
        }
        if problems.is_empty() { Ok(trust) } else { Err(problems) }
    }

    /// Settings for these, to speak one of `protocols` (ALPN; none: whatever it is).
    ///
    /// # Errors
    /// Why there are none.
    pub(super) fn client_config(&self, tls: Option<&Tls>, protocols: &[&str]) -> Result<ClientConfig, Unready> {
        let config = match tls {
            Some(tls) => self.sides.get(&key_of(tls)).ok_or(Unready::Unloaded)?.tls.as_ref().ok_or(Unready::NoKey)?,
            None => &self.nobody,
        };
        let mut config = config.clone();
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect();
        Ok(config)
    }

    /// The content of the files that the probe's TLS is made of; of the key a digest.
    pub(super) fn pem(&self, probe: &Probe) -> Option<&Arc<[u8]>> {
        self.pem_of(probe.kind.tls()?)
    }

    /// The same of these settings.
    #[must_use]
    pub fn pem_of(&self, tls: &Tls) -> Option<&Arc<[u8]>> {
        self.sides.get(&key_of(tls)).map(|side| &side.pem)
    }
}

/// Why no handshake can be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unready {
    /// The probe is none of those that were loaded.
    Unloaded,
    /// A kept set is served, and nobody keeps keys.
    NoKey,
}

fn key_of(tls: &Tls) -> Key {
    (tls.ca.clone(), tls.client.as_ref().map(|files| (files.chain.clone(), files.key.clone())))
}

impl Side {
    fn load(tls: &Tls, files: &mut dyn Files) -> Result<Self, Box<Problem>> {
        let mut pem = Vec::new();
        let verifying = match &tls.ca {
            Some(file) => builder().with_root_certificates(roots(file, files, &mut pem)?),
            None => of_system()?,
        };
        let Some(client) = &tls.client else {
            return Ok(Self { pem: pem.into(), tls: Some(finish(verifying.with_no_client_auth())) });
        };
        let chain = chain(&client.chain, files, &mut pem)?;
        let help = "give a PEM file with a PRIVATE KEY section, not encrypted, that belongs to the certificate";
        let problem = |code, text: &str| Box::new(Problem::error(code, &client.key, text).help(help));
        let secret = files.secret(&client.key);
        let secret = secret.map_err(|error| problem("key-unreadable", &format!("cannot read the key: {error}")))?;
        let Some(secret) = secret else { return Ok(Self { pem: pem.into(), tls: None }) };
        pem.extend_from_slice(&Sha256::digest(&secret));
        // Errors may cite the file: of a key nothing is said.
        let key = PrivateKeyDer::from_pem_slice(&secret).map_err(|_| problem("key-bad", "it holds no key"))?;
        let config = verifying.with_client_auth_cert(chain, key);
        let config = config.map_err(|_| problem("key-mismatch", "it is no key of the certificate beside it"))?;
        Ok(Self { pem: pem.into(), tls: Some(finish(config)) })
    }
}

/// The certificates of a file, at least one; its content goes to `pem`.
fn chain(file: &Path, files: &mut dyn Files, pem: &mut Vec<u8>) -> Result<Vec<CertificateDer<'static>>, Box<Problem>> {
    let content =
        files.read(file).map_err(|error| bad_ca(file, "ca-unreadable", format!("cannot read it: {error}")))?;
    pem.extend_from_slice(&content);
    let mut chain = Vec::new();
    for (index, certificate) in CertificateDer::pem_slice_iter(&content).enumerate() {
        chain.push(certificate.map_err(|error| bad_certificate(file, index, &error))?);
    }
    if chain.is_empty() {
        return Err(bad_ca(file, "ca-empty", "it holds no certificate".to_owned()));
    }
    Ok(chain)
}

fn roots(file: &Path, files: &mut dyn Files, pem: &mut Vec<u8>) -> Result<RootCertStore, Box<Problem>> {
    let mut roots = RootCertStore::empty();
    for (index, certificate) in chain(file, files, pem)?.into_iter().enumerate() {
        roots.add(certificate).map_err(|error| bad_certificate(file, index, &error))?;
    }
    Ok(roots)
}

fn bad_certificate(file: &Path, index: usize, why: &dyn Error) -> Box<Problem> {
    bad_ca(file, "ca-bad", format!("certificate {} is not good: {why}", index + 1))
}

fn bad_ca(file: &Path, code: &'static str, text: String) -> Box<Problem> {
    Box::new(Problem::error(code, file, text).help("give a PEM file with one or more CERTIFICATE sections"))
}

fn of_system() -> Result<ConfigBuilder<ClientConfig, WantsClientCert>, Box<Problem>> {
    builder().with_platform_verifier().map_err(|error| {
        let text = format!("a probe or webhook with TLS needs it: {error}");
        let problem = Problem::error("ca-system", Path::new("the system's certificate store"), text);
        Box::new(problem.help("install the package ca-certificates, or name a ca file"))
    })
}

fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    builder.expect("ring serves the default versions")
}

fn finish(mut config: ClientConfig) -> ClientConfig {
    // A resumed session would not show the certificate again, and an expired one would stay unseen.
    config.resumption = rustls::client::Resumption::disabled();
    config
}
