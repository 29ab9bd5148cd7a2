//! A whole server to test: files in a folder of their own, stand-ins to probe, and ways to ask. The
//! server runs in this process ([`Server`]) or as the real binary ([`Program`]).
#![allow(dead_code, reason = "no test binary uses all of it")]

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Edns, Message, Query};
use hickory_proto::rr::rdata::opt::{ClientSubnet, EdnsOption};
use hickory_proto::rr::{Name, RData, RecordType};
use ipnet::IpNet;
use meridian::cli::lab::{Lab, StandIn};
use meridian::cli::serve::Running;
use meridian::control::{Options, Shared};
use meridian::model::Cloud;
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpSocket, UdpSocket};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::{interval, timeout};

use crate::mmdb::{Writer, city};

/// What has not come by then does not come; nothing is expected to take nearly as long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// Clients, with the endpoints that are theirs while all are up.
pub(crate) const SYDNEY: &str = "103.86.96.0/24";
pub(crate) const NETHERLANDS: &str = "185.107.56.0/24";
pub(crate) const WWW: &str = "www.shop.example.";
pub(crate) const STATIC: &str = "static.shop.example.";

/// Name, cloud, region, address; the first is the nearest to Sydney, then the second.
pub(crate) const ENDPOINTS: [(&str, &str, &str, &str); 3] = [
    ("aws-sydney", "aws", "ap-southeast-2", "192.0.2.1"),
    ("gcp-singapore", "gcp", "asia-southeast1", "192.0.2.2"),
    ("azure-westeurope", "azure", "westeurope", "192.0.2.3"),
];

pub(crate) const ZONE: &str = "\
$TTL 60
@       SOA   ns1 hostmaster 1 7200 900 1209600 60
        NS    ns1
ns1     A     203.0.113.53
static  A     203.0.113.80
";

const HEAD: &str = r#"
[server]
listen = ["127.0.0.1:0"]
workers = 1
[admin]
listen = "127.0.0.1:0"
[geoip]
databases = ["city.mmdb"]
[reload]
settle = "50ms"
[health]
first_round = "20s"
[defaults]
warmup = "0s"
panic_below = 0.0
[probes.shop]
type = "http"
path = "/healthz"
interval = "100ms"
timeout = "500ms"
down_after = 2
up_after = 2
allow_private = true
[[zones]]
name = "shop.example"
file = "shop.example.zone"
[[services]]
name = "www.shop.example"
endpoints = ["*"]
ttl = "20s"
"#;

/// An endpoint of the configuration; `probe` are its lines about that.
pub(crate) fn endpoint((name, cloud, region, address): (&str, &str, &str, &str), probe: &str) -> String {
    format!(
        "[[endpoints]]\nname = \"{name}\"\ncloud = \"{cloud}\"\nregion = \"{region}\"\n\
         addresses = [\"{address}\"]\n{probe}\n"
    )
}

/// A configuration of [`ENDPOINTS`], probed at these targets.
fn config(targets: &[SocketAddr]) -> String {
    let probe = |target| format!("probe = \"shop\"\nprobe_target = \"{target}\"");
    let endpoints = ENDPOINTS.iter().zip(targets).map(|(row, target)| endpoint(*row, &probe(target)));
    HEAD.to_owned() + &endpoints.collect::<String>()
}

/// A small database of the two clients.
pub(crate) fn database() -> Vec<u8> {
    let (sydney, netherlands) = (city("AU", -33.87, 151.21), city("NL", 52.37, 4.9));
    Writer::new("GeoLite2-City", true).put(SYDNEY, &sydney).put(NETHERLANDS, &netherlands).finish()
}

/// A folder with a configuration and what it names.
pub(crate) struct Shop {
    folder: tempfile::TempDir,
}

impl Shop {
    /// Whose endpoints are probed at these targets.
    pub(crate) fn probed_at(targets: &[SocketAddr]) -> Self {
        let shop = Self { folder: tempfile::tempdir().unwrap() };
        shop.write("city.mmdb", database());
        shop.write("shop.example.zone", ZONE);
        shop.write("config.toml", config(targets));
        shop
    }

