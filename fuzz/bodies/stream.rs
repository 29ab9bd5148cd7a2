//! Any octets on a TCP connection, cut at any places: the answers are those to the same octets in one
//! piece. The first octet says how many cuts there are, the next say where; the rest is sent.
//!
//! The connections are real ones over loopback. A server that closes with octets unread may take answers
//! with it that the client has not read (RFC 9293 §3.10.4), so where one ends so, the shorter answers
//! must be the beginning of the longer.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::LazyLock;
use std::time::Duration;

use meridian::answer::{self, Asker, respond};
use meridian::serve::{Bound, Serving, TcpSettings, Transport, UdpSettings};
use meridian::table::{Cells, Snapshot};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpSocket;
use tokio::runtime::{Builder, Runtime};

use super::world;

/// The most octets that are sent.
const LONGEST: usize = 4096;

static SNAPSHOT: LazyLock<Snapshot> = LazyLock::new(|| world::snapshot().steering());
static CELLS: LazyLock<Cells> = LazyLock::new(Cells::default);

struct Server {
    runtime: Runtime,
    serving: Serving,
}

thread_local! {
    static SERVER: Server = serve();
}

fn serve() -> Server {
    let runtime = Builder::new_current_thread().enable_all().build().expect("a runtime");
    let inside = runtime.enter();
    let settings = UdpSettings { workers: 1, receive_buffer: 64_000, steer_by_cpu: false };
    let bound = Bound::bind(&["127.0.0.1:0".parse().expect("an address")], settings).expect("sockets");
    let settings = TcpSettings {
        connections: 8,
        client_connections: 8,
        client_queries: 1_000_000_000,
        client_octets: 1_000_000_000,
        idle: Duration::from_secs(3600),
    };
    // Whoever asks is one and the same, since clients are steered by their addresses.
    let address = Ipv4Addr::LOCALHOST.into();
    let asker = Asker { address, transport: answer::Transport::Stream, random: 0, now: 0 };
    let answer =
        move |_: SocketAddr, _: Transport, query: &[u8], out: &mut [u8]| respond(&SNAPSHOT, &CELLS, asker, query, out);
    let serving = bound.serve(settings, |_| answer).expect("a server");
    drop(inside);
    Server { runtime, serving }
}

/// Sends it both ways.
pub(crate) fn run(input: &[u8]) {
    let Some((&cuts, rest)) = input.split_first() else { return };
    let Some((cuts, octets)) = rest.split_at_checked(usize::from(cuts % 8)) else { return };
    let octets = &octets[..octets.len().min(LONGEST)];
    let pieces = pieces(octets, cuts);
    SERVER.with(|Server { runtime, serving }| {
        let server = serving.addresses()[0];
        let (whole, reset) = runtime.block_on(talk(server, &[octets]));
        let (cut, reset_too) = runtime.block_on(talk(server, &pieces));
        let common = whole.len().min(cut.len());
        assert_eq!(whole[..common], cut[..common]);
        assert!(whole.len() == cut.len() || reset || reset_too, "{} and {} octets", whole.len(), cut.len());
    });
}

/// The octets in pieces of these lengths, and what is left.
fn pieces<'o>(mut octets: &'o [u8], cuts: &[u8]) -> Vec<&'o [u8]> {
    let mut pieces = Vec::new();
    for &cut in cuts {
        let (piece, rest) = octets.split_at(usize::from(cut).min(octets.len()));
        (octets, _) = (rest, pieces.push(piece));
    }
    pieces.push(octets);
    pieces
}

/// Sends pieces one after the other; the answers, and whether the connection was reset.
async fn talk(server: SocketAddr, pieces: &[&[u8]]) -> (Vec<u8>, bool) {
    let mut answers = Vec::new();
    let socket = TcpSocket::new_v4().expect("a socket");
    socket.bind(SocketAddr::new(own_address().into(), 0)).expect("an address of loopback");
    let mut stream = socket.connect(server).await.expect("a connection");
    stream.set_nodelay(true).expect("it is a TCP socket");
    for piece in pieces {
        if stream.write_all(piece).await.is_err() {
            break; // it has closed
        }
        // The server's turn; it reads what there is.
        for _ in 0..4 {
            tokio::task::yield_now().await;
        }
    }
    let _ = stream.shutdown().await;
    let reset = stream.read_to_end(&mut answers).await.is_err();
    (answers, reset)
}

/// Another one for each connection: closed ones keep their ports for a minute.
fn own_address() -> Ipv4Addr {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(2);
    let number = NEXT.fetch_add(1, Ordering::Relaxed) % 0xff_fff0 + 2;
    Ipv4Addr::from(0x7f00_0000 | number)
}
