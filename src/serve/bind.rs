//! Binding the sockets, with errors that say what to do.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;

use rustls::ServerConfig;
use socket2::{Domain, Protocol, Socket, Type};

use super::tcp::Layer;
use super::{Transport, socket};

/// Connections that the kernel completes ahead of `accept`.
const BACKLOG: i32 = 1024;
/// Connections that have brought a query with their SYN and are not whole yet (RFC 7413). More do it the usual way.
const FAST_OPEN_QUEUE: i32 = 256;
/// Octets that the kernel holds at most for a TCP connection, each way; it takes double for its own needs. Left to
/// itself, it lets a client that does not read have megabytes.
const STREAM_SEND_BUFFER: usize = 128 << 10;
const STREAM_RECEIVE_BUFFER: usize = 64 << 10;
/// Where the kernel says whether a server may be asked with the SYN: bit 1.
const FAST_OPEN: &str = "/proc/sys/net/ipv4/tcp_fastopen";
/// Ephemeral ports tried until one is free for TCP and UDP alike.
const PORT_TRIES: usize = 32;
/// Octets for replies on their way out: several batches, so that a worker seldom waits for the network
/// interface.
const SEND_BUFFER: usize = 1 << 20;

/// How UDP is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UdpSettings {
    /// Threads for each address; at least one.
    pub workers: usize,
    /// Octets of each socket's receive buffer.
    pub receive_buffer: usize,
    /// Worker `i` has what arrives on processor `c` where `c % workers = i`, and runs there. Otherwise
    /// the kernel spreads clients over workers by a hash of addresses and ports.
    pub steer_by_cpu: bool,
}

/// Sockets that hold their addresses and are not served yet.
#[derive(Debug)]
pub struct Bound {
    /// One for each address.
    pub(super) tcp: Vec<TcpListener>,
    /// `workers` for each address.
    pub(super) udp: Vec<UdpSocket>,
    /// What is reached by TCP alone.
    pub(super) encrypted: Vec<(Layer, TcpListener)>,
    /// What is reached by QUIC, with the settings of its TLS.
    pub(super) quic: Vec<(Transport, UdpSocket, Arc<ServerConfig>)>,
    /// Where HTTPS is asked, by whatever HTTP.
    pub(super) https_path: Box<str>,
    pub(super) settings: UdpSettings,
    absent: Vec<SocketAddr>,
    /// Did the kernel take it for all listeners?
    fast_open: bool,
}

/// An address that cannot be listened on.
#[derive(Debug)]
pub struct BindError {
    /// The address.
    pub address: SocketAddr,
    /// By what it was to be reached.
    pub transport: Transport,
    /// The system's reason.
    pub source: io::Error,
}

impl Bound {
    /// Binds TCP and UDP to each address, UDP once for each worker. Port 0 finds one port that is free
    /// for both. IPv6 sockets take no IPv4. An address that no interface has yet is bound all the
    /// same: a standby starts before its address comes over.
    ///
    /// # Errors
    /// [`BindError`]: the first address that cannot be had.
    pub fn bind(listen: &[SocketAddr], settings: UdpSettings) -> Result<Self, BindError> {
        let settings = UdpSettings { workers: settings.workers.max(1), ..settings };
        let mut bound = Self {
            tcp: Vec::new(),
            udp: Vec::new(),
            encrypted: Vec::new(),
            quic: Vec::new(),
            https_path: "/".into(),
            settings,
            absent: Vec::new(),
            fast_open: true,
        };
        for &address in listen {
            let (tcp, udp) = bound.even_if_absent(address, |absent| bind_both(address, &settings, absent))?;
            bound.fast_open &= socket::fast_open(&tcp, FAST_OPEN_QUEUE).is_ok();
            bound.tcp.push(tcp);
            bound.udp.extend(udp);
        }
        Ok(bound)
    }

    /// Binds TCP to each address for DNS over TLS (RFC 7858), with these settings of it.
    ///
    /// # Errors
    /// [`BindError`]: the first address that cannot be had.
    pub fn with_tls(self, listen: &[SocketAddr], tls: Arc<ServerConfig>) -> Result<Self, BindError> {
        self.with_layer(listen, &Layer::Tls(tls.into()))
    }

