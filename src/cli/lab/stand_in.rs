//! Stand-in storefronts: one small HTTP server per probe target, written straight on the socket,
//! because a closed door, a reset and a black hole are things of the socket that web frameworks hide.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

use crate::model::{Cloud, Endpoint};

/// Connections at once to one stand-in; more wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 64;
/// The longest request head that is read, in octets.
const LONGEST_HEAD: usize = 8 * 1024;
/// A connection is given up after this long, whatever it waits for.
const LONGEST_WAIT: Duration = Duration::from_secs(600);
/// Pause after an `accept` that failed, as it does while the process has no descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Who is stood in for, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StandIn {
    /// The endpoint's name in the configuration.
    pub endpoint: Arc<str>,
    /// Its cloud.
    pub cloud: Cloud,
    /// Its region.
    pub region: Arc<str>,
    /// Where its probes go: a loopback address.
    pub address: SocketAddr,
}

impl StandIn {
    /// The stand-in for an endpoint; none where it has no `probe_target`.
    #[must_use]
    pub fn of(endpoint: &Endpoint) -> Option<Self> {
        Some(Self {
            endpoint: endpoint.name.clone(),
            cloud: endpoint.site.cloud.clone(),
            region: endpoint.site.region.clone(),
            address: endpoint.probe_target?.address,
        })
    }
}

/// What a stand-in does with its clients.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Behaviour {
    /// Answers 200 at once.
    Answers,
    /// Its door is closed: connections are refused.
    Refuses,
    /// Answers 200, but only after this long.
    Delays(Duration),
    /// Answers with this status, which is an error's.
    Errs(StatusCode),
    /// Accepts, then resets the connection.
    Resets,
    /// Accepts, and never answers.
    Swallows,
}

impl fmt::Display for Behaviour {
    /// Completes 'the endpoint …'.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Answers => f.write_str("answers"),
            Self::Refuses => f.write_str("refuses connections"),
            Self::Delays(delay) => write!(f, "answers after {delay:?}"),
            Self::Errs(status) => write!(f, "answers {status}"),
            Self::Resets => f.write_str("resets connections"),
            Self::Swallows => f.write_str("accepts and never answers"),
        }
    }
}

/// The running stand-ins, in the order in which they were given. Dropping them closes all doors.
#[derive(Debug)]
pub struct StandIns {
    doors: Vec<Door>,
}

impl StandIns {
    /// Opens a door at every address; all of them answer. Port 0 takes a free port.
    ///
    /// # Errors
    /// Where an address is not loopback, given twice, or cannot be listened on. The message names the
    /// endpoint, the address and what to do.
    pub async fn start(wanted: Vec<StandIn>) -> io::Result<Self> {
        let mut doors: Vec<Door> = Vec::with_capacity(wanted.len());
        for stand_in in wanted {
            let (name, address) = (stand_in.endpoint.clone(), stand_in.address);
            let twin = doors.iter().find(|door| door.stand_in.address == address);
            if !address.ip().is_loopback() {
                return Err(misplaced(format!(
                    "the probe_target {address} of {name} is not a loopback address: \
                     only there does the lab stand in for an endpoint"
                )));
            }
            if let Some(twin) = twin {
                return Err(misplaced(format!(
                    "{name} and {} have the same probe_target {address}: \
                     give each its own, so that the lab can break them one by one",
                    twin.stand_in.endpoint
                )));
            }
            let mut door = Door::shut(stand_in);
            door.open().await?;
            door.behaviour.send_replace(Behaviour::Answers);
            doors.push(door);
        }
        Ok(Self { doors })
    }

    /// Who stands where and does what. Addresses are those really bound.
    pub fn iter(&self) -> impl Iterator<Item = (&StandIn, Behaviour)> {
        self.doors.iter().map(|door| (&door.stand_in, *door.behaviour.borrow()))
    }

