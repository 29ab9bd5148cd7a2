//! Datagrams by the batch, and what only the kernel can be asked: the one module of `serve` that holds
//! `unsafe`.
//!
//! ```text
//! receive: recvmmsg ─→ headers ─→ slots of a Batch, names, control messages
//!          (the batch is answered in its slots)
//! send:    slots, names, control messages ─→ the headers of those with a reply ─→ sendmmsg
//! ```
//! Invariants, by the names that the SAFETY comments call them:
//!
//! - **ROOT**: `Headers::block` is one allocation, made in `new`, freed in `drop`, and known to its
//!   owner alone. Pointers in it that lead into it derive from `block` itself and not from a
//!   reference, so that no later reference ends them.
//! - **BORROW**: pointers into a batch are made by each call from the borrow that it was given, and the
//!   kernel follows them during that call alone.
//! - **ROOM**: a length that the kernel is told is at most that of what the pointer beside it leads to.
//! - **OPEN**: a descriptor is that of a socket which is borrowed for the whole call.
//! - **PLAIN**: the type is made of integers and raw pointers, so octets that are all zero are a value
//!   of it.

use std::ffi::{c_int, c_void};
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, AsRawFd};
use std::ptr::{self, NonNull};
use std::sync::Arc;

use super::homes::Homes;
use super::names::{Control, Name};
use crate::wire::{BATCH, Batch, LONGEST};

/// Stands for a client that no reply can be sent to.
const NOBODY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);

/// A worker's socket with all that receiving and sending by the batch takes, made once.
pub(super) struct BatchSocket {
    socket: Arc<UdpSocket>,
    headers: Headers,
    /// Where the socket listens on all addresses.
    homes: Option<Homes>,
}

impl BatchSocket {
    /// Of a socket that is bound.
    pub(super) fn new(socket: Arc<UdpSocket>) -> io::Result<Self> {
        let address = socket.local_addr()?;
        let homes = address.ip().is_unspecified().then(|| Homes::new(address.is_ipv4()));
        let headers = Headers::new(homes.is_some());
        Ok(Self { socket, headers, homes })
    }

    pub(super) fn set_nonblocking(&self) -> io::Result<()> {
        self.socket.set_nonblocking(true)
    }

    /// Waits for a datagram as long as the socket's timeout says, and takes with it what else has
    /// come. What is longer than [`LONGEST`] is cut, and malformed by that: its records do not end
    /// where it does. What no reply can be sent to (from port 0, where nobody listens: it was forged)
    /// is left empty.
    pub(super) fn receive(&mut self, batch: &mut Batch) -> io::Result<()> {
        let room = self.headers.make_room(batch);
        let (socket, headers) = (self.socket.as_raw_fd(), self.headers.as_mut_ptr());
        let flags = libc::MSG_WAITFORONE as _;
        #[expect(unsafe_code, reason = "std receives one by one, at 1.29 times the cost")]
        // SAFETY: OPEN; ROOT and BORROW for what the headers lead to, ROOM for its lengths and `room`.
        let received = unsafe { libc::recvmmsg(socket, headers, room as u32, flags, ptr::null_mut()) };
        let received = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        self.headers.take_in(batch, received);
        if let Some(homes) = &mut self.homes {
            homes.refresh();
            self.headers.choose_sources(batch, homes);
        }
        Ok(())
    }

    /// Sends the replies of the batch that was received last, each to where its query came from and
    /// from the address that was asked. One that cannot be sent is handed to `failed` and the others
    /// follow; but where the socket takes nothing at all within its timeout, none waits any longer.
    pub(super) fn send(&mut self, batch: &Batch, mut failed: impl FnMut(io::Error)) {
        let count = self.headers.line_up(batch);
        let mut sent = 0;
        while sent < count {
            let (socket, headers) = (self.socket.as_raw_fd(), self.headers.as_mut_ptr().wrapping_add(sent));
            #[expect(unsafe_code, reason = "std sends one by one")]
            // SAFETY: OPEN; ROOT and BORROW for what the headers lead to, ROOM for its lengths and for
            // the rest of them. The kernel writes to the headers alone.
            let more = unsafe { libc::sendmmsg(socket, headers, (count - sent) as u32, 0) };
            if let Some(more) = usize::try_from(more).ok().filter(|more| *more > 0) {
                sent += more;
                continue;
            }
            // It is the first one's error: had others gone before it, that would have been told.
            let error = io::Error::last_os_error();
            match error.kind() {
                ErrorKind::Interrupted => {}
                ErrorKind::WouldBlock => {
                    (sent..count).for_each(|_| failed(ErrorKind::WouldBlock.into()));
                    return;
                }
                _ => {
                    failed(error);
                    sent += 1;
                }
            }
        }
    }
}

