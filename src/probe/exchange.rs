//! `tcp` probes that say something, listen, or both.

use std::net::SocketAddr;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::attempt::{Attempt, Failed, Found, classify};
use crate::config::Exchange;
use crate::health::Cause;

/// Text is looked for in so many octets of what comes.
const MAX_REPLY: usize = 4096;

/// What is said to a target, and what must come.
pub(super) struct Talk {
    pub(super) target: SocketAddr,
    pub(super) exchange: Exchange,
}

impl Attempt for Talk {
    async fn attempt(&self) -> Result<Found, Failed> {
        let mut stream = TcpStream::connect(self.target).await.map_err(|error| classify(&error))?;
        if let Some(text) = &self.exchange.send {
            stream.write_all(text.as_bytes()).await.map_err(|error| classify(&error))?;
        }
        let Some(text) = &self.exchange.expect else { return Ok(Found::Good) };
        let (mut reply, mut length) = ([0; MAX_REPLY], 0);
        while length < MAX_REPLY {
            let more = stream.read(&mut reply[length..]).await.map_err(|error| classify(&error))?;
            // A match may begin in what came before.
            let from = length.saturating_sub(text.len());
            length += more;
            if reply[from..length].windows(text.len()).any(|window| window == text.as_bytes()) {
                return Ok(Found::Good);
            }
            if more == 0 {
                break;
            }
        }
        Err(Failed::There(Cause::Protocol("what came lacks the expected text".to_owned())))
    }
}