    /// The same for DNS over HTTPS, by HTTP/1.1 and HTTP/2 (RFC 8484).
    ///
    /// # Errors
    /// [`BindError`]: the first address that cannot be had.
    pub fn with_https(self, listen: &[SocketAddr], tls: Arc<ServerConfig>) -> Result<Self, BindError> {
        self.with_layer(listen, &Layer::Https(tls.into()))
    }

    /// Binds UDP to each address for DNS over QUIC (RFC 9250, [`Transport::Quic`]) or over HTTP/3
    /// ([`Transport::Https3`]), with these settings of TLS.
    ///
    /// # Errors
    /// [`BindError`]: the first address that cannot be had.
    pub fn with_quic(
        mut self,
        transport: Transport,
        listen: &[SocketAddr],
        tls: &Arc<ServerConfig>,
    ) -> Result<Self, BindError> {
        for &address in listen {
            let error = |source| BindError { address, transport, source };
            let socket = self.even_if_absent(address, |absent| bind_quic(address, absent).map_err(error))?;
            self.quic.push((transport, socket, Arc::clone(tls)));
        }
        Ok(self)
    }

    /// Where HTTPS is asked, by whatever HTTP: an absolute path. It is `/` until then.
    #[must_use]
    pub fn with_https_path(self, path: &str) -> Self {
        Self { https_path: path.into(), ..self }
    }

    fn with_layer(mut self, listen: &[SocketAddr], layer: &Layer) -> Result<Self, BindError> {
        for &address in listen {
            let error = |source| BindError { address, transport: layer.transport(), source };
            let listener = self.even_if_absent(address, |absent| bind_tcp(address, absent).map_err(error))?;
            self.fast_open &= socket::fast_open(&listener, FAST_OPEN_QUEUE).is_ok();
            self.encrypted.push((layer.clone(), listener));
        }
        Ok(self)
    }

    /// Binds an address, and where no interface has it, binds it as one that is to come.
    fn even_if_absent<T>(
        &mut self,
        address: SocketAddr,
        bind: impl Fn(bool) -> Result<T, BindError>,
    ) -> Result<T, BindError> {
        match bind(false) {
            Err(error) if error.source.kind() == ErrorKind::AddrNotAvailable => {
                let sockets = bind(true)?;
                self.absent.push(address);
                Ok(sockets)
            }
            sockets => sockets,
        }
    }

    /// Addresses bound that no interface has. Nobody is answered there until one does.
    #[must_use]
    pub fn absent(&self) -> &[SocketAddr] {
        &self.absent
    }

    /// May clients that have been here before send a query with their SYN (RFC 7413)? It is asked for; the kernel
    /// decides.
    #[must_use]
    pub fn fast_open(&self) -> bool {
        let allowed = fs::read_to_string(FAST_OPEN).ok().and_then(|text| text.trim().parse::<u32>().ok());
        self.fast_open && allowed.is_some_and(|bits| bits & 2 != 0)
    }

    /// Octets of the smallest receive buffer that the system granted.
    ///
    /// # Errors
    /// The system's.
    pub fn receive_buffer(&self) -> io::Result<usize> {
        let granted = |socket| {
            // The kernel doubles what it is asked for, for its own needs, and tells the double.
            socket2::SockRef::from(socket).recv_buffer_size().map(|octets| octets / 2)
        };
        self.udp.iter().map(granted).try_fold(usize::MAX, |least, granted| Ok(least.min(granted?)))
    }

    /// The addresses of UDP and TCP in their order, ports resolved.
    #[must_use]
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.tcp.iter().map(address_of).collect()
    }

    /// The addresses of encrypted transports in their order, ports resolved.
    #[must_use]
    pub fn encrypted_addresses(&self) -> Vec<(Transport, SocketAddr)> {
        let by_tcp = self.encrypted.iter().map(|(layer, listener)| (layer.transport(), address_of(listener)));
        let by_quic = self.quic.iter();
        let by_quic = by_quic.map(|(transport, socket, _)| (*transport, socket.local_addr().expect("it is bound")));
        by_tcp.chain(by_quic).collect()
    }
}

fn address_of(listener: &TcpListener) -> SocketAddr {
    listener.local_addr().expect("it is bound")
}