/// What the kernel reads and writes, for as many messages as a batch has.
struct Headers {
    block: NonNull<Block>,
    /// Do control messages come and go?
    with_controls: bool,
    /// Messages of the batch received last: where the kernel wrote.
    received: usize,
}

struct Block {
    headers: [libc::mmsghdr; BATCH],
    iovecs: [libc::iovec; BATCH],
    names: [Name; BATCH],
    controls: [Control; BATCH],
}

#[expect(unsafe_code, reason = "it holds pointers")]
// SAFETY: ROOT: what they lead to goes along with its owner.
unsafe impl Send for Headers {}

impl Headers {
    fn new(with_controls: bool) -> Self {
        let block = Box::<Block>::new_zeroed();
        #[expect(unsafe_code, reason = "the kernel's types have no other default")]
        // SAFETY: PLAIN.
        let block = unsafe { block.assume_init() };
        let mut headers = Self { block: NonNull::from(Box::leak(block)), with_controls, received: 0 };
        (0..BATCH).for_each(|index| headers.point(index));
        headers
    }

    /// Lets header `index` speak of message `index`, with room for what the kernel writes.
    fn point(&mut self, index: usize) {
        let block = self.block.as_ptr();
        #[expect(unsafe_code, reason = "pointers into what they stand in")]
        // SAFETY: ROOT: nobody else looks at the block now. Indices are checked.
        unsafe {
            let header = &raw mut (*block).headers[index].msg_hdr;
            (*header).msg_name = (&raw mut (*block).names[index]).cast();
            (*header).msg_namelen = Name::LENGTH as _;
            (*header).msg_iov = &raw mut (*block).iovecs[index];
            (*header).msg_iovlen = 1;
            if self.with_controls {
                (*header).msg_control = (&raw mut (*block).controls[index]).cast();
                (*header).msg_controllen = Control::LENGTH as _;
            }
        }
    }

    /// Offers the batch's slots. How many there are.
    fn make_room(&mut self, batch: &mut Batch) -> usize {
        (batch.count, batch.begun) = (0, 0);
        // The others are as they were made: to these the kernel wrote, and sending moved some.
        (0..self.received).for_each(|index| self.point(index));
        self.received = 0;
        let iovecs = &mut self.block().iovecs;
        let room = iovecs.len().min(batch.slots.len());
        for (iovec, slot) in iovecs.iter_mut().zip(&mut *batch.slots) {
            *iovec = libc::iovec { iov_base: slot.as_mut_ptr().cast(), iov_len: LONGEST };
        }
        room
    }

    /// Reads what the kernel wrote: `received` messages.
    fn take_in(&mut self, batch: &mut Batch, received: usize) {
        (self.received, batch.count) = (received, received);
        let block = self.block();
        for index in 0..received {
            let client = block.names[index].address().unwrap_or(NOBODY);
            let length = if client.port() == 0 { 0 } else { block.headers[index].msg_len };
            batch.clients[index] = client;
            batch.lengths[index] = length as u16; // LONGEST at most
        }
    }

    /// Makes of the control messages of queries those of their replies, without those that say what
    /// the route would say anyway.
    fn choose_sources(&mut self, batch: &Batch, homes: &Homes) {
        let received = self.received;
        let block = self.block();
        for index in 0..received {
            let length = &mut block.headers[index].msg_hdr.msg_controllen;
            let control = &mut block.controls[index];
            match control.asked(*length) {
                Some(asked) if !homes.is_picked(asked, batch.clients[index].ip()) => control.turn_round(*length),
                _ => *length = 0,
            }
        }
    }

    /// Gives the first headers to the messages that have a reply. How many there are.
    fn line_up(&mut self, batch: &Batch) -> usize {
        let received = self.received.min(batch.count);
        let block = self.block();
        let mut count = 0;
        for index in 0..received {
            let reply = batch.slots.get(index).and_then(|slot| slot.get(..batch.lengths[index].into()));
            let Some(reply) = reply.filter(|reply| !reply.is_empty()) else { continue };
            // The kernel only reads what it sends.
            block.iovecs[index] = libc::iovec { iov_base: reply.as_ptr().cast_mut().cast(), iov_len: reply.len() };
            if count != index {
                block.headers[count] = block.headers[index];
            }
            count += 1;
        }
        count
    }

