//! The program under measurement: a process on one core, watched from outside.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::figures::{Figure, STEADY};

/// The longest wait for anything.
const PATIENCE: Duration = Duration::from_secs(600);
/// Files are read so long after they were written (`[reload] settle` of the generated sets).
const SETTLE: Duration = Duration::from_millis(100);

/// What an interrupt has to take away.
static LEFT: Mutex<(Option<u32>, Option<PathBuf>)> = Mutex::new((None, None));

/// Ends the process that runs and removes its folder; for interrupts.
pub(crate) fn clean_up() {
    let left = LEFT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(process) = left.0 {
        let _ = Command::new("kill").arg("-9").arg(process.to_string()).status(); // it may have ended by itself
    }
    if let Some(folder) = &left.1 {
        let _ = fs::remove_dir_all(folder);
    }
}

/// A folder that is gone at the end.
pub(crate) struct Folder(TempDir);

impl Folder {
    pub(crate) fn new(name: &str) -> Self {
        let folder = tempfile::Builder::new().prefix(&format!("meridian-scale-{name}-")).tempdir();
        let folder = folder.expect("the system's temporary folder takes folders");
        LEFT.lock().unwrap_or_else(PoisonError::into_inner).1 = Some(folder.path().to_owned());
        Self(folder)
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }
}

/// Starts the program on the set in `folder`, edits the set while it runs, and tells what that took.
pub(crate) fn measure(folder: &Folder, question: &str, edit: impl Fn(&Path)) -> Vec<Figure> {
    let (server, start) = Server::start(folder.path(), question);
    let used = server.processor_ns();
    let first_peak = server.status("VmHWM");
    server.wait_until_idle();
    let steady = server.status("VmRSS");
    server.forget_peak();
    let (edited, used_before) = (Instant::now(), server.processor_ns());
    edit(folder.path());
    server.wait_for("configuration reloaded");
    let reload = edited.elapsed().saturating_sub(SETTLE);
    let used_by_reload = server.processor_ns() - used_before;
    let after = server.status("VmHWM");
    server.wait_until_idle();
    vec![
        Figure::seconds("start to first answer, s", "10", start),
        Figure::seconds("  processor time of that, s", "", Duration::from_nanos(used)),
        Figure::mb("resident at most while starting, MB", "", first_peak),
        Figure::mb(STEADY, "300", steady),
        Figure::seconds("reload of one edit, s", "", reload),
        Figure::seconds("  processor time of that, s", "", Duration::from_nanos(used_by_reload)),
        Figure::new("peak of a reload / steady", "1.6", after as f64 / steady as f64),
        Figure::new("steady after a reload / before", "", server.status("VmRSS") as f64 / steady as f64),
    ]
}

/// What probing came to while it was measured.
pub(crate) struct Probing {
    pub(crate) good: f64,
    /// With another outcome, or discarded.
    pub(crate) bad: f64,
    /// Processor time by the clock.
    pub(crate) core: f64,
    pub(crate) resident: u64,
}

/// Starts the program on the set in `folder`, and counts what it probes `before` long after the start.
pub(crate) fn probing(folder: &Folder, question: &str, before: Duration, measured: Duration) -> Probing {
    let (server, _) = Server::start(folder.path(), question);
    let bound = server.wait_for("admin by HTTP");
    let admin = bound.split("address=").nth(1).and_then(|text| text.trim().parse().ok());
    let admin: SocketAddr = admin.expect("the log names the address");
    std::thread::sleep(before);
    let (begun, used, (good, all)) = (Instant::now(), server.processor_ns(), outcomes(admin));
    std::thread::sleep(measured);
    let (elapsed, used, (good_after, all_after)) = (begun.elapsed(), server.processor_ns() - used, outcomes(admin));
    let (good, all) = (good_after - good, all_after - all);
    let core = used as f64 / elapsed.as_nanos() as f64;
    Probing { good, bad: all - good, core, resident: server.status("VmRSS") }
}

/// Successes, and all outcomes with those discarded.
fn outcomes(admin: SocketAddr) -> (f64, f64) {
    let mut stream = TcpStream::connect(admin).expect("it listens");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("it answers in text");
    let sum = |wanted: &dyn Fn(&str) -> bool| -> f64 {
        let lines =
            text.lines().filter(|line| wanted(line)).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
        lines.sum()
    };
    let outcome = |line: &str| line.starts_with("meridian_probe_outcomes_total{");
    let good = sum(&|line| outcome(line) && line.contains("outcome=\"success\""));
    (good, sum(&|line| outcome(line) || line.starts_with("meridian_probes_discarded_total{")))
}

