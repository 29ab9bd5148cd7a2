//! A server under test: its address, its processes, what it has used.

use std::fs;
use std::net::SocketAddrV4;

/// Given as `NAME=ADDRESS:PORT,PID`.
#[derive(Clone)]
pub struct Server {
    pub name: String,
    pub address: SocketAddrV4,
    /// The one given and all below it.
    pids: Vec<u32>,
}

/// Nanoseconds: processor time, and ready to run without it.
pub struct Scheduled {
    pub had_ns: u64,
    pub waited_ns: u64,
}

impl Server {
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is not NAME=ADDRESS:PORT,PID");
        let (name, rest) = text.split_once('=').ok_or_else(wrong)?;
        let (address, pid) = rest.split_once(',').ok_or_else(wrong)?;
        let (address, pid) = (address.parse().map_err(|_| wrong())?, pid.parse().map_err(|_| wrong())?);
        Ok(Self { name: name.to_owned(), address, pids: with_descendants(pid) })
    }

    /// Does it send back what it got, rather than answers?
    pub fn is_echo(&self) -> bool {
        self.name.starts_with("echo")
    }

    /// Nanoseconds of processor time that all threads of all its processes have had.
    pub fn cost_ns(&self) -> Result<u64, String> {
        Ok(self.scheduled()?.had_ns)
    }

    /// What the scheduler has booked for all threads of all its processes.
    pub fn scheduled(&self) -> Result<Scheduled, String> {
        let mut sum = Scheduled { had_ns: 0, waited_ns: 0 };
        for pid in &self.pids {
            let tasks = fs::read_dir(format!("/proc/{pid}/task"));
            let tasks = tasks.map_err(|_| format!("{} (process {pid}) has ended", self.name))?;
            for task in tasks.flatten() {
                // A thread may end between the two looks.
                let Ok(text) = fs::read_to_string(task.path().join("schedstat")) else { continue };
                let fields: Vec<u64> = text.split_whitespace().map_while(|field| field.parse().ok()).collect();
                let [had, waited, ..] = *fields else {
                    return Err("this kernel has no /proc/PID/schedstat (CONFIG_SCHED_INFO)".to_owned());
                };
                sum.had_ns += had;
                sum.waited_ns += waited;
            }
        }
        Ok(sum)
    }

    /// Resident memory in KiB: all of the first process, and what the ones below it have for themselves.
    pub fn resident_kib(&self) -> u64 {
        let field = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0)
        };
        let sizes = self.pids.iter().enumerate().map(|(index, pid)| {
            let text = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            match index {
                0 => field(&text, "Rss"),
                _ => field(&text, "Private_Clean") + field(&text, "Private_Dirty"),
            }
        });
        sizes.sum()
    }
}

/// `pid`, then those that it started, and so on.
fn with_descendants(pid: u32) -> Vec<u32> {
    let mut pids = vec![pid];
    let mut next = 0;
    while let Some(parent) = pids.get(next).copied() {
        next += 1;
        let tasks = fs::read_dir(format!("/proc/{parent}/task")).into_iter().flatten().flatten();
        let children = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
        let children: Vec<u32> = children
            .flat_map(|text| text.split_whitespace().filter_map(|field| field.parse().ok()).collect::<Vec<_>>())
            .collect();
        pids.extend(children);
    }
    pids
}