    /// With a lab of stand-ins that answer.
    pub(crate) async fn with_lab() -> (Self, Arc<Lab>) {
        let stand_in = |(name, cloud, region, _): (&str, &str, &str, &str)| StandIn {
            endpoint: name.into(),
            cloud: Cloud::new(cloud),
            region: region.into(),
            address: "127.0.0.1:0".parse().unwrap(),
        };
        let lab = Lab::start(ENDPOINTS.map(stand_in).into()).await.unwrap();
        let targets: Vec<SocketAddr> = lab.roster().iter().map(|stand_in| stand_in.address).collect();
        (Self::probed_at(&targets), Arc::new(lab))
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes a file in place.
    pub(crate) fn write(&self, name: &str, content: impl AsRef<[u8]>) {
        fs::write(self.path(name), content).unwrap();
    }

    /// Writes a file beside its place and renames it in, as editors do.
    pub(crate) fn replace(&self, name: &str, content: impl AsRef<[u8]>) {
        let beside = self.path(&format!("{name}.new"));
        fs::write(&beside, content).unwrap();
        fs::rename(beside, self.path(name)).unwrap();
    }

    pub(crate) fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap()
    }

    /// Writes the configuration in place, with one text for another.
    pub(crate) fn edit(&self, from: &str, to: &str) {
        let text = self.read("config.toml");
        assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
        self.write("config.toml", text.replace(from, to));
    }

    pub(crate) fn append(&self, text: &str) {
        self.write("config.toml", self.read("config.toml") + text);
    }

    pub(crate) fn options(&self) -> Options {
        Options { config: self.path("config.toml"), strict: false }
    }

    /// Starts the server in this process.
    pub(crate) async fn start(&self) -> Server {
        Server::run(Running::start(self.options()).await.unwrap())
    }

    /// The same, ready to steer.
    pub(crate) async fn start_ready(&self) -> Server {
        let server = self.start().await;
        server.until("ready", async || server.shared.journal().ready.then_some(())).await;
        server
    }
}

/// A server in this process.
pub(crate) struct Server {
    pub(crate) shared: Arc<Shared>,
    pub(crate) dns: SocketAddr,
    pub(crate) admin: SocketAddr,
    /// The first address of an encrypted transport.
    pub(crate) tls: Option<SocketAddr>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Server {
    pub(crate) fn run(running: Running) -> Self {
        let (shared, dns, admin) = (running.shared(), running.addresses()[0], running.admin_address().unwrap());
        let tls = running.encrypted_addresses().first().map(|(_, address)| *address);
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(running.run(async { drop(stopped.await) }));
        Self { shared, dns, admin, tls, stop, task }
    }

    pub(crate) async fn stop(self) {
        drop(self.stop);
        self.task.await.unwrap();
    }

    /// Looks again after each publication and each reading of files until there is something.
    pub(crate) async fn until<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let mut news = self.shared.news();
        let found = timeout(DEADLINE, async {
            loop {
                if let Some(found) = look().await {
                    return found;
                }
                news.changed().await.unwrap();
            }
        });
        let Ok(found) = found.await else { panic!("never {what}: {:#}", self.status().await) };
        found
    }

    /// Waits until `www` is answered so for the client.
    pub(crate) async fn until_answer(&self, client: &str, address: &str) {
        let what = format!("{address} for {client}");
        self.until(&what, async || (self.www(client).await.0 == [ip(address)]).then_some(())).await;
    }

    /// Waits until an endpoint has this verdict; why it has it.
    pub(crate) async fn until_verdict(&self, endpoint: &str, verdict: &str) -> String {
        let look = async || {
            let board = self.shared.board();
            let health = board.endpoints().find(|health| *health.name == *endpoint)?;
            (health.state.as_str() == verdict).then(|| health.reason.clone())
        };
        self.until(&format!("{endpoint} is {verdict}"), look).await
    }