    fn as_mut_ptr(&mut self) -> *mut libc::mmsghdr {
        let block = self.block.as_ptr();
        #[expect(unsafe_code, reason = "the kernel takes a pointer")]
        // SAFETY: ROOT.
        unsafe {
            (&raw mut (*block).headers).cast()
        }
    }

    fn block(&mut self) -> &mut Block {
        #[expect(unsafe_code, reason = "ROOT forbids that a Box owns it")]
        // SAFETY: ROOT: it is lent as long as its owner is.
        unsafe {
            self.block.as_mut()
        }
    }
}

impl Drop for Headers {
    fn drop(&mut self) {
        #[expect(unsafe_code, reason = "as in `block`")]
        // SAFETY: ROOT: it came from a Box, and this is its end.
        drop(unsafe { Box::from_raw(self.block.as_ptr()) });
    }
}

/// Sets the room for what has arrived and is not read yet; beyond the system's limit
/// (net.core.rmem_max) where the process may. The kernel grants what it will.
pub(super) fn set_receive_buffer(socket: &impl AsFd, octets: usize) -> io::Result<()> {
    let octets = c_int::try_from(octets).unwrap_or(c_int::MAX);
    set_number(socket, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, octets)
        .or_else(|_| set_number(socket, libc::SOL_SOCKET, libc::SO_RCVBUF, octets))
}

/// Turns path MTU discovery off. Replies are short enough for any path, and a forged ICMP message shall
/// not cut them into fragments, which can be replaced one by one. Old kernels have the weaker form.
pub(super) fn ignore_path_mtu(socket: &impl AsFd, v4: bool) -> io::Result<()> {
    let (level, name, omit, dont) = if v4 {
        (libc::IPPROTO_IP, libc::IP_MTU_DISCOVER, libc::IP_PMTUDISC_OMIT, libc::IP_PMTUDISC_DONT)
    } else {
        (libc::IPPROTO_IPV6, libc::IPV6_MTU_DISCOVER, libc::IPV6_PMTUDISC_OMIT, libc::IPV6_PMTUDISC_DONT)
    };
    set_number(socket, level, name, omit).or_else(|_| set_number(socket, level, name, dont))
}

/// Takes data with the SYN of clients that have been here before (RFC 7413), of so many at once.
pub(super) fn fast_open(socket: &impl AsFd, queue: c_int) -> io::Result<()> {
    set_number(socket, libc::IPPROTO_TCP, libc::TCP_FASTOPEN, queue)
}

/// Has the kernel tell with each datagram which address it was sent to.
pub(super) fn tell_address_asked(socket: &impl AsFd, v4: bool) -> io::Result<()> {
    let (level, name) =
        if v4 { (libc::IPPROTO_IP, libc::IP_PKTINFO) } else { (libc::IPPROTO_IPV6, libc::IPV6_RECVPKTINFO) };
    set_number(socket, level, name, 1)
}

fn set_number(socket: &impl AsFd, level: c_int, name: c_int, value: c_int) -> io::Result<()> {
    set_option(socket, level, name, &value)
}

/// Callers give a type that the option takes.
fn set_option<T: Copy>(socket: &impl AsFd, level: c_int, name: c_int, value: &T) -> io::Result<()> {
    let socket = socket.as_fd();
    let place: *const c_void = ptr::from_ref(value).cast();
    #[expect(unsafe_code, reason = "neither std nor socket2 has these options")]
    // SAFETY: OPEN, ROOM. A program among the options is borrowed by whoever made `value` of it.
    let result = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, place, size_of::<T>() as u32) };
    success(result)
}

/// Of the sockets that share an address and a port, bound in the workers' order, lets number
/// c % `workers` have what arrives on processor c.
pub(super) fn steer_by_cpu(socket: &impl AsFd, workers: usize) -> io::Result<()> {
    let instruction = |code: u32, k: u32| libc::sock_filter { code: code as u16, jt: 0, jf: 0, k };
    let program = [
        instruction(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, (libc::SKF_AD_OFF + libc::SKF_AD_CPU).cast_unsigned()),
        instruction(libc::BPF_ALU | libc::BPF_MOD | libc::BPF_K, workers as u32),
        instruction(libc::BPF_RET | libc::BPF_A, 0),
    ];
    let program = libc::sock_fprog { len: program.len() as u16, filter: program.as_ptr().cast_mut() };
    set_option(socket, libc::SOL_SOCKET, libc::SO_ATTACH_REUSEPORT_CBPF, &program)
}

/// Datagrams that the kernel dropped at this socket since it was made.
pub(super) fn drops(socket: &impl AsFd) -> io::Result<u32> {
    let figures: [u32; 16] = option(socket, libc::SOL_SOCKET, libc::SO_MEMINFO)?;
    Ok(figures[libc::SK_MEMINFO_DROPS as usize])
}

