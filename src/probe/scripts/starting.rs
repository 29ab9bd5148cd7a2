//! The end of `meridian scripts`: what starts programs, and kills them.

use std::collections::{BTreeMap, BTreeSet};
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
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, timeout};

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
    let (mut runs, (started, mut starts)) = (JoinSet::new(), mpsc::channel(1));
    let (mut watched, mut look) = (BTreeMap::<i32, Watched>::new(), interval(SPAN));
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            line = lines.next_line() => {
                let Some(line) = line? else { break };
                let request: Request = serde_json::from_str(&line)?;
                let started = started.clone();
                runs.spawn(async move { Answer { id: request.id, ended: Some(run(&request, &started).await) } });
            }
            Some((id, group)) = starts.recv() => drop(watched.insert(group, Watched { id, before: None })),
            Some(answer) = runs.join_next() => {
                let answer = answer?;
                // It has said that it started before it ended, and must not be taken in behind that.
                while let Ok((id, group)) = starts.try_recv() {
                    watched.insert(group, Watched { id, before: None });
                }
                watched.retain(|_, watched| watched.id != answer.id);
                write.write_all(&line(&answer)?).await?;
            }
            _ = look.tick(), if !watched.is_empty() => {
                let groups = watched.keys().copied().collect();
                let wanted = spawn_blocking(move || processor_wanted(&groups)).await.unwrap_or_default();
                for id in waiting(&mut watched, &wanted) {
                    write.write_all(&line(&Answer { id, ended: None })?).await?;
                }
            }
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

/// Says to `started` which group it is of.
async fn run(request: &Request, started: &mpsc::Sender<(u64, i32)>) -> Ended {
    let (mut child, group) = match start(request) {
        Ok(started) => started,
        Err(error) => return Ended::NotStarted { code: error.raw_os_error(), why: error.to_string() },
    };
    if let Some(Group(group)) = &group {
        let _ = started.send((request.id, group.as_raw())).await; // nobody asks any more
    }
    let (mut output, mut kept) = (child.stdout.take(), Vec::new());
    let ended = {
        let listened = async {
            listen(&mut output, &mut kept).await;
            pending::<()>().await; // it may have closed its output and go on
        };
        let ended = async {
            tokio::select! {
                ended = child.wait() => Some(ended),
                () = listened => None,
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

/// A program's group that has not been said to wait.
struct Watched {
    id: u64,
    /// What it had wanted when it was looked at last, at least [`SPAN`] ago.
    before: Option<Duration>,
}

/// Those that have hardly wanted the processor since they were looked at last; they are watched no longer. One of which
/// nothing is known works, for all we know.
fn waiting(watched: &mut BTreeMap<i32, Watched>, wanted: &BTreeMap<i32, Wanted>) -> Vec<u64> {
    let mut waiting = Vec::new();
    watched.retain(|group, Watched { id, before }| {
        let Some(Wanted { runs, so_far }) = wanted.get(group) else { return true };
        // It falls where somebody has ended.
        let grown = before.replace(*so_far).and_then(|before| so_far.checked_sub(before));
        let waits = !runs && grown.is_some_and(|grown| grown <= SPAN.mul_f64(IDLE_SHARE));
        if waits {
            waiting.push(*id);
        }
        !waits
    });
    waiting
}

/// What a group wants of the processor.
#[derive(Debug, Default, PartialEq)]
struct Wanted {
    /// Somebody in it has the processor now, or would.
    runs: bool,
    /// How long it has had the processor, with those in it that have ended; and how long those that run have waited for it: so
    /// nobody looks idle where this machine is slow.
    so_far: Duration,
}

/// By group; of all of them in one go, since each look is at all processes. None of those of which `/proc` does not tell.
fn processor_wanted(groups: &BTreeSet<i32>) -> BTreeMap<i32, Wanted> {
    let mut wanted = BTreeMap::<i32, Wanted>::new();
    for process in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let stat = fs::read_to_string(process.path().join("stat"));
        // What is no process has none, and processes end meanwhile.
        let Some((group, runs, had)) = stat.ok().and_then(|stat| processor_had(&stat)) else { continue };
        if !groups.contains(&group) {
            continue;
        }
        let threads = fs::read_dir(process.path().join("task")).into_iter().flatten().flatten();
        let waited = threads.filter_map(|thread| {
            // 5206000 1371000 14: ns on the processor and ns of waiting for it, then how often.
            fs::read_to_string(thread.path().join("schedstat")).ok()?.split(' ').nth(1)?.parse::<u64>().ok()
        });
        let of_group = wanted.entry(group).or_default();
        of_group.runs |= runs;
        of_group.so_far += had + Duration::from_nanos(waited.sum());
    }
    wanted
}

/// From `/proc/PID/stat`: its group, whether it runs, and how long it has.
fn processor_had(stat: &str) -> Option<(i32, bool, Duration)> {
    // 4242 (a name (of any kind)) S 1 4242 …: state, parent and group; from the eleventh on, the hundredths of a second in its
    // own code and the kernel's, and those of its ended children.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let hundredths = fields.get(11..15)?.iter().filter_map(|field| field.parse::<u64>().ok()).sum::<u64>();
    Some((fields[2].parse().ok()?, fields[0] == "R", Duration::from_millis(10 * hundredths)))
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
    use tokio::time::sleep;

    use super::*;

    fn shell(text: &str) -> (Child, Group) {
        let command = ["/bin/sh", "-c", text].map(str::to_owned).into();
        let (child, group) = start(&Request { id: 0, command, environment: [].into(), limit_ms: 0 }).unwrap();
        (child, group.unwrap())
    }

    #[tokio::test]
    async fn who_sleeps_waits_and_who_works_does_not() {
        let ((_sleeps, asleep), (_works, at_work)) = (shell("sleep 600; true"), shell("while :; do :; done"));
        let groups = [&asleep, &at_work].map(|group| group.0.as_raw());
        let mut watched: BTreeMap<i32, Watched> =
            groups.iter().zip(0..).map(|(&group, id)| (group, Watched { id, before: None })).collect();
        let mut found = Vec::new();
        while found.is_empty() {
            sleep(SPAN).await;
            found = waiting(&mut watched, &processor_wanted(&groups.into()));
        }
        assert_eq!((found, watched.into_keys().collect::<Vec<_>>()), (vec![0], vec![groups[1]]));
    }

    #[test]
    fn who_waits_has_been_idle_for_a_while() {
        let wanted = |runs, ms| [(4, Wanted { runs, so_far: Duration::from_millis(ms) })].into();
        let mut watched = [(4, Watched { id: 7, before: None })].into();
        for (runs, ms) in [(false, 500), (false, 551), (true, 560), (false, 100)] {
            assert_eq!(waiting(&mut watched, &wanted(runs, ms)), [0; 0], "{ms}");
        }
        assert_eq!(waiting(&mut watched, &BTreeMap::new()), [0; 0]);
        assert_eq!((waiting(&mut watched, &wanted(false, 150)), watched.len()), (vec![7], 0));
    }

    #[test]
    fn a_process_and_its_ended_children_count() {
        let stat = "42 (a) b) R 1 40 40 0 -1 4194560 100 0 0 0 7 5 20 10 20 0 1 0 100 0 0";
        assert_eq!(processor_had(stat), Some((40, true, Duration::from_millis(420))));
        assert_eq!(processor_had(&stat.replace(" R ", " S ")), Some((40, false, Duration::from_millis(420))));
        assert_eq!(processor_had("42 (a"), None);
    }
}
