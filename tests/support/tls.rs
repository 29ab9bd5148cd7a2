//! A certificate authority for tests, and clients that trust it.
#![allow(dead_code, reason = "no test binary uses all of it")]

use std::net::SocketAddr;
use std::sync::Arc;

use hickory_proto::op::Message;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub(crate) const SERVER_NAME: &str = "ns1.shop.example";

/// An authority that signs for [`SERVER_NAME`].
pub(crate) struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// The authority's own certificate, as PEM.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate and its key, as PEM.
    pub(crate) fn issue(&self) -> [String; 2] {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![SERVER_NAME.to_owned()]).unwrap();
        [params.signed_by(&key, &self.0).unwrap().pem(), key.serialize_pem()]
    }

    /// What a client that trusts it alone offers.
    pub(crate) fn client_config(&self, protocol: &str) -> ClientConfig {
        let mut roots = RootCertStore::empty();
        roots.add(self.0.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut config = builder.with_root_certificates(roots).with_no_client_auth();
        config.alpn_protocols = vec![protocol.into()];
        config
    }

    /// Connects for DNS over TLS, sending this first in the clear.
    pub(crate) async fn connect(&self, server: SocketAddr, first: &[u8]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut stream = TcpStream::connect(server).await?;
        stream.write_all(first).await?;
        let connector = TlsConnector::from(Arc::new(self.client_config("dot")));
        connector.connect(ServerName::try_from(SERVER_NAME).unwrap(), stream).await
    }
}

/// Asks on a connection; the reply's octets.
pub(crate) async fn ask_on(stream: &mut TlsStream<TcpStream>, query: &Message) -> std::io::Result<Vec<u8>> {
    let octets = query.to_vec().unwrap();
    stream.write_all(&[&(octets.len() as u16).to_be_bytes()[..], &octets].concat()).await?;
    let mut reply = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut reply).await?;
    Ok(reply)
}
