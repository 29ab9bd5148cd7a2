//! What the kernel counts, and where it lets a thread run.

use std::fs::{read_link, read_to_string};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// Datagrams that it dropped at this address's sockets, since their buffers were full or their
/// checksums wrong: the last column of `/proc/net/udp`.
pub(crate) fn drops(address: SocketAddr) -> u64 {
    let table = read_to_string("/proc/net/udp").unwrap();
    let at = format!(":{:04X}", address.port());
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    let ours: Vec<_> = rows.filter(|row| row.get(1).is_some_and(|local| local.ends_with(&at))).collect();
    assert!(!ours.is_empty(), "{address} is in /proc/net/udp");
    ours.iter().map(|row| row.last().unwrap().parse::<u64>().unwrap()).sum()
}

/// The calling thread, as `/proc` has it.
pub(crate) fn this_thread() -> PathBuf {
    Path::new("/proc").join(read_link("/proc/thread-self").unwrap())
}

/// Processor time that this thread has had: the first field of its `schedstat`.
pub(crate) fn processor_time(thread: &Path) -> Duration {
    let text = read_to_string(thread.join("schedstat")).expect("the kernel counts it (CONFIG_SCHED_INFO)");
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}

/// Ticks of time so far: all that the machine's cores had, and those in which they worked for other
/// programs or were taken from it by its host.
pub(crate) fn machine_and_others() -> [u64; 2] {
    let machine = read_to_string("/proc/stat").unwrap();
    // The first eight columns: a guest's time is in the user's as well.
    let ticks = machine.lines().next().unwrap().split_whitespace().skip(1).take(8);
    let ticks: Vec<u64> = ticks.map(|ticks| ticks.parse().unwrap()).collect();
    let (all, idle, waiting) = (ticks.iter().sum::<u64>(), ticks[3], ticks[4]);
    let own = read_to_string("/proc/self/stat").unwrap();
    let behind_name = own.rsplit(')').next().unwrap().split_whitespace(); // from the third field on
    let own: u64 = behind_name.skip(11).take(2).map(|ticks| ticks.parse::<u64>().unwrap()).sum();
    [all, (all - idle - waiting).saturating_sub(own)]
}

/// The cores that a thread may have, of those that the process has.
pub(crate) enum Cores {
    /// The last one: a client with a core of its own is as good as one on another machine.
    Client,
    /// All others: for the servers, and for the swaps and reloads that they do.
    Servers,
}

/// Keeps the calling thread, and those that it starts, to these cores. The kernel would now and then
/// wake a server on the core of a client that never sleeps, where it waits for milliseconds.
pub(crate) fn keep_to(cores: Cores) {
    let text = read_to_string("/proc/self/status").unwrap(); // the first thread's, which keeps to none
    let list = text.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap().trim();
    let number = |text: Option<&str>| text.unwrap().parse::<usize>().unwrap();
    let (first, last) = (number(list.split([',', '-']).next()), number(list.rsplit([',', '-']).next()));
    if first == last {
        return;
    }
    let list = match cores {
        Cores::Client => last.to_string(),
        Cores::Servers => format!("{first}-{}", last - 1),
    };
    let thread = this_thread().file_name().unwrap().to_owned();
    let taken = Command::new("taskset").args(["-pc", &list]).arg(thread).stdout(Stdio::null()).status();
    assert!(taken.expect("taskset (util-linux) is there").success(), "cores {list}");
}
