//! Connections that a proxy brings: whose they are stands in front (PROXY protocol, version 2).

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::time::timeout;

use crate::wire::{PROXY_FIXED, ProxyHeader};

/// What a header may take to arrive: it is sent at once.
const HEADER: Duration = Duration::from_secs(3);

/// Takes the header off the stream, and not an octet more. The client that it names, or the proxy.
///
/// # Errors
/// There is no header, or not in time.
pub(super) async fn client(stream: &mut (impl AsyncRead + Unpin), proxy: SocketAddr) -> io::Result<SocketAddr> {
    timeout(HEADER, read(stream)).await?.map(|client| client.unwrap_or(proxy))
}

async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<SocketAddr>> {
    let (mut octets, mut needed) = (Vec::new(), PROXY_FIXED);
    loop {
        let have = octets.len();
        octets.resize(needed, 0);
        stream.read_exact(&mut octets[have..]).await?;
        match ProxyHeader::read(&octets) {
            Some(ProxyHeader::Whole { client, .. }) => return Ok(client),
            Some(ProxyHeader::Cut(length)) => needed = length,
            None => return Err(ErrorKind::InvalidData.into()),
        }
    }
}
