//! What the kernel counts.

use std::net::SocketAddr;

/// Datagrams that it dropped at this address's sockets, since their buffers were full or their
/// checksums wrong: the last column of `/proc/net/udp`.
pub(crate) fn drops(address: SocketAddr) -> u64 {
    let table = std::fs::read_to_string("/proc/net/udp").unwrap();
    let at = format!(":{:04X}", address.port());
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours: Vec<_> = rows.filter(|row| row.get(1).is_some_and(|local| local.ends_with(&at))).collect();
    assert!(!ours.is_empty(), "{address} is in /proc/net/udp");
    ours.iter().map(|row| row.last().unwrap().parse::<u64>().unwrap()).sum()
}
