//! What arrives together: a gate holds the worker until it has.

use std::collections::BTreeSet;
use std::net::{IpAddr, UdpSocket};
use std::sync::{Barrier, Mutex};

use socket2::{Domain, Protocol, Socket, Type};

use super::sockets::{PATIENCE, ask_udp, receive_udp, udp_client};
use super::*;

/// The toy, which waits where a query begins with `#`, and notes how many came together.
struct Gated {
    gate: Arc<(Barrier, Barrier)>,
    sizes: Arc<Mutex<Vec<usize>>>,
    fault: Fault,
}

/// What `!` does to a batch.
#[derive(Clone, Copy)]
enum Fault {
    /// It panics where its turn is.
    InItsTurn,
    /// It panics before any is answered, while all are looked at.
    AtFirstSight,
    /// It panics once the reply is half written.
    HalfWritten,
}

impl Respond for Gated {
    fn respond(&mut self, client: SocketAddr, transport: Transport, query: &[u8], out: &mut [u8]) -> usize {
        if query.starts_with(b"#") {
            self.gate.0.wait();
            self.gate.1.wait();
        }
        toy(client, transport, query, out)
    }

    fn respond_batch(&mut self, batch: &mut Batch) {
        self.sizes.lock().unwrap().push(batch.count);
        let bad = batch.slots[..batch.count].iter().position(|slot| slot[0] == b'!');
        match (self.fault, bad) {
            (Fault::AtFirstSight, Some(_)) => panic!("one of them is bad"),
            (Fault::HalfWritten, Some(bad)) => {
                let count = std::mem::replace(&mut batch.count, bad);
                batch.answer_each(|client, query, out| self.respond(client, Transport::Udp, query, out));
                batch.count = count;
                batch.begun += 1;
                batch.slots[bad][..4].fill(b'x');
                batch.lengths[bad] = 4;
                panic!("half of it is written");
            }
            _ => batch.answer_each(|client, query, out| self.respond(client, Transport::Udp, query, out)),
        }
    }
}

/// One gated worker; what it is asked while it is held; the sizes of its batches after that.
struct Scene {
    server: Serving,
    gate: Arc<(Barrier, Barrier)>,
    sizes: Arc<Mutex<Vec<usize>>>,
    client: UdpSocket,
}

impl Scene {
    fn new(fault: Fault) -> Self {
        let gate = Arc::new((Barrier::new(2), Barrier::new(2)));
        let sizes = Arc::<Mutex<Vec<usize>>>::default();
        let responder = |_| Gated { gate: Arc::clone(&gate), sizes: Arc::clone(&sizes), fault };
        let bound = Bound::bind(&localhost(&["127.0.0.1:0"]), udp_of(1)).unwrap();
        let server = bound.serve(SETTINGS, responder).unwrap();
        let client = udp_client(server.addresses()[0]);
        Self { server, gate, sizes, client }
    }

    /// The replies to queries that arrive while the worker is held, sorted.
    fn ask_together(&self, queries: &[String], replies: usize) -> Vec<String> {
        self.client.send(b"# hold").unwrap();
        self.gate.0.wait();
        self.sizes.lock().unwrap().clear();
        for query in queries {
            self.client.send(query.as_bytes()).unwrap();
        }
        self.gate.1.wait();
        assert_eq!(receive_udp(&self.client), "# holdU");
        let mut received: Vec<String> = (0..replies).map(|_| receive_udp(&self.client)).collect();
        // Had any been answered that should not, or twice, it would come before this one.
        assert_eq!(ask_udp(&self.client, "the last one"), "the last oneU");
        received.sort();
        received
    }

    /// Of the batches that were asked together.
    fn sizes(&self) -> Vec<usize> {
        let mut sizes = self.sizes.lock().unwrap().clone();
        assert_eq!(sizes.pop(), Some(1), "the last one came alone");
        sizes
    }
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("query {number:03}")).collect()
}

