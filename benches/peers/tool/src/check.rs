//! Before anything is timed: does everyone answer, and the same where it should?

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::draw::Draw;
use crate::query::{A, NS, SOA, STATIC_NAMES, numbered, write_query};
use crate::reply::Reply;
use crate::server::Server;
use crate::sys::SLOT;

const TRIES: usize = 5;
const PATIENCE: Duration = Duration::from_millis(400);
const PAUSE: Duration = Duration::from_millis(20);

/// One query at a time, with patience.
pub struct Asker {
    socket: UdpSocket,
    id: u16,
}

impl Asker {
    pub fn new(server: &Server) -> Result<Self, String> {
        let fault = |error| format!("a socket to {}: {error}", server.name);
        let socket = UdpSocket::bind("127.0.0.1:0").map_err(fault)?;
        socket.connect(server.address).map_err(fault)?;
        socket.set_read_timeout(Some(PATIENCE)).map_err(fault)?;
        Ok(Self { socket, id: 0 })
    }

    /// None where no reply comes.
    fn ask(&mut self, label: &[u8], qtype: u16, subnet: Option<[u8; 3]>) -> Option<Vec<u8>> {
        let mut slot = [0; SLOT];
        for _ in 0..TRIES {
            self.id = self.id.wrapping_add(1);
            let length = write_query(&mut slot, self.id, label, qtype, subnet);
            // A port that nobody listens on gives an error, and it may be a matter of time.
            if self.socket.send(&slot[..length]).is_err() {
                continue;
            }
            while let Ok(length) = self.socket.recv(&mut slot) {
                if slot[..2] == self.id.to_be_bytes() {
                    return Some(slot[..length].to_vec());
                }
            }
        }
        None
    }

    pub fn ask_parsed(&mut self, label: &[u8], qtype: u16, subnet: Option<[u8; 3]>) -> Option<Reply> {
        Reply::parse(&self.ask(label, qtype, subnet)?)
    }
}

/// Waits until each server answers for the zone, for `patience` together.
pub fn wait(servers: &[Server], patience: Duration) -> Result<(), String> {
    let end = Instant::now() + patience;
    for server in servers {
        let mut asker = Asker::new(server)?;
        loop {
            server.cost_ns()?; // an error if it has ended
            let reply = asker.ask(b"", SOA, None);
            let ready = reply.is_some_and(|bytes| {
                server.is_echo() || Reply::parse(&bytes).is_some_and(|reply| reply.rcode == 0 && reply.answers == 1)
            });
            if ready {
                break;
            }
            if Instant::now() > end {
                return Err(format!("{} does not answer for the zone", server.name));
            }
            std::thread::sleep(PAUSE);
        }
    }
    Ok(())
}

/// Rcode, records in the answer, and those of them that are addresses.
type Fixed = (u8, u16, Vec<[u8; 4]>);

/// What a server said to the same questions as all others.
#[derive(Default)]
struct Account {
    /// Of the steered name, by subnet.
    steered: Vec<Option<Vec<[u8; 4]>>>,
    /// Of those: with a client subnet option, and with a scope beyond 0.
    with_option: usize,
    with_scope: usize,
    /// Of static names, the apex and a name that is none.
    fixed: Vec<Option<Fixed>>,
}

fn account(server: &Server, subnets: &[[u8; 3]], steered: &[&[u8]]) -> Result<Account, String> {
    let (mut asker, mut account) = (Asker::new(server)?, Account::default());
    for (index, subnet) in subnets.iter().enumerate() {
        let reply = asker.ask_parsed(steered[index % steered.len()], A, Some(*subnet));
        let reply = reply.filter(|reply| reply.rcode == 0 && reply.answers > 0);
        account.with_option += usize::from(reply.as_ref().is_some_and(|reply| reply.scope.is_some()));
        account.with_scope +=
            usize::from(reply.as_ref().is_some_and(|reply| reply.scope.is_some_and(|scope| scope > 0)));
        account.steered.push(reply.map(|reply| reply.addresses));
    }
    let mut fixed = |label: &[u8], qtype, subnet| {
        let reply = asker.ask_parsed(label, qtype, subnet);
        account.fixed.push(reply.map(|reply| (reply.rcode, reply.answers, reply.addresses)));
    };
    for index in 0..STATIC_NAMES {
        fixed(&numbered::<4>(b's', index), A, None);
    }
    for (label, qtype) in [(&b""[..], SOA), (b"", NS), (b"x00000000", A), (b"s001", A)] {
        fixed(label, qtype, Some(subnets[0]));
    }
    Ok(account)
}

/// Asks everyone the same and prints how far they agree with the first.
///
/// # Errors
/// Where a server leaves a question without a good answer, or static answers differ.
pub fn agree(servers: &[Server], count: usize, names: bool) -> Result<(), String> {
    let mut draw = Draw::new(11);
    let subnets: Vec<_> = (0..count.max(1)).map(|_| draw.subnet()).collect();
    let labels: Vec<Vec<u8>> = if names {
        (0..64).map(|index| numbered::<6>(b'n', index * 1_500).to_vec()).collect()
    } else {
        vec![b"www".to_vec()]
    };
    let labels: Vec<&[u8]> = labels.iter().map(Vec::as_slice).collect();
    let accounts: Result<Vec<_>, _> = servers.iter().map(|server| account(server, &subnets, &labels)).collect();
    let accounts = accounts?;
    let (Some(first), Some(reference)) = (accounts.first(), servers.first()) else { return Ok(()) };
    let mut faults = Vec::new();
    println!(
        "{:<16} {:>14} {:>10} {:>11} {:>15}",
        "server",
        format!("as {}", reference.name),
        "with ECS",
        "scope > 0",
        "static answers"
    );
    for (server, account) in servers.iter().zip(&accounts) {
        let silent = account.steered.iter().filter(|answer| answer.is_none()).count();
        if silent > 0 {
            faults.push(format!("{}: {silent} of {count} steered queries without a good answer", server.name));
        }
        let same = account.steered.iter().zip(&first.steered).filter(|(one, other)| one == other).count();
        let fixed_same = account.fixed.iter().zip(&first.fixed).filter(|(one, other)| one == other).count();
        if fixed_same < account.fixed.len() {
            let wrong = account.fixed.len() - fixed_same;
            faults.push(format!("{}: {wrong} static answers are not those of {}", server.name, reference.name));
        }
        let share = |part: usize, whole: usize| format!("{:.1} %", part as f64 * 100.0 / whole as f64);
        println!(
            "{:<16} {:>14} {:>10} {:>11} {:>15}",
            server.name,
            share(same, subnets.len()),
            share(account.with_option, subnets.len()),
            share(account.with_scope, subnets.len()),
            share(fixed_same, account.fixed.len()),
        );
    }
    if let Some(silent) = first.fixed.iter().position(Option::is_none) {
        faults.push(format!("{}: no reply to static question {silent}", reference.name));
    }
    if faults.is_empty() { Ok(()) } else { Err(faults.join("\n")) }
}
