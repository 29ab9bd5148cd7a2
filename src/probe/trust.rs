//! What `https` probes trust, made once per configuration and shared by all of them: reading the
//! system's authorities takes milliseconds and a copy of them takes memory.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, WantsVerifier};
use rustls_platform_verifier::BuilderVerifierExt;

use crate::config::{Probe, ProbeKind, Tls};
use crate::model::{Files, Problem};

/// The certificate authorities of all `https` probes of a configuration.
#[derive(Debug)]
pub struct Trust {
    /// Trusts nobody: for probes without TLS.
    nobody: ClientConfig,
    /// By `ca` file; none: the system's.
    authorities: BTreeMap<Option<PathBuf>, Authority>,
}

#[derive(Debug)]
struct Authority {
    /// The file's content; empty for the system's.
    pem: Arc<[u8]>,
    tls: ClientConfig,
}

impl Trust {
    /// Reads the `ca` files of `probes` from `files`, and the system's authorities if a probe needs
    /// them.
    ///
    /// # Errors
    /// One problem for each file that cannot be read, or holds no certificate or a bad one; one if
    /// the system's authorities are needed and there are none.
    pub fn load(probes: &[Probe], files: &mut dyn Files) -> Result<Self, Vec<Problem>> {
        let mut trust = Self {
            nobody: finish(builder().with_root_certificates(RootCertStore::empty())),
            authorities: BTreeMap::new(),
        };
        let mut problems = Vec::new();
        for tls in probes.iter().filter_map(tls_of) {
            if trust.authorities.contains_key(&tls.ca) {
                continue;
            }
            let authority = match &tls.ca {
                Some(file) => Authority::from_file(file, files),
                None => Authority::of_system(),
            };
            match authority {
                Ok(authority) => drop(trust.authorities.insert(tls.ca.clone(), authority)),
                Err(problem) if !problems.contains(&*problem) => problems.push(*problem),
                Err(_) => {}
            }
        }
        if problems.is_empty() { Ok(trust) } else { Err(problems) }
    }

    /// Settings for these; none if they were not loaded.
    pub(super) fn client_config(&self, tls: Option<&Tls>) -> Option<&ClientConfig> {
        match tls {
            Some(tls) => self.authorities.get(&tls.ca).map(|authority| &authority.tls),
            None => Some(&self.nobody),
        }
    }

    /// The content of the probe's `ca` file.
    pub(super) fn pem(&self, probe: &Probe) -> Option<&Arc<[u8]>> {
        self.authorities.get(&tls_of(probe)?.ca).map(|authority| &authority.pem)
    }
}

impl Authority {
    fn from_file(file: &Path, files: &mut dyn Files) -> Result<Self, Box<Problem>> {
        let help = "give a PEM file with one or more CERTIFICATE sections";
        let problem = |code, text: String| Box::new(Problem::error(code, file, text).help(help));
        let pem = files.read(file).map_err(|error| problem("ca-unreadable", format!("cannot read it: {error}")))?;
        let mut roots = RootCertStore::empty();
        for (index, certificate) in CertificateDer::pem_slice_iter(&pem).enumerate() {
            let bad = |why: String| problem("ca-bad", format!("certificate {} is not good: {why}", index + 1));
            let certificate = certificate.map_err(|error| bad(error.to_string()))?;
            roots.add(certificate).map_err(|error| bad(error.to_string()))?;
        }
        if roots.is_empty() {
            return Err(problem("ca-empty", "it holds no certificate".to_owned()));
        }
        Ok(Self { pem, tls: finish(builder().with_root_certificates(roots)) })
    }

    fn of_system() -> Result<Self, Box<Problem>> {
        let builder = builder().with_platform_verifier().map_err(|error| {
            let text = format!("an https probe needs it: {error}");
            let problem = Problem::error("ca-system", Path::new("the system's certificate store"), text);
            Box::new(problem.help("install the package ca-certificates, or give the probe a ca file"))
        })?;
        Ok(Self { pem: Arc::default(), tls: finish(builder) })
    }
}

fn tls_of(probe: &Probe) -> Option<&Tls> {
    match &probe.kind {
        ProbeKind::Http(http) => http.tls.as_ref(),
        ProbeKind::Tcp => None,
    }
}

fn builder() -> ConfigBuilder<ClientConfig, WantsVerifier> {
    let provider: Arc<CryptoProvider> = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    builder.expect("ring serves the default versions")
}

fn finish(builder: ConfigBuilder<ClientConfig, rustls::client::WantsClientCert>) -> ClientConfig {
    let mut config = builder.with_no_client_auth();
    // A resumed session would not show the certificate again, and an expired one would stay unseen.
    config.resumption = rustls::client::Resumption::disabled();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    config
}
