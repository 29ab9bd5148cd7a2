//! A toy responder behind real loopback sockets; what waits, on a paused clock without sockets.

mod batches;
mod binding;
mod connections;
mod https;
mod limits;
mod proxied;
mod quic;
mod sockets;
mod tls;

use super::*;

/// Octets at the end of a toy reply.
const TAG: usize = 1;

/// Answers `query` by itself and the transport. What begins with `!` panics, with `?` is silence.
fn toy(_: SocketAddr, transport: Transport, query: &[u8], out: &mut [u8]) -> usize {
    match query.first() {
        Some(b'!') => panic!("the toy was asked to panic"),
        Some(b'?') => 0,
        _ => {
            out[..query.len()].copy_from_slice(query);
            out[query.len()] = if transport == Transport::Udp { b'U' } else { b'T' };
            query.len() + TAG
        }
    }
}

const SETTINGS: TcpSettings = TcpSettings {
    connections: 100,
    client_connections: 100,
    client_queries: 1_000_000,
    client_octets: 1_000_000_000,
    idle: Duration::from_secs(60),
};

/// Of that many workers.
fn udp_of(workers: usize) -> UdpSettings {
    UdpSettings { workers, receive_buffer: 1_000_000, steer_by_cpu: false }
}

fn localhost(listen: &[&str]) -> Vec<SocketAddr> {
    listen.iter().map(|address| address.parse().unwrap()).collect()
}

/// Two workers on IPv4, ephemeral port.
fn serve_toy(settings: TcpSettings) -> Serving {
    Bound::bind(&localhost(&["127.0.0.1:0"]), udp_of(2)).unwrap().serve(settings, |_| toy).unwrap()
}

/// A query of at least a header's length, framed for TCP.
fn framed(text: &str) -> Vec<u8> {
    let query = text.as_bytes();
    [&(query.len() as u16).to_be_bytes()[..], query].concat()
}
