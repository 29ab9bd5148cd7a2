//! A network whose far end costs the program nothing: a TUN device in a network namespace of its own, behind which all
//! addresses of 10.9.0.0/16 accept TCP connections. This process answers for them, on another core than the program's, as
//! interrupts of a network card with several queues would come in on another. Over loopback, whoever connects also does the
//! work of who accepts.

use std::fs::{File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// The second octet pair of its addresses: 10.9.HIGH.LOW.
pub(crate) const PREFIX: [u8; 2] = [10, 9];

const IPV4: usize = 20;
const TCP: usize = 20;
const SYN: u8 = 0x02;
const ACK: u8 = 0x10;

/// That of the thread that made it, and of all that this thread starts, for good.
pub(crate) struct Network {
    ended: Arc<AtomicBool>,
    far: Option<JoinHandle<()>>,
}

impl Network {
    /// Moves this thread into it.
    ///
    /// # Errors
    /// Where it is not root, or the kernel has no TUN devices.
    pub(crate) fn enter() -> io::Result<Self> {
        #[expect(unsafe_code, reason = "std cannot")]
        // SAFETY: it takes no memory of ours.
        let done = unsafe { libc::unshare(libc::CLONE_NEWNET) };
        if done != 0 {
            return Err(io::Error::last_os_error());
        }
        let device = open()?;
        for words in ["link set lo up", "addr add 10.9.0.1/16 dev far0", "link set far0 up"] {
            let done = Command::new("ip").args(words.split(' ')).status()?;
            if !done.success() {
                return Err(io::Error::other(format!("`ip {words}` fails")));
            }
        }
        let ended = Arc::new(AtomicBool::new(false));
        let far = std::thread::spawn({
            let ended = ended.clone();
            move || answer(device, &ended)
        });
        Ok(Self { ended, far: Some(far) })
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = self.far.take().map(JoinHandle::join); // its message has been printed
    }
}

/// The device, which does not block.
fn open() -> io::Result<File> {
    let device = OpenOptions::new().read(true).write(true).custom_flags(libc::O_NONBLOCK).open("/dev/net/tun")?;
    // struct ifreq: the name, then flags.
    let mut request = [0u8; 40];
    request[..4].copy_from_slice(b"far0");
    request[16..18].copy_from_slice(&((libc::IFF_TUN | libc::IFF_NO_PI) as i16).to_ne_bytes());
    #[expect(unsafe_code, reason = "std cannot")]
    // SAFETY: the kernel reads and writes one `ifreq`, which has 40 octets.
    let done = unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, request.as_mut_ptr()) };
    if done == 0 { Ok(device) } else { Err(io::Error::last_os_error()) }
}

/// Without a pause, so that nobody who sends has to wake it.
fn answer(mut device: File, ended: &AtomicBool) {
    let mut packet = [0; 2048];
    while !ended.load(Ordering::Relaxed) {
        match device.read(&mut packet) {
            Ok(length) => {
                if let Some(reply) = accepted(&packet[..length]) {
                    device.write_all(&reply).expect("the device takes packets");
                }
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => std::hint::spin_loop(),
            Err(error) => panic!("the device fails: {error}"),
        }
    }
}

/// SYN and ACK for a SYN by TCP on IPv4; nothing for the rest.
fn accepted(packet: &[u8]) -> Option<[u8; IPV4 + TCP]> {
    let (ip, tcp) = packet.split_at_checked(IPV4)?;
    let is_syn = ip[0] == 0x45 && ip[9] == 6 && tcp.len() >= TCP && tcp[13] & (SYN | ACK) == SYN;
    if !is_syn {
        return None;
    }
    let next = u32::from_be_bytes(tcp[4..8].try_into().expect("four octets")).wrapping_add(1);
    let mut reply = [0; IPV4 + TCP];
    let (head, body) = reply.split_at_mut(IPV4);
    head[0] = 0x45;
    head[2..4].copy_from_slice(&((IPV4 + TCP) as u16).to_be_bytes());
    head[8..10].copy_from_slice(&[64, 6]); // TTL, and TCP
    head[12..16].copy_from_slice(&ip[16..20]);
    head[16..20].copy_from_slice(&ip[12..16]);
    let checksum = checksum(&[&*head]);
    head[10..12].copy_from_slice(&checksum);
    body[0..2].copy_from_slice(&tcp[2..4]);
    body[2..4].copy_from_slice(&tcp[0..2]);
    body[8..12].copy_from_slice(&next.to_be_bytes());
    body[12..16].copy_from_slice(&[0x50, SYN | ACK, 0xff, 0xff]); // five words, flags, window
    let checksum = self::checksum(&[&head[12..20], &[0, 6, 0, TCP as u8], &*body]);
    body[16..18].copy_from_slice(&checksum);
    Some(reply)
}

/// RFC 1071, over parts of even lengths.
fn checksum(parts: &[&[u8]]) -> [u8; 2] {
    let words = parts.iter().flat_map(|part| part.chunks_exact(2));
    let sum: u32 = words.map(|word| u32::from(u16::from_be_bytes([word[0], word[1]]))).sum();
    let folded = (sum & 0xffff) + (sum >> 16);
    (!(folded + (folded >> 16)) as u16).to_be_bytes()
}