/// An option's numbers; 0 where the kernel has fewer.
pub(super) fn option<const N: usize>(socket: &impl AsFd, level: c_int, name: c_int) -> io::Result<[u32; N]> {
    let mut numbers = [0; N];
    let mut length = size_of_val(&numbers) as u32;
    let place: *mut c_void = numbers.as_mut_ptr().cast();
    let socket = socket.as_fd();
    #[expect(unsafe_code, reason = "neither std nor socket2 has these options")]
    // SAFETY: OPEN, ROOM.
    success(unsafe { libc::getsockopt(socket.as_raw_fd(), level, name, place, &raw mut length) })?;
    Ok(numbers)
}

/// The addresses of all interfaces.
pub(super) fn local_addresses() -> io::Result<Vec<IpAddr>> {
    let mut first = ptr::null_mut();
    #[expect(unsafe_code, reason = "std does not tell addresses")]
    // SAFETY: the list's head is written to a place of ours.
    success(unsafe { libc::getifaddrs(&raw mut first) })?;
    let mut addresses = Vec::new();
    let mut next = first;
    #[expect(unsafe_code, reason = "a list of pointers")]
    // SAFETY: the list is as getifaddrs made it until it is freed, which is once, at its end. Its
    // addresses are as long as their family says, which is looked at first.
    unsafe {
        while let Some(entry) = next.as_ref() {
            let length = match entry.ifa_addr.as_ref().map(|address| c_int::from(address.sa_family)) {
                Some(libc::AF_INET) => size_of::<libc::sockaddr_in>(),
                Some(libc::AF_INET6) => size_of::<libc::sockaddr_in6>(),
                _ => 0,
            };
            let mut octets = [0; Name::LENGTH];
            ptr::copy_nonoverlapping(entry.ifa_addr.cast(), octets.as_mut_ptr(), length);
            addresses.extend(Name::from(octets).address().map(|address| address.ip()));
            next = entry.ifa_next;
        }
        libc::freeifaddrs(first);
    }
    Ok(addresses)
}

/// The processors that this thread may run on.
pub(super) fn own_cpus() -> io::Result<Vec<usize>> {
    let mut set = no_cpus();
    #[expect(unsafe_code, reason = "std does not tell")]
    // SAFETY: ROOM; 0 is this thread.
    success(unsafe { libc::sched_getaffinity(0, size_of_val(&set), &raw mut set) })?;
    #[expect(unsafe_code, reason = "a C macro")]
    // SAFETY: the set has room for as many.
    let is_in = |cpu: &usize| unsafe { libc::CPU_ISSET(*cpu, &set) };
    Ok((0..libc::CPU_SETSIZE as usize).filter(is_in).collect())
}

/// Lets this thread run on these processors alone.
pub(super) fn run_on(cpus: &[usize]) -> io::Result<()> {
    let mut set = no_cpus();
    for &cpu in cpus.iter().filter(|cpu| **cpu < libc::CPU_SETSIZE as usize) {
        #[expect(unsafe_code, reason = "a C macro")]
        // SAFETY: the set has room for as many.
        unsafe {
            libc::CPU_SET(cpu, &mut set);
        }
    }
    #[expect(unsafe_code, reason = "std has no such call")]
    // SAFETY: ROOM; 0 is this thread.
    success(unsafe { libc::sched_setaffinity(0, size_of_val(&set), &raw const set) })
}

fn no_cpus() -> libc::cpu_set_t {
    #[expect(unsafe_code, reason = "its fields are private")]
    // SAFETY: PLAIN.
    unsafe {
        std::mem::zeroed()
    }
}

