//! `grpc` probes: `grpc.health.v1.Health/Check` by HTTP/2, on a fresh connection. Both messages have one
//! field, so they are made and read by hand.

use std::future::poll_fn;
use std::net::SocketAddr;

use bytes::{BufMut as _, Bytes, BytesMut};
use h2::RecvStream;
use h2::client::{Builder, Connection, SendRequest};
use http::{HeaderMap, Request, Uri};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::attempt::{Attempt, Failed, Found, Unfit, bounded, classify};
use super::tls::TlsClient;
use super::trust::Trust;
use crate::config::Grpc;
use crate::health::{Cause, Check};

/// A response is two octets in five of frame; no server sends so many.
const MAX_BODY: usize = 4096;
const MAX_HEADERS: u32 = 16 * 1024;

/// Asks for the health of a service.
pub(super) struct GrpcClient {
    target: SocketAddr,
    tls: Option<TlsClient>,
    uri: Uri,
    message: Bytes,
}

impl GrpcClient {
    /// # Errors
    /// Why the settings make no request.
    pub(super) fn new(check: &Check, grpc: &Grpc, trust: &Trust) -> Result<Self, Unfit> {
        let tls = grpc.tls.as_ref().map(|tls| TlsClient::new(check, tls, &["h2"], trust)).transpose()?;
        let (scheme, target) = (if tls.is_some() { "https" } else { "http" }, check.target);
        let name = grpc.tls.as_ref().and_then(|tls| tls.server_name.clone());
        let authority = name.unwrap_or_else(|| target.to_string());
        let uri = format!("{scheme}://{authority}/grpc.health.v1.Health/Check").parse();
        let uri = uri.map_err(|error| Unfit::Settings(format!("{authority:?} makes no URL: {error}")))?;
        Ok(Self { target, tls, uri, message: request_message(&grpc.service) })
    }

    async fn ask(&self, stream: impl AsyncRead + AsyncWrite + Unpin) -> Result<Found, Failed> {
        let mut builder = Builder::new();
        builder.enable_push(false).max_header_list_size(MAX_HEADERS).initial_window_size(64 * 1024);
        let (sender, connection) = builder.handshake::<_, Bytes>(stream).await.map_err(|error| classify_h2(&error))?;
        self.exchange(sender, connection).await
    }

    /// The connection lives as long as this future is looked at.
    async fn exchange<S: AsyncRead + AsyncWrite + Unpin>(
        &self,
        sender: SendRequest<Bytes>,
        connection: Connection<S>,
    ) -> Result<Found, Failed> {
        tokio::select! {
            biased;
            found = self.request(sender) => found,
            ended = connection => Err(match ended {
                Ok(()) => wrong("the connection ended before the answer".to_owned()),
                Err(error) => classify_h2(&error),
            }),
        }
    }

    async fn request(&self, sender: SendRequest<Bytes>) -> Result<Found, Failed> {
        let mut sender = sender.ready().await.map_err(|error| classify_h2(&error))?;
        let request = Request::post(self.uri.clone())
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("user-agent", concat!("meridian/", env!("CARGO_PKG_VERSION")))
            .body(())
            .expect("all its parts are good");
        let (response, mut body) = sender.send_request(request, false).map_err(|error| classify_h2(&error))?;
        body.send_data(self.message.clone(), true).map_err(|error| classify_h2(&error))?;
        let (head, body) = response.await.map_err(|error| classify_h2(&error))?.into_parts();
        if head.status.as_u16() != 200 {
            return Err(Failed::There(Cause::Status(head.status.as_u16())));
        }
        let (message, trailers) = read(body).await?;
        // A refusal may have its status in the head alone.
        status_of(&trailers)
            .or_else(|| status_of(&head.headers))
            .unwrap_or_else(|| Err("no grpc-status".to_owned()))
            .map_err(wrong)?;
        verdict(&message)
    }
}

impl Attempt for GrpcClient {
    async fn attempt(&self) -> Result<Found, Failed> {
        match &self.tls {
            Some(tls) => self.ask(tls.connect().await?).await,
            None => self.ask(TcpStream::connect(self.target).await.map_err(|error| classify(&error))?).await,
        }
    }
}

async fn read(mut body: RecvStream) -> Result<(Vec<u8>, HeaderMap), Failed> {
    let mut message = Vec::new();
    while let Some(piece) = poll_fn(|context| body.poll_data(context)).await {
        let piece = piece.map_err(|error| classify_h2(&error))?;
        message.extend_from_slice(&piece);
        if message.len() > MAX_BODY {
            return Err(wrong("the answer is over 4 KiB".to_owned()));
        }
        body.flow_control().release_capacity(piece.len()).map_err(|error| classify_h2(&error))?;
    }
    let trailers = poll_fn(|context| body.poll_trailers(context)).await.map_err(|error| classify_h2(&error))?;
    Ok((message, trailers.unwrap_or_default()))
}

