//! What probing costs: the program on one core, its targets in this process on the others. Fresh `tcp` both over loopback,
//! where who connects also does the work of who accepts, and over a network whose far end is elsewhere.

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use socket2::{Domain, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::runtime::Runtime;
use tokio_rustls::TlsAcceptor;

use crate::far::{self, Network};
use crate::figures::{Figure, Size};
use crate::server::{Folder, probing};

/// How long it runs before it is measured, and how long that takes.
const BEFORE: Duration = Duration::from_secs(10);
const MEASURED: Duration = Duration::from_secs(20);

/// A kind of probe, and how many of it a second.
#[derive(Clone, Copy)]
struct Kind {
    name: &'static str,
    lines: &'static str,
    rate: usize,
    rows: [&'static str; 4],
    goals: [&'static str; 2],
    /// The first octets of its targets' addresses.
    prefix: [u8; 2],
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "tcp",
        lines: "type = \"tcp\"",
        rate: 10_000,
        rows: ["tcp, fresh, over loopback: a second", "  % of one core", "  resident, MB", "  failed or left out"],
        goals: ["", "100"],
        prefix: [127, 10],
    },
    Kind {
        name: "https",
        lines: "type = \"https\"\npath = \"/healthz\"\nca = \"ca.pem\"\nserver_name = \"shop.test\"",
        rate: 1_000,
        rows: ["https, fresh: a second", "  % of one core", "  resident, MB", "  failed or left out"],
        goals: ["", ""],
        prefix: [127, 10],
    },
    Kind {
        name: "http",
        lines: "type = \"http\"\npath = \"/healthz\"\nreuse = true",
        rate: 10_000,
        rows: ["http, reused: a second", "  % of one core", "  resident, MB", "  failed or left out"],
        goals: ["", ""],
        prefix: [127, 10],
    },
];

/// The first of them over a network.
const FAR: Kind = Kind {
    rows: ["tcp, fresh, over a network: a second", "  % of one core", "  resident, MB", "  failed or left out"],
    goals: ["30", "100"],
    prefix: far::PREFIX,
    ..KINDS[0]
};

/// What this process had before it was kept off the program's.
static CORES: LazyLock<usize> = LazyLock::new(|| std::thread::available_parallelism().map_or(1, |cores| cores.get()));

/// How long the bare connections are measured.
const BARE: Duration = Duration::from_secs(5);

/// All kinds, one after the other.
pub(crate) fn measure(size: Size) -> Vec<Figure> {
    let is_alone = *CORES < 2;
    // The program has core 0.
    let here = std::process::id().to_string();
    let _ = Command::new("taskset").args(["-a", "-c", "-p", "1", &here]).output(); // on one core there is no other
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.expect("a runtime starts");
    // Only the thread is in that network.
    let over_network = std::thread::spawn(move || over_network(size, is_alone)).join().expect("it does not panic");
    over_network.into_iter().chain(KINDS.iter().flat_map(|kind| nearby(kind, size, &runtime))).collect()
}

fn over_network(size: Size, is_alone: bool) -> Vec<Figure> {
    let network = if is_alone { Err(io::Error::other("there is none")) } else { Network::enter() };
    match network {
        Ok(_network) => one(&FAR, size, 443, &Folder::new("probing")),
        Err(error) => {
            eprintln!("scale: no network with its far end on another core: {error}; it takes root and /dev/net/tun");
            Vec::new()
        }
    }
}

fn nearby(kind: &Kind, size: Size, runtime: &Runtime) -> Vec<Figure> {
    let folder = Folder::new("probing");
    let tls = (kind.name == "https").then(|| certificate(folder.path()));
    let listener = runtime.block_on(async { listen() });
    let port = listener.local_addr().expect("it is bound").port();
    let serving = runtime.spawn(serve(listener, tls, kind.name != "tcp"));
    let figures = one(kind, size, port, &folder);
    serving.abort();
    figures
}

/// With room for all that come while this process does not run: a connection that is dropped would look like a failure.
fn listen() -> TcpListener {
    let socket = TcpSocket::new_v4().expect("descriptors suffice");
    socket.bind((Ipv4Addr::UNSPECIFIED, 0).into()).expect("loopback has ports");
    socket.listen(65_535).expect("it is bound")
}

fn one(kind: &Kind, size: Size, port: u16, folder: &Folder) -> Vec<Figure> {
    let text = config(kind, size.of(kind.rate), port);
    fs::write(folder.path().join("config.toml"), text).expect("the temporary folder takes files");
    fs::write(folder.path().join("zone"), "@ 60 SOA ns1 a 1 1 1 1 1\n@ 60 NS ns1\nns1 60 A 192.0.2.53\n")
        .expect("the temporary folder takes files");
    let probing = probing(folder, "ns1.shop.test", BEFORE, MEASURED);
    let bare = (kind.name == "tcp").then(|| bare(kind, size, port));
    let [rate, core, memory, failed] = kind.rows;
    let [core_goal, memory_goal] = kind.goals;
    let bare = bare.map(|share| Figure::new("  the kernel alone, % of one core", "", share * 100.0));
    let core = [Figure::new(core, core_goal, probing.core * 100.0)].into_iter().chain(bare);
    let mut figures = vec![Figure::new(rate, "", probing.good / MEASURED.as_secs_f64())];
    figures.extend(core);
    figures.extend([Figure::mb(memory, memory_goal, probing.resident), Figure::new(failed, "0", probing.bad)]);
    figures
}

/// What as many connections cost the kernel on the program's core, opened and reset ten at a time by a loop that does nothing
/// besides; in cores. Over loopback its other end is partly in it, as it is in what the program takes.
fn bare(kind: &Kind, size: Size, port: u16) -> f64 {
    let Kind { prefix: [first, second], rate, .. } = *kind;
    let rate = size.of(rate);
    let connections = std::thread::spawn(move || {
        let thread = fs::read_link("/proc/thread-self").expect("Linux says so");
        let id = thread.file_name().expect("its last part is the number").to_string_lossy().into_owned();
        let _ = Command::new("taskset").args(["-c", "-p", "0", &id]).output(); // on one core there is no other
        let used = || {
            let text = fs::read_to_string("/proc/thread-self/schedstat").expect("Linux says so");
            text.split(' ').next().and_then(|ns| ns.parse::<u64>().ok()).expect("a number")
        };
        let (start, before, count) = (Instant::now(), used(), (rate as f64 * BARE.as_secs_f64()) as usize);
        let mut open = Vec::new();
        for index in 0..count {
            let target = target([first, second], index % rate);
            let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).expect("descriptors suffice");
            socket.set_linger(Some(Duration::ZERO)).expect("Linux can");
            match socket.connect(&SocketAddr::from((target, port)).into()) {
                Ok(()) => {}
                Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EINPROGRESS), "{target}: {error}"),
            }
            open.push(socket);
            if open.len() == 10 {
                let due = start + Duration::from_secs_f64(index as f64 / rate as f64);
                std::thread::sleep(due.saturating_duration_since(Instant::now()));
                open.clear();
            }
        }
        let (used, elapsed) = ((used() - before) as f64, start.elapsed());
        assert!(elapsed < BARE * 11 / 10, "the machine is too busy: {count} connections took {elapsed:?}");
        used / elapsed.as_nanos() as f64
    });
    connections.join().expect("it does not panic")
}