    /// Does this, and waits until the files have been read once more; tells how that ended.
    pub(crate) async fn reading(&self, what: &str, act: impl FnOnce()) -> &'static str {
        let before = self.shared.journal().reload.at;
        act();
        let look = async || {
            let reload = self.shared.journal().reload.clone();
            (reload.at != before).then(|| reload.result.as_str())
        };
        self.until(&format!("read after {what}"), look).await
    }

    /// Addresses and TTL of `www`.
    pub(crate) async fn www(&self, client: &str) -> (Vec<IpAddr>, u32) {
        addresses(&ask(self.dns, &query(WWW, RecordType::A, Some(client))).await)
    }

    pub(crate) async fn status(&self) -> Value {
        let (code, text) = get(self.admin, "/status").await;
        assert_eq!(code, 200);
        serde_json::from_str(&text).unwrap()
    }

    pub(crate) async fn metrics(&self) -> String {
        let (code, text) = get(self.admin, "/metrics").await;
        assert_eq!(code, 200);
        text
    }
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A query by its name's hash as id, with a client subnet if there is a client.
pub(crate) fn query(name: &str, rtype: RecordType, client: Option<&str>) -> Message {
    let mut message = Message::query();
    message.metadata.id = name.bytes().fold(7, |id, octet| id.wrapping_mul(31).wrapping_add(u16::from(octet)));
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), rtype));
    if let Some(client) = client {
        let net: IpNet = client.parse().unwrap();
        let subnet = EdnsOption::Subnet(ClientSubnet::new(net.addr(), net.prefix_len(), 0));
        message.edns.get_or_insert_with(Edns::new).options_mut().insert(subnet);
    }
    message
}

/// Reads a reply as hickory-proto does.
pub(crate) fn reply(query: &Message, octets: &[u8]) -> Message {
    let reply = Message::from_vec(octets).unwrap();
    assert_eq!((reply.metadata.id, &reply.queries), (query.metadata.id, &query.queries));
    reply
}

/// Asks by UDP.
pub(crate) async fn ask(server: SocketAddr, query: &Message) -> Message {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(server).await.unwrap();
    socket.send(&query.to_vec().unwrap()).await.unwrap();
    let mut octets = [0; 4096];
    let length = timeout(DEADLINE, socket.recv(&mut octets)).await.expect("an answer").unwrap();
    reply(query, &octets[..length])
}

/// Addresses in an answer, and the TTL of the first record.
pub(crate) fn addresses(message: &Message) -> (Vec<IpAddr>, u32) {
    let address = |data: &RData| match data {
        RData::A(a) => Some(IpAddr::V4(a.0)),
        RData::AAAA(aaaa) => Some(IpAddr::V6(aaaa.0)),
        _ => None,
    };
    let all = message.answers.iter().filter_map(|record| address(&record.data)).collect();
    (all, message.answers.first().map_or(0, |record| record.ttl))
}

/// A message behind its length, for TCP.
pub(crate) fn framed(message: &Message) -> Vec<u8> {
    let octets = message.to_vec().unwrap();
    [&u16::try_from(octets.len()).unwrap().to_be_bytes()[..], &octets].concat()
}

/// Status and body of a GET.
pub(crate) async fn get(server: SocketAddr, path: &str) -> (u16, String) {
    http(server, "127.0.0.1", "GET", path, "").await
}

/// Status and body of a request from that address.
pub(crate) async fn http(server: SocketAddr, from: &str, method: &str, path: &str, body: &str) -> (u16, String) {
    http_with(server, from, method, path, "", body).await
}

/// The same with these headers, a line each.
pub(crate) async fn http_with(
    server: SocketAddr,
    from: &str,
    method: &str,
    path: &str,
    headers: &str,
    body: &str,
) -> (u16, String) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(ip(from), 0)).unwrap();
    let talk = async {
        let mut stream = socket.connect(server).await.unwrap();
        let length = body.len();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    };
    let text = timeout(DEADLINE, talk).await.expect("a response");
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

/// Looks every now and then, for what tells of itself in no other way.
pub(crate) async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let mut ticks = interval(Duration::from_millis(20));
    for _ in 0..DEADLINE.as_millis() / 20 {
        if let Some(found) = look().await {
            return found;
        }
        ticks.tick().await;
    }
    panic!("never {what}");
}