fn answers(queries: &[String]) -> Vec<String> {
    queries.iter().map(|query| format!("{query}U")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_query_of_a_batch_is_answered_once() {
    let scene = Scene::new(Fault::InItsTurn);
    for (count, batches) in [(1, &[1][..]), (64, &[64]), (65, &[64, 1]), (200, &[64, 64, 64, 8])] {
        let queries = numbered(count);
        assert_eq!(scene.ask_together(&queries, count), answers(&queries));
        assert_eq!(scene.sizes(), batches);
    }
    assert_eq!((scene.server.faults().socket_errors(), scene.server.drops()), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn silence_and_nothing_at_all_are_skipped() {
    let scene = Scene::new(Fault::InItsTurn);
    for silent in [&[0][..], &[63], &[1, 2, 40], &(0..64).collect::<Vec<_>>()] {
        let mut queries = numbered(64);
        let mut expected = answers(&queries);
        for &index in silent.iter().rev() {
            queries[index] = if index % 2 == 0 { "? silence, please".to_owned() } else { String::new() };
            expected.remove(index);
        }
        assert_eq!(scene.ask_together(&queries, expected.len()), expected);
        assert_eq!(scene.sizes(), [64]);
    }
    assert_eq!(scene.server.faults().socket_errors(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_loses_the_query_that_it_answered() {
    for (fault, panics) in [(Fault::InItsTurn, 1), (Fault::AtFirstSight, 2), (Fault::HalfWritten, 1)] {
        let scene = Scene::new(fault);
        for (round, bad) in [0, 30, 63].into_iter().enumerate() {
            let mut queries = numbered(64);
            let mut expected = answers(&queries);
            queries[bad] = "! panic, please".to_owned();
            expected.remove(bad);
            assert_eq!(scene.ask_together(&queries, 63), expected);
            assert_eq!(scene.server.faults().panics(), panics * (round as u64 + 1));
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_long_is_cut() {
    let bound = Bound::bind(&localhost(&["127.0.0.1:0"]), udp_of(1)).unwrap();
    let length_of = |_, _, query: &[u8], out: &mut [u8]| {
        let text = query.len().to_string();
        out[..text.len()].copy_from_slice(text.as_bytes());
        text.len()
    };
    let server = bound.serve(SETTINGS, |_| length_of).unwrap();
    let client = udp_client(server.addresses()[0]);
    for (length, seen) in [(1, "1"), (2047, "2047"), (2048, "2048"), (2049, "2048"), (9000, "2048"), (65_507, "2048")] {
        assert_eq!(ask_udp(&client, &"x".repeat(length)), seen);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_workers_share_the_clients() {
    let bound = Bound::bind(&localhost(&["127.0.0.1:0"]), udp_of(2)).unwrap();
    let server = bound.serve(SETTINGS, number_of).unwrap();
    let seen: BTreeSet<_> = (0..64).map(|_| ask_udp(&udp_client(server.addresses()[0]), "who are you?")).collect();
    assert_eq!(seen, BTreeSet::from(["worker 0".to_owned(), "worker 1".to_owned()]));
}

/// Answers which worker it is.
fn number_of(worker: usize) -> impl Respond {
    move |_, _, _: &[u8], out: &mut [u8]| {
        let text = format!("worker {worker}");
        out[..text.len()].copy_from_slice(text.as_bytes());
        text.len()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn steered_by_cpu_each_worker_has_its_processors() {
    let cpus = socket::own_cpus().unwrap();
    let settings = UdpSettings { steer_by_cpu: true, ..udp_of(2) };
    let bound = Bound::bind(&localhost(&["127.0.0.1:0", "[::1]:0"]), settings).unwrap();
    let server = bound.serve(SETTINGS, number_of).unwrap();
    for (index, &address) in server.addresses().iter().enumerate() {
        for &cpu in &cpus {
            // What is sent on loopback arrives on the processor that sent it.
            let ask = move || {
                socket::run_on(&[cpu]).unwrap();
                (0..20).map(|_| ask_udp(&udp_client(address), "who are you?")).collect::<BTreeSet<_>>()
            };
            let seen = std::thread::spawn(ask).join().unwrap();
            assert_eq!(seen, BTreeSet::from([format!("worker {}", 2 * index + cpu % 2)]), "processor {cpu}");
        }
    }
}

/// Asks `asked` from `from`; the client's socket takes a reply from nowhere else.
fn ask_across(from: &str, asked: IpAddr, port: u16) {
    let client = UdpSocket::bind((from, 0)).unwrap();
    client.set_read_timeout(PATIENCE).unwrap();
    client.connect((asked, port)).unwrap();
    assert_eq!(ask_udp(&client, "from which address?"), "from which address?U", "{asked} from {from}");
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_wildcard_the_address_asked_answers() {
    let listen = localhost(&["0.0.0.0:0", "[::]:0"]);
    let server = Bound::bind(&listen, udp_of(2)).unwrap().serve(SETTINGS, |_| toy).unwrap();
    let [v4, v6] = [server.addresses()[0].port(), server.addresses()[1].port()];
    for asked in ["127.0.0.1", "127.0.0.2", "127.9.9.9"] {
        ask_across("127.0.0.1", asked.parse().unwrap(), v4);
        ask_across("127.0.0.3", asked.parse().unwrap(), v4);
    }
    ask_across("::1", "::1".parse().unwrap(), v6);
    // Loopback has no second IPv6 address; the machine's own ones are as near.
    for own in socket::local_addresses().unwrap() {
        match own {
            IpAddr::V4(_) => ask_across("127.0.0.1", own, v4),
            IpAddr::V6(address) if !address.is_unicast_link_local() => ask_across("::1", own, v6),
            IpAddr::V6(_) => {}
        }
    }
    assert_eq!(server.faults().socket_errors(), 0);
}

/// A datagram from port 0, which only a raw socket can send.
#[tokio::test(flavor = "multi_thread")]
async fn what_comes_from_port_0_is_dropped() {
    let Ok(raw) = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::UDP)) else {
        println!("SKIPPED: only root may send from port 0");
        return;
    };
    let asked = Arc::new(Mutex::new(Vec::new()));
    let notes = Arc::clone(&asked);
    let responder = move |_| {
        let notes = Arc::clone(&notes);
        move |client, transport, query: &[u8], out: &mut [u8]| {
            notes.lock().unwrap().push(String::from_utf8_lossy(query).into_owned());
            toy(client, transport, query, out)
        }
    };
    let bound = Bound::bind(&localhost(&["127.0.0.1:0"]), udp_of(1)).unwrap();
    let server = bound.serve(SETTINGS, responder).unwrap();
    let address = server.addresses()[0];
    let payload = b"forged";
    let header = [0, address.port(), 8 + payload.len() as u16, 0].map(u16::to_be_bytes).concat();
    let sent = raw.send_to(&[&header[..], payload].concat(), &address.into()).unwrap();
    assert_eq!(sent, 8 + payload.len());
    assert_eq!(ask_udp(&udp_client(address), "a good one"), "a good oneU");
    assert_eq!(*asked.lock().unwrap(), ["a good one"]);
    assert_eq!(server.faults().socket_errors(), 0);
}