fn success(result: c_int) -> io::Result<()> {
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(last_octet: u8, port: u16) -> Name {
        let mut octets = [0; Name::LENGTH];
        octets[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        octets[2..4].copy_from_slice(&port.to_be_bytes());
        octets[4..8].copy_from_slice(&[192, 0, 2, last_octet]);
        octets.into()
    }

    /// What the kernel would see of header `index`: the message and where it goes.
    fn seen(headers: &mut Headers, index: usize) -> (Vec<u8>, SocketAddr) {
        let header = headers.as_mut_ptr().wrapping_add(index);
        #[expect(unsafe_code, reason = "plays the kernel")]
        // SAFETY: ROOT, ROOM, and the batch of the callers is borrowed still.
        unsafe {
            let header = &(*header).msg_hdr;
            let iovec = *header.msg_iov;
            let octets = std::slice::from_raw_parts(iovec.iov_base.cast::<u8>(), iovec.iov_len).to_vec();
            (octets, (*header.msg_name.cast::<Name>()).address().unwrap())
        }
    }

    /// Writes as the kernel would, through the pointers.
    fn arrive(headers: &mut Headers, index: usize, octets: &[u8], from: Name) {
        let header = headers.as_mut_ptr().wrapping_add(index);
        #[expect(unsafe_code, reason = "plays the kernel")]
        // SAFETY: as above.
        unsafe {
            let iovec = *(*header).msg_hdr.msg_iov;
            assert!(octets.len() <= iovec.iov_len);
            ptr::copy_nonoverlapping(octets.as_ptr(), iovec.iov_base.cast(), octets.len());
            *(*header).msg_hdr.msg_name.cast() = from;
            (*header).msg_hdr.msg_namelen = 16;
            (*header).msg_hdr.msg_controllen = 0;
            (*header).msg_len = octets.len() as u32;
        }
    }

    #[test]
    fn headers_follow_the_batch() {
        let (mut headers, mut batch) = (Headers::new(true), Batch::default());
        for round in 0..3 {
            assert_eq!(headers.make_room(&mut batch), BATCH);
            for index in 0..BATCH {
                let header = headers.block().headers[index].msg_hdr;
                assert_eq!((header.msg_namelen, header.msg_controllen), (Name::LENGTH as u32, Control::LENGTH));
            }
            let queries = [1, 5, BATCH][round];
            for index in 0..queries {
                let port = if index == 3 { 0 } else { 1000 + index as u16 };
                arrive(&mut headers, index, &[index as u8; 70], name(index as u8, port));
            }
            headers.take_in(&mut batch, queries);
            assert_eq!((batch.count, batch.lengths[0]), (queries, 70));
            assert_eq!(batch.clients[0], "192.0.2.0:1000".parse().unwrap());
            // Number 3 was forged, number 2 is met with silence.
            batch.begun = queries;
            for index in 0..queries {
                batch.slots[index][0] = 0xaa;
                batch.lengths[index] = if index == 2 || batch.lengths[index] == 0 { 0 } else { 2 + index as u16 };
            }
            let answered: Vec<usize> = (0..queries).filter(|index| ![2, 3].contains(index)).collect();
            assert_eq!(headers.line_up(&batch), answered.len());
            for (header, index) in answered.into_iter().enumerate() {
                let (reply, to) = seen(&mut headers, header);
                assert_eq!((reply.len(), reply[0], reply[1]), (2 + index, 0xaa, index as u8));
                assert_eq!(to, format!("192.0.2.{index}:{}", 1000 + index).parse().unwrap());
            }
        }
    }

    #[test]
    fn a_batch_that_somebody_cut_is_no_more_than_it_is() {
        let (mut headers, mut batch) = (Headers::new(false), Batch::default());
        batch.slots = batch.slots[..2].into();
        assert_eq!(headers.make_room(&mut batch), 2);
        arrive(&mut headers, 1, b"query", name(1, 53));
        headers.take_in(&mut batch, 2);
        (batch.count, batch.lengths) = (99, [u16::MAX; BATCH]);
        assert_eq!(headers.line_up(&batch), 0, "no slot is as long");
    }

    #[test]
    #[cfg_attr(miri, ignore = "it knows no such sockets")]
    fn one_that_cannot_be_sent_keeps_none_of_the_others() {
        let bind = || UdpSocket::bind("127.0.0.1:0").unwrap();
        let (server, client) = (Arc::new(bind()), bind());
        client.connect(server.local_addr().unwrap()).unwrap();
        client.set_read_timeout(Some(std::time::Duration::from_secs(60))).unwrap();
        let mut socket = BatchSocket::new(server).unwrap();
        let mut batch = Batch::default();
        for query in [b"1", b"2", b"3"] {
            client.send(query).unwrap();
        }
        socket.receive(&mut batch).unwrap();
        assert_eq!(batch.count, 3);
        let mut nowhere = [0; Name::LENGTH];
        nowhere[..8].copy_from_slice(&[2, 0, 0, 9, 255, 255, 255, 255]); // needs SO_BROADCAST
        nowhere[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
        socket.headers.block().names[1] = nowhere.into();
        let mut errors = Vec::new();
        socket.send(&batch, |error| errors.push(error.kind()));
        assert_eq!(errors, [ErrorKind::PermissionDenied]);
        for expected in [b"1", b"3"] {
            let mut reply = [0; 9];
            assert_eq!(client.recv(&mut reply).unwrap(), 1);
            assert_eq!(&reply[..1], expected);
        }
    }
}