    /// Makes the stand-in at `index` behave so from now on, and tells what it did before. Connections
    /// that wait for an answer are dropped.
    ///
    /// # Errors
    /// When a closed door cannot be opened again; it then stays closed.
    pub async fn behave(&mut self, index: usize, behaviour: Behaviour) -> io::Result<Behaviour> {
        let door = &mut self.doors[index];
        if behaviour != Behaviour::Refuses {
            door.open().await?;
            return Ok(door.behaviour.send_replace(behaviour));
        }
        let before = door.behaviour.send_replace(behaviour);
        door.close().await;
        Ok(before)
    }
}

fn misplaced(message: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, message)
}

/// Listens on a loopback address, for `whom`.
///
/// # Errors
/// As binding has them; the message says who wanted which address and what to do.
pub async fn listen(address: SocketAddr, whom: &str) -> io::Result<TcpListener> {
    TcpListener::bind(address).await.map_err(|error| {
        let help = match error.kind() {
            io::ErrorKind::AddrInUse => {
                let port = address.port();
                format!(
                    "another program has it (`ss -ltnp 'sport = :{port}'` names it): stop it, or choose another port"
                )
            }
            io::ErrorKind::PermissionDenied => "ports below 1024 are for root: choose a higher one".to_owned(),
            io::ErrorKind::AddrNotAvailable => "this machine has no such address: choose another one".to_owned(),
            _ => "choose another address".to_owned(),
        };
        io::Error::new(error.kind(), format!("cannot listen on {address} for {whom}: {error}; {help}"))
    })
}

/// One stand-in's listener, open or closed.
#[derive(Debug)]
struct Door {
    stand_in: StandIn,
    body: Arc<str>,
    behaviour: watch::Sender<Behaviour>,
    /// Accepts connections and owns them; none while the door is closed.
    accepting: Option<JoinHandle<()>>,
}

impl Door {
    fn shut(stand_in: StandIn) -> Self {
        let StandIn { endpoint, cloud, region, address: _ } = &stand_in;
        let json = |text: &str| serde_json::Value::from(text);
        let (name, cloud, region) = (json(endpoint), json(cloud.as_str()), json(region));
        let body = format!("{{\"endpoint\":{name},\"cloud\":{cloud},\"region\":{region}}}\n").into();
        let behaviour = watch::Sender::new(Behaviour::Refuses);
        Self { stand_in, body, behaviour, accepting: None }
    }

    /// Opens it, unless it is open.
    async fn open(&mut self) -> io::Result<()> {
        if self.accepting.is_none() {
            let listener = listen(self.stand_in.address, &self.stand_in.endpoint).await?;
            self.stand_in.address = listener.local_addr()?;
            self.accepting = Some(tokio::spawn(accept(listener, self.body.clone(), self.behaviour.subscribe())));
        }
        Ok(())
    }

    /// Closes it; when this returns, connections are refused.
    async fn close(&mut self) {
        if let Some(task) = self.accepting.take() {
            task.abort();
            let _cancelled = task.await;
        }
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        if let Some(task) = &self.accepting {
            task.abort();
        }
    }
}