/// What `grpc-status` says, where it is; zero is good.
fn status_of(headers: &HeaderMap) -> Option<Result<(), String>> {
    let status = headers.get("grpc-status")?.to_str().unwrap_or("unreadable");
    let message = headers.get("grpc-message").and_then(|message| message.to_str().ok()).unwrap_or_default();
    Some(if status == "0" { Ok(()) } else { Err(format!("grpc-status {status} {message}").trim_end().to_owned()) })
}

/// `HealthCheckRequest { service = 1 }`, in gRPC's frame: not packed, then the length.
fn request_message(service: &str) -> Bytes {
    let mut field = BytesMut::new();
    if !service.is_empty() {
        field.put_u8(0x0a);
        let mut length = service.len();
        while length > 0x7f {
            field.put_u8((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        field.put_u8(length as u8);
        field.put_slice(service.as_bytes());
    }
    let mut message = BytesMut::new();
    message.put_u8(0);
    message.put_u32(field.len() as u32);
    message.put(field);
    message.freeze()
}

/// What a framed `HealthCheckResponse { status = 1 }` comes to.
fn verdict(message: &[u8]) -> Result<Found, Failed> {
    let framed = message.split_first_chunk::<5>();
    let content = framed.filter(|([packed, length @ ..], content)| {
        *packed == 0 && u32::from_be_bytes(*length) as usize == content.len()
    });
    let Some((_, content)) = content else { return Err(wrong("the answer is no whole message".to_owned())) };
    match status(content) {
        Some(1) => Ok(Found::Good),
        Some(0) => Err(wrong("the service says UNKNOWN".to_owned())),
        Some(2) => Err(wrong("the service says NOT_SERVING".to_owned())),
        Some(3) => Err(wrong("the service says SERVICE_UNKNOWN".to_owned())),
        Some(other) => Err(wrong(format!("the service says {other}"))),
        None => Err(wrong("the answer is no HealthCheckResponse".to_owned())),
    }
}

/// The last field 1 of a message; a message without it means zero. Other fields are passed over.
fn status(mut message: &[u8]) -> Option<u64> {
    let mut status = 0;
    while !message.is_empty() {
        let key = varint(&mut message)?;
        match (key >> 3, key & 7) {
            (1, 0) => status = varint(&mut message)?,
            (_, 0) => _ = varint(&mut message)?,
            (_, 1) => _ = message.split_off(..8)?,
            (_, 2) => {
                let length = usize::try_from(varint(&mut message)?).ok()?;
                message.split_off(..length)?;
            }
            (_, 5) => _ = message.split_off(..4)?,
            _ => return None,
        }
    }
    Some(status)
}

fn varint(message: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for place in 0..10 {
        let octet = *message.split_off_first()?;
        value |= u64::from(octet & 0x7f) << (7 * place);
        if octet < 0x80 {
            return Some(value);
        }
    }
    None
}

fn wrong(text: String) -> Failed {
    Failed::There(Cause::Protocol(bounded(&text)))
}

/// h2 keeps I/O errors to itself.
fn classify_h2(error: &h2::Error) -> Failed {
    match error.get_io() {
        Some(io) => classify(io),
        None => wrong(format!("HTTP/2: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages() {
        assert_eq!(request_message("")[..], [0; 5]);
        assert_eq!(request_message("ab")[..], [0, 0, 0, 0, 4, 0x0a, 2, b'a', b'b']);
        assert_eq!(request_message(&"a".repeat(200))[..9], [0, 0, 0, 0, 203, 0x0a, 0xc8, 1, b'a']);
        assert_eq!(verdict(&[0, 0, 0, 0, 2, 8, 1]), Ok(Found::Good));
        let others = [0x12, 1, b'x', 0x1d, 0, 0, 0, 0, 0x21, 0, 0, 0, 0, 0, 0, 0, 0, 0x28, 0xff, 1, 8, 1];
        assert_eq!(status(&others), Some(1));
        for bad in [&[][..], &[0], &[1, 0, 0, 0, 2, 8, 1], &[0, 0, 0, 0, 3, 8, 1], &[0, 0, 0, 0, 1, 8]] {
            assert!(verdict(bad).is_err(), "{bad:?}");
        }
        for bad in [&[8][..], &[8, 0xff], &[0x0a, 5, 1], &[0x0b], &[0x1d, 1], &[0xff; 20]] {
            assert_eq!(status(bad), None, "{bad:?}");
        }
    }
}
