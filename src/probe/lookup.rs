//! Requests to whom a URL names, and not to a target's address: names are looked up by the system.

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::sync::{Arc, LazyLock};

use reqwest::Url;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use rustls::ClientConfig;
use tokio::sync::Semaphore;

use super::http::client;
use super::trust::Trust;
use crate::config::{Tls, is_private};

/// Looks up at once by the system: it takes a thread each, which cannot be stopped.
static LOOKUPS: LazyLock<Arc<Semaphore>> = LazyLock::new(|| Arc::new(Semaphore::new(16)));

impl Trust {
    /// A client for requests to `url`, as probes have it: each on a connection of its own, without redirects, proxy or
    /// second try. `private`: loopback, private and link-local addresses are meant.
    ///
    /// # Errors
    /// Why there is none.
    pub fn client(&self, url: &Url, tls: Option<&Tls>, private: bool) -> Result<reqwest::Client, String> {
        let tls =
            self.client_config(tls, &["http/1.1"]).map_err(|_| "what it needs for TLS is not loaded".to_owned())?;
        web_client(url, tls, private)
    }
}

/// # Errors
/// Why there is no such client.
pub(super) fn web_client(url: &Url, tls: ClientConfig, private: bool) -> Result<reqwest::Client, String> {
    let host = url.host_str().and_then(|host| host.trim_matches(['[', ']']).parse::<IpAddr>().ok());
    if let Some(host) = host.filter(|&host| !private && is_private(host)) {
        return Err(refusal(host));
    }
    let client = client(tls).dns_resolver(System { private }).tls_info(true).pool_max_idle_per_host(0).build();
    client.map_err(|error| format!("no client: {error}"))
}

fn refusal(address: IpAddr) -> String {
    format!("{address} is a private address and allow_private = true is not said")
}

/// Asks the system for addresses.
#[derive(Clone, Copy)]
struct System {
    /// Private ones are meant.
    private: bool,
}

impl Resolve for System {
    fn resolve(&self, name: Name) -> Resolving {
        let private = self.private;
        Box::pin(async move {
            let permit = Arc::clone(&LOOKUPS).acquire_owned().await?;
            let found = tokio::task::spawn_blocking(move || {
                let _permit = permit;
                (name.as_str(), 0).to_socket_addrs().map(|found| found.take(16).collect::<Vec<SocketAddr>>())
            });
            let found = found.await??;
            match found.iter().find(|found| !private && is_private(found.ip())) {
                Some(refused) => Err(io::Error::other(refusal(refused.ip())).into()),
                None => Ok(Box::new(found.into_iter()) as Addrs),
            }
        })
    }
}
