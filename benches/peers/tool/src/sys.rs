//! What the standard library lacks, and all of this tool's `unsafe`.

use std::io;
use std::mem::zeroed;
use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::ptr::null_mut;

/// Datagrams of one system call.
pub const BATCH: usize = 64;
/// Octets of a slot; no power of two, so that slots do not share cache sets.
pub const SLOT: usize = 2112;

/// Up to [`BATCH`] datagrams with their addresses.
pub struct Messages {
    pub slots: Box<[[u8; SLOT]; BATCH]>,
    pub lengths: [usize; BATCH],
    names: Box<[libc::sockaddr_storage; BATCH]>,
    iovecs: Box<[libc::iovec; BATCH]>,
    headers: Box<[libc::mmsghdr; BATCH]>,
}

impl Messages {
    pub fn new() -> Self {
        // SAFETY: all of these are plain C structures for which zero octets are a value.
        let (names, iovecs, headers) = unsafe { (Box::new(zeroed()), Box::new(zeroed()), Box::new(zeroed())) };
        Self { slots: Box::new([[0; SLOT]; BATCH]), lengths: [0; BATCH], names, iovecs, headers }
    }

    /// Waits for one datagram (or not, with MSG_DONTWAIT in `flags`) and takes those behind it; how many.
    pub fn receive(&mut self, socket: &UdpSocket, flags: i32) -> io::Result<usize> {
        for at in 0..BATCH {
            self.iovecs[at] = libc::iovec { iov_base: self.slots[at].as_mut_ptr().cast(), iov_len: SLOT - 64 };
            let header = &mut self.headers[at].msg_hdr;
            header.msg_name = (&raw mut self.names[at]).cast();
            header.msg_namelen = size_of::<libc::sockaddr_storage>() as u32;
            header.msg_iov = &raw mut self.iovecs[at];
            header.msg_iovlen = 1;
        }
        let flags = flags | libc::MSG_WAITFORONE;
        // SAFETY: the headers point into boxes of `self`, which outlive the call.
        let got = unsafe { libc::recvmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), BATCH as u32, flags, null_mut()) };
        if got < 0 {
            return Err(io::Error::last_os_error());
        }
        for at in 0..got as usize {
            self.lengths[at] = self.headers[at].msg_len as usize;
        }
        Ok(got as usize)
    }

    /// Sends the first `count` back to where they came from, or to the peer of a connected socket.
    pub fn send(&mut self, socket: &UdpSocket, count: usize, connected: bool) -> io::Result<usize> {
        for at in 0..count {
            self.iovecs[at] = libc::iovec { iov_base: self.slots[at].as_mut_ptr().cast(), iov_len: self.lengths[at] };
            let header = &mut self.headers[at].msg_hdr;
            header.msg_iov = &raw mut self.iovecs[at];
            header.msg_iovlen = 1;
            if connected {
                (header.msg_name, header.msg_namelen) = (null_mut(), 0);
            }
        }
        // SAFETY: as in `receive`.
        let sent = unsafe { libc::sendmmsg(socket.as_raw_fd(), self.headers.as_mut_ptr(), count as u32, 0) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
    }
}

/// Binds a task (0: this thread) to one core.
pub fn pin(task: i32, core: usize) -> io::Result<()> {
    // SAFETY: a set is plain bits, and the call reads it alone.
    let done = unsafe {
        let mut set: libc::cpu_set_t = zeroed();
        libc::CPU_SET(core, &mut set);
        libc::sched_setaffinity(task, size_of::<libc::cpu_set_t>(), &set)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// This thread goes before all that is not as urgent.
pub fn urgent() -> io::Result<()> {
    let param = libc::sched_param { sched_priority: 10 };
    // SAFETY: the structure lives through the call.
    let done = unsafe { libc::sched_setscheduler(0, libc::SCHED_FIFO, &param) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sleeps by the clock of high resolution.
pub fn sleep_ns(ns: u64) {
    let time = libc::timespec { tv_sec: (ns / 1_000_000_000) as i64, tv_nsec: (ns % 1_000_000_000) as i64 };
    // SAFETY: both pointers are valid for the call; waking early does no harm.
    unsafe { libc::nanosleep(&time, null_mut()) };
}