async fn accept(listener: TcpListener, body: Arc<str>, behaviour: watch::Receiver<Behaviour>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MOST_CONNECTIONS => match accepted {
                Ok((stream, _)) => {
                    connections.spawn(converse(stream, body.clone(), behaviour.clone()));
                }
                Err(_) => sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One request, one answer. Errors are the client's leaving, which nobody need know of.
async fn converse(mut stream: TcpStream, body: Arc<str>, mut behaviour: watch::Receiver<Behaviour>) -> io::Result<()> {
    if *behaviour.borrow() == Behaviour::Resets {
        return stream.set_zero_linger();
    }
    let head = timeout(LONGEST_WAIT, read_head(&mut stream)).await??;
    let now = *behaviour.borrow_and_update();
    let status = match now {
        Behaviour::Answers => StatusCode::OK,
        Behaviour::Errs(status) => status,
        Behaviour::Delays(delay) if outlasts(&mut stream, &mut behaviour, delay).await => StatusCode::OK,
        Behaviour::Swallows if outlasts(&mut stream, &mut behaviour, LONGEST_WAIT).await => return Ok(()),
        Behaviour::Resets => return stream.set_zero_linger(),
        Behaviour::Delays(_) | Behaviour::Swallows | Behaviour::Refuses => return Ok(()),
    };
    let length = body.len();
    let mut answer = format!(
        "HTTP/1.1 {} {}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or_default()
    );
    if !head.starts_with(b"HEAD ") {
        answer.push_str(&body);
    }
    stream.write_all(answer.as_bytes()).await?;
    stream.shutdown().await
}

/// Reads up to the empty line that ends a request's head (RFC 9112 §2.1).
async fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() >= LONGEST_HEAD {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let mut limited = (&mut *stream).take((LONGEST_HEAD - head.len()) as u64);
        if limited.read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

/// Waits this long; false as soon as the client leaves or the behaviour is switched.
async fn outlasts(stream: &mut TcpStream, behaviour: &mut watch::Receiver<Behaviour>, wait: Duration) -> bool {
    let leaving = async {
        let mut scrap = [0; 512];
        while matches!(stream.read(&mut scrap).await, Ok(1..)) {}
    };
    tokio::select! {
        () = sleep(wait) => true,
        () = leaving => false,
        _ = behaviour.changed() => false,
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::time::Instant;

    use super::*;

    fn stand_in(name: &str, address: &str) -> StandIn {
        let (cloud, region) = ("gcp", "asia-southeast1");
        let address = address.parse().unwrap();
        StandIn { endpoint: name.into(), cloud: Cloud::new(cloud), region: region.into(), address }
    }

    async fn one() -> (StandIns, SocketAddr) {
        let stand_ins = StandIns::start(vec![stand_in("gcp-singapore", "127.0.0.1:0")]).await.unwrap();
        let address = stand_ins.iter().next().unwrap().0.address;
        (stand_ins, address)
    }

    async fn send(address: SocketAddr, method: &str) -> io::Result<TcpStream> {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(format!("{method} /healthz HTTP/1.1\r\nHost: shop\r\n\r\n").as_bytes()).await?;
        Ok(stream)
    }

    async fn ask(address: SocketAddr, method: &str) -> io::Result<String> {
        let mut answer = String::new();
        send(address, method).await?.read_to_string(&mut answer).await?;
        Ok(answer)
    }

    #[tokio::test]
    async fn answers_say_who_answers() {
        let (_stand_ins, address) = one().await;
        let answer = ask(address, "GET").await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let expected = serde_json::json!({ "endpoint": "gcp-singapore", "cloud": "gcp", "region": "asia-southeast1" });
        assert_eq!(body, expected);
        let (head_only, body) = {
            let answer = ask(address, "HEAD").await.unwrap();
            answer.split_once("\r\n\r\n").map(|(head, body)| (head.to_owned(), body.to_owned())).unwrap()
        };
        assert_eq!((head_only.as_str(), body.as_str()), (head, ""));
    }

    #[tokio::test]
    async fn killed_refuses_and_healed_answers_at_the_same_address() {
        let (mut stand_ins, address) = one().await;
        let before = stand_ins.behave(0, Behaviour::Refuses).await.unwrap();
        assert_eq!(before, Behaviour::Answers);
        assert_eq!(ask(address, "GET").await.unwrap_err().kind(), ErrorKind::ConnectionRefused);
        let before = stand_ins.behave(0, Behaviour::Answers).await.unwrap();
        assert_eq!(before, Behaviour::Refuses);
        assert!(ask(address, "GET").await.unwrap().starts_with("HTTP/1.1 200 "));
    }

    #[tokio::test]
    async fn killing_ends_open_connections() {
        let (mut stand_ins, address) = one().await;
        let mut stream = TcpStream::connect(address).await.unwrap();
        stand_ins.behave(0, Behaviour::Refuses).await.unwrap();
        let read = stream.read(&mut [0; 16]).await;
        assert!(matches!(&read, Ok(0)) || read.is_err(), "{read:?}");
    }

    #[tokio::test]
    async fn a_door_taken_meanwhile_stays_closed_and_says_so() {
        let (mut stand_ins, address) = one().await;
        stand_ins.behave(0, Behaviour::Refuses).await.unwrap();
        let squatter = std::net::TcpListener::bind(address).unwrap();
        let error = stand_ins.behave(0, Behaviour::Answers).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert_eq!(stand_ins.iter().next().unwrap().1, Behaviour::Refuses);
        drop(squatter);
        stand_ins.behave(0, Behaviour::Answers).await.unwrap();
        assert!(ask(address, "GET").await.is_ok());
    }

    #[tokio::test]
    async fn errors_and_delays() {
        let (mut stand_ins, address) = one().await;
        stand_ins.behave(0, Behaviour::Errs(StatusCode::SERVICE_UNAVAILABLE)).await.unwrap();
        assert!(ask(address, "GET").await.unwrap().starts_with("HTTP/1.1 503 Service Unavailable\r\n"));
        let delay = Duration::from_millis(30);
        stand_ins.behave(0, Behaviour::Delays(delay)).await.unwrap();
        let start = Instant::now();
        assert!(ask(address, "GET").await.unwrap().starts_with("HTTP/1.1 200 "));
        assert!(start.elapsed() >= delay);
    }

    #[tokio::test]
    async fn resets_are_resets() {
        let (mut stand_ins, address) = one().await;
        stand_ins.behave(0, Behaviour::Resets).await.unwrap();
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap_err().kind(), ErrorKind::ConnectionReset);
    }

    #[tokio::test]
    async fn a_black_hole_lets_go_when_healed() {
        let (mut stand_ins, address) = one().await;
        stand_ins.behave(0, Behaviour::Swallows).await.unwrap();
        let mut stream = send(address, "GET").await.unwrap();
        tokio::time::pause();
        let mut answer = String::new();
        assert!(timeout(LONGEST_WAIT / 2, stream.read_to_string(&mut answer)).await.is_err(), "{answer}");
        tokio::time::resume();
        stand_ins.behave(0, Behaviour::Answers).await.unwrap();
        assert_eq!(stream.read_to_string(&mut answer).await.unwrap(), 0);
        assert!(ask(address, "GET").await.is_ok());
    }

    #[tokio::test]
    async fn long_heads_and_many_connections_are_bounded() {
        let (_stand_ins, address) = one().await;
        let mut idle = Vec::new();
        for _ in 0..MOST_CONNECTIONS {
            idle.push(TcpStream::connect(address).await.unwrap());
        }
        let waiting = tokio::spawn(ask(address, "GET"));
        let mut flood = idle.pop().unwrap();
        let _closed_while_writing = flood.write_all(&[b'a'; 2 * LONGEST_HEAD]).await;
        let read = flood.read(&mut [0; 16]).await;
        assert!(matches!(&read, Ok(0)) || read.is_err(), "{read:?}");
        assert!(waiting.await.unwrap().is_ok(), "the place that the flood lost was not given on");
    }

    #[tokio::test]
    async fn starts_that_cannot_be_say_why() {
        let (_stand_ins, taken) = one().await;
        let start = |all: Vec<StandIn>| async { StandIns::start(all).await.unwrap_err().to_string() };
        let message = start(vec![stand_in("a", &taken.to_string())]).await;
        assert!(message.contains(&taken.to_string()) && message.contains(" for a: "), "{message}");
        assert!(message.contains("another program has it"), "{message}");
        let message = start(vec![stand_in("far", "192.0.2.1:80")]).await;
        assert!(message.contains("192.0.2.1:80 of far is not a loopback"), "{message}");
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
        let message = start(vec![stand_in("a", &free), stand_in("b", &free)]).await;
        assert!(message.starts_with("b and a have the same probe_target"), "{message}");
    }
}