/// Each has an address of its own.
fn target([first, second]: [u8; 2], index: usize) -> Ipv4Addr {
    Ipv4Addr::new(first, second, (index / 250) as u8 + 1, (index % 250) as u8 + 1)
}

fn config(kind: &Kind, endpoints: usize, port: u16) -> String {
    let mut text = "[server]\nlisten = [\"127.0.0.1:0\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n[geoip]\ndatabases = []\n\
                    [[zones]]\nname = \"shop.test\"\nfile = \"zone\"\n"
        .to_owned();
    let _ = writeln!(text, "[probes.p]\n{}\nport = {port}\ninterval = \"1s\"\nallow_private = true", kind.lines);
    for index in 0..endpoints {
        let _ = writeln!(text, "[[endpoints]]\nname = \"e{index}\"\ncloud = \"aws\"\nregion = \"eu-west-1\"");
        let _ = writeln!(text, "addresses = [\"{}\"]\nprobe = \"p\"", target(kind.prefix, index));
    }
    text
}

fn certificate(folder: &Path) -> Arc<ServerConfig> {
    let _ = rustls::crypto::ring::default_provider().install_default(); // a second install changes nothing
    let made = rcgen::generate_simple_self_signed(vec!["shop.test".to_owned()]).expect("a certificate is made");
    fs::write(folder.join("ca.pem"), made.cert.pem()).expect("the temporary folder takes files");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("the key is one");
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key);
    Arc::new(config.expect("they go together"))
}

/// Accepts, and answers each request where `http`.
async fn serve(listener: TcpListener, tls: Option<Arc<ServerConfig>>, http: bool) {
    let acceptor = tls.map(TlsAcceptor::from);
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        let acceptor = acceptor.clone();
        tokio::spawn(async move {
            match acceptor {
                // One that fails is counted where it is probed.
                Some(acceptor) => {
                    if let Ok(stream) = acceptor.accept(stream).await {
                        answer(stream, http).await;
                    }
                }
                None => answer(stream, http).await,
            }
        });
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin, http: bool) {
    let mut octets = [0; 2048];
    while let Ok(1..) = stream.read(&mut octets).await {
        if http && stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").await.is_err() {
            return;
        }
    }
}