/// Runs the real binary to its end: exit code, standard output, standard error.
pub(crate) async fn meridian(folder: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = command(folder, arguments);
    let output = timeout(DEADLINE, command.stdin(Stdio::null()).output()).await.expect("an end").unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_meridian"));
    command.args(arguments).current_dir(folder).env_remove("RUST_LOG").kill_on_drop(true);
    command
}

/// The real binary, ended when dropped.
pub(crate) struct Program {
    child: Child,
    pub(crate) stdin: Option<ChildStdin>,
    lines: mpsc::UnboundedReceiver<String>,
    seen: Vec<String>,
}

impl Program {
    /// Starts `meridian` with these arguments in a folder.
    pub(crate) fn start(folder: &Path, arguments: &[&str]) -> Self {
        let mut command = command(folder, arguments);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let (sender, lines) = mpsc::unbounded_channel();
        forward(child.stdout.take().unwrap(), sender.clone());
        forward(child.stderr.take().unwrap(), sender);
        let stdin = child.stdin.take();
        Self { child, stdin, lines, seen: Vec::new() }
    }

    /// The process's number.
    pub(crate) fn id(&self) -> u32 {
        self.child.id().unwrap()
    }

    /// The next line, on standard output or error, that holds this text.
    pub(crate) async fn line(&mut self, text: &str) -> String {
        let wait = async {
            while let Some(line) = self.lines.recv().await {
                self.seen.push(line);
                if self.seen.last().is_some_and(|line| line.contains(text)) {
                    return true;
                }
            }
            false
        };
        let found = timeout(DEADLINE, wait).await.unwrap_or(false);
        assert!(found, "no line with {text:?}:\n{}", self.seen.join("\n"));
        self.seen.last().unwrap().clone()
    }

    /// The addresses of DNS and of admin, once it serves.
    pub(crate) async fn addresses(&mut self) -> [SocketAddr; 2] {
        let address = |line: String| line.split_once("address=").unwrap().1.trim().parse().unwrap();
        let dns = address(self.line("answering by UDP and TCP").await);
        [dns, address(self.line("admin by HTTP").await)]
    }

    /// Waits until steered names are answered and all of these have been said, in whatever order.
    pub(crate) async fn ready_with(&mut self, texts: &[&str]) {
        for text in texts.iter().chain(&["ready: steered names are answered"]) {
            if !self.seen.iter().any(|line| line.contains(text)) {
                self.line(text).await;
            }
        }
    }

    /// What stands between two texts in a line that was said.
    pub(crate) fn said(&self, before: &str, after: &str) -> &str {
        let between = |line| str::split_once(line, before)?.1.split_once(after).map(|(found, _)| found);
        self.seen.iter().find_map(|line| between(line)).unwrap_or_else(|| panic!("{before}…{after}: {:?}", self.seen))
    }

    pub(crate) async fn type_line(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(format!("{line}\n").as_bytes()).await.unwrap();
        stdin.flush().await.unwrap();
    }

    /// Sends a signal by its name. The standard library has none, and unsafe is forbidden.
    pub(crate) async fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id().unwrap());
        assert!(Command::new("sh").args(["-c", &kill]).status().await.unwrap().success());
    }

    /// Waits for its end: the exit code, none by a signal, and all that it has said.
    pub(crate) async fn ended(mut self) -> (Option<i32>, String) {
        let status = timeout(DEADLINE, self.child.wait()).await;
        let Ok(status) = status else { panic!("it does not end:\n{}", self.seen.join("\n")) };
        while let Some(line) = self.lines.recv().await {
            self.seen.push(line);
        }
        (status.unwrap().code(), self.seen.join("\n"))
    }
}

fn forward(from: impl AsyncRead + Unpin + Send + 'static, to: mpsc::UnboundedSender<String>) {
    tokio::spawn(async move {
        let mut lines = BufReader::new(from).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let _ = to.send(line);
        }
    });
}
