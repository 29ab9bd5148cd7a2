//! `tls` probes: a handshake on a fresh connection, and nothing said in it.

use std::net::SocketAddr;
use std::sync::Arc;

use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::attempt::{Attempt, Failed, Found, Unfit, classify};
use super::expiry::Expiry;
use super::trust::Trust;
use crate::config::Tls;
use crate::health::{Cause, Check};

/// Shakes hands.
pub(super) struct TlsClient {
    target: SocketAddr,
    name: ServerName<'static>,
    connector: TlsConnector,
    expiry: Expiry,
}

impl TlsClient {
    /// To speak one of `protocols` (ALPN).
    ///
    /// # Errors
    /// Why the settings make no handshake.
    pub(super) fn new(check: &Check, tls: &Tls, protocols: &[&str], trust: &Trust) -> Result<Self, Unfit> {
        let name = match &tls.server_name {
            Some(name) => ServerName::try_from(name.clone())
                .map_err(|_| Unfit::Settings(format!("server_name {name:?} is no name")))?,
            None => check.target.ip().into(),
        };
        let connector = Arc::new(trust.client_config(Some(tls), protocols)?).into();
        Ok(Self { target: check.target, name, connector, expiry: Expiry::new(check, tls) })
    }

    /// A connection whose other side has shown a good certificate.
    pub(super) async fn connect(&self) -> Result<TlsStream<TcpStream>, Failed> {
        let stream = TcpStream::connect(self.target).await.map_err(|error| classify(&error))?;
        let stream = self.connector.connect(self.name.clone(), stream).await.map_err(|error| classify_eof(&error))?;
        if let Some(own) = stream.get_ref().1.peer_certificates().and_then(<[_]>::first) {
            self.expiry.observe(own);
        }
        Ok(stream)
    }
}

/// An end within the handshake has no error of TLS.
fn classify_eof(error: &std::io::Error) -> Failed {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        return Failed::There(Cause::Tls("the connection ended within the handshake".to_owned()));
    }
    classify(error)
}

impl Attempt for TlsClient {
    async fn attempt(&self) -> Result<Found, Failed> {
        self.connect().await.map(|_| Found::Good)
    }
}