/// TCP first: its port is never shared, so a second server of ours is found here.
fn bind_both(
    address: SocketAddr,
    settings: &UdpSettings,
    absent: bool,
) -> Result<(TcpListener, Vec<UdpSocket>), BindError> {
    let mut tries_left = if address.port() == 0 { PORT_TRIES } else { 1 };
    loop {
        tries_left -= 1;
        let error = |transport| move |source| BindError { address, transport, source };
        let tcp = bind_tcp(address, absent).map_err(error(Transport::Tcp))?;
        let resolved = tcp.local_addr().map_err(error(Transport::Tcp))?;
        match bind_udp(resolved, settings, absent) {
            Ok(udp) => return Ok((tcp, udp)),
            Err(source) if source.kind() == ErrorKind::AddrInUse && tries_left > 0 => {}
            Err(source) => return Err(error(Transport::Udp)(source)),
        }
    }
}

fn bind_tcp(address: SocketAddr, absent: bool) -> io::Result<TcpListener> {
    let socket = new_socket(address, Type::STREAM, Protocol::TCP, absent)?;
    // Connections of the server before this one may linger; they do not hold the address.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Connections inherit them.
    socket.set_send_buffer_size(STREAM_SEND_BUFFER)?;
    socket.set_recv_buffer_size(STREAM_RECEIVE_BUFFER)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

/// The workers' sockets share their port with each other, and would share it with a stranger that
/// allows it (mDNS does), each getting some of the queries. A socket that shares with nobody finds
/// such a stranger first.
fn bind_udp(address: SocketAddr, settings: &UdpSettings, absent: bool) -> io::Result<Vec<UdpSocket>> {
    new_socket(address, Type::DGRAM, Protocol::UDP, absent)?.bind(&address.into())?;
    let bind_one = |_| bind_worker(address, settings.receive_buffer, absent);
    let sockets = (0..settings.workers).map(bind_one).collect::<io::Result<Vec<UdpSocket>>>()?;
    if settings.steer_by_cpu {
        socket::steer_by_cpu(&sockets[0], settings.workers)?;
    }
    Ok(sockets)
}

/// One socket: its clients' connections are told apart by what they say, not by which socket they came to.
fn bind_quic(address: SocketAddr, absent: bool) -> io::Result<UdpSocket> {
    let socket = new_socket(address, Type::DGRAM, Protocol::UDP, absent)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn bind_worker(address: SocketAddr, receive_buffer: usize, absent: bool) -> io::Result<UdpSocket> {
    let socket = new_socket(address, Type::DGRAM, Protocol::UDP, absent)?;
    socket.set_reuse_port(true)?;
    socket::set_receive_buffer(&socket, receive_buffer)?;
    socket.set_send_buffer_size(SEND_BUFFER)?;
    socket::ignore_path_mtu(&socket, address.is_ipv4())?;
    if address.ip().is_unspecified() {
        socket::tell_address_asked(&socket, address.is_ipv4())?;
        // A route may make a whole prefix local that no interface has; replies come from there too.
        allow_absent(&socket, address)?;
    }
    socket.bind(&address.into())?;
    Ok(socket.into())
}

fn new_socket(address: SocketAddr, kind: Type, protocol: Protocol, absent: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    if absent {
        allow_absent(&socket, address)?;
    }
    Ok(socket)
}

fn allow_absent(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv4() { socket.set_freebind_v4(true) } else { socket.set_freebind_v6(true) }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { address, transport, source } = self;
        let key = match transport {
            Transport::Udp | Transport::Tcp => "[server] listen",
            Transport::Tls => "[tls] listen",
            Transport::Https => "[tls] https",
            Transport::Quic => "[tls] quic",
            Transport::Https3 => "[tls] https3",
        };
        write!(f, "cannot listen on {address} ({transport}): ")?;
        match source.kind() {
            ErrorKind::AddrInUse => {
                let holder = match address.port() {
                    53 => "another server (often systemd-resolved or dnsmasq)",
                    5353 => "another server (5353 is mDNS's port: often avahi-daemon)",
                    _ => "another server",
                };
                write!(f, "{holder} holds it; change {key}, or stop that server")
            }
            ErrorKind::AddrNotAvailable => {
                write!(f, "no interface of this machine has this address; change {key}")
            }
            ErrorKind::PermissionDenied => {
                write!(f, "ports below 1024 need the capability CAP_NET_BIND_SERVICE; grant it, or change {key}")
            }
            _ if source.raw_os_error() == Some(libc::EAFNOSUPPORT) => {
                let family = if address.is_ipv4() { "IPv4" } else { "IPv6" };
                write!(f, "this machine has no {family}; take the address out of {key}")
            }
            _ => write!(f, "{source}"),
        }
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