/// Octets of memory that the program holds once it has started on this set.
pub(crate) fn steady_bytes(folder: &Folder, question: &str) -> u64 {
    let (server, _) = Server::start(folder.path(), question);
    server.wait_until_idle();
    server.status("VmRSS")
}

/// A running program; dropping it ends it.
struct Server {
    process: Child,
    log: Receiver<String>,
}

impl Server {
    /// Starts it on one core and waits for its first answer with an address.
    fn start(folder: &Path, question: &str) -> (Self, Duration) {
        eprintln!("scale: starting the server");
        let program = std::env::var("MERIDIAN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_meridian").to_owned());
        let begun = Instant::now();
        let mut process = Command::new("taskset")
            .args(["-c", "0", &program, "serve", "--strict", "--config"])
            .arg(folder.join("config.toml"))
            .env("RUST_LOG", "info")
            .stderr(Stdio::piped())
            .spawn()
            .expect("taskset (util-linux) and the program are there");
        LEFT.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(process.id());
        let (sender, log) = channel();
        let lines = BufReader::new(process.stderr.take().expect("it is piped")).lines();
        // Ends with the process.
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| sender.send(line)));
        let server = Self { process, log };
        let bound = server.wait_for("answering by UDP and TCP");
        let address = bound.split("address=").nth(1).and_then(|text| text.trim().parse().ok());
        ask(address.expect("the log names the address"), question);
        (server, begun.elapsed())
    }

    /// Waits for a line of its log that holds `words`.
    fn wait_for(&self, words: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        let mut lines = Vec::new();
        loop {
            match self.log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Timeout) => panic!("the server does not say '{words}'"),
                Err(RecvTimeoutError::Disconnected) => {
                    lines.truncate(40);
                    panic!("the server ended and never said '{words}':\n{}", lines.join("\n"));
                }
            }
        }
    }

    /// Waits until no thread of it has run, or wanted to, for a second: what it does beside serving
    /// (keeping the good set, freeing) is done. It does that on threads that run only on an idle core.
    fn wait_until_idle(&self) {
        let deadline = Instant::now() + PATIENCE;
        let (mut used, mut still) = (self.processor_ns(), 0);
        while still < 20 && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(50));
            let now = self.processor_ns();
            still = if now - used < 2_000_000 && !self.is_busy() { still + 1 } else { 0 };
            used = now;
        }
    }

    /// Does one of its threads run, wait for the core, or for the disk?
    fn is_busy(&self) -> bool {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).expect("it runs");
        let state = |entry: fs::DirEntry| {
            let text = fs::read_to_string(entry.path().join("stat")).ok()?;
            text.rsplit(')').next()?.trim_start().chars().next()
        };
        tasks.filter_map(|entry| state(entry.ok()?)).any(|state| matches!(state, 'R' | 'D'))
    }

    fn processor_ns(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.process.id())).expect("it runs");
        let used = |entry: fs::DirEntry| {
            let text = fs::read_to_string(entry.path().join("schedstat")).ok()?;
            text.split(' ').next()?.parse::<u64>().ok()
        };
        tasks.filter_map(|entry| used(entry.ok()?)).sum()
    }

    /// A line of /proc/PID/status, in octets.
    fn status(&self, key: &str) -> u64 {
        let text = fs::read_to_string(format!("/proc/{}/status", self.process.id())).expect("it runs");
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let kilobytes = line.and_then(|rest| rest.trim().trim_end_matches(" kB").parse::<u64>().ok());
        kilobytes.expect("Linux says so") * 1024
    }

    /// From now on the peak is counted anew.
    fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.process.id()), "5").expect("the process is ours");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill(); // it may have ended by itself
        let _ = self.process.wait();
        LEFT.lock().unwrap_or_else(PoisonError::into_inner).0 = None;
    }
}

/// Asks until there is an answer with a record.
fn ask(server: SocketAddr, name: &str) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has ports");
    socket.connect(server).expect("loopback connects");
    socket.set_read_timeout(Some(Duration::from_millis(20))).expect("it is no zero");
    let deadline = Instant::now() + PATIENCE;
    let mut reply = [0; 512];
    while Instant::now() < deadline {
        let _ = socket.send(&query(name)); // refused until the server binds
        let answered = socket.recv(&mut reply).is_ok_and(|length| length > 12 && reply[7] > 0);
        if answered {
            return;
        }
    }
    panic!("no answer for {name}");
}

/// A query for A of `name`, with a client subnet in Germany.
pub(crate) fn query(name: &str) -> Vec<u8> {
    let mut packet = vec![0, 7, 1, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    packet.extend(name.split('.').flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat()));
    packet.extend([0, 0, 1, 0, 1]);
    packet.extend([0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 11, 0, 8, 0, 7, 0, 1, 24, 0, 81, 169, 145]);
    packet
}
