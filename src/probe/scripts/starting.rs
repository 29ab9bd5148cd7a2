//! The end of `meridian scripts`: what starts programs, and kills them.

use std::fs;
use std::future::pending;
use std::io;
use std::os::unix::net::UnixStream as Socket;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdout, Command};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::{Answer, Ended, IDLE_SHARE, READY, Request, SPAN, line};
use crate::probe::attempt::bounded;

/// Octets of a program's output that are kept. The rest is read, so that it goes on, and forgotten.
const MAX_OUTPUT: usize = 4096;
/// When a program has ended and all in its group are killed, what they have said is there. Who left the group may hold the
/// pipe open for ever.
const LAST_WORDS: Duration = Duration::from_millis(100);

/// Starts what it is asked to, until nobody asks any more. What runs then is killed.
///
/// # Errors
/// Who asks is gone in another way, or makes no sense.
pub async fn serve(socket: Socket) -> io::Result<()> {
    // The end of who asks ends it, and no signal that is meant for that.
    let _held = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?, signal(SignalKind::hangup())?);
    socket.set_nonblocking(true)?;
    let (read, mut write) = UnixStream::from_std(socket)?.into_split();
    write.write_all(&[READY]).await?;
    let mut lines = BufReader::new(read).lines();
    let (mut runs, (waits, mut waiting)) = (JoinSet::new(), mpsc::channel(1));
    loop {
        tokio::select! {
            line = lines.next_line() => {
                let Some(line) = line? else { break };
                let request: Request = serde_json::from_str(&line)?;
                let waits = waits.clone();
                runs.spawn(async move { Answer { id: request.id, ended: Some(run(&request, &waits).await) } });
            }
            Some(id) = waiting.recv() => write.write_all(&line(&Answer { id, ended: None })?).await?,
            Some(answer) = runs.join_next() => write.write_all(&line(&answer?)?).await?,
        }
    }
    runs.shutdown().await;
    Ok(())
}

/// All that a program has started, unless it left the group: killed when this is dropped.
struct Group(Pid);

impl Drop for Group {
    fn drop(&mut self) {
        let _ = killpg(self.0, Signal::SIGKILL); // nobody may be left
    }
}

/// Says so to `waits` when the program waits.
async fn run(request: &Request, waits: &mpsc::Sender<u64>) -> Ended {
    let (mut child, group) = match start(request) {
        Ok(started) => started,
        Err(error) => return Ended::NotStarted { code: error.raw_os_error(), why: error.to_string() },
    };
    let (mut output, mut kept) = (child.stdout.take(), Vec::new());
    let watched = async {
        if let Some(Group(group)) = &group {
            until_it_waits(*group).await;
            let _ = waits.send(request.id).await; // who asks may be gone
        }
        pending::<()>().await;
    };
    let ended = {
        let listened = async {
            listen(&mut output, &mut kept).await;
            pending::<()>().await; // it may have closed its output and go on
        };
        let ended = async {
            tokio::select! {
                ended = child.wait() => Some(ended),
                () = listened => None,
                () = watched => None,
            }
        };
        timeout(Duration::from_millis(request.limit_ms), ended).await
    };
    drop(group);
    let Ok(Some(ended)) = ended else { return Ended::Late };
    let _ = timeout(LAST_WORDS, listen(&mut output, &mut kept)).await;
    match ended {
        Ok(status) => said(status, &kept),
        Err(error) => Ended::NotStarted { code: None, why: error.to_string() },
    }
}

/// Until the group has hardly wanted the processor for a while.
async fn until_it_waits(group: Pid) {
    let mut before = Duration::ZERO;
    loop {
        sleep(SPAN).await;
        let wanted = tokio::task::spawn_blocking(move || processor_wanted(group)).await.ok().flatten();
        let Some(wanted) = wanted else { return pending().await };
        if wanted.saturating_sub(before) <= SPAN.mul_f64(IDLE_SHARE) {
            return;
        }
        before = wanted;
    }
}

