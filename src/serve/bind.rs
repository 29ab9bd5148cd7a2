//! Binding the sockets, with errors that say what to do.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, UdpSocket};

use socket2::{Domain, Protocol, Socket, Type};

use super::Transport;

/// Connections that the kernel completes ahead of `accept`.
const BACKLOG: i32 = 1024;
/// Ephemeral ports tried until one is free for TCP and UDP alike.
const PORT_TRIES: usize = 32;

/// Sockets that hold their addresses and are not served yet.
#[derive(Debug)]
pub struct Bound {
    /// One for each address.
    pub(super) tcp: Vec<TcpListener>,
    /// `workers` for each address.
    pub(super) udp: Vec<UdpSocket>,
    pub(super) workers: usize,
}

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// By TCP or by UDP.
    pub transport: Transport,
    /// The system's reason.
    pub source: io::Error,
}

impl Bound {
    /// Binds TCP and UDP to each address, UDP once for each of `workers` (at least one). Port 0 finds
    /// one port that is free for both. IPv6 sockets take no IPv4.
    ///
    /// # Errors
    /// [`BindError`]: the first address that cannot be had.
    pub fn bind(listen: &[SocketAddr], workers: usize) -> Result<Self, BindError> {
        let workers = workers.max(1);
        let mut bound = Self { tcp: Vec::new(), udp: Vec::new(), workers };
        for &address in listen {
            let (tcp, udp) = bind_both(address, workers)?;
            bound.tcp.push(tcp);
            bound.udp.extend(udp);
        }
        Ok(bound)
    }

    /// The addresses in their order, ports resolved.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.tcp.iter().map(|listener| listener.local_addr().expect("it is bound")).collect()
    }
}

/// TCP first: its port is never shared, so a second server of ours is found here.
fn bind_both(address: SocketAddr, workers: usize) -> Result<(TcpListener, Vec<UdpSocket>), BindError> {
    let mut tries_left = if address.port() == 0 { PORT_TRIES } else { 1 };
    loop {
        tries_left -= 1;
        let error = |transport| move |source| BindError { address, transport, source };
        let tcp = bind_tcp(address).map_err(error(Transport::Tcp))?;
        let resolved = tcp.local_addr().map_err(error(Transport::Tcp))?;
        match bind_udp(resolved, workers) {
            Ok(udp) => return Ok((tcp, udp)),
            Err(source) if source.kind() == ErrorKind::AddrInUse && tries_left > 0 => {}
            Err(source) => return Err(error(Transport::Udp)(source)),
        }
    }
}

fn bind_tcp(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = new_socket(address, Type::STREAM, Protocol::TCP)?;
    // Connections of the server before this one may linger; they do not hold the address.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The workers' sockets share their port with each other, and would share it with a stranger that
/// allows it (mDNS does), each getting some of the queries. A socket that shares with nobody finds
/// such a stranger first.
fn bind_udp(address: SocketAddr, workers: usize) -> io::Result<Vec<UdpSocket>> {
    new_socket(address, Type::DGRAM, Protocol::UDP)?.bind(&address.into())?;
    let bind_one = |_| {
        let socket = new_socket(address, Type::DGRAM, Protocol::UDP)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        Ok(socket.into())
    };
    (0..workers).map(bind_one).collect()
}

fn new_socket(address: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, transport, source } = self;
        let transport = match transport {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        };
        write!(f, "cannot listen on {address} ({transport}): ")?;
        match source.kind() {
            ErrorKind::AddrInUse => {
                let holder = match address.port() {
                    53 => "another server (often systemd-resolved or dnsmasq)",
                    5353 => "another server (5353 is mDNS's port: often avahi-daemon)",
                    _ => "another server",
                };
                write!(f, "{holder} holds it; change [server] listen, or stop that server")
            }
            ErrorKind::AddrNotAvailable => {
                f.write_str("no interface of this machine has this address; change [server] listen")
            }
            ErrorKind::PermissionDenied => f.write_str(
                "ports below 1024 need the capability CAP_NET_BIND_SERVICE; grant it, or change [server] listen",
            ),
            _ => write!(f, "{source}"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
