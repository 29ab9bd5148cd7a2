//! Asking the running server by HTTP.

use std::io;
use std::time::Duration;

use reqwest::{Client, RequestBuilder, StatusCode};

use super::arguments::ConfigFile;
use super::report::StartError;
use crate::config;
use crate::control::DiskFiles;
use crate::probe::innermost;

/// A server that has not answered in this time is stuck.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where it is: at `url`, else at the configuration's admin address.
pub(super) fn base(config: &ConfigFile, url: Option<&str>) -> Result<String, StartError> {
    if let Some(url) = url {
        return Ok(url.to_owned());
    }
    let listen = config::admin_address(&mut DiskFiles::default(), &config.path).map_err(|mut problems| {
        // Whoever asks a server needs no configuration.
        for problem in problems.iter_mut().filter(|problem| problem.spot.is_none()) {
            problem.help =
                Some("name the configuration by --config FILE, or the running server by --server URL".to_owned());
        }
        StartError::Problems(problems)
    })?;
    let listen =
        listen.ok_or_else(|| io::Error::other("the configuration has no [admin] listen; name the server's URL"))?;
    Ok(format!("http://{listen}"))
}

pub(super) fn client() -> Result<Client, StartError> {
    // reqwest asks for a provider even where it makes no TLS connection. A second install changes nothing.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = Client::builder().no_proxy().tls_certs_only([]).timeout(PATIENCE).build();
    Ok(client.map_err(io::Error::other)?)
}

/// Its reply, whatever the status.
pub(super) async fn reply(base: &str, request: RequestBuilder) -> Result<(StatusCode, String), StartError> {
    let (status, octets) = whole(base, request).await?;
    Ok((status, String::from_utf8_lossy(&octets).into_owned()))
}

async fn whole(base: &str, request: RequestBuilder) -> Result<(StatusCode, Vec<u8>), StartError> {
    let failed = |error: reqwest::Error| {
        let why = innermost(&error);
        io::Error::other(format!(
            "{base} does not answer: {why}. Is that [admin] listen of a server that runs? --server URL names another"
        ))
    };
    let reply = request.send().await.map_err(failed)?;
    Ok((reply.status(), reply.bytes().await.map_err(failed)?.into()))
}

/// The text of its reply.
///
/// # Errors
/// Its status is no good one.
pub(super) async fn text(base: &str, request: RequestBuilder) -> Result<String, StartError> {
    let (status, text) = reply(base, request).await?;
    if status.is_success() { Ok(text) } else { Err(refused(base, status, &text)) }
}

/// The octets of its reply.
///
/// # Errors
/// As of [`text`].
pub(super) async fn octets(base: &str, request: RequestBuilder) -> Result<Vec<u8>, StartError> {
    let (status, octets) = whole(base, request).await?;
    if status.is_success() { Ok(octets) } else { Err(refused(base, status, &String::from_utf8_lossy(&octets))) }
}

pub(super) fn refused(base: &str, status: StatusCode, text: &str) -> StartError {
    let text = text.trim();
    let text = if status == StatusCode::NOT_FOUND && (text.is_empty() || text.starts_with('{')) {
        "is that [admin] listen of a server, and of this version?"
    } else {
        text
    };
    io::Error::other(format!("{base} says {status}: {text}")).into()
}