/// How long a group has had the processor, with those in it that have ended; and how long those that run have waited for it, so
/// that nobody looks idle where this machine is slow. None: `/proc` does not tell.
fn processor_wanted(group: Pid) -> Option<Duration> {
    let mut wanted = None;
    for process in fs::read_dir("/proc").ok()?.flatten() {
        let stat = fs::read_to_string(process.path().join("stat"));
        // What is no process has none, and processes end meanwhile.
        let Some(had) = stat.ok().and_then(|stat| processor_had(&stat, group)) else { continue };
        let threads = fs::read_dir(process.path().join("task")).into_iter().flatten().flatten();
        let waited = threads.filter_map(|thread| {
            // 5206000 1371000 14: ns on the processor and ns of waiting for it, then how often.
            fs::read_to_string(thread.path().join("schedstat")).ok()?.split(' ').nth(1)?.parse::<u64>().ok()
        });
        *wanted.get_or_insert(Duration::ZERO) += had + Duration::from_nanos(waited.sum());
    }
    wanted
}

/// From `/proc/PID/stat`, where that is of the group.
fn processor_had(stat: &str, group: Pid) -> Option<Duration> {
    // 4242 (a name (of any kind)) S 1 4242 …: state, parent and group; from the eleventh on, the hundredths of a second in its
    // own code and the kernel's, and those of its ended children.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    if fields.get(2)?.parse() != Ok(group.as_raw()) {
        return None;
    }
    let hundredths = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
    Some(Duration::from_millis(10 * hundredths))
}

fn start(request: &Request) -> io::Result<(Child, Option<Group>)> {
    let (program, arguments) = request.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments).env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.envs(&request.environment).process_group(0).kill_on_drop(true);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    // It leads its group, whose number is its own.
    let group = child.id().and_then(|id| i32::try_from(id).ok()).map(|id| Group(Pid::from_raw(id)));
    Ok((child, group))
}

/// Reads to the end, and keeps the beginning.
async fn listen(output: &mut Option<ChildStdout>, kept: &mut Vec<u8>) {
    let Some(output) = output else { return };
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = output.read(&mut buffer).await {
        kept.extend_from_slice(&buffer[..length.min(MAX_OUTPUT - kept.len())]);
    }
}

fn said(status: ExitStatus, output: &[u8]) -> Ended {
    let text = String::from_utf8_lossy(output);
    let said = bounded(text.lines().next().unwrap_or_default().trim());
    match status.code() {
        Some(code) => Ended::Exit { code, said },
        None => Ended::Signal { number: status.signal().unwrap_or_default(), said },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(text: &str) -> (Child, Group) {
        let command = ["/bin/sh", "-c", text].map(str::to_owned).into();
        let (child, group) = start(&Request { id: 0, command, environment: [].into(), limit_ms: 0 }).unwrap();
        (child, group.unwrap())
    }

    #[tokio::test]
    async fn who_sleeps_waits_and_who_works_does_not() {
        let (_sleeps, group) = shell("sleep 600; true");
        until_it_waits(group.0).await;
        let (_works, group) = shell("while :; do :; done");
        while processor_wanted(group.0).unwrap() <= SPAN {
            tokio::task::yield_now().await;
        }
        assert_eq!(processor_wanted(Pid::from_raw(i32::MAX)), None, "there is no such group");
    }

    #[test]
    fn a_process_and_its_ended_children_count() {
        let stat = "42 (a) b) S 1 40 40 0 -1 4194560 100 0 0 0 7 5 20 10 20 0 1 0 100 0 0";
        assert_eq!(processor_had(stat, Pid::from_raw(40)), Some(Duration::from_millis(420)));
        assert_eq!(processor_had(stat, Pid::from_raw(41)), None);
        assert_eq!(processor_had("42 (a", Pid::from_raw(40)), None);
    }
}
