//! A client that sends at a fixed rate, whatever comes back, and misses nothing that does not.

use std::io::{self, ErrorKind};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd as _;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use socket2::{Domain, Socket, Type};

use crate::figures::Figures;

/// A query without a reply after so long is lost.
const LOST_AFTER: Duration = Duration::from_secs(1);
/// The kernel is asked for so much room a socket; it may grant less.
const BUFFER: usize = 4 << 20;
/// Workers share clients by address and port. No id is used twice within `LOST_AFTER` below half a
/// million queries a second, and one that is counts as lost.
const SOCKETS: usize = 8;
/// How far the client may fall behind its rate before it gives up the rest: a flood that makes up for
/// a pause of ours would say nothing about the server.
const BEHIND: Duration = Duration::from_micros(200);
/// In flight while capacity is measured.
const WINDOW: usize = 128;

/// A socket on loopback with buffers that hold what comes while a thread waits for its core.
pub(crate) fn bind() -> UdpSocket {
    bind_to(Ipv4Addr::LOCALHOST)
}

/// The same at another address of the loopback.
pub(crate) fn bind_to(address: Ipv4Addr) -> UdpSocket {
    let socket = Socket::new(Domain::IPV4, Type::DGRAM, None).unwrap();
    socket.set_recv_buffer_size(BUFFER).unwrap();
    socket.set_send_buffer_size(BUFFER).unwrap();
    socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
    socket.into()
}

/// Judges a reply to the query of this kind, sent then; none: it is right.
pub(crate) type Judge<'j> = dyn Fn(usize, &[u8], &[u8], Instant) -> Option<String> + 'j;

/// One server that is asked.
pub(crate) struct Target<'j> {
    judge: &'j Judge<'j>,
    sockets: Vec<Asking>,
    queries: Vec<Vec<u8>>,
    /// The kernel says when replies arrived.
    stamped: bool,
    turn: usize,
    random: u64,
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) wrong: u64,
    /// What was wrong, the first few.
    pub(crate) complaints: Vec<String>,
    pub(crate) latencies: Figures,
    /// How long it was asked at a rate.
    pub(crate) asked_for: Duration,
}

/// A socket and what it waits for.
struct Asking {
    socket: UdpSocket,
    next_id: u16,
    /// Index: the query's id.
    flights: Vec<Option<Flight>>,
}

/// A query on its way.
#[derive(Clone, Copy)]
struct Flight {
    kind: usize,
    sent: Instant,
    sent_at: SystemTime,
    subnet: [u8; 3],
}

impl<'j> Target<'j> {
    /// Which is asked these queries in turn.
    pub(crate) fn new(server: SocketAddr, queries: Vec<Vec<u8>>, judge: &'j Judge<'j>) -> Self {
        Self::from(Ipv4Addr::LOCALHOST, server, queries, judge)
    }

    /// The same by a client at another address of the loopback.
    pub(crate) fn from(client: Ipv4Addr, server: SocketAddr, queries: Vec<Vec<u8>>, judge: &'j Judge<'j>) -> Self {
        let ask = |_| {
            let socket = bind_to(client);
            socket.connect(server).unwrap();
            socket.set_nonblocking(true).unwrap();
            Asking { socket, next_id: 0, flights: vec![None; 1 << 16] }
        };
        let sockets = (0..SOCKETS).map(ask).collect();
        let (complaints, latencies, asked_for) = (Vec::new(), Figures::default(), Duration::ZERO);
        Self {
            judge,
            sockets,
            queries,
            stamped: false,
            turn: 0,
            random: 1,
            sent: 0,
            lost: 0,
            wrong: 0,
            complaints,
            latencies,
            asked_for,
        }
    }

    /// With latencies until a reply is at the client's kernel, and not until this thread has its core and takes it: for
    /// where others share that core.
    pub(crate) fn stamped(mut self) -> Self {
        self.sockets.iter().for_each(|asking| stamp(&asking.socket));
        self.stamped = true;
        self
    }

    /// Queries on their way.
    fn in_flight(&self) -> usize {
        let answered = self.latencies.count() as u64 + self.wrong + self.lost;
        (self.sent - answered) as usize
    }

