//! A server of some sets of regions, and ways to ask it and to bring it sessions.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use ipnet::IpNet;
use meridian::cli::serve::Running;
use meridian::control::{Options, Reported};
use meridian::latency::Samples;
use meridian::model::PlaceSet;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::Wish;
use crate::server::{DEADLINE, Server, addresses, http, query, reply};
use crate::tables::{Host, Measured};

/// Queries on their way.
const WINDOW: usize = 64;
/// Sessions in one request, of less than 2 MB, and at most before the server has taken them in: more may not wait there.
const AT_ONCE: usize = 4_000;
const WAITING: usize = 60_000;

const ZONE: &str = "@ 60 SOA ns h 1 2 3 4 5\n@ 60 NS ns\nns 60 A 203.0.113.53\n";
/// As shipped, but on any port, and whoever asks fast is answered.
const HEAD: &str = r#"
[server]
listen = ["127.0.0.1:0"]
workers = 1
[admin]
listen = "127.0.0.1:0"
[rate_limit]
allow = ["127.0.0.0/8"]
[[zones]]
name = "shop.example"
file = "zone"
"#;

/// The files of one server.
pub(super) struct Shop {
    folder: tempfile::TempDir,
}

/// What is asked: a service's address, by a client's prefix.
pub(super) struct Question {
    pub(super) service: usize,
    pub(super) prefix: IpNet,
    /// For the twin under a fence of the EU.
    pub(super) is_fenced: bool,
}

impl Question {
    pub(super) fn fenced(self) -> Self {
        Self { is_fenced: true, ..self }
    }

    fn message(&self) -> Message {
        let name = format!("{}{}.shop.example.", if self.is_fenced { "eu" } else { "s" }, self.service);
        query(&name, RecordType::A, Some(&self.prefix.to_string()))
    }
}

/// As samples name it.
pub(super) fn site(host: &Host) -> Arc<str> {
    format!("{}/{}", host.cloud, host.site.region).into()
}

/// Each region has an address of its own.
fn address(host: usize) -> IpAddr {
    Ipv4Addr::from(0xc633_6400 + host as u32 + 1).into() // 198.51.100.0
}

fn host(address: IpAddr) -> Option<usize> {
    let IpAddr::V4(address) = address else { return None };
    u32::from(address).checked_sub(0xc633_6400 + 1).map(|host| host as usize)
}

impl Shop {
    /// An endpoint for each region, none probed, a service for each set that prefers none of them, and where a set has regions
    /// in the EU, a second one with a fence of the EU around clients there.
    pub(super) fn new(measured: &Measured, sets: &[Vec<usize>], wish: &Wish<'_>) -> Result<Self, String> {
        let database = std::fs::canonicalize(wish.database).map_err(|error| error.to_string())?;
        let mut config = format!(
            "{HEAD}[geoip]\ndatabases = [\"{}\"]\n[defaults]\ntie = \"{}ms\"\n",
            database.display(),
            wish.tie_ms
        );
        let name = |host: usize| site(&measured.hosts[host]).replace('/', "-");
        let put = "to memory";
        for (index, Host { cloud, site, .. }) in measured.hosts.iter().enumerate() {
            let place = format!("name = \"{}\"\ncloud = \"{cloud}\"\nregion = \"{}\"", name(index), site.region);
            writeln!(config, "[[endpoints]]\n{place}\naddresses = [\"{}\"]", address(index)).expect(put);
        }
        let eu = PlaceSet::built_in("eu").expect("it is built in");
        for (number, set) in sets.iter().enumerate() {
            let names: Vec<String> = set.iter().map(|&host| format!("\"{}\"", name(host))).collect();
            let endpoints = format!("endpoints = [{}]", names.join(", "));
            writeln!(config, "[[services]]\nname = \"s{number}.shop.example\"\n{endpoints}").expect(put);
            if set.iter().any(|&host| eu.holds_site(&measured.hosts[host].site)) {
                let fence = "fence = [{ where = \"eu\", in = \"eu\" }]";
                writeln!(config, "[[services]]\nname = \"eu{number}.shop.example\"\n{endpoints}\n{fence}").expect(put);
            }
        }
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        for (name, text) in [("config.toml", &*config), ("zone", ZONE)] {
            std::fs::write(folder.path().join(name), text).map_err(|error| format!("{name}: {error}"))?;
        }
        Ok(Self { folder })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A server that has looked at its samples.
    pub(super) async fn start(&self) -> Server {
        let running = Running::start(Options { config: self.path("config.toml"), strict: true }).await;
        let server = Server::run(running.expect("a server of a good configuration"));
        server.until("ready", async || server.shared.journal().ready.then_some(())).await;
        server.until("a first look", async || server.shared.measuring.told().at).await;
        take_in(&server, &[]).await; // and what that came to is served
        server
    }

    /// Puts these into the place of what the server has kept.
    pub(super) fn write_samples(&self, samples: &Samples) {
        std::fs::write(self.path("state/samples"), samples.encode()).expect("a folder of ours");
    }
}

/// Asks everything; for each the region whose address was answered. None: none was.
pub(super) async fn ask_all(server: SocketAddr, questions: impl Iterator<Item = Question>) -> Vec<Option<usize>> {
    let socket = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
    socket.connect(server).await.expect("a socket that sends");
    let mut questions = questions.enumerate();
    let (mut flights, mut answers) = (HashMap::<u16, (usize, Message)>::new(), Vec::new());
    loop {
        while flights.len() < WINDOW
            && let Some((index, question)) = questions.next()
        {
            let mut message = question.message();
            message.metadata.id = index as u16;
            socket.send(&message.to_vec().expect("a message of ours")).await.expect("a socket that sends");
            flights.insert(index as u16, (index, message));
            answers.push(None);
        }
        if flights.is_empty() {
            return answers;
        }
        let mut octets = [0; 4096];
        let length = timeout(DEADLINE, socket.recv(&mut octets)).await.expect("an answer").expect("a socket");
        let id = u16::from_be_bytes([octets[0], octets[1]]);
        let Some((index, message)) = flights.remove(&id) else { continue };
        answers[index] = addresses(&reply(&message, &octets[..length])).0.first().and_then(|first| host(*first));
    }
}

/// Brings sessions, and waits until what they come to is served.
pub(super) async fn take_in(server: &Server, sessions: &[Reported]) {
    let batches: Vec<&[Reported]> = if sessions.is_empty() { vec![&[]] } else { sessions.chunks(WAITING).collect() };
    for batch in batches {
        let (mut news, before) = (server.shared.news(), server.shared.measuring.told().at);
        for part in batch.chunks(AT_ONCE) {
            post(server, part, false).await;
        }
        post(server, &[], true).await;
        loop {
            // Samples are looked at first, then there is news: what they came to is served.
            timeout(DEADLINE, news.changed()).await.expect("a look").expect("a server that runs");
            if server.shared.measuring.told().at != before {
                break;
            }
        }
    }
}

async fn post(server: &Server, sessions: &[Reported], is_last: bool) {
    let path = format!("/api/v1/measurements?last={is_last}");
    let body = serde_json::to_string(sessions).expect("sessions are plain");
    let (status, text) = http(server.admin, "127.0.0.1", "POST", &path, &body).await;
    assert_eq!(status, 200, "{text}");
}
