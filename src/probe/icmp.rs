//! `icmp` probes: an echo, by the kernel's socket for it, which needs no privilege where the system allows it.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicU16, Ordering};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::UdpSocket;

use super::attempt::{Attempt, Failed, Found, classify};

/// Type, code, checksum, id, sequence.
const HEADER: usize = 8;
const PAYLOAD: usize = 16;

/// Sends echo requests.
pub(super) struct Pinger {
    target: IpAddr,
    sequence: AtomicU16,
}

impl Pinger {
    pub(super) fn new(target: IpAddr) -> Self {
        Self { target, sequence: AtomicU16::new(0) }
    }
}

impl Attempt for Pinger {
    async fn attempt(&self) -> Result<Found, Failed> {
        let socket = match open(self.target) {
            Ok(socket) => socket,
            Err(error) if matches!(error.kind(), io::ErrorKind::PermissionDenied | io::ErrorKind::Unsupported) => {
                let why = "the kernel lets this group send no echo: see the sysctl net.ipv4.ping_group_range";
                return Ok(Found::Missing(format!("{why} ({error})")));
            }
            Err(error) => return Err(classify(&error)),
        };
        socket.connect(SocketAddr::new(self.target, 0)).await.map_err(|error| classify(&error))?;
        let mut payload = [0; PAYLOAD];
        let random = rustls::crypto::ring::default_provider().secure_random;
        random.fill(&mut payload).map_err(|_| Failed::Here("no random octets".to_owned()))?;
        let sequence = self.sequence.fetch_add(1, Ordering::Relaxed);
        let request = request(self.target, sequence, &payload);
        socket.send(&request).await.map_err(|error| classify(&error))?;
        let mut reply = [0; 256];
        // Only replies with this socket's id come, which is the kernel's and stands in its local port.
        loop {
            let length = socket.recv(&mut reply).await.map_err(|error| classify(&error))?;
            if is_reply(self.target, &reply[..length], sequence, &payload) {
                return Ok(Found::Good);
            }
        }
    }
}

fn open(target: IpAddr) -> io::Result<UdpSocket> {
    let (domain, protocol) = match target {
        IpAddr::V4(_) => (Domain::IPV4, Protocol::ICMPV4),
        IpAddr::V6(_) => (Domain::IPV6, Protocol::ICMPV6),
    };
    let socket = Socket::new(domain, Type::DGRAM, Some(protocol))?;
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket.into())
}

/// The kernel fills in id and checksum.
fn request(target: IpAddr, sequence: u16, payload: &[u8; PAYLOAD]) -> [u8; HEADER + PAYLOAD] {
    let mut packet = [0; HEADER + PAYLOAD];
    packet[0] = if target.is_ipv4() { 8 } else { 128 };
    packet[6..8].copy_from_slice(&sequence.to_be_bytes());
    packet[HEADER..].copy_from_slice(payload);
    packet
}

fn is_reply(target: IpAddr, packet: &[u8], sequence: u16, payload: &[u8; PAYLOAD]) -> bool {
    let kind = if target.is_ipv4() { 0 } else { 129 };
    packet.len() == HEADER + PAYLOAD
        && packet[..2] == [kind, 0]
        && packet[6..8] == sequence.to_be_bytes()
        && packet[HEADER..] == payload[..]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_are_told_from_others() {
        for (target, kind) in [("192.0.2.1", 0), ("2001:db8::1", 129)] {
            let target = target.parse().unwrap();
            let payload = [7; PAYLOAD];
            let mut reply = request(target, 0x1234, &payload);
            assert!(!is_reply(target, &reply, 0x1234, &payload), "a request is none");
            reply[0] = kind;
            assert!(is_reply(target, &reply, 0x1234, &payload));
            assert!(!is_reply(target, &reply, 0x1235, &payload));
            assert!(!is_reply(target, &reply, 0x1234, &[8; PAYLOAD]));
            assert!(!is_reply(target, &reply[..HEADER], 0x1234, &payload) && !is_reply(target, &[], 0, &payload));
        }
    }
}