    fn send(&mut self) {
        // xorshift64*
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let octets = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d).to_be_bytes();
        let subnet = [octets[0], octets[1], octets[2]];
        self.turn += 1;
        let (at, kind) = (self.turn % self.sockets.len(), self.turn / self.sockets.len() % self.queries.len());
        let (asking, query) = (&mut self.sockets[at], &mut self.queries[kind]);
        let id = asking.next_id;
        asking.next_id = id.wrapping_add(1);
        fill(query, id, subnet);
        let (sent, sent_at) = (Instant::now(), SystemTime::now());
        if asking.flights[usize::from(id)].replace(Flight { kind, sent, sent_at, subnet }).is_some() {
            self.lost += 1;
        }
        self.sent += 1;
        let _ = asking.socket.send(query); // what did not leave is lost like any other
    }

    /// Takes in what has come.
    fn receive(&mut self) {
        let mut octets = [0; 2048];
        for asking in &mut self.sockets {
            loop {
                let received = match self.stamped {
                    false => asking.socket.recv(&mut octets).map(|length| (length, None)),
                    true => receive_stamped(&asking.socket, &mut octets),
                };
                let (length, arrived) = match received {
                    Ok(received) => received,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("receiving: {error}"),
                };
                let id = u16::from_be_bytes([octets[0], octets[1]]);
                let Some(Flight { kind, sent, sent_at, subnet }) = asking.flights[usize::from(id)].take() else {
                    continue;
                };
                let took = arrived.map_or(sent.elapsed(), |at| at.duration_since(sent_at).unwrap_or_default());
                fill(&mut self.queries[kind], id, subnet);
                if took >= LOST_AFTER {
                    self.lost += 1;
                } else if let Some(complaint) = (self.judge)(kind, &self.queries[kind], &octets[..length], sent) {
                    self.wrong += 1;
                    if self.complaints.len() < 5 {
                        self.complaints.push(complaint);
                    }
                } else {
                    self.latencies.add(took);
                }
            }
        }
    }

    /// Asks at this rate for so long, and takes in what comes.
    pub(crate) fn ask(&mut self, rate: f64, length: Duration) {
        self.ask_beside(rate, length, || ());
    }

    /// The same, with something to do besides: between queries, so that none waits for it on its way out.
    pub(crate) fn ask_beside(&mut self, rate: f64, length: Duration, mut besides: impl FnMut()) {
        let (gap, start) = (Duration::from_secs_f64(1.0 / rate), Instant::now());
        let mut due = start;
        loop {
            let now = Instant::now();
            if now >= start + length {
                self.asked_for += now - start;
                return;
            }
            if now > due + BEHIND {
                due = now - BEHIND;
            }
            while due <= now {
                self.send();
                due += gap;
            }
            self.receive();
            besides();
        }
    }

    /// Waits for what is still on its way, and counts as lost what does not come.
    pub(crate) fn finish(&mut self) {
        let end = Instant::now() + LOST_AFTER;
        while Instant::now() < end && self.in_flight() > 0 {
            self.receive();
        }
        for asking in &mut self.sockets {
            self.lost += asking.flights.iter_mut().filter_map(Option::take).count() as u64;
        }
    }

    /// Replies a second where the client waits for nothing but room in a window.
    pub(crate) fn capacity(&mut self, length: Duration) -> f64 {
        let (start, before) = (Instant::now(), self.latencies.count());
        while start.elapsed() < length {
            while self.in_flight() < WINDOW {
                self.send();
            }
            self.receive();
        }
        (self.latencies.count() - before) as f64 / start.elapsed().as_secs_f64()
    }
}

fn fill(query: &mut [u8], id: u16, subnet: [u8; 3]) {
    query[..2].copy_from_slice(&id.to_be_bytes());
    let at = query.len() - 3;
    query[at..].copy_from_slice(&subnet);
}

/// Has the kernel say when a datagram arrived (SO_TIMESTAMPNS).
fn stamp(socket: &UdpSocket) {
    let (on, length) = (1 as libc::c_int, size_of::<libc::c_int>() as libc::socklen_t);
    let value = (&raw const on).cast();
    #[expect(unsafe_code, reason = "no crate at hand has this option")]
    // SAFETY: the option's value is an int that outlives the call.
    let set = unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, value, length) };
    assert_eq!(set, 0, "Linux can");
}

/// A datagram's length, and when it arrived.
fn receive_stamped(socket: &UdpSocket, octets: &mut [u8]) -> io::Result<(usize, Option<SystemTime>)> {
    let mut control = [0_u64; 8];
    let mut part = libc::iovec { iov_base: octets.as_mut_ptr().cast(), iov_len: octets.len() };
    #[expect(unsafe_code, reason = "no crate at hand reads this control message")]
    // SAFETY: a header of zeros is one without anything; the buffers outlive the call, and their lengths are theirs.
    let length = unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        (message.msg_iov, message.msg_iovlen) = (&raw mut part, 1);
        (message.msg_control, message.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(&control));
        libc::recvmsg(socket.as_raw_fd(), &raw mut message, 0)
    };
    let length = usize::try_from(length).map_err(|_| io::Error::last_os_error())?;
    // A header of two words (length, level and type), then seconds and nanoseconds.
    Ok((length, (control[0] > 0).then(|| UNIX_EPOCH + Duration::new(control[2], control[3] as u32))))
}
