//! The system calls that std lacks: packets by the batch, the real-time class, a processor of one's own.
#![expect(unsafe_code, reason = "recvmmsg, sendmmsg and the scheduler have no safe interface in std")]

use std::io;
use std::mem::{size_of, zeroed};
use std::net::{Ipv4Addr, SocketAddrV4, UdpSocket};
use std::os::fd::AsRawFd;
use std::ptr::null_mut;

/// Packets a system call.
pub const BATCH: usize = 64;
/// Octets of a packet's place. An odd number of cache lines, so that the places' heads do not meet in
/// the same few sets of the first cache.
pub const SLOT: usize = 25 * 64;

/// Packets that are sent or received together; they stay where they are, so an echo copies nothing.
///
/// Invariant: the pointers in `headers` and `vectors` lead into this batch's own boxes, which are made
/// once and live as long as it does; outside of `send` every vector has the whole length of its slot.
pub struct Batch {
    pub slots: Box<[[u8; SLOT]]>,
    vectors: Box<[libc::iovec]>,
    headers: Box<[libc::mmsghdr]>,
    /// Only pointed to.
    _names: Box<[libc::sockaddr_in]>,
}

impl Batch {
    /// With `peer`, packets are sent there; else to where the one in the same place came from.
    pub fn new(peer: Option<SocketAddrV4>) -> Self {
        let mut slots = vec![[0; SLOT]; BATCH].into_boxed_slice();
        let name = socket_name(peer.unwrap_or(SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, 0)));
        let mut names = vec![name; BATCH].into_boxed_slice();
        let vector = |slot: &mut [u8; SLOT]| libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: SLOT };
        let mut vectors: Box<[_]> = slots.iter_mut().map(vector).collect();
        let headers = vectors.iter_mut().zip(&mut names).map(|(vector, name)| {
            // SAFETY: all bits zero is a value of this plain C structure.
            let mut header: libc::mmsghdr = unsafe { zeroed() };
            header.msg_hdr.msg_name = (&raw mut *name).cast();
            header.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as libc::socklen_t;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header
        });
        let headers = headers.collect();
        Self { slots, vectors, headers, _names: names }
    }

    /// Waits for a packet and takes all that have come by then.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.receive_with(socket, libc::MSG_WAITFORONE)
    }

    /// What has come by now: often nothing.
    pub fn poll(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        match self.receive_with(socket, libc::MSG_DONTWAIT) {
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
            other => other,
        }
    }

    fn receive_with(&mut self, socket: &UdpSocket, flags: i32) -> io::Result<usize> {
        // SAFETY: by the type's invariant the headers name memory of this batch, borrowed for the call.
        let count = unsafe {
            libc::recvmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), BATCH as u32, flags as _, null_mut())
        };
        usize::try_from(count).map_err(|_| io::Error::last_os_error())
    }

    pub fn length(&self, index: usize) -> usize {
        self.headers[index].msg_len as usize
    }

    pub fn set_length(&mut self, index: usize, length: usize) {
        self.headers[index].msg_len = length.min(SLOT) as u32;
    }

    /// Sends the first `count`.
    pub fn send(&mut self, socket: &UdpSocket, count: usize) -> io::Result<()> {
        let count = count.min(BATCH);
        for (vector, header) in self.vectors[..count].iter_mut().zip(&self.headers) {
            vector.iov_len = (header.msg_len as usize).min(SLOT);
        }
        let mut result = Ok(());
        let mut sent = 0;
        while sent < count && result.is_ok() {
            let rest = &mut self.headers[sent..count];
            // SAFETY: by the type's invariant the headers name memory of this batch, borrowed for the call,
            // and no vector is longer than its slot.
            let done = unsafe { libc::sendmmsg(socket.as_raw_fd(), rest.as_mut_ptr(), rest.len() as u32, 0) };
            match usize::try_from(done) {
                Ok(done) => sent += done,
                Err(_) => result = Err(io::Error::last_os_error()),
            }
        }
        for vector in &mut self.vectors[..count] {
            vector.iov_len = SLOT;
        }
        result
    }
}

fn socket_name(address: SocketAddrV4) -> libc::sockaddr_in {
    libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: address.port().to_be(),
        sin_addr: libc::in_addr { s_addr: u32::from_ne_bytes(address.ip().octets()) },
        sin_zero: [0; 8],
    }
}

/// Makes the receive buffer `octets` long; as root beyond the system's limit.
pub fn set_receive_buffer(socket: &UdpSocket, octets: i32) {
    for option in [libc::SO_RCVBUFFORCE, libc::SO_RCVBUF] {
        // SAFETY: the option's value is an int, read during the call.
        let done = unsafe {
            let value: *const i32 = &octets;
            let length = size_of::<i32>() as libc::socklen_t;
            libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, option, value.cast(), length)
        };
        if done == 0 {
            return;
        }
    }
}

/// Runs this thread on one processor only.
pub fn pin(core: usize) -> io::Result<()> {
    // SAFETY: a set of processors is plain bits; CPU_SET checks the index against its size; the
    // structure is read during the call.
    let done = unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(0, size_of::<libc::cpu_set_t>(), &set)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// From here on this thread runs before every ordinary one.
pub fn become_real_time() -> io::Result<()> {
    let parameter = libc::sched_param { sched_priority: 10 };
    // SAFETY: the structure is read during the call.
    let done = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &parameter) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Nanoseconds that the hypervisor has kept from all cores, in steps of a tick: the eighth figure of
/// `/proc/stat`'s first line. 0 where it does not tell.
pub fn stolen_ns() -> u64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let ticks = text.lines().next().and_then(|line| line.split_whitespace().nth(8)?.parse::<u64>().ok());
    // SAFETY: takes a number, gives one.
    let a_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100).max(1);
    ticks.unwrap_or(0) * (1_000_000_000 / a_second)
}
